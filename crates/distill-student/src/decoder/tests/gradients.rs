//! Every family as it is trained: each weight's gradient against finite differences, and adapters
//! on each of its projections.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::parity::{FAMILIES, Fixture, decoder, packed_logits};
use super::{distance, values};
use crate::decoder::{Decoder, PackedTokens};
use crate::lora::{LoraAdapter, LoraConfig};
use crate::weights::DecoderWeights;

/// Rows that reach beyond the windows, and short enough to be run often.
fn rows(fixture: &Fixture) -> Vec<Vec<u32>> {
    let mut rows = fixture.batches().concat();
    rows.retain(|row| row.len() <= 17);
    rows
}

#[test]
fn every_weight_gets_the_gradient_of_finite_differences() {
    for name in FAMILIES {
        let fixture = Fixture::read(name);
        let weights = DecoderWeights::from_dir(&fixture.folder).unwrap();
        let weights = weights.widened().unwrap();
        let tensors = weights.tensors().iter();
        let variables: BTreeMap<String, Var> = tensors
            .map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap()))
            .collect();
        let rows = rows(&fixture);
        let batch = PackedTokens::new(rows.iter().map(Vec::as_slice));
        let loss = |of: &dyn Fn(&str) -> Tensor| {
            let tensors = variables.keys().map(|name| (name.clone(), of(name)));
            let config = weights.config().clone();
            let weights = DecoderWeights::from_tensors(config, tensors.collect()).unwrap();
            let logits = Decoder::new(&weights).unwrap().logits(&batch).unwrap();
            logits.sqr().unwrap().mean_all().unwrap()
        };
        let whole = loss(&|name| variables[name].as_tensor().clone());
        let noise = 1e-4 * f64::from(whole.to_scalar::<f32>().unwrap());
        let gradients = whole.backward().unwrap();
        for (tensor, variable) in &variables {
            let gradient = gradients.get(variable);
            let gradient = gradient.unwrap_or_else(|| panic!("{name}, {tensor} got none"));
            let length = gradient.sqr().unwrap().sum_all().unwrap().sqrt().unwrap();
            let length: f32 = length.to_scalar().unwrap();
            // Along its own direction a step changes the loss by the gradient's length. Keys that
            // are not turned may have a bias that changes nothing.
            let step = 2e-3;
            let moved = |by: f32| -> f64 {
                let along = (gradient * f64::from(by / length.max(1e-20))).unwrap();
                let of = |other: &str| {
                    let value = variables[other].as_detached_tensor();
                    if other == tensor {
                        (value + &along).unwrap()
                    } else {
                        value
                    }
                };
                f64::from(loss(&of).to_scalar::<f32>().unwrap())
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
            let error = (slope - f64::from(length)).abs();
            assert!(
                error <= 2e-2 * f64::from(length) + noise,
                "{name}, {tensor}: {slope} instead of {length}"
            );
        }
    }
}

#[test]
fn an_adapter_on_every_projection_equals_its_merge() {
    for name in FAMILIES {
        let fixture = Fixture::read(name);
        let weights = DecoderWeights::from_dir(&fixture.folder).unwrap();
        let weights = weights.widened().unwrap();
        let config = LoraConfig {
            rank: 3,
            alpha: 6.0,
            ..LoraConfig::default()
        };
        let drawn = LoraAdapter::init(weights.config(), config.clone(), 4).unwrap();
        let moved = drawn.tensors().iter();
        let moved = moved
            .map(|(name, tensor)| (name.clone(), (tensor + 0.02).unwrap()))
            .collect();
        let adapter = LoraAdapter::from_tensors(config, moved).unwrap();
        let projections = (0..weights.config().num_hidden_layers)
            .map(|layer| weights.config().linears(layer).len())
            .sum::<usize>();
        assert_eq!(adapter.tensors().len(), 2 * projections, "{name}");
        let rows = rows(&fixture);
        let adapted = Decoder::with_adapter(&weights, &adapter).unwrap();
        let adapted = packed_logits(&adapted, &rows);
        let merged = packed_logits(&decoder(&weights.merge(&adapter).unwrap()), &rows);
        assert!(distance(&adapted, &merged) < 2e-4, "{name}");
        let plain = packed_logits(&decoder(&weights), &rows);
        assert!(distance(&adapted, &plain) > 1e-2, "{name}");
        assert!(values(&adapted).iter().all(|logit| logit.is_finite()));
    }
}
