//! What a student learns from a row, and how the loss of a batch is made of it.
//!
//! | objective | what a row's targets are held against | source |
//! |---|---|---|
//! | cross-entropy | the reply's tokens | |
//! | soft labels | a teacher's probabilities of the labels, [`soft_labels`] | Hinton et al. 2015 |
//! | top tokens | a teacher's likeliest tokens at each target, [`with_top_tokens`] | Hinton et al. 2015; `MiniLLM`, Gu et al. 2023; GKD, Agarwal et al. 2023 |
//! | top tokens of an API | its `top_logprobs`, [`with_spoken`] | |
//! | on policy | a teacher's probabilities along what the student itself answers, [`OnPolicy`] | GKD; Lu and Thinking Machines 2025, "On-Policy Distillation" |
//! | rationales | replies with and without reasoning, each row by its weight, [`TrainExample::weight`] | Hsieh et al. 2023, "Distilling Step-by-Step" |
//!
//! Soft labels and rationales are matters of the rows: their objectives are those of top tokens and
//! cross-entropy. The loss of a step is the mean over its targets, each counted by its row's weight.
//! Validation is always by cross-entropy of the replies, so that its figures can be compared
//! whatever was trained on.

mod example;
mod labels;
mod on_policy;
mod spoken;
mod teacher;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use candle_core::Tensor;
use distill_student::decoder::{Decoder, DecoderError, PackedTokens};
use distill_student::ops::{Distillation, Divergence, Rest, Target, cross_entropy, distillation};

pub use example::TrainExample;
pub use labels::{LabelProbability, label_sequences, soft_labels};
pub use on_policy::{Estimate, OnPolicy, step_seed};
pub use spoken::{SpokenError, SpokenToken, with_spoken};
pub use teacher::{Teacher, TopTokenSettings, with_top_tokens};

use crate::decoder::TrainError;

/// What the loss of a batch is.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Objective {
    /// Cross-entropy of the reply's tokens.
    #[default]
    CrossEntropy,
    /// Divergence from the top tokens that each row carries; rows without any are learnt by
    /// cross-entropy.
    TopTokens(Distillation),
    /// Divergence from a teacher along the student's own replies.
    OnPolicy(Box<OnPolicy>),
}

impl Objective {
    /// Everything that decides the loss, for the hash that ties a checkpoint to its run.
    pub(crate) fn bits(&self) -> Vec<u64> {
        match self {
            Self::CrossEntropy => vec![0],
            Self::TopTokens(settings) => [vec![1], distillation_bits(settings)].concat(),
            Self::OnPolicy(settings) => [vec![2], settings.bits()].concat(),
        }
    }

    /// Refuses what cannot work, by name.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        match self {
            Self::CrossEntropy => Ok(()),
            Self::TopTokens(settings) => check_distillation(settings),
            Self::OnPolicy(settings) => settings.check(),
        }
    }

    /// The rows that the student itself draws for a step, where the objective asks for them.
    pub(crate) fn drawn(
        &self,
        window: &[Vec<&TrainExample>],
        student: &Decoder,
        seed: u64,
    ) -> Result<Option<Vec<Vec<TrainExample>>>, TrainError> {
        match self {
            Self::CrossEntropy | Self::TopTokens(_) => Ok(None),
            Self::OnPolicy(settings) => settings.draw(window, student, seed).map(Some),
        }
    }

    /// The loss of some rows, packed, times `weight`: a scalar on the tape.
    pub(crate) fn loss(
        &self,
        decoder: &Decoder,
        rows: &[&TrainExample],
        weight: f64,
    ) -> Result<Tensor, TrainError> {
        match self {
            Self::CrossEntropy => Ok(packed_loss(decoder, rows, weight)?),
            Self::TopTokens(settings) => {
                let places = Places::new(rows);
                let hidden = places.hidden(decoder)?;
                let targets = places.targets(rows);
                Ok(distillation(
                    &hidden,
                    decoder.loss_head(),
                    &targets,
                    settings,
                    weight,
                )?)
            }
            Self::OnPolicy(settings) => settings.loss(decoder, rows, weight),
        }
    }
}

