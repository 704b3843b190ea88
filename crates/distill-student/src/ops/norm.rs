//! Root-mean-square norm over the last axis.

use candle_core::{CpuStorage, CustomOp2, D, DType, Layout, Result, Shape, Tensor};

use super::composed::of_two;
use super::rows::{dot, map_rows, sum_rows};
use super::storage::{elements, elements_of, gradient, output};

/// Scales each row to unit mean square, then by `weight`.
///
/// # Shapes
/// - `x`: (.., W), taken as rows of the weight's width, so that a norm per head works on (T, H * E)
/// - `weight`: (W)
/// - returns the shape of `x`
pub fn rms_norm(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let x = x.contiguous()?;
    if super::fused(&x) {
        return x.apply_op2(weight, RmsNorm { epsilon });
    }
    composed(&x, weight, epsilon)
}

/// The same in candle's operations.
pub(super) fn composed(x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
    let (input_tracked, weight_tracked) = (x.track_op(), weight.track_op());
    let (shape, width) = (x.shape().clone(), weight.dim(0)?);
    let rows = x.detach().reshape(((), width))?; // (.., W) → (N, W)
    let scales = weight.detach().to_dtype(DType::F32)?;
    let mean = rows.sqr()?.mean_keepdim(D::Minus1)?;
    let inverse = (mean + epsilon)?.sqrt()?.recip()?; // (N, 1)
    let out = rows
        .broadcast_mul(&inverse)?
        .broadcast_mul(&scales)?
        .reshape(&shape)?;
    of_two([x, weight], out, move |upstream| {
        let upstream = upstream.reshape(((), width))?;
        let units = rows.broadcast_mul(&inverse)?;
        let of_weight = if weight_tracked {
            Some((&upstream * &units)?.sum(0)?)
        } else {
            None
        };
        let of_input = if input_tracked {
            let scaled = upstream.broadcast_mul(&scales)?;
            let pull = (&scaled * &units)?.mean_keepdim(D::Minus1)?; // (N, 1)
            let through = (scaled - units.broadcast_mul(&pull)?)?;
            Some(through.broadcast_mul(&inverse)?.reshape(&shape)?)
        } else {
            None
        };
        Ok([of_input, of_weight])
    })
}

struct RmsNorm {
    epsilon: f64,
}

impl RmsNorm {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
    fn inverse(&self, row: &[f32]) -> f32 {
        1.0 / (dot(row, row) / row.len() as f32 + self.epsilon as f32).sqrt()
    }

    fn input_gradient(&self, x: &[f32], weight: &[f32], upstream: &[f32]) -> Vec<f32> {
        let width = weight.len();
        map_rows([x, upstream], width, |[x, upstream], out| {
            let inverse = self.inverse(x);
            for ((scaled, u), w) in out.iter_mut().zip(upstream).zip(weight) {
                *scaled = u * w;
            }
            let pull = dot(out, x) * inverse * inverse * inverse / width as f32;
            for (out, x) in out.iter_mut().zip(x) {
                *out = *out * inverse - x * pull;
            }
        })
    }

    fn weight_gradient(&self, x: &[f32], width: usize, upstream: &[f32]) -> Vec<f32> {
        let [sum] = sum_rows([x, upstream], width, |[x, upstream], [sum], _| {
            let inverse = self.inverse(x);
            for ((sum, x), u) in sum.iter_mut().zip(x).zip(upstream) {
                *sum += u * x * inverse;
            }
        });
        sum
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (elements(x, x_layout)?, elements(weight, weight_layout)?);
        let width = weight.len();
        if width == 0 || !x.len().is_multiple_of(width) {
            candle_core::bail!("a norm of width {width} does not divide {x_layout:?}");
        }
        let out = map_rows([x], width, |[x], out| {
            let inverse = self.inverse(x);
            for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                *out = x * inverse * w;
            }
        });
        Ok(output(out, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let upstream = upstream.contiguous()?;
        let upstream = elements_of(&upstream)?;
        let (x_values, weight_values) = (elements_of(x)?, elements_of(weight)?);
        let dx = if x.track_op() {
            gradient(self.input_gradient(&x_values, &weight_values, &upstream), x)?
        } else {
            None
        };
        let dw = if weight.track_op() {
            gradient(
                self.weight_gradient(&x_values, weight_values.len(), &upstream),
                weight,
            )?
        } else {
            None
        };
        Ok((dx, dw))
    }
}
