//! Which labels are given for which: counts, per-label scores, the pairs most often confused.

use std::collections::BTreeMap;

use distill_chat::Task;
use serde::{Deserialize, Serialize};

use crate::{Outcome, Sample, fields::Tally};

/// Stands where a reply was no label.
pub const NO_VALID_ANSWER: &str = "(no valid answer)";

/// How a label fared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelScores {
    pub label: String,
    /// Rows whose reference is this label.
    pub support: usize,
    /// Rows that were answered with it.
    pub predicted: usize,
    pub correct: usize,
    /// `None` when it was never answered.
    pub precision: Option<f64>,
    /// `None` when it is never the reference.
    pub recall: Option<f64>,
    pub f1: Option<f64>,
}

/// A reference label and what was answered in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfusedPair {
    pub gold: String,
    /// A label, or [`NO_VALID_ANSWER`].
    pub answered: String,
    pub count: usize,
}

/// Counts of (reference, answer) over the rows that have both a reply and a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    labels: Vec<String>,
    counts: BTreeMap<(String, String), usize>,
}

impl Confusion {
    pub fn count(samples: &[Sample], task: &Task) -> Self {
        let mut labels = task.definition().labels.clone();
        let mut counts = BTreeMap::new();
        for sample in samples {
            let (Some(gold), false) = (
                &sample.gold,
                matches!(sample.outcome, Outcome::Missing { .. }),
            ) else {
                continue;
            };
            for label in [Some(gold.as_str()), sample.answer()].into_iter().flatten() {
                if !labels.iter().any(|known| known == label) {
                    labels.push(label.to_owned());
                }
            }
            let answered = sample.answer().unwrap_or(NO_VALID_ANSWER).to_owned();
            *counts.entry((gold.clone(), answered)).or_default() += 1;
        }
        Self { labels, counts }
    }

    pub fn count_of(&self, gold: &str, answered: &str) -> usize {
        self.counts
            .get(&(gold.to_owned(), answered.to_owned()))
            .copied()
            .unwrap_or(0)
    }

    /// Each label of the task, in its order; then labels outside it that occurred.
    pub fn per_label(&self) -> Vec<LabelScores> {
        self.labels
            .iter()
            .map(|label| {
                let sum = |of: fn(&(String, String)) -> &String| -> usize {
                    self.counts
                        .iter()
                        .filter(|(pair, _)| of(pair) == label)
                        .map(|(_, count)| count)
                        .sum()
                };
                let (support, predicted) = (sum(|pair| &pair.0), sum(|pair| &pair.1));
                let correct = self.count_of(label, label);
                let tally = Tally {
                    gold: support as u64,
                    predicted: predicted as u64,
                    correct: correct as u64,
                };
                LabelScores {
                    label: label.clone(),
                    support,
                    predicted,
                    correct,
                    precision: tally.precision(),
                    recall: tally.recall(),
                    f1: tally.f1(),
                }
            })
            .collect()
    }

    /// The `k` wrong pairs with the highest counts; equal counts in alphabetical order.
    pub fn top_pairs(&self, k: usize) -> Vec<ConfusedPair> {
        let mut pairs: Vec<ConfusedPair> = self
            .counts
            .iter()
            .filter(|((gold, answered), _)| gold != answered)
            .map(|((gold, answered), count)| ConfusedPair {
                gold: gold.clone(),
                answered: answered.clone(),
                count: *count,
            })
            .collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.count));
        pairs.truncate(k);
        pairs
    }
}

/// References and answers as small numbers, so that a bootstrap draw costs no string comparison.
pub(crate) struct LabelCodes {
    labels: usize,
    /// Reference and answer of each sample; no answer where the reply was no label.
    pairs: Vec<(usize, Option<usize>)>,
}

impl LabelCodes {
    /// Of samples that have a reference.
    pub(crate) fn of(samples: &[&Sample]) -> Self {
        let mut codes = BTreeMap::new();
        for sample in samples {
            for label in [sample.gold.as_deref(), sample.answer()]
                .into_iter()
                .flatten()
            {
                let next = codes.len();
                codes.entry(label).or_insert(next);
            }
        }
        let pairs = samples
            .iter()
            .filter_map(|sample| {
                let gold = codes[sample.gold.as_deref()?];
                Some((gold, sample.answer().map(|answer| codes[answer])))
            })
            .collect();
        Self {
            labels: codes.len(),
            pairs,
        }
    }

    pub(crate) fn samples(&self) -> usize {
        self.pairs.len()
    }

    /// The counts of each label with each sample counted `weights[i]` times.
    pub(crate) fn tally(&self, weights: &[u32]) -> Vec<Tally> {
        let mut tallies = vec![Tally::default(); self.labels];
        for ((gold, answer), weight) in self.pairs.iter().zip(weights) {
            let weight = u64::from(*weight);
            tallies[*gold].gold += weight;
            if let Some(answer) = answer {
                tallies[*answer].predicted += weight;
                if answer == gold {
                    tallies[*gold].correct += weight;
                }
            }
        }
        tallies
    }
}
