//! Keys and values of tokens that have been run.

use candle_core::Tensor;

use crate::decoder::{DecoderError, Mix};
use crate::ops::{Heads, Piece, Queries, attend_over, elements_of};

/// What one row has left behind, per layer, rows of K * E.
#[derive(Debug, Clone)]
pub(super) struct RowCache {
    layers: Vec<Layer>,
    length: usize,
}

#[derive(Debug, Clone, Default)]
struct Layer {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl RowCache {
    pub(super) fn new(layers: usize) -> Self {
        Self {
            layers: vec![Layer::default(); layers],
            length: 0,
        }
    }

    /// Tokens that it holds in every layer.
    pub(super) fn length(&self) -> usize {
        self.length
    }
}

/// One pass over some rows: their new tokens see the shared prefix, what the row has cached and
/// one another.
pub(super) struct Over<'a> {
    heads: Heads,
    shared: &'a RowCache,
    rows: Vec<&'a mut RowCache>,
    /// New tokens of each row.
    counts: Vec<usize>,
}

impl<'a> Over<'a> {
    pub(super) fn new(
        heads: Heads,
        shared: &'a RowCache,
        rows: Vec<&'a mut RowCache>,
        counts: Vec<usize>,
    ) -> Self {
        Self {
            heads,
            shared,
            rows,
            counts,
        }
    }
}

impl Mix for Over<'_> {
    fn mix(
        &mut self,
        layer: usize,
        q: Tensor,
        k: Tensor,
        v: Tensor,
    ) -> Result<Tensor, DecoderError> {
        let (key_row, query_row) = (
            self.heads.key_value * self.heads.width,
            self.heads.query * self.heads.width,
        );
        let (q_values, k_values, v_values) = (elements_of(&q)?, elements_of(&k)?, elements_of(&v)?);
        let mut start = 0;
        for (row, count) in self.rows.iter_mut().zip(&self.counts) {
            let new = start * key_row..(start + count) * key_row;
            let cached = &mut row.layers[layer];
            cached.keys.extend_from_slice(&k_values[new.clone()]);
            cached.values.extend_from_slice(&v_values[new]);
            start += count;
            row.length = cached.keys.len() / key_row;
        }
        let shared = keys(&self.shared.layers[layer], key_row);
        let mut start = 0;
        let queries: Vec<Queries<'_>> = self
            .rows
            .iter()
            .zip(&self.counts)
            .map(|(row, count)| {
                let own = keys(&row.layers[layer], key_row);
                let rows = &q_values[start * query_row..(start + count) * query_row];
                start += count;
                Queries {
                    rows,
                    visible: shared.length + own.length - count + 1,
                    pieces: vec![shared, own],
                }
            })
            .collect();
        let out = attend_over(self.heads, &queries);
        Ok(Tensor::from_vec(out, q.shape().clone(), q.device())?)
    }
}

fn keys(layer: &Layer, key_row: usize) -> Piece<'_> {
    Piece {
        keys: &layer.keys,
        values: &layer.values,
        length: layer.keys.len() / key_row,
    }
}
