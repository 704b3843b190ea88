//! From records to figures: each scorer's values, the pairs, the slices.

use std::collections::{BTreeMap, HashMap};

use distill_chat::Fields;
use distill_eval::{
    Aggregate, Comparison, Direction, IntervalMethod, Rule, Sample, SampleRecord, Scale, Score,
    ScoredRow, Scorer, Settings, Unit, aggregate, aggregate_scores, compare, compare_samples,
    compare_values, stats,
};
use distill_pipeline::spec::suite::{CommandDirection, CommandSpec, CommandUnit, RecordedAnswers};
use distill_report::JudgeFacts;
use distill_runner::{StepContext, StepFailure};

use super::{
    Answerer, AnswererFacts, Answers, Check, PairFigures, RowScorer, ScorerFigures, SliceFigures,
    SliceValue, Suite, Summary, command,
    judging::UNCALIBRATED,
    source_name,
    summary::{FORMAT, RowFacts},
};
use crate::teacher::Teachers;

/// Values of one column that have a figure each.
const MOST_SLICES: usize = 30;

/// One answerer's rows under one scorer.
pub(super) struct Side {
    pub(super) name: String,
    pub(super) rows: Vec<ScoredRow>,
}

/// How scores of rows are put together. All that is needed to do it again from files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pooling {
    pub(super) unit: Unit,
    pub(super) direction: Direction,
    /// Each score is right (1) or wrong (0).
    pub(super) right_or_wrong: bool,
}

impl Pooling {
    pub(super) fn of_metric(metric: &distill_eval::Metric) -> Self {
        Self {
            unit: metric.unit,
            direction: metric.direction,
            right_or_wrong: matches!(metric.rule, Rule::Share(_)),
        }
    }

    fn of_command(command: &CommandSpec) -> Self {
        let share = command.unit == CommandUnit::Share;
        Self {
            unit: if share { Unit::Share } else { Unit::Points },
            direction: match command.direction {
                CommandDirection::Higher => Direction::Higher,
                CommandDirection::Lower => Direction::Lower,
            },
            right_or_wrong: share,
        }
    }

    pub(super) fn aggregate(
        self,
        name: &str,
        rows: &[ScoredRow],
        groups: &BTreeMap<String, String>,
        settings: &Settings,
    ) -> Aggregate {
        aggregate_scores(name, self.unit, self.direction, rows, groups, settings)
    }

    /// Candidate against baseline, row by row.
    pub(super) fn pair(
        self,
        candidate: &Side,
        baseline: &Side,
        groups: &BTreeMap<String, String>,
        settings: &Settings,
    ) -> Result<PairFigures, StepFailure> {
        let failed = |error: distill_eval::CompareError| {
            StepFailure::bad_input(format!(
                "`{}` and `{}` cannot be compared",
                candidate.name, baseline.name
            ))
            .caused_by(error)
        };
        let names = (candidate.name.clone(), baseline.name.clone());
        if self.right_or_wrong && groups.is_empty() {
            let found =
                compare(&candidate.rows, &baseline.rows, settings.confidence).map_err(failed)?;
            let p = found.mcnemar_p;
            return Ok(figures_of(names, found, p));
        }
        let scale = Scale::of(self.unit, self.direction);
        let against = |first: &Side, second: &Side| {
            compare_values(&first.rows, &second.rows, scale, groups, settings).map_err(failed)
        };
        let found = against(candidate, baseline)?;
        let p = two_sided(&found, || against(baseline, candidate))?;
        Ok(figures_of(names, found, p))
    }
}

/// The two-sided p of "there is no difference", from the one-sided p of "the first is worse, or the
/// same". `back` compares the other way round: it is needed only where no draw differed from
/// another, since all other draws mirror each other.
fn two_sided(
    found: &Comparison,
    back: impl FnOnce() -> Result<Comparison, StepFailure>,
) -> Result<Option<f64>, StepFailure> {
    let Some(worse) = found.noninferiority_p(0.0) else {
        return Ok(None);
    };
    let constant = found
        .interval
        .is_some_and(|interval| interval.method == IntervalMethod::ClopperPearson);
    let better = if constant {
        back()?.noninferiority_p(0.0).unwrap_or(1.0)
    } else {
        1.0 - worse
    };
    Ok(Some((2.0 * worse.min(better)).min(1.0)))
}

