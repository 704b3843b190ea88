//! What a judge said, in the records and in the verdict.
//!
//! A judge's scores stand beside the others. The verdict rests on them only where nobody else
//! vouches for an answer: then to equal the teacher is all that could be measured otherwise. Where
//! people judged enough of the same answers, the judge's scores are corrected with theirs and can
//! show that the teacher may be replaced; an uncalibrated judge cannot.

use std::collections::BTreeMap;

use distill_eval::{
    Aggregate, CompareError, Comparison, Direction, JudgedSide, Reference, SampleRecord, Scale,
    Score, ScoredRow, Unit, aggregate_scores, compare_judged, compare_values, judge::JudgeMode,
};
use serde::{Deserialize, Serialize};

use super::{ArmStudy, Contest, Contestant, Samples, Side};
use crate::{
    Arm,
    judge::{HumanVerdict, JudgedRow},
};

/// Rows that people must have judged of both sides of a pair before a verdict may rest on it: with
/// fewer the corrected interval is narrower than it ought to be.
const LEAST_VERDICTS: usize = 30;

/// What a judging step left.
#[derive(Debug, Clone)]
pub(crate) struct Judging {
    pub study: JudgeStudy,
    pub rows: Vec<JudgedRow>,
}

/// What a comparison knows of its judge beside the records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct JudgeStudy {
    pub mode: JudgeMode,
    /// What people said of the judged answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<HumanVerdict>,
    /// What judging cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
}

impl Judging {
    /// Puts what was said into the records.
    pub(super) fn note(&self, samples: &mut Samples) {
        let mut said: BTreeMap<(&str, &str), &JudgedRow> = BTreeMap::new();
        for row in &self.rows {
            said.insert((&row.arm, &row.id), row);
        }
        let metric = self.study.mode.metric();
        for (arm, records) in samples {
            for record in records {
                if let Some(row) = said.get(&(arm.as_str(), record.id.as_str())) {
                    record.judged.clone_from(&row.judged);
                    let score = row.score.clone();
                    record.scores.insert(metric.to_owned(), score);
                }
            }
        }
    }
}

impl JudgeStudy {
    /// What a verdict by this judge is held against.
    pub(super) fn reference(&self, arms: &[ArmStudy], samples: &Samples) -> Reference {
        let candidates = || {
            arms.iter()
                .filter(|arm| matches!(arm.arm, Arm::Student(_) | Arm::Cheaper(_)))
        };
        let teacher = Arm::Teacher.name();
        let records = |arm: &str| samples.get(arm).map_or(&[] as &[_], Vec::as_slice);
        // A person's verdict corrects nothing where the judge has none, for want of money or of an
        // answer.
        let by_both = |arm: &str, record: &SampleRecord| {
            self.said(arm, &record.id).is_some() && score(record, self).value().is_some()
        };
        let asked = records(&teacher);
        let enough = |arm: &ArmStudy| {
            let both = records(&arm.name)
                .iter()
                .enumerate()
                .filter(|(place, record)| {
                    by_both(&arm.name, record)
                        && (self.mode == JudgeMode::Pairwise
                            || asked
                                .get(*place)
                                .is_some_and(|asked| by_both(&teacher, asked)))
                });
            both.count() >= LEAST_VERDICTS
        };
        // The corrected interval takes every row for itself.
        let grouped = samples
            .values()
            .flatten()
            .any(|record| record.group.is_some());
        if !grouped && candidates().next().is_some() && candidates().all(enough) {
            Reference::CalibratedJudge
        } else {
            Reference::UncalibratedJudge
        }
    }

    /// What a person said of an arm's answer to a row.
    fn said(&self, arm: &str, id: &str) -> Option<f64> {
        self.verdicts
            .iter()
            .find(|verdict| verdict.arm == arm && verdict.id == id)
            .map(|verdict| verdict.score)
    }

    /// What the reader must know where the verdict rests on the judge.
    pub(super) fn notes(&self, reference: Reference) -> Vec<String> {
        match reference {
            Reference::CalibratedJudge => vec![format!(
                "nobody but the teacher vouches for the test rows, so the verdict rests on the judge's scores, corrected with {} human verdicts (prediction-powered inference); that holds when the rows with a human verdict are a random part of the test rows",
                self.verdicts.len()
            )],
            Reference::UncalibratedJudge => vec![format!(
                "nobody but the teacher vouches for the test rows, and the judge is uncalibrated: {} human verdicts do not calibrate it ({LEAST_VERDICTS} rows judged by people on both sides are needed, and rows that do not depend on each other), so its scores cannot show that the teacher may be replaced",
                self.verdicts.len()
            )],
            _ => Vec::new(),
        }
    }
}

