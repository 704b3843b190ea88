//! A root-mean-square norm with its weight.

use candle_core::Tensor;

use super::projection::Projections;
use super::{DecoderConfig, DecoderError};
use crate::ops::rms_norm;

#[derive(Debug, Clone)]
pub(super) struct Norm {
    weight: Tensor,
    /// The scale is one plus the weight.
    zero_centred: bool,
    epsilon: f64,
}

impl Norm {
    /// The norm at `name`, such as `model.norm`.
    pub(super) fn build(projections: &Projections<'_>, name: &str) -> Result<Self, DecoderError> {
        let weights = projections.weights();
        let config: &DecoderConfig = weights.config();
        Ok(Self {
            weight: projections.get_f32(&format!("{name}.weight"))?,
            zero_centred: config.zero_centred_norms,
            epsilon: config.rms_norm_eps,
        })
    }

    /// A norm that scales by its weight whatever the others of the model do.
    pub(super) fn plain(projections: &Projections<'_>, name: &str) -> Result<Self, DecoderError> {
        Ok(Self {
            zero_centred: false,
            ..Self::build(projections, name)?
        })
    }

    /// # Shapes
    /// - `x`: (T, n * W) for a weight of W; returns the same
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor, DecoderError> {
        if self.zero_centred {
            return Ok(rms_norm(x, &(&self.weight + 1.0)?, self.epsilon)?);
        }
        Ok(rms_norm(x, &self.weight, self.epsilon)?)
    }
}
