//! Suites through one door: text in, what the user reads out.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::spec::{Code, MAX_SPEC_BYTES, MetricName};

const VOCABULARY: Vocabulary<'static> = Vocabulary {
    vendors: &["openai", "simulated"],
    metrics: &[
        MetricName {
            name: "accuracy",
            kinds: &[TaskKind::Classify],
            decides: true,
        },
        MetricName {
            name: "numeric",
            kinds: &[TaskKind::Generate],
            decides: true,
        },
    ],
    check_scorer: |name, settings| match settings.keys().find(|key| *key != "tolerance") {
        Some(key) => Err(format!("`{name}` has no setting `{key}`")),
        None => Ok(()),
    },
};

const SUITE: &str = r#"name: sums
description: Recorded answers to sums.
task:
  kind: generate
  prompt: "{{ question }}"
rows: rows.parquet
gold: answer.text
scorers:
  - {numeric: {tolerance: 0.01}}
  - command: {name: polite, run: [python3, polite.py], unit: share}
slices: [topic]
group: source
answers:
  - {name: small, column: small.solution, check: small.right}
  - {name: large, column: text, file: large.jsonl}
models: [openai/gpt-5-mini]
budget_usd: 1.50
limit: 100
"#;

/// `code line:column message` of each finding, each with a label and a hint.
fn brief(text: &str) -> String {
    let findings = load("s.yaml", text, &VOCABULARY).expect_err("the suite is wrong");
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| {
            assert!(!finding.label.is_empty(), "{}", finding.message);
            assert!(finding.hint.is_some(), "{}", finding.message);
            format!(
                "{} {}:{} {}",
                finding.code, finding.line, finding.column, finding.message
            )
        })
        .collect();
    lines.join("\n")
}

fn with(line: &str, replacement: &str) -> String {
    assert!(SUITE.contains(line), "{line}");
    SUITE.replace(line, replacement)
}

