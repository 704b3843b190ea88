//! A trained encoder with its tokenizer: texts in, labels out.

use candle_core::{D, Tensor};

use super::{EncodedText, Encoder, EncoderRows, EncoderTokenizer, EncoderWeights};
use crate::decoder::DecoderError;
use crate::lora::LoraAdapter;
use crate::tokenizer::TokenizerError;

/// Tokens that run together.
const PASS_TOKENS: usize = 4096;

/// A label and how sure the student is of it.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderPrediction {
    /// Index into the labels.
    pub label: usize,
    /// Natural log of its probability.
    pub log_probability: f64,
}

/// An encoder that answers.
#[derive(Debug, Clone)]
pub struct EncoderStudent {
    weights: EncoderWeights,
    /// What was trained, where it was an adapter: its updates are in the weights.
    adapter: Option<LoraAdapter>,
    encoder: Encoder,
    tokenizer: EncoderTokenizer,
}

impl EncoderStudent {
    /// # Errors
    /// The tokenizer knows more tokens than the model, or a tensor is missing.
    pub fn new(weights: EncoderWeights, tokenizer: EncoderTokenizer) -> Result<Self, DecoderError> {
        tokenizer.check(weights.config())?;
        Ok(Self {
            encoder: Encoder::new(&weights)?,
            weights,
            adapter: None,
            tokenizer,
        })
    }

    /// A base with an adapter, whose updates are added to the weights once.
    ///
    /// # Errors
    /// As [`Self::new`], and where the adapter does not fit.
    pub fn adapted(
        base: &EncoderWeights,
        adapter: LoraAdapter,
        tokenizer: EncoderTokenizer,
    ) -> Result<Self, DecoderError> {
        let mut student = Self::new(base.merge(&adapter)?, tokenizer)?;
        student.adapter = Some(adapter);
        Ok(student)
    }

    pub fn labels(&self) -> &[String] {
        &self.weights.config().labels
    }

    /// The adapter that was trained, if one was.
    pub fn adapter(&self) -> Option<&LoraAdapter> {
        self.adapter.as_ref()
    }

    /// The weights that answer, updates included.
    pub fn weights(&self) -> &EncoderWeights {
        &self.weights
    }

    pub fn tokenizer(&self) -> &EncoderTokenizer {
        &self.tokenizer
    }

    /// A text as this student reads it.
    pub fn encode(&self, text: &str) -> Result<EncodedText, TokenizerError> {
        self.tokenizer.encode(text)
    }

    /// The most probable label of each text, in their order. Ties go to the label listed first.
    pub fn predict(&self, texts: &[EncodedText]) -> Result<Vec<EncoderPrediction>, DecoderError> {
        let scores = self.scores(texts)?;
        Ok(scores.iter().map(|row| best(row)).collect())
    }

    /// The natural log of each label's probability for each text, in the order of the labels.
    pub fn scores(&self, texts: &[EncodedText]) -> Result<Vec<Vec<f64>>, DecoderError> {
        let mut out = Vec::with_capacity(texts.len());
        let mut rest = texts;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fitting = rest.iter().take_while(|text| {
                tokens += text.tokens.len();
                tokens <= PASS_TOKENS
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            rest = later;
            let logits = self.encoder.logits(&EncoderRows::new(now))?;
            let first = texts.len() - later.len() - now.len();
            check_finite(&logits, first, now)?;
            let scores = candle_nn::ops::log_softmax(&logits, D::Minus1)?;
            let rows = scores.to_vec2::<f32>()?;
            out.extend(
                rows.into_iter()
                    .map(|row| row.into_iter().map(f64::from).collect()),
            );
        }
        Ok(out)
    }
}

/// Refuses logits, (B, labels), among which one is not finite; `first` is the place of their
/// first text.
fn check_finite(logits: &Tensor, first: usize, texts: &[EncodedText]) -> Result<(), DecoderError> {
    let rows = logits.to_vec2::<f32>()?;
    match rows
        .iter()
        .position(|row| !row.iter().all(|l| l.is_finite()))
    {
        None => Ok(()),
        Some(at) => Err(DecoderError::LogitNotFinite {
            row: first + at,
            tokens: texts[at].tokens.len(),
        }),
    }
}

fn best(scores: &[f64]) -> EncoderPrediction {
    let mut label = 0;
    for (index, score) in scores.iter().enumerate() {
        if *score > scores[label] {
            label = index;
        }
    }
    EncoderPrediction {
        label,
        log_probability: scores.get(label).copied().unwrap_or_default(),
    }
}
