//! What the report shows of each arm: its scores, slices, speed and confusions.

use std::collections::BTreeMap;

use distill_chat::TaskKind;
use distill_eval::{
    Aggregate, Confusion, Sample, ScoredRow, Scorer, aggregate, aggregate_scores, per_field,
    stats::quantiles,
};
use distill_report::{Arm as ArmFigures, ConfusionFacts, CostModel, Slice, Speed};

use super::{Contest, Contestant, references::Standing, scored_rows};
use crate::Arm;

/// Confused pairs that the report shows.
const SHOWN_PAIRS: usize = 12;
/// Values of a column that the report slices by; the most frequent ones.
const SHOWN_VALUES: usize = 20;

impl Contest<'_> {
    pub(super) fn figures(&self, contestant: &Contestant<'_>, cost: &CostModel) -> ArmFigures {
        let task = &self.study.settings.task;
        let confusion = (task.kind == TaskKind::Classify)
            .then(|| Confusion::count(&contestant.samples, self.task));
        ArmFigures {
            name: contestant.name.to_owned(),
            role: contestant.study.role(),
            description: contestant
                .study
                .description(task.kind, self.study.settings.controls_of.as_deref()),
            simulated: contestant.study.simulated,
            scores: self
                .scorers
                .all()
                .map(|scorer| self.score(scorer, contestant))
                .chain(self.judge_score(contestant))
                .collect(),
            speed: speed(contestant),
            usd_per_1000: contestant.usd_per_1000(cost),
            labels: confusion
                .as_ref()
                .map(Confusion::per_label)
                .unwrap_or_default(),
            fields: if task.kind == TaskKind::Extract {
                per_field(&contestant.samples, self.task, &self.options)
            } else {
                Vec::new()
            },
            confusion: confusion.as_ref().and_then(ConfusionFacts::of),
            confused: confusion
                .map(|confusion| confusion.top_pairs(SHOWN_PAIRS))
                .unwrap_or_default(),
            slices: self.slices(contestant),
        }
    }

    /// A scorer's figure: from the recorded scores where rows have one, else from the answers.
    fn score(&self, scorer: &Scorer, contestant: &Contestant<'_>) -> Aggregate {
        if scorer.metric.scores_rows() {
            self.aggregate_rows(scorer, &scored_rows(&contestant.records, &scorer.name()))
        } else {
            aggregate(scorer, &contestant.samples, self.task, &self.options)
        }
    }

    fn aggregate_rows(&self, scorer: &Scorer, rows: &[ScoredRow]) -> Aggregate {
        let metric = scorer.metric;
        aggregate_scores(
            &scorer.name(),
            metric.unit,
            metric.direction,
            rows,
            &self.groups,
            &self.options,
        )
    }

    /// The metric of the verdict over scores that were put together elsewhere.
    pub(super) fn aggregate_primary(&self, rows: &[ScoredRow]) -> Aggregate {
        self.aggregate_rows(self.scorers.primary(), rows)
    }

    /// For an extraction, the rows whose right answer is not the empty object: on the others the
    /// constant is right for free. Then the columns that the spec names.
    fn slices(&self, contestant: &Contestant<'_>) -> Vec<Slice> {
        let mut slices = Vec::new();
        if self.study.settings.task.kind == TaskKind::Extract {
            let is_filled = |sample: &Sample| {
                sample
                    .gold
                    .as_deref()
                    .is_some_and(|gold| gold.trim() != "{}")
            };
            slices.push(self.slice(
                "rows whose right answer is not {}".to_owned(),
                contestant,
                |index| is_filled(&contestant.samples[index]),
            ));
        }
        for column in &self.study.settings.slices {
            for value in frequent(contestant, column) {
                slices.push(
                    self.slice(format!("{column} = {value}"), contestant, |index| {
                        contestant.records[index]
                            .slices
                            .get(column)
                            .map(String::as_str)
                            == Some(value)
                    }),
                );
            }
        }
        slices
    }

    fn slice(
        &self,
        name: String,
        contestant: &Contestant<'_>,
        is_in: impl Fn(usize) -> bool,
    ) -> Slice {
        let rows: Vec<ScoredRow> = contestant
            .scores
            .iter()
            .enumerate()
            .filter(|(index, _)| is_in(*index))
            .map(|(_, row)| row.clone())
            .collect();
        Slice {
            name,
            score: self.aggregate_primary(&rows),
        }
    }

    /// What a reader must know to read the figures right.
    pub(super) fn notes(&self, standing: &Standing) -> Vec<String> {
        let settings = &self.study.settings;
        let mut notes = standing.notes();
        notes.extend(self.study.notes.iter().cloned());
        if let Some(judge) = self.deciding_judge() {
            notes.extend(judge.notes(self.reference));
        }
        if settings.cost.assumed {
            notes.push(
                "the machine's price and the request rate are assumed: set `cost` to your own"
                    .to_owned(),
            );
        }
        for contestant in &self.contestants {
            let cut = contestant
                .study
                .engine
                .as_ref()
                .map_or(0, |engine| engine.cut_prompts);
            if cut > 0 {
                notes.push(format!(
                    "{cut} prompts were longer than the context of `{}` and were cut on the left",
                    contestant.name
                ));
            }
        }
        if let Some(groups) = self.too_few_groups() {
            notes.push(format!(
                "the rows stand in {groups} groups of `evals.group`: intervals over so few are too narrow, and no verdict rests on them"
            ));
        }
        let chosen = |cascade: &super::CascadeStudy| cascade.threshold.is_some();
        if !self.groups.is_empty() && self.study.cascades.iter().any(chosen) {
            notes.push("the bound on what a cascade's student gets wrong takes every calibration row for itself, and rows here stand in groups of `evals.group`: where the rows of a group are wrong together it is too low; what was wrong on the eval rows stands beside it".to_owned());
        }
        for column in &settings.slices {
            let values = self
                .contestants
                .first()
                .map_or(0, |contestant| counts(contestant, column).len());
            if values > SHOWN_VALUES {
                notes.push(format!(
                    "column `{column}` has {values} values, and slices show the {SHOWN_VALUES} most frequent"
                ));
            }
        }
        notes
    }
}

