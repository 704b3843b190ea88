//! The loss of one row and its gradient by the row's logits.
//!
//! Gradients by a logit `z_j`, at τ = 1: of the cross-entropy `p_j - [j = token]`; of KL(q‖p)
//! `p_j - q_j`; of KL(p‖q) `p_j (ln p_j - ln q_j - KL)`. With a bucket, what stands for an event is its whole
//! probability, which each of its tokens shares by its own.

use candle_core::{Result, bail};

use super::{Distillation, Divergence, Rest, Target};
use crate::ops::rows::{dot, exp_shifted, max, scale, vectorised};
use crate::ops::soft_cap::bend_with_slopes;

/// The least that a teacher is taken to give to all tokens outside its top ones: reverse, its
/// logarithm counts, and rounding alone makes it 0.
const REST_LEAST: f64 = 1e-6;

/// A row's target, checked and in the form that the loss needs.
pub(super) struct Prepared {
    pub(super) token: u32,
    /// Factor of the cross-entropy and of the divergence, the row's weight included.
    pub(super) hard: f32,
    pub(super) soft: f32,
    pub(super) top: Option<Top>,
}

/// A teacher's top tokens among the shared ones.
pub(super) struct Top {
    pub(super) tokens: Vec<u32>,
    /// Sum to 1 with the rest; their logarithms.
    pub(super) log_probabilities: Vec<f64>,
    /// Probability of all other shared tokens; none where it is no event of its own.
    pub(super) rest: Option<f64>,
}

impl Prepared {
    /// A row that learns its own token alone.
    pub(super) fn own(token: u32) -> Self {
        Self {
            token,
            hard: 1.0,
            soft: 0.0,
            top: None,
        }
    }

    pub(super) fn new(
        target: &Target<'_>,
        settings: &Distillation,
        whole_teacher: bool,
    ) -> Result<Self> {
        let top = match target.teacher {
            Some(teacher) if !whole_teacher => Some(Top::new(teacher, settings)?),
            _ => None,
        };
        let taught = whole_teacher || top.is_some();
        let share = if taught { settings.share } else { 0.0 };
        let temperature = settings.temperature;
        Ok(Self {
            token: target.token,
            hard: target.weight * (1.0 - share) as f32,
            soft: target.weight * (share * temperature * temperature) as f32,
            top,
        })
    }
}

impl Top {
    /// Leaves out what is not shared, given that the token is a shared one.
    fn new(teacher: &super::TopTokens, settings: &Distillation) -> Result<Self> {
        let count = teacher.tokens.len();
        if count == 0 || count != teacher.log_probabilities.len() {
            bail!(
                "{count} top tokens of a teacher with {} log-probabilities",
                teacher.log_probabilities.len()
            );
        }
        let mut sorted = teacher.tokens.clone();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            bail!(
                "a teacher's top tokens name one twice: {:?}",
                teacher.tokens
            );
        }
        if let Some(value) = teacher.log_probabilities.iter().find(|v| !v.is_finite()) {
            bail!("a teacher's log-probability is {value}");
        }
        let shared = settings.shared_vocabulary;
        let pairs = || teacher.tokens.iter().zip(&teacher.log_probabilities);
        let kept: Vec<(u32, f64)> = pairs()
            .filter(|(token, _)| (**token as usize) < shared)
            .map(|(token, value)| (*token, f64::from(*value)))
            .collect();
        let inside: f64 = kept.iter().map(|(_, value)| value.exp()).sum();
        if inside <= 0.0 {
            bail!("none of a teacher's top tokens is among the {shared} shared ones");
        }
        let dropped: f64 = pairs()
            .filter(|(token, _)| **token as usize >= shared)
            .map(|(_, value)| f64::from(*value).exp())
            .sum();
        // Rounding can take the sum of a teacher's numbers past 1.
        let outside = (1.0 - dropped - inside).max(0.0);
        let bucket = settings.rest == Rest::Bucket && kept.len() < shared;
        let total = if bucket { inside + outside } else { inside };
        Ok(Self {
            log_probabilities: kept.iter().map(|(_, value)| value - total.ln()).collect(),
            tokens: kept.into_iter().map(|(token, _)| token).collect(),
            rest: bucket.then_some(outside / total),
        })
    }
}

