//! Causal attention over packed rows: each segment sees itself only.
//!
//! Queries are taken in blocks; a block's scores against every key that it can see exist at a
//! time, never those of a whole row. Key/value heads are shared by groups of query heads.

mod backward;

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::product::{Threads, View, ViewMut, product_into};
use super::rows::{exp_shifted, max, scale, vectorised};
use super::storage::{elements, elements_of, gradient, output};

/// Query rows whose scores exist at a time.
const BLOCK: usize = 64;

/// A run of tokens that attend to one another: `start .. start + length` of the packed tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub start: usize,
    pub length: usize,
}

/// The head layout of one attention layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// H
    pub query: usize,
    /// K, which divides H
    pub key_value: usize,
    /// E
    pub width: usize,
}

impl Heads {
    fn query_row(&self) -> usize {
        self.query * self.width
    }

    fn key_row(&self) -> usize {
        self.key_value * self.width
    }

    /// Query heads that share one key/value head.
    fn group(&self) -> usize {
        self.query / self.key_value
    }

    fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }
}

/// Attends within each segment, each token to itself and what precedes it.
///
/// # Shapes
/// - `q`: (T, H * E), `k` and `v`: (T, K * E); the segments cover 0..T in order
/// - returns (T, H * E)
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    segments: &Arc<[Segment]>,
) -> Result<Tensor> {
    check(q, k, v, heads, segments)?;
    if q.device().is_cpu() {
        let operation = Attention {
            heads,
            segments: Arc::clone(segments),
            log_sums: OnceLock::new(),
        };
        return q
            .contiguous()?
            .apply_op3(&k.contiguous()?, &v.contiguous()?, operation);
    }
    composed(q, k, v, heads, segments)
}

fn check(q: &Tensor, k: &Tensor, v: &Tensor, heads: Heads, segments: &[Segment]) -> Result<()> {
    let tokens = q.dim(0)?;
    let mut next = 0;
    for segment in segments {
        if segment.start != next || segment.length == 0 {
            bail!("segments must follow one another without gaps, got {segment:?} at {next}");
        }
        next += segment.length;
    }
    let fits = next == tokens
        && heads.key_value > 0
        && heads.query.is_multiple_of(heads.key_value)
        && q.dims() == [tokens, heads.query_row()]
        && k.dims() == [tokens, heads.key_row()]
        && v.dims() == k.dims();
    if !fits {
        bail!("attention of {q:?}, {k:?}, {v:?} with {heads:?} over {next} tokens");
    }
    Ok(())
}

/// The same in plain differentiable operations, with a mask of T × T.
pub(super) fn composed(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    segments: &[Segment],
) -> Result<Tensor> {
    let tokens = q.dim(0)?;
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
        for row in segment.start..segment.start + segment.length {
            mask[row * tokens + segment.start..=row * tokens + row].fill(0.0);
        }
    }
    let mask = Tensor::from_vec(mask, (1, tokens, tokens), q.device())?;
    let scores = split(q, heads.query)?.matmul(&repeated(k)?.t()?)?;
    let scores = (scores * f64::from(heads.scale()))?.broadcast_add(&mask)?;
    candle_nn::ops::softmax(&scores, candle_core::D::Minus1)?
        .matmul(&repeated(v)?)?
        .transpose(0, 1)?
        .reshape((tokens, heads.query_row())) // (H, T, E) → (T, H * E)
}

/// Adjacent keys and values, rows of K * E.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) keys: &'a [f32],
    pub(crate) values: &'a [f32],
    pub(crate) length: usize,
}

/// Adjacent queries of one row and the keys that they see, piece after piece.
pub(crate) struct Queries<'a> {
    /// Rows of H * E.
    pub(crate) rows: &'a [f32],
    pub(crate) pieces: Vec<Piece<'a>>,
    /// Keys that the first query sees; each further query sees one more.
    pub(crate) visible: usize,
}

