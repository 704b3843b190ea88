//! Two files of records: the same figures as the run that wrote them, from the files alone.

use std::{collections::BTreeSet, path::Path};

use distill_eval::{Aggregate, Direction, SampleRecord, Score, ScoredRow, Settings, Unit, metric};
use distill_runner::StepFailure;
use serde::Serialize;

use super::{
    PairFigures,
    score::{Pooling, Side, groups_of},
};
use crate::rows::read_records;

/// What two files of records say of each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileComparison {
    pub candidate: String,
    pub baseline: String,
    pub rows: usize,
    pub confidence: f64,
    pub figures: Vec<FileFigures>,
    /// Scorers that one file has and the other has not.
    pub only_in_one: Vec<String>,
}

/// One scorer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileFigures {
    pub scorer: String,
    pub unit: Unit,
    pub direction: Direction,
    /// The candidate's, then the baseline's.
    pub values: [Aggregate; 2],
    pub pair: PairFigures,
}

/// Compares two files of records: every scorer that both have, or the one that is named.
///
/// A scorer of this program is pooled as it says. Scores of a command or a judge count as right and
/// wrong where each of them is 0 or 1.
///
/// # Errors
/// A [`StepFailure`]: a file that holds no records, other rows in the two files, no such scorer.
pub fn compare_files(
    candidate: &Path,
    baseline: &Path,
    scorer: Option<&str>,
    settings: &Settings,
) -> Result<FileComparison, StepFailure> {
    let (first, second) = (read_records(candidate)?, read_records(baseline)?);
    let (here, there) = (scorers(&first), scorers(&second));
    let shared: Vec<&String> = here
        .intersection(&there)
        .filter(|name| scorer.is_none_or(|wanted| is_called(name, wanted)))
        .collect();
    if shared.is_empty() {
        let list = |names: &BTreeSet<String>| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.join(", ")
        };
        return Err(StepFailure::bad_input(match scorer {
            Some(wanted) => format!("the scorer `{wanted}` is not in both files"),
            None => "no scorer is in both files".to_owned(),
        })
        .hint(format!(
            "{} has {}; {} has {}",
            candidate.display(),
            list(&here),
            baseline.display(),
            list(&there)
        )));
    }
    let mut groups = groups_of(&first);
    groups.extend(groups_of(&second));
    let (first_name, second_name) = names(candidate, baseline);
    let figures = shared
        .into_iter()
        .map(|name| {
            let first = side(&first_name, &first, name);
            let second = side(&second_name, &second, name);
            let pooling = pooling_of(name, [&first, &second]);
            Ok(FileFigures {
                scorer: name.clone(),
                unit: pooling.unit,
                direction: pooling.direction,
                pair: pooling.pair(&first, &second, &groups, settings)?,
                values: [&first, &second]
                    .map(|side| pooling.aggregate(name, &side.rows, &groups, settings)),
            })
        })
        .collect::<Result<_, StepFailure>>()?;
    Ok(FileComparison {
        candidate: first_name,
        baseline: second_name,
        rows: first.len(),
        confidence: settings.confidence,
        figures,
        only_in_one: here.symmetric_difference(&there).cloned().collect(),
    })
}

/// The files' names without ending, or their whole paths where those are the same.
fn names(candidate: &Path, baseline: &Path) -> (String, String) {
    let stem = |path: &Path| {
        path.file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    };
    let names = (stem(candidate), stem(baseline));
    if names.0 == names.1 {
        return (
            candidate.display().to_string(),
            baseline.display().to_string(),
        );
    }
    names
}

fn scorers(records: &[SampleRecord]) -> BTreeSet<String> {
    records
        .iter()
        .flat_map(|record| record.scores.keys().cloned())
        .collect()
}

/// Whether a scorer is meant: by its whole name, or by its metric's.
pub(super) fn is_called(name: &str, wanted: &str) -> bool {
    name == wanted || metric_name(name) == wanted
}

fn metric_name(name: &str) -> &str {
    name.split('(').next().unwrap_or(name)
}

fn side(name: &str, records: &[SampleRecord], scorer: &str) -> Side {
    let rows = records
        .iter()
        .map(|record| ScoredRow {
            id: record.id.clone(),
            score: record
                .scores
                .get(scorer)
                .cloned()
                .unwrap_or_else(|| Score::unscored("the file has no score of this row")),
        })
        .collect();
    Side {
        name: name.to_owned(),
        rows,
    }
}

fn pooling_of(name: &str, sides: [&Side; 2]) -> Pooling {
    if let Some(metric) = metric(metric_name(name)) {
        return Pooling::of_metric(metric);
    }
    let right_or_wrong = sides
        .iter()
        .flat_map(|side| &side.rows)
        .filter_map(|row| row.score.value())
        .all(|value| [0.0, 1.0].contains(&value));
    Pooling {
        unit: if right_or_wrong {
            Unit::Share
        } else {
            Unit::Points
        },
        direction: Direction::Higher,
        right_or_wrong,
    }
}
