//! What students learn besides their labels: rows and loss of `train.objective`.

mod shares;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use distill_chat::{Message, Role, Task, TokenLogprob};
use distill_pipeline::{
    record::Level,
    spec::{DivergenceKind, EstimateKind, ObjectiveSpec, RestKind},
};
use distill_runner::{StepContext, StepFailure};
use distill_student::{
    base::BaseModel,
    decoder::Decoder,
    device::DeviceChoice,
    generate::{LabelTrie, score_labels},
    ops::{Distillation, Divergence, Rest},
    template::ChatEncoder,
};
use distill_train::{
    TrainError, TrainExample,
    objective::{
        Estimate, Objective, OnPolicy, SpokenToken, Teacher, TopTokenSettings, soft_labels,
        with_spoken, with_top_tokens,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::messages;
use crate::{
    base::{BaseReference, decoder_failure},
    rows::Example,
};

/// Ends the question where reasoning is asked for, so that a plain question is answered plainly.
const REASON_FIRST: &str = "\n\nReason first, then answer.";

/// An objective with its local teacher found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveRecipe {
    pub spec: ObjectiveSpec,
    pub teacher: Option<BaseReference>,
}

/// What an objective is made of.
pub(super) struct Lesson<'a> {
    pub(super) task: &'a Task,
    pub(super) encoder: &'a ChatEncoder,
    pub(super) base: &'a BaseModel,
    pub(super) examples: &'a [Example],
    /// The examples as tokens, those that fit.
    pub(super) rows: Vec<TrainExample>,
    pub(super) batch_tokens: usize,
    /// Where the student is trained, and a teacher at hand asked.
    pub(super) device: DeviceChoice,
}

/// Rows and loss of a training, and what is to be said of them.
pub(super) struct Prepared {
    pub(super) objective: Objective,
    pub(super) rows: Vec<TrainExample>,
    pub(super) notes: Vec<String>,
}

impl ObjectiveRecipe {
    /// What of it shapes the student. A folder's files are inputs of their own.
    pub(super) fn settings(&self) -> Value {
        let teacher = self.teacher.as_ref().map(BaseReference::identity);
        json!({ "spec": self.spec, "teacher": teacher })
    }

