//! Who answers a suite's rows: a recorded column, a model behind the gateway, a student's bundle.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Instant,
};

use distill_chat::TaskDefinition;
use distill_eval::SampleRecord;
use distill_pipeline::{
    hash::ContentHash,
    record::RunView,
    spec::{ModelSpec, suite::RecordedAnswers},
};
use distill_runner::{Home, StepContext, StepFailure};
use serde_json::{Value, json};

use super::{Suite, file_name, path, rows};
use crate::{
    Arm,
    compile::{model_reference, simulator_of, step_name},
    dataset::{self, Format, Table},
    evaluate::Answerer as _,
    ingest::as_failure,
    label::{Asked, ask_all},
    rows::{AnswerStatus, Row},
    student::StudentAnswerer,
    teacher::{ModelReference, Teacher, Teachers},
};

/// One who answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Answerer {
    /// Answers that were recorded earlier.
    Recorded(RecordedAnswers),
    /// A model that is asked through the gateway.
    Model(ModelSpec),
    /// A student's directory, asked through the engine that serves it.
    Bundle { name: String, folder: PathBuf },
}

impl Answerer {
    /// How results name it.
    pub fn name(&self) -> String {
        match self {
            Self::Recorded(recorded) => recorded.name.clone(),
            Self::Model(model) => model.name(),
            Self::Bundle { name, .. } => name.clone(),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Recorded(_) => "recorded",
            Self::Model(_) => "model",
            Self::Bundle { .. } => "bundle",
        }
    }

    /// Where the answers are from, for a reader.
    pub(super) fn origin(&self) -> String {
        match self {
            Self::Recorded(RecordedAnswers { column, file, .. }) => match file {
                Some(file) => format!("column `{column}` of {file}"),
                None => format!("column `{column}` of the rows"),
            },
            Self::Model(model) => match &model.base_url {
                Some(url) => format!("{} at {url}", model.name()),
                None => model.name(),
            },
            Self::Bundle { folder, .. } => folder.display().to_string(),
        }
    }
}

/// What one answerer said to all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    pub answerer: Answerer,
    /// In the order of the rows.
    pub records: Vec<SampleRecord>,
    /// Made up by this program.
    pub simulated: bool,
    /// Somebody else's right or wrong, in the order of the rows.
    pub(super) checks: Option<Vec<Option<bool>>>,
}

impl Suite {
    /// The suite's own answerers.
    pub fn answerers(&self) -> Vec<Answerer> {
        let recorded = self.spec.answers.iter().cloned().map(Answerer::Recorded);
        let models = self.spec.models.iter().cloned().map(Answerer::Model);
        recorded.chain(models).collect()
    }

    /// Gathers what one answerer says to every row. `all_models` are the models of the whole run:
    /// together they share one budget.
    ///
    /// # Errors
    /// A [`StepFailure`]: answers that do not belong to these rows, a model that cannot be asked, a
    /// spent budget, a bundle for another task, an interruption.
    pub async fn answer(
        &self,
        answerer: &Answerer,
        all_models: &[ModelSpec],
        teachers: &Teachers,
        context: &StepContext,
    ) -> Result<Answers, StepFailure> {
        match answerer {
            Answerer::Recorded(recorded) => self.recorded(answerer, recorded),
            Answerer::Model(model) => {
                self.ask(answerer, model, all_models, teachers, context)
                    .await
            }
            Answerer::Bundle { folder, .. } => self.ask_bundle(answerer, folder, context).await,
        }
    }

