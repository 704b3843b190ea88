//! From a row of logits to the next token: the likeliest, or one drawn by chance.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::decoder::DecoderError;
use crate::ops::{Choice, best_of_row, log_sum_of, weights_of};

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Sampling {
    /// The likeliest token, the first of equals.
    #[default]
    Greedy,
    /// A draw from the model's distribution.
    Sampled(Draws),
}

/// A draw: the logits are divided by the temperature, then the `top_k` likeliest are kept, then
/// of these the fewest whose probabilities reach `top_p` (nucleus sampling, Holtzman et al. 2020).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draws {
    /// Above 0; 1 draws from the model's own distribution. At 0 or below the likeliest is taken.
    pub temperature: f32,
    /// 1 keeps every token.
    pub top_p: f32,
    /// `None` keeps every token.
    pub top_k: Option<usize>,
    pub seed: u64,
}

impl Default for Draws {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: None,
            seed: 0,
        }
    }
}

/// The choices of one row. Draws depend on the seed, the prompt and which copy of the prompt it
/// is: never on the rows beside it, nor on how many run together.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each row under way"
)]
pub(super) enum Chooser {
    Greedy,
    Drawing { draws: Draws, random: ChaCha8Rng },
}

impl Chooser {
    pub(super) fn new(sampling: Sampling, prompt: &[u32], copy: u64) -> Self {
        match sampling {
            Sampling::Sampled(draws) if draws.temperature > 0.0 => {
                let mut hash = Sha256::new();
                hash.update(draws.seed.to_le_bytes());
                hash.update(copy.to_le_bytes());
                for token in prompt {
                    hash.update(token.to_le_bytes());
                }
                Self::Drawing {
                    draws,
                    random: ChaCha8Rng::from_seed(hash.finalize().into()),
                }
            }
            Sampling::Greedy | Sampling::Sampled(_) => Self::Greedy,
        }
    }

    /// The next token, with its log-probability under the model's own distribution: before
    /// temperature and truncation.
    pub(super) fn choose(&mut self, logits: &[f32], scratch: &mut Scratch) -> Choice {
        let best = best_of_row(logits);
        let Self::Drawing { draws, random } = self else {
            return best;
        };
        let token = draw(draws, logits, random.random::<f64>(), scratch);
        Choice {
            token,
            log_probability: logits[token as usize] - log_sum_of(logits),
            margin: best.margin,
        }
    }
}

/// Refuses logits among which one is not finite: whatever were chosen from them would be nonsense.
/// They follow `tokens` tokens of a row.
pub(super) fn check_finite(logits: &[f32], row: usize, tokens: usize) -> Result<(), DecoderError> {
    // Whole stretches at a time, without a branch for each element.
    let finite = |part: &[f32]| part.iter().fold(true, |all, logit| all & logit.is_finite());
    if logits.chunks(1024).all(finite) {
        return Ok(());
    }
    Err(DecoderError::LogitNotFinite { row, tokens })
}

/// Buffers of a draw, kept from step to step.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    weights: Vec<f32>,
    kept: Vec<u32>,
}

/// The token at the point `unit` (0 ..1) of the truncated distribution.
fn draw(draws: &Draws, logits: &[f32], unit: f64, scratch: &mut Scratch) -> u32 {
    let Scratch { weights, kept } = scratch;
    // Relative to the likeliest: e^((logit - largest) / temperature).
    weights_of(logits, draws.temperature, weights);
    kept.clear();
    let top_k = draws.top_k.unwrap_or(usize::MAX).max(1);
    if top_k >= logits.len() && draws.top_p >= 1.0 {
        return at(unit, weights, 0..logits.len() as u32);
    }
    kept.extend(0..logits.len() as u32);
    // The likeliest first; of equals, the first.
    let order = |a: &u32, b: &u32| {
        let (left, right) = (weights[*a as usize], weights[*b as usize]);
        right.total_cmp(&left).then(a.cmp(b))
    };
    if top_k < kept.len() {
        kept.select_nth_unstable_by(top_k - 1, order);
        kept.truncate(top_k);
    }
    if draws.top_p < 1.0 {
        let total: f64 = kept
            .iter()
            .map(|token| f64::from(weights[*token as usize]))
            .sum();
        let share = f64::from(draws.top_p.max(0.0)) * total;
        // Tokens below an equal part of what may be left out are left out together, whatever
        // their order, so only the rest needs sorting.
        let floor = (total - share) / kept.len() as f64;
        kept.retain(|token| f64::from(weights[*token as usize]) >= floor);
        kept.sort_unstable_by(order);
        let mut sum = 0.0;
        let reached = kept.iter().position(|token| {
            sum += f64::from(weights[*token as usize]);
            sum >= share
        });
        kept.truncate(reached.map_or(kept.len(), |last| last + 1));
    }
    kept.sort_unstable();
    at(unit, weights, kept.iter().copied())
}

