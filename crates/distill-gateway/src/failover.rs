//! What happens after a failed attempt: the one policy, as a table.
//!
//! A failure is classified once ([`of_status`]); its row says whether the same target is tried
//! again, who is asked next, what becomes of the target, and what the attempt may have cost.
//! Nothing else in this crate decides any of that.

mod rest;

use std::time::Duration;

pub use crate::dialect::{VendorError, vendor_error};

pub use rest::rest_from_headers;

/// What went wrong with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection: the request never left.
    ConnectFailed,
    /// The connection broke after the request had left.
    ConnectionLost,
    ServerError,
    RateLimited,
    /// No answer within the attempt's time.
    Timeout,
    /// An answer began and then no byte came for too long.
    Stalled,
    /// Status 200 with a body that cannot be read.
    Malformed,
    /// A whole answer that is not the JSON it had to be.
    InvalidOutput,
    /// The request itself is wrong.
    RequestFault,
    KeyRefused,
    QuotaSpent,
    ModelGone,
    /// The vendor gave up waiting for itself (408).
    RequestTimeout,
    ContextTooLong,
    /// A redirect or another answer that no vendor gives: the address is wrong.
    WrongAddress,
}

/// Who is asked after the permitted retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    NextTarget,
    ReturnToCaller,
}

/// What becomes of the target for other requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Stays,
    /// Rests as long as its headers say, or the given time when they say nothing.
    RestsAsTold(Duration),
    /// Takes no prompt as long as this one.
    OutForLongerPrompts,
    OutFor(Duration),
    Out,
}

/// What an attempt that ended so may have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Vendors charge nothing for it.
    Nothing,
    /// The reply says.
    AsReported,
    /// It may have been charged; the reservation stands.
    Unknown,
}

/// One row of the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub failure: Failure,
    /// The name in the journal and in messages.
    pub name: &'static str,
    /// Immediate retries at the same target, per request.
    pub retries_here: u32,
    pub then: Then,
    pub effect: Effect,
    /// Whether somebody must look at it.
    pub alert: bool,
    /// Whether it counts towards opening the target's circuit breaker.
    pub breaks: bool,
    pub cost: Cost,
}

/// How long a throttled target rests when it does not say.
const UNTOLD_REST: Duration = Duration::from_secs(2);
/// How long a target that answered 408 is left alone.
const AFTER_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

const fn rule(failure: Failure, name: &'static str) -> Rule {
    Rule {
        failure,
        name,
        retries_here: 0,
        then: Then::NextTarget,
        effect: Effect::Stays,
        alert: false,
        breaks: false,
        cost: Cost::Nothing,
    }
}

const fn target_fault(failure: Failure, name: &'static str, effect: Effect) -> Rule {
    Rule {
        effect,
        alert: true,
        ..rule(failure, name)
    }
}

/// The policy.
pub const RULES: [Rule; 15] = [
    Rule {
        retries_here: 1,
        breaks: true,
        ..rule(Failure::ConnectFailed, "connect_failed")
    },
    Rule {
        retries_here: 1,
        breaks: true,
        cost: Cost::Unknown,
        ..rule(Failure::ConnectionLost, "connection_lost")
    },
    Rule {
        retries_here: 1,
        breaks: true,
        ..rule(Failure::ServerError, "server_error")
    },
    Rule {
        effect: Effect::RestsAsTold(UNTOLD_REST),
        ..rule(Failure::RateLimited, "rate_limited")
    },
    Rule {
        breaks: true,
        cost: Cost::Unknown,
        ..rule(Failure::Timeout, "timeout")
    },
    Rule {
        breaks: true,
        cost: Cost::Unknown,
        ..rule(Failure::Stalled, "stalled")
    },
    Rule {
        breaks: true,
        cost: Cost::Unknown,
        ..rule(Failure::Malformed, "malformed")
    },
    Rule {
        cost: Cost::AsReported,
        ..rule(Failure::InvalidOutput, "invalid_output")
    },
    Rule {
        then: Then::ReturnToCaller,
        ..rule(Failure::RequestFault, "request_fault")
    },
    target_fault(Failure::KeyRefused, "key_refused", Effect::Out),
    target_fault(Failure::QuotaSpent, "quota_spent", Effect::Out),
    target_fault(Failure::ModelGone, "model_gone", Effect::Out),
    target_fault(
        Failure::RequestTimeout,
        "request_timeout",
        Effect::OutFor(AFTER_REQUEST_TIMEOUT),
    ),
    target_fault(
        Failure::ContextTooLong,
        "context_too_long",
        Effect::OutForLongerPrompts,
    ),
    target_fault(Failure::WrongAddress, "wrong_address", Effect::Out),
];

