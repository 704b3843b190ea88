//! One pass of new tokens of many rows through the decoder, each row after what its caches hold.

use candle_core::{Device, Tensor};

use super::cache::{LayerCache, RowCache};
use super::placed::OverPlaced;
use crate::decoder::{Decoder, DecoderError, DeltaInputs, Mix};
use crate::ops::{
    AttentionRule, Heads, Piece, Positions, Queries, attend_over, elements_of, has_kernels,
};

/// New tokens that follow one another, and where they come.
pub(super) struct Branch<'a> {
    pub(super) tokens: Vec<u32>,
    /// What lies before, first things first, and is not added to.
    pub(super) before: Vec<&'a RowCache>,
    /// Earlier branches of the same pass that lie between `before` and this one.
    pub(super) parents: Vec<usize>,
    /// Its own cache, which takes the new tokens.
    pub(super) cache: &'a mut RowCache,
    /// How long the row will be that these tokens begin, or any length below their end: some
    /// models turn long rows otherwise from their first token on.
    pub(super) row_length: usize,
}

impl Branch<'_> {
    /// The position of the first new token, given the lengths of the branches before it.
    fn start(&self, ends: &[usize]) -> usize {
        let before: usize = self.before.iter().map(|cache| cache.length()).sum();
        let parents: usize = self.parents.iter().map(|parent| ends[*parent]).sum();
        before + parents + self.cache.length()
    }
}

/// Does the work of a pass on a thread of the pool where the kernels of this crate run: each of
/// their operations would else be handed over to the pool, and waited for, by itself.
pub(super) fn pooled<R: Send>(decoder: &Decoder, work: impl FnOnce() -> R + Send) -> R {
    if has_kernels(decoder.device()) {
        rayon::scope(|_| work())
    } else {
        work()
    }
}

/// Runs the tokens of all branches together.
///
/// # Shapes
/// - returns (T, D), the branches end to end, before the final norm
pub(super) fn run(decoder: &Decoder, branches: Vec<Branch<'_>>) -> Result<Tensor, DecoderError> {
    let mut ends = Vec::with_capacity(branches.len());
    let (mut tokens, mut positions, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    for branch in &branches {
        let start = branch.start(&ends);
        ends.push(branch.cache.length() + branch.tokens.len());
        tokens.extend_from_slice(&branch.tokens);
        let end = start + branch.tokens.len();
        positions.extend((start..end).map(|position| position as u32));
        let length = end.max(branch.row_length) as u32;
        lengths.extend(std::iter::repeat_n(length, branch.tokens.len()));
    }
    let positions = Positions::with_row_lengths(positions.into(), lengths.into());
    let heads = decoder.config().heads();
    let (x, branches) = if has_kernels(decoder.device()) {
        let mut over = Over { heads, branches };
        let x = decoder.trunk(&tokens.into(), &positions, &mut over)?;
        (x, over.branches)
    } else {
        let mut over = OverPlaced { branches };
        let x = decoder.trunk(&tokens.into(), &positions, &mut over)?;
        (x, over.branches)
    };
    for branch in branches {
        branch
            .cache
            .advance(branch.tokens.len(), heads.key_value * heads.width);
    }
    Ok(x)
}

/// Branches by how many others of their pass lie before them: those of one generation run side by
/// side.
pub(super) fn generations(branches: &[Branch<'_>]) -> Vec<Vec<usize>> {
    let mut depths: Vec<usize> = Vec::with_capacity(branches.len());
    let mut generations: Vec<Vec<usize>> = Vec::new();
    for (index, branch) in branches.iter().enumerate() {
        let behind = branch.parents.iter().map(|parent| depths[*parent] + 1);
        let depth = behind.max().unwrap_or(0);
        depths.push(depth);
        generations.resize(generations.len().max(depth + 1), Vec::new());
        generations[depth].push(index);
    }
    generations
}

/// New tokens see what lies before their branch, what the branch has cached and one another. Caches
/// lie in main memory.
pub(super) struct Over<'a> {
    heads: Heads,
    pub(super) branches: Vec<Branch<'a>>,
}

impl Over<'_> {
    fn key_row(&self) -> usize {
        self.heads.key_value * self.heads.width
    }

    /// Hands each branch its rows of new keys and values.
    fn remember(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        let key_row = self.key_row();
        let mut start = 0;
        for branch in &mut self.branches {
            let new = start * key_row..(start + branch.tokens.len()) * key_row;
            start += branch.tokens.len();
            if let LayerCache::KeyValue(cache) = &mut branch.cache.layers[layer] {
                cache.extend(&keys[new.clone()], &values[new]);
            }
        }
    }

    /// What the new tokens of one branch see in one layer, first things first.
    fn pieces<'b>(&'b self, branch: &'b Branch<'_>, layer: usize) -> Vec<Piece<'b>> {
        let own: &RowCache = branch.cache;
        let parents = branch
            .parents
            .iter()
            .map(|parent| &*self.branches[*parent].cache);
        branch
            .before
            .iter()
            .copied()
            .chain(parents)
            .chain([own])
            .map(|cache| cache.layers[layer].key_value().piece(self.key_row()))
            .filter(|piece| piece.length > 0)
            .collect()
    }
}

impl Mix for Over<'_> {
    fn attend(
        &mut self,
        layer: usize,
        rule: &AttentionRule,
        q: Tensor,
        k: Tensor,
        v: Tensor,
    ) -> Result<Tensor, DecoderError> {
        let shape = q.shape().clone();
        let (q, k, v) = (q.contiguous()?, k.contiguous()?, v.contiguous()?);
        self.remember(layer, &elements_of(&k)?, &elements_of(&v)?);
        let rows = elements_of(&q)?;
        let query_row = self.heads.query * self.heads.width;
        let mut start = 0;
        let mut queries = Vec::with_capacity(self.branches.len());
        for branch in &self.branches {
            let count = branch.tokens.len();
            let pieces = self.pieces(branch, layer);
            let keys: usize = pieces.iter().map(|piece| piece.length).sum();
            queries.push(Queries {
                rows: &rows[start * query_row..(start + count) * query_row],
                visible: keys - count + 1,
                pieces,
            });
            start += count;
        }
        let out = attend_over(*rule, &queries);
        Ok(Tensor::from_vec(out, shape, &Device::Cpu)?)
    }

    fn recall(&mut self, layer: usize, inputs: DeltaInputs<'_>) -> Result<Tensor, DecoderError> {
        self.recall_rows(layer, &inputs)
    }
}
