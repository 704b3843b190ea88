//! The price of answers: the teacher's per request, the student's per hour of a machine.

use serde::{Deserialize, Serialize};

const SECONDS_PER_DAY: f64 = 86_400.0;

/// What answers cost, at the stated request rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostModel {
    /// From the journal's settled attempts, failed ones included.
    pub teacher_usd_per_1000: Option<f64>,
    pub teacher_simulated: bool,
    /// Of one serving machine.
    pub usd_per_hour: Option<f64>,
    pub requests_per_day: Option<f64>,
    pub students: Vec<StudentCost>,
}

/// One student's price.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentCost {
    pub candidate: String,
    /// Of one machine that answers without pause.
    pub seconds_per_answer: Option<f64>,
    /// Machines that the request rate takes, at least one.
    pub machines: Option<usize>,
    /// With those machines on all month, busy or not.
    pub usd_per_1000: Option<f64>,
    /// Share of the machines' time that the request rate fills.
    pub utilisation: Option<f64>,
    /// If a machine answered without pause.
    pub usd_per_1000_saturated: Option<f64>,
    /// Of one machine that answers without pause.
    pub requests_per_day_saturated: Option<f64>,
    /// Labels and training.
    pub one_off_usd: Option<f64>,
    /// Requests after which the one-off cost is saved; `None` also when the student saves nothing.
    pub break_even_requests: Option<f64>,
    /// The same in days at the stated request rate.
    pub break_even_days: Option<f64>,
}

/// What was measured and stated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CostInputs {
    pub teacher_usd_per_1000: Option<f64>,
    pub teacher_simulated: bool,
    pub usd_per_hour: Option<f64>,
    pub requests_per_day: Option<f64>,
    pub candidates: Vec<CandidateCost>,
    /// What the labels cost; `Some(0.0)` when none were bought, `None` when not known.
    pub labels_usd: Option<f64>,
}

/// One candidate's measurements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CandidateCost {
    pub name: String,
    /// Of one machine that answers without pause.
    pub answers_per_second: Option<f64>,
    /// Priced as an hour of the serving machine.
    pub training_seconds: Option<f64>,
}

impl CostModel {
    /// Does the arithmetic. What needs a missing input is missing.
    pub fn compute(inputs: &CostInputs) -> Self {
        Self {
            teacher_usd_per_1000: inputs.teacher_usd_per_1000,
            teacher_simulated: inputs.teacher_simulated,
            usd_per_hour: inputs.usd_per_hour,
            requests_per_day: inputs.requests_per_day,
            students: inputs
                .candidates
                .iter()
                .map(|candidate| student(inputs, candidate))
                .collect(),
        }
    }

    /// The price of that student's answers at the stated rate.
    pub fn usd_per_1000(&self, candidate: &str) -> Option<f64> {
        self.students
            .iter()
            .find(|student| student.candidate == candidate)?
            .usd_per_1000
    }
}

fn student(inputs: &CostInputs, candidate: &CandidateCost) -> StudentCost {
    let per_second = candidate.answers_per_second.filter(|rate| *rate > 0.0);
    let per_day = per_second.map(|rate| rate * SECONDS_PER_DAY);
    let wanted = inputs.requests_per_day.filter(|rate| *rate > 0.0);
    let machines = wanted
        .zip(per_day)
        .map(|(wanted, per_day)| (wanted / per_day).ceil().max(1.0));
    let usd_per_1000 = (|| {
        let usd_per_day = machines? * inputs.usd_per_hour? * 24.0;
        Some(usd_per_day / wanted? * 1000.0)
    })();
    let one_off_usd = (|| {
        let training = candidate.training_seconds? / 3600.0 * inputs.usd_per_hour?;
        Some(inputs.labels_usd? + training)
    })();
    let break_even_requests = (|| {
        let saved_per_request = (inputs.teacher_usd_per_1000? - usd_per_1000?) / 1000.0;
        (saved_per_request > 0.0).then_some(one_off_usd? / saved_per_request)
    })();
    StudentCost {
        candidate: candidate.name.clone(),
        seconds_per_answer: per_second.map(|rate| 1.0 / rate),
        machines: machines.map(|machines| machines as usize),
        usd_per_1000,
        utilisation: (|| Some(wanted? / (machines? * per_day?)))(),
        usd_per_1000_saturated: (|| Some(inputs.usd_per_hour? / 3600.0 / per_second? * 1000.0))(),
        requests_per_day_saturated: per_day,
        one_off_usd,
        break_even_requests,
        break_even_days: (|| Some(break_even_requests? / wanted?))(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(answers_per_second: f64) -> CostInputs {
        CostInputs {
            teacher_usd_per_1000: Some(0.5),
            teacher_simulated: true,
            usd_per_hour: Some(0.1),
            requests_per_day: Some(10_000.0),
            candidates: vec![CandidateCost {
                name: "nano".into(),
                answers_per_second: Some(answers_per_second),
                training_seconds: Some(36.0),
            }],
            labels_usd: Some(1.0),
        }
    }

    #[track_caller]
    fn close(found: Option<f64>, wanted: f64) {
        assert!(
            (found.unwrap() - wanted).abs() < 1e-9,
            "{found:?} and {wanted}"
        );
    }

    #[test]
    fn a_machine_costs_the_same_busy_or_not() {
        let cost = CostModel::compute(&inputs(50.0));
        let student = &cost.students[0];
        assert_eq!(student.machines, Some(1));
        close(student.usd_per_1000, 0.24);
        close(student.utilisation, 10_000.0 / 4_320_000.0);
        close(student.usd_per_1000_saturated, 0.1 / 3600.0 / 50.0 * 1000.0);
        close(student.one_off_usd, 1.001);
        close(student.break_even_requests, 1.001 / 0.00026);
        close(student.break_even_days, 0.385);
    }

    #[test]
    fn a_slow_student_takes_more_machines_and_may_never_pay() {
        let cost = CostModel::compute(&inputs(0.05));
        let student = &cost.students[0];
        assert_eq!(student.machines, Some(3));
        close(student.usd_per_1000, 0.72);
        assert_eq!(
            (student.break_even_requests, student.break_even_days),
            (None, None)
        );
    }

    #[test]
    fn what_was_not_measured_is_missing_and_not_zero() {
        let mut inputs = inputs(50.0);
        inputs.candidates[0].answers_per_second = None;
        inputs.labels_usd = None;
        let student = CostModel::compute(&inputs).students.remove(0);
        assert_eq!(
            student,
            StudentCost {
                candidate: "nano".into(),
                ..StudentCost::default()
            }
        );
    }
}
