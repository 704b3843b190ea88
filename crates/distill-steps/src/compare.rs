//! `compare`: scores every arm on the same rows, tests the differences, and decides.
//!
//! First the answers of all arms become records, one a row and arm ([`collect`]). Then every figure
//! and the verdict are made of the records and the [`Study`] alone ([`compare`]): a pure function,
//! so that a report can be made again from its folder.

use std::collections::BTreeMap;

use distill_chat::Task;
use distill_eval::{
    Comparison, ExpectedBy, Reference, Sample, SampleRecord, Score, ScoredRow, Settings,
    compare as pair_shares, compare_values,
};
use distill_report::{
    Arm as ArmFigures, CascadeFacts, CostModel, Counted, CurveFacts, Difference, Regressions, Role,
};
use distill_runner::StepFailure;
use serde::{Deserialize, Serialize};

use crate::{Arm, human::Answered};

mod candidates;
mod cascade;
mod cost;
mod differences;
mod figures;
mod folder;
mod judged;
mod records;
mod references;
mod regressions;
mod scorers;
mod seal;
mod study;
#[cfg(test)]
pub(crate) mod tests;
mod unanswered;

pub(crate) use folder::{read_samples, write_samples};
pub(crate) use judged::{JudgeStudy, Judging};
pub(crate) use records::{Evidence, Samples, answered_again, collect, column_text};
pub(crate) use scorers::{primary_name, primary_scorer_name};
pub(crate) use seal::{Seal, seal, unbroken};
pub(crate) use study::{ArmStudy, CascadeStudy, Study};

use references::Standing;
use scorers::Scorers;

/// What was found: the report's figures and the verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Findings {
    pub arms: Vec<ArmFigures>,
    pub differences: Vec<Difference>,
    pub regressions: Option<Regressions>,
    pub recommendation: distill_eval::Recommendation,
    pub cost: CostModel,
    pub cascades: Vec<CascadeFacts>,
    pub learning_curves: Vec<CurveFacts>,
    pub reference: Reference,
    /// Who vouches for the references, and for how many rows.
    pub expected_by: Vec<Counted>,
    /// Rows that the figures are made on.
    pub eval_rows: usize,
    pub notes: Vec<String>,
}

/// Scores, compares, decides.
///
/// # Errors
/// A [`StepFailure`] when an arm has no records, or the arms answered other rows.
pub(crate) fn compare(study: &Study, samples: &Samples) -> Result<Findings, StepFailure> {
    let task = Task::new(study.settings.task.clone())
        .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
    let scorers = Scorers::of(&study.settings)?;
    let mut standing = standing(study, samples);
    if let (Reference::TeacherLabels, Some(judge)) = (standing.reference, &study.judge) {
        standing.reference = judge.reference(&study.arms, samples);
    }
    let mut contestants = Vec::new();
    for arm in &study.arms {
        let records = records_of(arm, samples)?;
        same_rows(study, samples, arm, records)?;
        contestants.push(Contestant::new(arm, records, &task, &scorers, &standing));
    }
    let contest = Contest {
        study,
        task: &task,
        scorers: &scorers,
        groups: groups(&contestants),
        options: Settings {
            confidence: study.settings.accept.confidence,
            seed: study.settings.seed,
            ..Settings::default()
        },
        reference: standing.reference,
        is_drawn: standing.is_drawn(),
        contestants,
    };
    let cost = contest.cost_model();
    let cascades = contest.cascades();
    let recommendation = contest.recommend(&cost, &cascades)?;
    let mut arms: Vec<ArmFigures> = contest
        .contestants
        .iter()
        .map(|contestant| contest.figures(contestant, &cost))
        .collect();
    arms.extend(
        cascades
            .iter()
            .map(|cascade| contest.cascade_arm(cascade, &cost)),
    );
    Ok(Findings {
        arms,
        differences: contest.differences(&cascades)?,
        regressions: contest.regressions(recommendation.choice.as_deref()),
        recommendation,
        cascades: contest.cascade_facts(&cascades, &cost),
        learning_curves: study.learning_curves.clone(),
        cost,
        reference: standing.reference,
        eval_rows: contest
            .contestants
            .first()
            .map_or(0, |contestant| contestant.records.len()),
        notes: contest.notes(&standing),
        expected_by: standing.counts,
    })
}

