use std::collections::BTreeSet;

use distill_chat::{Task, TaskDefinition, TaskKind};
use serde_json::json;

use crate::{
    Confusion, METRICS, Metric, NO_VALID_ANSWER, Rule, Sample, Score, Scorer, Settings, aggregate,
    metric, primary_metric,
};

mod oracles;
mod properties;

fn classify(labels: &[&str]) -> Task {
    Task::new(TaskDefinition {
        kind: TaskKind::Classify,
        system: None,
        prompt: "{{ text }}".into(),
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        schema: None,
    })
    .unwrap()
}

pub(super) fn generate() -> Task {
    Task::new(TaskDefinition {
        kind: TaskKind::Generate,
        system: None,
        prompt: "{{ text }}".into(),
        labels: vec![],
        schema: None,
    })
    .unwrap()
}

fn extract() -> Task {
    let schema = json!({
        "type": "object",
        "properties": {"people": {"type": "string"}, "time": {"type": "string"}, "date": {"type": "string"}},
        "additionalProperties": false
    });
    Task::new(TaskDefinition {
        kind: TaskKind::Extract,
        system: None,
        prompt: "{{ text }}".into(),
        labels: vec![],
        schema: Some(schema),
    })
    .unwrap()
}

fn task(kind: TaskKind) -> Task {
    match kind {
        TaskKind::Classify => classify(&["a", "b", "c"]),
        TaskKind::Extract => extract(),
        TaskKind::Generate => generate(),
    }
}

/// With the settings without which the metric scores nothing.
fn scorer(metric: &'static Metric) -> Scorer {
    let settings = match metric.name {
        "regex" => json!({"pattern": "a|people"}),
        "json_matches_schema" => json!({"schema": extract().definition().schema}),
        _ => json!({}),
    };
    Scorer::parse(metric.name, settings.as_object().unwrap()).unwrap()
}

/// Replies that mean something to the metric; the first is the best answer to itself.
fn replies(metric: &Metric, kind: TaskKind) -> &'static [&'static str] {
    const OBJECTS: &[&str] = &[
        r#"{"people":"2","time":"7 pm"}"#,
        r#"{"people":"2"}"#,
        r#"{"time":"8 pm","date":"monday"}"#,
        "{}",
        r#"{"people": "#,
        "not json",
    ];
    match (kind, metric.name) {
        (TaskKind::Classify, _) => &["a", "b", "c", "junk", ""],
        (TaskKind::Extract, _) => OBJECTS,
        (TaskKind::Generate, name) if name.starts_with("json") || name.starts_with("field") => {
            OBJECTS
        }
        (TaskKind::Generate, "numeric") => &["it is 7", "8", "1,000", "7.0", "none", ""],
        (TaskKind::Generate, "multiple_choice") => &["B", "(A)", "Answer: C", "A and B", ""],
        (TaskKind::Generate, "span_f1") => &[
            r#"[{"text":"Ann","label":"PER"},{"text":"Oslo","label":"LOC"}]"#,
            r#"[{"text":"Ann","label":"PER"}]"#,
            "[]",
            "Ann",
        ],
        (TaskKind::Generate, name) if name.starts_with("tool") => &[
            r#"[{"name":"look","arguments":{"at":1}}]"#,
            r#"[{"name":"look","arguments":{"at":2}}]"#,
            "no call",
            r#"[{"name":"#,
        ],
        (TaskKind::Generate, _) => &[
            "two people at seven pm",
            "two people at seven",
            "a table for Ann",
            "наш стол на двоих",
            "",
        ],
    }
}

fn right_reply(metric: &Metric, kind: TaskKind) -> &'static str {
    replies(metric, kind)[0]
}

/// Scores one reply and says what came out.
fn check(name: &str, task: &Task, reply: Result<&str, &str>, gold: Option<&str>) -> Score {
    let sample = Sample::read("1", task, reply, gold);
    Scorer::plain(metric(name).unwrap())
        .score(&sample, task)
        .unwrap()
}

fn settings() -> Settings {
    Settings {
        draws: 200,
        ..Settings::default()
    }
}

