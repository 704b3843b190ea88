//! Gradients of the gated delta rule, chunk by chunk from the last one back.
//!
//! Written with the names of the forward pass (`chunk.rs`): what flows back between chunks is the
//! gradient of the memory, of the same size as the memory itself.

use rayon::prelude::*;

use super::super::attention::Segment;
use super::super::product::View;
use super::super::rows::{dot, scale, vectorised};
use super::chunk::{Group, Head, Keys, Rows, query_scale, times};
use super::{DeltaHeads, scatter};

pub(super) struct Gradients {
    pub(super) mixed: Vec<f32>,
    pub(super) log_decay: Vec<f32>,
    pub(super) beta: Vec<f32>,
}

/// `upstream`: (T, value heads * value width).
pub(super) fn gradients(inputs: Rows<'_>, segments: &[Segment], upstream: &[f32]) -> Gradients {
    let heads = inputs.heads;
    let tasks: Vec<(Segment, usize)> = segments
        .iter()
        .flat_map(|segment| (0..heads.key).map(move |key_head| (*segment, key_head)))
        .collect();
    let parts: Vec<Part> = tasks
        .par_iter()
        .map(|(segment, key_head)| part(Group::new(inputs, *segment, *key_head), upstream))
        .collect();
    let mut out = Gradients {
        mixed: vec![0.0; inputs.mixed.len()],
        log_decay: vec![0.0; inputs.log_decay.len()],
        beta: vec![0.0; inputs.beta.len()],
    };
    let group = heads.group();
    for ((segment, key_head), part) in tasks.iter().zip(&parts) {
        let mut mixed = |from: &[f32], width: usize, column: usize| {
            scatter(
                from,
                width,
                *segment,
                &mut out.mixed,
                heads.mixed_row(),
                column,
            );
        };
        let (ek, values) = (heads.key_width, group * heads.value_width);
        mixed(&part.queries, ek, key_head * ek);
        mixed(&part.keys, ek, heads.key_row() + key_head * ek);
        mixed(
            &part.values,
            values,
            2 * heads.key_row() + key_head * values,
        );
        let column = key_head * group;
        scatter(
            &part.log_decay,
            group,
            *segment,
            &mut out.log_decay,
            heads.value,
            column,
        );
        scatter(
            &part.beta,
            group,
            *segment,
            &mut out.beta,
            heads.value,
            column,
        );
    }
    out
}

/// The gradients of one key head and its value heads over one segment, one row per token.
struct Part {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    log_decay: Vec<f32>,
    beta: Vec<f32>,
}

/// Gradients that the value heads of a group add up in one chunk.
struct KeySums {
    /// (C, key width), of the queries and keys at unit length.
    queries: Vec<f32>,
    keys: Vec<f32>,
    /// Of the products, (C, C).
    query_products: Vec<f32>,
    key_products: Vec<f32>,
}

fn part(mut group: Group<'_>, upstream: &[f32]) -> Part {
    let heads = group.inputs.heads;
    let (members, length) = (heads.group(), group.segment.length);
    let (ek, ev, size) = (heads.key_width, heads.value_width, heads.head_state());
    let mut out = Part {
        queries: vec![0.0; length * ek],
        keys: vec![0.0; length * ek],
        values: vec![0.0; length * members * ev],
        log_decay: vec![0.0; length * members],
        beta: vec![0.0; length * members],
    };
    let states = group.states();
    let mut state_gradients = vec![0.0; members * size];
    let chunks = group.chunks();
    for (index, (first, tokens)) in chunks.iter().copied().enumerate().rev() {
        group.load_keys(first, tokens);
        let mut sums = KeySums {
            queries: vec![0.0; tokens * ek],
            keys: vec![0.0; tokens * ek],
            query_products: vec![0.0; tokens * tokens],
            key_products: vec![0.0; tokens * tokens],
        };
        if tokens == 1 {
            // A single token goes forward without the products.
            group.keys.key_products = vec![dot(&group.keys.keys, &group.keys.keys)];
            group.keys.query_products = vec![dot(&group.keys.queries, &group.keys.keys)];
        }
        for member in 0..members {
            let state = &states[(index * members + member) * size..][..size];
            group.load_head(first, tokens, member, state);
            let value_head = group.value_head(member);
            let pull = Pull {
                heads,
                keys: &group.keys,
                head: &group.head,
                state,
                values: (0..tokens)
                    .map(|token| {
                        group
                            .inputs
                            .value(group.segment.start + first + token, value_head)
                    })
                    .collect(),
                upstream: rows_of(
                    upstream,
                    heads,
                    group.segment.start + first,
                    tokens,
                    value_head,
                ),
            };
            let state_gradient = &mut state_gradients[member * size..(member + 1) * size];
            let head = pull.run(state_gradient, &mut sums);
            for token in 0..tokens {
                let row = (first + token) * members + member;
                out.values[row * ev..(row + 1) * ev]
                    .copy_from_slice(&head.values[token * ev..(token + 1) * ev]);
                out.log_decay[row] = head.log_decay[token];
                out.beta[row] = head.beta[token];
            }
        }
        sums.close(&group.keys, tokens, ek);
        let rows = first * ek..(first + tokens) * ek;
        let keys = &group.keys;
        lengthen(
            &sums.queries,
            &keys.queries,
            &keys.query_inverses,
            query_scale(heads),
            &mut out.queries[rows.clone()],
        );
        lengthen(
            &sums.keys,
            &keys.keys,
            &keys.key_inverses,
            1.0,
            &mut out.keys[rows],
        );
    }
    out
}

