//! One exchange over HTTP up to the head of its answer.

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use distill_gateway::{
    Failure,
    failover::{of_status, rest_from_headers, vendor_error},
};
use distill_wire::Dialect;
use tokio::time::{Instant, timeout_at};

use super::{Context, body::Prepared, booked::Broken};
use crate::route::Member;

/// Headers of a caller that go on to a target of its own dialect: they say which form of the dialect
/// is meant. Everything else of a caller (its key, cookies, addresses) stays here.
const SENT_ON: [&str; 3] = ["anthropic-version", "anthropic-beta", "openai-beta"];

/// The version of the messages dialect that is written here.
const MESSAGES_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// A larger answer is no answer of a language model.
pub(super) const LARGEST_BODY: usize = 64 * 1024 * 1024;
/// An error that is longer is cut.
const LARGEST_ERROR: usize = 256 * 1024;
/// How long the body of an error is waited for.
const ERROR_BODY: Duration = Duration::from_secs(5);

/// Sends a request and reads the head of the answer; an answer that is no success is read whole and
/// classified. `until`: when the head must be there.
pub(super) async fn send(
    context: &Context,
    member: &Member,
    prepared: &Prepared<'_>,
    number: u32,
    until: Instant,
) -> Result<reqwest::Response, Broken> {
    let mut request = reqwest::Request::new(reqwest::Method::POST, prepared.url.clone());
    *request.body_mut() = Some(prepared.body.clone().into());
    *request.headers_mut() = headers(context, member, prepared, number);
    let sent = timeout_at(until, member.client.execute(request)).await;
    let response = match sent {
        Err(_) => return Err(late(context, until)),
        Ok(Err(error)) => return Err(of_transport(&error)),
        Ok(Ok(response)) => response,
    };
    if response.status().is_success() {
        return Ok(response);
    }
    Err(refused(response, until).await)
}

fn headers(context: &Context, member: &Member, prepared: &Prepared<'_>, number: u32) -> HeaderMap {
    let mut headers = member.live.headers.clone();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Ok(id) = HeaderValue::try_from(format!("{}-{number}", context.id)) {
        headers.insert(HeaderName::from_static("x-client-request-id"), id);
    }
    if prepared.passes {
        for name in SENT_ON {
            for value in context.headers.get_all(name) {
                headers.append(HeaderName::from_static(name), value.clone());
            }
        }
    }
    if prepared.dialect == Dialect::Messages {
        headers
            .entry(HeaderName::from_static("anthropic-version"))
            .or_insert(MESSAGES_VERSION);
    }
    headers
}

/// The time is over: the attempt's own, or that of the whole request.
pub(super) fn late(context: &Context, until: Instant) -> Broken {
    Broken::new(
        Failure::Timeout,
        if until >= context.deadline {
            "no answer before the end of the request's time"
        } else {
            "no answer in time"
        },
    )
}

/// Reads and classifies an answer that is no success.
async fn refused(mut response: reqwest::Response, until: Instant) -> Broken {
    let status = response.status().as_u16();
    let rest = rest_from_headers(
        &|name| Some(response.headers().get(name)?.to_str().ok()?.to_owned()),
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0.0, |time| time.as_secs_f64()),
    );
    let mut body = Vec::new();
    // An error whose body cannot be read is still that error.
    drop(
        timeout_at(until.min(Instant::now() + ERROR_BODY), async {
            while let Ok(Some(chunk)) = response.chunk().await {
                let room = LARGEST_ERROR.saturating_sub(body.len());
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if room == 0 {
                    break;
                }
            }
        })
        .await,
    );
    let error = vendor_error(&body);
    Broken {
        status: Some(status),
        rest,
        raw: Some(body),
        ..Broken::new(of_status(status, &error), error.message)
    }
}

/// A failure below HTTP.
pub(super) fn of_transport(error: &reqwest::Error) -> Broken {
    let failure = if error.is_connect() {
        Failure::ConnectFailed
    } else if error.is_timeout() {
        Failure::Timeout
    } else {
        Failure::ConnectionLost
    };
    Broken::new(failure, causes(error))
}

/// The causes of a transport error in one line; the URL stays out.
fn causes(error: &reqwest::Error) -> String {
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
