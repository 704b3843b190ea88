//! Trains an encoder on labelled texts: every weight, by cross-entropy with a label or with a
//! distribution over the labels.

mod settings;
#[cfg(test)]
mod tests;

use std::time::Instant;

use candle_core::{D, Tensor, Var};
use distill_student::encoder::{EncodedText, Encoder, EncoderRows, EncoderWeights};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::decoder::optimizer::{AdamW, Moving, clip};
use crate::decoder::schedule::Schedule;
use crate::{TrainError, TrainEvent, TrainSummary};
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
    /// Asked between steps.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// What came out, and how it got there.
#[derive(Debug, Clone)]
pub struct EncoderOutcome {
    pub weights: EncoderWeights,
    pub summary: TrainSummary,
}

/// Trains to the end, to an early stop or to a cancellation. The same request gives the same
/// bytes, whatever the number of threads. Nothing is saved under way.
pub fn train_encoder(
    request: &EncoderRequest<'_>,
    on_event: &mut dyn FnMut(TrainEvent),
) -> Result<EncoderOutcome, TrainError> {
    check(request)?;
    Trainer::new(request)?.run(on_event)
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

/// The tensors that move, in order of name.
struct Variables(Vec<(String, Var)>);

impl Variables {
    fn new(weights: &EncoderWeights) -> Result<Self, TrainError> {
        let variables = weights
            .tensors()
            .iter()
            // A copy: a variable made from a tensor shares its storage, and the base must stay.
            .map(|(name, tensor)| Ok((name.clone(), Var::from_tensor(&tensor.copy()?)?)))
            .collect::<Result<_, TrainError>>()?;
        Ok(Self(variables))
    }

    fn weights(
        &self,
        like: &EncoderWeights,
        of: impl Fn(&Var) -> Tensor,
    ) -> Result<EncoderWeights, TrainError> {
        let tensors = self.0.iter().map(|(name, v)| (name.clone(), of(v)));
        Ok(EncoderWeights::from_tensors(
            like.config().clone(),
            tensors.collect(),
        )?)
    }

    fn values(&self) -> Result<Vec<Vec<f32>>, TrainError> {
        (0..self.0.len()).map(|index| self.read(index)).collect()
    }
}

impl Moving for Variables {
    fn sizes(&self) -> Vec<usize> {
        self.0.iter().map(|(_, v)| v.elem_count()).collect()
    }

    fn is_matrix(&self, index: usize) -> bool {
        self.0[index].1.rank() > 1
    }

    fn read(&self, index: usize) -> Result<Vec<f32>, TrainError> {
        Ok(self.0[index].1.flatten_all()?.to_vec1()?)
    }

    fn write(&self, index: usize, values: Vec<f32>) -> Result<(), TrainError> {
        let variable = &self.0[index].1;
        let tensor = Tensor::from_vec(values, variable.shape().clone(), variable.device())?;
        Ok(variable.set(&tensor)?)
    }
}

struct Best {
    step: usize,
    loss: f64,
    values: Vec<Vec<f32>>,
}

struct Trainer<'a> {
    request: &'a EncoderRequest<'a>,
    variables: Variables,
    /// Runs on the variables and records gradients.
    encoder: Encoder,
    /// Runs on the same values and records nothing.
    frozen: Encoder,
    best: Option<Best>,
    without_gain: usize,
}

impl<'a> Trainer<'a> {
    fn new(request: &'a EncoderRequest<'a>) -> Result<Self, TrainError> {
        let variables = Variables::new(request.weights)?;
        let live = variables.weights(request.weights, |v| v.as_tensor().clone())?;
        let still = variables.weights(request.weights, Var::as_detached_tensor)?;
        Ok(Self {
            encoder: Encoder::new(&live)?,
            frozen: Encoder::new(&still)?,
            variables,
            request,
            best: None,
            without_gain: 0,
        })
    }

    /// The rows of every step, in order.
    fn plan(&self) -> Vec<Vec<usize>> {
        let settings = self.request.settings;
        let mut steps = Vec::new();
        for epoch in 0..settings.epochs {
            let mut order: Vec<usize> = (0..self.request.train.len()).collect();
            let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
            random.set_stream(epoch as u64 + 1);
            order.shuffle(&mut random);
            steps.extend(order.chunks(settings.batch_rows).map(<[usize]>::to_vec));
        }
        steps.truncate(settings.max_steps.unwrap_or(usize::MAX));
        steps
    }