fn figures_of(names: (String, String), found: Comparison, p: Option<f64>) -> PairFigures {
    PairFigures {
        candidate: names.0,
        baseline: names.1,
        n: found.n,
        left_out: found.left_out,
        groups: found.groups,
        difference: found.difference,
        interval: found.interval,
        table: found.table,
        p,
        holm_p: None,
    }
}

/// The group of each row that has one.
pub(super) fn groups_of(records: &[SampleRecord]) -> BTreeMap<String, String> {
    records
        .iter()
        .filter_map(|record| Some((record.id.clone(), record.group.clone()?)))
        .collect()
}

/// Corrects the p values of one scorer's pairs for their number.
pub(super) fn correct(pairs: &mut [PairFigures]) {
    let known: Vec<f64> = pairs.iter().filter_map(|pair| pair.p).collect();
    let mut corrected = stats::holm(&known).into_iter();
    for pair in pairs.iter_mut().filter(|pair| pair.p.is_some()) {
        pair.holm_p = corrected.next();
    }
}

impl Suite {
    /// Names of the scorers, as results show them.
    pub fn scorer_names(&self) -> Vec<String> {
        self.scorers
            .iter()
            .map(|scorer| match scorer {
                RowScorer::Named(scorer) => scorer.name(),
                RowScorer::Command(command) => command.name.clone(),
            })
            .collect()
    }

    /// Scores all answers, writes the scores of rows into their records, and compares every pair.
    ///
    /// # Errors
    /// A [`StepFailure`] when a command fails or the run is interrupted.
    pub async fn summarise(
        &self,
        answers: &mut [Answers],
        version: &str,
        teachers: &Teachers,
        context: &StepContext,
    ) -> Result<Summary, StepFailure> {
        let mut scorers = Vec::new();
        for scorer in &self.scorers {
            if context.is_cancelled() {
                return Err(StepFailure::interrupted());
            }
            scorers.push(match scorer {
                RowScorer::Named(scorer) if scorer.metric.scores_rows() => {
                    let scored = answers
                        .iter()
                        .map(|one| self.row_scores(scorer, one))
                        .collect();
                    let pooling = Pooling::of_metric(scorer.metric);
                    let about = Some(scorer.metric.description.to_owned());
                    self.row_figures(&scorer.name(), pooling, about, answers, scored)?
                }
                RowScorer::Named(scorer) => self.corpus_figures(scorer, answers)?,
                RowScorer::Command(command) => {
                    let mut scored = Vec::new();
                    for one in &*answers {
                        scored.push(self.command_scores(command, one, context).await?);
                    }
                    let about = Some(format!("by the command `{}`", command.run.join(" ")));
                    let pooling = Pooling::of_command(command);
                    self.row_figures(&command.name, pooling, about, answers, scored)?
                }
            });
        }
        let judge = match &self.spec.judge {
            None => None,
            Some(spec) => {
                let (facts, figures) = self.judged(spec, answers, teachers, context).await?;
                scorers.extend(figures);
                Some(facts)
            }
        };
        let settings = self.settings();
        Ok(Summary {
            format: FORMAT,
            suite: self.spec.name.clone(),
            description: self.spec.description.clone(),
            version: version.to_owned(),
            task: self.task.definition().clone(),
            rows: RowFacts {
                source: source_name(&self.spec.rows),
                sha256: self.rows_hash.to_string(),
                count: self.rows.len(),
                with_expected: self
                    .rows
                    .iter()
                    .filter(|row| row.row.gold.is_some())
                    .count(),
                limit: self.spec.limit,
            },
            confidence: settings.confidence,
            draws: settings.draws,
            seed: settings.seed,
            answerers: answers.iter().map(AnswererFacts::of).collect(),
            notes: self.notes(&scorers, judge.as_ref(), answers),
            scorers,
            judge,
            requirements: Vec::new(),
        })
    }

    fn samples(&self, answers: &Answers) -> Vec<Sample> {
        answers
            .records
            .iter()
            .map(|record| Sample {
                group: record.group.clone(),
                ..record.sample(&self.task)
            })
            .collect()
    }

