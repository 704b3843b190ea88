//! The facts of the run that no comparison needs: data, labels, spend, training, lineage.

use std::collections::BTreeMap;

use distill_chat::TaskKind;
use distill_eval::stats;
use distill_report::{
    Agreement, Counted, DataSource, LabelFacts, LabelSource, Lineage as ReportLineage, ModelSource,
    Spend, TrainingFacts, Unsettled,
};
use serde_json::Value;

use super::{Additions, Facts, Lineage};
use crate::{
    compile::step_name,
    curate::Curation,
    label::LabelUsage,
    rows::{AnswerRow, AnswerStatus, Row},
    train::Training,
};

mod cleaning;

pub(crate) use cleaning::Parts;

/// What the steps before found, as read from their files.
pub(crate) struct Inputs {
    pub curation: Curation,
    /// How the examples were parted; `None` in a run that did not say.
    pub parts: Option<Parts>,
    pub train_rows: Vec<Row>,
    pub test_rows: Vec<Row>,
    pub data_hashes: (String, String),
    pub training: BTreeMap<String, Training>,
    pub labelling: Option<(Vec<AnswerRow>, LabelUsage)>,
    pub teacher_usage: Option<LabelUsage>,
    /// Of the teacher asked a second time.
    pub noise_usage: Option<LabelUsage>,
    pub additions: Additions,
    pub run: String,
}

/// Brings them into the form of the report.
pub(crate) fn gather(lineage: &Lineage, inputs: &Inputs) -> Facts {
    let usage = inputs.teacher_usage.as_ref();
    Facts {
        name: lineage.pipeline.clone(),
        eval_source: lineage.test_source.clone(),
        labelled_by_teacher: lineage.labelled_by_teacher,
        data: cleaning::data_facts(inputs),
        labels: label_facts(lineage, inputs),
        spend: usage.map(|usage| total_spend(lineage, usage, inputs)),
        failed_attempts_usd: match usage {
            Some(usage) => failed_attempts_usd(account(usage, inputs)),
            None => Some(0.0),
        },
        training: training_facts(lineage, &inputs.training),
        lineage: report_lineage(lineage, inputs),
        additions: cleaning::additions(inputs),
    }
}

fn label_facts(lineage: &Lineage, inputs: &Inputs) -> LabelFacts {
    let Some((answers, usage)) = &inputs.labelling else {
        return LabelFacts {
            source: LabelSource::Gold,
            asked: 0,
            labelled: inputs
                .train_rows
                .iter()
                .filter(|row| row.gold.is_some())
                .count(),
            ..LabelFacts::default()
        };
    };
    let count = |name: &str, status: AnswerStatus| Counted {
        what: name.to_owned(),
        count: usage.statuses.get(&status).copied().unwrap_or(0),
    };
    let mut teachers = BTreeMap::<&str, usize>::new();
    for model in answers.iter().filter_map(|answer| answer.model.as_deref()) {
        *teachers.entry(model).or_default() += 1;
    }
    let gold: BTreeMap<&str, &str> = inputs
        .train_rows
        .iter()
        .filter_map(|row| Some((row.id.as_str(), row.gold.as_deref()?)))
        .collect();
    let pairs: Vec<bool> = answers
        .iter()
        .filter_map(|answer| {
            Some(same_answer(
                answer.answer.as_deref()?,
                gold.get(answer.id.as_str())?,
                lineage.task.kind,
            ))
        })
        .collect();
    let right = pairs.iter().filter(|right| **right).count();
    LabelFacts {
        source: LabelSource::Teacher,
        simulated: usage.simulated,
        asked: usage.rows,
        labelled: usage
            .statuses
            .get(&AnswerStatus::Answered)
            .copied()
            .unwrap_or(0),
        unlabelled: [
            count("no valid answer", AnswerStatus::Invalid),
            count("cut off", AnswerStatus::Truncated),
            count("refused", AnswerStatus::Refused),
            count("nobody answered", AnswerStatus::Failed),
        ]
        .into_iter()
        .filter(|counted| counted.count > 0)
        .collect(),
        teachers: teachers
            .into_iter()
            .map(|(model, count)| Counted {
                what: model.to_owned(),
                count,
            })
            .collect(),
        agreement: (!pairs.is_empty()).then(|| Agreement {
            right,
            n: pairs.len(),
            interval: stats::wilson(right, pairs.len(), lineage.accept.confidence),
        }),
        // Known when the arms are compared.
        errors_cost: Vec::new(),
        alias_changes: usage.alerts.clone(),
    }
}

/// Whether two canonical answers mean the same; objects compare without regard to key order.
fn same_answer(one: &str, other: &str, kind: TaskKind) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    one == other
        || (kind == TaskKind::Extract && parsed(one).is_some() && parsed(one) == parsed(other))
}

/// The whole job's account. Labelling, the teacher's own answers and its second ones share one, and
/// run side by side: the one that ended last saw every attempt.
fn account<'a>(teacher: &'a LabelUsage, inputs: &'a Inputs) -> &'a LabelUsage {
    let sent = |usage: &LabelUsage| -> u64 {
        let groups = usage.spend.get("attempts").and_then(Value::as_array);
        groups
            .into_iter()
            .flatten()
            .filter_map(|group| number(group, "attempts"))
            .sum()
    };
    others(inputs).fold(teacher, |last, usage| {
        if sent(usage) > sent(last) {
            usage
        } else {
            last
        }
    })
}