/// Attends each group of queries over its own keys; returns the rows in order, (T, H * E).
pub(crate) fn attend_over(heads: Heads, queries: &[Queries<'_>]) -> Vec<f32> {
    let width = heads.query_row();
    let mut blocks = Vec::new();
    for group in queries {
        let rows = group.rows.len() / width;
        for start in (0..rows).step_by(BLOCK) {
            let end = (start + BLOCK).min(rows);
            blocks.push(Queries {
                rows: &group.rows[start * width..end * width],
                pieces: group.pieces.clone(),
                visible: group.visible + start,
            });
        }
    }
    let tokens: usize = queries.iter().map(|q| q.rows.len() / width).sum();
    attend_blocks(heads, &blocks, tokens).0
}

/// Returns the attended rows (T, H * E) and the log-sums of their scores (T, H).
fn attend_blocks(heads: Heads, blocks: &[Queries<'_>], tokens: usize) -> (Vec<f32>, Vec<f32>) {
    let width = heads.query_row();
    let mut out = vec![0.0; tokens * width];
    let mut log_sums = vec![0.0; tokens * heads.query];
    let mut tasks = Vec::with_capacity(blocks.len());
    let (mut out_rest, mut sums_rest) = (out.as_mut_slice(), log_sums.as_mut_slice());
    for block in blocks {
        let rows = block.rows.len() / width;
        let (out_rows, rest) = out_rest.split_at_mut(rows * width);
        out_rest = rest;
        let (sums, rest) = sums_rest.split_at_mut(rows * heads.query);
        sums_rest = rest;
        tasks.push((block, out_rows, sums));
    }
    tasks
        .into_par_iter()
        .for_each_init(Vec::new, |scores, (block, out, sums)| {
            attend_block(heads, block, scores, out, sums);
        });
    (out, log_sums)
}

fn attend_block(
    heads: Heads,
    block: &Queries<'_>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
    log_sums: &mut [f32],
) {
    let (query_row, key_row, e) = (heads.query_row(), heads.key_row(), heads.width);
    let m = block.rows.len() / query_row;
    let n = block.visible + m - 1;
    scores.resize(m * n, 0.0);
    for h in 0..heads.query {
        let group = h / heads.group() * e;
        let q = View::strided(&block.rows[h * e..], m, e, query_row);
        for (piece, start, length) in spans(&block.pieces, n) {
            let keys = View::strided(&piece.keys[group..], length, e, key_row);
            let to = ViewMut {
                data: &mut scores[start..],
                row_stride: n,
            };
            product_into(to, false, q, keys.transposed(), heads.scale(), Threads::One);
        }
        for (r, row) in scores.chunks_exact_mut(n).enumerate() {
            let (seen, unseen) = row.split_at_mut(block.visible + r);
            let (largest, sum) = vectorised(|| {
                let largest = max(seen);
                let sum = exp_shifted(seen, largest);
                scale(seen, 1.0 / sum);
                (largest, sum)
            });
            unseen.fill(0.0);
            log_sums[r * heads.query + h] = largest + sum.ln();
        }
        for (piece, start, length) in spans(&block.pieces, n) {
            let weights = View::strided(&scores[start..], m, length, n);
            let values = View::strided(&piece.values[group..], length, e, key_row);
            let to = ViewMut {
                data: &mut out[h * e..],
                row_stride: query_row,
            };
            product_into(to, start > 0, weights, values, 1.0, Threads::One);
        }
    }
}

/// The pieces that hold the first `n` keys: each with where it starts and how much of it counts.
fn spans<'a>(
    pieces: &'a [Piece<'a>],
    n: usize,
) -> impl Iterator<Item = (Piece<'a>, usize, usize)> + 'a {
    let mut start = 0;
    pieces.iter().filter_map(move |piece| {
        let length = piece.length.min(n - start);
        let at = start;
        start += length;
        (length > 0).then_some((*piece, at, length))
    })
}

struct Attention {
    heads: Heads,
    segments: Arc<[Segment]>,
    /// Log-sums of the scores of the forward pass, (T, H).
    log_sums: OnceLock<Vec<f32>>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "packed-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (
            elements(q, q_layout)?,
            elements(k, k_layout)?,
            elements(v, v_layout)?,
        );
        let (query_row, key_row) = (self.heads.query_row(), self.heads.key_row());
        let mut blocks = Vec::new();
        for segment in self.segments.iter() {
            let end = segment.start + segment.length;
            for start in (segment.start..end).step_by(BLOCK) {
                let stop = (start + BLOCK).min(end);
                blocks.push(Queries {
                    rows: &q[start * query_row..stop * query_row],
                    pieces: vec![Piece {
                        keys: &k[segment.start * key_row..end * key_row],
                        values: &v[segment.start * key_row..end * key_row],
                        length: segment.length,
                    }],
                    visible: start - segment.start + 1,
                });
            }
        }
        let tokens = q_layout.shape().dims2()?.0;
        let (out, log_sums) = attend_blocks(self.heads, &blocks, tokens);
        // One forward per op: a second value never arrives.
        let _ = self.log_sums.set(log_sums);
        Ok(output(out, q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(log_sums) = self.log_sums.get() else {
            bail!("attention was asked for gradients before its forward pass");
        };
        let upstream = upstream.contiguous()?;
        let forward = backward::Forward {
            heads: self.heads,
            q: &elements_of(q)?,
            k: &elements_of(k)?,
            v: &elements_of(v)?,
            out: &elements_of(result)?,
            log_sums,
        };
        let gradients = forward.gradients(&self.segments, &elements_of(&upstream)?);
        Ok((
            gradient(gradients.q, q)?,
            gradient(gradients.k, k)?,
            gradient(gradients.v, v)?,
        ))
    }
}