    /// Files of the teacher whose content enters keys.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.teacher
            .as_ref()
            .map(BaseReference::files)
            .unwrap_or_default()
    }

    /// Loads the teacher, where there is one, and asks it what it holds of the rows.
    ///
    /// # Errors
    /// A [`StepFailure`]: a teacher that cannot be loaded or has another tokenizer, a column that no
    /// row has.
    pub(super) fn prepare(
        &self,
        lesson: Lesson<'_>,
        context: &StepContext,
    ) -> Result<Prepared, StepFailure> {
        let teacher = self.teacher.as_ref().map(|at| Self::load(at, &lesson));
        let teacher = teacher.transpose()?;
        let needed = || StepFailure::bug("an objective without the teacher that it names");
        match &self.spec {
            ObjectiveSpec::SoftLabels {
                temperature, share, ..
            } => {
                let teacher = teacher.ok_or_else(needed)?;
                context.note(
                    Level::Info,
                    "the local teacher scores every label of every row",
                );
                let scorer = LabelScorer {
                    lesson: &lesson,
                    teacher: &teacher,
                    temperature: *temperature,
                };
                let (rows, strangers) = scorer.rows(context)?;
                let mut notes = vec![teacher.note.clone()];
                if strangers > 0 {
                    notes.push(format!(
                        "{strangers} examples whose label the teacher gives no probability keep to the label alone"
                    ));
                }
                let settings = Distillation {
                    divergence: Divergence::Forward,
                    rest: Rest::Renormalised,
                    temperature: 1.0,
                    share: *share,
                    shared_vocabulary: teacher.shared,
                };
                Ok(Prepared {
                    objective: Objective::TopTokens(settings),
                    rows,
                    notes,
                })
            }
            ObjectiveSpec::TopK { teacher: None, .. } => {
                spoken(&lesson, self.distillation(lesson.tokens_in_use()))
            }
            ObjectiveSpec::TopK { top, .. } => {
                let teacher = teacher.ok_or_else(needed)?;
                context.note(Level::Info, "the local teacher reads every row");
                let settings = self.distillation(teacher.shared);
                let asked = TopTokenSettings {
                    count: *top,
                    temperature: settings.temperature,
                    shared_vocabulary: teacher.shared,
                    batch_tokens: lesson.batch_tokens,
                };
                let cancelled = || context.is_cancelled();
                let rows = with_top_tokens(&lesson.rows, &teacher.teacher, &asked, &cancelled)
                    .map_err(failure)?;
                Ok(Prepared {
                    objective: Objective::TopTokens(settings),
                    rows,
                    notes: vec![teacher.note],
                })
            }
            ObjectiveSpec::OnPolicy {
                estimate,
                student_share,
                ..
            } => {
                let teacher = teacher.ok_or_else(needed)?;
                let longest = lesson.rows.iter().map(TrainExample::targets).max();
                let settings = OnPolicy {
                    estimate: match estimate {
                        EstimateKind::Whole => Estimate::Whole,
                        EstimateKind::Drawn => Estimate::Drawn,
                    },
                    distillation: self.distillation(teacher.shared),
                    student_share: *student_share,
                    sampling_temperature: 1.0,
                    // Half as long again as any label: room to be wrong, not to ramble.
                    max_new_tokens: (longest.unwrap_or(1) * 3).div_ceil(2),
                    stop_tokens: lesson.encoder.stop_ids().to_vec(),
                    teacher: teacher.teacher,
                };
                Ok(Prepared {
                    objective: Objective::OnPolicy(Box::new(settings)),
                    rows: lesson.rows,
                    notes: vec![teacher.note],
                })
            }
            ObjectiveSpec::Rationale { column, weight } => rationales(lesson, column, *weight),
        }
    }

    fn distillation(&self, shared_vocabulary: usize) -> Distillation {
        let (divergence, rest, temperature, share) = match &self.spec {
            ObjectiveSpec::TopK {
                divergence,
                rest,
                temperature,
                share,
                ..
            } => (*divergence, *rest, *temperature, *share),
            ObjectiveSpec::OnPolicy {
                divergence,
                temperature,
                share,
                ..
            } => (*divergence, RestKind::Bucket, *temperature, *share),
            ObjectiveSpec::SoftLabels { .. } | ObjectiveSpec::Rationale { .. } => {
                (DivergenceKind::Forward, RestKind::Bucket, 1.0, 1.0)
            }
        };
        Distillation {
            divergence: match divergence {
                DivergenceKind::Forward => Divergence::Forward,
                DivergenceKind::Reverse => Divergence::Reverse,
            },
            rest: match rest {
                RestKind::Bucket => Rest::Bucket,
                RestKind::Renormalised => Rest::Renormalised,
            },
            temperature,
            share,
            shared_vocabulary,
        }
    }

    /// Loads a teacher and compares its tokenizer with the student's.
    fn load(reference: &BaseReference, lesson: &Lesson<'_>) -> Result<LocalTeacher, StepFailure> {
        let model = reference.load()?;
        let (own, other) = (&lesson.base.tokenizer, &model.tokenizer);
        if own.sha256() != other.sha256() {
            return Err(StepFailure::bad_input(format!(
                "the local teacher `{}` has another tokenizer than the student `{}`",
                reference.name(),
                lesson.base.name
            ))
            .hint("token probabilities can be compared between models of one tokenizer only: take a teacher of the student's family, or let it label rows instead"));
        }
        // Tables of both may be padded beyond the tokenizer.
        let shared = own
            .vocabulary_size()
            .min(lesson.base.weights.config().vocab_size)
            .min(model.weights.config().vocab_size);
        Ok(LocalTeacher {
            teacher: Teacher::on(&model.weights, None, lesson.device).map_err(failure)?,
            shared,
            note: format!("learnt from the local teacher `{}`", reference.name()),
        })
    }
}

