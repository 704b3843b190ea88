//! `evaluate`: one arm answers all test rows, and its speed is measured.

use std::{path::Path, time::Instant};

use distill_chat::{TaskDefinition, TaskKind};
use distill_pipeline::spec::DeviceKind;
use distill_runner::{StepContext, StepFailure};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    Arm,
    base::BaseReference,
    rows::{Example, Prediction, Row},
};

/// Rows answered one at a time for the latency of a single answer.
const LATENCY_ROWS: usize = 100;
/// Seconds after which a slow arm's latency is taken from the rows answered so far.
const LATENCY_SECONDS: f64 = 4.0;
/// Rows answered before the clock starts.
const WARM_UP_ROWS: usize = 5;
/// Rows handed to the engine at once; between two such parts the step can be interrupted.
const PART_ROWS: usize = 256;
/// Examples in the prompt of the few-shot arm.
pub(crate) const SHOTS: usize = 8;

/// One arm on the test rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluate {
    pub arm: Arm,
    pub task: TaskDefinition,
    /// The base model that this arm needs; none for the linear student and the constant.
    pub base: Option<BaseReference>,
    /// Draws the few-shot examples.
    pub shot_seed: u64,
    /// Where a decoder runs.
    #[serde(default, skip_serializing_if = "DeviceKind::is_cpu")]
    pub device: DeviceKind,
}

/// How fast the arm was, for the report. Varies from run to run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Timing {
    /// Milliseconds of single answers, one at a time after warm-up, in row order.
    pub single_ms: Vec<f64>,
    /// Rows of the whole evaluation and the seconds it took, in batches.
    pub batch_rows: usize,
    pub batch_seconds: f64,
    pub threads: usize,
    /// Tokens read and written per answer, on average.
    pub input_tokens: Option<f64>,
    pub output_tokens: Option<f64>,
    /// Prompts that did not fit and were cut.
    pub cut_prompts: usize,
    /// Bytes of what would be deployed.
    pub bytes: Option<u64>,
}

/// Something that answers rows, loaded and ready.
pub(crate) trait Answerer {
    /// Answers rows in order.
    ///
    /// # Errors
    /// A [`StepFailure`] that ends the evaluation.
    fn answer(&self, rows: &[Row]) -> Result<Vec<Reply>, StepFailure>;
}

/// One answer of an [`Answerer`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub text: String,
    pub logprob: Option<f64>,
    pub input_tokens: Option<usize>,
    pub output_tokens: Option<usize>,
    pub cut_prompt: bool,
}

impl Evaluate {
    pub fn settings(&self) -> Value {
        let mut settings = json!({
            "arm": match &self.arm {
                // The student's artifact says which one it is; its name must not enter the key.
                Arm::Student(_) | Arm::Control(_) => json!("student"),
                arm => json!(arm),
            },
            "task": self.task,
        });
        if !self.device.is_cpu() {
            settings["device"] = json!(self.device);
        }
        settings
    }

    pub fn base_identity(&self) -> Option<String> {
        self.base.as_ref().and_then(BaseReference::identity)
    }

    pub fn seed(&self) -> Option<u64> {
        (self.arm == Arm::FewShot).then_some(self.shot_seed)
    }
}

/// Answers all rows in batches, then some one at a time for their latency.
///
/// # Errors
/// A [`StepFailure`] of the answerer, or an interruption.
pub(crate) fn measure(
    answerer: &dyn Answerer,
    rows: &[Row],
    context: &StepContext,
) -> Result<(Vec<Prediction>, Timing), StepFailure> {
    answerer.answer(&rows[..rows.len().min(WARM_UP_ROWS)])?;
    let mut replies = Vec::with_capacity(rows.len());
    let started = Instant::now();
    for part in rows.chunks(PART_ROWS) {
        if context.is_cancelled() {
            return Err(StepFailure::interrupted());
        }
        replies.extend(answerer.answer(part)?);
        context.progress(replies.len() as u64, Some(rows.len() as u64), "answers");
    }
    let mut timing = Timing {
        batch_rows: rows.len(),
        batch_seconds: started.elapsed().as_secs_f64(),
        threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        cut_prompts: replies.iter().filter(|reply| reply.cut_prompt).count(),
        input_tokens: mean(replies.iter().map(|reply| reply.input_tokens)),
        output_tokens: mean(replies.iter().map(|reply| reply.output_tokens)),
        ..Timing::default()
    };
    for row in rows.iter().take(LATENCY_ROWS) {
        if context.is_cancelled() {
            return Err(StepFailure::interrupted());
        }
        if timing.single_ms.iter().sum::<f64>() > LATENCY_SECONDS * 1000.0 {
            break;
        }
        let started = Instant::now();
        answerer.answer(std::slice::from_ref(row))?;
        timing
            .single_ms
            .push(started.elapsed().as_secs_f64() * 1000.0);
    }
    let predictions = rows
        .iter()
        .zip(replies)
        .map(|(row, reply)| Prediction {
            id: row.id.clone(),
            reply: Some(reply.text),
            logprob: reply.logprob,
            input_tokens: reply.input_tokens.map(|tokens| tokens as u64),
            output_tokens: reply.output_tokens.map(|tokens| tokens as u64),
            reason: None,
        })
        .collect();
    Ok((predictions, timing))
}

