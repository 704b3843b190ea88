//! Comparisons of made-up answers.

use distill_chat::TaskDefinition;
use distill_eval::{Decision, Reference};
use distill_pipeline::spec::{AcceptSpec, CostSpec};
use distill_report::{Role, Slice};
use serde_json::json;

use super::*;
use crate::{
    action::Compare,
    evaluate::Timing,
    human::{LabelRow, Labels},
    label::{LabelUsage, RowUsage},
    rows::{AnswerRow, AnswerStatus, Prediction, Row},
};

mod cascades;
mod order;
mod people;
mod unanswered;

use cascades::unsure;

const LABELS: [&str; 2] = ["cat", "dog"];

pub(crate) fn settings(arms: &[Arm]) -> Compare {
    let task: TaskDefinition = serde_json::from_value(json!({
        "kind": "classify", "prompt": "{{ text }}", "labels": LABELS
    }))
    .unwrap();
    Compare {
        task,
        accept: AcceptSpec {
            margin: 0.05,
            confidence: 0.95,
            max_p95_ms: None,
            max_usd_per_1000: None,
            risk: None,
        },
        cost: CostSpec {
            usd_per_hour: 0.01,
            requests_per_day: 1e6,
            assumed: false,
            watts: None,
        },
        arms: arms.to_vec(),
        controls_of: None,
        seed: 17,
        metric: None,
        scorers: Vec::new(),
        slices: Vec::new(),
        group: None,
        gold_slice: None,
    }
}

pub(crate) fn student() -> Arm {
    Arm::Student("nano".to_owned())
}

/// The right label of a row, and the wrong one.
fn label(index: usize, right: bool) -> &'static str {
    LABELS[(index + usize::from(!right)) % 2]
}

/// `count` rows whose right answers are known, every third one from the web.
pub(crate) fn rows(count: usize) -> Vec<Row> {
    (0..count)
        .map(|index| {
            let channel = if index.is_multiple_of(3) {
                "web"
            } else {
                "mail"
            };
            let fields =
                json!({"text": format!("text {index}"), "channel": channel, "thread": index / 4});
            Row {
                id: format!("r{index}"),
                fields: fields.as_object().cloned().unwrap(),
                gold: Some(label(index, true).to_owned()),
            }
        })
        .collect()
}

/// The student's answers: right or wrong, and how sure it is.
pub(crate) fn said(count: usize, of: impl Fn(usize) -> (bool, f64)) -> (Vec<Prediction>, Timing) {
    let predictions = (0..count)
        .map(|index| {
            let (right, logprob) = of(index);
            Prediction {
                id: format!("r{index}"),
                reply: Some(label(index, right).to_owned()),
                logprob: Some(logprob),
                input_tokens: Some(20),
                output_tokens: Some(2),
                reason: None,
            }
        })
        .collect();
    let timing = Timing {
        single_ms: (0..count.min(100))
            .map(|index| 2.0 + index as f64 / 100.0)
            .collect(),
        batch_rows: count,
        batch_seconds: count as f64 / 500.0,
        threads: 2,
        ..Timing::default()
    };
    (predictions, timing)
}

/// A hosted model's answers: right or wrong, at a price each.
pub(crate) fn answered(
    count: usize,
    usd: f64,
    right: impl Fn(usize) -> bool,
) -> (Vec<AnswerRow>, LabelUsage) {
    let ids = || (0..count).map(|index| format!("r{index}"));
    let answers: Vec<AnswerRow> = ids()
        .enumerate()
        .map(|(index, id)| {
            let answer = label(index, right(index)).to_owned();
            AnswerRow {
                id,
                status: AnswerStatus::Answered,
                reply: Some(format!("{answer}\n")),
                answer: Some(answer),
                model: Some("frontier-2026".to_owned()),
                reason: None,
                token_logprobs: None,
            }
        })
        .collect();
    let per_row = ids()
        .map(|id| RowUsage {
            id,
            latency_ms: 300.0,
            input_tokens: Some(20),
            output_tokens: Some(2),
            usd: Some(usd),
            from_journal: false,
        })
        .collect();
    let usage = LabelUsage {
        rows: count,
        statuses: crate::label::count_statuses(&answers),
        from_journal: 0,
        seconds: 1.0,
        spend: json!({"settled_usd": usd * count as f64, "requests_answered": count}),
        alerts: Vec::new(),
        simulated: false,
        per_row,
        prices: Vec::new(),
        concurrency: None,
    };
    (answers, usage)
}

