//! Two models on the same rows.

use std::collections::BTreeMap;

use distill_chat::Task;
use serde::{Deserialize, Serialize};

use crate::{
    Interval, Rule, Sample, Score, ScoredRow, Scorer, Settings,
    aggregate::value_of,
    stats::{
        Mean, Percentile,
        bootstrap::{self, Clusters},
    },
};

mod comparison;
mod judged;
#[cfg(test)]
mod tests;

pub use comparison::{Comparison, Scale};
pub use judged::{JudgedSide, compare_judged};

/// Pairs of right and wrong. All that a paired comparison of shares depends on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairedTable {
    pub both: usize,
    pub only_candidate: usize,
    pub only_baseline: usize,
    pub neither: usize,
}

impl PairedTable {
    pub fn pairs(&self) -> usize {
        self.both + self.only_candidate + self.only_baseline + self.neither
    }

    /// Candidate minus baseline.
    pub fn difference(&self) -> Option<f64> {
        self.share(self.only_candidate as f64 - self.only_baseline as f64)
    }

    /// Share of pairs on which exactly one is right.
    pub fn discordance(&self) -> Option<f64> {
        self.share((self.only_candidate + self.only_baseline) as f64)
    }

    fn share(&self, count: f64) -> Option<f64> {
        (self.pairs() > 0).then(|| count / self.pairs() as f64)
    }
}

/// Two models by a metric that has a value for the whole set only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorpusComparison {
    pub metric: String,
    pub n: usize,
    pub left_out: usize,
    pub candidate: Option<f64>,
    pub baseline: Option<f64>,
    pub difference: Option<f64>,
    /// Paired bootstrap.
    pub interval: Option<Interval>,
}

/// Two sets of answers that cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompareError {
    #[error(
        "the two sides do not hold the same rows: {only_candidate} only the candidate's, {only_baseline} only the baseline's, such as `{example}`"
    )]
    Rows {
        only_candidate: usize,
        only_baseline: usize,
        example: String,
    },
    #[error("row `{id}` stands twice in one set of answers")]
    Duplicate { id: String },
    #[error("row `{id}` has score {score}: only right (1) and wrong (0) can be paired in a table")]
    NotRightOrWrong { id: String, score: String },
    #[error(
        "a percentile of {share} cannot be read: it is a share from 0 to 1, of measurements that are numbers"
    )]
    Percentile { share: String },
    #[error("row `{id}` has different references on the two sides")]
    Reference { id: String },
}

/// Compares right and wrong, pair by pair. The order of the rows does not matter.
///
/// # Errors
/// When the two sides are not answers to the same rows.
pub fn compare(
    candidate: &[ScoredRow],
    baseline: &[ScoredRow],
    confidence: f64,
) -> Result<Comparison, CompareError> {
    let pairs = pair(candidate, baseline, |row| row.id.as_str())?;
    let mut table = PairedTable::default();
    let mut left_out = 0;
    for (candidate, baseline) in pairs {
        match (right(candidate)?, right(baseline)?) {
            (Some(true), Some(true)) => table.both += 1,
            (Some(true), Some(false)) => table.only_candidate += 1,
            (Some(false), Some(true)) => table.only_baseline += 1,
            (Some(false), Some(false)) => table.neither += 1,
            (None, _) | (_, None) => left_out += 1,
        }
    }
    Ok(Comparison::of(table, left_out, confidence))
}

