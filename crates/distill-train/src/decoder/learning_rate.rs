//! How fast to learn: a rate by the model's width and the method, and a short test that looks for one.

use std::path::PathBuf;

use distill_student::decoder::DecoderConfig;
use distill_student::regular_file;
use serde::{Deserialize, Serialize};

use super::identity::run_hash;
use super::{Checkpointing, Method, TrainError, TrainEvent, TrainRequest, TrainSettings, trainer};
use crate::training::Learner;
use crate::training::checkpoint::replace;

/// The rate of full fine-tuning at [`REFERENCE_WIDTH`].
const FULL_RATE: f64 = 5e-5;
/// How much faster low-rank updates learn best, whatever their rank.
const LORA_FACTOR: f64 = 10.0;
const REFERENCE_WIDTH: f64 = 2000.0;
/// How the best rate falls with the width.
const EXPONENT: f64 = 0.781;
/// The same in the Qwen family.
const QWEN_EXPONENT: f64 = 0.0775;

/// A peak learning rate to begin with, by family, width and method: the fit over Llama and Qwen
/// models behind "`LoRA` Without Regret" (Schulman et al. 2025, thinkingmachines.ai/blog/lora),
/// published in the Tinker cookbook's `hyperparam_utils`, made for Adam and scale 32 / rank. Other
/// families are taken as Llama.
pub fn default_learning_rate(model: &DecoderConfig, method: &Method) -> f64 {
    let exponent = if model.model_type.starts_with("qwen") {
        QWEN_EXPONENT
    } else {
        EXPONENT
    };
    let factor = match method {
        Method::Lora(_) => LORA_FACTOR,
        Method::Full => 1.0,
    };
    FULL_RATE * factor * (REFERENCE_WIDTH / model.hidden_size as f64).powf(exponent)
}

/// What a range test found.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeTest {
    /// The rate of each step and the loss that the step began with, in nats.
    pub tried: Vec<(f64, f64)>,
    /// The rate to train with.
    pub chosen: f64,
}

/// Steps of a range test.
const STEPS: usize = 24;
/// It goes from this share of the default rate to its inverse.
const LOWEST: f64 = 1.0 / 64.0;
/// Weight of what came before in the smoothed loss.
const SMOOTHING: f64 = 0.7;
/// The test ends when the smoothed loss is so many times the least.
const DIVERGED: f64 = 2.0;
/// The chosen rate is this share of the one at which the smoothed loss was least.
const SHARE_OF_LEAST: f64 = 0.2;

/// Looks for a learning rate (Smith 2017, arXiv:1506.01186): the rate rises from step to step over
/// a range around the default, on the batches that training begins with; a share of the rate with
/// the least smoothed loss is chosen. The same request finds the same rate. Nothing that it trains
/// is kept, and the settings' own rate is not looked at. With `checkpointing` what was found is
/// kept beside the checkpoint, and a second call for the same training reads it there.
///
/// # Errors
/// As training itself: examples, settings or a model that cannot be trained; a directory that
/// cannot be written.
pub fn learning_rate_range_test(request: &TrainRequest<'_>) -> Result<RangeTest, TrainError> {
    let usual = default_learning_rate(request.weights.config(), &request.settings.method);
    let settings = TrainSettings {
        learning_rate: usual,
        max_steps: None,
        ..request.settings.clone()
    };
    let checkpointing = request.checkpointing.as_ref();
    let request = TrainRequest {
        settings: &settings,
        checkpointing: None,
        validation: &[],
        ..*request
    };
    super::check(&request)?;
    let kept = checkpointing
        .map(|to| Kept::new(to, &request))
        .transpose()?;
    if let Some(found) = kept.as_ref().and_then(Kept::read) {
        return Ok(found);
    }
    let found = raise_rate(&request, usual)?;
    if let Some(kept) = kept {
        kept.write(&found)?;
    }
    Ok(found)
}

/// What was found, in a file beside the checkpoint.
struct Kept {
    path: PathBuf,
    run: String,
}

/// Numbers are kept as bits: they must come back exactly.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptTest {
    /// Of the training that it was made for.
    run: String,
    tried: Vec<(u64, u64)>,
    chosen: u64,
}

impl Kept {
    fn new(to: &Checkpointing, request: &TrainRequest<'_>) -> Result<Self, TrainError> {
        Ok(Self {
            path: to.directory.join("learning-rate.json"),
            run: run_hash(request, &request.weights.sha256()?)?,
        })
    }

    /// None too where it cannot be read or is of another training: it is made anew then.
    fn read(&self) -> Option<RangeTest> {
        let text = regular_file::read_text(&self.path, regular_file::LONGEST_TEXT).ok()?;
        let kept: KeptTest = serde_json::from_str(&text).ok()?;
        let number = f64::from_bits;
        (kept.run == self.run).then(|| RangeTest {
            tried: kept
                .tried
                .iter()
                .map(|(rate, loss)| (number(*rate), number(*loss)))
                .collect(),
            chosen: number(kept.chosen),
        })
    }

