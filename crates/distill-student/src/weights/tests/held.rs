//! Weights whose projections are put into four bits while they are read.

use super::directories::directory;
use super::*;
use crate::decoder::{Decoder, DecoderPlan, PackedTokens};
use crate::lora::{Adaptable as _, LoraAdapter, LoraConfig, LoraVariant};
use crate::ops::Storage;

fn read(storage: Option<Storage>) -> DecoderWeights {
    let weights = weights(5);
    let directory = directory(&weights);
    let bytes = weights.to_safetensors(Precision::Bf16).unwrap();
    std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
    DecoderWeights::from_dir_held(directory.path(), storage).unwrap()
}

fn logits(weights: &DecoderWeights, adapter: &LoraAdapter) -> Vec<f32> {
    let plan = DecoderPlan {
        adapter: Some(adapter),
        storage: Some(Storage::Nf4),
        live: true,
        ..DecoderPlan::default()
    };
    let decoder = Decoder::with_plan(weights, plan).unwrap();
    let logits = decoder.logits(&PackedTokens::new([&[3u32, 1, 4, 1, 5][..]]));
    logits.unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn four_bits_answer_as_stored_weights_put_into_four_bits_do() {
    let (held, stored) = (read(Some(Storage::Nf4)), read(None));
    assert!(held.in_four_bits() && !stored.in_four_bits());
    assert_eq!(held.sha256().unwrap(), stored.sha256().unwrap());
    assert_eq!(held.precision(), stored.precision());
    for variant in [LoraVariant::Lora, LoraVariant::Dora] {
        let config = LoraConfig {
            variant,
            ..LoraConfig::default()
        };
        let adapter = |weights| {
            LoraAdapter::for_weights(weights, Some(Storage::Nf4), config.clone(), 3).unwrap()
        };
        assert_eq!(
            adapter(&held).to_safetensors().unwrap(),
            adapter(&stored).to_safetensors().unwrap()
        );
        assert_eq!(
            logits(&held, &adapter(&held)),
            logits(&stored, &adapter(&stored))
        );
    }
    let projections: usize = held
        .config()
        .projections()
        .iter()
        .map(|(_, [o, i])| o * i)
        .sum();
    let rest = 2 * (held.config().parameter_count() - projections);
    // Half a byte each, and a scale for every 64.
    assert_eq!(held.bytes(), rest + projections * 9 / 16);
}

#[test]
fn what_needs_the_stored_values_is_refused_by_name() {
    let held = read(Some(Storage::Nf4));
    let adapter = LoraAdapter::init(held.config(), LoraConfig::default(), 1).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let refused = [
        held.merge(&adapter).map(|_| ()),
        held.widened().map(|_| ()),
        held.to_safetensors(Precision::Bf16).map(|_| ()),
        held.write_dir(directory.path(), &Written::default()),
        // Trained in full, or with an adapter of a base that was held as it is stored.
        Decoder::with_plan(
            &held,
            DecoderPlan {
                live: true,
                ..DecoderPlan::default()
            },
        )
        .map(|_| ()),
        Decoder::with_adapter(&held, &adapter).map(|_| ()),
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(
            matches!(error, DecoderError::HeldInFourBits { .. }),
            "{error}"
        );
    }
    assert!(Decoder::new(&held).is_ok());
}

#[test]
fn drawn_weights_are_those_that_are_drawn_whole() {
    let config = weights(1).config().clone();
    let held = DecoderWeights::random_in_four_bits(config.clone(), 7, Precision::Bf16).unwrap();
    let whole = DecoderWeights::random_in(config, 7, Precision::Bf16).unwrap();
    let adapter = LoraAdapter::init(whole.config(), LoraConfig::default(), 1).unwrap();
    assert_eq!(logits(&held, &adapter), logits(&whole, &adapter));
    assert_ne!(held.sha256().unwrap(), whole.sha256().unwrap());
}