struct LocalTeacher {
    teacher: Teacher,
    /// Tokens that it has in common with the student: the ids below it.
    shared: usize,
    note: String,
}

struct LabelScorer<'a> {
    lesson: &'a Lesson<'a>,
    teacher: &'a LocalTeacher,
    temperature: f64,
}

impl LabelScorer<'_> {
    /// Every row with the teacher's distribution over labels, and how many rows' own label it gives
    /// none.
    fn rows(&self, context: &StepContext) -> Result<(Vec<TrainExample>, usize), StepFailure> {
        let mut rows = Vec::with_capacity(self.lesson.examples.len());
        let mut strangers = 0;
        for (at, example) in self.lesson.examples.iter().enumerate() {
            if context.is_cancelled() {
                return Err(StepFailure::interrupted());
            }
            let messages = messages(self.lesson.task, example)?;
            let Ok(own) = self
                .lesson
                .encoder
                .encode_example(&messages, &example.answer)
            else {
                continue;
            };
            let (prompt, reply) = own.tokens.split_at(own.loss_from);
            let row = self.taught(&messages, prompt, reply)?;
            strangers += usize::from(row.is_none());
            let plain = || TrainExample::new(own.tokens.clone(), own.loss_from);
            rows.push(row.unwrap_or_else(plain));
            let total = self.lesson.examples.len() as u64;
            context.progress(at as u64 + 1, Some(total), "rows");
        }
        Ok((rows, strangers))
    }

    fn taught(
        &self,
        messages: &[Message],
        prompt: &[u32],
        reply: &[u32],
    ) -> Result<Option<TrainExample>, StepFailure> {
        let labels = &self.lesson.task.definition().labels;
        let sequences = labels
            .iter()
            .map(|label| {
                let row = self.lesson.encoder.encode_example(messages, label);
                row.map(|row| row.tokens[row.loss_from..].to_vec())
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| {
                StepFailure::bad_input("a label cannot be written as a reply").caused_by(error)
            })?;
        let decoder = self.teacher.teacher.decoder();
        let shares = label_shares(decoder, prompt, &sequences, self.temperature)?;
        let labels: Vec<(&[u32], f64)> = sequences
            .iter()
            .zip(shares)
            .map(|(tokens, share)| (tokens.as_slice(), share))
            .collect();
        Ok(soft_labels(prompt, reply, &labels))
    }
}

/// A decoder's odds of the labels, written as replies, after a prompt; they sum to 1.
fn label_shares(
    decoder: &Decoder,
    prompt: &[u32],
    sequences: &[Vec<u32>],
    temperature: f64,
) -> Result<Vec<f64>, StepFailure> {
    let trie = LabelTrie::new(sequences.iter().map(Vec::as_slice));
    let scores = score_labels(decoder, &[prompt.to_vec()], &trie).map_err(decoder_failure)?;
    Ok(softened(&scores[0], temperature))
}

/// The softmax of scores through the temperature.
fn softened(scores: &[f64], temperature: f64) -> Vec<f64> {
    let softened: Vec<f64> = scores.iter().map(|s| s / temperature).collect();
    let largest = softened.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
    let shares: Vec<f64> = softened.iter().map(|s| (s - largest).exp()).collect();
    let total: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / total).collect()
}

impl Lesson<'_> {
    /// Tokens of the student's tokenizer that its tables have.
    fn tokens_in_use(&self) -> usize {
        let table = self.base.weights.config().vocab_size;
        self.base.tokenizer.vocabulary_size().min(table)
    }
}

