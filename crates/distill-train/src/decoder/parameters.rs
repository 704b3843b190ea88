//! The tensors that move, in one fixed order, and the decoders that run on them.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use distill_student::decoder::{Decoder, DecoderPlan, FrozenMatrices};
use distill_student::lora::{AdaptableWeights, Dropout, LoraAdapter, LoraConfig};
use distill_student::ops::Storage;
use distill_student::weights::DecoderWeights;

use super::{Method, TrainError, TrainSettings, Trained};
use crate::training::variables::Variables;

pub(super) struct Parameters {
    /// In order of name.
    variables: Variables,
    /// Frozen under an adapter; under full training only its configuration counts.
    base: DecoderWeights,
    lora: Option<LoraConfig>,
    storage: Option<Storage>,
    /// Layers are run again in the backward pass.
    recompute: bool,
    dropout: Option<Dropout>,
    /// The base's matrices, shared by every decoder that is built on them.
    frozen: FrozenMatrices,
}

impl Parameters {
    /// Begins at the base, or at an adapter at hand.
    pub(super) fn new(
        base: &DecoderWeights,
        settings: &TrainSettings,
        initial: Option<&LoraAdapter>,
    ) -> Result<Self, TrainError> {
        let (lora, start) = match (&settings.method, initial) {
            (Method::Lora(config), None) => {
                let adapter =
                    LoraAdapter::for_weights(base, settings.base, config.clone(), settings.seed)?;
                (Some(config.clone()), adapter.tensors().clone())
            }
            (Method::Lora(config), Some(adapter)) => {
                let same = LoraConfig {
                    dropout: config.dropout,
                    ..adapter.config().clone()
                };
                if same != *config {
                    return Err(TrainError::Setting {
                        name: "method",
                        value: format!("{config:?}"),
                        reason: "the adapter to go on from has another configuration",
                    });
                }
                (Some(same), adapter.tensors().clone())
            }
            (Method::Full, None) => (None, base.tensors().clone()),
            (Method::Full, Some(_)) => {
                return Err(TrainError::Setting {
                    name: "method",
                    value: "full".to_owned(),
                    reason: "there is an adapter to go on from; merge it into the weights first",
                });
            }
        };
        Self::from_start(base, settings, lora, start)
    }

    fn from_start(
        base: &DecoderWeights,
        settings: &TrainSettings,
        lora: Option<LoraConfig>,
        start: BTreeMap<String, Tensor>,
    ) -> Result<Self, TrainError> {
        let rate = lora.as_ref().map_or(0.0, |lora| lora.dropout);
        let device = settings.device.open()?;
        Ok(Self {
            variables: Variables::new(start, &device)?,
            base: base.clone(),
            lora,
            storage: settings.base,
            recompute: settings.gradient_checkpointing,
            dropout: (rate > 0.0).then(|| Dropout::new(rate)),
            frozen: FrozenMatrices::default(),
        })
    }

    pub(super) fn is_adapter(&self) -> bool {
        self.lora.is_some()
    }

    /// Whether the head is trained, in f32 as all that is trained, and the base holds it in bf16.
    pub(super) fn trains_a_finer_head(&self) -> Result<bool, TrainError> {
        if !self.lora.as_ref().is_some_and(|lora| lora.train_head) {
            return Ok(false);
        }
        Ok(match self.storage {
            Some(Storage::F32) => false,
            Some(Storage::Bf16) => true,
            None | Some(Storage::Nf4) => {
                self.base.beginning("lm_head.weight")?.dtype() == DType::BF16
            }
        })
    }

    /// What the updates do not see in a training step.
    pub(super) fn dropout(&self) -> Option<&Dropout> {
        self.dropout.as_ref()
    }

    pub(super) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// The tensors that must stay as they are.
    pub(super) fn frozen(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let base = self.lora.as_ref().map(|_| self.base.tensors());
        base.into_iter()
            .flatten()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    fn build(
        &self,
        of: impl Fn(&Var) -> Tensor,
    ) -> Result<(DecoderWeights, Option<LoraAdapter>), TrainError> {
        self.with(self.variables.tensors(of))
    }

    /// Weights and adapter of these values.
    fn with(
        &self,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<(DecoderWeights, Option<LoraAdapter>), TrainError> {
        if let Some(config) = self.lora.clone() {
            let adapter = LoraAdapter::from_tensors(config, tensors)?;
            return Ok((self.base.clone(), Some(adapter)));
        }
        let config = self.base.config().clone();
        Ok((DecoderWeights::from_tensors(config, tensors)?, None))
    }

    fn decoder_of(
        &self,
        dropout: Option<&Dropout>,
        of: impl Fn(&Var) -> Tensor,
    ) -> Result<Decoder, TrainError> {
        let (weights, adapter) = self.build(of)?;
        let plan = DecoderPlan {
            adapter: adapter.as_ref(),
            storage: self.storage,
            live: true,
            dropout,
            recompute: self.recompute,
            shared: Some(&self.frozen),
            device: Some(self.variables.device()),
        };
        Ok(Decoder::with_plan(&weights, plan)?)
    }

    /// A decoder that records gradients.
    pub(super) fn decoder(&self) -> Result<Decoder, TrainError> {
        self.decoder_of(self.dropout.as_ref(), |variable| {
            variable.as_tensor().clone()
        })
    }

    /// A decoder on the same storage, which follows every step, records nothing and drops nothing.
    pub(super) fn frozen_decoder(&self) -> Result<Decoder, TrainError> {
        self.decoder_of(None, Var::as_detached_tensor)
    }

    /// A decoder on the base as it is, without an adapter.
    pub(super) fn base_decoder(&self) -> Result<Decoder, TrainError> {
        let plan = DecoderPlan {
            storage: self.storage,
            shared: Some(&self.frozen),
            device: Some(self.variables.device()),
            ..DecoderPlan::default()
        };
        Ok(Decoder::with_plan(&self.base, plan)?)
    }

    pub(super) fn into_trained(self) -> Result<Trained, TrainError> {
        let storage = self.storage;
        // What comes out lies in main memory, wherever it was trained.
        let here = self.variables.moved_to(&Device::Cpu)?;
        Ok(match self.with(here)? {
            (_, Some(adapter)) => Trained::Lora(adapter.with_base_storage(storage)),
            (weights, None) => Trained::Full(weights),
        })
    }
}
