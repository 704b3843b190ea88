//! Gradients of packed attention: one task per segment and key/value head, so that every sum has
//! one owner and one order.

use rayon::prelude::*;

use super::{AttentionRule, BLOCK, Segment};
use crate::ops::product::{Threads, View, ViewMut, product_into};
use crate::ops::rows::{dot, exp_shifted, vectorised};
use crate::ops::soft_cap::bend_with_slopes;

/// What the forward pass read and left.
pub(super) struct Forward<'a> {
    pub(super) rule: AttentionRule,
    pub(super) q: &'a [f32],
    pub(super) k: &'a [f32],
    pub(super) v: &'a [f32],
    pub(super) out: &'a [f32],
    pub(super) log_sums: &'a [f32],
}

pub(super) struct Gradients {
    pub(super) q: Vec<f32>,
    pub(super) k: Vec<f32>,
    pub(super) v: Vec<f32>,
}

/// Gradients of one segment and one key/value head: q of (L, group * E), k and v of (L, E).
struct Part {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

#[derive(Default)]
struct Scratch {
    weights: Vec<f32>,
    errors: Vec<f32>,
    /// How a bent score moves with the score, where scores are bent.
    slopes: Vec<f32>,
}

impl Forward<'_> {
    pub(super) fn gradients(&self, segments: &[Segment], upstream: &[f32]) -> Gradients {
        let heads = self.rule.heads;
        let parts: Vec<Part> = (0..segments.len() * heads.key_value)
            .into_par_iter()
            .map_init(Scratch::default, |scratch, task| {
                let segment = segments[task / heads.key_value];
                self.part(segment, task % heads.key_value, upstream, scratch)
            })
            .collect();
        let gather = |width: usize, pick: fn(&Part) -> &[f32]| {
            let mut out =
                Vec::with_capacity(self.q.len() / heads.query_row() * width * heads.key_value);
            for (segment, parts) in segments.iter().zip(parts.chunks_exact(heads.key_value)) {
                for row in 0..segment.length {
                    for part in parts {
                        out.extend_from_slice(&pick(part)[row * width..(row + 1) * width]);
                    }
                }
            }
            out
        };
        Gradients {
            q: gather(heads.group() * heads.width, |part| &part.q),
            k: gather(heads.width, |part| &part.k),
            v: gather(heads.width, |part| &part.v),
        }
    }

    fn part(
        &self,
        segment: Segment,
        group: usize,
        upstream: &[f32],
        scratch: &mut Scratch,
    ) -> Part {
        let (heads, length) = (self.rule.heads, segment.length);
        let e = heads.width;
        let mut part = Part {
            q: vec![0.0; length * heads.group() * e],
            k: vec![0.0; length * e],
            v: vec![0.0; length * e],
        };
        for member in 0..heads.group() {
            for start in (0..length).step_by(BLOCK) {
                let block = Block {
                    segment,
                    group,
                    member,
                    start,
                    rows: BLOCK.min(length - start),
                };
                self.block(&block, upstream, scratch, &mut part);
            }
        }
        part
    }

    /// Adds what one block of queries of one head gives.
    fn block(&self, at: &Block, upstream: &[f32], scratch: &mut Scratch, part: &mut Part) {
        let (rule, heads, m) = (self.rule, self.rule.heads, at.rows);
        let (e, query_row, key_row) = (heads.width, heads.query_row(), heads.key_row());
        let keys = rule.seen_by_any(at.start..at.start + m, at.segment.length);
        let n = keys.len();
        let head = at.group * heads.group() + at.member;
        let first = at.segment.start + at.start;
        let rows = first * query_row + head * e;
        let from = (at.segment.start + keys.start) * key_row + at.group * e;
        let q = View::strided(&self.q[rows..], m, e, query_row);
        let k = View::strided(&self.k[from..], n, e, key_row);
        let v = View::strided(&self.v[from..], n, e, key_row);
        let up = View::strided(&upstream[rows..], m, e, query_row);
        scratch.weights.resize(m * n, 0.0);
        scratch.errors.resize(m * n, 0.0);
        let weights = &mut scratch.weights;
        write(weights, n, false, q, k.transposed(), rule.scale);
        if let Some(cap) = rule.soft_cap {
            scratch.slopes.resize(m * n, 0.0);
            vectorised(|| bend_with_slopes(weights, &mut scratch.slopes, cap));
        }
        write(&mut scratch.errors, n, false, up, v.transposed(), 1.0);
        for (r, row) in weights.chunks_exact_mut(n).enumerate() {
            let log_sum = self.log_sums[(first + r) * heads.query + head];
            let seen = rule.seen(at.start + r, at.segment.length);
            let seen = seen.start - keys.start..seen.end - keys.start;
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
            vectorised(|| exp_shifted(&mut row[seen], log_sum));
        }
        let values = &mut part.v[keys.start * e..];
        let weights = View::new(&scratch.weights, m, n);
        write(values, e, true, weights.transposed(), up, 1.0); // (n, m) @ (m, E)
        for r in 0..m {
            let row = rows + r * query_row;
            let (weights, errors) = (
                &scratch.weights[r * n..(r + 1) * n],
                &mut scratch.errors[r * n..(r + 1) * n],
            );
            vectorised(|| {
                let mean = dot(&self.out[row..row + e], &upstream[row..row + e]);
                for (error, weight) in errors.iter_mut().zip(weights) {
                    *error = weight * (*error - mean);
                }
                if rule.soft_cap.is_some() {
                    let slopes = &scratch.slopes[r * n..(r + 1) * n];
                    for (error, slope) in errors.iter_mut().zip(slopes) {
                        *error *= slope;
                    }
                }
            });
        }
        let errors = View::new(&scratch.errors, m, n);
        let width = heads.group() * e;
        let to = &mut part.q[at.start * width + at.member * e..];
        write(to, width, false, errors, k, rule.scale);
        let to = &mut part.k[keys.start * e..];
        write(to, e, true, errors.transposed(), q, rule.scale);
    }
}

/// A run of queries of one head.
struct Block {
    segment: Segment,
    /// The key/value head.
    group: usize,
    /// The query head within its group.
    member: usize,
    start: usize,
    rows: usize,
}

fn write(
    data: &mut [f32],
    row_stride: usize,
    accumulate: bool,
    left: View<'_>,
    right: View<'_>,
    scale: f32,
) {
    let out = ViewMut { data, row_stride };
    product_into(out, accumulate, left, right, scale, Threads::One);
}
