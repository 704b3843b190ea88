//! The header of a safetensors file, checked before anything is allocated for its tensors.
//!
//! Format: <https://github.com/huggingface/safetensors>, section "Format". Eight bytes give the
//! length of a JSON object that names each tensor's type, shape and place; the data follows it
//! without gaps.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;
use std::io::{Read, Seek, SeekFrom};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::decoder::DecoderError;

/// Headers are some 100 bytes a tensor; the largest published ones stay below 2 MB.
const LONGEST_HEADER: u64 = 16 << 20;
/// No tensor of a language model has more.
const MOST_DIMENSIONS: usize = 8;

/// Where a tensor lies and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As the file names it, such as `BF16`.
    pub dtype: String,
    pub shape: Vec<usize>,
    /// From the start of the file.
    pub start: u64,
    pub bytes: u64,
}

/// The tensors of one file by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub entries: BTreeMap<String, Entry>,
}

impl Header {
    /// Reads the header and holds it against the length of the source: every tensor's bytes are
    /// its shape times its type, lie inside the file, overlap no other's and leave no gap.
    ///
    /// # Errors
    /// [`DecoderError::Pickle`] for a file that `PyTorch` wrote, [`DecoderError::Format`] for one
    /// that is cut off or contradicts itself; `what` names the source in both.
    pub fn read(source: &mut (impl Read + Seek), what: &str) -> Result<Self, DecoderError> {
        let malformed = |reason: String| DecoderError::Format {
            what: what.to_owned(),
            reason,
        };
        let failed = |error: std::io::Error| malformed(error.to_string());
        let length = source.seek(SeekFrom::End(0)).map_err(failed)?;
        source.rewind().map_err(failed)?;
        if length < 8 {
            return Err(malformed(format!(
                "it has {length} bytes; a safetensors file begins with 8 that give the length of its header"
            )));
        }
        let mut first = [0; 8];
        source.read_exact(&mut first).map_err(failed)?;
        if is_pickle(first) {
            return Err(DecoderError::Pickle {
                file: what.to_owned(),
            });
        }
        let claimed = u64::from_le_bytes(first);
        if claimed > (length - 8).min(LONGEST_HEADER) {
            return Err(malformed(format!(
                "its header claims {claimed} bytes; the file has {length}, and headers of up to \
                 {LONGEST_HEADER} are read"
            )));
        }
        let mut text = vec![0; claimed as usize];
        source.read_exact(&mut text).map_err(failed)?;
        let written: Written = serde_json::from_slice(&text)
            .map_err(|error| malformed(format!("its header is not readable: {error}")))?;
        let data_start = 8 + claimed;
        let entries = written
            .0
            .into_iter()
            .map(|(name, entry)| {
                let entry = entry
                    .resolve(data_start)
                    .map_err(|reason| malformed(format!("tensor `{name}` {reason}")))?;
                Ok((name, entry))
            })
            .collect::<Result<BTreeMap<_, _>, DecoderError>>()?;
        let header = Self { entries };
        header.check_places(data_start, length).map_err(malformed)?;
        Ok(header)
    }

    /// Tensors must follow one another to the end of the file.
    fn check_places(&self, data_start: u64, length: u64) -> Result<(), String> {
        let mut places: Vec<(&String, &Entry)> = self.entries.iter().collect();
        places.sort_by_key(|(_, entry)| (entry.start, entry.bytes));
        let mut next = data_start;
        for (name, entry) in places {
            if entry.start != next {
                let how = if entry.start < next {
                    "overlaps another"
                } else {
                    "leaves a gap before it"
                };
                return Err(format!("tensor `{name}` {how}"));
            }
            next += entry.bytes;
        }
        if next != length {
            return Err(format!(
                "its header describes {next} bytes, the file has {length}: it was cut off or \
                 belongs to another header; fetch it again"
            ));
        }
        Ok(())
    }
}

/// What `torch.save` writes begins as a ZIP archive, or as a pickle of protocol 2 and later.
fn is_pickle(first: [u8; 8]) -> bool {
    first.starts_with(b"PK\x03\x04")
        || (first[0] == 0x80 && (2..=5).contains(&first[1]) && first[7] != 0)
}

/// Bytes of one element by the file's name of its type.
fn width(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" => 1,
        "U16" | "I16" | "F16" | "BF16" => 2,
        "U32" | "I32" | "F32" => 4,
        "U64" | "I64" | "F64" | "C64" => 8,
        _ => return None,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl WrittenEntry {
    fn resolve(self, data_start: u64) -> Result<Entry, String> {
        let (begin, end) = self.data_offsets;
        let width = width(&self.dtype)
            .ok_or_else(|| format!("is of type `{}`, which is not known", self.dtype))?;
        if self.shape.len() > MOST_DIMENSIONS {
            return Err(format!("has {} dimensions", self.shape.len()));
        }
        let size = self
            .shape
            .iter()
            .try_fold(width, |size, side| size.checked_mul(*side as u64));
        let (Some(size), Some(bytes), Some(start)) =
            (size, end.checked_sub(begin), data_start.checked_add(begin))
        else {
            return Err("has a place or a shape that no file can have".to_owned());
        };
        if size != bytes || start.checked_add(bytes).is_none() {
            return Err(format!(
                "of {:?} {} takes {size} bytes, its place has {bytes}",
                self.shape, self.dtype
            ));
        }
        Ok(Entry {
            dtype: self.dtype,
            shape: self.shape,
            start,
            bytes,
        })
    }
}

/// The header's object; a name that comes twice is refused, free-form metadata passed over.
struct Written(BTreeMap<String, WrittenEntry>);

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Written;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        match entries.entry(name) {
                            Slot::Vacant(slot) => {
                                slot.insert(map.next_value()?);
                            }
                            Slot::Occupied(slot) => {
                                let twice = format!("tensor `{}` comes twice", slot.key());
                                return Err(A::Error::custom(twice));
                            }
                        }
                    }
                }
                Ok(Written(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
