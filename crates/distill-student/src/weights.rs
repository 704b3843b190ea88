//! Weights by their Hugging Face names: read, drawn, written, hashed, merged.
//!
//! In memory everything is f32 on the CPU; files may hold f32, f16 or bf16.

mod format;
mod random;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

pub(crate) use format::{read_tensors, write_tensors};
pub(crate) use random::Draw;

use crate::decoder::{DecoderConfig, DecoderError};
use crate::lora::LoraAdapter;
use crate::ops::elements_of;

/// How numbers are stored in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    F32,
    Bf16,
}

/// A configuration and every tensor that it asks for. Clones share the tensors.
#[derive(Debug, Clone)]
pub struct DecoderWeights {
    config: DecoderConfig,
    tensors: BTreeMap<String, Tensor>,
}

impl DecoderWeights {
    /// Takes tensors by name; each that the configuration asks for must be there, in its shape,
    /// and no other.
    pub fn from_tensors(
        config: DecoderConfig,
        mut tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self, DecoderError> {
        if config.tie_word_embeddings {
            // Some files carry the tied head as well.
            tensors.remove("lm_head.weight");
        }
        tensors.retain(|name, _| !name.ends_with(".rotary_emb.inv_freq"));
        let asked = config.tensors();
        for (name, shape) in &asked {
            match tensors.get(name) {
                None => {
                    return Err(DecoderError::MissingTensor {
                        name: name.clone(),
                        expected: shape.clone(),
                    });
                }
                Some(tensor) if tensor.dims() != shape.as_slice() => {
                    return Err(DecoderError::TensorShape {
                        name: name.clone(),
                        got: tensor.dims().to_vec(),
                        expected: shape.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        if tensors.len() > asked.len() {
            let names = tensors
                .into_keys()
                .filter(|name| !asked.iter().any(|(asked, _)| asked == name))
                .take(5)
                .collect();
            return Err(DecoderError::UnknownTensors { names });
        }
        Ok(Self { config, tensors })
    }

    /// Reads the bytes of a safetensors file.
    pub fn from_safetensors(config: DecoderConfig, bytes: &[u8]) -> Result<Self, DecoderError> {
        Self::from_tensors(config, read_tensors(bytes, "the weights")?)
    }

    /// Reads `config.json` and `model.safetensors`, or the files that its index names.
    pub fn from_dir(directory: &Path) -> Result<Self, DecoderError> {
        let config = read_text(&directory.join("config.json"))?;
        let config = DecoderConfig::from_json(&config)?;
        let mut tensors = BTreeMap::new();
        for file in weight_files(directory)? {
            let path = directory.join(file);
            let bytes = std::fs::read(&path).map_err(|source| DecoderError::Io {
                path: path.clone(),
                source,
            })?;
            tensors.extend(read_tensors(&bytes, &path.display().to_string())?);
        }
        Self::from_tensors(config, tensors)
    }

    /// Draws initial weights: normal for matrices, ones for norms, zeros for biases. The same seed
    /// gives the same weights.
    pub fn random(config: DecoderConfig, seed: u64) -> Result<Self, DecoderError> {
        let mut draw = Draw::new(seed);
        let mut tensors = BTreeMap::new();
        for (name, shape) in config.tensors() {
            let count = shape.iter().product();
            let values = if name.strip_suffix(".bias").is_some() {
                vec![0.0; count]
            } else if shape.len() == 1 {
                vec![1.0; count]
            } else {
                draw.normal(count, config.initializer_range)
            };
            tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        Self::from_tensors(config, tensors)
    }

    /// Writes a safetensors file; the same weights give the same bytes.
    pub fn to_safetensors(&self, precision: Precision) -> Result<Vec<u8>, DecoderError> {
        write_tensors(&self.tensors, precision)
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Tensor, DecoderError> {
        self.tensors
            .get(name)
            .ok_or_else(|| DecoderError::MissingTensor {
                name: name.to_owned(),
                expected: Vec::new(),
            })
    }

    /// A hash of the configuration and every value: what an adapter and a checkpoint refer to.
    pub fn sha256(&self) -> Result<String, DecoderError> {
        let mut hash = Sha256::new();
        hash.update(self.config.to_json());
        for (name, tensor) in &self.tensors {
            hash.update(name);
            let values = elements_of(tensor)?;
            for part in values.chunks(1 << 14) {
                let bytes: Vec<u8> = part.iter().flat_map(|v| v.to_le_bytes()).collect();
                hash.update(&bytes);
            }
        }
        Ok(format!("{:x}", hash.finalize()))
    }

    /// Adds an adapter into the weights, for serving without it.
    pub fn merge(&self, adapter: &LoraAdapter) -> Result<Self, DecoderError> {
        adapter.check(&self.config)?;
        let mut merged = self.clone();
        for (module, update) in adapter.modules() {
            let name = format!("{module}.weight");
            let change = (update.up.matmul(&update.down)? * update.scale)?; // (O, R) @ (R, I) → (O, I)
            let weight = (self.get(&name)? + change)?.detach();
            merged.tensors.insert(name, weight);
        }
        Ok(merged)
    }
}

pub(crate) fn read_text(path: &Path) -> Result<String, DecoderError> {
    std::fs::read_to_string(path).map_err(|source| DecoderError::Io {
        path: path.to_owned(),
        source,
    })
}

/// The files that hold the weights, each once, in order of name.
fn weight_files(directory: &Path) -> Result<Vec<String>, DecoderError> {
    let index = directory.join("model.safetensors.index.json");
    if !index.exists() {
        return Ok(vec!["model.safetensors".to_owned()]);
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
            .filter(|name| !name.contains(['/', '\\']))
            .ok_or_else(|| malformed(format!("{file} is not a file beside it")))?;
        files.push(file.to_owned());
    }
    files.sort();
    files.dedup();
    Ok(files)
}
