//! Linear layers. A weight that is not a variable gets no gradient, so a frozen layer costs one
//! product backward instead of two.

use std::sync::OnceLock;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail,
};

use super::composed::{of_one, of_three};
use super::frozen::{FrozenWeight, WeightRef};
use super::fused;
use super::product::{Direction, LowRankTerm, View, product};
use super::storage::{elements, elements_of, gradient, output};

/// Returns `x @ weightᵀ`.
///
/// # Shapes
/// - `x`: (T, I), `weight`: (O, I); returns (T, O)
pub fn linear<'a>(x: &Tensor, weight: impl Into<WeightRef<'a>>) -> Result<Tensor> {
    match weight.into() {
        WeightRef::Frozen(frozen) => frozen_linear(x, frozen),
        WeightRef::Trained(weight) if fused(x) => x.contiguous()?.apply_op2(weight, Linear),
        WeightRef::Trained(weight) => x.matmul(&weight.t()?),
    }
}

/// Returns `x @ weightᵀ`; the weight gets no gradient.
///
/// # Shapes
/// - `x`: (T, I), `weight`: (O, I); returns (T, O)
pub fn frozen_linear(x: &Tensor, weight: &FrozenWeight) -> Result<Tensor> {
    if fused(x) {
        let operation = FrozenLinear {
            weight: weight.clone(),
        };
        return x.contiguous()?.apply_op1(operation);
    }
    let out = weight.composed_product(&x.detach(), Direction::Forward)?;
    let weight = weight.clone();
    of_one(x, out, move |upstream| {
        let input = weight.composed_product(upstream, Direction::Backward)?;
        Ok([Some(input)])
    })
}

/// Returns `x @ weightᵀ + scale * (x @ downᵀ) @ upᵀ`; the weight is frozen.
///
/// # Shapes
/// - `x`: (T, I), `weight`: (O, I), `down` (PEFT's A): (R, I), `up` (PEFT's B): (O, R); returns (T, O)
pub fn low_rank_linear(
    x: &Tensor,
    weight: &FrozenWeight,
    down: &Tensor,
    up: &Tensor,
    scale: f64,
) -> Result<Tensor> {
    if fused(x) {
        let operation = LowRankLinear {
            weight: weight.clone(),
            scale: scale as f32,
            reduced: OnceLock::new(),
        };
        return x.contiguous()?.apply_op3(down, up, operation);
    }
    composed_low_rank(x, weight, down, up, scale)
}

/// The same in candle's operations.
pub(super) fn composed_low_rank(
    x: &Tensor,
    weight: &FrozenWeight,
    down: &Tensor,
    up: &Tensor,
    scale: f64,
) -> Result<Tensor> {
    let input_tracked = x.track_op();
    let (values, downs, ups) = (x.detach(), down.detach(), up.detach());
    let reduced = values.matmul(&downs.t()?)?; // (T, I) → (T, R)
    let update = (reduced.matmul(&ups.t()?)? * scale)?; // (T, R) → (T, O)
    let out = (weight.composed_product(&values, Direction::Forward)? + update)?;
    let weight = weight.clone();
    of_three([x, down, up], out, move |upstream| {
        let through_up = (upstream.matmul(&ups)? * scale)?; // (T, O) → (T, R)
        let up_gradient = (upstream.t()?.matmul(&reduced)? * scale)?; // (O, R)
        let down_gradient = through_up.t()?.matmul(&values)?; // (R, I)
        let input_gradient = if input_tracked {
            let base = weight.composed_product(upstream, Direction::Backward)?;
            Some((base + through_up.matmul(&downs)?)?)
        } else {
            None
        };
        Ok([input_gradient, Some(down_gradient), Some(up_gradient)])
    })
}

/// The sizes (T, I, O) of a product of these layouts.
fn sizes(x: &Shape, weight: &Shape) -> Result<(usize, usize, usize)> {
    let ((tokens, input), (out, width)) = (x.dims2()?, weight.dims2()?);
    if input != width {
        bail!("a weight of ({out}, {width}) cannot take rows of {input}");
    }
    Ok((tokens, input, out))
}

/// A small matrix the other way round.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let column = |column: usize| (0..rows).map(move |row| values[row * columns + column]);
    (0..columns).flat_map(column).collect()
}

