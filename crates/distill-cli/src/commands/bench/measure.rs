//! One measurement, in this process.

use std::path::Path;

use distill_student::{
    lora::{LoraAdapter, LoraConfig},
    ops::keep_freed_memory,
    regular_file,
    weights::DecoderWeights,
};
use distill_train::{
    Method, TrainError, TrainExample,
    bench::{StepFigures, StepsBench, model_flops},
};
use serde::{Deserialize, Serialize};

use super::{TrainArguments, case::Held, process};
use crate::failure::Failure;

/// What a process reports to the one that started it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Measurement {
    pub(super) parameters: usize,
    pub(super) threads: usize,
    pub(super) steps: Vec<Step>,
    /// Bytes of the weights as they are held.
    pub(super) weight_bytes: usize,
    /// The most memory until the weights were there, and until the end.
    pub(super) peak_bytes_loaded: Option<u64>,
    pub(super) peak_bytes: Option<u64>,
    /// Where the model ran.
    pub(super) device: String,
    /// What the model's mathematics asks for.
    pub(super) flops_per_step: f64,
    /// What was foreseen.
    pub(super) estimated_bytes: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) loss: f64,
    pub(super) tokens: usize,
    pub(super) wall_seconds: f64,
    pub(super) cpu_seconds: f64,
}

impl From<StepFigures> for Step {
    fn from(step: StepFigures) -> Self {
        Self {
            loss: step.loss,
            tokens: step.tokens,
            wall_seconds: step.wall_seconds,
            cpu_seconds: step.cpu_seconds,
        }
    }
}

impl Measurement {
    /// Medians of the steps after the first, which also prepares: processor and wall seconds.
    pub(super) fn medians(&self) -> (f64, f64) {
        let later = &self.steps[1.min(self.steps.len().saturating_sub(1))..];
        let median = |of: fn(&Step) -> f64| {
            let mut values: Vec<f64> = later.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        (
            median(|step| step.cpu_seconds),
            median(|step| step.wall_seconds),
        )
    }

    /// Tokens of one step.
    pub(super) fn tokens(&self) -> f64 {
        self.steps
            .first()
            .map_or(f64::NAN, |step| step.tokens as f64)
    }
}

/// Trains as the arguments say and measures it.
pub(super) fn measure(arguments: &TrainArguments) -> Result<Measurement, Failure> {
    keep_freed_memory();
    let held = arguments.held.first().copied();
    let (weights, once) = subject(arguments, held)?;
    let rows: Vec<TrainExample> = std::iter::repeat_n(once, arguments.repeat.into())
        .flatten()
        .collect();
    let initial = arguments.adapter.as_deref().map(read_adapter).transpose()?;
    let loaded = process::memory();
    let bench = StepsBench {
        weights: &weights,
        rows: &rows,
        initial: initial.as_ref(),
        rank: 16,
        base: held.map(Held::storage),
        gradient_checkpointing: arguments.gradient_checkpointing,
        device: arguments.device,
        learning_rate: arguments.learning_rate,
        // The first step prepares what the others find.
        steps: usize::from(arguments.steps) + 1,
    };
    let stopped = |error: TrainError| Failure::failed("the bench stopped").caused_by(error);
    let estimate = bench.estimate().map_err(stopped)?;
    let figures = bench.run(&process::cpu_seconds).map_err(stopped)?;
    let rank = |config: &LoraConfig| LoraAdapter::parameter_count(weights.config(), config);
    let adapter = match bench.settings().method {
        Method::Lora(config) => rank(&config).map_err(|error| stopped(error.into()))?,
        Method::Full => 0,
    };
    Ok(Measurement {
        device: arguments.device.resolved().to_string(),
        flops_per_step: model_flops(weights.config(), adapter, &rows),
        parameters: weights.config().parameter_count(),
        threads: distill_train::bench::threads(),
        steps: figures.into_iter().map(Step::from).collect(),
        weight_bytes: weights.bytes(),
        peak_bytes_loaded: loaded.map(|memory| memory.peak),
        peak_bytes: process::memory().map(|memory| memory.peak),
        estimated_bytes: estimate.total(),
    })
}

/// The weights and rows: those of a case, or those in files.
fn subject(
    arguments: &TrainArguments,
    held: Option<Held>,
) -> Result<(DecoderWeights, Vec<TrainExample>), Failure> {
    if let (Some(model), Some(examples)) = (&arguments.model, &arguments.examples) {
        let weights =
            DecoderWeights::from_dir_held(model, held.map(Held::storage)).map_err(|error| {
                Failure::bad_input(format!("cannot load the model `{}`", model.display()))
                    .caused_by(error)
            })?;
        return Ok((weights, read_examples(examples)?));
    }
    let case = arguments
        .case
        .first()
        .copied()
        .ok_or_else(|| Failure::bad_input("there is no --case to measure"))?;
    let failed = |error| Failure::bug("a shape of the bench cannot be made").caused_by(error);
    let config = case.config().map_err(failed)?;
    let rows = case.rows(&config);
    let weights = held.unwrap_or(Held::F32).draw(config).map_err(failed)?;
    Ok((weights, rows))
}

fn read_adapter(directory: &Path) -> Result<LoraAdapter, Failure> {
    LoraAdapter::read_dir(directory).map_err(|error| {
        Failure::bad_input(format!("cannot read the adapter `{}`", directory.display()))
            .caused_by(error)
    })
}

/// A row of an examples file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    tokens: Vec<u32>,
    loss_from: usize,
}

fn read_examples(path: &Path) -> Result<Vec<TrainExample>, Failure> {
    let refused = |reason: &str| Failure::bad_input(format!("`{}`: {reason}", path.display()));
    let text = regular_file::read_text(path, regular_file::LONGEST_TEXT)
        .map_err(|error| refused("it cannot be read").caused_by(error))?;
    text.lines()
        .map(|line| {
            let row: Row = serde_json::from_str(line)
                .map_err(|error| refused("a line is not a row").caused_by(error))?;
            Ok(TrainExample::new(row.tokens, row.loss_from))
        })
        .collect()
}
