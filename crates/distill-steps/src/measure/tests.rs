use std::{collections::BTreeMap, sync::Arc};

use distill_chat::TaskKind;
use distill_pipeline::{record::RunId, spec::LinearSpec};
use distill_report::{Arrival, EnergySource, LoadFacts};
use serde_json::json;

use super::{
    energy::{Busy, Rapl, Reading},
    exchange::read_stream,
    *,
};
use crate::{
    label::LabelUsage,
    rows::Example,
    train::{Folders, Recipe, Train},
};

fn task() -> TaskDefinition {
    TaskDefinition {
        kind: TaskKind::Classify,
        system: None,
        prompt: "{{ text }}".into(),
        labels: vec!["billing".into(), "delivery".into()],
        schema: None,
    }
}

fn measure(requests: usize) -> Measure {
    Measure {
        device: distill_pipeline::spec::DeviceKind::Cpu,
        student: "linear".into(),
        task: task(),
        spec: MeasureSpec {
            concurrency: vec![1, 3],
            requests,
            arrivals_per_second: Some(2000.0),
        },
        watts: Some(36.0),
        seed: 7,
    }
}

/// An answer of `tokens` tokens: due, sent, the pieces and the end at the given milliseconds.
fn exchange(times: (f64, f64, &[f64], f64), tokens: Option<u64>) -> Exchange {
    let (due_ms, sent_ms, pieces_ms, ended_ms) = times;
    Exchange {
        due_ms,
        sent_ms,
        pieces_ms: pieces_ms.to_vec(),
        ended_ms: Some(ended_ms),
        input_tokens: tokens.map(|_| 10),
        output_tokens: tokens,
        ..Exchange::default()
    }
}

#[track_caller]
fn close(found: Option<f64>, wanted: f64) {
    assert!(
        (found.unwrap() - wanted).abs() < 1e-9,
        "{found:?} and {wanted}"
    );
}

#[test]
fn figures_follow_from_the_times_and_waiting_counts() {
    let sent = [
        // Due and sent at 0; the first of three tokens after 10 ms, whole after 30.
        exchange((0.0, 0.0, &[10.0, 22.0], 30.0), Some(3)),
        // Due at 5, sent only at 12: its caller waited from 5.
        exchange((5.0, 12.0, &[25.0], 45.0), Some(5)),
        // One token: there is no time per token after the first.
        exchange((30.0, 30.0, &[50.0], 50.0), Some(1)),
    ];
    let facts = facts::load(
        "nano",
        Setting::Open { per_second: 100.0 },
        8,
        &sent,
        &measure(3),
    );
    assert_eq!(
        (facts.completed, facts.failed, facts.num_prompts),
        (3, 0, 3)
    );
    assert_eq!(
        (facts.arrival, facts.request_rate, facts.max_concurrency),
        (Arrival::Poisson, Some(100.0), None)
    );
    // From the first arrival at 0 to the last answer at 50 ms.
    close(facts.duration, 0.05);
    close(facts.request_throughput, 60.0);
    assert_eq!(
        (facts.total_input_tokens, facts.total_output_tokens),
        (Some(30), Some(9))
    );
    close(facts.output_throughput, 180.0);
    close(facts.total_token_throughput, 780.0);
    // End to end 30, 40, 20; to the first token 10, 20, 20.
    close(facts.mean_e2el_ms, 30.0);
    close(facts.median_e2el_ms, 30.0);
    close(facts.std_e2el_ms, (200.0_f64 / 3.0).sqrt());
    // Rank 0.95 × 2 = 1.9 between 30 and 40.
    close(facts.p95_e2el_ms, 39.0);
    close(facts.p99_e2el_ms, 39.8);
    close(facts.mean_ttft_ms, 50.0 / 3.0);
    close(facts.median_ttft_ms, 20.0);
    // (30 − 10) / 2 = 10 and (40 − 20) / 4 = 5.
    close(facts.mean_tpot_ms, 7.5);
    close(facts.mean_itl_ms, 12.0);
    // The first and the second overlap; the third begins as the first ends.
    assert_eq!(facts.max_concurrent_requests, Some(2));
    assert!(facts.notes[0].contains("drawn time"), "{:?}", facts.notes);
    assert_eq!(facts.notes.len(), 1);
}

