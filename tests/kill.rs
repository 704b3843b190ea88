//! A run that is killed again and again ends as one that never was.

use std::{collections::BTreeMap, thread, time::Duration};

use distill_gateway::{AttemptRecord, Journal, simulate::BillRow};
use serde_json::{Value, json};

use crate::fixture::{Events, Job, PIPELINE, Running, artifact, http, wait_for};

const TRAIN_ROWS: usize = 160;
const TEST_ROWS: usize = 40;
const KILLS_IN_LABELLING: usize = 11;
const KILLS_IN_TRAINING: usize = 11;
const CONCURRENCY: usize = 4;
/// `label` and `evaluate:teacher` ask side by side, each with its own places.
const IN_FLIGHT: usize = 2 * CONCURRENCY;

/// Seeded draws (an LCG is random enough to choose moments by).
struct Draws(u64);

impl Draws {
    fn from(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        range.start + (self.0 >> 33) % (range.end - range.start)
    }
}

/// One provider in a process of its own, and the job that asks it.
struct Shop {
    job: Job,
    provider: Running,
    url: String,
}

impl Shop {
    fn open() -> Self {
        let slow = PIPELINE.replace(
            "latency_ms: {median: 1, p95: 2}",
            "latency_ms: {median: 40, p95: 120}\n    faults: {rate_limit: 0.05, server_error: 0.05, malformed: 0.05}",
        );
        let job = Job::with_rows(&slow, TRAIN_ROWS, TEST_ROWS);
        job.write("provider.yaml", &slow);
        let arguments = [
            "simulate",
            "provider.yaml",
            "--port",
            "0",
            "--state",
            "provider.log",
        ];
        let (provider, url) = job.serve(&arguments);
        job.write("pipeline.yaml", &asking(&url));
        Self { job, provider, url }
    }

    fn start(&self) -> Running {
        let arguments = ["run", "pipeline.yaml", "--format", "json"];
        let mut command = self.job.distill(arguments);
        Running::new(command.env("TEACHER_KEY", "none"))
    }

    fn bill(&self) -> Value {
        let (status, bill) = http(&self.url.replace("/v1", "/simulated/bill?rows"), "GET", "");
        assert_eq!(status, 200);
        bill
    }

    fn requests(&self) -> u64 {
        let url = self.url.replace("/v1", "/simulated/bill");
        http(&url, "GET", "").1["requests"].as_u64().unwrap()
    }
}

/// The pipeline that asks a provider over the network, as it would ask a vendor.
fn asking(url: &str) -> String {
    let from = PIPELINE.find("teacher:").unwrap();
    let to = PIPELINE.find("evals:").unwrap();
    let teacher = format!(
        "teacher:\n  models:\n\
        \x20   - {{vendor: openai, model: frontier, base_url: \"{url}\", api_key_env: TEACHER_KEY, input_usd_per_million: 2.5, output_usd_per_million: 10}}\n\
        \x20 budget_usd: 1.00\n  concurrency: {CONCURRENCY}\n  max_tokens: 16\n"
    );
    [&PIPELINE[..from], &teacher, &PIPELINE[to..]]
        .concat()
        .replace("max_steps: 2", "max_steps: 100")
}

/// Lets a run go on until it has asked some new questions while it labels, then kills it.
fn kill_while_labelling(shop: &Shop, random: &mut Draws) -> Events {
    let mut run = shop.start();
    wait_for("labelling begins", || {
        run.catch_up();
        run.events.started().contains(&"label") || run.has_ended()
    });
    let target = shop.requests() + random.from(2..9);
    wait_for("questions are asked", || {
        run.catch_up();
        shop.requests() >= target || !run.events.is_inside("label")
    });
    thread::sleep(Duration::from_millis(random.from(0..30)));
    run.kill()
}

/// Lets a run train for some steps, then kills it.
fn kill_while_training(shop: &Shop, random: &mut Draws) -> Events {
    let mut run = shop.start();
    let steps = random.from(1..20);
    let mut seen = 0;
    while seen < steps {
        let Some(event) = run.next_event() else { break };
        let is_step = event["type"] == "step_metric" && event["name"] == "loss";
        seen += u64::from(is_step && event["step"] == "train:nano");
    }
    thread::sleep(Duration::from_millis(random.from(0..60)));
    run.kill()
}

#[test]
fn a_run_killed_twenty_times_ends_like_an_unbroken_one() {
    let unbroken = Shop::open();
    let reference = unbroken.start().finish(0);

    let shop = Shop::open();
    let mut random = Draws(20);
    let (mut labelling, mut training) = (0, 0);
    while labelling < KILLS_IN_LABELLING {
        let events = kill_while_labelling(&shop, &mut random);
        assert!(
            events.is_inside("label"),
            "labelling ended after {labelling} kills"
        );
        labelling += 1;
    }
    while training < KILLS_IN_TRAINING {
        let events = kill_while_training(&shop, &mut random);
        assert!(
            events.is_inside("train:nano"),
            "training ended after {training} kills"
        );
        training += 1;
    }
    let mut last = shop.start();
    let mut resumed = false;
    while let Some(event) = last.next_event() {
        resumed |= event["type"] == "step_note"
            && event["text"]
                .as_str()
                .unwrap()
                .starts_with("goes on from the checkpoint");
    }
    assert!(resumed, "the last run began training anew");
    let ended = last.finish(0);

    same_result(&reference, &ended);
    paid_once(&shop, &ended, KILLS_IN_LABELLING * IN_FLIGHT);
    paid_once(&unbroken, &reference, 0);
    drop((shop.provider, unbroken.provider));
}

