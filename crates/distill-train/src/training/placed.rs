//! Gradients and `AdamW` where the model runs, for devices without this crate's kernels: all
//! values as one row, so that a step is a handful of operations whatever the number of tensors.
//! Of each step one number comes to the host, the norm of the gradient.

use candle_core::{DType, Tensor, Var};

use super::variables::Variables;
use crate::TrainError;
use crate::decoder::optimizer::{BETA1, EPSILON, Moving};

/// The values of tensors in their order, one after another.
pub(super) fn row<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> Result<Tensor, TrainError> {
    let parts = tensors
        .map(|tensor| Ok(tensor.detach().flatten_all()?.to_dtype(DType::F32)?))
        .collect::<Result<Vec<_>, TrainError>>()?;
    Ok(Tensor::cat(&parts, 0)?)
}

/// The length of a row.
pub(super) fn norm(row: &Tensor) -> Result<f64, TrainError> {
    Ok(f64::from(row.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
}

/// The moments of `AdamW`, all tensors in one row.
pub(crate) struct PlacedMoments {
    first: Tensor,
    second: Tensor,
    /// 1 where a value decays, else 0.
    decays: Tensor,
}

impl PlacedMoments {
    pub(crate) fn new(variables: &Variables) -> Result<Self, TrainError> {
        let decays = variables.iter().map(|(_, tensor)| {
            let decays = if tensor.rank() > 1 { 1f32 } else { 0f32 };
            Tensor::full(decays, tensor.elem_count(), tensor.device())
        });
        let decays = Tensor::cat(&decays.collect::<Result<Vec<_>, _>>()?, 0)?;
        Ok(Self {
            first: decays.zeros_like()?,
            second: decays.zeros_like()?,
            decays,
        })
    }

    /// One step; `rate` and `root_correction` hold the corrections for the moments' start at zero.
    pub(crate) fn step(
        &mut self,
        variables: &Variables,
        gradients: &Tensor,
        of: &StepNumbers,
    ) -> Result<(), TrainError> {
        let squares = gradients.sqr()?;
        self.first = ((&self.first * BETA1)? + (gradients * (1.0 - BETA1))?)?;
        self.second = ((&self.second * of.beta2)? + (squares * (1.0 - of.beta2))?)?;
        let root = ((self.second.sqrt()? / of.root_correction)? + f64::from(EPSILON))?;
        let change = ((&self.first * of.rate)? / root)?;
        let values = row(variables.iter().map(|(_, tensor)| tensor))?;
        let kept = if of.decay > 0.0 {
            (&values * self.decays.affine(-of.decay, 1.0)?)?
        } else {
            values
        };
        let values = (kept - change)?;
        let mut start = 0;
        for variable in variables.each() {
            set(variable, &values, &mut start)?;
        }
        Ok(())
    }

    /// Both moments, tensor by tensor.
    pub(crate) fn read(&self, variables: &Variables) -> Result<[Vec<Vec<f32>>; 2], TrainError> {
        let split = |row: &Tensor| -> Result<Vec<Vec<f32>>, TrainError> {
            Ok(split(&row.to_vec1()?, &variables.sizes()))
        };
        Ok([split(&self.first)?, split(&self.second)?])
    }

    pub(crate) fn write(&mut self, [first, second]: [Vec<Vec<f32>>; 2]) -> Result<(), TrainError> {
        let row = |values: Vec<Vec<f32>>| {
            let values = values.concat();
            let count = values.len();
            Tensor::from_vec(values, count, self.decays.device())
        };
        (self.first, self.second) = (row(first)?, row(second)?);
        Ok(())
    }
}

/// The numbers of one step.
pub(crate) struct StepNumbers {
    pub(crate) beta2: f64,
    /// The learning rate over the correction of the first moment.
    pub(crate) rate: f64,
    pub(crate) root_correction: f64,
    /// Share of a matrix's values that is taken off.
    pub(crate) decay: f64,
}

fn set(variable: &Var, values: &Tensor, start: &mut usize) -> Result<(), TrainError> {
    let count = variable.elem_count();
    let part = values.narrow(0, *start, count)?;
    *start += count;
    Ok(variable.set(&part.reshape(variable.shape())?)?)
}

/// Values that lie one after another, in parts of the sizes given: together as many as there are
/// values.
pub(super) fn split(mut values: &[f32], sizes: &[usize]) -> Vec<Vec<f32>> {
    let parts = sizes.iter().map(|size| {
        let (part, after) = values.split_at(*size);
        values = after;
        part.to_vec()
    });
    parts.collect()
}
