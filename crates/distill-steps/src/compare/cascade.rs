//! A student that answers where it is sure and asks the teacher where it is not: each row as the
//! two together would answer it, at the threshold that was chosen on the calibration rows.

use distill_eval::{
    SampleRecord, ScoredRow,
    cascade::{DeferralRow, Threshold, deferral_curve},
    stats::{quantiles, wilson},
};
use distill_report::{Arm as ArmFigures, CascadeFacts, CostModel, ReliabilityBin, Role, Speed};

use super::{CascadeStudy, Contest, Contestant, Side};

/// Points of the deferral curve beside its beginning.
const CURVE_POINTS: usize = 50;
/// Groups of the reliability figure.
const RELIABILITY_BINS: usize = 10;

/// A student and the teacher behind it, on the eval rows.
pub(super) struct Cascade<'a> {
    pub(super) name: String,
    pub(super) student: &'a Contestant<'a>,
    pub(super) teacher: &'a Contestant<'a>,
    pub(super) scores: Vec<ScoredRow>,
    threshold: Threshold,
    /// Row by row: whether the teacher is asked.
    deferred: Vec<bool>,
}

impl Cascade<'_> {
    pub(super) fn side(&self) -> Side<'_> {
        let (own, asked) = (self.student.all, self.teacher.all);
        Side {
            name: &self.name,
            all: own
                .iter()
                .zip(asked)
                .map(|(own, asked)| {
                    if defers(own, &self.threshold) {
                        asked
                    } else {
                        own
                    }
                })
                .collect(),
            scores: &self.scores,
        }
    }

    /// What a thousand answers of the two cost: the student is asked about every row, the teacher
    /// about those that are deferred.
    pub(super) fn usd_per_1000(&self, cost: &CostModel) -> Option<f64> {
        let own = cost.usd_per_1000(self.student.name)?;
        Some(own + self.deferred_share() * cost.teacher_usd_per_1000?)
    }

    pub(super) fn deferred_share(&self) -> f64 {
        let deferred = self.deferred.iter().filter(|deferred| **deferred).count();
        deferred as f64 / self.deferred.len().max(1) as f64
    }

    /// Milliseconds of the rows where they are known: the student's, and the teacher's on top where
    /// it is asked. None where the teacher's are known for no row that is deferred: the student's
    /// alone would make the two look as quick as the one.
    pub(super) fn latencies(&self) -> Vec<f64> {
        let ms = |side: &Contestant<'_>, index: usize| side.records[index].latency_ms;
        let mut asked = (0..self.deferred.len()).filter(|index| self.deferred[*index]);
        if asked.clone().next().is_some() && asked.all(|index| ms(self.teacher, index).is_none()) {
            return Vec::new();
        }
        self.deferred
            .iter()
            .enumerate()
            .filter_map(|(index, deferred)| {
                let own = ms(self.student, index)?;
                Some(if *deferred {
                    own + ms(self.teacher, index)?
                } else {
                    own
                })
            })
            .collect()
    }

    /// Wrong answers among those that the student gives itself, and how many those are.
    fn own_wrong(&self) -> (usize, usize) {
        let own: Vec<f64> = self
            .deferred
            .iter()
            .zip(&self.student.scores)
            .filter(|(deferred, _)| !**deferred)
            .filter_map(|(_, row)| row.score.value())
            .collect();
        let wrong = own.iter().filter(|value| **value < 1.0).count();
        (wrong, own.len())
    }
}

