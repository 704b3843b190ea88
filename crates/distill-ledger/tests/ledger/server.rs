//! A `PostgreSQL` server for the tests, where its programs are found: in a folder that is removed, on
//! a socket in it, ended with the tests however those end.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use distill_gateway::Secret;
use tokio_postgres::NoTls;

struct Server {
    folder: PathBuf,
    user: String,
    /// The server ends when this closes.
    _leash: std::process::ChildStdin,
}

/// An address of a new, empty database.
pub(crate) async fn database(test: &str) -> Option<Secret> {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    let started = SERVER.get_or_init(start);
    let server = match started {
        Ok(server) => server,
        Err(why) => {
            eprintln!("skipped: {test} on PostgreSQL: {why}");
            return None;
        }
    };
    let socket = server.folder.to_str().unwrap().replace('/', "%2F");
    let user = &server.user;
    let address = |name: &str| format!("postgres://{user}@{socket}/{name}");
    let (client, connection) = tokio_postgres::connect(&address("postgres"), NoTls)
        .await
        .unwrap();
    tokio::spawn(async move { drop(connection.await) });
    client
        .batch_execute(&format!("CREATE DATABASE \"{test}\""))
        .await
        .unwrap();
    Some(Secret::new(address(test)))
}

fn program(name: &str) -> Option<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")));
    std::env::split_paths(&on_path)
        .chain(installed)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

fn succeeds(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// The server refuses to run as root: whom to run it as instead.
fn unprivileged() -> Result<(String, Option<String>), String> {
    let name = succeeds(Command::new("id").arg("-un"))?;
    if succeeds(Command::new("id").arg("-u"))? != "0" {
        return Ok((name, None));
    }
    ["postgres", "nobody"]
        .into_iter()
        .find(|user| succeeds(Command::new("id").args(["-u", user])).is_ok())
        .map(|user| (user.to_owned(), Some(user.to_owned())))
        .ok_or_else(|| "it does not run as root, and there is no other user".to_owned())
}

fn start() -> Result<Server, String> {
    let missing = |name: &str| format!("`{name}` is not found (Debian: package postgresql)");
    let initdb = program("initdb").ok_or_else(|| missing("initdb"))?;
    let postgres = program("postgres").ok_or_else(|| missing("postgres"))?;
    let folder = tempfile::Builder::new()
        .prefix("distill-pg-")
        .tempdir_in("/tmp")
        .map_err(|error| error.to_string())?
        .keep();
    let (user, other) = unprivileged()?;
    if let Some(user) = &other {
        succeeds(Command::new("chown").arg(user).arg(&folder))?;
    }
    let as_user = |program: &Path| {
        let mut command = match &other {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid", user, "--clear-groups", "--"])
                    .arg(program);
                command
            }
        };
        command.current_dir(&folder);
        command
    };
    let data = folder.join("data");
    succeeds(
        as_user(&initdb)
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--username"])
            .arg(&user)
            .arg("-D")
            .arg(&data),
    )?;
    let mut server = as_user(Path::new("sh"));
    let script = "\"$1\" -D \"$2/data\" -F -c listen_addresses= -c unix_socket_directories=\"$2\" \
                  -c max_connections=200 -c shared_buffers=16MB >\"$2/log\" 2>&1 & \
                  cat >/dev/null; kill -QUIT $!; wait; cd /; rm -rf \"$2\"";
    let mut child = server
        .args(["-c", script, "sh"])
        .arg(&postgres)
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let leash = child.stdin.take().ok_or("it has no input")?;
    // It ends by its leash, not by being waited for.
    std::thread::spawn(move || child.wait());
    for _ in 0..600 {
        if std::os::unix::net::UnixStream::connect(folder.join(".s.PGSQL.5432")).is_ok()
            && std::fs::read_to_string(folder.join("log"))
                .is_ok_and(|log| log.contains("ready to accept connections"))
        {
            return Ok(Server {
                folder,
                user,
                _leash: leash,
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    Err(format!("the server did not start: {log}"))
}
