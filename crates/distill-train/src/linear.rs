//! Trains the linear student: one squared-hinge machine a label over tf-idf n-grams.
//!
//! What is chosen is chosen on rows held out of the training rows: each penalty of the grid learns
//! from the rest and answers them, the most accurate wins (ties: the stronger regularisation), and
//! the sharpness of the probabilities is fitted on the same answers. Then all rows train the student
//! that is returned. The solver is deterministic: the same rows, settings and seed give the same
//! bytes on any number of cores.

use std::{collections::HashMap, time::Instant};

use distill_student::linear::{FeatureSettings, LinearError, LinearPrediction, LinearStudent};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

mod calibration;
mod solver;
#[cfg(test)]
mod tests;

use solver::Problem;

/// Share of the rows held out at a time.
const FOLDS: usize = 5;
/// From so many rows on, one held-out part tells enough; below, every part is held out once.
const ONE_FOLD_FROM: usize = 4000;

/// What may be set. The defaults are the ones that the figures in this crate's tests hold for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearConfig {
    pub features: FeatureSettings,
    /// Costs of an error that are tried, against a weight penalty of one (the C of a support
    /// vector machine).
    pub costs: Vec<f64>,
    pub seed: u64,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self {
            features: FeatureSettings::default(),
            costs: vec![0.05, 0.1, 0.2, 0.4, 0.8, 1.6],
            seed: 0,
        }
    }
}

/// One setting on the held-out rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GridRow {
    pub cost: f64,
    pub correct: usize,
    pub rows: usize,
    pub accuracy: f64,
}

/// What training did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinearReport {
    pub training_rows: usize,
    /// Rows that a student not trained on them answered, for the choice of settings.
    pub validation_rows: usize,
    pub grid: Vec<GridRow>,
    pub chosen_cost: f64,
    /// Scores are multiplied by this before the softmax.
    pub sharpness: f64,
    /// Mean negative log probability of the right label on the held-out rows, at that sharpness.
    pub validation_log_loss: f64,
    pub features: usize,
    pub seconds: f64,
}

/// Why training cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LinearTrainError {
    #[error("row {row} carries the label `{label}`, which is not one of the {labels} labels")]
    UnknownLabel {
        row: usize,
        label: String,
        labels: usize,
    },
    #[error("training the linear student needs rows of at least two labels, found {0}")]
    TooFewLabels(usize),
    #[error("the costs to try must be positive numbers, at least one")]
    Costs,
    #[error("no n-gram occurs in {0} rows or more")]
    NoFeatures(u32),
    #[error(transparent)]
    Student(#[from] LinearError),
}

