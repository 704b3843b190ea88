//! The gated delta rule over packed rows: a memory of fixed size per head in place of a cache of
//! keys and values.
//!
//! Each head keeps a matrix S of (key width, value width). A token first lets it fade, then
//! replaces what the key k recalls by the value v as far as β says, then asks it with the query q:
//!
//! ```text
//! S ← e^g S;   S ← S + k β (v - kᵀ S)ᵀ;   o = qᵀ S
//! ```
//!
//! k and q are brought to unit length first, q is then scaled by one over the root of its width.
//! Method: Yang, Kautz, Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule"
//! (arXiv 2412.06464), in the chunked form of section 3.3: within a chunk the replacements solve a
//! triangular system, between chunks only S is handed on. The backward pass keeps nothing of the
//! forward one: it makes the memory at the start of each chunk again, one head of one segment at a
//! time.

mod backward;
mod chunk;
mod composed;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

pub(crate) use composed::{gated_delta_from, memories};

use super::attention::Segment;
use super::storage::{elements, elements_of, gradient, output};
use chunk::{Group, Rows};

/// Tokens that are taken at a time.
const CHUNK: usize = 64;
/// Added to a squared length before its root is taken.
const LENGTH_EPSILON: f32 = 1e-6;

/// The head layout of one delta-net layer. Adjacent value heads share one key head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaHeads {
    pub key: usize,
    /// A multiple of `key`.
    pub value: usize,
    pub key_width: usize,
    pub value_width: usize,
}

impl DeltaHeads {
    /// Width of all queries, and of all keys.
    pub fn key_row(&self) -> usize {
        self.key * self.key_width
    }

    /// Width of all values.
    pub fn value_row(&self) -> usize {
        self.value * self.value_width
    }

    /// Queries, keys and values side by side.
    pub fn mixed_row(&self) -> usize {
        2 * self.key_row() + self.value_row()
    }

    /// Elements of the memory of one row of tokens.
    pub fn state(&self) -> usize {
        self.value * self.head_state()
    }

    fn head_state(&self) -> usize {
        self.key_width * self.value_width
    }

    /// Value heads that share one key head.
    fn group(&self) -> usize {
        self.value / self.key
    }
}

/// Runs the gated delta rule within each segment, from an empty memory.
///
/// # Shapes
/// - `mixed`: (T, `heads.mixed_row()`), queries, keys and values side by side
/// - `log_decay` (g, at most 0) and `beta`: (T, value heads); the segments cover 0..T in order
/// - returns (T, `heads.value_row()`)
pub fn gated_delta(
    mixed: &Tensor,
    log_decay: &Tensor,
    beta: &Tensor,
    heads: DeltaHeads,
    segments: &Arc<[Segment]>,
) -> Result<Tensor> {
    let tokens = mixed.dim(0)?;
    let mut next = 0;
    for segment in segments.iter() {
        if segment.start != next || segment.length == 0 {
            bail!("segments must follow one another without gaps, got {segment:?} at {next}");
        }
        next += segment.length;
    }
    let fits = next == tokens
        && heads.key > 0
        && heads.value.is_multiple_of(heads.key)
        && mixed.dims() == [tokens, heads.mixed_row()]
        && log_decay.dims() == [tokens, heads.value]
        && beta.dims() == log_decay.dims();
    if !fits {
        bail!(
            "gated delta rule of {mixed:?}, {log_decay:?}, {beta:?} with {heads:?} over {next} tokens"
        );
    }
    if super::fused(mixed) {
        let operation = GatedDelta {
            heads,
            segments: Arc::clone(segments),
        };
        return mixed.contiguous()?.apply_op3(
            &log_decay.contiguous()?,
            &beta.contiguous()?,
            operation,
        );
    }
    composed::composed(mixed, log_decay, beta, heads, segments)
}

