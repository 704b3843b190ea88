//! Low-rank adapters in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`.

mod adaptable;
mod config;
mod dropout;
pub(crate) mod magnitude;
mod peft;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Device, Tensor};

pub use adaptable::{Adaptable, AdaptableWeights};
pub(crate) use config::in_module;
pub use config::{LoraConfig, LoraVariant, Targets};
pub use dropout::Dropout;

use crate::decoder::{DecoderConfig, DecoderError};
use crate::ops::{FrozenWeight, Storage};
use crate::regular_file;
use crate::weights::{Draw, Precision, read_tensors, read_text, write_tensors};

/// The update of one projection: `scale * up @ down` is added to its weight.
#[derive(Debug, Clone)]
pub(crate) struct LowRank {
    /// PEFT's A, (R, I).
    pub(crate) down: Tensor,
    /// PEFT's B, (O, R).
    pub(crate) up: Tensor,
    pub(crate) scale: f64,
    /// The trained lengths of the rows, (O): `DoRA` only.
    pub(crate) magnitude: Option<Tensor>,
}

/// An adapter: what is trained of each adapted projection, in f32. Clones share the tensors.
#[derive(Debug, Clone)]
pub struct LoraAdapter {
    config: LoraConfig,
    /// By PEFT's tensor names.
    tensors: BTreeMap<String, Tensor>,
    /// How the base was held while this was trained; none: as its files are.
    base_storage: Option<Storage>,
}

/// What PEFT puts before a module's own name.
const PREFIX: &str = "base_model.model.";
const DOWN: &str = ".lora_A.weight";
const UP: &str = ".lora_B.weight";
const MAGNITUDE: &str = ".lora_magnitude_vector";
const EMBEDDINGS: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
/// The largest file of an adapter that is read: trained embeddings and a head of the largest models.
const LARGEST_FILE: u64 = 16 << 30;

impl LoraAdapter {
    /// Draws a new adapter: A uniform as PEFT draws it (Kaiming with a = √5, which is ±1/√I), B
    /// zero, so that it changes nothing yet.
    ///
    /// # Errors
    /// When the configuration targets nothing, or asks for what only the weights can give
    /// ([`Self::for_weights`] then).
    pub fn init(
        model: &impl Adaptable,
        config: LoraConfig,
        seed: u64,
    ) -> Result<Self, DecoderError> {
        let whole = !model.trained_whole(&config)?.is_empty();
        if config.variant.has_magnitudes() || whole {
            return Err(DecoderError::Adapter {
                reason: "DoRA and what is trained whole start from the weights".to_owned(),
            });
        }
        Self::draw(model, config, seed)
    }

    /// Draws a new adapter that changes nothing yet: as [`Self::init`], with the row lengths of
    /// `DoRA` and what is trained whole taken from the weights. `storage` is how the base will
    /// be held ([`DecoderPlan::storage`](crate::decoder::DecoderPlan)): rows held in four bits have
    /// other lengths.
    ///
    /// # Errors
    /// When the configuration targets nothing that the model has.
    pub fn for_weights(
        weights: &impl AdaptableWeights,
        storage: Option<Storage>,
        config: LoraConfig,
        seed: u64,
    ) -> Result<Self, DecoderError> {
        let mut adapter = Self::draw(weights.model(), config, seed)?;
        if adapter.config.variant.has_magnitudes() {
            let modules: Vec<String> = adapter.module_names().map(str::to_owned).collect();
            for module in modules {
                let weight = format!("{module}.weight");
                let held = weights.held(&weight).cloned();
                let lengths = match (held, storage) {
                    (None, None) => magnitude::row_lengths(weights.beginning(&weight)?)?,
                    (Some(held), _) => magnitude::row_lengths(&held.dequantised()?)?,
                    (None, Some(storage)) => {
                        let held = FrozenWeight::new(weights.beginning(&weight)?, storage)?;
                        magnitude::row_lengths(&held.dequantised()?)?
                    }
                };
                let name = format!("{PREFIX}{module}{MAGNITUDE}");
                adapter.tensors.insert(name, lengths);
            }
        }
        for (name, _) in weights.model().trained_whole(&adapter.config)? {
            let copy = weights.beginning(&name)?.detach();
            let copy = copy.to_dtype(DType::F32)?.copy()?;
            adapter.tensors.insert(format!("{PREFIX}{name}"), copy);
        }
        Ok(adapter)
    }

