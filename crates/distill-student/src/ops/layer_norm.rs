//! Layer norm over the last axis (Ba, Kiros, Hinton 2016, <https://arxiv.org/abs/1607.06450>).

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor, bail};

use super::rows::{dot, dot_of_three, map_rows, sum_rows};
use super::storage::{elements, elements_of, gradient, output};

/// Brings each row to mean 0 and variance 1, then scales by `weight` and adds `bias`.
///
/// # Shapes
/// - `x`: (T, W), `weight` and `bias`: (W); returns (T, W)
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    if width == 0 || weight.dims() != [width] || bias.dims() != [width] {
        bail!("layer norm of {x:?} by {weight:?} and {bias:?}");
    }
    if super::fused(x) {
        return x
            .contiguous()?
            .apply_op3(weight, bias, LayerNorm { epsilon });
    }
    composed(x, weight, bias, epsilon)
}

/// The same in plain differentiable operations.
pub(super) fn composed(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    centred
        .broadcast_div(&(variance + epsilon)?.sqrt()?)?
        .broadcast_mul(weight)?
        .broadcast_add(bias)
}

struct LayerNorm {
    epsilon: f64,
}

impl LayerNorm {
    /// Writes the row at mean 0 and variance 1; returns one over its deviation.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
    fn normalise(&self, row: &[f32], out: &mut [f32]) -> f32 {
        let mean = row.iter().sum::<f32>() / row.len() as f32;
        for (out, value) in out.iter_mut().zip(row) {
            *out = value - mean;
        }
        let variance = dot(out, out) / row.len() as f32;
        let inverse = 1.0 / (variance + self.epsilon as f32).sqrt();
        for value in out {
            *value *= inverse;
        }
        inverse
    }

    fn input_gradient(&self, x: &[f32], weight: &[f32], upstream: &[f32]) -> Vec<f32> {
        let width = weight.len();
        map_rows([x, upstream], width, |[x, upstream], out| {
            let inverse = self.normalise(x, out);
            let scaled = || upstream.iter().zip(weight).map(|(up, weight)| up * weight);
            let mean = scaled().sum::<f32>() / width as f32;
            let pull = dot_of_three(upstream, weight, out) / width as f32;
            for (out, scaled) in out.iter_mut().zip(scaled()) {
                *out = (scaled - mean - *out * pull) * inverse;
            }
        })
    }

    /// The gradients of weight and bias.
    fn parameter_gradients(&self, x: &[f32], width: usize, upstream: &[f32]) -> [Vec<f32>; 2] {
        sum_rows(
            [x, upstream],
            width,
            |[x, upstream], [weight, bias], unit| {
                self.normalise(x, unit);
                for ((sum, up), unit) in weight.iter_mut().zip(upstream).zip(unit) {
                    *sum += up * *unit;
                }
                for (sum, up) in bias.iter_mut().zip(upstream) {
                    *sum += up;
                }
            },
        )
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = elements(x, x_layout)?;
        let (weight, bias) = (
            elements(weight, weight_layout)?,
            elements(bias, bias_layout)?,
        );
        let width = weight.len();
        let out = map_rows([x], width, |[x], out| {
            self.normalise(x, out);
            for ((out, weight), bias) in out.iter_mut().zip(weight).zip(bias) {
                *out = *out * weight + bias;
            }
        });
        Ok(output(out, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let upstream = upstream.contiguous()?;
        let upstream = elements_of(&upstream)?;
        let (values, weights) = (elements_of(x)?, elements_of(weight)?);
        let input = if x.track_op() {
            gradient(self.input_gradient(&values, &weights, &upstream), x)?
        } else {
            None
        };
        if !weight.track_op() && !bias.track_op() {
            return Ok((input, None, None));
        }
        let [by_weight, by_bias] = self.parameter_gradients(&values, weights.len(), &upstream);
        let of = |values, tensor: &Tensor| {
            if tensor.track_op() {
                gradient(values, tensor)
            } else {
                Ok(None)
            }
        };
        Ok((input, of(by_weight, weight)?, of(by_bias, bias)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, variable};
    use super::*;

    #[test]
    fn layer_norm_matches_the_composed_one() {
        for (rows, width) in [(1, 8), (37, 96), (3, 20_000)] {
            let x = variable(&[rows, width], 1);
            let (w, b) = (variable(&[width], 2), variable(&[width], 3));
            check(
                &[&x, &w, &b],
                || layer_norm(&x, &w, &b, 1e-5),
                || composed(&x, &w, &b, 1e-5),
            );
        }
    }

    #[test]
    fn a_frozen_norm_gets_no_gradient() {
        let x = variable(&[3, 8], 1);
        let w = variable(&[8], 2).as_detached_tensor();
        let out = layer_norm(&x, &w, &w, 1e-5).unwrap();
        let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&w).is_none() && gradients.get(&x).is_some());
        assert!(layer_norm(&x, &w.narrow(0, 0, 4).unwrap(), &w, 1e-5).is_err());
    }
}