/// The most frequent values of a column, the most frequent first.
fn frequent<'a>(contestant: &'a Contestant<'_>, column: &str) -> Vec<&'a str> {
    let mut values: Vec<(&str, usize)> = counts(contestant, column).into_iter().collect();
    values.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    values
        .into_iter()
        .take(SHOWN_VALUES)
        .map(|(value, _)| value)
        .collect()
}

fn counts<'a>(contestant: &'a Contestant<'_>, column: &str) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for record in &contestant.records {
        if let Some(value) = record.slices.get(column) {
            *counts.entry(value.as_str()).or_default() += 1;
        }
    }
    counts
}

fn speed(contestant: &Contestant<'_>) -> Option<Speed> {
    let per_answer_ms = quantiles(&contestant.latencies())?;
    if let Some(account) = &contestant.study.account {
        return Some(Speed {
            per_answer_ms,
            answers_per_second: None,
            measured_on: format!(
                "through the gateway, without failed attempts{}",
                if account.from_journal > 0 {
                    format!(
                        "; {} answers come from the journal and count with the latency of their day",
                        account.from_journal
                    )
                } else {
                    String::new()
                }
            ),
            left_out: None,
        });
    }
    if let Some(served) = contestant.served_speed() {
        return Some(served);
    }
    let engine = contestant.study.engine.as_ref();
    Some(Speed {
        per_answer_ms,
        answers_per_second: engine
            .filter(|engine| engine.batch_seconds > 0.0 && *contestant.arm() != Arm::Constant)
            .map(|engine| engine.batch_rows as f64 / engine.batch_seconds),
        measured_on: format!(
            "{} threads; one request at a time after warm-up; answers/s in batches",
            engine.map_or(1, |engine| engine.threads)
        ),
        left_out: None,
    })
}
