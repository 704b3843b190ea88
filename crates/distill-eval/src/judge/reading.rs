//! What a judge's words mean.

use serde_json::Value;

use super::{BEST_SCORE, share};
use crate::{Judgement, Score};

/// Which of the two shown answers a judge prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preference {
    First,
    Second,
    Tie,
}

impl Preference {
    /// The same preference, had the two been shown the other way round.
    fn swapped(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
            Self::Tie => Self::Tie,
        }
    }
}

/// Why a reply is no verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the judge's reply is not one JSON object")]
    NotAnObject,
    #[error("the judge's reply has no `{0}`")]
    Missing(&'static str),
    #[error("the judge's reply has `{0}`, which was not asked for")]
    Unknown(String),
    #[error("the judge's `score` is {0}, not a whole number from 1 to 5")]
    Score(String),
    #[error("the judge's `better` is {0}, not `first`, `second` or `tie`")]
    Preference(String),
}

/// Reads a score from 1 to 5.
///
/// # Errors
/// Why the reply is no verdict: nothing is guessed from prose.
pub fn read_score(reply: &str) -> Result<u8, Unreadable> {
    let value = field(reply, "score")?;
    value
        .as_u64()
        .and_then(|score| u8::try_from(score).ok())
        .filter(|score| (1..=BEST_SCORE).contains(score))
        .ok_or_else(|| Unreadable::Score(value.to_string()))
}

/// Reads a preference.
///
/// # Errors
/// Why the reply is no verdict.
pub fn read_preference(reply: &str) -> Result<Preference, Unreadable> {
    let value = field(reply, "better")?;
    match value.as_str() {
        Some("first") => Ok(Preference::First),
        Some("second") => Ok(Preference::Second),
        Some("tie") => Ok(Preference::Tie),
        _ => Err(Unreadable::Preference(value.to_string())),
    }
}

/// The one field that a verdict has besides its reason. A Markdown fence around the object is taken
/// off; prose around it is not.
fn field(reply: &str, name: &'static str) -> Result<Value, Unreadable> {
    let text = reply.trim();
    let text = text
        .strip_prefix("```")
        .and_then(|inner| inner.strip_suffix("```"))
        .map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner));
    let Ok(Value::Object(mut object)) = serde_json::from_str(text) else {
        return Err(Unreadable::NotAnObject);
    };
    object.remove("reason");
    let value = object.remove(name).ok_or(Unreadable::Missing(name))?;
    match object.keys().next() {
        None => Ok(value),
        Some(other) => Err(Unreadable::Unknown(other.clone())),
    }
}

/// A judgement of one answer; `Err` says why the judge gave no reply.
pub fn pointwise_judgement(reply: Result<&str, &str>) -> Judgement {
    Judgement {
        score: match reply.map(read_score) {
            Ok(Ok(score)) => Score::Value(share(score)),
            Ok(Err(problem)) => Score::unscored(problem.to_string()),
            Err(reason) => Score::unscored(reason),
        },
        reply: reply.ok().map(str::to_owned),
        orders_disagree: None,
        usd: None,
    }
}

/// A judgement of a pair from both orders: 1 when the candidate is better, 0 when the baseline is,
/// 0.5 for a tie. `shown_first` is the reply where the candidate stood first, `shown_second` where
/// it stood second. Orders that contradict each other are a tie; one unreadable reply is no verdict.
pub fn pairwise_judgement(
    shown_first: Result<&str, &str>,
    shown_second: Result<&str, &str>,
) -> Judgement {
    let read = |reply: Result<&str, &str>| match reply.map(read_preference) {
        Ok(Ok(preference)) => Ok(preference),
        Ok(Err(problem)) => Err(problem.to_string()),
        Err(reason) => Err(reason.to_owned()),
    };
    let replies: Vec<String> = [("first", shown_first), ("second", shown_second)]
        .into_iter()
        .filter_map(|(place, reply)| Some(format!("shown {place}: {}", reply.ok()?)))
        .collect();
    let value = |preference: Preference| match preference {
        Preference::First => 1.0,
        Preference::Tie => 0.5,
        Preference::Second => 0.0,
    };
    let (score, orders_disagree) = match (read(shown_first), read(shown_second)) {
        (Ok(one), Ok(other)) => {
            let disagree = one != other.swapped();
            let value = if disagree { 0.5 } else { value(one) };
            (Score::Value(value), Some(disagree))
        }
        (Err(reason), _) | (_, Err(reason)) => (Score::unscored(reason), None),
    };
    Judgement {
        score,
        reply: (!replies.is_empty()).then(|| replies.join("\n")),
        orders_disagree,
        usd: None,
    }
}
