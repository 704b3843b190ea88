//! How fast labels come in: `cargo run --release -p distill-gateway --example label_speed [ROWS] [CONCURRENCY]`.
//!
//! Labels rows through the whole way (HTTP on loopback, failover, journal with group commit) with a
//! simulated provider that answers at once, then reads them all again from the journal.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example shows figures and stops at the first problem"
)]

use std::time::{Duration, Instant};

use distill_chat::{ChatRequest, Message};
use distill_gateway::{
    Gateway, GatewaySettings, Journal, Target, TargetOptions, Usd,
    simulate::{GoldEntry, LatencySettings, SimulatedProvider, SimulatorSettings},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|argument| argument.parse().unwrap());
    let rows: usize = arguments.next().unwrap_or(10_000);
    let concurrency: usize = arguments.next().unwrap_or(32);
    let gold: Vec<GoldEntry> = (0..rows)
        .map(|row| GoldEntry {
            prompt: format!(
                "message {row} about subject {} with words {}",
                row % 97,
                row % 1009
            ),
            answer: format!("intent {}", row % 77),
        })
        .collect();
    let requests: Vec<ChatRequest> = gold
        .iter()
        .map(|entry| ChatRequest {
            max_tokens: Some(64),
            ..ChatRequest::new(
                "teacher",
                vec![
                    Message::system("Choose the intent. ".repeat(100)),
                    Message::user(entry.prompt.as_str()),
                ],
            )
        })
        .collect();
    let none = LatencySettings {
        median: Duration::ZERO,
        p95: Duration::ZERO,
    };
    let settings = SimulatorSettings {
        latency: none,
        ..SimulatorSettings::default()
    };
    let started = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let provider = SimulatedProvider::builder(gold, settings)
        .state(folder.path().join("state.jsonl"))
        .start()
        .await
        .unwrap();
    println!(
        "gold table of {rows} rows: {:.2} s",
        started.elapsed().as_secs_f64()
    );

    let target = Target::parse("simulated/frontier", &TargetOptions::default(), &|_| None).unwrap();
    let journal = Journal::open(&folder.path().join("journal.sqlite")).unwrap();
    let gateway = Gateway::new(
        journal,
        GatewaySettings {
            concurrency,
            budget: Some(Usd::from_dollars(1000.0)),
            ..GatewaySettings::new(vec![provider.attach(target)], "speed")
        },
        CancellationToken::new(),
    )
    .unwrap();
    for pass in ["asked", "from the journal"] {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for request in &requests {
            let (gateway, request) = (gateway.clone(), request.clone());
            tasks.spawn(async move { gateway.ask(&request).await.unwrap() });
        }
        tasks.join_all().await;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{rows} labels {pass} at concurrency {concurrency}: {seconds:.2} s, {:.0}/s",
            rows as f64 / seconds
        );
    }
    let started = Instant::now();
    let estimate = gateway.estimate(&requests).unwrap();
    println!(
        "estimate, {} in the journal: {:.2} s",
        estimate.in_journal,
        started.elapsed().as_secs_f64()
    );
    let (spend, bill) = (gateway.spend().unwrap(), provider.bill());
    println!(
        "settled {}, billed {}",
        spend.settled_usd.dollars(),
        bill.billed_usd.dollars()
    );
    println!("answer latency: {:?}", spend.latency.unwrap());
}
