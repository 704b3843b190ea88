//! Training an encoder: texts and labels to a student's directory.

use distill_chat::Task;
use distill_pipeline::spec::EncoderSpec;
use distill_runner::{StepContext, StepFailure};
use distill_student::{
    bundle::BundleStudent,
    encoder::{EncoderStudent, EncoderTokenizer},
};
use distill_train::{
    TrainEvent,
    encoder::{EncoderExample, EncoderRequest, EncoderSettings, TrainedEncoder, train_encoder},
};

use super::shown::tell_progress;
use super::{Folders, Train, Training, shown, train_failure, user_text};
use crate::{
    base::{BaseReference, decoder_failure},
    rows::Example,
    student,
};

pub(super) struct EncoderRun<'a> {
    pub(super) train: &'a Train,
    pub(super) task: &'a Task,
    pub(super) base: &'a BaseReference,
    pub(super) settings: &'a EncoderSpec,
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
        let base_sha256 = weights.sha256().map_err(decoder_failure)?;
        let (train_rows, cut) = self.encode(&tokenizer, examples)?;
        let (validation_rows, _) = self.encode(&tokenizer, validation)?;
        let settings = self.train_settings();
        let request = EncoderRequest {
            weights: &weights,
            settings: &settings,
            train: &train_rows,
            validation: &validation_rows,
            initial: None,
            checkpointing: None,
            cancelled: &|| context.is_cancelled(),
        };
        let outcome = train_encoder(&request, &mut |event: TrainEvent| {
            tell_progress(context, &event);
        })
        .map_err(train_failure)?;
        let trained = match outcome.trained {
            TrainedEncoder::Full(trained) => trained,
            TrainedEncoder::Lora(adapter) => weights.merge(&adapter).map_err(decoder_failure)?,
        };
        let student = EncoderStudent::new(trained, tokenizer).map_err(decoder_failure)?;
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
            &shown(examples),
        )?;
        let mut notes = Vec::new();
        if cut > 0 {
            notes.push(format!(
                "{cut} examples were cut at their end to fit the model"
            ));
        }
        let parameters = weights.config().parameter_count() as u64;
        Ok(Training {
            method: "all weights of an encoder".to_owned(),
            examples: train_rows.len(),
            validation: validation_rows.len(),
            steps: Some(outcome.summary.steps),
            best_validation_loss: outcome.summary.best_validation_loss,
            trainable_parameters: Some(parameters),
            total_parameters: Some(parameters),
            census: Some("every trainable tensor got a gradient".to_owned()),
            base: Some(name),
            base_identity: Some(base_sha256),
            notes,
            ..Training::default()
        })
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

    fn train_settings(&self) -> EncoderSettings {
        let spec = self.settings;
        EncoderSettings {
            epochs: spec.epochs,
            max_steps: spec.max_steps,
            learning_rate: spec.learning_rate,
            warmup: spec.warmup,
            weight_decay: spec.weight_decay,
            clip: spec.clip,
            batch_rows: spec.batch_rows,
            patience: spec.patience,
            seed: self.train.seed,
            ..EncoderSettings::default()
        }
    }
}
