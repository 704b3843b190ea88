//! The models and rows that are measured.

use std::fmt;

use clap::ValueEnum;
use distill_student::{
    decoder::{DecoderConfig, DecoderError},
    ops::Storage,
    weights::{DecoderWeights, Precision},
};
use distill_train::{
    TrainExample,
    bench::{dense_rows, real_rows},
};

/// A model's shape and four rows for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Case {
    /// The embedded model's shape, rows as in fine-tuning
    Nano,
    /// 101 million weights, 4 rows of 256 tokens that all carry loss
    #[value(name = "101m-dense")]
    Dense101M,
    /// 101 million weights, rows as in fine-tuning: 102 to 218 tokens, 70% of them a prompt
    #[value(name = "101m")]
    Real101M,
    /// The shape of Qwen3-0.6B, rows as in fine-tuning
    #[value(name = "qwen3-0.6b")]
    Qwen3,
}

const NANO: &str = r#"{"model_type": "llama", "vocab_size": 3072, "hidden_size": 192,
    "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 1024, "hidden_act": "silu",
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}"#;

const MIDDLE: &str = r#"{"model_type": "llama", "vocab_size": 32768, "hidden_size": 768,
    "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12,
    "num_key_value_heads": 4, "max_position_embeddings": 2048, "hidden_act": "silu",
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}"#;

const QWEN3: &str = r#"{"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024,
    "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960,
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
    "tie_word_embeddings": true}"#;

impl Case {
    pub(super) fn config(self) -> Result<DecoderConfig, DecoderError> {
        DecoderConfig::from_json(match self {
            Self::Nano => NANO,
            Self::Dense101M | Self::Real101M => MIDDLE,
            Self::Qwen3 => QWEN3,
        })
    }

    pub(super) fn rows(self, config: &DecoderConfig) -> Vec<TrainExample> {
        match self {
            Self::Dense101M => dense_rows(config),
            Self::Nano | Self::Real101M | Self::Qwen3 => real_rows(config),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// How the frozen matrices are held and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Held {
    F32,
    Bf16,
    /// Four bits a weight
    Nf4,
}

impl Held {
    pub(super) fn storage(self) -> Storage {
        match self {
            Self::F32 => Storage::F32,
            Self::Bf16 => Storage::Bf16,
            Self::Nf4 => Storage::Nf4,
        }
    }

    /// Random weights, as a checkpoint for this would store them.
    pub(super) fn draw(self, config: DecoderConfig) -> Result<DecoderWeights, DecoderError> {
        match self {
            Self::F32 => DecoderWeights::random_in(config, 1, Precision::F32),
            Self::Bf16 => DecoderWeights::random_in(config, 1, Precision::Bf16),
            Self::Nf4 => DecoderWeights::random_in_four_bits(config, 1, Precision::Bf16),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.pad(value.as_ref().map_or("", |value| value.get_name()))
    }
}
