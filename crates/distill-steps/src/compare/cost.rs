//! What answers cost: a hosted model's dollars from its account, a student's from measured seconds.

use distill_eval::stats::{Quantiles, quantiles};
use distill_report::{CandidateCost, CostInputs, CostModel, Speed};

use super::{Contest, Contestant, study::Account};
use crate::{
    Arm,
    measure::{capacity, single_answer},
};

impl Contest<'_> {
    pub(super) fn cost_model(&self) -> CostModel {
        let teacher = self.teacher();
        let account = teacher.and_then(|teacher| teacher.study.account.as_ref());
        let settings = &self.study.settings;
        CostModel::compute(&CostInputs {
            teacher_usd_per_1000: account.and_then(Account::usd_per_1000),
            teacher_simulated: self.study.teacher_simulated(),
            teacher_accuracy: teacher.and_then(|teacher| self.accuracy(teacher)),
            teacher_tokens_per_answer: teacher.and_then(tokens_per_answer),
            usd_per_hour: Some(settings.cost.usd_per_hour),
            requests_per_day: Some(settings.cost.requests_per_day),
            candidates: self.students().map(|arm| self.candidate(arm)).collect(),
            labels_usd: match account {
                Some(account) => account.settled_usd,
                None => Some(0.0),
            },
            failed_attempts_usd: account.and_then(|account| account.failed_attempts_usd),
            cheaper_usd: self.cheaper_usd(),
            judge_usd: match &self.study.judge {
                Some(judge) => judge.usd,
                None => Some(0.0),
            },
            controls_training_seconds: self.controls_training_seconds(),
        })
    }

    fn candidate(&self, student: &Contestant<'_>) -> CandidateCost {
        let (rate, measured) = student.capacity().unzip();
        CandidateCost {
            name: student.name.to_owned(),
            answers_per_second: rate,
            capacity_measured: measured,
            training_seconds: student.study.training_seconds,
            accuracy: self.accuracy(student),
            tokens_per_answer: tokens_per_answer(student),
        }
    }

    /// What the cheaper models' answers cost; nothing where none was asked.
    fn cheaper_usd(&self) -> Option<f64> {
        let arms = self.study.arms.iter();
        arms.filter(|arm| matches!(arm.arm, Arm::Cheaper(_)))
            .map(|arm| arm.account.as_ref()?.settled_usd)
            .sum::<Option<f64>>()
            .map(|usd| usd + 0.0)
    }

    /// The share of right answers, where the metric of the verdict is one.
    fn accuracy(&self, contestant: &Contestant<'_>) -> Option<f64> {
        if !self.scorers.decides_by_share() {
            return None;
        }
        let scored: Vec<f64> = contestant
            .scores
            .iter()
            .filter_map(|row| row.score.value())
            .collect();
        (!scored.is_empty()).then(|| scored.iter().sum::<f64>() / scored.len() as f64)
    }

    fn controls_training_seconds(&self) -> Option<f64> {
        let seconds: Vec<f64> = self
            .contestants
            .iter()
            .filter(|contestant| matches!(contestant.arm(), Arm::Control(_)))
            .filter_map(|contestant| contestant.study.training_seconds)
            .collect();
        (!seconds.is_empty()).then(|| seconds.iter().sum())
    }
}

impl Contestant<'_> {
    /// Of any arm that has a price.
    pub(super) fn usd_per_1000(&self, cost: &CostModel) -> Option<f64> {
        match &self.study.account {
            Some(account) => account.usd_per_1000(),
            None => cost.usd_per_1000(self.name),
        }
    }

    /// Answers a second of one machine and how that was measured: as served, else in batches.
    fn capacity(&self) -> Option<(f64, String)> {
        let served = self
            .study
            .load
            .as_ref()
            .and_then(|record| capacity(&record.load));
        served.or_else(|| {
            let engine = self.study.engine.as_ref()?;
            (engine.batch_seconds > 0.0).then(|| {
                (
                    engine.batch_rows as f64 / engine.batch_seconds,
                    format!("all test rows in batches, {} threads", engine.threads),
                )
            })
        })
    }

    /// How fast it answers as served, one request at a time, where that was measured.
    pub(super) fn served_speed(&self) -> Option<Speed> {
        let load = &self.study.load.as_ref()?.load;
        let single = single_answer(load)?;
        let clients = single.max_concurrency?;
        let (rate, how) = capacity(load)?;
        Some(Speed {
            per_answer_ms: Quantiles {
                n: single.completed,
                mean: single.mean_e2el_ms?,
                p50: single.median_e2el_ms?,
                p95: single.p95_e2el_ms?,
                p99: single.p99_e2el_ms?,
            },
            answers_per_second: Some(rate),
            measured_on: format!("{}; {clients} at a time; answers/s {how}", single.engine),
            left_out: (single.failed > 0).then(|| format!("{} failed requests", single.failed)),
        })
    }

    /// The 95th percentile that a limit is held against: as served, else of the rows asked alone.
    pub(super) fn p95_ms(&self) -> Option<f64> {
        let served = self
            .study
            .load
            .as_ref()
            .and_then(|record| single_answer(&record.load)?.p95_e2el_ms);
        served.or_else(|| quantiles(&self.latencies()).map(|quantiles| quantiles.p95))
    }
}

/// Input and output tokens, over the rows where both are known.
fn tokens_per_answer(contestant: &Contestant<'_>) -> Option<f64> {
    let counts: Vec<u64> = contestant
        .records
        .iter()
        .filter_map(|record| Some(record.input_tokens?.saturating_add(record.output_tokens?)))
        .collect();
    (!counts.is_empty()).then(|| counts.iter().sum::<u64>() as f64 / counts.len() as f64)
}
