//! The command line as it documents itself, and the way from a user's own file to a report.

use std::{fs, process::Stdio};

use crate::fixture::{Job, PIPELINE, csv};

const COMMANDS: [&str; 23] = [
    "init",
    "check",
    "plan",
    "run",
    "runs",
    "report",
    "eval",
    "explain",
    "export",
    "data",
    "models",
    "prices",
    "simulate",
    "pretrain",
    "bench",
    "deploy",
    "rollback",
    "serve",
    "proxy",
    "keys",
    "spend",
    "usage",
    "reference",
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
fn the_keys_of_a_pipeline_can_be_looked_up() {
    let job = Job::new(PIPELINE);
    let said = |arguments: &[&str]| {
        let output = job.check(arguments).success();
        String::from_utf8(output.get_output().stdout.clone()).unwrap()
    };
    assert!(said(&["reference"]).contains("## `accept`"));
    let decoder = said(&["reference", "train.decoder"]);
    assert!(decoder.contains("| `learning_rate` |") && !decoder.contains("## `accept`"));
    job.check(&["reference", "train.decodr"]).code(2);
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

/// The pipeline with everything that may be asked beside the teacher's first answers.
fn asking(judge: &str) -> String {
    PIPELINE.replace("[linear, nano]", "linear").replace(
        "  controls: []\n",
        &format!(
            "  controls: []\n  noise_floor: 10\n  cheaper: [simulated/cheap]\n  judge: {{{judge}, rubric: \"Is it right?\"}}\n"
        ),
    )
}

fn told(job: &Job, arguments: &[&str]) -> String {
    let done = job.check(arguments).success();
    String::from_utf8(done.get_output().stdout.clone()).unwrap()
}

#[test]
fn everything_that_will_be_asked_is_counted_and_priced_before() {
    // 80 training and 32 test rows; two judges, both orders, the student and the cheaper model.
    let judges = "models: [simulated/judge, simulated/cheap], same_family: true, budget_usd: 0.5";
    for (mode, judgements) in [("pointwise", 32 * 3), ("pairwise", 32 * 2 * 2)] {
        let job = Job::new(&asking(&format!("{judges}, mode: {mode}")));
        for command in ["check", "plan"] {
            let text = told(&job, &[command, "pipeline.yaml", "--format", "json"]);
            let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
            let estimate = &shown["estimate"];
            let lines: Vec<(&str, &str, u64)> = estimate["lines"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| {
                    assert!(line["expected_usd"].as_f64().unwrap() > 0.0, "{line}");
                    let (about, most) = (&line["expected_usd"], &line["worst_usd"]);
                    assert!(about.as_f64() < most.as_f64(), "{line}");
                    (
                        line["account"].as_str().unwrap(),
                        line["model"].as_str().unwrap(),
                        line["requests"].as_u64().unwrap(),
                    )
                })
                .collect();
            assert_eq!(
                lines,
                [
                    ("teacher", "simulated/frontier", 80),
                    ("teacher", "simulated/frontier", 32),
                    ("teacher", "simulated/frontier", 10),
                    ("simulated/cheap", "simulated/cheap", 32),
                    ("judge", "simulated/judge", judgements),
                    ("judge", "simulated/cheap", judgements),
                ],
                "{command} {mode}"
            );
            let sum = |key: &str| -> f64 {
                let lines = estimate["lines"].as_array().unwrap();
                lines.iter().map(|line| line[key].as_f64().unwrap()).sum()
            };
            let about = estimate["expected_usd"].as_f64().unwrap();
            assert!((about - sum("expected_usd")).abs() < 1e-9);
            assert_eq!(estimate["budget_usd"], 2.5);
            assert!(estimate["worst_usd"].as_f64().unwrap() <= 2.5);
            assert!(sum("worst_usd") >= estimate["worst_usd"].as_f64().unwrap());
        }
        let text = told(&job, &["check", "pipeline.yaml"]);
        for line in ["teacher, a second time", "judge simulated/judge", "about $"] {
            assert!(text.contains(line), "{text}");
        }
        assert!(!job.home().join("simulated").exists(), "nobody is asked");
    }
}

#[test]
fn what_was_answered_is_not_priced_again_and_a_small_cap_is_said() {
    let judge = "models: [simulated/judge], mode: pointwise, budget_usd: 0.5";
    let job = Job::new(&asking(judge));
    job.check(&["run", "pipeline.yaml"]).success();
    let estimate = |command: &str| -> serde_json::Value {
        let text = told(&job, &[command, "pipeline.yaml", "--format", "json"]);
        let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
        shown["estimate"].clone()
    };
    assert_eq!(estimate("plan")["worst_usd"], 0.0);
    for line in estimate("plan")["lines"].as_array().unwrap() {
        assert_eq!(line["in_journal"], line["requests"], "{line}");
    }
    // A check does not look at the cache, but knows the journal: only judgements are open, and what
    // of them is there depends on the answers. The second answers are told from the first.
    for line in estimate("check")["lines"].as_array().unwrap() {
        match line["account"].as_str().unwrap() {
            "judge" => assert!(line["in_journal"].is_null(), "{line}"),
            _ => assert_eq!(line["in_journal"], line["requests"], "{line}"),
        }
    }

    let poor = Job::new(&asking(&judge.replace("0.5", "0.0001")));
    let text = told(&poor, &["check", "pipeline.yaml"]);
    assert!(
        text.contains("above its cap") && text.contains("evals.judge.budget_usd"),
        "{text}"
    );
}

#[test]
fn a_reader_that_stops_reading_is_no_fault_of_the_program() {
    let job = Job::new(PIPELINE);
    // Far more than a pipe holds, so that it is broken while it is written.
    let mut child = job
        .distill(["prices"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(141));
    assert_eq!(String::from_utf8(done.stderr).unwrap(), "");
}

#[test]
fn rows_are_sliced_by_the_right_answers_and_not_grouped_by_them() {
    let with = |key: &str| {
        PIPELINE
            .replace("[linear, nano]", "linear")
            .replace("  controls: []\n", &format!("  controls: []\n  {key}\n"))
    };
    let job = Job::new(&with("slices: [label]"));
    job.check(&["run", "pipeline.yaml"]).success();
    let report = told(&job, &["report", "--format", "json"]);
    assert!(report.contains("\"label = billing\""), "{report}");
    assert!(!report.contains("label = (none)"), "{report}");

    let grouped = Job::new(&with("group: label"));
    let refused = grouped.check(&["check", "pipeline.yaml"]).code(2);
    let words = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(
        words.contains("evals.group") && words.contains("the right answers"),
        "{words}"
    );
}

#[test]
fn what_people_said_is_looked_at_before_anything_is_paid_for() {
    let named = |key: &str| {
        PIPELINE
            .replace("[linear, nano]", "linear")
            .replace("  controls: []\n", &format!("  controls: []\n  {key}\n"))
    };
    let judge = "judge: {models: [simulated/judge], mode: pointwise, rubric: R, budget_usd: 1, calibration: said.csv}";
    let bad_answer = "id,answer\n80,nowhere\n";
    let bad_verdict = "id,verdict,arm\n000000,maybe,linear\n";
    let bad_row = "id,verdict,arm\nnobody,1,linear\n";
    for (key, text, named_in_words) in [
        ("human: said.csv", None, "evals.human"),
        ("human: said.csv", Some("id,said\n80,refund\n"), "answer"),
        ("human: said.csv", Some(bad_answer), "nowhere"),
        (judge, None, "evals.judge.calibration"),
        (judge, Some("id,arm\n80,linear\n"), "verdict"),
        (judge, Some(bad_verdict), "maybe"),
        (judge, Some(bad_row), "nobody"),
    ] {
        let job = Job::new(&named(key));
        if let Some(text) = text {
            job.write("said.csv", text);
        }
        for command in ["check", "plan", "run"] {
            let refused = job.check(&[command, "pipeline.yaml"]).code(2);
            let words = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
            assert!(
                words.contains("said.csv") && words.contains(named_in_words),
                "{command} {key}: {words}"
            );
        }
        assert!(!job.home().join("journal.sqlite").exists(), "{key}");
    }
}

#[test]
fn a_price_table_is_read_even_where_nobody_is_asked() {
    let alone: String = PIPELINE
        .replace("labels: teacher", "labels: gold")
        .replace("[linear, nano]", "linear");
    let start = alone.find("teacher:\n  models").unwrap();
    let end = alone.find("evals:\n").unwrap();
    let alone = format!("{}{}", &alone[..start], &alone[end..]);
    for pipeline in [PIPELINE, &alone] {
        let job = Job::new(pipeline);
        job.write("bad.json", "{\"prices\": [{\"vendor\": \"openai\"}]}");
        for command in ["check", "plan"] {
            job.check(&[command, "pipeline.yaml"]).success();
            for table in ["bad.json", "missing.json"] {
                let refused = job
                    .check(&[command, "pipeline.yaml", "--prices", table])
                    .code(2);
                let words = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
                assert!(
                    words.contains(table) && words.contains("price table"),
                    "{words}"
                );
            }
        }
    }
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

/// A training that cannot be is refused before any label is paid for.
#[cfg(not(target_os = "macos"))]
#[test]
fn a_run_that_cannot_train_asks_nobody() {
    for (written, said) in [("device: metal", "Metal"), ("targets: [qproj]", "`qproj`")] {
        let pipeline = PIPELINE.replace("decoder: {", &format!("decoder: {{{written}, "));
        let job = Job::new(&pipeline);
        for command in ["check", "plan", "run"] {
            let told = job.check(&[command, "pipeline.yaml"]).failure().code(2);
            let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
            assert!(told.contains(said), "{command}: {told}");
        }
        let runs = fs::read_dir(job.home().join("runs"));
        let begun = runs.map_or(0, Iterator::count);
        assert_eq!(begun, 0, "nothing was begun");
    }
}
