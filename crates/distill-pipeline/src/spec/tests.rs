//! Specs through one door: text in, what the user reads out.

use std::fmt::Write as _;

use distill_chat::TaskKind;
use insta::assert_snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod encoder;
mod evals;
mod findings;
mod hostile;
mod objective;

const VOCABULARY: Vocabulary<'static> = Vocabulary {
    vendors: &["openai", "anthropic", "simulated", "simulated-anthropic"],
    metrics: &[
        MetricName {
            name: "accuracy",
            kinds: &[TaskKind::Classify],
            decides: true,
        },
        MetricName {
            name: "macro_f1",
            kinds: &[TaskKind::Classify],
            decides: false,
        },
        MetricName {
            name: "json_parses",
            kinds: &[TaskKind::Extract],
            decides: true,
        },
        MetricName {
            name: "numeric",
            kinds: &[TaskKind::Classify, TaskKind::Extract],
            decides: true,
        },
    ],
    check_scorer: |name, settings| match settings.keys().next() {
        Some(key) if key != "tolerance" => Err(format!("`{name}` has no setting `{key}`")),
        _ => Ok(()),
    },
};

const QUICKSTART: &str = r#"name: quickstart
task:
  kind: classify
  system: "One of: {{ labels | join(', ') }}."
  prompt: "{{ text }}"
  labels: [refund, delivery]
data: {train: train.csv, gold: label}
teacher:
  models: [simulated/frontier, simulated/backup]
  budget_usd: 2.00
evals: {test: test.csv, gold: label}
student: {target: [linear, nano]}
"#;

fn findings(text: &str) -> Findings {
    load("p.yaml", text, &VOCABULARY).expect_err("the spec is wrong")
}

/// The findings of a spec as the user reads them.
fn check(text: &str) -> String {
    findings(text).to_text()
}

/// The quickstart with one line replaced by others.
fn with(line: &str, replacement: &str) -> String {
    assert!(QUICKSTART.contains(line), "{line}");
    QUICKSTART.replace(line, replacement)
}

/// `code line:column message` of each finding: for the many rules of one kind.
fn brief(text: &str) -> String {
    let lines = findings(text)
        .iter()
        .map(|finding| {
            assert!(
                finding.hint.as_ref().is_some_and(|hint| !hint.is_empty()),
                "{} has no hint",
                finding.message
            );
            assert!(
                !finding.label.is_empty(),
                "{} has no label",
                finding.message
            );
            let Finding {
                code,
                line,
                column,
                message,
                ..
            } = finding;
            format!("{code} {line}:{column} {message}")
        })
        .collect::<Vec<_>>();
    lines.join("\n")
}

#[test]
fn the_quickstart_resolves_with_defaults() {
    let spec = load("p.yaml", QUICKSTART, &VOCABULARY).unwrap();
    assert_eq!(spec.data.labels, Labels::Teacher);
    assert_eq!(spec.evals.controls, [Control::Untuned]);
    assert_eq!(
        spec.students,
        Students::Named(vec![StudentTarget::Linear, StudentTarget::Nano])
    );
    let teacher = spec.teacher.as_ref().unwrap();
    assert_eq!((teacher.concurrency, teacher.max_tokens), (16, 64));
    assert_eq!(teacher.models[1].name(), "simulated/backup");
    assert!(teacher.simulate.is_some());
    assert!(spec.cost.assumed);
    assert_eq!(spec.seed, 17);
    let json = serde_json::to_value(&spec).unwrap();
    assert_eq!(json["train"]["decoder"]["rank"], 16);
    assert_eq!(serde_json::from_value::<ResolvedSpec>(json).unwrap(), spec);
}

#[test]
fn the_whole_agreed_form_resolves() {
    let spec = load("p.yaml", include_str!("tests/full.yaml"), &VOCABULARY).unwrap();
    assert_eq!(
        spec.data.train,
        DataSource::Dataset {
            dataset: "banking77".into(),
            split: "train".into()
        }
    );
    let teacher = spec.teacher.unwrap();
    assert_eq!(
        teacher.models[1].base_url.as_deref(),
        Some("http://127.0.0.1:9000/v1")
    );
    assert_eq!(
        teacher.simulate.unwrap().faults.truncate.to_string(),
        "0.005"
    );
    assert_eq!(spec.evals.controls, Control::ALL);
    assert_eq!(spec.train.decoder.learning_rate, LearningRate::Given(0.004));
    assert_eq!(
        (spec.train.encoder.epochs, spec.train.encoder.batch_rows),
        (3, 32)
    );
    let tuning = &spec.train.decoder.tuning;
    assert_eq!(tuning.variant, AdapterKind::Dora);
    assert_eq!(tuning.targets, ["q_proj", "v_proj"]);
    assert_eq!(
        (tuning.base, tuning.schedule),
        (BasePrecision::Nf4, ScheduleKind::Wsd)
    );
    assert!(tuning.embeddings && !tuning.head && tuning.group_by_length);
    assert_eq!(tuning.validate_every, Some(50));
    assert_eq!(
        spec.train.linear.penalties.as_deref(),
        Some([1.0, 10.0].as_slice())
    );
    assert_eq!(spec.curate.unwrap().command, ["python3", "clean.py"]);
    assert_eq!(spec.accept.max_usd_per_1000, Some(0.5));
    assert!(!spec.cost.assumed);
}

#[test]
fn an_extraction_resolves() {
    let spec = load("p.yaml", EXTRACT, &VOCABULARY).unwrap();
    assert_eq!(spec.data.labels, Labels::Gold);
    assert_eq!(spec.students, Students::Auto);
    assert!(spec.task.schema.is_some());
}

