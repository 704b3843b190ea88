//! Safetensors out.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use half::bf16;
use serde_json::json;

use super::Precision;
use crate::decoder::DecoderError;
use crate::ops::elements_of;

/// Values turned to bytes at a time.
const PART: usize = 1 << 16;

/// Writes tensors in order of name; the same tensors give the same bytes.
pub(crate) fn write_tensors(
    tensors: &BTreeMap<String, Tensor>,
    precision: Precision,
) -> Result<Vec<u8>, DecoderError> {
    let (dtype, width) = match precision {
        Precision::F32 => ("F32", 4),
        Precision::Bf16 => ("BF16", 2),
    };
    let mut header = serde_json::Map::new();
    let mut start = 0;
    for (name, tensor) in tensors {
        let end = start + tensor.elem_count() * width;
        let entry = json!({"dtype": dtype, "shape": tensor.dims(), "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
        start = end;
    }
    let mut text = serde_json::Value::Object(header).to_string();
    // The data begins at a multiple of eight.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut out = Vec::with_capacity(8 + text.len() + start);
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    for tensor in tensors.values() {
        write(tensor, precision, &mut out)?;
    }
    Ok(out)
}

/// Appends the values of a tensor, a part at a time: of the bytes there is one copy.
fn write(tensor: &Tensor, precision: Precision, out: &mut Vec<u8>) -> Result<(), DecoderError> {
    let tensor = tensor.contiguous()?.flatten_all()?;
    for start in (0..tensor.elem_count()).step_by(PART) {
        let count = PART.min(tensor.elem_count() - start);
        let part = tensor.narrow(0, start, count)?;
        match precision {
            Precision::F32 => {
                let part = part.to_dtype(DType::F32)?;
                let values = elements_of(&part)?;
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            Precision::Bf16 => {
                let values = part.to_dtype(DType::BF16)?.to_vec1::<bf16>()?;
                out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
    }
    Ok(())
}
