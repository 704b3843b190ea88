//! `report`: gathers the facts of all steps into one report and writes it in every form.

use std::path::Path;

use distill_chat::TaskDefinition;
use distill_eval::{Decision, stats};
use distill_pipeline::{
    hash::ContentHash,
    spec::{AcceptSpec, DataSource as SpecSource, ResolvedSpec},
};
use distill_report::{
    AcceptFacts, CostModel, DataFacts, EnergyFacts, EvalDuplicate, JudgeFacts, LabelConflict,
    LabelFacts, LabelNoiseFacts, Lineage as ReportLineage, LoadFacts, NoiseFloorFacts, OtherSpend,
    PriceAge, RunReport, SCHEMA, Spend, TaskFacts, TrainingFacts,
};
use distill_runner::StepFailure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Arm,
    compare::{self, Findings, Samples, Study, primary_scorer_name},
    rows::write_json,
    teacher::Teacher,
};

mod document;
mod gather;
#[cfg(test)]
mod tests;

pub(crate) use gather::{Inputs, Parts, gather};

use document::read_study;

/// The version of the shape of `study.json` and of the records beside it.
const STUDY_SCHEMA: u32 = 1;
/// The file of a report's folder that holds what no record does.
const STUDY_FILE: &str = "study.json";
/// The folder of a report's folder with the records, a file an arm.
const SAMPLES_FOLDER: &str = "samples";

/// Share of rows on which student and teacher are assumed to differ in being right, for the number
/// of rows that the margin needs before any is known.
pub(crate) const ASSUMED_DISCORDANCE: f64 = 0.15;

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

/// All of a report that is not in the records of its samples: `study.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StudyDocument {
    /// [`STUDY_SCHEMA`].
    pub schema: u32,
    pub comparison: Study,
    pub facts: Facts,
    /// Of the records beside it, as they were written.
    #[serde(default, skip_serializing_if = "compare::Seal::is_empty")]
    pub sealed: compare::Seal,
}

impl StudyDocument {
    pub(crate) fn new(comparison: Study, facts: Facts) -> Self {
        Self {
            schema: STUDY_SCHEMA,
            comparison,
            facts,
            sealed: compare::Seal::new(),
        }
    }
}

/// What happened beside the comparison, in the form of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub name: String,
    pub eval_source: String,
    pub labelled_by_teacher: bool,
    pub data: DataFacts,
    pub labels: LabelFacts,
    pub spend: Option<Spend>,
    /// The part of the spend that went to attempts without an answer.
    #[serde(default)]
    pub failed_attempts_usd: Option<f64>,
    pub training: Vec<TrainingFacts>,
    pub lineage: ReportLineage,
    #[serde(default)]
    pub additions: Additions,
}

/// What steps beside the comparison found: each writes what it has, and the report joins them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Additions {
    pub noise_floor: Option<NoiseFloorFacts>,
    pub judge: Option<JudgeFacts>,
    pub label_noise: Option<LabelNoiseFacts>,
    pub label_conflicts: Vec<LabelConflict>,
    pub eval_duplicates: Vec<EvalDuplicate>,
    pub load: Vec<LoadFacts>,
    pub energy: Vec<EnergyFacts>,
    pub price_age: Vec<PriceAge>,
    pub notes: Vec<String>,
}

impl Additions {
    /// Takes over what the other has.
    pub(crate) fn join(&mut self, other: Self) {
        self.noise_floor = other.noise_floor.or(self.noise_floor.take());
        self.judge = other.judge.or(self.judge.take());
        self.label_noise = other.label_noise.or(self.label_noise.take());
        self.label_conflicts.extend(other.label_conflicts);
        self.eval_duplicates.extend(other.eval_duplicates);
        self.load.extend(other.load);
        self.energy.extend(other.energy);
        self.price_age.extend(other.price_age);
        self.notes.extend(other.notes);
    }
}

/// What the judges' account is called.
const JUDGES: &str = "judging";

