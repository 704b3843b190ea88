//! Every path of the blocked and the thin products against sums in f64.
//!
//! Tolerance: 3e-6 of the sum of the absolute values of the terms, which covers f32 sums of a
//! thousand terms in any order. Operands that a path rounds to bf16 are rounded before the sums.

use half::bf16;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::ops::{frozen::nf4::Nf4, tests::on_threads};

const TOLERANCE: f64 = 3e-6;

fn naive(left: &[f32], right: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            out[i * n + j] = (0..k).map(|l| left[i * k + l] * right[l * n + j]).sum();
        }
    }
    out
}

fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919) % 13) as f32 - 6.0).collect()
}

#[test]
fn products_equal_the_definition() {
    for (m, k, n) in [(1, 1, 1), (3, 5, 2), (17, 33, 9), (64, 8, 70)] {
        let (left, right) = (ramp(m * k), ramp(k * n));
        let expected = naive(&left, &right, m, k, n);
        let got = product(View::new(&left, m, k), View::new(&right, k, n), 1.0);
        assert_eq!(got, expected);
        let mut twice = got.clone();
        product_into(
            ViewMut {
                data: &mut twice,
                row_stride: n,
            },
            true,
            View::new(&left, m, k),
            View::new(&right, k, n),
            1.0,
            Threads::One,
        );
        let doubled: Vec<f32> = got.iter().map(|value| 2.0 * value).collect();
        assert_eq!(twice, doubled);
    }
}

#[test]
fn an_empty_inner_size_gives_zeros() {
    assert_eq!(
        product(View::new(&[], 2, 0), View::new(&[], 0, 3), 1.0),
        vec![0.0; 6]
    );
}

#[test]
#[should_panic(expected = "needs more than")]
fn a_view_past_its_slice_is_refused() {
    let _ = View::new(&[0.0; 5], 2, 3);
}

#[test]
#[should_panic(expected = "too small")]
fn a_destination_that_is_too_small_is_refused() {
    let data = [1.0; 4];
    product_into(
        ViewMut {
            data: &mut [0.0; 3],
            row_stride: 2,
        },
        false,
        View::new(&data, 2, 2),
        View::new(&data, 2, 2),
        1.0,
        Threads::One,
    );
}

