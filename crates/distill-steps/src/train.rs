//! `train`: examples to a student's directory.

use std::{path::Path, time::Instant};

use distill_chat::{Message, Task, TaskDefinition};
use distill_pipeline::spec::{DecoderSpec, EncoderSpec, LinearSpec};
use distill_runner::{StepContext, StepFailure};
use distill_student::{bundle::BundleStudent, device::DeviceChoice};
use distill_train::{
    TrainError,
    linear::{LinearConfig, train_linear},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{base::BaseReference, rows::Example, student};

mod decoder;
mod encoder;
pub(crate) mod memory;
mod objective;
mod settings;
mod shown;

use decoder::DecoderRun;
use encoder::EncoderRun;
pub(crate) use objective::ObjectiveRecipe;
pub(crate) use settings::{choice as device, found_device, rate_by_width};

/// Steps between two checkpoints.
const CHECKPOINT_STEPS: usize = 10;

/// One training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Train {
    pub task: TaskDefinition,
    pub recipe: Recipe,
    pub seed: u64,
    /// Another decoder is trained beside this one: it keeps to one core. No part of the key, since
    /// the bytes do not depend on the number of threads.
    pub side_by_side: bool,
}

/// Which class is trained, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    Linear(LinearSpec),
    Encoder {
        base: BaseReference,
        settings: EncoderSpec,
        /// Soft labels; none for cross-entropy with the labels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        objective: Option<ObjectiveRecipe>,
    },
    Decoder {
        base: BaseReference,
        initial: Initial,
        /// Every weight is trained instead of an adapter.
        full: bool,
        settings: DecoderSpec,
        /// The highest learning rate where the model's width decides it, known before the run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<f64>,
        /// None for cross-entropy of the labels.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        objective: Option<ObjectiveRecipe>,
    },
}

/// Where a decoder's weights start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initial {
    Pretrained,
    Random,
}

/// What training took and showed, for the report. Seconds vary from run to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Training {
    pub method: String,
    pub examples: usize,
    pub validation: usize,
    pub steps: Option<usize>,
    pub best_validation_loss: Option<f64>,
    pub trainable_parameters: Option<u64>,
    pub total_parameters: Option<u64>,
    /// Bytes of the files that this training made.
    pub bytes: u64,
    pub census: Option<String>,
    pub stop_token_trained: Option<bool>,
    /// The base model's reference and the hash over its weights.
    pub base: Option<String>,
    pub base_identity: Option<String>,
    pub seconds: f64,
    pub notes: Vec<String>,
}

impl Train {
    /// Where the student is trained.
    pub(crate) fn device(&self) -> DeviceChoice {
        match &self.recipe {
            Recipe::Decoder { settings, .. } => device(settings.tuning.device),
            Recipe::Linear(_) | Recipe::Encoder { .. } => DeviceChoice::Cpu,
        }
    }

    pub fn settings(&self) -> Value {
        let recipe = match &self.recipe {
            Recipe::Linear(settings) => json!({ "linear": settings }),
            Recipe::Encoder {
                settings,
                objective,
                ..
            } => {
                let mut recipe = json!({ "encoder": settings });
                if let Some(objective) = objective {
                    recipe["objective"] = objective.settings();
                }
                recipe
            }
            Recipe::Decoder {
                initial,
                full,
                settings,
                rate,
                objective,
                ..
            } => {
                let mut recipe = json!({ "decoder": settings, "initial": initial, "full": full });
                if let Some(rate) = rate {
                    recipe["learning_rate"] = json!(rate);
                }
                if let Some(objective) = objective {
                    recipe["objective"] = objective.settings();
                }
                recipe
            }
        };
        json!({ "task": self.task, "recipe": recipe })
    }

    pub fn base(&self) -> Option<&BaseReference> {
        match &self.recipe {
            Recipe::Linear(_) => None,
            Recipe::Encoder { base, .. } | Recipe::Decoder { base, .. } => Some(base),
        }
    }

    /// What is learnt besides the labels.
    pub fn objective(&self) -> Option<&ObjectiveRecipe> {
        match &self.recipe {
            Recipe::Linear(_) => None,
            Recipe::Encoder { objective, .. } | Recipe::Decoder { objective, .. } => {
                objective.as_ref()
            }
        }
    }

    /// Every model that is loaded: the base, and a local teacher.
    pub fn bases(&self) -> impl Iterator<Item = &BaseReference> {
        let teacher = self.objective().and_then(|at| at.teacher.as_ref());
        self.base().into_iter().chain(teacher)
    }

    /// Looks whether the base has what an adapter is to go on. A model that is not on this machine
    /// is not looked at.
    ///
    /// # Errors
    /// A [`StepFailure`] that names the targets that it does not have.
    pub fn check_targets(&self) -> Result<(), StepFailure> {
        // Where a configuration cannot be read, loading tells why.
        match &self.recipe {
            Recipe::Decoder {
                base,
                full: false,
                settings,
                ..
            } if !settings.tuning.targets.is_empty() => base
                .decoder_config()
                .map_or(Ok(()), |config| settings::check_targets(settings, &config)),
            Recipe::Encoder { base, settings, .. } if !settings.targets.is_empty() => base
                .encoder_config()
                .map_or(Ok(()), |config| encoder::check_targets(settings, &config)),
            Recipe::Linear(_) | Recipe::Encoder { .. } | Recipe::Decoder { .. } => Ok(()),
        }
    }

