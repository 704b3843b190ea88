//! The files of a bundle, read as if a stranger had written them.

use std::{collections::BTreeMap, path::Path};

use safetensors::{Dtype, SafeTensors};

use super::{BundleError, FileEntry, sha256};
use crate::regular_file;

/// Every file that a bundle may hold beside its manifest. Names in a manifest are only looked up,
/// never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum File {
    Linear,
    AdapterConfig,
    Adapter,
    ModelConfig,
    Model,
    Tokenizer,
}

impl File {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear.safetensors",
            Self::AdapterConfig => "adapter_config.json",
            Self::Adapter => "adapter_model.safetensors",
            Self::ModelConfig => "config.json",
            Self::Model => "model.safetensors",
            Self::Tokenizer => "tokenizer.json",
        }
    }

    fn max_bytes(self) -> u64 {
        match self {
            Self::Linear => 256 << 20,
            Self::Tokenizer => 96 << 20,
            Self::AdapterConfig | Self::ModelConfig => 1 << 20,
            Self::Adapter => 1 << 30,
            Self::Model => 32 << 30,
        }
    }

    fn is_safetensors(self) -> bool {
        matches!(self, Self::Linear | Self::Adapter | Self::Model)
    }
}

/// Reads a file and holds it to the manifest.
pub(super) fn read_file(
    directory: &Path,
    files: &BTreeMap<String, FileEntry>,
    file: File,
) -> Result<Vec<u8>, BundleError> {
    let path = directory.join(file.name());
    let entry = files
        .get(file.name())
        .ok_or_else(|| BundleError::Malformed {
            path: directory.join(super::manifest::NAME),
            problem: format!("it does not list `{}`", file.name()),
        })?;
    let found = size(&path)?;
    if found != entry.bytes {
        return Err(BundleError::Size {
            path,
            bytes: found,
            problem: format!("the manifest says {}", entry.bytes),
        });
    }
    let bytes = read_bounded(&path, file.max_bytes())?;
    if sha256(&bytes) != entry.sha256 {
        return Err(BundleError::Hash { path });
    }
    if file.is_safetensors() {
        check_tensors(&path, &bytes)?;
    }
    Ok(bytes)
}

/// Reads a regular file of at most `most` bytes.
pub(super) fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, BundleError> {
    let bytes = size(path)?;
    if bytes > most {
        return Err(BundleError::Size {
            path: path.to_owned(),
            bytes,
            problem: format!("at most {most} are read"),
        });
    }
    regular_file::read(path, most).map_err(|source| BundleError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

fn size(path: &Path) -> Result<u64, BundleError> {
    let metadata = std::fs::metadata(path).map_err(|source| BundleError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    if metadata.is_file() {
        Ok(metadata.len())
    } else {
        Err(BundleError::Malformed {
            path: path.to_owned(),
            problem: "it is not a file".to_owned(),
        })
    }
}

/// The header must describe exactly the bytes that follow it, and no value may be NaN or infinite.
fn check_tensors(path: &Path, bytes: &[u8]) -> Result<(), BundleError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| BundleError::Malformed {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    for (name, tensor) in file.iter() {
        let data = tensor.data();
        let finite = match tensor.dtype() {
            Dtype::F32 => data.chunks_exact(4).all(|bytes| {
                f32::from_le_bytes(bytes.try_into().expect("chunks have four bytes")).is_finite()
            }),
            Dtype::F16 => halves(data).all(|bits| half::f16::from_bits(bits).is_finite()),
            Dtype::BF16 => halves(data).all(|bits| half::bf16::from_bits(bits).is_finite()),
            _ => true,
        };
        if !finite {
            return Err(BundleError::NotFinite {
                path: path.to_owned(),
                tensor: name.to_owned(),
            });
        }
    }
    Ok(())
}

fn halves(data: &[u8]) -> impl Iterator<Item = u16> {
    data.chunks_exact(2)
        .map(|bytes| u16::from_le_bytes(bytes.try_into().expect("chunks have two bytes")))
}