#[test]
fn a_student_without_tokens_has_no_time_per_token() {
    let sent = [exchange((0.0, 0.0, &[4.0], 4.0), None)];
    let facts = facts::load(
        "linear",
        Setting::Closed { clients: 1 },
        8,
        &sent,
        &measure(1),
    );
    close(facts.mean_ttft_ms, 4.0);
    close(facts.mean_e2el_ms, 4.0);
    assert_eq!((facts.mean_tpot_ms, facts.mean_itl_ms), (None, None));
    assert_eq!(
        (facts.output_throughput, facts.total_output_tokens),
        (None, None)
    );
    // A closed loop has no drawn times to speak of.
    assert_eq!(facts.notes.len(), 1);
    assert!(facts.notes[0].contains("no tokens"));
}

#[test]
fn failed_requests_are_counted_and_time_nothing() {
    let failed = Exchange {
        problem: Some("status 429".into()),
        ..exchange((0.0, 0.0, &[], 1.0), None)
    };
    let closed = Setting::Closed { clients: 2 };
    let facts = facts::load(
        "nano",
        closed,
        8,
        std::slice::from_ref(&failed),
        &measure(1),
    );
    assert_eq!((facts.completed, facts.failed), (0, 1));
    assert_eq!(
        (facts.request_throughput, facts.mean_e2el_ms, facts.duration),
        (None, None, None)
    );
    assert_eq!(facts.max_concurrent_requests, None);
    let sent = [failed, exchange((0.0, 0.0, &[9.0], 10.0), None)];
    let facts = facts::load("nano", closed, 8, &sent, &measure(5));
    assert_eq!((facts.completed, facts.failed), (1, 1));
    close(facts.mean_e2el_ms, 10.0);
    assert!(
        facts
            .notes
            .iter()
            .any(|note| note.starts_with("2 of the 5"))
    );
    assert!(facts.notes.iter().any(|note| note.contains("status 429")));
}

#[test]
fn the_capacity_is_the_best_closed_loop_and_a_limit_holds_for_the_quietest() {
    let load = |clients: usize, rate: f64, p95: f64| LoadFacts {
        arrival: Arrival::ClosedLoop,
        max_concurrency: Some(clients),
        completed: 10,
        request_throughput: Some(rate),
        p95_e2el_ms: Some(p95),
        ..LoadFacts::default()
    };
    let open = LoadFacts {
        arrival: Arrival::Poisson,
        request_throughput: Some(900.0),
        completed: 10,
        ..LoadFacts::default()
    };
    let all = [load(4, 70.0, 80.0), load(1, 30.0, 40.0), open];
    let (rate, how) = capacity(&all).unwrap();
    assert!((rate - 70.0).abs() < 1e-12);
    assert!(how.contains("4 at a time"));
    assert_eq!(single_answer(&all).unwrap().p95_e2el_ms, Some(40.0));
    assert_eq!(capacity(&all[2..]), None);
}

#[test]
fn a_stream_is_read_as_it_arrived_whatever_the_chunks_cut() {
    let text = concat!(
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"de\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"livery\"}}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n",
        "data: [DONE]\n\n"
    );
    let cut = text.find("livery").unwrap();
    let chunks = [
        (1.0, text.as_bytes()[..cut].to_vec()),
        (2.0, text.as_bytes()[cut..cut + 20].to_vec()),
        (3.0, text.as_bytes()[cut + 20..].to_vec()),
    ];
    let mut exchange = Exchange::default();
    read_stream(&mut exchange, &chunks);
    // The second piece counts from the chunk that completed its line.
    assert_eq!(exchange.pieces_ms.len(), 2);
    assert!((exchange.pieces_ms[0] - 1.0).abs() < 1e-12);
    assert_eq!(exchange.ended_ms, Some(3.0));
    assert_eq!(
        (exchange.input_tokens, exchange.output_tokens),
        (Some(7), Some(3))
    );
    assert_eq!(exchange.problem, None);
    let mut torn = Exchange::default();
    read_stream(&mut torn, &chunks[..1]);
    assert!(torn.problem.is_some());
    let mut refused = Exchange::default();
    let bytes = b"data: {\"error\":{\"message\":\"too long\"}}\n\n".to_vec();
    read_stream(&mut refused, &[(1.0, bytes)]);
    assert_eq!(refused.problem.as_deref(), Some("too long"));
}

fn counter(root: &Path, name: &str, kind: &str, energy: Option<&str>) {
    let folder = root.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("name"), format!("{kind}\n")).unwrap();
    std::fs::write(folder.join("max_energy_range_uj"), "1000000\n").unwrap();
    if let Some(energy) = energy {
        std::fs::write(folder.join("energy_uj"), energy).unwrap();
    }
}

