//! What becomes of a proxy when nobody reads what it says.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn ask(address: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    let body = r#"{"model":"support","messages":[{"role":"user","content":"hello"}]}"#;
    let length = body.len();
    write!(
        connection,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// Each line that it cannot write would have been the end of it.
#[test]
fn a_proxy_whose_terminal_is_gone_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = Command::new(env!("CARGO_BIN_EXE_distill"))
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .env("DISTILL_HOME", home.path())
        .env_remove("DISTILL_LEDGER")
        .env_remove("DISTILL_PRICES")
        .args(["proxy", "proxies/simulated.yaml", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let mut address = String::new();
    let said = child.0.stdout.take().unwrap();
    BufReader::new(said).read_line(&mut address).unwrap();
    let address = address.trim().strip_prefix("http://").unwrap();
    for _ in 0..3 {
        let answer = ask(address);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(child.0.try_wait().unwrap().is_none());
}
