//! Answerers that are asked, judges that are asked about them, and the suites of the repository.

use assert_cmd::assert::OutputAssertExt as _;
use serde_json::{Value, json};

use super::{RUN, SUITE, job, records, refused, run, summary, with};
use crate::{architecture::root, fixture::Job};

#[test]
fn simulated_models_are_asked_once_and_marked() {
    let suite = r#"name: queues
task: {kind: classify, system: "One of {{ labels | join(', ') }}.", prompt: "{{ text }}"}
rows: test.csv
gold: label
models: [simulated/frontier, simulated/cheap]
budget_usd: 1.00
simulate: {latency_ms: {median: 1, p95: 2}}
"#;
    let job = job(suite);
    let first = run(&job, &[]);
    assert_eq!(first["answerers"][0]["simulated"], true);
    assert!(first["notes"][0].as_str().unwrap().starts_with("SIMULATED"));
    let record = &records(&job, "simulated-frontier")[0];
    for key in [
        "latency_ms",
        "input_tokens",
        "output_tokens",
        "usd",
        "model",
    ] {
        assert!(record.get(key).is_some(), "{key} in {record}");
    }
    let again = run(&job, &[]);
    assert_eq!(again["answerers"][0]["from_cache"], 32);
    assert_eq!(again["scorers"], first["scorers"]);
    let job = super::job(&suite.replace("budget_usd: 1.00", "budget_usd: 0.000001"));
    refused(&job, RUN, 1, &["budget"]);
}

#[test]
fn a_judge_scores_every_answer_and_says_that_nobody_checked_it() {
    let judge = "judge: {models: [simulated/judge], mode: MODE, rubric: The sum is right., budget_usd: 1}\n";
    let job = job(&(SUITE.to_owned() + &judge.replace("MODE", "pointwise")));
    let told = job.check(&[&["eval"], RUN].concat()).success();
    let told = String::from_utf8(told.get_output().stdout.clone()).unwrap();
    assert!(
        told.contains("judge (higher is better; uncalibrated judge)") && told.contains("SIMULATED"),
        "{told}"
    );
    let pointwise = summary(&job);
    let figures = &pointwise["scorers"][2];
    assert_eq!(
        (&figures["name"], &figures["remark"]),
        (&json!("judge"), &json!("uncalibrated judge"))
    );
    let value = |index: usize| figures["values"][index]["value"].as_f64().unwrap();
    assert!(value(0) > value(1));
    assert_eq!(figures["values"][1]["unscored"], 1);
    assert!(records(&job, "good")[0]["judged"]["simulated/judge"]["score"]["value"].is_number());

    // People's verdicts on some rows make it a calibrated one.
    job.write(
        "judged.csv",
        "id,arm,verdict\na,good,5\nb,good,5\nh,good,1\nc,bad,1\nd,bad,5\ne,bad,1\n",
    );
    let calibrated = judge
        .replace("MODE", "pointwise")
        .replace("budget", "calibration: judged.csv, budget");
    job.write("suite.yaml", &(SUITE.to_owned() + &calibrated));
    let calibrated = run(&job, &[]);
    assert_eq!(calibrated["judge"]["kappa"]["n"], 6);
    assert_eq!(calibrated["scorers"][2]["remark"], Value::Null);

    job.write(
        "suite.yaml",
        &(SUITE.to_owned() + &judge.replace("MODE", "pairwise")),
    );
    let pairwise = run(&job, &[]);
    let pair = &pairwise["judge"]["pairs"][0];
    assert_eq!(
        (&pair["candidate"], &pair["baseline"]),
        (&json!("bad"), &json!("good"))
    );
    assert!(pair["losses"].as_u64().unwrap() >= 1, "{pair}");
    let alone = with("  - {name: bad, column: bad.said, check: bad.ok}\n", "");
    job.write("suite.yaml", &(alone + &judge.replace("MODE", "pairwise")));
    refused(&job, RUN, 2, &["against the first one", "pointwise"]);
    let cousin = judge
        .replace("MODE", "pointwise")
        .replace("simulated/judge", "simulated/cheap");
    job.write("suite.yaml", &(SUITE.to_owned() + &cousin));
    refused(
        &job,
        &[
            "run",
            "suite.yaml",
            "--model",
            "simulated/frontier",
            "--budget",
            "1",
        ],
        2,
        &["family", "simulated/cheap"],
    );
}

