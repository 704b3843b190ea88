//! The gated activations of feed-forward blocks (Shazeer 2020, <https://arxiv.org/abs/2002.05202>).

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::rows::{exp, map_elements};
use super::storage::{elements, elements_of, gradient, output};

/// What a gate goes through: `x σ(s(x))` with the logistic function σ and a polynomial s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// s is x itself.
    Silu,
    /// GELU by its tanh form, `x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))` (Hendrycks and Gimpel 2016,
    /// <https://arxiv.org/abs/1606.08415>): `(1 + tanh(u)) / 2` is `σ(2u)`.
    GeluTanh,
}

/// Returns `activation(gate) * up`; both of the same shape.
pub fn gated(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    if super::fused(gate) {
        return gate
            .contiguous()?
            .apply_op2(&up.contiguous()?, Gated { activation });
    }
    composed(gate, up, activation)
}

/// The same in candle's operations.
pub(super) fn composed(gate: &Tensor, up: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Silu => gate.silu()? * up,
        Activation::GeluTanh => gate.gelu()? * up,
    }
}

/// The polynomial inside, and its derivative.
trait Inner: Copy + Sync {
    fn of(self, x: f32) -> f32;
    fn slope(self, x: f32) -> f32;
}

#[derive(Clone, Copy)]
struct Plain;

impl Inner for Plain {
    #[inline]
    fn of(self, x: f32) -> f32 {
        x
    }

    #[inline]
    fn slope(self, _x: f32) -> f32 {
        1.0
    }
}

#[derive(Clone, Copy)]
struct Cubic;

/// √(8 / π)
const SLOPE: f32 = 1.595_769_2;
const CUBE: f32 = 0.044_715;

impl Inner for Cubic {
    #[inline]
    fn of(self, x: f32) -> f32 {
        SLOPE * (x + CUBE * x * x * x)
    }

    #[inline]
    fn slope(self, x: f32) -> f32 {
        SLOPE * (1.0 + 3.0 * CUBE * x * x)
    }
}

fn forward(gate: &[f32], up: &[f32], inner: impl Inner) -> Vec<f32> {
    let [out] = map_elements([gate, up], |[gate, up], [out]| {
        for (out, (x, up)) in out.iter_mut().zip(gate.iter().zip(up)) {
            *out = x / (1.0 + exp(-inner.of(*x))) * up;
        }
    });
    out
}

/// The gradients by gate and by up.
fn backward(gate: &[f32], up: &[f32], upstream: &[f32], inner: impl Inner) -> [Vec<f32>; 2] {
    map_elements(
        [gate, up, upstream],
        |[gate, up, upstream], [by_gate, by_up]| {
            let results = by_gate.iter_mut().zip(by_up);
            for ((out, (x, up)), upstream) in results.zip(gate.iter().zip(up)).zip(upstream) {
                let sigmoid = 1.0 / (1.0 + exp(-inner.of(*x)));
                let active = x * sigmoid;
                *out.1 = upstream * active;
                *out.0 = upstream * up * (sigmoid + active * (1.0 - sigmoid) * inner.slope(*x));
            }
        },
    )
}

struct Gated {
    activation: Activation,
}

impl CustomOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated-activation"
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
            candle_core::bail!("a gate of {gate_layout:?} for {up_layout:?}");
        }
        let out = match self.activation {
            Activation::Silu => forward(gate, up, Plain),
            Activation::GeluTanh => forward(gate, up, Cubic),
        };
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
        let [by_gate, by_up] = match self.activation {
            Activation::Silu => backward(&gates, &ups, &upstream, Plain),
            Activation::GeluTanh => backward(&gates, &ups, &upstream, Cubic),
        };
        Ok((gradient(by_gate, gate)?, gradient(by_up, up)?))
    }
}
