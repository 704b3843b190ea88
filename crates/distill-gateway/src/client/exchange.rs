//! One exchange over HTTP: bytes out, a reply or a classified failure back. No money, no journal.

use std::time::{Duration, SystemTime};

use distill_wire::Malformed;
use tokio::time::{Instant, timeout};

use super::Shared;
use crate::{
    Failure, Target,
    dialect::{self, Reply, vendor_error},
    failover::{of_status, rest_from_headers},
    secret,
    simulate::SAMPLE_HEADER,
};

/// A body larger than this is no answer of a language model.
const LARGEST_BODY: usize = 32 * 1024 * 1024;

/// A reply with what is kept of it.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) reply: Reply,
    pub(super) raw: String,
    pub(super) latency: Duration,
}

/// An exchange that brought no reply.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) failure: Failure,
    pub(super) status: Option<u16>,
    pub(super) message: String,
    /// How long the target asked to be left alone.
    pub(super) rest: Option<Duration>,
    pub(super) latency: Duration,
}

/// Sends a body to a target.
pub(super) async fn exchange(
    shared: &Shared,
    target: &Target,
    body: String,
    (attempt, sample): (&str, u32),
    time: Duration,
) -> Result<Received, Broken> {
    let started = Instant::now();
    let finished = timeout(time, send(shared, target, body, (attempt, sample))).await;
    let latency = started.elapsed();
    match finished {
        Ok(Ok((reply, raw))) => Ok(Received {
            reply,
            raw,
            latency,
        }),
        Ok(Err(broken)) => Err(Broken {
            message: secret::without(&broken.message, target.key()),
            latency,
            ..broken
        }),
        Err(_) => Err(Broken {
            latency,
            ..broken(
                Failure::Timeout,
                format!("no answer within {} s", time.as_secs_f64()),
            )
        }),
    }
}

async fn send(
    shared: &Shared,
    target: &Target,
    body: String,
    (attempt, sample): (&str, u32),
) -> Result<(Reply, String), Broken> {
    let dialect = target.dialect();
    let url = target.url(dialect, false);
    let mut request = shared
        .clients
        .for_target(target)
        .post(url)
        .header("content-type", "application/json")
        .header("x-client-request-id", attempt)
        .body(body);
    if sample > 0 && target.simulated() {
        // A vendor's own chance makes the second answer another one; a simulation has to be told.
        request = request.header(SAMPLE_HEADER, sample);
    }
    for (name, value) in dialect::headers(dialect) {
        request = request.header(*name, *value);
    }
    if let Some(key) = target.key() {
        let (name, before) = target.vendor().key_header;
        let value = reqwest::header::HeaderValue::try_from(format!("{before}{}", key.expose()));
        let Ok(mut value) = value else {
            return Err(broken(
                Failure::KeyRefused,
                "the key holds characters that no header can carry".to_owned(),
            ));
        };
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    let mut response = request.send().await.map_err(|error| {
        let failure = if error.is_connect() {
            Failure::ConnectFailed
        } else if error.is_timeout() {
            Failure::Timeout
        } else {
            Failure::ConnectionLost
        };
        broken(failure, chain_of(&error))
    })?;
    let status = response.status().as_u16();
    let rest = rest_from_headers(
        &|name| Some(response.headers().get(name)?.to_str().ok()?.to_owned()),
        seconds_since_epoch(),
    );
    let body = read(&mut response, shared.settings.timeouts.idle)
        .await
        .map_err(|broken| Broken {
            status: Some(status),
            ..broken
        });
    if !(200..300).contains(&status) {
        // An error whose body cannot be read is still that error.
        let error = vendor_error(&body.unwrap_or_default());
        return Err(Broken {
            status: Some(status),
            rest,
            ..broken(of_status(status, &error), error.message)
        });
    }
    let body = body?;
    let reply = dialect::parse(dialect, &body).map_err(|malformed| Broken {
        status: Some(status),
        ..broken(Failure::Malformed, describe(&malformed))
    })?;
    Ok((reply, String::from_utf8_lossy(&body).into_owned()))
}

async fn read(response: &mut reqwest::Response, idle: Duration) -> Result<Vec<u8>, Broken> {
    let mut body = Vec::new();
    loop {
        match timeout(idle, response.chunk()).await {
            Err(_) => {
                let message = format!(
                    "no byte for {} s after {} bytes",
                    idle.as_secs_f64(),
                    body.len()
                );
                return Err(broken(Failure::Stalled, message));
            }
            Ok(Err(error)) => return Err(broken(Failure::ConnectionLost, chain_of(&error))),
            Ok(Ok(None)) => return Ok(body),
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() > LARGEST_BODY => {
                let message = format!("the body is larger than {LARGEST_BODY} bytes");
                return Err(broken(Failure::Malformed, message));
            }
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
        }
    }
}

fn broken(failure: Failure, message: String) -> Broken {
    Broken {
        failure,
        status: None,
        message,
        rest: None,
        latency: Duration::ZERO,
    }
}

/// The parser's message names a place in the body, never its words.
fn describe(malformed: &Malformed) -> String {
    malformed.to_string()
}

/// The causes of a transport error in one line; the URL stays out.
fn chain_of(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn seconds_since_epoch() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}
