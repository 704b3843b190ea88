//! Attention over packed rows: each segment sees itself only, causally or as a whole, within a
//! window where the layer has one.
//!
//! Queries are taken in blocks; a block's scores against every key that it can see exist at a
//! time, never those of a whole row. Key/value heads are shared by groups of query heads.

mod backward;
mod composed;
#[cfg(test)]
pub(super) mod tests;

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

pub(crate) use composed::{Span as KeySpan, attend_over_tables};

use super::product::{Threads, View, ViewMut, product_into};
use super::rows::{exp_shifted, max, scale, vectorised};
use super::soft_cap::bend;
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
}

/// How the tokens of one layer attend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionRule {
    pub heads: Heads,
    /// What the scores are multiplied by.
    pub scale: f32,
    /// Whether a token sees itself and what precedes it, or what follows too.
    pub causal: bool,
    /// A token sees those less than this many places away.
    pub window: Option<usize>,
    /// Scores are bent to lie within ± this: `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
}

impl From<Heads> for AttentionRule {
    /// Causal, over everything, scaled by 1/√E.
    fn from(heads: Heads) -> Self {
        Self {
            heads,
            scale: 1.0 / (heads.width as f32).sqrt(),
            causal: true,
            window: None,
            soft_cap: None,
        }
    }
}

impl AttentionRule {
    /// The keys, of `keys` in all, that the query at a place sees.
    fn seen(&self, place: usize, keys: usize) -> Range<usize> {
        let start = self.window.map_or(0, |w| (place + 1).saturating_sub(w));
        let end = match self.window {
            _ if self.causal => place + 1,
            Some(window) => place.saturating_add(window).min(keys),
            None => keys,
        };
        start..end
    }

    /// The keys that any query of a run sees.
    fn seen_by_any(&self, places: Range<usize>, keys: usize) -> Range<usize> {
        self.seen(places.start, keys).start..self.seen(places.end - 1, keys).end
    }
}

/// Attends within each segment.
///
/// # Shapes
/// - `q`: (T, H * E), `k` and `v`: (T, K * E); the segments cover 0..T in order
/// - returns (T, H * E)
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rule: impl Into<AttentionRule>,
    segments: &Arc<[Segment]>,
) -> Result<Tensor> {
    let rule = rule.into();
    check(q, k, v, &rule, segments)?;
    if super::fused(q) {
        let operation = Attention {
            rule,
            segments: Arc::clone(segments),
            log_sums: OnceLock::new(),
        };
        return q
            .contiguous()?
            .apply_op3(&k.contiguous()?, &v.contiguous()?, operation);
    }
    composed::attention(q, k, v, rule, segments)
}

fn check(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rule: &AttentionRule,
    segments: &[Segment],
) -> Result<()> {
    let heads = rule.heads;
    if rule.window == Some(0) {
        bail!("an attention window of 0 sees nothing");
    }
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
    /// Keys up to the first query's own, that one included; each further query has one more. A
    /// window may show it fewer of them.
    pub(crate) visible: usize,
}

/// Attends each group of queries over its own keys, causally; returns the rows in order,
/// (T, H * E).
pub(crate) fn attend_over(rule: impl Into<AttentionRule>, queries: &[Queries<'_>]) -> Vec<f32> {
    let rule = rule.into();
    let width = rule.heads.query_row();
    let mut blocks = Vec::new();
    for group in queries {
        let rows = group.rows.len() / width;
        for start in (0..rows).step_by(BLOCK) {
            let end = (start + BLOCK).min(rows);
            let first = group.visible - 1 + start;
            blocks.push(Block {
                rows: &group.rows[start * width..end * width],
                pieces: group.pieces.clone(),
                first,
                keys: first + end - start,
            });
        }
    }
    let tokens: usize = queries.iter().map(|q| q.rows.len() / width).sum();
    attend_blocks(&rule, &blocks, tokens).0
}

/// A run of queries, all heads of them.
struct Block<'a> {
    rows: &'a [f32],
    pieces: Vec<Piece<'a>>,
    /// The place of the first query among the keys.
    first: usize,
    /// Keys of the row in all.
    keys: usize,
}

/// Returns the attended rows (T, H * E) and the log-sums of their scores (T, H).
fn attend_blocks(
    rule: &AttentionRule,
    blocks: &[Block<'_>],
    tokens: usize,
) -> (Vec<f32>, Vec<f32>) {
    let heads = rule.heads;
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
        if rows > 1 {
            tasks.push(Task {
                block,
                bundles: 0..Bundle::count(heads, rows),
                out: out_rows,
                log_sums: sums,
            });
            continue;
        }
        // The bundles of a single token lie apart: a long row alone keeps all threads busy.
        let outs = out_rows.chunks_exact_mut(heads.group() * heads.width);
        let parts = outs.zip(sums.chunks_exact_mut(heads.group()));
        tasks.extend(parts.enumerate().map(|(index, (out, log_sums))| Task {
            block,
            bundles: index..index + 1,
            out,
            log_sums,
        }));
    }
    tasks
        .into_par_iter()
        .for_each_init(Vec::new, |scores, task| task.run(rule, scores));
    (out, log_sums)
}

/// Bundles of a block that one thread attends, and where the first of them puts its results.
struct Task<'a> {
    block: &'a Block<'a>,
    bundles: Range<usize>,
    out: &'a mut [f32],
    log_sums: &'a mut [f32],
}

