//! What `plan` and `explain` say.

use distill_pipeline::plan::PlanState;

use super::*;
use crate::{Basis, ExplainError, explain, plan};

/// Explains, with keys and runs taken out of the text.
fn explained(bench: &Bench, graph: &Graph<Toy>, step: &str) -> String {
    let text = explain(&bench.home(), graph, "words", step)
        .unwrap()
        .to_string();
    let mut plain = String::new();
    for word in text.split_inclusive([' ', '\n', '(', ')', ':', ';']) {
        let body = word.trim_end_matches([' ', '\n', '(', ')', ':', ';']);
        let end = &word[body.len()..];
        let hex = body.len() == 12 && body.bytes().all(|byte| byte.is_ascii_hexdigit());
        let shown = if hex {
            "HASH"
        } else if body.parse::<distill_pipeline::record::RunId>().is_ok() {
            "RUN"
        } else {
            body
        };
        plain.push_str(shown);
        plain.push_str(end);
    }
    plain
}

fn plan_states(bench: &Bench, graph: &Graph<Toy>) -> Vec<(String, &'static str)> {
    let plan = plan(&bench.home(), graph).unwrap();
    let state = |state: &PlanState| match state {
        PlanState::Hit { .. } => "hit",
        PlanState::Miss { .. } => "miss",
        PlanState::Unknown { .. } => "unknown",
    };
    let steps = plan.steps.iter();
    steps
        .map(|step| (step.name.clone(), state(&step.state)))
        .collect()
}

#[tokio::test]
async fn a_plan_tells_what_a_run_would_do_and_does_nothing() {
    let bench = Bench::new();
    let named =
        |names: [(&str, &'static str); 4]| names.map(|(name, state)| (name.to_owned(), state));
    assert_eq!(
        plan_states(&bench, &words("hello world")),
        named([
            ("write", "miss"),
            ("count", "unknown"),
            ("first", "unknown"),
            ("shout", "unknown")
        ])
    );
    assert!(bench.toys.0.done().is_empty());
    bench.run(words("hello world")).await;
    assert_eq!(
        plan_states(&bench, &words("hello world")),
        named([
            ("write", "hit"),
            ("count", "hit"),
            ("first", "hit"),
            ("shout", "hit")
        ])
    );
}

#[tokio::test]
async fn a_plan_leaves_a_corrupted_artifact_where_it_is() {
    let bench = Bench::new();
    let report = bench.run(words("hello world")).await;
    let hash = report.view.step("shout").unwrap().outputs["text"].hash;
    let place = bench.home().artifact(&hash);
    fs::write(&place, "wrong").unwrap();
    let states = plan_states(&bench, &words("hello world"));
    assert_eq!(states[3], ("shout".to_owned(), "miss"));
    assert!(place.exists());
    assert!(
        explained(&bench, &words("hello world"), "shout").starts_with(
            "step `shout` would run (key HASH): its output `text` (HASH) is corrupted"
        )
    );
}

#[tokio::test]
async fn a_new_step_has_nothing_to_be_compared_with() {
    let bench = Bench::new();
    assert_eq!(
        explained(&bench, &words("hello"), "write"),
        "step `write` would run (key HASH): never made before\n\
         nothing of its kind was done here before"
    );
}

#[tokio::test]
async fn the_setting_that_changed_is_named() {
    let bench = Bench::new();
    bench.run(words("hello world")).await;
    let changed = words("hello dear world");
    assert_eq!(
        explained(&bench, &changed, "write"),
        "step `write` would run (key HASH): never made before\n\
         compared with run RUN:\n  \
         setting `settings`: \"hello world\" → \"hello dear world\""
    );
    assert_eq!(
        explained(&bench, &changed, "shout"),
        "step `shout` has no key until first ran; if its inputs come out as before, it hits\n\
         compared with run RUN:\n  \
         nothing differs so far\n\
         step `write` would run (key HASH): never made before\n\
         compared with run RUN:\n  \
         setting `settings`: \"hello world\" → \"hello dear world\""
    );
}

#[tokio::test]
async fn after_the_run_it_is_still_known_why_a_step_ran() {
    let bench = Bench::new();
    bench.run(words("hello world")).await;
    let report = bench.run(words("hello dear world")).await;
    let because = report.view.step("count").unwrap().because.clone().unwrap();
    assert_eq!(because.differences.len(), 1);
    assert!(
        because.differences[0]
            .to_string()
            .starts_with("input `from-0` (from `text` of step `write`): content ")
    );
    let text = explained(&bench, &words("hello dear world"), "count");
    assert!(
        text.contains("it ran then because: never made before; compared with run RUN:\n  input"),
        "{text}"
    );
}

#[tokio::test]
async fn a_renamed_step_is_compared_with_its_kind() {
    let bench = Bench::new();
    bench.run(graph([toy("old", "write", json!("a"))])).await;
    let renamed = graph([toy("new", "write", json!("b"))]);
    let explanation = explain(&bench.home(), &renamed, "words", "new").unwrap();
    let compared = explanation.compared_with.clone().unwrap();
    assert_eq!(compared.basis, Basis::SameKind);
    assert_eq!(compared.step, "old");
    assert_eq!(explanation.differences.len(), 1);
    let json = serde_json::to_string(&explanation).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::Explanation>(&json).unwrap(),
        explanation
    );
}

#[tokio::test]
async fn a_step_that_is_not_there_is_named_with_those_that_are() {
    let bench = Bench::new();
    let error = explain(&bench.home(), &words("hello"), "words", "shuot").unwrap_err();
    assert!(matches!(error, ExplainError::NoStep { .. }));
    assert_eq!(error.to_string(), "the pipeline has no step `shuot`");
    assert_eq!(
        error.hint().unwrap(),
        "its steps are: write, count, first, shout"
    );
}
