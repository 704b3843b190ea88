//! The gated delta net inside a decoder, against a tiny Qwen3.5 of transformers
//! (`scripts/fixtures/decoders.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use candle_core::{DType, Device, Var};
use serde_json::{Value, json};

use super::super::tests::{distance, values};
use super::super::{Decoder, DecoderConfig, PackedTokens};
use super::*;
use crate::generate::{GenerateSettings, LabelTrie, generate, score_labels};
use crate::lora::{LoraAdapter, LoraConfig, LoraVariant};
use crate::weights::DecoderWeights;

/// Largest difference to the recorded logits, which go up to 7.4.
const TOLERANCE: f32 = 1e-4;

struct Recorded {
    weights: DecoderWeights,
    expected: Value,
    tensors: std::collections::HashMap<String, Tensor>,
}

fn recorded() -> Recorded {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decoders/qwen3_5_text");
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let tensors = candle_core::safetensors::load(folder.join("expected.safetensors"), &Device::Cpu);
    // The answers are those of the stored values in f32.
    let stored = DecoderWeights::from_dir(&folder).unwrap();
    let widened = stored
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.to_dtype(DType::F32).unwrap()))
        .collect();
    Recorded {
        weights: DecoderWeights::from_tensors(stored.config().clone(), widened).unwrap(),
        expected: serde_json::from_str(&text).unwrap(),
        tensors: tensors.unwrap(),
    }
}

