//! What is done once is not done again, and what changed is.

use super::*;

#[tokio::test]
async fn the_second_run_does_nothing() {
    let bench = Bench::new();
    let first = bench.run(words("hello dear world")).await;
    assert_eq!(first.view.outcome, Some(RunOutcome::Done));
    assert_eq!(bench.output(&first, "shout"), "HELLO");
    assert_eq!(bench.output(&first, "count"), "3");
    let shout = first.view.step("shout").unwrap();
    assert_eq!(shout.facts, json!({"bytes_read": 5}));
    assert!(!shout.cached);

    let second = bench.run(words("hello dear world")).await;
    assert_eq!(bench.toys.0.done(), ["count", "first", "shout", "write"]);
    assert_eq!(second.view.outcome, Some(RunOutcome::Done));
    assert!(second.view.steps.iter().all(|step| step.cached));
    let again = second.view.step("shout").unwrap();
    assert_eq!(again.outputs, shout.outputs);
    assert_eq!(again.facts, shout.facts);
    assert_ne!(first.header.run, second.header.run);
    assert_eq!(first.header.plan, second.header.plan);
}

#[tokio::test]
async fn a_change_runs_only_what_sees_it() {
    let bench = Bench::new();
    assert_eq!(
        bench.done_by(words("hello world")).await,
        ["count", "first", "shout", "write"]
    );
    // The first word is the same, so nobody below it has to shout again.
    assert_eq!(
        bench.done_by(words("hello dear world")).await,
        ["count", "first", "write"]
    );
    assert_eq!(
        bench.done_by(words("goodbye dear world")).await,
        ["count", "first", "shout", "write"]
    );
    // Everything was made before.
    assert!(bench.done_by(words("hello world")).await.is_empty());
}

#[tokio::test]
async fn names_pipelines_and_paths_enter_no_key() {
    let bench = Bench::new();
    let named = |name: &str, file: &str| {
        fs::write(bench.outside(file), "some rows").unwrap();
        let node = toy(name, "shout", Value::Null);
        graph([node.file("source", TEXT, bench.outside(file))])
    };
    assert_eq!(bench.done_by(named("one", "a.csv")).await, ["one"]);
    assert!(bench.done_by(named("other", "b.csv")).await.is_empty());
    fs::write(bench.outside("b.csv"), "other rows").unwrap();
    let changed = toy("other", "shout", Value::Null).file("source", TEXT, bench.outside("b.csv"));
    assert_eq!(bench.done_by(graph([changed])).await, ["other"]);
}

#[tokio::test]
async fn a_directory_is_an_artifact_too() {
    let bench = Bench::new();
    let folder = || graph([toy("pack", "folder", json!("b"))]);
    let report = bench.run(folder()).await;
    let output = &report.view.step("pack").unwrap().outputs["text"];
    let place = bench.home().artifact(&output.hash);
    assert_eq!(fs::read_to_string(place.join("inner/b.txt")).unwrap(), "b");
    assert_eq!(output.bytes, 2);
    assert!(bench.done_by(folder()).await.is_empty());
    fs::write(place.join("inner/c.txt"), "one file more").unwrap();
    assert_eq!(bench.done_by(folder()).await, ["pack"]);
}

#[tokio::test]
async fn a_corrupted_artifact_is_reported_kept_aside_and_made_again() {
    let bench = Bench::new();
    let first = bench.run(words("hello dear world")).await;
    let output = first.view.step("first").unwrap().outputs["text"].clone();
    let place = bench.home().artifact(&output.hash);
    // Of the same length, so that only its content gives it away.
    fs::write(&place, "jello").unwrap();

    assert_eq!(
        bench.done_by(words("hello dear world")).await,
        ["first"],
        "what reads it hits, since it comes out as before"
    );
    assert_eq!(fs::read_to_string(&place).unwrap(), "hello");
    let events = bench.events.lock().unwrap();
    let moved = events.iter().find_map(|event| match &event.what {
        What::ArtifactCorrupted {
            step,
            port,
            artifact,
            moved_to,
        } => Some((step.as_str(), port.as_str(), *artifact, moved_to)),
        _ => None,
    });
    let (step, port, artifact, moved_to) = moved.expect("the corruption is reported");
    assert_eq!((step, port, artifact), ("first", "text", output.hash));
    assert_eq!(fs::read_to_string(moved_to).unwrap(), "jello");
}

#[tokio::test]
async fn a_missing_artifact_is_made_again() {
    let bench = Bench::new();
    let first = bench.run(words("hello dear world")).await;
    let output = first.view.step("count").unwrap().outputs["text"].hash;
    fs::remove_file(bench.home().artifact(&output)).unwrap();
    assert_eq!(bench.done_by(words("hello dear world")).await, ["count"]);
    assert!(bench.done_by(words("hello dear world")).await.is_empty());
}

#[tokio::test]
async fn a_corrupted_artifact_of_a_step_that_never_repeats_itself_ends_in_peace() {
    let bench = Bench::new();
    let dice = || graph([toy("throw", "dice", Value::Null)]);
    let first = bench.run(dice()).await;
    let output = first.view.step("throw").unwrap().outputs["text"].hash;
    fs::write(bench.home().artifact(&output), "six").unwrap();
    assert_eq!(bench.done_by(dice()).await, ["throw"]);
    assert!(bench.done_by(dice()).await.is_empty());
}

#[tokio::test]
async fn a_torn_record_counts_as_none() {
    let bench = Bench::new();
    let first = bench.run(words("hello dear world")).await;
    let key = first.view.step("shout").unwrap().key.unwrap();
    let record = bench.home().action(&key);
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, &text[..text.len() / 2]).unwrap();
    assert_eq!(bench.done_by(words("hello dear world")).await, ["shout"]);
    assert!(bench.done_by(words("hello dear world")).await.is_empty());
}

#[tokio::test]
async fn a_record_for_other_ingredients_counts_as_none() {
    let bench = Bench::new();
    let first = bench.run(words("hello dear world")).await;
    let key = |step: &str| first.view.step(step).unwrap().key.unwrap();
    let home = bench.home();
    fs::copy(home.action(&key("count")), home.action(&key("shout"))).unwrap();
    assert_eq!(bench.done_by(words("hello dear world")).await, ["shout"]);
}

#[tokio::test]
async fn a_step_with_another_output_is_done_again() {
    let bench = Bench::new();
    assert_eq!(
        bench
            .done_by(graph([toy("write", "write", json!("x"))]))
            .await,
        ["write"]
    );
    let mut node = toy("write", "write", json!("x"));
    node.outputs[0].kind = ArtifactKind::new("prose");
    assert_eq!(bench.done_by(graph([node.clone()])).await, ["write"]);
    assert!(bench.done_by(graph([node])).await.is_empty());
}

#[tokio::test]
async fn scratch_goes_when_a_step_is_done() {
    let bench = Bench::new();
    bench.run(words("hello dear world")).await;
    let left = fs::read_dir(bench.home().path().join("work")).unwrap();
    assert_eq!(left.count(), 0);
}
