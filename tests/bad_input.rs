//! Everything that users get wrong: what they are told, and that nothing of theirs is lost.

use std::{fs, net::TcpListener, process::Command};

use assert_cmd::assert::OutputAssertExt as _;
use distill_gateway::simulate::bill_of_state;
use serde_json::Value;

use crate::fixture::{Job, PIPELINE, artifact};

/// The fastest job: no decoder.
fn linear() -> String {
    PIPELINE.replace("[linear, nano]", "linear")
}

/// Runs the job, and holds its exit code and every one of these words in what it says.
#[track_caller]
fn refused(job: &Job, command: &str, code: i32, words: &[&str]) -> String {
    let told = job.check(&[command, "pipeline.yaml"]).code(code);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    for word in words {
        assert!(told.contains(word), "`{word}` is not in:\n{told}");
    }
    told
}

#[track_caller]
fn refused_everywhere(pipeline: &str, words: &[&str]) {
    let job = Job::new(pipeline);
    for command in ["check", "plan", "run"] {
        refused(&job, command, 2, words);
    }
}

#[test]
fn a_wrong_key_is_shown_with_its_line_and_the_right_one() {
    refused_everywhere(
        &PIPELINE.replace("concurrency", "concurency"),
        &[
            "pipeline.yaml:13:3",
            "concurency",
            "help:",
            "did you mean `concurrency`",
        ],
    );
}

#[test]
fn names_that_nothing_answers_to() {
    refused_everywhere(
        &PIPELINE.replace("simulated/frontier,", "simulatd/frontier,"),
        &[
            "pipeline.yaml:11",
            "no vendor `simulatd`",
            "did you mean `simulated`",
        ],
    );
    refused_everywhere(
        &PIPELINE.replace("[linear, nano]", "[linear, nanu]"),
        &[
            "pipeline.yaml:24",
            "no student `nanu`",
            "did you mean `nano`",
        ],
    );
    refused_everywhere(
        &PIPELINE.replace("[linear, nano]", "./model"),
        &["model", "holds no model", "help:", "config.json"],
    );
    let job =
        Job::new(&linear().replace("simulated/frontier, simulated/backup", "simulated/fronteer"));
    refused(
        &job,
        "run",
        2,
        &[
            "simulated/fronteer",
            "price is not known",
            "help:",
            "input_usd_per_million",
        ],
    );
}

#[test]
fn a_key_that_is_not_set() {
    let from = PIPELINE.find("  simulate:").unwrap();
    let to = PIPELINE.find("evals:").unwrap();
    let pipeline = [&PIPELINE[..from], &PIPELINE[to..]]
        .concat()
        .replace("simulated/frontier, simulated/backup", "openai/gpt-5-mini");
    let job = Job::new(&pipeline);
    job.distill(["run", "pipeline.yaml"])
        .env_remove("OPENAI_API_KEY")
        .assert()
        .code(2);
    let told = job
        .distill(["run", "pipeline.yaml"])
        .env_remove("OPENAI_API_KEY")
        .output()
        .unwrap();
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(
        told.contains("OPENAI_API_KEY holds no key") && told.contains("help: set OPENAI_API_KEY"),
        "{told}"
    );
}

#[test]
fn a_budget_of_nothing_and_one_that_is_too_small() {
    refused_everywhere(
        &PIPELINE.replace("budget_usd: 1.00", "budget_usd: 0"),
        &["pipeline.yaml:12:15", "budget_usd", "above 0", "help:"],
    );
    let job = Job::new(&linear().replace("budget_usd: 1.00", "budget_usd: 0.0001"));
    let told = job.check(&["run", "pipeline.yaml"]).code(1);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(
        told.contains("budget") && told.contains("help: raise `budget_usd`"),
        "{told}"
    );
}

