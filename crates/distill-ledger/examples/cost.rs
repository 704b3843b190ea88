//! What the ledger costs a request: processor time of the whole process, its background thread
//! included, for begin, reserve, settle and finish.
//!
//! `cargo run --release -p distill-ledger --example cost [REQUESTS]`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement by hand, not a part of the library"
)]

use std::{sync::Arc, time::Instant};

use distill_chat::Usage;
use distill_gateway::Usd;
use distill_ledger::{
    AttemptEnd, AttemptStart, Caller, KeyLimits, Ledger, RequestEnd, RequestStart, Role, Store,
};

/// Milliseconds of processor time of this process (Linux).
fn processor_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = &stat[stat.rfind(')').unwrap() + 2..];
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // The kernel counts in hundredths of a second.
    ticks as f64 * 10.0
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1024.0
}

async fn ask(ledger: &Ledger, caller: &Arc<Caller>, number: usize) {
    let open = ledger
        .begin(RequestStart {
            id: format!("01JD{number:022}"),
            caller: Arc::clone(caller),
            task: None,
            route: "fast".to_owned(),
            model_asked: "gpt-4.1-mini".to_owned(),
            dialect: "openai.chat_completions",
            streamed: false,
            session: None,
            worst_tokens: 2_000,
        })
        .await
        .unwrap();
    let attempt = open
        .reserve(AttemptStart {
            number: 1,
            target: "openai/gpt-4.1-mini".to_owned(),
            simulated: false,
            reserved: Usd::from_dollars(0.004),
        })
        .await
        .unwrap();
    attempt.settle(AttemptEnd {
        outcome: "answered",
        usd: Some(Usd::from_dollars(0.001)),
        usage: Usage {
            input_tokens: Some(250),
            output_tokens: Some(40),
            ..Usage::default()
        },
        status: Some(200),
        model: Some("gpt-4.1-mini-2025-04-14".to_owned()),
        fingerprint: Some("fp_71b02749fa".to_owned()),
        response_id: Some(format!("chatcmpl-{number}")),
        latency: Some(std::time::Duration::from_millis(3)),
        first_token: None,
    });
    open.finish(RequestEnd {
        status: 200,
        outcome: "answered",
        answered_by: Some("openai/gpt-4.1-mini".to_owned()),
        cache: None,
    });
}

#[tokio::main]
async fn main() {
    let requests: usize = std::env::args()
        .nth(1)
        .map_or(100_000, |count| count.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.sqlite");
    let ledger = Ledger::open(Store::Sqlite(path)).await.unwrap();
    let callers: Vec<Arc<Caller>> = (0..20)
        .map(|user| {
            Arc::new(Caller {
                key_id: format!("k_{user}"),
                user: format!("user{user}"),
                team: Some(format!("team{}", user % 4)),
                discipline: Some("backend".to_owned()),
                level: Some("senior".to_owned()),
                role: Role::User,
                models: Vec::new(),
                limits: KeyLimits {
                    usd_per_day: Some(Usd::from_dollars(1_000_000.0)),
                    requests_per_minute: Some(100_000_000),
                    ..KeyLimits::default()
                },
            })
        })
        .collect();
    let mut events = ledger.subscribe();
    tokio::spawn(async move {
        while !matches!(
            events.recv().await,
            Err(tokio::sync::broadcast::error::RecvError::Closed)
        ) {}
    });
    let idle = resident_mb();
    let (started, before) = (Instant::now(), processor_ms());
    for number in 0..requests {
        ask(&ledger, &callers[number % callers.len()], number).await;
        if number % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let answered = (started.elapsed(), processor_ms());
    let busy = resident_mb();
    drop(ledger);
    let all = processor_ms();
    let each = |milliseconds: f64| milliseconds * 1_000.0 / requests as f64;
    println!(
        "{requests} requests in {:.2} s: {:.1} µs of processor each until the last was answered, \
         {:.1} µs with everything in the tables; {idle:.1} MB at first, {busy:.1} MB at last",
        answered.0.as_secs_f64(),
        each(answered.1 - before),
        each(all - before),
    );
}