/// Everything but spend, attempts and times is equal.
fn same_result(reference: &Events, ended: &Events) {
    let (expected, found) = (reference.artifacts(), ended.artifacts());
    let of_result = |artifacts: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let kinds = [
            ".answers",
            ".student",
            ".predictions",
            ".examples",
            ".train",
            ".validation",
            ".gate",
        ];
        artifacts
            .iter()
            .filter(|(name, _)| kinds.iter().any(|kind| name.ends_with(kind)))
            .map(|(name, hash)| (name.clone(), hash.clone()))
            .collect()
    };
    assert_eq!(of_result(&expected), of_result(&found));
    for name in [
        "train:nano.student",
        "train:linear.student",
        "evaluate:nano.predictions",
    ] {
        assert!(found.contains_key(name), "{name}");
    }
    assert_eq!(figures(reference.report()), figures(ended.report()));
}

/// What of a report may not depend on how the run went.
fn figures(report: &Value) -> Value {
    let arms: Vec<Value> = report["arms"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arm| {
            json!([
                arm["name"],
                arm["scores"],
                arm["labels"],
                arm["confused"],
                arm["slices"]
            ])
        })
        .collect();
    assert!(arms.len() >= 4);
    json!({
        "arms": arms,
        "differences": report["differences"],
        "regressions": report["regressions"],
        "recommendation": report["recommendation"],
        "data": report["data"],
        "labels": report["labels"],
    })
}

/// Holds the provider's bill against the journal, attempt by attempt.
fn paid_once(shop: &Shop, events: &Events, most_cut: usize) {
    let bill = shop.bill();
    let rows: Vec<BillRow> = serde_json::from_value(bill["rows"].clone()).unwrap();
    let usage = &events.artifacts()["evaluate:teacher.usage"];
    let usage = std::fs::read_to_string(artifact(&shop.job.home(), usage)).unwrap();
    let usage: Value = serde_json::from_str(&usage).unwrap();
    let scope = usage["spend"]["scope"].as_str().unwrap();
    let journal = Journal::open(&shop.job.home().join("journal.sqlite")).unwrap();
    let attempts: BTreeMap<String, AttemptRecord> = journal
        .attempts(scope)
        .unwrap()
        .into_iter()
        .map(|attempt| (attempt.id.clone(), attempt))
        .collect();

    // By question, whichever provider's request it became.
    let mut answers = BTreeMap::<&str, usize>::new();
    let mut cut = BTreeMap::<&str, usize>::new();
    let (mut settled, mut unsettled) = (0.0, 0.0);
    for row in &rows {
        let name = row
            .client_attempt
            .as_deref()
            .expect("attempts carry their name");
        let attempt = attempts
            .get(name)
            .expect("an attempt is in the journal before it is made");
        let question = attempt.request_hash.as_str();
        *answers.entry(question).or_default() += usize::from(row.outcome == "answered");
        *cut.entry(question).or_default() += usize::from(attempt.outcome == "cut");
        if let Some(usd) = attempt.usd {
            assert!(
                (usd.dollars() - row.usd().dollars()).abs() < 1e-12,
                "{attempt:?}"
            );
            settled += row.usd().dollars();
        } else {
            assert_eq!(attempt.state, "unsettled", "{attempt:?}");
            assert!(row.usd() <= attempt.reserved, "{attempt:?} billed {row:?}");
            unsettled += row.usd().dollars();
        }
    }
    assert_eq!(answers.len(), TRAIN_ROWS + TEST_ROWS, "every row was asked");
    for (question, answers) in &answers {
        assert!(
            *answers <= 1 + cut[question],
            "{question}: {answers} answers were paid for"
        );
    }
    let listed = attempts
        .values()
        .filter(|attempt| attempt.outcome == "cut")
        .count();
    assert!(
        listed <= most_cut,
        "{listed} attempts are listed as cut, {most_cut} can be"
    );
    let paid: usize = answers.values().sum();
    assert!(
        paid <= TRAIN_ROWS + TEST_ROWS + listed,
        "{paid} answers with {listed} cut attempts"
    );

    let spent = journal.spend(scope).unwrap();
    assert!((spent.settled_usd.dollars() - settled).abs() < 1e-9);
    assert!(unsettled <= spent.unsettled_reserved_usd.dollars());
    let billed: f64 = rows.iter().map(|row| row.usd().dollars()).sum();
    assert!((billed - settled - unsettled).abs() < 1e-9);
    eprintln!(
        "{} requests, {paid} answers paid for {} rows, {listed} attempts cut; billed ${billed:.6}, settled ${settled:.6}, reserved ${:.6}",
        rows.len(),
        TRAIN_ROWS + TEST_ROWS,
        spent.unsettled_reserved_usd.dollars(),
    );
}