fn rows(value: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn packed(rows: &[Vec<u32>]) -> PackedTokens {
    PackedTokens::new(rows.iter().map(Vec::as_slice))
}

#[test]
fn logits_are_those_of_transformers() {
    let recorded = recorded();
    let decoder = Decoder::new(&recorded.weights).unwrap();
    let batches = recorded.expected["batches"].as_array().unwrap();
    assert!(batches.len() > 3);
    for (index, batch) in batches.iter().enumerate() {
        let logits = decoder.logits(&packed(&rows(batch))).unwrap();
        let expected = &recorded.tensors[&format!("logits.{index}")];
        let difference = distance(&logits, expected);
        assert!(difference < TOLERANCE, "batch {index}: {difference}");
    }
}

#[test]
fn decoding_over_a_cache_gives_the_tokens_of_transformers() {
    let recorded = recorded();
    let decoder = Decoder::new(&recorded.weights).unwrap();
    let (prompts, expected) = (
        rows(&recorded.expected["prompts"]),
        rows(&recorded.expected["tokens"]),
    );
    let settings = GenerateSettings {
        max_new_tokens: 12,
        ..GenerateSettings::default()
    };
    for together in [true, false] {
        let answers = if together {
            generate(&decoder, &prompts, &settings).unwrap()
        } else {
            let alone =
                |prompt: &Vec<u32>| generate(&decoder, std::slice::from_ref(prompt), &settings);
            prompts.iter().flat_map(|p| alone(p).unwrap()).collect()
        };
        for (answer, expected) in answers.iter().zip(&expected) {
            assert_eq!(&answer.tokens, expected);
        }
    }
}

/// Prompts with a common beginning, and continuations that branch: each goes on from the memory of
/// what lies before it.
#[test]
fn branches_go_on_from_the_memory_before_them() {
    let recorded = recorded();
    let decoder = Decoder::new(&recorded.weights).unwrap();
    let row = &rows(&recorded.expected["batches"][1])[0];
    let prompts: Vec<Vec<u32>> = [[7, 8], [9, 8]]
        .iter()
        .map(|end| [&row[..20], end].concat())
        .collect();
    let labels: [&[u32]; 4] = [&[1, 2, 3], &[1, 2, 4, 5], &[1, 6], &[2]];
    let scores = score_labels(&decoder, &prompts, &LabelTrie::new(labels)).unwrap();
    for (prompt, scores) in prompts.iter().zip(&scores) {
        for (label, score) in labels.iter().zip(scores) {
            let whole = [prompt.as_slice(), label].concat();
            let logits = decoder
                .logits(&PackedTokens::new([whole.as_slice()]))
                .unwrap();
            let logits = candle_nn::ops::log_softmax(&logits, 1).unwrap();
            let logits: Vec<Vec<f32>> = logits.to_vec2().unwrap();
            let expected: f64 = (prompt.len()..whole.len())
                .map(|at| f64::from(logits[at - 1][whole[at] as usize]))
                .sum();
            assert!(
                (score - expected).abs() < 1e-4,
                "{score} instead of {expected}"
            );
        }
    }
}

#[test]
fn packed_rows_do_not_see_one_another() {
    let recorded = recorded();
    let decoder = Decoder::new(&recorded.weights).unwrap();
    let row = &rows(&recorded.expected["batches"][1])[0];
    let after = |first: u32| {
        let rows = [vec![first; 9], row.clone()];
        let logits = decoder.logits(&packed(&rows)).unwrap();
        values(&logits.narrow(0, 9, row.len()).unwrap())
    };
    assert_eq!(after(3), after(60));
}

#[test]
fn adapters_go_on_the_projections_by_their_names_in_transformers() {
    let recorded = recorded();
    let config = recorded.weights.config();
    let lora = LoraConfig {
        rank: 2,
        alpha: 2.0,
        variant: LoraVariant::RsLora,
        ..LoraConfig::default()
    };
    let adapter = LoraAdapter::for_weights(&recorded.weights, None, lora.clone(), 1).unwrap();
    let of_nets: BTreeSet<&str> = adapter
        .tensors()
        .keys()
        .filter_map(|name| name.split("linear_attn.").nth(1))
        .filter_map(|name| name.split(".lora_").next())
        .collect();
    let names = [
        "in_proj_a",
        "in_proj_b",
        "in_proj_qkv",
        "in_proj_z",
        "out_proj",
    ];
    assert_eq!(of_nets, BTreeSet::from(names));
    assert_eq!(config.linears(0).len(), 8);

    let batch = packed(&rows(&recorded.expected["batches"][0]));
    let base = Decoder::new(&recorded.weights).unwrap();
    let fresh = Decoder::with_adapter(&recorded.weights, &adapter).unwrap();
    let base = base.logits(&batch).unwrap();
    assert_eq!(values(&fresh.logits(&batch).unwrap()), values(&base));
    let moved = adapter
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), (tensor + 0.05).unwrap()))
        .collect();
    let moved = LoraAdapter::from_tensors(lora, moved).unwrap();
    let tuned = Decoder::with_adapter(&recorded.weights, &moved).unwrap();
    let tuned = tuned.logits(&batch).unwrap();
    assert!(distance(&tuned, &base) > 1e-2);
    let merged = Decoder::new(&recorded.weights.merge(&moved).unwrap()).unwrap();
    let difference = distance(&merged.logits(&batch).unwrap(), &tuned);
    assert!(difference < TOLERANCE, "{difference}");
}