    fn recorded(
        &self,
        answerer: &Answerer,
        recorded: &RecordedAnswers,
    ) -> Result<Answers, StepFailure> {
        let read;
        let (table, file) = match &recorded.file {
            None => (&self.table, self.rows_path.clone()),
            Some(file) => {
                let file = self.folder.join(file);
                let format = Format::of(&file).map_err(as_failure)?;
                read = dataset::read_table(&file, format).map_err(as_failure)?;
                (&read, file)
            }
        };
        rows::require_column(table, &file, &recorded.column, "answers.column")?;
        let places = match &recorded.file {
            None => self.rows.iter().map(|row| Some(row.index)).collect(),
            Some(_) => self.joined(table, &file)?,
        };
        let answer = |place: &Option<usize>| {
            let fields = &table.records[(*place)?].fields;
            path::text(path::value_at(fields, &recorded.column)?)
        };
        let missing = format!("no answer is recorded in `{}`", recorded.column);
        let records = self
            .rows
            .iter()
            .zip(&places)
            .map(|(row, place)| self.record(row, answer(place).as_deref().ok_or(missing.as_str())))
            .collect();
        let checks = match &recorded.check {
            None => None,
            Some(column) => {
                rows::require_column(table, &file, column, "answers.check")?;
                let checks = places.iter().map(|place| match place {
                    None => Ok(None),
                    Some(place) => check(table, *place, column, &file),
                });
                Some(checks.collect::<Result<_, _>>()?)
            }
        };
        Ok(Answers {
            answerer: answerer.clone(),
            records,
            simulated: false,
            checks,
        })
    }

    /// For each row of the suite, the record of another file that belongs to it.
    fn joined(&self, table: &Table, file: &Path) -> Result<Vec<Option<usize>>, StepFailure> {
        let Some(column) = &self.spec.id else {
            if table.records.len() != self.table.records.len() {
                return Err(StepFailure::bad_input(format!(
                    "`{}` has {} rows, and the suite has {}",
                    file.display(),
                    table.records.len(),
                    self.table.records.len()
                ))
                .at(file, None)
                .hint("without an `id` answers are joined row by row: name the column that both files tell their rows apart by, `id: COLUMN`"));
            }
            return Ok(self.rows.iter().map(|row| Some(row.index)).collect());
        };
        rows::require_column(table, file, column, "id")?;
        let mut places = HashMap::new();
        for (place, record) in table.records.iter().enumerate() {
            let Some(id) = rows::id_of(&record.fields, column) else {
                continue;
            };
            if places.insert(id.clone(), place).is_some() {
                return Err(StepFailure::bad_input(format!(
                    "`{}`: two answers have the {column} `{id}`",
                    file.display()
                ))
                .at(file, record.line)
                .hint("keep one answer to each row"));
            }
        }
        let known: Vec<Option<usize>> = self
            .rows
            .iter()
            .map(|row| places.get(&row.row.id).copied())
            .collect();
        if known.iter().all(Option::is_none) {
            return Err(StepFailure::bad_input(format!(
                "`{}` answers none of the suite's rows: no {column} is in both",
                file.display()
            ))
            .at(file, None)
            .hint("give the file that answers these rows"));
        }
        Ok(known)
    }

    async fn ask(
        &self,
        answerer: &Answerer,
        model: &ModelSpec,
        all_models: &[ModelSpec],
        teachers: &Teachers,
        context: &StepContext,
    ) -> Result<Answers, StepFailure> {
        let teacher = self.teacher(model)?;
        let gold: Vec<Row> = self.rows.iter().map(|row| row.row.clone()).collect();
        let scope = self.scope(all_models);
        let gateway = teachers
            .connect_within(scope, &teacher, &self.task, &gold, context)
            .await?;
        let Asked { answers, per_row } =
            ask_all(&gateway, &teacher, &self.task, &gold, context).await?;
        let usage: HashMap<&str, _> = per_row.iter().map(|row| (row.id.as_str(), row)).collect();
        let records = self
            .rows
            .iter()
            .zip(answers)
            .map(|(row, answer)| {
                let withheld = answer.status == AnswerStatus::Refused;
                let reply = answer.reply.as_deref().filter(|_| !withheld);
                let reason = answer.reason.as_deref().unwrap_or("no model answered");
                let mut record = self.record(row, reply.ok_or(reason));
                if answer.status == AnswerStatus::Truncated {
                    record.problem = answer.reason;
                }
                record.model = answer.model;
                if let Some(usage) = usage.get(row.row.id.as_str()) {
                    record.latency_ms = Some(usage.latency_ms);
                    record.from_cache = usage.from_journal;
                    record.input_tokens = usage.input_tokens;
                    record.output_tokens = usage.output_tokens;
                    record.usd = usage.usd;
                }
                record
            })
            .collect();
        Ok(Answers {
            answerer: answerer.clone(),
            records,
            simulated: ModelSpec::simulated(model),
            checks: None,
        })
    }

