//! From the answers of the arms to the records that every figure is taken from.

use std::collections::{BTreeMap, HashMap};

use distill_chat::Task;
use distill_eval::{SampleRecord, Score};
use distill_report::CurveFacts;
use distill_runner::StepFailure;
use serde_json::Value;

use super::{
    judged::Judging,
    references::{References, references},
    scorers::Scorers,
    study::{CascadeStudy, Engine, Study},
};
use crate::{
    Arm,
    action::Compare,
    compile::step_name,
    evaluate::Timing,
    human::Labels,
    label::{LabelUsage, RowUsage},
    measure::LoadRecord,
    rows::{AnswerRow, Prediction, Row},
    train::Training,
};

const NO_ANSWER: &str = "no answer was recorded for this row";

/// The records of every arm by its name, each in the order of the rows.
pub(crate) type Samples = BTreeMap<String, Vec<SampleRecord>>;

/// All that the steps before left, by arm's step name.
#[derive(Default)]
pub(crate) struct Evidence {
    pub rows: Vec<Row>,
    /// Arms that ran here.
    pub predictions: BTreeMap<String, (Vec<Prediction>, Timing)>,
    /// Arms that were asked through the gateway: the teacher, and cheaper models.
    pub hosted: BTreeMap<String, (Vec<AnswerRow>, LabelUsage)>,
    pub training: BTreeMap<String, Training>,
    /// What people answered for this run, and how the rows were drawn.
    pub human: Option<Labels>,
    pub cascades: Vec<CascadeStudy>,
    pub learning_curves: Vec<CurveFacts>,
    /// How fast students answered on the engine that will serve them.
    pub loads: BTreeMap<String, LoadRecord>,
    /// What judges said.
    pub judging: Option<Judging>,
}

/// Makes the records and what stands beside them.
///
/// # Errors
/// A [`StepFailure`] when there is nothing to judge by, or an arm's answers are missing.
pub(crate) fn collect(
    settings: &Compare,
    evidence: &Evidence,
) -> Result<(Study, Samples), StepFailure> {
    let task = Task::new(settings.task.clone())
        .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
    let (references, notes) = references(evidence)?;
    let scorers = Scorers::of(settings)?;
    let mut samples = Samples::new();
    for arm in &settings.arms {
        let said = Said::of(arm, evidence)?;
        let records = evidence
            .rows
            .iter()
            .map(|row| record(row, &said, &references, settings, &task, &scorers))
            .collect::<Result<_, _>>()?;
        samples.insert(arm.name(), records);
    }
    if let Some(judging) = &evidence.judging {
        judging.note(&mut samples);
    }
    Ok((Study::new(settings, evidence, notes), samples))
}

/// Puts what an arm says when it is asked once more into its records, scores and times included.
///
/// # Errors
/// A [`StepFailure`] when the study has no such arm.
pub(crate) fn answered_again(
    study: &mut Study,
    samples: &mut Samples,
    arm: &Arm,
    predictions: &[Prediction],
    timing: &Timing,
) -> Result<(), StepFailure> {
    let task = Task::new(study.settings.task.clone())
        .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
    let scorers = Scorers::of(&study.settings)?;
    let name = arm.name();
    let known = study.arms.iter_mut().find(|known| known.arm == *arm);
    let (Some(known), Some(records)) = (known, samples.get_mut(&name)) else {
        return Err(StepFailure::bad_input(format!(
            "the run has no records of the arm `{name}`"
        )));
    };
    known.engine = Engine::of(timing);
    // Measured on another engine, or on another day.
    known.load = None;
    let said = by_id(predictions, |prediction| &prediction.id);
    let single: HashMap<&str, f64> = predictions
        .iter()
        .map(|prediction| prediction.id.as_str())
        .zip(timing.single_ms.iter().copied())
        .collect();
    for record in records.iter_mut() {
        let prediction = said.get(record.id.as_str());
        let reply = prediction.map_or(Err(NO_ANSWER), |prediction| reply_of(prediction));
        let expected = record.expected.as_deref().zip(record.expected_by);
        let mut again = SampleRecord {
            slices: record.slices.clone(),
            group: record.group.clone(),
            choices: record.choices.clone(),
            latency_ms: single.get(record.id.as_str()).copied(),
            ..SampleRecord::read(&record.id, &record.input, &task, reply, expected)
        };
        if let Some(prediction) = prediction {
            again.confidence = prediction.logprob;
            again.input_tokens = prediction.input_tokens;
            again.output_tokens = prediction.output_tokens;
        }
        again.scores = scores(&again, &task, &scorers);
        if again.output.is_some() && again.output == record.output {
            keep_judgements(&mut again, record);
        }
        *record = again;
    }
    Ok(())
}

/// What judges said of an answer holds for the same answer given again.
fn keep_judgements(again: &mut SampleRecord, before: &SampleRecord) {
    again.judged.clone_from(&before.judged);
    for (name, score) in &before.scores {
        if !again.scores.contains_key(name) {
            again.scores.insert(name.clone(), score.clone());
        }
    }
}

/// The scores of one record, by every scorer that scores rows.
fn scores(record: &SampleRecord, task: &Task, scorers: &Scorers) -> BTreeMap<String, Score> {
    let sample = record.sample(task);
    scorers
        .all()
        .filter_map(|scorer| Some((scorer.name(), scorer.score(&sample, task)?)))
        .collect()
}

