//! The gradients of one step, added up over its batches.

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use distill_student::ops::has_kernels;
use rayon::prelude::*;

use super::placed;
use super::variables::Variables;
use crate::TrainError;
use crate::decoder::optimizer::{self, Moving, NORM_EPSILON};

/// In the order of the variables; empty before the first batch.
#[derive(Default)]
pub(crate) enum Sums {
    #[default]
    Empty,
    /// In main memory, tensor by tensor.
    Host(Vec<Vec<f32>>),
    /// Where the model runs, as one row.
    Placed(Tensor),
}

impl Sums {
    /// Adds one batch's gradients.
    pub(crate) fn add(
        &mut self,
        variables: &Variables,
        gradients: &GradStore,
    ) -> Result<(), TrainError> {
        let of = |(name, variable): (&str, &Tensor)| {
            let gradient = gradients.get(variable).ok_or_else(|| TrainError::Census {
                reason: format!("`{name}` got none"),
            })?;
            Ok(gradient.clone())
        };
        let found = variables
            .iter()
            .map(of)
            .collect::<Result<Vec<Tensor>, TrainError>>()?;
        if !has_kernels(variables.device()) {
            let row = placed::row(found.iter())?;
            *self = Self::Placed(match self {
                Self::Placed(sum) => (&*sum + row)?,
                _ => row,
            });
            return Ok(());
        }
        let values = |gradient: &Tensor| gradient.flatten_all()?.to_vec1::<f32>();
        let Self::Host(sums) = self else {
            let values = found.iter().map(values).collect::<Result<_, _>>()?;
            *self = Self::Host(values);
            return Ok(());
        };
        for (sum, gradient) in sums.iter_mut().zip(&found) {
            sum.par_iter_mut()
                .zip(values(gradient)?.par_iter())
                .with_min_len(1 << 14)
                .for_each(|(sum, value)| *sum += value);
        }
        Ok(())
    }

    /// Scales down to a global norm of at most `limit` (0: no limit); returns the norm before.
    pub(crate) fn clip(&mut self, limit: f64) -> Result<f64, TrainError> {
        match self {
            Self::Empty => Ok(0.0),
            Self::Host(sums) => Ok(optimizer::clip(sums, limit)),
            Self::Placed(row) => {
                let norm = placed::norm(row)?;
                let by = limit / (norm + NORM_EPSILON);
                if limit > 0.0 && by < 1.0 {
                    *row = (&*row * by)?;
                }
                Ok(norm)
            }
        }
    }

    /// The sums in main memory, tensor by tensor.
    pub(crate) fn values(&self, variables: &Variables) -> Result<Vec<Vec<f32>>, TrainError> {
        match self {
            Self::Empty => Ok(Vec::new()),
            Self::Host(sums) => Ok(sums.clone()),
            Self::Placed(row) => Ok(placed::split(&row.to_vec1()?, &variables.sizes())),
        }
    }
}
