//! NF4 against its definition, and what frozen matrices give in each storage.

use candle_core::{DType, Device, Tensor};
use half::bf16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::nf4::{LEVELS, Nf4};
use super::*;

/// Roughly normal: the mean of twelve uniform draws, of variance 1.
fn normal(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = || (0..12).map(|_| random.random_range(-0.5..0.5f32)).sum();
    (0..count).map(|_| draw()).collect()
}

/// Where the standard normal distribution reaches a probability, by halving.
fn normal_quantile(probability: f64) -> f64 {
    let density = |x: f64| (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    // Simpson's rule from 0, where half of the distribution lies below.
    let below = |x: f64| {
        let step = x / 200.0;
        let inner: f64 = (1..200)
            .map(|i| density(f64::from(i) * step) * if i % 2 == 1 { 4.0 } else { 2.0 })
            .sum();
        0.5 + step / 3.0 * (density(0.0) + inner + density(x))
    };
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if below(middle) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The construction of Dettmers et al. (2023), as bitsandbytes carries it out: evenly spaced
/// probabilities from `OFFSET` to one half, eight of them above zero and seven below.
#[test]
fn levels_are_quantiles_of_the_normal_distribution() {
    const OFFSET: f64 = 0.967_708_3;
    let side = |count: usize| -> Vec<f64> {
        (0..count)
            .map(|i| OFFSET + (0.5 - OFFSET) * i as f64 / count as f64)
            .map(normal_quantile)
            .collect()
    };
    let mut levels = side(8);
    levels.extend(side(7).iter().map(|level| -level));
    levels.push(0.0);
    levels.sort_by(f64::total_cmp);
    let largest = levels[15];
    for (level, expected) in LEVELS.iter().zip(&levels) {
        let expected = expected / largest;
        assert!(
            (f64::from(*level) - expected).abs() < 2e-6,
            "{level} is not {expected}"
        );
    }
}

#[test]
fn each_element_goes_to_the_nearest_level_of_its_block() {
    for length in [1, 63, 64, 65, 130, 1000] {
        let values = normal(length, 3);
        let quantised = Nf4::quantise(&values);
        let mut got = vec![0.0; length];
        quantised.dequantise(0, &mut got);
        for (values, got) in values.chunks(64).zip(got.chunks(64)) {
            let scale = values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
            for (value, got) in values.iter().zip(got) {
                let nearest = LEVELS
                    .iter()
                    .map(|level| (level * scale - value).abs())
                    .fold(f32::INFINITY, f32::min);
                assert!((got - value).abs() <= nearest * 1.000_01 + 1e-7);
            }
        }
    }
    let mut zeros = [1.0; 64];
    Nf4::quantise(&[0.0; 64]).dequantise(0, &mut zeros);
    assert!(zeros.iter().all(|value| value.abs() < f32::EPSILON));
}

/// For normal weights in blocks of 64 the expected error is a little below a tenth of their size.
#[test]
fn the_error_of_normal_weights_is_a_tenth_of_their_size() {
    let values = normal(1 << 14, 4);
    let mut got = vec![0.0; values.len()];
    Nf4::quantise(&values).dequantise(0, &mut got);
    let square =
        |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v * v)).sum::<f64>();
    let error = square(&mut values.iter().zip(&got).map(|(a, b)| a - b));
    let share = (error / square(&mut values.iter().copied())).sqrt();
    assert!((0.06..0.1).contains(&share), "{share}");
}

#[test]
fn elements_in_bf16_are_the_rounded_ones_from_any_place_on() {
    let values = normal(700, 5);
    let quantised = Nf4::quantise(&values);
    let mut whole = vec![0.0; values.len()];
    quantised.dequantise(0, &mut whole);
    for (start, length) in [(0, 700), (1, 3), (64, 64), (33, 95), (130, 300), (5, 640)] {
        for path in Instructions::each().0 {
            let mut got = vec![bf16::ZERO; length];
            quantised.halves(start, &mut got, path);
            for (value, single) in got.iter().zip(&whole[start..]) {
                let expected = bf16::from_f32(*single);
                assert_eq!(value.to_bits(), expected.to_bits(), "{path:?}");
            }
        }
    }
}

