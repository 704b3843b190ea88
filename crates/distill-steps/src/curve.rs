//! `curve`: a student trained on growing parts of its training rows, each part within the next.
//!
//! What the parts reach on the test rows is shown and says how much more data would bring; it
//! chooses nothing. The whole set is the last point: the student that the run trains anyway.

use std::path::Path;

use distill_eval::Aggregate;
use distill_pipeline::spec::ScorerSpec;
use distill_report::{CurveFacts, CurveFactsPoint};
use distill_runner::{StepContext, StepFailure};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    Arm,
    action::Compare,
    compare::{self, Evidence},
    compile::step_name,
    evaluate::{Answerer, Timing},
    rows::{Example, Prediction, Row},
    student::StudentAnswerer,
    train::{Folders, Train},
};

#[cfg(test)]
mod tests;

/// Rows answered at once; between two such parts the step can be interrupted.
const PART_ROWS: usize = 256;
/// Training rows below which no student is trained.
const FEWEST_ROWS: usize = 10;

/// The step that trains and answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    pub train: Train,
    /// Rising, each above 0 and below 1.
    pub shares: Vec<f64>,
}

/// The step that makes figures of the answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurveFigures {
    pub compare: Compare,
    /// The student's name.
    pub student: String,
    /// Whether a simulated teacher gave the labels.
    pub simulated: bool,
}

/// What one part's student said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CurveRun {
    pub share: f64,
    pub train_rows: usize,
    /// One a test row; empty where there were too few rows to train on.
    pub predictions: Vec<Prediction>,
}

impl Curve {
    pub fn settings(&self) -> Value {
        json!({ "train": self.train.settings(), "shares": self.shares })
    }

    /// Trains on each share and answers the test rows.
    ///
    /// # Errors
    /// A [`StepFailure`] of training or answering; an interruption leaves a checkpoint to go on from.
    pub(crate) fn run(
        &self,
        examples: &[Example],
        validation: &[Example],
        rows: &[Row],
        work: &Path,
        context: &StepContext,
    ) -> Result<Vec<CurveRun>, StepFailure> {
        let mut runs = Vec::new();
        for share in &self.shares {
            let (examples, validation) = (
                part(examples, *share, self.train.seed),
                part(validation, *share, self.train.seed),
            );
            let mut run = CurveRun {
                share: *share,
                train_rows: examples.len(),
                predictions: Vec::new(),
            };
            if can_be_learned(&examples) {
                let folder = work.join(format!("share-{share}"));
                let student = folder.join("student");
                for folder in [&folder, &student] {
                    std::fs::create_dir_all(folder)
                        .map_err(|error| crate::rows::cannot_write(folder, error))?;
                }
                let folders = Folders {
                    student: &student,
                    work: &folder,
                };
                let training = self.train.run(&examples, &validation, &folders, context)?;
                run.train_rows = training.examples;
                let student = StudentAnswerer::open_on(&student, self.train.device())?;
                run.predictions = answers(&student, rows, context)?;
            }
            runs.push(run);
        }
        Ok(runs)
    }
}

/// The first rows of one seeded shuffle, in the order of the file: a smaller share is within a
/// larger one.
fn part(examples: &[Example], share: f64, seed: u64) -> Vec<Example> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order.truncate((examples.len() as f64 * share).round() as usize);
    order.sort_unstable();
    order
        .into_iter()
        .map(|index| examples[index].clone())
        .collect()
}

/// Enough rows, with more than one answer among them.
fn can_be_learned(examples: &[Example]) -> bool {
    let differ = |pair: &[Example]| pair[0].answer != pair[1].answer;
    examples.len() >= FEWEST_ROWS && examples.windows(2).any(differ)
}

fn answers(
    student: &dyn Answerer,
    rows: &[Row],
    context: &StepContext,
) -> Result<Vec<Prediction>, StepFailure> {
    let mut predictions = Vec::with_capacity(rows.len());
    for part in rows.chunks(PART_ROWS) {
        if context.is_cancelled() {
            return Err(StepFailure::interrupted());
        }
        let replies = student.answer(part)?;
        predictions.extend(part.iter().zip(replies).map(|(row, reply)| Prediction {
            id: row.id.clone(),
            reply: Some(reply.text),
            logprob: reply.logprob,
            ..Prediction::default()
        }));
    }
    Ok(predictions)
}

impl CurveFigures {
    pub fn settings(&self) -> Value {
        let compare = &self.compare;
        json!({
            "task": compare.task,
            "metric": compare.metric,
            "scorers": compare.scorers,
            "group": compare.group,
            "confidence": compare.accept.confidence,
            "seed": compare.seed,
            "student": self.student,
            "simulated": self.simulated,
        })
    }

    /// Scores the runs and the whole set's student by the metric of the verdict. `evidence` holds the
    /// rows and whoever says what is right on them.
    ///
    /// # Errors
    /// A [`StepFailure`] when there is nothing to judge the answers by.
    pub(crate) fn facts(
        &self,
        mut evidence: Evidence,
        runs: Vec<CurveRun>,
        whole: (usize, Vec<Prediction>),
    ) -> Result<CurveFacts, StepFailure> {
        let whole = CurveRun {
            share: 1.0,
            train_rows: whole.0,
            predictions: whole.1,
        };
        let mut points = Vec::new();
        for run in runs.into_iter().chain([whole]) {
            let score = if run.predictions.is_empty() {
                None
            } else {
                Some(self.score(&mut evidence, run.predictions)?)
            };
            points.push(CurveFactsPoint {
                train_rows: run.train_rows,
                value: score.as_ref().and_then(|score| score.value),
                interval: score.as_ref().and_then(|score| score.interval),
                n: score.map_or(0, |score| score.n),
            });
        }
        Ok(CurveFacts {
            student: self.student.clone(),
            scored_on: "the test rows; it chooses nothing".to_owned(),
            metric: compare::primary_scorer_name(&self.compare),
            points,
            simulated: self.simulated,
        })
    }

    /// The figure that the comparison would give to a student with these answers.
    fn score(
        &self,
        evidence: &mut Evidence,
        predictions: Vec<Prediction>,
    ) -> Result<Aggregate, StepFailure> {
        let arm = Arm::Student(self.student.clone());
        let primary = compare::primary_name(&self.compare).to_owned();
        let mut scorers = self.compare.scorers.clone();
        scorers.retain(|scorer| scorer.name == primary);
        if scorers.is_empty() {
            // An empty list would mean the usual ones, of which some take long.
            scorers.push(ScorerSpec {
                name: primary,
                settings: Map::new(),
            });
        }
        let settings = Compare {
            arms: vec![arm.clone()],
            scorers,
            ..self.compare.clone()
        };
        evidence
            .predictions
            .insert(step_name(&arm), (predictions, Timing::default()));
        let (study, samples) = compare::collect(&settings, evidence)?;
        let findings = compare::compare(&study, &samples)?;
        let arm = findings.arms.into_iter().next();
        arm.and_then(|arm| arm.scores.into_iter().next())
            .ok_or_else(|| StepFailure::bug("a comparison of one arm has no figure of it"))
    }
}
