//! Where a low-rank adapter enters: an architecture asks for a projection by name, and the plan decides what it
//! gets.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::recompute::TrainedByLayer;
use super::{DecoderError, LinearShape};
use crate::lora::magnitude::{squared_rows, updated_lengths};
use crate::lora::{Dropout, LoraAdapter, LowRank};
use crate::ops::{FrozenWeight, Storage, Weight, frozen_linear, linear, low_rank_linear};
use crate::weights::DecoderWeights;

/// Frozen matrices by name, so that several decoders on the same weights hold them once.
#[derive(Debug, Default)]
pub struct FrozenMatrices(RefCell<BTreeMap<String, FrozenWeight>>);

/// How a decoder is built on its weights.
#[derive(Debug, Clone, Copy, Default)]
pub struct DecoderPlan<'a> {
    /// What is added to its projections.
    pub adapter: Option<&'a LoraAdapter>,
    /// How frozen matrices are held; none: as the adapter was trained on them, or as the weights
    /// are (bf16 or f32).
    pub storage: Option<Storage>,
    /// Values of the weights or of the adapter change while the decoder is in use: training.
    /// Otherwise what follows from them is worked out once.
    pub live: bool,
    /// What the updates do not see in a training step.
    pub dropout: Option<&'a Dropout>,
    /// Layers keep their inputs alone for the backward pass, which runs them again.
    pub recompute: bool,
    /// Where frozen matrices are looked for, and left for the next decoder on the same weights
    /// and of the same storage and device.
    pub shared: Option<&'a FrozenMatrices>,
    /// Where it runs; none: where the weights are. What is not there is copied, a matrix at a time.
    pub device: Option<&'a Device>,
}

/// A linear layer: plain (frozen, or trained where its weight is a variable) or low-rank.
#[derive(Debug)]
pub(crate) struct Projection {
    matrix: Matrix,
    bias: Option<Tensor>,
}

#[derive(Debug)]
enum Matrix {
    Plain(Weight),
    LowRank {
        weight: FrozenWeight,
        update: LowRank,
        magnitude: Option<Magnitude>,
        /// With the number that tells this projection's draws from another's.
        dropout: Option<(Dropout, u64)>,
    },
}

/// What each row of the updated weight is multiplied by, so that it has its trained length.
#[derive(Debug)]
enum Magnitude {
    /// (O)
    Fixed(Tensor),
    /// Worked out in each pass from the squared lengths of the weight's rows, (O), and the
    /// trained lengths, (O).
    Live { squared: Tensor, trained: Tensor },
}

impl Magnitude {
    fn build(
        weight: &FrozenWeight,
        update: &LowRank,
        trained: &Tensor,
        live: bool,
    ) -> Result<Self, DecoderError> {
        // Summed where the trained lengths began: in another order they would differ by a bit, and
        // a factor beside 1 moves what products of bf16 round.
        let here = weight.dequantised()?.to_device(&Device::Cpu)?;
        let magnitude = Self::Live {
            squared: squared_rows(&here)?.to_device(weight.device())?,
            trained: trained.clone(),
        };
        if live {
            return Ok(magnitude);
        }
        Ok(Self::Fixed(magnitude.factors(weight, update)?.detach()))
    }

    /// # Shapes
    /// - returns (O)
    fn factors(&self, weight: &FrozenWeight, update: &LowRank) -> Result<Tensor, DecoderError> {
        match self {
            Self::Fixed(factors) => Ok(factors.clone()),
            Self::Live { squared, trained } => {
                let weight_down = frozen_linear(&update.down.detach(), weight)?.t()?; // (R, O) → (O, R)
                let lengths = updated_lengths(squared, &weight_down, update)?;
                Ok((trained / lengths)?)
            }
        }
    }
}

impl Projection {
    /// A matrix without an update.
    pub(crate) fn plain(weight: Weight, bias: Option<Tensor>) -> Self {
        let matrix = Matrix::Plain(weight);
        Self { matrix, bias }
    }

    /// A frozen matrix with its update; `live` where the update's values change while it is in use,
    /// and what the update does not see of its input in a training step.
    pub(crate) fn low_rank(
        module: &str,
        weight: FrozenWeight,
        update: LowRank,
        bias: Option<Tensor>,
        (live, dropout): (bool, Option<&Dropout>),
    ) -> Result<Self, DecoderError> {
        let magnitude = match &update.magnitude {
            None => None,
            Some(trained) => Some(Magnitude::build(&weight, &update, trained, live)?),
        };
        let matrix = Matrix::LowRank {
            dropout: dropout.map(|dropout| (dropout.clone(), name_number(module))),
            weight,
            update,
            magnitude,
        };
        Ok(Self { matrix, bias })
    }