#[test]
fn free_text_resolves_without_labels_or_schema_and_only_for_a_decoder() {
    let spec = load("p.yaml", GENERATE, &VOCABULARY).unwrap();
    assert!(spec.task.labels.is_empty() && spec.task.schema.is_none());
    assert_eq!(
        brief(&GENERATE.replace("target: nano", "target: linear")),
        "spec::conflict 7:19 student `linear` chooses one label of a set and cannot generate"
    );
    assert_eq!(
        brief(&GENERATE.replace(
            "  prompt",
            "  labels: [a, b]\n  schema: {type: object}\n  prompt"
        )),
        "spec::conflict 4:3 `task.labels` belongs to `kind: classify`, and this task writes free text\n\
         spec::conflict 5:3 `task.schema` belongs to `kind: extract`, and this task writes free text"
    );
}

const GENERATE: &str = r#"name: summaries
task:
  kind: generate
  prompt: "{{ text }}"
data: {train: train.jsonl, gold: summary}
evals: {test: test.jsonl, gold: summary}
student: {target: nano}
"#;

const EXTRACT: &str = r#"name: slots
task:
  kind: extract
  prompt: "{{ text }}"
  schema:
    type: object
    properties:
      people: {type: string}
    additionalProperties: false
data: {train: train.jsonl, gold: slots}
evals: {test: test.jsonl, gold: slots}
student: {target: auto}
"#;

#[test]
fn the_reference_has_every_section() {
    let text = reference();
    for section in [
        "teacher.simulate.faults",
        "teacher.models",
        "train.decoder",
        "data.train",
        "accept",
    ] {
        assert!(text.contains(&format!("## `{section}`")), "{section}");
    }
    assert!(
        text.contains("| `budget_usd` | required | a number | Hard cap on what labelling may cost")
    );
}

#[test]
fn a_part_of_the_reference_is_a_section_and_those_below() {
    let text = reference_of_part("train.decoder").unwrap();
    assert!(text.starts_with("## `train.decoder`\n"), "{text}");
    assert!(text.contains("| `gradient_checkpointing` |"));
    assert_eq!(text.matches("## ").count(), 1, "{text}");
    let train = reference_of_part("train").unwrap();
    assert!(train.contains("## `train.objective`") && train.contains("## `train.linear`"));
    assert!(!train.contains("## `accept`"), "{train}");
    assert_eq!(reference_of_part("train.dec"), None);
    assert_eq!(reference_of_part(""), None);
}

#[test]
fn the_spec_as_written_keeps_places() {
    let (spec, findings) = parse("p.yaml", QUICKSTART);
    assert!(findings.is_empty());
    let budget = spec.unwrap().teacher.unwrap().value.budget_usd.unwrap();
    assert_eq!(&QUICKSTART[budget.span], "2.00");
}

// ---- the text's form has no meaning -------------------------------------------------------

/// How one map or list is written.
#[derive(Debug, Clone, Copy)]
struct Style {
    flow: bool,
    indent: usize,
    comments: bool,
}

fn render(value: &Value, style: Style, depth: usize, text: &mut String) {
    let pad = " ".repeat(style.indent * depth);
    match value {
        Value::Object(map) if !style.flow && !map.is_empty() => {
            for (key, value) in map {
                if style.comments {
                    write!(text, "\n{pad}# about {key}").unwrap();
                }
                write!(text, "\n{pad}{key}: ").unwrap();
                render(value, style, depth + 1, text);
            }
        }
        Value::Array(items) if !style.flow && !items.is_empty() => {
            for item in items {
                // JSON is YAML, and keeps the items of a list on one line.
                write!(text, "\n{pad}- {item}").unwrap();
            }
        }
        other => text.push_str(&other.to_string()),
    }
}

fn shuffled(value: &Value, order: &mut impl Iterator<Item = u64>) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(u64, &String, &Value)> = map
                .iter()
                .map(|(key, value)| (order.next().unwrap(), key, value))
                .collect();
            entries.sort_by_key(|(rank, key, _)| (*rank, *key));
            entries
                .into_iter()
                .map(|(_, key, value)| (key.clone(), shuffled(value, order)))
                .collect()
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn formatting_and_key_order_change_nothing(
        rank in 1_u64..64,
        margin in 0.001_f64..0.2,
        faults in 0.0_f64..0.15,
        labels in proptest::collection::btree_set("[a-z]{1,6}[0-9]", 2..6),
        flow in any::<bool>(),
        indent in 1_usize..5,
        comments in any::<bool>(),
        order in proptest::collection::vec(any::<u64>(), 97),
    ) {
        let value = json!({
            "name": "p",
            "task": {"kind": "classify", "prompt": "Say: {{ text }}\n# now", "labels": labels, "system": null},
            "data": {"train": {"dataset": "d", "split": "train"}, "gold": "label", "limit": 40},
            "teacher": {
                "models": ["simulated/frontier", {"vendor": "openai", "model": "m", "base_url": "http://h/v1"}],
                "budget_usd": 2,
                "simulate": {"faults": {"rate_limit": faults, "hang": faults}, "latency_ms": {"median": 3, "p95": 9}},
            },
            "evals": {"test": "t.csv", "gold": "label", "controls": ["full", "untuned"]},
            "student": {"target": ["linear", "nano"]},
            "train": {"decoder": {"rank": rank, "max_steps": null}},
            "accept": {"margin": margin},
        });
        let expected = load("p.yaml", &value.to_string(), &VOCABULARY).unwrap();
        let mut text = String::new();
        let mut order = order.into_iter().cycle();
        render(&shuffled(&value, &mut order), Style { flow, indent, comments }, 0, &mut text);
        let found = load("p.yaml", &text, &VOCABULARY);
        prop_assert_eq!(found.map_err(|findings| findings.to_text()), Ok(expected), "{}", text);
    }
}