    fn teacher(&self, model: &ModelSpec) -> Result<Teacher, StepFailure> {
        let reference: ModelReference = model_reference(model);
        let budget_usd = self.spec.budget_usd.ok_or_else(|| {
            StepFailure::bad_input(format!(
                "`{}` is to be asked, and nothing says what it may cost",
                model.name()
            ))
            .hint("add `budget_usd:` to the suite, or `--budget USD`")
        })?;
        Ok(Teacher {
            simulator: reference
                .is_embedded()
                .then(|| simulator_of(&self.spec.simulate)),
            chain: vec![reference],
            budget_usd,
            concurrency: self.spec.concurrency,
            temperature: self.spec.temperature,
            max_tokens: self.spec.max_tokens,
            pipeline: self.spec.name.clone(),
            top_logprobs: None,
        })
    }

    /// The budget's scope: these questions to these models, so that a resumed run goes on counting
    /// where the killed one stopped.
    fn scope(&self, models: &[ModelSpec]) -> String {
        let job = json!({
            "task": self.task.definition(),
            "models": models,
            "temperature": self.spec.temperature,
            "max_tokens": self.spec.max_tokens,
            "rows": self.rows.iter().map(|row| json!([row.row.id, row.row.fields])).collect::<Vec<_>>(),
        });
        format!(
            "eval:{}/{}",
            self.spec.name,
            ContentHash::of_json(&job).short()
        )
    }

    async fn ask_bundle(
        &self,
        answerer: &Answerer,
        folder: &Path,
        context: &StepContext,
    ) -> Result<Answers, StepFailure> {
        let name = answerer.name();
        let folder = folder.to_owned();
        let definition = self.task.definition().clone();
        let rows: Vec<Row> = self.rows.iter().map(|row| row.row.clone()).collect();
        let work = context.clone();
        let replies = tokio::task::spawn_blocking(move || {
            let student = StudentAnswerer::open(&folder)?;
            same_task(&name, student.task_definition(), &definition)?;
            rows.iter()
                .enumerate()
                .map(|(index, row)| {
                    if work.is_cancelled() {
                        return Err(StepFailure::interrupted());
                    }
                    let started = Instant::now();
                    let mut replies = student.answer(std::slice::from_ref(row))?;
                    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
                    work.progress(index as u64 + 1, Some(rows.len() as u64), "rows");
                    let reply = replies.pop().ok_or_else(|| {
                        StepFailure::bug(format!("the student gave no reply to row `{}`", row.id))
                    })?;
                    Ok((reply, milliseconds))
                })
                .collect::<Result<Vec<_>, StepFailure>>()
        })
        .await
        .map_err(|error| StepFailure::bug("the student's thread panicked").caused_by(error))??;
        let name = answerer.name();
        let records = self
            .rows
            .iter()
            .zip(replies)
            .map(|(row, (reply, milliseconds))| SampleRecord {
                confidence: reply.logprob,
                latency_ms: Some(milliseconds),
                input_tokens: reply.input_tokens.map(|tokens| tokens as u64),
                output_tokens: reply.output_tokens.map(|tokens| tokens as u64),
                model: Some(name.clone()),
                ..self.record(row, Ok(&reply.text))
            })
            .collect();
        Ok(Answers {
            answerer: answerer.clone(),
            records,
            simulated: false,
            checks: None,
        })
    }
}

/// A student answers in the labels and the fields that it learned.
fn same_task(
    name: &str,
    learned: &TaskDefinition,
    asked: &TaskDefinition,
) -> Result<(), StepFailure> {
    let labels = |task: &TaskDefinition| {
        let mut labels = task.labels.clone();
        labels.sort();
        labels
    };
    let problem = if learned.kind != asked.kind {
        format!("it learned to {}", learned.kind.name())
    } else if labels(learned) != labels(asked) {
        format!(
            "it learned {} labels, which are not the suite's {}",
            learned.labels.len(),
            asked.labels.len()
        )
    } else if learned.schema != asked.schema {
        "it learned another schema".to_owned()
    } else {
        return Ok(());
    };
    Err(StepFailure::bad_input(format!(
        "the bundle `{name}` answers another task than the suite asks: {problem}"
    ))
    .hint("give the suite the `task` of the pipeline that made the bundle"))
}