    pub fn base_identity(&self) -> Option<String> {
        self.base().and_then(BaseReference::identity)
    }

    /// Trains and writes the student's directory. Checkpoints go to `work_dir`; a checkpoint of the
    /// same training that lies there is resumed.
    ///
    /// # Errors
    /// A [`StepFailure`]; an interruption leaves a checkpoint to go on from.
    pub fn run(
        &self,
        examples: &[Example],
        validation: &[Example],
        folders: &Folders<'_>,
        context: &StepContext,
    ) -> Result<Training, StepFailure> {
        if examples.is_empty() {
            return Err(StepFailure::bad_input("no training example is left")
                .hint("the report of `curate` says what was removed and why"));
        }
        let task = Task::new(self.task.clone())
            .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
        let started = Instant::now();
        let mut training = match &self.recipe {
            Recipe::Linear(settings) => {
                self.linear(&task, settings, examples, validation, folders)?
            }
            Recipe::Encoder {
                base,
                settings,
                objective,
            } => {
                let encoder = EncoderRun {
                    train: self,
                    task: &task,
                    base,
                    settings,
                    objective: objective.as_ref(),
                };
                let run = || encoder.run(examples, validation, folders, context);
                if self.side_by_side {
                    one_thread()?.install(run)?
                } else {
                    run()?
                }
            }
            Recipe::Decoder {
                base,
                initial,
                full,
                settings,
                objective,
                ..
            } => {
                let decoder = DecoderRun {
                    train: self,
                    task: &task,
                    base,
                    initial: *initial,
                    full: *full,
                    settings,
                    objective: objective.as_ref(),
                };
                let run = || decoder.run(examples, validation, folders, context);
                if self.side_by_side {
                    one_thread()?.install(run)?
                } else {
                    run()?
                }
            }
        };
        training.seconds = started.elapsed().as_secs_f64();
        training.bytes = folder_bytes(folders.student);
        Ok(training)
    }

    fn linear(
        &self,
        task: &Task,
        settings: &LinearSpec,
        examples: &[Example],
        validation: &[Example],
        folders: &Folders<'_>,
    ) -> Result<Training, StepFailure> {
        // The solver keeps a validation part of its own for the penalty, then trains on everything.
        let rows = examples
            .iter()
            .chain(validation)
            .map(|example| Ok((user_text(task, example)?, example.answer.clone())))
            .collect::<Result<Vec<_>, StepFailure>>()?;
        let (linear, report) = train_linear(
            &rows,
            &self.task.labels,
            &linear_config(settings, self.seed),
        )
        .map_err(|error| {
            StepFailure::failed("the linear student cannot be trained").caused_by(error)
        })?;
        let features = linear.feature_count();
        student::write(
            folders.student,
            "linear",
            &self.task,
            BundleStudent::Linear(&linear),
            &shown_rows(examples),
        )?;
        Ok(Training {
            method: format!("linear, C = {}", report.chosen_cost),
            examples: rows.len(),
            validation: report.validation_rows,
            trainable_parameters: Some((features * self.task.labels.len()) as u64),
            notes: vec![format!(
                "settings chosen by cross-validation over {} training rows",
                report.validation_rows
            )],
            ..Training::default()
        })
    }
}

/// Where a training reads and writes.
pub struct Folders<'a> {
    pub student: &'a Path,
    pub work: &'a Path,
}

/// A pool that keeps a training to the core it was given.
fn one_thread() -> Result<rayon::ThreadPool, StepFailure> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .map_err(|error| StepFailure::failed("a thread could not be started").caused_by(error))
}

/// Rows for a bundle's golden tokens and answers.
fn shown_rows(examples: &[Example]) -> Vec<distill_chat::Fields> {
    examples
        .iter()
        .take(student::GOLDEN_ROWS)
        .map(|example| example.fields.clone())
        .collect()
}

fn linear_config(settings: &LinearSpec, seed: u64) -> LinearConfig {
    let mut config = LinearConfig {
        seed,
        ..LinearConfig::default()
    };
    if let Some(words) = settings.word_ngrams {
        config.features.max_words = words;
    }
    if let Some(longest) = settings.character_ngrams {
        config.features.characters[1] = longest;
    }
    if let Some(costs) = &settings.penalties {
        config.costs.clone_from(costs);
    }
    config
}

/// What is asked of a row.
fn messages(task: &Task, example: &Example) -> Result<Vec<Message>, StepFailure> {
    task.messages(&example.fields).map_err(|error| {
        StepFailure::bad_input(format!("example `{}` cannot be rendered", example.id))
            .caused_by(error)
    })
}

/// The text that the linear student reads: the rendered user message.
pub(crate) fn user_text(task: &Task, example: &Example) -> Result<String, StepFailure> {
    Ok(messages(task, example)?
        .pop()
        .map(|message| message.content)
        .unwrap_or_default())
}

fn train_failure(error: TrainError) -> StepFailure {
    match error {
        TrainError::Cancelled { .. } => StepFailure::interrupted(),
        error => StepFailure::failed("the training stopped").caused_by(error),
    }
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|metadata| metadata.len())
        .sum()
}
