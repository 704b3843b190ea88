//! `cascade`: from which confidence on a student may answer itself, chosen on rows that neither
//! trained it nor judge it.
//!
//! The raw confidence is the natural-log probability that the student gives to its whole answer: for
//! the linear student that of the label, for a decoder the sum over the answer's tokens, stop token
//! included. Of what a decoder's token probabilities offer it ranks its errors about best, and costs
//! nothing: the area under the ROC curve was 0.73, 0.79 and 0.77 for labels (three draws of the
//! embedded set), where the least margin between a token and the second likeliest had 0.71, 0.76 and
//! 0.77, and renormalising over all labels, at the price of scoring each of them, 0.73, 0.79 and 0.78;
//! for JSON objects (700 rows of `restaurant8k`) 0.92, where the mean log-probability had 0.86 and
//! the least margin 0.90. `tests/ranking.rs` measures it again.

use std::collections::HashMap;

use distill_chat::{Task, TaskDefinition};
use distill_eval::{
    Sample, Score, Scorer,
    cascade::{Calibration, THRESHOLDS, Threshold, choose_threshold},
    stats::clopper_pearson_upper,
};
use distill_runner::StepFailure;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    evaluate::Answerer,
    rows::{Example, Row},
};

#[cfg(test)]
mod tests;

/// What the raw confidence is, for the report.
const CONFIDENCE_IS: &str = "natural-log probability of the whole answer";
/// Rows answered at once.
const PART_ROWS: usize = 256;
/// Most calibration rows that a plan reaches for.
const MOST_ROWS: usize = 1 << 20;

/// The step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cascade {
    /// The student's name.
    pub student: String,
    pub task: TaskDefinition,
    /// What says whether an answer is right: 1 is right, less is wrong.
    pub metric: String,
    pub metric_settings: Map<String, Value>,
    /// Greatest share of wrong answers among those that the student gives itself.
    pub risk: f64,
    /// That this share is not exceeded.
    pub confidence: f64,
    /// Whether people labelled the examples; else the teacher did.
    pub human_labels: bool,
}

/// Who said what is right on the calibration rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CalibratedBy {
    /// People, on every row.
    Human,
    /// The teacher, on some or all rows: there it is agreement that is calibrated.
    Teacher,
}

/// What was chosen: `cascade.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CascadeChoice {
    pub student: String,
    pub confidence_is: String,
    /// Rows with an answer and a reference.
    pub calibration_rows: usize,
    /// Of them, rows that the student answered right.
    pub right: usize,
    pub reference: CalibratedBy,
    pub risk: f64,
    pub confidence: f64,
    pub calibration: Option<Calibration>,
    /// `None`: no threshold keeps the risk.
    pub threshold: Option<Threshold>,
    /// Calibration rows at which one would, if the student kept the error rates that it has; `None`
    /// where there is a threshold, or where no number of rows would do.
    pub needed_rows: Option<usize>,
    /// What was found, in one sentence.
    pub statement: String,
}

impl Cascade {
    pub fn settings(&self) -> Value {
        json!({
            "task": self.task,
            "metric": self.metric,
            "metric_settings": self.metric_settings,
            "risk": self.risk,
            "confidence": self.confidence,
            "human_labels": self.human_labels,
        })
    }

    /// Lets the student answer the calibration examples and chooses. `rows` carry human answers,
    /// where there are any; they come before the examples' own.
    ///
    /// # Errors
    /// A [`StepFailure`] of the student, or of the metric.
    pub(crate) fn choose(
        &self,
        student: &dyn Answerer,
        examples: &[Example],
        rows: &[Row],
    ) -> Result<CascadeChoice, StepFailure> {
        let answered = self.answered(student, examples, rows)?;
        let rated: Vec<(f64, bool)> = answered
            .iter()
            .map(|row| (row.confidence, row.right))
            .collect();
        let by_people = answered.iter().all(|row| row.human);
        let reference = if by_people && !answered.is_empty() {
            CalibratedBy::Human
        } else {
            CalibratedBy::Teacher
        };
        let threshold = choose_threshold(&rated, self.risk, self.confidence);
        let needed_rows = match threshold {
            Some(_) => None,
            None => needed_rows(&rated, self.risk, self.confidence),
        };
        let mut choice = CascadeChoice {
            student: self.student.clone(),
            confidence_is: CONFIDENCE_IS.to_owned(),
            calibration_rows: rated.len(),
            right: rated.iter().filter(|(_, right)| *right).count(),
            reference,
            risk: self.risk,
            confidence: self.confidence,
            calibration: Calibration::fit(&rated),
            threshold,
            needed_rows,
            statement: String::new(),
        };
        choice.statement = choice.told();
        Ok(choice)
    }

