//! An error on its way to a caller.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use distill_ledger::Refusal;
use distill_wire::{Dialect, ErrorKind, ErrorReply, RequestError};

/// What a caller is told in place of an answer: in the shape of its dialect, with a status that its
/// client library understands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) reply: ErrorReply,
    /// When asking again may help.
    pub(crate) retry_after: Option<Duration>,
}

impl Problem {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            status: status_of(kind),
            reply: ErrorReply {
                kind,
                message: message.into(),
                code: None,
                param: None,
            },
            retry_after: None,
        }
    }

    #[must_use]
    pub(crate) fn code(mut self, code: &str) -> Self {
        self.reply.code = Some(code.to_owned());
        self
    }

    #[must_use]
    pub(crate) fn param(mut self, param: &str) -> Self {
        self.reply.param = Some(param.to_owned());
        self
    }

    #[must_use]
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The answer in the shape of a dialect.
    pub(crate) fn response(&self, dialect: Dialect) -> Response<Body> {
        let mut response = Response::new(Body::from(dialect.write_error(&self.reply)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds(wait).into());
        }
        response
    }
}

/// Whole seconds, never fewer than the wait: a client that comes too early is refused again.
fn seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

/// A long wait as people read it, rounded up.
fn in_words(wait: Duration) -> String {
    let seconds = seconds(wait);
    if seconds <= 120 {
        return format!("{seconds} s");
    }
    let minutes = seconds.div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours @ 0..48, minutes) => format!("{hours} h {minutes} min"),
        (hours, _) => format!("{} days", hours.div_ceil(24)),
    }
}

/// The status that the dialects' client libraries expect of each kind.
pub(crate) fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorKind::Authentication => StatusCode::UNAUTHORIZED,
        ErrorKind::Billing => StatusCode::PAYMENT_REQUIRED,
        ErrorKind::Permission => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::RateLimit => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Server => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

impl From<Refusal> for Problem {
    /// A spent budget and a pause answer 402: client libraries ask again after a 429 by themselves,
    /// which would change nothing here.
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::RateLimited { what, retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    ErrorKind::RateLimit,
                    format!("{what} is reached; ask again in {} s", seconds(retry_after)),
                )
                .code("rate_limit_exceeded")
            },
            Refusal::Budget {
                what,
                cap,
                committed,
                needed,
                fresh_in,
            } => {
                let next = match fresh_in {
                    Some(wait) => format!("it is fresh again in {}", in_words(wait)),
                    None => "ask whoever keeps it to raise it".to_owned(),
                };
                Self {
                    retry_after: fresh_in,
                    ..Self::new(
                        ErrorKind::Billing,
                        format!(
                            "{what} is {cap}, of which {committed} is spent or reserved; this request may \
                             need {needed} more: {next}"
                        ),
                    )
                    .code("budget_exceeded")
                }
            }
            Refusal::Paused { question } => Self::new(
                ErrorKind::Billing,
                format!(
                    "new requests are paused: {question}; `distill spend` or the usage page lets them go on"
                ),
            )
            .code("spend_paused"),
            // What cannot be written is the operator's to know: the caller learns that it was not asked.
            Refusal::Unavailable { .. } => Self::new(
                ErrorKind::Overloaded,
                "the ledger cannot be written, so nothing was sent; ask again later",
            )
            .code("ledger_unavailable"),
        }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let problem = Self::new(ErrorKind::InvalidRequest, error.to_string());
        match error {
            RequestError::Missing { field } | RequestError::Invalid { field, .. } => {
                problem.param(&field)
            }
            RequestError::NotJson(_) => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use distill_gateway::Usd;
    use distill_ledger::Refusal;
    use distill_wire::{ErrorKind, RequestError};

    use super::{Problem, seconds};

    #[test]
    fn a_wait_is_never_told_too_short() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_millis(1001)), 2);
        assert_eq!(seconds(Duration::from_mins(1)), 60);
    }

    #[test]
    fn each_refusal_has_the_status_that_makes_a_client_do_the_right_thing() {
        let limited = Problem::from(Refusal::RateLimited {
            what: "the limit of 5 requests a minute of user `ada`".into(),
            retry_after: Duration::from_millis(1500),
        });
        assert_eq!(limited.status, 429);
        assert_eq!(
            limited.reply.message,
            "the limit of 5 requests a minute of user `ada` is reached; ask again in 2 s"
        );
        let spent = Problem::from(Refusal::Budget {
            what: "the budget of team `core` a day".into(),
            cap: Usd::from_dollars(5.0),
            committed: Usd::from_dollars(4.5),
            needed: Usd::from_dollars(0.75),
            fresh_in: Some(Duration::from_secs(17_162)),
        });
        assert_eq!(spent.status, 402);
        assert_eq!(
            spent.reply.message,
            "the budget of team `core` a day is $5.00, of which $4.50 is spent or reserved; this \
             request may need $0.7500 more: it is fresh again in 4 h 47 min"
        );
        let paused = Problem::from(Refusal::Paused {
            question: "question q-17 waits for an answer".into(),
        });
        assert_eq!(paused.status, 402);
        assert!(paused.reply.message.contains("q-17"));
        let broken = Problem::from(Refusal::Unavailable {
            problem: "/var/lib/secret-place: no space".into(),
        });
        assert_eq!(broken.status, 503);
        assert!(!broken.reply.message.contains("secret-place"), "{broken:?}");
    }

    #[test]
    fn a_request_error_names_its_field() {
        let problem = Problem::from(RequestError::Missing {
            field: "messages".into(),
        });
        assert_eq!(problem.status, 400);
        assert_eq!(problem.reply.kind, ErrorKind::InvalidRequest);
        assert_eq!(problem.reply.param.as_deref(), Some("messages"));
    }
}
