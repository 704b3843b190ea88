//! Reading configurations: both forms, what is refused, what is absurd.

mod published;
mod rotations;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;
use crate::decoder::family::FAMILIES;

fn base(model_type: &str) -> Value {
    let mut fields = json!({
        "model_type": model_type, "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "tie_word_embeddings": false
    });
    if ["mistral", "gemma2", "gemma3_text"].contains(&model_type) {
        fields["sliding_window"] = json!(7);
    }
    fields
}

fn read(model_type: &str, changes: &Value) -> Result<DecoderConfig, DecoderError> {
    let mut fields = base(model_type);
    for (name, value) in changes.as_object().unwrap() {
        fields[name] = value.clone();
    }
    DecoderConfig::from_json(&fields.to_string())
}

fn theta(model_type: &str, changes: &Value) -> Vec<u64> {
    let config = read(model_type, changes).unwrap();
    config.ropes.iter().map(|rope| rope.theta as u64).collect()
}

fn windows(config: &DecoderConfig) -> Vec<Option<usize>> {
    let layers = config.layers.iter();
    layers
        .map(|layer| match layer.mixer {
            MixerConfig::Attention(attention) => attention.window,
            MixerConfig::DeltaNet(_) => None,
        })
        .collect()
}

fn turned(config: &DecoderConfig) -> Vec<Option<usize>> {
    let layers = config.layers.iter();
    layers
        .map(|layer| match layer.mixer {
            MixerConfig::Attention(attention) => attention.rope,
            MixerConfig::DeltaNet(_) => None,
        })
        .collect()
}

#[test]
fn every_family_survives_its_own_form() {
    for family in FAMILIES {
        let config = read(family.model_type, &json!({})).unwrap();
        assert_eq!(DecoderConfig::from_json(&config.to_json()).unwrap(), config);
        assert_eq!(config.layers.len(), 4);
    }
}

#[test]
fn both_forms_of_the_rotation_base_are_read() {
    assert_eq!(theta("llama", &json!({})), [10_000]);
    assert_eq!(theta("smollm3", &json!({})), [2_000_000]);
    assert_eq!(theta("llama", &json!({"rope_theta": 5e5})), [500_000]);
    let new = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 100_000}});
    assert_eq!(theta("llama", &new), [100_000]);
    let both = json!({"rope_theta": 7.0, "rope_parameters": {"rope_theta": 100_000}});
    assert_eq!(theta("qwen3", &both), [100_000]);
}

