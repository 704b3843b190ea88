//! Students that ask the teacher where they are not sure.

use distill_eval::{
    Decision,
    cascade::{Calibration, Threshold},
};
use distill_report::Role;

use super::{arm, arms, decision, evidence, found, mostly, settings};
use crate::compare::{CascadeStudy, records::Evidence};

/// A student that is wrong on the fifth of the rows of which it is not sure.
pub(super) fn unsure(count: usize) -> Evidence {
    let mut evidence = evidence(
        count,
        |index| {
            if index.is_multiple_of(5) {
                (false, -2.0)
            } else {
                (true, -0.01)
            }
        },
        mostly,
    );
    evidence.cascades.push(CascadeStudy {
        student: "nano".to_owned(),
        confidence_is: "label probability".to_owned(),
        calibration_rows: 200,
        calibration: Calibration::fit(&[(-2.0, false), (-1.0, false), (-0.01, true)]),
        threshold: Some(Threshold {
            raw: -0.5,
            probability: 1.0,
            risk: 0.0,
            bound: 0.02,
            confidence: 0.95,
            tried: 20,
            n: 200,
            answered: 160,
            wrong: 0,
        }),
    });
    evidence
}

#[test]
fn a_cascade_stands_in_where_the_student_alone_cannot() {
    let mut evidence = unsure(600);
    let findings = found(&settings(&arms()), &evidence);
    let Decision::Cascade { deferred } = decision(&findings) else {
        panic!("{:?}", findings.recommendation)
    };
    assert!((deferred - 0.2).abs() < 1e-12);
    assert_eq!(
        findings.recommendation.choice.as_deref(),
        Some("nano+teacher")
    );
    let names: Vec<&str> = findings
        .recommendation
        .candidates
        .iter()
        .map(|candidate| candidate.name.as_str())
        .collect();
    assert_eq!(names, ["nano", "nano+teacher"], "one family");

    let cascade = arm(&findings, "nano+teacher");
    assert_eq!(cascade.role, Role::Cascade);
    // The student's own rows are all right; of the 120 deferred ones the teacher has 90 right.
    assert_eq!(cascade.scores[0].value, Some(570.0 / 600.0));
    let student_usd = arm(&findings, "nano").usd_per_1000.unwrap();
    assert!((cascade.usd_per_1000.unwrap() - (student_usd + 0.2)).abs() < 1e-9);
    // Of the rows that the student was timed on, one in five waits for the teacher, too.
    let speed = cascade.speed.as_ref().unwrap().per_answer_ms;
    assert_eq!(speed.n, 100);
    assert!(speed.p50 < 5.0 && speed.p95 > 300.0);

    let facts = &findings.cascades[0];
    assert_eq!(facts.observed_risk, Some(0.0));
    let interval = facts.observed_risk_interval.unwrap();
    let expected = distill_eval::stats::wilson(0, 480, 0.95).unwrap();
    assert_eq!(interval, expected);
    assert!(interval.high > 0.005);
    assert_eq!(facts.deferred_share, Some(deferred));
    assert!((facts.curve.first().unwrap().value - 0.8).abs() < 1e-12);
    assert!(!facts.reliability.is_empty());

    // Without a threshold there is no cascade, and the student alone is too often wrong.
    evidence.cascades[0].threshold = None;
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(decision(&findings), Decision::KeepTeacher);
    assert_eq!(findings.recommendation.candidates.len(), 1);
    assert_eq!(findings.cascades[0].threshold, None);
    assert!(!findings.cascades[0].curve.is_empty());
}

#[test]
fn a_row_without_a_confidence_is_deferred() {
    let mut evidence = unsure(100);
    for prediction in &mut evidence.predictions.get_mut("nano").unwrap().0 {
        prediction.logprob = None;
    }
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(findings.cascades[0].deferred_share, Some(1.0));
    assert!(!decision(&findings).is_met());
}

#[test]
fn a_bound_over_rows_in_groups_is_said_to_be_too_low() {
    let told = |group: Option<&str>| {
        let mut settings = settings(&arms());
        settings.group = group.map(str::to_owned);
        let findings = found(&settings, &unsure(600));
        let notes = findings.notes.into_iter();
        notes.filter(|note| note.contains("it is too low")).count()
    };
    assert_eq!((told(None), told(Some("thread"))), (0, 1));
}
