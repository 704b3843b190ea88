//! The tensors that move, by name and in one fixed order.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};

use crate::TrainError;
use crate::decoder::optimizer::Moving;

pub(crate) struct Variables {
    all: Vec<(String, Var)>,
    device: Device,
}

impl Variables {
    /// Copies, in f32 and on a device: a variable made from a tensor shares its storage, and what
    /// training begins from must stay.
    pub(crate) fn new(
        start: impl IntoIterator<Item = (String, Tensor)>,
        device: &Device,
    ) -> Result<Self, TrainError> {
        let variables = start.into_iter().map(|(name, tensor)| {
            let copy = tensor.to_dtype(DType::F32)?.copy()?.to_device(device)?;
            Ok((name, Var::from_tensor(&copy)?))
        });
        Ok(Self {
            all: variables.collect::<Result<_, TrainError>>()?,
            device: device.clone(),
        })
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &Var> {
        self.all.iter().map(|(_, variable)| variable)
    }

    /// Number of trained values.
    pub(crate) fn count(&self) -> usize {
        self.sizes().iter().sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.all
            .iter()
            .map(|(name, variable)| (name.as_str(), variable.as_tensor()))
    }

    /// Tensors on the same storage: those that record gradients, or those that do not.
    pub(crate) fn tensors(&self, of: impl Fn(&Var) -> Tensor) -> BTreeMap<String, Tensor> {
        self.all
            .iter()
            .map(|(name, variable)| (name.clone(), of(variable)))
            .collect()
    }

    /// The values on another device, detached; on the same storage where they lie there.
    pub(crate) fn moved_to(&self, device: &Device) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let moved = self.all.iter().map(|(name, variable)| {
            let tensor = variable.as_detached_tensor().to_device(device)?;
            Ok((name.clone(), tensor))
        });
        moved.collect()
    }

    /// Every value, in the order of the tensors.
    pub(crate) fn values(&self) -> Result<Vec<Vec<f32>>, TrainError> {
        (0..self.all.len()).map(|index| self.read(index)).collect()
    }

    pub(crate) fn set(&self, values: &[Vec<f32>]) -> Result<(), TrainError> {
        for (index, values) in values.iter().enumerate() {
            self.write(index, values.clone())?;
        }
        Ok(())
    }
}

impl Moving for Variables {
    fn sizes(&self) -> Vec<usize> {
        self.all.iter().map(|(_, v)| v.elem_count()).collect()
    }

    fn is_matrix(&self, index: usize) -> bool {
        self.all[index].1.rank() > 1
    }

    fn read(&self, index: usize) -> Result<Vec<f32>, TrainError> {
        Ok(self.all[index].1.flatten_all()?.to_vec1()?)
    }

    fn write(&self, index: usize, values: Vec<f32>) -> Result<(), TrainError> {
        let variable = &self.all[index].1;
        let tensor = Tensor::from_vec(values, variable.shape().clone(), variable.device())?;
        Ok(variable.set(&tensor)?)
    }
}