/// Puts the report together. Depends on nothing but its arguments.
pub(crate) fn assemble(document: &StudyDocument, findings: Findings) -> RunReport {
    let (study, facts) = (&document.comparison, &document.facts);
    let settings = &study.settings;
    let additions = facts.additions.clone();
    let simulated = study.teacher_simulated();
    let beside = beside(study, facts);
    let cost = charged(findings.cost.clone(), facts, &beside);
    let next_command = next_command(&findings, &facts.lineage.run_id);
    let notes = notes(&findings, additions.notes, simulated);
    RunReport {
        schema: SCHEMA,
        name: facts.name.clone(),
        task: TaskFacts {
            kind: settings.task.kind.name().to_owned(),
            metric: primary_scorer_name(settings),
            eval_rows: findings.eval_rows,
            eval_source: facts.eval_source.clone(),
            reference: findings.reference,
            confidence: settings.accept.confidence,
            expected_by: findings.expected_by,
        },
        accept: accept_facts(&settings.accept),
        simulated: touched_by_simulation(document),
        data: facts.data.clone(),
        labels: Some(LabelFacts {
            errors_cost: findings
                .differences
                .iter()
                .filter(|difference| difference.baseline == "linear_gold")
                .cloned()
                .collect(),
            ..facts.labels.clone()
        }),
        spend: facts.spend.clone().map(|spend| Spend { beside, ..spend }),
        training: facts.training.clone(),
        lineage: ReportLineage {
            next_command,
            ..facts.lineage.clone()
        },
        notes,
        arms: findings.arms,
        differences: findings.differences,
        regressions: findings.regressions,
        recommendation: findings.recommendation,
        sensitivity: cost.sensitivity(),
        cost,
        cascade: findings.cascades,
        learning_curves: findings.learning_curves,
        noise_floor: additions.noise_floor,
        judge: additions.judge,
        label_noise: additions.label_noise,
        label_conflicts: additions.label_conflicts,
        eval_duplicates: additions.eval_duplicates,
        load: loads(study, additions.load),
        energy: energy(study, additions.energy),
        price_age: price_age(study, additions.price_age),
    }
}

fn accept_facts(accept: &AcceptSpec) -> AcceptFacts {
    let plan =
        stats::PowerPlan::noninferiority(accept.margin, accept.confidence, ASSUMED_DISCORDANCE);
    AcceptFacts {
        margin: accept.margin,
        confidence: accept.confidence,
        max_p95_ms: accept.max_p95_ms,
        max_usd_per_1000: accept.max_usd_per_1000,
        required_rows: stats::required_n(&plan),
        assumed_discordance: Some(ASSUMED_DISCORDANCE),
        risk: accept.risk,
    }
}

fn touched_by_simulation(document: &StudyDocument) -> Vec<String> {
    let mut touched = Vec::new();
    if document.comparison.teacher_simulated() {
        touched
            .extend(["teacher answers", "prices", "latencies of the teacher"].map(str::to_owned));
        if document.facts.labelled_by_teacher {
            touched.push("labels".to_owned());
        }
    }
    for arm in &document.comparison.arms {
        if matches!(arm.arm, Arm::Cheaper(_)) && arm.simulated {
            touched.push(format!("answers, price and latency of {}", arm.name));
        }
    }
    touched
}

/// What to type next: a release, where a student alone may take over.
fn next_command(findings: &Findings, run: &str) -> Option<String> {
    let choice = findings.recommendation.choice.as_ref()?;
    let alone = findings.recommendation.verdict.decision == Decision::Replace;
    alone.then(|| format!("distill deploy {run} --student {choice}"))
}

fn notes(findings: &Findings, more: Vec<String>, simulated: bool) -> Vec<String> {
    let mut notes = findings.notes.clone();
    notes.extend(more);
    if simulated {
        notes.push("the teacher is SIMULATED: its answers are the gold answers with errors put in, its prices and latencies are settings".to_owned());
    }
    notes
}

/// What other models than the teacher were paid, each from an account of its own.
fn beside(study: &Study, facts: &Facts) -> Vec<OtherSpend> {
    let cheaper = study.arms.iter().filter_map(|arm| {
        let account = arm.account.as_ref()?;
        matches!(arm.arm, Arm::Cheaper(_)).then(|| OtherSpend {
            what: format!("answers of {}", arm.name),
            settled_usd: account.settled_usd,
            simulated: arm.simulated,
        })
    });
    let judge = facts.additions.judge.iter().map(|judge| OtherSpend {
        what: JUDGES.to_owned(),
        settled_usd: judge.usd,
        simulated: judge.simulated,
    });
    cheaper.chain(judge).collect()
}

