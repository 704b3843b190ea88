//! One chunk of tokens of one head: the forward pass over plain slices.
//!
//! With G the running sum of g in the chunk and S the memory at its start, what the tokens write
//! (D, one row each) solves (I + A) D = β (V - e^G K S) with A below the diagonal:
//! Aᵢⱼ = βᵢ e^(Gᵢ - Gⱼ) kᵢ·kⱼ. The answers are e^G Q S + W D with Wᵢⱼ = e^(Gᵢ - Gⱼ) qᵢ·kⱼ on and
//! below the diagonal, and the memory that is handed on is e^G S + Σ e^(G - Gⱼ) kⱼ Dⱼᵀ at the last
//! token.

use super::super::attention::Segment;
use super::super::product::{Threads, View, ViewMut, product_into};
use super::super::rows::{dot, exp, scale, vectorised};
use super::{CHUNK, DeltaHeads, LENGTH_EPSILON};

/// The inputs of a pass, one row per token.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) heads: DeltaHeads,
    pub(super) mixed: &'a [f32],
    pub(super) log_decay: &'a [f32],
    pub(super) beta: &'a [f32],
}

impl<'a> Rows<'a> {
    pub(super) fn value(&self, token: usize, value_head: usize) -> &'a [f32] {
        let heads = self.heads;
        let at = token * heads.mixed_row() + 2 * heads.key_row() + value_head * heads.value_width;
        &self.mixed[at..at + heads.value_width]
    }
}

/// Multiplies on this thread: chunks run side by side already.
pub(super) fn times(
    out: &mut [f32],
    row_stride: usize,
    accumulate: bool,
    left: View<'_>,
    right: View<'_>,
) {
    let out = ViewMut {
        data: out,
        row_stride,
    };
    product_into(out, accumulate, left, right, 1.0, Threads::One);
}

/// Queries and keys of a chunk at unit length, and their products.
#[derive(Default)]
#[expect(clippy::struct_field_names, reason = "a key head has queries and keys")]
pub(super) struct Keys {
    /// (C, key width), scaled by the root of the width.
    pub(super) queries: Vec<f32>,
    /// (C, key width)
    pub(super) keys: Vec<f32>,
    /// One over the length of each, C.
    pub(super) query_inverses: Vec<f32>,
    pub(super) key_inverses: Vec<f32>,
    /// kᵢ·kⱼ, (C, C)
    pub(super) key_products: Vec<f32>,
    /// qᵢ·kⱼ, (C, C)
    pub(super) query_products: Vec<f32>,
}

impl Keys {
    fn load(&mut self, inputs: Rows<'_>, start: usize, tokens: usize, key_head: usize) {
        let heads = inputs.heads;
        let width = heads.key_width;
        let unit = |offset: usize, by: f32, rows: &mut Vec<f32>, inverses: &mut Vec<f32>| {
            rows.resize(tokens * width, 0.0);
            inverses.resize(tokens, 0.0);
            vectorised(|| {
                for (token, row) in rows.chunks_exact_mut(width).enumerate() {
                    let at = (start + token) * heads.mixed_row() + offset + key_head * width;
                    let from = &inputs.mixed[at..at + width];
                    let inverse = 1.0 / (dot(from, from) + LENGTH_EPSILON).sqrt();
                    inverses[token] = inverse;
                    for (to, from) in row.iter_mut().zip(from) {
                        *to = from * inverse * by;
                    }
                }
            });
        };
        unit(
            0,
            query_scale(heads),
            &mut self.queries,
            &mut self.query_inverses,
        );
        unit(heads.key_row(), 1.0, &mut self.keys, &mut self.key_inverses);
        if tokens > 1 {
            let queries = View::new(&self.queries, tokens, width);
            let keys = View::new(&self.keys, tokens, width);
            self.key_products.resize(tokens * tokens, 0.0);
            self.query_products.resize(tokens * tokens, 0.0);
            times(
                &mut self.key_products,
                tokens,
                false,
                keys,
                keys.transposed(),
            );
            times(
                &mut self.query_products,
                tokens,
                false,
                queries,
                keys.transposed(),
            );
        }
    }

    pub(super) fn query_rows(&self, tokens: usize, width: usize) -> View<'_> {
        View::new(&self.queries, tokens, width)
    }

    pub(super) fn key_rows(&self, tokens: usize, width: usize) -> View<'_> {
        View::new(&self.keys, tokens, width)
    }
}

pub(super) fn query_scale(heads: DeltaHeads) -> f32 {
    1.0 / (heads.key_width as f32).sqrt()
}

/// What one value head makes of a chunk.
#[derive(Default)]
pub(super) struct Head {
    pub(super) tokens: usize,
    /// β, C
    pub(super) beta: Vec<f32>,
    /// e^G, C
    pub(super) fades: Vec<f32>,
    /// e^(Gᵢ - Gⱼ) on and below the diagonal, else 0; (C, C)
    pub(super) pairs: Vec<f32>,
    /// K S, (C, value width)
    pub(super) recalled: Vec<f32>,
    /// D, (C, value width)
    pub(super) written: Vec<f32>,
    /// W, (C, C)
    pub(super) attended: Vec<f32>,
}