#[test]
fn every_metric_says_what_it_is_and_holds_the_contract() {
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len(), "names are unique");
    for metric in METRICS {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/metric");
        let file = format!("{folder}/{}.rs", metric.name);
        assert!(std::path::Path::new(&file).exists(), "{file}");
        assert!(!metric.description.is_empty() && !metric.description.contains('\n'));
        assert!(!metric.kinds.is_empty());
        for kind in metric.kinds {
            let (scorer, task) = (scorer(metric), task(*kind));
            let right = right_reply(metric, *kind);
            let none = aggregate(&scorer, &[], &task, &settings());
            assert_eq!((none.n, none.value, none.interval), (0, None, None));
            let missing = Sample::read("1", &task, Err("timed out"), Some(right));
            let only_missing =
                aggregate(&scorer, std::slice::from_ref(&missing), &task, &settings());
            assert_eq!((only_missing.n, only_missing.value), (0, None));
            assert_eq!(only_missing.unscored_reasons["timed out"], 1);
            let good = Sample::read("2", &task, Ok(right), Some(right));
            let found = aggregate(&scorer, &[missing, good], &task, &settings());
            let most = metric.unit.full().unwrap();
            assert_eq!((found.n, found.unscored), (1, 1), "{}", metric.name);
            assert!(
                (found.value.unwrap() - most).abs() < 1e-9,
                "{}",
                metric.name
            );
            let (unit, direction) = (found.unit, found.direction);
            assert_eq!((unit, direction), (metric.unit, metric.direction));
        }
    }
    for kind in TaskKind::ALL {
        assert!(matches!(primary_metric(kind).rule, Rule::Share(_)));
    }
}

#[test]
fn a_label_is_right_wrong_or_unscored() {
    let task = classify(&["refund", "delivery"]);
    let right = Score::Value(1.0);
    let wrong = Score::Value(0.0);
    assert_eq!(
        check("accuracy", &task, Ok(" Refund."), Some("refund")),
        right
    );
    assert_eq!(
        check("accuracy", &task, Ok("delivery"), Some("refund")),
        wrong
    );
    assert_eq!(check("accuracy", &task, Ok("dunno"), Some("refund")), wrong);
    assert!(matches!(
        check("accuracy", &task, Ok("refund"), None),
        Score::Unscored { .. }
    ));
    assert_eq!(
        check("exact_match", &task, Ok("refund\n"), Some("refund")),
        right
    );
    assert_eq!(
        check("exact_match", &task, Ok("Refund."), Some("refund")),
        wrong
    );
    assert_eq!(
        check("normalised_match", &task, Ok("Refund."), Some("refund")),
        right
    );
}

#[test]
fn an_object_is_right_as_a_whole_key_order_aside() {
    let task = extract();
    let gold = Some(r#"{"people": "2", "time": "7 pm"}"#);
    let exact = |reply| check("json_exact_object", &task, Ok(reply), gold);
    assert_eq!(exact(r#"{"time":"7 pm","people":"2"}"#), Score::Value(1.0));
    assert_eq!(exact(r#"{"time":"7 pm"}"#), Score::Value(0.0));
    assert_eq!(exact(r#"{"time":"7 pm","people":2}"#), Score::Value(0.0));
    let parses = |reply| check("json_parses", &task, Ok(reply), None).value();
    let matches = |reply| check("json_matches_schema", &task, Ok(reply), None).value();
    assert_eq!((parses("{}"), matches("{}")), (Some(1.0), Some(1.0)));
    assert_eq!(
        (parses(r#"{"x":1}"#), matches(r#"{"x":1}"#)),
        (Some(1.0), Some(0.0))
    );
    assert_eq!(
        (parses("{\"people\""), matches("{\"people\"")),
        (Some(0.0), Some(0.0))
    );
    assert!(matches!(
        check("json_exact_object", &task, Ok("{}"), Some("[1]")),
        Score::Unscored { .. }
    ));
}

#[test]
fn numbers_in_objects_are_right_by_value() {
    let task = generate();
    let gold = Some(r#"{"people": 2, "tags": [1, "x"]}"#);
    for (reply, exact, f1) in [
        (r#"{"people": 2.0, "tags": [1.0, "x"]}"#, 1.0, 1.0),
        (r#"{"people": "2", "tags": [1, "x"]}"#, 0.0, 0.5),
        (r#"{"people": 2, "tags": ["x", 1]}"#, 0.0, 0.5),
    ] {
        let score = check("json_exact_object", &task, Ok(reply), gold);
        assert_eq!(score, Score::Value(exact), "{reply}");
        let sample = Sample::read("1", &task, Ok(reply), gold);
        let fields = Scorer::plain(metric("field_f1").unwrap());
        let found = aggregate(&fields, &[sample], &task, &settings());
        assert_eq!(found.value, Some(f1), "{reply}");
    }
}

#[test]
fn confused_pairs_come_by_count_and_name_what_was_no_label() {
    let task = classify(&["a", "b"]);
    let samples: Vec<Sample> = ["b", "b", "what?", "a"]
        .iter()
        .enumerate()
        .map(|(row, reply)| Sample::read(row.to_string(), &task, Ok(reply), Some("a")))
        .collect();
    let pairs = Confusion::count(&samples, &task).top_pairs(5);
    let told: Vec<(&str, usize)> = pairs
        .iter()
        .map(|pair| (pair.answered.as_str(), pair.count))
        .collect();
    assert_eq!(told, [("b", 2), (NO_VALID_ANSWER, 1)]);
}