fn reply_of(prediction: &Prediction) -> Result<&str, &str> {
    prediction
        .reply
        .as_deref()
        .ok_or(prediction.reason.as_deref().unwrap_or("no reply"))
}

/// One arm's words by row id.
enum Said<'a> {
    Here {
        predictions: HashMap<&'a str, &'a Prediction>,
        /// Milliseconds of the rows that were asked alone.
        single: HashMap<&'a str, f64>,
    },
    Hosted {
        answers: HashMap<&'a str, &'a AnswerRow>,
        usage: HashMap<&'a str, &'a RowUsage>,
    },
}

impl<'a> Said<'a> {
    fn of(arm: &Arm, evidence: &'a Evidence) -> Result<Self, StepFailure> {
        let key = step_name(arm);
        if let Some((answers, usage)) = evidence.hosted.get(&key) {
            return Ok(Self::Hosted {
                answers: by_id(answers, |answer| &answer.id),
                usage: by_id(&usage.per_row, |row| &row.id),
            });
        }
        let (predictions, timing) = evidence.predictions.get(&key).ok_or_else(|| {
            StepFailure::bug(format!("the answers of `{}` are not an input", arm.name()))
        })?;
        // A latency of the constant would only measure the clock.
        let timed = if *arm == Arm::Constant {
            &[] as &[f64]
        } else {
            &timing.single_ms
        };
        Ok(Self::Here {
            single: evidence
                .rows
                .iter()
                .map(|row| row.id.as_str())
                .zip(timed.iter().copied())
                .collect(),
            predictions: by_id(predictions, |prediction| &prediction.id),
        })
    }

    fn reply(&self, id: &str) -> Result<&'a str, &'a str> {
        match self {
            Self::Here { predictions, .. } => predictions
                .get(id)
                .map_or(Err(NO_ANSWER), |prediction| reply_of(prediction)),
            Self::Hosted { answers, .. } => answers.get(id).map_or(Err(NO_ANSWER), |answer| {
                answer
                    .reply
                    .as_deref()
                    .or(answer.answer.as_deref())
                    .ok_or(answer.reason.as_deref().unwrap_or("no reply"))
            }),
        }
    }
}

fn by_id<'a, T>(rows: &'a [T], id: impl Fn(&'a T) -> &'a String) -> HashMap<&'a str, &'a T> {
    rows.iter().map(|row| (id(row).as_str(), row)).collect()
}

fn record(
    row: &Row,
    said: &Said<'_>,
    references: &References,
    settings: &Compare,
    task: &Task,
    scorers: &Scorers,
) -> Result<SampleRecord, StepFailure> {
    let expected = references
        .get(&row.id)
        .map(|(answer, by)| (answer.as_str(), *by));
    let reply = said.reply(&row.id);
    let mut record = SampleRecord {
        slices: settings
            .slices
            .iter()
            .map(|column| {
                let value = if settings.gold_slice.as_ref() == Some(column) {
                    row.gold
                        .as_deref()
                        .map(|gold| settings.task.kind.first_reference(gold))
                } else {
                    column_text(row, column)
                };
                (column.clone(), value.unwrap_or_else(|| "(none)".to_owned()))
            })
            .collect(),
        group: settings
            .group
            .as_ref()
            .and_then(|column| column_text(row, column)),
        choices: scorers
            .all()
            .map(|scorer| scorer.choices(&row.fields))
            .find(|choices| !choices.is_empty())
            .unwrap_or_default(),
        ..SampleRecord::read(row.id.clone(), input(task, row)?, task, reply, expected)
    };
    record.scores = scores(&record, task, scorers);
    let id = row.id.as_str();
    match said {
        Said::Here {
            predictions,
            single,
        } => {
            record.latency_ms = single.get(id).copied();
            if let Some(prediction) = predictions.get(id) {
                record.confidence = prediction.logprob;
                record.input_tokens = prediction.input_tokens;
                record.output_tokens = prediction.output_tokens;
            }
        }
        Said::Hosted { answers, usage } => {
            record.model = answers.get(id).and_then(|answer| answer.model.clone());
            if let Some(usage) = usage.get(id) {
                record.latency_ms = Some(usage.latency_ms);
                record.from_cache = usage.from_journal;
                record.input_tokens = usage.input_tokens;
                record.output_tokens = usage.output_tokens;
                record.usd = usage.usd;
            }
        }
    }
    Ok(record)
}

/// The user's message of a row: what the models were asked about.
fn input(task: &Task, row: &Row) -> Result<String, StepFailure> {
    let mut messages = task.messages(&row.fields).map_err(|error| {
        StepFailure::bad_input(format!("row `{}` cannot be rendered", row.id)).caused_by(error)
    })?;
    Ok(messages
        .pop()
        .map(|message| message.content)
        .unwrap_or_default())
}

/// A column's value as a reader sees it; `None` where the row has none.
pub(crate) fn column_text(row: &Row, column: &str) -> Option<String> {
    match row.fields.get(column)? {
        Value::Null => None,
        Value::String(text) => (!text.trim().is_empty()).then(|| text.clone()),
        value => Some(value.to_string()),
    }
}