fn distillation_bits(settings: &Distillation) -> Vec<u64> {
    let Distillation {
        divergence,
        rest,
        temperature,
        share,
        shared_vocabulary,
    } = settings;
    vec![
        u64::from(*divergence == Divergence::Reverse),
        u64::from(*rest == Rest::Renormalised),
        temperature.to_bits(),
        share.to_bits(),
        *shared_vocabulary as u64,
    ]
}

fn check_distillation(settings: &Distillation) -> Result<(), TrainError> {
    let refused = |name, value: f64, reason| {
        Err(TrainError::Setting {
            name,
            value: value.to_string(),
            reason,
        })
    };
    if !(settings.temperature > 0.0 && settings.temperature <= 1e3) {
        return refused(
            "objective.temperature",
            settings.temperature,
            "it must be above 0 and at most 1000",
        );
    }
    if !(settings.share > 0.0 && settings.share <= 1.0) {
        return refused(
            "objective.share",
            settings.share,
            "it must be above 0 and at most 1",
        );
    }
    Ok(())
}

/// Where the targets of some rows lie, packed.
struct Places {
    packed: PackedTokens,
    /// The packed token that each target is predicted from.
    sources: Arc<[u32]>,
    /// The targets' own tokens.
    tokens: Vec<u32>,
}

impl Places {
    fn new(rows: &[&TrainExample]) -> Self {
        // The last token of a row is only ever a target.
        let inputs = |row: &TrainExample| row.tokens.len() - 1;
        let packed = PackedTokens::new(rows.iter().map(|row| &row.tokens[..inputs(row)]));
        let (mut sources, mut tokens) = (Vec::new(), Vec::new());
        for (row, segment) in rows.iter().zip(packed.segments().iter()) {
            for at in row.first_target()..row.tokens.len() {
                sources.push((segment.start + at - 1) as u32);
                tokens.push(row.tokens[at]);
            }
        }
        Self {
            packed,
            sources: sources.into(),
            tokens,
        }
    }

    /// The hidden states that predict the targets, (N, D).
    fn hidden(&self, decoder: &Decoder) -> Result<Tensor, DecoderError> {
        decoder.hidden_rows(&self.packed, &self.sources)
    }

    /// The targets with what each row says of them; the rows are those that it was made of.
    fn targets<'a>(&self, rows: &[&'a TrainExample]) -> Vec<Target<'a>> {
        let mut tokens = self.tokens.iter();
        let mut targets = Vec::with_capacity(self.tokens.len());
        for row in rows {
            targets.extend(
                tokens
                    .by_ref()
                    .take(row.targets())
                    .enumerate()
                    .map(|(at, &token)| Target {
                        token,
                        weight: row.weight * row.drawn.as_ref().map_or(1.0, |drawn| drawn[at]),
                        teacher: row.teacher.as_ref().map(|teacher| &teacher[at]),
                    }),
            );
        }
        targets
    }
}

/// The loss of some rows, packed: `weight * Σ w * -log p(target)`, a scalar, w being the weight of the
/// target's row. For a mean, `weight` is one over the sum of w over the whole optimizer step.
pub fn packed_loss(
    decoder: &Decoder,
    rows: &[&TrainExample],
    weight: f64,
) -> Result<Tensor, DecoderError> {
    let places = Places::new(rows);
    let hidden = places.hidden(decoder)?; // (N, D)
    if rows
        .iter()
        .all(|row| row.weight.to_bits() == 1.0f32.to_bits())
    {
        return Ok(cross_entropy(
            &hidden,
            decoder.loss_head(),
            &places.tokens,
            weight,
        )?);
    }
    let mut targets = places.targets(rows);
    for target in &mut targets {
        target.teacher = None;
    }
    let settings = by_tokens(decoder);
    Ok(distillation(
        &hidden,
        decoder.loss_head(),
        &targets,
        &settings,
        weight,
    )?)
}

/// Settings for rows that are learnt by their own tokens alone.
fn by_tokens(decoder: &Decoder) -> Distillation {
    Distillation {
        divergence: Divergence::Forward,
        rest: Rest::Bucket,
        temperature: 1.0,
        share: 1.0,
        shared_vocabulary: decoder.config().vocab_size,
    }
}
