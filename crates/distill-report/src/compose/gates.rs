//! The gate that the user set, condition by condition.

use distill_eval::{Decision, Reference};

use crate::{
    Arm, CascadeFacts, RunReport,
    number::{self, MISSING, or_missing},
};

/// How a condition came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Met,
    Missed,
    /// Nothing measured says: for a gate that is as good as missed.
    Unknown,
    /// Not a question for this candidate.
    NotAsked,
}

impl Outcome {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "not met",
            Self::Unknown => "not known",
            Self::NotAsked => "not asked",
        }
    }
}

/// One condition.
pub(crate) struct Gate {
    /// A short name for machines.
    pub(crate) id: &'static str,
    pub(crate) name: String,
    pub(crate) limit: String,
    pub(crate) measured: String,
    pub(crate) outcome: Outcome,
}

impl Gate {
    /// The condition and the figures, in one line.
    pub(crate) fn sentence(&self) -> String {
        format!(
            "{}: {} (limit: {}; measured: {})",
            self.name,
            self.outcome.label(),
            self.limit,
            self.measured
        )
    }
}

/// The conditions for the candidate that the verdict is about.
pub(crate) fn gates(report: &RunReport) -> Vec<Gate> {
    let candidate = report.main_arm();
    let accept = &report.accept;
    let mut gates = vec![margin(report, candidate)];
    if let Some(limit) = accept.max_p95_ms {
        let measured = candidate
            .and_then(|arm| arm.speed.as_ref())
            .map(|speed| speed.per_answer_ms.p95);
        gates.push(Gate {
            id: "latency",
            name: "p95 latency".to_owned(),
            limit: format!("at most {} ms", number::milliseconds(limit)),
            measured: or_missing(measured, |value| {
                format!("{} ms", number::milliseconds(value))
            }),
            outcome: at_most(measured, limit),
        });
    }
    if let Some(limit) = accept.max_usd_per_1000 {
        let measured = candidate.and_then(|arm| arm.usd_per_1000);
        gates.push(Gate {
            id: "cost",
            name: "cost per 1,000 answers".to_owned(),
            limit: format!("at most {}", number::usd(limit)),
            measured: or_missing(measured, number::usd),
            outcome: at_most(measured, limit),
        });
    }
    gates.extend(accept.risk.map(|limit| risk(report, candidate, limit)));
    gates
}

fn at_most(measured: Option<f64>, limit: f64) -> Outcome {
    match measured {
        None => Outcome::Unknown,
        Some(measured) if measured <= limit => Outcome::Met,
        Some(_) => Outcome::Missed,
    }
}

fn margin(report: &RunReport, candidate: Option<&Arm>) -> Gate {
    let accept = &report.accept;
    let difference = candidate.and_then(|arm| report.against_teacher(&arm.name));
    let unit = report.unit(&report.task.metric);
    let verdict = candidate.and_then(|arm| {
        report
            .recommendation
            .candidates
            .iter()
            .find(|verdict| verdict.name == arm.name)
    });
    let (measured, outcome) = match difference.and_then(|row| Some((row, row.interval?))) {
        Some((row, interval)) => {
            let level = (1.0 - accept.confidence) / 2.0;
            let corrected = verdict.and_then(|verdict| verdict.p_holm);
            let outcome = if !report.task.reference.can_replace() {
                Outcome::Unknown
            } else if verdict.is_some_and(|verdict| verdict.verdict.decision.is_met())
                // The p knows the metric's scale and direction, which the interval's ends do not.
                || corrected.map_or(interval.low > -accept.margin, |p| p < level)
            {
                Outcome::Met
            } else {
                Outcome::Missed
            };
            let origin = match report.task.reference {
                Reference::TeacherLabels => ", agreement with the teacher only",
                Reference::UncalibratedJudge => ", uncalibrated judge",
                Reference::Gold | Reference::Human | Reference::CalibratedJudge => "",
            };
            (
                format!(
                    "{} points, interval {}, n = {}{}{origin}",
                    or_missing(row.difference, |value| number::change(unit, value)),
                    number::change_interval(unit, &interval),
                    number::count(row.n),
                    or_none(corrected.map(|p| format!(", p after Holm {}", number::p_value(p)))),
                ),
                outcome,
            )
        }
        None => (
            difference.map_or_else(
                || MISSING.to_owned(),
                |row| format!("{MISSING}, n = {}", number::count(row.n)),
            ),
            Outcome::Unknown,
        ),
    };
    Gate {
        id: "margin",
        name: "not worse than the teacher by the margin".to_owned(),
        limit: format!(
            "loses less than {:.1} points, {:.0}% confidence; p after Holm below {}",
            accept.margin * 100.0,
            accept.confidence * 100.0,
            number::p_value((1.0 - accept.confidence) / 2.0)
        ),
        measured,
        outcome,
    }
}

fn or_none(text: Option<String>) -> String {
    text.unwrap_or_default()
}

fn risk(report: &RunReport, candidate: Option<&Arm>, limit: f64) -> Gate {
    let name = candidate.map(|arm| arm.name.as_str());
    let about = |cascade: &&CascadeFacts| {
        cascade.arm.as_deref() == name || Some(cascade.student.as_str()) == name
    };
    let cascade = report
        .cascade
        .iter()
        .find(about)
        .or_else(|| report.cascade.first());
    let threshold = cascade.and_then(|cascade| cascade.threshold.as_ref());
    let (measured, outcome) = match (cascade, threshold) {
        (None, _) => ("no cascade was measured".to_owned(), Outcome::Unknown),
        (Some(cascade), None) => (
            format!(
                "no threshold keeps it for {} on {} calibration rows",
                cascade.student,
                number::count(cascade.calibration_rows)
            ),
            Outcome::Missed,
        ),
        (Some(cascade), Some(threshold)) => (
            format!(
                "{}: bound {} from {} wrong of {} answered on calibration rows",
                cascade.student,
                number::percent(threshold.bound),
                number::count(threshold.wrong),
                number::count(threshold.answered)
            ),
            at_most(Some(threshold.bound), limit),
        ),
    };
    // A student that replaces the teacher outright passes by the margin; the risk is a cascade's.
    let replaced = matches!(
        report.recommendation.verdict.decision,
        Decision::Replace | Decision::CheaperApi
    );
    Gate {
        id: "risk",
        name: "wrong among the cascade's own answers".to_owned(),
        limit: format!("at most {}", number::percent(limit)),
        measured,
        outcome: if replaced && outcome != Outcome::Met {
            Outcome::NotAsked
        } else {
            outcome
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::full;

    #[test]
    fn the_margin_is_read_in_the_scale_of_the_metric() {
        let mut report = full();
        let name = report.main_arm().unwrap().name.clone();
        let of_margin = |report: &RunReport| margin(report, report.main_arm()).outcome;
        // On a scale to 100 an interval down to −1 keeps a margin of 3%, and one to −40 does not.
        for (low, p, outcome) in [(-1.0, 0.001, Outcome::Met), (-40.0, 0.6, Outcome::Missed)] {
            for row in &mut report.differences {
                if let (true, Some(interval)) = (row.candidate == name, &mut row.interval) {
                    interval.low = low;
                }
            }
            for verdict in &mut report.recommendation.candidates {
                verdict.verdict.decision = Decision::KeepTeacher;
                verdict.p_holm = Some(p);
            }
            assert_eq!(of_margin(&report), outcome);
        }
    }
}
