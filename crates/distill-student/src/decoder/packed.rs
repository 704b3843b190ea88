//! Rows of tokens laid end to end: no padding, each row its own attention block.

use std::sync::Arc;

use super::{DecoderConfig, DecoderError};
use crate::ops::{Positions, Segment};

/// A packed batch. Positions start again at 0 in each row.
#[derive(Debug, Clone)]
pub struct PackedTokens {
    tokens: Arc<[u32]>,
    positions: Arc<[u32]>,
    segments: Arc<[Segment]>,
}

impl PackedTokens {
    pub fn new<'a>(rows: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let (mut tokens, mut positions, mut segments) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            segments.push(Segment {
                start: tokens.len(),
                length: row.len(),
            });
            tokens.extend_from_slice(row);
            positions.extend(0..row.len() as u32);
        }
        Self {
            tokens: tokens.into(),
            positions: positions.into(),
            segments: segments.into(),
        }
    }

    pub fn tokens(&self) -> &Arc<[u32]> {
        &self.tokens
    }

    pub fn positions(&self) -> &Arc<[u32]> {
        &self.positions
    }

    /// The positions, with the length of each token's row.
    pub(crate) fn placed(&self) -> Positions {
        let lengths = self.segments.iter();
        let lengths = lengths.flat_map(|s| std::iter::repeat_n(s.length as u32, s.length));
        Positions::with_row_lengths(Arc::clone(&self.positions), lengths.collect())
    }

    pub fn segments(&self) -> &Arc<[Segment]> {
        &self.segments
    }

    /// Refuses what the model cannot take, naming the row.
    pub(super) fn check(&self, config: &DecoderConfig) -> Result<(), DecoderError> {
        for (row, segment) in self.segments.iter().enumerate() {
            let tokens = &self.tokens[segment.start..segment.start + segment.length];
            check_row(row, tokens, config)?;
        }
        Ok(())
    }
}

/// Refuses a row that is empty, too long or outside the vocabulary.
pub(crate) fn check_row(
    row: usize,
    tokens: &[u32],
    config: &DecoderConfig,
) -> Result<(), DecoderError> {
    if tokens.is_empty() {
        return Err(DecoderError::EmptyRow { row });
    }
    if tokens.len() > config.max_position_embeddings {
        return Err(DecoderError::TooLong {
            row,
            tokens: tokens.len(),
            limit: config.max_position_embeddings,
        });
    }
    match tokens.iter().find(|t| **t as usize >= config.vocab_size) {
        Some(&token) => Err(DecoderError::UnknownToken {
            row,
            token,
            vocabulary: config.vocab_size,
        }),
        None => Ok(()),
    }
}
