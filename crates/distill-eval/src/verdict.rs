//! The decision that a comparison supports, and its reason in plain words.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Comparison, Interval,
    stats::{PowerPlan, required_n, tango, wilson},
};

mod curve;
#[cfg(test)]
mod tests;

pub use curve::{CurvePoint, LearningCurve};

/// Share of rows on which two models are assumed to differ before any was compared.
pub(crate) const ASSUMED_DISCORDANCE: f64 = 0.15;

/// What the answers were held against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// Answers that somebody other than the teacher vouches for.
    #[default]
    Gold,
    /// The teacher's own answers: a score is agreement with the teacher, right or wrong.
    TeacherLabels,
}

/// What a deployed student must keep to beside being right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    pub max_p95_ms: Option<f64>,
    pub max_usd_per_1000: Option<f64>,
}

/// All that a decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct DecisionInput<'a> {
    pub candidate: &'a str,
    /// Candidate against teacher on the same rows; `None` when no teacher answered them.
    pub comparison: Option<&'a Comparison>,
    /// The loss that is accepted, as a share.
    pub margin: f64,
    /// Of the two-sided interval of the difference.
    pub confidence: f64,
    pub reference: Reference,
    pub limits: Limits,
    pub p95_ms: Option<f64>,
    pub usd_per_1000: Option<f64>,
    pub learning_curve: Option<&'a LearningCurve>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Decision {
    /// The candidate is not worse than the teacher by the margin or more, and keeps the limits.
    Replace,
    KeepTeacher,
    /// Training on about this many rows is projected to bring the candidate within the margin.
    MoreData {
        train_rows: usize,
    },
    /// The rows do not settle it; about this many would. `None` when no number of rows would.
    Undecided {
        eval_rows: Option<usize>,
    },
}

impl fmt::Display for Decision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replace => formatter.write_str("REPLACE"),
            Self::KeepTeacher => formatter.write_str("KEEP_TEACHER"),
            Self::MoreData { train_rows } => write!(formatter, "MORE_DATA({train_rows})"),
            Self::Undecided {
                eval_rows: Some(rows),
            } => write!(formatter, "UNDECIDED({rows})"),
            Self::Undecided { eval_rows: None } => formatter.write_str("UNDECIDED"),
        }
    }
}

/// A decision and one sentence that says why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub decision: Decision,
    /// Whom the decision is about.
    pub candidate: Option<String>,
    pub reason: String,
}

/// Decides by the two-sided interval of (candidate − teacher): above −margin, the candidate may
/// replace the teacher; below it, the teacher stays; across it, more rows are needed.
pub fn decide(input: &DecisionInput<'_>) -> Verdict {
    let (decision, reason) = settle(input);
    Verdict {
        decision,
        candidate: Some(input.candidate.to_owned()),
        reason,
    }
}

fn settle(input: &DecisionInput<'_>) -> (Decision, String) {
    let name = input.candidate;
    let Some(comparison) = input.comparison else {
        return (
            Decision::Undecided { eval_rows: None },
            format!(
                "No teacher answered the eval rows, so nothing measured says what {name} would replace."
            ),
        );
    };
    let Some(interval) = tango(&comparison.table, input.confidence) else {
        return (
            undecided(rows_before_data(input)),
            format!(
                "No row was answered and scored for both {name} and the teacher (n = 0), so there is nothing to decide on."
            ),
        );
    };
    if input.reference == Reference::TeacherLabels {
        return agreement_only(input, comparison);
    }
    let figures = figures(input, comparison, &interval);
    let margin = points(input.margin);
    if interval.low > -input.margin {
        within_limits(input, &format!("{figures}, inside the margin of {margin}"))
    } else if interval.high < -input.margin {
        more_data(input, comparison, &figures).unwrap_or_else(|| {
            (
                Decision::KeepTeacher,
                format!("{figures}, worse than the margin of {margin} allows."),
            )
        })
    } else {
        let behind = comparison
            .difference
            .is_some_and(|difference| difference < -input.margin);
        behind
            .then(|| more_data(input, comparison, &figures))
            .flatten()
            .unwrap_or_else(|| {
                across(
                    input,
                    comparison,
                    &format!("{figures}, and the margin of {margin} lies within that interval"),
                )
            })
    }
}

/// Rows whose only reference is what the teacher said.
fn agreement_only(input: &DecisionInput<'_>, comparison: &Comparison) -> (Decision, String) {
    let (name, n) = (input.candidate, comparison.n);
    let agreed = comparison.table.both + comparison.table.only_candidate;
    let interval = wilson(agreed, n, input.confidence)
        .map(|interval| {
            format!(
                " ({:.0}% interval {} to {})",
                interval.confidence * 100.0,
                percent(interval.low),
                percent(interval.high)
            )
        })
        .unwrap_or_default();
    let rows = rows_before_data(input);
    let needed = rows
        .map(|rows| {
            format!(
                "; about {} rows with labels of another origin would settle it",
                count(rows)
            )
        })
        .unwrap_or_default();
    (
        undecided(rows),
        format!(
            "{name} agrees with the teacher on {} of {} rows{interval}, but agreement with the teacher only cannot show that {name} may replace it{needed}.",
            percent(agreed as f64 / n as f64),
            count(n),
        ),
    )
}