#[test]
fn packages_are_summed_and_a_counter_that_started_again_is_followed() {
    let root = tempfile::tempdir().unwrap();
    counter(root.path(), "intel-rapl:0", "package-0", Some("900000\n"));
    counter(root.path(), "intel-rapl:1", "package-1", Some("100\n"));
    // A part of a package and the memory are not counted again.
    counter(root.path(), "intel-rapl:0:0", "core", Some("5\n"));
    counter(root.path(), "intel-rapl:2", "dram", Some("5\n"));
    let rapl = Rapl::open(root.path()).unwrap();
    let before = rapl.read().unwrap();
    assert_eq!(before, [900_000, 100]);
    // 100,000 up to the restart and 50,000 after it; 400,000 on the other.
    close(rapl.joules(&before, &[50_000, 400_100]), 0.55);
    close(rapl.joules(&before, &before), 0.0);
    assert_eq!(rapl.joules(&before, &[1]), None);
}

#[test]
fn counters_that_are_missing_or_closed_say_so() {
    let root = tempfile::tempdir().unwrap();
    let why = |root: &Path| Rapl::open(root).err().unwrap();
    assert!(why(&root.path().join("nowhere")).contains("no RAPL"));
    assert!(why(root.path()).contains("no RAPL"));
    counter(root.path(), "intel-rapl:0", "package-0", None);
    assert!(why(root.path()).contains("root"));
}

#[test]
fn energy_is_counted_else_estimated_else_absent() {
    let busy = Busy {
        completed: 200,
        seconds: 10.0,
        joules: Some(720.0),
    };
    // 720 J for 200 answers: 3.6 J each, 3,600 J or one watt-hour per 1,000.
    let counted = energy::facts("nano", &Reading::Counters(busy), Some(15.0));
    assert_eq!(counted.source, EnergySource::Rapl);
    close(counted.watt_hours_per_1000, 1.0);
    close(counted.watts, 72.0);
    let unread = |joules, watts| {
        let busiest = Some(Busy { joules, ..busy });
        let why = "this machine shows no RAPL counters";
        energy::facts("nano", &Reading::None { why, busiest }, watts)
    };
    // 15 W for 10 s: 150 J for 200 answers, 750 J per 1,000.
    let estimated = unread(None, Some(15.0));
    assert!(estimated.estimated());
    close(estimated.watt_hours_per_1000, 750.0 / 3600.0);
    assert!(estimated.method.starts_with("estimated"));
    let absent = unread(None, None);
    assert_eq!(
        (absent.source, absent.watt_hours_per_1000, absent.watts),
        (EnergySource::NotMeasured, None, None)
    );
    assert!(absent.method.contains("cost.watts"));
}

fn usage(latencies: &[f64], spend: serde_json::Value) -> LabelUsage {
    let per_row: Vec<_> = latencies
        .iter()
        .enumerate()
        .map(|(row, latency)| {
            json!({"id": row.to_string(), "latency_ms": latency, "input_tokens": 20,
                "output_tokens": 3, "from_journal": row == 0})
        })
        .collect();
    serde_json::from_value(json!({
        "rows": 6, "statuses": {}, "from_journal": 1, "seconds": 1.0, "spend": spend,
        "alerts": [], "simulated": true, "concurrency": 8, "per_row": per_row,
    }))
    .unwrap()
}

