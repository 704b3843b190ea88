//! Which nodes a spec asks for, and that one without these keys has the split it always had.

use std::path::Path;

use distill_pipeline::graph::Action as _;
use serde_json::json;

use crate::{Action, action::Split, compile, parse_spec};

const PIPELINE: &str = r#"
name: support
task: {kind: classify, prompt: "{{ text }}"}
data: {train: {dataset: support-intents, split: train}, gold: label, labels: teacher}
teacher: {models: [simulated/frontier], budget_usd: 1, simulate: {accuracy: 0.9}}
evals: {test: {dataset: support-intents, split: test}, gold: label}
student: {target: [linear, nano]}
"#;

/// The names of the steps of a pipeline with these keys more.
fn steps(more: &str) -> Vec<String> {
    let home = tempfile::tempdir().unwrap();
    let spec = parse_spec("p.yaml", &format!("{PIPELINE}{more}")).unwrap();
    let environment: crate::teacher::Environment = std::sync::Arc::new(|_: &str| None);
    let compiled = compile(&spec, Path::new("p.yaml"), home.path(), &environment).unwrap();
    compiled
        .graph
        .steps()
        .map(|step| step.name.clone())
        .collect()
}

fn with<'a>(steps: &'a [String], start: &str) -> Vec<&'a str> {
    let names = steps.iter().map(String::as_str);
    names.filter(|name| name.starts_with(start)).collect()
}

#[test]
fn a_risk_calibrates_every_student_and_nothing_else_does() {
    assert!(with(&steps(""), "cascade:").is_empty());
    let steps = steps("accept: {risk: 0.05}\n");
    assert_eq!(with(&steps, "cascade:"), ["cascade:linear", "cascade:nano"]);
}

#[test]
fn the_linear_student_has_a_curve_and_a_decoder_where_it_is_asked_for() {
    assert_eq!(with(&steps(""), "curve:"), ["curve:linear"]);
    let asked = steps("train: {learning_curve: [0.5]}\n");
    assert_eq!(with(&asked, "curve:"), ["curve:linear", "curve:nano"]);
    assert_eq!(
        with(&asked, "curve-figures:"),
        ["curve-figures:linear", "curve-figures:nano"]
    );
}

#[test]
fn labels_of_a_set_are_looked_at() {
    assert_eq!(with(&steps(""), "label-noise"), ["label-noise"]);
}

#[test]
fn a_split_without_a_calibration_share_has_the_key_that_it_always_had() {
    let split = Action::Split(Split {
        validation: 0.1,
        seed: 17,
        calibration: None,
    });
    assert_eq!(split.settings(), json!({"validation": 0.1}));
    assert_eq!(
        (split.kind(), split.version(), split.seed()),
        ("split", 1, Some(17))
    );
}
