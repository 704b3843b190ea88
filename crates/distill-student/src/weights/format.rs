//! Safetensors in and out.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::Precision;
use crate::decoder::DecoderError;
use crate::ops::elements_of;

/// Reads every tensor as f32; `what` names the source in errors.
pub(crate) fn read_tensors(
    bytes: &[u8],
    what: &str,
) -> Result<BTreeMap<String, Tensor>, DecoderError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| DecoderError::Format {
        what: what.to_owned(),
        reason: error.to_string(),
    })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let values = numbers(&view).ok_or_else(|| DecoderError::TensorType {
            name: name.to_owned(),
            dtype: format!("{:?}", view.dtype()),
        })?;
        let tensor = Tensor::from_vec(values, view.shape(), &Device::Cpu)?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(tensors)
}

/// The values of a tensor, or nothing where its type is not one that is read.
fn numbers(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => data
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect(),
        Dtype::BF16 => data
            .as_chunks()
            .0
            .iter()
            .map(|bytes| bf16::from_le_bytes(*bytes).to_f32())
            .collect(),
        Dtype::F16 => data
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f16::from_le_bytes(*bytes).to_f32())
            .collect(),
        _ => return None,
    })
}

/// Writes tensors in order of name; the same tensors give the same bytes.
pub(crate) fn write_tensors(
    tensors: &BTreeMap<String, Tensor>,
    precision: Precision,
) -> Result<Vec<u8>, DecoderError> {
    let mut stored = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let values = elements_of(tensor)?;
        let bytes: Vec<u8> = match precision {
            Precision::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Precision::Bf16 => values
                .iter()
                .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
                .collect(),
        };
        stored.push((name, tensor.dims().to_vec(), bytes));
    }
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::Bf16 => Dtype::BF16,
    };
    let failed = |error: safetensors::SafeTensorError| DecoderError::Format {
        what: "tensors to write".to_owned(),
        reason: error.to_string(),
    };
    let views = stored
        .iter()
        .map(|(name, shape, bytes)| {
            TensorView::new(dtype, shape.clone(), bytes).map(|view| (name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    safetensors::serialize(views, None).map_err(failed)
}
