//! What must not matter: in which order rows and arms come, and on how many threads they are counted.

use distill_eval::CandidateVerdict;

use super::*;

/// A run with all that is drawn in it: groups for the bootstrap, a cascade, a second student.
fn run() -> (Compare, Evidence) {
    let mut evidence = unsure(300);
    let other = said(300, |index| (index % 6 != 0, -0.3));
    evidence.predictions.insert("linear".to_owned(), other);
    let arms = [student(), Arm::Student("linear".to_owned()), Arm::Teacher];
    let settings = Compare {
        group: Some("thread".to_owned()),
        ..settings(&arms)
    };
    (settings, evidence)
}

type Told = (
    Vec<(String, Vec<distill_eval::Aggregate>)>,
    Vec<CandidateVerdict>,
    Option<String>,
    distill_eval::Verdict,
);

/// The figures by arm, and what is decided on them.
fn told(findings: Findings) -> Told {
    let mut arms: Vec<_> = findings
        .arms
        .into_iter()
        .map(|arm| (arm.name, arm.scores))
        .collect();
    arms.sort_by(|one, other| one.0.cmp(&other.0));
    let mut recommendation = findings.recommendation;
    recommendation
        .candidates
        .sort_by(|one, other| one.name.cmp(&other.name));
    (
        arms,
        recommendation.candidates,
        recommendation.choice,
        recommendation.verdict,
    )
}

#[test]
fn the_order_of_rows_and_arms_changes_no_figure_and_no_verdict() {
    let (settings, evidence) = run();
    let before = told(found(&settings, &evidence));
    let (mut turned, mut evidence) = (settings, evidence);
    evidence.rows.reverse();
    turned.arms.reverse();
    assert_eq!(told(found(&turned, &evidence)), before);
    // Nor does the order in which the answers stand in their files.
    for (predictions, _) in evidence.predictions.values_mut() {
        predictions.reverse();
    }
    for (answers, _) in evidence.hosted.values_mut() {
        answers.reverse();
    }
    assert_eq!(told(found(&turned, &evidence)), before);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (settings, evidence) = run();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| found(&settings, &evidence))
    };
    let one = on(1);
    assert!(one.differences[0].interval.is_some());
    assert_eq!(one, on(2));
    assert_eq!(one, on(5));
}
