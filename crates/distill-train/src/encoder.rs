//! Trains an encoder on labelled texts: a low-rank adapter with the classifier, or every weight, by
//! cross-entropy with a label or with a distribution over the labels. The loop is that of every
//! training, `training.rs`.

pub mod memory;
mod parameters;
#[cfg(test)]
mod parity_tests;
mod proof;
#[cfg(test)]
mod resume_tests;
mod settings;
#[cfg(test)]
mod tests;

use candle_core::{D, Tensor};
use distill_student::encoder::{EncodedText, Encoder, EncoderRows, EncoderWeights};
use distill_student::lora::LoraAdapter;
use sha2::{Digest, Sha256};

use crate::decoder::optimizer::AdamW;
use crate::training::batches::{BatchSize, Batches};
use crate::training::checkpoint::{add_tensors, begin_run_hash, hexadecimal};
use crate::training::{Gradients, Learner, TrainingLoop, census, sums::Sums, variables::Variables};
use crate::{Checkpointing, Proof, TrainError, TrainEvent, TrainSettings, TrainSummary};
use parameters::Parameters;
pub use settings::EncoderSettings;

/// Rows of one pass when nothing is learnt.
const VALIDATION_ROWS: usize = 32;

/// A text and what is to be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderExample {
    pub text: EncodedText,
    /// The share of each label, in the order of the model's labels; they sum to 1. A plain label
    /// has all of it.
    pub target: Vec<f32>,
    /// What the row counts for; at least 0.
    pub weight: f32,
}

impl EncoderExample {
    /// A text with one label of `labels`, by its place.
    pub fn new(text: EncodedText, label: usize, labels: usize) -> Self {
        let mut target = vec![0.0; labels];
        if let Some(share) = target.get_mut(label) {
            *share = 1.0;
        }
        Self {
            text,
            target,
            weight: 1.0,
        }
    }
}

/// Everything that a training reads.
pub struct EncoderRequest<'a> {
    pub weights: &'a EncoderWeights,
    pub settings: &'a EncoderSettings,
    pub train: &'a [EncoderExample],
    /// Selects the best weights and stops early; empty means that the last weights are kept.
    pub validation: &'a [EncoderExample],
    /// An adapter to go on from, of any origin; none draws a new one.
    pub initial: Option<&'a LoraAdapter>,
    /// Where to save; a matching checkpoint found there is resumed.
    pub checkpointing: Option<Checkpointing>,
    /// Asked between steps.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// What came out, and how it got there.
#[derive(Debug, Clone)]
pub struct EncoderOutcome {
    pub trained: TrainedEncoder,
    pub summary: TrainSummary,
}

#[derive(Debug, Clone)]
pub enum TrainedEncoder {
    Lora(LoraAdapter),
    Full(EncoderWeights),
}

/// Trains to the end, to an early stop or to a cancellation. The same request gives the same
/// bytes, whatever the number of threads and however often it was interrupted and resumed.
///
/// # Errors
/// Settings or examples that cannot be trained, a proof that fails, a training that diverges.
pub fn train_encoder(
    request: &EncoderRequest<'_>,
    on_event: &mut dyn FnMut(TrainEvent),
) -> Result<EncoderOutcome, TrainError> {
    check(request)?;
    let (learner, summary) = trainer(request)?.run(on_event)?;
    Ok(EncoderOutcome {
        trained: learner.parameters.into_trained()?,
        summary,
    })
}

/// Refuses settings and examples that cannot be trained.
fn check(request: &EncoderRequest<'_>) -> Result<(), TrainError> {
    request.settings.check()?;
    if request.train.is_empty() {
        return Err(TrainError::NoExamples);
    }
    let config = request.weights.config();
    for (set, rows) in [
        ("training", request.train),
        ("validation", request.validation),
    ] {
        for (example, row) in rows.iter().enumerate() {
            let (tokens, limit) = (row.text.tokens.len(), config.max_position_embeddings);
            if tokens > limit {
                return Err(TrainError::TooLong {
                    set,
                    example,
                    tokens,
                    limit,
                });
            }
            let fault = |reason: String| TrainError::Example {
                set,
                example,
                reason,
            };
            if row.target.len() != config.labels.len() {
                let (got, labels) = (row.target.len(), config.labels.len());
                return Err(fault(format!("it has {got} shares for {labels} labels")));
            }
            let sum: f32 = row.target.iter().sum();
            let shares = row.target.iter().all(|share| (0.0..=1.0).contains(share));
            if !shares || (sum - 1.0).abs() > 1e-3 {
                return Err(fault(format!("its shares sum to {sum}, not to 1")));
            }
            if !(row.weight.is_finite() && row.weight >= 0.0) {
                return Err(fault(format!("its weight is {}", row.weight)));
            }
        }
    }
    Ok(())
}

/// An encoder's training under way.
type Trainer<'a> = TrainingLoop<'a, EncoderLearner<'a>>;

fn trainer<'a>(request: &'a EncoderRequest<'a>) -> Result<Trainer<'a>, TrainError> {
    let base_sha256 = request.weights.sha256()?;
    let checkpointing = request.checkpointing.as_ref();
    let checkpointing = checkpointing
        .map(|to| Ok::<_, TrainError>((to, run_hash(request, &base_sha256)?)))
        .transpose()?;
    let learner = EncoderLearner::new(request)?;
    let settings = request.settings.shared();
    TrainingLoop::new(
        learner,
        &settings,
        checkpointing,
        base_sha256,
        request.cancelled,
    )
}

