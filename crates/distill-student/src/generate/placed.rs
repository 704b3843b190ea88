//! A pass over caches that lie where the model runs, in candle's operations: nothing of them goes
//! through main memory.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use super::cache::{LayerCache, RowCache};
use super::pass::Branch;
use crate::decoder::{DecoderError, DeltaInputs, Mix};
use crate::ops::{
    AttentionRule, KeySpan, Segment, attend_over_tables, convolve_behind, gated_delta_from,
    memories,
};

/// Rows that a table has room for when it is first filled.
const ROOM: usize = 32;

/// Keys and values of one layer, rows of K * E. Rows are written into room that is there already;
/// a table that is full is made anew with twice the room.
#[derive(Debug, Default)]
pub(super) struct PlacedKeys {
    /// Keys and values, (room, K * E) each.
    tables: Option<[Tensor; 2]>,
    /// The first row that is still seen.
    start: usize,
    length: usize,
    pub(super) window: Option<usize>,
}

impl PlacedKeys {
    pub(super) fn new(window: Option<usize>) -> Self {
        Self {
            window,
            ..Self::default()
        }
    }

    fn extend(&mut self, new: [Tensor; 2]) -> Result<(), DecoderError> {
        let (count, width) = new[0].dims2()?;
        if count == 0 {
            return Ok(());
        }
        let room = self
            .tables
            .as_ref()
            .map_or(Ok(0), |[keys, _]| keys.dim(0))?;
        if self.start + self.length + count > room {
            self.grow(
                (2 * self.length).max(self.length + count).max(ROOM),
                width,
                &new[0],
            )?;
        }
        let at = self.start + self.length;
        for (table, new) in self.tables.iter().flatten().zip(new) {
            // A copy: rows that are part of a larger tensor are no table of their own.
            table.slice_set(&new.force_contiguous()?, 0, at)?;
        }
        self.length += count;
        Ok(())
    }

    /// Moves what is held to the front of tables with so much room.
    fn grow(&mut self, room: usize, width: usize, like: &Tensor) -> Result<(), DecoderError> {
        let fresh = || Tensor::zeros((room, width), DType::F32, like.device());
        let tables = [fresh()?, fresh()?];
        if let Some(old) = self.held()? {
            for (table, old) in tables.iter().zip(old) {
                table.slice_set(&old, 0, 0)?;
            }
        }
        (self.tables, self.start) = (Some(tables), 0);
        Ok(())
    }

    /// Keys and values; none before the first.
    fn held(&self) -> Result<Option<[Tensor; 2]>, DecoderError> {
        let Some([keys, values]) = self.tables.as_ref().filter(|_| self.length > 0) else {
            return Ok(None);
        };
        let part = |table: &Tensor| table.narrow(0, self.start, self.length);
        Ok(Some([part(keys)?, part(values)?]))
    }

    /// Drops what no later token sees.
    pub(super) fn trim(&mut self) {
        if let Some(window) = self.window {
            // The next query sees itself and one less than the window before it.
            let needed = window.saturating_sub(1);
            let dropped = self.length.saturating_sub(needed);
            self.start += dropped;
            self.length -= dropped;
        }
    }

    #[cfg(test)]
    pub(super) fn elements(&self) -> usize {
        let width = |[keys, _]: &[Tensor; 2]| keys.dim(1).unwrap();
        2 * self.length * self.tables.as_ref().map_or(0, width)
    }
}

/// What a delta net remembers.
#[derive(Debug, Clone)]
pub(super) struct PlacedDelta {
    /// The inputs that the convolution still needs, (W - 1, C).
    tail: Tensor,
    /// (value heads, key width, value width)
    state: Tensor,
}

impl PlacedDelta {
    #[cfg(test)]
    pub(super) fn elements(&self) -> usize {
        self.tail.elem_count() + self.state.elem_count()
    }
}

/// New tokens see what lies before their branch, what the branch has cached and one another.
pub(super) struct OverPlaced<'a> {
    pub(super) branches: Vec<Branch<'a>>,
}

