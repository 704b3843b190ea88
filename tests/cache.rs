//! What runs again and what does not.

use std::{collections::BTreeSet, fs, path::Path};

use crate::fixture::{Job, PIPELINE, artifact};

/// The settings of [`PIPELINE`] in another order and another hand.
const REWRITTEN: &str = r#"# The same job.
seed:   17
accept: {margin: 0.030}
train:
    decoder:
        patience: 1000
        batch_tokens: 256
        max_steps: 2
        epochs: 30
        alpha: 8.0
        rank: 4
student: {target: ["linear", "nano"]}
evals: {controls: [], gold: label, test: "test.csv"}
teacher:
  simulate: {seed: 7, latency_ms: {p95: 2, median: 1}, accuracy: 0.950}
  max_tokens: 16
  concurrency: 8
  budget_usd: 1
  models:
    - simulated/frontier
    - simulated/backup
data: {labels: teacher, gold: label, train: train.csv}
task:
  prompt: '{{ text }}'
  system: >-
    Name the queue: {{ labels | join(', ') }}.
  kind: classify
name: queues
"#;

fn set(steps: &[&str]) -> BTreeSet<String> {
    steps.iter().map(|step| (*step).to_owned()).collect()
}

#[test]
fn only_what_a_change_touches_runs_again() {
    let job = Job::new(PIPELINE);
    let first = job.run();
    assert!(first.started().contains(&"label") && first.started().contains(&"train:nano"));

    let second = job.run();
    assert_eq!(
        second.started(),
        Vec::<&str>::new(),
        "a second run does no work"
    );
    let finished: Vec<_> = second.of_type("step_finished").collect();
    assert_eq!(finished.len(), first.started().len());
    assert!(finished.iter().all(|event| event["cached"] == true));
    assert_eq!(second.artifacts(), first.artifacts());
    assert_eq!(second.report(), first.report());

    job.write("pipeline.yaml", REWRITTEN);
    let rewritten = job.run();
    assert_eq!(
        rewritten.started(),
        Vec::<&str>::new(),
        "only the hand differs"
    );

    job.write("pipeline.yaml", &PIPELINE.replace("rank: 4", "rank: 8"));
    let why = job
        .check(&["explain", "train:nano", "pipeline.yaml"])
        .success();
    let why = String::from_utf8(why.get_output().stdout.clone()).unwrap();
    assert!(
        why.contains("rank") && why.contains('4') && why.contains('8'),
        "{why}"
    );
    let rank = job.run();
    assert_eq!(
        set(&rank.started()),
        set(&[
            "train:nano",
            "evaluate:nano",
            "measure:nano",
            "compare",
            "report"
        ]),
        "the rank is the decoder's alone"
    );

    job.write(
        "pipeline.yaml",
        &PIPELINE.replace("Name the queue", "Tell the queue"),
    );
    let why = job.check(&["explain", "label", "pipeline.yaml"]).success();
    let why = String::from_utf8(why.get_output().stdout.clone()).unwrap();
    assert!(why.contains("system"), "{why}");
    let word = job.run();
    for step in ["label", "evaluate:teacher", "train:linear", "train:nano"] {
        assert!(word.started().contains(&step), "{step} reads the prompt");
    }
    let asked = word.report()["spend"]["attempts"].as_u64().unwrap();
    assert!(asked >= 112, "every row is asked anew, {asked} were");

    job.write("pipeline.yaml", PIPELINE);
    assert_eq!(
        job.run().started(),
        Vec::<&str>::new(),
        "nothing that was made is forgotten"
    );
}

#[test]
fn a_changed_row_is_noticed_and_the_other_answers_are_kept() {
    let job = Job::new(&PIPELINE.replace("[linear, nano]", "linear"));
    job.run();
    let rows = fs::read_to_string(job.path().join("train.csv")).unwrap();
    job.write(
        "train.csv",
        &rows.replace(
            "password forgotten amber kettle 0",
            "password mislaid amber kettle 0",
        ),
    );
    let second = job.run();
    assert!(second.started().contains(&"ingest:train") && second.started().contains(&"label"));
    assert!(!second.started().contains(&"ingest:test"));
}

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    // Artifacts are read-only; damage does not ask.
    let mut permissions = fs::metadata(path).unwrap().permissions();
    #[expect(
        clippy::permissions_set_readonly_false,
        reason = "a file of this test alone"
    )]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).unwrap();
    fs::write(path, bytes).unwrap();
}