    /// # Shapes
    /// - `x`: (T, I); returns (T, O)
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        let out = match &self.matrix {
            Matrix::Plain(weight) => linear(x, weight)?,
            Matrix::LowRank {
                weight,
                update,
                magnitude,
                dropout,
            } => {
                let factors = magnitude.as_ref().map(|m| m.factors(weight, update));
                let factors = factors.transpose()?;
                match dropout {
                    None => {
                        let LowRank {
                            down, up, scale, ..
                        } = update;
                        let out = low_rank_linear(x, weight, down, up, *scale)?;
                        match factors {
                            None => out,
                            Some(factors) => out.broadcast_mul(&factors)?,
                        }
                    }
                    Some((dropout, projection)) => {
                        let seen = dropout.apply(x, *projection)?;
                        with_dropout(x, &seen, weight, update, factors.as_ref())?
                    }
                }
            }
        };
        match &self.bias {
            None => Ok(out),
            Some(bias) => Ok(out.broadcast_add(bias)?),
        }
    }
}

/// What a projection gives where its update does not see all of its input: W·x + s·B·A·seen, and
/// with the factors m of trained lengths W·x + (m - 1)·W·seen + m·s·B·A·seen, as PEFT has it. What
/// the base itself gives is never dropped.
///
/// # Shapes
/// - `x`, `seen`: (T, I), `factors`: (O); returns (T, O)
fn with_dropout(
    x: &Tensor,
    seen: &Tensor,
    weight: &FrozenWeight,
    update: &LowRank,
    factors: Option<&Tensor>,
) -> Result<Tensor, DecoderError> {
    let base = frozen_linear(x, weight)?;
    let reduced = linear(seen, &update.down)?; // (T, I) → (T, R)
    let change = (linear(&reduced, &update.up)? * update.scale)?; // (T, R) → (T, O)
    let Some(factors) = factors else {
        return Ok((base + change)?);
    };
    let seen = frozen_linear(seen, weight)?;
    let scaled = (&seen + change)?.broadcast_mul(factors)?;
    Ok(((base - seen)? + scaled)?)
}

/// Gives out the projections of a model under one plan.
pub(super) struct Projections<'a> {
    weights: &'a DecoderWeights,
    plan: DecoderPlan<'a>,
    /// Where no other decoder shares them: tied embeddings and head are one matrix even so.
    own: FrozenMatrices,
}

impl<'a> Projections<'a> {
    pub(super) fn new(
        weights: &'a DecoderWeights,
        mut plan: DecoderPlan<'a>,
    ) -> Result<Self, DecoderError> {
        if let Some(adapter) = plan.adapter {
            adapter.check(weights.config())?;
            plan.storage = plan.storage.or(adapter.base_storage());
        }
        Ok(Self {
            weights,
            plan,
            own: FrozenMatrices::default(),
        })
    }

