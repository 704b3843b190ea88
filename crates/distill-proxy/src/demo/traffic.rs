//! A few requests a second from the demo's people: some streamed, some with tools, some the same as
//! before, some of tasks, and an agent that spends more than it should.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use distill_gateway::Secret;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::people::Person;
use crate::http::{Reach, client};

/// Time between two requests.
const PACE: Duration = Duration::from_millis(450);
/// Requests under way at most; beyond, one is left out.
const MOST_UNDER_WAY: usize = 8;
/// Longest time for a request.
const PATIENCE: Duration = Duration::from_secs(20);

const QUESTIONS: [&str; 16] = [
    "Why is the nightly build twice as slow as last month?",
    "Write a test for the parser's error recovery.",
    "Which of our endpoints has no owner?",
    "Explain the difference between a mutex and a semaphore.",
    "Rename the column without locking the table.",
    "Is this stack trace from the cache or the database?",
    "Draft a reply to a customer who was billed twice.",
    "Summarise the incident review in five sentences.",
    "What changed between the last two releases?",
    "Find the off-by-one error in this loop.",
    "How do I mock the clock in these tests?",
    "Suggest an index for the slowest query.",
    "Turn this shell script into a makefile.",
    "Which permissions does the deploy job really need?",
    "Explain this regular expression to a newcomer.",
    "Plan the migration to the new billing system.",
];

/// Runs until it is told to stop. Failures are part of what is shown, so nothing is made of them.
pub(super) async fn run(
    keys: &[(&'static Person, Secret)],
    address: SocketAddr,
    stop: CancellationToken,
) -> Result<(), reqwest::Error> {
    let client = client(Reach::Loopback)?;
    let places = Arc::new(Semaphore::new(MOST_UNDER_WAY));
    let all: u32 = keys.iter().map(|(person, _)| person.weight).sum();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        tokio::select! {
            _ = pace.tick() => {}
            () = stop.cancelled() => break,
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let mut drawn = (mixed(number) % u64::from(all.max(1))) as u32;
        let Some((person, key)) = keys.iter().find(|(person, _)| {
            let found = drawn < person.weight;
            drawn = drawn.saturating_sub(person.weight);
            found
        }) else {
            break;
        };
        let asked = ask(person, number);
        let request = client
            .post(format!("http://{address}{}", asked.path))
            .bearer_auth(key.expose())
            .header("content-type", "application/json")
            .timeout(PATIENCE)
            .body(asked.body.to_string());
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = read(request, asked.leaves) => {}
                () = stop.cancelled() => {}
            }
            drop(place);
        });
    }
    Ok(())
}

/// Reads an answer to its end, or only its first piece.
async fn read(request: reqwest::RequestBuilder, leaves: bool) {
    let Ok(response) = request.send().await else {
        return;
    };
    let mut pieces = response.bytes_stream();
    while let Some(Ok(_)) = pieces.next().await {
        if leaves {
            return;
        }
    }
}

/// Longest answer that people ask for, in tokens.
const MOST_TOKENS: u32 = 1_000;

struct Asked {
    path: String,
    body: Value,
    /// Whether the client hangs up after the first piece.
    leaves: bool,
}

/// The finaliser of `MurmurHash3`: looks like chance and is the same at every start.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

fn ask(person: &Person, number: u64) -> Asked {
    let draw = |what: u64, below: u64| mixed(number.wrapping_mul(64) + what) % below;
    // The first questions come the most often.
    let among = 1 + draw(0, QUESTIONS.len() as u64);
    let question = QUESTIONS[draw(1, among) as usize];
    let wanted = person.models[[0, 0, 0, 1, 1, 2][draw(2, 6) as usize]];
    if let Some(task) = wanted.strip_prefix("task/") {
        return Asked {
            path: format!("/v1/tasks/{task}"),
            body: json!({"variables": {"text": question}}),
            leaves: false,
        };
    }
    if wanted == "embed" {
        return Asked {
            path: "/v1/embeddings".to_owned(),
            body: json!({"model": "embed", "input": [question]}),
            leaves: false,
        };
    }
    // The same questions come again, and at temperature 0 their answers are kept.
    let repeated = draw(3, 3) > 0;
    let text = if repeated {
        question.to_owned()
    } else {
        format!("{question} (attempt {number})")
    };
    let stream = draw(4, 2) == 0;
    let (path, mut body) = match draw(5, 4) {
        0 => (
            "/v1/messages",
            json!({"model": wanted, "max_tokens": 400, "stream": stream, "temperature": 0,
                "system": "Answer briefly.", "messages": [{"role": "user", "content": text}]}),
        ),
        1 => (
            "/v1/responses",
            json!({"model": wanted, "input": text, "stream": stream, "temperature": 0}),
        ),
        2 if draw(6, 3) == 0 => (
            "/v1/chat/completions",
            json!({"model": wanted, "stream": stream, "temperature": 0,
                "messages": [{"role": "user", "content": format!("{text} Use search for \"incident\".")}],
                "tools": [{"type": "function", "function": {"name": "search", "parameters": {
                    "type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}}}]}),
        ),
        _ => (
            "/v1/chat/completions",
            json!({"model": wanted, "stream": stream, "temperature": 0,
                "messages": [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": text}]}),
        ),
    };
    // Who says how long an answer may be has little held back when one breaks off. The agent does not.
    if person.name != "night-agent" {
        let most = if path == "/v1/responses" {
            "max_output_tokens"
        } else {
            "max_tokens"
        };
        body[most] = MOST_TOKENS.into();
    }
    Asked {
        path: path.to_owned(),
        body,
        leaves: stream && draw(7, 40) == 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::people::PEOPLE, ask};

    #[test]
    fn everything_is_asked_for_and_questions_come_again() {
        let mut paths = BTreeSet::new();
        let mut bodies = BTreeSet::new();
        for number in 0..400 {
            let asked = ask(&PEOPLE[(number % 8) as usize], number);
            paths.insert(asked.path);
            bodies.insert(asked.body.to_string());
        }
        for path in [
            "/v1/chat/completions",
            "/v1/embeddings",
            "/v1/messages",
            "/v1/responses",
            "/v1/tasks/summary",
            "/v1/tasks/triage",
        ] {
            assert!(paths.contains(path), "{path} is never asked");
        }
        assert!((100..390).contains(&bodies.len()), "{}", bodies.len());
    }
}
