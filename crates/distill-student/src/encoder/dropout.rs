//! What an encoder drops in a training step: at the places and the rates of its configuration, as
//! transformers does. Off them, and wherever nothing is learnt, nothing is dropped.

use std::sync::Arc;

use candle_core::{D, Tensor};

use crate::decoder::DecoderError;
use crate::decoder::config::fields::Fields;
use crate::lora::Dropout;
use crate::ops::{AttentionRule, Segment};

/// Shares that are dropped, each at least 0 and below 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DropoutRates {
    /// Of the embeddings, behind their norm.
    pub embeddings: f64,
    /// Of the attention's probabilities.
    pub attention: f64,
    /// Of what the attention gives.
    pub attended: f64,
    /// Of the feed-forward's inner values.
    pub inner: f64,
    /// Of what the feed-forward gives.
    pub fed_forward: f64,
    /// Of what the classifier sees.
    pub classifier: f64,
}

impl DropoutRates {
    pub(super) fn of_bert(fields: Fields<'_>) -> Result<Self, DecoderError> {
        let hidden = rate(fields, "hidden_dropout_prob", 0.1)?;
        Ok(Self {
            embeddings: hidden,
            attention: rate(fields, "attention_probs_dropout_prob", 0.1)?,
            attended: hidden,
            inner: 0.0,
            fed_forward: hidden,
            classifier: rate(fields, "classifier_dropout", hidden)?,
        })
    }

    pub(super) fn of_modern_bert(fields: Fields<'_>) -> Result<Self, DecoderError> {
        let attention = rate(fields, "attention_dropout", 0.0)?;
        Ok(Self {
            embeddings: rate(fields, "embedding_dropout", 0.0)?,
            attention,
            attended: attention,
            inner: rate(fields, "mlp_dropout", 0.0)?,
            fed_forward: 0.0,
            classifier: rate(fields, "classifier_dropout", 0.0)?,
        })
    }

    fn any(self) -> bool {
        self != Self::default()
    }
}

fn rate(fields: Fields<'_>, name: &str, usual: f64) -> Result<f64, DecoderError> {
    let Some(written) = fields.present(name) else {
        return Ok(usual);
    };
    match written.as_f64().filter(|rate| (0.0..1.0).contains(rate)) {
        Some(rate) => Ok(rate),
        None => Err(fields.refuse(name, written.clone(), "it is no share below 1")),
    }
}

/// The dropout of an encoder in training. Clones share the batch.
#[derive(Debug, Clone)]
pub struct EncoderDropout {
    rates: DropoutRates,
    /// Of what the updates of an adapter see.
    adapter: Dropout,
}

impl EncoderDropout {
    /// `adapter` is the share of its inputs that an update does not see. None where nothing at all
    /// is dropped.
    pub fn new(rates: DropoutRates, adapter: f64) -> Option<Self> {
        (rates.any() || adapter > 0.0).then(|| Self {
            rates,
            adapter: Dropout::new(adapter),
        })
    }

    /// Chooses what the next batch drops; the same three numbers choose the same.
    pub fn begin(&self, seed: u64, step: u64, batch: u64) {
        self.adapter.begin(seed, step, batch);
    }

    pub(super) fn rates(&self) -> DropoutRates {
        self.rates
    }

    pub(super) fn adapter(&self) -> Option<&Dropout> {
        (self.adapter.rate() > 0.0).then_some(&self.adapter)
    }

    pub(super) fn place(&self, rate: f64, number: u64) -> Place {
        Place((rate > 0.0).then(|| (self.adapter.with_rate(rate), number)))
    }
}

/// One place where values may be dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Place(Option<(Dropout, u64)>);

impl Place {
    /// # Shapes
    /// - `x`: any; returns the same
    pub(super) fn forward(&self, x: Tensor) -> Result<Tensor, DecoderError> {
        match &self.0 {
            None => Ok(x),
            Some((dropout, number)) => Ok(dropout.apply(&x, *number)?),
        }
    }

    /// Attention whose probabilities are dropped, a row of the batch at a time; none where nothing
    /// is dropped.
    ///
    /// # Shapes
    /// - `q`, `k`, `v`: (T, H * E); returns the same
    pub(super) fn attention(
        &self,
        [q, k, v]: [&Tensor; 3],
        rule: &AttentionRule,
        segments: &Arc<[Segment]>,
    ) -> Result<Option<Tensor>, DecoderError> {
        let Some((dropout, number)) = &self.0 else {
            return Ok(None);
        };
        let heads = rule.heads;
        let rows = (0u64..).zip(segments.iter()).map(|(row, segment)| {
            let length = segment.length;
            let split = |x: &Tensor| {
                x.narrow(0, segment.start, length)?
                    .reshape((length, heads.query, heads.width))?
                    .transpose(0, 1)?
                    .contiguous() // (L, H * E) → (H, L, E)
            };
            let scores = (split(q)?.matmul(&split(k)?.t()?)? * f64::from(rule.scale))?;
            let scores = match rule.window {
                None => scores,
                Some(window) => scores.broadcast_add(&near(length, window, q)?)?,
            };
            let shares = candle_nn::ops::softmax(&scores, D::Minus1)?; // (H, L, L)
            let seen = dropout.apply(&shares, number.wrapping_add(row))?;
            let mixed = seen.matmul(&split(v)?)?.transpose(0, 1)?;
            Ok(mixed.reshape((length, heads.query * heads.width))?)
        });
        let rows = rows.collect::<Result<Vec<_>, DecoderError>>()?;
        Ok(Some(Tensor::cat(&rows, 0)?))
    }
}

/// What is added to the scores of tokens that are too far from one another, (1, L, L).
fn near(length: usize, window: usize, like: &Tensor) -> Result<Tensor, DecoderError> {
    let far = |at: usize| {
        let apart = (at / length).abs_diff(at % length);
        if apart < window {
            0.0
        } else {
            f32::NEG_INFINITY
        }
    };
    let mask: Vec<f32> = (0..length * length).map(far).collect();
    Ok(Tensor::from_vec(mask, (1, length, length), like.device())?)
}
