//! What a run will take of the machine's memory, told before it begins.
//!
//! Every part follows from the configuration, the settings and the rows. It is an estimate: it
//! does not know what the allocator holds back. `distill bench train` shows it beside what was
//! measured.

use distill_student::decoder::DecoderConfig;
use distill_student::lora::LoraAdapter;
use distill_student::ops::Storage;
use distill_student::weights::{DecoderWeights, Precision};

use crate::decoder::{Method, TrainError, TrainExample, TrainSettings};

/// The program itself with its buffers.
const PROGRAM: u64 = 48 << 20;
/// Logits that exist at a time, in numbers: a chunk of the loss, and its gradient's.
const LOGITS: u64 = 2 << 21;
/// Bytes of a trained number: its value, its gradient twice (of a batch, of the window), two
/// moments, and the best value so far.
const TRAINED: u64 = 24;
/// Share that the allocator holds beyond what was asked for.
const HELD_BACK: f64 = 0.05;

/// Bytes by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The weights as they were loaded.
    pub weights: u64,
    /// Copies of frozen matrices that are held otherwise than they were loaded.
    pub copies: u64,
    /// What is trained, with gradients and moments.
    pub trained: u64,
    /// What the layers keep for the backward pass, and the gradients of one layer.
    pub activations: u64,
    /// The last hidden states and a chunk of logits.
    pub loss: u64,
    /// The program itself, and what its allocator holds back.
    pub program: u64,
}

impl Estimate {
    /// The peak.
    pub fn total(&self) -> u64 {
        self.weights + self.copies + self.trained + self.activations + self.loss + self.program
    }
}

/// The largest batch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargestBatch {
    pub tokens: usize,
    /// Tokens that carry loss.
    pub targets: usize,
}

impl LargestBatch {
    /// An upper bound for rows packed to batches of `batch_tokens`.
    pub fn of(rows: &[TrainExample], batch_tokens: usize) -> Self {
        let lengths = || rows.iter().map(|row| row.tokens.len());
        let longest = lengths().max().unwrap_or_default();
        let tokens = lengths().sum::<usize>().min(batch_tokens).max(longest);
        let targets = rows.iter().map(TrainExample::targets).sum::<usize>();
        Self {
            tokens,
            targets: targets.min(tokens),
        }
    }
}

/// What a run will take at its peak.
///
/// # Errors
/// When the settings ask for an adapter that the model cannot have.
pub fn estimate(
    config: &DecoderConfig,
    stored: Precision,
    settings: &TrainSettings,
    batch: LargestBatch,
) -> Result<Estimate, TrainError> {
    let element = match stored {
        Precision::F32 => 4,
        Precision::Bf16 => 2,
    };
    let all = config.parameter_count() as u64;
    let (trained, copies) = match &settings.method {
        // All weights are copied in f32 and trained.
        Method::Full => (all, 0),
        Method::Lora(lora) => {
            let trained = LoraAdapter::parameter_count(config, lora)?;
            (trained as u64, copied(config, stored, settings.base))
        }
    };
    let mut parts = Estimate {
        weights: all * element,
        copies,
        trained: trained * TRAINED,
        activations: activations(config, settings, batch),
        loss: loss(config, batch),
        program: 0,
    };
    parts.program = PROGRAM + (parts.total() as f64 * HELD_BACK) as u64;
    Ok(parts)
}

/// [`estimate`] for weights and rows at hand.
pub fn estimate_for(
    weights: &DecoderWeights,
    settings: &TrainSettings,
    rows: &[TrainExample],
) -> Result<Estimate, TrainError> {
    let batch = LargestBatch::of(rows, settings.batch_tokens);
    estimate(weights.config(), weights.precision(), settings, batch)
}

/// Bytes of the projections once more, where they are held otherwise than stored.
fn copied(config: &DecoderConfig, stored: Precision, base: Option<Storage>) -> u64 {
    let matrices: u64 = (0..config.num_hidden_layers)
        .flat_map(|layer| config.projection_sizes(layer))
        .map(|(input, output)| (input * output) as u64)
        .sum();
    let embeddings = (config.vocab_size * config.hidden_size) as u64;
    match (base, stored) {
        (None, _)
        | (Some(Storage::F32), Precision::F32)
        | (Some(Storage::Bf16), Precision::Bf16) => 0,
        (Some(Storage::F32), Precision::Bf16) => 4 * (matrices + embeddings),
        (Some(Storage::Bf16), Precision::F32) => 2 * (matrices + embeddings),
        // Half a byte each, and a scale for every 64.
        (Some(Storage::Nf4), _) => matrices * 9 / 16,
    }
}

fn activations(config: &DecoderConfig, settings: &TrainSettings, batch: LargestBatch) -> u64 {
    let rank = match &settings.method {
        Method::Full => 0,
        Method::Lora(lora) => lora.rank,
    };
    let layer = |layer: usize| {
        let reduced = rank * config.projection_sizes(layer).len();
        (config.kept_per_token(layer) + reduced) as u64
    };
    let layers = 0..config.num_hidden_layers;
    let largest = layers.clone().map(layer).max().unwrap_or_default();
    let kept: u64 = if settings.gradient_checkpointing {
        // The inputs, and the one layer that is run again.
        (config.num_hidden_layers * config.hidden_size) as u64 + largest
    } else {
        layers.map(layer).sum()
    };
    let embedded = config.hidden_size as u64;
    4 * batch.tokens as u64 * (embedded + kept + largest)
}

fn loss(config: &DecoderConfig, batch: LargestBatch) -> u64 {
    // The chosen rows, their norm, and a gradient of each.
    let hidden = 4 * batch.targets * config.hidden_size;
    4 * (hidden as u64 + LOGITS.max(2 * config.vocab_size as u64))
}
