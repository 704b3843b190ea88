//! From an interval to a decision and the sentence that says why.

use super::{
    CandidateRole, Decision, DecisionInput, Reference, Verdict,
    number::{count, dollars, latency, percent, points, score, signed},
    rows::{rows_before_data, rows_if_equal, rows_to_settle},
};
use crate::Comparison;

/// Decides about a candidate of any role.
pub(crate) fn decide_as(input: &DecisionInput<'_>, role: CandidateRole) -> Verdict {
    let (decision, reason) = settle(input, role);
    Verdict {
        decision,
        candidate: Some(input.candidate.to_owned()),
        reason,
    }
}

fn settle(input: &DecisionInput<'_>, role: CandidateRole) -> (Decision, String) {
    let Some(comparison) = input.comparison else {
        return no_teacher(input);
    };
    let Some((low, high)) = comparison.gain_at(input.confidence) else {
        return no_interval(input, comparison);
    };
    if input.reference == Reference::TeacherLabels {
        return agreement_only(input, comparison);
    }
    let figures = figures(input, comparison, role);
    if !input.can_replace() {
        return judged_only(input, &figures);
    }
    let margin = points(input.margin);
    if low > -input.margin {
        let inside = format!("{figures}, inside the margin of {margin}");
        unanswered(input, comparison, &inside)
            .unwrap_or_else(|| within_limits(input, role, &inside))
    } else if high < -input.margin {
        more_data(input, comparison, role, &figures).unwrap_or_else(|| {
            (
                Decision::KeepTeacher,
                format!("{figures}, worse than the margin of {margin} allows."),
            )
        })
    } else {
        let behind = comparison.gain().is_some_and(|gain| gain < -input.margin);
        behind
            .then(|| more_data(input, comparison, role, &figures))
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

/// Good enough on the rows that both answered, but not once the others count against it.
fn unanswered(
    input: &DecisionInput<'_>,
    comparison: &Comparison,
    figures: &str,
) -> Option<(Decision, String)> {
    let worst = input.at_worst?;
    let low = worst.gain_at(input.confidence).map(|(low, _)| low);
    if low.is_some_and(|low| low > -input.margin) {
        return None;
    }
    let rows = worst.n.saturating_sub(comparison.n);
    let down_to = low.map_or_else(String::new, |low| {
        format!(", and the difference could be down to {}", points(low))
    });
    Some((
        undecided(None),
        format!(
            "{figures}; but {} more have no answer from {} or from the teacher: counted against {} they leave the margin open{down_to}; ask for the missing answers again.",
            rows_text(rows),
            input.candidate,
            input.candidate,
        ),
    ))
}

fn rows_text(rows: usize) -> String {
    if rows == 1 {
        "1 row".to_owned()
    } else {
        format!("{} rows", count(rows))
    }
}

/// Nothing was compared, or what was drawn to compare it is gone.
fn no_interval(input: &DecisionInput<'_>, comparison: &Comparison) -> (Decision, String) {
    let name = input.candidate;
    if comparison.n == 0 {
        return (
            undecided(rows_before_data(input)),
            format!(
                "No row was answered and scored for both {name} and the teacher (n = 0), so there is nothing to decide on."
            ),
        );
    }
    (
        undecided(None),
        format!(
            "The difference between {name} and the teacher on {} rows has no interval here, so nothing is settled; compare the scores again.",
            count(comparison.n)
        ),
    )
}

/// There is nobody to replace: what was measured, and what is missing.
fn no_teacher(input: &DecisionInput<'_>) -> (Decision, String) {
    let name = input.candidate;
    let measured = input
        .measured
        .and_then(|score| Some((score, score.value?)))
        .map_or_else(
            || format!("{name} was trained"),
            |(score, value)| {
                let interval = score.interval.map_or_else(String::new, |interval| {
                    format!(
                        " ({:.0}% interval {} to {})",
                        interval.confidence * 100.0,
                        percent(interval.low),
                        percent(interval.high)
                    )
                });
                format!(
                    "{name} reaches {} {} on {} rows{interval}",
                    percent(value),
                    score.metric.replace('_', " "),
                    count(score.n)
                )
            },
        );
    (
        undecided(None),
        format!(
            "{measured}, but no teacher answered those rows, so there is nobody yet whom it could replace; name a teacher in the pipeline, and both are judged on the same rows."
        ),
    )
}

/// Rows whose only reference is what the teacher said.
fn agreement_only(input: &DecisionInput<'_>, comparison: &Comparison) -> (Decision, String) {
    let (name, n) = (input.candidate, comparison.n);
    let interval = comparison
        .table
        .and_then(|table| {
            let agreed = table.both + table.only_candidate;
            crate::stats::wilson(agreed, n, input.confidence)
        })
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
    let agreed = score(comparison, comparison.candidate);
    let agrees = if comparison.table.is_some() {
        format!("agrees with the teacher on {agreed} of {} rows", count(n))
    } else {
        format!(
            "scores {agreed} of 100 against the teacher's own answers on {} rows",
            count(n)
        )
    };
    (
        undecided(rows),
        format!(
            "{name} {agrees}{interval}, but agreement with the teacher only cannot show that {name} may replace it{needed}.",
        ),
    )
}

/// Rows judged by a model that nobody checked, or whose scores were not corrected.
fn judged_only(input: &DecisionInput<'_>, figures: &str) -> (Decision, String) {
    let (judge, lack) = if input.reference == Reference::CalibratedJudge {
        (
            "a judge",
            "a judge's scores that people's verdicts on the same rows have not corrected",
        )
    } else {
        (
            "an uncalibrated judge",
            "a judge whose agreement with people is unknown",
        )
    };
    (
        undecided(rows_before_data(input)),
        format!(
            "By {judge}, {figures}; {lack} cannot show that {} may replace the teacher: label some of the rows by hand.",
            input.candidate
        ),
    )
}

/// Accuracy allows it; latency and cost must, too.
fn within_limits(
    input: &DecisionInput<'_>,
    role: CandidateRole,
    figures: &str,
) -> (Decision, String) {
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
                    undecided(None),
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
    worth_it(input, role, &format!("{figures}{}", kept.concat()))
}

/// Good enough and within the limits; what is taken for being cheaper must be cheaper.
fn worth_it(input: &DecisionInput<'_>, role: CandidateRole, figures: &str) -> (Decision, String) {
    let costs = input.usd_per_1000.zip(input.teacher_usd_per_1000);
    let dearer = costs.filter(|(own, teacher)| own >= teacher);
    let at_cost = |(own, teacher): (f64, f64)| {
        format!(
            "{} per 1,000 answers against the teacher's {}",
            dollars(own),
            dollars(teacher)
        )
    };
    match (role, dearer) {
        (CandidateRole::Student | CandidateRole::Floor, None) => {
            (Decision::Replace, format!("{figures}."))
        }
        // The user's limits were kept, and a student has other merits; but it is said.
        (CandidateRole::Student | CandidateRole::Floor, Some(costs)) => (
            Decision::Replace,
            format!(
                "{figures}; at the stated request rate it saves nothing: {}.",
                at_cost(costs)
            ),
        ),
        (CandidateRole::Cascade { deferred }, _) if deferred >= 1.0 => (
            Decision::KeepTeacher,
            format!("{figures}; but it asks the teacher on every row, so the teacher stays."),
        ),
        (CandidateRole::Cascade { .. } | CandidateRole::CheaperApi, Some(costs)) => (
            Decision::KeepTeacher,
            format!("{figures}; but it is not cheaper: {}.", at_cost(costs)),
        ),
        (CandidateRole::Cascade { deferred }, None) => {
            (Decision::Cascade { deferred }, format!("{figures}."))
        }
        (CandidateRole::CheaperApi, None) => match costs {
            Some(costs) => (
                Decision::CheaperApi,
                format!("{figures}, at {}.", at_cost(costs)),
            ),
            None => (
                undecided(None),
                format!(
                    "{figures}; but whether it is cheaper is not known, since the price of one of the two is missing: state both prices."
                ),
            ),
        },
    }
}

fn more_data(
    input: &DecisionInput<'_>,
    comparison: &Comparison,
    role: CandidateRole,
    figures: &str,
) -> Option<(Decision, String)> {
    if role == CandidateRole::CheaperApi {
        return None;
    }
    let curve = input.learning_curve?;
    let gap = -input.margin - comparison.gain()?;
    let projection = curve.rows_to_gain(gap * comparison.scale.full)?;
    let now = curve.largest()?;
    Some((
        Decision::MoreData {
            train_rows: projection.train_rows,
        },
        format!(
            "{figures}; its learning curve over {} sizes up to {} training rows still rises and would come within the margin of {} near {} rows ({} to {} by the error of its slope).",
            curve.points.len(),
            count(now),
            points(input.margin),
            count(projection.train_rows),
            count(projection.at_best),
            count(projection.at_worst),
        ),
    ))
}

fn across(input: &DecisionInput<'_>, comparison: &Comparison, figures: &str) -> (Decision, String) {
    let rows = rows_to_settle(comparison, input.margin, input.confidence);
    let rest = rows
        .map(|rows| {
            let equal = rows_if_equal(input, comparison)
                .map(|rows| format!(", and about {} if there is truly none", count(rows)))
                .unwrap_or_default();
            format!(
                "; about {} fresh rows would settle it with a chance of 80%, over all that these rows leave open about the difference{equal}",
                count(rows)
            )
        })
        .unwrap_or_default();
    (undecided(rows), format!("{figures}{rest}."))
}

pub(super) fn undecided(eval_rows: Option<usize>) -> Decision {
    Decision::Undecided { eval_rows }
}

fn figures(input: &DecisionInput<'_>, comparison: &Comparison, role: CandidateRole) -> String {
    let name = match role {
        CandidateRole::Cascade { deferred } => {
            format!(
                "{}, which asks the teacher on {} of rows,",
                input.candidate,
                percent(deferred)
            )
        }
        _ => input.candidate.to_owned(),
    };
    let (own, teacher) = (
        score(comparison, comparison.candidate),
        score(comparison, comparison.baseline),
    );
    let n = count(comparison.n);
    let sides = if comparison.table.is_some() {
        format!("{name} is right on {own} of {n} rows and the teacher on {teacher}")
    } else {
        format!("{name} scores {own} of 100 on {n} rows and the teacher {teacher}")
    };
    let full = comparison.scale.full;
    let interval = comparison
        .interval_at(input.confidence)
        .map(|interval| {
            format!(
                " ({:.0}% interval {} to {})",
                interval.confidence * 100.0,
                signed(interval.low / full),
                signed(interval.high / full)
            )
        })
        .unwrap_or_default();
    format!(
        "{sides}, a difference of {}{interval}",
        points(comparison.difference.unwrap_or_default() / full),
    )
}
