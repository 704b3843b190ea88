//! `label_noise`: how many training labels look wrong, and which, without anybody having read them.
//!
//! A linear student answers each example without having learnt from it (cross-validation); where it
//! is sure of another label than the given one, the given one is suspect. Two shares are told:
//!
//! - Of the quarter of examples that the student is surest of, the share where it says another label.
//!   A student is hardly ever wrong where it is surest, so this is close to the share of wrong labels
//!   when errors fall on all texts alike, and too low when they fall on the hard ones.
//! - Confident learning's (C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident learning: estimating
//!   uncertainty in dataset labels", Journal of Artificial Intelligence Research 70 (2021),
//!   arXiv:1911.00068), over all examples: a row counts for a label when the label's probability is at
//!   least the mean that rows of this label give to it. It counts the student's own errors with the
//!   labels', and so is too high by about as much as the student is weak: on the embedded data set,
//!   where the linear student is right on 73%, it says 14% where no label is wrong and 21% where 8%
//!   are; the first share says 1% and 8%.
//!
//! A label that is always wrong in the same way looks right to both.

use std::collections::{BTreeMap, HashMap};

use distill_chat::{Task, TaskDefinition, TaskKind};
use distill_eval::{Interval, stats::wilson};
use distill_runner::StepFailure;
use distill_train::linear::{LinearConfig, train_linear};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    rows::{Example, Row},
    train::user_text,
};

#[cfg(test)]
mod tests;

/// Parts that are answered in turn by a student that learnt from the others.
const FOLDS: usize = 4;
/// The cost of an error that the students are trained with: one setting, since a search would take
/// most of the time. Strong enough a penalty that single wrong labels are not learnt by heart.
const COST: f64 = 0.1;
/// The share of the examples, surest first, on which the student is taken to be right.
const SUREST: f64 = 0.25;
/// Examples below which nothing is estimated.
const FEWEST_EXAMPLES: usize = 100;
/// Characters of a text that the list shows.
const SHOWN_CHARACTERS: usize = 160;
/// Of the interval around the measured share.
const CONFIDENCE: f64 = 0.95;

/// The step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelNoise {
    pub task: TaskDefinition,
    pub seed: u64,
    /// Whether a simulated teacher gave the labels.
    pub simulated: bool,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct NoiseEstimate {
    /// How it was estimated, in one sentence.
    pub method: String,
    /// Examples looked at.
    pub n: usize,
    /// Share of wrong labels among those that the student is surest of; `None` where it could not
    /// be estimated.
    pub estimated_share: Option<f64>,
    pub interval: Option<Interval>,
    /// Confident learning's share, which counts the student's own errors too.
    pub upper_share: Option<f64>,
    /// Why there is no estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The likeliest wrong first.
    pub suspects: Vec<Suspect>,
    /// Against the human labels, where the examples have them beside the teacher's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// A label that looks wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Suspect {
    pub id: String,
    pub given: String,
    pub likely: String,
    /// Of the given label, by a student that did not learn from this example; 0 to 1.
    pub probability: f64,
    /// Of the likely one.
    pub likely_probability: f64,
    /// The start of the text.
    pub text: String,
}

/// The given labels against the human ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Examples with both.
    pub n: usize,
    pub wrong: usize,
    pub interval: Option<Interval>,
    /// Suspects with a human label, and how many of them are wrong.
    pub suspects: usize,
    pub suspects_wrong: usize,
}

impl LabelNoise {
    pub fn settings(&self) -> Value {
        json!({ "task": self.task, "simulated": self.simulated })
    }

