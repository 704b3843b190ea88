//! Training an encoder: texts and labels to a student's directory.

use distill_chat::Task;
use distill_pipeline::{record::Level, spec::EncoderSpec};
use distill_runner::{StepContext, StepFailure};
use distill_student::{
    bundle::BundleStudent,
    encoder::{EncoderConfig, EncoderStudent, EncoderTokenizer, EncoderWeights},
    lora::{LoraConfig, Targets},
};
use distill_train::{
    Checkpointing, Method, TrainEvent,
    encoder::{
        EncoderExample, EncoderOutcome, EncoderRequest, EncoderSettings, TrainedEncoder,
        train_encoder,
    },
};

use super::{
    CHECKPOINT_STEPS, Folders, Train, Training, memory,
    objective::ObjectiveRecipe,
    settings::{OVERFIT_ROWS, adapter_words, known_targets, variant},
    shown, shown_rows, train_failure, user_text,
};
use crate::{
    base::{BaseReference, decoder_failure},
    rows::Example,
    student,
};

/// Steps that the rows learnt by heart may take: a new head begins further away than a decoder does.
const OVERFIT_STEPS: usize = 100;

pub(super) struct EncoderRun<'a> {
    pub(super) train: &'a Train,
    pub(super) task: &'a Task,
    pub(super) base: &'a BaseReference,
    pub(super) settings: &'a EncoderSpec,
    pub(super) objective: Option<&'a ObjectiveRecipe>,
}

/// The trainer's settings.
pub(super) fn settings(spec: &EncoderSpec, seed: u64) -> EncoderSettings {
    EncoderSettings {
        method: match spec.adapter {
            None => Method::Full,
            Some(kind) => Method::Lora(LoraConfig {
                rank: spec.rank,
                alpha: spec.alpha,
                variant: variant(kind),
                targets: targets(spec),
                dropout: spec.adapter_dropout,
                ..LoraConfig::default()
            }),
        },
        dropout: spec.dropout,
        epochs: spec.epochs,
        max_steps: spec.max_steps,
        learning_rate: spec.learning_rate,
        warmup: spec.warmup,
        weight_decay: spec.weight_decay,
        clip: spec.clip,
        batch_rows: spec.batch_rows,
        accumulation: spec.accumulation,
        validate_every: spec.validate_every,
        patience: spec.patience,
        overfit_rows: OVERFIT_ROWS,
        overfit_steps: OVERFIT_STEPS,
        seed,
        ..EncoderSettings::default()
    }
}

fn targets(spec: &EncoderSpec) -> Targets {
    if spec.targets.is_empty() {
        Targets::AllLinear
    } else {
        Targets::Names(spec.targets.clone())
    }
}

/// Refuses targets that are no projections of the model, each by its name.
///
/// # Errors
/// A [`StepFailure`] with the names that the model has.
pub(super) fn check_targets(spec: &EncoderSpec, model: &EncoderConfig) -> Result<(), StepFailure> {
    known_targets("train.encoder", &targets(spec), model)
}

/// What is trained, in words.
fn method(spec: &EncoderSpec) -> String {
    match spec.adapter {
        None => "all weights of an encoder".to_owned(),
        Some(kind) => format!(
            "{} and the classifier of an encoder",
            adapter_words(kind, spec.rank, spec.alpha)
        ),
    }
}

