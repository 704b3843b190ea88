//! Weights by their Hugging Face names: read, drawn, written, hashed, merged.
//!
//! Tensors keep the type of their file: a bf16 checkpoint costs two bytes a weight in memory.
//! Files may hold f32, f16 (f32 in memory) or bf16.

mod files;
mod header;
mod held;
mod random;
mod read;
mod shards;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use sha2::{Digest, Sha256};

pub(crate) use files::{WeightFiles, read_text};
pub use header::{Entry, Header};
pub(crate) use random::Draw;
pub(crate) use read::read_tensors;
pub use shards::{SHARD_BYTES, Written};
pub(crate) use write::{model_file, write_tensors};

use crate::decoder::config::own_name;
use crate::decoder::{DecoderConfig, DecoderError};
use crate::lora::LoraAdapter;
use crate::ops::{FrozenWeight, elements_of};

/// How numbers are stored, in a file or in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    F32,
    Bf16,
}

impl Precision {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// A configuration and every tensor that it asks for. Clones share the tensors.
#[derive(Debug, Clone)]
pub struct DecoderWeights {
    config: DecoderConfig,
    tensors: BTreeMap<String, Tensor>,
    /// Projections that are held in four bits instead of as tensors.
    held: BTreeMap<String, FrozenWeight>,
    /// The hash of the values as they were read, where some are not kept.
    stored_identity: Option<String>,
}

/// The names to take of those at hand; each tensor that the configuration asks for must be there,
/// in its shape, and no other.
fn check_shapes<'a>(
    config: &DecoderConfig,
    shapes: impl Iterator<Item = (&'a str, &'a [usize])>,
) -> Result<Vec<String>, DecoderError> {
    let shapes: BTreeMap<&str, &[usize]> = shapes
        .filter(|(name, _)| !passed_over(config, name))
        .collect();
    // Before the names of a configuration's layers are written out: it may claim any number.
    if config.num_hidden_layers > shapes.len() {
        return Err(DecoderError::Format {
            what: "the weights".to_owned(),
            reason: format!(
                "they hold {} tensors, the configuration has {} layers",
                shapes.len(),
                config.num_hidden_layers
            ),
        });
    }
    let asked = config.tensors();
    for (name, shape) in &asked {
        match shapes.get(name.as_str()) {
            None => {
                return Err(DecoderError::MissingTensor {
                    name: name.clone(),
                    expected: shape.clone(),
                });
            }
            Some(got) if got != shape => {
                return Err(DecoderError::TensorShape {
                    name: name.clone(),
                    got: got.to_vec(),
                    expected: shape.clone(),
                });
            }
            Some(_) => {}
        }
    }
    if shapes.len() > asked.len() {
        let asked: BTreeSet<&str> = asked.iter().map(|(name, _)| name.as_str()).collect();
        let names = shapes
            .into_keys()
            .filter(|name| !asked.contains(name))
            .take(5)
            .map(str::to_owned)
            .collect();
        return Err(DecoderError::UnknownTensors { names });
    }
    Ok(asked.into_iter().map(|(name, _)| name).collect())
}

/// Tensors that some files carry and the model does not need.
fn passed_over(config: &DecoderConfig, name: &str) -> bool {
    // The tied head is the embedding; the frequencies follow from the configuration.
    config.tie_word_embeddings && name == "lm_head.weight" || name.ends_with(".rotary_emb.inv_freq")
}

impl DecoderWeights {
    fn of(config: DecoderConfig, tensors: BTreeMap<String, Tensor>) -> Self {
        Self {
            config,
            tensors,
            held: BTreeMap::new(),
            stored_identity: None,
        }
    }

