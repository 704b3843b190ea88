//! Versions of tasks, quality and questions about spend from the command line, on the example
//! configuration that needs no key.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

/// The binary with a state folder of its own, at the root of the repository.
fn distill(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .env("DISTILL_HOME", home)
        .env_remove("DISTILL_LEDGER")
        .env_remove("DISTILL_PRICES")
        .args(arguments);
    command
}

fn output(home: &Path, arguments: &[&str]) -> String {
    let output = distill(home, arguments).assert().success();
    String::from_utf8(output.get_output().stdout.clone()).unwrap()
}

const CONFIG: &str = "proxies/simulated.yaml";

#[test]
fn a_version_of_a_task_is_released_and_taken_back() {
    let home = tempfile::tempdir().unwrap();
    let task = |arguments: &[&str]| {
        let all = [&["proxy", "task"], arguments, &["--config", CONFIG]].concat();
        distill(home.path(), &all)
    };
    let active = || {
        let list = output(
            home.path(),
            &[
                "proxy", "task", "list", "--format", "json", "--config", CONFIG,
            ],
        );
        let list: Value = serde_json::from_str(&list).unwrap();
        list[0]["task"]["active"].as_str().unwrap().to_owned()
    };
    assert_eq!(active(), "strict", "the last of the file");
    task(&["release", "triage", "short"]).assert().success();
    assert_eq!(active(), "short");
    task(&["release", "triage", "none"]).assert().code(2);
    task(&["release", "nobody", "1"]).assert().code(2);
    task(&["rollback", "triage"]).assert().success();
    assert_eq!(active(), "strict");
    task(&["rollback", "triage"]).assert().code(2);
}

#[test]
fn members_are_measured_and_their_scores_stand() {
    let home = tempfile::tempdir().unwrap();
    let measured = output(
        home.path(),
        &["proxy", "eval", CONFIG, "--rows", "60", "--format", "json"],
    );
    let measured: Value = serde_json::from_str(&measured).unwrap();
    for (place, target) in ["simulated/frontier", "simulated/cheap"]
        .into_iter()
        .enumerate()
    {
        let one = &measured[place];
        assert_eq!(one["target"], target);
        assert_eq!(one["score"]["rows"], 60, "{one}");
        assert_eq!(one["score"]["simulated"], true);
        assert_eq!(one["routes"][0]["route"], "support");
    }
    let best = |place: usize| measured[place]["score"]["score"].as_f64().unwrap();
    assert!(
        best(0) > best(1),
        "the frontier model is the better one: {measured}"
    );
    assert_eq!(
        measured[1]["score"]["against_best"]["best"],
        "simulated/frontier"
    );
    distill(home.path(), &["proxy", "eval", CONFIG, "--route", "claude"])
        .assert()
        .code(2);
    let left: Vec<_> = std::fs::read_dir(home.path().join("quality"))
        .unwrap()
        .collect();
    assert!(left.is_empty(), "{left:?}");
    // The ledger is there now, and nobody has asked anything.
    let asked = output(
        home.path(),
        &["spend", "--format", "json", "--config", CONFIG],
    );
    assert_eq!(asked.trim(), "[]");
    distill(
        home.path(),
        &["spend", "answer", "q_none", "go", "--config", CONFIG],
    )
    .assert()
    .code(2);
}
