//! Low-rank adapters in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`.

mod peft;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use crate::decoder::{DecoderConfig, DecoderError};
use crate::weights::{Draw, Precision, read_tensors, read_text, write_tensors};

/// Rank and strength of an adapter; the update is scaled by alpha / rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraConfig {
    pub rank: usize,
    pub alpha: f64,
}

impl LoraConfig {
    pub fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

/// The update of one projection: `scale * up @ down` is added to its weight.
#[derive(Debug, Clone)]
pub(crate) struct LowRank {
    /// PEFT's A, (R, I).
    pub(crate) down: Tensor,
    /// PEFT's B, (O, R).
    pub(crate) up: Tensor,
    pub(crate) scale: f64,
}

/// An adapter: the two factors of each adapted projection, in f32. Clones share the tensors.
#[derive(Debug, Clone)]
pub struct LoraAdapter {
    config: LoraConfig,
    /// By PEFT's tensor names.
    tensors: BTreeMap<String, Tensor>,
}

/// What PEFT puts before a module's own name.
const PREFIX: &str = "base_model.model.";
const DOWN: &str = ".lora_A.weight";
const UP: &str = ".lora_B.weight";

impl LoraAdapter {
    /// Draws a new adapter for every projection of the model: A uniform as PEFT draws it
    /// (Kaiming with a = √5, which is ±1/√I), B zero, so that it changes nothing yet.
    pub fn init(
        model: &DecoderConfig,
        config: LoraConfig,
        seed: u64,
    ) -> Result<Self, DecoderError> {
        if config.rank == 0 {
            return Err(DecoderError::Adapter {
                reason: "its rank is 0".to_owned(),
            });
        }
        let mut draw = Draw::new(seed);
        let mut tensors = BTreeMap::new();
        for layer in 0..model.num_hidden_layers {
            for linear in model.linears() {
                let module = format!("{PREFIX}model.layers.{layer}.{}", linear.name);
                let bound = 1.0 / (linear.input as f64).sqrt();
                let down = draw.uniform(config.rank * linear.input, bound);
                let down = Tensor::from_vec(down, (config.rank, linear.input), &Device::Cpu)?;
                let up = vec![0.0f32; linear.output * config.rank];
                let up = Tensor::from_vec(up, (linear.output, config.rank), &Device::Cpu)?;
                tensors.insert(format!("{module}{DOWN}"), down);
                tensors.insert(format!("{module}{UP}"), up);
            }
        }
        Ok(Self { config, tensors })
    }

    /// Takes tensors by their PEFT names.
    pub fn from_tensors(
        config: LoraConfig,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self, DecoderError> {
        let adapter = Self { config, tensors };
        let pairs = adapter.modules().count();
        if config.rank == 0 || pairs == 0 || pairs * 2 != adapter.tensors.len() {
            return Err(DecoderError::Adapter {
                reason: format!(
                    "{} tensors of rank {} hold {pairs} pairs of lora_A and lora_B",
                    adapter.tensors.len(),
                    config.rank
                ),
            });
        }
        Ok(adapter)
    }

    pub fn config(&self) -> LoraConfig {
        self.config
    }

    /// By PEFT's names, in order.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The adapted modules by their names in the model.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (&str, LowRank)> {
        self.tensors.keys().filter_map(|name| {
            let module = name.strip_prefix(PREFIX)?.strip_suffix(DOWN)?;
            Some((module, self.low_rank(module)?))
        })
    }

    /// The update of a module, if it has one.
    pub(crate) fn low_rank(&self, module: &str) -> Option<LowRank> {
        Some(LowRank {
            down: self
                .tensors
                .get(&format!("{PREFIX}{module}{DOWN}"))?
                .clone(),
            up: self.tensors.get(&format!("{PREFIX}{module}{UP}"))?.clone(),
            scale: self.config.scale(),
        })
    }

    /// Refuses an adapter that has a module the model has not, or in another shape.
    pub(crate) fn check(&self, model: &DecoderConfig) -> Result<(), DecoderError> {
        let shapes: BTreeMap<String, Vec<usize>> = model.tensors().into_iter().collect();
        for (module, update) in self.modules() {
            let expected = shapes.get(&format!("{module}.weight"));
            let (rank, input) = update.down.dims2()?;
            let (output, up_rank) = update.up.dims2()?;
            let fits = expected.is_some_and(|shape| *shape == [output, input])
                && rank == up_rank
                && rank == self.config.rank;
            if !fits {
                return Err(DecoderError::Adapter {
                    reason: format!(
                        "`{module}` is {expected:?} in the model, A is {rank} x {input} and B \
                         {output} x {up_rank} at rank {}",
                        self.config.rank
                    ),
                });
            }
        }
        Ok(())
    }

    /// The text of `adapter_config.json`.
    pub fn adapter_config_json(&self, base_model: &str) -> String {
        let mut targets: Vec<&str> = self
            .modules()
            .map(|(module, _)| module.rsplit('.').next().unwrap_or(module))
            .collect();
        targets.sort_unstable();
        targets.dedup();
        peft::write(self.config, &targets, base_model)
    }

    /// The bytes of `adapter_model.safetensors`; the same adapter gives the same bytes.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, DecoderError> {
        write_tensors(&self.tensors, Precision::F32)
    }

    /// Reads the two files of an adapter.
    pub fn from_parts(adapter_config: &str, safetensors: &[u8]) -> Result<Self, DecoderError> {
        let config = peft::read(adapter_config)?;
        Self::from_tensors(config, read_tensors(safetensors, "the adapter")?)
    }

    pub fn write_dir(&self, directory: &Path, base_model: &str) -> Result<(), DecoderError> {
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.join(name);
            std::fs::write(&path, bytes).map_err(|source| DecoderError::Io { path, source })
        };
        let config = self.adapter_config_json(base_model);
        write("adapter_config.json", config.as_bytes())?;
        write("adapter_model.safetensors", &self.to_safetensors()?)
    }

    pub fn read_dir(directory: &Path) -> Result<Self, DecoderError> {
        let config = read_text(&directory.join("adapter_config.json"))?;
        let path = directory.join("adapter_model.safetensors");
        let bytes = std::fs::read(&path).map_err(|source| DecoderError::Io { path, source })?;
        Self::from_parts(&config, &bytes)
    }
}
