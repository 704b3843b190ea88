//! Connections: taken within a cap, kept within timeouts, ended with grace.

use std::{
    convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration,
};

use axum::{
    body::Body,
    http::{Request, Response},
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod patience;

use patience::{Waits, watched};

/// Bounds on what a client may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at once; a further one is told so and closed.
    pub connections: usize,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// From the first byte of a head to its end.
    pub header_time: Duration,
    /// How long a connection without a request is kept.
    pub idle_time: Duration,
    /// How long a client may leave what was sent to it unread before it is given up.
    pub unread_time: Duration,
    /// How long answers in flight may take once the server is told to stop.
    pub drain_time: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 64 << 10,
            headers: 128,
            header_time: Duration::from_secs(10),
            // Longer than the pools of client libraries keep theirs: who closes last loses no request.
            idle_time: Duration::from_mins(2),
            unread_time: Duration::from_mins(1),
            drain_time: Duration::from_mins(1),
        }
    }
}

/// Said to a connection over the cap: no dialect is known yet.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 95\r\n\r\n\
    {\"error\":{\"type\":\"overloaded_error\",\"message\":\"the proxy has no connection left; try again\"}}\n\n";

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because their answers took longer than the bound.
    pub cut: usize,
}

/// Serves until `stop` is cancelled, then lets answers in flight finish within the bound.
pub(crate) async fn accept<H, F>(
    listener: TcpListener,
    limits: &ConnectionLimits,
    stop: &CancellationToken,
    handler: H,
) -> Drained
where
    H: Fn(SocketAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        // The waits are the timer's own; hyper wants to know that there is one.
        .header_read_timeout(limits.header_time)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes);
    let places = Arc::new(Semaphore::new(limits.connections));
    let (tracker, cut) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file handles: they come back when connections end. Anything else was the
                // peer's and concerns no one else.
                if !is_of_the_peer(&error) {
                    sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
        };
        // Without it the kernel holds small pieces of a stream back. A connection that refuses is
        // slower, not wrong.
        let _ = stream.set_nodelay(true);
        let Ok(place) = places.clone().try_acquire_owned() else {
            tokio::spawn(refuse(stream));
            continue;
        };
        let handler = handler.clone();
        let waits = Waits {
            head: limits.header_time,
            idle: limits.idle_time,
        };
        let (stream, timer) = watched(stream, waits, limits.unread_time);
        let connection = builder.clone().timer(timer).serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| {
                let answer = handler(peer, request);
                async move { Ok::<_, Infallible>(answer.await) }
            }),
        );
        let (stop, cut) = (stop.clone(), cut.clone());
        tracker.spawn(async move {
            let _place = place;
            let mut connection = pin!(connection);
            tokio::select! {
                // A client that breaks off or talks nonsense is no event of ours.
                _ = connection.as_mut() => return,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            tokio::select! {
                _ = connection => {}
                () = cut.cancelled() => {}
            }
        });
    }
    drop(listener);
    tracker.close();
    let drained = tokio::time::timeout(limits.drain_time, tracker.wait()).await;
    let left = if drained.is_ok() { 0 } else { tracker.len() };
    cut.cancel();
    tracker.wait().await;
    Drained { cut: left }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

/// Tells a connection over the cap why it is closed.
async fn refuse(mut stream: TcpStream) {
    let told = async {
        stream.write_all(FULL).await?;
        stream.shutdown().await
    };
    // Whether it hears of it is its own affair; it gets no more of our time.
    let _ = tokio::time::timeout(Duration::from_secs(1), told).await;
}

#[cfg(test)]
mod tests;
