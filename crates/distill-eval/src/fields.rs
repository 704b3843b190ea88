//! Field by field: an extracted value is right when its field and its exact value are in the
//! reference.

use distill_chat::{Task, TaskKind, same_json, without_fence};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Context, Interval, Sample, Score, Scorer, Settings, Statistic,
    aggregate::scorable,
    metric,
    stats::bootstrap::{Clusters, clustered_interval},
};

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
    let Some(f1) = metric("field_f1") else {
        return Vec::new();
    };
    let scorable = scorable(&Scorer::plain(f1), samples, task, drop);
    let clusters = Clusters::of(scorable.iter().map(|sample| sample.group.as_deref()));
    let kind = task.definition().kind;
    schema
        .field_names()
        .map(|field| {
            let pooled = Pooled::new(field_tallies(&scorable, kind, Some(field)), Tally::f1);
            let sum = pooled.sum(&vec![1; scorable.len()]);
            FieldScores {
                field: field.to_owned(),
                gold: sum.gold as usize,
                predicted: sum.predicted as usize,
                correct: sum.correct as usize,
                precision: sum.precision(),
                recall: sum.recall(),
                f1: sum.f1(),
                f1_interval: clustered_interval(
                    &pooled,
                    &clusters,
                    settings.confidence,
                    settings.draws,
                    settings.seed,
                )
                .map(|drawn| drawn.within(0.0, 1.0)),
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

/// The object that a sample answers with: what the task read, or of free text the JSON that it is.
pub(crate) fn answer_object(sample: &Sample, kind: TaskKind) -> Option<Map<String, Value>> {
    let answer = sample.answer()?;
    object(match kind {
        TaskKind::Generate => without_fence(answer),
        TaskKind::Classify | TaskKind::Extract => answer,
    })
}

/// Samples with a reply and with an object for a reference can be counted.
pub(crate) fn has_object_reference(sample: &Sample, _context: &Context<'_>) -> Result<(), Score> {
    let (_, gold) = sample.reply_and_gold()?;
    match object(gold) {
        Some(_) => Ok(()),
        None => Err(Score::unscored("the reference is not a JSON object")),
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

/// The fields of each sample, all of them or one.
pub(crate) fn field_tallies(
    samples: &[&Sample],
    kind: TaskKind,
    field: Option<&str>,
) -> Vec<Tally> {
    samples
        .iter()
        .map(|sample| {
            let gold = sample.gold.as_deref().and_then(object).unwrap_or_default();
            let answer = answer_object(sample, kind).unwrap_or_default();
            count(&gold, &answer, field)
        })
        .collect()
}

fn count(gold: &Map<String, Value>, answer: &Map<String, Value>, field: Option<&str>) -> Tally {
    let chosen = |name: &String| field.is_none_or(|field| field == name);
    Tally {
        gold: gold.keys().filter(|name| chosen(name)).count() as u64,
        predicted: answer.keys().filter(|name| chosen(name)).count() as u64,
        correct: answer
            .iter()
            .filter(|(name, value)| {
                let same = |gold| same_json(gold, value);
                chosen(name) && gold.get(*name).is_some_and(same)
            })
            .count() as u64,
    }
}

/// A ratio of tallies summed over samples.
pub(crate) struct Pooled {
    tallies: Vec<Tally>,
    ratio: fn(Tally) -> Option<f64>,
}

impl Pooled {
    pub(crate) fn new(tallies: Vec<Tally>, ratio: fn(Tally) -> Option<f64>) -> Self {
        Self { tallies, ratio }
    }

    fn sum(&self, weights: &[u32]) -> Tally {
        let mut sum = Tally::default();
        for (tally, weight) in self.tallies.iter().zip(weights) {
            let weight = u64::from(*weight);
            sum.gold += weight * tally.gold;
            sum.predicted += weight * tally.predicted;
            sum.correct += weight * tally.correct;
        }
        sum
    }
}

impl Statistic for Pooled {
    fn samples(&self) -> usize {
        self.tallies.len()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        (self.ratio)(self.sum(weights))
    }
}