#[test]
fn gemma_has_a_rotation_for_its_local_layers() {
    assert_eq!(theta("gemma2", &json!({})), [10_000]);
    assert_eq!(theta("gemma3_text", &json!({})), [1_000_000, 10_000]);
    let old = json!({"rope_theta": 3e5, "rope_local_base_freq": 2e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}});
    assert_eq!(theta("gemma3_text", &old), [300_000, 20_000]);
    let new = json!({"rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 3e5},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}}});
    let (old, new) = (
        read("gemma3_text", &old).unwrap(),
        read("gemma3_text", &new).unwrap(),
    );
    assert_eq!(old.ropes, new.ropes);
    assert_eq!(old.ropes[0].scaling, RopeScaling::Linear { factor: 8.0 });
    assert_eq!(old.ropes[1].scaling, RopeScaling::None);
    let pattern = read("gemma3_text", &json!({"sliding_window_pattern": 3})).unwrap();
    assert_eq!(windows(&pattern), [Some(7), Some(7), None, Some(7)]);
    assert_eq!(turned(&pattern), [Some(1), Some(1), Some(0), Some(1)]);
}

#[test]
fn windows_stand_where_the_family_has_them() {
    let of = |model_type: &str, changes: Value| windows(&read(model_type, &changes).unwrap());
    assert_eq!(of("llama", json!({})), [None; 4]);
    assert_eq!(of("mistral", json!({})), [Some(7); 4]);
    assert_eq!(of("mistral", json!({"sliding_window": null})), [None; 4]);
    assert_eq!(of("phi3", json!({})), [None; 4]);
    assert_eq!(of("phi3", json!({"sliding_window": 9})), [Some(9); 4]);
    let used = |more: Value| {
        let mut all = json!({"use_sliding_window": true, "sliding_window": 5});
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        all
    };
    assert_eq!(of("qwen2", used(json!({}))), [None; 4]);
    let two = used(json!({"max_window_layers": 2}));
    assert_eq!(of("qwen2", two), [None, None, Some(5), Some(5)]);
    assert_eq!(
        of("qwen2", used(json!({"max_window_layers": 0}))),
        [Some(5); 4]
    );
    let (full, local) = ("full_attention", "sliding_attention");
    let named = used(json!({"layer_types": [local, full, full, local]}));
    assert_eq!(of("qwen3", named), [Some(5), None, None, Some(5)]);
    let unused = json!({"use_sliding_window": false, "sliding_window": 5, "max_window_layers": 1});
    assert_eq!(of("qwen2", unused), [None; 4]);
    assert_eq!(of("gemma2", json!({})), [Some(7), None, Some(7), None]);
    let flags = used(json!({"no_rope_layers": [1, 0, 1, 0]}));
    assert_eq!(of("smollm3", flags), [None, Some(5), None, Some(5)]);
}

#[test]
fn some_layers_do_not_turn() {
    let by_default = read("smollm3", &json!({})).unwrap();
    assert_eq!(turned(&by_default), [Some(0), Some(0), Some(0), None]);
    let every_second = read("smollm3", &json!({"no_rope_layer_interval": 2})).unwrap();
    assert_eq!(turned(&every_second), [Some(0), None, Some(0), None]);
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    let two = || json!([1.0, 2.0]);
    for (model_type, field, value) in [
        ("llama", "hidden_act", json!("gelu")),
        (
            "llama",
            "rope_scaling",
            json!({"rope_type": "dynamic", "factor": 8.0}),
        ),
        (
            "llama",
            "rope_scaling",
            json!({"rope_type": "default", "factor": 8.0}),
        ),
        (
            "llama",
            "rope_scaling",
            json!({"rope_type": "linear", "type": "yarn", "factor": 8.0}),
        ),
        (
            "llama",
            "rope_parameters",
            json!({"full_attention": {"rope_theta": 1e6}}),
        ),
        ("llama", "rope_parameters", json!({"rope_theta": 1.0})),
        (
            "llama",
            "rope_parameters",
            json!({"partial_rotary_factor": 0.5}),
        ),
        ("llama", "rope_parameters", json!(["yarn"])),
        ("phi3", "partial_rotary_factor", json!(0.1)),
        ("phi3", "partial_rotary_factor", json!(1.5)),
        (
            "phi3",
            "rope_scaling",
            json!({"type": "longrope", "short_factor": two(), "long_factor": two()}),
        ),
        ("gemma3_text", "rope_parameters", json!({"rope_theta": 1e6})),
        ("gemma3_text", "attn_logit_softcapping", json!(50.0)),
        ("gemma3_text", "use_bidirectional_attention", json!(true)),
        ("gemma2", "hidden_activation", json!("relu")),
        ("gemma2", "hidden_act", json!("silu")),
        ("gemma2", "final_logit_softcapping", json!(-1.0)),
        ("llama", "use_sliding_window", json!(true)),
        ("llama", "sliding_window", json!(4096)),
        (
            "llama",
            "layer_types",
            json!(["sliding_attention"; 4].to_vec()),
        ),
        (
            "qwen2",
            "layer_types",
            json!(["linear_attention"; 4].to_vec()),
        ),
        (
            "qwen2",
            "layer_types",
            json!(["full_attention"; 3].to_vec()),
        ),
        ("qwen2", "attention_bias", json!(false)),
        ("qwen2", "mlp_bias", json!(true)),
        ("mistral", "head_dim", json!(7)),
        ("smollm3", "no_rope_layers", json!([1, 0])),
        ("smollm3", "no_rope_layers", json!([1, 0, 2, 1])),
        ("granite", "logits_scaling", json!(0)),
        ("granite", "embedding_multiplier", json!("12")),
        ("llama", "embedding_multiplier", json!(12.0)),
        ("llama", "quantization_config", json!({})),
        ("llama", "attn_logit_softcapping", json!(30.0)),
        ("llama", "num_key_value_heads", json!(3)),
        ("llama", "hidden_size", json!(-1)),
        ("llama", "hidden_size", json!(32.5)),
        ("llama", "attention_bias", json!(1)),
        ("llama", "num_experts", json!(8)),
        ("phi3", "lm_head_bias", json!(true)),
        ("llama", "rms_norm_eps", json!(-1e-5)),
    ] {
        let error = read(model_type, &json!({field: value}))
            .unwrap_err()
            .to_string();
        assert!(error.contains(field), "{model_type} {field}: {error}");
    }
}

#[test]
fn an_unknown_model_is_told_what_is_known() {
    let unknown = read("mamba", &json!({})).unwrap_err().to_string();
    assert!(
        unknown.contains("mamba") && unknown.contains("granite"),
        "{unknown}"
    );
    let images = json!({"text_config": {"model_type": "gemma3_text"}});
    let images = read("gemma3", &images).unwrap_err().to_string();
    assert!(images.contains("text model alone"), "{images}");
}

#[test]
fn a_field_that_is_null_is_as_one_that_is_not_there() {
    let nulls = json!({"rope_scaling": null, "sliding_window": null, "anything": null});
    let (with, without) = (
        read("llama", &nulls).unwrap(),
        read("llama", &json!({})).unwrap(),
    );
    assert_eq!(
        (&with.layers, &with.ropes),
        (&without.layers, &without.ropes)
    );
    assert_eq!(with.tensors(), without.tensors());
    // A null may say "none" where a missing field says "the default": it is kept.
    for (family, field) in [
        ("mistral", "sliding_window"),
        ("smollm3", "num_key_value_heads"),
    ] {
        let whole = read(family, &json!({ field: null })).unwrap();
        assert_eq!(DecoderConfig::from_json(&whole.to_json()).unwrap(), whole);
    }
}

#[test]
fn absurd_sizes_are_refused_at_once_by_name() {
    let begun = Instant::now();
    for field in [
        "num_hidden_layers",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "max_position_embeddings",
    ] {
        for value in [
            json!(0),
            json!(1u64 << 40),
            json!(u64::MAX),
            json!(1e300),
            json!([1]),
        ] {
            let error = read("llama", &json!({field: value}))
                .unwrap_err()
                .to_string();
            assert!(error.contains(field), "{field} {value}: {error}");
        }
    }
    let odd = json!({"head_dim": null, "hidden_size": 33});
    let error = read("llama", &odd).unwrap_err().to_string();
    assert!(error.contains("num_attention_heads"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_long_value_is_not_repeated_whole() {
    let long = json!({"hidden_act": "x".repeat(100_000)});
    assert!(read("llama", &long).unwrap_err().to_string().len() < 400);
}

/// To the rounding of single precision.
fn near(got: f32, expected: f64) -> bool {
    (f64::from(got) - expected).abs() <= 2e-7 * expected
}

#[test]
fn rotations_have_the_frequencies_of_their_method() {
    let rotation = |changes: Value| read("llama", &changes).unwrap().ropes[0].rotation();
    let plain = rotation(json!({}));
    let linear = rotation(json!({"rope_scaling": {"type": "linear", "factor": 4.0}}));
    for (slow, fast) in linear.frequencies.iter().zip(&plain.frequencies) {
        assert_eq!((slow * 4.0).to_bits(), fast.to_bits());
    }
    let llama3 = rotation(
        json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64}}),
    );
    // 64 tokens are 10.2 turns of the first pair, 1.02 of the second, 0.1 of the third.
    assert!(near(llama3.frequencies[0], 1.0));
    let kept = (64.0 * 0.1 / std::f64::consts::TAU - 1.0) / 3.0;
    let blend = 0.1 * (kept + (1.0 - kept) / 8.0);
    assert!(near(llama3.frequencies[1], blend));
    assert!(near(llama3.frequencies[2], 0.01 / 8.0));
    let yarn = rotation(json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0,
        "original_max_position_embeddings": 64}}));
    assert!(near(yarn.factor, 0.1 * 4f64.ln() + 1.0));
    assert!(near(yarn.frequencies[0], 1.0));
    assert!(near(yarn.frequencies[3], 0.001 / 4.0));
    let weights = json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7,
        "mscale_all_dim": 1.4}});
    let expected = (0.07 * 4f64.ln() + 1.0) / (0.14 * 4f64.ln() + 1.0);
    assert!(near(rotation(weights).factor, expected));
}

#[test]
fn phi_turns_long_rows_with_other_factors() {
    let changes = json!({"original_max_position_embeddings": 16, "partial_rotary_factor": 0.5,
        "rope_scaling": {"type": "su", "short_factor": [1.0, 2.0], "long_factor": [3.0, 4.0]}});
    let config = read("phi3", &changes).unwrap();
    let rotation = config.ropes[0].rotation();
    assert_eq!(config.long_rows_after(), Some(16));
    let close = |got: &[f32], expected: [f64; 2]| {
        got.len() == 2 && got.iter().zip(expected).all(|(a, b)| near(*a, b))
    };
    assert!(close(&rotation.frequencies, [1.0, 0.01 / 2.0]));
    assert!(close(&rotation.long.unwrap().1, [1.0 / 3.0, 0.01 / 4.0]));
    let factor = (1.0 + 8f64.ln() / 16f64.ln()).sqrt();
    assert!(near(rotation.factor, factor));
}