#[test]
fn columns_labels_and_rows_that_are_not_there() {
    refused_everywhere(
        &PIPELINE.replace("  gold: label\n  labels", "  gold: lable\n  labels"),
        &[
            "train.csv, line 1",
            "no column `lable`",
            "help:",
            "id, text, label",
        ],
    );
    let job = Job::new(&linear().replace("{{ text }}", "{{ body }}"));
    refused(
        &job,
        "run",
        2,
        // Both files lack it; which of the two is read first is not fixed.
        &[".csv, line 1", "no column `body`", "help:", "id, text"],
    );
    let job = Job::new(&linear().replace(
        "  prompt:",
        "  labels: [billing, delivery, refund]\n  prompt:",
    ));
    for command in ["check", "run"] {
        refused(
            &job,
            command,
            2,
            &[
                ".csv, line ",
                "label `account`",
                "one of the task's 3",
                "help:",
            ],
        );
    }

    let job = Job::new(&linear());
    job.write("train.csv", "id,text,label\n");
    refused(&job, "run", 2, &["train.csv", "no rows", "help:"]);
    let job = Job::new(&linear());
    job.write("test.csv", "id,text,label\n");
    for command in ["check", "run"] {
        refused(&job, command, 2, &["test.csv", "no rows", "help:"]);
    }
    job.write("test.csv", "");
    refused(&job, "check", 2, &["test.csv", "help:"]);
}

#[test]
fn files_that_cannot_be_read() {
    let job = Job::new(&linear());
    fs::remove_file(job.path().join("train.csv")).unwrap();
    refused(&job, "run", 2, &["train.csv", "cannot be read", "help:"]);
    // For root every file can be read; a folder is a file that nobody can.
    fs::create_dir(job.path().join("train.csv")).unwrap();
    refused(&job, "run", 2, &["train.csv", "cannot be read", "help:"]);
    fs::remove_dir(job.path().join("train.csv")).unwrap();
    fs::write(
        job.path().join("train.csv"),
        b"id,text,label\n1,caf\xe9,billing\n",
    )
    .unwrap();
    refused(&job, "run", 2, &["train.csv, line 2", "UTF-8", "help:"]);
    job.write(
        "train.csv",
        "id,text,label\n1,one,billing\n2,two, three,refund\n",
    );
    refused(&job, "run", 2, &["train.csv, line 3", "columns", "help:"]);
    job.check(&["run", "absent.yaml"]).code(2);
    let told = job.check(&["check", "absent.yaml"]).code(2);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(
        told.contains("absent.yaml") && told.contains("help:") && told.contains("distill init"),
        "{told}"
    );
}

#[test]
fn text_that_is_no_pipeline() {
    refused_everywhere(
        "name: [a\n  task: \"c\n",
        &["pipeline.yaml:2", "this is not YAML", "help:"],
    );
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        let list = vec![below; 9].join(", ");
        bomb += &[
            "a",
            &level.to_string(),
            ": &a",
            &level.to_string(),
            " [",
            &list,
            "]\n",
        ]
        .concat();
    }
    refused_everywhere(&bomb, &["pipeline.yaml", "spec::limit"]);
    refused_everywhere("", &["pipeline.yaml", "name"]);
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let job = Job::new(&linear());
    let told = job
        .check(&["simulate", "pipeline.yaml", "--port", &port])
        .code(1);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(
        told.contains(&port) && told.contains("help:") && told.contains("--port"),
        "{told}"
    );

    job.run();
    job.check(&[
        "deploy",
        "latest",
        "--student",
        "linear",
        "--despite-gate",
        "a test",
    ])
    .success();
    let told = job.check(&["serve", "--port", &port]).code(1);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(
        told.contains(&port) && told.contains("help:") && told.contains("--port"),
        "{told}"
    );
}

#[test]
fn a_base_model_that_is_not_whole() {
    let job = Job::new(&PIPELINE.replace("[linear, nano]", "[linear, ./model]"));
    job.write(
        "model/config.json",
        "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\":",
    );
    let told = refused(
        &job,
        "run",
        2,
        &["./model", "cannot be loaded", "help:", "config.json"],
    );
    assert!(told.contains("because:"), "{told}");
    job.write(
        "model/config.json",
        r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
            "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 100, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 64, "rope_theta": 10000.0, "tie_word_embeddings": true}"#,
    );
    job.write("model/model.safetensors", "\u{8}\0\0\0\0\0\0\0{\"a\":");
    refused(
        &job,
        "run",
        2,
        &[
            "./model",
            "cannot be loaded",
            "because:",
            "help:",
            "model.safetensors",
        ],
    );
    // What was done before is kept: with the student taken out, only the report is missing.
    job.write("pipeline.yaml", &linear());
    let events = job.run();
    assert!(
        !events.started().contains(&"label"),
        "{:?}",
        events.started()
    );
}

