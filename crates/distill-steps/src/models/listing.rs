//! The list of models: what their configuration says, in figures.

use distill_hub::{ModelRow, Registry, RegistryError};
use distill_student::decoder::DecoderConfig;
use serde::Serialize;

use super::cache;
use crate::teacher::Environment;

/// One model of the list.
#[derive(Debug, Clone, Serialize)]
pub struct Listing {
    #[serde(flatten)]
    pub row: ModelRow,
    /// Whether its files are on this machine.
    pub fetched: bool,
    /// What its configuration says; absent where this program cannot read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<ModelFacts>,
    /// Why there are no facts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<Unread>,
}

/// What is computed from a model's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelFacts {
    /// `model_type`.
    pub family: String,
    pub parameters: usize,
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub key_value_heads: usize,
    pub vocabulary: usize,
    /// Positions that the model was made for.
    pub context: usize,
    /// Bytes of the weights, two for each as the file stores them.
    pub weight_bytes: usize,
}

/// Why a configuration could not be read, innermost cause last.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Unread(pub String);

/// Lists the program's models, with the user's own in front.
///
/// # Errors
/// A [`RegistryError`] of the user's list.
pub fn list(own: Option<&str>, environment: &Environment) -> Result<Vec<Listing>, RegistryError> {
    let mut registry = Registry::embedded()?;
    if let Some(text) = own {
        registry = registry.with(Registry::from_yaml(text)?);
    }
    let cache = cache(environment);
    let listing = |row: ModelRow| {
        let name = row.model_name().ok();
        let facts = facts(&row.config);
        Listing {
            fetched: cache
                .as_ref()
                .zip(name)
                .is_some_and(|(cache, name)| cache.find(&name).is_some()),
            unread: facts.as_ref().err().cloned(),
            facts: facts.ok(),
            row,
        }
    };
    Ok(registry.models.into_iter().map(listing).collect())
}

fn facts(config: &str) -> Result<ModelFacts, Unread> {
    let config = DecoderConfig::from_json(config).map_err(|error| Unread(error.to_string()))?;
    let parameters = config.parameter_count();
    Ok(ModelFacts {
        family: config.model_type.clone(),
        parameters,
        layers: config.num_hidden_layers,
        hidden: config.hidden_size,
        heads: config.num_attention_heads,
        key_value_heads: config.num_key_value_heads,
        vocabulary: config.vocab_size,
        context: config.max_position_embeddings,
        weight_bytes: parameters.saturating_mul(2),
    })
}
