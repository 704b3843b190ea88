//! A report rests on its evidence: every form of it is made again from the per-sample records alone,
//! and what a CI system reads says the same.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use assert_cmd::assert::OutputAssertExt as _;
use serde_json::Value;

use crate::fixture::{Events, Job, PIPELINE, artifact, csv};

/// A linear student with a cascade, slices, groups and human answers: all that figures are made of,
/// in a few seconds.
fn pipeline() -> String {
    PIPELINE
        .replace("[linear, nano]", "linear")
        .replace(
            "  controls: []\n",
            "  controls: []\n  slices: [channel]\n  group: thread\n  human: labels.csv\n  scorers: [accuracy, macro_f1, exact_match]\n",
        )
        .replace("margin: 0.03\n", "margin: 0.03\n  risk: 0.2\n")
        + "measure: {requests: 8, concurrency: [1, 2]}\n"
}

/// The usual job with a column to slice by, and a person's answers to two of the test rows.
fn job(pipeline: &str) -> Job {
    let job = Job::with_rows(pipeline, 160, 60);
    let test: Vec<String> = csv(160, 60)
        .lines()
        .enumerate()
        .map(|(index, line)| match (index, index % 3) {
            (0, _) => format!("{line},channel,thread"),
            (_, 0) => format!("{line},web,{}", index / 2),
            _ => format!("{line},mail,{}", index / 2),
        })
        .collect();
    job.write("test.csv", &(test.join("\n") + "\n"));
    job.write("labels.csv", "id,answer\n000000,refund\n000001,billing\n");
    job
}

fn report_folder(job: &Job, events: &Events) -> PathBuf {
    artifact(&job.home(), &events.artifacts()["report.report"])
}