    /// Number of values that an adapter of this configuration has, without making it.
    ///
    /// # Errors
    /// When the configuration asks for what the model has not.
    pub fn parameter_count(
        model: &impl Adaptable,
        config: &LoraConfig,
    ) -> Result<usize, DecoderError> {
        let rules = config.rules()?;
        let whole = model.trained_whole(config)?;
        let whole: usize = whole
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum();
        let projections = model.projections();
        let targeted = projections
            .iter()
            .filter(|(module, _)| rules.targets(module));
        let modules: usize = targeted
            .map(|(module, [output, input])| {
                let magnitudes = output * usize::from(config.variant.has_magnitudes());
                rules.strength(module).rank * (input + output) + magnitudes
            })
            .sum();
        Ok(modules + whole)
    }

    /// The names among the targets that are no projection of this model, by PEFT's rule: the whole
    /// name, or its end after a dot. Empty for targets that are not names.
    pub fn unknown_targets<'a>(model: &impl Adaptable, targets: &'a Targets) -> Vec<&'a str> {
        let Targets::Names(names) = targets else {
            return Vec::new();
        };
        let modules = model.projections();
        let known = |name: &str| {
            modules
                .iter()
                .any(|(module, _)| config::ends_in(module, name))
        };
        let unknown = |name: &&String| !known(name);
        names.iter().filter(unknown).map(String::as_str).collect()
    }

    /// What projections of a model are called without their layer, each once.
    pub fn projection_names(model: &impl Adaptable) -> BTreeSet<String> {
        let last = |(module, _): (String, _)| match module.rsplit_once('.') {
            Some((_, last)) => last.to_owned(),
            None => module,
        };
        model.projections().into_iter().map(last).collect()
    }

    fn draw(model: &impl Adaptable, config: LoraConfig, seed: u64) -> Result<Self, DecoderError> {
        config.check()?;
        let rules = config.rules()?;
        let mut draw = Draw::new(seed);
        let mut tensors = BTreeMap::new();
        for (module, [output, input]) in model.projections() {
            if !rules.targets(&module) {
                continue;
            }
            let rank = rules.strength(&module).rank;
            let bound = 1.0 / (input as f64).sqrt();
            let down = draw.uniform(rank * input, bound);
            let down = Tensor::from_vec(down, (rank, input), &Device::Cpu)?;
            let up = vec![0.0f32; output * rank];
            let up = Tensor::from_vec(up, (output, rank), &Device::Cpu)?;
            tensors.insert(format!("{PREFIX}{module}{DOWN}"), down);
            tensors.insert(format!("{PREFIX}{module}{UP}"), up);
        }
        if tensors.is_empty() {
            return Err(DecoderError::Adapter {
                reason: format!("no projection of it is meant by {}", config.targets.words()),
            });
        }
        Ok(Self {
            config,
            tensors,
            base_storage: None,
        })
    }

    /// Takes tensors by their PEFT names.
    ///
    /// # Errors
    /// When a tensor is missing for the configuration, or has no place in it.
    pub fn from_tensors(
        config: LoraConfig,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self, DecoderError> {
        config.check()?;
        let adapter = Self {
            config,
            tensors,
            base_storage: None,
        };
        let refused = |reason: String| Err(DecoderError::Adapter { reason });
        let mut asked: Vec<String> = Vec::new();
        for module in adapter.module_names() {
            let module = format!("{PREFIX}{module}");
            asked.extend([format!("{module}{DOWN}"), format!("{module}{UP}")]);
            if adapter.config.variant.has_magnitudes() {
                asked.push(format!("{module}{MAGNITUDE}"));
            }
        }
        if asked.is_empty() {
            return refused("it has no pair of lora_A and lora_B".to_owned());
        }
        for (wanted, name) in [
            (adapter.config.train_embeddings, EMBEDDINGS),
            (adapter.config.train_head, HEAD),
        ] {
            if wanted {
                asked.push(format!("{PREFIX}{name}"));
            }
        }
        for module in &adapter.config.classifier {
            let of_module = adapter.tensors.keys().filter(|name| {
                let own = name.strip_prefix(PREFIX);
                own.is_some_and(|own| config::in_module(own, module))
            });
            let before = asked.len();
            asked.extend(of_module.cloned());
            if asked.len() == before {
                return refused(format!("its `{module}` is missing"));
            }
        }
        asked.sort_unstable();
        if let Some(missing) = asked.iter().find(|n| !adapter.tensors.contains_key(*n)) {
            return refused(format!("its tensor `{missing}` is missing"));
        }
        let known = |name: &&String| asked.binary_search(name).is_err();
        if let Some(other) = adapter.tensors.keys().find(known) {
            return refused(format!("its configuration has no place for `{other}`"));
        }
        Ok(adapter)
    }

    /// The same adapter for a base that is held in another way: what it was trained on is what it
    /// answers on.
    #[must_use]
    pub fn with_base_storage(mut self, storage: Option<Storage>) -> Self {
        self.base_storage = storage;
        self
    }

    /// How the base is held under this adapter; none: as its files are. PEFT's files do not say it.
    pub fn base_storage(&self) -> Option<Storage> {
        self.base_storage
    }

    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// By PEFT's names, in order.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// The adapted modules by their names in the model, in order.
    pub(crate) fn module_names(&self) -> impl Iterator<Item = &str> {
        self.tensors
            .keys()
            .filter_map(|name| name.strip_prefix(PREFIX)?.strip_suffix(DOWN))
    }

    /// The update of a module, if it has one.
    pub(crate) fn low_rank(&self, module: &str) -> Result<Option<LowRank>, DecoderError> {
        let tensor = |suffix: &str| self.tensors.get(&format!("{PREFIX}{module}{suffix}"));
        let (Some(down), Some(up)) = (tensor(DOWN), tensor(UP)) else {
            return Ok(None);
        };
        Ok(Some(LowRank {
            down: down.clone(),
            up: up.clone(),
            scale: self.config.rules()?.strength(module).scale,
            magnitude: tensor(MAGNITUDE).cloned(),
        }))
    }

    /// The copy of a tensor of the model that is trained whole, where the adapter has one.
    pub(crate) fn whole(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(&format!("{PREFIX}{name}"))
    }

    /// The trained embeddings, (V, D), where the adapter has them.
    pub(crate) fn embeddings(&self) -> Option<&Tensor> {
        self.whole(EMBEDDINGS)
    }

    /// The trained head, (V, D), where the adapter has one.
    pub(crate) fn head(&self) -> Option<&Tensor> {
        self.whole(HEAD)
    }

    /// Whether merging this adapter parts a model's head from the embeddings that it is tied to.
    pub(crate) fn unties(&self, model: &DecoderConfig) -> bool {
        model.tie_word_embeddings && (self.embeddings().is_some() || self.head().is_some())
    }

    /// The weight of a module with its update added in, (O, I) in f32, or the copy that was trained
    /// in its place; the weight itself where the adapter has nothing for it.
    pub(crate) fn merged_weight(
        &self,
        module: &str,
        weight: &Tensor,
    ) -> Result<Tensor, DecoderError> {
        if let Some(trained) = self.whole(&format!("{module}.weight")) {
            return Ok(trained.detach());
        }
        let weight = weight.detach();
        let Some(update) = self.low_rank(module)? else {
            return Ok(weight);
        };
        let weight = match self.base_storage {
            None => weight.to_dtype(DType::F32)?,
            Some(storage) => FrozenWeight::new(&weight, storage)?.dequantised()?,
        };
        let change = (update.up.matmul(&update.down)? * update.scale)?; // (O, R) @ (R, I) → (O, I)
        let merged = (weight + change)?;
        let merged = match &update.magnitude {
            None => merged,
            Some(magnitude) => {
                let factors = (magnitude / magnitude::row_lengths(&merged)?)?;
                merged.broadcast_mul(&factors.unsqueeze(1)?)?
            }
        };
        Ok(merged.detach())
    }

    /// Refuses an adapter that has a module the model has not, lacks one that it targets, or has
    /// one in another shape.
    pub(crate) fn check(&self, model: &impl Adaptable) -> Result<(), DecoderError> {
        let refused = |reason: String| Err(DecoderError::Adapter { reason });
        let shapes: BTreeMap<String, [usize; 2]> = model.projections().into_iter().collect();
        let rules = self.config.rules()?;
        for module in self.module_names() {
            let Some([output, input]) = shapes.get(module).copied() else {
                return refused(format!("the model has no projection `{module}`"));
            };
            let rank = rules.strength(module).rank;
            let update = format!("{PREFIX}{module}");
            self.expect(&format!("{update}{DOWN}"), &[rank, input])?;
            self.expect(&format!("{update}{UP}"), &[output, rank])?;
            if self.config.variant.has_magnitudes() {
                self.expect(&format!("{update}{MAGNITUDE}"), &[output])?;
            }
        }
        let adapted = |module: &str| {
            self.tensors
                .contains_key(&format!("{PREFIX}{module}{DOWN}"))
        };
        let mut targeted = shapes.keys().filter(|module| rules.targets(module));
        if let Some(missing) = targeted.find(|module| !adapted(module)) {
            return refused(format!("it targets `{missing}` and has no tensors for it"));
        }
        for (name, shape) in model.trained_whole(&self.config)? {
            self.expect(&format!("{PREFIX}{name}"), &shape)?;
        }
        Ok(())
    }

    fn expect(&self, name: &str, expected: &[usize]) -> Result<(), DecoderError> {
        let got = self.tensors.get(name).map_or(&[] as &[usize], Tensor::dims);
        if got == expected {
            return Ok(());
        }
        Err(DecoderError::Adapter {
            reason: format!("`{name}` is {got:?}, the model and the rank ask for {expected:?}"),
        })
    }

    /// The text of `adapter_config.json`.
    pub fn adapter_config_json(&self, base_model: &str) -> String {
        // Where a module beside the classifier is saved whole, the end of a name may mean one in it.
        let short = self.config.classifier.len() < 2;
        let mut suffixes: Vec<&str> = self
            .module_names()
            .map(|module| match module.rsplit_once('.') {
                Some((_, last)) if short => last,
                _ => module,
            })
            .collect();
        suffixes.sort_unstable();
        suffixes.dedup();
        peft::write(&self.config, &suffixes, base_model)
    }

    /// The bytes of `adapter_model.safetensors`; the same adapter gives the same bytes.
    pub fn to_safetensors(&self) -> Result<Vec<u8>, DecoderError> {
        write_tensors(&self.tensors, Precision::F32)
    }

    /// Reads the two files of an adapter.
    ///
    /// # Errors
    /// When a field of the configuration is not supported (by name), or the tensors do not fit it.
    pub fn from_parts(adapter_config: &str, safetensors: &[u8]) -> Result<Self, DecoderError> {
        let config = peft::read(adapter_config)?;
        let tensors = read_tensors(safetensors, "the adapter")?
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F32)?)))
            .collect::<Result<_, DecoderError>>()?;
        Self::from_tensors(config, tensors)
    }

    /// Writes both files into a directory that exists.
    pub fn write_dir(&self, directory: &Path, base_model: &str) -> Result<(), DecoderError> {
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.join(name);
            std::fs::write(&path, bytes).map_err(|source| DecoderError::Io { path, source })
        };
        let config = self.adapter_config_json(base_model);
        write("adapter_config.json", config.as_bytes())?;
        write("adapter_model.safetensors", &self.to_safetensors()?)
    }

    /// Reads an adapter's directory.
    ///
    /// # Errors
    /// As [`Self::from_parts`], and when a file cannot be read; a pickled adapter is refused.
    pub fn read_dir(directory: &Path) -> Result<Self, DecoderError> {
        let config = read_text(&directory.join("adapter_config.json"))?;
        let path = directory.join("adapter_model.safetensors");
        if !path.exists() && directory.join("adapter_model.bin").exists() {
            return Err(DecoderError::Format {
                what: directory.join("adapter_model.bin").display().to_string(),
                reason: "pickled files can run code and are not read; save the adapter again with \
                         `safe_serialization`"
                    .to_owned(),
            });
        }
        let bytes = regular_file::read(&path, LARGEST_FILE)
            .map_err(|source| DecoderError::Io { path, source })?;
        Self::from_parts(&config, &bytes)
    }
}