pub(crate) fn evidence(
    count: usize,
    student: impl Fn(usize) -> (bool, f64),
    teacher: impl Fn(usize) -> bool,
) -> Evidence {
    let mut evidence = Evidence {
        rows: rows(count),
        ..Evidence::default()
    };
    let said = said(count, student);
    evidence.predictions.insert("nano".to_owned(), said);
    let answered = answered(count, 0.001, teacher);
    evidence.hosted.insert("teacher".to_owned(), answered);
    evidence
}

pub(crate) fn arms() -> Vec<Arm> {
    vec![student(), Arm::Teacher]
}

fn found(settings: &Compare, evidence: &Evidence) -> Findings {
    let (study, samples) = collect(settings, evidence).unwrap();
    compare(&study, &samples).unwrap()
}

fn arm<'a>(findings: &'a Findings, name: &str) -> &'a ArmFigures {
    findings.arms.iter().find(|arm| arm.name == name).unwrap()
}

fn decision(findings: &Findings) -> Decision {
    findings.recommendation.verdict.decision
}

/// Wrong on one row in twenty.
fn mostly(index: usize) -> bool {
    !index.is_multiple_of(20)
}

#[test]
fn a_student_as_right_as_the_teacher_replaces_it() {
    let evidence = evidence(600, |index| (mostly(index), -0.1), mostly);
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(decision(&findings), Decision::Replace);
    assert_eq!(findings.reference, Reference::Gold);
    let nano = arm(&findings, "nano");
    assert_eq!((nano.scores[0].n, nano.scores[0].value), (600, Some(0.95)));
    assert_eq!(nano.speed.as_ref().unwrap().per_answer_ms.n, 100);
    let teacher = arm(&findings, "teacher");
    assert_eq!(teacher.speed.as_ref().unwrap().per_answer_ms.n, 600);
    assert!((teacher.usd_per_1000.unwrap() - 1.0).abs() < 1e-9);
    assert_eq!(findings.differences.len(), 2);
}

/// What a control shows is shown of its own base: another student's gain over it says nothing.
#[test]
fn a_student_on_another_base_is_not_compared_with_the_controls() {
    let mut evidence = evidence(40, |index| (mostly(index), -0.1), mostly);
    for name in ["untuned", "other"] {
        let said = said(40, |index| (index.is_multiple_of(2), -0.1));
        evidence.predictions.insert(name.to_owned(), said);
    }
    let other = Arm::Student("other".to_owned());
    let settings = Compare {
        controls_of: Some("nano".to_owned()),
        ..settings(&[Arm::Untuned, student(), other, Arm::Teacher])
    };
    let findings = found(&settings, &evidence);
    let against_untuned: Vec<&str> = findings
        .differences
        .iter()
        .filter(|difference| difference.baseline == "untuned")
        .map(|difference| difference.candidate.as_str())
        .collect();
    assert_eq!(against_untuned, ["nano"]);
    let untuned = arm(&findings, "untuned");
    assert_eq!(untuned.description, "the base model of nano as it came");
}

#[test]
fn labels_of_the_teacher_alone_are_agreement_and_replace_nothing() {
    let mut evidence = evidence(600, |_| (true, -0.1), |_| true);
    for row in &mut evidence.rows {
        row.gold = None;
    }
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(findings.reference, Reference::TeacherLabels);
    assert!(matches!(decision(&findings), Decision::Undecided { .. }));
    assert_eq!(findings.recommendation.choice, None);
    assert!(findings.recommendation.verdict.reason.contains("agree"));
    assert!(findings.notes[0].contains("agreement with the teacher, not accuracy"));
    assert_eq!(findings.expected_by[0].what, "teacher");
    assert_eq!(findings.expected_by[0].count, 600);
}

