//! Delta-net layers over caches: each branch goes on from the memory of what lies before it.

use candle_core::{Device, Tensor};

use super::cache::DeltaCache;
use super::pass::{Over, generations};
use crate::decoder::{DecoderError, DeltaConfig, DeltaInputs};
use crate::ops::{ConvolutionRow, DeltaRow, convolve_over, elements_of, gated_delta_over};

/// The inputs of one layer, one row per token.
#[derive(Clone, Copy)]
struct Rows<'a> {
    config: DeltaConfig,
    /// (C, W)
    convolution: &'a [f32],
    mixed: &'a [f32],
    log_decay: &'a [f32],
    beta: &'a [f32],
}

impl Over<'_> {
    /// See [`crate::decoder::Mix::recall`].
    pub(super) fn recall_rows(
        &mut self,
        layer: usize,
        inputs: &DeltaInputs<'_>,
    ) -> Result<Tensor, DecoderError> {
        let (mixed, convolution) = (inputs.mixed.contiguous()?, inputs.convolution.contiguous()?);
        let (log_decay, beta) = (inputs.log_decay.contiguous()?, inputs.beta.contiguous()?);
        let (tokens, width) = (mixed.dim(0)?, inputs.config.heads.value_row());
        let rows = Rows {
            config: inputs.config,
            convolution: &elements_of(&convolution)?,
            mixed: &elements_of(&mixed)?,
            log_decay: &elements_of(&log_decay)?,
            beta: &elements_of(&beta)?,
        };
        let generations = generations(&self.branches);
        let out = if let [all] = generations.as_slice() {
            self.recall_generation(layer, all, rows)
        } else {
            let mut out = vec![0.0; tokens * width];
            for members in &generations {
                self.recall_apart(layer, members, rows, &mut out);
            }
            out
        };
        Ok(Tensor::from_vec(out, (tokens, width), &Device::Cpu)?)
    }

    /// Runs branches whose rows do not lie together in the inputs.
    fn recall_apart(&mut self, layer: usize, members: &[usize], rows: Rows<'_>, out: &mut [f32]) {
        let mut starts = Vec::with_capacity(self.branches.len());
        let mut start = 0;
        for branch in &self.branches {
            starts.push(start);
            start += branch.tokens.len();
        }
        let spans: Vec<(usize, usize)> = members
            .iter()
            .map(|index| (starts[*index], self.branches[*index].tokens.len()))
            .collect();
        let gathered = |from: &[f32], width: usize| -> Vec<f32> {
            let parts = spans
                .iter()
                .flat_map(|(start, count)| &from[start * width..(start + count) * width]);
            parts.copied().collect()
        };
        let heads = rows.config.heads;
        let together = Rows {
            mixed: &gathered(rows.mixed, heads.mixed_row()),
            log_decay: &gathered(rows.log_decay, heads.value),
            beta: &gathered(rows.beta, heads.value),
            ..rows
        };
        let answers = self.recall_generation(layer, members, together);
        let (width, mut from) = (heads.value_row(), 0);
        for (start, count) in spans {
            let part = &answers[from * width..(from + count) * width];
            out[start * width..(start + count) * width].copy_from_slice(part);
            from += count;
        }
    }

    /// Runs some branches whose rows are the inputs; none lies behind another of them.
    fn recall_generation(&mut self, layer: usize, members: &[usize], rows: Rows<'_>) -> Vec<f32> {
        let counts: Vec<usize> = members
            .iter()
            .map(|index| self.branches[*index].tokens.len())
            .collect();
        let mut caches: Vec<DeltaCache> = members
            .iter()
            .map(|index| self.begun(layer, *index, rows.config))
            .collect();
        let heads = rows.config.heads;
        let mut tails: Vec<ConvolutionRow<'_>> = caches
            .iter_mut()
            .zip(&counts)
            .map(|(cache, tokens)| ConvolutionRow {
                tail: &mut cache.tail,
                tokens: *tokens,
            })
            .collect();
        let mixed = convolve_over(rows.mixed, rows.convolution, heads.mixed_row(), &mut tails);
        let mut states: Vec<DeltaRow<'_>> = caches
            .iter_mut()
            .zip(&counts)
            .map(|(cache, tokens)| DeltaRow {
                state: &mut cache.state,
                tokens: *tokens,
            })
            .collect();
        let out = gated_delta_over(heads, &mixed, rows.log_decay, rows.beta, &mut states);
        for (index, cache) in members.iter().zip(caches) {
            *self.branches[*index].cache.layers[layer].delta_net_mut() = cache;
        }
        out
    }

    /// The memory that a branch goes on from, taken out of its cache: its own, that of what lies
    /// before it, or an empty one.
    fn begun(&mut self, layer: usize, index: usize, config: DeltaConfig) -> DeltaCache {
        let own = std::mem::take(self.branches[index].cache.layers[layer].delta_net_mut());
        if !own.is_empty() {
            return own;
        }
        let branch = &self.branches[index];
        let parents = branch
            .parents
            .iter()
            .map(|parent| &*self.branches[*parent].cache);
        let before = branch.before.iter().copied().chain(parents);
        before
            .map(|cache| cache.layers[layer].delta_net())
            .rfind(|cache| !cache.is_empty())
            .cloned()
            .unwrap_or_else(|| DeltaCache::new(config))
    }
}