impl Contest<'_> {
    /// The judge, where the verdict rests on it.
    pub(super) fn deciding_judge(&self) -> Option<&JudgeStudy> {
        let decides = matches!(
            self.reference,
            Reference::CalibratedJudge | Reference::UncalibratedJudge
        );
        self.study.judge.as_ref().filter(|_| decides)
    }

    /// Two sides by the judge: each row's score of both, pairwise the candidate's share of the win
    /// and what it leaves to the baseline. Corrected where people judged both.
    pub(super) fn pair_by_judge(
        &self,
        judge: &JudgeStudy,
        candidate: &Side<'_>,
        baseline: &Side<'_>,
    ) -> Result<Comparison, CompareError> {
        let mut sides = Sides::default();
        for (mine, theirs) in candidate.all.iter().zip(&baseline.all) {
            let (judged, human) = match judge.mode {
                JudgeMode::Pointwise => (
                    (score(mine, judge), score(theirs, judge)),
                    judge
                        .said(candidate.name, &mine.id)
                        .zip(judge.said(baseline.name, &mine.id)),
                ),
                // Every answer was held against the teacher's, and against no other.
                JudgeMode::Pairwise if baseline.name == Arm::Teacher.name() => {
                    let won = score(mine, judge);
                    let left = match won.value() {
                        Some(won) => Score::Value(1.0 - won),
                        None => won.clone(),
                    };
                    let human = judge.said(candidate.name, &mine.id);
                    ((won, left), human.map(|won| (won, 1.0 - won)))
                }
                JudgeMode::Pairwise => {
                    let none = Score::unscored("no judge held these two against each other");
                    ((none.clone(), none), None)
                }
            };
            sides.push(&mine.id, judged, human);
        }
        let (mine, theirs) = &sides.judged;
        if self.reference == Reference::CalibratedJudge {
            let side = |judge, human| JudgedSide { judge, human };
            return compare_judged(
                side(mine, &sides.human.0),
                side(theirs, &sides.human.1),
                Scale::default(),
                &self.options,
            );
        }
        compare_values(mine, theirs, Scale::default(), &self.groups, &self.options)
    }

    /// The judge's scores of one arm, where it has any.
    pub(super) fn judge_score(&self, contestant: &Contestant<'_>) -> Option<Aggregate> {
        let metric = self.study.judge.as_ref()?.mode.metric();
        let rows: Vec<ScoredRow> = contestant
            .records
            .iter()
            .filter_map(|record| {
                Some(ScoredRow {
                    id: record.id.clone(),
                    score: record.scores.get(metric)?.clone(),
                })
            })
            .collect();
        (!rows.is_empty()).then(|| {
            aggregate_scores(
                metric,
                Unit::Score0To1,
                Direction::Higher,
                &rows,
                &self.groups,
                &self.options,
            )
        })
    }
}

fn score(record: &SampleRecord, judge: &JudgeStudy) -> Score {
    let scored = record.scores.get(judge.mode.metric());
    scored
        .cloned()
        .unwrap_or_else(|| Score::unscored("the judge was not asked about this answer"))
}

/// Scores of both sides, row by row.
#[derive(Default)]
struct Sides {
    judged: (Vec<ScoredRow>, Vec<ScoredRow>),
    /// Of the rows of which people judged both.
    human: (BTreeMap<String, f64>, BTreeMap<String, f64>),
}

impl Sides {
    fn push(&mut self, id: &str, judged: (Score, Score), human: Option<(f64, f64)>) {
        let row = |score| ScoredRow {
            id: id.to_owned(),
            score,
        };
        self.judged.0.push(row(judged.0));
        self.judged.1.push(row(judged.1));
        if let Some((mine, theirs)) = human {
            self.human.0.insert(id.to_owned(), mine);
            self.human.1.insert(id.to_owned(), theirs);
        }
    }
}

#[cfg(test)]
mod tests;
