//! `report`: gathers the facts of all steps into one report and writes it in every form.

use std::{collections::BTreeMap, path::Path};

use distill_chat::{TaskDefinition, TaskKind};
use distill_eval::{Reference, stats};
use distill_pipeline::{
    hash::ContentHash,
    spec::{AcceptSpec, DataSource as SpecSource, ResolvedSpec},
};
use distill_report::{
    AcceptFacts, Agreement, Counted, DataFacts, DataSource, LabelFacts, LabelSource, LeakedRow,
    Lineage as ReportLineage, ModelSource, RunReport, SCHEMA, Spend, TaskFacts, TrainingFacts,
    Unsettled,
};
use distill_runner::StepFailure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Arm,
    compare::Findings,
    compile::step_name,
    curate::{Curation, Removal},
    label::LabelUsage,
    rows::{AnswerRow, AnswerStatus, Row},
    teacher::Teacher,
    train::Training,
};

/// Share of rows on which student and teacher are assumed to differ in being right, for the number
/// of rows that the margin needs before any is known.
pub(crate) const ASSUMED_DISCORDANCE: f64 = 0.15;
/// Ids that the report lists per reason of removal.
const SHOWN_IDS: usize = 20;

/// Where a report's figures come from, as far as the spec tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    pub pipeline: String,
    pub task: TaskDefinition,
    pub accept: AcceptSpec,
    pub train_source: String,
    pub test_source: String,
    pub arms: Vec<Arm>,
    pub teacher: Option<Teacher>,
    pub labelled_by_teacher: bool,
    pub seed: u64,
    pub spec_hash: String,
    pub code_version: String,
    /// What to type to run it again; no part of the key.
    pub rerun: String,
}

impl Lineage {
    pub fn new(
        spec: &ResolvedSpec,
        task: &TaskDefinition,
        arms: &[Arm],
        teacher: Option<Teacher>,
    ) -> Self {
        let source = |source: &SpecSource| match source {
            SpecSource::Path(path) => path.clone(),
            SpecSource::Dataset { dataset, split } => format!("{dataset}, split {split}"),
        };
        let document = serde_json::to_value(spec).expect("a spec is plain data");
        Self {
            pipeline: spec.name.clone(),
            task: task.clone(),
            accept: spec.accept.clone(),
            train_source: source(&spec.data.train),
            test_source: source(&spec.evals.test),
            arms: arms.to_vec(),
            labelled_by_teacher: teacher.is_some()
                && spec.data.labels == distill_pipeline::spec::Labels::Teacher,
            teacher,
            seed: spec.seed,
            spec_hash: ContentHash::of_json(&document).to_string(),
            code_version: env!("CARGO_PKG_VERSION").to_owned(),
            rerun: String::new(),
        }
    }

    pub fn settings(&self) -> Value {
        json!({
            "spec": self.spec_hash,
            "code_version": self.code_version,
        })
    }
}

/// The facts of the steps before, as read from their files.
pub(crate) struct Facts {
    pub findings: Findings,
    pub curation: Curation,
    pub train_rows: Vec<Row>,
    pub test_rows: Vec<Row>,
    pub data_hashes: (String, String),
    pub training: BTreeMap<String, Training>,
    pub labelling: Option<(Vec<AnswerRow>, LabelUsage)>,
    pub teacher_usage: Option<LabelUsage>,
    pub run: String,
}

/// Puts the report together.
pub(crate) fn assemble(lineage: &Lineage, facts: Facts) -> RunReport {
    let simulated = facts
        .teacher_usage
        .as_ref()
        .is_some_and(|usage| usage.simulated);
    let mut touched = Vec::new();
    if simulated {
        touched
            .extend(["teacher answers", "prices", "latencies of the teacher"].map(str::to_owned));
        if lineage.labelled_by_teacher {
            touched.push("labels".to_owned());
        }
    }
    let primary = distill_eval::primary_metric(lineage.task.kind);
    let plan = stats::PowerPlan::noninferiority(
        lineage.accept.margin,
        lineage.accept.confidence,
        ASSUMED_DISCORDANCE,
    );
    RunReport {
        schema: SCHEMA,
        name: lineage.pipeline.clone(),
        task: TaskFacts {
            kind: lineage.task.kind.name().to_owned(),
            metric: primary.name.to_owned(),
            eval_rows: facts.findings.eval_rows,
            eval_source: lineage.test_source.clone(),
            reference: facts.findings.reference,
            confidence: lineage.accept.confidence,
            ..TaskFacts::default()
        },
        accept: AcceptFacts {
            margin: lineage.accept.margin,
            confidence: lineage.accept.confidence,
            max_p95_ms: lineage.accept.max_p95_ms,
            max_usd_per_1000: lineage.accept.max_usd_per_1000,
            required_rows: stats::required_n(&plan),
            assumed_discordance: Some(ASSUMED_DISCORDANCE),
            ..AcceptFacts::default()
        },
        simulated: touched,
        data: data_facts(&facts),
        labels: Some(label_facts(lineage, &facts)),
        spend: facts
            .teacher_usage
            .as_ref()
            .map(|usage| total_spend(lineage, usage, &facts)),
        training: training_facts(lineage, &facts.training),
        lineage: report_lineage(lineage, &facts),
        notes: notes(&facts, simulated),
        arms: facts.findings.arms,
        differences: facts.findings.differences,
        regressions: facts.findings.regressions,
        recommendation: facts.findings.recommendation,
        cost: facts.findings.cost,
        ..RunReport::default()
    }
}

