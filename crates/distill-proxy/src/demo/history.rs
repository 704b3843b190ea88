//! Two weeks of made-up use, so that the pages have a past to show.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use distill_chat::Usage;
use distill_gateway::Usd;
use distill_ledger::{
    AttemptEnd, AttemptStart, Clock, Ledger, LedgerError, LedgerOptions, Refusal, RequestEnd,
    RequestStart, Store,
};

use super::people::{PEOPLE, Person};

const DAYS: i64 = 14;
const DAY_MS: i64 = 86_400_000;
/// Requests of a full working day of everybody.
const A_DAY: u64 = 60;

/// What answers for a model in the past: target, price in and out per million tokens, typical
/// output, and the share of it that is reasoning.
const ANSWERERS: [(&str, &str, f64, f64, u64, f64); 4] = [
    ("chat", "flaky/medium", 0.8, 3.2, 500, 0.0),
    ("code", "solid/large", 3.0, 15.0, 900, 0.0),
    ("think", "dear/deep", 15.0, 75.0, 2500, 0.8),
    ("cheap", "quick/small", 0.15, 0.6, 300, 0.0),
];

/// A number that looks like chance and is the same at every start.
fn chance(seed: u64) -> u64 {
    // The finaliser of `SplitMix64`.
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Writes it into a new ledger.
pub(super) async fn write(path: &Path) -> Result<(), LedgerError> {
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64);
    let clock = Arc::new(AtomicI64::new(0));
    let options = LedgerOptions {
        clock: Clock::ByHand(Arc::clone(&clock)),
        ..LedgerOptions::default()
    };
    let first = now_ms - DAYS * DAY_MS;
    clock.store(first, Ordering::Relaxed);
    let ledger = Ledger::open_with(Store::Sqlite(path.to_owned()), options).await?;
    for number in 0..DAYS as u64 * A_DAY {
        let at = first + number as i64 * (DAY_MS / A_DAY as i64);
        // Few work at night; an hour before now the demo's own traffic takes over.
        let hour = at.div_euclid(3_600_000).rem_euclid(24);
        let quiet = !(6..21).contains(&hour) && !chance(number ^ 0xabc).is_multiple_of(5);
        if quiet || at > now_ms - 3_600_000 {
            continue;
        }
        clock.store(at, Ordering::Relaxed);
        if one(&ledger, number, &clock).await.is_err() {
            // A ledger that takes nothing more will say so again when the demo itself uses it.
            break;
        }
    }
    Ok(())
}

async fn one(ledger: &Ledger, number: u64, clock: &AtomicI64) -> Result<(), Refusal> {
    let draw = |what: u64, below: u64| chance(number * 16 + what) % below;
    let person: &Person = &PEOPLE[draw(0, PEOPLE.len() as u64) as usize];
    let wanted = person.models[[0, 0, 0, 1, 1, 2][draw(1, 6) as usize]];
    let (route, target, price_in, price_out, typical, reasoning) = *ANSWERERS
        .iter()
        .find(|(route, ..)| *route == wanted)
        .unwrap_or(&ANSWERERS[3]);
    let task = wanted
        .strip_prefix("task/")
        .map(|task| (task.to_owned(), "v1".to_owned()));
    let input = 400 + draw(2, 12_000);
    let output = typical / 2 + draw(3, typical);
    let thought = (output as f64 * reasoning) as u64;
    let usd = Usd::from_dollars((input as f64 * price_in + output as f64 * price_out) / 1e6);
    let open = ledger
        .begin(RequestStart {
            id: format!("req-past-{number:04}"),
            caller: Arc::new(person.caller()),
            task,
            route: route.to_owned(),
            model_asked: wanted.to_owned(),
            dialect: "openai.chat_completions",
            streamed: number.is_multiple_of(2),
            session: None,
            worst_tokens: input + output,
        })
        .await?;
    let mut answered_by = target;
    let mut attempts = vec![(target, "answered")];
    if route == "chat" && draw(4, 6) == 0 {
        answered_by = "quick/small";
        attempts = vec![(target, "server_error"), (answered_by, "answered")];
    }
    for (place, (target, outcome)) in attempts.into_iter().enumerate() {
        let failed = outcome != "answered";
        let attempt = open
            .reserve(AttemptStart {
                number: place as u32 + 1,
                target: target.to_owned(),
                simulated: true,
                reserved: usd + usd,
            })
            .await?;
        let took = Duration::from_millis(if failed { 40 } else { output + draw(5, 700) });
        clock.fetch_add(took.as_millis() as i64, Ordering::Relaxed);
        attempt.settle(AttemptEnd {
            outcome,
            usd: Some(if failed { Usd::ZERO } else { usd }),
            usage: if failed {
                Usage::default()
            } else {
                Usage {
                    input_tokens: Some(input),
                    output_tokens: Some(output - thought),
                    reasoning_tokens: (reasoning > 0.0).then_some(thought),
                    ..Usage::default()
                }
            },
            status: Some(if failed { 500 } else { 200 }),
            model: (!failed).then(|| {
                let (_, model) = target.split_once('/').unwrap_or(("", target));
                format!("{model}-sim-2026-01")
            }),
            fingerprint: None,
            response_id: None,
            latency: Some(took),
            first_token: None,
        });
    }
    open.finish(RequestEnd {
        status: 200,
        outcome: "answered",
        answered_by: Some(answered_by.to_owned()),
        cache: None,
    });
    Ok(())
}