    /// Takes tensors by name; each that the configuration asks for must be there, in its shape,
    /// and no other.
    pub fn from_tensors(
        config: DecoderConfig,
        mut tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self, DecoderError> {
        let shapes = tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.dims()));
        check_shapes(&config, shapes)?;
        tensors.retain(|name, _| !passed_over(&config, name));
        Ok(Self::of(config, tensors))
    }

    /// Reads the bytes of a safetensors file, widened to f32.
    pub fn from_safetensors(config: DecoderConfig, bytes: &[u8]) -> Result<Self, DecoderError> {
        Self::from_tensors(config, read_tensors(bytes, "the weights")?)
    }

    /// Reads `config.json` and `model.safetensors`, or the files that its index names. Tensors
    /// keep their type, but for f16, which becomes f32. Names, shapes and places are checked
    /// before a value is read; at most a megabyte is in memory beside the tensors.
    ///
    /// # Errors
    /// A file that is cut off, contradicts itself or its configuration, holds a value that is not
    /// finite, or is a pickle, each by name.
    pub fn from_dir(directory: &Path) -> Result<Self, DecoderError> {
        let config = read_text(&directory.join("config.json"))?;
        let config = DecoderConfig::from_json(&config)?;
        let mut files = WeightFiles::open(directory)?;
        files.rename(|stored| own_name(&config.model_type, stored));
        let names = check_shapes(&config, files.shapes())?;
        Ok(Self::of(config, files.read(&names)?))
    }

    /// Draws initial weights: normal for matrices, ones for norms, zeros for biases. The same seed
    /// gives the same weights.
    pub fn random(config: DecoderConfig, seed: u64) -> Result<Self, DecoderError> {
        Self::random_in(config, seed, Precision::F32)
    }

    /// [`Self::random`] with matrices in this precision; never more than one of them is in memory
    /// in f32 beside the rest.
    pub fn random_in(
        config: DecoderConfig,
        seed: u64,
        precision: Precision,
    ) -> Result<Self, DecoderError> {
        let mut tensors = BTreeMap::new();
        Self::draw(&config, seed, precision, |name, tensor| {
            tensors.insert(name, tensor);
            Ok(())
        })?;
        Self::from_tensors(config, tensors)
    }

    fn draw(
        config: &DecoderConfig,
        seed: u64,
        precision: Precision,
        mut take: impl FnMut(String, Tensor) -> Result<(), DecoderError>,
    ) -> Result<(), DecoderError> {
        let mut draw = Draw::new(seed);
        for (name, shape) in config.tensors() {
            let count = shape.iter().product();
            let matrix = shape.len() > 1;
            let values = if name.strip_suffix(".bias").is_some() {
                vec![0.0; count]
            } else if matrix {
                draw.normal(count, config.initializer_range)
            } else {
                vec![config.initial_norm(&name); count]
            };
            let mut tensor = Tensor::from_vec(values, shape, &Device::Cpu)?;
            if matrix {
                tensor = tensor.to_dtype(precision.dtype())?;
            }
            take(name, tensor)?;
        }
        Ok(())
    }

    /// The bytes of a safetensors file; the same weights give the same bytes.
    pub fn to_safetensors(&self, precision: Precision) -> Result<Vec<u8>, DecoderError> {
        self.as_stored()?;
        write_tensors(&self.tensors, precision)
    }

    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// In the types of their file; without what is held in four bits.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// How the matrices are stored: bf16 where all of them are.
    pub fn precision(&self) -> Precision {
        let mut matrices = self.tensors.values().filter(|tensor| tensor.rank() > 1);
        if matrices.all(|tensor| tensor.dtype() == DType::BF16) {
            Precision::Bf16
        } else {
            Precision::F32
        }
    }

    /// Bytes of all of them in memory.
    pub fn bytes(&self) -> usize {
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        let tensors: usize = self.tensors.values().map(bytes).sum();
        tensors + self.held.values().map(FrozenWeight::bytes).sum::<usize>()
    }

    /// The same weights with every tensor in f32.
    pub fn widened(&self) -> Result<Self, DecoderError> {
        self.as_stored()?;
        let tensors = self
            .tensors
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), widened(tensor)?)))
            .collect::<Result<_, DecoderError>>()?;
        Ok(Self::of(self.config.clone(), tensors))
    }

    /// A tensor in the type of its file.
    pub(crate) fn get(&self, name: &str) -> Result<&Tensor, DecoderError> {
        let name = name.to_owned();
        self.tensors.get(&name).ok_or_else(|| {
            if self.held.contains_key(&name) {
                DecoderError::HeldInFourBits { name }
            } else {
                let expected = Vec::new();
                DecoderError::MissingTensor { name, expected }
            }
        })
    }

    /// A tensor in f32: the same one, variable or not, where it is stored so.
    pub(crate) fn get_f32(&self, name: &str) -> Result<Tensor, DecoderError> {
        widened(self.get(name)?)
    }

    /// A hash of what the configuration means and of every tensor's name, shape and values: what an
    /// adapter and a checkpoint refer to. It is the same however `config.json` is written and
    /// whatever number of files holds the tensors, and for equal values in f32 and bf16.
    pub fn sha256(&self) -> Result<String, DecoderError> {
        if let Some(stored) = &self.stored_identity {
            return Ok(stored.clone());
        }
        let mut identity = Identity::new(&self.config);
        let names: BTreeSet<&String> = self.tensors.keys().chain(self.held.keys()).collect();
        for name in names {
            match self.held(name) {
                Some(held) => identity.add(name, &held.dequantised()?)?,
                None => identity.add(name, self.get(name)?)?,
            }
        }
        Ok(identity.finish())
    }

    /// Adds an adapter into the weights, for serving without it. What it changes is in f32. Where
    /// it trained only one of a tied pair of embeddings and head, the two are tied no longer.
    pub fn merge(&self, adapter: &LoraAdapter) -> Result<Self, DecoderError> {
        adapter.check(&self.config)?;
        self.as_stored()?;
        let mut all = self.clone();
        if adapter.unties(&self.config) {
            let head = self.get("model.embed_tokens.weight")?.clone();
            all.tensors.insert("lm_head.weight".to_owned(), head);
            all.config.untie();
        }
        for (name, tensor) in &mut all.tensors {
            if let Some(module) = name.strip_suffix(".weight") {
                *tensor = adapter.merged_weight(module, tensor)?;
            }
        }
        Ok(all)
    }
}

/// A hash in the making, of tensors in the order of their names.
struct Identity(Sha256);

impl Identity {
    fn new(config: &DecoderConfig) -> Self {
        Self(Sha256::new_with_prefix(config.identity()))
    }

    fn add(&mut self, name: &str, tensor: &Tensor) -> Result<(), DecoderError> {
        self.0.update(format!("{name} {:?}\n", tensor.dims()));
        let tensor = tensor.flatten_all()?;
        for start in (0..tensor.elem_count()).step_by(HASHED) {
            let count = HASHED.min(tensor.elem_count() - start);
            let part = widened(&tensor.narrow(0, start, count)?)?;
            let bytes: Vec<u8> = elements_of(&part)?
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            self.0.update(&bytes);
        }
        Ok(())
    }

    fn finish(self) -> String {
        format!("{:x}", self.0.finalize())
    }
}

/// Values hashed at a time.
const HASHED: usize = 1 << 14;

fn widened(tensor: &Tensor) -> Result<Tensor, DecoderError> {
    if tensor.dtype() == DType::F32 {
        return Ok(tensor.clone());
    }
    Ok(tensor.to_dtype(DType::F32)?)
}
