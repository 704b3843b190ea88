//! Training a decoder: examples to a student's directory.

use distill_chat::Task;
use distill_pipeline::{
    record::Level,
    spec::{DecoderSpec, LearningRate},
};
use distill_runner::{StepContext, StepFailure};
use distill_student::{
    base::BaseModel,
    bundle::{BundleStudent, Tuned},
    ops::Storage,
    template::ChatEncoder,
    weights::DecoderWeights,
};
use distill_train::{
    Checkpointing, TrainEvent, TrainExample, TrainOutcome, TrainRequest, TrainSettings, Trained,
    learning_rate_range_test, train_decoder,
};

use super::{
    CHECKPOINT_STEPS, Folders, Initial, Train, Training, memory, messages,
    objective::{Lesson, ObjectiveRecipe},
    settings, shown, shown_rows, train_failure,
};
use crate::{
    base::{BaseReference, decoder_failure, encoder, limits},
    rows::Example,
    student,
};

/// One training of a decoder.
pub(super) struct DecoderRun<'a> {
    pub(super) train: &'a Train,
    pub(super) task: &'a Task,
    pub(super) base: &'a BaseReference,
    pub(super) initial: Initial,
    pub(super) full: bool,
    pub(super) settings: &'a DecoderSpec,
    pub(super) objective: Option<&'a ObjectiveRecipe>,
}

