//! Weights whose projections are put into four bits while they come in, matrix by matrix: beside
//! those there is never more than one of them as it is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::Tensor;

use super::{DecoderWeights, Identity, Precision, WeightFiles, check_shapes, read_text};
use crate::decoder::config::own_name;
use crate::decoder::{DecoderConfig, DecoderError};
use crate::lora::Adaptable as _;
use crate::ops::{FrozenWeight, Storage};

impl DecoderWeights {
    /// As [`Self::from_dir`], for a base that is frozen and held like this. In four bits the
    /// projections are quantised as they are read, which takes a third of the memory of a bf16
    /// checkpoint's; their hash is still that of the files. What needs the stored values
    /// ([`Self::merge`], writing, training in full) is refused then. Any other storage reads as
    /// `from_dir` does.
    ///
    /// # Errors
    /// As [`Self::from_dir`].
    pub fn from_dir_held(directory: &Path, storage: Option<Storage>) -> Result<Self, DecoderError> {
        if storage != Some(Storage::Nf4) {
            return Self::from_dir(directory);
        }
        let config = read_text(&directory.join("config.json"))?;
        let config = DecoderConfig::from_json(&config)?;
        let mut files = WeightFiles::open(directory)?;
        files.rename(|stored| own_name(&config.model_type, stored));
        let mut names = check_shapes(&config, files.shapes())?;
        names.sort_unstable(); // the order of the hash
        let mut identity = Identity::new(&config);
        let mut held = Quantising::new(config);
        files.read_each(&names, |name, tensor| {
            identity.add(name, &tensor)?;
            held.take(name, tensor)
        })?;
        let mut weights = held.weights;
        weights.stored_identity = Some(identity.finish());
        Ok(weights)
    }

    /// As [`Self::random_in`], with the projections put into four bits as they are drawn. The hash
    /// is of the values in four bits.
    pub fn random_in_four_bits(
        config: DecoderConfig,
        seed: u64,
        precision: Precision,
    ) -> Result<Self, DecoderError> {
        let mut held = Quantising::new(config.clone());
        Self::draw(&config, seed, precision, |name, tensor| {
            held.take(&name, tensor)
        })?;
        Ok(held.weights)
    }

    /// Whether the projections are held in four bits, and no longer as they are stored.
    pub fn in_four_bits(&self) -> bool {
        !self.held.is_empty()
    }

    /// A projection's matrix, where it is held in four bits.
    pub(crate) fn held(&self, name: &str) -> Option<&FrozenWeight> {
        self.held.get(name)
    }

    /// Refuses to do what needs the values as they are stored.
    pub(super) fn as_stored(&self) -> Result<(), DecoderError> {
        match self.held.keys().next() {
            None => Ok(()),
            Some(name) => Err(DecoderError::HeldInFourBits { name: name.clone() }),
        }
    }
}

/// Weights in the making.
struct Quantising {
    weights: DecoderWeights,
    projections: BTreeSet<String>,
}

impl Quantising {
    fn new(config: DecoderConfig) -> Self {
        let projections = config.projections().into_iter();
        Self {
            projections: projections
                .map(|(module, _)| format!("{module}.weight"))
                .collect(),
            weights: DecoderWeights {
                config,
                tensors: BTreeMap::new(),
                held: BTreeMap::new(),
                stored_identity: None,
            },
        }
    }

    fn take(&mut self, name: &str, tensor: Tensor) -> Result<(), DecoderError> {
        let name = name.to_owned();
        if self.projections.contains(&name) {
            let matrix = FrozenWeight::new(&tensor, Storage::Nf4)?;
            self.weights.held.insert(name, matrix);
        } else {
            self.weights.tensors.insert(name, tensor);
        }
        Ok(())
    }
}