/// What the teacher was asked beside the test rows.
fn others(inputs: &Inputs) -> impl Iterator<Item = &LabelUsage> {
    let labelling = inputs.labelling.iter().map(|(_, usage)| usage);
    labelling.chain(&inputs.noise_usage)
}

fn total_spend(lineage: &Lineage, teacher: &LabelUsage, inputs: &Inputs) -> Spend {
    let others: usize = others(inputs).map(|usage| usage.from_journal).sum();
    let from_journal = teacher.from_journal + others;
    spend(lineage, account(teacher, inputs), from_journal)
}

/// Dollars of the attempts that brought no answer and were charged all the same.
fn failed_attempts_usd(usage: &LabelUsage) -> Option<f64> {
    let attempts = usage.spend.get("attempts")?.as_array()?;
    let text = |group: &Value| {
        group
            .get("outcome")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    attempts
        .iter()
        .filter(|group| text(group).as_deref() != Some("answered"))
        .map(|group| group.get("usd").and_then(Value::as_f64))
        .sum()
}

fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

fn spend(lineage: &Lineage, usage: &LabelUsage, journal_hits: usize) -> Spend {
    let spend = &usage.spend;
    let list = |name: &str| {
        spend
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let text = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let attempts = list("attempts");
    let mut failed = BTreeMap::<String, usize>::new();
    for attempt in attempts
        .iter()
        .filter(|attempt| text(attempt, "outcome") != "answered")
    {
        let what = format!("{}: {}", text(attempt, "target"), text(attempt, "outcome"));
        *failed.entry(what).or_default() += number(attempt, "attempts").unwrap_or(0) as usize;
    }
    Spend {
        simulated: usage.simulated,
        budget_usd: lineage.teacher.as_ref().map(|teacher| teacher.budget_usd),
        settled_usd: spend
            .get("settled_usd")
            .and_then(Value::as_f64)
            .unwrap_or_default(),
        requests: number(spend, "requests_answered").unwrap_or(0) as usize,
        journal_hits,
        attempts: attempts
            .iter()
            .filter_map(|attempt| number(attempt, "attempts"))
            .sum::<u64>() as usize,
        failed_attempts: failed
            .into_iter()
            .map(|(what, count)| Counted { what, count })
            .collect(),
        unsettled: list("unsettled")
            .iter()
            .map(|attempt| Unsettled {
                model: text(attempt, "target"),
                row_id: None,
                why: text(attempt, "why"),
                reserved_usd: attempt
                    .get("reserved_usd")
                    .and_then(Value::as_f64)
                    .unwrap_or_default(),
            })
            .collect(),
        input_tokens: spend.get("usage").and_then(|usage| number(usage, "input")),
        output_tokens: spend.get("usage").and_then(|usage| number(usage, "output")),
        beside: Vec::new(),
    }
}

fn training_facts(lineage: &Lineage, training: &BTreeMap<String, Training>) -> Vec<TrainingFacts> {
    lineage
        .arms
        .iter()
        .filter_map(|arm| {
            training
                .get(&step_name(arm))
                .map(|training| (arm, training))
        })
        .map(|(arm, training)| TrainingFacts {
            student: arm.name(),
            method: training.method.clone(),
            steps: training.steps,
            examples: training.examples,
            seconds: Some(training.seconds),
            best_validation_loss: training.best_validation_loss,
            trainable_parameters: training.trainable_parameters,
            total_parameters: training.total_parameters,
            artifact_bytes: Some(training.bytes),
            gradient_census: training.census.clone(),
            stop_token_trained: training.stop_token_trained,
            notes: training.notes.clone(),
        })
        .collect()
}

fn report_lineage(lineage: &Lineage, inputs: &Inputs) -> ReportLineage {
    let data = |role: &str, name: &str, sha256: &str, rows: usize| DataSource {
        role: role.to_owned(),
        name: name.to_owned(),
        sha256: sha256.to_owned(),
        rows,
    };
    let mut models: Vec<ModelSource> = lineage
        .teacher
        .iter()
        .flat_map(|teacher| &teacher.chain)
        .map(|model| ModelSource {
            role: "teacher".to_owned(),
            name: model.name(),
            identity: model.identity(),
        })
        .collect();
    let mut bases: Vec<(&str, &str)> = inputs
        .training
        .values()
        .filter_map(|training| {
            Some((
                training.base.as_deref()?,
                training.base_identity.as_deref()?,
            ))
        })
        .collect();
    bases.sort_unstable();
    bases.dedup();
    models.extend(bases.into_iter().map(|(name, identity)| ModelSource {
        role: "base".to_owned(),
        name: name.to_owned(),
        identity: identity.to_owned(),
    }));
    ReportLineage {
        run_id: inputs.run.clone(),
        pipeline_hash: lineage.spec_hash.clone(),
        data: vec![
            data(
                "train",
                &lineage.train_source,
                &inputs.data_hashes.0,
                inputs.train_rows.len(),
            ),
            data(
                "test",
                &lineage.test_source,
                &inputs.data_hashes.1,
                inputs.test_rows.len(),
            ),
        ],
        models,
        seed: lineage.seed,
        code_version: lineage.code_version.clone(),
        rerun_command: lineage.rerun.clone(),
        // Known when the verdict is.
        next_command: None,
    }
}