impl Head {
    fn load(&mut self, inputs: Rows<'_>, start: usize, tokens: usize, value_head: usize) {
        let count = inputs.heads.value;
        let column = |rows: &[f32], token: usize| rows[(start + token) * count + value_head];
        self.tokens = tokens;
        let mut sum = 0.0;
        let sums: Vec<f32> = (0..tokens)
            .map(|token| {
                sum += column(inputs.log_decay, token);
                sum
            })
            .collect();
        self.beta.clear();
        self.beta
            .extend((0..tokens).map(|token| column(inputs.beta, token)));
        self.fades.clear();
        self.fades.extend(sums.iter().map(|sum| exp(*sum)));
        self.pairs.clear();
        self.pairs.resize(tokens * tokens, 0.0);
        vectorised(|| {
            for (i, row) in self.pairs.chunks_exact_mut(tokens).enumerate() {
                for (pair, before) in row[..=i].iter_mut().zip(&sums) {
                    *pair = exp(sums[i] - before);
                }
            }
        });
    }

    /// Finds what the tokens write, from the memory at the start of the chunk.
    fn write(
        &mut self,
        inputs: Rows<'_>,
        start: usize,
        value_head: usize,
        keys: &Keys,
        state: &[f32],
    ) {
        let (c, heads) = (self.tokens, inputs.heads);
        let (ek, ev) = (heads.key_width, heads.value_width);
        self.recalled.resize(c * ev, 0.0);
        self.written.resize(c * ev, 0.0);
        let memory = View::new(state, ek, ev);
        times(&mut self.recalled, ev, false, keys.key_rows(c, ek), memory);
        vectorised(|| {
            for i in 0..c {
                let (before, row) = self.written.split_at_mut(i * ev);
                let row = &mut row[..ev];
                let (beta, fade) = (self.beta[i], self.fades[i]);
                let value = inputs.value(start + i, value_head);
                let recalled = &self.recalled[i * ev..(i + 1) * ev];
                for ((out, value), recalled) in row.iter_mut().zip(value).zip(recalled) {
                    *out = beta * (value - fade * recalled);
                }
                for (j, written) in before.chunks_exact(ev).enumerate() {
                    let by = beta * self.pairs[i * c + j] * keys.key_products[i * c + j];
                    for (out, written) in row.iter_mut().zip(written) {
                        *out -= by * written;
                    }
                }
            }
        });
    }

    /// Makes W, the weight of each write in each answer.
    fn attend(&mut self, keys: &Keys) {
        let c = self.tokens;
        self.attended.resize(c * c, 0.0);
        vectorised(|| {
            let weights = self.pairs.iter().zip(&keys.query_products);
            for (out, (pair, product)) in self.attended.iter_mut().zip(weights) {
                *out = pair * product;
            }
        });
    }

    /// Answers the queries into rows of `out`, `row_stride` apart.
    fn answer(
        &mut self,
        heads: DeltaHeads,
        keys: &Keys,
        state: &[f32],
        out: &mut [f32],
        row_stride: usize,
    ) {
        let (c, ek, ev) = (self.tokens, heads.key_width, heads.value_width);
        let memory = View::new(state, ek, ev);
        times(out, row_stride, false, keys.query_rows(c, ek), memory);
        vectorised(|| {
            for (i, fade) in self.fades.iter().enumerate() {
                scale(&mut out[i * row_stride..i * row_stride + ev], *fade);
            }
        });
        self.attend(keys);
        let weights = View::new(&self.attended, c, c);
        times(
            out,
            row_stride,
            true,
            weights,
            View::new(&self.written, c, ev),
        );
    }

    /// Keys that have faded until the end of the chunk, (C, key width).
    pub(super) fn faded_keys(&self, heads: DeltaHeads, keys: &Keys) -> Vec<f32> {
        let (c, ek) = (self.tokens, heads.key_width);
        let mut faded = keys.keys[..c * ek].to_vec();
        let left = &self.pairs[(c - 1) * c..];
        vectorised(|| {
            for (row, fade) in faded.chunks_exact_mut(ek).zip(left) {
                scale(row, *fade);
            }
        });
        faded
    }

    /// Brings the memory to the end of the chunk.
    fn hand_on(&self, heads: DeltaHeads, keys: &Keys, state: &mut [f32]) {
        let (c, ek, ev) = (self.tokens, heads.key_width, heads.value_width);
        let faded = self.faded_keys(heads, keys);
        vectorised(|| scale(state, self.fades[c - 1]));
        let written = View::new(&self.written, c, ev);
        times(
            state,
            ev,
            true,
            View::new(&faded, c, ek).transposed(),
            written,
        );
    }