    pub(super) fn weights(&self) -> &'a DecoderWeights {
        self.weights
    }

    /// A tensor where the decoder runs: the same one, variable or not, where it lies there.
    fn placed(&self, tensor: &Tensor) -> Result<Tensor, DecoderError> {
        Ok(match self.plan.device {
            Some(device) => tensor.to_device(device)?,
            None => tensor.clone(),
        })
    }

    fn placed_update(&self, update: LowRank) -> Result<LowRank, DecoderError> {
        let magnitude = update.magnitude.as_ref();
        Ok(LowRank {
            down: self.placed(&update.down)?,
            up: self.placed(&update.up)?,
            magnitude: magnitude.map(|lengths| self.placed(lengths)).transpose()?,
            ..update
        })
    }

    /// A tensor in f32 where the decoder runs.
    pub(super) fn get_f32(&self, name: &str) -> Result<Tensor, DecoderError> {
        self.placed(&self.weights.get_f32(name)?)
    }

    /// The trained tensors of each layer, where the plan has layers run again.
    pub(super) fn recomputed(&self) -> Option<TrainedByLayer> {
        let trained = |layer: usize| {
            let within = format!("model.layers.{layer}.");
            let adapter = self.plan.adapter.map(LoraAdapter::tensors);
            self.weights
                .tensors()
                .iter()
                .chain(adapter.into_iter().flatten())
                .filter(|(name, tensor)| name.contains(&within) && tensor.track_op())
                .map(|(_, tensor)| tensor.clone())
                .collect()
        };
        let layers = 0..self.weights.config().num_hidden_layers;
        self.plan
            .recompute
            .then(|| TrainedByLayer(layers.map(trained).collect()))
    }

    /// The projection at `prefix.name`, such as `model.layers.0.mlp.up_proj`.
    pub(super) fn get(&self, prefix: &str, shape: LinearShape) -> Result<Projection, DecoderError> {
        let module = format!("{prefix}.{}", shape.name);
        let bias = if shape.bias {
            Some(self.get_f32(&format!("{module}.bias"))?)
        } else {
            None
        };
        let name = format!("{module}.weight");
        let update = match self.plan.adapter {
            None => None,
            Some(adapter) => adapter.low_rank(&module)?,
        };
        let update = update
            .map(|update| self.placed_update(update))
            .transpose()?;
        let Some(update) = update else {
            let storage = self.plan.storage;
            let weight = self.weight(&name, storage)?;
            return Ok(Projection::plain(weight, bias));
        };
        let weight = self.frozen(&name, self.plan.storage)?;
        let training = (self.plan.live, self.plan.dropout);
        Projection::low_rank(&module, weight, update, bias, training)
    }

    /// The embeddings, (V, D): those of the adapter where it trains them.
    pub(super) fn embedding(&self) -> Result<Weight, DecoderError> {
        match self.plan.adapter.and_then(LoraAdapter::embeddings) {
            Some(trained) => Ok(Weight::Trained(self.placed(trained)?)),
            None => self.table("model.embed_tokens.weight"),
        }
    }

    /// The output head, (V, D): that of the adapter where it trains one.
    pub(super) fn head(&self) -> Result<Weight, DecoderError> {
        if let Some(trained) = self.plan.adapter.and_then(LoraAdapter::head) {
            return Ok(Weight::Trained(self.placed(trained)?));
        }
        if self.weights.config().tie_word_embeddings {
            self.table("model.embed_tokens.weight")
        } else {
            self.table("lm_head.weight")
        }
    }

    /// Embeddings and heads are never held in four bits: `QLoRA` leaves them as they are.
    fn table(&self, name: &str) -> Result<Weight, DecoderError> {
        self.weight(name, self.plan.storage.filter(|s| *s != Storage::Nf4))
    }

    fn weight(&self, name: &str, storage: Option<Storage>) -> Result<Weight, DecoderError> {
        let adapted = self.plan.adapter.is_some();
        if self.weights.held(name).is_some() && (adapted || !self.plan.live) {
            return Ok(Weight::Frozen(self.frozen(name, storage)?));
        }
        let weight = self.weights.get(name)?;
        // A frozen matrix may be a copy, which would not follow values that change.
        if weight.track_op() || (self.plan.live && !adapted) {
            return Ok(Weight::Trained(self.placed(weight)?));
        }
        Ok(Weight::Frozen(self.frozen(name, storage)?))
    }

    fn frozen(&self, name: &str, storage: Option<Storage>) -> Result<FrozenWeight, DecoderError> {
        let shared = &self.plan.shared.unwrap_or(&self.own).0;
        if let Some(found) = shared.borrow().get(name) {
            return Ok(found.clone());
        }
        let frozen = match self.weights.held(name) {
            // What was trained on stored values answers on them.
            Some(held) if storage == Some(held.storage()) || self.plan.adapter.is_none() => {
                held.clone()
            }
            _ => {
                let weight = self.weights.get(name)?;
                FrozenWeight::new(weight, storage.unwrap_or_else(|| stored(weight)))?
            }
        };
        let device = self.plan.device.unwrap_or(frozen.device());
        let frozen = frozen.to_device(device)?;
        shared.borrow_mut().insert(name.to_owned(), frozen.clone());
        Ok(frozen)
    }
}

/// The storage that a tensor already has.
fn stored(weight: &Tensor) -> Storage {
    if weight.dtype() == DType::BF16 {
        Storage::Bf16
    } else {
        Storage::F32
    }
}

/// A number of its own for a module, the same on every machine (FNV-1a, 64 bits).
pub(crate) fn name_number(module: &str) -> u64 {
    module.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
