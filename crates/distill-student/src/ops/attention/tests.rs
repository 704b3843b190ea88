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

/// Attention in plain differentiable operations, with a mask of T × T.
pub(in crate::ops) fn plain(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rule: impl Into<AttentionRule>,
    segments: &[Segment],
) -> Result<Tensor> {
    let rule = rule.into();
    let (tokens, heads) = (q.dim(0)?, rule.heads);
    let split = |x: &Tensor, count: usize| {
        x.reshape((tokens, count, heads.width))?
            .transpose(0, 1)?
            .contiguous() // (T, count * E) → (count, T, E)
    };
    let repeated = |x: &Tensor| -> Result<Tensor> {
        let shape = (heads.key_value, heads.group(), tokens, heads.width);
        split(x, heads.key_value)?
            .unsqueeze(1)?
            .broadcast_as(shape)?
            .reshape((heads.query, tokens, heads.width)) // (K, T, E) → (H, T, E)
    };
    let mut mask = vec![f32::NEG_INFINITY; tokens * tokens];
    for segment in segments {
        for place in 0..segment.length {
            let start = (segment.start + place) * tokens + segment.start;
            let seen = rule.seen(place, segment.length);
            mask[start + seen.start..start + seen.end].fill(0.0);
        }
    }
    let mask = Tensor::from_vec(mask, (1, tokens, tokens), q.device())?;
    let scores = split(q, heads.query)?.matmul(&repeated(k)?.t()?)?;
    let mut scores = (scores * f64::from(rule.scale))?;
    if let Some(cap) = rule.soft_cap.map(f64::from) {
        scores = crate::ops::soft_cap::composed(&scores, cap)?;
    }
    candle_nn::ops::softmax(&scores.broadcast_add(&mask)?, candle_core::D::Minus1)?
        .matmul(&repeated(v)?)?
        .transpose(0, 1)?
        .reshape((tokens, heads.query_row())) // (H, T, E) → (T, H * E)
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
            || plain(&q, &k, &v, rule, &lengths),
        );
    }
}

#[test]
fn attention_of_other_devices_has_the_values_and_gradients_of_the_plain_one() {
    // Rows that run side by side, filled up or not, and scores that exist a few queries at a time.
    for lengths in [&[3, 150, 1, 64, 64, 40][..], &[32, 32], &[7]] {
        let segments = segments(lengths);
        let tokens = lengths.iter().sum();
        let spans: Vec<KeySpan> = segments.iter().map(|segment| (*segment).into()).collect();
        let q = variable(&[tokens, 4 * 8], 1);
        let (k, v) = (variable(&[tokens, 2 * 8], 2), variable(&[tokens, 2 * 8], 3));
        for (index, rule) in rules().into_iter().enumerate() {
            let scores = [1 << 26, 4 * 64 * 7][index % 2];
            check(
                &[&q, &k, &v],
                || composed::attention_by(&q, &k, &v, rule, &spans, scores),
                || plain(&q, &k, &v, rule, &segments),
            );
        }
    }
}

#[test]
fn keys_that_rows_share_are_seen_by_each() {
    let (q, keys) = (variable(&[5, 4 * 8], 1), variable(&[9, 2 * 8], 2));
    let values = variable(&[9, 2 * 8], 3);
    for rule in rules().into_iter().filter(|rule| rule.causal) {
        // Two rows after a beginning of four keys, one with three queries and one with two.
        let span = |queries: Range<usize>, own: Range<usize>| KeySpan {
            queries,
            keys: vec![0..4, own],
            first: 4,
        };
        let spans = [span(0..3, 4..7), span(3..5, 7..9)];
        let got = attend_over_tables(rule, &q, &keys, &values, &spans).unwrap();
        let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (q, keys, values) = (flat(&q), flat(&keys), flat(&values));
        let queries = spans.each_ref().map(|span| Queries {
            rows: &q[span.queries.start * 32..span.queries.end * 32],
            pieces: span
                .keys
                .iter()
                .map(|rows| Piece {
                    keys: &keys[rows.start * 16..rows.end * 16],
                    values: &values[rows.start * 16..rows.end * 16],
                    length: rows.len(),
                })
                .collect(),
            visible: span.first + 1,
        });
        let expected = attend_over(rule, &queries);
        for (got, expected) in flat(&got).iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5, "{rule:?}");
        }
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
