//! Eval suites as a user meets them: what is scored, what is refused, and that files say it again.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{architecture::root, fixture::Job};

mod asked;
mod command;

/// Eight rows with two recorded answerers: `good` is right on 7 rows, `bad` on 4, and one row of
/// `bad` has no answer.
const ROWS: &str = r#"{"key": "a", "text": "1+1", "right": {"n": "2"}, "topic": "plus", "good": "2", "bad": {"said": "2", "ok": true}}
{"key": "b", "text": "1+2", "right": {"n": "3"}, "topic": "plus", "good": "3", "bad": {"said": "3", "ok": true}}
{"key": "c", "text": "2+2", "right": {"n": "4"}, "topic": "plus", "good": "4", "bad": {"said": "5", "ok": false}}
{"key": "d", "text": "2+3", "right": {"n": "5"}, "topic": "plus", "good": "5", "bad": {"said": "5", "ok": true}}
{"key": "e", "text": "2*2", "right": {"n": "4"}, "topic": "times", "good": "4", "bad": {"said": "3", "ok": false}}
{"key": "f", "text": "2*3", "right": {"n": "6"}, "topic": "times", "good": "6", "bad": {"said": "6", "ok": true}}
{"key": "g", "text": "3*3", "right": {"n": "9"}, "topic": "times", "good": "9", "bad": {"said": "8", "ok": false}}
{"key": "h", "text": "3*4", "right": {"n": "12"}, "topic": "times", "good": "7", "bad": {"said": null, "ok": null}}
"#;

const SUITE: &str = r#"name: sums
task: {kind: generate, prompt: "How much is {{ text }}?"}
rows: rows.jsonl
id: key
gold: right.n
scorers: [exact_match, rouge_l]
slices: [topic]
answers:
  - {name: good, column: good}
  - {name: bad, column: bad.said, check: bad.ok}
"#;

fn job(suite: &str) -> Job {
    let job = Job::new("name: unused\n");
    job.write("rows.jsonl", ROWS);
    job.write("suite.yaml", suite);
    job
}

fn with(line: &str, replacement: &str) -> String {
    assert!(SUITE.contains(line), "{line}");
    SUITE.replace(line, replacement)
}

/// Runs a suite and gives the summary that it wrote.
fn run(job: &Job, more: &[&str]) -> Value {
    let mut arguments = vec!["eval", "run", "suite.yaml", "--out", "out"];
    arguments.extend(more);
    job.check(&arguments).code(0);
    summary(job)
}