impl Failure {
    /// Its row of the policy.
    pub fn rule(self) -> Rule {
        *RULES
            .iter()
            .find(|rule| rule.failure == self)
            .expect("a test holds that every failure has a row")
    }

    /// Whether the target itself is unusable, which another try later will not change.
    pub fn is_target_fault(self) -> bool {
        self.rule().alert
    }
}

/// Classifies an answer that is not a success. Some vendors hide the target's fault behind a status
/// that elsewhere means the caller's; the body tells.
pub fn of_status(status: u16, error: &VendorError) -> Failure {
    let message = error.message.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    let is = |codes: &[&str]| codes.contains(&error.code.as_str());
    let too_long = is(&["context_length_exceeded", "exceed_context_size_error"])
        || says(&[
            "maximum context length",
            "context window",
            "prompt is too long",
            "context length exceeded",
            "exceed context limit",
            "available context size",
            "maximum prompt length",
            "maximum number of tokens allowed",
            "input is too long",
        ])
        // A request that alone passes the account's tokens a minute fits no later minute either.
        || (status == 413 && is(&["rate_limit_exceeded"]));
    match status {
        400 | 413 | 422 if too_long => Failure::ContextTooLong,
        400 if says(&["credit balance"]) => Failure::QuotaSpent,
        400 if says(&["incorrect api key", "invalid api key"]) => Failure::KeyRefused,
        400 if is(&["model_decommissioned", "model_not_found", "invalid_model"]) => {
            Failure::ModelGone
        }
        // What a moderation stops is the request's own, and the key is as good as before.
        403 if says(&[
            "flagged",
            "moderation",
            "usage guidelines",
            "content policy",
        ]) =>
        {
            Failure::RequestFault
        }
        404 if names_a_missing_part(&message) => Failure::RequestFault,
        401 | 403 => Failure::KeyRefused,
        402 => Failure::QuotaSpent,
        404 | 410 => Failure::ModelGone,
        408 => Failure::RequestTimeout,
        429 if error.code == "insufficient_quota" => Failure::QuotaSpent,
        429 => Failure::RateLimited,
        400..=499 => Failure::RequestFault,
        500..=599 => Failure::ServerError,
        _ => Failure::WrongAddress,
    }
}

/// Whether an answer of 404 is about something that the request names (an earlier response or its
/// item, a file, a container), so that the model is there all the same.
fn names_a_missing_part(message: &str) -> bool {
    !message.contains("model")
        && [
            "item with id",
            "response with id",
            "prompt with id",
            "conversation",
            "container",
            "vector store",
            "file not found",
            "no such file",
        ]
        .iter()
        .any(|part| message.contains(part))
}

#[cfg(test)]
mod tests {
    use super::{Cost, Effect, Failure, RULES, Then, of_status};
    use crate::dialect::VendorError;