    fn answered(
        &self,
        student: &dyn Answerer,
        examples: &[Example],
        rows: &[Row],
    ) -> Result<Vec<Answered>, StepFailure> {
        let task = Task::new(self.task.clone())
            .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
        let scorer = Scorer::parse(&self.metric, &self.metric_settings).map_err(|error| {
            StepFailure::bad_input(format!("metric `{}` cannot be used", self.metric))
                .caused_by(error)
        })?;
        let gold: HashMap<&str, &str> = rows
            .iter()
            .filter_map(|row| Some((row.id.as_str(), row.gold.as_deref()?)))
            .collect();
        let asked: Vec<Row> = examples
            .iter()
            .map(|example| Row {
                id: example.id.clone(),
                fields: example.fields.clone(),
                gold: None,
            })
            .collect();
        let mut answered = Vec::with_capacity(examples.len());
        for (part, examples) in asked.chunks(PART_ROWS).zip(examples.chunks(PART_ROWS)) {
            for (example, reply) in examples.iter().zip(student.answer(part)?) {
                let human = gold.get(example.id.as_str()).copied();
                let expected = human.unwrap_or(&example.answer);
                let sample =
                    Sample::read(example.id.clone(), &task, Ok(&reply.text), Some(expected));
                // An answer that cannot be scored, or has no confidence, calibrates nothing.
                let (Some(Score::Value(value)), Some(confidence)) =
                    (scorer.score(&sample, &task), reply.logprob)
                else {
                    continue;
                };
                answered.push(Answered {
                    confidence,
                    right: value >= 1.0,
                    human: human.is_some() || self.human_labels,
                });
            }
        }
        Ok(answered)
    }
}

/// A calibration row with the student's answer to it.
struct Answered {
    confidence: f64,
    right: bool,
    /// Whether a person said what is right.
    human: bool,
}

impl CascadeChoice {
    fn told(&self) -> String {
        let percent = |share: f64| format!("{:.1}%", share * 100.0);
        let (student, n) = (&self.student, self.calibration_rows);
        let wrong = match self.reference {
            CalibratedBy::Human => "wrong",
            CalibratedBy::Teacher => "other than the teacher's",
        };
        let risk = percent(self.risk);
        match (&self.threshold, self.needed_rows) {
            (Some(threshold), _) => format!(
                "`{student}` answered {} of {n} calibration rows itself at the chosen threshold, {} of them {wrong}: at most {} with {} confidence, within the {risk} asked for",
                threshold.answered,
                threshold.wrong,
                percent(threshold.bound),
                percent(self.confidence),
            ),
            (None, Some(needed)) => format!(
                "no threshold keeps the answers of `{student}` that are {wrong} within {risk}: {n} calibration rows are too few, about {needed} would be needed (`data.calibration`)"
            ),
            (None, None) => format!(
                "no threshold keeps the answers of `{student}` that are {wrong} within {risk}: even where it is surest it errs more often, and more calibration rows would not change that"
            ),
        }
    }
}

/// The number of calibration rows at which a cut would pass that keeps the share of wrong answers
/// seen here, tested at an equal part of the error allowed; the smallest over all cuts. `None`
/// where no cut has a smaller share than `risk`.
fn needed_rows(rated: &[(f64, bool)], risk: f64, confidence: f64) -> Option<usize> {
    let mut sorted = rated.to_vec();
    sorted.sort_by(|one, other| other.0.total_cmp(&one.0).then(other.1.cmp(&one.1)));
    let n = sorted.len();
    let part = 1.0 - (1.0 - confidence) / THRESHOLDS as f64;
    let passes = |answered: usize, share_wrong: f64| {
        let wrong = (answered as f64 * share_wrong).ceil() as usize;
        clopper_pearson_upper(wrong, answered, part).is_some_and(|bound| bound <= risk)
    };
    let mut fewest: Option<usize> = None;
    let mut wrong = 0;
    for (index, (raw, right)) in sorted.iter().enumerate() {
        wrong += usize::from(!right);
        let answered = index + 1;
        let tied = sorted.get(answered).is_some_and(|(next, _)| next >= raw);
        let cut = answered * THRESHOLDS / n > index * THRESHOLDS / n;
        let share_wrong = wrong as f64 / answered as f64;
        if tied || !cut || share_wrong >= risk {
            continue;
        }
        let coverage = answered as f64 / n as f64;
        let mut needed = answered;
        while needed <= MOST_ROWS && !passes(needed, share_wrong) {
            needed += (needed / 50).max(1);
        }
        let rows = (needed as f64 / coverage).ceil() as usize;
        if needed <= MOST_ROWS && fewest.is_none_or(|fewest| rows < fewest) {
            fewest = Some(rows);
        }
    }
    fewest
}
