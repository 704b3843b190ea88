//! Safetensors out.

use std::collections::BTreeMap;
use std::io::Write;

use candle_core::{DType, Tensor};
use half::bf16;
use serde_json::json;

use super::Precision;
use crate::decoder::DecoderError;
use crate::ops::elements_of;

/// Values turned to bytes at a time.
const PART: usize = 1 << 16;
/// What transformers looks for in a file of weights, and refuses a file without.
pub(super) const LIBRARY: &str = "pt";

/// A tensor of a file: what its header says of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) shape: &'a [usize],
    pub(super) precision: Precision,
}

impl Entry<'_> {
    /// Bytes of its values in the file.
    pub(super) fn bytes(&self) -> u64 {
        let width = match self.precision {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
        };
        self.shape.iter().product::<usize>() as u64 * width
    }
}

/// Writes tensors in order of name; the same tensors give the same bytes.
pub(crate) fn write_tensors(
    tensors: &BTreeMap<String, Tensor>,
    precision: Precision,
) -> Result<Vec<u8>, DecoderError> {
    written(tensors, precision, None)
}

/// The same as other programs ask for it: it says which library it is for.
pub(crate) fn model_file(
    tensors: &BTreeMap<String, Tensor>,
    precision: Precision,
) -> Result<Vec<u8>, DecoderError> {
    written(tensors, precision, Some(LIBRARY))
}

fn written(
    tensors: &BTreeMap<String, Tensor>,
    precision: Precision,
    format: Option<&str>,
) -> Result<Vec<u8>, DecoderError> {
    let entries: Vec<Entry<'_>> = tensors
        .iter()
        .map(|(name, tensor)| Entry {
            name,
            shape: tensor.dims(),
            precision,
        })
        .collect();
    let bytes: u64 = entries.iter().map(Entry::bytes).sum();
    let mut out = header(&entries, format);
    out.reserve_exact(bytes as usize);
    for tensor in tensors.values() {
        write_values(tensor, precision, &mut out)?;
    }
    Ok(out)
}

/// What stands before the values of a file that holds these tensors, in their order. `format` is the
/// library that the file says it is for.
pub(super) fn header(entries: &[Entry<'_>], format: Option<&str>) -> Vec<u8> {
    let mut fields = serde_json::Map::new();
    if let Some(format) = format {
        fields.insert("__metadata__".to_owned(), json!({ "format": format }));
    }
    let mut start = 0;
    for entry in entries {
        let end = start + entry.bytes();
        let dtype = match entry.precision {
            Precision::F32 => "F32",
            Precision::Bf16 => "BF16",
        };
        let value = json!({"dtype": dtype, "shape": entry.shape, "data_offsets": [start, end]});
        fields.insert(entry.name.to_owned(), value);
        start = end;
    }
    let mut text = serde_json::Value::Object(fields).to_string();
    // The data begins at a multiple of eight.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out
}

/// Appends the values of a tensor, a part at a time: of the bytes there is one copy.
pub(super) fn write_values(
    tensor: &Tensor,
    precision: Precision,
    out: &mut impl Write,
) -> Result<(), DecoderError> {
    let tensor = tensor.contiguous()?.flatten_all()?;
    for start in (0..tensor.elem_count()).step_by(PART) {
        let count = PART.min(tensor.elem_count() - start);
        let part = tensor.narrow(0, start, count)?;
        let bytes: Vec<u8> = match precision {
            Precision::F32 => {
                let part = part.to_dtype(DType::F32)?;
                let values = elements_of(&part)?;
                values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect()
            }
            Precision::Bf16 => {
                let values = part.to_dtype(DType::BF16)?.to_vec1::<bf16>()?;
                values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect()
            }
        };
        out.write_all(&bytes)
            .map_err(|error| DecoderError::Format {
                what: "the weights".to_owned(),
                reason: error.to_string(),
            })?;
    }
    Ok(())
}
