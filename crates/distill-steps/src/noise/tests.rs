use std::sync::Arc;

use distill_chat::{Fields, Task, TaskDefinition, TaskKind};
use distill_pipeline::record::RunId;
use distill_runner::{StepContext, StepFailure};
use tokio_util::sync::CancellationToken;

use super::{NoiseFloor, Repeat, draw, facts, repeat, with_repeats};
use crate::{
    Arm,
    action::Ask,
    evaluate::{Answerer, Reply},
    rows::{AnswerRow, AnswerStatus, Prediction, Row},
    teacher::Teacher,
};

fn definition() -> TaskDefinition {
    TaskDefinition {
        kind: TaskKind::Generate,
        system: None,
        prompt: "{{ text }}".into(),
        labels: vec![],
        schema: None,
    }
}

fn settings(rows: usize) -> NoiseFloor {
    NoiseFloor {
        ask: Ask {
            task: definition(),
            teacher: Teacher {
                chain: vec![],
                budget_usd: 1.0,
                concurrency: 1,
                temperature: 0.0,
                max_tokens: 16,
                pipeline: "p".into(),
                simulator: None,
                top_logprobs: None,
            },
        },
        rows,
        seed: 3,
        confidence: 0.95,
    }
}

fn rows(count: usize) -> Vec<Row> {
    (0..count)
        .map(|number| Row {
            id: number.to_string(),
            fields: Fields::new(),
            gold: None,
        })
        .collect()
}

fn answer(id: usize, text: Option<&str>) -> AnswerRow {
    AnswerRow {
        id: id.to_string(),
        status: text.map_or(AnswerStatus::Failed, |_| AnswerStatus::Answered),
        answer: text.map(str::to_owned),
        reply: text.map(str::to_owned),
        model: None,
        reason: None,
        token_logprobs: None,
    }
}

#[test]
fn the_same_rows_are_drawn_for_one_seed_in_the_order_of_the_file() {
    let all = rows(50);
    let drawn = draw(&all, 10, 1);
    assert_eq!(drawn.len(), 10);
    assert_eq!(drawn, draw(&all, 10, 1));
    assert_ne!(drawn, draw(&all, 10, 2));
    let numbers: Vec<usize> = drawn.iter().map(|row| row.id.parse().unwrap()).collect();
    assert!(numbers.is_sorted());
    assert_eq!(draw(&all, 500, 1), all);
}

#[test]
fn agreement_is_by_the_tasks_own_measure_and_missing_answers_are_left_out() {
    let task = Task::new(definition()).unwrap();
    let first = [
        answer(0, Some("The answer is four")),
        answer(1, Some("no")),
        answer(2, Some("yes")),
        answer(3, None),
    ];
    let second = [
        answer(0, Some("the answer is  four.")),
        answer(1, Some("yes")),
        answer(2, None),
        answer(3, Some("yes")),
    ];
    let floor = facts(&settings(4), &task, &first, &second, true);
    assert_eq!((floor.n, floor.left_out), (2, 2));
    assert_eq!(floor.agreement, Some(0.5));
    assert!(floor.simulated && floor.interval.is_some());
    assert!(
        floor.how.contains("second call at temperature 0"),
        "{}",
        floor.how
    );
    let none = facts(&settings(4), &task, &[], &second, false);
    assert_eq!((none.n, none.agreement, none.interval), (0, None, None));
}

/// Says the same each time but on one row.
struct Unsteady;

impl Answerer for Unsteady {
    fn answer(&self, rows: &[Row]) -> Result<Vec<Reply>, StepFailure> {
        Ok(rows
            .iter()
            .map(|row| Reply {
                text: if row.id == "7" {
                    "other".into()
                } else {
                    format!("say {}", row.id)
                },
                logprob: None,
                input_tokens: None,
                output_tokens: None,
                cut_prompt: false,
            })
            .collect())
    }
}

#[test]
fn the_student_that_repeats_itself_least_is_named() {
    use distill_report::RepeatFacts;
    let facts = |arm: &str, n, same| RepeatFacts {
        arm: arm.into(),
        n,
        same,
    };
    let floor = super::NoiseFloorFacts::default();
    let named = with_repeats(
        floor.clone(),
        &[facts("a", 10, 10), facts("b", 10, 9), facts("c", 0, 0)],
    );
    assert_eq!(named.student_repeat.unwrap().arm, "b");
    assert!(with_repeats(floor, &[]).student_repeat.is_none());
}

#[test]
fn a_student_that_says_something_else_is_counted() {
    let run: RunId = "20260131-090507-1a2b".parse().unwrap();
    let context = StepContext::new(run, "repeat", CancellationToken::new(), Arc::new(|_| {}));
    let settings = Repeat {
        arm: Arm::Student("nano".into()),
        task: definition(),
        rows: 100,
        seed: 1,
    };
    let predictions: Vec<Prediction> = (0..10)
        .map(|id| Prediction {
            id: id.to_string(),
            reply: (id != 4).then(|| format!("say {id}")),
            ..Prediction::default()
        })
        .collect();
    let found = repeat(&settings, &Unsteady, &rows(10), &predictions, &context).unwrap();
    assert_eq!((found.n, found.same), (9, 8), "row 4 had no first answer");
}
