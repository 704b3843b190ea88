//! The command line as it documents itself, and the way from a user's own file to a report.

use std::fs;

use crate::fixture::{Job, PIPELINE, csv};

const COMMANDS: [&str; 16] = [
    "init", "check", "plan", "run", "runs", "report", "eval", "explain", "data", "prices",
    "simulate", "pretrain", "bench", "deploy", "rollback", "serve",
];

#[test]
fn every_command_has_help_with_an_example() {
    let job = Job::new(PIPELINE);
    let all = job.check(&["--help"]).success();
    let all = String::from_utf8(all.get_output().stdout.clone()).unwrap();
    for command in COMMANDS {
        assert!(
            all.contains(&format!("\n  {command} ")),
            "`{command}` is not listed:\n{all}"
        );
        let help = job.check(&[command, "--help"]).success();
        let help = String::from_utf8(help.get_output().stdout.clone()).unwrap();
        let example = help.split("Example").nth(1).unwrap_or_default();
        assert!(
            example.contains(&format!("distill {command}")),
            "no example:\n{help}"
        );
    }
    let listed = all
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.trim_start().starts_with("help "))
        .count();
    assert_eq!(listed, COMMANDS.len(), "a command without a test:\n{all}");
    job.check(&["no-such-command"]).code(2);
    job.check(&[]).code(2);
}

#[test]
fn the_commands_of_the_readme_exist() {
    let root = crate::repository::root();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let typed: Vec<&str> = readme
        .lines()
        .filter_map(|line| line.trim().strip_prefix("distill "))
        .filter_map(|rest| rest.split_whitespace().next())
        .collect();
    assert!(typed.len() >= 8, "{typed:?}");
    for command in typed {
        assert!(COMMANDS.contains(&command), "`distill {command}`");
    }
    for needed in [
        "cargo run --release -- run pipelines/quickstart.yaml",
        "cargo test --workspace",
    ] {
        assert!(readme.contains(needed), "{needed}");
    }
    assert!(root.join("pipelines/quickstart.yaml").is_file());
}

#[test]
fn init_check_plan_and_run_of_a_users_file() {
    let job = Job::new(PIPELINE);
    job.write("tickets.csv", &csv(500, 240));
    let init = job.check(&["init", "tickets.csv"]).success();
    let next = String::from_utf8(init.get_output().stdout.clone()).unwrap();
    let pipeline = next
        .trim()
        .strip_prefix("distill run ")
        .expect("the next command")
        .to_owned();
    assert!(job.path().join(&pipeline).is_file(), "{pipeline}");
    let again = job.check(&["init", "tickets.csv"]).code(2);
    let again = String::from_utf8(again.get_output().stderr.clone()).unwrap();
    assert!(
        again.contains("already") && again.contains("--force"),
        "{again}"
    );

    let check = job.check(&["check", &pipeline]).success();
    let check = String::from_utf8(check.get_output().stdout.clone()).unwrap();
    assert!(
        check.contains("in order") && check.contains("labels          4"),
        "{check}"
    );
    let plan = job.check(&["plan", &pipeline]).success();
    let plan = String::from_utf8(plan.get_output().stdout.clone()).unwrap();
    assert!(
        plan.contains("train:linear") && plan.contains("will run"),
        "{plan}"
    );
    assert!(
        plan.contains("spend") && plan.contains("SIMULATED"),
        "{plan}"
    );
    assert!(
        !job.home().join("journal.sqlite").exists(),
        "a plan asks nobody"
    );

    // The scaffold trains the decoder for real: too long for a test of the scaffold.
    let path = job.path().join(&pipeline);
    let text = fs::read_to_string(&path).unwrap();
    let short = if text.contains("\ntrain:") {
        text
    } else {
        format!("{text}\ntrain:\n  decoder: {{max_steps: 2, rank: 4, batch_tokens: 512}}\n")
    };
    fs::write(&path, short).unwrap();
    let run = job.check(&["run", &pipeline]).success();
    let told = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert!(told.contains("SIM") && told.contains("linear"), "{told}");
    let told = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    assert!(told.contains("next     distill init your.csv"), "{told}");

    let runs = job.check(&["runs"]).success();
    assert!(
        String::from_utf8(runs.get_output().stdout.clone())
            .unwrap()
            .contains("done")
    );
    for (format, start) in [
        ("text", ""),
        ("markdown", "#"),
        ("json", "{"),
        ("html", "<!doctype html>"),
    ] {
        let report = job
            .check(&["report", "latest", "--format", format])
            .success();
        let report = String::from_utf8(report.get_output().stdout.clone()).unwrap();
        assert!(
            report.to_lowercase().starts_with(start) && report.len() > 500,
            "{format}: {report}"
        );
    }
    let explained = job.check(&["explain", "label", &pipeline]).success();
    assert!(!explained.get_output().stdout.is_empty());
    let unknown = job.check(&["explain", "lable", &pipeline]).code(2);
    let unknown = String::from_utf8(unknown.get_output().stderr.clone()).unwrap();
    assert!(
        unknown.contains("lable") && unknown.contains("train:linear"),
        "{unknown}"
    );
}

#[test]
fn nothing_but_the_result_goes_to_standard_output() {
    let job = Job::new(&PIPELINE.replace("[linear, nano]", "linear"));
    let run = job.check(&["run", "pipeline.yaml"]).success();
    let result = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert!(
        !result.contains("started") && result.contains("VERDICT"),
        "{result}"
    );
    let json = job
        .check(&["run", "pipeline.yaml", "--format", "json"])
        .success();
    let lines = String::from_utf8(json.get_output().stdout.clone()).unwrap();
    for line in lines.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(event["type"].is_string(), "{line}");
    }
}
