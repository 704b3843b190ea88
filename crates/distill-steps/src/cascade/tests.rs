//! What a student's calibration rows allow.

use distill_chat::TaskKind;

use super::*;
use crate::evaluate::Reply;

mod ranking;

/// Answers with a row's `says` and the log of its `surety`.
struct Scripted;

impl Answerer for Scripted {
    fn answer(&self, rows: &[Row]) -> Result<Vec<Reply>, StepFailure> {
        let reply = |row: &Row| Reply {
            text: row.fields["says"].as_str().unwrap().to_owned(),
            logprob: row.fields["surety"].as_f64().map(f64::ln),
            input_tokens: None,
            output_tokens: None,
            cut_prompt: false,
        };
        Ok(rows.iter().map(reply).collect())
    }
}

fn step(risk: f64) -> Cascade {
    Cascade {
        student: "nano".into(),
        task: TaskDefinition {
            kind: TaskKind::Classify,
            system: None,
            prompt: "{{ says }}".into(),
            labels: vec!["a".into(), "b".into()],
            schema: None,
        },
        metric: "accuracy".into(),
        metric_settings: Map::new(),
        risk,
        confidence: 0.95,
        human_labels: false,
    }
}

/// Rows of falling surety; those for which `wrong` holds are answered wrong.
fn examples(count: usize, wrong: impl Fn(usize) -> bool) -> Vec<Example> {
    (0..count)
        .map(|index| Example {
            id: index.to_string(),
            fields: json!({
                "says": if wrong(index) { "b" } else { "a" },
                "surety": 1.0 - index as f64 / count as f64 / 2.0,
            })
            .as_object()
            .unwrap()
            .clone(),
            answer: "a".into(),
            token_logprobs: None,
        })
        .collect()
}

#[test]
fn a_student_that_errs_where_it_is_unsure_gets_a_threshold() {
    let rows = examples(400, |index| index >= 300);
    let choice = step(0.05).choose(&Scripted, &rows, &[]).unwrap();
    assert_eq!((choice.calibration_rows, choice.right), (400, 300));
    let threshold = choice.threshold.unwrap();
    assert_eq!((threshold.answered, threshold.wrong), (300, 0));
    assert!(threshold.bound <= 0.05);
    assert_eq!(choice.reference, CalibratedBy::Teacher);
    assert!(
        choice.statement.contains("other than the teacher's"),
        "{}",
        choice.statement
    );
    assert_eq!(choice.needed_rows, None);
    let calibration = choice.calibration.unwrap();
    assert!(calibration.probability(0.0) > calibration.probability(0.55_f64.ln()));
}

#[test]
fn human_answers_come_before_the_teachers() {
    // The teacher's label is `a` everywhere; people say `b` on the last hundred rows.
    let rows = examples(400, |index| index >= 300);
    let people: Vec<Row> = (0..400)
        .map(|index: usize| Row {
            id: index.to_string(),
            fields: Map::new(),
            gold: Some(if index >= 300 { "b" } else { "a" }.into()),
        })
        .collect();
    let choice = step(0.05).choose(&Scripted, &rows, &people).unwrap();
    assert_eq!((choice.right, choice.reference), (400, CalibratedBy::Human));
    let mixed = step(0.05).choose(&Scripted, &rows, &people[..399]).unwrap();
    assert_eq!(mixed.reference, CalibratedBy::Teacher);
}

#[test]
fn too_few_rows_name_the_number_that_would_do() {
    let rows = examples(60, |index| index >= 50);
    let choice = step(0.05).choose(&Scripted, &rows, &[]).unwrap();
    assert_eq!(choice.threshold, None);
    let needed = choice.needed_rows.unwrap();
    assert!(
        choice.statement.contains(&needed.to_string()),
        "{}",
        choice.statement
    );
    // With as many rows and the same shares, there is a threshold.
    let more = examples(needed, |index| index * 60 >= 50 * needed);
    let choice = step(0.05).choose(&Scripted, &more, &[]).unwrap();
    assert!(choice.threshold.is_some(), "{}", choice.statement);
}

#[test]
fn a_student_that_errs_everywhere_is_told_apart_from_too_few_rows() {
    let rows = examples(400, |index| index % 4 == 0);
    let choice = step(0.05).choose(&Scripted, &rows, &[]).unwrap();
    assert_eq!((choice.threshold, choice.needed_rows), (None, None));
    assert!(
        choice.statement.contains("would not change"),
        "{}",
        choice.statement
    );
}

#[test]
fn no_row_gives_no_calibration_and_says_so() {
    let choice = step(0.05).choose(&Scripted, &[], &[]).unwrap();
    assert_eq!((choice.calibration_rows, choice.calibration), (0, None));
    assert_eq!(choice.reference, CalibratedBy::Teacher);
}