impl OverPlaced<'_> {
    /// The caches that a branch goes on from, first things first, its own last.
    fn behind<'b>(&'b self, branch: &'b Branch<'_>) -> impl Iterator<Item = &'b RowCache> {
        let parents = branch.parents.iter();
        let parents = parents.map(|parent| &*self.branches[*parent].cache);
        let own: &RowCache = branch.cache;
        branch.before.iter().copied().chain(parents).chain([own])
    }

    /// The keys and values that this pass looks at, each once, and what each branch sees of them.
    fn tables(&self, layer: usize) -> Result<([Tensor; 2], Vec<KeySpan>), DecoderError> {
        let (mut keys, mut values, mut rows) = (Vec::new(), Vec::new(), 0);
        let mut places: HashMap<*const RowCache, std::ops::Range<usize>> = HashMap::new();
        let mut spans = Vec::with_capacity(self.branches.len());
        let mut start = 0;
        for branch in &self.branches {
            let mut seen = Vec::new();
            for cache in self.behind(branch) {
                let at: *const RowCache = cache;
                if let Some(known) = places.get(&at) {
                    seen.push(known.clone());
                    continue;
                }
                let LayerCache::PlacedKeys(held) = &cache.layers[layer] else {
                    continue;
                };
                if let Some([key, value]) = held.held()? {
                    let here = rows..rows + key.dim(0)?;
                    rows = here.end;
                    keys.push(key);
                    values.push(value);
                    places.insert(at, here.clone());
                    seen.push(here);
                }
            }
            let count = branch.tokens.len();
            let all: usize = seen.iter().map(ExactSizeIterator::len).sum();
            spans.push(KeySpan {
                queries: start..start + count,
                keys: seen,
                first: all - count,
            });
            start += count;
        }
        let tables = [Tensor::cat(&keys, 0)?, Tensor::cat(&values, 0)?];
        Ok((tables, spans))
    }

    /// What a branch's delta net goes on from: its own memory, that of what lies before it, or an
    /// empty one.
    fn begun(
        &self,
        layer: usize,
        branch: &Branch<'_>,
        inputs: &DeltaInputs<'_>,
    ) -> Result<PlacedDelta, DecoderError> {
        let behind: Vec<&RowCache> = self.behind(branch).collect();
        let known = behind
            .iter()
            .rev()
            .find_map(|cache| match &cache.layers[layer] {
                LayerCache::PlacedDelta(held) => held.clone(),
                _ => None,
            });
        if let Some(known) = known {
            return Ok(known);
        }
        let (config, mixed) = (inputs.config, &inputs.mixed);
        let tail = (config.taps - 1, config.heads.mixed_row());
        Ok(PlacedDelta {
            tail: Tensor::zeros(tail, mixed.dtype(), mixed.device())?,
            state: memories(config.heads, 1, mixed)?.squeeze(0)?,
        })
    }

    /// Branches by how many others of this pass lie before them.
    fn generations(&self) -> Vec<Vec<usize>> {
        super::pass::generations(&self.branches)
    }
}

fn indices(rows: Vec<u32>, device: &Device) -> Result<Tensor, DecoderError> {
    let count = rows.len();
    Ok(Tensor::from_vec(rows, count, device)?)
}

impl Mix for OverPlaced<'_> {
    fn attend(
        &mut self,
        layer: usize,
        rule: &AttentionRule,
        q: Tensor,
        k: Tensor,
        v: Tensor,
    ) -> Result<Tensor, DecoderError> {
        let mut start = 0;
        for branch in &mut self.branches {
            let count = branch.tokens.len();
            let new = [k.narrow(0, start, count)?, v.narrow(0, start, count)?];
            start += count;
            if let LayerCache::PlacedKeys(cache) = &mut branch.cache.layers[layer] {
                cache.extend(new)?;
            }
        }
        let ([keys, values], spans) = self.tables(layer)?;
        let q = q.contiguous()?;
        Ok(attend_over_tables(*rule, &q, &keys, &values, &spans)?)
    }

    fn recall(&mut self, layer: usize, inputs: DeltaInputs<'_>) -> Result<Tensor, DecoderError> {
        let device = inputs.mixed.device();
        let mut starts = Vec::with_capacity(self.branches.len());
        let mut tokens = 0;
        for branch in &self.branches {
            starts.push(tokens);
            tokens += branch.tokens.len();
        }
        let (mut answers, mut back, mut done) = (Vec::new(), vec![0u32; tokens], 0);
        for members in self.generations() {
            let (mut rows, mut segments, mut held) = (Vec::new(), Vec::new(), Vec::new());
            for index in &members {
                let branch = &self.branches[*index];
                let length = branch.tokens.len();
                segments.push(Segment {
                    start: rows.len(),
                    length,
                });
                for (place, back) in back[starts[*index]..][..length].iter_mut().enumerate() {
                    *back = (done + rows.len()) as u32;
                    rows.push((starts[*index] + place) as u32);
                }
                held.push(self.begun(layer, branch, &inputs)?);
            }
            done += rows.len();
            let rows = indices(rows, device)?;
            let chosen = |x: &Tensor| x.contiguous()?.index_select(&rows, 0);
            let stacked = |of: fn(&PlacedDelta) -> &Tensor| {
                let all: Vec<&Tensor> = held.iter().map(of).collect();
                Tensor::stack(&all, 0)
            };
            let (tails, states) = (stacked(|held| &held.tail)?, stacked(|held| &held.state)?);
            let convolution = inputs.convolution.contiguous()?;
            let mixed = chosen(&inputs.mixed)?;
            let (mixed, tails) = convolve_behind(&mixed, &convolution, &segments, &tails)?;
            let (decay, beta) = (chosen(&inputs.log_decay)?, chosen(&inputs.beta)?);
            let heads = inputs.config.heads;
            let (answer, states) =
                gated_delta_from(&mixed, &decay, &beta, heads, &segments, &states)?;
            answers.push(answer);
            for (place, index) in members.iter().enumerate() {
                let after = PlacedDelta {
                    tail: tails.get(place)?,
                    state: states.get(place)?,
                };
                self.branches[*index].cache.layers[layer] = LayerCache::PlacedDelta(Some(after));
            }
        }
        let back = indices(back, device)?;
        Ok(Tensor::cat(&answers, 0)?.index_select(&back, 0)?)
    }
}
