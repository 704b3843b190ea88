//! One model of each family, and what they have to agree in when they are trained: rows packed together
//! or taken after one another.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::parity::{FAMILIES, Fixture};
use super::values;
use crate::decoder::{Decoder, PackedTokens};
use crate::ops::cross_entropy;
use crate::weights::DecoderWeights;

/// The families of the parity tests.
pub(crate) const ALL: [&str; FAMILIES.len() + 1] = {
    let mut all = ["qwen3_5_text"; FAMILIES.len() + 1];
    let mut at = 0;
    while at < FAMILIES.len() {
        all[at] = FAMILIES[at];
        at += 1;
    }
    all
};

/// The recorded model of a family in f32, with rows that reach past its windows, past its original
/// length where it has one, and past a chunk of its delta nets.
pub(crate) fn model(name: &'static str) -> (DecoderWeights, Vec<Vec<u32>>) {
    let fixture = Fixture::read(name);
    let weights = DecoderWeights::from_dir(&fixture.folder).unwrap();
    (weights.widened().unwrap(), fixture.batches().concat())
}

/// The gradients of the loss of every next token of some rows, one of `total` in all.
fn gradients(
    decoder: &Decoder,
    variables: &BTreeMap<String, Var>,
    rows: &[Vec<u32>],
    total: usize,
) -> BTreeMap<String, Vec<f64>> {
    let packed = PackedTokens::new(rows.iter().map(Vec::as_slice));
    let (mut places, mut targets, mut start) = (Vec::new(), Vec::new(), 0);
    for row in rows {
        places.extend((0..row.len() - 1).map(|at| (start + at) as u32));
        targets.extend_from_slice(&row[1..]);
        start += row.len();
    }
    let hidden = decoder.hidden_rows(&packed, &places.into()).unwrap();
    let weight = 1.0 / total as f64;
    let loss = cross_entropy(&hidden, decoder.loss_head(), &targets, weight).unwrap();
    let store = loss.backward().unwrap();
    let of = |tensor: &Tensor| {
        let gradient = values(store.get(tensor).unwrap());
        gradient.into_iter().map(f64::from).collect()
    };
    variables
        .iter()
        .map(|(name, variable)| (name.clone(), of(variable)))
        .collect()
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[test]
fn packed_rows_give_the_gradients_of_rows_taken_after_one_another() {
    for name in ALL {
        let (weights, mut rows) = model(name);
        rows.retain(|row| row.len() > 1);
        let variables: BTreeMap<String, Var> = weights
            .tensors()
            .iter()
            .map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap()))
            .collect();
        let tensors = variables
            .iter()
            .map(|(name, variable)| (name.clone(), variable.as_tensor().clone()));
        let config = weights.config().clone();
        let trained = DecoderWeights::from_tensors(config, tensors.collect()).unwrap();
        let decoder = Decoder::new(&trained).unwrap();
        let total = rows.iter().map(|row| row.len() - 1).sum();
        let packed = gradients(&decoder, &variables, &rows, total);
        let mut summed: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for row in &rows {
            for (name, own) in gradients(&decoder, &variables, std::slice::from_ref(row), total) {
                match summed.get_mut(&name) {
                    None => drop(summed.insert(name, own)),
                    Some(sum) => sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own),
                }
            }
        }
        let whole = length(summed.values().flatten().copied());
        for (tensor, expected) in &summed {
            let off = packed[tensor].iter().zip(expected).map(|(a, b)| a - b);
            let (off, own) = (length(off), length(expected.iter().copied()));
            // The last is for keys that are not turned: their bias has a gradient of 0 but for rounding.
            assert!(
                off <= 1e-5 * own + 1e-8 * whole,
                "{name}, {tensor}: off by {off:e} of {own:e}"
            );
        }
    }
}
