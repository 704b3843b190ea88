//! What of an encoder moves, and the encoders that run on it.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use distill_student::encoder::{
    DropoutRates, Encoder, EncoderDropout, EncoderPlan, EncoderWeights,
};
use distill_student::lora::{LoraAdapter, LoraConfig};

use super::{EncoderSettings, TrainedEncoder};
use crate::training::variables::Variables;
use crate::{Method, TrainError};

pub(super) struct Parameters {
    pub(super) variables: Variables,
    /// Frozen under an adapter; under full training only its configuration counts.
    base: EncoderWeights,
    lora: Option<LoraConfig>,
    pub(super) dropout: Option<EncoderDropout>,
}

impl Parameters {
    /// Begins at the base, or at an adapter at hand.
    pub(super) fn new(
        base: &EncoderWeights,
        settings: &EncoderSettings,
        initial: Option<&LoraAdapter>,
    ) -> Result<Self, TrainError> {
        let (lora, start) = match (&settings.method, initial) {
            (Method::Full, None) => (None, base.tensors().clone()),
            (Method::Full, Some(_)) => {
                return Err(TrainError::Setting {
                    name: "method",
                    value: "full".to_owned(),
                    reason: "there is an adapter to go on from; merge it into the weights first",
                });
            }
            (Method::Lora(config), None) => {
                let config = LoraConfig {
                    classifier: base.classifier_modules(),
                    ..config.clone()
                };
                let drawn = LoraAdapter::for_weights(base, None, config.clone(), settings.seed)?;
                (Some(config), drawn.tensors().clone())
            }
            (Method::Lora(config), Some(adapter)) => {
                let config = LoraConfig {
                    dropout: config.dropout,
                    ..adapter.config().clone()
                };
                (Some(config), adapter.tensors().clone())
            }
        };
        let rates = if settings.dropout {
            base.config().dropout
        } else {
            DropoutRates::default()
        };
        let adapter_rate = lora.as_ref().map_or(0.0, |lora| lora.dropout);
        Ok(Self {
            variables: Variables::new(start, &candle_core::Device::Cpu)?,
            base: base.clone(),
            dropout: EncoderDropout::new(rates, adapter_rate),
            lora,
        })
    }

    pub(super) fn is_adapter(&self) -> bool {
        self.lora.is_some()
    }

    /// The tensors that must stay as they are.
    pub(super) fn frozen(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let base = self.lora.as_ref().map(|_| self.base.tensors());
        base.into_iter()
            .flatten()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    fn build(&self, of: impl Fn(&Var) -> Tensor) -> Result<TrainedEncoder, TrainError> {
        let tensors: BTreeMap<String, Tensor> = self.variables.tensors(of);
        if let Some(config) = self.lora.clone() {
            let adapter = LoraAdapter::from_tensors(config, tensors)?;
            return Ok(TrainedEncoder::Lora(adapter));
        }
        let weights = EncoderWeights::from_tensors(self.base.config().clone(), tensors)?;
        Ok(TrainedEncoder::Full(weights))
    }

    fn encoder_of(
        &self,
        dropout: Option<&EncoderDropout>,
        of: impl Fn(&Var) -> Tensor,
    ) -> Result<Encoder, TrainError> {
        let plan = EncoderPlan {
            adapter: None,
            live: true,
            dropout,
        };
        Ok(match self.build(of)? {
            TrainedEncoder::Lora(adapter) => {
                let plan = EncoderPlan {
                    adapter: Some(&adapter),
                    ..plan
                };
                Encoder::with_plan(&self.base, plan)?
            }
            TrainedEncoder::Full(weights) => Encoder::with_plan(&weights, plan)?,
        })
    }

    /// An encoder that records gradients.
    pub(super) fn encoder(&self) -> Result<Encoder, TrainError> {
        self.encoder_of(self.dropout.as_ref(), |v| v.as_tensor().clone())
    }

    /// An encoder on the same storage, which follows every step, records nothing and drops nothing.
    pub(super) fn frozen_encoder(&self) -> Result<Encoder, TrainError> {
        self.encoder_of(None, Var::as_detached_tensor)
    }

    /// The base as it is, without an adapter.
    pub(super) fn base_encoder(&self) -> Result<Encoder, TrainError> {
        Ok(Encoder::new(&self.base)?)
    }

    pub(super) fn into_trained(self) -> Result<TrainedEncoder, TrainError> {
        self.build(Var::as_detached_tensor)
    }
}
