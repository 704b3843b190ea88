//! Which of several candidates to take, if any.

use serde::{Deserialize, Serialize};

use crate::{
    CandidateRole, Comparison, Decision, DecisionInput, Verdict,
    stats::holm,
    verdict::{count, decide_as, percent, points, rows_to_settle, signed},
};

#[cfg(test)]
mod tests;

/// What could stand in the teacher's place, as the recommendation sees it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Candidate<'a> {
    pub input: DecisionInput<'a>,
    /// What would be deployed; 0 for a hosted model.
    pub bytes: u64,
    pub role: CandidateRole,
    /// This candidate against the floor, on the same rows.
    pub against_floor: Option<&'a Comparison>,
}

/// One candidate's verdict, corrected for the company it is in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CandidateVerdict {
    pub name: String,
    pub verdict: Verdict,
    /// One-sided p of "worse than the teacher by the margin or more".
    pub p_noninferior: Option<f64>,
    /// The same after Holm's correction over the candidates.
    pub p_holm: Option<f64>,
}

/// What the run advises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The run's verdict: the choice's, or that of the candidate that came nearest.
    pub verdict: Verdict,
    /// The candidate to deploy; `None` means none.
    pub choice: Option<String>,
    /// Why this one, or why none.
    pub reason: String,
    pub candidates: Vec<CandidateVerdict>,
    /// What the floor says about the larger students.
    pub floor_note: Option<String>,
}

