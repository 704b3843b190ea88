//! Operations made of candle's own, for devices that the kernels here do not run on.
//!
//! candle's tape gives a gradient to every argument of an operation, trained or not: of a product
//! with a frozen matrix it would work out, and keep, the gradient of the matrix. So an operation
//! here works out its value on tensors that record nothing and brings its own backward pass, also
//! made of candle's operations. Between the passes only what that backward pass holds on to is kept.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, CustomOp2, CustomOp3, Error, InplaceOp1, Layout,
    MetalStorage, Result, Shape, Storage, Tensor,
};

/// The gradients of the arguments, of what arrives from above; none where there is none.
type Gradients<const N: usize> = Box<dyn Fn(&Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync>;

/// A value on its way to the operation that stands for it on the tape.
pub(super) struct Value {
    storage: Mutex<Option<Storage>>,
    shape: Shape,
}

impl Value {
    /// Takes the memory of a tensor that was just made: no other tensor may share it.
    pub(super) fn of(fresh: Tensor) -> Result<Self> {
        let fresh = if fresh.is_contiguous() && fresh.layout().start_offset() == 0 {
            fresh
        } else {
            fresh.force_contiguous()?
        };
        let taken = Taken(Mutex::new(None));
        let shape = fresh.shape().clone();
        fresh.inplace_op1(&taken)?;
        Ok(Self {
            storage: taken.0,
            shape,
        })
    }

    fn hand_over(&self) -> Result<(Storage, Shape)> {
        let mut held = self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        let storage = held
            .take()
            .ok_or_else(|| Error::msg("the value of an operation was asked for twice"))?;
        Ok((storage, self.shape.clone()))
    }

    pub(super) fn on_cpu(&self) -> Result<(CpuStorage, Shape)> {
        match self.hand_over()? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => Err(elsewhere()),
        }
    }

    pub(super) fn on_cuda(&self) -> Result<(CudaStorage, Shape)> {
        match self.hand_over()? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => Err(elsewhere()),
        }
    }

    pub(super) fn on_metal(&self) -> Result<(MetalStorage, Shape)> {
        match self.hand_over()? {
            (Storage::Metal(storage), shape) => Ok((storage, shape)),
            _ => Err(elsewhere()),
        }
    }
}

fn elsewhere() -> Error {
    Error::msg("an operation's value lies on another device than its argument")
}

/// Takes a tensor's memory out of it.
struct Taken(Mutex<Option<Storage>>);

impl Taken {
    fn take<S>(&self, storage: &mut S, wrap: fn(S) -> Storage) -> Result<()>
    where
        S: BackendStorage,
        S::Device: BackendDevice<Storage = S>,
    {
        let empty = one_zero(storage)?;
        let taken = std::mem::replace(storage, empty);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(wrap(taken));
        Ok(())
    }
}

/// A single zero on the device of some memory, of its type.
pub(super) fn one_zero<S: BackendStorage>(like: &S) -> Result<S>
where
    S::Device: BackendDevice<Storage = S>,
{
    like.device().zeros_impl(&Shape::from(1), like.dtype())
}

impl InplaceOp1 for Taken {
    fn name(&self) -> &'static str {
        "take"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _layout: &Layout) -> Result<()> {
        self.take(storage, Storage::Cpu)
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, _layout: &Layout) -> Result<()> {
        self.take(storage, Storage::Cuda)
    }

    fn metal_fwd(&self, storage: &mut MetalStorage, _layout: &Layout) -> Result<()> {
        self.take(storage, Storage::Metal)
    }
}

struct Composed<const N: usize> {
    value: Value,
    backward: Gradients<N>,
}

impl<const N: usize> Composed<N> {
    fn new(
        fresh: Tensor,
        backward: impl Fn(&Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync + 'static,
    ) -> Result<Self> {
        Ok(Self {
            value: Value::of(fresh)?,
            backward: Box::new(backward),
        })
    }
}

const NAME: &str = "composed";

/// Puts a value on the tape as a function of one tensor. The value must have been made on tensors that record
/// nothing, and its memory must be nobody else's: neither the backward pass nor an argument may
/// share it.
pub(super) fn of_one(
    x: &Tensor,
    fresh: Tensor,
    backward: impl Fn(&Tensor) -> Result<[Option<Tensor>; 1]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !x.track_op() {
        return Ok(fresh);
    }
    x.apply_op1(Composed::new(fresh, backward)?)
}

/// As [`of_one`], of two tensors.
pub(super) fn of_two(
    [x, y]: [&Tensor; 2],
    fresh: Tensor,
    backward: impl Fn(&Tensor) -> Result<[Option<Tensor>; 2]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !x.track_op() && !y.track_op() {
        return Ok(fresh);
    }
    x.apply_op2(y, Composed::new(fresh, backward)?)
}

/// As [`of_one`], of three tensors.
pub(super) fn of_three(
    [x, y, z]: [&Tensor; 3],
    fresh: Tensor,
    backward: impl Fn(&Tensor) -> Result<[Option<Tensor>; 3]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !x.track_op() && !y.track_op() && !z.track_op() {
        return Ok(fresh);
    }
    x.apply_op3(y, z, Composed::new(fresh, backward)?)
}

impl CustomOp1 for Composed<1> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.value.on_cpu()
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        self.value.on_cuda()
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> Result<(MetalStorage, Shape)> {
        self.value.on_metal()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        let [x] = (self.backward)(&upstream.contiguous()?)?;
        Ok(x)
    }
}

impl CustomOp2 for Composed<2> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.value.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.value.on_cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.value.on_metal()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [x, y] = (self.backward)(&upstream.contiguous()?)?;
        Ok((x, y))
    }
}

impl CustomOp3 for Composed<3> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.value.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.value.on_cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.value.on_metal()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [x, y, z] = (self.backward)(&upstream.contiguous()?)?;
        Ok((x, y, z))
    }
}
