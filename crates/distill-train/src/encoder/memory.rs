//! What the training of an encoder will take of the machine's memory, told before it begins.

use distill_student::encoder::{EncoderConfig, EncoderWeights};
use distill_student::lora::{LoraAdapter, LoraConfig};

use super::{EncoderExample, EncoderSettings};
use crate::memory::{Estimate, TRAINED};
use crate::{Method, TrainError};

/// The largest batch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargestRows {
    pub tokens: usize,
    /// Tokens of its longest row.
    pub longest: usize,
}

impl LargestRows {
    /// An upper bound for batches of so many rows.
    pub fn of(rows: &[EncoderExample], batch_rows: usize) -> Self {
        let mut lengths: Vec<usize> = rows.iter().map(|row| row.text.tokens.len()).collect();
        lengths.sort_unstable_by_key(|length| std::cmp::Reverse(*length));
        Self {
            tokens: lengths.iter().take(batch_rows).sum(),
            longest: lengths.first().copied().unwrap_or_default(),
        }
    }
}

/// What a run will take at its peak. `classifier` are the modules that an adapter trains whole.
///
/// # Errors
/// When the settings ask for an adapter that the model cannot have.
pub fn estimate(
    config: &EncoderConfig,
    classifier: &[String],
    settings: &EncoderSettings,
    batch: LargestRows,
) -> Result<Estimate, TrainError> {
    let all = config.parameter_count();
    let trained = match &settings.method {
        Method::Full => all,
        Method::Lora(lora) => {
            let lora = LoraConfig {
                classifier: classifier.to_vec(),
                ..lora.clone()
            };
            LoraAdapter::parameter_count(config, &lora)?
        }
    };
    let kept = config.kept_per_token(batch.longest, settings.dropout);
    // A layer's gradients beside what all layers keep.
    let layer = kept / config.num_hidden_layers.max(1);
    Ok(Estimate {
        weights: 4 * all as u64,
        copies: 0,
        trained: trained as u64 * TRAINED,
        activations: 4 * (batch.tokens * (kept + layer)) as u64,
        loss: 0,
        program: 0,
    }
    .with_program())
}

/// [`estimate`] for weights and rows at hand.
///
/// # Errors
/// When the settings ask for an adapter that the model cannot have.
pub fn estimate_for(
    weights: &EncoderWeights,
    settings: &EncoderSettings,
    rows: &[EncoderExample],
) -> Result<Estimate, TrainError> {
    let batch = LargestRows::of(rows, settings.batch_rows);
    let classifier = weights.classifier_modules();
    estimate(weights.config(), &classifier, settings, batch)
}