    /// All of it for a single token.
    fn step(&mut self, value: &[f32], keys: &Keys, state: &mut [f32], out: &mut [f32]) {
        let ev = value.len();
        let (beta, fade) = (self.beta[0], self.fades[0]);
        self.written.clear();
        self.written.resize(ev, 0.0);
        let written = &mut self.written;
        vectorised(|| {
            for (key, row) in keys.keys.iter().zip(state.chunks_exact(ev)) {
                for (sum, memory) in written.iter_mut().zip(row) {
                    *sum += key * memory;
                }
            }
            for (sum, value) in written.iter_mut().zip(value) {
                *sum = beta * (value - fade * *sum);
            }
            let pairs = keys.keys.iter().zip(&keys.queries);
            for ((key, query), row) in pairs.zip(state.chunks_exact_mut(ev)) {
                for ((memory, written), out) in row.iter_mut().zip(written.iter()).zip(&mut *out) {
                    *memory = fade * *memory + key * written;
                    *out += query * *memory;
                }
            }
        });
    }
}

/// One key head and the value heads that share it, over the tokens of one segment.
pub(super) struct Group<'a> {
    pub(super) inputs: Rows<'a>,
    pub(super) segment: Segment,
    pub(super) key_head: usize,
    pub(super) keys: Keys,
    pub(super) head: Head,
}

impl<'a> Group<'a> {
    pub(super) fn new(inputs: Rows<'a>, segment: Segment, key_head: usize) -> Self {
        Self {
            inputs,
            segment,
            key_head,
            keys: Keys::default(),
            head: Head::default(),
        }
    }

    /// Where each chunk starts within the segment, and its tokens.
    pub(super) fn chunks(&self) -> Vec<(usize, usize)> {
        (0..self.segment.length)
            .step_by(CHUNK)
            .map(|first| (first, CHUNK.min(self.segment.length - first)))
            .collect()
    }

    pub(super) fn load_keys(&mut self, first: usize, tokens: usize) {
        let start = self.segment.start + first;
        self.keys.load(self.inputs, start, tokens, self.key_head);
    }

    pub(super) fn value_head(&self, member: usize) -> usize {
        self.key_head * self.inputs.heads.group() + member
    }

    /// Loads a value head and finds what its tokens write.
    fn write(&mut self, first: usize, tokens: usize, member: usize, state: &[f32]) {
        let (start, value_head) = (self.segment.start + first, self.value_head(member));
        self.head.load(self.inputs, start, tokens, value_head);
        self.head
            .write(self.inputs, start, value_head, &self.keys, state);
    }

    /// As [`Self::write`], with the weights of the answers.
    pub(super) fn load_head(&mut self, first: usize, tokens: usize, member: usize, state: &[f32]) {
        self.write(first, tokens, member, state);
        self.head.attend(&self.keys);
    }

    /// Runs every token and leaves the memory (value heads of the group, key width, value width)
    /// at the end; returns the answers, (tokens, group * value width).
    pub(super) fn run(&mut self, state: &mut [f32]) -> Vec<f32> {
        let heads = self.inputs.heads;
        let row_stride = heads.group() * heads.value_width;
        let mut out = vec![0.0; self.segment.length * row_stride];
        for (first, tokens) in self.chunks() {
            self.load_keys(first, tokens);
            for (member, state) in state.chunks_exact_mut(heads.head_state()).enumerate() {
                let out = &mut out[first * row_stride + member * heads.value_width..];
                if tokens == 1 {
                    let (token, value_head) = (self.segment.start + first, self.value_head(member));
                    self.head.load(self.inputs, token, 1, value_head);
                    let value = self.inputs.value(token, value_head);
                    let out = &mut out[..heads.value_width];
                    self.head.step(value, &self.keys, state, out);
                    continue;
                }
                self.write(first, tokens, member, state);
                self.head.answer(heads, &self.keys, state, out, row_stride);
                self.head.hand_on(heads, &self.keys, state);
            }
        }
        out
    }

    /// The memory at the start of each chunk, from an empty one: (chunks, group, key width, value
    /// width).
    pub(super) fn states(&mut self) -> Vec<f32> {
        let heads = self.inputs.heads;
        let size = heads.group() * heads.head_state();
        let chunks = self.chunks();
        let mut states = vec![0.0; chunks.len() * size];
        for (index, (first, tokens)) in chunks.iter().enumerate() {
            if index + 1 == chunks.len() {
                break;
            }
            self.load_keys(*first, *tokens);
            let (known, next) = states.split_at_mut((index + 1) * size);
            let next = &mut next[..size];
            next.copy_from_slice(&known[index * size..]);
            for (member, state) in next.chunks_exact_mut(heads.head_state()).enumerate() {
                self.write(*first, *tokens, member, state);
                self.head.hand_on(heads, &self.keys, state);
            }
        }
        states
    }
}
