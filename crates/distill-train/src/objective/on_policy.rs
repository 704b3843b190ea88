//! On-policy distillation: the student answers, a teacher says of each of its tokens how likely
//! it is, and the student moves towards the teacher where it itself goes (GKD, Agarwal et al. 2023,
//! arXiv:2306.13649; `MiniLLM`, Gu et al. 2023, arXiv:2306.08543; Lu and Thinking Machines 2025).
//!
//! No gradient goes through the drawing. Each token is held against the teacher by itself, as all three
//! do in practice: what an early token makes of later ones (a discount above 0) is left out.

use std::sync::Arc;

use candle_core::Tensor;
use distill_student::decoder::Decoder;
use distill_student::generate::{Draws, Finish, GenerateSettings, Sampling, generate};
use distill_student::ops::{
    Distillation, WholeTeacher, distillation, token_log_probabilities, whole_distillation,
};
use distill_student::splitmix::{STEP, mix};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Places, Teacher, TrainExample, by_tokens, check_distillation, distillation_bits, packed_loss,
};
use crate::decoder::TrainError;

/// How the divergence along a drawn reply is estimated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Estimate {
    /// From all probabilities of teacher and student at each place: exact given what precedes it (GKD).
    #[default]
    Whole,
    /// From the drawn token alone: log p - log q is the reverse divergence in expectation, and its
    /// negative weighs the token as an advantage (Lu and Thinking Machines 2025). Only the teacher's
    /// probability of one token is needed; the gradient varies more.
    Drawn,
}

/// A student's own replies held against a teacher.
#[derive(Debug, Clone, PartialEq)]
pub struct OnPolicy {
    pub teacher: Teacher,
    pub estimate: Estimate,
    /// Of the whole estimate: divergence, temperature and shared vocabulary. Its share is that of the
    /// divergence on rows that keep their own replies; on drawn ones the divergence is all.
    pub distillation: Distillation,
    /// Share of a step's rows that the student answers itself (λ of GKD); the others keep their
    /// replies, and are held against the teacher too (whole) or learnt by cross-entropy (drawn).
    pub student_share: f64,
    /// Of the drawing.
    pub sampling_temperature: f32,
    pub max_new_tokens: usize,
    /// Any of these ends a reply.
    pub stop_tokens: Vec<u32>,
}

impl OnPolicy {
    pub(super) fn bits(&self) -> Vec<u64> {
        let Self {
            teacher,
            estimate,
            distillation,
            student_share,
            sampling_temperature,
            max_new_tokens,
            stop_tokens,
        } = self;
        let mut bits = teacher.bits();
        bits.push(u64::from(*estimate == Estimate::Drawn));
        bits.extend(distillation_bits(distillation));
        bits.extend([
            student_share.to_bits(),
            u64::from(sampling_temperature.to_bits()),
        ]);
        bits.push(*max_new_tokens as u64);
        bits.extend(stop_tokens.iter().map(|token| u64::from(*token)));
        bits
    }

    pub(super) fn check(&self) -> Result<(), TrainError> {
        check_distillation(&self.distillation)?;
        let refused = |name, value: &dyn ToString, reason| {
            Err(TrainError::Setting {
                name,
                value: value.to_string(),
                reason,
            })
        };
        let temperature = self.sampling_temperature;
        if !(self.student_share > 0.0 && self.student_share <= 1.0) {
            return refused(
                "objective.student_share",
                &self.student_share,
                "it must be above 0 and at most 1",
            );
        }
        if !(temperature > 0.0 && temperature <= 10.0) {
            return refused(
                "objective.sampling_temperature",
                &temperature,
                "it must be above 0 and at most 10",
            );
        }
        if self.estimate == Estimate::Drawn && (temperature - 1.0).abs() > f32::EPSILON {
            return refused(
                "objective.sampling_temperature",
                &temperature,
                "the estimate from drawn tokens holds at 1 only",
            );
        }
        if self.max_new_tokens == 0 {
            return refused("objective.max_new_tokens", &0, "it must be at least 1");
        }
        Ok(())
    }

