//! From samples to one number with its interval.

use std::collections::BTreeMap;

use distill_chat::Task;
use serde::{Deserialize, Serialize};

use crate::{
    Direction, Interval, IntervalMethod, Sample, Score, ScoredRow, Scorer, Statistic, Unit,
    stats::{
        Mean,
        bootstrap::{Clusters, clustered_interval},
        wilson,
    },
};

#[cfg(test)]
mod tests;

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
    /// The scorer's name: the metric's, with the settings where there are any.
    pub metric: String,
    #[serde(default)]
    pub unit: Unit,
    #[serde(default)]
    pub direction: Direction,
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
    scorer: &Scorer,
    samples: &[Sample],
    task: &Task,
    settings: &Settings,
) -> Aggregate {
    let metric = scorer.metric;
    let groups = samples
        .iter()
        .filter_map(|sample| Some((sample.id.clone(), sample.group.clone()?)))
        .collect();
    if let Some(rows) = scorer.score_all(samples, task) {
        let (unit, direction) = (metric.unit, metric.direction);
        return aggregate_scores(&scorer.name(), unit, direction, &rows, &groups, settings);
    }
    let mut result = Aggregate {
        metric: scorer.name(),
        unit: metric.unit,
        direction: metric.direction,
        ..Aggregate::default()
    };
    let scorable = scorable(scorer, samples, task, |reason| result.leave_out(reason));
    let statistic = scorer.statistic(&scorable, task);
    result.n = scorable.len();
    result.value = value_of(statistic.as_ref());
    if result.value.is_some() {
        let clusters = Clusters::of(scorable.iter().map(|sample| sample.group.as_deref()));
        result.interval = interval(statistic.as_ref(), metric.unit, &clusters, settings);
    }
    result
}

/// Aggregates scores that were made elsewhere: by a judge, by a command of the user's.
///
/// Where each score is 0 or 1 and the unit is a share, the interval is Wilson's; with scores of any
/// size, or where rows share groups, it is a (clustered) bootstrap of the mean. `groups` holds the
/// group of each row that has one, by id. The order of the rows does not matter.
pub fn aggregate_scores(
    name: &str,
    unit: Unit,
    direction: Direction,
    rows: &[ScoredRow],
    groups: &BTreeMap<String, String>,
    settings: &Settings,
) -> Aggregate {
    let mut result = Aggregate {
        metric: name.to_owned(),
        unit,
        direction,
        ..Aggregate::default()
    };
    let mut scored: Vec<(&str, f64)> = Vec::with_capacity(rows.len());
    for row in rows {
        match &row.score {
            Score::Value(value) if value.is_finite() => scored.push((&row.id, *value)),
            Score::Value(value) => result.leave_out(format!("the score is {value}, not a number")),
            Score::Unscored { reason } => result.leave_out(reason.clone()),
        }
    }
    // Sums and draws must not depend on the order of a file.
    scored.sort_by(|first, second| first.0.cmp(second.0).then(first.1.total_cmp(&second.1)));
    result.n = scored.len();
    if scored.is_empty() {
        return result;
    }
    let clusters = Clusters::of(
        scored
            .iter()
            .map(|(id, _)| groups.get(*id).map(String::as_str)),
    );
    let is_binary = scored.iter().all(|(_, value)| [0.0, 1.0].contains(value));
    let mean = Mean(scored.into_iter().map(|(_, value)| value).collect());
    result.value = value_of(&mean);
    result.interval = if unit == Unit::Share && is_binary && clusters.is_single() {
        let right = mean.0.iter().filter(|value| **value > 0.5).count();
        wilson(right, result.n, settings.confidence)
    } else {
        interval(&mean, unit, &clusters, settings)
    };
    result
}

impl Aggregate {
    fn leave_out(&mut self, reason: String) {
        self.unscored += 1;
        *self.unscored_reasons.entry(reason).or_default() += 1;
    }
}

/// A bootstrap's interval, within what is possible.
///
/// Of rows that all score the same a bootstrap is a point, however few they are. What is left open
/// is then how many rows would score otherwise: the exact bound of a share of which nothing was
/// seen, each such row taken to cost the full score. Without a full score that is known, nothing
/// can be said.
fn interval(
    statistic: &dyn Statistic,
    unit: Unit,
    clusters: &Clusters,
    settings: &Settings,
) -> Option<Interval> {
    let drawn = clustered_interval(
        statistic,
        clusters,
        settings.confidence,
        settings.draws,
        settings.seed,
    )?;
    let full = unit.full();
    if drawn.low < drawn.high {
        return Some(full.map_or(drawn, |full| drawn.within(0.0, full)));
    }
    let tail = f64::midpoint(1.0, -settings.confidence);
    let open = full? * (1.0 - tail.powf(1.0 / clusters.count() as f64));
    let point = Interval {
        low: drawn.low - open,
        high: drawn.high + open,
        confidence: settings.confidence,
        method: IntervalMethod::ClopperPearson,
    };
    Some(point.within(0.0, full?))
}

/// The samples that a corpus metric can count, by id: a bootstrap must not see the order of a file.
/// The reasons of the others go to `leave_out`.
pub(crate) fn scorable<'a>(
    scorer: &Scorer,
    samples: &'a [Sample],
    task: &Task,
    mut leave_out: impl FnMut(String),
) -> Vec<&'a Sample> {
    let mut scorable: Vec<&Sample> = samples
        .iter()
        .filter(|sample| match scorer.unscored_reason(sample, task) {
            Some(reason) => {
                leave_out(reason);
                false
            }
            None => true,
        })
        .collect();
    scorable.sort_by(|first, second| {
        let key = |sample: &'a Sample| (&sample.id, &sample.gold, sample.reply());
        key(first).cmp(&key(second))
    });
    scorable
}

pub(crate) fn value_of(statistic: &dyn Statistic) -> Option<f64> {
    statistic.value(&vec![1; statistic.samples()])
}