#[test]
fn the_teachers_figures_keep_cache_hits_and_retries_apart() {
    let spend = json!({
        "retried": {"count": 1, "mean_ms": 700.0, "p50_ms": 700.0, "p95_ms": 700.0, "p99_ms": 700.0},
        "attempts": [
            {"target": "a", "outcome": "answered", "attempts": 5},
            {"target": "a", "outcome": "rate_limited", "attempts": 3},
        ],
    });
    let facts = teacher_load(&usage(&[100.0, 200.0, 300.0, 400.0, 500.0], spend)).unwrap();
    assert!(facts.simulated);
    assert_eq!(facts.arrival, Arrival::Recorded);
    assert_eq!(
        (facts.num_prompts, facts.completed, facts.failed),
        (6, 5, 1)
    );
    assert_eq!(facts.max_concurrency, Some(8));
    assert_eq!(
        (facts.total_input_tokens, facts.total_output_tokens),
        (Some(100), Some(15))
    );
    close(facts.median_e2el_ms, 300.0);
    // Rank 0.95 × 4 = 3.8 between 400 and 500.
    close(facts.p95_e2el_ms, 480.0);
    assert_eq!((facts.mean_ttft_ms, facts.mean_tpot_ms), (None, None));
    assert_eq!(facts.request_throughput, None);
    let said = facts.notes.join("; ");
    for part in [
        "not streamed",
        "1 answers were taken",
        "3 attempts",
        "700 ms",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(teacher_load(&usage(&[], json!({}))).is_none());
}

fn context() -> StepContext {
    let run: RunId = "20260131-090507-1a2b".parse().unwrap();
    StepContext::new(run, "measure", CancellationToken::new(), Arc::new(|_| {}))
}

fn rows() -> Vec<Row> {
    [
        "my card was charged",
        "where is my parcel",
        "a refund for my card",
    ]
    .iter()
    .enumerate()
    .map(|(index, text)| Row {
        id: index.to_string(),
        fields: json!({ "text": text }).as_object().unwrap().clone(),
        gold: None,
    })
    .collect()
}

/// A linear student's directory.
fn student(folder: &Path) -> std::path::PathBuf {
    let bundle = folder.join("student");
    let examples: Vec<Example> = (0..20)
        .map(|index| {
            let row = &rows()[index % 2];
            Example {
                id: index.to_string(),
                fields: row.fields.clone(),
                answer: task().labels[index % 2].clone(),
                token_logprobs: None,
            }
        })
        .collect();
    let train = Train {
        task: task(),
        recipe: Recipe::Linear(LinearSpec::default()),
        seed: 1,
        side_by_side: false,
    };
    let folders = Folders {
        student: &bundle,
        work: folder,
    };
    train.run(&examples, &[], &folders, &context()).unwrap();
    bundle
}

#[tokio::test(flavor = "multi_thread")]
async fn a_student_is_measured_through_the_server_at_every_setting() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = student(folder.path());
    let (record, exchanges) = measure(5)
        .run(&bundle, &rows(), folder.path(), &context())
        .await
        .unwrap();
    let seen: Vec<_> = record
        .load
        .iter()
        .map(|facts| {
            (
                facts.arrival,
                facts.max_concurrency,
                facts.completed,
                facts.failed,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (Arrival::ClosedLoop, Some(1), 5, 0),
            (Arrival::ClosedLoop, Some(3), 5, 0),
            (Arrival::Poisson, None, 5, 0),
        ]
    );
    // Rows come round again, and every exchange says which it was about.
    let ids: Vec<&str> = exchanges[..5].iter().map(|sent| sent.id.as_str()).collect();
    assert_eq!(ids, ["0", "1", "2", "0", "1"]);
    let mut settings = BTreeMap::<usize, usize>::new();
    for exchange in &exchanges {
        *settings.entry(exchange.setting).or_default() += 1;
        // One piece: the label; the end is not before it, nor it before the request.
        assert_eq!(exchange.pieces_ms.len(), 1);
        assert!(exchange.sent_ms >= exchange.due_ms);
        assert!(exchange.ended_ms.unwrap() >= exchange.pieces_ms[0]);
    }
    assert_eq!(settings, BTreeMap::from([(0, 5), (1, 5), (2, 5)]));
    assert!(capacity(&record.load).is_some());
    let energy = record.energy.unwrap();
    // With counters or without them, the stated watts leave no hole.
    assert!(energy.watt_hours_per_1000.is_some());
    // The figures follow from the exchanges alone.
    let again = facts::load(
        "linear",
        Setting::Closed { clients: 1 },
        WARM_UP,
        &exchanges[..5],
        &measure(5),
    );
    assert_eq!(again, record.load[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_measurement_ends_and_a_second_attempt_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = student(folder.path());
    let cancelled = context();
    cancelled.cancel().cancel();
    let failure = measure(3)
        .run(&bundle, &rows(), folder.path(), &cancelled)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, distill_runner::FailureKind::Interrupted);
    let (record, _) = measure(3)
        .run(&bundle, &rows(), folder.path(), &context())
        .await
        .unwrap();
    assert_eq!(record.load.len(), 3);
}

#[test]
fn what_names_the_student_is_no_part_of_the_key() {
    let (one, mut other) = (measure(5), measure(5));
    other.student = "another".into();
    assert_eq!(one.settings(), other.settings());
    other.spec.requests = 6;
    assert_ne!(one.settings(), other.settings());
    assert_eq!(one.seed(), Some(7));
    other.spec.arrivals_per_second = None;
    assert_eq!(other.seed(), None);
}
