//! Training agrees with PEFT's, step by step: `tests/fixtures/peft-encoders`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::tests::folder;
use super::*;
use crate::{Method, ScheduleShape};
use distill_student::encoder::EncoderPlan;

const STEP_TOLERANCE: f64 = 1e-4;
const CHANGE_TOLERANCE: f64 = 1e-3;
const LOGIT_TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Expected {
    loss: Vec<f64>,
    gradient_norm: Vec<f64>,
    learning_rate: Vec<f64>,
    peak: f64,
    final_learning_rate: f64,
    warmup: f64,
    beta2: f64,
    weight_decay: f64,
    clip: f64,
}

#[derive(Deserialize)]
struct Row {
    tokens: Vec<u32>,
    target: Vec<f32>,
}

struct Recorded {
    weights: EncoderWeights,
    /// Per step, per batch.
    windows: Vec<Vec<Vec<EncoderExample>>>,
    adapter: LoraAdapter,
    after: BTreeMap<String, Tensor>,
    logits: Tensor,
    expected: Expected,
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn example(row: Row) -> EncoderExample {
    EncoderExample {
        text: EncodedText {
            types: vec![0; row.tokens.len()],
            tokens: row.tokens,
            dropped: Vec::new(),
        },
        target: row.target,
        weight: 1.0,
    }
}

impl Recorded {
    fn new(family: &str, variant: &str) -> Self {
        let recorded = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/peft-encoders")
            .join(family);
        let at = recorded.join(variant);
        let windows: Vec<Vec<Vec<Row>>> =
            serde_json::from_str(&read(&recorded.join("windows.json"))).unwrap();
        let batch = |rows: Vec<Row>| rows.into_iter().map(example).collect();
        let tensors = |name: &str| {
            let path = at.join("after").join(name);
            candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap()
        };
        let labels = ["card", "refund", "transfer"].map(str::to_owned);
        Self {
            weights: EncoderWeights::from_dir(&folder(family), &labels, 0).unwrap(),
            windows: windows
                .into_iter()
                .map(|window| window.into_iter().map(batch).collect())
                .collect(),
            adapter: LoraAdapter::read_dir(&at).unwrap(),
            after: tensors("adapter_model.safetensors").into_iter().collect(),
            logits: tensors("logits.safetensors")["logits"].clone(),
            expected: serde_json::from_str(&read(&at.join("expected.json"))).unwrap(),
        }
    }

    fn settings(&self) -> EncoderSettings {
        let rows = self.windows[0][0].len();
        EncoderSettings {
            method: Method::Lora(self.adapter.config().clone()),
            learning_rate: self.expected.peak,
            schedule: ScheduleShape::Linear,
            warmup: self.expected.warmup,
            final_learning_rate: self.expected.final_learning_rate,
            weight_decay: self.expected.weight_decay,
            beta2: self.expected.beta2,
            clip: self.expected.clip,
            epochs: 1,
            batch_rows: rows,
            accumulation: self.windows[0].len(),
            ..EncoderSettings::default()
        }
    }
}

fn length(tensor: &Tensor) -> f64 {
    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    let squares = values.iter().map(|v| f64::from(*v) * f64::from(*v));
    squares.sum::<f64>().sqrt()
}

fn agrees(family: &str, variant: &str) {
    let recorded = Recorded::new(family, variant);
    let (settings, expected) = (recorded.settings(), &recorded.expected);
    let rows: Vec<EncoderExample> = recorded.windows.concat().concat();
    let request = EncoderRequest {
        weights: &recorded.weights,
        settings: &settings,
        train: &rows,
        validation: &[],
        initial: Some(&recorded.adapter),
        checkpointing: None,
        cancelled: &|| false,
    };
    let mut trainer = trainer(&request).unwrap();
    assert_eq!(trainer.learner.steps(), expected.loss.len());
    let close = |what: &str, step: usize, got: f64, expected: f64| {
        let difference = (got - expected).abs() / expected.abs();
        assert!(
            difference <= STEP_TOLERANCE,
            "{family}/{variant}, step {step}: {what} {got}, not {expected}"
        );
    };
    for (step, window) in recorded.windows.iter().enumerate() {
        let window: Vec<Vec<&EncoderExample>> = window.iter().map(|b| b.iter().collect()).collect();
        let gradients = trainer.learner.gradients_of(&window, step, &mut |_| {});
        let figures = trainer.advance(gradients.unwrap()).unwrap();
        close("loss", step, figures.loss, expected.loss[step]);
        let norm = expected.gradient_norm[step];
        close("gradient norm", step, figures.gradient_norm, norm);
        let rate = expected.learning_rate[step];
        close("rate", step, figures.learning_rate, rate);
    }
    let (learner, _) = trainer.finish().unwrap();
    let TrainedEncoder::Lora(trained) = learner.parameters.into_trained().unwrap() else {
        panic!("an adapter was trained");
    };
    let names: Vec<&String> = trained.tensors().keys().collect();
    assert_eq!(names, recorded.after.keys().collect::<Vec<_>>());
    for (name, after) in &recorded.after {
        let before = &recorded.adapter.tensors()[name];
        let change = (after - before).unwrap();
        let off = length(&(&trained.tensors()[name] - after).unwrap()) / length(&change);
        assert!(
            off <= CHANGE_TOLERANCE,
            "{family}/{variant}: `{name}` is off by {off:e} of its change"
        );
    }
    theirs_answers_as_there(&recorded, &format!("{family}/{variant}"));
}

/// The adapter that PEFT trained gives PEFT's logits here: beside the weights, and merged in.
fn theirs_answers_as_there(recorded: &Recorded, place: &str) {
    let config = recorded.adapter.config().clone();
    let after = LoraAdapter::from_tensors(config, recorded.after.clone()).unwrap();
    let merged = recorded.weights.merge(&after).unwrap();
    let beside = EncoderPlan {
        adapter: Some(&after),
        ..EncoderPlan::default()
    };
    let rows = EncoderRows::new([&recorded.windows[0][0][0].text]);
    for (how, encoder) in [
        ("beside", Encoder::with_plan(&recorded.weights, beside)),
        ("merged", Encoder::new(&merged)),
    ] {
        let logits = encoder.unwrap().logits(&rows).unwrap();
        let off = (logits - &recorded.logits).unwrap().abs().unwrap();
        let off = off.max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(
            off <= LOGIT_TOLERANCE,
            "{place}, {how}: a logit is off by {off}"
        );
    }
}

#[test]
fn bert_trains_as_with_peft() {
    for variant in ["lora", "rslora", "dora"] {
        agrees("bert", variant);
    }
}

#[test]
fn modern_bert_trains_as_with_peft() {
    for variant in ["lora", "rslora", "dora"] {
        agrees("modernbert", variant);
    }
}