/// The text files of a folder by name.
fn files(folder: &Path) -> BTreeMap<String, String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// Copies nothing but the evidence of a report, makes it again there, and holds every form to the
/// original byte for byte.
fn holds(job: &Job, folder: &Path) {
    let mut original = files(folder);
    original.remove("study.json");
    assert!(original.len() >= 6, "{:?}", original.keys());
    let (evidence, again) = (job.path().join("evidence"), job.path().join("again"));
    for path in [&evidence, &again] {
        let _ = fs::remove_dir_all(path);
    }
    fs::create_dir_all(evidence.join("samples")).unwrap();
    fs::copy(folder.join("study.json"), evidence.join("study.json")).unwrap();
    for entry in fs::read_dir(folder.join("samples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        fs::copy(&path, evidence.join("samples").join(name)).unwrap();
    }
    // Nothing of the run is there: no state folder, no data.
    let mut command: Command = job.distill(["report", "--from", "evidence", "--out", "again"]);
    command
        .env("DISTILL_HOME", job.path().join("nowhere"))
        .assert()
        .success();
    let again = files(&again);
    assert_eq!(
        again.keys().collect::<Vec<_>>(),
        original.keys().collect::<Vec<_>>()
    );
    for (name, text) in &original {
        assert!(again[name] == *text, "{name} differs");
    }
}

#[test]
fn a_report_is_made_again_from_its_records_alone() {
    let job = job(&pipeline());
    let events = job.run();
    let folder = report_folder(&job, &events);
    holds(&job, &folder);

    let report = events.report();
    assert_eq!(report["task"]["eval_rows"], 60);
    let by: Vec<&str> = report["task"]["expected_by"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|counted| counted["what"].as_str())
        .collect();
    assert_eq!(by, ["human", "gold"]);
    let arms = report["arms"].as_array().unwrap();
    let linear = arms.iter().find(|arm| arm["name"] == "linear").unwrap();
    let slices: Vec<&str> = linear["slices"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|slice| slice["name"].as_str())
        .collect();
    assert_eq!(slices, ["channel = mail", "channel = web"]);
    let scores: Vec<&str> = linear["scores"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|score| score["metric"].as_str())
        .collect();
    assert_eq!(scores, ["accuracy", "macro_f1", "exact_match"]);
    assert_eq!(report["cascade"].as_array().unwrap().len(), 1);
}

#[test]
fn the_records_hold_what_was_asked_said_and_paid() {
    let job = job(&pipeline());
    let events = job.run();
    job.check(&["report", "latest", "--samples", "evidence"])
        .success();
    let read = |arm: &str| -> Vec<Value> {
        let path = job.path().join(format!("evidence/samples/{arm}.jsonl"));
        let text = fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let (teacher, linear) = (read("teacher"), read("linear"));
    assert_eq!((teacher.len(), linear.len()), (60, 60));
    for row in &teacher {
        for key in ["id", "input", "output", "expected", "latency_ms", "model"] {
            assert!(!row[key].is_null(), "`{key}` is missing in {row}");
        }
        assert!(row["usd"].as_f64().unwrap() > 0.0);
        assert!(row["input_tokens"].as_u64().unwrap() > 0);
    }
    for row in &linear {
        assert!(row["confidence"].as_f64().unwrap() <= 0.0);
        assert!(
            row.get("usd").is_none(),
            "a price of a student's answer is no fact of a row"
        );
        assert!(["mail", "web"].contains(&row["slices"]["channel"].as_str().unwrap()));
    }
    assert_eq!(linear[0]["expected_by"], "human");
    assert_eq!(linear[0]["expected"], "refund");
    assert_eq!(linear[2]["expected_by"], "gold");
    // The figure of the report is the mean of the rows' scores.
    let right: f64 = linear
        .iter()
        .map(|row| row["scores"]["accuracy"]["value"].as_f64().unwrap())
        .sum();
    let arms = events.report()["arms"].as_array().unwrap();
    let arm = arms.iter().find(|arm| arm["name"] == "linear").unwrap();
    let told = arm["scores"][0]["value"].as_f64().unwrap();
    assert!((right / 60.0 - told).abs() < 1e-12);
}

#[test]
fn a_report_without_evidence_or_with_a_hole_in_it_is_refused() {
    let job = job(&pipeline());
    job.run();
    job.check(&["report", "latest", "--samples", "evidence"])
        .success();
    let told = job.check(&["report", "--from", "."]).code(2);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(
        told.contains("study.json") && told.contains("--samples"),
        "{told}"
    );

    let records = job.path().join("evidence/samples/linear.jsonl");
    let text = fs::read_to_string(&records).unwrap();
    let shorter: Vec<&str> = text.lines().skip(1).collect();
    fs::write(&records, shorter.join("\n")).unwrap();
    let told = job.check(&["report", "--from", "evidence"]).code(2);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(told.contains("linear.jsonl` was changed"), "{told}");
}

#[test]
fn a_ci_job_gets_its_files_and_an_exit_code_only_when_it_asks() {
    let job = job(&pipeline().replace("margin: 0.03\n", "margin: 0.03\n  max_p95_ms: 0.000001\n"));
    let run = |arguments: &[&str]| {
        let mut command = job.distill(arguments.iter().copied());
        command.env("CI", "true");
        command.assert()
    };
    run(&["run", "pipeline.yaml"]).code(0);
    let gated = [
        "run",
        "pipeline.yaml",
        "--gate",
        "--junit",
        "junit.xml",
        "--summary",
        "summary.md",
    ];
    run(&gated).code(3);
    let junit = fs::read_to_string(job.path().join("junit.xml")).unwrap();
    assert!(
        junit.contains("<testsuite") && junit.contains("<failure"),
        "{junit}"
    );
    let summary = fs::read_to_string(job.path().join("summary.md")).unwrap();
    assert!(
        summary.contains("linear") && summary.contains("SIMULATED"),
        "{summary}"
    );
    for (format, file, text) in [
        ("junit", "later.xml", &junit),
        ("summary", "later.md", &summary),
    ] {
        let shown = job.check(&["report", "--format", format]).success();
        let shown = String::from_utf8(shown.get_output().stdout.clone()).unwrap();
        assert_eq!(shown, *text);
        job.check(&["report", &format!("--{format}"), file])
            .success();
        assert_eq!(fs::read_to_string(job.path().join(file)).unwrap(), *text);
    }
    let nowhere = job
        .check(&["report", "--junit", "no/such/folder.xml"])
        .code(1);
    let told = String::from_utf8(nowhere.get_output().stderr.clone()).unwrap();
    assert!(told.contains("no/such/folder.xml"), "{told}");
}

/// Runs a pipeline over a real data set and makes its report again.
fn data_set_holds(test: &str, pipeline: &str) {
    let Some(data) = std::env::var_os("DISTILL_DATA_DIR") else {
        eprintln!("skipped: {test}: DISTILL_DATA_DIR is not set");
        return;
    };
    let job = Job::new(pipeline);
    let mut run = job.distill(["run", "pipeline.yaml", "--format", "json"]);
    run.env("DISTILL_DATA_DIR", data);
    let output = run.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let events = Events(
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    );
    holds(&job, &report_folder(&job, &events));
}

#[test]
fn banking77_is_made_again_from_its_records() {
    data_set_holds(
        "banking77_is_made_again_from_its_records",
        r#"name: banking77
task: {kind: classify, prompt: "{{ text }}"}
data: {train: {dataset: banking77, split: train}, gold: category, limit: 1500}
teacher:
  models: [simulated/frontier, simulated/backup]
  budget_usd: 5.00
  max_tokens: 24
  simulate: {accuracy: 0.91, latency_ms: {median: 1, p95: 2}}
evals: {test: {dataset: banking77, split: test}, gold: category, limit: 600}
student: {target: linear}
measure: {requests: 10}
"#,
    );
}

#[test]
fn restaurant8k_is_made_again_from_its_records() {
    // One step of training: what the student says is poor, and as good a test of the records.
    data_set_holds(
        "restaurant8k_is_made_again_from_its_records",
        r#"name: restaurant8k
task:
  kind: extract
  prompt: "{% if requested %}(asked: {{ requested }}) {% endif %}{{ text }}"
  schema:
    type: object
    properties:
      people: {type: string}
      time: {type: string}
      date: {type: string}
      first_name: {type: string}
      last_name: {type: string}
    additionalProperties: false
data: {train: {dataset: restaurant8k, split: train}, gold: slots, limit: 120}
teacher:
  models: [simulated/frontier]
  budget_usd: 5.00
  simulate: {accuracy: 0.91, latency_ms: {median: 1, p95: 2}}
evals: {test: {dataset: restaurant8k, split: test}, gold: slots, limit: 40, controls: []}
student: {target: nano}
train: {decoder: {rank: 4, alpha: 8, max_steps: 1, batch_tokens: 512}}
measure: {requests: 2}
"#,
    );
}

/// What a command says when it refuses.
fn told(job: &Job, arguments: &[&str], code: i32) -> String {
    let refused = job.check(arguments).code(code);
    String::from_utf8(refused.get_output().stderr.clone()).unwrap()
}

#[test]
fn a_column_that_no_row_has_is_found_out_before_anything_is_paid_for() {
    for (key, written) in [("slices", "slices: [chanel]"), ("group", "group: chanel")] {
        let job = job(&PIPELINE.replace(
            "  controls: []\n",
            &format!("  controls: []\n  {written}\n"),
        ));
        for command in ["check", "plan", "run"] {
            let told = told(&job, &[command, "pipeline.yaml"], 2);
            assert!(told.contains(&format!("evals.{key}")), "{told}");
            assert!(
                told.contains("chanel") && told.contains("channel, id, text"),
                "{told}"
            );
        }
        assert!(!job.home().join("journal.sqlite").exists());
    }
}

#[test]
fn a_check_looks_at_keys_prices_and_models() {
    // Nobody is simulated, so nothing says how.
    let asked: String = PIPELINE
        .lines()
        .filter(|line| {
            !["simulate:", "accuracy:", "latency_ms:", "seed: 7"]
                .iter()
                .any(|key| line.trim_start().starts_with(key))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let with =
        |models: &str| Job::new(&asked.replace("[simulated/frontier, simulated/backup]", models));
    // A variable of this name is nobody's.
    let keyless = with("[{vendor: openai, model: gpt-5-mini, api_key_env: NO_SUCH_KEY_HERE}]");
    let words = told(&keyless, &["check", "pipeline.yaml"], 2);
    assert!(
        words.contains("NO_SUCH_KEY_HERE") && words.contains("openai/gpt-5-mini"),
        "{words}"
    );
    let priceless =
        with("[{vendor: openai, model: no-such-model, base_url: \"http://127.0.0.1:9/v1\"}]");
    let words = told(&priceless, &["check", "pipeline.yaml"], 2);
    assert!(
        words.contains("openai/no-such-model") && words.contains("price"),
        "{words}"
    );

    let model = Job::new(&PIPELINE.replace("[linear, nano]", "./mine"));
    let words = told(&model, &["check", "pipeline.yaml"], 2);
    assert!(
        words.contains("mine") && words.contains("config.json"),
        "{words}"
    );
    model.write("mine/config.json", "{\"model_type\": \"llama\"");
    let words = told(&model, &["check", "pipeline.yaml"], 2);
    assert!(
        words.contains("mine") && words.contains("config.json"),
        "{words}"
    );
    assert!(!model.home().join("journal.sqlite").exists());
}

#[test]
fn auto_takes_every_student_that_can_do_the_task() {
    let plan = |pipeline: &str| -> Vec<String> {
        let job = Job::new(pipeline);
        let plan = job
            .check(&["plan", "pipeline.yaml", "--format", "json"])
            .success();
        let plan: Value = serde_json::from_slice(&plan.get_output().stdout).unwrap();
        let text = plan.to_string();
        ["train:linear", "train:nano"]
            .into_iter()
            .filter(|step| text.contains(&format!("\"{step}\"")))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(
        plan(&PIPELINE.replace("[linear, nano]", "auto")),
        ["train:linear", "train:nano"]
    );
    let extract = r#"name: objects
task:
  kind: extract
  prompt: "{{ text }}"
  schema: {type: object, properties: {label: {type: string}}, additionalProperties: false}
data: {train: rows.jsonl, gold: right}
evals: {test: rows.jsonl, gold: right}
student: {target: auto}
"#;
    let job = Job::new(extract);
    job.write(
        "rows.jsonl",
        "{\"text\": \"a\", \"right\": {\"label\": \"x\"}}\n{\"text\": \"b\", \"right\": {}}\n",
    );
    let plan = job.check(&["plan", "pipeline.yaml"]).success();
    let plan = String::from_utf8(plan.get_output().stdout.clone()).unwrap();
    assert!(
        plan.contains("train:nano") && !plan.contains("train:linear"),
        "{plan}"
    );
}

#[test]
fn a_report_without_a_teacher_says_what_is_missing_and_no_more() {
    let alone = r#"name: alone
task: {kind: classify, prompt: "{{ text }}"}
data: {train: train.csv, gold: label}
evals: {test: test.csv, gold: label}
student: {target: linear}
measure: {requests: 8}
"#;
    let job = job(alone);
    let events = job.run();
    let verdict = &events.report()["recommendation"]["verdict"];
    assert_eq!(verdict["decision"]["kind"], "undecided");
    let reason = verdict["reason"].as_str().unwrap();
    assert!(
        reason.contains("linear reaches") && reason.contains("no teacher"),
        "{reason}"
    );
    assert_eq!(events.report()["spend"], Value::Null);
    assert_eq!(events.report()["simulated"], serde_json::json!([]));
    holds(&job, &report_folder(&job, &events));
    for format in ["text", "markdown", "html", "summary"] {
        let shown = job.check(&["report", "--format", format]).success();
        let shown = String::from_utf8(shown.get_output().stdout.clone()).unwrap();
        for odd in ["SIMULATED", "NaN", "Some(", "null", "Keep the teacher"] {
            assert!(!shown.contains(odd), "`{odd}` in {format}: {shown}");
        }
    }
}

#[test]
fn a_cascade_is_not_released_as_a_student_alone() {
    // The teacher is right on every row, and the student on those that look like its training rows.
    let pipeline = PIPELINE
        .replace("[linear, nano]", "linear")
        .replace("accuracy: 0.95", "accuracy: 1.0")
        .replace("margin: 0.03\n", "margin: 0.06\n  risk: 0.2\n")
        + "cost: {usd_per_hour: 0.0001, requests_per_day: 100000}\nmeasure: {requests: 8}\n";
    let job = Job::with_rows(&pipeline, 400, 400);
    // Every sixth test row has words that no training row has.
    let test: Vec<String> = csv(400, 400)
        .lines()
        .enumerate()
        .map(|(index, line)| {
            let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
            if index > 0 && index % 6 == 0 {
                cells[1] = format!("zzz qqq {index}");
            }
            cells.join(",")
        })
        .collect();
    job.write("test.csv", &(test.join("\n") + "\n"));
    let events = job.run();
    let recommendation = &events.report()["recommendation"];
    let verdict = &recommendation["verdict"];
    assert_eq!(verdict["decision"]["kind"], "cascade", "{recommendation:#}");
    assert_eq!(recommendation["choice"], "linear+teacher");
    assert_eq!(events.report()["lineage"]["next_command"], Value::Null);
    job.check(&["run", "pipeline.yaml", "--gate"]).code(0);
    let words = told(&job, &["deploy", "latest"], 2);
    assert!(
        words.contains("CASCADE(") && words.contains("--student"),
        "{words}"
    );
    // The student alone does not meet the gate.
    let words = told(&job, &["deploy", "latest", "--student", "linear"], 3);
    assert!(words.contains("not released"), "{words}");
}
