//! A request's body, read within bounds of size and time.

use std::{future::poll_fn, pin::Pin, time::Duration};

use axum::{
    body::{Bytes, HttpBody},
    http::{HeaderMap, StatusCode, header},
};
use distill_wire::ErrorKind;

use crate::problem::Problem;

/// Reads a whole body.
///
/// # Errors
/// A [`Problem`]: too large (413), too slow (408), compressed (415) or broken off (400).
pub(crate) async fn read<B>(
    headers: &HeaderMap,
    body: B,
    limit: u64,
    patience: Duration,
) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        return Err(Problem::new(
            ErrorKind::InvalidRequest,
            "the body is compressed; send it without a content-encoding",
        )
        .status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let mut body = std::pin::pin!(body);
    let result = if body.size_hint().lower() > limit {
        Ok(Err(too_large(limit)))
    } else {
        tokio::time::timeout(patience, collect(body.as_mut(), limit)).await
    };
    if let Ok(Err(problem)) = &result
        && problem.status == StatusCode::PAYLOAD_TOO_LARGE
        && !headers.contains_key(header::EXPECT)
    {
        let passing = let_pass(body, limit.saturating_mul(PASSED));
        // Whether it comes to its end or not, the answer is the same.
        let _ = tokio::time::timeout(PASSING.min(patience), passing).await;
    }
    result.unwrap_or_else(|_| {
        Err(Problem::new(
            ErrorKind::InvalidRequest,
            format!("the body did not arrive within {patience:?}"),
        )
        .status(StatusCode::REQUEST_TIMEOUT))
    })
}

/// Of a body that is refused, so many times the limit are let pass.
const PASSED: u64 = 4;
/// How long that may take.
const PASSING: Duration = Duration::from_secs(5);

/// Reads what is refused and forgets it: a client that writes its whole body before it reads would
/// otherwise find its connection broken, and not learn why.
async fn let_pass<B>(mut body: Pin<&mut B>, most: u64)
where
    B: HttpBody<Data = Bytes>,
{
    let mut passed = 0;
    while passed <= most
        && let Some(Ok(frame)) = poll_fn(|context| body.as_mut().poll_frame(context)).await
    {
        passed += frame.data_ref().map_or(0, Bytes::len) as u64;
    }
}

async fn collect<B>(mut body: Pin<&mut B>, limit: u64) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let expected = body.size_hint().exact();
    // One piece, as most bodies come, is not copied.
    let mut first = Bytes::new();
    let mut whole: Vec<u8> = Vec::new();
    while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let frame = frame.map_err(|_| {
            Problem::new(
                ErrorKind::InvalidRequest,
                "the body broke off before its end",
            )
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let so_far = first.len().max(whole.len()) + data.len();
        if so_far as u64 > limit {
            return Err(too_large(limit));
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                // A stated length is within the limit, so that it can be trusted with memory.
                whole.reserve(expected.map_or(so_far * 2, |length| length as usize));
                whole.extend_from_slice(&first);
                first = Bytes::new();
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() {
        first
    } else {
        whole.into()
    })
}

fn too_large(limit: u64) -> Problem {
    Problem::new(
        ErrorKind::TooLarge,
        format!("the body is larger than {limit} bytes (`security.max_body` in the configuration)"),
    )
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use axum::{
        body::{Body, Bytes},
        http::HeaderMap,
    };
    use futures_util::{StreamExt as _, stream};

    use super::read;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn pieces(pieces: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(pieces.iter().map(|piece| {
            Ok::<_, std::io::Error>(Bytes::from_static(piece.as_bytes()))
        })))
    }

    #[tokio::test]
    async fn pieces_are_joined() {
        let headers = HeaderMap::new();
        for (sent, expected) in [
            (&[][..], ""),
            (&["{}"][..], "{}"),
            (&["{", "", "\"a\"", ":1}"][..], "{\"a\":1}"),
        ] {
            let body = read(&headers, pieces(sent), 100, PATIENCE).await.unwrap();
            assert_eq!(body, expected.as_bytes());
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_whether_it_says_so_or_not() {
        let headers = HeaderMap::new();
        let told = read(&headers, Body::from("12345"), 4, PATIENCE).await;
        let untold = read(&headers, pieces(&["123", "45"]), 4, PATIENCE).await;
        for problem in [told.unwrap_err(), untold.unwrap_err()] {
            assert_eq!(problem.status, 413);
        }
        assert!(
            read(&headers, pieces(&["123", "4"]), 4, PATIENCE)
                .await
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_writes_before_it_reads_hears_why_it_is_refused() {
        let sent = |pieces: usize| {
            let taken = Arc::new(AtomicUsize::new(0));
            let count = taken.clone();
            let pieces = stream::iter(0..pieces).map(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>(Bytes::from_static(b"x"))
            });
            (taken, pieces)
        };
        let mut headers = HeaderMap::new();
        // All of it, but not of one without end.
        for (pieces, expected) in [(12, 12), (usize::MAX, 26)] {
            let (taken, body) = sent(pieces);
            let problem = read(&headers, Body::from_stream(body), 4, PATIENCE).await;
            assert_eq!(problem.unwrap_err().status, 413);
            let taken = taken.load(Ordering::Relaxed);
            assert!(taken <= expected && taken >= expected.min(12), "{taken}");
        }
        let (_, beginning) = sent(5);
        let stuck = Body::from_stream(beginning.chain(stream::pending()));
        let problem = read(&headers, stuck, 4, PATIENCE).await;
        assert_eq!(problem.unwrap_err().status, 413);
        // Whoever asks first is answered first.
        headers.insert("expect", "100-continue".parse().unwrap());
        let (taken, body) = sent(12);
        let problem = read(&headers, Body::from_stream(body), 4, PATIENCE).await;
        assert_eq!(problem.unwrap_err().status, 413);
        assert_eq!(taken.load(Ordering::Relaxed), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let problem = read(&HeaderMap::new(), never, 4, PATIENCE)
            .await
            .unwrap_err();
        assert_eq!(problem.status, 408);
    }

    #[tokio::test]
    async fn a_compressed_body_is_refused_with_a_reason() {
        let mut headers = HeaderMap::new();
        headers.insert("content-encoding", "gzip".parse().unwrap());
        let problem = read(&headers, Body::from("x"), 4, PATIENCE)
            .await
            .unwrap_err();
        assert_eq!(problem.status, 415);
        headers.insert("content-encoding", "identity".parse().unwrap());
        assert!(read(&headers, Body::from("x"), 4, PATIENCE).await.is_ok());
    }
}