/// The cost model with the whole job's one-off cost: the comparison saw the teacher's account as it
/// stood when the test rows were answered, and no judge's.
fn charged(cost: CostModel, facts: &Facts, beside: &[OtherSpend]) -> CostModel {
    let labels = facts.spend.as_ref().map_or(0.0, |spend| spend.settled_usd);
    let judge = match &facts.additions.judge {
        Some(judge) => judge.usd,
        None => Some(0.0),
    };
    let cheaper = beside.iter().filter(|other| other.what != JUDGES);
    let cheaper = cheaper.map(|other| other.settled_usd).sum::<Option<f64>>();
    // A sum of nothing is −0.0, which would be shown as such.
    let cheaper = cheaper.map(|usd| usd + 0.0);
    cost.with_one_off(Some(labels), facts.failed_attempts_usd, judge, cheaper)
}

/// Every model once, though several arms ask it.
fn price_age(study: &Study, more: Vec<PriceAge>) -> Vec<PriceAge> {
    let mut prices: Vec<PriceAge> = Vec::new();
    for price in study
        .arms
        .iter()
        .flat_map(|arm| arm.prices.clone())
        .chain(more)
    {
        if !prices.contains(&price) {
            prices.push(price);
        }
    }
    prices
}

fn loads(study: &Study, more: Vec<LoadFacts>) -> Vec<LoadFacts> {
    let measured = study.arms.iter().filter_map(|arm| arm.load.as_ref());
    measured
        .flat_map(|record| record.load.clone())
        .chain(study.teacher_load.clone())
        .chain(more)
        .collect()
}

fn energy(study: &Study, more: Vec<EnergyFacts>) -> Vec<EnergyFacts> {
    let measured = study.arms.iter().filter_map(|arm| arm.load.as_ref());
    measured
        .filter_map(|record| record.energy.clone())
        .chain(more)
        .collect()
}

/// Writes a report's folder: every form of it, and the evidence that it can be made again from.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub(crate) fn write(
    report: &RunReport,
    document: &StudyDocument,
    samples: &Samples,
    folder: &Path,
) -> Result<(), StepFailure> {
    write_forms(report, folder)?;
    write_evidence(document, samples, folder)
}

/// Writes the records and, with their seal, what stands beside them.
fn write_evidence(
    document: &StudyDocument,
    samples: &Samples,
    folder: &Path,
) -> Result<(), StepFailure> {
    let records = folder.join(SAMPLES_FOLDER);
    compare::write_samples(&records, &document.comparison, samples)?;
    let sealed = StudyDocument {
        sealed: compare::seal(&records, &document.comparison)?,
        ..document.clone()
    };
    write_json(&folder.join(STUDY_FILE), &sealed)
}

/// Reads what [`write_evidence`] wrote; records that are others by now are refused.
fn read_evidence(document: &StudyDocument, folder: &Path) -> Result<Samples, StepFailure> {
    let records = folder.join(SAMPLES_FOLDER);
    let samples = compare::read_samples(&records, &document.comparison)?;
    compare::unbroken(&records, &document.comparison, &document.sealed)?;
    Ok(samples)
}

/// Writes a report in every form into `folder`.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub fn write_forms(report: &RunReport, folder: &Path) -> Result<(), StepFailure> {
    std::fs::create_dir_all(folder).map_err(|error| crate::rows::cannot_write(folder, error))?;
    for format in distill_report::FORMATS {
        let path = folder.join(format.file);
        std::fs::write(&path, (format.render)(report))
            .map_err(|error| crate::rows::cannot_write(&path, error))?;
    }
    Ok(())
}

/// Makes a report again from its folder's `study.json` and `samples/` alone: every figure and the
/// verdict are computed anew, and none of the report's forms is read.
///
/// # Errors
/// A [`StepFailure`] that names the file that is missing, damaged or changed.
pub fn regenerate(folder: &Path) -> Result<RunReport, StepFailure> {
    let path = folder.join(STUDY_FILE);
    if !path.is_file() {
        return Err(StepFailure::bad_input(format!(
            "`{}` is no report's folder: it has no `{STUDY_FILE}`",
            folder.display()
        ))
        .hint("`distill run` prints where a report's folder is; `distill report RUN --samples DIR` copies its evidence"));
    }
    let document = read_study(&path)?;
    let samples = read_evidence(&document, folder)?;
    let findings = compare::compare(&document.comparison, &samples)?;
    Ok(assemble(&document, findings))
}

/// Copies a report's evidence, from which [`regenerate`] makes it again, into `to`.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub fn export(folder: &Path, to: &Path) -> Result<(), StepFailure> {
    let document = read_study(&folder.join(STUDY_FILE))?;
    let samples = read_evidence(&document, folder)?;
    std::fs::create_dir_all(to).map_err(|error| crate::rows::cannot_write(to, error))?;
    write_evidence(&document, &samples, to)
}