/// Queries of a block that look at the same keys and values, as rows of one product: the queries
/// of one head, or, of a single token, the heads that share a key/value head.
struct Bundle {
    /// Where the first row starts in the block.
    start: usize,
    rows: usize,
    row_stride: usize,
    /// The head of the first row.
    head: usize,
    /// Heads from one row to the next.
    head_step: usize,
}

impl Bundle {
    fn of(heads: Heads, tokens: usize, index: usize) -> Self {
        let e = heads.width;
        if tokens == 1 {
            let head = index * heads.group();
            Self {
                start: head * e,
                rows: heads.group(),
                row_stride: e,
                head,
                head_step: 1,
            }
        } else {
            Self {
                start: index * e,
                rows: tokens,
                row_stride: heads.query_row(),
                head: index,
                head_step: 0,
            }
        }
    }

    fn count(heads: Heads, tokens: usize) -> usize {
        if tokens == 1 {
            heads.key_value
        } else {
            heads.query
        }
    }

    /// The token and the head of a row.
    fn place(&self, row: usize) -> (usize, usize) {
        let token = if self.head_step == 0 { row } else { 0 };
        (token, self.head + row * self.head_step)
    }
}

impl Task<'_> {
    fn run(self, rule: &AttentionRule, scores: &mut Vec<f32>) {
        let Self {
            block,
            bundles,
            out,
            log_sums,
        } = self;
        let heads = rule.heads;
        let (key_row, e) = (heads.key_row(), heads.width);
        let tokens = block.rows.len() / heads.query_row();
        let keys = rule.seen_by_any(block.first..block.first + tokens, block.keys);
        let n = keys.len();
        let first = Bundle::of(heads, tokens, bundles.start);
        for index in bundles {
            let bundle = Bundle::of(heads, tokens, index);
            let (m, stride) = (bundle.rows, bundle.row_stride);
            scores.resize(m * n, 0.0);
            let group = bundle.head / heads.group() * e;
            let q = View::strided(&block.rows[bundle.start..], m, e, stride);
            for span in spans(&block.pieces, &keys) {
                let from = span.from * key_row + group;
                let part = View::strided(&span.piece.keys[from..], span.length, e, key_row);
                let to = ViewMut {
                    data: &mut scores[span.at..],
                    row_stride: n,
                };
                product_into(to, false, q, part.transposed(), rule.scale, Threads::One);
            }
            for (r, row) in scores.chunks_exact_mut(n).enumerate() {
                let (token, head) = bundle.place(r);
                let seen = rule.seen(block.first + token, block.keys);
                let seen = seen.start - keys.start..seen.end - keys.start;
                row[..seen.start].fill(0.0);
                row[seen.end..].fill(0.0);
                log_sums[token * heads.query + head - first.head] =
                    weigh(&mut row[seen], rule.soft_cap);
            }
            for span in spans(&block.pieces, &keys) {
                let from = span.from * key_row + group;
                let weights = View::strided(&scores[span.at..], m, span.length, n);
                let values = View::strided(&span.piece.values[from..], span.length, e, key_row);
                let to = ViewMut {
                    data: &mut out[bundle.start - first.start..],
                    row_stride: stride,
                };
                product_into(to, span.at > 0, weights, values, 1.0, Threads::One);
            }
        }
    }
}

/// Turns scores into weights; returns the log of the sum of their exponentials.
fn weigh(scores: &mut [f32], soft_cap: Option<f32>) -> f32 {
    let (largest, sum) = vectorised(|| {
        if let Some(cap) = soft_cap {
            bend(scores, cap);
        }
        let largest = max(scores);
        let sum = exp_shifted(scores, largest);
        scale(scores, 1.0 / sum);
        (largest, sum)
    });
    largest + sum.ln()
}

/// The part of a piece that a block looks at.
struct Span<'a> {
    piece: Piece<'a>,
    /// The first key within the piece.
    from: usize,
    length: usize,
    /// Where the first key stands among those of the block.
    at: usize,
}

/// The parts of the pieces that hold a range of keys.
fn spans<'a>(
    pieces: &'a [Piece<'a>],
    keys: &'a Range<usize>,
) -> impl Iterator<Item = Span<'a>> + 'a {
    let mut start = 0;
    pieces.iter().filter_map(move |piece| {
        let here = start..start + piece.length;
        start = here.end;
        let (first, end) = (here.start.max(keys.start), here.end.min(keys.end));
        (first < end).then(|| Span {
            piece: *piece,
            from: first - here.start,
            length: end - first,
            at: first - keys.start,
        })
    })
}

struct Attention {
    rule: AttentionRule,
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
        let (query_row, key_row) = (self.rule.heads.query_row(), self.rule.heads.key_row());
        let mut blocks = Vec::new();
        for segment in self.segments.iter() {
            let end = segment.start + segment.length;
            for start in (segment.start..end).step_by(BLOCK) {
                let stop = (start + BLOCK).min(end);
                blocks.push(Block {
                    rows: &q[start * query_row..stop * query_row],
                    pieces: vec![Piece {
                        keys: &k[segment.start * key_row..end * key_row],
                        values: &v[segment.start * key_row..end * key_row],
                        length: segment.length,
                    }],
                    first: start - segment.start,
                    keys: segment.length,
                });
            }
        }
        let tokens = q_layout.shape().dims2()?.0;
        let (out, log_sums) = attend_blocks(&self.rule, &blocks, tokens);
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
            rule: self.rule,
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