    fn row_scores(&self, scorer: &Scorer, answers: &Answers) -> Vec<Score> {
        let rows = scorer.score_all(&self.samples(answers), &self.task);
        let rows = rows.unwrap_or_default();
        rows.into_iter().map(|row| row.score).collect()
    }

    async fn command_scores(
        &self,
        command: &CommandSpec,
        answers: &Answers,
        context: &StepContext,
    ) -> Result<Vec<Score>, StepFailure> {
        let fields: Vec<&Fields> = self.rows.iter().map(|row| &row.row.fields).collect();
        command::score(command, &self.folder, &answers.records, &fields, context).await
    }

    /// Figures of a scorer that scores each row; `scored` holds each answerer's scores in row order.
    pub(super) fn row_figures(
        &self,
        name: &str,
        pooling: Pooling,
        description: Option<String>,
        answers: &mut [Answers],
        scored: Vec<Vec<Score>>,
    ) -> Result<ScorerFigures, StepFailure> {
        let settings = self.settings();
        let mut sides = Vec::new();
        for (one, scores) in answers.iter_mut().zip(scored) {
            let mut rows = Vec::with_capacity(scores.len());
            for (record, score) in one.records.iter_mut().zip(scores) {
                record.scores.insert(name.to_owned(), score.clone());
                rows.push(ScoredRow {
                    id: record.id.clone(),
                    score,
                });
            }
            sides.push(Side {
                name: one.answerer.name(),
                rows,
            });
        }
        let groups = answers
            .first()
            .map(|one| groups_of(&one.records))
            .unwrap_or_default();
        let mut comparisons = Vec::new();
        for (index, candidate) in sides.iter().enumerate() {
            for baseline in &sides[index + 1..] {
                comparisons.push(pooling.pair(candidate, baseline, &groups, &settings)?);
            }
        }
        correct(&mut comparisons);
        let slices = self.slices(|places| {
            sides
                .iter()
                .map(|side| {
                    let rows: Vec<ScoredRow> = places
                        .iter()
                        .map(|place| side.rows[*place].clone())
                        .collect();
                    pooling.aggregate(name, &rows, &groups, &settings)
                })
                .collect()
        });
        Ok(ScorerFigures {
            name: name.to_owned(),
            unit: pooling.unit,
            direction: pooling.direction,
            description,
            remark: None,
            values: sides
                .iter()
                .map(|side| pooling.aggregate(name, &side.rows, &groups, &settings))
                .collect(),
            comparisons,
            slices,
            checks: if pooling.right_or_wrong {
                answers.iter().zip(&sides).filter_map(check).collect()
            } else {
                Vec::new()
            },
        })
    }

    /// Figures of a metric that has a value for the whole set only.
    fn corpus_figures(
        &self,
        scorer: &Scorer,
        answers: &[Answers],
    ) -> Result<ScorerFigures, StepFailure> {
        let settings = self.settings();
        let samples: Vec<Vec<Sample>> = answers.iter().map(|one| self.samples(one)).collect();
        let mut comparisons = Vec::new();
        for (first, candidate) in answers.iter().enumerate() {
            for (second, baseline) in answers.iter().enumerate().skip(first + 1) {
                let against = |first: usize, second: usize| {
                    compare_samples(
                        scorer,
                        &samples[first],
                        &samples[second],
                        &self.task,
                        &settings,
                    )
                    .map_err(|error| {
                        StepFailure::bug("two answerers hold different rows").caused_by(error)
                    })
                };
                let found = against(first, second)?;
                let p = two_sided(&found, || against(second, first))?;
                let names = (candidate.answerer.name(), baseline.answerer.name());
                comparisons.push(figures_of(names, found, p));
            }
        }
        correct(&mut comparisons);
        let value = |samples: &[Sample]| aggregate(scorer, samples, &self.task, &settings);
        let slices = self.slices(|places| {
            samples
                .iter()
                .map(|samples| {
                    let part: Vec<Sample> =
                        places.iter().map(|place| samples[*place].clone()).collect();
                    value(&part)
                })
                .collect()
        });
        Ok(ScorerFigures {
            name: scorer.name(),
            unit: scorer.metric.unit,
            direction: scorer.metric.direction,
            description: Some(scorer.metric.description.to_owned()),
            remark: None,
            values: samples.iter().map(|samples| value(samples)).collect(),
            comparisons,
            slices,
            checks: Vec::new(),
        })
    }