    fn write(&self, found: &RangeTest) -> Result<(), TrainError> {
        let tried = found.tried.iter();
        let kept = KeptTest {
            run: self.run.clone(),
            tried: tried
                .map(|(rate, loss)| (rate.to_bits(), loss.to_bits()))
                .collect(),
            chosen: found.chosen.to_bits(),
        };
        let written = serde_json::to_vec(&kept)
            .map_err(std::io::Error::from)
            .and_then(|bytes| replace(&self.path, &bytes));
        written.map_err(|error| TrainError::Checkpoint {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }
}

/// The test itself.
fn raise_rate(request: &TrainRequest<'_>, usual: f64) -> Result<RangeTest, TrainError> {
    let settings = request.settings;
    let mut trainer = trainer(request)?;
    let steps = trainer.learner.steps().max(1);
    let growth = LOWEST.powi(-2).powf(1.0 / (STEPS - 1) as f64);
    let (mut rate, mut smoothed, mut least) = (usual * LOWEST, 0.0, (f64::INFINITY, usual));
    let mut tried = Vec::new();
    let mut silent = |_: TrainEvent| {};
    for step in 0..STEPS {
        if (request.cancelled)() {
            return Err(TrainError::Cancelled { step: 0 });
        }
        // A short run's batches come round again.
        let gradients = trainer.learner.gradients(step % steps, &mut silent)?;
        let (loss, mut gradients) = (gradients.loss, gradients.sums);
        let norm = gradients.clip(settings.clip)?;
        if !loss.is_finite() || !norm.is_finite() {
            break;
        }
        tried.push((rate, loss));
        smoothed = SMOOTHING * smoothed + (1.0 - SMOOTHING) * loss;
        // The average of few values leans towards the zero it began with.
        let mean = smoothed / (1.0 - SMOOTHING.powi(step as i32 + 1));
        if mean < least.0 {
            least = (mean, rate);
        } else if mean > least.0 * DIVERGED {
            break;
        }
        trainer
            .optimizer
            .step(trainer.learner.variables(), &gradients, rate)?;
        rate *= growth;
    }
    Ok(RangeTest {
        tried,
        chosen: least.1 * SHARE_OF_LEAST,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{lora, rows, settings, weights};
    use super::*;

    #[test]
    fn the_default_falls_with_width_and_rises_tenfold_for_adapters() {
        let mut model = weights().config().clone();
        model.hidden_size = 2000;
        assert!((default_learning_rate(&model, &Method::Full) - 5e-5).abs() < 1e-12);
        assert!((default_learning_rate(&model, &lora()) - 5e-4).abs() < 1e-12);
        model.hidden_size = 4000;
        let ratio = default_learning_rate(&model, &lora()) / 5e-4;
        assert!((ratio - 0.5f64.powf(0.781)).abs() < 1e-9, "{ratio}");
        model.model_type = "qwen3".to_owned();
        let ratio = default_learning_rate(&model, &lora()) / 5e-4;
        assert!((ratio - 0.5f64.powf(0.0775)).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn the_range_test_repeats_itself_and_chooses_a_rate_that_learns() {
        let (weights, settings, rows) = (weights(), settings(lora()), rows(16));
        let request = TrainRequest {
            weights: &weights,
            settings: &settings,
            train: &rows,
            validation: &[],
            initial: None,
            checkpointing: None,
            cancelled: &|| false,
        };
        let found = learning_rate_range_test(&request).unwrap();
        assert_eq!(learning_rate_range_test(&request).unwrap(), found);
        let usual = default_learning_rate(weights.config(), &settings.method);
        assert!(found.chosen > usual / 64.0 * 0.19 && found.chosen < usual * 64.0);
        let learnt = |learning_rate| {
            let settings = TrainSettings {
                learning_rate,
                ..settings.clone()
            };
            let (outcome, _) = super::super::tests::train(&settings, &rows, &[]);
            outcome.summary.final_training_loss
        };
        // Far better than a rate at the foot of the range.
        assert!(learnt(found.chosen) < learnt(usual / 64.0));
    }
    #[test]
    fn what_a_range_test_found_is_kept_for_its_training_alone() {
        let (weights, settings, rows) = (weights(), settings(lora()), rows(16));
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("checkpoint");
        let cancelled = std::cell::Cell::new(false);
        let find = |settings: &TrainSettings| {
            learning_rate_range_test(&TrainRequest {
                weights: &weights,
                settings,
                train: &rows,
                validation: &[],
                initial: None,
                checkpointing: Some(Checkpointing {
                    directory: directory.clone(),
                    every_steps: 1,
                }),
                cancelled: &|| cancelled.get(),
            })
        };
        let found = find(&settings).unwrap();
        // No step is taken from here on.
        cancelled.set(true);
        assert_eq!(find(&settings).unwrap(), found);
        let other_rate = TrainSettings {
            learning_rate: 1.0,
            ..settings.clone()
        };
        assert_eq!(find(&other_rate).unwrap(), found);
        let other = TrainSettings {
            seed: settings.seed + 1,
            ..settings.clone()
        };
        assert!(matches!(find(&other), Err(TrainError::Cancelled { .. })));
        let file = directory.join("learning-rate.json");
        std::fs::write(&file, "{").unwrap();
        assert!(matches!(find(&settings), Err(TrainError::Cancelled { .. })));
        cancelled.set(false);
        assert_eq!(find(&settings).unwrap(), found);
    }
}
