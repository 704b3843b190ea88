//! Budgets that hold and books that agree, against the simulated provider.

use std::{collections::HashMap, time::Duration};

use distill_chat::{ChatRequest, FinishReason, Message};
use tokio::task::JoinSet;

use super::{Fixture, SCOPE, settings};
use crate::{
    Answered, AskError, Gateway, GatewaySettings, Target, TargetOptions, Usd,
    simulate::{FaultShares, GoldEntry, LatencySettings, SimulatedProvider, SimulatorSettings},
};

const ROWS: usize = 500;

fn prompt(number: usize) -> String {
    // Lengths differ, and so do costs.
    format!("row {number} {}", "word ".repeat(number * 7 % 41))
}

async fn provider(faults: FaultShares, latency: Duration) -> SimulatedProvider {
    let gold = (0..ROWS)
        .map(|number| GoldEntry {
            prompt: prompt(number),
            answer: ["first label", "second label", "third"][number % 3].to_owned(),
        })
        .collect();
    let settings = SimulatorSettings {
        latency: LatencySettings {
            median: latency,
            p95: latency * 2,
        },
        faults,
        retry_after: Duration::from_millis(5),
        ..SimulatorSettings::default()
    };
    SimulatedProvider::builder(gold, settings)
        .start()
        .await
        .unwrap()
}

fn chain(provider: &SimulatedProvider) -> Vec<Target> {
    ["simulated/frontier", "simulated-anthropic/backup"]
        .iter()
        .map(|name| Target::parse(name, &TargetOptions::default(), &|_| None).unwrap())
        .map(|target| provider.attach(target))
        .collect()
}

fn request(number: usize) -> ChatRequest {
    ChatRequest {
        max_tokens: Some(16),
        ..ChatRequest::new(
            "teacher",
            vec![Message::system("Choose."), Message::user(prompt(number))],
        )
    }
}

