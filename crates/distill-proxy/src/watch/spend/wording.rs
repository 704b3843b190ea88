//! Questions about spend in words, and as messages for a chat.

use std::time::Duration;

use distill_ledger::{Answer, Question, Scope};
use serde_json::{Value, json};

use super::super::webhook::escaped;
use crate::config::{self, Config, SpendConfig, WebhookConfig};

/// A length of time as people say it: `hour`, `90 minutes`, `6 hours`, `14 days`.
pub(super) fn span(length: Duration) -> String {
    let minutes = length.as_secs() / 60;
    match minutes {
        0 => format!("{} seconds", length.as_secs()),
        1 => "minute".to_owned(),
        60 => "hour".to_owned(),
        1_440 => "day".to_owned(),
        minutes if minutes.is_multiple_of(1_440) => format!("{} days", minutes / 1_440),
        minutes if minutes.is_multiple_of(60) => format!("{} hours", minutes / 60),
        minutes => format!("{minutes} minutes"),
    }
}

/// A count with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What is asked.
pub(super) fn asking(user: &str, found: &str, spend: &SpendConfig, simulated: bool) -> String {
    let otherwise = match spend.default_answer {
        config::Answer::Stop => "new requests are stopped",
        config::Answer::GoOn => "it goes on",
    };
    let made_up = if simulated {
        " (simulated vendors have part in it: nothing of that was paid)"
    } else {
        ""
    };
    format!(
        "{user} {found}{made_up}. Did you mean to spend this? Without an answer within {}, {otherwise}.",
        span(spend.answer_within)
    )
}

/// What the default answer came to.
pub(crate) fn default_wording(question: &Question) -> String {
    let who = match &question.about {
        Scope::User(user) => user.as_str(),
        _ => "somebody",
    };
    match question.answer {
        Some(Answer::Stop) => format!(
            "Nobody answered question {} in time: {who}'s new requests are stopped. `distill spend answer {} go` lifts it.",
            question.id, question.id
        ),
        _ => format!(
            "Nobody answered question {} in time: {who} goes on.",
            question.id
        ),
    }
}

/// Where a question is posted, and as what: text for any receiver, and blocks with a link to the page
/// for a chat that draws them.
pub fn question_message(question: &Question, config: &Config) -> (Option<WebhookConfig>, Value) {
    let person = match &question.about {
        Scope::User(user) => config.people.iter().find(|person| person.name == *user),
        _ => None,
    };
    let to = person
        .and_then(|person| person.webhook.clone())
        .or_else(|| config.spend.webhook.clone())
        .or_else(|| config.alerts.webhook.clone());
    let address = config
        .alerts
        .public_url
        .clone()
        .unwrap_or_else(|| format!("http://{}", config.listen));
    let page = format!("{address}/ui#go-{}", question.id);
    let wording = escaped(&question.wording);
    let commands = format!(
        "`distill spend answer {id} go` or `distill spend answer {id} stop`",
        id = question.id
    );
    let message = json!({
        "text": format!("{wording}\n{page}\n{commands}"),
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": wording}},
            {"type": "actions", "elements": [{
                "type": "button",
                "text": {"type": "plain_text", "text": "Go on or stop"},
                "url": page,
            }]},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": commands}]},
        ],
    });
    (to, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{count, span};

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(span(Duration::from_hours(1)), "hour");
        assert_eq!(span(Duration::from_mins(90)), "90 minutes");
        assert_eq!(span(Duration::from_hours(14 * 24)), "14 days");
        assert_eq!(span(Duration::from_secs(5)), "5 seconds");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(5_000_000), "5,000,000");
    }
}