/// Rows with the log-probabilities that came with their labels.
fn spoken(lesson: &Lesson<'_>, settings: Distillation) -> Result<Prepared, StepFailure> {
    let mut rows = Vec::with_capacity(lesson.examples.len());
    let (mut silent, mut foreign) = (0, None);
    for example in lesson.examples {
        let messages = messages(lesson.task, example)?;
        let Ok(own) = lesson.encoder.encode_example(&messages, &example.answer) else {
            continue;
        };
        let plain = TrainExample::new(own.tokens, own.loss_from);
        let Some(said) = &example.token_logprobs else {
            silent += 1;
            rows.push(plain);
            continue;
        };
        let said: Vec<SpokenToken> = said.iter().map(told).collect();
        let tokenizer = &lesson.base.tokenizer;
        match with_spoken(&plain, &said, tokenizer, settings.temperature) {
            Ok(row) => rows.push(row),
            Err(error) => {
                foreign.get_or_insert((example.id.clone(), error));
                rows.push(plain);
            }
        }
    }
    let taught = rows.iter().filter(|row| row.teacher.is_some()).count();
    if taught == 0 {
        let hint = "name a local `teacher` in `train.objective`, or learn from the labels alone";
        return Err(match foreign {
            Some((id, error)) => StepFailure::bad_input(format!(
                "no label's log-probabilities fit this student, row `{id}` the first"
            ))
            .caused_by(error)
            .hint(hint),
            None => StepFailure::bad_input("the labels came without log-probabilities").hint(hint),
        });
    }
    let left = rows.len() - taught;
    let mut notes = vec![format!(
        "{taught} rows were learnt with the vendor's log-probabilities"
    )];
    if left > 0 {
        notes.push(format!(
            "{left} rows keep to the label alone: {silent} came without log-probabilities, the others \
             in another tokenizer's tokens"
        ));
    }
    Ok(Prepared {
        objective: Objective::TopTokens(settings),
        rows,
        notes,
    })
}

fn told(token: &TokenLogprob) -> SpokenToken {
    SpokenToken {
        text: token.token.clone(),
        log_probability: token.logprob as f32,
        top: token
            .top
            .iter()
            .map(|(text, value)| (text.clone(), *value as f32))
            .collect(),
    }
}

/// Each example with its plain answer, and once more with the reasoning before it where it has some
/// (Hsieh et al. 2023).
fn rationales(lesson: Lesson<'_>, column: &str, weight: f64) -> Result<Prepared, StepFailure> {
    let mut rows = lesson.rows;
    let (mut reasoned, mut too_long) = (0, 0);
    for example in lesson.examples {
        let reasoning = example.fields.get(column).and_then(Value::as_str);
        let Some(reasoning) = reasoning.map(str::trim).filter(|text| !text.is_empty()) else {
            continue;
        };
        let mut messages = messages(lesson.task, example)?;
        if let Some(question) = messages.iter_mut().rfind(|m| m.role == Role::User) {
            question.content.push_str(REASON_FIRST);
        }
        let reply = format!("{reasoning}\n{}", example.answer);
        match lesson.encoder.encode_example(&messages, &reply) {
            Ok(row) => {
                let mut row = TrainExample::new(row.tokens, row.loss_from);
                row.weight = weight as f32;
                rows.push(row);
                reasoned += 1;
            }
            Err(_) => too_long += 1,
        }
    }
    if reasoned == 0 {
        return Err(StepFailure::bad_input(format!(
            "no training row has reasoning in the column `{column}` that fits the model"
        ))
        .hint("name the column of `data.train` that holds the reasoning, or leave `train.objective` out"));
    }
    let mut notes = vec![format!(
        "{reasoned} rows were learnt with their reasoning too"
    )];
    if too_long > 0 {
        notes.push(format!(
            "the reasoning of {too_long} rows did not fit and was left out"
        ));
    }
    Ok(Prepared {
        objective: Objective::CrossEntropy,
        rows,
        notes,
    })
}

fn failure(error: TrainError) -> StepFailure {
    match error {
        TrainError::Cancelled { .. } => StepFailure::interrupted(),
        error => StepFailure::failed("the local teacher cannot be used").caused_by(error),
    }
}