fn matrix(rows: usize, columns: usize) -> Tensor {
    Tensor::from_vec(normal(rows * columns, 6), (rows, columns), &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_frozen_matrix_says_what_it_holds() {
    let weight = matrix(6, 100);
    for (storage, bytes) in [
        (Storage::F32, 2400),
        (Storage::Bf16, 1200),
        // 300 bytes of codes and a scale for each of ten blocks.
        (Storage::Nf4, 340),
    ] {
        let frozen = FrozenWeight::new(&weight, storage).unwrap();
        assert_eq!((frozen.dims(), frozen.bytes()), ((6, 100), bytes));
        assert_eq!(frozen.storage(), storage);
        let whole = frozen.dequantised().unwrap();
        assert_eq!((whole.dims(), whole.dtype()), (&[6, 100][..], DType::F32));
        let rows = frozen.rows(&vec![5, 0, 5].into()).unwrap();
        let (whole, rows) = (values(&whole), values(&rows));
        assert_eq!(rows[..100], whole[500..]);
        assert_eq!(rows[100..200], whole[..100]);
        assert_eq!(rows[200..], whole[500..]);
        assert!(frozen.rows(&vec![6].into()).is_err());
    }
}

#[test]
fn a_transposed_matrix_is_taken_as_it_reads() {
    let weight = matrix(6, 100);
    let frozen = FrozenWeight::new(&weight.t().unwrap(), Storage::F32).unwrap();
    assert_eq!(
        values(&frozen.dequantised().unwrap()),
        values(&weight.t().unwrap())
    );
}

#[test]
fn four_bits_cannot_hold_what_is_not_finite() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut elements = normal(100, 7);
        elements[70] = value;
        let weight = Tensor::from_vec(elements, (10, 10), &Device::Cpu).unwrap();
        let error = FrozenWeight::new(&weight, Storage::Nf4)
            .unwrap_err()
            .to_string();
        assert!(error.contains("row 7"), "{error}");
    }
}

#[test]
fn codes_on_other_devices_stand_for_the_same_values() {
    // Every pair of levels: two of the largest are a byte that candle takes for no index.
    let pairs = (0..=u8::MAX).flat_map(|byte| [byte & 15, byte >> 4]);
    let levels: Vec<f32> = pairs.map(|code| 3.0 * LEVELS[usize::from(code)]).collect();
    let levels = Tensor::from_vec(levels, (8, 64), &Device::Cpu).unwrap();
    let shapes = [(1, 1), (3, 5), (7, 64), (5, 96), (33, 40)];
    let weights = shapes.map(|(rows, columns)| matrix(rows, columns));
    for weight in weights.iter().chain([&levels]) {
        let (rows, columns) = weight.dims2().unwrap();
        let here = FrozenWeight::new(weight, Storage::Nf4).unwrap();
        let Values::Nf4(quantised) = &here.values else {
            panic!("four bits are held as they are");
        };
        let codes = Codes::new(quantised, &Device::Cpu).unwrap();
        let there = FrozenWeight {
            values: Values::Codes(Arc::new(codes)),
            ..here.clone()
        };
        assert_eq!(there.storage(), Storage::Nf4);
        let values = |of: &FrozenWeight| of.dequantised().unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(values(&there), values(&here));
        let chosen: Arc<[u32]> = vec![rows as u32 - 1, 0, 0].into();
        let rows_of = |of: &FrozenWeight| of.rows(&chosen).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(rows_of(&there), rows_of(&here));
        let x = matrix(4, columns);
        let forward = |of: &FrozenWeight| of.composed_product(&x, Direction::Forward).unwrap();
        assert_eq!(
            forward(&there).to_vec2::<f32>().unwrap(),
            forward(&here).to_vec2::<f32>().unwrap()
        );
    }
}
