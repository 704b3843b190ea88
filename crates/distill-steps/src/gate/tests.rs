//! A student tried again before it is released.

use distill_eval::Decision;

use super::*;
use crate::compare::{
    collect,
    tests::{evidence, said, settings, student},
};

/// Wrong where the teacher is right on `count` rows, and as right as it on the others.
fn worse_on(count: usize) -> impl Fn(usize) -> (bool, f64) {
    move |index| (index >= count, -0.1)
}

#[test]
fn a_student_that_passes_alone_but_not_among_its_kin_is_not_released() {
    let others = ["a", "b", "c", "d", "e"].map(|name| Arm::Student(name.to_owned()));
    let mut evidence = evidence(600, worse_on(16), |_| true);
    for (index, other) in others.iter().enumerate() {
        let answers = said(600, worse_on(17 + index));
        evidence.predictions.insert(step_name(other), answers);
    }
    let judged = |arms: &[Arm]| {
        let (study, samples) = collect(&settings(arms), &evidence).unwrap();
        decided(&study, &samples, "nano").unwrap()
    };
    let alone = judged(&[student(), Arm::Teacher]);
    assert_eq!(alone.decision, Decision::Replace, "{}", alone.reason);
    let mut arms = vec![student(), Arm::Teacher];
    arms.extend(others.clone());
    let among = judged(&arms);
    assert!(!is_met(&among), "{}", among.reason);
    assert!(among.reason.contains("Holm"), "{}", among.reason);
}

#[test]
fn the_answers_of_the_release_are_what_is_judged_and_judgements_stay_with_equal_ones() {
    let evidence = evidence(600, worse_on(0), |_| true);
    let (mut study, mut samples) =
        collect(&settings(&[student(), Arm::Teacher]), &evidence).unwrap();
    for record in samples.get_mut("nano").unwrap() {
        let score = distill_eval::Score::Value(1.0);
        record.scores.insert("judge".to_owned(), score);
    }
    assert!(is_met(&decided(&study, &samples, "nano").unwrap()));
    let (again, timing) = said(600, worse_on(200));
    answered_again(&mut study, &mut samples, &student(), &again, &timing).unwrap();
    assert_eq!(
        decided(&study, &samples, "nano").unwrap().decision,
        Decision::KeepTeacher
    );
    let kept = samples["nano"]
        .iter()
        .filter(|record| record.scores.contains_key("judge"));
    assert_eq!(kept.count(), 400);
}
