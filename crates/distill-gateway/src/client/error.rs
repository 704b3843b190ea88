//! Why a request got no answer.

use std::{fmt, time::Duration};

use distill_chat::{ChatError, ErrorKind};

use crate::{Failure, JournalError, Usd};

/// Why a gateway cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the chain of models is empty")]
    EmptyChain,
    #[error("model `{target}` has no address: its provider was not started")]
    NoAddress { target: String },
    #[error("the budget is not more than $0.00")]
    NoBudget,
    #[error("preparing the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// One failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptFailure {
    pub target: String,
    pub failure: Failure,
    /// What the target said, without its key.
    pub message: String,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "the budget of {cap} is spent: {committed} are committed and the next request may cost {needed}"
    )]
    BudgetExhausted {
        scope: String,
        cap: Usd,
        /// Settled costs and the bounds of what is not settled.
        committed: Usd,
        needed: Usd,
    },
    #[error("`{target}` refuses the request (status {status}): {message}")]
    Refused {
        target: String,
        status: u16,
        message: String,
    },
    #[error("no model of the chain answered: {}", Failures(.failures))]
    ChainExhausted { failures: Vec<AttemptFailure> },
    #[error("no answer within {} s: {}", after.as_secs_f64(), Failures(.failures))]
    Deadline {
        after: Duration,
        failures: Vec<AttemptFailure>,
    },
    #[error("cancelled")]
    Cancelled,
    #[error(transparent)]
    Journal(#[from] JournalError),
}

struct Failures<'a>(&'a [AttemptFailure]);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("every one is resting or out");
        }
        for (index, failure) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let name = failure.failure.rule().name;
            write!(formatter, "{separator}`{}` {name}", failure.target)?;
            if !failure.message.is_empty() {
                write!(formatter, " ({})", failure.message)?;
            }
        }
        Ok(())
    }
}

impl AskError {
    /// Whose fault it was.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BudgetExhausted { .. } => ErrorKind::Limit,
            Self::Refused { .. } => ErrorKind::Request,
            Self::ChainExhausted { failures } => {
                let target_fault = |failure: &AttemptFailure| failure.failure.is_target_fault();
                if !failures.is_empty() && failures.iter().all(target_fault) {
                    ErrorKind::Target
                } else {
                    ErrorKind::Transient
                }
            }
            Self::Deadline { .. } | Self::Journal(_) => ErrorKind::Transient,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::BudgetExhausted { .. } => Some(
                "raise `budget_usd`, or lower `max_tokens` or the number of rows; what was answered is kept"
                    .to_owned(),
            ),
            Self::ChainExhausted { failures } | Self::Deadline { failures, .. } => failures
                .iter()
                .find_map(|failure| hint(failure.failure, &failure.target)),
            Self::Journal(error) => error.hint(),
            Self::Refused { .. } | Self::Cancelled => None,
        }
    }
}

fn hint(failure: Failure, target: &str) -> Option<String> {
    Some(match failure {
        Failure::KeyRefused => format!("check the key of `{target}`"),
        Failure::QuotaSpent => format!("the account behind `{target}` has no credit left"),
        Failure::ModelGone => format!("check the name of the model `{target}`"),
        Failure::ConnectFailed => format!("check that `{target}` can be reached from here"),
        Failure::ContextTooLong => {
            format!("the prompt is too long for `{target}`: add a model that takes it to the chain")
        }
        _ => return None,
    })
}

impl From<AskError> for ChatError {
    fn from(error: AskError) -> Self {
        Self {
            kind: error.kind(),
            message: "asking the chain of models".to_owned(),
            source: Some(Box::new(error)),
        }
    }
}
