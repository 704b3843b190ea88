//! Matrices that are never trained, held in as few bytes as asked for.

mod codes;
pub(crate) mod nf4;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor, Var, bail};
use serde::{Deserialize, Serialize};

use super::gather::gather;
use super::has_kernels;
pub(crate) use super::product::Direction;
use super::product::{Instructions, LowRankTerm, Matrix, Product, Rows, View};
use super::storage::{elements_of, halves_of};
use codes::Codes;
use nf4::Nf4;

/// How a frozen matrix is held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// 4 bytes an element; products in f32.
    F32,
    /// 2 bytes an element; products of bf16 values, summed in f32.
    Bf16,
    /// 4.5 bits an element (four-bit `NormalFloat`, blocks of 64; Dettmers et al. 2023); products
    /// of the dequantised values in bf16, summed in f32.
    Nf4,
}

/// A frozen matrix (O, I). Clones share its memory.
#[derive(Debug, Clone)]
pub struct FrozenWeight {
    values: Values,
    rows: usize,
    columns: usize,
}

#[derive(Debug, Clone)]
enum Values {
    /// Contiguous, f32 or bf16.
    Dense(Tensor),
    Nf4(Arc<Nf4>),
    /// NF4 as candle's operations take it.
    Codes(Arc<Codes>),
}

impl FrozenWeight {
    /// Takes a matrix of any floating-point type. It shares the tensor's memory where the type
    /// and the layout are those asked for.
    ///
    /// # Shapes
    /// - `weight`: (O, I)
    pub fn new(weight: &Tensor, storage: Storage) -> Result<Self> {
        let (rows, columns) = weight.dims2()?;
        let weight = weight.detach();
        let values = match storage {
            Storage::F32 => Values::Dense(weight.to_dtype(DType::F32)?.contiguous()?),
            Storage::Bf16 => Values::Dense(weight.to_dtype(DType::BF16)?.contiguous()?),
            Storage::Nf4 => {
                let values = weight
                    .to_dtype(DType::F32)?
                    .flatten_all()?
                    .to_vec1::<f32>()?;
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    let row = at / columns;
                    bail!(
                        "four bits cannot hold {} in row {row} of a weight",
                        values[at]
                    );
                }
                Values::Nf4(Arc::new(Nf4::quantise(&values)))
            }
        };
        Ok(Self {
            values,
            rows,
            columns,
        })
    }

    /// (O, I)
    pub fn dims(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    pub fn storage(&self) -> Storage {
        match &self.values {
            Values::Dense(tensor) if tensor.dtype() == DType::BF16 => Storage::Bf16,
            Values::Dense(_) => Storage::F32,
            Values::Nf4(_) | Values::Codes(_) => Storage::Nf4,
        }
    }

    pub fn device(&self) -> &Device {
        match &self.values {
            Values::Dense(tensor) => tensor.device(),
            Values::Nf4(_) => &Device::Cpu,
            Values::Codes(codes) => codes.device(),
        }
    }

    /// The same matrix on a device; what is there already is shared. Four bits stay four bits.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let values = match &self.values {
            Values::Dense(tensor) => Values::Dense(tensor.to_device(device)?),
            Values::Nf4(quantised) if !has_kernels(device) => {
                Values::Codes(Arc::new(Codes::new(quantised, device)?))
            }
            held if self.device().same_device(device) => held.clone(),
            _ => bail!("a matrix in four bits cannot be moved from card to card"),
        };
        Ok(Self { values, ..*self })
    }

    /// Memory of the elements and their scales.
    pub fn bytes(&self) -> usize {
        match &self.values {
            Values::Dense(tensor) => tensor.elem_count() * tensor.dtype().size_in_bytes(),
            Values::Nf4(quantised) => quantised.bytes(),
            Values::Codes(codes) => codes.bytes(),
        }
    }

    /// The values as an f32 tensor (O, I). Those of NF4 are rounded to bf16 in products.
    pub fn dequantised(&self) -> Result<Tensor> {
        match &self.values {
            Values::Dense(tensor) => tensor.to_dtype(DType::F32),
            Values::Nf4(quantised) => {
                let mut values = vec![0.0; quantised.length()];
                quantised.dequantise(0, &mut values);
                Tensor::from_vec(values, self.dims(), &Device::Cpu)
            }
            Values::Codes(codes) => codes.dequantised()?.reshape(self.dims()),
        }
    }

    /// Chosen rows in f32; an index may repeat.
    ///
    /// # Shapes
    /// - `indices`: M of them; returns (M, I)
    pub fn rows(&self, indices: &Arc<[u32]>) -> Result<Tensor> {
        match &self.values {
            Values::Dense(tensor) if tensor.dtype() == DType::F32 => gather(tensor, indices),
            Values::Dense(tensor) => {
                let indices = Tensor::from_slice(indices, indices.len(), tensor.device())?;
                tensor.index_select(&indices, 0)?.to_dtype(DType::F32)
            }
            Values::Codes(codes) => gather(&codes.dequantised()?.reshape(self.dims())?, indices),
            Values::Nf4(quantised) => {
                let mut out = vec![0.0; indices.len() * self.columns];
                for (&index, row) in indices.iter().zip(out.chunks_exact_mut(self.columns)) {
                    let index = index as usize;
                    if index >= self.rows {
                        bail!("index {index} is outside a table of {} rows", self.rows);
                    }
                    quantised.dequantise(index * self.columns, row);
                }
                Tensor::from_vec(out, (indices.len(), self.columns), &Device::Cpu)
            }
        }
    }
}