/// Memory for one row at a time.
#[derive(Default)]
pub(super) struct Scratch {
    /// Student's exponentials, then the gradient of the divergence.
    soft: Vec<f32>,
    /// How far the teacher's logits lie above the student's.
    above: Vec<f32>,
    /// How the student's logits move with what they were before they were bent.
    slopes: Vec<f32>,
}

impl Prepared {
    /// Turns a row of logits into `weight` times the gradient of its loss; returns the loss,
    /// without `weight`.
    pub(super) fn loss(
        &self,
        logits: &mut [f32],
        taught: Option<&mut [f32]>,
        scratch: &mut Scratch,
        settings: &Distillation,
        weight: f32,
    ) -> f64 {
        let shared = settings.shared_vocabulary;
        let mut total = 0.0;
        let soft = self.soft.abs() > 0.0;
        if soft {
            let student = &logits[..shared];
            let divergence = match (taught, &self.top) {
                (Some(taught), _) => scratch.against_all(student, &mut taught[..shared], settings),
                (None, Some(top)) => scratch.against_top(student, top, settings),
                (None, None) => 0.0,
            };
            total += f64::from(self.soft) * divergence;
        }
        if self.hard.abs() > 0.0 {
            let token = self.token as usize;
            let hard = f64::from(self.hard * weight);
            let loss = vectorised(|| {
                let largest = max(logits);
                let gap = f64::from(largest) - f64::from(logits[token]);
                // The token's own part stays out of the sum: a sure row would lose it there.
                logits[token] = f32::NEG_INFINITY;
                let others = exponentials(logits, largest);
                let sum = others + (-gap).exp();
                scale(logits, (hard / sum) as f32);
                logits[token] = (-hard * others / sum) as f32;
                gap + (others + (-gap).exp_m1()).ln_1p()
            });
            total += f64::from(self.hard) * loss;
        } else {
            logits.fill(0.0);
        }
        if soft {
            // The divergence is of z / τ.
            let by = self.soft * weight / settings.temperature as f32;
            vectorised(|| {
                for (out, value) in logits.iter_mut().zip(&scratch.soft) {
                    *out += by * value;
                }
            });
        }
        total
    }
}

/// Elements whose sum is taken in single precision.
const BLOCK: usize = 1 << 10;

/// Replaces each x by e^(x - shift); returns the sum. Over a large vocabulary it needs more than single
/// precision: every gradient is divided by it.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
pub(super) fn exponentials(values: &mut [f32], shift: f32) -> f64 {
    let mut sum = 0.0;
    for block in values.chunks_mut(BLOCK) {
        sum += f64::from(exp_shifted(block, shift));
    }
    sum
}

/// The sum of products, as exact.
#[inline(always)]
#[expect(clippy::inline_always, reason = "must vectorise in its caller's loop")]
fn products(one: &[f32], other: &[f32]) -> f64 {
    let mut sum = 0.0;
    for (one, other) in one.chunks(BLOCK).zip(other.chunks(BLOCK)) {
        sum += f64::from(dot(one, other));
    }
    sum
}

impl Scratch {
    pub(super) fn bend(&mut self, logits: &mut [f32], cap: f32) {
        self.slopes.resize(logits.len(), 0.0);
        vectorised(|| bend_with_slopes(logits, &mut self.slopes, cap));
    }

    /// Turns a gradient by bent logits to that by the logits themselves.
    pub(super) fn unbend(&self, gradient: &mut [f32]) {
        vectorised(|| {
            for (value, slope) in gradient.iter_mut().zip(&self.slopes) {
                *value *= slope;
            }
        });
    }

    /// The divergence from the teacher's top tokens; leaves its gradient by z / τ in `soft`.
    fn against_top(&mut self, student: &[f32], top: &Top, settings: &Distillation) -> f64 {
        let inverse = 1.0 / settings.temperature as f32;
        let soft = &mut self.soft;
        soft.clear();
        soft.extend_from_slice(student);
        let largest = vectorised(|| {
            scale(soft, inverse);
            max(soft)
        });
        let inside: Vec<f64> = top
            .tokens
            .iter()
            .map(|&token| f64::from(soft[token as usize] - largest))
            .collect();
        for &token in &top.tokens {
            // Its exponential is nothing beside any other: the sum is that of the rest alone.
            soft[token as usize] = f32::NEG_INFINITY;
        }
        let rest = vectorised(|| exponentials(soft, largest));
        let inside_sum: f64 = inside.iter().map(|value| value.exp()).sum();
        let student = Student {
            log_total: (rest + inside_sum).ln(),
            log_inside: inside_sum.ln(),
            log_rest: rest.ln(),
            inside,
        };
        let (loss, others, own) = match settings.divergence {
            Divergence::Forward => student.forward(top),
            Divergence::Reverse => student.reverse(top),
        };
        vectorised(|| scale(soft, others as f32));
        for (&token, value) in top.tokens.iter().zip(own) {
            soft[token as usize] = value as f32;
        }
        loss
    }

