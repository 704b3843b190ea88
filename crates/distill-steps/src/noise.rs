//! The noise floor: how often the teacher agrees with itself, and whether a student does.
//!
//! What a teacher does not repeat cannot be learnt from it: its agreement with itself is the ceiling
//! of every agreement with it. A student answers at temperature 0, so asked again it must say the
//! same to the letter; where it does not, that is said.

use std::collections::HashMap;

use distill_chat::{Task, TaskDefinition};
use distill_eval::{Sample, Score, Scorer, primary_metric, stats::wilson};
use distill_report::{NoiseFloorFacts, RepeatFacts};
use distill_runner::{StepContext, StepFailure};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    Arm,
    action::Ask,
    evaluate::Answerer,
    rows::{AnswerRow, Prediction, Row},
};

/// The second asking is the second answer to the same question: sample 1 in the journal.
pub(crate) const SECOND: u32 = 1;

/// The teacher asked a second time on some test rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    pub ask: Ask,
    /// Rows drawn; all where there are fewer.
    pub rows: usize,
    pub seed: u64,
    /// Of the interval.
    pub confidence: f64,
}

/// A student asked again, one row at a time, about the rows of the noise floor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    pub arm: Arm,
    pub task: TaskDefinition,
    pub rows: usize,
    pub seed: u64,
}

/// The rows that are asked twice: a seeded draw, in the order of the file.
pub(crate) fn draw(rows: &[Row], count: usize, seed: u64) -> Vec<Row> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order.truncate(count);
    order.sort_unstable();
    order.into_iter().map(|index| rows[index].clone()).collect()
}

/// Holds two answers of the teacher to the same rows against each other, by the task's own measure
/// of what is the same answer. Rows without two usable answers are left out and counted.
pub(crate) fn facts(
    settings: &NoiseFloor,
    task: &Task,
    first: &[AnswerRow],
    second: &[AnswerRow],
    simulated: bool,
) -> NoiseFloorFacts {
    let first: HashMap<&str, &AnswerRow> = first.iter().map(|row| (row.id.as_str(), row)).collect();
    let scorer = Scorer::plain(primary_metric(task.definition().kind));
    let mut samples = Vec::new();
    for again in second {
        let before = first.get(again.id.as_str());
        let before = before.and_then(|answer| answer.answer.as_deref());
        if let (Some(before), Some(now)) = (before, again.answer.as_deref()) {
            samples.push(Sample::read(again.id.clone(), task, Ok(now), Some(before)));
        }
    }
    let n = samples.len();
    let scores = scorer.score_all(&samples, task).unwrap_or_default();
    let agreed = scores
        .iter()
        .filter(|row| row.score == Score::Value(1.0))
        .count();
    NoiseFloorFacts {
        n,
        left_out: second.len() - n,
        agreement: (n > 0).then(|| agreed as f64 / n as f64),
        interval: wilson(agreed, n, settings.confidence),
        how: format!(
            "{} rows drawn with seed {}, each a second call at temperature {}; the same answer by `{}`",
            second.len(),
            settings.seed,
            settings.ask.teacher.temperature,
            scorer.metric.name,
        ),
        student_repeat: None,
        simulated,
    }
}

/// Answers the drawn rows one at a time and holds the replies against those of the evaluation, which
/// were made in batches.
///
/// # Errors
/// A [`StepFailure`] of the student, or an interruption.
pub(crate) fn repeat(
    settings: &Repeat,
    answerer: &dyn Answerer,
    rows: &[Row],
    predictions: &[Prediction],
    context: &StepContext,
) -> Result<RepeatFacts, StepFailure> {
    let before: HashMap<&str, Option<&str>> = predictions
        .iter()
        .map(|prediction| (prediction.id.as_str(), prediction.reply.as_deref()))
        .collect();
    let mut facts = RepeatFacts {
        arm: settings.arm.name(),
        n: 0,
        same: 0,
    };
    let drawn = draw(rows, settings.rows, settings.seed);
    for row in &drawn {
        if context.is_cancelled() {
            return Err(StepFailure::interrupted());
        }
        let replies = answerer.answer(std::slice::from_ref(row))?;
        let now = replies.first().map(|reply| reply.text.as_str());
        if let (Some(Some(before)), Some(now)) = (before.get(row.id.as_str()), now) {
            facts.n += 1;
            facts.same += usize::from(*before == now);
        }
        context.progress(facts.n as u64, Some(drawn.len() as u64), "rows");
    }
    Ok(facts)
}

/// The floor with the student that repeats itself least.
pub(crate) fn with_repeats(mut floor: NoiseFloorFacts, repeats: &[RepeatFacts]) -> NoiseFloorFacts {
    let share = |facts: &RepeatFacts| facts.same as f64 / facts.n.max(1) as f64;
    floor.student_repeat = repeats
        .iter()
        .filter(|facts| facts.n > 0)
        .min_by(|one, other| share(one).total_cmp(&share(other)))
        .cloned();
    floor
}

#[cfg(test)]
mod tests;
