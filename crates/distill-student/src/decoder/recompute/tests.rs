//! Layers that are run again give the gradients of layers that are kept, in every family.

use std::collections::BTreeMap;

use candle_core::Var;

use super::*;
use crate::decoder::DecoderPlan;
use crate::decoder::tests::families::{ALL, model};
use crate::decoder::tests::{tiny, values};
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
    rows: &[Vec<u32>],
) -> Vec<(String, Vec<f32>)> {
    let decoder = Decoder::with_plan(weights, plan).unwrap();
    let packed = PackedTokens::new(rows.iter().map(Vec::as_slice));
    let tokens = packed.tokens().len() as u32;
    let chosen: Arc<[u32]> = (1..tokens).filter(|at| at % 4 != 0).collect();
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
        // Keys that are not turned may have a bias that changes nothing.
        let idle = name.ends_with("k_proj.bias");
        assert!(largest > 0.0 || idle, "{name} got nothing");
        for (a, b) in kept.iter().zip(recomputed) {
            assert!((a - b).abs() <= 1e-5 * largest, "{name}: {a} and {b}");
        }
    }
}

fn check(weights: &DecoderWeights, rows: &[Vec<u32>]) {
    let config = weights.config();
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
        gradients(weights, plan, &trained, rows)
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
        gradients(&all, plan, &trained, rows)
    };
    assert_same(&full(false), &full(true));
}

#[test]
fn layers_that_are_run_again_give_the_same_gradients() {
    for name in ALL {
        let (weights, rows) = model(name);
        check(&weights, &rows);
    }
    let rows = [vec![1, 2, 3, 4, 5, 6, 7], vec![9], vec![8, 7, 6, 11]];
    for model_type in ["llama", "qwen2", "qwen3"] {
        for tied in [true, false] {
            let weights = DecoderWeights::random(tiny(model_type, tied), 3).unwrap();
            check(&weights, &rows);
        }
    }
}