/// The upstream gradient of one value head, (C, value width).
fn rows_of(
    upstream: &[f32],
    heads: DeltaHeads,
    start: usize,
    tokens: usize,
    value_head: usize,
) -> Vec<f32> {
    let (row, ev) = (heads.value_row(), heads.value_width);
    upstream[start * row..(start + tokens) * row]
        .chunks_exact(row)
        .flat_map(|values| &values[value_head * ev..(value_head + 1) * ev])
        .copied()
        .collect()
}

impl KeySums {
    /// Carries the gradients of the products over to their factors.
    fn close(&mut self, keys: &Keys, tokens: usize, width: usize) {
        let (queries, rows) = (keys.query_rows(tokens, width), keys.key_rows(tokens, width));
        let query_products = View::new(&self.query_products, tokens, tokens);
        let key_products = View::new(&self.key_products, tokens, tokens);
        times(&mut self.queries, width, true, query_products, rows);
        times(
            &mut self.keys,
            width,
            true,
            query_products.transposed(),
            queries,
        );
        times(&mut self.keys, width, true, key_products, rows);
        times(&mut self.keys, width, true, key_products.transposed(), rows);
    }
}

/// From the gradient of rows at unit length (times `by`) to that of the rows as they came.
fn lengthen(upstream: &[f32], unit: &[f32], inverses: &[f32], by: f32, out: &mut [f32]) {
    let width = unit.len() / inverses.len();
    vectorised(|| {
        let rows = upstream.chunks_exact(width).zip(unit.chunks_exact(width));
        for (((up, unit), inverse), out) in rows.zip(inverses).zip(out.chunks_exact_mut(width)) {
            // `unit` holds by * x * inverse, so its pull is measured against by² once.
            let pull = dot(up, unit) / (by * by);
            for ((out, up), unit) in out.iter_mut().zip(up).zip(unit) {
                *out = by * inverse * (up - unit * pull);
            }
        }
    });
}

/// What one value head gives back, one row per token.
struct HeadGradients {
    values: Vec<f32>,
    log_decay: Vec<f32>,
    beta: Vec<f32>,
}

/// One value head of one chunk on the way back.
struct Pull<'a> {
    heads: DeltaHeads,
    keys: &'a Keys,
    head: &'a Head,
    /// The memory at the start of the chunk.
    state: &'a [f32],
    values: Vec<&'a [f32]>,
    upstream: Vec<f32>,
}