/// Trains on (text, label) rows. A label of `labels` without rows is never answered.
pub fn train_linear(
    examples: &[(String, String)],
    labels: &[String],
    config: &LinearConfig,
) -> Result<(LinearStudent, LinearReport), LinearTrainError> {
    let start = Instant::now();
    let positive = |cost: &f64| cost.is_finite() && *cost > 0.0;
    if config.costs.is_empty() || !config.costs.iter().all(positive) {
        return Err(LinearTrainError::Costs);
    }
    let targets = targets(examples, labels)?;
    let texts: Vec<&str> = examples.iter().map(|(text, _)| text.as_str()).collect();
    let folds = folds(&targets, labels.len(), config.seed);

    let mut held_out = vec![HeldOut::default(); config.costs.len()];
    for fold in 0..folds.tested {
        let (learn, test) = folds.split(fold);
        let problem = Problem::new(config.features, &texts, &targets, &learn, labels)?;
        for (index, cost) in config.costs.iter().enumerate() {
            let student = problem.train(*cost, config.seed)?;
            held_out[index].answer(&student, &texts, &targets, &test);
        }
    }
    let grid: Vec<GridRow> = config
        .costs
        .iter()
        .zip(&held_out)
        .map(|(cost, answers)| answers.row(*cost))
        .collect();
    let mut best = 0;
    for (index, row) in grid.iter().enumerate() {
        let stronger = row.cost < grid[best].cost;
        if row.correct > grid[best].correct || (row.correct == grid[best].correct && stronger) {
            best = index;
        }
    }
    let calibration = calibration::fit(&held_out[best].scores, &held_out[best].targets);

    let all: Vec<usize> = (0..texts.len()).collect();
    let problem = Problem::new(config.features, &texts, &targets, &all, labels)?;
    let student = problem
        .train(grid[best].cost, config.seed)?
        .with_sharpness(calibration.sharpness);
    let report = LinearReport {
        training_rows: texts.len(),
        validation_rows: grid[best].rows,
        chosen_cost: grid[best].cost,
        grid,
        sharpness: calibration.sharpness,
        validation_log_loss: calibration.log_loss,
        features: student.feature_count(),
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((student, report))
}

/// Label index of every row.
fn targets(
    examples: &[(String, String)],
    labels: &[String],
) -> Result<Vec<usize>, LinearTrainError> {
    let index: HashMap<&str, usize> = labels
        .iter()
        .enumerate()
        .map(|(index, label)| (label.as_str(), index))
        .collect();
    let targets: Vec<usize> = examples
        .iter()
        .enumerate()
        .map(|(row, (_, label))| {
            let unknown = || LinearTrainError::UnknownLabel {
                row,
                label: label.clone(),
                labels: labels.len(),
            };
            index.get(label.as_str()).copied().ok_or_else(unknown)
        })
        .collect::<Result<_, _>>()?;
    let mut present = targets.clone();
    present.sort_unstable();
    present.dedup();
    if present.len() < 2 {
        return Err(LinearTrainError::TooFewLabels(present.len()));
    }
    Ok(targets)
}

/// Rows dealt to parts, label by label, so that each part has its share of each label.
struct Folds {
    part_of_row: Vec<usize>,
    /// How many of the parts are held out in turn.
    tested: usize,
}

fn folds(targets: &[usize], classes: usize, seed: u64) -> Folds {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut part_of_row = vec![0; targets.len()];
    let mut dealt = 0;
    for class in 0..classes {
        let mut rows: Vec<usize> = (0..targets.len())
            .filter(|row| targets[*row] == class)
            .collect();
        rows.shuffle(&mut random);
        for row in rows {
            part_of_row[row] = dealt % FOLDS;
            dealt += 1;
        }
    }
    Folds {
        part_of_row,
        tested: if targets.len() < ONE_FOLD_FROM {
            FOLDS
        } else {
            1
        },
    }
}

impl Folds {
    /// Rows to learn from and rows to answer.
    fn split(&self, part: usize) -> (Vec<usize>, Vec<usize>) {
        (0..self.part_of_row.len()).partition(|row| self.part_of_row[*row] != part)
    }
}

/// Answers to rows that were not learnt from.
#[derive(Debug, Clone, Default)]
struct HeldOut {
    scores: Vec<Vec<f32>>,
    targets: Vec<usize>,
    correct: usize,
}

impl HeldOut {
    fn answer(
        &mut self,
        student: &LinearStudent,
        texts: &[&str],
        targets: &[usize],
        rows: &[usize],
    ) {
        let asked: Vec<&str> = rows.iter().map(|row| texts[*row]).collect();
        let answers: Vec<LinearPrediction> = student.predict_batch(&asked);
        for ((row, text), answer) in rows.iter().zip(asked).zip(answers) {
            self.correct += usize::from(answer.label == targets[*row]);
            self.scores.push(student.scores(text));
            self.targets.push(targets[*row]);
        }
    }

    fn row(&self, cost: f64) -> GridRow {
        let rows = self.targets.len();
        GridRow {
            cost,
            correct: self.correct,
            rows,
            accuracy: self.correct as f64 / rows.max(1) as f64,
        }
    }
}
