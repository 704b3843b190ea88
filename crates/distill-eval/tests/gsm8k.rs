//! Four models' recorded answers to the GSM8K test questions: the numeric scorer agrees with every
//! recorded judgement, and accuracies and paired comparisons with public implementations
//! (`scripts/oracles/gsm8k.py`). Needs `DISTILL_DATA_DIR`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is how a test fails, and a skipped one says so"
)]

use std::{collections::BTreeMap, path::PathBuf};

use distill_chat::{Task, TaskDefinition, TaskKind};
use distill_eval::{Interval, Sample, ScoredRow, Scorer, Settings, aggregate, compare, metric};
use serde_json::Value;

/// The rows of the file; `None`, with a line that says so, where there is no data.
fn rows() -> Option<Vec<Value>> {
    let Some(folder) = std::env::var_os("DISTILL_DATA_DIR").map(PathBuf::from) else {
        println!("skipped: gsm8k: DISTILL_DATA_DIR is not set");
        return None;
    };
    let path = folder.join("gsm8k").join("example_model_solutions.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 1319);
    Some(rows)
}

fn task() -> Task {
    Task::new(TaskDefinition {
        kind: TaskKind::Generate,
        system: None,
        prompt: "{{ question }}".into(),
        labels: vec![],
        schema: None,
    })
    .unwrap()
}

fn numeric() -> Scorer {
    Scorer::plain(metric("numeric").unwrap())
}

fn samples(rows: &[Value], model: &str, task: &Task) -> Vec<Sample> {
    rows.iter()
        .enumerate()
        .map(|(row, value)| {
            let reply = value[model]["solution"].as_str().unwrap();
            let gold = value["ground_truth"].as_str().unwrap();
            Sample::read(format!("{row:04}"), task, Ok(reply), Some(gold))
        })
        .collect()
}

fn expected() -> Value {
    serde_json::from_str(include_str!("../fixtures/gsm8k.json")).unwrap()
}

#[track_caller]
fn close(found: f64, wanted: &Value) {
    let wanted = wanted.as_f64().unwrap();
    assert!((found - wanted).abs() < 1e-9, "{found} and {wanted}");
}

#[track_caller]
fn same_interval(found: Option<Interval>, wanted: &Value) {
    let found = found.unwrap();
    close(found.low, &wanted["low"]);
    close(found.high, &wanted["high"]);
}

#[test]
fn the_numeric_scorer_agrees_with_every_recorded_judgement() {
    let Some(rows) = rows() else { return };
    let (task, scorer, expected) = (task(), numeric(), expected());
    let printed = BTreeMap::from([
        ("6b_finetuning", ".2168"),
        ("6b_verification", ".3904"),
        ("175b_finetuning", ".3472"),
        ("175b_verification", ".5625"),
    ]);
    let models = expected["models"].as_object().unwrap();
    assert_eq!(models.len(), printed.len());
    for (model, wanted) in models {
        let samples = samples(&rows, model, &task);
        for (scored, row) in scorer.score_all(&samples, &task).unwrap().iter().zip(&rows) {
            let is_correct = row[model]["is_correct"].as_bool().unwrap();
            let right = f64::from(u8::from(is_correct));
            assert_eq!(scored.score.value(), Some(right), "{model} {}", scored.id);
        }
        let found = aggregate(&scorer, &samples, &task, &Settings::default());
        assert_eq!(found.n as u64, wanted["n"].as_u64().unwrap());
        let accuracy = found.value.unwrap();
        assert_eq!(
            format!("{accuracy:.4}"),
            format!("0{}", printed[model.as_str()])
        );
        same_interval(found.interval, wanted);
    }
}

#[test]
fn the_six_paired_comparisons_agree_with_public_implementations() {
    let Some(rows) = rows() else { return };
    let (task, scorer, expected) = (task(), numeric(), expected());
    let scores: BTreeMap<&str, Vec<ScoredRow>> = expected["models"]
        .as_object()
        .unwrap()
        .keys()
        .map(|model| {
            let samples = samples(&rows, model, &task);
            (model.as_str(), scorer.score_all(&samples, &task).unwrap())
        })
        .collect();
    let pairs = expected["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 6);
    let confidence = expected["confidence"].as_f64().unwrap();
    for wanted in pairs {
        let side = |name: &str| &scores[wanted[name].as_str().unwrap()];
        let found = compare(side("candidate"), side("baseline"), confidence).unwrap();
        let table = found.table.unwrap();
        let counts = (table.only_candidate as u64, table.only_baseline as u64);
        let count = |name: &str| wanted[name].as_u64().unwrap();
        assert_eq!(counts, (count("only_candidate"), count("only_baseline")));
        close(found.difference.unwrap(), &wanted["difference"]);
        same_interval(found.interval, wanted);
        close(found.mcnemar_p.unwrap(), &wanted["mcnemar_p"]);
    }
}
