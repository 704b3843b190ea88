//! From samples to one number with its interval.

use std::collections::BTreeMap;

use distill_chat::Task;
use serde::{Deserialize, Serialize};

use crate::{
    Interval, Metric, Rule, Sample, Score, Statistic,
    stats::{bootstrap, wilson},
};

/// How intervals are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Two-sided, 0 to 1.
    pub confidence: f64,
    /// Bootstrap draws.
    pub draws: usize,
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            confidence: 0.95,
            draws: 2000,
            seed: 17,
        }
    }
}

/// A metric's value over a set of samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// The metric's name.
    pub metric: String,
    /// Samples that were scored.
    pub n: usize,
    pub unscored: usize,
    pub unscored_reasons: BTreeMap<String, usize>,
    /// `None` when nothing could be scored.
    pub value: Option<f64>,
    pub interval: Option<Interval>,
}

/// Scores every sample. The order of the samples does not matter.
pub fn aggregate(
    metric: &Metric,
    samples: &[Sample],
    task: &Task,
    settings: &Settings,
) -> Aggregate {
    let mut result = Aggregate {
        metric: metric.name.to_owned(),
        ..Aggregate::default()
    };
    let mut leave_out = |reason: String| {
        result.unscored += 1;
        *result.unscored_reasons.entry(reason).or_default() += 1;
    };
    match metric.rule {
        Rule::Share(score) => {
            let mut right = 0.0;
            for sample in samples {
                match score(sample, task) {
                    Score::Value(value) => {
                        result.n += 1;
                        right += value;
                    }
                    Score::Unscored { reason } => leave_out(reason),
                }
            }
            if result.n > 0 {
                result.value = Some(right / result.n as f64);
                result.interval = wilson(right as usize, result.n, settings.confidence);
            }
        }
        Rule::Corpus(statistic) => {
            for sample in samples {
                if let Err(Score::Unscored { reason }) = sample.reply_and_gold() {
                    leave_out(reason);
                }
            }
            let scorable = scorable(samples);
            let statistic = statistic(&scorable, task);
            result.n = scorable.len();
            result.value = value_of(statistic.as_ref());
            if result.value.is_some() {
                result.interval = bootstrap::interval(
                    statistic.as_ref(),
                    settings.confidence,
                    settings.draws,
                    settings.seed,
                );
            }
        }
    }
    result
}

/// The samples with a reply and a reference, by id: a bootstrap must not see the order of a file.
pub(crate) fn scorable(samples: &[Sample]) -> Vec<&Sample> {
    let mut scorable: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.reply_and_gold().is_ok())
        .collect();
    scorable.sort_by(|first, second| first.id.cmp(&second.id));
    scorable
}

pub(crate) fn value_of(statistic: &dyn Statistic) -> Option<f64> {
    statistic.value(&vec![1; statistic.samples()])
}
