//! The gate of a release: the run's own rule, applied to the student as it will be served.

use std::path::PathBuf;

use distill_chat::{ChatModel, ChatRequest, Task};
use distill_eval::{Decision, Verdict};
use distill_pipeline::record::RunView;
use distill_runner::{Home, StepFailure};

use crate::{
    Arm,
    compare::{Samples, Study, answered_again, compare, read_samples},
    compile::step_name,
    evaluate::Timing,
    rows::{Prediction, Row, read_json, read_lines},
};

/// What a run left behind of one student, ready to be judged again.
pub struct Gate {
    pub student: String,
    /// The student's directory.
    pub bundle: PathBuf,
    /// Content hash of the bundle.
    pub bundle_hash: String,
    rows: Vec<Row>,
    study: Study,
    samples: Samples,
}

impl Gate {
    /// Gathers the artifacts of `student` in a finished run.
    ///
    /// # Errors
    /// A [`StepFailure`] when the run has no such student or did not come so far.
    pub fn of_run(home: &Home, view: &RunView, student: &str) -> Result<Self, StepFailure> {
        let arm = Arm::Student(student.to_owned());
        let artifact = |step: &str, port: &str| {
            let output = view
                .steps
                .iter()
                .find(|found| found.name == step)
                .and_then(|found| found.outputs.get(port));
            output
                .map(|output| (home.artifact(&output.hash), output.hash.to_string()))
                .ok_or_else(|| {
                    StepFailure::bad_input(format!("the run has no `{port}` of step `{step}`"))
                        .hint(format!("its students are {}", students(view).join(", ")))
                })
        };
        let (bundle, bundle_hash) = artifact(&format!("train:{}", step_name(&arm)), "student")?;
        let study: Study = read_json(&artifact("compare", "study")?.0)?;
        let samples = read_samples(&artifact("compare", "samples")?.0, &study)?;
        Ok(Self {
            student: student.to_owned(),
            bundle,
            bundle_hash,
            rows: read_lines(&artifact("ingest:test", "rows")?.0)?,
            study,
            samples,
        })
    }

    /// How many rows the gate asks about.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Asks `model` about every test row, in the words of the task, and decides again: about this
    /// student, in the company of all candidates of the run. Tried alone it would pass more easily
    /// than in the run, which is how the luckiest of several would get through.
    ///
    /// # Errors
    /// A [`StepFailure`] when a row cannot be rendered or answered.
    pub async fn judge(
        mut self,
        model: &dyn ChatModel,
        progress: &mut (dyn FnMut(usize) + Send),
    ) -> Result<Verdict, StepFailure> {
        let task = Task::new(self.study.settings.task.clone())
            .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
        let (mut predictions, mut timing) = (Vec::new(), Timing::default());
        let started = std::time::Instant::now();
        for (index, row) in self.rows.iter().enumerate() {
            let asked = std::time::Instant::now();
            predictions.push(ask(model, &task, row, &self.student).await?);
            timing
                .single_ms
                .push(asked.elapsed().as_secs_f64() * 1000.0);
            progress(index + 1);
        }
        timing.batch_rows = predictions.len();
        timing.batch_seconds = started.elapsed().as_secs_f64();
        timing.threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        answered_again(
            &mut self.study,
            &mut self.samples,
            &Arm::Student(self.student.clone()),
            &predictions,
            &timing,
        )?;
        decided(&self.study, &self.samples, &self.student)
    }
}

/// The verdict on one student of a comparison.
fn decided(study: &Study, samples: &Samples, student: &str) -> Result<Verdict, StepFailure> {
    compare(study, samples)?
        .recommendation
        .candidates
        .into_iter()
        .find(|candidate| candidate.name == student)
        .map(|candidate| candidate.verdict)
        .ok_or_else(|| StepFailure::bug(format!("the comparison has no candidate `{student}`")))
}

/// Whether a verdict lets a student alone replace the teacher. A cascade does not, nor does another
/// hosted model: neither is what a release serves.
pub fn is_met(verdict: &Verdict) -> bool {
    verdict.decision == Decision::Replace
}

/// The students of a run, by the names of their training steps.
pub fn students(view: &RunView) -> Vec<String> {
    view.steps
        .iter()
        .filter_map(|step| step.name.strip_prefix("train:"))
        .map(str::to_owned)
        .collect()
}

async fn ask(
    model: &dyn ChatModel,
    task: &Task,
    row: &Row,
    student: &str,
) -> Result<Prediction, StepFailure> {
    let messages = task.messages(&row.fields).map_err(|error| {
        StepFailure::bad_input(format!("row `{}` cannot be rendered", row.id)).caused_by(error)
    })?;
    let completion = model
        .chat(&ChatRequest::new(student, messages))
        .await
        .map_err(|error| {
            StepFailure::failed(format!("the student did not answer row `{}`", row.id))
                .caused_by(error)
        })?;
    Ok(Prediction {
        id: row.id.clone(),
        reply: Some(completion.text),
        logprob: completion.logprob,
        input_tokens: completion.usage.input_tokens,
        output_tokens: completion.usage.output_tokens,
        reason: None,
    })
}

#[cfg(test)]
mod tests;
