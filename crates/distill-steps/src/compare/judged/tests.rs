use std::collections::BTreeMap;

use distill_eval::{Decision, Judgement, Reference, Score, judge::JudgeMode};

use super::{JudgeStudy, Judging};
use crate::{
    Arm,
    compare::{
        Findings, collect, compare,
        tests::{arms, evidence, settings, student},
    },
    judge::{HumanVerdict, JudgedRow},
};

const ROWS: usize = 600;

/// Judged rows of one arm: 1 or 0.75, by a rule that both arms share for the most part.
fn judged(arm: &Arm, good: impl Fn(usize) -> bool) -> Vec<JudgedRow> {
    (0..ROWS)
        .map(|index| {
            let score = Score::Value(if good(index) { 1.0 } else { 0.75 });
            JudgedRow {
                arm: arm.name(),
                id: format!("r{index}"),
                judged: BTreeMap::from([(
                    "vendor/judge".to_owned(),
                    Judgement {
                        score: score.clone(),
                        reply: Some("{\"score\": 5}".to_owned()),
                        orders_disagree: None,
                        usd: None,
                    },
                )]),
                score,
                tie: None,
            }
        })
        .collect()
}

/// A run whose test rows nobody but the teacher vouches for, with a judge that finds both sides as
/// good, and people who judged the first rows of both, `worse` by so much for the student.
fn found(people: usize, worse: f64, grouped: bool) -> Findings {
    found_of(people, worse, grouped, ROWS)
}

/// The same where the judge got as far as row `reached`.
fn found_of(people: usize, worse: f64, grouped: bool, reached: usize) -> Findings {
    let mut settings = settings(&arms());
    settings.group = grouped.then(|| "thread".to_owned());
    let mut evidence = evidence(
        ROWS,
        |index| (index % 10 != 0, -0.1),
        |index| index % 12 != 0,
    );
    for row in &mut evidence.rows {
        row.gold = None;
    }
    let (mine, theirs) = (student(), Arm::Teacher);
    let mut rows = judged(&mine, |index| index % 7 != 0);
    rows.extend(judged(&theirs, |index| index % 7 != 1));
    let verdict = |arm: &Arm, index: usize, score: f64| HumanVerdict {
        arm: arm.name(),
        id: format!("r{index}"),
        score,
    };
    let verdicts = (0..people)
        .flat_map(|place| {
            let index = place * 5;
            let good = |miss: usize| if index % 7 == miss { 0.75 } else { 1.0 };
            [
                verdict(&mine, index, good(0) - worse),
                verdict(&theirs, index, good(1)),
            ]
        })
        .collect();
    let judge_reached = |row: &JudgedRow| row.id[1..].parse::<usize>().unwrap() < reached;
    rows.retain(judge_reached);
    evidence.judging = Some(Judging {
        study: JudgeStudy {
            mode: JudgeMode::Pointwise,
            verdicts,
            usd: Some(0.25),
        },
        rows,
    });
    let (study, samples) = collect(&settings, &evidence).unwrap();
    let record = &samples[&mine.name()][1];
    assert_eq!(record.scores["judge"], Score::Value(1.0));
    assert!(record.judged.contains_key("vendor/judge"));
    compare(&study, &samples).unwrap()
}

#[test]
fn a_judge_that_nobody_checked_decides_nothing() {
    for (people, grouped) in [(0, false), (29, false), (100, true)] {
        let findings = found(people, 0.0, grouped);
        assert_eq!(findings.reference, Reference::UncalibratedJudge, "{people}");
        let decision = findings.recommendation.verdict.decision;
        assert!(matches!(decision, Decision::Undecided { .. }), "{decision}");
        assert!(
            findings
                .notes
                .iter()
                .any(|note| note.contains("uncalibrated"))
        );
    }
}

#[test]
fn a_judge_that_people_agree_with_can_show_that_a_student_will_do() {
    let findings = found(100, 0.0, false);
    assert_eq!(findings.reference, Reference::CalibratedJudge);
    assert_eq!(findings.recommendation.verdict.decision, Decision::Replace);
    let shown = findings
        .arms
        .iter()
        .find(|arm| arm.name == student().name())
        .unwrap();
    assert!(
        shown
            .scores
            .iter()
            .any(|score| score.metric == "judge" && score.n == ROWS)
    );
}

/// The judge finds both as good; people find the student worse: theirs is what counts.
#[test]
fn a_judge_that_people_contradict_shows_nothing() {
    let findings = found(100, 0.25, false);
    assert_eq!(findings.reference, Reference::CalibratedJudge);
    assert_eq!(
        findings.recommendation.verdict.decision,
        Decision::KeepTeacher
    );
}

#[test]
fn verdicts_of_people_on_rows_that_the_judge_never_saw_calibrate_nothing() {
    assert_eq!(
        found_of(120, 0.0, false, ROWS).reference,
        Reference::CalibratedJudge
    );
    // People judged every fifth row; the money lasted for 25 of those.
    let found = found_of(120, 0.0, false, 125);
    assert_eq!(found.reference, Reference::UncalibratedJudge);
    assert!(!found.recommendation.verdict.decision.is_met());
}