fn mean(counts: impl Iterator<Item = Option<usize>>) -> Option<f64> {
    let counts: Option<Vec<usize>> = counts.collect();
    counts
        .filter(|counts| !counts.is_empty())
        .map(|counts| counts.iter().sum::<usize>() as f64 / counts.len() as f64)
}

/// The answer that costs nothing.
pub(crate) struct ConstantAnswerer {
    answer: String,
}

impl ConstantAnswerer {
    /// `{}` for an extraction; the most frequent answer of the examples (the first in the alphabet
    /// among equals) for every other task.
    pub(crate) fn new(task: &TaskDefinition, examples: &[Example]) -> Self {
        let answer = match task.kind {
            TaskKind::Extract => "{}".to_owned(),
            TaskKind::Classify | TaskKind::Generate => {
                let mut counts = std::collections::BTreeMap::<&str, usize>::new();
                for example in examples {
                    *counts.entry(&example.answer).or_default() += 1;
                }
                let most = counts.values().max().copied().unwrap_or(0);
                counts
                    .into_iter()
                    .find(|(_, count)| *count == most)
                    .map(|(label, _)| label.to_owned())
                    .unwrap_or_default()
            }
        };
        Self { answer }
    }
}

impl Answerer for ConstantAnswerer {
    fn answer(&self, rows: &[Row]) -> Result<Vec<Reply>, StepFailure> {
        let reply = Reply {
            text: self.answer.clone(),
            logprob: None,
            input_tokens: None,
            output_tokens: None,
            cut_prompt: false,
        };
        Ok(vec![reply; rows.len()])
    }
}

/// Draws few-shot examples: one of as many different answers as there are shots.
pub(crate) fn draw_shots(examples: &[Example], seed: u64) -> Vec<Example> {
    let mut order: Vec<&Example> = examples.iter().collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut shots: Vec<Example> = Vec::new();
    for example in &order {
        if shots.len() < SHOTS && shots.iter().all(|shot| shot.answer != example.answer) {
            shots.push((*example).clone());
        }
    }
    shots
}

/// Writes what an evaluation found.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub(crate) fn write(
    predictions: &[Prediction],
    timing: &Timing,
    to: (&Path, &Path),
) -> Result<(), StepFailure> {
    crate::rows::write_lines(to.0, predictions)?;
    crate::rows::write_json(to.1, timing)
}

#[cfg(test)]
mod tests {
    use distill_chat::{Fields, TaskDefinition};
    use serde_json::json;

    use super::{Answerer as _, ConstantAnswerer};
    use crate::rows::{Example, Row};

    #[test]
    fn the_constant_says_what_costs_nothing() {
        let examples: Vec<Example> = ["b", "a", "b", "a", "c"]
            .iter()
            .enumerate()
            .map(|(id, answer)| Example {
                id: id.to_string(),
                fields: Fields::new(),
                answer: (*answer).to_owned(),
                token_logprobs: None,
            })
            .collect();
        let row = Row {
            id: "1".to_owned(),
            fields: Fields::new(),
            gold: None,
        };
        for (kind, answer) in [("classify", "a"), ("generate", "a"), ("extract", "{}")] {
            let task: TaskDefinition =
                serde_json::from_value(json!({"kind": kind, "prompt": "{{ text }}"})).unwrap();
            let said = ConstantAnswerer::new(&task, &examples)
                .answer(std::slice::from_ref(&row))
                .unwrap();
            assert_eq!(said[0].text, answer, "{kind}");
        }
    }
}
