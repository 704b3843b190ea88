//! Objectives on the embedded model: what the rows carry, and what is refused.

use std::sync::Arc;

use distill_chat::{Task, TaskDefinition, TaskKind, TokenLogprob};
use distill_pipeline::spec::{DecoderSpec, StudentTarget};
use distill_student::embedded;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    base::encoder,
    train::{Folders, Initial, Recipe, Train},
};

fn definition() -> TaskDefinition {
    TaskDefinition {
        kind: TaskKind::Classify,
        system: None,
        prompt: "{{ text }}".into(),
        labels: vec!["refund".into(), "delivery".into()],
        schema: None,
    }
}

fn context() -> StepContext {
    let run = "20260131-090507-1a2b".parse().unwrap();
    StepContext::new(run, "train", CancellationToken::new(), Arc::new(|_| {}))
}

fn nano() -> BaseReference {
    BaseReference::Embedded {
        name: "nano".to_owned(),
        sha256: embedded::nano_sha256().to_owned(),
    }
}

fn examples(count: usize) -> Vec<Example> {
    (0..count)
        .map(|index| Example {
            id: index.to_string(),
            fields: json!({
                "text": (["my money back please", "where is my parcel"][index % 2]),
                "why": (if index < 2 { "they say so" } else { "" }),
            })
            .as_object()
            .unwrap()
            .clone(),
            answer: definition().labels[index % 2].clone(),
            token_logprobs: None,
        })
        .collect()
}

fn recipe(spec: ObjectiveSpec) -> ObjectiveRecipe {
    ObjectiveRecipe {
        teacher: spec.teacher().map(|_| nano()),
        spec,
    }
}

fn prepared(spec: ObjectiveSpec, examples: &[Example]) -> Result<Prepared, StepFailure> {
    let task = Task::new(definition()).unwrap();
    let base = embedded::nano().unwrap();
    let encoder = encoder(&base, TaskKind::Classify)?;
    let rows = examples
        .iter()
        .map(|example| {
            let messages = messages(&task, example)?;
            let row = encoder.encode_example(&messages, &example.answer).unwrap();
            Ok(TrainExample::new(row.tokens, row.loss_from))
        })
        .collect::<Result<Vec<_>, StepFailure>>()?;
    let lesson = Lesson {
        task: &task,
        encoder: &encoder,
        base: &base,
        examples,
        rows,
        batch_tokens: 512,
        device: DeviceChoice::Cpu,
    };
    recipe(spec).prepare(lesson, &context())
}

fn soft() -> ObjectiveSpec {
    ObjectiveSpec::SoftLabels {
        teacher: StudentTarget::Nano,
        temperature: 1.0,
        share: 0.5,
    }
}

fn top(teacher: Option<StudentTarget>) -> ObjectiveSpec {
    ObjectiveSpec::TopK {
        teacher,
        top: 5,
        rest: RestKind::Bucket,
        divergence: DivergenceKind::Forward,
        temperature: 1.0,
        share: 0.5,
    }
}

#[test]
fn a_local_teacher_speaks_of_every_place_of_every_reply() {
    let examples = examples(4);
    let made = prepared(top(Some(StudentTarget::Nano)), &examples).unwrap();
    assert!(matches!(made.objective, Objective::TopTokens(_)));
    assert_eq!(made.rows.len(), 4);
    for row in &made.rows {
        let places = row.teacher.as_ref().unwrap();
        assert_eq!(places.len(), row.targets());
        assert!(places.iter().all(|place| place.tokens.len() == 5));
    }
    assert!(made.notes[0].contains("embedded:nano"), "{:?}", made.notes);
}

#[test]
fn soft_labels_are_the_teachers_odds_of_the_labels() {
    let examples = examples(2);
    let made = prepared(soft(), &examples).unwrap();
    for row in &made.rows {
        let first = &row.teacher.as_ref().unwrap()[0];
        let sum: f64 = first
            .log_probabilities
            .iter()
            .map(|v| f64::from(*v).exp())
            .sum();
        assert!((sum - 1.0).abs() < 1e-5, "{first:?}");
        // Two labels that begin with different tokens.
        assert_eq!(first.tokens.len(), 2);
    }
}