#[test]
fn every_weight_gets_the_gradient_of_finite_differences() {
    let recorded = recorded();
    let variables: BTreeMap<String, Var> = recorded
        .weights
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap()))
        .collect();
    let batch = packed(&rows(&recorded.expected["batches"][0])[..3]);
    let loss = |of: &dyn Fn(&str) -> Tensor| {
        let tensors = variables.keys().map(|name| (name.clone(), of(name)));
        let config = recorded.weights.config().clone();
        let weights = DecoderWeights::from_tensors(config, tensors.collect()).unwrap();
        let logits = Decoder::new(&weights).unwrap().logits(&batch).unwrap();
        logits.sqr().unwrap().mean_all().unwrap()
    };
    let gradients = loss(&|name| variables[name].as_tensor().clone())
        .backward()
        .unwrap();
    for (name, variable) in &variables {
        let gradient = gradients
            .get(variable)
            .unwrap_or_else(|| panic!("{name} got none"));
        // Along its own direction a step changes the loss by the gradient's length.
        let length = gradient.sqr().unwrap().sum_all().unwrap().sqrt().unwrap();
        let length: f32 = length.to_scalar().unwrap();
        if !name.contains("linear_attn") {
            continue;
        }
        assert!(length > 0.0, "{name}");
        // The loss has seven digits, so a shorter step would measure their rounding.
        let step = 1e-2;
        let moved = |by: f32| -> f64 {
            let along = (gradient * f64::from(by / length)).unwrap();
            let of = |other: &str| {
                let tensor = variables[other].as_detached_tensor();
                if other == name {
                    (tensor + &along).unwrap()
                } else {
                    tensor
                }
            };
            f64::from(loss(&of).to_scalar::<f32>().unwrap())
        };
        let slope = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
        let relative = (slope / f64::from(length) - 1.0).abs();
        assert!(relative < 3e-2, "{name}: {slope} instead of {length}");
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_name() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/decoders/qwen3_5_text/config.json");
    let text = std::fs::read_to_string(folder).unwrap();
    let with = |field: &str, value: Value| {
        let mut fields: Value = serde_json::from_str(&text).unwrap();
        fields[field] = value;
        DecoderConfig::from_json(&fields.to_string())
    };
    for (field, value) in [
        ("linear_num_value_heads", json!(3)),
        ("linear_conv_kernel_dim", json!(0)),
        ("linear_key_head_dim", json!(1 << 20)),
        ("layer_types", json!(["linear_attention", "full_attention"])),
        (
            "layer_types",
            json!([
                "linear_attention",
                "full_attention",
                "linear_attention",
                "chunked"
            ]),
        ),
        ("attn_output_gate", json!(false)),
        ("mlp_only_layers", json!([1])),
        ("num_experts", json!(8)),
    ] {
        let error = with(field, value).unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
    let other = with("mtp_num_hidden_layers", json!(1)).unwrap();
    assert_eq!(other.layers.len(), 4);
}

/// As the family is published: the text model inside one that reads images too.
#[test]
fn a_model_that_reads_images_too_is_taken_for_its_text() {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decoders/qwen3_5_text");
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let mut inner: Value = serde_json::from_str(&text).unwrap();
    inner.as_object_mut().unwrap().remove("tie_word_embeddings");
    let whole = json!({
        "model_type": "qwen3_5", "text_config": inner, "vision_config": {"depth": 2},
        "image_token_id": 5, "tie_word_embeddings": false
    });
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("config.json"), whole.to_string()).unwrap();
    let plain = DecoderWeights::from_dir(&folder).unwrap();
    let mut tensors: BTreeMap<String, Tensor> = plain
        .tensors()
        .iter()
        .map(|(name, tensor)| {
            let inside = name.strip_prefix("model.");
            let name = inside.map_or(name.clone(), |rest| format!("model.language_model.{rest}"));
            (name, tensor.clone())
        })
        .collect();
    for foreign in ["model.visual.patch_embed.weight", "mtp.fc.weight"] {
        let tensor = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
        tensors.insert(foreign.to_owned(), tensor);
    }
    let bytes = crate::weights::write_tensors(&tensors, crate::weights::Precision::Bf16).unwrap();
    std::fs::write(home.path().join("model.safetensors"), bytes).unwrap();
    let taken = DecoderWeights::from_dir(home.path()).unwrap();
    assert_eq!(taken.config().model_type, "qwen3_5_text");
    assert_eq!(taken.tensors().len(), plain.tensors().len());
    let batch = PackedTokens::new([[1u32, 2, 3].as_slice()]);
    let logits = |weights: &DecoderWeights| Decoder::new(weights).unwrap().logits(&batch).unwrap();
    assert_eq!(values(&logits(&taken)), values(&logits(&plain)));

    let mut other = whole;
    other["num_experts"] = json!(4);
    let error = DecoderConfig::from_json(&other.to_string())
        .unwrap_err()
        .to_string();
    assert!(error.contains("num_experts"), "{error}");
}
