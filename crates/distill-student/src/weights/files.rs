//! The files of a model directory: which hold the weights, and what each tensor's place is.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::Tensor;

use super::header::{Entry, Header};
use super::read::{Widen, read_tensor};
use crate::decoder::DecoderError;
use crate::regular_file;

/// Configurations are some kilobytes, indices some megabytes.
const LONGEST_TEXT: u64 = 16 << 20;

/// Reads a small text file.
pub(crate) fn read_text(path: &Path) -> Result<String, DecoderError> {
    let failed = |source| DecoderError::Io {
        path: path.to_owned(),
        source,
    };
    regular_file::read_text(path, LONGEST_TEXT).map_err(failed)
}

/// The open weight files of a directory, their headers read and checked.
pub(crate) struct WeightFiles {
    files: Vec<(PathBuf, File)>,
    /// By tensor name: which file, and where in it.
    places: BTreeMap<String, (usize, Entry)>,
}

impl WeightFiles {
    /// Opens `model.safetensors`, or the files that `model.safetensors.index.json` names.
    pub(crate) fn open(directory: &Path) -> Result<Self, DecoderError> {
        let mut opened = Self {
            files: Vec::new(),
            places: BTreeMap::new(),
        };
        for name in file_names(directory)? {
            let path = directory.join(name);
            let mut file = regular_file::open(&path).map_err(|source| DecoderError::Io {
                path: path.clone(),
                source,
            })?;
            let header = Header::read(&mut file, &path.display().to_string())?;
            for (name, entry) in header.entries {
                let place = (opened.files.len(), entry);
                if let Some((other, _)) = opened.places.insert(name.clone(), place) {
                    return Err(DecoderError::Format {
                        what: path.display().to_string(),
                        reason: format!(
                            "tensor `{name}` is in `{}` too",
                            opened.files[other].0.display()
                        ),
                    });
                }
            }
            opened.files.push((path, file));
        }
        Ok(opened)
    }

    /// Gives tensors other names; those without one are left out.
    pub(crate) fn rename(&mut self, name: impl Fn(&str) -> Option<String>) {
        let places = std::mem::take(&mut self.places).into_iter();
        self.places = places
            .filter_map(|(stored, place)| Some((name(&stored)?, place)))
            .collect();
    }

    /// Names and shapes.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.places
            .iter()
            .map(|(name, (_, entry))| (name.as_str(), entry.shape.as_slice()))
    }

    /// Reads the named tensors.
    pub(crate) fn read(
        &mut self,
        names: &[String],
    ) -> Result<BTreeMap<String, Tensor>, DecoderError> {
        let mut tensors = BTreeMap::new();
        self.read_each(names, |name, tensor| {
            tensors.insert(name.to_owned(), tensor);
            Ok(())
        })?;
        Ok(tensors)
    }

    /// Reads the named tensors, one after another, and hands each on.
    pub(crate) fn read_each(
        &mut self,
        names: &[String],
        mut take: impl FnMut(&str, Tensor) -> Result<(), DecoderError>,
    ) -> Result<(), DecoderError> {
        for name in names {
            if let Some((file, entry)) = self.places.get(name) {
                let (path, file) = &mut self.files[*file];
                let what = path.display().to_string();
                take(name, read_tensor(file, &what, name, entry, Widen::Halves)?)?;
            }
        }
        Ok(())
    }
}

/// The files that hold the weights, each once, in order of name.
fn file_names(directory: &Path) -> Result<Vec<String>, DecoderError> {
    let index = directory.join("model.safetensors.index.json");
    if !index.exists() {
        let single = "model.safetensors";
        if !directory.join(single).exists()
            && let Some(file) = pickled(directory)
        {
            return Err(DecoderError::Pickle { file });
        }
        return Ok(vec![single.to_owned()]);
    }
    let malformed = |reason: String| DecoderError::Format {
        what: index.display().to_string(),
        reason,
    };
    let value: serde_json::Value =
        serde_json::from_str(&read_text(&index)?).map_err(|error| malformed(error.to_string()))?;
    let map = value
        .get("weight_map")
        .and_then(|map| map.as_object())
        .ok_or_else(|| malformed("it has no `weight_map`".into()))?;
    let mut files = Vec::new();
    for file in map.values() {
        let file = file
            .as_str()
            .filter(|name| !name.contains(['/', '\\']) && name.ends_with(".safetensors"))
            .ok_or_else(|| malformed(format!("{file} is no safetensors file beside it")))?;
        files.push(file.to_owned());
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// A file of weights in `PyTorch`'s own format.
fn pickled(directory: &Path) -> Option<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            name.starts_with("pytorch_model") || {
                let extension = Path::new(name).extension();
                extension.is_some_and(|e| ["bin", "pt", "pth", "ckpt"].iter().any(|p| e == *p))
            }
        })
        .collect();
    names.sort();
    let name = names.into_iter().next()?;
    Some(directory.join(name).display().to_string())
}