async fn ask_all(
    gateway: &Gateway,
    numbers: &[usize],
) -> HashMap<usize, Result<Answered, AskError>> {
    let mut tasks = JoinSet::new();
    for &number in numbers {
        let gateway = gateway.clone();
        tasks.spawn(async move { (number, gateway.ask(&request(number)).await) });
    }
    tasks.join_all().await.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_is_never_passed_at_concurrency_32_and_holds_after_a_restart() {
    let all: Vec<usize> = (0..ROWS).collect();
    let faults = FaultShares {
        server_error: 0.05,
        malformed: 0.05,
        ..FaultShares::default()
    };
    for budget in [0.000_9, 0.004, 0.02] {
        let provider = provider(faults, Duration::from_millis(1)).await;
        let fixture = Fixture::new();
        let budget = Usd::from_dollars(budget);
        let limited = GatewaySettings {
            budget: Some(budget),
            concurrency: 32,
            ..settings(chain(&provider))
        };
        let outcomes = ask_all(&fixture.gateway(limited.clone()), &all).await;
        let answered = outcomes.values().filter(|outcome| outcome.is_ok()).count();
        let exhausted = outcomes
            .values()
            .filter(|outcome| matches!(outcome, Err(AskError::BudgetExhausted { .. })))
            .count();
        assert!(answered > 0 && exhausted > 0, "{answered} {exhausted}");
        let spend = fixture.journal.spend(SCOPE).unwrap();
        assert!(
            spend.committed_usd <= budget,
            "{} > {budget}",
            spend.committed_usd
        );
        assert!(provider.bill().billed_usd <= budget);
        assert_eq!(spend.in_flight, 0);
        for outcome in outcomes.values() {
            if let Err(AskError::BudgetExhausted {
                cap,
                committed,
                needed,
                ..
            }) = outcome
            {
                // Nobody was turned away while there was money for it.
                assert!(*committed + *needed > *cap && *cap == budget, "{outcome:?}");
            }
        }
        // What was paid for is there, and nothing more can be bought.
        let again = ask_all(&fixture.gateway(limited), &all).await;
        let kept = again
            .values()
            .flatten()
            .filter(|answered| answered.from_journal)
            .count();
        assert!(kept >= answered);
        assert!(provider.bill().billed_usd <= budget);
        assert!(fixture.journal.spend(SCOPE).unwrap().committed_usd <= budget);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_of_faults_every_row_is_answered_and_the_books_agree_line_by_line() {
    let faults = FaultShares {
        rate_limit: 0.06,
        server_error: 0.06,
        hang: 0.01,
        stall: 0.02,
        malformed: 0.03,
        truncate: 0.02,
        ..FaultShares::default()
    };
    let provider = provider(faults, Duration::ZERO).await;
    let fixture = Fixture::new();
    let storm = GatewaySettings {
        concurrency: 32,
        ..settings(chain(&provider))
    };
    let gateway = fixture.gateway(storm);
    let mut answers = HashMap::new();
    let mut open: Vec<usize> = (0..ROWS).collect();
    let mut rounds = 0;
    // A row whose whole chain failed is asked again, as a labelling step does.
    while !open.is_empty() {
        rounds += 1;
        assert!(rounds <= 6, "{} rows have no answer", open.len());
        for (number, outcome) in ask_all(&gateway, &open).await {
            match outcome {
                Ok(answered) => drop(answers.insert(number, answered)),
                Err(AskError::ChainExhausted { failures }) => assert!(!failures.is_empty()),
                Err(other) => panic!("{other}"),
            }
        }
        open.retain(|number| !answers.contains_key(number));
    }
    let cut = answers
        .values()
        .filter(|answered| answered.completion.finish == FinishReason::Length)
        .count();
    assert!(cut > 0 && cut < 30, "{cut}");

    let (spend, bill) = (gateway.spend().unwrap(), provider.bill());
    assert_eq!(spend.requests_answered as usize, ROWS);
    assert!(spend.mixed_teachers() && spend.failovers > 0 && spend.simulated);
    assert_eq!(spend.in_flight, 0);
    let billed: HashMap<&str, Usd> = bill
        .rows
        .iter()
        .map(|row| (row.client_attempt.as_deref().unwrap(), row.usd()))
        .collect();
    let attempts = fixture.journal.attempts(SCOPE).unwrap();
    assert_eq!(
        attempts.len(),
        billed.len(),
        "each attempt is on the bill once"
    );
    let mut settled = Usd::ZERO;
    for attempt in &attempts {
        let usd = billed[attempt.id.as_str()];
        match attempt.usd {
            Some(booked) => {
                assert_eq!(booked, usd, "{attempt:?}");
                settled += booked;
            }
            None => assert!(usd <= attempt.reserved, "{attempt:?}"),
        }
    }
    assert_eq!(settled, spend.settled_usd);
    assert!(bill.billed_usd >= spend.settled_usd);
    assert!(bill.billed_usd <= spend.settled_usd + spend.unsettled_reserved_usd);
    let unsettled: u64 = ["hang", "stall", "malformed"]
        .iter()
        .filter_map(|outcome| bill.by_outcome.get(*outcome))
        .map(|total| total.requests)
        .sum();
    assert_eq!(
        spend.unsettled.len() as u64,
        unsettled,
        "each cut attempt is listed"
    );
    assert!(unsettled > 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_do_not_depend_on_faults_or_on_who_answered() {
    let numbers: Vec<usize> = (0..200).collect();
    let mut texts = Vec::new();
    for server_error in [0.0, 0.3] {
        let faults = FaultShares {
            server_error,
            truncate: 0.05,
            ..FaultShares::default()
        };
        let provider = provider(faults, Duration::ZERO).await;
        let fixture = Fixture::new();
        let gateway = fixture.gateway(settings(chain(&provider)));
        let mut answers = Vec::new();
        for &number in &numbers {
            // With 30% faults one row in a hundred finds the whole chain failing.
            let answered = loop {
                if let Ok(answered) = gateway.ask(&request(number)).await {
                    break answered;
                }
            };
            answers.push((answered.completion.text, answered.completion.finish));
        }
        texts.push(answers);
    }
    assert_eq!(texts[0], texts[1]);
}
