//! Files, seeds and hashes.

mod directories;
mod held;
mod hostile;

use super::*;
use crate::decoder::tests::{distance, tiny};

fn weights(seed: u64) -> DecoderWeights {
    DecoderWeights::random(tiny("llama", true), seed).unwrap()
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_seed_others() {
    let bytes = |seed| weights(seed).to_safetensors(Precision::F32).unwrap();
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
    assert_ne!(weights(1).sha256().unwrap(), weights(2).sha256().unwrap());
}

#[test]
fn a_file_gives_the_weights_back() {
    let weights = weights(3);
    let read = |precision| {
        let bytes = weights.to_safetensors(precision).unwrap();
        DecoderWeights::from_safetensors(weights.config().clone(), &bytes).unwrap()
    };
    let exact = read(Precision::F32);
    assert_eq!(exact.sha256().unwrap(), weights.sha256().unwrap());
    let rounded = read(Precision::Bf16);
    assert_eq!(rounded.precision(), Precision::F32);
    for (name, tensor) in weights.tensors() {
        let error = distance(tensor, rounded.get(name).unwrap());
        assert!(error < 0.01, "{name}: {error}");
    }
}

/// Other words for the same model have its hash, another meaning has not.
#[test]
fn a_hash_is_of_what_a_configuration_means() {
    let weights = weights(3);
    let hash = |text: &str| {
        let config = DecoderConfig::from_json(text).unwrap();
        let tensors = weights.tensors().clone();
        let read = DecoderWeights::from_tensors(config, tensors).unwrap();
        read.sha256().unwrap()
    };
    let written = weights.config().to_json();
    let fields: serde_json::Value = serde_json::from_str(&written).unwrap();
    let with = |name: &str, value: serde_json::Value| {
        let mut fields = fields.clone();
        fields[name] = value;
        fields.to_string()
    };
    let own = weights.sha256().unwrap();
    let theta = |theta: f64| serde_json::json!({"rope_type": "default", "rope_theta": theta});
    let mut newer = fields.clone();
    newer["rope_parameters"] = theta(10_000.0);
    newer.as_object_mut().unwrap().remove("rope_theta");
    for same in [
        written.replace([' ', '\n'], ""),
        written.replace("1e-5", "0.00001").replace("10000.0", "1e4"),
        with("attention_bias", false.into()),
        with("num_key_value_heads", 2.into()),
        with("transformers_version", "5.0.0".into()),
        with("torch_dtype", "bfloat16".into()),
        with("initializer_range", 0.01.into()),
        newer.to_string(),
    ] {
        assert_eq!(hash(&same), own, "{same}");
    }
    for other in [
        with("rms_norm_eps", 2e-5.into()),
        with("rope_theta", 20_000.0.into()),
        with("max_position_embeddings", 256.into()),
        with(
            "rope_scaling",
            serde_json::json!({"rope_type": "linear", "factor": 2.0}),
        ),
        with("rope_interleaved", true.into()),
        with("model_type", "granite".into()),
    ] {
        assert_ne!(hash(&other), own, "{other}");
    }
}

#[test]
fn missing_misshapen_and_unknown_tensors_are_named() {
    let weights = weights(1);
    let message = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut tensors = weights.tensors().clone();
        change(&mut tensors);
        let result = DecoderWeights::from_tensors(weights.config().clone(), tensors);
        result.unwrap_err().to_string()
    };
    let norm = weights.get("model.norm.weight").unwrap().clone();
    assert!(message(&|t| drop(t.remove("model.norm.weight"))).contains("model.norm.weight"));
    assert!(
        message(&|t| drop(t.insert("model.embed_tokens.weight".into(), norm.clone())))
            .contains("[50, 32]")
    );
    assert!(message(&|t| drop(t.insert("extra".into(), norm.clone()))).contains("extra"));
}

#[test]
fn a_file_is_written_as_the_format_s_own_library_writes_it() {
    let weights = weights(4);
    let ours = weights.to_safetensors(Precision::F32).unwrap();
    let tensors: Vec<(String, Tensor)> = weights
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.clone()))
        .collect();
    let theirs = safetensors::serialize(tensors, None).unwrap();
    assert_eq!(ours, theirs);
}

#[test]
fn a_cut_file_is_refused() {
    let bytes = weights(1).to_safetensors(Precision::F32).unwrap();
    let result = DecoderWeights::from_safetensors(tiny("llama", true), &bytes[..bytes.len() / 2]);
    assert!(result.unwrap_err().to_string().contains("the weights"));
}

#[test]
fn normal_draws_have_the_stated_deviation() {
    let draws = Draw::new(5).normal(20_000, 0.5);
    let mean = draws.iter().sum::<f32>() / 20_000.0;
    let variance = draws.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0;
    assert!(mean.abs() < 0.02, "{mean}");
    assert!((variance.sqrt() - 0.5).abs() < 0.02, "{variance}");
}