#[test]
fn a_suite_resolves_with_defaults() {
    let suite = load("s.yaml", SUITE, &VOCABULARY).unwrap();
    assert_eq!(suite.rows, DataSource::Path("rows.parquet".into()));
    assert_eq!(suite.gold.as_deref(), Some("answer.text"));
    assert_eq!(suite.models[0].name(), "openai/gpt-5-mini");
    assert_eq!((suite.max_tokens, suite.concurrency), (1024, 8));
    assert_eq!(
        (suite.confidence.to_string(), suite.seed),
        ("0.95".into(), 17)
    );
    assert_eq!(suite.answers[0].check.as_deref(), Some("small.right"));
    assert_eq!(suite.answers[1].file.as_deref(), Some("large.jsonl"));
    let SuiteScorer::Command(command) = &suite.scorers[1] else {
        panic!("{:?}", suite.scorers);
    };
    assert_eq!(command.run, ["python3", "polite.py"]);
    assert_eq!(
        (command.unit, command.direction),
        (CommandUnit::Share, CommandDirection::Higher)
    );
    let json = serde_json::to_value(&suite).unwrap();
    assert_eq!(serde_json::from_value::<SuiteSpec>(json).unwrap(), suite);
    let short = "name: a\ntask: {kind: classify, prompt: '{{ text }}'}\nrows: {dataset: d, split: test}\ngold: label\n";
    let suite = load("s.yaml", short, &VOCABULARY).unwrap();
    assert!(suite.scorers.is_empty() && suite.models.is_empty() && suite.budget_usd.is_none());
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let text = r#"name: ""
task:
  kind: generat
  prompt: "{{ question"
row: rows.jsonl
rows: rows.txt
gold: ""
scorers:
  - numerik
  - {numeric: {tolerence: 1}}
  - command: {name: accuracy, run: [], unit: shares, timeout_seconds: 0}
slices: [topic, topic]
answers:
  - {name: a/b, column: x}
  - {name: same, column: x}
  - {name: same, column: y, file: y.xlsx}
models: [gpt-5-mini]
confidence: 95
"#;
    assert_snapshot!(brief(text), @"
    spec::invalid 1:7 `name` is empty
    spec::unknown_name 3:9 `task.kind` cannot be `generat`
    spec::template 4:11 template `task.prompt` does not compile: unexpected end of input, expected end of variable block (line 1)
    spec::unknown_key 5:1 an eval suite has no key `row`
    spec::invalid 6:7 `rows` names `rows.txt`, and its format is not known
    spec::invalid 7:7 `gold` is empty
    spec::unknown_name 9:5 `scorers`: there is no metric `numerik`
    spec::invalid 10:6 the settings of scorer `numeric` do not hold: `numeric` has no setting `tolerence`
    spec::conflict 11:21 a scorer is called `accuracy` already
    spec::invalid 11:31 `scorers.command.run` names no program
    spec::unknown_name 11:46 `scorers[2].command.unit` cannot be `shares`
    spec::out_of_range 11:71 `scorers.command.timeout_seconds` is 0, and must be above 0 and at most a day, 86400
    spec::invalid 12:17 `topic` is in `slices` twice
    spec::invalid 14:12 `answers.name` is `a/b`, which cannot name a file
    spec::conflict 16:12 two answerers are called `same`
    spec::invalid 16:35 `answers.file` names `y.xlsx`, and its format is not known
    spec::missing 17:1 models are asked, and `budget_usd` is missing
    spec::invalid 17:10 `gpt-5-mini` does not say who answers
    spec::out_of_range 18:13 `confidence` is 95, and must be above 0 and below 1
    ");
}

#[test]
fn a_simulated_wait_ends() {
    let waits = |median: &str| {
        with(
            "limit: 100\n",
            &format!("simulate: {{latency_ms: {{median: {median}, p95: 1e9}}}}\n"),
        )
    };
    assert_snapshot!(brief(&waits("1")), @"spec::out_of_range 18:41 `simulate.latency_ms.p95` is 1000000000, and must be above 0 and at most a day, 86400000");
}

#[test]
fn a_finding_shows_the_line_of_the_suite() {
    let findings = load("s.yaml", &with("numeric:", "numerik:"), &VOCABULARY).unwrap_err();
    assert_snapshot!(findings.to_text(), @"
    error[spec::unknown_name]: `scorers`: there is no metric `numerik`
     --> s.yaml:9:6
      |
    9 |   - {numerik: {tolerance: 0.01}}
      |      ^^^^^^^ not a metric of this program
      = help: did you mean `numeric`?
    ");
}

#[test]
fn models_cost_money_and_classes_need_labels() {
    assert_snapshot!(brief(&with("budget_usd: 1.50\n", "")), @"
    spec::missing 16:1 models are asked, and `budget_usd` is missing
    ");
    let text =
        "name: a\ntask: {kind: classify, prompt: '{{ text }}'}\nrows: r.csv\nscorers: [numeric]\n";
    assert_snapshot!(brief(text), @"
    spec::missing 2:1 the label set is not known
    spec::conflict 4:11 `scorers`: metric `numeric` has no meaning for a task of kind `classify`
    ");
}

#[test]
fn a_suite_that_is_none_says_how_to_begin_one() {
    assert_snapshot!(brief("- 1\n"), @"
    spec::wrong_type 1:1 an eval suite is a map of keys
    ");
    assert_snapshot!(brief("name: [a\n"), @"
    spec::syntax 1:7 this is not YAML: unclosed bracket '['
    ");
    assert_snapshot!(brief(&"# much\n".repeat(MAX_SPEC_BYTES / 7 + 1)), @"
    spec::limit 1:1 the file has 1048579 bytes; an eval suite has at most 1048576
    ");
    let deep = format!("name: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let findings = load("s.yaml", &deep, &VOCABULARY).unwrap_err();
    assert_eq!(findings.iter().next().unwrap().code, Code::Limit);
}

proptest! {
    /// Whatever is cut out of a suite, there is an answer and no panic; places lie in the text.
    #[test]
    fn a_torn_suite_gets_an_answer(start in 0..SUITE.len(), length in 0_usize..60) {
        let end = (start + length).min(SUITE.len());
        let text = format!("{}{}", &SUITE[..start], &SUITE[end..]);
        if let Err(findings) = load("s.yaml", &text, &VOCABULARY) {
            for finding in findings.iter() {
                prop_assert!(text.get(finding.span.clone()).is_some());
            }
            findings.to_text();
        }
    }

    #[test]
    fn any_text_gets_an_answer(text in "[ -~\n\t\u{e9}]{0,200}") {
        if let Err(findings) = load("s.yaml", &text, &VOCABULARY) {
            findings.to_text();
        }
    }
}
