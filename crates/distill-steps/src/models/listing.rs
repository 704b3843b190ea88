//! The list of models: what their configuration says, in figures.

use distill_hub::{ModelRow, Registry, RegistryError};
use distill_student::{
    decoder::{DecoderConfig, MixerConfig},
    encoder::EncoderConfig,
    ops::Storage,
    weights::Precision,
};
use distill_train::{
    Method, TrainSettings,
    encoder::{self, EncoderSettings, memory::LargestRows},
    memory::{LargestBatch, estimate},
};
use serde::Serialize;

use super::cache;
use crate::teacher::Environment;

/// Tokens of the batch that the memory for training is told for.
pub const BATCH_TOKENS: usize = 1024;
/// Tokens of the row that the memory for serving is told for.
pub const SERVED_TOKENS: usize = 2048;

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
    /// Bytes of the weights as the file stores them: two for each, of an encoder four.
    pub weight_bytes: usize,
    /// Estimated peak of training `LoRA` of rank 16 on all projections over bf16 weights, in batches
    /// of [`BATCH_TOKENS`].
    pub lora_bytes: Option<u64>,
    /// The same over 4-bit projections.
    pub qlora_bytes: Option<u64>,
    /// The weights, and keys and values of one row of [`SERVED_TOKENS`].
    pub serve_bytes: u64,
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
    if EncoderConfig::is_encoder(config) {
        return encoder_facts(config);
    }
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
        lora_bytes: training(&config, None),
        qlora_bytes: training(&config, Some(Storage::Nf4)),
        serve_bytes: 2 * parameters as u64 + cache_bytes(&config, SERVED_TOKENS),
    })
}

/// Those of an encoder with a head of two labels: its weights are f32 in files and here.
fn encoder_facts(config: &str) -> Result<ModelFacts, Unread> {
    let config = EncoderConfig::from_json(config).map_err(|error| Unread(error.to_string()))?;
    let parameters = config.parameter_count();
    let settings = EncoderSettings {
        method: Method::lora(16, 32.0),
        ..EncoderSettings::default()
    };
    let batch = LargestRows {
        tokens: BATCH_TOKENS,
        longest: ROW_TOKENS,
    };
    let classifier = ["classifier".to_owned()];
    let training = encoder::memory::estimate(&config, &classifier, &settings, batch);
    Ok(ModelFacts {
        family: config.model_type.clone(),
        parameters,
        layers: config.num_hidden_layers,
        hidden: config.hidden_size,
        heads: config.num_attention_heads,
        key_value_heads: config.num_attention_heads,
        vocabulary: config.vocab_size,
        context: config.max_position_embeddings,
        weight_bytes: parameters.saturating_mul(4),
        lora_bytes: training.ok().map(|parts| parts.total()),
        qlora_bytes: None,
        serve_bytes: 4 * parameters as u64,
    })
}

/// Tokens of one of an encoder's rows.
const ROW_TOKENS: usize = 128;

fn training(config: &DecoderConfig, base: Option<Storage>) -> Option<u64> {
    let settings = TrainSettings {
        method: Method::lora(16, 32.0),
        base,
        ..TrainSettings::default()
    };
    let batch = LargestBatch {
        tokens: BATCH_TOKENS,
        targets: BATCH_TOKENS,
    };
    let estimate = estimate(config, Precision::Bf16, &settings, batch).ok()?;
    Some(estimate.total())
}

/// What a row leaves behind, four bytes a number: keys and values of its tokens, in a layer with a
/// window of so many of them, in a delta net a memory of fixed size.
fn cache_bytes(config: &DecoderConfig, tokens: usize) -> u64 {
    let row = 2 * config.num_key_value_heads * config.head_dim * size_of::<f32>();
    let bytes = |mixer: &MixerConfig| match mixer {
        MixerConfig::Attention(attention) => {
            attention.window.map_or(tokens, |window| window.min(tokens)) * row
        }
        MixerConfig::DeltaNet(net) => net.cache_elements() * size_of::<f32>(),
    };
    let layers = config.layers.iter();
    layers.map(|layer| bytes(&layer.mixer) as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn listed() -> Vec<Listing> {
        list(None, &(Arc::new(|_: &str| None) as Environment)).unwrap()
    }

    fn facts_of(name: &str) -> ModelFacts {
        let listing = listed()
            .into_iter()
            .find(|listing| listing.row.name == name);
        listing.unwrap().facts.unwrap()
    }

    #[test]
    fn every_listed_model_can_be_read() {
        for listing in listed() {
            assert_eq!(listing.unread, None, "{}", listing.row.name);
        }
    }

    #[test]
    fn figures_follow_from_the_configuration() {
        // As the models' pages and reports give them.
        let million = |name: &str| facts_of(name).parameters / 1_000_000;
        assert_eq!(million("qwen3-0.6b"), 596);
        assert_eq!(million("smollm2-135m"), 134);
        assert_eq!(million("qwen2.5-0.5b"), 494);
        assert_eq!(million("llama-3.2-1b"), 1235);
        assert_eq!(million("llama-3.1-8b"), 8030);
        assert_eq!(million("phi-4-mini-instruct"), 3836);
        assert_eq!(facts_of("gemma-3-1b-it").parameters, 999_885_952);
        assert_eq!(million("gemma-3-270m-it"), 268);
        assert_eq!(million("granite-3.3-8b-instruct"), 8170);
        assert_eq!(million("qwen3.5-0.8b"), 752);
        // 109,482,240 of the published count, and a head of two labels.
        assert_eq!(facts_of("bert-base-uncased").parameters, 109_483_778);
        assert_eq!(million("modernbert-base"), 149);
        let facts = facts_of("qwen3-0.6b");
        assert_eq!(facts.weight_bytes, 2 * facts.parameters);
        // 28 layers with 8 heads of 128 for keys and for values.
        let cache = 2048 * 28 * 2 * 8 * 128 * 4;
        assert_eq!(facts.serve_bytes, facts.weight_bytes as u64 + cache);
    }

    #[test]
    fn a_delta_net_leaves_a_memory_and_the_inputs_of_its_convolution() {
        let config = DecoderConfig::from_json(
            r#"{"model_type": "qwen3_5_text", "vocab_size": 64, "hidden_size": 16,
                "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64,
                "layer_types": ["linear_attention", "full_attention"],
                "linear_num_key_heads": 2, "linear_num_value_heads": 4,
                "linear_key_head_dim": 6, "linear_value_head_dim": 7,
                "linear_conv_kernel_dim": 3}"#,
        )
        .unwrap();
        let (memory, inputs) = (4 * 6 * 7, 2 * (2 * 2 * 6 + 4 * 7));
        let keys_and_values = |tokens| tokens * 2 * 8;
        for tokens in [10, 50] {
            let elements = memory + inputs + keys_and_values(tokens);
            assert_eq!(cache_bytes(&config, tokens), 4 * elements as u64);
        }
    }

    #[test]
    fn memory_grows_with_the_model_and_not_below_its_weights() {
        let (small, large) = (facts_of("qwen3-0.6b"), facts_of("qwen3-8b"));
        assert!(small.lora_bytes.unwrap() > small.weight_bytes as u64);
        assert!(large.lora_bytes > small.lora_bytes);
        assert!(large.qlora_bytes > small.qlora_bytes);
    }
}