impl Pull<'_> {
    /// `state_gradient` comes in as that of the memory at the end of the chunk and leaves as that
    /// at its start.
    fn run(&self, state_gradient: &mut [f32], sums: &mut KeySums) -> HeadGradients {
        let (c, ek, ev) = (
            self.head.tokens,
            self.heads.key_width,
            self.heads.value_width,
        );
        // Of G, the running sums of g.
        let mut running = vec![0.0; c];
        let mut written = vec![0.0; c * ev];
        self.through_answers(&mut written, &mut running, sums);
        self.through_memory(state_gradient, &mut written, &mut running, sums);
        self.through_system(&mut written);

        let mut beta = vec![0.0; c];
        self.through_matrix(&written, &mut running, &mut beta, sums);
        // Of K S, in place of the gradient of the right-hand side.
        let mut values = written;
        let mut recalled = vec![0.0; c * ev];
        vectorised(|| {
            for i in 0..c {
                let (b, fade) = (self.head.beta[i], self.head.fades[i]);
                let row = i * ev..(i + 1) * ev;
                let (kept, out) = (&self.head.recalled[row.clone()], &mut recalled[row.clone()]);
                let value = &mut values[row];
                beta[i] += dot(value, self.values[i]) - fade * dot(value, kept);
                for (out, value) in out.iter_mut().zip(value.iter_mut()) {
                    *value *= b;
                    *out = -fade * *value;
                }
                running[i] += dot(out, kept);
            }
        });
        let recalled = View::new(&recalled, c, ev);
        let memory = View::new(self.state, ek, ev);
        times(&mut sums.keys, ek, true, recalled, memory.transposed());
        let keys = self.keys.key_rows(c, ek);
        times(state_gradient, ev, true, keys.transposed(), recalled);

        // g of a token is in the running sum of each later one.
        let mut sum = 0.0;
        for value in running.iter_mut().rev() {
            sum += *value;
            *value = sum;
        }
        HeadGradients {
            values,
            log_decay: running,
            beta,
        }
    }

    /// Through W D: sets the gradient of D.
    fn through_answers(&self, written: &mut [f32], running: &mut [f32], sums: &mut KeySums) {
        let (c, ev) = (self.head.tokens, self.heads.value_width);
        let upstream = View::new(&self.upstream, c, ev);
        let weights = View::new(&self.head.attended, c, c);
        times(written, ev, false, weights.transposed(), upstream);
        let mut weight_gradient = vec![0.0; c * c];
        let kept = View::new(&self.head.written, c, ev);
        times(&mut weight_gradient, c, false, upstream, kept.transposed());
        for i in 0..c {
            for j in 0..=i {
                let at = i * c + j;
                let moved = weight_gradient[at] * self.head.attended[at];
                running[i] += moved;
                running[j] -= moved;
                sums.query_products[at] += weight_gradient[at] * self.head.pairs[at];
            }
        }
    }

    /// Through e^G Q S and through the memory that was handed on: adds to the gradient of D and
    /// moves that of the memory to the start of the chunk.
    fn through_memory(
        &self,
        state_gradient: &mut [f32],
        written: &mut [f32],
        running: &mut [f32],
        sums: &mut KeySums,
    ) {
        let (c, ek, ev) = (
            self.head.tokens,
            self.heads.key_width,
            self.heads.value_width,
        );
        let (memory, queries) = (View::new(self.state, ek, ev), self.keys.query_rows(c, ek));
        let faded = self.head.faded_keys(self.heads, self.keys);
        let after = View::new(state_gradient, ek, ev);
        times(written, ev, true, View::new(&faded, c, ek), after);
        let mut key_gradient = vec![0.0; c * ek];
        let kept = View::new(&self.head.written, c, ev);
        times(&mut key_gradient, ek, false, kept, after.transposed());
        let mut asked = vec![0.0; c * ev];
        times(&mut asked, ev, false, queries, memory);
        let left = &self.head.pairs[(c - 1) * c..];
        let last_fade = self.head.fades[c - 1];
        let mut upstream = self.upstream.clone();
        vectorised(|| {
            running[c - 1] += last_fade * dot(self.state, state_gradient);
            for i in 0..c {
                let gradient = &mut key_gradient[i * ek..(i + 1) * ek];
                scale(gradient, left[i]);
                let moved = dot(gradient, &self.keys.keys[i * ek..(i + 1) * ek]);
                running[c - 1] += moved;
                running[i] -= moved;
                let row = i * ev..(i + 1) * ev;
                scale(&mut upstream[row.clone()], self.head.fades[i]);
                running[i] += dot(&upstream[row.clone()], &asked[row]);
            }
            for (sum, gradient) in sums.keys.iter_mut().zip(&key_gradient) {
                *sum += gradient;
            }
            scale(state_gradient, last_fade);
        });
        let upstream = View::new(&upstream, c, ev);
        times(&mut sums.queries, ek, true, upstream, memory.transposed());
        times(state_gradient, ev, true, queries.transposed(), upstream);
    }

    /// From the gradient of D to that of the right-hand side: the transposed system.
    fn through_system(&self, written: &mut [f32]) {
        let (c, ev) = (self.head.tokens, self.heads.value_width);
        vectorised(|| {
            for i in (0..c).rev() {
                let (before, row) = written.split_at_mut(i * ev);
                let row = &row[..ev];
                for (j, before) in before.chunks_exact_mut(ev).enumerate() {
                    let at = i * c + j;
                    let by = self.head.beta[i] * self.head.pairs[at] * self.keys.key_products[at];
                    for (out, value) in before.iter_mut().zip(row) {
                        *out -= by * value;
                    }
                }
            }
        });
    }

    /// Through A, the matrix of the system; `right` is the gradient of the right-hand side.
    fn through_matrix(
        &self,
        right: &[f32],
        running: &mut [f32],
        beta: &mut [f32],
        sums: &mut KeySums,
    ) {
        let (c, ev) = (self.head.tokens, self.heads.value_width);
        let kept = View::new(&self.head.written, c, ev);
        let mut matrix = vec![0.0; c * c];
        times(
            &mut matrix,
            c,
            false,
            View::new(right, c, ev),
            kept.transposed(),
        );
        for i in 0..c {
            for j in 0..i {
                let at = i * c + j;
                let paired = -matrix[at] * self.head.pairs[at];
                let moved = paired * self.keys.key_products[at];
                beta[i] += moved;
                running[i] += moved * self.head.beta[i];
                running[j] -= moved * self.head.beta[i];
                sums.key_products[at] += paired * self.head.beta[i];
            }
        }
    }
}
