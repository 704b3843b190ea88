//! Answers that never arrived.

use distill_eval::Decision;

use super::{
    arms, cascades::unsure, collect, compare, decision, evidence, found, mostly, settings,
};

#[test]
fn a_student_gains_nothing_by_saying_nothing_where_it_would_be_wrong() {
    let mut evidence = evidence(600, |index| (mostly(index), -0.1), mostly);
    // Silent on 60 rows, all those that it had wrong among them.
    let predictions = &mut evidence.predictions.get_mut("nano").unwrap().0;
    for prediction in predictions.iter_mut().step_by(10) {
        prediction.reply = None;
        prediction.reason = Some("timed out".to_owned());
    }
    let findings = found(&settings(&arms()), &evidence);
    let difference = &findings.differences[0];
    assert_eq!((difference.n, difference.left_out), (540, 60));
    assert_eq!(difference.difference, Some(0.0), "on what both answered");
    assert_eq!(
        decision(&findings),
        Decision::Undecided { eval_rows: None },
        "{}",
        findings.recommendation.verdict.reason
    );
    let reason = &findings.recommendation.verdict.reason;
    assert!(
        reason.contains("60 rows more have no answer from nano or from the teacher"),
        "{reason}"
    );
    assert_eq!(findings.recommendation.choice, None);
}

#[test]
fn a_few_answers_that_the_teacher_did_not_give_are_counted_as_right_and_change_no_verdict() {
    let mut evidence = evidence(600, |index| (mostly(index), -0.1), mostly);
    for answer in &mut evidence.hosted.get_mut("teacher").unwrap().0[..3] {
        answer.reply = None;
        answer.answer = None;
    }
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(decision(&findings), Decision::Replace);
    assert_eq!(findings.differences[0].left_out, 3);
    // One candidate: what it is held to is the worse of the two tests.
    let candidate = &findings.recommendation.candidates[0];
    let on_both = distill_eval::Comparison::of(
        distill_eval::PairedTable {
            both: 568,
            neither: 29,
            ..Default::default()
        },
        3,
        0.95,
    );
    assert!(candidate.p_noninferior > on_both.noninferiority_p(0.05));
}

#[test]
fn what_a_cascade_asks_the_teacher_is_missing_for_both_alike() {
    let mut evidence = unsure(600);
    let before = decision(&found(&settings(&arms()), &evidence));
    // All of them rows of which the student is not sure.
    for answer in evidence
        .hosted
        .get_mut("teacher")
        .unwrap()
        .0
        .iter_mut()
        .step_by(15)
    {
        answer.reply = None;
        answer.answer = None;
    }
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(decision(&findings), before);
    assert!(matches!(before, Decision::Cascade { .. }));
}

#[test]
fn a_cascade_whose_teacher_was_never_timed_has_no_latency() {
    let mut evidence = unsure(600);
    evidence
        .hosted
        .get_mut("teacher")
        .unwrap()
        .1
        .per_row
        .clear();
    let mut limited = settings(&arms());
    limited.accept.max_p95_ms = Some(100.0);
    let findings = found(&limited, &evidence);
    let cascade = super::arm(&findings, "nano+teacher");
    assert_eq!(cascade.speed, None);
    assert!(!decision(&findings).is_met());
}

#[test]
fn records_of_other_rows_or_in_another_order_are_refused() {
    let evidence = evidence(60, |index| (mostly(index), -0.1), mostly);
    let (study, samples) = collect(&settings(&arms()), &evidence).unwrap();
    let refused = |change: fn(&mut Vec<distill_eval::SampleRecord>)| {
        let mut samples = samples.clone();
        change(samples.get_mut("teacher").unwrap());
        compare(&study, &samples).unwrap_err().message
    };
    for message in [
        refused(|records| records.swap(0, 1)),
        refused(|records| drop(records.pop())),
        refused(|records| records[7].expected = Some("cat or dog".to_owned())),
    ] {
        assert!(message.contains("not about the same rows"), "{message}");
    }
}
