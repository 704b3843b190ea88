//! Field by field: an extracted value is right when its field and its exact value are in the
//! reference.

use distill_chat::Task;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Interval, Sample, Settings, Statistic, aggregate::scorable, stats::bootstrap};

/// How a field fared over all rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldScores {
    pub field: String,
    /// Rows whose reference has the field.
    pub gold: usize,
    /// Rows whose answer has it.
    pub predicted: usize,
    /// Rows where both have it with the same value.
    pub correct: usize,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    /// Span F1 by exact value. `None` when neither references nor answers have the field.
    pub f1: Option<f64>,
    pub f1_interval: Option<Interval>,
}

/// The scores of each field of the task's schema, in its order. An invalid reply gives no field.
pub fn per_field(samples: &[Sample], task: &Task, settings: &Settings) -> Vec<FieldScores> {
    let Some(schema) = task.schema() else {
        return Vec::new();
    };
    let scorable = scorable(samples);
    schema
        .field_names()
        .map(|field| {
            let pooled = PooledFields::new(FieldCounts::of(&scorable, Some(field)), Tally::f1);
            let sum = pooled.counts.sum(&vec![1; scorable.len()]);
            FieldScores {
                field: field.to_owned(),
                gold: sum.gold as usize,
                predicted: sum.predicted as usize,
                correct: sum.correct as usize,
                precision: sum.precision(),
                recall: sum.recall(),
                f1: sum.f1(),
                f1_interval: bootstrap::interval(
                    &pooled,
                    settings.confidence,
                    settings.draws,
                    settings.seed,
                ),
            }
        })
        .collect()
}

/// The object that a text is.
pub(crate) fn object(text: &str) -> Option<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// What should have been said, what was said, and what of it was right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) gold: u64,
    pub(crate) predicted: u64,
    pub(crate) correct: u64,
}

impl Tally {
    pub(crate) fn precision(self) -> Option<f64> {
        (self.predicted > 0).then(|| self.correct as f64 / self.predicted as f64)
    }

    pub(crate) fn recall(self) -> Option<f64> {
        (self.gold > 0).then(|| self.correct as f64 / self.gold as f64)
    }

    pub(crate) fn f1(self) -> Option<f64> {
        let sum = self.gold + self.predicted;
        (sum > 0).then(|| 2.0 * self.correct as f64 / sum as f64)
    }
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            gold: self.gold + other.gold,
            predicted: self.predicted + other.predicted,
            correct: self.correct + other.correct,
        }
    }
}

/// One tally a sample.
pub(crate) struct FieldCounts(Vec<Tally>);

impl FieldCounts {
    /// Of all fields, or of one.
    pub(crate) fn of(samples: &[&Sample], field: Option<&str>) -> Self {
        Self(
            samples
                .iter()
                .map(|sample| {
                    let of = |text: Option<&str>| text.and_then(object).unwrap_or_default();
                    count(&of(sample.gold.as_deref()), &of(sample.answer()), field)
                })
                .collect(),
        )
    }

    fn sum(&self, weights: &[u32]) -> Tally {
        let mut sum = Tally::default();
        for (tally, weight) in self.0.iter().zip(weights) {
            let weight = u64::from(*weight);
            sum.gold += weight * tally.gold;
            sum.predicted += weight * tally.predicted;
            sum.correct += weight * tally.correct;
        }
        sum
    }
}

fn count(gold: &Map<String, Value>, answer: &Map<String, Value>, field: Option<&str>) -> Tally {
    let chosen = |name: &String| field.is_none_or(|field| field == name);
    Tally {
        gold: gold.keys().filter(|name| chosen(name)).count() as u64,
        predicted: answer.keys().filter(|name| chosen(name)).count() as u64,
        correct: answer
            .iter()
            .filter(|(name, value)| chosen(name) && gold.get(*name) == Some(*value))
            .count() as u64,
    }
}

/// A ratio of the tallies summed over samples.
pub(crate) struct PooledFields {
    counts: FieldCounts,
    ratio: fn(Tally) -> Option<f64>,
}

impl PooledFields {
    pub(crate) fn new(counts: FieldCounts, ratio: fn(Tally) -> Option<f64>) -> Self {
        Self { counts, ratio }
    }
}

impl Statistic for PooledFields {
    fn samples(&self) -> usize {
        self.counts.0.len()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        (self.ratio)(self.counts.sum(weights))
    }
}
