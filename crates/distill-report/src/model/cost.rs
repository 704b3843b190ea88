//! The price of answers: the teacher's per request, the student's per hour of a machine.

use serde::{Deserialize, Serialize};

use super::load::Sensitivity;

const SECONDS_PER_DAY: f64 = 86_400.0;
const HOURS_PER_DAY: f64 = 24.0;
/// How much cheaper the teacher is assumed to get, beside today's price.
const CHEAPER_BY: [f64; 2] = [2.0, 5.0];

/// What answers cost, at the stated request rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostModel {
    /// From the journal's settled attempts, failed ones included.
    pub teacher_usd_per_1000: Option<f64>,
    pub teacher_simulated: bool,
    /// Input and output tokens together.
    #[serde(default)]
    pub teacher_usd_per_million_tokens: Option<f64>,
    /// Of answers that were right; only where the metric is a share of right answers.
    #[serde(default)]
    pub teacher_usd_per_correct: Option<f64>,
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
    /// How the time of an answer was measured.
    #[serde(default)]
    pub capacity_measured: Option<String>,
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
    /// At the stated rate, input and output tokens together; absent for a student without tokens.
    #[serde(default)]
    pub usd_per_million_tokens: Option<f64>,
    /// At the stated rate, of answers that were right.
    #[serde(default)]
    pub usd_per_correct: Option<f64>,
    /// Labels, judge, and the training of every student of the run: the total of `one_off`.
    pub one_off_usd: Option<f64>,
    #[serde(default)]
    pub one_off: OneOff,
    /// Requests after which the one-off cost is saved; `None` also when the student saves nothing.
    pub break_even_requests: Option<f64>,
    /// The same in days at the stated request rate.
    pub break_even_days: Option<f64>,
}

/// What was spent once before the first answer was served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OneOff {
    /// All that the teacher was paid: labels and its own answers to the test rows.
    pub labels_usd: Option<f64>,
    /// The part of `labels_usd` that went to attempts without a usable answer.
    pub failed_attempts_usd: Option<f64>,
    pub judge_usd: Option<f64>,
    /// The answers of cheaper hosted models that were compared.
    #[serde(default)]
    pub cheaper_usd: Option<f64>,
    /// This student's training, as hours of the serving machine.
    pub training_usd: Option<f64>,
    /// The training of the run's other students: what the search for this one took.
    pub search_usd: Option<f64>,
    /// The training of the controls. They only explain, so it is shown and not counted.
    pub controls_usd: Option<f64>,
}

/// What was measured and stated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CostInputs {
    pub teacher_usd_per_1000: Option<f64>,
    pub teacher_simulated: bool,
    /// Share of right answers; `None` where the metric is no such share.
    pub teacher_accuracy: Option<f64>,
    /// Input and output tokens of an answer, on average.
    pub teacher_tokens_per_answer: Option<f64>,
    pub usd_per_hour: Option<f64>,
    pub requests_per_day: Option<f64>,
    pub candidates: Vec<CandidateCost>,
    /// What the labels cost; `Some(0.0)` when none were bought, `None` when not known.
    pub labels_usd: Option<f64>,
    pub failed_attempts_usd: Option<f64>,
    /// `Some(0.0)` when no judge was asked.
    pub judge_usd: Option<f64>,
    /// `Some(0.0)` when no cheaper model was compared.
    pub cheaper_usd: Option<f64>,
    /// Seconds of all controls' training.
    pub controls_training_seconds: Option<f64>,
}

/// One candidate's measurements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CandidateCost {
    pub name: String,
    /// Of one machine that answers without pause.
    pub answers_per_second: Option<f64>,
    /// How that was measured.
    pub capacity_measured: Option<String>,
    /// Priced as an hour of the serving machine.
    pub training_seconds: Option<f64>,
    /// Share of right answers; `None` where the metric is no such share.
    pub accuracy: Option<f64>,
    /// Input and output tokens of an answer, on average.
    pub tokens_per_answer: Option<f64>,
}

