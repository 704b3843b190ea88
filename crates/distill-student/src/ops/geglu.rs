//! The gated activation of Gemma's feed-forward block: GELU in its tanh form (Hendrycks and Gimpel
//! 2016, <https://arxiv.org/abs/1606.08415>).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::rows::{TASK, exp, vectorised};
use super::storage::{elements, elements_of, gradient, output};

/// √(2 / π)
const SLOPE: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// Returns `gelu(gate) * up` with `gelu(x) = x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`; both of
/// the same shape.
pub fn geglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.device().is_cpu() {
        return gate.contiguous()?.apply_op2(&up.contiguous()?, GeGlu);
    }
    composed(gate, up)
}

/// The same in plain differentiable operations.
pub(super) fn composed(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.gelu()? * up
}

/// `(1 + tanh(u)) / 2` of the inner polynomial, which is a sigmoid of `2u`, and the derivative of
/// `2u`.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
fn gate_and_slope(x: f32) -> (f32, f32) {
    let doubled = 2.0 * SLOPE * (x + CUBE * x * x * x);
    let gate = 1.0 / (1.0 + exp(-doubled));
    (gate, 2.0 * SLOPE * (1.0 + 3.0 * CUBE * x * x))
}

struct GeGlu;

impl CustomOp2 for GeGlu {
    fn name(&self) -> &'static str {
        "geglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (gate, up) = (elements(gate, gate_layout)?, elements(up, up_layout)?);
        if gate.len() != up.len() {
            candle_core::bail!("geglu of {gate_layout:?} and {up_layout:?}");
        }
        let mut out = vec![0.0; gate.len()];
        out.par_chunks_mut(TASK)
            .zip(gate.par_chunks(TASK).zip(up.par_chunks(TASK)))
            .for_each(|(out, (gate, up))| {
                vectorised(|| {
                    for (out, (gate, up)) in out.iter_mut().zip(gate.iter().zip(up)) {
                        *out = gate * gate_and_slope(*gate).0 * up;
                    }
                });
            });
        Ok(output(out, gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let upstream = upstream.contiguous()?;
        let upstream = elements_of(&upstream)?;
        let (gate, up) = (gate.contiguous()?, up.contiguous()?);
        let (gates, ups) = (elements_of(&gate)?, elements_of(&up)?);
        let mut gate_gradient = vec![0.0; gates.len()];
        let mut up_gradient = vec![0.0; gates.len()];
        gate_gradient
            .par_chunks_mut(TASK)
            .zip(up_gradient.par_chunks_mut(TASK))
            .zip(gates.par_chunks(TASK).zip(ups.par_chunks(TASK)))
            .zip(upstream.par_chunks(TASK))
            .for_each(|(((gate_out, up_out), (gates, ups)), upstream)| {
                vectorised(|| {
                    for i in 0..gate_out.len() {
                        let x = gates[i];
                        let (gate, slope) = gate_and_slope(x);
                        up_out[i] = upstream[i] * x * gate;
                        let derivative = gate + x * gate * (1.0 - gate) * slope;
                        gate_out[i] = upstream[i] * ups[i] * derivative;
                    }
                });
            });
        Ok((gradient(gate_gradient, &gate)?, gradient(up_gradient, &up)?))
    }
}
