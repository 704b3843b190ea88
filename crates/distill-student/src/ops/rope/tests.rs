//! Rotations against the composed ones, and their own properties.

use candle_core::Tensor;

use super::*;
use crate::ops::tests::{check, variable};

fn rotation() -> Rotation {
    Rotation {
        frequencies: vec![1.0, 0.3, 0.07],
        long: Some((100, vec![0.5, 0.1, 0.01])),
        factor: 1.19,
        ..Rotation::plain(10_000.0, 10)
    }
}

#[test]
fn every_kind_of_rotation_matches_the_composed_one() {
    let at: Arc<[u32]> = vec![0, 1, 2, 0, 1, 200, 7].into();
    let lengths: Arc<[u32]> = vec![3, 3, 3, 100, 101, 201, 300].into();
    let positions = Positions::with_row_lengths(at, lengths);
    for interleaved in [false, true] {
        let rope = Rope::new(Rotation {
            interleaved,
            ..rotation()
        });
        let x = variable(&[7, 3 * 10], 3);
        check(
            &[&x],
            || rope.apply(&x, &positions),
            || rope.reference(&x, &positions),
        );
    }
}

#[test]
fn a_rotation_that_depends_on_the_row_asks_for_its_length() {
    let rope = Rope::new(rotation());
    assert_eq!(rope.long_after(), Some(100));
    let x = variable(&[1, 10], 3);
    assert!(rope.apply(&x, &Positions::new(vec![3].into())).is_err());
    let at_length = |length: u32| {
        let positions = Positions::with_row_lengths(vec![70].into(), vec![length].into());
        rope.apply(&x, &positions).unwrap()
    };
    let values = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (short, long) = (values(at_length(100)), values(at_length(101)));
    assert_ne!(short[..6], long[..6]);
    assert_eq!(short[6..], long[6..], "what no pair holds is not turned");
}

#[test]
fn neighbours_and_halves_are_the_same_rotation_of_other_pairs() {
    let plain = Rotation::plain(500.0, 8);
    let pairs = Rope::new(Rotation {
        interleaved: true,
        ..plain.clone()
    });
    let x: Vec<f32> = (0..8).map(|i| i as f32 - 3.0).collect();
    let apart: Vec<f32> = [0, 2, 4, 6, 1, 3, 5, 7].map(|i| x[i]).to_vec();
    let positions = Positions::new(vec![5].into());
    let turn = |rope: &Rope, x: Vec<f32>| {
        let x = Tensor::from_vec(x, (1, 8), &candle_core::Device::Cpu).unwrap();
        let out = rope.apply(&x, &positions).unwrap();
        out.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let halves = turn(&Rope::new(plain), apart);
    let neighbours = turn(&pairs, x);
    let sorted = [0, 4, 1, 5, 2, 6, 3, 7].map(|i| halves[i]).to_vec();
    assert_eq!(neighbours, sorted);
}
