use std::{net::SocketAddr, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{Request, Response},
};
use futures_util::stream;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{ConnectionLimits, Drained, FULL, accept};

/// A server whose `/stream` answers are fed piece by piece.
struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    pieces: mpsc::UnboundedSender<&'static str>,
    ended: JoinHandle<Drained>,
}

async fn start(limits: ConnectionLimits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let (pieces, fed) = mpsc::unbounded_channel();
    let fed = std::sync::Arc::new(std::sync::Mutex::new(Some(fed)));
    let token = stop.clone();
    let ended = tokio::spawn(async move {
        accept(
            listener,
            &limits,
            &token,
            move |_, request: Request<Incoming>| {
                let fed = (request.uri().path() == "/stream")
                    .then(|| fed.lock().unwrap().take())
                    .flatten();
                async move {
                    let body = match fed {
                        Some(fed) => Body::from_stream(stream::unfold(fed, |mut fed| async {
                            let piece: &str = fed.recv().await?;
                            Some((Ok::<_, std::io::Error>(Bytes::from(piece)), fed))
                        })),
                        None => Body::from("whole"),
                    };
                    Response::new(body)
                }
            },
        )
        .await
    });
    Running {
        address,
        stop,
        pieces,
        ended,
    }
}

async fn ask(stream: &mut TcpStream, path: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
}

/// Reads until the text has come; what was read.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read);
        if text.contains(end) {
            return text.into_owned();
        }
        let count = stream.read_buf(&mut read).await.unwrap();
        assert!(count > 0, "closed before `{end}`: {read:?}");
    }
}

async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // A reset is a close, too.
    let _ = stream.read_to_end(&mut read).await;
    String::from_utf8_lossy(&read).into_owned()
}

#[test]
fn the_answer_over_the_cap_is_whole() {
    let text = std::str::from_utf8(FULL).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.ends_with(&format!("content-length: {}", body.len())));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"]["type"], "overloaded_error");
}

#[tokio::test]
async fn a_stop_lets_a_stream_finish_and_takes_nobody_new() {
    let server = start(ConnectionLimits::default()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    ask(&mut idle, "/").await;
    read_until(&mut idle, "whole").await;
    let mut streaming = TcpStream::connect(server.address).await.unwrap();
    ask(&mut streaming, "/stream").await;
    server.pieces.send("first").unwrap();
    read_until(&mut streaming, "first").await;

    server.stop.cancel();
    assert_eq!(
        read_to_close(&mut idle).await,
        "",
        "an idle connection ends"
    );
    server.pieces.send("last").unwrap();
    drop(server.pieces);
    let rest = read_to_close(&mut streaming).await;
    assert!(
        rest.contains("last") && rest.ends_with("0\r\n\r\n"),
        "{rest}"
    );
    assert_eq!(server.ended.await.unwrap(), Drained { cut: 0 });
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_stream_that_outlasts_the_bound_is_cut_and_counted() {
    let limits = ConnectionLimits {
        drain_time: Duration::from_millis(50),
        ..ConnectionLimits::default()
    };
    let server = start(limits).await;
    let mut streaming = TcpStream::connect(server.address).await.unwrap();
    ask(&mut streaming, "/stream").await;
    server.pieces.send("first").unwrap();
    read_until(&mut streaming, "first").await;
    server.stop.cancel();
    assert_eq!(server.ended.await.unwrap(), Drained { cut: 1 });
    assert!(!read_to_close(&mut streaming).await.ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn a_head_that_dribbles_is_given_up_and_an_idle_connection_is_not() {
    let limits = ConnectionLimits {
        header_time: Duration::from_millis(100),
        idle_time: Duration::from_hours(1),
        ..ConnectionLimits::default()
    };
    let server = start(limits).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let mut kept = TcpStream::connect(server.address).await.unwrap();
    ask(&mut kept, "/").await;
    read_until(&mut kept, "whole").await;
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost: loc")
        .await
        .unwrap();
    let said = read_to_close(&mut slow).await;
    assert!(!said.contains("200 OK"), "{said}");
    // The slow one's end came after its wait, which began after the idle ones'.
    for stream in [&mut idle, &mut kept] {
        ask(stream, "/").await;
        read_until(stream, "whole").await;
    }
    // A head that dribbles on a connection that has served before is given up as well.
    kept.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    read_to_close(&mut kept).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let limits = ConnectionLimits {
        header_time: Duration::from_hours(1),
        idle_time: Duration::from_millis(50),
        ..ConnectionLimits::default()
    };
    let server = start(limits).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(read_to_close(&mut idle).await, "");
}

#[tokio::test]
async fn heads_and_connections_have_bounds() {
    let limits = ConnectionLimits {
        connections: 2,
        header_bytes: 8192,
        headers: 8,
        ..ConnectionLimits::default()
    };
    let server = start(limits).await;
    let mut long = TcpStream::connect(server.address).await.unwrap();
    let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(9000));
    long.write_all(head.as_bytes()).await.unwrap();
    assert!(read_to_close(&mut long).await.starts_with("HTTP/1.1 431"));
    let mut many = TcpStream::connect(server.address).await.unwrap();
    let fields: String = (0..9).map(|number| format!("x-{number}: a\r\n")).collect();
    let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
    many.write_all(head.as_bytes()).await.unwrap();
    assert!(read_to_close(&mut many).await.starts_with("HTTP/1.1 431"));

    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // A place is free again a moment after its connection was closed.
        loop {
            ask(&mut stream, "/").await;
            let said = read_until(&mut stream, "\r\n\r\n").await;
            if said.starts_with("HTTP/1.1 200") {
                break;
            }
            stream = TcpStream::connect(server.address).await.unwrap();
        }
        held.push(stream);
    }
    let mut third = TcpStream::connect(server.address).await.unwrap();
    assert!(read_to_close(&mut third).await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_given_up() {
    let limits = ConnectionLimits {
        unread_time: Duration::from_millis(100),
        ..ConnectionLimits::default()
    };
    let server = start(limits).await;
    let mut deaf = TcpStream::connect(server.address).await.unwrap();
    ask(&mut deaf, "/stream").await;
    let piece: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    // Fed until nobody takes it any more: the connection with its stream was dropped.
    while server.pieces.send(piece).is_ok() {
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.stop.cancel();
    assert_eq!(server.ended.await.unwrap(), Drained { cut: 0 });
}
