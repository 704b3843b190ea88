//! Two models on the same rows.

use std::collections::BTreeMap;

use distill_chat::Task;
use serde::{Deserialize, Serialize};

use crate::{
    Interval, Metric, Rule, Sample, Score, ScoredRow, Settings, Statistic,
    aggregate::value_of,
    stats::{bootstrap, mcnemar_exact, mcnemar_mid_p, tango},
};

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

/// What the pairs say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub table: PairedTable,
    pub n: usize,
    /// Pairs of which a side could not be scored.
    pub left_out: usize,
    pub candidate: Option<f64>,
    pub baseline: Option<f64>,
    /// Candidate minus baseline.
    pub difference: Option<f64>,
    pub interval: Option<Interval>,
    /// Exact, two-sided.
    pub mcnemar_p: Option<f64>,
    pub mcnemar_mid_p: Option<f64>,
}

/// The same for a metric that has a value for the whole set only.
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

impl Comparison {
    /// From counts.
    pub fn of(table: PairedTable, left_out: usize, confidence: f64) -> Self {
        let any = table.pairs() > 0;
        let (only_candidate, only_baseline) = (table.only_candidate, table.only_baseline);
        Self {
            table,
            n: table.pairs(),
            left_out,
            candidate: table.share((table.both + only_candidate) as f64),
            baseline: table.share((table.both + only_baseline) as f64),
            difference: table.difference(),
            interval: tango(&table, confidence),
            mcnemar_p: any.then(|| mcnemar_exact(only_candidate, only_baseline)),
            mcnemar_mid_p: any.then(|| mcnemar_mid_p(only_candidate, only_baseline)),
        }
    }
}

/// Compares a metric's value over the rows that both sides have scored, by a paired bootstrap.
///
/// # Errors
/// When the two sides are not answers to the same rows.
pub fn compare_corpus(
    metric: &Metric,
    candidate: &[Sample],
    baseline: &[Sample],
    task: &Task,
    settings: &Settings,
) -> Result<CorpusComparison, CompareError> {
    let pairs = pair(candidate, baseline, |sample| sample.id.as_str())?;
    let all = pairs.len();
    let mut sides = (Vec::new(), Vec::new());
    for (first, second) in pairs {
        if first.gold != second.gold {
            return Err(CompareError::Reference {
                id: first.id.clone(),
            });
        }
        if is_scored(metric, first, task) && is_scored(metric, second, task) {
            sides.0.push(first);
            sides.1.push(second);
        }
    }
    let n = sides.0.len();
    let first = statistic(metric, &sides.0, task);
    let second = statistic(metric, &sides.1, task);
    let (candidate, baseline) = (value_of(first.as_ref()), value_of(second.as_ref()));
    Ok(CorpusComparison {
        metric: metric.name.to_owned(),
        n,
        left_out: all - n,
        candidate,
        baseline,
        difference: candidate
            .zip(baseline)
            .map(|(candidate, baseline)| candidate - baseline),
        interval: bootstrap::paired_interval(
            first.as_ref(),
            second.as_ref(),
            settings.confidence,
            settings.draws,
            settings.seed,
        ),
    })
}

fn is_scored(metric: &Metric, sample: &Sample, task: &Task) -> bool {
    match metric.rule {
        Rule::Share(score) => score(sample, task).value().is_some(),
        Rule::Corpus(_) => sample.reply_and_gold().is_ok(),
    }
}

fn statistic(metric: &Metric, samples: &[&Sample], task: &Task) -> Box<dyn Statistic> {
    match metric.rule {
        Rule::Corpus(statistic) => statistic(samples, task),
        Rule::Share(score) => Box::new(Mean(
            samples
                .iter()
                .filter_map(|sample| score(sample, task).value())
                .collect(),
        )),
    }
}

/// The mean of scores.
struct Mean(Vec<f64>);

impl Statistic for Mean {
    fn samples(&self) -> usize {
        self.0.len()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        let count: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let sum: f64 = self
            .0
            .iter()
            .zip(weights)
            .map(|(score, weight)| score * f64::from(*weight))
            .sum();
        (count > 0).then(|| sum / count as f64)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(scores: &[(&str, Option<f64>)]) -> Vec<ScoredRow> {
        scores
            .iter()
            .map(|(id, score)| ScoredRow {
                id: (*id).to_owned(),
                score: score.map_or_else(|| Score::unscored("timed out"), Score::Value),
            })
            .collect()
    }

    #[test]
    fn pairs_are_joined_by_id_and_unscored_ones_are_left_out() {
        let candidate = rows(&[
            ("a", Some(1.0)),
            ("b", Some(0.0)),
            ("c", Some(1.0)),
            ("d", None),
        ]);
        let baseline = rows(&[
            ("d", Some(1.0)),
            ("c", Some(0.0)),
            ("b", Some(0.0)),
            ("a", Some(1.0)),
        ]);
        let found = compare(&candidate, &baseline, 0.95).unwrap();
        let table = PairedTable {
            both: 1,
            only_candidate: 1,
            only_baseline: 0,
            neither: 1,
        };
        assert_eq!((found.table, found.n, found.left_out), (table, 3, 1));
        assert_eq!(
            (found.candidate, found.baseline),
            (Some(2.0 / 3.0), Some(1.0 / 3.0))
        );
        let none = compare(&rows(&[("a", None)]), &rows(&[("a", Some(1.0))]), 0.95).unwrap();
        assert_eq!((none.n, none.difference, none.mcnemar_p), (0, None, None));
    }

    #[test]
    fn different_rows_are_an_error_and_not_a_smaller_table() {
        let candidate = rows(&[("a", Some(1.0)), ("b", Some(0.0))]);
        assert_eq!(
            compare(&candidate, &rows(&[("a", Some(1.0))]), 0.95),
            Err(CompareError::Rows {
                only_candidate: 1,
                only_baseline: 0,
                example: "b".into()
            })
        );
        let twice = rows(&[("a", Some(1.0)), ("a", Some(0.0))]);
        assert_eq!(
            compare(&twice, &candidate, 0.95),
            Err(CompareError::Duplicate { id: "a".into() })
        );
        let half = rows(&[("a", Some(0.5)), ("b", Some(1.0))]);
        assert!(matches!(
            compare(&half, &candidate, 0.95),
            Err(CompareError::NotRightOrWrong { .. })
        ));
    }
}