impl DecoderRun<'_> {
    /// How the base is held; none: as it is stored.
    fn storage(&self) -> Option<Storage> {
        let pretrained = self.initial == Initial::Pretrained && !self.full;
        pretrained
            .then(|| settings::storage(&self.settings.tuning))
            .flatten()
    }

    pub(super) fn run(
        &self,
        examples: &[Example],
        validation: &[Example],
        folders: &Folders<'_>,
        context: &StepContext,
    ) -> Result<Training, StepFailure> {
        let base = self.base.load_held(self.storage())?;
        let start = match self.initial {
            Initial::Pretrained => base.weights.clone(),
            Initial::Random => {
                DecoderWeights::random(base.weights.config().clone(), self.train.seed)
                    .map_err(decoder_failure)?
            }
        };
        let encoder = encoder(&base, self.train.task.kind)?;
        let (train_rows, dropped) = encode(self.task, &encoder, examples)?;
        let (validation_rows, _) = encode(self.task, &encoder, validation)?;
        let mut settings = settings::settings(
            self.settings,
            self.full,
            self.train.seed,
            start.config(),
            encoder.stop_ids(),
        );
        let mut notes = Vec::new();
        let train_rows = match self.objective {
            None => train_rows,
            Some(objective) => {
                let lesson = Lesson {
                    task: self.task,
                    encoder: &encoder,
                    base: &base,
                    examples,
                    rows: train_rows,
                    batch_tokens: self.settings.batch_tokens,
                    device: settings.device,
                };
                let prepared = objective.prepare(lesson, context)?;
                settings.objective = prepared.objective;
                notes.extend(prepared.notes);
                prepared.rows
            }
        };
        if let Some(told) = memory::check(&start, &settings, &train_rows)? {
            context.note(Level::Info, told);
        }
        let checkpointing = Checkpointing {
            directory: folders.work.join("checkpoint"),
            every_steps: CHECKPOINT_STEPS,
        };
        notes.push(self.choose_rate(
            &start,
            &mut settings,
            &train_rows,
            &checkpointing,
            context,
        )?);
        notes.push(shown::rounds(&settings));
        let request = TrainRequest {
            weights: &start,
            settings: &settings,
            train: &train_rows,
            validation: &validation_rows,
            initial: None,
            checkpointing: Some(checkpointing),
            cancelled: &|| context.is_cancelled(),
        };
        let mut trainable = None;
        let outcome = train_decoder(&request, &mut |event| {
            if let TrainEvent::Started {
                trainable_parameters,
                ..
            } = &event
            {
                trainable = Some(*trainable_parameters as u64);
            }
            shown::tell(context, &event, &encoder);
        })
        .map_err(train_failure)?;
        self.write(&base, &start, &outcome, examples, folders)?;
        notes.extend(shown::kept(&outcome.summary));
        if dropped > 0 {
            notes.push(format!(
                "{dropped} examples did not fit the context and were left out"
            ));
        }
        Ok(Training {
            method: self.method(),
            examples: train_rows.len(),
            validation: validation_rows.len(),
            steps: Some(outcome.summary.steps),
            best_validation_loss: outcome.summary.best_validation_loss,
            trainable_parameters: trainable,
            total_parameters: Some(start.config().parameter_count() as u64),
            census: Some("every trainable tensor got a gradient and no frozen one did".to_owned()),
            stop_token_trained: Some(stops(&train_rows, &encoder)),
            base: (self.initial == Initial::Pretrained).then(|| self.base.name()),
            base_identity: match self.initial {
                Initial::Pretrained => Some(base.weights.sha256().map_err(decoder_failure)?),
                Initial::Random => None,
            },
            notes,
            ..Training::default()
        })
    }

    /// Sets the learning rate where it is to be found: by a range test, or as the one before an
    /// interruption found it. Returns how the rate was chosen.
    fn choose_rate(
        &self,
        start: &DecoderWeights,
        settings: &mut TrainSettings,
        train: &[TrainExample],
        checkpointing: &Checkpointing,
        context: &StepContext,
    ) -> Result<String, StepFailure> {
        match self.settings.learning_rate {
            LearningRate::Given(rate) => Ok(shown::rate_as_set(rate)),
            LearningRate::Width => Ok(shown::rate_by_width(settings.learning_rate)),
            LearningRate::Auto => {
                let request = TrainRequest {
                    weights: start,
                    settings,
                    train,
                    validation: &[],
                    initial: None,
                    checkpointing: Some(checkpointing.clone()),
                    cancelled: &|| context.is_cancelled(),
                };
                let found = learning_rate_range_test(&request).map_err(train_failure)?;
                settings.learning_rate = found.chosen;
                let told = shown::rate_found(&found);
                context.note(Level::Info, told.clone());
                Ok(told)
            }
        }
    }

    fn method(&self) -> String {
        let start = match self.initial {
            Initial::Pretrained => "",
            Initial::Random => " from random weights",
        };
        let learnt = match self.objective {
            None => String::new(),
            Some(objective) => format!(", objective `{}`", objective.spec.kind().name()),
        };
        format!(
            "{}{start}{learnt}",
            settings::method(self.settings, self.full)
        )
    }

    fn write(
        &self,
        base: &BaseModel,
        start: &DecoderWeights,
        outcome: &TrainOutcome,
        examples: &[Example],
        folders: &Folders<'_>,
    ) -> Result<(), StepFailure> {
        let merged;
        let tuned = match (&outcome.trained, self.initial) {
            (Trained::Lora(adapter), Initial::Pretrained) => Tuned::Adapter(adapter),
            // An adapter of random weights has no base that anybody could load.
            (Trained::Lora(adapter), Initial::Random) => {
                merged = start.merge(adapter).map_err(decoder_failure)?;
                Tuned::Full(&merged)
            }
            (Trained::Full(weights), _) => Tuned::Full(weights),
        };
        let decoder = BundleStudent::Decoder {
            base,
            tuned,
            limits: limits(base, self.train.task.kind),
        };
        student::write(
            folders.student,
            &self.base.name(),
            &self.train.task,
            decoder,
            &shown_rows(examples),
        )
    }
}

/// Examples as tokens; those that do not fit the context are counted and left out.
fn encode(
    task: &Task,
    encoder: &ChatEncoder,
    examples: &[Example],
) -> Result<(Vec<TrainExample>, usize), StepFailure> {
    let mut encoded = Vec::with_capacity(examples.len());
    let mut dropped = 0;
    for example in examples {
        let messages = messages(task, example)?;
        match encoder.encode_example(&messages, &example.answer) {
            Ok(row) => encoded.push(TrainExample::new(row.tokens, row.loss_from)),
            Err(_) => dropped += 1,
        }
    }
    if encoded.is_empty() && !examples.is_empty() {
        return Err(
            StepFailure::bad_input("no training example fits the base model's context")
                .hint("shorten `task.system`, or take a base with a longer context"),
        );
    }
    Ok((encoded, dropped))
}

/// Whether the last trained token of each row ends a reply.
fn stops(rows: &[TrainExample], encoder: &ChatEncoder) -> bool {
    rows.iter().all(|row| {
        row.tokens
            .last()
            .is_some_and(|token| encoder.stop_ids().contains(token))
    })
}