/// The token within whose share of the weights the point falls, tokens in ascending order.
fn at(unit: f64, weights: &[f32], tokens: impl Iterator<Item = u32> + Clone) -> u32 {
    let weight = |token: u32| f64::from(weights[token as usize]);
    let total: f64 = tokens.clone().map(weight).sum();
    let mut rest = unit * total;
    let mut last = 0;
    for token in tokens {
        let own = weight(token);
        if own > 0.0 {
            last = token;
            if rest < own {
                return token;
            }
        }
        rest -= own;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of five tokens comes out of evenly spaced points.
    fn shares(draws: Draws) -> Vec<f64> {
        let logits = [2.0_f32, 0.5, 2.0, -1.0, f32::NEG_INFINITY];
        let points = 20_000;
        let mut counts = vec![0.0; logits.len()];
        let mut scratch = Scratch::default();
        for point in 0..points {
            let unit = (f64::from(point) + 0.5) / f64::from(points);
            counts[draw(&draws, &logits, unit, &mut scratch) as usize] += 1.0 / f64::from(points);
        }
        counts
    }

    /// The same by the definition, in double precision.
    fn softmax(logits: &[f64]) -> Vec<f64> {
        let total: f64 = logits.iter().map(|x| x.exp()).sum();
        logits.iter().map(|x| x.exp() / total).collect()
    }

    fn assert_close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (a, b) in got.iter().zip(expected) {
            assert!((a - b).abs() < 2e-4, "{got:?} instead of {expected:?}");
        }
    }

    const NEVER: f64 = f64::NEG_INFINITY;

    #[test]
    fn draws_follow_the_distribution_at_its_temperature() {
        let plain = Draws::default();
        assert_close(&shares(plain), &softmax(&[2.0, 0.5, 2.0, -1.0, NEVER]));
        let warm = Draws {
            temperature: 2.0,
            ..plain
        };
        assert_close(&shares(warm), &softmax(&[1.0, 0.25, 1.0, -0.5, NEVER]));
    }

    #[test]
    fn truncation_keeps_the_likeliest_and_their_proportions() {
        let draws = Draws::default();
        let two = Draws {
            top_k: Some(2),
            ..draws
        };
        assert_close(&shares(two), &[0.5, 0.0, 0.5, 0.0, 0.0]);
        // Probabilities 0.4405, 0.0983, 0.4405, 0.0219: a nucleus of 0.5 needs two tokens.
        let nucleus = |top_p| Draws { top_p, ..draws };
        assert_close(&shares(nucleus(0.5)), &[0.5, 0.0, 0.5, 0.0, 0.0]);
        assert_close(&shares(nucleus(0.4)), &[1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_close(
            &shares(nucleus(0.9)),
            &softmax(&[2.0, 0.5, 2.0, NEVER, NEVER]),
        );
        // The nucleus is taken of what the first truncation left: 0.5 and 0.5.
        let both = Draws { top_p: 0.45, ..two };
        assert_close(&shares(both), &[1.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn a_prompt_draws_its_own_numbers_and_each_copy_others() {
        let sampling = Sampling::Sampled(Draws::default());
        let numbers = |prompt: &[u32], copy| {
            let Chooser::Drawing { mut random, .. } = Chooser::new(sampling, prompt, copy) else {
                panic!("draws were asked for");
            };
            random.random::<u64>()
        };
        assert_eq!(numbers(&[1, 2], 0), numbers(&[1, 2], 0));
        assert_ne!(numbers(&[1, 2], 0), numbers(&[1, 2], 1));
        assert_ne!(numbers(&[1, 2], 0), numbers(&[1, 3], 0));
        let cold = Sampling::Sampled(Draws {
            temperature: 0.0,
            ..Draws::default()
        });
        assert!(matches!(Chooser::new(cold, &[1], 0), Chooser::Greedy));
    }
}