/// Who vouches for the rows: the references are the same in the records of every arm.
fn standing(study: &Study, samples: &Samples) -> Standing {
    let records = study
        .arms
        .first()
        .and_then(|arm| samples.get(&arm.name))
        .map_or(&[] as &[SampleRecord], Vec::as_slice);
    Standing::of(
        records.iter().map(|record| record.expected_by),
        study.design.as_ref(),
        study.settings.seed,
    )
}

fn records_of<'a>(arm: &ArmStudy, samples: &'a Samples) -> Result<&'a [SampleRecord], StepFailure> {
    samples.get(&arm.name).map(Vec::as_slice).ok_or_else(|| {
        StepFailure::bad_input(format!("there are no records of the arm `{}`", arm.name)).hint(
            "a report's folder holds `samples/` with a file of every arm that `study.json` names",
        )
    })
}

/// Arms are held against each other place by place.
fn same_rows(
    study: &Study,
    samples: &Samples,
    arm: &ArmStudy,
    records: &[SampleRecord],
) -> Result<(), StepFailure> {
    let Some(first) = study.arms.first() else {
        return Ok(());
    };
    let asked = records_of(first, samples)?;
    let what = |record: &SampleRecord| {
        (
            record.id.clone(),
            record.expected.clone(),
            record.expected_by,
            record.group.clone(),
        )
    };
    let other = asked
        .iter()
        .zip(records)
        .find(|(one, other)| what(one) != what(other));
    if asked.len() == records.len() && other.is_none() {
        return Ok(());
    }
    let example = other.map_or_else(String::new, |(one, other)| {
        format!(
            ": where the one has row `{}`, the other has row `{}`, or another reference or group of it",
            one.id, other.id
        )
    });
    Err(StepFailure::bad_input(format!(
        "the records of `{}` ({} rows) and `{}` ({} rows) are not about the same rows in the same order{example}",
        first.name,
        asked.len(),
        arm.name,
        records.len()
    ))
    .hint("make the report again with `distill run`: arms can be compared on the same rows only"))
}

/// One arm with its records and scores, of the rows that the figures are made on.
struct Contestant<'a> {
    study: &'a ArmStudy,
    name: &'a str,
    /// Of every row.
    all: &'a [SampleRecord],
    records: Vec<&'a SampleRecord>,
    samples: Vec<Sample>,
    /// By the metric of the verdict.
    scores: Vec<ScoredRow>,
}

impl<'a> Contestant<'a> {
    fn new(
        study: &'a ArmStudy,
        all: &'a [SampleRecord],
        task: &Task,
        scorers: &Scorers,
        standing: &Standing,
    ) -> Self {
        let records: Vec<&SampleRecord> = all
            .iter()
            .filter(|record| standing.counts_row(record))
            .collect();
        Self {
            study,
            name: &study.name,
            samples: records.iter().map(|record| record.sample(task)).collect(),
            scores: scored_rows(&records, &scorers.primary().name()),
            all,
            records,
        }
    }

    fn side(&self) -> Side<'_> {
        Side {
            name: self.name,
            all: self.all.iter().collect(),
            scores: &self.scores,
        }
    }

    fn arm(&self) -> &Arm {
        &self.study.arm
    }

    /// Whether it could stand in the teacher's place.
    fn is_candidate(&self) -> bool {
        matches!(
            self.study.role(),
            Role::Student | Role::Floor | Role::CheaperApi
        )
    }

    /// Milliseconds of the rows that have a latency.
    fn latencies(&self) -> Vec<f64> {
        self.records
            .iter()
            .filter_map(|record| record.latency_ms)
            .collect()
    }
}

/// One side of a pair.
struct Side<'a> {
    name: &'a str,
    /// Of every row.
    all: Vec<&'a SampleRecord>,
    /// Of the rows that the figures are made on.
    scores: &'a [ScoredRow],
}

/// The recorded scores of one scorer.
fn scored_rows(records: &[&SampleRecord], scorer: &str) -> Vec<ScoredRow> {
    records
        .iter()
        .map(|record| ScoredRow {
            id: record.id.clone(),
            score: record
                .scores
                .get(scorer)
                .cloned()
                .unwrap_or_else(|| Score::unscored("no score was recorded for this row")),
        })
        .collect()
}

