//! Gradient checkpointing (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"): a
//! block keeps its input alone, and its backward pass runs it once more.
//!
//! On candle's tape an op has at most three arguments, a block many trained tensors. So each
//! trained tensor enters a chain of one-element markers; the block takes the chain's end as its
//! second argument, hands the gradients over when its turn comes, and each marker returns its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::backend::{BackendDevice, BackendStorage};
use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, Error, Layout, MetalStorage, Result, Shape, Tensor, Var,
};

use super::composed::{Value, one_zero};

/// A part of a model as a function of its input alone. Run twice on the same input it must give
/// the same output.
pub(crate) type Block = Arc<dyn Fn(&Tensor) -> Result<Tensor> + Send + Sync>;

/// Runs a block; of what its backward pass needs, only `x` is kept.
///
/// # Shapes
/// - `x`: (T, D); `trained`: every variable that the block reads; returns what the block returns
pub(crate) fn recomputed(x: &Tensor, trained: &[Tensor], block: Block) -> Result<Tensor> {
    if !x.track_op() && trained.is_empty() {
        return block(x);
    }
    let out = Value::of(block(&x.detach())?.detach())?;
    let handed = Arc::new(Handed(Mutex::new(Vec::new())));
    let mut chain = Tensor::zeros(1, x.dtype(), x.device())?;
    for (index, tensor) in trained.iter().enumerate() {
        let marker = Marker {
            index,
            handed: Arc::clone(&handed),
        };
        chain = chain.apply_op2(tensor, marker)?;
    }
    let operation = Recomputed {
        block,
        trained: trained.into(),
        handed,
        out,
    };
    x.apply_op2(&chain, operation)
}

/// Gradients on their way from a block to its markers.
struct Handed(Mutex<Vec<Option<Tensor>>>);

impl Handed {
    fn lock(&self) -> MutexGuard<'_, Vec<Option<Tensor>>> {
        // Tensors are replaced whole: what a panicking thread left is no half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Recomputed {
    block: Block,
    trained: Arc<[Tensor]>,
    handed: Arc<Handed>,
    /// Of the forward pass, recorded nowhere.
    out: Value,
}

impl CustomOp2 for Recomputed {
    fn name(&self) -> &'static str {
        "recomputed-block"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.out.on_cpu()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.out.on_cuda()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.out.on_metal()
    }

    fn bwd(
        &self,
        x: &Tensor,
        chain: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let input = Var::from_tensor(&x.detach())?;
        let out = (self.block)(input.as_tensor())?;
        // A loss whose gradient by the output is what arrives from above.
        let mut gradients = (out * upstream.detach())?.sum_all()?.backward()?;
        *self.handed.lock() = self
            .trained
            .iter()
            .map(|tensor| gradients.remove(tensor))
            .collect();
        let input_gradient = if x.track_op() {
            gradients.remove(input.as_tensor())
        } else {
            None
        };
        Ok((input_gradient, Some(chain.zeros_like()?)))
    }
}

struct Marker {
    index: usize,
    handed: Arc<Handed>,
}

impl CustomOp2 for Marker {
    fn name(&self) -> &'static str {
        "recomputed-parameter"
    }

    fn cpu_fwd(
        &self,
        chain: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        marked(chain)
    }

    fn cuda_fwd(
        &self,
        chain: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        marked(chain)
    }

    fn metal_fwd(
        &self,
        chain: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        marked(chain)
    }

    fn bwd(
        &self,
        chain: &Tensor,
        _tensor: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut handed = self.handed.lock();
        let gradient = handed
            .get_mut(self.index)
            .ok_or_else(|| Error::msg("a trained tensor was asked before its block"))?
            .take();
        Ok((chain.track_op().then(|| upstream.clone()), gradient))
    }
}

/// The next element of a chain.
fn marked<S: BackendStorage>(chain: &S) -> Result<(S, Shape)>
where
    S::Device: BackendDevice<Storage = S>,
{
    Ok((one_zero(chain)?, Shape::from(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn variable(values: &[f32], shape: (usize, usize)) -> Var {
        Var::from_slice(values, shape, &Device::Cpu).unwrap()
    }

    /// Two blocks in a row, the second with a tensor of the first: y = tanh(x @ a) @ b + c·x.
    fn gradients(checkpointed: bool) -> Vec<Vec<f32>> {
        let x = variable(&[0.3, -0.2, 0.5, 0.1], (2, 2));
        let a = variable(&[0.7, 0.2, -0.4, 0.9], (2, 2));
        let b = variable(&[0.1, -0.6, 0.8, 0.4], (2, 2));
        let c = variable(&[1.5, -0.5], (1, 2));
        let all = [a.as_tensor(), b.as_tensor(), c.as_tensor()].map(Tensor::clone);
        let parts = all.clone();
        let block: Block = Arc::new(move |x| {
            let [a, b, c] = &parts;
            x.matmul(a)?.tanh()?.matmul(b)? + x.broadcast_mul(c)?
        });
        let run = |x: &Tensor| {
            if checkpointed {
                recomputed(x, &all, Arc::clone(&block)).unwrap()
            } else {
                block(x).unwrap()
            }
        };
        let out = run(&run(&x));
        let loss = out.sqr().unwrap().sum_all().unwrap();
        let gradients = loss.backward().unwrap();
        [x.as_tensor()]
            .into_iter()
            .chain(&all)
            .map(|tensor| {
                let gradient = gradients.get(tensor).unwrap();
                gradient.flatten_all().unwrap().to_vec1().unwrap()
            })
            .collect()
    }

    #[test]
    fn a_recomputed_block_has_the_plain_one_s_gradients() {
        assert_eq!(gradients(true), gradients(false));
    }

    #[test]
    fn a_frozen_input_gets_no_gradient_and_a_frozen_block_is_run_as_it_is() {
        let x = Tensor::ones((2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let a = variable(&[1.0, 2.0, 3.0, 4.0], (2, 2));
        let weight = a.as_tensor().clone();
        let block: Block = Arc::new(move |x| x.matmul(&weight));
        let trained = [a.as_tensor().clone()];
        let out = recomputed(&x, &trained, Arc::clone(&block)).unwrap();
        let gradients = out.sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&x).is_none());
        assert_eq!(
            gradients.get(&a).unwrap().to_vec2::<f32>().unwrap(),
            [[2.0, 2.0], [2.0, 2.0]]
        );
        let frozen: Block = Arc::new(|x| x * 2.0);
        assert!(!recomputed(&x, &[], frozen).unwrap().track_op());
    }
}