/// Accuracy allows it; latency and cost must, too.
fn within_limits(input: &DecisionInput<'_>, figures: &str) -> (Decision, String) {
    let limits = [
        (
            input.limits.max_p95_ms,
            input.p95_ms,
            "p95 latency",
            latency as fn(f64) -> String,
        ),
        (
            input.limits.max_usd_per_1000,
            input.usd_per_1000,
            "cost per 1,000 answers",
            dollars,
        ),
    ];
    let mut kept = Vec::new();
    for (limit, measured, what, show) in limits {
        match (limit, measured) {
            (None, _) => {}
            (Some(limit), None) => {
                return (
                    Decision::Undecided { eval_rows: None },
                    format!(
                        "{figures}; but the limit of {} on {what} cannot be checked, since it was not measured.",
                        show(limit)
                    ),
                );
            }
            (Some(limit), Some(measured)) if measured > limit => {
                return (
                    Decision::KeepTeacher,
                    format!(
                        "{figures}; but its {what} of {} is over the limit of {}.",
                        show(measured),
                        show(limit)
                    ),
                );
            }
            (Some(limit), Some(measured)) => kept.push(format!(
                "; its {what} of {} keeps the limit of {}",
                show(measured),
                show(limit)
            )),
        }
    }
    let kept = kept.concat();
    (Decision::Replace, format!("{figures}{kept}."))
}

fn more_data(
    input: &DecisionInput<'_>,
    comparison: &Comparison,
    figures: &str,
) -> Option<(Decision, String)> {
    let curve = input.learning_curve?;
    let target = comparison.baseline? - input.margin;
    let train_rows = curve.rows_for(target)?;
    let now = curve.largest()?;
    Some((
        Decision::MoreData { train_rows },
        format!(
            "{figures}; its learning curve over {} sizes up to {} training rows still rises and would come within the margin of {} near {} rows.",
            curve.points.len(),
            count(now),
            points(input.margin),
            count(train_rows)
        ),
    ))
}

fn across(input: &DecisionInput<'_>, comparison: &Comparison, figures: &str) -> (Decision, String) {
    let rows = rows_at_observed(input, comparison);
    let rest = match rows {
        Some(rows) => format!(
            "; if the difference stays as observed, about {} rows would settle it{}",
            count(rows),
            rows_if_equal(input, comparison)
        ),
        None => "; the observed difference lies on the margin, so no number of rows is sure to settle it".to_owned(),
    };
    (undecided(rows), format!("{figures}{rest}."))
}

/// What it would take to show that the candidate is as good, if it is: the kinder assumption.
fn rows_if_equal(input: &DecisionInput<'_>, comparison: &Comparison) -> String {
    comparison
        .table
        .discordance()
        .and_then(|discordance| {
            required_n(&PowerPlan::noninferiority(
                input.margin,
                input.confidence,
                discordance,
            ))
        })
        .map(|rows| format!(", and about {} if it is truly none", count(rows)))
        .unwrap_or_default()
}

fn undecided(eval_rows: Option<usize>) -> Decision {
    Decision::Undecided { eval_rows }
}

fn rows_before_data(input: &DecisionInput<'_>) -> Option<usize> {
    required_n(&PowerPlan::noninferiority(
        input.margin,
        input.confidence,
        ASSUMED_DISCORDANCE,
    ))
}

/// Rows that would settle it with power 0.8 if what was observed is true; more than there are.
fn rows_at_observed(input: &DecisionInput<'_>, comparison: &Comparison) -> Option<usize> {
    let plan = PowerPlan {
        difference: comparison.difference?,
        ..PowerPlan::noninferiority(
            input.margin,
            input.confidence,
            comparison.table.discordance()?,
        )
    };
    Some(required_n(&plan)?.max(comparison.n + 1))
}

fn figures(input: &DecisionInput<'_>, comparison: &Comparison, interval: &Interval) -> String {
    let share = |value: Option<f64>| value.map_or_else(|| "not measured".to_owned(), percent);
    format!(
        "{} is right on {} of {} rows and the teacher on {}, a difference of {} ({:.0}% interval {} to {})",
        input.candidate,
        share(comparison.candidate),
        count(comparison.n),
        share(comparison.baseline),
        points(comparison.difference.unwrap_or_default()),
        interval.confidence * 100.0,
        signed(interval.low),
        signed(interval.high),
    )
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A difference of shares in percentage points, signed when it is negative.
pub(crate) fn points(share: f64) -> String {
    format!("{} points", signed(share))
}

pub(crate) fn signed(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    match text.strip_prefix('-') {
        Some(zero) if zero.chars().all(|digit| matches!(digit, '0' | '.')) => zero.to_owned(),
        Some(number) => format!("−{number}"),
        None => text,
    }
}

fn latency(milliseconds: f64) -> String {
    if milliseconds < 10.0 {
        format!("{milliseconds:.2} ms")
    } else {
        format!("{milliseconds:.0} ms")
    }
}

fn dollars(usd: f64) -> String {
    format!("${usd:.4}")
}

/// With a comma at each thousand.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