#[test]
fn a_bundle_that_is_not_whole_is_not_released() {
    let job = Job::new(&linear());
    let events = job.run();
    let bundle = artifact(&job.home(), &events.artifacts()["train:linear.student"]);
    for entry in fs::read_dir(&bundle).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        // Not through the old file: it may be read-only.
        fs::remove_file(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let told = job
        .check(&[
            "deploy",
            "latest",
            "--student",
            "linear",
            "--despite-gate",
            "a test",
        ])
        .failure();
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(
        told.contains("the bundle of `linear` cannot be served") && told.contains("help: run"),
        "{told}"
    );
    let nothing = job.check(&["serve", "--port", "0"]).code(1);
    let nothing = String::from_utf8(nothing.get_output().stderr.clone()).unwrap();
    assert!(nothing.contains("distill deploy"), "{nothing}");

    // What the help says is true.
    job.run();
    job.check(&[
        "deploy",
        "latest",
        "--student",
        "linear",
        "--despite-gate",
        "a test",
    ])
    .success();
}

/// Runs the job while its state folder lies on a disk that is too small, and again when there is
/// room.
const SMALL_DISK: &str = r#"
set -u
mount -t tmpfs -o size=300k tmpfs "$DISTILL_HOME" || exit 77
"$DISTILL" run pipeline.yaml > full.out 2> full.err
echo $? > full.code
mount -o remount,size=200m "$DISTILL_HOME" || exit 77
"$DISTILL" run pipeline.yaml --format json > room.out 2> room.err
echo $? > room.code
cp -r "$DISTILL_HOME"/simulated billed
"#;

#[test]
fn a_full_disk_loses_nothing() {
    let job = Job::new(&linear());
    fs::create_dir(job.home()).unwrap();
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", SMALL_DISK]);
    job.prepare(&mut shell);
    shell.env("DISTILL", env!("CARGO_BIN_EXE_distill"));
    let done = shell.output().is_ok_and(|output| output.status.success());
    if !done {
        eprintln!("skipped: a_full_disk_loses_nothing: a small disk cannot be mounted here");
        return;
    }
    let read = |name: &str| fs::read_to_string(job.path().join(name)).unwrap();
    let told = read("full.err");
    assert_eq!(read("full.code").trim(), "1", "{told}");
    assert!(
        told.to_lowercase().contains("no space left") || told.contains("full"),
        "{told}"
    );
    assert!(told.contains("help:"), "{told}");
    assert_eq!(read("room.code").trim(), "0", "{}", read("room.err"));
    let report: Value = serde_json::from_str(read("room.out").lines().last().unwrap()).unwrap();
    let spend = &report["report"]["spend"];
    let settled = spend["settled_usd"].as_f64().unwrap();
    let reserved: f64 = spend["unsettled"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["reserved_usd"].as_f64().unwrap())
        .sum();
    let billed: f64 = fs::read_dir(job.path().join("billed"))
        .unwrap()
        .map(|log| {
            bill_of_state(&log.unwrap().path())
                .unwrap()
                .billed_usd
                .dollars()
        })
        .sum();
    assert!(
        billed > 0.0 && billed <= settled + reserved + 1e-9,
        "{billed}: {spend}"
    );
}

#[test]
fn a_file_that_cannot_grow_ends_the_run_and_the_next_one_goes_on() {
    let job = Job::new(PIPELINE);
    // 64 blocks of 512 or 1024 bytes: enough for events and the journal's first pages, too little
    // for an adapter.
    let limited = r#"trap '' XFSZ; ulimit -f 64; exec "$DISTILL" run pipeline.yaml"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", limited]);
    job.prepare(&mut shell);
    shell.env("DISTILL", env!("CARGO_BIN_EXE_distill"));
    let told = shell.assert().code(1);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(told.contains("error:") && told.contains("help:"), "{told}");
    job.run();
}
