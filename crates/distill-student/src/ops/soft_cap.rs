//! Numbers bent to lie within ± a cap: `cap * tanh(x / cap)` (Gemma 2, <https://arxiv.org/abs/2408.00118>).

use candle_core::{Result, Tensor};

use super::rows::exp;

/// Bends numbers to lie within ± `cap`.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
pub(super) fn bend(values: &mut [f32], cap: f32) {
    for value in values {
        *value = cap * tanh(*value / cap);
    }
}

/// As [`bend`]; leaves how each bent number moves with the one before: `1 - (bent / cap)²`.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
pub(super) fn bend_with_slopes(values: &mut [f32], slopes: &mut [f32], cap: f32) {
    for (slope, value) in slopes.iter_mut().zip(values) {
        let share = tanh(*value / cap);
        *value = cap * share;
        *slope = 1.0 - share * share;
    }
}

/// The same in candle's differentiable operations.
pub(super) fn composed(values: &Tensor, cap: f64) -> Result<Tensor> {
    (values / cap)?.tanh()? * cap
}

/// Below it 1 - 2 / (e^2x + 1) would lose digits.
const SMALL: f32 = 0.625;

/// The hyperbolic tangent, with a relative error below 4e-7.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
fn tanh(x: f32) -> f32 {
    // A least-squares fit of (tanh(x) / x - 1) / x² on |x| < 0.65.
    let square = x * x;
    let mut p = -5.529_047e-3;
    p = p * square + 2.048_185_7e-2;
    p = p * square - 5.369_172e-2;
    p = p * square + 1.333_087_1e-1;
    p = p * square - 3.333_326e-1;
    let small = x + x * square * p;
    let large = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
    if x.abs() < SMALL { small } else { large }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bent_numbers_are_exact_and_so_are_their_slopes() {
        for i in -4_000..=4_000 {
            let x = i as f32 * 0.005;
            let exact = f64::from(x).tanh();
            let error = (f64::from(tanh(x)) - exact).abs();
            assert!(error <= 4e-7 * exact.abs(), "tanh({x}) is off by {error}");
            let (mut value, mut slope) = ([x * 30.0], [0.0]);
            bend_with_slopes(&mut value, &mut slope, 30.0);
            assert!((f64::from(value[0]) - 30.0 * exact).abs() <= 1.5e-5 * exact.abs());
            assert!((f64::from(slope[0]) - (1.0 - exact * exact)).abs() <= 8e-7);
        }
    }
}
