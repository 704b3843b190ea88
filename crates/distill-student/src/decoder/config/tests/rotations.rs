//! Rotations of published models against those of transformers: `tests/fixtures/rotations.json`.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

use crate::decoder::DecoderConfig;
use crate::ops::{Positions, Rope};

#[derive(Deserialize)]
struct Recorded {
    positions: Vec<u32>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    config: Value,
    frequencies: Vec<f32>,
    long_frequencies: Option<Vec<f32>>,
    /// (positions, pairs)
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

/// The reference's powers are off by one unit in the last place for some pairs in a hundred; ours are rounded
/// to the nearest. What follows from one may round once more.
const UNITS: u32 = 2;

fn assert_frequencies(name: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{name}");
    let apart: Vec<u32> = got
        .iter()
        .zip(expected)
        .map(|(a, b)| a.to_bits().abs_diff(b.to_bits()))
        .collect();
    assert!(
        apart.iter().all(|units| *units <= UNITS),
        "{name}: {apart:?}"
    );
    let other = apart.iter().filter(|units| **units > 0).count();
    assert!(
        other * 10 <= got.len(),
        "{name}: {other} of {} differ",
        got.len()
    );
}

#[test]
fn rotations_are_those_of_transformers_in_single_precision() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/rotations.json");
    let recorded: Recorded = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let positions = recorded.positions;
    let longest = *positions.iter().max().unwrap() + 1;
    for (name, case) in recorded.cases {
        let config = DecoderConfig::from_json(&case.config.to_string()).unwrap();
        let rotation = config.ropes[0].rotation();
        assert_frequencies(&name, &rotation.frequencies, &case.frequencies);
        let long = rotation.long.as_ref().map(|(_, frequencies)| frequencies);
        assert_eq!(long.is_some(), case.long_frequencies.is_some(), "{name}");
        if let (Some(got), Some(expected)) = (long, &case.long_frequencies) {
            assert_frequencies(&name, got, expected);
        }
        let (width, pairs) = (rotation.head_dim, rotation.frequencies.len());
        let in_use = case.long_frequencies.as_ref().unwrap_or(&case.frequencies);
        // Ones against zeros turn to cosines and sines.
        let ones = (0..positions.len() * width).map(|at| f32::from(u8::from(at % width < pairs)));
        let ones = Tensor::from_iter(ones, &Device::Cpu).unwrap();
        let ones = ones.reshape((positions.len(), width)).unwrap();
        let lengths = vec![longest; positions.len()];
        let placed = Positions::with_row_lengths(positions.clone().into(), lengths.into());
        let turned = Rope::new(rotation.clone()).apply(&ones, &placed).unwrap();
        let turned: Vec<Vec<f32>> = turned.to_vec2().unwrap();
        for (at, row) in turned.iter().enumerate() {
            for pair in 0..pairs {
                let index = at * pairs + pair;
                // Two units of a frequency, and the rounding of the angle.
                let angle = positions[at] as f32 * in_use[pair];
                let off = 3.0 * angle * f32::EPSILON + 2e-7;
                for (got, expected) in [
                    (row[pair], case.cosines[index]),
                    (row[pairs + pair], case.sines[index]),
                ] {
                    assert!(
                        (got - expected).abs() <= off,
                        "{name}, {at}, {pair}: {got}, not {expected}"
                    );
                }
            }
        }
    }
}