fn check(
    table: &Table,
    place: usize,
    column: &str,
    file: &Path,
) -> Result<Option<bool>, StepFailure> {
    let record = &table.records[place];
    let value = path::value_at(&record.fields, column);
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(right)) => Ok(Some(*right)),
        Some(Value::Number(number)) if number.as_f64() == Some(1.0) => Ok(Some(true)),
        Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(Some(false)),
        Some(Value::String(text)) => match text.trim().to_lowercase().as_str() {
            "" => Ok(None),
            "true" | "1" | "1.0" | "yes" => Ok(Some(true)),
            "false" | "0" | "0.0" | "no" => Ok(Some(false)),
            _ => Err(bad_check(file, record.line, place, column)),
        },
        Some(_) => Err(bad_check(file, record.line, place, column)),
    }
}

fn bad_check(file: &Path, line: Option<u64>, place: usize, column: &str) -> StepFailure {
    StepFailure::bad_input(format!(
        "`{}`: row {} has no right or wrong in `{column}`",
        file.display(),
        place + 1
    ))
    .at(file, line)
    .hint("`answers.check` names a column of true and false, or of 1 and 0")
}

/// The directory of a student that a run trained.
///
/// # Errors
/// A [`StepFailure`] when the run has no such student.
pub fn bundle_of_run(home: &Home, view: &RunView, student: &str) -> Result<PathBuf, StepFailure> {
    let step = format!("train:{}", step_name(&Arm::Student(student.to_owned())));
    let output = view
        .steps
        .iter()
        .find(|found| found.name == step)
        .and_then(|found| found.outputs.get("student"));
    output
        .map(|output| home.artifact(&output.hash))
        .ok_or_else(|| {
            let students: Vec<&str> = view
                .steps
                .iter()
                .filter_map(|step| step.name.strip_prefix("train:"))
                .collect();
            StepFailure::bad_input(format!("the run has no student `{student}`"))
                .hint(format!("its students are {}", students.join(", ")))
        })
}

/// A model by its name, `vendor/model`.
///
/// # Errors
/// A [`StepFailure`] when it names no vendor of the table.
pub fn model_named(name: &str) -> Result<ModelSpec, StepFailure> {
    let parts = name
        .split_once('/')
        .filter(|(vendor, model)| !vendor.is_empty() && !model.is_empty());
    let Some((vendor, model)) = parts else {
        return Err(
            StepFailure::bad_input(format!("`{name}` does not say who answers"))
                .hint("a model is `vendor/model`, for instance `openai/gpt-5-mini`"),
        );
    };
    if distill_gateway::vendor(vendor).is_none() {
        let known: Vec<&str> = distill_gateway::vendors()
            .iter()
            .map(|vendor| vendor.name)
            .collect();
        return Err(
            StepFailure::bad_input(format!("there is no vendor `{vendor}`")).hint(format!(
                "known vendors: {}. Another one goes into the suite, with its `base_url`",
                known.join(", ")
            )),
        );
    }
    Ok(ModelSpec {
        vendor: vendor.to_owned(),
        model: model.to_owned(),
        base_url: None,
        api_key_env: None,
        input_usd_per_million: None,
        output_usd_per_million: None,
    })
}

/// Whether there are answerers, and results can tell them apart.
///
/// # Errors
/// A [`StepFailure`] when there is none, or two would write the same file.
pub fn check_answerers(answerers: &[Answerer]) -> Result<(), StepFailure> {
    if answerers.is_empty() {
        return Err(StepFailure::bad_input("nobody answers this suite").hint(
            "name who does: `answers:` or `models:` in the suite, or `--model`, `--bundle`, `--answers`",
        ));
    }
    let mut seen: HashMap<String, String> = HashMap::new();
    for answerer in answerers {
        let name = answerer.name();
        let file = file_name(&name).to_lowercase();
        if file.is_empty() {
            return Err(StepFailure::bad_input("an answerer has no name")
                .hint("write `NAME=` before what answers"));
        }
        if let Some(earlier) = seen.insert(file, name.clone()) {
            return Err(StepFailure::bad_input(format!(
                "results cannot tell the answerers `{earlier}` and `{name}` apart"
            ))
            .hint("give one of them another name"));
        }
    }
    Ok(())
}