/// Writes the report in every form.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub(crate) fn write(report: &RunReport, folder: &Path) -> Result<(), StepFailure> {
    std::fs::create_dir_all(folder).map_err(|error| crate::rows::cannot_write(folder, error))?;
    for format in distill_report::FORMATS {
        let path = folder.join(format.file);
        std::fs::write(&path, (format.render)(report))
            .map_err(|error| crate::rows::cannot_write(&path, error))?;
    }
    Ok(())
}

fn notes(facts: &Facts, simulated: bool) -> Vec<String> {
    let mut notes = facts.findings.notes.clone();
    if simulated {
        notes.push("the teacher is SIMULATED: its answers are the gold answers with errors put in, its prices and latencies are settings".to_owned());
    }
    if facts.findings.reference == Reference::TeacherLabels {
        notes.push("the test rows have no human answers: every figure is agreement with the teacher, not accuracy".to_owned());
    }
    notes
}

fn data_facts(facts: &Facts) -> DataFacts {
    let curation = &facts.curation;
    let removed = curation
        .removed
        .iter()
        .map(|(reason, rows)| distill_report::Removal {
            reason: reason_text(*reason).to_owned(),
            rows: *rows,
            ids: curation
                .removed_rows
                .iter()
                .filter(|row| row.reason == *reason)
                .take(SHOWN_IDS)
                .map(|row| row.id.clone())
                .collect(),
        })
        .collect();
    let leaked = curation
        .removed_rows
        .iter()
        .filter(|row| row.reason == Removal::Leaked)
        .map(|row| LeakedRow {
            train_id: row.id.clone(),
            eval_id: row.repeats.clone().unwrap_or_default(),
            text: row.text.clone(),
            how: row.detail.clone().unwrap_or_default(),
        })
        .collect();
    let validation = facts
        .training
        .values()
        .filter(|training| training.steps.is_some())
        .map(|training| training.validation)
        .next();
    DataFacts {
        train_rows_read: curation.rows,
        train_rows_used: curation.kept,
        validation_rows: validation.unwrap_or_default(),
        removed,
        leaked,
        ..DataFacts::default()
    }
}

fn reason_text(reason: Removal) -> &'static str {
    match reason {
        Removal::Empty => "empty text",
        Removal::Unlabelled => "no label",
        Removal::Invalid => "the label is no valid answer",
        Removal::Truncated => "the label was cut off",
        Removal::Refused => "the teacher refused",
        Removal::Duplicate => "duplicate with the same label",
        Removal::Conflict => "duplicate with another label",
        Removal::Leaked => "stands in the test rows too",
    }
}

fn label_facts(lineage: &Lineage, facts: &Facts) -> LabelFacts {
    let Some((answers, usage)) = &facts.labelling else {
        return LabelFacts {
            source: LabelSource::Gold,
            asked: 0,
            labelled: facts
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
    let gold: BTreeMap<&str, &str> = facts
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
        errors_cost: facts
            .findings
            .differences
            .iter()
            .filter(|difference| difference.baseline == "linear_gold")
            .cloned()
            .collect(),
        alias_changes: usage.alerts.clone(),
    }
}

/// Whether two canonical answers mean the same; objects compare without regard to key order.
fn same_answer(one: &str, other: &str, kind: TaskKind) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    one == other
        || (kind == TaskKind::Extract && parsed(one).is_some() && parsed(one) == parsed(other))
}

/// The whole job's account. Labelling and the teacher's own answers share one, and run side by side:
/// the one that ended last saw every attempt.
fn total_spend(lineage: &Lineage, teacher: &LabelUsage, facts: &Facts) -> Spend {
    let labelling = facts.labelling.as_ref().map(|(_, usage)| usage);
    let sent = |usage: &LabelUsage| -> u64 {
        let groups = usage.spend.get("attempts").and_then(Value::as_array);
        groups
            .into_iter()
            .flatten()
            .filter_map(|group| number(group, "attempts"))
            .sum()
    };
    let last = labelling
        .filter(|usage| sent(usage) > sent(teacher))
        .unwrap_or(teacher);
    let from_journal = teacher.from_journal + labelling.map_or(0, |usage| usage.from_journal);
    spend(lineage, last, from_journal)
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

fn report_lineage(lineage: &Lineage, facts: &Facts) -> ReportLineage {
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
    let mut bases: Vec<(&str, &str)> = facts
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
        run_id: facts.run.clone(),
        pipeline_hash: lineage.spec_hash.clone(),
        data: vec![
            data(
                "train",
                &lineage.train_source,
                &facts.data_hashes.0,
                facts.train_rows.len(),
            ),
            data(
                "test",
                &lineage.test_source,
                &facts.data_hashes.1,
                facts.test_rows.len(),
            ),
        ],
        models,
        seed: lineage.seed,
        code_version: lineage.code_version.clone(),
        rerun_command: lineage.rerun.clone(),
        next_command: facts
            .findings
            .recommendation
            .choice
            .as_ref()
            .map(|choice| format!("distill deploy {} --student {choice}", facts.run)),
    }
}
