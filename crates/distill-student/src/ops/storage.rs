//! Access to the f32 slice behind a tensor on the CPU.

use std::ops::Deref;

use candle_core::{CpuStorage, Layout, Result, Shape, Storage, Tensor, WithDType, bail};
use half::bf16;

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
    held(tensor, |storage| match storage {
        CpuStorage::F32(values) => Some(values.as_slice()),
        _ => None,
    })
}

/// The elements of a contiguous bf16 tensor on the CPU, held for reading.
pub(super) fn halves_of(tensor: &Tensor) -> Result<impl Deref<Target = [bf16]> + '_> {
    held(tensor, |storage| match storage {
        CpuStorage::BF16(values) => Some(values.as_slice()),
        _ => None,
    })
}

type Slice<T> = fn(&CpuStorage) -> Option<&[T]>;

fn held<T: WithDType>(
    tensor: &Tensor,
    slice: Slice<T>,
) -> Result<Elements<impl Deref<Target = Storage> + '_, T>> {
    let (guard, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("expected contiguous elements, got {layout:?}");
    };
    if !matches!(&*guard, Storage::Cpu(storage) if slice(storage).is_some()) {
        bail!("expected {:?} elements on the cpu", T::DTYPE);
    }
    Ok(Elements {
        guard,
        slice,
        start,
        end,
    })
}

struct Elements<G, T: 'static> {
    guard: G,
    slice: Slice<T>,
    start: usize,
    end: usize,
}

impl<G: Deref<Target = Storage>, T> Deref for Elements<G, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match &*self.guard {
            Storage::Cpu(storage) => match (self.slice)(storage) {
                Some(values) => &values[self.start..self.end],
                None => unreachable!("checked when it was made"),
            },
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