/// Compares scores of any size, pair by pair, by a paired bootstrap of the mean difference.
///
/// `groups` holds the group of each row that has one, by id: rows of one group are drawn together.
/// Right and wrong in groups is compared this way, too, since Tango's interval and `McNemar`'s test
/// take every row for itself. The order of the rows does not matter. A score that is not a number
/// is no score.
///
/// # Errors
/// When the two sides are not answers to the same rows.
pub fn compare_values(
    candidate: &[ScoredRow],
    baseline: &[ScoredRow],
    scale: Scale,
    groups: &BTreeMap<String, String>,
    settings: &Settings,
) -> Result<Comparison, CompareError> {
    let pairs = pair(candidate, baseline, |row| row.id.as_str())?;
    let all = pairs.len();
    let (mut ids, mut values) = (Vec::new(), (Vec::new(), Vec::new()));
    for (candidate, baseline) in pairs {
        let known = |row: &ScoredRow| row.score.value().filter(|value| value.is_finite());
        if let (Some(first), Some(second)) = (known(candidate), known(baseline)) {
            ids.push(candidate.id.as_str());
            values.0.push(first);
            values.1.push(second);
        }
    }
    let clusters = Clusters::of(ids.iter().map(|id| groups.get(*id).map(String::as_str)));
    Ok(Comparison::of_statistics(
        &Mean(values.0),
        &Mean(values.1),
        &clusters,
        all - ids.len(),
        scale,
        settings,
    ))
}

/// Compares a percentile of measurements (0.95 for the p95 latency) of the rows that both sides
/// have one for, by the paired bootstrap; rows of one group are drawn together.
///
/// # Errors
/// When `share` is not within 0 and 1, or a measurement is not a number.
pub fn compare_percentiles(
    candidate: &BTreeMap<String, f64>,
    baseline: &BTreeMap<String, f64>,
    share: f64,
    groups: &BTreeMap<String, String>,
    settings: &Settings,
) -> Result<CorpusComparison, CompareError> {
    let both: Vec<(&String, f64, f64)> = candidate
        .iter()
        .filter_map(|(id, first)| Some((id, *first, *baseline.get(id)?)))
        .collect();
    let side = |of: fn(&(&String, f64, f64)) -> f64| {
        Percentile::new(both.iter().map(of).collect(), share).ok_or(CompareError::Percentile {
            share: share.to_string(),
        })
    };
    let (first, second) = (side(|row| row.1)?, side(|row| row.2)?);
    let clusters = Clusters::of(both.iter().map(|row| groups.get(row.0).map(String::as_str)));
    let known = candidate.len() + baseline.len() - both.len();
    let (candidate, baseline) = (value_of(&first), value_of(&second));
    Ok(CorpusComparison {
        metric: format!("p{}", share * 100.0),
        n: both.len(),
        left_out: known - both.len(),
        candidate,
        baseline,
        difference: candidate
            .zip(baseline)
            .map(|(candidate, baseline)| candidate - baseline),
        interval: bootstrap::paired(&first, &second, &clusters, settings.draws, settings.seed)
            .map(|drawn| drawn.interval(settings.confidence)),
    })
}

/// Compares two sides under any scorer: right and wrong by a table, other scores and metrics of the
/// whole set by the paired bootstrap, which also takes rows of one group together.
///
/// # Errors
/// When the two sides are not answers to the same rows.
pub fn compare_samples(
    scorer: &Scorer,
    candidate: &[Sample],
    baseline: &[Sample],
    task: &Task,
    settings: &Settings,
) -> Result<Comparison, CompareError> {
    let scale = Scale::of(scorer.metric.unit, scorer.metric.direction);
    let rows = scorer
        .score_all(candidate, task)
        .zip(scorer.score_all(baseline, task));
    let Some((first, second)) = rows else {
        let sides = Sides::pair(scorer, candidate, baseline, task)?;
        return Ok(Comparison::of_statistics(
            scorer.statistic(&sides.candidate, task).as_ref(),
            scorer.statistic(&sides.baseline, task).as_ref(),
            &sides.clusters,
            sides.left_out,
            scale,
            settings,
        ));
    };
    let groups: BTreeMap<String, String> = candidate
        .iter()
        .filter_map(|sample| Some((sample.id.clone(), sample.group.clone()?)))
        .collect();
    if matches!(scorer.metric.rule, Rule::Share(_)) && groups.is_empty() {
        return compare(&first, &second, settings.confidence);
    }
    compare_values(&first, &second, scale, &groups, settings)
}