impl FrozenWeight {
    /// The product of some rows with the matrix, and a term more, on the CPU.
    pub(crate) fn product(
        &self,
        left: View<'_>,
        direction: Direction,
        term: Option<LowRankTerm<'_>>,
    ) -> Result<Vec<f32>> {
        self.with_matrix(|matrix| {
            Product {
                left,
                matrix,
                direction,
                term,
                instructions: Instructions::detected(),
            }
            .run()
        })
    }

    /// As [`Self::product`], into memory at hand.
    pub(crate) fn product_into(
        &self,
        out: &mut [f32],
        left: View<'_>,
        direction: Direction,
        term: Option<LowRankTerm<'_>>,
    ) -> Result<()> {
        self.with_matrix(|matrix| {
            Product {
                left,
                matrix,
                direction,
                term,
                instructions: Instructions::detected(),
            }
            .run_into(out);
        })
    }

    fn with_matrix<R>(&self, run: impl FnOnce(Matrix<'_>) -> R) -> Result<R> {
        let (rows, columns) = self.dims();
        match &self.values {
            Values::Codes(_) => bail!("the kernels of the processor do not read codes of a card"),
            Values::Nf4(quantised) => Ok(run(Matrix::new(Rows::Nf4(quantised), rows, columns))),
            Values::Dense(tensor) if tensor.dtype() == DType::BF16 => {
                let values = halves_of(tensor)?;
                Ok(run(Matrix::new(Rows::Half(&values), rows, columns)))
            }
            Values::Dense(tensor) => {
                let values = elements_of(tensor)?;
                Ok(run(Matrix::new(Rows::Single(&values), rows, columns)))
            }
        }
    }

    /// The product of some rows with the matrix in candle's operations; nothing is recorded.
    ///
    /// # Shapes
    /// - `left`: (T, I) forward, (T, O) backward; returns (T, O) forward, (T, I) backward
    pub(super) fn composed_product(&self, left: &Tensor, direction: Direction) -> Result<Tensor> {
        let matrix = match &self.values {
            Values::Dense(tensor) => tensor.clone(),
            Values::Nf4(_) | Values::Codes(_) => self.dequantised()?.to_dtype(DType::BF16)?,
        };
        let matrix = match direction {
            Direction::Forward => matrix.t()?,
            Direction::Backward => matrix,
        };
        if matrix.dtype() == DType::F32 {
            return left.matmul(&matrix);
        }
        let left = left.to_dtype(matrix.dtype())?;
        if left.device().is_cpu() {
            // candle has no such product on the processor.
            return left
                .to_dtype(DType::F32)?
                .matmul(&matrix.to_dtype(DType::F32)?);
        }
        left.matmul(&matrix)?.to_dtype(DType::F32)
    }
}

/// A matrix (O, I) that a layer multiplies by. Clones share its memory.
#[derive(Debug, Clone)]
pub enum Weight {
    /// Gets a gradient where it is a variable.
    Trained(Tensor),
    /// Gets none.
    Frozen(FrozenWeight),
}

impl Weight {
    /// (O, I)
    pub fn dims(&self) -> Result<(usize, usize)> {
        match self {
            Self::Trained(tensor) => tensor.dims2(),
            Self::Frozen(frozen) => Ok(frozen.dims()),
        }
    }

    /// Chosen rows in f32, as an embedding gives them; an index may repeat.
    ///
    /// # Shapes
    /// - `indices`: M of them; returns (M, I)
    pub fn rows(&self, indices: &Arc<[u32]>) -> Result<Tensor> {
        match self {
            Self::Trained(tensor) => gather(tensor, indices),
            Self::Frozen(frozen) => frozen.rows(indices),
        }
    }
}

/// A borrowed [`Weight`]: what operations take, made from a tensor, a frozen matrix or either.
#[derive(Debug, Clone, Copy)]
pub enum WeightRef<'a> {
    Trained(&'a Tensor),
    Frozen(&'a FrozenWeight),
}

impl<'a> From<&'a Tensor> for WeightRef<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::Trained(tensor)
    }
}

impl<'a> From<&'a Var> for WeightRef<'a> {
    fn from(variable: &'a Var) -> Self {
        Self::Trained(variable)
    }
}

impl<'a> From<&'a FrozenWeight> for WeightRef<'a> {
    fn from(frozen: &'a FrozenWeight) -> Self {
        Self::Frozen(frozen)
    }
}

impl<'a> From<&'a Weight> for WeightRef<'a> {
    fn from(weight: &'a Weight) -> Self {
        match weight {
            Weight::Trained(tensor) => Self::Trained(tensor),
            Weight::Frozen(frozen) => Self::Frozen(frozen),
        }
    }
}
