//! Answers that never arrived: what a pair of arms comes to when they count against the candidate.
//!
//! A row that one side left unanswered has no score there and is left out of the pair. Whoever is
//! silent on what is hard would gain by that, so a verdict has to hold in the worst case, too (C. F.
//! Manski, "Partial identification of probability distributions", 2003, chapter 1): each missing
//! answer of the candidate wrong, each of the baseline right.

use std::collections::BTreeMap;

use distill_eval::{Comparison, SampleRecord, Score, ScoredRow, judge::JudgeMode};
use distill_runner::StepFailure;

use super::{Contest, Side};

/// Which sides of a pair said nothing to a row.
#[derive(Clone, Copy)]
struct Silent {
    candidate: bool,
    baseline: bool,
}

impl Contest<'_> {
    /// The pair with missing answers counted against the candidate; `None` where there are none.
    ///
    /// A row that a cascade defers is one answer of the teacher for both sides: where it is missing,
    /// it is missing for both alike and stays left out.
    pub(super) fn pair_at_worst(
        &self,
        candidate: &Side<'_>,
        baseline: &Side<'_>,
    ) -> Result<Option<Comparison>, StepFailure> {
        let judged = self.deciding_judge();
        let silent: BTreeMap<&str, Silent> = candidate
            .all
            .iter()
            .zip(&baseline.all)
            .filter(|(mine, _)| judged.is_some() || mine.expected.is_some())
            .filter(|(mine, theirs)| !std::ptr::eq(**mine, **theirs))
            .map(|(mine, theirs)| {
                let silent = Silent {
                    candidate: mine.output.is_none(),
                    baseline: theirs.output.is_none(),
                };
                (mine.id.as_str(), silent)
            })
            .filter(|(_, silent)| silent.candidate || silent.baseline)
            .collect();
        if silent.is_empty() {
            return Ok(None);
        }
        let scale = self.scorers.scale();
        let (least, most) = (Score::Value(0.0), Score::Value(scale.full));
        let (worst, best) = if scale.lower_is_better {
            (most, least)
        } else {
            (least, most)
        };
        let pairwise = judged.is_some_and(|judge| judge.mode == JudgeMode::Pairwise);
        // What a judge of pairs says of the two is kept with the candidate's answer.
        let mine = |silent: &Silent| silent.candidate || (pairwise && silent.baseline);
        let mine = self.with(candidate, &silent, mine, &worst);
        let theirs = self.with(baseline, &silent, |silent| silent.baseline, &best);
        self.pair(&mine.side(candidate.name), &theirs.side(baseline.name))
            .map(Some)
    }

    /// A side with a score put in where it has none.
    fn with(
        &self,
        side: &Side<'_>,
        silent: &BTreeMap<&str, Silent>,
        is_missing: impl Fn(&Silent) -> bool,
        score: &Score,
    ) -> Filled {
        let missing = |id: &str| silent.get(id).is_some_and(&is_missing);
        let mut names = vec![self.scorers.primary().name()];
        names.extend(
            self.deciding_judge()
                .map(|judge| judge.mode.metric().to_owned()),
        );
        let all = side.all.iter().map(|record| {
            let mut record = SampleRecord::clone(record);
            if missing(&record.id) {
                let scores = names.iter().map(|name| (name.clone(), score.clone()));
                record.scores.extend(scores);
            }
            record
        });
        let scores = side.scores.iter().map(|row| {
            let mut row = row.clone();
            if missing(&row.id) {
                row.score = score.clone();
            }
            row
        });
        Filled {
            all: all.collect(),
            scores: scores.collect(),
        }
    }
}

/// A side's records and scores of its own.
struct Filled {
    all: Vec<SampleRecord>,
    scores: Vec<ScoredRow>,
}

impl Filled {
    fn side<'a>(&'a self, name: &'a str) -> Side<'a> {
        Side {
            name,
            all: self.all.iter().collect(),
            scores: &self.scores,
        }
    }
}
