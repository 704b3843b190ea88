use std::collections::BTreeSet;

use distill_chat::{Task, TaskDefinition, TaskKind};
use serde_json::{Value, json};

use crate::{
    Confusion, METRICS, Metric, NO_VALID_ANSWER, Rule, Sample, Score, Scorer, Settings, Unit,
    aggregate, metric, per_field, primary_metric,
};

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

fn expected(part: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../../fixtures/expected.json")).unwrap();
    all[part].as_array().unwrap().clone()
}

fn strings(value: &Value) -> Vec<Option<&str>> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(Value::as_str)
        .collect()
}

#[track_caller]
fn close(found: Option<f64>, wanted: &Value) {
    let (found, wanted) = (found.unwrap(), wanted.as_f64().unwrap());
    assert!((found - wanted).abs() < 1e-9, "{found} and {wanted}");
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
            let most = match metric.unit {
                Unit::Share | Unit::Score0To1 => 1.0,
                Unit::Score0To100 => 100.0,
                Unit::Points => continue,
            };
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

fn label_samples(case: &Value, task: &Task) -> Vec<Sample> {
    strings(&case["gold"])
        .iter()
        .zip(strings(&case["answers"]))
        .enumerate()
        .map(|(row, (gold, answer))| {
            let reply = answer.unwrap_or("no label at all");
            Sample::read(format!("{row:04}"), task, Ok(reply), *gold)
        })
        .collect()
}

#[test]
fn label_scores_agree_with_scikit_learn() {
    for case in expected("labels") {
        let labels: Vec<&str> = strings(&case["labels"]).into_iter().flatten().collect();
        let task = classify(&labels);
        let samples = label_samples(&case, &task);
        let value = |name: &str| {
            aggregate(
                &Scorer::plain(metric(name).unwrap()),
                &samples,
                &task,
                &settings(),
            )
            .value
        };
        close(value("macro_f1"), &case["macro_f1"]);
        close(value("micro_f1"), &case["micro_f1"]);
        let confusion = Confusion::count(&samples, &task);
        let per_label = confusion.per_label();
        assert_eq!(per_label.len(), labels.len());
        for (place, label) in strings(&case["seen"]).into_iter().flatten().enumerate() {
            let found = per_label.iter().find(|found| found.label == label).unwrap();
            assert_eq!(
                found.support as u64,
                case["support"][place].as_u64().unwrap()
            );
            // scikit-learn says 0 where nothing was answered; here it is missing.
            close(
                Some(found.precision.unwrap_or(0.0)),
                &case["precision"][place],
            );
            close(Some(found.recall.unwrap_or(0.0)), &case["recall"][place]);
            close(found.f1, &case["f1"][place]);
            assert_eq!(found.precision.is_none(), found.predicted == 0);
        }
        let never = per_label
            .iter()
            .find(|found| found.label == "never")
            .unwrap();
        assert_eq!(
            (never.precision, never.recall, never.f1),
            (None, None, None)
        );
        let wrong: usize = confusion
            .top_pairs(1000)
            .iter()
            .map(|pair| pair.count)
            .sum();
        let right: usize = per_label.iter().map(|label| label.correct).sum();
        assert_eq!(wrong + right, samples.len());
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

#[test]
fn field_scores_agree_with_scikit_learn() {
    let task = extract();
    for case in expected("fields") {
        let samples: Vec<Sample> = case["rows"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
            .map(|(row, value)| {
                let reply = match &value["answer"] {
                    Value::Null => "not json".to_owned(),
                    answer => answer.to_string(),
                };
                let gold = value["gold"].to_string();
                Sample::read(format!("{row:04}"), &task, Ok(&reply), Some(&gold))
            })
            .collect();
        for part in ["precision", "recall", "f1"] {
            let metric = metric(&format!("field_{part}")).unwrap();
            let found = aggregate(&Scorer::plain(metric), &samples, &task, &settings());
            close(found.value, &case["pooled"][part]);
            let interval = found.interval.unwrap();
            assert!(interval.low < found.value.unwrap() && found.value.unwrap() < interval.high);
        }
        for field in per_field(&samples, &task, &settings()) {
            let wanted = &case["per_field"][&field.field];
            close(field.precision, &wanted["precision"]);
            close(field.recall, &wanted["recall"]);
            close(field.f1, &wanted["f1"]);
            assert_eq!(field.correct as u64, wanted["correct"].as_u64().unwrap());
        }
    }
}