/// Compares a scorer's value over the rows that both sides have scored, by a paired bootstrap; rows
/// of one group are drawn together.
///
/// # Errors
/// When the two sides are not answers to the same rows.
pub fn compare_corpus(
    scorer: &Scorer,
    candidate: &[Sample],
    baseline: &[Sample],
    task: &Task,
    settings: &Settings,
) -> Result<CorpusComparison, CompareError> {
    let sides = Sides::pair(scorer, candidate, baseline, task)?;
    let first = scorer.statistic(&sides.candidate, task);
    let second = scorer.statistic(&sides.baseline, task);
    let (candidate, baseline) = (value_of(first.as_ref()), value_of(second.as_ref()));
    let drawn = bootstrap::paired(
        first.as_ref(),
        second.as_ref(),
        &sides.clusters,
        settings.draws,
        settings.seed,
    );
    Ok(CorpusComparison {
        metric: scorer.name(),
        n: sides.candidate.len(),
        left_out: sides.left_out,
        candidate,
        baseline,
        difference: candidate
            .zip(baseline)
            .map(|(candidate, baseline)| candidate - baseline),
        interval: drawn.map(|drawn| {
            let interval = drawn.interval(settings.confidence);
            let full = scorer.metric.unit.full();
            full.map_or(interval, |full| interval.within(-full, full))
        }),
    })
}

/// The rows that both sides have scored.
struct Sides<'a> {
    candidate: Vec<&'a Sample>,
    baseline: Vec<&'a Sample>,
    clusters: Clusters,
    left_out: usize,
}

impl<'a> Sides<'a> {
    fn pair(
        scorer: &Scorer,
        candidate: &'a [Sample],
        baseline: &'a [Sample],
        task: &Task,
    ) -> Result<Self, CompareError> {
        let pairs = pair(candidate, baseline, |sample| sample.id.as_str())?;
        let all = pairs.len();
        let (mut candidate, mut baseline) = (Vec::new(), Vec::new());
        for (first, second) in pairs {
            if first.gold != second.gold {
                return Err(CompareError::Reference {
                    id: first.id.clone(),
                });
            }
            let scored = |sample| scorer.unscored_reason(sample, task).is_none();
            if scored(first) && scored(second) {
                candidate.push(first);
                baseline.push(second);
            }
        }
        let clusters = Clusters::of(candidate.iter().map(|sample| sample.group.as_deref()));
        Ok(Self {
            left_out: all - candidate.len(),
            candidate,
            baseline,
            clusters,
        })
    }
}

/// Whether a row was right; `None` when it was not scored.
fn right(row: &ScoredRow) -> Result<Option<bool>, CompareError> {
    match &row.score {
        Score::Unscored { .. } => Ok(None),
        Score::Value(1.0) => Ok(Some(true)),
        Score::Value(0.0) => Ok(Some(false)),
        Score::Value(score) => Err(CompareError::NotRightOrWrong {
            id: row.id.clone(),
            score: score.to_string(),
        }),
    }
}

/// Joins two sides by id, sorted by id.
fn pair<'a, T>(
    candidate: &'a [T],
    baseline: &'a [T],
    id: impl Fn(&T) -> &str,
) -> Result<Vec<(&'a T, &'a T)>, CompareError> {
    let index = |rows: &'a [T]| -> Result<BTreeMap<String, &'a T>, CompareError> {
        let mut index = BTreeMap::new();
        for row in rows {
            if index.insert(id(row).to_owned(), row).is_some() {
                return Err(CompareError::Duplicate {
                    id: id(row).to_owned(),
                });
            }
        }
        Ok(index)
    };
    let (candidate, baseline) = (index(candidate)?, index(baseline)?);
    let only_candidate: Vec<&String> = candidate
        .keys()
        .filter(|id| !baseline.contains_key(*id))
        .collect();
    let only_baseline: Vec<&String> = baseline
        .keys()
        .filter(|id| !candidate.contains_key(*id))
        .collect();
    if let Some(example) = only_candidate.first().or(only_baseline.first()) {
        return Err(CompareError::Rows {
            only_candidate: only_candidate.len(),
            only_baseline: only_baseline.len(),
            example: (*example).clone(),
        });
    }
    Ok(candidate
        .into_iter()
        .map(|(id, row)| (row, baseline[&id]))
        .collect())
}
