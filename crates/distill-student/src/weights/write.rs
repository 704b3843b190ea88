//! Safetensors out, one tensor at a time.

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

/// Writes tensors in order of name; the same tensors give the same bytes.
pub(crate) fn write_tensors(
    tensors: &BTreeMap<String, Tensor>,
    precision: Precision,
) -> Result<Vec<u8>, DecoderError> {
    let shapes = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.dims()));
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, shapes, precision)?;
    for tensor in tensors.values() {
        writer.write(tensor)?;
    }
    Ok(out)
}

/// Writes a file whose shapes are known before its values.
pub(super) struct Writer<'a> {
    out: &'a mut dyn Write,
    precision: Precision,
}

fn failed(error: std::io::Error) -> DecoderError {
    DecoderError::Format {
        what: "tensors to write".to_owned(),
        reason: error.to_string(),
    }
}

impl<'a> Writer<'a> {
    /// Writes the header. The tensors must follow in the same order.
    pub(super) fn new<'n>(
        out: &'a mut dyn Write,
        shapes: impl Iterator<Item = (&'n str, &'n [usize])>,
        precision: Precision,
    ) -> Result<Self, DecoderError> {
        let (dtype, width) = match precision {
            Precision::F32 => ("F32", 4),
            Precision::Bf16 => ("BF16", 2),
        };
        let mut header = serde_json::Map::new();
        let mut start = 0;
        for (name, shape) in shapes {
            let end = start + shape.iter().product::<usize>() * width;
            let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
            header.insert(name.to_owned(), entry);
            start = end;
        }
        let mut text = serde_json::Value::Object(header).to_string();
        // The data begins at a multiple of eight.
        while !text.len().is_multiple_of(8) {
            text.push(' ');
        }
        out.write_all(&(text.len() as u64).to_le_bytes())
            .and_then(|()| out.write_all(text.as_bytes()))
            .map_err(failed)?;
        Ok(Self { out, precision })
    }

    pub(super) fn write(&mut self, tensor: &Tensor) -> Result<(), DecoderError> {
        let tensor = tensor.contiguous()?.flatten_all()?;
        for start in (0..tensor.elem_count()).step_by(PART) {
            let count = PART.min(tensor.elem_count() - start);
            let part = tensor.narrow(0, start, count)?;
            let bytes: Vec<u8> = match self.precision {
                Precision::F32 => {
                    let part = part.to_dtype(DType::F32)?;
                    elements_of(&part)?
                        .iter()
                        .flat_map(|value| value.to_le_bytes())
                        .collect()
                }
                Precision::Bf16 => part
                    .to_dtype(DType::BF16)?
                    .to_vec1::<bf16>()?
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect(),
            };
            self.out.write_all(&bytes).map_err(failed)?;
        }
        Ok(())
    }
}
