//! What the report shows of an arm beside its scores: its role, speed and cost.

use distill_chat::{Task, TaskKind};
use distill_eval::{
    Limits,
    stats::{Quantiles, quantiles},
};
use distill_pipeline::spec::{AcceptSpec, CostSpec};
use distill_report::{CandidateCost, CostInputs, CostModel, Role, Speed};

use super::Evidence;
use crate::{Arm, action::Compare, arm::ControlKind, label::LabelUsage, rows::Row};

pub(super) fn shown_text(task: &Task, row: &Row) -> String {
    task.messages(&row.fields)
        .ok()
        .and_then(|mut messages| messages.pop())
        .map(|message| message.content)
        .unwrap_or_default()
}

pub(super) fn limits(accept: &AcceptSpec) -> Limits {
    Limits {
        max_p95_ms: accept.max_p95_ms,
        max_usd_per_1000: accept.max_usd_per_1000,
    }
}

pub(super) fn role(arm: &Arm) -> Role {
    match arm {
        Arm::Constant => Role::Constant,
        Arm::Untuned => Role::Untuned,
        Arm::FewShot => Role::FewShot,
        Arm::Control(_) => Role::Control,
        Arm::Student(name) if name == "linear" => Role::Floor,
        Arm::Student(_) => Role::Student,
        Arm::Teacher => Role::Teacher,
    }
}

pub(super) fn description(arm: &Arm, kind: TaskKind) -> String {
    match arm {
        Arm::Constant if kind == TaskKind::Extract => {
            "always {}: the answer that costs nothing".to_owned()
        }
        Arm::Constant if kind == TaskKind::Generate => {
            "always the most frequent training answer".to_owned()
        }
        Arm::Constant => "always the most frequent training label".to_owned(),
        Arm::Untuned => "the base model as it came".to_owned(),
        Arm::FewShot => format!(
            "the base model with {} examples in its prompt",
            crate::evaluate::SHOTS
        ),
        Arm::Control(ControlKind::Full) => "all weights of the base trained, same steps".to_owned(),
        Arm::Control(ControlKind::RandomLora) => "LoRA on random weights, same steps".to_owned(),
        Arm::Control(ControlKind::RandomFull) => {
            "all weights trained from random ones, same steps".to_owned()
        }
        Arm::Control(ControlKind::LinearGold) => {
            "the linear student, trained on the human labels of the same rows".to_owned()
        }
        Arm::Student(name) if name == "linear" => {
            "hashed n-grams and a softmax: the floor".to_owned()
        }
        Arm::Student(name) => format!("LoRA on {name}"),
        Arm::Teacher => "the chain of models that labelled".to_owned(),
    }
}

pub(super) fn speed(arm: &Arm, evidence: &Evidence) -> Option<Speed> {
    if *arm == Arm::Teacher {
        let (_, usage) = evidence.teacher.as_ref()?;
        let latency = usage
            .spend
            .get("latency")
            .filter(|latency| !latency.is_null())?;
        let number = |name: &str| latency.get(name).and_then(serde_json::Value::as_f64);
        return Some(Speed {
            per_answer_ms: Quantiles {
                n: latency.get("count").and_then(serde_json::Value::as_u64)? as usize,
                p50: number("p50_ms")?,
                p95: number("p95_ms")?,
                p99: number("p99_ms")?,
                mean: number("mean_ms")?,
            },
            answers_per_second: None,
            measured_on: "through the gateway, as recorded in the journal".to_owned(),
            left_out: (usage.from_journal > 0)
                .then(|| format!("{} answers taken from the journal", usage.from_journal)),
        });
    }
    if *arm == Arm::Constant {
        // It computes nothing: a latency of it would only measure the clock.
        return None;
    }
    let (_, timing) = evidence.predictions.get(&crate::compile::step_name(arm))?;
    Some(Speed {
        per_answer_ms: quantiles(&timing.single_ms)?,
        answers_per_second: (timing.batch_seconds > 0.0)
            .then(|| timing.batch_rows as f64 / timing.batch_seconds),
        measured_on: format!(
            "{} threads; one request at a time after warm-up; answers/s in batches",
            timing.threads
        ),
        left_out: None,
    })
}

pub(super) fn usd_per_1000(name: &str, arm: &Arm, costs: &CostModel) -> Option<f64> {
    if *arm == Arm::Teacher {
        return costs.teacher_usd_per_1000;
    }
    costs
        .students
        .iter()
        .find(|student| student.candidate == name)
        .and_then(|student| student.usd_per_1000)
}

/// The teacher's dollars from the journal, the students' from measured seconds.
pub(super) fn cost_model(cost: &CostSpec, evidence: &Evidence, arms: &[Arm]) -> CostModel {
    let teacher = evidence.teacher.as_ref();
    let settled = |usage: &LabelUsage| {
        usage
            .spend
            .get("settled_usd")
            .and_then(serde_json::Value::as_f64)
    };
    let answered = |usage: &LabelUsage| {
        usage
            .spend
            .get("requests_answered")
            .and_then(serde_json::Value::as_u64)
    };
    let per_1000 = teacher.and_then(|(_, usage)| match (settled(usage), answered(usage)) {
        (Some(usd), Some(requests)) if requests > 0 => Some(usd / requests as f64 * 1000.0),
        _ => None,
    });
    let candidates = arms
        .iter()
        .filter(|arm| matches!(arm, Arm::Student(_)))
        .map(|arm| {
            let name = crate::compile::step_name(arm);
            let timing = evidence.predictions.get(&name).map(|(_, timing)| timing);
            CandidateCost {
                name: arm.name(),
                answers_per_second: timing
                    .filter(|timing| timing.batch_seconds > 0.0)
                    .map(|timing| timing.batch_rows as f64 / timing.batch_seconds),
                training_seconds: evidence
                    .training
                    .get(&name)
                    .map(|training| training.seconds),
                ..CandidateCost::default()
            }
        })
        .collect();
    CostModel::compute(&CostInputs {
        teacher_usd_per_1000: per_1000,
        teacher_simulated: teacher.is_some_and(|(_, usage)| usage.simulated),
        usd_per_hour: Some(cost.usd_per_hour),
        requests_per_day: Some(cost.requests_per_day),
        candidates,
        labels_usd: match teacher {
            Some((_, usage)) => settled(usage),
            None => Some(0.0),
        },
        judge_usd: Some(0.0),
        ..CostInputs::default()
    })
}

pub(super) fn notes(settings: &Compare, evidence: &Evidence) -> Vec<String> {
    let mut notes = Vec::new();
    if settings.cost.assumed {
        notes.push(
            "the machine's price and the request rate are assumed: set `cost` to your own"
                .to_owned(),
        );
    }
    for arm in &settings.arms {
        let cut = evidence
            .predictions
            .get(&crate::compile::step_name(arm))
            .map_or(0, |(_, timing)| timing.cut_prompts);
        if cut > 0 {
            notes.push(format!(
                "{cut} prompts were longer than the context of `{}` and were cut on the left",
                arm.name()
            ));
        }
    }
    notes
}