#[test]
fn a_persons_answer_beats_the_column() {
    let mut evidence = evidence(40, |_| (true, -0.1), |_| true);
    let mut people = Vec::new();
    for index in 0..10 {
        let other = label(index, false).to_owned();
        people.push((format!("r{index}"), other));
    }
    people.push(("stranger".to_owned(), "cat".to_owned()));
    evidence.human = Some(labels(&people));
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(arm(&findings, "nano").scores[0].value, Some(0.75));
    let counts: Vec<(&str, usize)> = findings
        .expected_by
        .iter()
        .map(|counted| (counted.what.as_str(), counted.count))
        .collect();
    assert_eq!(counts, [("human", 10), ("gold", 30)]);
    assert!(
        findings
            .notes
            .iter()
            .any(|note| note.contains("people answered 10"))
    );
    assert!(
        findings
            .notes
            .iter()
            .any(|note| note.contains("1 human answers"))
    );
}

/// A file of a user's own: ids and answers, and no word of a draw.
fn labels(people: &[(String, String)]) -> Labels {
    Labels {
        rows: people
            .iter()
            .map(|(id, answer)| LabelRow {
                id: id.clone(),
                answer: Some(answer.clone()),
                stratum: None,
                order: None,
                inclusion: None,
            })
            .collect(),
    }
}

#[test]
fn rows_drawn_for_people_are_balanced_and_can_replace() {
    // The two differ on 60 of 600 rows; people saw each of these and one in ten of the others.
    let mut evidence = evidence(
        600,
        |index| (index % 20 != 0, -0.1),
        |index| index % 20 != 1,
    );
    for row in &mut evidence.rows {
        row.gold = None;
    }
    let rows = (0..600)
        .map(|index| {
            let differ = index % 20 < 2;
            LabelRow {
                id: format!("r{index}"),
                answer: (differ || index % 10 == 5).then(|| label(index, true).to_owned()),
                stratum: None,
                order: None,
                inclusion: Some(if differ { 1.0 } else { 60.0 / 540.0 }),
            }
        })
        .collect();
    evidence.human = Some(Labels { rows });
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(findings.reference, Reference::Human);
    // Each is wrong on 30 rows that the other has right: a difference of 0, not one of 30 in 60.
    let difference = &findings.differences[0];
    assert_eq!((difference.n, difference.difference), (600, Some(0.0)));
    assert_eq!(decision(&findings), Decision::Replace);
    // Of one arm alone, only rows that stand for all count.
    assert!(findings.eval_rows < 120 && findings.eval_rows > 30);
    assert!(findings.notes[0].starts_with("people answered 120 of the test rows"));
}

#[test]
fn rows_that_only_the_teacher_vouches_for_enter_no_figure() {
    // Without a column of right answers the teacher would be right on 100 further rows.
    let mut evidence = evidence(300, |index| (index >= 100, -0.1), mostly);
    for row in &mut evidence.rows[200..] {
        row.gold = None;
    }
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(findings.reference, Reference::Gold);
    assert_eq!(findings.eval_rows, 200);
    for arm in &findings.arms {
        assert_eq!(arm.scores[0].n, 200);
    }
    assert_eq!(arm(&findings, "teacher").scores[0].value, Some(0.95));
    assert_eq!(arm(&findings, "nano").scores[0].value, Some(0.5));
    assert!(findings.notes[0].starts_with("100 test rows have no right answer but the teacher's"));
}

#[test]
fn a_slice_by_the_right_answers_has_them() {
    let evidence = evidence(100, |index| (!index.is_multiple_of(2), -0.1), |_| true);
    let settings = Compare {
        slices: vec!["label".to_owned()],
        gold_slice: Some("label".to_owned()),
        ..settings(&arms())
    };
    let findings = found(&settings, &evidence);
    let slices: Vec<(&str, usize, Option<f64>)> = arm(&findings, "nano")
        .slices
        .iter()
        .map(|Slice { name, score }| (name.as_str(), score.n, score.value))
        .collect();
    assert_eq!(
        slices,
        [
            ("label = cat", 50, Some(0.0)),
            ("label = dog", 50, Some(1.0))
        ]
    );
}

