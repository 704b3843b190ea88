//! Every op against plain differentiable candle operations: values and gradients.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Largest difference allowed, relative to the largest reference value: f32 sums in other orders.
const TOLERANCE: f32 = 2e-5;

pub(super) fn variable(shape: &[usize], seed: u64) -> Var {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| random.random_range(-1.0..1.0))
        .collect();
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
}

/// What comes out on a pool of so many threads.
pub(super) fn on_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(run)
}

pub(super) fn assert_close(got: &Tensor, expected: &Tensor, what: &str) {
    assert_within(TOLERANCE, got, expected, what);
}

fn assert_within(tolerance: f32, got: &Tensor, expected: &Tensor, what: &str) {
    assert_eq!(got.dims(), expected.dims(), "{what}");
    let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
    let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
    let largest = expected.iter().fold(0.1f32, |a, b| a.max(b.abs()));
    for (i, (a, b)) in got.iter().zip(&expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * largest,
            "{what}[{i}]: {a} instead of {b}"
        );
    }
}

/// Compares values, and gradients of a weighted sum, for every variable.
pub(super) fn check(
    variables: &[&Var],
    fused: impl Fn() -> Result<Tensor>,
    composed: impl Fn() -> Result<Tensor>,
) {
    check_within(TOLERANCE, variables, fused, composed);
}

fn check_within(
    tolerance: f32,
    variables: &[&Var],
    fused: impl Fn() -> Result<Tensor>,
    composed: impl Fn() -> Result<Tensor>,
) {
    let (got, expected) = (fused().unwrap(), composed().unwrap());
    assert_within(tolerance, &got, &expected, "value");
    let weights = variable(expected.dims(), 99).as_detached_tensor();
    let gradients = |out: &Tensor| {
        let loss = (out * &weights).unwrap().sum_all().unwrap();
        loss.backward().unwrap()
    };
    let (got, expected) = (gradients(&got), gradients(&expected));
    for (i, variable) in variables.iter().enumerate() {
        let expected = expected.get(variable).expect("the reference gives it");
        let got = got.get(variable).expect("a variable without a gradient");
        assert_within(tolerance, got, expected, &format!("gradient {i}"));
    }
}

pub(super) fn segments(lengths: &[usize]) -> Arc<[Segment]> {
    let mut start = 0;
    lengths
        .iter()
        .map(|&length| {
            let segment = Segment { start, length };
            start += length;
            segment
        })
        .collect()
}

#[test]
fn rms_norm_matches_the_composed_one() {
    for (rows, width) in [(1, 8), (37, 96)] {
        let (x, w) = (variable(&[rows, width], 1), variable(&[width], 2));
        check(
            &[&x, &w],
            || rms_norm(&x, &w, 1e-5),
            || norm::composed(&x, &w, 1e-5),
        );
    }
}

#[test]
fn a_norm_per_head_takes_rows_of_the_heads_width() {
    let (x, w) = (variable(&[5, 4 * 16], 1), variable(&[16], 2));
    check(
        &[&x, &w],
        || rms_norm(&x, &w, 1e-6),
        || norm::composed(&x, &w, 1e-6),
    );
}

#[test]
fn rope_matches_the_composed_one() {
    let rope = Rope::new(Rotation::plain(10_000.0, 16));
    let positions = Positions::new(vec![0, 1, 2, 0, 1, 200, 7].into());
    let x = variable(&[7, 3 * 16], 3);
    check(
        &[&x],
        || rope.apply(&x, &positions),
        || rope.reference(&x, &positions),
    );
}

#[test]
fn gated_activations_match_the_composed_ones() {
    let (gate, up) = (variable(&[33, 70], 4), variable(&[33, 70], 5));
    for activation in [Activation::Silu, Activation::GeluTanh] {
        check(
            &[&gate, &up],
            || gated(&gate, &up, activation),
            || gated::composed(&gate, &up, activation),
        );
    }
}

#[test]
fn attention_matches_the_composed_one() {
    let grouped = Heads {
        query: 6,
        key_value: 2,
        width: 16,
    };
    for (heads, lengths) in [
        (grouped, vec![1]),
        (grouped, vec![5, 1, 9]),
        (grouped, vec![150, 3]), // more than one block of queries
        (
            Heads {
                key_value: 6,
                ..grouped
            },
            vec![70, 64],
        ),
    ] {
        let segments = segments(&lengths);
        let tokens: usize = lengths.iter().sum();
        let q = variable(&[tokens, heads.query * heads.width], 6);
        let k = variable(&[tokens, heads.key_value * heads.width], 7);
        let v = variable(&[tokens, heads.key_value * heads.width], 8);
        check(
            &[&q, &k, &v],
            || attention(&q, &k, &v, heads, &segments),
            || attention::tests::plain(&q, &k, &v, heads, &segments),
        );
    }
}

#[test]
fn attention_refuses_segments_that_do_not_cover_the_tokens() {
    let heads = Heads {
        query: 1,
        key_value: 1,
        width: 4,
    };
    let x = variable(&[3, 4], 1);
    for lengths in [&[2][..], &[2, 2], &[3, 0]] {
        assert!(attention(&x, &x, &x, heads, &segments(lengths)).is_err());
    }
}

