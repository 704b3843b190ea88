//! Row lengths of a weight under its update, for `DoRA`.

use candle_core::{D, DType, Tensor};

use super::LowRank;
use crate::decoder::DecoderError;

/// The length of each row.
///
/// # Shapes
/// - `weight`: (O, I); returns (O)
pub(crate) fn row_lengths(weight: &Tensor) -> Result<Tensor, DecoderError> {
    Ok(squared_rows(weight)?.sqrt()?)
}

/// ‖w‖² of each row, in f32.
///
/// # Shapes
/// - `weight`: (O, I); returns (O)
pub(crate) fn squared_rows(weight: &Tensor) -> Result<Tensor, DecoderError> {
    let weight = weight.detach().to_dtype(DType::F32)?;
    Ok(weight.sqr()?.sum(D::Minus1)?)
}

/// The row lengths of W + s·B·A from ‖w‖² and W·Aᵀ, without making B·A. Nothing of it is recorded:
/// the lengths count as constants in the backward pass (Liu et al. 2024, section 4.3).
///
/// # Shapes
/// - `squared`: (O), `weight_down` (W·Aᵀ): (O, R); returns (O)
pub(crate) fn updated_lengths(
    squared: &Tensor,
    weight_down: &Tensor,
    update: &LowRank,
) -> Result<Tensor, DecoderError> {
    let (down, up) = (update.down.detach(), update.up.detach());
    let gram = down.matmul(&down.t()?)?; // (R, I) @ (I, R) → (R, R)
    let mixed = (&up * weight_down)?.sum(D::Minus1)?; // (O)
    let change = (up.matmul(&gram)? * &up)?.sum(D::Minus1)?; // (O)
    let scale = update.scale;
    let squares = ((squared + (mixed * (2.0 * scale))?)? + (change * (scale * scale))?)?;
    // Rounding must not take a row of nearly no length below zero.
    Ok(squares.clamp(f32::MIN_POSITIVE, f32::MAX)?.sqrt()?)
}
