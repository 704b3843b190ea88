//! What every part of an encoder is made of, under one plan.

use candle_core::{Device, Tensor};

use super::dropout::Place;
use super::{DropoutRates, EncoderConfig, EncoderDropout, EncoderPlan, EncoderWeights};
use crate::decoder::{DecoderError, Projection, name_number};
use crate::ops::{FrozenWeight, Storage, Weight, layer_norm};

/// Gives out the parts of an encoder.
pub(super) struct Parts<'a> {
    weights: &'a EncoderWeights,
    plan: EncoderPlan<'a>,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        weights: &'a EncoderWeights,
        plan: EncoderPlan<'a>,
    ) -> Result<Self, DecoderError> {
        if let Some(adapter) = plan.adapter {
            adapter.check(weights.config())?;
        }
        Ok(Self { weights, plan })
    }

    pub(super) fn config(&self) -> &'a EncoderConfig {
        self.weights.config()
    }

    /// A tensor of the model, or the copy of it that the adapter trained whole.
    pub(super) fn get(&self, name: &str) -> Result<Tensor, DecoderError> {
        match self.find(name) {
            Some(tensor) => Ok(tensor.clone()),
            None => self.weights.get(name).cloned(),
        }
    }

    fn find(&self, name: &str) -> Option<&Tensor> {
        let trained = self.plan.adapter.and_then(|adapter| adapter.whole(name));
        trained.or_else(|| self.weights.find(name))
    }

    /// A linear layer with its bias, if it has one, and its update, if the adapter has one.
    pub(super) fn linear(&self, name: &str) -> Result<Projection, DecoderError> {
        let weight = self.get(&format!("{name}.weight"))?;
        let bias = self.find(&format!("{name}.bias")).cloned();
        let update = match self.plan.adapter {
            None => None,
            Some(adapter) => adapter.low_rank(name)?,
        };
        let Some(update) = update else {
            return Ok(Projection::plain(Weight::Trained(weight), bias));
        };
        let weight = FrozenWeight::new(&weight, Storage::F32)?;
        let dropout = self.plan.dropout.and_then(EncoderDropout::adapter);
        Projection::low_rank(name, weight, update, bias, (self.plan.live, dropout))
    }

    pub(super) fn norm(&self, name: &str) -> Result<LayerNorm, DecoderError> {
        let weight = self.get(&format!("{name}.weight"))?;
        let bias = match self.find(&format!("{name}.bias")) {
            Some(bias) => bias.clone(),
            None => Tensor::zeros(weight.dims(), weight.dtype(), &Device::Cpu)?
                .to_device(weight.device())?,
        };
        Ok(LayerNorm {
            weight,
            bias,
            epsilon: self.config().norm_eps,
        })
    }

    pub(super) fn rates(&self) -> DropoutRates {
        self.plan
            .dropout
            .map(EncoderDropout::rates)
            .unwrap_or_default()
    }

    /// A place of this name, where a share of the values may be dropped.
    pub(super) fn place(&self, name: &str, rate: f64) -> Place {
        self.plan.dropout.map_or_else(Place::default, |dropout| {
            dropout.place(rate, name_number(name))
        })
    }
}

/// A layer norm with its weight, and its bias or zeros.
#[derive(Debug, Clone)]
pub(super) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// # Shapes
    /// - `x`: (T, D); returns the same
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        Ok(layer_norm(x, &self.weight, &self.bias, self.epsilon)?)
    }
}
