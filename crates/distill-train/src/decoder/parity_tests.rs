//! Training agrees with PEFT's, step by step: `tests/fixtures/peft`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use distill_student::decoder::PackedTokens;
use serde::Deserialize;

use super::*;

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
    loss_from: usize,
}

struct Recorded {
    weights: DecoderWeights,
    /// Per step, per batch.
    windows: Vec<Vec<Vec<TrainExample>>>,
    adapter: LoraAdapter,
    after: BTreeMap<String, Tensor>,
    logits: Tensor,
    expected: Expected,
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Recorded {
    fn new(family: &str, variant: &str) -> Self {
        let family = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/peft")
            .join(family);
        let folder = family.join(variant);
        let windows: Vec<Vec<Vec<Row>>> =
            serde_json::from_str(&read(&family.join("windows.json"))).unwrap();
        let example = |row: Row| TrainExample::new(row.tokens, row.loss_from);
        let batch = |rows: Vec<Row>| rows.into_iter().map(example).collect();
        let tensors = |name: &str| {
            let path = folder.join("after").join(name);
            candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap()
        };
        Self {
            weights: DecoderWeights::from_dir(&family).unwrap(),
            windows: windows
                .into_iter()
                .map(|window| window.into_iter().map(batch).collect())
                .collect(),
            adapter: LoraAdapter::read_dir(&folder).unwrap(),
            after: tensors("adapter_model.safetensors").into_iter().collect(),
            logits: tensors("logits.safetensors")["logits"].clone(),
            expected: serde_json::from_str(&read(&folder.join("expected.json"))).unwrap(),
        }
    }

    fn settings(&self) -> TrainSettings {
        let rows: usize = self.windows.iter().flatten().map(Vec::len).sum();
        TrainSettings {
            method: Method::Lora(self.adapter.config().clone()),
            learning_rate: self.expected.peak,
            schedule: ScheduleShape::Linear,
            warmup: self.expected.warmup,
            final_learning_rate: self.expected.final_learning_rate,
            weight_decay: self.expected.weight_decay,
            beta2: self.expected.beta2,
            clip: self.expected.clip,
            // As many steps as were recorded: a row for each batch.
            epochs: 1,
            batch_tokens: 1,
            accumulation: rows / self.windows.len(),
            ..TrainSettings::default()
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
    let rows: Vec<TrainExample> = recorded.windows.concat().concat();
    let request = TrainRequest {
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
        let place = format!("{family}/{variant}, step {step}");
        assert!(
            difference <= STEP_TOLERANCE,
            "{place}: {what} {got}, not {expected}"
        );
    };
    for (step, window) in recorded.windows.iter().enumerate() {
        let window: Vec<Vec<&TrainExample>> = window.iter().map(|b| b.iter().collect()).collect();
        let gradients = trainer.learner.gradients_of(&window, step, &mut |_| {});
        let figures = trainer.advance(gradients.unwrap()).unwrap();
        close("loss", step, figures.loss, expected.loss[step]);
        close(
            "gradient norm",
            step,
            figures.gradient_norm,
            expected.gradient_norm[step],
        );
        close(
            "rate",
            step,
            figures.learning_rate,
            expected.learning_rate[step],
        );
    }
    let (learner, _) = trainer.finish().unwrap();
    let Trained::Lora(trained) = learner.parameters.into_trained().unwrap() else {
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
    let tokens = recorded.windows[0][0][0].tokens.as_slice();
    let packed = PackedTokens::new([tokens]);
    let merged = recorded.weights.merge(&after).unwrap();
    for (how, decoder) in [
        ("beside", Decoder::with_adapter(&recorded.weights, &after)),
        ("merged", Decoder::new(&merged)),
    ] {
        let logits = decoder.unwrap().logits(&packed).unwrap();
        let off = (logits - &recorded.logits).unwrap().abs().unwrap();
        let off = off.max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(
            off <= LOGIT_TOLERANCE,
            "{place}, {how}: a logit is off by {off}"
        );
    }
}

#[test]
fn llama_trains_as_with_peft() {
    for variant in ["lora", "rslora", "dora", "saved"] {
        agrees("llama", variant);
    }
}

#[test]
fn qwen3_trains_as_with_peft() {
    for variant in ["lora", "dora"] {
        agrees("qwen3", variant);
    }
}

#[test]
fn gemma3_trains_as_with_peft() {
    for variant in ["lora", "dora"] {
        agrees("gemma3_text", variant);
    }
}

#[test]
fn phi3_trains_as_with_peft() {
    for variant in ["lora", "dora"] {
        agrees("phi3", variant);
    }
}

#[test]
fn qwen3_5_trains_as_with_peft() {
    for variant in ["lora", "dora"] {
        agrees("qwen3_5_text", variant);
    }
}

/// With capped attention scores and logits.
#[test]
fn gemma2_trains_as_with_peft() {
    for variant in ["lora", "dora"] {
        agrees("gemma2", variant);
    }
}

#[test]
fn the_other_families_train_as_with_peft() {
    for family in ["smollm3", "qwen2", "mistral", "granite"] {
        agrees(family, "lora");
    }
}