fn largest_file(folder: &Path) -> std::path::PathBuf {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap()
}

#[test]
fn a_damaged_artifact_is_put_aside_and_made_again() {
    let job = Job::new(PIPELINE);
    let first = job.run();
    let artifacts = first.artifacts();
    flip_a_byte(&artifact(&job.home(), &artifacts["label.answers"]));
    flip_a_byte(&largest_file(&artifact(
        &job.home(),
        &artifacts["train:nano.student"],
    )));
    flip_a_byte(&largest_file(&artifact(
        &job.home(),
        &artifacts["train:linear.student"],
    )));

    let second = job.run();
    let damaged: BTreeSet<String> = second
        .of_type("artifact_corrupted")
        .map(|event| {
            format!(
                "{}.{}",
                event["step"].as_str().unwrap(),
                event["port"].as_str().unwrap()
            )
        })
        .collect();
    let expected = set(&[
        "label.answers",
        "train:nano.student",
        "train:linear.student",
    ]);
    assert!(expected.is_subset(&damaged), "{damaged:?}");
    for event in second.of_type("artifact_corrupted") {
        let moved = Path::new(event["moved_to"].as_str().unwrap());
        assert!(
            moved.exists(),
            "what was damaged is kept at {}",
            moved.display()
        );
    }
    let mut again = second.artifacts();
    let mut before = artifacts.clone();
    // What labelling took is measured anew.
    for measured in [
        "label.usage",
        "train:nano.training",
        "train:linear.training",
        "compare.study",
        "compare.comparison",
        "report.report",
    ] {
        again.remove(measured);
        before.remove(measured);
    }
    again.retain(|name, _| !name.ends_with(".timing"));
    before.retain(|name, _| !name.ends_with(".timing"));
    assert_eq!(again, before, "what was made again is what was there");
    let spend = &second.report()["spend"];
    assert_eq!(
        spend["settled_usd"],
        first.report()["spend"]["settled_usd"],
        "the answers were in the journal and cost nothing again"
    );
}

#[test]
fn ctrl_c_ends_with_130_and_the_next_run_goes_on() {
    let slow = PIPELINE
        .replace("{median: 1, p95: 2}", "{median: 60, p95: 90}")
        .replace("[linear, nano]", "linear");
    let job = Job::new(&slow);
    let mut run = job.start(&["run", "pipeline.yaml", "--format", "json"]);
    loop {
        let event = run.next_event().expect("labelling goes on for a while");
        if event["type"] == "step_progress" && event["step"] == "label" {
            break;
        }
    }
    run.interrupt();
    let stopped = run.finish(130);
    assert!(stopped.steps("step_interrupted").contains(&"label"));
    assert_eq!(
        stopped.of_type("run_finished").last().unwrap()["outcome"],
        "interrupted"
    );
    let runs = job.check(&["runs"]).success();
    let runs = String::from_utf8(runs.get_output().stdout.clone()).unwrap();
    assert!(runs.contains("interrupted"), "{runs}");

    let resumed = job.run();
    assert!(
        !resumed.started().contains(&"ingest:train"),
        "what was done stays done"
    );
    let spend = &resumed.report()["spend"];
    assert_eq!(spend["requests"], 112, "each row was asked once: {spend}");
    assert_eq!(
        spend["unsettled"].as_array().unwrap().len(),
        0,
        "what was in flight was waited for"
    );
}

#[test]
fn two_runs_at_once_share_the_work() {
    let job = Job::new(&PIPELINE.replace("{median: 1, p95: 2}", "{median: 10, p95: 20}"));
    let arguments = ["run", "pipeline.yaml", "--format", "json"];
    let (one, other) = (job.start(&arguments), job.start(&arguments));
    let (one, other) = (one.finish(0), other.finish(0));
    assert_eq!(one.artifacts(), other.artifacts());
    assert_eq!(
        one.report()["recommendation"],
        other.report()["recommendation"]
    );
    let mut made: Vec<&str> = one.started();
    made.extend(other.started());
    let distinct: BTreeSet<&str> = made.iter().copied().collect();
    assert_eq!(
        made.len(),
        distinct.len(),
        "no step was done twice: {made:?}"
    );
}