    /// The divergence from all of the teacher's probabilities; leaves its gradient by z / τ in `soft`.
    fn against_all(
        &mut self,
        student: &[f32],
        teacher: &mut [f32],
        settings: &Distillation,
    ) -> f64 {
        let inverse = 1.0 / settings.temperature as f32;
        self.above.resize(student.len(), 0.0);
        let (soft, above) = (&mut self.soft, &mut self.above);
        soft.clear();
        soft.extend_from_slice(student);
        vectorised(|| {
            scale(soft, inverse);
            scale(teacher, inverse);
            for ((above, q), p) in above.iter_mut().zip(&*teacher).zip(&*soft) {
                *above = q - p;
            }
            let (p_largest, q_largest) = (max(soft), max(teacher));
            let (p_sum, q_sum) = (
                exponentials(soft, p_largest),
                exponentials(teacher, q_largest),
            );
            let (p_share, q_share) = ((1.0 / p_sum) as f32, (1.0 / q_sum) as f32);
            // ln q_j - ln p_j = above_j - ahead
            let ahead = f64::from(q_largest) - f64::from(p_largest) + (q_sum / p_sum).ln();
            match settings.divergence {
                Divergence::Forward => {
                    let loss = products(teacher, above) / q_sum - ahead;
                    for (p, q) in soft.iter_mut().zip(&*teacher) {
                        *p = *p * p_share - q * q_share;
                    }
                    loss
                }
                Divergence::Reverse => {
                    let loss = ahead - products(soft, above) / p_sum;
                    let shift = (ahead - loss) as f32;
                    for (p, above) in soft.iter_mut().zip(&*above) {
                        *p = *p * p_share * (shift - above);
                    }
                    loss
                }
            }
        })
    }
}

/// A student's exponentials relative to its largest logit.
struct Student {
    /// Logarithms, one for each of the teacher's top tokens.
    inside: Vec<f64>,
    log_inside: f64,
    /// Of all other shared tokens.
    log_rest: f64,
    log_total: f64,
}

/// A divergence, the factor that makes an outside token's gradient of its exponential, and the
/// gradients of the top tokens.
type Outcome = (f64, f64, Vec<f64>);

impl Student {
    fn forward(&self, top: &Top) -> Outcome {
        let mut loss = 0.0;
        let mut own = Vec::with_capacity(self.inside.len());
        for (&log_q, &z) in top.log_probabilities.iter().zip(&self.inside) {
            let log_p = z - self.log_total;
            loss += log_q.exp() * (log_q - log_p);
            own.push(log_p.exp() - log_q.exp());
        }
        let mut others = (-self.log_total).exp();
        if let Some(rest) = top.rest.filter(|rest| *rest > 0.0) {
            loss += rest * (rest.ln() - (self.log_rest - self.log_total));
            others -= rest * (-self.log_rest).exp();
        }
        (loss, others, own)
    }

    fn reverse(&self, top: &Top) -> Outcome {
        // Without a bucket, the student's probabilities are those given a top token.
        let log_total = match top.rest {
            Some(_) => self.log_total,
            None => self.log_inside,
        };
        let terms: Vec<(f64, f64)> = top
            .log_probabilities
            .iter()
            .zip(&self.inside)
            .map(|(log_q, z)| ((z - log_total).exp(), z - log_total - log_q))
            .collect();
        let rest = top.rest.map(|rest| {
            let log_p = self.log_rest - log_total;
            (log_p.exp(), log_p - rest.max(REST_LEAST).ln())
        });
        let loss = terms.iter().chain(&rest).map(|(p, ratio)| p * ratio).sum();
        let own = terms.iter().map(|(p, ratio)| p * (ratio - loss)).collect();
        let others = rest.map_or(0.0, |(_, ratio)| (-log_total).exp() * (ratio - loss));
        (loss, others, own)
    }
}
