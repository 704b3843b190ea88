//! Every family against transformers: the recorded answers of tiny random models, made by
//! `scripts/fixtures/decoders.py`.

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::Value;

use super::{distance, values};
use crate::decoder::{Decoder, DecoderConfig, DecoderPlan, PackedTokens};
use crate::generate::{GenerateSettings, generate};
use crate::ops::Storage;
use crate::weights::{DecoderWeights, read_tensors};

/// Largest difference of a logit, in f32.
const TOLERANCE: f32 = 1e-4;

pub(super) const FAMILIES: &[&str] = &[
    "gemma2",
    "gemma3_text",
    "granite",
    "llama",
    "mistral",
    "phi3",
    "qwen2",
    "qwen3",
    "smollm3",
];

pub(super) struct Fixture {
    name: &'static str,
    pub(super) folder: PathBuf,
    expected: Value,
    tensors: std::collections::BTreeMap<String, Tensor>,
}

impl Fixture {
    pub(super) fn read(name: &'static str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/decoders");
        let folder = folder.join(name);
        let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let bytes = std::fs::read(folder.join("expected.safetensors")).unwrap();
        Self {
            name,
            expected: serde_json::from_str(&text).unwrap(),
            tensors: read_tensors(&bytes, "the expected logits").unwrap(),
            folder,
        }
    }

    fn config_text(&self) -> String {
        std::fs::read_to_string(self.folder.join("config.json")).unwrap()
    }

    fn decoder(&self) -> Decoder {
        decoder(&DecoderWeights::from_dir(&self.folder).unwrap())
    }

    fn rows(&self, field: &str) -> Vec<Vec<u32>> {
        serde_json::from_value(self.expected[field].clone()).unwrap()
    }

    pub(super) fn batches(&self) -> Vec<Vec<Vec<u32>>> {
        serde_json::from_value(self.expected["batches"].clone()).unwrap()
    }
}

/// The decoder in f32, whatever the file holds.
pub(super) fn decoder(weights: &DecoderWeights) -> Decoder {
    let plan = DecoderPlan {
        storage: Some(Storage::F32),
        ..DecoderPlan::default()
    };
    Decoder::with_plan(weights, plan).unwrap()
}

pub(super) fn packed_logits(decoder: &Decoder, rows: &[Vec<u32>]) -> Tensor {
    let rows = rows.iter().map(Vec::as_slice);
    decoder.logits(&PackedTokens::new(rows)).unwrap()
}

#[test]
fn logits_are_those_of_transformers_in_every_batch() {
    for name in FAMILIES {
        let fixture = Fixture::read(name);
        let decoder = fixture.decoder();
        for (index, rows) in fixture.batches().iter().enumerate() {
            let expected = &fixture.tensors[&format!("logits.{index}")];
            let worst = distance(&packed_logits(&decoder, rows), expected);
            assert!(worst <= TOLERANCE, "{name}, batch {index}: {worst}");
        }
    }
}

#[test]
fn rows_give_the_same_logits_whatever_they_are_packed_with() {
    for name in FAMILIES {
        let fixture = Fixture::read(name);
        let decoder = fixture.decoder();
        let rows = fixture.batches().concat();
        let together = packed_logits(&decoder, &rows);
        let mut start = 0;
        for row in &rows {
            let alone = packed_logits(&decoder, std::slice::from_ref(row));
            let within = together.narrow(0, start, row.len()).unwrap();
            let off = distance(&within, &alone);
            // Composed, other rows beside a row are another order of its sums.
            let most = if cfg!(feature = "composed") {
                1e-4
            } else {
                5e-5
            };
            assert!(off <= most, "{name}, {}: {off}", row.len());
            start += row.len();
        }
    }
}

#[test]
fn decoding_over_a_cache_is_that_of_transformers() {
    for name in FAMILIES {
        let fixture = Fixture::read(name);
        let decoder = fixture.decoder();
        let (prompts, tokens) = (fixture.rows("prompts"), fixture.rows("tokens"));
        let settings = GenerateSettings {
            max_new_tokens: tokens[0].len(),
            ..GenerateSettings::default()
        };
        let alone: Vec<_> = prompts
            .iter()
            .flat_map(|prompt| generate(&decoder, std::slice::from_ref(prompt), &settings).unwrap())
            .collect();
        let together = generate(&decoder, &prompts, &settings).unwrap();
        for answers in [alone, together] {
            for (index, (answer, tokens)) in answers.iter().zip(&tokens).enumerate() {
                assert_eq!(&answer.tokens, tokens, "{name}, prompt {index}");
                let steps = &fixture.tensors[&format!("steps.{index}")];
                let logs = candle_nn::ops::log_softmax(steps, 1).unwrap();
                let logs: Vec<Vec<f32>> = logs.to_vec2().unwrap();
                let pairs = answer.log_probabilities.iter().zip(tokens).zip(&logs);
                for (step, ((got, token), expected)) in pairs.enumerate() {
                    let difference = (got - expected[*token as usize]).abs();
                    assert!(
                        difference <= TOLERANCE,
                        "{name}, prompt {index}, step {step}: {difference}"
                    );
                }
            }
        }
    }
}