    fn run(mut self, on_event: &mut dyn FnMut(TrainEvent)) -> Result<EncoderOutcome, TrainError> {
        let settings = self.request.settings;
        let plan = self.plan();
        let schedule = Schedule::new(&settings.schedule(), plan.len());
        let mut optimizer = AdamW::with(settings.beta2, settings.weight_decay, &self.variables);
        let trainable = self.variables.sizes().iter().sum();
        on_event(TrainEvent::Started {
            steps: plan.len(),
            tokens_per_epoch: self
                .request
                .train
                .iter()
                .map(|row| row.text.tokens.len())
                .sum(),
            trainable_parameters: trainable,
            resumed_at: None,
        });
        let per_epoch = self.request.train.len().div_ceil(settings.batch_rows);
        let mut summary = TrainSummary {
            steps: 0,
            examples: self.request.train.len(),
            trainable_parameters: trainable,
            tokens_seen: 0,
            final_training_loss: 0.0,
            best_step: None,
            best_validation_loss: None,
            stopped_early: false,
            base_sha256: self.request.weights.sha256()?,
        };
        for (done, rows) in plan.iter().enumerate() {
            if (self.request.cancelled)() {
                return Err(TrainError::Cancelled { step: done });
            }
            let started = Instant::now();
            let rows: Vec<&EncoderExample> =
                rows.iter().map(|row| &self.request.train[*row]).collect();
            let (loss, mut gradients) = self.gradients(&rows)?;
            let learning_rate = schedule.learning_rate(done);
            let gradient_norm = clip(&mut gradients, settings.clip);
            if !loss.is_finite() || !gradient_norm.is_finite() {
                let what = if loss.is_finite() {
                    "the gradient"
                } else {
                    "the loss"
                };
                return Err(TrainError::Diverged {
                    step: done + 1,
                    what: what.to_owned(),
                });
            }
            optimizer.step(&self.variables, &gradients, learning_rate)?;
            let tokens: usize = rows.iter().map(|row| row.text.tokens.len()).sum();
            summary.steps = done + 1;
            summary.tokens_seen += tokens as u64;
            summary.final_training_loss = loss;
            on_event(TrainEvent::Step {
                step: done + 1,
                steps: plan.len(),
                loss,
                learning_rate,
                gradient_norm,
                tokens,
                seconds: started.elapsed().as_secs_f64(),
            });
            let due = (done + 1).is_multiple_of(per_epoch) || done + 1 == plan.len();
            if due && self.validate(done + 1, on_event)? {
                summary.stopped_early = true;
                break;
            }
        }
        self.finish(summary)
    }

    fn gradients(&self, rows: &[&EncoderExample]) -> Result<(f64, Vec<Vec<f32>>), TrainError> {
        let weight: f32 = rows.iter().map(|row| row.weight).sum();
        let loss = loss(
            &self.encoder,
            rows,
            1.0 / f64::from(weight.max(f32::MIN_POSITIVE)),
        )?;
        let store = loss.backward()?;
        let gradients = self
            .variables
            .0
            .iter()
            .map(|(name, variable)| {
                let gradient = store.get(variable).ok_or_else(|| TrainError::Census {
                    reason: format!("`{name}` got none"),
                })?;
                Ok(gradient.flatten_all()?.to_vec1()?)
            })
            .collect::<Result<_, TrainError>>()?;
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    }

    /// Whether nothing better came for so long that training ends.
    fn validate(
        &mut self,
        step: usize,
        on_event: &mut dyn FnMut(TrainEvent),
    ) -> Result<bool, TrainError> {
        let rows: Vec<&EncoderExample> = self.request.validation.iter().collect();
        if rows.is_empty() {
            return Ok(false);
        }
        let mut sum = 0.0;
        for rows in rows.chunks(VALIDATION_ROWS) {
            sum += f64::from(loss(&self.frozen, rows, 1.0)?.to_scalar::<f32>()?);
        }
        let weight: f64 = rows.iter().map(|row| f64::from(row.weight)).sum();
        let loss = sum / weight.max(f64::MIN_POSITIVE);
        if !loss.is_finite() {
            let what = "the loss on the validation rows".to_owned();
            return Err(TrainError::Diverged { step, what });
        }
        let best = self.best.as_ref().is_none_or(|best| loss < best.loss);
        if best {
            let values = self.variables.values()?;
            self.best = Some(Best { step, loss, values });
            self.without_gain = 0;
        } else {
            self.without_gain += 1;
        }
        on_event(TrainEvent::Validated { step, loss, best });
        let patience = self.request.settings.patience;
        let stop = patience.is_some_and(|patience| self.without_gain >= patience);
        if stop {
            let best_step = self.best.as_ref().map_or(step, |best| best.step);
            on_event(TrainEvent::StoppedEarly { step, best_step });
        }
        Ok(stop)
    }

    fn finish(self, mut summary: TrainSummary) -> Result<EncoderOutcome, TrainError> {
        if let Some(best) = &self.best {
            for (index, values) in best.values.iter().enumerate() {
                self.variables.write(index, values.clone())?;
            }
            summary.best_step = Some(best.step);
            summary.best_validation_loss = Some(best.loss);
        }
        let weights = self
            .variables
            .weights(self.request.weights, Var::as_detached_tensor)?;
        Ok(EncoderOutcome { weights, summary })
    }
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