#[test]
fn reasoning_makes_a_second_row_of_its_weight() {
    let spec = |column: &str| ObjectiveSpec::Rationale {
        column: column.to_owned(),
        weight: 0.25,
    };
    let examples = examples(4);
    let made = prepared(spec("why"), &examples).unwrap();
    let weights: Vec<f32> = made.rows.iter().map(|row| row.weight).collect();
    assert_eq!(weights, [1.0, 1.0, 1.0, 1.0, 0.25, 0.25]);
    assert!(made.rows[4].targets() > made.rows[0].targets());
    let failure = prepared(spec("because"), &examples).err().unwrap();
    assert!(
        failure.to_string().contains("column `because`"),
        "{failure}"
    );
}

#[test]
fn a_vendors_log_probabilities_are_learnt_where_its_tokens_are_the_students() {
    let tokenizer = embedded::nano().unwrap().tokenizer;
    let told = |text: &str, value: f64| TokenLogprob {
        token: text.to_owned(),
        logprob: value,
        top: vec![],
    };
    let mut examples = examples(3);
    let plain = prepared(top(Some(StudentTarget::Nano)), &examples).unwrap();
    for (example, row) in examples.iter_mut().zip(&plain.rows) {
        // The stop token is told by nobody.
        let reply = &row.tokens[row.loss_from..row.tokens.len() - 1];
        let texts = reply.iter().map(|id| tokenizer.decode(&[*id]).unwrap());
        example.token_logprobs = Some(texts.map(|text| told(&text, -0.1)).collect());
    }
    examples[1].token_logprobs = Some(vec![told("another", -0.1)]);
    examples[2].token_logprobs = None;
    let made = prepared(top(None), &examples).unwrap();
    let taught: Vec<bool> = made.rows.iter().map(|row| row.teacher.is_some()).collect();
    assert_eq!(taught, [true, false, false]);
    assert!(
        made.notes[1].contains("2 rows keep to the label alone: 1 came without"),
        "{:?}",
        made.notes
    );

    let failure = prepared(top(None), &examples[1..2]).err().unwrap();
    assert!(
        failure
            .to_string()
            .contains("no label's log-probabilities fit"),
        "{failure}"
    );
    let failure = prepared(top(None), &examples[2..]).err().unwrap();
    assert!(
        failure
            .to_string()
            .contains("came without log-probabilities"),
        "{failure}"
    );
}

#[test]
fn a_student_is_trained_on_policy_and_the_objective_is_in_its_key() {
    let on_policy = ObjectiveSpec::OnPolicy {
        teacher: StudentTarget::Nano,
        estimate: EstimateKind::Whole,
        divergence: DivergenceKind::Reverse,
        temperature: 1.0,
        share: 1.0,
        student_share: 0.5,
    };
    let train = |objective: Option<ObjectiveRecipe>| Train {
        task: definition(),
        recipe: Recipe::Decoder {
            base: nano(),
            initial: Initial::Random,
            full: false,
            settings: DecoderSpec {
                rank: 2,
                max_steps: Some(2),
                ..DecoderSpec::default()
            },
            rate: None,
            objective,
        },
        seed: 3,
        side_by_side: false,
    };
    let (plain, taught) = (train(None), train(Some(recipe(on_policy))));
    assert_ne!(plain.settings(), taught.settings());
    assert!(!plain.settings().to_string().contains("objective"));
    assert!(taught.settings().to_string().contains("embedded:nano@"));
    let folder = tempfile::tempdir().unwrap();
    let folders = Folders {
        student: &folder.path().join("student"),
        work: folder.path(),
    };
    let made = taught
        .run(&examples(4), &examples(2), &folders, &context())
        .unwrap();
    assert_eq!(made.steps, Some(2));
    assert!(
        made.notes.iter().any(|note| note.contains("local teacher")),
        "{:?}",
        made.notes
    );
}