    /// Looks at the labels of `examples`. `rows` carry the human labels, where there are any beside
    /// those.
    ///
    /// # Errors
    /// A [`StepFailure`] when an example cannot be rendered.
    pub(crate) fn estimate(
        &self,
        examples: &[Example],
        rows: &[Row],
    ) -> Result<NoiseEstimate, StepFailure> {
        let task = Task::new(self.task.clone())
            .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
        let mut estimate = NoiseEstimate {
            method: format!(
                "share of other answers on the quarter of examples that a linear student is surest of, {FOLDS}-fold cross-validated"
            ),
            n: examples.len(),
            ..NoiseEstimate::default()
        };
        if self.task.kind != TaskKind::Classify || examples.len() < FEWEST_EXAMPLES {
            estimate.reason = Some(format!(
                "there are {} examples, and it takes {FEWEST_EXAMPLES} with labels of a set",
                examples.len()
            ));
            return Ok(estimate);
        }
        let texts = examples
            .iter()
            .map(|example| user_text(&task, example))
            .collect::<Result<Vec<String>, StepFailure>>()?;
        let probabilities = match self.probabilities(&texts, examples) {
            Ok(probabilities) => probabilities,
            Err(problem) => {
                estimate.reason = Some(problem);
                return Ok(estimate);
            }
        };
        let given: Vec<usize> = self.given(examples);
        let joint = ConfidentJoint::new(&given, &probabilities, self.task.labels.len());
        estimate.upper_share = joint.wrong_share();
        let (wrong, surest) = disagreement(&given, &probabilities);
        estimate.estimated_share = (surest > 0).then(|| wrong as f64 / surest as f64);
        estimate.interval = wilson(wrong, surest, CONFIDENCE);
        let mut suspects = joint.suspects;
        // By how far the likely label's probability lies above the given one's.
        let margin =
            |row: usize, likely: usize| probabilities[row][likely] - probabilities[row][given[row]];
        suspects.sort_by(|one, other| {
            margin(other.0, other.1)
                .total_cmp(&margin(one.0, one.1))
                .then(one.0.cmp(&other.0))
        });
        estimate.suspects = suspects
            .into_iter()
            .map(|(row, likely)| Suspect {
                id: examples[row].id.clone(),
                given: examples[row].answer.clone(),
                likely: self.task.labels[likely].clone(),
                probability: probabilities[row][given[row]],
                likely_probability: probabilities[row][likely],
                text: texts[row].chars().take(SHOWN_CHARACTERS).collect(),
            })
            .collect();
        estimate.measured = measured(examples, rows, &estimate.suspects);
        Ok(estimate)
    }

    /// Index of each example's label.
    fn given(&self, examples: &[Example]) -> Vec<usize> {
        let index: HashMap<&str, usize> = self
            .task
            .labels
            .iter()
            .enumerate()
            .map(|(index, label)| (label.as_str(), index))
            .collect();
        examples
            .iter()
            .map(|example| index.get(example.answer.as_str()).copied().unwrap_or(0))
            .collect()
    }

    /// Of each example the probability of every label, by a student that did not learn from it; or
    /// why there is no such student.
    fn probabilities(
        &self,
        texts: &[String],
        examples: &[Example],
    ) -> Result<Vec<Vec<f64>>, String> {
        let fold_of = folds(examples, self.seed);
        let config = LinearConfig {
            costs: vec![COST],
            seed: self.seed,
            ..LinearConfig::default()
        };
        let answered = (0..FOLDS)
            .into_par_iter()
            .map(|fold| {
                let learnt: Vec<(String, String)> = (0..examples.len())
                    .filter(|row| fold_of[*row] != fold)
                    .map(|row| (texts[row].clone(), examples[row].answer.clone()))
                    .collect();
                let (student, _) = train_linear(&learnt, &self.task.labels, &config)
                    .map_err(|error| format!("the linear student cannot be trained: {error}"))?;
                let sharpness = student.settings().sharpness;
                Ok((0..examples.len())
                    .filter(|row| fold_of[*row] == fold)
                    .map(|row| (row, softmax(&student.scores(&texts[row]), sharpness)))
                    .collect::<Vec<_>>())
            })
            .collect::<Result<Vec<_>, String>>()?;
        let mut probabilities = vec![Vec::new(); examples.len()];
        for (row, values) in answered.into_iter().flatten() {
            probabilities[row] = values;
        }
        Ok(probabilities)
    }
}

impl NoiseEstimate {
    /// How it was found and within what, in one sentence.
    pub(crate) fn told(&self) -> String {
        let percent = |share: f64| format!("{:.1}%", share * 100.0);
        let mut told = vec![match &self.reason {
            Some(reason) => format!("not estimated: {reason}"),
            None => self.method.clone(),
        }];
        told.extend(self.interval.iter().map(|interval| {
            format!(
                "interval {} to {}, if errors fall on all texts alike",
                percent(interval.low),
                percent(interval.high)
            )
        }));
        told.extend(self.upper_share.map(|upper| {
            format!(
                "confident learning over all of them says {}, the student's own errors included",
                percent(upper)
            )
        }));
        told.extend(self.measured.iter().map(|measured| {
            format!(
                "measured against the human labels: {} of {} are wrong ({}), {} of the {} suspects",
                measured.wrong,
                measured.n,
                percent(measured.wrong as f64 / measured.n as f64),
                measured.suspects_wrong,
                measured.suspects
            )
        }));
        told.join("; ")
    }
}

fn softmax(scores: &[f32], sharpness: f64) -> Vec<f64> {
    let scaled: Vec<f64> = scores
        .iter()
        .map(|score| f64::from(*score) * sharpness)
        .collect();
    let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let raised: Vec<f64> = scaled.iter().map(|score| (score - largest).exp()).collect();
    let total: f64 = raised.iter().sum();
    raised.into_iter().map(|value| value / total).collect()
}

