//! Access to the f32 slice behind a tensor on the CPU.

use std::ops::Deref;

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, bail};

/// The elements of a contiguous f32 argument of an op.
pub(super) fn elements<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        (CpuStorage::F32(_), None) => bail!("expected contiguous elements, got {layout:?}"),
        _ => bail!("expected f32 elements"),
    }
}

/// The elements of a contiguous f32 tensor on the CPU, held for reading.
pub(crate) fn elements_of(tensor: &Tensor) -> Result<impl Deref<Target = [f32]> + '_> {
    let (guard, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected contiguous elements, got {layout:?}");
    };
    if !matches!(&*guard, Storage::Cpu(CpuStorage::F32(_))) {
        bail!("expected f32 elements on the cpu");
    }
    Ok(Elements { guard, start, end })
}

struct Elements<G> {
    guard: G,
    start: usize,
    end: usize,
}

impl<G: Deref<Target = Storage>> Deref for Elements<G> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.guard {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            _ => unreachable!("checked when it was made"),
        }
    }
}

/// What the forward of an op returns.
pub(super) fn output(values: Vec<f32>, shape: impl Into<Shape>) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), shape.into())
}

/// A gradient in the shape of the tensor that it belongs to.
pub(super) fn gradient(values: Vec<f32>, like: &Tensor) -> Result<Option<Tensor>> {
    Tensor::from_vec(values, like.shape().clone(), like.device()).map(Some)
}
