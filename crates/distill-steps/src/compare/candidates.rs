//! The verdict: every candidate against the teacher, all in one family.

use std::collections::BTreeSet;

use distill_eval::{
    Aggregate, Candidate, CandidateRole, Comparison, CurvePoint, Decision, DecisionInput,
    LearningCurve, Limits, Recommendation, recommend, stats::quantiles,
};
use distill_report::{CostModel, Role};
use distill_runner::StepFailure;

use super::{Contest, Contestant, cascade::Cascade};
use crate::Arm;

/// Groups from which on a verdict may rest on a bootstrap over groups. With fewer its intervals hang
/// on a handful of draws, whatever correction is made for that (A. C. Cameron, J. B. Gelbach, D. L.
/// Miller, "Bootstrap-based improvements for inference with clustered errors", Review of Economics
/// and Statistics 90 (2008), 414-427).
pub(crate) const LEAST_GROUPS: usize = 10;

/// What is known of one candidate before the decision.
struct Judged<'a> {
    name: &'a str,
    role: CandidateRole,
    against_teacher: Option<Comparison>,
    /// The same with missing answers counted against the candidate.
    at_worst: Option<Comparison>,
    against_floor: Option<Comparison>,
    measured: Aggregate,
    p95_ms: Option<f64>,
    usd_per_1000: Option<f64>,
    learning_curve: Option<LearningCurve>,
    bytes: u64,
}

impl Contest<'_> {
    /// Decides once, about students, cascades and cheaper models alike.
    pub(super) fn recommend(
        &self,
        cost: &CostModel,
        cascades: &[Cascade<'_>],
    ) -> Result<Recommendation, StepFailure> {
        let mut judged = self
            .contestants
            .iter()
            .filter(|contestant| contestant.is_candidate())
            .map(|contestant| self.judge(contestant, cost))
            .collect::<Result<Vec<_>, _>>()?;
        for cascade in cascades {
            judged.push(self.judge_cascade(cascade, cost)?);
        }
        let accept = &self.study.settings.accept;
        let candidates: Vec<Candidate<'_>> = judged
            .iter()
            .map(|judged| Candidate {
                input: DecisionInput {
                    candidate: judged.name,
                    comparison: judged.against_teacher.as_ref(),
                    at_worst: judged.at_worst.as_ref(),
                    margin: accept.margin,
                    confidence: accept.confidence,
                    reference: self.reference,
                    limits: Limits {
                        max_p95_ms: accept.max_p95_ms,
                        max_usd_per_1000: accept.max_usd_per_1000,
                    },
                    p95_ms: judged.p95_ms,
                    usd_per_1000: judged.usd_per_1000,
                    teacher_usd_per_1000: cost.teacher_usd_per_1000,
                    learning_curve: judged.learning_curve.as_ref(),
                    measured: Some(&judged.measured),
                },
                bytes: judged.bytes,
                role: judged.role,
                against_floor: judged.against_floor.as_ref(),
            })
            .collect();
        let mut recommendation = recommend(&candidates);
        if let Some(groups) = self.too_few_groups() {
            withdraw(&mut recommendation, groups);
        }
        Ok(recommendation)
    }

    /// The number of groups, where it is too small for an interval over them.
    pub(super) fn too_few_groups(&self) -> Option<usize> {
        let groups: BTreeSet<&String> = self.groups.values().collect();
        let rows = self.contestants.first().map_or(0, |arm| arm.records.len());
        // A row without a group stands for itself.
        let drawn = groups.len() + rows.saturating_sub(self.groups.len());
        (!groups.is_empty() && drawn < LEAST_GROUPS).then_some(drawn)
    }

    fn judge<'b>(
        &'b self,
        contestant: &'b Contestant<'_>,
        cost: &CostModel,
    ) -> Result<Judged<'b>, StepFailure> {
        let against = |baseline: Option<&Contestant<'_>>| {
            baseline
                .filter(|baseline| baseline.name != contestant.name)
                .map(|baseline| self.compare(contestant, baseline))
                .transpose()
        };
        let floor = self.find(&Arm::Student("linear".to_owned()));
        let is_student = contestant.study.role() == Role::Student;
        Ok(Judged {
            name: contestant.name,
            role: match contestant.study.role() {
                Role::Floor => CandidateRole::Floor,
                Role::CheaperApi => CandidateRole::CheaperApi,
                _ => CandidateRole::Student,
            },
            against_teacher: against(self.teacher())?,
            at_worst: match self.teacher() {
                Some(teacher) => self.pair_at_worst(&contestant.side(), &teacher.side())?,
                None => None,
            },
            against_floor: against(floor.filter(|_| is_student))?,
            measured: self
                .deciding_judge()
                .and_then(|_| self.judge_score(contestant))
                .unwrap_or_else(|| self.aggregate_primary(&contestant.scores)),
            p95_ms: contestant.p95_ms(),
            usd_per_1000: contestant.usd_per_1000(cost),
            learning_curve: self.learning_curve(contestant.name),
            bytes: contestant.study.bytes.unwrap_or(0),
        })
    }

    fn judge_cascade<'b>(
        &'b self,
        cascade: &'b Cascade<'_>,
        cost: &CostModel,
    ) -> Result<Judged<'b>, StepFailure> {
        let (side, teacher) = (cascade.side(), cascade.teacher.side());
        let compared = self.pair(&side, &teacher)?;
        Ok(Judged {
            name: &cascade.name,
            role: CandidateRole::Cascade {
                deferred: cascade.deferred_share(),
            },
            against_teacher: Some(compared),
            at_worst: self.pair_at_worst(&side, &teacher)?,
            against_floor: None,
            measured: self.aggregate_primary(&cascade.scores),
            p95_ms: quantiles(&cascade.latencies()).map(|quantiles| quantiles.p95),
            usd_per_1000: cascade.usd_per_1000(cost),
            learning_curve: None,
            bytes: cascade.student.study.bytes.unwrap_or(0),
        })
    }

    /// A student's curve over growing shares of the training rows, where it is in the metric that
    /// decides.
    fn learning_curve(&self, student: &str) -> Option<LearningCurve> {
        let metric = self.scorers.primary().name();
        let curve = self
            .study
            .learning_curves
            .iter()
            .find(|curve| curve.student == student)
            .filter(|curve| curve.metric.is_empty() || curve.metric == metric)?;
        let points = curve
            .points
            .iter()
            .filter_map(|point| {
                Some(CurvePoint {
                    train_rows: point.train_rows,
                    value: point.value?,
                    interval: point.interval,
                })
            })
            .collect();
        Some(LearningCurve { points })
    }
}

/// Takes back what rows in a handful of groups seem to show.
fn withdraw(recommendation: &mut Recommendation, groups: usize) {
    let why = format!(
        "but these rows stand in {groups} groups, and fewer than {LEAST_GROUPS} cannot carry an interval: name a column with more values in `evals.group`, or leave it out where rows do not depend on each other"
    );
    let verdicts = recommendation
        .candidates
        .iter_mut()
        .map(|candidate| &mut candidate.verdict);
    for verdict in verdicts.chain([&mut recommendation.verdict]) {
        if verdict.decision.is_met() {
            verdict.decision = Decision::Undecided { eval_rows: None };
            verdict.reason = format!("{}; {why}.", verdict.reason.trim_end_matches('.'));
        }
    }
    if recommendation.choice.take().is_some() {
        recommendation.reason = format!("None may replace the teacher yet: {why}.");
    }
}
