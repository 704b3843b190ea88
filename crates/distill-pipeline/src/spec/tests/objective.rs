//! `train.objective`: what resolves, and what is found wrong.

use super::*;
use crate::spec::{DivergenceKind, EstimateKind, ObjectiveSpec, RestKind, StudentTarget};

fn with(keys: &str) -> String {
    format!("{QUICKSTART}train: {{objective: {{{keys}}}}}\n")
}

fn resolved(keys: &str) -> Option<ObjectiveSpec> {
    let spec = load("p.yaml", &with(keys), &VOCABULARY).expect("the spec is right");
    spec.train.objective
}

#[test]
fn each_kind_resolves_with_its_usual_settings() {
    let teacher = StudentTarget::from("./big".to_owned());
    assert_eq!(resolved("kind: cross_entropy"), None);
    assert_eq!(
        resolved("kind: soft_labels, teacher: ./big, share: 0.5"),
        Some(ObjectiveSpec::SoftLabels {
            teacher: teacher.clone(),
            temperature: 1.0,
            share: 0.5
        })
    );
    assert_eq!(
        resolved("kind: top_k, teacher: ./big, rest: renormalised, temperature: 2"),
        Some(ObjectiveSpec::TopK {
            teacher: Some(teacher.clone()),
            top: 20,
            rest: RestKind::Renormalised,
            divergence: DivergenceKind::Forward,
            temperature: 2.0,
            share: 1.0
        })
    );
    assert_eq!(
        resolved("kind: on_policy, teacher: ./big"),
        Some(ObjectiveSpec::OnPolicy {
            teacher,
            estimate: EstimateKind::Whole,
            divergence: DivergenceKind::Reverse,
            temperature: 1.0,
            share: 1.0,
            student_share: 1.0
        })
    );
    assert_eq!(
        resolved("kind: rationale, column: why"),
        Some(ObjectiveSpec::Rationale {
            column: "why".to_owned(),
            weight: 0.5
        })
    );
}

#[test]
fn what_cannot_be_is_named() {
    for (keys, said) in [
        ("teacher: ./big", "`train.objective.kind` is missing"),
        ("kind: kd", "`train.objective.kind` cannot be `kd`"),
        ("kind: soft_labels", "`soft_labels` needs a local teacher"),
        ("kind: top_k, top: 21", "`train.objective.top` is 21"),
        (
            "kind: top_k, temperature: 2",
            "a vendor tells its top tokens at temperature 1",
        ),
        (
            "kind: on_policy, teacher: big",
            "there is no local teacher `big`",
        ),
        (
            "kind: top_k, teacher: nano, top: 0",
            "`train.objective.top` is 0",
        ),
        (
            "kind: top_k, teacher: nano, share: 0",
            "`train.objective.share` is 0",
        ),
        (
            "kind: top_k, teacher: nano, temperature: 0",
            "`train.objective.temperature` is 0",
        ),
        (
            "kind: top_k, teacher: nano, temperature: 0.001",
            "`train.objective.temperature` is 0.001",
        ),
        (
            "kind: top_k, teacher: nano, temperature: 2000",
            "`train.objective.temperature` is 2000",
        ),
        ("kind: rationale", "`train.objective.column` is missing"),
        (
            "kind: rationale, column: why, weight: -1",
            "`train.objective.weight` is -1",
        ),
        (
            "kind: cross_entropy, top: 5",
            "`train.objective.top` means nothing to `cross_entropy`",
        ),
        (
            "kind: on_policy, teacher: nano, estimate: drawn, temperature: 2",
            "cannot be kept by the estimate `drawn`",
        ),
        (
            "kind: on_policy, teacher: nano, estimate: drawn, divergence: forward",
            "`train.objective.divergence` cannot be kept",
        ),
    ] {
        let found = check(&with(keys));
        assert!(found.contains(said), "{keys}: {found}");
    }
}

#[test]
fn soft_labels_need_labels() {
    let text = with("kind: soft_labels, teacher: nano").replace("classify", "generate");
    let found = check(&text);
    assert!(
        found.contains("`soft_labels` needs a set of labels"),
        "{found}"
    );
}