fn summary(job: &Job) -> Value {
    read(&job.path().join("out/summary.json"))
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn records(job: &Job, answerer: &str) -> Vec<Value> {
    let path = job.path().join(format!("out/samples/{answerer}.jsonl"));
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Runs a suite that is refused with this exit code, and holds every word in what it says.
#[track_caller]
fn refused(job: &Job, arguments: &[&str], code: i32, words: &[&str]) {
    let mut command = vec!["eval"];
    command.extend(arguments);
    let told = job.check(&command).code(code);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    for word in words {
        assert!(told.contains(word), "`{word}` is not in:\n{told}");
    }
}

const RUN: &[&str] = &["run", "suite.yaml", "--out", "out"];

#[test]
fn recorded_answers_are_scored_compared_sliced_and_checked() {
    let job = job(SUITE);
    let summary = run(&job, &[]);
    let exact = &summary["scorers"][0];
    let values = exact["values"].as_array().unwrap();
    assert_eq!(values[0]["value"], json!(7.0 / 8.0));
    assert_eq!(
        (&values[1]["n"], &values[1]["unscored"]),
        (&json!(7), &json!(1))
    );
    assert_eq!(values[1]["value"], json!(4.0 / 7.0));
    assert_eq!(
        values[1]["unscored_reasons"],
        json!({"no answer is recorded in `bad.said`": 1})
    );
    let pair = &exact["comparisons"][0];
    assert_eq!(
        (
            &pair["candidate"],
            &pair["baseline"],
            &pair["n"],
            &pair["left_out"]
        ),
        (&json!("good"), &json!("bad"), &json!(7), &json!(1))
    );
    assert_eq!(pair["difference"], json!(3.0 / 7.0));
    assert_eq!(pair["interval"]["method"], "tango");
    // Three rows tell them apart, all one way: 2 / 2^3.
    for p in ["p", "holm_p"] {
        assert!((pair[p].as_f64().unwrap() - 0.25).abs() < 1e-12, "{pair}");
    }
    let slices = &exact["slices"][0];
    assert_eq!(slices["column"], "topic");
    assert_eq!(slices["values"][0]["value"], "plus");
    assert_eq!(slices["values"][0]["values"][1]["value"], json!(0.75));
    assert_eq!(
        exact["checks"],
        json!([{"answerer": "bad", "column": "bad.ok", "agreed": 7, "n": 7, "left_out": 1}])
    );
    let record = &records(&job, "bad")[2];
    assert_eq!(
        (
            &record["id"],
            &record["input"],
            &record["output"],
            &record["expected"]
        ),
        (
            &json!("c"),
            &json!("How much is 2+2?"),
            &json!("5"),
            &json!("4")
        )
    );
    assert_eq!(record["scores"]["exact_match"], json!({"value": 0.0}));
    assert_eq!(record["slices"], json!({"topic": "plus"}));
    assert!(record.get("latency_ms").is_none() && record.get("usd").is_none());
}

#[test]
fn files_alone_give_the_figures_of_the_run() {
    for suite in [SUITE.to_owned(), with("slices: [topic]", "group: topic")] {
        let job = job(&suite);
        let summary = run(&job, &[]);
        let compare = |candidate: &str, baseline: &str| -> Value {
            let (candidate, baseline) = (
                format!("out/samples/{candidate}.jsonl"),
                format!("out/samples/{baseline}.jsonl"),
            );
            let told = job
                .check(&["eval", "compare", &candidate, &baseline, "--format", "json"])
                .success();
            serde_json::from_slice(&told.get_output().stdout).unwrap()
        };
        let found = compare("good", "bad");
        let figures = found["figures"].as_array().unwrap();
        assert_eq!(figures.len(), 2);
        for figures in figures {
            let scorer = summary["scorers"]
                .as_array()
                .unwrap()
                .iter()
                .find(|scorer| scorer["name"] == figures["scorer"])
                .unwrap();
            assert_eq!(figures["values"], scorer["values"]);
            let (mut here, mut there) = (figures["pair"].clone(), scorer["comparisons"][0].clone());
            // One pair alone needs no correction.
            for pair in [&mut here, &mut there] {
                pair.as_object_mut().unwrap().remove("holm_p");
            }
            assert_eq!(here, there);
        }
        let turned = compare("bad", "good");
        assert_eq!(
            turned["figures"][0]["pair"]["difference"].as_f64(),
            figures[0]["pair"]["difference"]
                .as_f64()
                .map(|value| -value)
        );
    }
}

/// Rows that all score the same do not make a figure sure: a bootstrap of them would be a point.
#[test]
fn few_rows_of_one_score_leave_the_interval_open() {
    let job = job(&with("column: good", "column: right.n"));
    let summary = run(&job, &[]);
    let rouge = &summary["scorers"][1]["values"][0];
    assert_eq!((&rouge["value"], &rouge["n"]), (&json!(1.0), &json!(8)));
    assert_eq!(rouge["interval"]["high"], 1.0);
    let low = rouge["interval"]["low"].as_f64().unwrap();
    assert!((low - 0.025_f64.powf(1.0 / 8.0)).abs() < 1e-12, "{low}");
}

#[test]
fn files_that_cannot_be_compared_are_refused() {
    let job = job(SUITE);
    run(&job, &[]);
    let good = "out/samples/good.jsonl";
    refused(
        &job,
        &["compare", good, "no.jsonl"],
        2,
        &["no file `no.jsonl`"],
    );
    refused(
        &job,
        &["compare", good, "out/samples/bad.jsonl", "--scorer", "bleu"],
        2,
        &["`bleu` is not in both files", "exact_match, rouge_l"],
    );
    refused(
        &job,
        &["compare", good, "rows.jsonl"],
        2,
        &["line 1 of `rows.jsonl`"],
    );
    let text = fs::read_to_string(job.path().join(good)).unwrap();
    let fewer: Vec<&str> = text.lines().skip(1).collect();
    job.write("fewer.jsonl", &fewer.join("\n"));
    refused(
        &job,
        &["compare", good, "fewer.jsonl"],
        2,
        &["1 only the candidate's", "`a`"],
    );
}

#[test]
fn rows_are_the_same_from_jsonl_csv_and_parquet() {
    let fixture = root().join("crates/distill-steps/fixtures/labels.parquet");
    let rows: Vec<(String, &str)> = (0..60)
        .flat_map(|row| {
            ["billing", "delivery"].map(|label| (format!("message {row} about {label}"), label))
        })
        .collect();
    let jsonl: Vec<String> = rows
        .iter()
        .map(|(text, label)| json!({"text": text, "label": label}).to_string())
        .collect();
    let csv: Vec<String> = rows
        .iter()
        .map(|(text, label)| format!("{text},{label}"))
        .collect();
    let suite = |file: &str| {
        format!(
            "name: labels\ntask: {{kind: classify, prompt: '{{{{ text }}}}'}}\nrows: {file}\ngold: label\nanswers: [{{name: same, column: label}}, {{name: text, column: text}}]\nlimit: 50\n"
        )
    };
    let mut seen = Vec::new();
    for file in ["rows.jsonl", "rows.csv", "rows.parquet"] {
        let job = job(&suite(file));
        job.write("rows.jsonl", &jsonl.join("\n"));
        job.write("rows.csv", &format!("text,label\n{}\n", csv.join("\n")));
        fs::copy(&fixture, job.path().join("rows.parquet")).unwrap();
        let summary = run(&job, &[]);
        assert_eq!(summary["rows"]["count"], 50);
        assert_eq!(summary["scorers"][0]["values"][0]["value"], 1.0);
        assert_eq!(summary["scorers"][0]["values"][1]["value"], 0.0);
        seen.push((records(&job, "same"), summary["scorers"].clone()));
    }
    assert!(seen[0] == seen[1] && seen[1] == seen[2]);
}

#[test]
fn a_pipeline_takes_parquet_as_its_data() {
    let pipeline = "name: labels\ntask: {kind: classify, prompt: '{{ text }}'}\ndata: {train: rows.parquet, gold: label, labels: gold}\nevals: {test: rows.parquet, gold: label}\nstudent: {target: linear}\n";
    let job = Job::new(pipeline);
    fs::copy(
        root().join("crates/distill-steps/fixtures/labels.parquet"),
        job.path().join("rows.parquet"),
    )
    .unwrap();
    let told = job.check(&["check", "pipeline.yaml"]).success();
    let told = String::from_utf8(told.get_output().stdout.clone()).unwrap();
    assert!(told.contains("training rows   120"), "{told}");
}

#[test]
fn answers_in_another_file_are_joined_by_id_or_row_by_row() {
    let job = job(SUITE);
    job.write(
        "more.csv",
        "key,reply\nh,12\na,2\nb,three\nunknown,1\nc,4\nd,5\ne,4\nf,6\n",
    );
    let summary = run(&job, &["--answers", "more=more.csv:reply"]);
    let value = &summary["scorers"][0]["values"][2];
    assert_eq!(
        (&value["n"], &value["value"]),
        (&json!(7), &json!(6.0 / 7.0))
    );
    assert_eq!(
        summary["scorers"][0]["comparisons"]
            .as_array()
            .unwrap()
            .len(),
        3
    );

    job.write("suite.yaml", &with("id: key\n", ""));
    refused(
        &job,
        &["run", "suite.yaml", "--answers", "more=rows2.csv:reply"],
        2,
        &["rows2.csv", "cannot be read"],
    );
    job.write("short.csv", "reply\n2\n3\n");
    refused(
        &job,
        &["run", "suite.yaml", "--answers", "more=short.csv:reply"],
        2,
        &["has 2 rows, and the suite has 8", "id: COLUMN"],
    );
    job.write("eight.csv", "reply\n2\n3\n4\n5\n4\n6\n9\n12\n");
    let summary = run(&job, &["--answers", "eight=eight.csv:reply"]);
    assert_eq!(summary["scorers"][0]["values"][2]["value"], 1.0);
}

#[test]
fn mistakes_in_suite_and_rows_are_told_with_their_place() {
    let job = job(&with("exact_match", "exact_mach").replace("slices: [topic]", "slice: topic"));
    refused(
        &job,
        RUN,
        2,
        &[
            "suite.yaml:6",
            "did you mean `exact_match`",
            "no key `slice`",
            "did you mean `slices`",
        ],
    );
    let cases = [
        (
            "gold: right.n",
            "gold: right.m",
            "no column `right.m`, which `gold` names",
        ),
        ("column: bad.said", "column: bad.sad", "bad.said"),
        (
            "check: bad.ok",
            "check: bad.said",
            "no right or wrong in `bad.said`",
        ),
        ("id: key", "id: topic", "two rows have the topic `plus`"),
        ("slices: [topic]", "slices: [topics]", "no column `topics`"),
        ("{{ text }}", "{{ txt }}", "no column `txt`"),
        (
            "rows: rows.jsonl",
            "rows: no.jsonl",
            "`no.jsonl` cannot be read",
        ),
    ];
    for (line, replacement, words) in cases {
        job.write("suite.yaml", &with(line, replacement));
        refused(&job, RUN, 2, &[words, "help:"]);
    }
    let nobody = SUITE.split("answers:").next().unwrap();
    job.write("suite.yaml", nobody);
    refused(&job, RUN, 2, &["nobody answers", "--model"]);
    job.write("suite.yaml", SUITE);
    refused(
        &job,
        &["run", "none.yaml"],
        2,
        &["`none.yaml` cannot be read"],
    );
    let more = |flag: &'static str, value: &'static str| ["run", "suite.yaml", flag, value];
    refused(
        &job,
        &more("--model", "gpt"),
        2,
        &["does not say who answers"],
    );
    refused(
        &job,
        &more("--model", "opnai/gpt"),
        2,
        &["no vendor `opnai`"],
    );
    refused(
        &job,
        &more("--model", "simulated/frontier"),
        2,
        &["--budget USD"],
    );
    refused(&job, &more("--answers", "x=y"), 2, &["NAME=FILE:COLUMN"]);
    refused(
        &job,
        &more("--answers", "good=rows.jsonl:good"),
        2,
        &["cannot tell"],
    );
    refused(
        &job,
        &more("--bundle", "nowhere"),
        2,
        &["no bundle `nowhere`"],
    );
    refused(
        &job,
        &more("--require", "f1>=0.5"),
        2,
        &["exact_match, rouge_l", "good, bad"],
    );
    refused(
        &job,
        &more("--out", "."),
        2,
        &["holds other files than results"],
    );
    assert!(!job.path().join("out").exists());
}

#[test]
fn a_requirement_holds_the_lower_end_of_the_interval() {
    let job = job(SUITE);
    // 7 of 8 is above a half, and so is the lower end of its interval; 4 of 7 is not sure to be.
    run(&job, &["--require", "good:exact_match>=0.5"]);
    refused(
        &job,
        &[
            "run",
            "suite.yaml",
            "--out",
            "out",
            "--require",
            "exact_match>=0.5",
        ],
        3,
        &[],
    );
    let summary = summary(&job);
    let met: Vec<&Value> = summary["requirements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["met"])
        .collect();
    assert_eq!(met, [&json!(true), &json!(false)]);
    let gate = [
        "run",
        "suite.yaml",
        "--out",
        "out",
        "--junit",
        "gate.xml",
        "--require",
        "bad:exact_match<=0.2",
    ];
    refused(&job, &gate, 3, &[]);
    let xml = fs::read_to_string(job.path().join("gate.xml")).unwrap();
    for part in [
        "failures=\"1\"",
        "classname=\"sums.bad\" name=\"bad:exact_match&lt;=0.2\"",
        "<failure",
    ] {
        assert!(xml.contains(part), "`{part}` is not in:\n{xml}");
    }
    let markdown = job
        .check(&[
            "eval",
            "run",
            "suite.yaml",
            "--out",
            "out",
            "--format",
            "markdown",
        ])
        .success();
    let markdown = String::from_utf8(markdown.get_output().stdout.clone()).unwrap();
    assert!(
        markdown.contains("# sums: 8 rows of rows.jsonl"),
        "{markdown}"
    );
    assert!(markdown.contains("| good | 0.8750 |"), "{markdown}");
}

#[test]
fn results_that_cannot_be_written_leave_the_earlier_ones() {
    let job = job(SUITE);
    let earlier = run(&job, &[]);
    let records = fs::read(job.path().join("out/samples/good.jsonl")).unwrap();
    // A folder in the place of a file stands for whatever ends a write half-way.
    fs::create_dir(job.path().join("out/samples/bad.jsonl.part")).unwrap();
    job.write("suite.yaml", &with("name: sums", "name: other"));
    refused(
        &job,
        RUN,
        1,
        &["cannot write", "bad.jsonl", "what was finished is kept"],
    );
    assert_eq!(summary(&job), earlier);
    assert_eq!(
        fs::read(job.path().join("out/samples/good.jsonl")).unwrap(),
        records
    );
    fs::remove_dir(job.path().join("out/samples/bad.jsonl.part")).unwrap();
    assert_eq!(run(&job, &[])["suite"], "other");
    let left = fs::read_dir(job.path().join("out/samples"))
        .unwrap()
        .count();
    assert_eq!(left, 2);
}

#[test]
fn scores_that_no_mean_has_are_refused_with_their_line() {
    let job = job(SUITE);
    run(&job, &[]);
    let (good, bad) = ("out/samples/good.jsonl", "out/samples/bad.jsonl");
    let text = fs::read_to_string(job.path().join(good)).unwrap();
    job.write(good, &text.replacen("\"value\":1.0", "\"value\":1e308", 1));
    refused(
        &job,
        &["compare", good, bad],
        2,
        &["line 1", "good.jsonl", "1e308", "cut or edited"],
    );
}

#[test]
fn an_answerer_without_any_answer_is_named() {
    let job = job(&with(
        "{name: bad, column: bad.said, check: bad.ok}",
        "{name: mute, column: mute}",
    ));
    job.write(
        "rows.jsonl",
        &ROWS.replace("\"good\"", "\"mute\": null, \"good\""),
    );
    let summary = run(&job, &[]);
    let notes = summary["notes"].to_string();
    assert!(
        notes.contains("mute answered none of the 8 rows"),
        "{notes}"
    );
    assert!(!notes.contains("good answered"), "{notes}");
}
