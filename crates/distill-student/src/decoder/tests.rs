//! The decoder as a whole: packing, adapters, configuration.

use candle_core::Tensor;

pub(crate) mod families;
mod gradients;
mod parity;

use super::*;
use crate::lora::LoraConfig;

/// A model of a few thousand weights with every part that the configuration offers.
pub(crate) fn tiny(model_type: &str, tied: bool) -> DecoderConfig {
    let text = format!(
        r#"{{"model_type": "{model_type}", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 8, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": {tied}, "initializer_range": 0.2}}"#
    );
    DecoderConfig::from_json(&text).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference between two tensors of equal shape.
pub(crate) fn distance(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let pairs = values(a).into_iter().zip(values(b));
    pairs.fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

#[test]
fn packed_rows_give_the_logits_of_each_row_alone() {
    for model_type in ["llama", "qwen2", "qwen3"] {
        let weights = DecoderWeights::random(tiny(model_type, true), 1).unwrap();
        let decoder = Decoder::new(&weights).unwrap();
        let rows: [&[u32]; 3] = [&[1, 2, 3, 4, 5], &[7], &[9, 8, 7, 6]];
        let packed = decoder.logits(&PackedTokens::new(rows)).unwrap();
        let mut start = 0;
        for row in rows {
            let alone = decoder.logits(&PackedTokens::new([row])).unwrap();
            let within = packed.narrow(0, start, row.len()).unwrap();
            assert!(distance(&within, &alone) < 1e-5, "{model_type}");
            start += row.len();
        }
    }
}

#[test]
fn a_token_never_sees_what_follows_it() {
    let weights = DecoderWeights::random(tiny("llama", false), 2).unwrap();
    let decoder = Decoder::new(&weights).unwrap();
    let logits = |row: &[u32]| decoder.logits(&PackedTokens::new([row])).unwrap();
    let (one, other) = (logits(&[1, 2, 3, 4]), logits(&[1, 2, 3, 40]));
    assert!(
        distance(
            &one.narrow(0, 0, 3).unwrap(),
            &other.narrow(0, 0, 3).unwrap()
        ) < 1e-6
    );
    assert!(distance(&one, &other) > 1e-2);
}

#[test]
fn a_new_adapter_changes_nothing_and_a_trained_one_equals_its_merge() {
    let config = tiny("llama", true);
    let weights = DecoderWeights::random(config.clone(), 3).unwrap();
    let lora = LoraConfig {
        rank: 4,
        alpha: 8.0,
        ..LoraConfig::default()
    };
    let adapter = LoraAdapter::init(&config, lora.clone(), 4).unwrap();
    let row: &[u32] = &[3, 1, 4, 1, 5, 9, 2, 6];
    let packed = PackedTokens::new([row]);
    let base = Decoder::new(&weights).unwrap().logits(&packed).unwrap();
    let adapted = |adapter: &LoraAdapter| {
        let decoder = Decoder::with_adapter(&weights, adapter).unwrap();
        decoder.logits(&packed).unwrap()
    };
    assert_eq!(values(&adapted(&adapter)), values(&base));

    let moved = adapter
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), (tensor + 0.05).unwrap()))
        .collect();
    let moved = LoraAdapter::from_tensors(lora, moved).unwrap();
    let with_adapter = adapted(&moved);
    assert!(distance(&with_adapter, &base) > 1e-2);
    let merged = Decoder::new(&weights.merge(&moved).unwrap()).unwrap();
    assert!(distance(&merged.logits(&packed).unwrap(), &with_adapter) < 1e-4);
}

#[test]
fn rows_that_the_model_cannot_take_are_named() {
    let weights = DecoderWeights::random(tiny("llama", true), 1).unwrap();
    let decoder = Decoder::new(&weights).unwrap();
    let message = |row: &[u32]| {
        let rows: [&[u32]; 2] = [&[1], row];
        decoder
            .logits(&PackedTokens::new(rows))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(message(&[]), "row 1 is empty");
    assert_eq!(
        message(&[4, 50]),
        "row 1 holds token 50, the vocabulary has 50"
    );
    assert_eq!(
        message(&[1; 129]),
        "row 1 has 129 tokens, the model takes 128"
    );
}

#[test]
fn biases_are_part_of_the_answer() {
    let text = tiny("llama", true).to_json();
    let mut fields: serde_json::Value = serde_json::from_str(&text).unwrap();
    fields["attention_bias"] = true.into();
    let config = DecoderConfig::from_json(&fields.to_string()).unwrap();
    assert!(config.qkv_bias && config.output_bias);
    let weights = DecoderWeights::random(config.clone(), 1).unwrap();
    let moved = weights
        .tensors()
        .iter()
        .map(|(name, tensor)| {
            let by = if name.ends_with("o_proj.bias") {
                0.5
            } else {
                0.0
            };
            (name.clone(), (tensor + by).unwrap())
        })
        .collect();
    let moved = DecoderWeights::from_tensors(config, moved).unwrap();
    let row: &[u32] = &[1, 2, 3];
    let logits = |weights: &DecoderWeights| {
        let decoder = Decoder::new(weights).unwrap();
        decoder.logits(&PackedTokens::new([row])).unwrap()
    };
    assert!(distance(&logits(&weights), &logits(&moved)) > 1e-2);
}