/// Takes the cheapest candidate, per 1,000 requests, of those that may stand in the teacher's
/// place; of equal or unknown cost the smallest, then the quickest.
///
/// All candidates, students, cascades and cheaper hosted models alike, are one family: the claim
/// "at least one of them will do" is Holm-corrected, and one that passes alone but not in this
/// company is undecided. The order of the candidates changes nothing but who is named first among
/// equals.
pub fn recommend(candidates: &[Candidate<'_>]) -> Recommendation {
    let verdicts = verdicts(candidates);
    let mut passing: Vec<usize> = (0..candidates.len())
        .filter(|index| verdicts[*index].verdict.decision.is_met())
        .collect();
    passing.sort_by(|first, second| {
        let (first, second) = (&candidates[*first], &candidates[*second]);
        let or_last = |value: Option<f64>| value.unwrap_or(f64::INFINITY);
        or_last(first.input.usd_per_1000)
            .total_cmp(&or_last(second.input.usd_per_1000))
            .then(first.bytes.cmp(&second.bytes))
            .then(or_last(first.input.p95_ms).total_cmp(&or_last(second.input.p95_ms)))
            .then(first.input.candidate.cmp(second.input.candidate))
    });
    let floor_note = floor_note(candidates);
    if let Some(choice) = passing.first() {
        return Recommendation {
            verdict: verdicts[*choice].verdict.clone(),
            choice: Some(candidates[*choice].input.candidate.to_owned()),
            reason: chosen_because(candidates, &passing),
            candidates: verdicts,
            floor_note,
        };
    }
    let nearest = nearest(candidates, &verdicts);
    Recommendation {
        verdict: nearest.map_or_else(
            || Verdict {
                decision: Decision::Undecided { eval_rows: None },
                candidate: None,
                reason: "No student was trained, so there is nothing to decide on.".to_owned(),
            },
            |index| verdicts[index].verdict.clone(),
        ),
        choice: None,
        reason: none_because(candidates, &verdicts),
        candidates: verdicts,
        floor_note,
    }
}

fn verdicts(candidates: &[Candidate<'_>]) -> Vec<CandidateVerdict> {
    let p: Vec<Option<f64>> = candidates
        .iter()
        .map(|candidate| {
            let input = &candidate.input;
            if !input.can_replace() {
                return None;
            }
            let p = input.comparison?.noninferiority_p(input.margin)?;
            // The claim has to hold with the missing answers counted against the candidate, too.
            let worst = input.at_worst.map(|worst| {
                let worst = worst.noninferiority_p(input.margin);
                worst.unwrap_or(1.0)
            });
            Some(worst.map_or(p, |worst| worst.max(p)))
        })
        .collect();
    let known: Vec<f64> = p.iter().copied().flatten().collect();
    let mut corrected = holm(&known).into_iter();
    candidates
        .iter()
        .zip(p)
        .map(|(candidate, p_noninferior)| {
            let p_holm = p_noninferior.and_then(|_| corrected.next());
            let mut verdict = decide_as(&candidate.input, candidate.role);
            let level = (1.0 - candidate.input.confidence) / 2.0;
            if verdict.decision.is_met() && p_holm.is_none_or(|p| p >= level) {
                demote(&mut verdict, candidate, known.len());
            }
            CandidateVerdict {
                name: candidate.input.candidate.to_owned(),
                verdict,
                p_noninferior,
                p_holm,
            }
        })
        .collect()
}

/// Passes alone, but not once the claim is corrected for the number of candidates.
fn demote(verdict: &mut Verdict, candidate: &Candidate<'_>, family: usize) {
    let input = &candidate.input;
    let rows = input.comparison.and_then(|comparison| {
        // The strictest step of Holm's procedure, which is Bonferroni's.
        let confidence = 1.0 - (1.0 - input.confidence) / family.max(1) as f64;
        rows_to_settle(comparison, input.margin, confidence)
    });
    let reason = verdict.reason.trim_end_matches('.');
    verdict.reason = format!(
        "{reason}; that holds for {} alone, but not after Holm's correction for {family} candidates{}.",
        input.candidate,
        rows.map(|rows| format!(", which about {} fresh rows would settle", count(rows)))
            .unwrap_or_default()
    );
    verdict.decision = Decision::Undecided { eval_rows: rows };
}

fn chosen_because(candidates: &[Candidate<'_>], passing: &[usize]) -> String {
    let chosen = &candidates[passing[0]];
    let name = chosen.input.candidate;
    let may = match chosen.role {
        CandidateRole::Cascade { .. } => "may stand in for the teacher",
        CandidateRole::Student | CandidateRole::Floor | CandidateRole::CheaperApi => {
            "may replace the teacher"
        }
    };
    let known = passing
        .iter()
        .filter(|index| candidates[**index].input.usd_per_1000.is_some())
        .count();
    let cheapest = known > 0
        && passing
            .iter()
            .skip(1)
            .all(|index| candidates[*index].input.usd_per_1000 != chosen.input.usd_per_1000);
    match (passing.len(), candidates.len()) {
        (_, 1) => format!("{name} is the one candidate, and it {may}."),
        (1, all) => format!("{name} is the only one of {all} candidates that {may}."),
        (passing, all) => format!(
            "{name} is the {} of the {passing} candidates (of {all}) that may replace the teacher.",
            if cheapest { "cheapest" } else { "smallest" }
        ),
    }
}

fn none_because(candidates: &[Candidate<'_>], verdicts: &[CandidateVerdict]) -> String {
    if candidates.is_empty() {
        return "None: there is no candidate.".to_owned();
    }
    if candidates
        .iter()
        .all(|candidate| candidate.input.comparison.is_none())
    {
        return "None: without a teacher's answers on the same rows there is nothing to be as good as.".to_owned();
    }
    let reasons: Vec<String> = verdicts
        .iter()
        .map(|candidate| format!("{}: {}", candidate.name, candidate.verdict.decision))
        .collect();
    format!("None may replace the teacher yet ({}).", reasons.join(", "))
}

/// Of those that did not pass, the one to look at: undecided before the rest, then the highest.
fn nearest(candidates: &[Candidate<'_>], verdicts: &[CandidateVerdict]) -> Option<usize> {
    let rank = |index: usize| match verdicts[index].verdict.decision {
        Decision::Replace | Decision::Cascade { .. } | Decision::CheaperApi => 3,
        Decision::Undecided { .. } => 2,
        Decision::MoreData { .. } => 1,
        Decision::KeepTeacher => 0,
    };
    let difference = |index: usize| {
        candidates[index]
            .input
            .comparison
            .map_or_else(
                || {
                    candidates[index]
                        .input
                        .measured
                        .and_then(|score| score.value)
                },
                Comparison::gain,
            )
            .unwrap_or(f64::NEG_INFINITY)
    };
    (0..candidates.len()).max_by(|first, second| {
        rank(*first)
            .cmp(&rank(*second))
            .then(difference(*first).total_cmp(&difference(*second)))
            // Of equals, the earlier one.
            .then(second.cmp(first))
    })
}

/// Sets the best of the larger students beside the floor.
fn floor_note(candidates: &[Candidate<'_>]) -> Option<String> {
    let floor = candidates
        .iter()
        .find(|candidate| candidate.role == CandidateRole::Floor)?;
    let (name, comparison) = candidates
        .iter()
        .filter(|candidate| candidate.role == CandidateRole::Student)
        .filter_map(|candidate| Some((candidate.input.candidate, candidate.against_floor?)))
        .max_by(|first, second| {
            let value = |comparison: &Comparison| comparison.candidate.unwrap_or(f64::NEG_INFINITY);
            value(first.1).total_cmp(&value(second.1))
        })?;
    let (interval, difference) = (comparison.interval?, comparison.difference?);
    let figures = format!(
        "{} against {} on {} rows, {} ({:.0}% interval {} to {}, McNemar p {})",
        percent(comparison.candidate?),
        percent(comparison.baseline?),
        count(comparison.n),
        points(difference),
        interval.confidence * 100.0,
        signed(interval.low),
        signed(interval.high),
        comparison
            .mcnemar_p
            .map_or_else(|| "not measured".to_owned(), p_value),
    );
    let floor = floor.input.candidate;
    Some(if interval.low > 0.0 {
        format!("{name} is better than the floor {floor}: {figures}.")
    } else if interval.high < 0.0 {
        format!("The floor {floor} is better than {name}: {figures}.")
    } else {
        format!("The floor {floor} is as good as {name}, as far as these rows can tell: {figures}.")
    })
}

fn p_value(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".to_owned()
    } else {
        format!("{p:.3}")
    }
}