#[test]
fn linear_matches_a_product() {
    let (x, w) = (variable(&[19, 24], 9), variable(&[40, 24], 10));
    check(&[&x, &w], || linear(&x, &w), || x.matmul(&w.t()?));
}

#[test]
fn a_frozen_weight_gets_no_gradient() {
    let (x, w) = (variable(&[3, 4], 1), variable(&[5, 4], 2));
    let frozen = w.as_detached_tensor();
    let loss = linear(&x, &frozen).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    assert!(gradients.get(&frozen).is_none());
    assert!(gradients.get(&x).is_some());
}

/// Storages, and how far their products may be from f32 ones with the same values: bf16 keeps
/// eight bits of the rows and the gradients that meet a matrix.
const STORAGES: [(Storage, f32); 3] = [
    (Storage::F32, TOLERANCE),
    (Storage::Bf16, 6e-3),
    (Storage::Nf4, 6e-3),
];

#[test]
fn products_with_frozen_matrices_match_those_with_their_values() {
    let w = variable(&[48, 72], 10).as_detached_tensor();
    for (storage, tolerance) in STORAGES {
        let frozen = FrozenWeight::new(&w, storage).unwrap();
        let values = frozen.dequantised().unwrap();
        for rows in [2, 19] {
            let x = variable(&[rows, 72], 9);
            let (a, b) = (variable(&[3, 72], 11), variable(&[48, 3], 12));
            let plain = || x.matmul(&values.t()?);
            check_within(tolerance, &[&x], || frozen_linear(&x, &frozen), plain);
            check_within(
                tolerance,
                &[&x, &a, &b],
                || low_rank_linear(&x, &frozen, &a, &b, 0.5),
                || plain()? + (x.matmul(&a.t()?)?.matmul(&b.t()?)? * 0.5)?,
            );
        }
    }
}

#[test]
fn cross_entropy_takes_a_frozen_head() {
    for (storage, tolerance) in STORAGES {
        for (rows, vocabulary) in [(1, 70), (45, 300)] {
            let hidden = variable(&[rows, 64], 14);
            let head = variable(&[vocabulary, 64], 15).as_detached_tensor();
            let head = FrozenWeight::new(&head, storage).unwrap();
            let values = head.dequantised().unwrap();
            let targets: Vec<u32> = (0..rows).map(|i| (i * 31 % vocabulary) as u32).collect();
            check_within(
                tolerance,
                &[&hidden],
                || cross_entropy(&hidden, &head, &targets, 0.25),
                || loss::composed(&hidden, &values, &targets, 0.25),
            );
        }
    }
}

#[test]
fn low_rank_linear_matches_products() {
    let (x, w) = (variable(&[19, 24], 9), variable(&[40, 24], 10));
    let (a, b) = (variable(&[3, 24], 11), variable(&[40, 3], 12));
    let frozen = w.as_detached_tensor();
    let held = FrozenWeight::new(&frozen, Storage::F32).unwrap();
    check(
        &[&x, &a, &b],
        || low_rank_linear(&x, &held, &a, &b, 0.5),
        || {
            let update = (x.matmul(&a.t()?)?.matmul(&b.t()?)? * 0.5)?;
            x.matmul(&frozen.t()?)? + update
        },
    );
}

#[test]
fn gather_matches_index_select() {
    let table = variable(&[11, 6], 13);
    let indices: Arc<[u32]> = vec![3, 3, 0, 10, 3].into();
    check(
        &[&table],
        || gather(&table, &indices),
        || gather::composed(&table, &indices),
    );
    assert!(gather(&table, &vec![11].into()).is_err());
}

#[test]
fn cross_entropy_matches_the_composed_one() {
    // The last has more rows than one chunk holds.
    for (rows, vocabulary) in [(1, 7), (45, 300), (300, 9000)] {
        let width = if vocabulary > 1000 { 4 } else { 24 };
        let (hidden, head) = (
            variable(&[rows, width], 14),
            variable(&[vocabulary, width], 15),
        );
        let targets: Vec<u32> = (0..rows).map(|i| (i * 31 % vocabulary) as u32).collect();
        check(
            &[&hidden, &head],
            || cross_entropy(&hidden, &head, &targets, 0.25),
            || loss::composed(&hidden, &head, &targets, 0.25),
        );
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let heads = Heads {
        query: 4,
        key_value: 2,
        width: 16,
    };
    let run = |threads: usize| {
        on_threads(threads, || {
            let x = variable(&[700, 64], 20);
            let (wq, wk) = (variable(&[64, 64], 21), variable(&[32, 64], 22));
            let head = variable(&[500, 64], 23);
            let norm = variable(&[64], 24);
            let x = rms_norm(&x, &norm, 1e-5).unwrap();
            let (q, k) = (linear(&x, &wq).unwrap(), linear(&x, &wk).unwrap());
            let mixed = attention(&q, &k, &k, heads, &segments(&[300, 400])).unwrap();
            let targets: Vec<u32> = (0..700).map(|i| i % 500).collect();
            let loss = cross_entropy(&mixed, &head, &targets, 1.0).unwrap();
            let gradients = loss.backward().unwrap();
            [&wq, &wk, &head, &norm].map(|variable| {
                let gradient = gradients.get(variable).unwrap();
                let values: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
                values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            })
        })
    };
    assert!(run(1) == run(2) && run(2) == run(5));
}