#[test]
fn a_trained_student_is_scored_through_its_bundle() {
    let job = Job::new(&crate::fixture::PIPELINE.replace("[linear, nano]", "linear"));
    job.run();
    let suite = "name: queues\ntask:\n  kind: classify\n  system: \"Name the queue: {{ labels | join(', ') }}.\"\n  prompt: '{{ text }}'\nrows: test.csv\ngold: label\n";
    job.write("suite.yaml", suite);
    let summary = run(&job, &["--bundle", "latest:linear"]);
    let facts = &summary["answerers"][0];
    assert_eq!(
        (&facts["name"], &facts["kind"]),
        (&json!("linear"), &json!("bundle"))
    );
    assert!(facts["latency_ms"]["p50"].as_f64().unwrap() > 0.0);
    let record = &records(&job, "linear")[0];
    assert!(record["confidence"].is_number() && record["latency_ms"].is_number());
    let said = summary["scorers"][0]["values"][0]["value"]
        .as_f64()
        .unwrap();
    assert!(said > 0.5, "{said}");
    job.write("suite.yaml", &suite.replace("rows:", "rows: train.csv\n#"));
    refused(
        &job,
        &["run", "suite.yaml", "--bundle", "latest:lineal"],
        2,
        &["no student `lineal`", "linear"],
    );
    job.write(
        "suite.yaml",
        &suite.replace(
            "  prompt:",
            "  labels: [account, billing, delivery, refund, more]\n  prompt:",
        ),
    );
    refused(
        &job,
        &["run", "suite.yaml", "--bundle", "latest:linear"],
        2,
        &["another task", "4 labels"],
    );
}

#[test]
fn the_example_suite_runs_with_nothing() {
    let job = Job::new("name: unused\n");
    let suite = root().join("evals/quickstart.yaml");
    let told = job
        .check(&["eval", "run", suite.to_str().unwrap(), "--format", "json"])
        .success();
    let summary: Value = serde_json::from_slice(&told.get_output().stdout).unwrap();
    assert_eq!(summary["rows"]["count"], 373);
    let value = |index: usize| {
        summary["scorers"][0]["values"][index]["value"]
            .as_f64()
            .unwrap()
    };
    assert!(value(0) > value(1));
}

/// The recorded answers of gsm8k: every figure that their authors' own right or wrong implies.
#[test]
fn gsm8k_recorded_agrees_with_its_authors() {
    let Some(data) = std::env::var_os("DISTILL_DATA_DIR") else {
        eprintln!("skipped: gsm8k_recorded_agrees_with_its_authors: DISTILL_DATA_DIR is not set");
        return;
    };
    let job = Job::new("name: unused\n");
    let suite = root().join("evals/gsm8k-recorded.yaml");
    let arguments = [
        "eval",
        "run",
        suite.to_str().unwrap(),
        "--out",
        "out",
        "--format",
        "json",
    ];
    let told = job
        .distill(arguments)
        .env("DISTILL_DATA_DIR", data)
        .assert()
        .success();
    let summary: Value = serde_json::from_slice(&told.get_output().stdout).unwrap();
    let numeric = &summary["scorers"][0];
    let right: Vec<u64> = (0..4)
        .map(|index| {
            let value = &numeric["values"][index];
            assert_eq!((&value["n"], &value["unscored"]), (&json!(1319), &json!(0)));
            (value["value"].as_f64().unwrap() * 1319.0).round() as u64
        })
        .collect();
    assert_eq!(right, [286, 515, 458, 742]);
    for check in numeric["checks"].as_array().unwrap() {
        assert_eq!(
            (&check["agreed"], &check["n"]),
            (&json!(1319), &json!(1319))
        );
    }
    let pairs = numeric["comparisons"].as_array().unwrap();
    assert_eq!(pairs.len(), 6);
    for pair in pairs {
        let interval = &pair["interval"];
        let (low, high) = (
            interval["low"].as_f64().unwrap(),
            interval["high"].as_f64().unwrap(),
        );
        let difference = pair["difference"].as_f64().unwrap();
        assert!(low < difference && difference < high, "{pair}");
        assert!(pair["holm_p"].as_f64().unwrap() >= pair["p"].as_f64().unwrap());
    }
}