    /// The rows of a step, those that the student answers with its replies of this seed.
    pub(super) fn draw(
        &self,
        window: &[Vec<&TrainExample>],
        student: &Decoder,
        seed: u64,
    ) -> Result<Vec<Vec<TrainExample>>, TrainError> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let rows: Vec<&TrainExample> = window.iter().flatten().copied().collect();
        let answered: Vec<bool> = rows
            .iter()
            .map(|_| random.random::<f64>() < self.student_share)
            .collect();
        let prompts: Vec<Vec<u32>> = rows
            .iter()
            .zip(&answered)
            .filter(|(_, answered)| **answered)
            .map(|(row, _)| row.prompt().to_vec())
            .collect();
        let settings = GenerateSettings {
            max_new_tokens: self.max_new_tokens,
            stop_tokens: self.stop_tokens.clone(),
            sampling: Sampling::Sampled(Draws {
                temperature: self.sampling_temperature,
                seed,
                ..Draws::default()
            }),
            ..GenerateSettings::default()
        };
        let mut replies = generate(student, &prompts, &settings)?.into_iter();
        let mut flat = rows.iter().zip(answered).map(|(row, answered)| {
            let reply = if answered { replies.next() } else { None };
            match reply {
                Some(reply) => {
                    let mut tokens = reply.tokens;
                    if let Finish::Stop(token) = reply.finish {
                        tokens.push(token);
                    }
                    self.with_reply(row, &tokens, &reply.log_probabilities)
                }
                None => (*row).clone(),
            }
        });
        let mut drawn: Vec<Vec<TrainExample>> = window
            .iter()
            .map(|batch| flat.by_ref().take(batch.len()).collect())
            .collect();
        if self.estimate == Estimate::Drawn {
            for batch in &mut drawn {
                self.score(batch)?;
            }
        }
        Ok(drawn)
    }

    /// The row with a drawn reply, which ends before a token that the teacher does not know. Where
    /// nothing is left, the row keeps its own. What each token counts is the student's
    /// log-probability of it until the teacher has spoken.
    pub(super) fn with_reply(
        &self,
        row: &TrainExample,
        reply: &[u32],
        scores: &[f32],
    ) -> TrainExample {
        let shared = self.distillation.shared_vocabulary;
        let known = reply
            .iter()
            .take_while(|token| (**token as usize) < shared)
            .count();
        if known == 0 {
            return row.clone();
        }
        TrainExample {
            tokens: [row.prompt(), &reply[..known]].concat(),
            loss_from: row.loss_from,
            weight: row.weight,
            teacher: None,
            drawn: Some(match self.estimate {
                Estimate::Whole => Arc::from(vec![1.0; known]),
                Estimate::Drawn => Arc::from(&scores[..known]),
            }),
        }
    }

    /// Turns the student's log-probabilities of drawn tokens into log q - log p.
    pub(super) fn score(&self, batch: &mut [TrainExample]) -> Result<(), TrainError> {
        let mut drawn: Vec<&mut TrainExample> =
            batch.iter_mut().filter(|row| row.drawn.is_some()).collect();
        if drawn.is_empty() {
            return Ok(());
        }
        let rows: Vec<&TrainExample> = drawn.iter().map(|row| &**row).collect();
        let places = Places::new(&rows);
        let decoder = self.teacher.decoder();
        let hidden = places.hidden(decoder)?;
        let shared = self.distillation.shared_vocabulary;
        let mut scores =
            token_log_probabilities(&hidden, decoder.loss_head(), &places.tokens, shared)?
                .into_iter();
        for row in &mut drawn {
            let own = row.drawn.take().unwrap_or_default();
            row.drawn = Some(
                own.iter()
                    .zip(scores.by_ref())
                    .map(|(p, q)| q - p)
                    .collect(),
            );
        }
        Ok(())
    }

    pub(super) fn loss(
        &self,
        decoder: &Decoder,
        rows: &[&TrainExample],
        weight: f64,
    ) -> Result<Tensor, TrainError> {
        let (drawn, kept): (Vec<&TrainExample>, Vec<&TrainExample>) =
            rows.iter().partition(|row| row.drawn.is_some());
        match self.estimate {
            Estimate::Whole => {
                let all = Distillation {
                    share: 1.0,
                    ..self.distillation
                };
                let drawn = self.whole(decoder, &drawn, &all, weight)?;
                let kept = self.whole(decoder, &kept, &self.distillation, weight)?;
                sum(drawn, kept)
            }
            Estimate::Drawn => {
                let drawn = advantages(decoder, &drawn, weight)?;
                let kept = if kept.is_empty() {
                    None
                } else {
                    Some(packed_loss(decoder, &kept, weight)?)
                };
                sum(drawn, kept)
            }
        }
    }

    fn whole(
        &self,
        decoder: &Decoder,
        rows: &[&TrainExample],
        settings: &Distillation,
        weight: f64,
    ) -> Result<Option<Tensor>, TrainError> {
        if rows.is_empty() {
            return Ok(None);
        }
        let places = Places::new(rows);
        let taught = places.hidden(self.teacher.decoder())?;
        let teacher = WholeTeacher {
            hidden: &taught,
            head: self.teacher.decoder().loss_head(),
        };
        let hidden = places.hidden(decoder)?;
        let targets = places.targets(rows);
        let head = decoder.loss_head();
        let loss = whole_distillation(&hidden, head, &targets, teacher, settings, weight)?;
        Ok(Some(loss))
    }
}

fn sum(first: Option<Tensor>, second: Option<Tensor>) -> Result<Tensor, TrainError> {
    match (first, second) {
        (Some(first), Some(second)) => Ok((first + second)?),
        (Some(one), None) | (None, Some(one)) => Ok(one),
        (None, None) => Err(TrainError::NoExamples),
    }
}

/// The loss whose gradient is that of the expected log p - log q: advantage times -log p. Its
/// value is set to the estimate of the divergence itself, which is what a reader wants to see.
fn advantages(
    decoder: &Decoder,
    rows: &[&TrainExample],
    weight: f64,
) -> Result<Option<Tensor>, TrainError> {
    if rows.is_empty() {
        return Ok(None);
    }
    let places = Places::new(rows);
    let targets = places.targets(rows);
    let divergence: f64 = targets.iter().map(|t| -f64::from(t.weight)).sum();
    let hidden = places.hidden(decoder)?;
    let settings = by_tokens(decoder);
    let surrogate = distillation(&hidden, decoder.loss_head(), &targets, &settings, weight)?;
    let value = (surrogate.detach().neg()? + weight * divergence)?;
    Ok(Some((surrogate + value)?))
}

/// The seed of what one step draws; neighbouring steps get unrelated seeds.
pub fn step_seed(seed: u64, step: usize) -> u64 {
    mix(seed.wrapping_add((step as u64).wrapping_mul(STEP)))
}