#[test]
fn slices_are_made_by_column_on_every_arm() {
    let evidence = evidence(300, |index| (!index.is_multiple_of(3), -0.1), |_| true);
    let settings = Compare {
        slices: vec!["channel".to_owned(), "nowhere".to_owned()],
        ..settings(&arms())
    };
    let findings = found(&settings, &evidence);
    let slices: Vec<(&str, usize, Option<f64>)> = arm(&findings, "nano")
        .slices
        .iter()
        .map(|Slice { name, score }| (name.as_str(), score.n, score.value))
        .collect();
    assert_eq!(
        slices,
        [
            ("channel = mail", 200, Some(1.0)),
            ("channel = web", 100, Some(0.0)),
            ("nowhere = (none)", 300, Some(2.0 / 3.0)),
        ]
    );
    assert_eq!(arm(&findings, "teacher").slices.len(), 3);
}

#[test]
fn rows_of_one_group_are_drawn_together() {
    // All four turns of a thread are right or wrong together.
    let evidence = evidence(400, |index| ((index / 4) % 5 != 0, -0.1), |_| true);
    let alone = found(&settings(&arms()), &evidence);
    let grouped = found(
        &Compare {
            group: Some("thread".to_owned()),
            ..settings(&arms())
        },
        &evidence,
    );
    let width = |findings: &Findings| {
        let interval = findings.differences[0].interval.unwrap();
        interval.high - interval.low
    };
    let difference = |findings: &Findings| findings.differences[0].difference.unwrap();
    assert!((difference(&alone) - difference(&grouped)).abs() < 1e-12);
    assert!(width(&grouped) > 1.4 * width(&alone));
    assert!(grouped.differences[0].mcnemar_p.is_none());
}

#[test]
fn a_handful_of_groups_carries_no_verdict() {
    // Far ahead in both groups: every interval over them says so, and two say nothing.
    let evidence = evidence(600, |_| (true, -0.1), |index| index % 30 == 1);
    let settings = Compare {
        group: Some("channel".to_owned()),
        ..settings(&arms())
    };
    let findings = found(&settings, &evidence);
    assert!(matches!(decision(&findings), Decision::Undecided { .. }));
    let recommendation = &findings.recommendation;
    assert_eq!(recommendation.choice, None);
    assert!(
        recommendation.verdict.reason.contains("2 groups"),
        "{recommendation:?}"
    );
    assert!(!recommendation.candidates[0].verdict.decision.is_met());
    assert!(findings.notes.iter().any(|note| note.contains("2 groups")));
    // Ungrouped, the same answers settle it.
    let alone = found(
        &Compare {
            group: None,
            ..settings
        },
        &evidence,
    );
    assert_eq!(decision(&alone), Decision::Replace);
}

#[test]
fn another_metric_decides_where_the_pipeline_says_so() {
    let mut evidence = evidence(100, |_| (true, -0.1), |_| true);
    for prediction in &mut evidence.predictions.get_mut("nano").unwrap().0 {
        prediction.reply = prediction.reply.as_ref().map(|reply| reply.to_uppercase());
    }
    let settings = Compare {
        metric: Some("exact_match".to_owned()),
        ..settings(&arms())
    };
    let findings = found(&settings, &evidence);
    let scores = &arm(&findings, "nano").scores;
    assert_eq!(scores[0].metric, "exact_match");
    assert_eq!(scores[0].value, Some(0.0));
    assert_eq!(scores[1].metric, "accuracy");
    assert_eq!(findings.differences[0].metric, "exact_match");
}

#[test]
fn a_cheaper_model_is_a_candidate_in_the_same_family() {
    let mut evidence = evidence(600, |index| (index.is_multiple_of(2), -0.1), mostly);
    let cheap = Arm::Cheaper("openai/small".to_owned());
    let key = crate::compile::step_name(&cheap);
    evidence.hosted.insert(key, answered(600, 0.0001, mostly));
    let arms = [student(), cheap, Arm::Teacher];
    let findings = found(&settings(&arms), &evidence);
    assert_eq!(decision(&findings), Decision::CheaperApi);
    assert_eq!(
        findings.recommendation.choice.as_deref(),
        Some("openai/small")
    );
    assert_eq!(arm(&findings, "openai/small").role, Role::CheaperApi);
    assert_eq!(findings.recommendation.candidates.len(), 2);
}

