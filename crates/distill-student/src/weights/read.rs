//! Tensors out of a checked safetensors file, one at a time: beside the tensors themselves only a
//! small buffer is in memory.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom};

use candle_core::{Device, Tensor, WithDType};
use half::{bf16, f16};

use super::header::{Entry, Header};
use crate::decoder::DecoderError;

/// Bytes read at a time; a multiple of every element's size.
const PART: usize = 1 << 20;

/// What becomes of a tensor's type in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Widen {
    /// bf16 stays bf16; f16 becomes f32, which holds each of its values.
    Halves,
    /// Everything becomes f32.
    All,
}

/// Reads every tensor of a file as f32; `what` names the source in errors.
pub(crate) fn read_tensors(
    bytes: &[u8],
    what: &str,
) -> Result<BTreeMap<String, Tensor>, DecoderError> {
    let mut source = Cursor::new(bytes);
    let header = Header::read(&mut source, what)?;
    header
        .entries
        .iter()
        .map(|(name, entry)| {
            let tensor = read_tensor(&mut source, what, name, entry, Widen::All)?;
            Ok((name.clone(), tensor))
        })
        .collect()
}

/// Reads one tensor. A value that is not finite is an error: training and serving would spread it
/// over everything.
pub(super) fn read_tensor(
    source: &mut (impl Read + Seek),
    what: &str,
    name: &str,
    entry: &Entry,
    widen: Widen,
) -> Result<Tensor, DecoderError> {
    let mut reading = Reading {
        source,
        what,
        name,
        entry,
    };
    match (entry.dtype.as_str(), widen) {
        ("F32", _) => reading.tensor(f32::from_le_bytes, |value| value.is_finite()),
        ("BF16", Widen::Halves) => reading.tensor(bf16::from_le_bytes, |value| value.is_finite()),
        ("BF16", Widen::All) => reading.tensor(
            |bytes| bf16::from_le_bytes(bytes).to_f32(),
            |value| value.is_finite(),
        ),
        ("F16", _) => reading.tensor(
            |bytes| f16::from_le_bytes(bytes).to_f32(),
            |value| value.is_finite(),
        ),
        _ => Err(DecoderError::TensorType {
            name: name.to_owned(),
            dtype: entry.dtype.clone(),
        }),
    }
}

struct Reading<'a, R> {
    source: &'a mut R,
    what: &'a str,
    name: &'a str,
    entry: &'a Entry,
}

impl<R: Read + Seek> Reading<'_, R> {
    fn failed(&self, reason: impl std::fmt::Display) -> DecoderError {
        DecoderError::Format {
            what: self.what.to_owned(),
            reason: format!("tensor `{}`: {reason}", self.name),
        }
    }

    fn tensor<T: WithDType, const N: usize>(
        &mut self,
        convert: impl Fn([u8; N]) -> T,
        finite: impl Fn(&T) -> bool,
    ) -> Result<Tensor, DecoderError> {
        let bytes = self.entry.bytes as usize;
        let mut values: Vec<T> = Vec::new();
        // An allocation that fails aborts the process, unless it is asked for like this.
        values
            .try_reserve_exact(bytes / N)
            .map_err(|_| self.failed(format!("there is no memory for its {bytes} bytes")))?;
        self.source
            .seek(SeekFrom::Start(self.entry.start))
            .map_err(|error| self.failed(error))?;
        let mut buffer = vec![0; PART.min(bytes)];
        let mut left = bytes;
        while left > 0 {
            let part = &mut buffer[..PART.min(left)];
            self.source
                .read_exact(part)
                .map_err(|error| self.failed(error))?;
            let start = values.len();
            values.extend(part.as_chunks().0.iter().map(|bytes| convert(*bytes)));
            // Without a way out of the loop, so that it vectorises.
            let good = values[start..]
                .iter()
                .fold(true, |good, value| good & finite(value));
            if !good {
                let bad = values[start..].iter().position(|value| !finite(value));
                return Err(DecoderError::NotFinite {
                    name: self.name.to_owned(),
                    at: start + bad.unwrap_or_default(),
                });
            }
            left -= part.len();
        }
        Ok(Tensor::from_vec(
            values,
            self.entry.shape.as_slice(),
            &Device::Cpu,
        )?)
    }
}
