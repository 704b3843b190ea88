//! Layers that are run again give the gradients of layers that are kept.

use std::collections::BTreeMap;

use candle_core::Var;

use super::*;
use crate::decoder::tests::{tiny, values};
use crate::decoder::{DecoderConfig, DecoderPlan};
use crate::lora::{LoraAdapter, LoraConfig};
use crate::weights::DecoderWeights;

type Tensors = BTreeMap<String, Tensor>;

fn variables(tensors: &Tensors) -> Tensors {
    let variable = |tensor: &Tensor| Var::from_tensor(&tensor.copy().unwrap()).unwrap();
    tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), variable(tensor).as_tensor().clone()))
        .collect()
}

/// Gradients of a loss over packed rows by tensor, each with its largest magnitude.
fn gradients(
    weights: &DecoderWeights,
    plan: DecoderPlan<'_>,
    trained: &Tensors,
) -> Vec<(String, Vec<f32>)> {
    let decoder = Decoder::with_plan(weights, plan).unwrap();
    let rows: [&[u32]; 3] = [&[1, 2, 3, 4, 5, 6, 7], &[9], &[8, 7, 6, 11]];
    let packed = PackedTokens::new(rows);
    let chosen: Arc<[u32]> = [1, 3, 6, 7, 10].into();
    let hidden = decoder.hidden_rows(&packed, &chosen).unwrap();
    let logits = decoder.logits_of(&hidden).unwrap();
    let loss = logits.sqr().unwrap().sum_all().unwrap();
    let store = loss.backward().unwrap();
    trained
        .iter()
        .map(|(name, tensor)| (name.clone(), values(store.get(tensor).unwrap())))
        .collect()
}

fn assert_same(kept: &[(String, Vec<f32>)], recomputed: &[(String, Vec<f32>)]) {
    for ((name, kept), (_, recomputed)) in kept.iter().zip(recomputed) {
        let largest = kept.iter().fold(0f32, |most, value| most.max(value.abs()));
        assert!(largest > 0.0, "{name} got nothing");
        for (a, b) in kept.iter().zip(recomputed) {
            assert!((a - b).abs() <= 1e-5 * largest, "{name}: {a} and {b}");
        }
    }
}

fn check(config: &DecoderConfig) {
    let weights = DecoderWeights::random(config.clone(), 3).unwrap();
    let lora = LoraConfig {
        rank: 3,
        alpha: 6.0,
        ..LoraConfig::default()
    };
    let drawn = LoraAdapter::init(config, lora.clone(), 4).unwrap();
    let moved = drawn
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), (tensor + 0.05).unwrap()))
        .collect();
    let trained = variables(&moved);
    let adapter = LoraAdapter::from_tensors(lora, trained.clone()).unwrap();
    let adapted = |recompute| {
        let plan = DecoderPlan {
            adapter: Some(&adapter),
            live: true,
            recompute,
            ..DecoderPlan::default()
        };
        gradients(&weights, plan, &trained)
    };
    assert_same(&adapted(false), &adapted(true));

    let trained = variables(weights.tensors());
    let all = DecoderWeights::from_tensors(config.clone(), trained.clone()).unwrap();
    let full = |recompute| {
        let plan = DecoderPlan {
            live: true,
            recompute,
            ..DecoderPlan::default()
        };
        gradients(&all, plan, &trained)
    };
    assert_same(&full(false), &full(true));
}

#[test]
fn layers_that_are_run_again_give_the_same_gradients() {
    for model_type in ["llama", "qwen2", "qwen3"] {
        for tied in [true, false] {
            check(&tiny(model_type, tied));
        }
    }
}