/// What decides what a training does, as one hash.
fn run_hash(request: &EncoderRequest<'_>, base: &str) -> Result<String, TrainError> {
    let mut hash: Sha256 = begin_run_hash(base, &request.settings.shared());
    hash.update(b"encoder");
    hash.update([u8::from(request.settings.dropout)]);
    let initial = request.initial.into_iter();
    add_tensors(&mut hash, initial.flat_map(LoraAdapter::tensors))?;
    for rows in [request.train, request.validation] {
        hash.update((rows.len() as u64).to_le_bytes());
        for row in rows {
            hash.update((row.text.tokens.len() as u64).to_le_bytes());
            for number in row.text.tokens.iter().chain(&row.text.types) {
                hash.update(number.to_le_bytes());
            }
            for share in row.target.iter().chain([&row.weight]) {
                hash.update(share.to_le_bytes());
            }
        }
    }
    Ok(hexadecimal(hash))
}

struct EncoderLearner<'a> {
    request: &'a EncoderRequest<'a>,
    settings: TrainSettings,
    parameters: Parameters,
    /// Runs on the parameters and records gradients.
    encoder: Encoder,
    /// Runs on the same values and records nothing.
    frozen: Encoder,
    batches: Batches,
    /// Whether gradients were seen to reach what they should.
    counted: bool,
}

impl<'a> EncoderLearner<'a> {
    fn new(request: &'a EncoderRequest<'a>) -> Result<Self, TrainError> {
        let settings = request.settings.shared();
        let parameters = Parameters::new(request.weights, request.settings, request.initial)?;
        let lengths = request.train.iter().map(|row| row.text.tokens.len());
        let size = BatchSize::Rows(request.settings.batch_rows);
        Ok(Self {
            encoder: parameters.encoder()?,
            frozen: parameters.frozen_encoder()?,
            batches: Batches::new(lengths.collect(), size, &settings),
            settings,
            parameters,
            request,
            counted: false,
        })
    }

    fn gradients_of(
        &mut self,
        window: &[Vec<&EncoderExample>],
        step: usize,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<Gradients, TrainError> {
        let rows = || window.iter().flatten();
        let weight: f64 = rows().map(|row| f64::from(row.weight)).sum();
        let tokens = rows().map(|row| row.text.tokens.len()).sum();
        let mut total = 0.0;
        let mut sums = Sums::default();
        for (batch, rows) in window.iter().enumerate() {
            if let Some(dropout) = &self.parameters.dropout {
                dropout.begin(self.settings.seed, step as u64, batch as u64);
            }
            let scale = 1.0 / weight.max(f64::MIN_POSITIVE);
            let loss = loss(&self.encoder, rows, scale)?;
            let gradients = loss.backward()?;
            let variables = &self.parameters.variables;
            if !self.counted {
                let frozen = self.parameters.frozen();
                let counted = census::check(variables, frozen, &gradients, vanishes)?;
                on_event(TrainEvent::Proved(Proof::Census {
                    trained: counted.trained,
                    frozen: counted.frozen,
                }));
                self.counted = true;
            }
            sums.add(variables, &gradients)?;
            total += f64::from(loss.to_scalar::<f32>()?);
        }
        Ok(Gradients {
            loss: total,
            tokens,
            sums,
        })
    }
}

/// A bias of keys adds the same to every score of a query, which the softmax does not see.
fn vanishes(name: &str) -> bool {
    name.ends_with("attention.self.key.bias")
}

impl Learner for EncoderLearner<'_> {
    fn variables(&self) -> &Variables {
        &self.parameters.variables
    }

    fn examples(&self) -> usize {
        self.request.train.len()
    }

    fn tokens_per_epoch(&self) -> usize {
        let rows = self.request.train.iter();
        rows.map(|row| row.text.tokens.len()).sum()
    }

    fn steps(&self) -> usize {
        self.batches.steps()
    }

    fn ends_epoch(&self, steps: usize) -> bool {
        self.batches.ends_epoch(steps)
    }

    fn prove(
        &mut self,
        optimizer: &mut AdamW,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<(), TrainError> {
        self.show(optimizer, on_event)
    }

    fn gradients(
        &mut self,
        step: usize,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<Gradients, TrainError> {
        let window = self.batches.window(self.request.train, step);
        self.gradients_of(&window, step, on_event)
    }

    fn validation_loss(&self) -> Result<Option<f64>, TrainError> {
        let rows: Vec<&EncoderExample> = self.request.validation.iter().collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let mut sum = 0.0;
        for rows in rows.chunks(VALIDATION_ROWS) {
            sum += f64::from(loss(&self.frozen, rows, 1.0)?.to_scalar::<f32>()?);
        }
        let weight: f64 = rows.iter().map(|row| f64::from(row.weight)).sum();
        Ok(Some(sum / weight.max(f64::MIN_POSITIVE)))
    }
}

/// The least loss of a row: that of a student which gives each label its share.
fn entropy(row: &EncoderExample) -> f64 {
    let shares = row.target.iter().filter(|share| **share > 0.0);
    let sum: f64 = shares
        .map(|share| f64::from(*share) * f64::from(*share).ln())
        .sum();
    -sum * f64::from(row.weight)
}

/// The cross-entropy of each row times its weight, summed and multiplied by `scale`; a scalar.
fn loss(encoder: &Encoder, rows: &[&EncoderExample], scale: f64) -> Result<Tensor, TrainError> {
    let packed = EncoderRows::new(rows.iter().map(|row| &row.text));
    let logits = encoder.logits(&packed)?; // (B, labels)
    let shares: Vec<f32> = rows
        .iter()
        .flat_map(|row| row.target.iter().map(|share| share * row.weight))
        .collect();
    let shares = Tensor::from_vec(shares, logits.shape().clone(), logits.device())?;
    let likely = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
    Ok(((likely * shares)?.sum_all()? * -scale)?)
}
