//! The gated activation of the feed-forward block.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::rows::{TASK, exp, vectorised};
use super::storage::{elements, elements_of, gradient, output};

/// Returns `silu(gate) * up`; both of the same shape.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.device().is_cpu() {
        return gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu);
    }
    composed(gate, up)
}

/// The same in plain differentiable operations.
pub(super) fn composed(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

struct SwiGlu;

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
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
            candle_core::bail!("swiglu of {gate_layout:?} and {up_layout:?}");
        }
        let mut out = vec![0.0; gate.len()];
        out.par_chunks_mut(TASK)
            .zip(gate.par_chunks(TASK).zip(up.par_chunks(TASK)))
            .for_each(|(out, (gate, up))| {
                vectorised(|| {
                    for (out, (gate, up)) in out.iter_mut().zip(gate.iter().zip(up)) {
                        *out = gate / (1.0 + exp(-gate)) * up;
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
        let (gates, ups) = (elements_of(gate)?, elements_of(up)?);
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
                        let sigmoid = 1.0 / (1.0 + exp(-gates[i]));
                        let silu = gates[i] * sigmoid;
                        up_out[i] = upstream[i] * silu;
                        gate_out[i] = upstream[i] * ups[i] * (sigmoid + silu * (1.0 - sigmoid));
                    }
                });
            });
        Ok((gradient(gate_gradient, gate)?, gradient(up_gradient, up)?))
    }
}
