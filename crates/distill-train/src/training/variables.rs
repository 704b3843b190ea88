//! The tensors that move, by name and in one fixed order.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use rayon::prelude::*;

use crate::TrainError;
use crate::decoder::optimizer::Moving;

pub(crate) struct Variables(Vec<(String, Var)>);

impl Variables {
    /// Copies, in f32: a variable made from a tensor shares its storage, and what training begins
    /// from must stay.
    pub(crate) fn new(
        start: impl IntoIterator<Item = (String, Tensor)>,
    ) -> Result<Self, TrainError> {
        let variables = start.into_iter().map(|(name, tensor)| {
            let copy = tensor.to_dtype(DType::F32)?.copy()?;
            Ok((name, Var::from_tensor(&copy)?))
        });
        Ok(Self(variables.collect::<Result<_, TrainError>>()?))
    }

    /// Number of trained values.
    pub(crate) fn count(&self) -> usize {
        self.sizes().iter().sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0
            .iter()
            .map(|(name, variable)| (name.as_str(), variable.as_tensor()))
    }

    /// Tensors on the same storage: those that record gradients, or those that do not.
    pub(crate) fn tensors(&self, of: impl Fn(&Var) -> Tensor) -> BTreeMap<String, Tensor> {
        self.0
            .iter()
            .map(|(name, variable)| (name.clone(), of(variable)))
            .collect()
    }

    /// Every value, in the order of the tensors.
    pub(crate) fn values(&self) -> Result<Vec<Vec<f32>>, TrainError> {
        (0..self.0.len()).map(|index| self.read(index)).collect()
    }

    pub(crate) fn set(&self, values: &[Vec<f32>]) -> Result<(), TrainError> {
        for (index, values) in values.iter().enumerate() {
            self.write(index, values.clone())?;
        }
        Ok(())
    }

    /// Adds one batch's gradients to the sums, which begin empty.
    pub(crate) fn add_gradients(
        &self,
        gradients: &GradStore,
        sums: &mut Vec<Vec<f32>>,
    ) -> Result<(), TrainError> {
        let first = sums.is_empty();
        for (index, (name, variable)) in self.0.iter().enumerate() {
            let gradient = gradients.get(variable).ok_or_else(|| TrainError::Census {
                reason: format!("`{name}` got none"),
            })?;
            let values: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
            if first {
                sums.push(values);
            } else {
                sums[index]
                    .par_iter_mut()
                    .zip(values.par_iter())
                    .with_min_len(1 << 14)
                    .for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(())
    }
}

impl Moving for Variables {
    fn sizes(&self) -> Vec<usize> {
        self.0.iter().map(|(_, v)| v.elem_count()).collect()
    }

    fn is_matrix(&self, index: usize) -> bool {
        self.0[index].1.rank() > 1
    }

    fn read(&self, index: usize) -> Result<Vec<f32>, TrainError> {
        Ok(self.0[index].1.flatten_all()?.to_vec1()?)
    }

    fn write(&self, index: usize, values: Vec<f32>) -> Result<(), TrainError> {
        let variable = &self.0[index].1;
        let tensor = Tensor::from_vec(values, variable.shape().clone(), variable.device())?;
        Ok(variable.set(&tensor)?)
    }
}