/// The paths that this machine can run.
fn paths() -> Vec<Instructions> {
    let (here, lacking) = Instructions::each();
    for name in lacking {
        skipped(&format!(
            "products by {name}: this machine has no such instructions"
        ));
    }
    here
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn skipped(what: &str) {
    eprintln!("skipped: {what}");
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Single,
    Half,
    Nf4,
}

/// A matrix in each form, with the values that products see.
struct Held {
    single: Vec<f32>,
    half: Vec<bf16>,
    nf4: Nf4,
    seen: Vec<f32>,
}

impl Held {
    fn new(kind: Kind, values: Vec<f32>) -> Self {
        let half: Vec<bf16> = values.iter().map(|v| bf16::from_f32(*v)).collect();
        let nf4 = Nf4::quantise(&values);
        let seen = match kind {
            Kind::Single => values.clone(),
            Kind::Half => half.iter().map(|v| v.to_f32()).collect(),
            Kind::Nf4 => {
                let mut seen = vec![0.0; values.len()];
                nf4.dequantise(0, &mut seen);
                seen.iter().map(|v| bf16::from_f32(*v).to_f32()).collect()
            }
        };
        Self {
            single: values,
            half,
            nf4,
            seen,
        }
    }

    fn rows(&self, kind: Kind) -> Rows<'_> {
        match kind {
            Kind::Single => Rows::Single(&self.single),
            Kind::Half => Rows::Half(&self.half),
            Kind::Nf4 => Rows::Nf4(&self.nf4),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: Kind,
    direction: Direction,
    tokens: usize,
    rows: usize,
    columns: usize,
    rank: usize,
}

/// Runs a case on every path against the definition.
fn check(case: Case) {
    let Case {
        kind,
        direction,
        tokens,
        rows,
        columns,
        rank,
    } = case;
    let (inner, width) = match direction {
        Direction::Forward => (columns, rows),
        Direction::Backward => (rows, columns),
    };
    let held = Held::new(kind, random(rows * columns, 1));
    let left = random(tokens * inner, 2);
    let (term_left, term_right) = (random(tokens * rank, 3), random(rank * width, 4));
    let seen = |value: f32| match kind {
        Kind::Single => value,
        _ => bf16::from_f32(value).to_f32(),
    };
    let weight = |k: usize, n: usize| match direction {
        Direction::Forward => held.seen[n * columns + k],
        Direction::Backward => held.seen[k * columns + n],
    };
    let product = |instructions| Product {
        left: View::new(&left, tokens, inner),
        matrix: Matrix::new(held.rows(kind), rows, columns),
        direction,
        term: (rank > 0).then(|| LowRankTerm {
            left: View::new(&term_left, tokens, rank),
            // As an up projection lies: (N, R), transposed.
            right: View::new(&term_right, width, rank).transposed(),
            scale: 0.5,
        }),
        instructions,
    };
    for path in paths() {
        let got = product(path).run();
        let mut into = vec![f32::NAN; tokens * width];
        product(path).run_into(&mut into);
        assert!(
            got.iter()
                .zip(&into)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
        for t in 0..tokens {
            for n in 0..width {
                let (mut sum, mut size) = (0.0f64, 1e-30f64);
                let mut add = |a: f32, b: f32, scale: f64| {
                    sum += scale * f64::from(a) * f64::from(b);
                    size += (scale * f64::from(a) * f64::from(b)).abs();
                };
                for k in 0..inner {
                    add(seen(left[t * inner + k]), weight(k, n), 1.0);
                }
                for r in 0..rank {
                    add(term_left[t * rank + r], term_right[n * rank + r], 0.5);
                }
                let value = f64::from(got[t * width + n]);
                assert!(
                    (value - sum).abs() <= TOLERANCE * size,
                    "{case:?} by {path:?} at ({t}, {n}): {value} instead of {sum}"
                );
            }
        }
    }
}

#[test]
fn products_with_a_held_matrix_equal_the_definition() {
    for kind in [Kind::Single, Kind::Half, Kind::Nf4] {
        for direction in [Direction::Forward, Direction::Backward] {
            for (tokens, rows, columns, rank) in [
                (1, 1, 1, 0),
                (3, 7, 5, 2),
                (8, 33, 129, 0),
                (13, 40, 64, 4),
                (29, 65, 96, 3),
                (61, 31, 70, 16),
                (30, 700, 35, 1),
                (20, 35, 700, 0),
                (520, 9, 6, 2),
            ] {
                check(Case {
                    kind,
                    direction,
                    tokens,
                    rows,
                    columns,
                    rank,
                });
            }
        }
    }
}

#[test]
fn a_product_over_nothing_is_zero() {
    for path in paths() {
        let product = Product {
            left: View::new(&[], 20, 0),
            matrix: Matrix::new(Rows::Single(&[]), 3, 0),
            direction: Direction::Forward,
            term: None,
            instructions: path,
        };
        assert_eq!(product.run(), vec![0.0; 60]);
    }
}

#[test]
fn a_product_has_the_same_bits_on_any_number_of_threads() {
    let (values, left) = (random(700 * 300, 1), random(530 * 700, 2));
    let held = Held::new(Kind::Half, values);
    for path in paths() {
        for (rows, columns, direction) in [
            (300, 700, Direction::Forward),
            (700, 300, Direction::Backward),
        ] {
            let run = |threads: usize, tokens: usize| {
                let product = Product {
                    left: View::new(&left[..tokens * 700], tokens, 700),
                    matrix: Matrix::new(Rows::Half(&held.half), rows, columns),
                    direction,
                    term: None,
                    instructions: path,
                };
                let out = on_threads(threads, || product.run());
                out.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            assert!(run(1, 530) == run(3, 530));
            assert!(run(1, 5) == run(4, 5));
        }
    }
}

#[test]
fn values_that_are_not_finite_are_passed_on() {
    for path in paths() {
        for tokens in [1, 20] {
            let mut left = vec![1.0f32; tokens * 40];
            left[3] = f32::NAN;
            let half = vec![bf16::ONE; 40 * 6];
            let product = Product {
                left: View::new(&left, tokens, 40),
                matrix: Matrix::new(Rows::Half(&half), 6, 40),
                direction: Direction::Forward,
                term: None,
                instructions: path,
            };
            let out = product.run();
            assert!(out[..6].iter().all(|v| v.is_nan()), "{path:?}");
            assert!(out[6..].iter().all(|v| (v - 40.0).abs() < 1e-6));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn products_of_any_size_equal_the_definition(
        kind in prop::sample::select(vec![Kind::Single, Kind::Half, Kind::Nf4]),
        direction in prop::sample::select(vec![Direction::Forward, Direction::Backward]),
        tokens in 1usize..40,
        rows in 1usize..80,
        columns in 1usize..80,
        rank in 0usize..5,
    ) {
        check(Case { kind, direction, tokens, rows, columns, rank });
    }
}