/// The configuration as transformers 4 wrote it.
fn older_form(fields: &mut Value) {
    let Some(Value::Object(mut rope)) = fields.as_object_mut().unwrap().remove("rope_parameters")
    else {
        return;
    };
    if let Some(Value::Object(mut whole)) = rope.remove("full_attention") {
        let theta = rope["sliding_attention"]["rope_theta"].clone();
        fields["rope_local_base_freq"] = theta;
        fields["rope_theta"] = whole.remove("rope_theta").unwrap();
        fields["rope_scaling"] = Value::Object(whole);
        return;
    }
    for outer in ["rope_theta", "partial_rotary_factor"] {
        if let Some(value) = rope.remove(outer) {
            fields[outer] = value;
        }
    }
    let kind = rope.remove("rope_type").unwrap();
    if kind != "default" {
        rope.insert("type".into(), kind);
        fields["rope_scaling"] = Value::Object(rope);
    }
}

#[test]
fn the_older_form_of_a_configuration_is_the_same_model() {
    for name in FAMILIES {
        let fixture = Fixture::read(name);
        let new = DecoderConfig::from_json(&fixture.config_text()).unwrap();
        let mut fields: Value = serde_json::from_str(&fixture.config_text()).unwrap();
        older_form(&mut fields);
        assert!(fields.get("rope_parameters").is_none());
        let old = DecoderConfig::from_json(&fields.to_string()).unwrap();
        assert_eq!(old.ropes, new.ropes, "{name}");
        assert_eq!(old.layers, new.layers, "{name}");
    }
}

/// Numbers of a configuration, by their path, that do not move the logits of short rows.
const STILL: &[&str] = &[
    "initializer_range",
    "max_position_embeddings",
    "attention_dropout",
    "embd_pdrop",
    "resid_pdrop",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "_sliding_window_pattern",
    "max_window_layers",
    "no_rope_layer_interval",
    "pretraining_tp",
    // Part of a pair that must agree.
    "original_max_position_embeddings",
    "partial_rotary_factor",
];

/// Calls for each number below `value` with a copy in which it is a quarter larger.
fn each_moved(value: &Value, path: &str, found: &mut dyn FnMut(&str, Value)) {
    let children: Vec<(String, Value)> = match value {
        Value::Object(map) => map.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        Value::Array(list) => {
            let items = list.iter().enumerate();
            items.map(|(i, v)| (i.to_string(), v.clone())).collect()
        }
        _ => return,
    };
    for (name, child) in children {
        let here = format!("{path}/{name}");
        let mut put = |path: &str, moved: Value| {
            let mut copy = value.clone();
            match &mut copy {
                Value::Object(map) => map.insert(name.clone(), moved),
                Value::Array(list) => {
                    list[name.parse::<usize>().unwrap()] = moved;
                    None
                }
                _ => None,
            };
            found(path, copy);
        };
        match &child {
            Value::Number(_) if STILL.contains(&name.as_str()) => {}
            Value::Number(number) => match number.as_u64() {
                Some(0 | 1) => {}
                Some(whole) => put(&here, (whole + whole.div_ceil(4)).into()),
                None => put(&here, (number.as_f64().unwrap() * 1.25).into()),
            },
            _ => each_moved(&child, &here, &mut put),
        }
    }
}

#[test]
fn every_number_of_a_configuration_matters() {
    for name in FAMILIES {
        let fixture = Fixture::read(name);
        let weights = DecoderWeights::from_dir(&fixture.folder).unwrap();
        let rows = fixture.batches().concat();
        let logits = packed_logits(&decoder(&weights), &rows);
        let fields: Value = serde_json::from_str(&fixture.config_text()).unwrap();
        let (mut moved, mut still) = (0, Vec::new());
        each_moved(&fields, "", &mut |path, changed| {
            let config = DecoderConfig::from_json(&changed.to_string());
            let config = config.unwrap_or_else(|error| panic!("{name}{path}: {error}"));
            let weights = DecoderWeights::from_tensors(config, weights.tensors().clone());
            let other = packed_logits(&decoder(&weights.unwrap()), &rows);
            let change = distance(&other, &logits);
            moved += 1;
            if change < 3e-5 {
                still.push(format!("{path} by {change}"));
            }
        });
        assert!(still.is_empty(), "{name} does not change by {still:?}");
        assert!(moved >= 2, "{}: {moved} numbers", fixture.name);
        assert!(values(&logits).iter().all(|logit| logit.is_finite()));
    }
}
