//! Students as steps see them: written once, answered through the engine that serves them.

use std::path::Path;

use distill_chat::{Fields, Message, Role, Task, TaskDefinition};
use distill_runner::StepFailure;
use distill_student::{
    answer::{AnswerError, LoadedStudent, StudentAnswer},
    bundle::{Bundle, BundleContents, BundleStudent, write_bundle},
    decoder::{Decoder, DecoderPlan},
    device::DeviceChoice,
    embedded,
};
use serde_json::Value;

use crate::{
    base::{BaseReference, decoder_failure, encoder},
    evaluate::{Answerer, Reply},
    rows::{Example, Row},
};

/// Rows whose tokens and answers a bundle remembers, to be checked when it is loaded.
pub(crate) const GOLDEN_ROWS: usize = 4;

/// Writes a student's directory. What it holds depends on the training alone: no time, no path.
///
/// # Errors
/// A [`StepFailure`] when a file cannot be written.
pub(crate) fn write(
    folder: &Path,
    name: &str,
    task: &TaskDefinition,
    student: BundleStudent<'_>,
    golden_rows: &[Fields],
) -> Result<(), StepFailure> {
    let contents = BundleContents {
        name,
        task,
        student,
        golden_rows,
        lineage: Value::Null,
        verdict: Value::Null,
    };
    write_bundle(folder, &contents).map(drop).map_err(|error| {
        StepFailure::failed(format!("the student's directory `{}` cannot be written", folder.display()))
            .caused_by(error)
            .hint("free some space or point DISTILL_HOME at another disk, then run the same command: what was finished is kept")
    })
}

/// Answers rows with a loaded student, after the same examples each time where there are any.
pub(crate) struct StudentAnswerer {
    student: LoadedStudent,
    shots: Vec<Message>,
}

impl StudentAnswerer {
    /// Opens a student's directory and checks it as serving does.
    ///
    /// # Errors
    /// A [`StepFailure`] that says what of the directory does not hold.
    pub(crate) fn open(folder: &Path) -> Result<Self, StepFailure> {
        Self::open_on(folder, DeviceChoice::Cpu)
    }

    /// As [`Self::open`]; a decoder answers on a device.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_on(folder: &Path, device: DeviceChoice) -> Result<Self, StepFailure> {
        let bundle = Bundle::open_on(folder, &embedded::bases(), device).map_err(|error| {
            StepFailure::failed("the student's directory cannot be used").caused_by(error)
        })?;
        Ok(Self {
            student: bundle.into_student(),
            shots: Vec::new(),
        })
    }

    /// The base model as it came, with `examples` in its prompt.
    ///
    /// # Errors
    /// A [`StepFailure`] when the base cannot be loaded or an example cannot be rendered.
    pub(crate) fn untuned(
        reference: &BaseReference,
        task: Task,
        examples: &[Example],
        device: DeviceChoice,
    ) -> Result<Self, StepFailure> {
        let base = reference.load()?;
        let device = device.open().map_err(|error| {
            StepFailure::bad_input("the base model cannot run where it is asked to")
                .caused_by(error)
        })?;
        let plan = DecoderPlan {
            device: Some(&device),
            ..DecoderPlan::default()
        };
        let decoder = Decoder::with_plan(&base.weights, plan).map_err(decoder_failure)?;
        let mut shots = Vec::new();
        for example in examples {
            let messages = task.messages(&example.fields).map_err(|error| {
                StepFailure::bad_input(format!("example `{}` cannot be rendered", example.id))
                    .caused_by(error)
            })?;
            shots.extend(
                messages
                    .into_iter()
                    .filter(|message| message.role == Role::User),
            );
            shots.push(Message::assistant(&example.answer));
        }
        let encoder = encoder(&base, task.definition().kind)?;
        Ok(Self {
            student: LoadedStudent::decoder(&reference.name(), task, decoder, encoder),
            shots,
        })
    }

    /// The task that the student learned.
    pub(crate) fn task_definition(&self) -> &TaskDefinition {
        self.student.task().definition()
    }

    fn conversation(&self, row: &Row) -> Result<Vec<Message>, StepFailure> {
        let mut messages = self.student.task().messages(&row.fields).map_err(|error| {
            StepFailure::bad_input(format!("row `{}` cannot be rendered", row.id)).caused_by(error)
        })?;
        let question = messages.pop().expect("a task renders a user message");
        messages.extend(self.shots.iter().cloned());
        messages.push(question);
        Ok(messages)
    }
}

impl Answerer for StudentAnswerer {
    fn answer(&self, rows: &[Row]) -> Result<Vec<Reply>, StepFailure> {
        let conversations = rows
            .iter()
            .map(|row| self.conversation(row))
            .collect::<Result<Vec<_>, _>>()?;
        let answers = self.student.answer_conversations(&conversations);
        rows.iter()
            .zip(answers)
            .map(|(row, answer)| reply(row, answer))
            .collect()
    }
}

fn reply(row: &Row, answer: Result<StudentAnswer, AnswerError>) -> Result<Reply, StepFailure> {
    let answer = answer.map_err(|error| {
        StepFailure::failed(format!("the student did not answer row `{}`", row.id)).caused_by(error)
    })?;
    Ok(Reply {
        text: answer.text,
        logprob: Some(answer.confidence),
        input_tokens: answer.input_tokens.map(|tokens| tokens as usize),
        output_tokens: answer.output_tokens.map(|tokens| tokens as usize),
        cut_prompt: answer.dropped_characters > 0,
    })
}