impl CostModel {
    /// Does the arithmetic. What needs a missing input is missing.
    pub fn compute(inputs: &CostInputs) -> Self {
        Self {
            teacher_usd_per_1000: inputs.teacher_usd_per_1000,
            teacher_simulated: inputs.teacher_simulated,
            teacher_usd_per_million_tokens: per_million_tokens(
                inputs.teacher_usd_per_1000,
                inputs.teacher_tokens_per_answer,
            ),
            teacher_usd_per_correct: per_correct(
                inputs.teacher_usd_per_1000,
                inputs.teacher_accuracy,
            ),
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

    /// The same with what the whole run was charged, where a first account did not see all of it.
    #[must_use]
    pub fn with_one_off(
        mut self,
        labels_usd: Option<f64>,
        failed_attempts_usd: Option<f64>,
        judge_usd: Option<f64>,
        cheaper_usd: Option<f64>,
    ) -> Self {
        for student in &mut self.students {
            student.one_off = OneOff {
                labels_usd,
                failed_attempts_usd,
                judge_usd,
                cheaper_usd,
                ..student.one_off
            };
            student.one_off_usd = student.one_off.total_usd();
            student.break_even_requests = break_even(
                student.one_off_usd,
                self.teacher_usd_per_1000,
                student.usd_per_1000,
            );
            student.break_even_days = days(student.break_even_requests, self.requests_per_day);
        }
        self
    }

    /// What holds when the teacher gets 2 and 5 times cheaper, student by student; the labels were
    /// paid at today's price. Empty where the teacher has no price.
    pub fn sensitivity(&self) -> Vec<Sensitivity> {
        let Some(teacher) = self.teacher_usd_per_1000 else {
            return Vec::new();
        };
        let factors = || std::iter::once(1.0).chain(CHEAPER_BY);
        self.students
            .iter()
            .flat_map(|student| factors().map(move |factor| (student, factor)))
            .map(|(student, factor)| self.sensitivity_of(student, teacher, factor))
            .collect()
    }

    fn sensitivity_of(&self, student: &StudentCost, today: f64, factor: f64) -> Sensitivity {
        let teacher = today / factor;
        let cheaper = |teacher: f64| student.usd_per_1000.map(|usd| usd < teacher);
        let never_cheaper = student
            .usd_per_1000_saturated
            .map(|saturated| saturated >= teacher);
        let per_request = teacher / 1000.0;
        let threshold = (|| {
            let machine_per_day = self.usd_per_hour? * HOURS_PER_DAY;
            (!never_cheaper? && per_request > 0.0).then_some(machine_per_day / per_request)
        })();
        let break_even = break_even(student.one_off_usd, Some(teacher), student.usd_per_1000);
        Sensitivity {
            candidate: student.candidate.clone(),
            teacher_cheaper_by: factor,
            teacher_usd_per_1000: Some(teacher),
            student_usd_per_1000: student.usd_per_1000,
            student_is_cheaper: cheaper(teacher),
            flips: cheaper(teacher)
                .zip(cheaper(today))
                .map(|(then, now)| then != now),
            cheaper_above_requests_per_day: threshold,
            never_cheaper,
            break_even_requests: break_even,
            break_even_days: days(break_even, self.requests_per_day),
            simulated: self.teacher_simulated,
        }
    }
}

/// Requests after which `one_off` is saved; `None` when nothing is saved or something is missing.
fn break_even(one_off: Option<f64>, teacher: Option<f64>, student: Option<f64>) -> Option<f64> {
    let saved_per_request = (teacher? - student?) / 1000.0;
    (saved_per_request > 0.0).then_some(one_off? / saved_per_request)
}

fn days(requests: Option<f64>, per_day: Option<f64>) -> Option<f64> {
    Some(requests? / per_day.filter(|rate| *rate > 0.0)?)
}

fn per_correct(usd_per_1000: Option<f64>, accuracy: Option<f64>) -> Option<f64> {
    Some(usd_per_1000? / 1000.0 / accuracy.filter(|share| *share > 0.0)?)
}

fn per_million_tokens(usd_per_1000: Option<f64>, tokens_per_answer: Option<f64>) -> Option<f64> {
    let tokens_per_1000 = tokens_per_answer.filter(|tokens| *tokens > 0.0)? * 1000.0;
    Some(usd_per_1000? / tokens_per_1000 * 1e6)
}

/// Training seconds as hours of the serving machine.
fn training_usd(inputs: &CostInputs, seconds: Option<f64>) -> Option<f64> {
    Some(seconds? / 3600.0 * inputs.usd_per_hour?)
}

fn one_off(inputs: &CostInputs, candidate: &CandidateCost) -> OneOff {
    let others: Option<Vec<f64>> = inputs
        .candidates
        .iter()
        .filter(|other| other.name != candidate.name)
        .map(|other| training_usd(inputs, other.training_seconds))
        .collect();
    OneOff {
        labels_usd: inputs.labels_usd,
        failed_attempts_usd: inputs.failed_attempts_usd,
        judge_usd: inputs.judge_usd,
        cheaper_usd: inputs.cheaper_usd,
        training_usd: training_usd(inputs, candidate.training_seconds),
        // A sum of nothing is −0.0, which would be shown as such.
        search_usd: others.map(|others| others.iter().sum::<f64>() + 0.0),
        controls_usd: training_usd(inputs, inputs.controls_training_seconds),
    }
}

impl OneOff {
    /// Absent when any counted part is: a sum with a hole would be too small.
    pub fn total_usd(&self) -> Option<f64> {
        let models = self.labels_usd? + self.judge_usd? + self.cheaper_usd?;
        Some(models + self.training_usd? + self.search_usd?)
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
        let usd_per_day = machines? * inputs.usd_per_hour? * HOURS_PER_DAY;
        Some(usd_per_day / wanted? * 1000.0)
    })();
    let one_off = one_off(inputs, candidate);
    let one_off_usd = one_off.total_usd();
    let break_even_requests = break_even(one_off_usd, inputs.teacher_usd_per_1000, usd_per_1000);
    StudentCost {
        candidate: candidate.name.clone(),
        seconds_per_answer: per_second.map(|rate| 1.0 / rate),
        capacity_measured: candidate.capacity_measured.clone(),
        machines: machines.map(|machines| machines as usize),
        usd_per_1000,
        utilisation: (|| Some(wanted? / (machines? * per_day?)))(),
        usd_per_1000_saturated: (|| Some(inputs.usd_per_hour? / 3600.0 / per_second? * 1000.0))(),
        requests_per_day_saturated: per_day,
        usd_per_million_tokens: per_million_tokens(usd_per_1000, candidate.tokens_per_answer),
        usd_per_correct: per_correct(usd_per_1000, candidate.accuracy),
        one_off_usd,
        one_off,
        break_even_requests,
        break_even_days: days(break_even_requests, wanted),
    }
}

#[cfg(test)]
mod tests;
