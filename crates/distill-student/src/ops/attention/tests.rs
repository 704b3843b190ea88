//! Windows, bent scores and two-sided attention: fused against composed, whole against cached.

use super::*;
use crate::ops::tests::{check, segments, variable};

const HEADS: Heads = Heads {
    query: 4,
    key_value: 2,
    width: 8,
};

fn rules() -> Vec<AttentionRule> {
    let plain = AttentionRule::from(HEADS);
    let mut rules = Vec::new();
    for causal in [true, false] {
        for window in [None, Some(1), Some(5), Some(70), Some(1000)] {
            for soft_cap in [None, Some(0.8)] {
                rules.push(AttentionRule {
                    scale: 0.61,
                    causal,
                    window,
                    soft_cap,
                    ..plain
                });
            }
        }
    }
    rules
}

#[test]
fn every_rule_matches_the_composed_one() {
    for rule in rules() {
        let lengths = segments(&[3, 150, 1, 64]);
        let q = variable(&[218, 4 * 8], 1);
        let (k, v) = (variable(&[218, 2 * 8], 2), variable(&[218, 2 * 8], 3));
        check(
            &[&q, &k, &v],
            || attention(&q, &k, &v, rule, &lengths),
            || composed(&q, &k, &v, rule, &lengths),
        );
    }
}

#[test]
fn attention_over_cached_pieces_equals_the_whole_row() {
    let length = 150;
    let values = |seed, width: usize| -> Vec<f32> {
        let tensor = variable(&[length, width], seed);
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    };
    let (q, k, v) = (values(1, 32), values(2, 16), values(3, 16));
    for rule in rules().into_iter().filter(|rule| rule.causal) {
        let whole = |start: usize, from: usize| {
            let piece = |from: usize, to: usize| Piece {
                keys: &k[from * 16..to * 16],
                values: &v[from * 16..to * 16],
                length: to - from,
            };
            let queries = Queries {
                rows: &q[start * 32..],
                pieces: vec![piece(from, from + 9), piece(from + 9, length)],
                visible: start - from + 1,
            };
            attend_over(rule, &[queries])
        };
        let all = whole(0, 0);
        for start in [1, 60, 149] {
            let tail = whole(start, 0);
            let worst = all[start * 32..].iter().zip(&tail);
            let worst = worst.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(worst < 1e-5, "{rule:?} from {start}: {worst}");
        }
        // Keys that fell out of the window need not be kept.
        if rule.window.is_some_and(|window| window <= 70) {
            let kept = whole(120, 120 - 69);
            let worst = all[120 * 32..].iter().zip(&kept);
            let worst = worst.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
            assert!(worst < 1e-5, "{rule:?} without old keys: {worst}");
        }
    }
}

#[test]
fn a_window_of_nothing_is_refused() {
    let x = variable(&[2, 8], 1);
    let one = Heads {
        query: 1,
        key_value: 1,
        width: 8,
    };
    let rule = AttentionRule {
        window: Some(0),
        ..AttentionRule::from(one)
    };
    assert!(attention(&x, &x, &x, rule, &segments(&[2])).is_err());
}
