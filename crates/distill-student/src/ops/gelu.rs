//! The activation of encoders: GELU by the error function (Hendrycks and Gimpel 2016,
//! <https://arxiv.org/abs/1606.08415>).

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::rows::{exp, map_elements};
use super::storage::{elements, elements_of, gradient, output};

/// Returns x Φ(x), Φ the distribution function of the standard normal; the shape of `x`.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    let x = x.contiguous()?;
    if super::fused(&x) {
        return x.apply_op1(Gelu);
    }
    x.gelu_erf()
}

/// Φ(x) with an error below 1e-7 (Abramowitz and Stegun, formula 7.1.26), and the density at x.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    const DENSITY_AT_ZERO: f32 = 0.398_942_3;
    let falling = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_8;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    let tail = 0.5 * p * t * falling;
    let below = if x < 0.0 { tail } else { 1.0 - tail };
    (below, DENSITY_AT_ZERO * falling)
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = elements(x, layout)?;
        let [out] = map_elements([x], |[x], [out]| {
            for (out, x) in out.iter_mut().zip(x) {
                *out = x * normal(*x).0;
            }
        });
        Ok(output(out, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        let upstream = upstream.contiguous()?;
        let (values, upstream) = (elements_of(x)?, elements_of(&upstream)?);
        let [out] = map_elements([&values, &upstream], |[values, upstream], [out]| {
            for ((out, x), up) in out.iter_mut().zip(values).zip(upstream) {
                let (below, density) = normal(*x);
                *out = up * (below + x * density);
            }
        });
        gradient(out, x)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, variable};
    use super::*;

    #[test]
    fn gelu_matches_that_of_candle() {
        let x = variable(&[33, 70], 4);
        let wide = candle_core::Var::from_tensor(&(x.as_tensor() * 6.0).unwrap()).unwrap();
        check(&[&wide], || gelu(&wide), || wide.gelu_erf());
    }
}