/// New tokens of one row of a cache, and the memory of what preceded them.
pub(crate) struct DeltaRow<'a> {
    /// (value heads, key width, value width), brought up to date.
    pub(crate) state: &'a mut [f32],
    /// New tokens.
    pub(crate) tokens: usize,
}

/// Runs the new tokens of some rows, laid end to end, on from each row's memory.
///
/// # Shapes
/// - as [`gated_delta`]
pub(crate) fn gated_delta_over(
    heads: DeltaHeads,
    mixed: &[f32],
    log_decay: &[f32],
    beta: &[f32],
    rows: &mut [DeltaRow<'_>],
) -> Vec<f32> {
    let group_state = heads.group() * heads.head_state();
    let mut tasks = Vec::new();
    let mut start = 0;
    for row in rows {
        let segment = Segment {
            start,
            length: row.tokens,
        };
        start += row.tokens;
        for (key_head, state) in row.state.chunks_exact_mut(group_state).enumerate() {
            tasks.push((segment, key_head, state));
        }
    }
    let inputs = Rows {
        heads,
        mixed,
        log_decay,
        beta,
    };
    let parts: Vec<(Segment, usize, Vec<f32>)> = tasks
        .into_par_iter()
        .map(|(segment, key_head, state)| {
            let out = Group::new(inputs, segment, key_head).run(state);
            (segment, key_head, out)
        })
        .collect();
    let mut out = vec![0.0; start * heads.value_row()];
    for (segment, key_head, part) in &parts {
        let width = heads.group() * heads.value_width;
        scatter(
            part,
            width,
            *segment,
            &mut out,
            heads.value_row(),
            key_head * width,
        );
    }
    out
}

/// Copies rows of `width` to the columns from `column` on of a segment's rows.
fn scatter(
    part: &[f32],
    width: usize,
    segment: Segment,
    out: &mut [f32],
    row_width: usize,
    column: usize,
) {
    let rows = out[segment.start * row_width..].chunks_exact_mut(row_width);
    for (from, to) in part.chunks_exact(width).zip(rows) {
        to[column..column + width].copy_from_slice(from);
    }
}

struct GatedDelta {
    heads: DeltaHeads,
    segments: Arc<[Segment]>,
}

impl CustomOp3 for GatedDelta {
    fn name(&self) -> &'static str {
        "gated-delta"
    }

    fn cpu_fwd(
        &self,
        mixed: &CpuStorage,
        mixed_layout: &Layout,
        log_decay: &CpuStorage,
        log_decay_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut states = vec![0.0; self.segments.len() * self.heads.state()];
        let mut rows: Vec<DeltaRow<'_>> = states
            .chunks_exact_mut(self.heads.state().max(1))
            .zip(self.segments.iter())
            .map(|(state, segment)| DeltaRow {
                state,
                tokens: segment.length,
            })
            .collect();
        let out = gated_delta_over(
            self.heads,
            elements(mixed, mixed_layout)?,
            elements(log_decay, log_decay_layout)?,
            elements(beta, beta_layout)?,
            &mut rows,
        );
        let (tokens, _) = mixed_layout.shape().dims2()?;
        Ok(output(out, (tokens, self.heads.value_row())))
    }

    fn bwd(
        &self,
        mixed: &Tensor,
        log_decay: &Tensor,
        beta: &Tensor,
        _result: &Tensor,
        upstream: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let upstream = upstream.contiguous()?;
        let upstream = elements_of(&upstream)?;
        let (mixed_values, decays, betas) = (
            elements_of(mixed)?,
            elements_of(log_decay)?,
            elements_of(beta)?,
        );
        let inputs = Rows {
            heads: self.heads,
            mixed: &mixed_values,
            log_decay: &decays,
            beta: &betas,
        };
        let gradients = backward::gradients(inputs, &self.segments, &upstream);
        Ok((
            gradient(gradients.mixed, mixed)?,
            gradient(gradients.log_decay, log_decay)?,
            gradient(gradients.beta, beta)?,
        ))
    }
}