/// Group of each row that has one, by row id.
fn groups(contestants: &[Contestant<'_>]) -> BTreeMap<String, String> {
    contestants
        .first()
        .iter()
        .flat_map(|contestant| &contestant.records)
        .filter_map(|record| Some((record.id.clone(), record.group.clone()?)))
        .collect()
}

/// Everything that the figures are taken from.
struct Contest<'a> {
    study: &'a Study,
    task: &'a Task,
    scorers: &'a Scorers,
    contestants: Vec<Contestant<'a>>,
    groups: BTreeMap<String, String>,
    options: Settings,
    reference: Reference,
    /// Pairs have to be balanced: see [`Standing::is_drawn`].
    is_drawn: bool,
}

impl<'a> Contest<'a> {
    fn find(&self, arm: &Arm) -> Option<&Contestant<'a>> {
        self.contestants
            .iter()
            .find(|contestant| contestant.arm() == arm)
    }

    fn teacher(&self) -> Option<&Contestant<'a>> {
        self.find(&Arm::Teacher)
    }

    fn students(&self) -> impl Iterator<Item = &Contestant<'a>> {
        self.contestants
            .iter()
            .filter(|contestant| matches!(contestant.arm(), Arm::Student(_)))
    }

    /// Two sides by the metric of the verdict: right and wrong pair by pair, or a paired bootstrap
    /// where scores are more than that or rows depend on each other.
    fn pair(&self, candidate: &Side<'_>, baseline: &Side<'_>) -> Result<Comparison, StepFailure> {
        if let Some(judge) = self.deciding_judge() {
            return self
                .pair_by_judge(judge, candidate, baseline)
                .map_err(|error| cannot_pair(candidate, baseline).caused_by(error));
        }
        let drawn = self.study.design.as_ref().filter(|_| self.is_drawn);
        let balanced = match drawn {
            Some(design) => {
                let texts = (self.canonical(candidate), self.canonical(baseline));
                let mine = self.answered(candidate, &texts.0);
                let theirs = self.answered(baseline, &texts.1);
                // Where labels say nothing of a pair, there is nothing to compare: n = 0, undecided.
                let balanced = design.balance(&mine, &theirs, self.options.seed);
                Some(balanced.unwrap_or_default())
            }
            None => None,
        };
        let (first, second) = match &balanced {
            Some(balanced) => (balanced.candidate.as_slice(), balanced.baseline.as_slice()),
            None => (candidate.scores, baseline.scores),
        };
        let compared = if self.scorers.decides_by_share() && self.groups.is_empty() {
            pair_shares(first, second, self.options.confidence)
        } else {
            let scale = self.scorers.scale();
            compare_values(first, second, scale, &self.groups, &self.options)
        };
        compared.map_err(|error| cannot_pair(candidate, baseline).caused_by(error))
    }

    /// The canonical answer to every row, where the reply was one.
    fn canonical(&self, side: &Side<'_>) -> Vec<Option<String>> {
        side.all
            .iter()
            .map(|record| record.sample(self.task).answer().map(str::to_owned))
            .collect()
    }

    /// What a side said to every row, with its score where a person vouches for the row.
    fn answered<'b>(&self, side: &Side<'b>, texts: &'b [Option<String>]) -> Vec<Answered<'b>> {
        let scorer = self.scorers.primary().name();
        side.all
            .iter()
            .zip(texts)
            .map(|(record, text)| Answered {
                id: &record.id,
                answer: text.as_deref(),
                score: match record.scores.get(&scorer) {
                    Some(score) if record.expected_by == Some(ExpectedBy::Human) => score.clone(),
                    _ => Score::unscored("nobody answered this row by hand"),
                },
            })
            .collect()
    }

    fn compare(
        &self,
        candidate: &Contestant<'_>,
        baseline: &Contestant<'_>,
    ) -> Result<Comparison, StepFailure> {
        self.pair(&candidate.side(), &baseline.side())
    }
}

fn cannot_pair(candidate: &Side<'_>, baseline: &Side<'_>) -> StepFailure {
    StepFailure::bad_input(format!(
        "the answers of `{}` and `{}` cannot be paired",
        candidate.name, baseline.name
    ))
}
