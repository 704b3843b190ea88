//! Training against torch (`scripts/fixtures/encoders.py`), and what a caller may count on.

use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::{Method, ScheduleShape};

pub(super) fn folder(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../distill-student/tests/fixtures/encoders")
        .join(family)
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

pub(super) struct Recorded {
    pub(super) weights: EncoderWeights,
    pub(super) examples: Vec<EncoderExample>,
    pub(super) training: Value,
}

pub(super) fn recorded(family: &str) -> Recorded {
    let text = std::fs::read_to_string(folder(family).join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let labels = ["card", "refund", "transfer"].map(str::to_owned);
    let targets: Vec<usize> = list(&expected["training"]["targets"]);
    let examples = targets
        .iter()
        .zip(expected["rows"].as_array().unwrap())
        .map(|(target, row)| {
            let text = EncodedText {
                tokens: list(&row["tokens"]),
                types: list(&row["types"]),
                dropped: Vec::new(),
            };
            EncoderExample::new(text, *target, labels.len())
        })
        .collect();
    Recorded {
        weights: EncoderWeights::from_dir(&folder(family), &labels, 0).unwrap(),
        examples,
        training: expected["training"].clone(),
    }
}

/// The settings of the recording: one batch of all rows, a constant rate, no clipping.
pub(super) fn plain(training: &Value) -> EncoderSettings {
    EncoderSettings {
        epochs: training["losses"].as_array().unwrap().len(),
        learning_rate: list(&training["learning_rate"]),
        schedule: ScheduleShape::Constant,
        warmup: 0.0,
        weight_decay: list(&training["weight_decay"]),
        clip: 0.0,
        ..EncoderSettings::default()
    }
}

fn train(
    recorded: &Recorded,
    settings: &EncoderSettings,
    validation: &[EncoderExample],
) -> (EncoderOutcome, Vec<TrainEvent>) {
    let mut events = Vec::new();
    let request = EncoderRequest {
        weights: &recorded.weights,
        settings,
        train: &recorded.examples,
        validation,
        initial: None,
        checkpointing: None,
        cancelled: &|| false,
    };
    let outcome = train_encoder(&request, &mut |event| events.push(event)).unwrap();
    (outcome, events)
}

fn full(outcome: &EncoderOutcome) -> EncoderWeights {
    match &outcome.trained {
        TrainedEncoder::Full(weights) => weights.clone(),
        TrainedEncoder::Lora(_) => panic!("all weights were to be trained"),
    }
}

fn losses(events: &[TrainEvent]) -> Vec<f64> {
    events
        .iter()
        .filter_map(|event| match event {
            TrainEvent::Step { loss, .. } => Some(*loss),
            _ => None,
        })
        .collect()
}

#[test]
fn training_follows_torch_step_by_step() {
    for family in ["bert", "modernbert"] {
        let recorded = recorded(family);
        let (outcome, events) = train(&recorded, &plain(&recorded.training), &[]);
        let expected: Vec<f64> = list(&recorded.training["losses"]);
        assert_eq!(expected.len(), 6);
        for (step, (loss, expected)) in losses(&events).iter().zip(&expected).enumerate() {
            let relative = (loss / expected - 1.0).abs();
            assert!(
                relative < 1e-4,
                "{family}, step {step}: {loss} instead of {expected}"
            );
        }
        let encoder = Encoder::new(&full(&outcome)).unwrap();
        let rows = EncoderRows::new(recorded.examples.iter().map(|row| &row.text));
        let logits: Vec<Vec<f32>> = encoder.logits(&rows).unwrap().to_vec2().unwrap();
        let expected: Vec<Vec<f32>> = list(&recorded.training["logits"]);
        for (got, expected) in logits.iter().flatten().zip(expected.iter().flatten()) {
            assert!(
                (got - expected).abs() < 1e-3,
                "{family}: {got} instead of {expected}"
            );
        }
    }
}

#[test]
fn the_same_request_gives_the_same_bytes_on_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let recorded = recorded("bert");
            let settings = EncoderSettings {
                batch_rows: 2,
                ..plain(&recorded.training)
            };
            let (outcome, _) = train(&recorded, &settings, &[]);
            full(&outcome).sha256().unwrap()
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn soft_labels_pull_as_far_as_their_shares_say() {
    let mut recorded = recorded("bert");
    for example in &mut recorded.examples {
        example.target = vec![0.6, 0.3, 0.1];
    }
    let settings = EncoderSettings {
        epochs: 60,
        weight_decay: 0.0,
        ..plain(&recorded.training)
    };
    let (_, events) = train(&recorded, &settings, &[]);
    let entropy = -(0.6 * 0.6f64.ln() + 0.3 * 0.3f64.ln() + 0.1 * 0.1f64.ln());
    let last = *losses(&events).last().unwrap();
    assert!(
        last > entropy - 1e-5 && last < entropy + 0.02,
        "{last} against {entropy}"
    );
}

#[test]
fn the_best_weights_are_kept_and_training_stops_where_nothing_is_gained() {
    let recorded = recorded("bert");
    // What is validated on contradicts what is learnt, so the first epoch is the best.
    let mut contrary = recorded.examples.clone();
    for example in &mut contrary {
        example.target.rotate_left(1);
    }
    let settings = EncoderSettings {
        epochs: 30,
        patience: Some(2),
        learning_rate: 1e-2,
        ..plain(&recorded.training)
    };
    let (outcome, events) = train(&recorded, &settings, &contrary);
    let summary = outcome.summary;
    assert!(summary.stopped_early && summary.steps < 30);
    assert_eq!(summary.steps, summary.best_step.unwrap() + 2);
    assert!(
        events
            .iter()
            .any(|e| matches!(e, TrainEvent::StoppedEarly { .. }))
    );
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let recorded = recorded("bert");
    let refused = |change: &dyn Fn(&mut EncoderSettings, &mut Vec<EncoderExample>)| {
        let mut settings = plain(&recorded.training);
        let mut train = recorded.examples.clone();
        change(&mut settings, &mut train);
        let request = EncoderRequest {
            weights: &recorded.weights,
            settings: &settings,
            train: &train,
            validation: &[],
            initial: None,
            checkpointing: None,
            cancelled: &|| false,
        };
        train_encoder(&request, &mut |_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&|_, rows| rows.clear()).contains("no training examples"));
    assert!(refused(&|settings, _| settings.epochs = 0).contains("epochs"));
    assert!(refused(&|settings, _| settings.learning_rate = f64::NAN).contains("learning_rate"));
    assert!(refused(&|_, rows| rows[1].target = vec![0.5; 3]).contains("example 1"));
    assert!(refused(&|_, rows| rows[2].target = vec![1.0]).contains("3 labels"));
    let long = refused(&|_, rows| {
        rows[0].text.tokens = vec![1; 25];
        rows[0].text.types = vec![0; 25];
    });
    assert!(long.contains("25 tokens"), "{long}");
}

#[test]
fn proofs_say_which_labels_have_rows_and_that_the_update_begins_at_zero() {
    let mut recorded = recorded("bert");
    // Nobody asks for a transfer.
    recorded.examples.retain(|row| row.target[2] < 0.5);
    let settings = EncoderSettings {
        method: Method::lora(4, 8.0),
        learning_rate: 1e-2,
        overfit_rows: 3,
        overfit_steps: 60,
        ..plain(&recorded.training)
    };
    let (outcome, events) = train(&recorded, &settings, &[]);
    let proofs: Vec<&Proof> = events
        .iter()
        .filter_map(|event| match event {
            TrainEvent::Proved(proof) => Some(proof),
            _ => None,
        })
        .collect();
    let rows = recorded.examples.len();
    let covered = Proof::LabelCoverage {
        rows,
        labels: 3,
        missing: vec![2],
    };
    assert_eq!(*proofs[0], covered);
    assert!(matches!(proofs[1], Proof::StartsAtBase { difference, .. } if *difference < 1e-4));
    let Proof::Overfit {
        first_loss,
        last_loss,
        ..
    } = proofs[2]
    else {
        panic!("{:?}", proofs[2]);
    };
    assert!(last_loss < first_loss);
    // Nineteen projections of three layers and a pooler, and the classifier's two tensors.
    let TrainedEncoder::Lora(adapter) = &outcome.trained else {
        panic!("an adapter was to be trained");
    };
    assert_eq!(adapter.tensors().len(), 2 * 19 + 2);
    let frozen = recorded.weights.tensors().len();
    let counted = Proof::Census {
        trained: 40,
        frozen,
    };
    assert_eq!(*proofs[3], counted);
    let base = recorded.weights.sha256().unwrap();
    assert_eq!(outcome.summary.base_sha256, base);
}

#[test]
fn an_estimate_of_memory_follows_rows_and_method() {
    let recorded = recorded("bert");
    let parts = |settings: &EncoderSettings| {
        memory::estimate_for(&recorded.weights, settings, &recorded.examples).unwrap()
    };
    let full = parts(&EncoderSettings::default());
    let all = recorded.weights.config().parameter_count() as u64;
    assert_eq!(full.weights, 4 * all);
    let adapter = parts(&EncoderSettings {
        method: Method::lora(4, 8.0),
        ..EncoderSettings::default()
    });
    assert!(adapter.trained < full.trained);
    let one = parts(&EncoderSettings {
        batch_rows: 1,
        ..EncoderSettings::default()
    });
    assert!(one.activations < full.activations);
}
