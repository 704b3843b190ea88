//! The weights of an encoder: of a classifier as it was saved, or of a pretrained model whose head
//! is drawn anew.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};

use super::EncoderConfig;
use super::config::Family;
use crate::decoder::DecoderError;
use crate::lora::{LoraAdapter, in_module};
use crate::ops::elements_of;
use crate::weights::{Draw, Precision, WeightFiles, read_tensors, read_text, write_tensors};

/// A configuration and every tensor that it asks for, in f32. Clones share the tensors.
#[derive(Debug, Clone)]
pub struct EncoderWeights {
    config: EncoderConfig,
    tensors: BTreeMap<String, Tensor>,
    /// Modules of the head, beside the classifier, that were drawn and not read.
    drawn: Vec<String>,
}

impl EncoderWeights {
    /// Takes tensors by name; each that the configuration asks for must be there, in its shape,
    /// and no other.
    pub fn from_tensors(
        config: EncoderConfig,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self, DecoderError> {
        if config.num_hidden_layers > tensors.len() {
            return Err(DecoderError::Format {
                what: "the weights".to_owned(),
                reason: format!(
                    "they hold {} tensors, the configuration has {} layers",
                    tensors.len(),
                    config.num_hidden_layers
                ),
            });
        }
        let asked: BTreeMap<String, Vec<usize>> = config.tensors().into_iter().collect();
        for (name, expected) in &asked {
            match tensors.get(name) {
                None => {
                    return Err(DecoderError::MissingTensor {
                        name: name.clone(),
                        expected: expected.clone(),
                    });
                }
                Some(tensor) if tensor.dims() != expected.as_slice() => {
                    return Err(DecoderError::TensorShape {
                        name: name.clone(),
                        got: tensor.dims().to_vec(),
                        expected: expected.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        if tensors.len() > asked.len() {
            let foreign = tensors.keys().filter(|name| !asked.contains_key(*name));
            return Err(DecoderError::UnknownTensors {
                names: foreign.take(5).cloned().collect(),
            });
        }
        Ok(Self {
            config,
            tensors,
            drawn: Vec::new(),
        })
    }

    /// Reads the bytes of a classifier's safetensors file.
    pub fn from_safetensors(config: EncoderConfig, bytes: &[u8]) -> Result<Self, DecoderError> {
        Self::from_tensors(config, read_tensors(bytes, "the weights")?)
    }

    /// Reads a directory as transformers saves it, and gives the model these labels. A head for
    /// the same labels is kept; otherwise, and where there is none, its classifier is drawn. The
    /// heads of a pretraining are left out.
    ///
    /// # Errors
    /// What the directory holds and what its configuration says do not agree.
    pub fn from_dir(directory: &Path, labels: &[String], seed: u64) -> Result<Self, DecoderError> {
        let config = EncoderConfig::from_json(&read_text(&directory.join("config.json"))?)?;
        let mut files = WeightFiles::open(directory)?;
        let names: Vec<String> = files.shapes().map(|(name, _)| name.to_owned()).collect();
        let mut tensors = BTreeMap::new();
        for (name, tensor) in files.read(&names)? {
            if let Some(name) = canonical(&config, &name) {
                tensors.insert(name, tensor.to_dtype(DType::F32)?);
            }
        }
        let kept = config.labels == labels;
        let config = config.with_labels(labels);
        if !kept {
            tensors.retain(|name, _| !name.starts_with("classifier."));
        }
        let drawn = draw_head(&config, &mut tensors, seed)?;
        let mut weights = Self::from_tensors(config, tensors)?;
        weights.drawn = drawn;
        Ok(weights)
    }

    /// Draws every weight: normal for matrices, ones for norms, zeros for biases. The same seed
    /// gives the same weights.
    pub fn random(config: EncoderConfig, seed: u64) -> Result<Self, DecoderError> {
        let mut draw = Draw::new(seed);
        let tensors = config
            .tensors()
            .into_iter()
            .map(|(name, shape)| {
                let tensor = drawn(&config, &name, shape, &mut draw)?;
                Ok((name, tensor))
            })
            .collect::<Result<_, DecoderError>>()?;
        Self::from_tensors(config, tensors)
    }

    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The modules that an adapter has to train whole, by PEFT's names: the classifier, and what
    /// else of the head no file has, since it was drawn.
    pub fn classifier_modules(&self) -> Vec<String> {
        let classifier = std::iter::once("classifier".to_owned());
        classifier.chain(self.drawn.iter().cloned()).collect()
    }

    /// The weights with an adapter's updates added in and its head in place, as a model of its own.
    ///
    /// # Errors
    /// When the adapter does not fit.
    pub fn merge(&self, adapter: &LoraAdapter) -> Result<Self, DecoderError> {
        adapter.check(&self.config)?;
        let merged = self.tensors.iter().map(|(name, tensor)| {
            let merged = match (adapter.whole(name), name.strip_suffix(".weight")) {
                (Some(trained), _) => trained.detach(),
                (None, Some(module)) => adapter.merged_weight(module, tensor)?,
                (None, None) => tensor.detach(),
            };
            Ok((name.clone(), merged))
        });
        let merged = merged.collect::<Result<_, DecoderError>>()?;
        Self::from_tensors(self.config.clone(), merged)
    }

    /// A hash of the configuration but for its labels, and of every value that an adapter does not
    /// bring with it: what an adapter was trained on.
    pub fn base_sha256(&self) -> Result<String, DecoderError> {
        let own = |name: &str| {
            let mut brought = self.classifier_modules().into_iter();
            !brought.any(|module| in_module(name, &module))
        };
        let config = self.config.clone().with_labels(&[]).identity();
        self.hash(&config, own)
    }

    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The bytes of a safetensors file; the same weights give the same bytes.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, DecoderError> {
        write_tensors(&self.tensors, Precision::F32)
    }

    /// A hash of what the configuration means and of every tensor's name, shape and values.
    pub fn sha256(&self) -> Result<String, DecoderError> {
        self.hash(&self.config.identity(), |_| true)
    }

    fn hash(&self, config: &str, of: impl Fn(&str) -> bool) -> Result<String, DecoderError> {
        let mut hash = Sha256::new();
        hash.update(config);
        for (name, tensor) in self.tensors.iter().filter(|(name, _)| of(name)) {
            hash.update(format!("{name} {:?}\n", tensor.dims()));
            let tensor = tensor.contiguous()?;
            for value in elements_of(&tensor)?.iter() {
                hash.update(value.to_le_bytes());
            }
        }
        Ok(format!("{:x}", hash.finalize()))
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Tensor, DecoderError> {
        self.find(name).ok_or_else(|| DecoderError::MissingTensor {
            name: name.to_owned(),
            expected: Vec::new(),
        })
    }

    pub(super) fn find(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }
}

/// The name of a tensor in a classifier; none for what a classifier has no use for. Models saved
/// without a head leave a prefix out, and the oldest files of BERT call the parts of a norm gamma
/// and beta.
fn canonical(config: &EncoderConfig, name: &str) -> Option<String> {
    let (prefix, parts, foreign): (_, &[&str], &[&str]) = match config.family {
        Family::Bert { .. } => (
            "bert.",
            &["embeddings.", "encoder.", "pooler."],
            &[
                "cls.",
                "bert.embeddings.position_ids",
                "embeddings.position_ids",
            ],
        ),
        Family::ModernBert(_) => (
            "model.",
            &["embeddings.", "layers.", "final_norm."],
            &["decoder."],
        ),
    };
    if foreign.iter().any(|foreign| name.starts_with(foreign)) {
        return None;
    }
    let mut name = name.to_owned();
    if parts.iter().any(|part| name.starts_with(part)) {
        name.insert_str(0, prefix);
    }
    for (old, new) in [
        ("LayerNorm.gamma", "LayerNorm.weight"),
        ("LayerNorm.beta", "LayerNorm.bias"),
    ] {
        name = name.replace(old, new);
    }
    Some(name)
}

/// Draws those tensors of the head that are not there; returns the modules beside the classifier
/// that were drawn, by the names that PEFT saves them under.
fn draw_head(
    config: &EncoderConfig,
    tensors: &mut BTreeMap<String, Tensor>,
    seed: u64,
) -> Result<Vec<String>, DecoderError> {
    let mut draw = Draw::new(seed);
    let mut modules = Vec::new();
    for (name, shape) in config.tensors() {
        let module = ["classifier", "head", "pooler"]
            .into_iter()
            .find(|module| in_module(&name, module));
        let Some(module) = module.filter(|_| !tensors.contains_key(&name)) else {
            continue;
        };
        let tensor = drawn(config, &name, shape, &mut draw)?;
        tensors.insert(name, tensor);
        if module != "classifier" && !modules.iter().any(|drawn| drawn == module) {
            modules.push(module.to_owned());
        }
    }
    Ok(modules)
}

fn drawn(
    config: &EncoderConfig,
    name: &str,
    shape: Vec<usize>,
    draw: &mut Draw,
) -> Result<Tensor, DecoderError> {
    let count = shape.iter().product();
    let values = if name.strip_suffix(".bias").is_some() {
        vec![0.0; count]
    } else if shape.len() > 1 {
        draw.normal(count, config.initializer_range)
    } else {
        vec![1.0; count]
    };
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}