impl<'a> Contest<'a> {
    /// Those for which a threshold was found.
    pub(super) fn cascades(&'a self) -> Vec<Cascade<'a>> {
        let Some(teacher) = self.teacher() else {
            return Vec::new();
        };
        self.study
            .cascades
            .iter()
            .filter_map(|study| {
                let student = self.students().find(|arm| arm.name == study.student)?;
                Some(cascade(student, teacher, study.threshold?))
            })
            .collect()
    }

    /// The two together as an arm of the report.
    pub(super) fn cascade_arm(&self, cascade: &Cascade<'_>, cost: &CostModel) -> ArmFigures {
        ArmFigures {
            name: cascade.name.clone(),
            role: Role::Cascade,
            description: format!(
                "{} where its confidence is at least {:.4}, the teacher on the rest",
                cascade.student.name, cascade.threshold.raw
            ),
            simulated: cascade.teacher.study.simulated,
            scores: vec![self.aggregate_primary(&cascade.scores)],
            speed: quantiles(&cascade.latencies()).map(|per_answer_ms| Speed {
                per_answer_ms,
                answers_per_second: None,
                measured_on: "from the two arms' own latencies, one after the other where the teacher is asked".to_owned(),
                left_out: None,
            }),
            usd_per_1000: cascade.usd_per_1000(cost),
            ..ArmFigures::default()
        }
    }

    /// What the report shows of every student that was calibrated, with a threshold or without.
    pub(super) fn cascade_facts(
        &self,
        cascades: &[Cascade<'_>],
        cost: &CostModel,
    ) -> Vec<CascadeFacts> {
        let Some(teacher) = self.teacher() else {
            return Vec::new();
        };
        self.study
            .cascades
            .iter()
            .filter_map(|study| {
                let student = self.students().find(|arm| arm.name == study.student)?;
                let cascade = cascades
                    .iter()
                    .find(|cascade| cascade.student.name == study.student);
                Some(self.facts(study, student, teacher, cascade, cost))
            })
            .collect()
    }

    fn facts(
        &self,
        study: &CascadeStudy,
        student: &Contestant<'_>,
        teacher: &Contestant<'_>,
        cascade: Option<&Cascade<'_>>,
        cost: &CostModel,
    ) -> CascadeFacts {
        let rows = deferral_rows(student, teacher, cost);
        let calibration = study.calibration.clone().unwrap_or_default();
        let stated: Vec<(f64, bool)> = if calibration.points.is_empty() {
            Vec::new()
        } else {
            rows.iter()
                .map(|row| (calibration.probability(row.confidence), row.student >= 1.0))
                .collect()
        };
        let (wrong, own) = cascade.map(Cascade::own_wrong).unwrap_or_default();
        let together = cascade.map(|cascade| self.aggregate_primary(&cascade.scores));
        CascadeFacts {
            student: study.student.clone(),
            arm: cascade.map(|cascade| cascade.name.clone()),
            confidence_is: study.confidence_is.clone(),
            calibration_rows: study.calibration_rows,
            calibration,
            threshold: study.threshold,
            curve: deferral_curve(&rows, CURVE_POINTS),
            accuracy: together.as_ref().and_then(|score| score.value),
            accuracy_interval: together.and_then(|score| score.interval),
            deferred_share: cascade.map(Cascade::deferred_share),
            observed_risk: (own > 0).then(|| wrong as f64 / own as f64),
            observed_risk_interval: wilson(wrong, own, self.options.confidence),
            usd_per_1000: cascade.and_then(|cascade| cascade.usd_per_1000(cost)),
            mean_ms: cascade
                .and_then(|cascade| quantiles(&cascade.latencies()))
                .map(|quantiles| quantiles.mean),
            reliability: ReliabilityBin::of(&stated, RELIABILITY_BINS, self.options.confidence),
            simulated: teacher.study.simulated,
        }
    }
}

/// A row whose confidence is not known is deferred: nothing says that the student is sure of it.
fn defers(record: &SampleRecord, threshold: &Threshold) -> bool {
    !record.confidence.is_some_and(|raw| raw >= threshold.raw)
}

fn cascade<'a>(
    student: &'a Contestant<'a>,
    teacher: &'a Contestant<'a>,
    threshold: Threshold,
) -> Cascade<'a> {
    let deferred: Vec<bool> = student
        .records
        .iter()
        .map(|record| defers(record, &threshold))
        .collect();
    let scores = deferred
        .iter()
        .zip(student.scores.iter().zip(&teacher.scores))
        .map(|(deferred, (own, asked))| if *deferred { asked } else { own }.clone())
        .collect();
    Cascade {
        name: format!("{}+{}", student.name, teacher.name),
        student,
        teacher,
        scores,
        threshold,
        deferred,
    }
}

/// Rows that both have a score for and the student a confidence.
fn deferral_rows(
    student: &Contestant<'_>,
    teacher: &Contestant<'_>,
    cost: &CostModel,
) -> Vec<DeferralRow> {
    let student_usd = cost.usd_per_1000(student.name).map(|usd| usd / 1000.0);
    let teacher_usd = cost.teacher_usd_per_1000.map(|usd| usd / 1000.0);
    (0..student.records.len())
        .filter_map(|index| {
            Some(DeferralRow {
                confidence: student.records[index].confidence?,
                student: student.scores[index].score.value()?,
                teacher: teacher.scores[index].score.value()?,
                student_usd,
                teacher_usd,
                student_ms: student.records[index].latency_ms,
                teacher_ms: teacher.records[index].latency_ms,
            })
        })
        .collect()
}
