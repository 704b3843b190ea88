//! Worlds whose truth is known.

use distill_eval::{PairedTable, Statistic};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Pairs of right and wrong with that discordance and true difference.
pub(crate) fn paired_table(
    generator: &mut ChaCha8Rng,
    n: usize,
    discordance: f64,
    difference: f64,
) -> PairedTable {
    let only_candidate = f64::midpoint(discordance, difference);
    let mut table = PairedTable::default();
    for _ in 0..n {
        let draw: f64 = generator.random();
        if draw < only_candidate {
            table.only_candidate += 1;
        } else if draw < discordance {
            table.only_baseline += 1;
        } else {
            table.both += 1;
        }
    }
    table
}

/// Labels of given frequencies and an answerer that is right with one chance.
pub(crate) struct Confusion {
    frequencies: Vec<f64>,
    right: f64,
}

impl Confusion {
    pub(crate) fn new(frequencies: &[f64], right: f64) -> Self {
        Self {
            frequencies: frequencies.to_vec(),
            right,
        }
    }

    fn labels(&self) -> usize {
        self.frequencies.len()
    }

    /// How often a label is answered.
    fn answered(&self, label: usize) -> f64 {
        let wrong = (1.0 - self.right) / (self.labels() - 1) as f64;
        self.frequencies[label] * self.right + (1.0 - self.frequencies[label]) * wrong
    }

    pub(crate) fn macro_f1(&self) -> f64 {
        let sum: f64 = (0..self.labels())
            .map(|label| {
                2.0 * self.frequencies[label] * self.right
                    / (self.frequencies[label] + self.answered(label))
            })
            .sum();
        sum / self.labels() as f64
    }

    pub(crate) fn kappa(&self) -> f64 {
        let by_chance: f64 = (0..self.labels())
            .map(|label| self.frequencies[label] * self.answered(label))
            .sum();
        (self.right - by_chance) / (1.0 - by_chance)
    }

    pub(crate) fn draw(&self, generator: &mut ChaCha8Rng, n: usize) -> Answers {
        let labels = self.labels();
        let pairs = (0..n)
            .map(|_| {
                let mut draw: f64 = generator.random();
                let gold = self
                    .frequencies
                    .iter()
                    .position(|frequency| {
                        draw -= frequency;
                        draw < 0.0
                    })
                    .unwrap_or(labels - 1);
                (gold, self.answer(generator, gold))
            })
            .collect();
        Answers { labels, pairs }
    }

    /// Another's answers to the same rows: the same ones with chance `alike`, else its own.
    pub(crate) fn draw_beside(
        &self,
        generator: &mut ChaCha8Rng,
        other: &Answers,
        alike: f64,
    ) -> Answers {
        let pairs = other
            .pairs
            .iter()
            .map(|(gold, answer)| {
                if generator.random_bool(alike) {
                    (*gold, *answer)
                } else {
                    (*gold, self.answer(generator, *gold))
                }
            })
            .collect();
        Answers {
            labels: self.labels(),
            pairs,
        }
    }

    fn answer(&self, generator: &mut ChaCha8Rng, gold: usize) -> usize {
        let labels = self.labels();
        if generator.random_bool(self.right) {
            gold
        } else {
            (gold + generator.random_range(1..labels)) % labels
        }
    }
}

/// Drawn (truth, answer) pairs, as a statistic: macro F1 over the labels that occur.
pub(crate) struct Answers {
    labels: usize,
    pairs: Vec<(usize, usize)>,
}

impl Answers {
    pub(crate) fn counts(&self) -> Vec<Vec<usize>> {
        let mut counts = vec![vec![0; self.labels]; self.labels];
        for (gold, answer) in &self.pairs {
            counts[*gold][*answer] += 1;
        }
        counts
    }
}

impl Statistic for Answers {
    fn samples(&self) -> usize {
        self.pairs.len()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        let mut tallies = vec![[0_u32; 3]; self.labels];
        for ((gold, answer), weight) in self.pairs.iter().zip(weights) {
            tallies[*gold][0] += weight;
            tallies[*answer][1] += weight;
            if gold == answer {
                tallies[*gold][2] += weight;
            }
        }
        let scores: Vec<f64> = tallies
            .iter()
            .filter(|[gold, answered, _]| gold + answered > 0)
            .map(|[gold, answered, both]| 2.0 * f64::from(*both) / f64::from(gold + answered))
            .collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    }
}