/// The part of each example, dealt label by label so that each part has its share of each.
fn folds(examples: &[Example], seed: u64) -> Vec<usize> {
    let mut by_label: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, example) in examples.iter().enumerate() {
        by_label.entry(&example.answer).or_default().push(row);
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut fold_of = vec![0; examples.len()];
    let mut dealt = 0;
    for mut rows in by_label.into_values() {
        rows.shuffle(&mut random);
        for row in rows {
            fold_of[row] = dealt % FOLDS;
            dealt += 1;
        }
    }
    fold_of
}

/// Of the surest rows, how many have another label than the likeliest; and how many there are.
fn disagreement(given: &[usize], probabilities: &[Vec<f64>]) -> (usize, usize) {
    let mut answers: Vec<(f64, bool)> = given
        .iter()
        .zip(probabilities)
        .map(|(given, row)| {
            let surest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (surest, row[*given] < surest)
        })
        .collect();
    // Rows of equal certainty, those that disagree first: no luck of the file's order.
    answers.sort_by(|one, other| other.0.total_cmp(&one.0).then(other.1.cmp(&one.1)));
    answers.truncate((answers.len() as f64 * SUREST).round() as usize);
    let wrong = answers.iter().filter(|(_, differs)| *differs).count();
    (wrong, answers.len())
}

/// Counts of rows by given label and by the label that they are confidently taken for.
struct ConfidentJoint {
    counts: Vec<Vec<usize>>,
    /// Rows of each given label, confident or not.
    given: Vec<usize>,
    /// Rows off the diagonal and the label that each is taken for.
    suspects: Vec<(usize, usize)>,
}

impl ConfidentJoint {
    fn new(given: &[usize], probabilities: &[Vec<f64>], labels: usize) -> Self {
        let mut rows_of = vec![0usize; labels];
        let mut sums = vec![0.0; labels];
        for (label, row) in given.iter().zip(probabilities) {
            rows_of[*label] += 1;
            sums[*label] += row[*label];
        }
        // A label without rows is never confidently anything.
        let thresholds: Vec<f64> = sums
            .iter()
            .zip(&rows_of)
            .map(|(sum, rows)| {
                if *rows == 0 {
                    f64::INFINITY
                } else {
                    sum / *rows as f64
                }
            })
            .collect();
        let mut counts = vec![vec![0; labels]; labels];
        let mut suspects = Vec::new();
        for (row, (label, values)) in given.iter().zip(probabilities).enumerate() {
            let taken_for = (0..labels)
                .filter(|other| values[*other] >= thresholds[*other])
                .max_by(|one, other| values[*one].total_cmp(&values[*other]).then(other.cmp(one)));
            let Some(taken_for) = taken_for else { continue };
            counts[*label][taken_for] += 1;
            if taken_for != *label {
                suspects.push((row, taken_for));
            }
        }
        Self {
            counts,
            given: rows_of,
            suspects,
        }
    }

    /// The share of rows off the diagonal, after each label's counts are scaled to its rows.
    fn wrong_share(&self) -> Option<f64> {
        let n: usize = self.given.iter().sum();
        let wrong: f64 = self
            .counts
            .iter()
            .zip(&self.given)
            .enumerate()
            .map(|(label, (counts, given))| {
                let confident: usize = counts.iter().sum();
                if confident == 0 {
                    return 0.0;
                }
                (confident - counts[label]) as f64 / confident as f64 * *given as f64
            })
            .sum();
        (n > 0).then(|| wrong / n as f64)
    }
}

/// How the labels and the suspects stand against the human labels. `None` without any.
fn measured(examples: &[Example], rows: &[Row], suspects: &[Suspect]) -> Option<Measured> {
    let gold: HashMap<&str, &str> = rows
        .iter()
        .filter_map(|row| Some((row.id.as_str(), row.gold.as_deref()?)))
        .collect();
    let wrong: HashMap<&str, bool> = examples
        .iter()
        .filter_map(|example| {
            let gold = gold.get(example.id.as_str())?;
            Some((example.id.as_str(), *gold != example.answer))
        })
        .collect();
    if wrong.is_empty() {
        return None;
    }
    let suspected = || suspects.iter().filter_map(|row| wrong.get(row.id.as_str()));
    let count = wrong.values().filter(|wrong| **wrong).count();
    Some(Measured {
        n: wrong.len(),
        wrong: count,
        interval: wilson(count, wrong.len(), CONFIDENCE),
        suspects: suspected().count(),
        suspects_wrong: suspected().filter(|wrong| **wrong).count(),
    })
}