#[test]
fn a_limit_on_latency_is_held() {
    let evidence = evidence(600, |index| (mostly(index), -0.1), mostly);
    let mut settings = settings(&arms());
    settings.accept.max_p95_ms = Some(2.5);
    let findings = found(&settings, &evidence);
    assert_eq!(decision(&findings), Decision::KeepTeacher);
    settings.accept.max_p95_ms = Some(3.5);
    assert_eq!(decision(&found(&settings, &evidence)), Decision::Replace);
}

#[test]
fn nothing_answered_is_said_and_scored_by_nobody() {
    let mut evidence = evidence(20, |_| (true, -0.1), |_| true);
    for prediction in &mut evidence.predictions.get_mut("nano").unwrap().0 {
        prediction.reply = None;
        prediction.reason = Some("the context is too short".to_owned());
    }
    let findings = found(&settings(&arms()), &evidence);
    let score = &arm(&findings, "nano").scores[0];
    assert_eq!((score.n, score.unscored, score.value), (0, 20, None));
    assert!(findings.recommendation.verdict.reason.contains("n = 0"));

    let nothing = Evidence {
        rows: Vec::new(),
        ..evidence_of_nothing()
    };
    let findings = found(&settings(&arms()), &nothing);
    assert_eq!(findings.eval_rows, 0);
    assert!(matches!(decision(&findings), Decision::Undecided { .. }));
    assert!(
        findings
            .arms
            .iter()
            .all(|arm| arm.scores[0].value.is_none())
    );
}

fn evidence_of_nothing() -> Evidence {
    evidence(0, |_| (true, 0.0), |_| true)
}

#[test]
fn the_order_of_the_rows_changes_no_figure() {
    let mut evidence = unsure(120);
    let forth = found(&settings(&arms()), &evidence);
    evidence.rows.reverse();
    let back = found(&settings(&arms()), &evidence);
    assert_eq!(forth.recommendation, back.recommendation);
    assert_eq!(forth.differences, back.differences);
    for (one, other) in forth.arms.iter().zip(&back.arms) {
        assert_eq!(one.scores, other.scores, "{}", one.name);
    }
}

#[test]
fn the_worst_regressions_come_first() {
    let evidence = evidence(60, |index| (index >= 30, -(index as f64) / 100.0), |_| true);
    let findings = found(&settings(&arms()), &evidence);
    let regressions = findings.regressions.unwrap();
    assert_eq!((regressions.total, regressions.rows.len()), (30, 20));
    assert_eq!(regressions.rows[0].id, "r0");
    assert_eq!(regressions.rows[0].text, "text 0");
    assert_eq!(regressions.rows[0].candidate_confidence, Some(1.0));
}

#[test]
fn a_learning_curve_that_rises_asks_for_more_data() {
    let mut evidence = evidence(3000, |index| (!index.is_multiple_of(8), -0.1), mostly);
    let point = |train_rows, value| distill_report::CurveFactsPoint {
        train_rows,
        value: Some(value),
        interval: distill_eval::stats::wilson((value * 2000.0_f64) as usize, 2000, 0.95),
        n: 2000,
    };
    evidence.learning_curves.push(CurveFacts {
        student: "nano".to_owned(),
        points: vec![point(250, 0.70), point(500, 0.79), point(1000, 0.88)],
        ..CurveFacts::default()
    });
    let findings = found(&settings(&arms()), &evidence);
    assert!(
        matches!(decision(&findings), Decision::MoreData { train_rows } if train_rows > 1000),
        "{:?}",
        findings.recommendation.verdict
    );
    evidence.learning_curves[0].metric = "macro_f1".to_owned();
    let findings = found(&settings(&arms()), &evidence);
    assert_eq!(
        decision(&findings),
        Decision::KeepTeacher,
        "a curve in another metric says nothing"
    );
}