    /// The figures of each slice; `figures` gets the places of its rows.
    fn slices(&self, figures: impl Fn(&[usize]) -> Vec<Aggregate>) -> Vec<SliceFigures> {
        self.spec
            .slices
            .iter()
            .map(|column| {
                let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
                for (place, row) in self.rows.iter().enumerate() {
                    let value = row.slices.get(column).map_or("", String::as_str);
                    places.entry(value).or_default().push(place);
                }
                let mut parts: Vec<(&str, Vec<usize>)> = places.into_iter().collect();
                parts.sort_by(|first, second| {
                    (second.1.len(), first.0).cmp(&(first.1.len(), second.0))
                });
                SliceFigures {
                    column: column.clone(),
                    not_shown: parts.len().saturating_sub(MOST_SLICES),
                    values: parts
                        .iter()
                        .take(MOST_SLICES)
                        .map(|(value, places)| SliceValue {
                            value: (*value).to_owned(),
                            rows: places.len(),
                            values: figures(places),
                        })
                        .collect(),
                }
            })
            .collect()
    }

    /// What a reader must know to read the figures right.
    fn notes(
        &self,
        scorers: &[ScorerFigures],
        judge: Option<&JudgeFacts>,
        answers: &[Answers],
    ) -> Vec<String> {
        let mut notes = Vec::new();
        let simulated: Vec<String> = answers
            .iter()
            .filter(|one| one.simulated)
            .map(|one| one.answerer.name())
            .collect();
        if !simulated.is_empty() {
            notes.push(format!(
                "SIMULATED: the answers, latencies and prices of {} are made up by this program",
                simulated.join(", ")
            ));
        }
        for one in answers {
            let silent = one.records.iter().all(|record| record.output.is_none());
            if let (true, Some(first)) = (silent, one.records.first()) {
                notes.push(format!(
                    "{} answered none of the {} rows, so its figures say nothing (`{}`: {}): mend that and run again",
                    one.answerer.name(),
                    one.records.len(),
                    first.id,
                    first.problem.as_deref().unwrap_or("no reason is recorded"),
                ));
            }
        }
        if let Some(judge) = judge {
            if judge.simulated {
                notes
                    .push("SIMULATED: the judge's verdicts are made up by this program".to_owned());
            }
            if !judge.calibrated {
                notes.push(format!(
                    "{UNCALIBRATED}: its verdicts were not held against people's; `judge.calibration` names a file of theirs"
                ));
            }
            notes.extend(judge.notes.iter().cloned());
        }
        let without = self
            .rows
            .iter()
            .filter(|row| row.row.gold.is_none())
            .count();
        if without > 0 && without < self.rows.len() {
            notes.push(format!("{without} rows have no right answer"));
        } else if without > 0 {
            notes.push("no row has a right answer: only scorers that need none can score".into());
        }
        for scorer in scorers {
            let pairs = scorer
                .comparisons
                .iter()
                .filter(|pair| pair.p.is_some())
                .count();
            if pairs > 1 {
                notes.push(format!(
                    "{}: p values are corrected for {pairs} pairs (Holm); intervals are each at {}%",
                    scorer.name,
                    self.spec.confidence * 100.0
                ));
            }
        }
        notes
    }
}

/// The scorer against somebody else's right or wrong.
fn check((answers, side): (&Answers, &Side)) -> Option<Check> {
    let checks = answers.checks.as_ref()?;
    let Answerer::Recorded(RecordedAnswers { check, .. }) = &answers.answerer else {
        return None;
    };
    let both: Vec<(bool, bool)> = side
        .rows
        .iter()
        .zip(checks)
        .filter_map(|(row, check)| Some((row.score.value()? > 0.5, (*check)?)))
        .collect();
    Some(Check {
        answerer: side.name.clone(),
        column: check.clone()?,
        agreed: both.iter().filter(|(here, there)| here == there).count(),
        n: both.len(),
        left_out: side.rows.len() - both.len(),
    })
}