    #[test]
    fn every_failure_has_one_row_and_a_name_of_its_own() {
        for (index, rule) in RULES.iter().enumerate() {
            assert_eq!(rule.failure.rule(), *rule);
            assert!(!RULES[..index].iter().any(|other| other.name == rule.name));
            assert!(
                rule.retries_here <= 1,
                "`{}`: one permitted retry at most",
                rule.name
            );
            if rule.then == Then::ReturnToCaller {
                assert_eq!(
                    (rule.effect, rule.alert),
                    (Effect::Stays, false),
                    "{}",
                    rule.name
                );
            }
        }
        // The compiler names this match when a failure is added.
        let all = |failure: Failure| match failure {
            Failure::ConnectFailed
            | Failure::ConnectionLost
            | Failure::ServerError
            | Failure::RateLimited
            | Failure::Timeout
            | Failure::Stalled
            | Failure::Malformed
            | Failure::InvalidOutput
            | Failure::RequestFault
            | Failure::KeyRefused
            | Failure::QuotaSpent
            | Failure::ModelGone
            | Failure::RequestTimeout
            | Failure::ContextTooLong
            | Failure::WrongAddress => 15,
        };
        assert_eq!(RULES.len(), all(Failure::Timeout));
    }

    #[test]
    fn what_may_have_been_charged_is_never_booked_as_free() {
        for failure in [
            Failure::ConnectionLost,
            Failure::Timeout,
            Failure::Stalled,
            Failure::Malformed,
        ] {
            assert_eq!(failure.rule().cost, Cost::Unknown);
        }
    }

    #[test]
    fn statuses_are_classified_by_whose_fault_they_are() {
        let plain = VendorError::default();
        for (status, failure) in [
            (400, Failure::RequestFault),
            (401, Failure::KeyRefused),
            (402, Failure::QuotaSpent),
            (403, Failure::KeyRefused),
            (404, Failure::ModelGone),
            (408, Failure::RequestTimeout),
            (410, Failure::ModelGone),
            (413, Failure::RequestFault),
            (422, Failure::RequestFault),
            (429, Failure::RateLimited),
            (500, Failure::ServerError),
            (529, Failure::ServerError),
            (301, Failure::WrongAddress),
        ] {
            assert_eq!(of_status(status, &plain), failure, "{status}");
        }
    }

    #[test]
    fn the_body_tells_the_targets_fault_from_the_callers() {
        for (status, code, message, failure) in [
            (400, "context_length_exceeded", "", Failure::ContextTooLong),
            (
                400,
                "invalid_request_error",
                "prompt is too long: 210000 tokens > 200000 maximum",
                Failure::ContextTooLong,
            ),
            (
                400,
                "invalid_request_error",
                "Your credit balance is too low",
                Failure::QuotaSpent,
            ),
            (400, "", "Incorrect API key provided", Failure::KeyRefused),
            (
                429,
                "insufficient_quota",
                "You exceeded your current quota",
                Failure::QuotaSpent,
            ),
            (
                429,
                "rate_limit_exceeded",
                "slow down",
                Failure::RateLimited,
            ),
            (
                400,
                "",
                "`temperature` is not supported",
                Failure::RequestFault,
            ),
            (
                400,
                "invalid_request_error",
                "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000",
                Failure::ContextTooLong,
            ),
            (
                400,
                "INVALID_ARGUMENT",
                "The input token count (1145104) exceeds the maximum number of tokens allowed (1048576).",
                Failure::ContextTooLong,
            ),
            (
                413,
                "rate_limit_exceeded",
                "Request too large on tokens per minute (TPM): Limit 6000, Requested 9000",
                Failure::ContextTooLong,
            ),
            (
                400,
                "model_decommissioned",
                "The model has been decommissioned",
                Failure::ModelGone,
            ),
            (
                403,
                "403",
                "Your chosen model requires moderation and your input was flagged",
                Failure::RequestFault,
            ),
            (
                404,
                "invalid_request_error",
                "Item with id 'rs_1' not found. Items are not persisted when `store` is false.",
                Failure::RequestFault,
            ),
            (
                404,
                "not_found_error",
                "File not found: file_1",
                Failure::RequestFault,
            ),
            (
                404,
                "model_not_found",
                "The model `profile` does not exist",
                Failure::ModelGone,
            ),
        ] {
            let error = VendorError {
                message: message.into(),
                code: code.into(),
            };
            assert_eq!(
                of_status(status, &error),
                failure,
                "{status} {code} {message}"
            );
        }
    }
}
