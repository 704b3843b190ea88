//! Rows of a table by index: the embedding, and the choice of the rows that carry a label.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::storage::{elements, elements_of, gradient, output};

/// Returns the rows of `table` at `indices`, in their order; an index may repeat.
///
/// # Shapes
/// - `table`: (N, W), `indices`: M of them; returns (M, W)
pub fn gather(table: &Tensor, indices: &Arc<[u32]>) -> Result<Tensor> {
    if super::fused(table) {
        let operation = Gather {
            indices: Arc::clone(indices),
        };
        return table.contiguous()?.apply_op1(operation);
    }
    composed(table, indices)
}

/// The same in plain differentiable operations.
pub(super) fn composed(table: &Tensor, indices: &[u32]) -> Result<Tensor> {
    let indices = Tensor::from_slice(indices, indices.len(), table.device())?;
    table.index_select(&indices, 0)
}

struct Gather {
    indices: Arc<[u32]>,
}

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let table = elements(table, layout)?;
        let mut out = Vec::with_capacity(self.indices.len() * width);
        for &index in self.indices.iter() {
            let at = index as usize;
            if at >= rows {
                bail!("index {index} is outside a table of {rows} rows");
            }
            out.extend_from_slice(&table[at * width..(at + 1) * width]);
        }
        Ok(output(out, (self.indices.len(), width)))
    }

    fn bwd(&self, table: &Tensor, _result: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        if !table.track_op() {
            return Ok(None);
        }
        let (rows, width) = table.dims2()?;
        let upstream = upstream.contiguous()?;
        let upstream = elements_of(&upstream)?;
        let mut out = vec![0.0; rows * width];
        // One thread, in order: rows repeat, and the order of the sum must not vary.
        for (&index, row) in self.indices.iter().zip(upstream.chunks_exact(width)) {
            let at = index as usize;
            for (sum, value) in out[at * width..(at + 1) * width].iter_mut().zip(row) {
                *sum += value;
            }
        }
        gradient(out, table)
    }
}