impl EncoderRun<'_> {
    pub(super) fn run(
        &self,
        examples: &[Example],
        validation: &[Example],
        folders: &Folders<'_>,
        context: &StepContext,
    ) -> Result<Training, StepFailure> {
        let (labels, seed) = (&self.train.task.labels, self.train.seed);
        let (weights, tokenizer) = self.base.load_encoder(labels, seed)?;
        let (mut train_rows, cut) = self.encode(&tokenizer, examples)?;
        let (validation_rows, _) = self.encode(&tokenizer, validation)?;
        let mut notes = Vec::new();
        if let Some(objective) = self.objective {
            let shares = objective.label_shares(self.task, examples, context)?;
            for (row, shares) in train_rows.iter_mut().zip(shares.rows) {
                row.target = shares;
            }
            notes.push(shares.note);
        }
        let settings = settings(self.settings, seed);
        if let Some(told) = memory::check_encoder(&weights, &settings, &train_rows)? {
            context.note(Level::Info, told);
        }
        let request = EncoderRequest {
            weights: &weights,
            settings: &settings,
            train: &train_rows,
            validation: &validation_rows,
            initial: None,
            checkpointing: Some(Checkpointing {
                directory: folders.work.join("checkpoint"),
                every_steps: CHECKPOINT_STEPS,
            }),
            cancelled: &|| context.is_cancelled(),
        };
        let outcome = train_encoder(&request, &mut |event: TrainEvent| {
            shown::tell_encoder(context, &event, labels);
        })
        .map_err(train_failure)?;
        let summary = outcome.summary.clone();
        notes.push(shown::rate_as_set(settings.learning_rate));
        notes.extend(shown::kept(&summary));
        let base_sha256 = self.write(&weights, tokenizer, outcome, examples, folders)?;
        if cut > 0 {
            notes.push(format!(
                "{cut} examples were cut at their end to fit the model"
            ));
        }
        Ok(Training {
            method: method(self.settings),
            examples: train_rows.len(),
            validation: validation_rows.len(),
            steps: Some(summary.steps),
            best_validation_loss: summary.best_validation_loss,
            trainable_parameters: Some(summary.trainable_parameters as u64),
            total_parameters: Some(weights.config().parameter_count() as u64),
            census: Some("every trainable tensor got a gradient and no frozen one did".to_owned()),
            base: Some(self.base.name()),
            base_identity: Some(base_sha256),
            notes,
            ..Training::default()
        })
    }

    /// Writes the student's directory; returns the hash of what it was trained on.
    fn write(
        &self,
        weights: &EncoderWeights,
        tokenizer: EncoderTokenizer,
        outcome: EncoderOutcome,
        examples: &[Example],
        folders: &Folders<'_>,
    ) -> Result<String, StepFailure> {
        let (student, base_sha256) = match outcome.trained {
            TrainedEncoder::Full(trained) => {
                (EncoderStudent::new(trained, tokenizer), weights.sha256())
            }
            TrainedEncoder::Lora(adapter) => (
                EncoderStudent::adapted(weights, adapter, tokenizer),
                weights.base_sha256(),
            ),
        };
        let student = student.map_err(decoder_failure)?;
        let base_sha256 = base_sha256.map_err(decoder_failure)?;
        let name = self.base.name();
        student::write(
            folders.student,
            &name,
            &self.train.task,
            BundleStudent::Encoder {
                student: &student,
                base: &name,
                base_sha256: &base_sha256,
            },
            &shown_rows(examples),
        )?;
        Ok(base_sha256)
    }

    /// Examples as tokens, and how many of them were cut.
    fn encode(
        &self,
        tokenizer: &EncoderTokenizer,
        examples: &[Example],
    ) -> Result<(Vec<EncoderExample>, usize), StepFailure> {
        let labels = &self.train.task.labels;
        let mut cut = 0;
        let encoded = examples
            .iter()
            .map(|example| {
                let id = &example.id;
                let label = labels.iter().position(|label| *label == example.answer);
                let label = label.ok_or_else(|| {
                    let answer = &example.answer;
                    StepFailure::bad_input(format!(
                        "example `{id}` is labelled `{answer}`, which is no label of the task"
                    ))
                })?;
                let text = tokenizer
                    .encode(&user_text(self.task, example)?)
                    .map_err(|error| {
                        StepFailure::bad_input(format!("example `{id}` cannot be encoded"))
                            .caused_by(error)
                    })?;
                cut += usize::from(!text.dropped.is_empty());
                Ok(EncoderExample::new(text, label, labels.len()))
            })
            .collect::<Result<_, StepFailure>>()?;
        Ok((encoded, cut))
    }
}