struct Linear;

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (t, i, o) = sizes(x_layout.shape(), weight_layout.shape())?;
        let x = View::new(elements(x, x_layout)?, t, i);
        let weight = View::new(elements(weight, weight_layout)?, o, i);
        Ok(output(product(x, weight.transposed(), 1.0), (t, o)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (t, i, o) = sizes(x.shape(), weight.shape())?;
        let upstream = upstream.contiguous()?;
        let upstream = elements_of(&upstream)?;
        let upstream = View::new(&upstream, t, o); // (T, O)
        let input_gradient = if x.track_op() {
            let weight = elements_of(weight)?;
            gradient(product(upstream, View::new(&weight, o, i), 1.0), x)?
        } else {
            None
        };
        let weight_gradient = if weight.track_op() {
            let x = elements_of(x)?;
            let values = product(upstream.transposed(), View::new(&x, t, i), 1.0); // (O, T) @ (T, I) → (O, I)
            gradient(values, weight)?
        } else {
            None
        };
        Ok((input_gradient, weight_gradient))
    }
}

struct FrozenLinear {
    weight: FrozenWeight,
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (t, i, o) = sizes(x_layout.shape(), &self.weight.dims().into())?;
        let x = View::new(elements(x, x_layout)?, t, i);
        let out = self.weight.product(x, Direction::Forward, None)?;
        Ok(output(out, (t, o)))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let upstream = upstream.contiguous()?;
        let upstream = elements_of(&upstream)?;
        let errors = View::new(&upstream, x.dim(0)?, self.weight.dims().0);
        let values = self.weight.product(errors, Direction::Backward, None)?;
        gradient(values, x)
    }
}

struct LowRankLinear {
    weight: FrozenWeight,
    scale: f32,
    /// `down @ xᵀ` of the forward pass, (R, T), which the gradient of `up` needs. What has a rank
    /// of its own lies this way round: its products are then as wide as the rows are many.
    reduced: OnceLock<Vec<f32>>,
}

impl CustomOp3 for LowRankLinear {
    fn name(&self) -> &'static str {
        "low-rank-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        down: &CpuStorage,
        down_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (t, i, o) = sizes(x_layout.shape(), &self.weight.dims().into())?;
        let (_, _, r) = sizes(x_layout.shape(), down_layout.shape())?;
        if up_layout.shape().dims() != [o, r] {
            bail!("expected an up projection of ({o}, {r}), got {up_layout:?}");
        }
        let x = View::new(elements(x, x_layout)?, t, i);
        let down = View::new(elements(down, down_layout)?, r, i);
        let up = View::new(elements(up, up_layout)?, o, r);
        let reduced = product(down, x.transposed(), 1.0); // (R, I) @ (I, T) → (R, T)
        let update = LowRankTerm {
            left: View::new(&reduced, r, t).transposed(),
            right: up.transposed(),
            scale: self.scale,
        };
        let out = self.weight.product(x, Direction::Forward, Some(update))?;
        // One forward per op: a second value never arrives.
        let _ = self.reduced.set(reduced);
        Ok(output(out, (t, o)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        down: &Tensor,
        up: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (t, i, o) = sizes(x.shape(), &self.weight.dims().into())?;
        let r = down.dim(0)?;
        let Some(reduced) = self.reduced.get() else {
            bail!("a low-rank layer was asked for gradients before its forward pass");
        };
        let upstream = upstream.contiguous()?;
        let upstream = elements_of(&upstream)?;
        let errors = View::new(&upstream, t, o);
        let (x_values, downs, ups) = (elements_of(x)?, elements_of(down)?, elements_of(up)?);
        let ups = transposed(&ups, o, r);
        let through_up = product(View::new(&ups, r, o), errors.transposed(), self.scale); // (R, O) @ (O, T) → (R, T)
        let through_up = View::new(&through_up, r, t);
        let up_gradient = product(View::new(reduced, r, t), errors, self.scale); // (R, T) @ (T, O) → (R, O)
        let up_gradient = transposed(&up_gradient, r, o); // (R, O) → (O, R)
        let down_gradient = product(through_up, View::new(&x_values, t, i), 1.0); // (R, T) @ (T, I) → (R, I)
        let input_gradient = if x.track_op() {
            let update = LowRankTerm {
                left: through_up.transposed(),
                right: View::new(&downs, r, i),
                scale: 1.0,
            };
            let values = self
                .weight
                .product(errors, Direction::Backward, Some(update))?;
            gradient(values, x)?
        } else {
            None
        };
        Ok((
            input_gradient,
            gradient(down_gradient, down)?,
            gradient(up_gradient, up)?,
        ))
    }
}
