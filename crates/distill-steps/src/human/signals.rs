//! What a run says about its test rows: where its arms differ, and where somebody was in doubt.

use std::collections::{BTreeMap, BTreeSet};

use distill_chat::Task;
use distill_pipeline::record::RunView;
use distill_runner::{Home, StepFailure};

use super::Stratum;
use crate::{
    compile::JUDGE_STEP,
    judge::JudgedRow,
    rows::{AnswerRow, Prediction, read_lines},
};

/// Share of a student's answers, the least sure ones, that count as doubtful.
const DOUBTFUL_SHARE: f64 = 0.25;

/// What is known of the rows before a person saw them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Signals {
    pub differ: BTreeSet<String>,
    pub doubt: BTreeSet<String>,
    /// Answers by row id and arm, to be shown only to those who ask for them.
    pub answers: BTreeMap<String, BTreeMap<String, String>>,
}

impl Signals {
    pub(super) fn stratum(&self, id: &str) -> Stratum {
        if self.differ.contains(id) {
            Stratum::Differ
        } else if self.doubt.contains(id) {
            Stratum::Doubt
        } else {
            Stratum::Rest
        }
    }

    /// Notes one arm's answers.
    fn note(&mut self, arm: &str, answers: &BTreeMap<String, String>) {
        for (id, answer) in answers {
            let of_row = self.answers.entry(id.clone()).or_default();
            of_row.insert(arm.to_owned(), answer.clone());
        }
    }
}

/// Reads the answers of a run's students, its cheaper models and its teacher. A run without a
/// teacher says nothing of differences.
///
/// # Errors
/// A [`StepFailure`] when an artifact of the run cannot be read.
pub fn signals(home: &Home, view: &RunView, task: &Task) -> Result<Signals, StepFailure> {
    let mut signals = Signals::default();
    let artifact = |step: &str, port: &str| {
        let found = view.steps.iter().find(|found| found.name == step)?;
        Some(home.artifact(&found.outputs.get(port)?.hash))
    };
    let canonical = |reply: &str| {
        task.parse_reply(reply)
            .map_or_else(|_| reply.trim().to_owned(), |answer| answer.to_text())
    };
    let hosted = |path: &std::path::Path| -> Result<BTreeMap<String, String>, StepFailure> {
        let rows: Vec<AnswerRow> = read_lines(path)?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let said = row.answer.or(row.reply).unwrap_or_default();
                (row.id, canonical(&said))
            })
            .collect())
    };
    let teacher = match artifact("evaluate:teacher", "answers") {
        Some(path) => hosted(&path)?,
        None => BTreeMap::new(),
    };
    signals.note("teacher", &teacher);
    for step in &view.steps {
        let Some(arm) = step.name.strip_prefix("evaluate:") else {
            continue;
        };
        let answers = if let Some(path) = artifact(&step.name, "answers") {
            if arm == "teacher" {
                continue;
            }
            hosted(&path)?
        } else if is_student(view, arm)
            && let Some(path) = artifact(&step.name, "predictions")
        {
            let rows: Vec<Prediction> = read_lines(&path)?;
            signals.doubt.extend(least_sure(&rows));
            rows.into_iter()
                .map(|row| {
                    let said = row.reply.unwrap_or_default();
                    (row.id, canonical(&said))
                })
                .collect()
        } else {
            continue;
        };
        for (id, answer) in &teacher {
            if answers.get(id).is_some_and(|mine| mine != answer) {
                signals.differ.insert(id.clone());
            }
        }
        signals.note(arm, &answers);
    }
    if let Some(path) = artifact(JUDGE_STEP, "judged") {
        let judged: Vec<JudgedRow> = read_lines(&path)?;
        // Equal texts are a tie that nobody had to judge.
        let ties = judged
            .into_iter()
            .filter(|row| row.tie.is_some() && !row.judged.is_empty());
        signals.doubt.extend(ties.map(|row| row.id));
    }
    Ok(signals)
}

/// Students are trained and measured; controls are no candidates.
fn is_student(view: &RunView, arm: &str) -> bool {
    let measured = format!("measure:{arm}");
    view.steps.iter().any(|step| step.name == measured)
}

fn least_sure(rows: &[Prediction]) -> Vec<String> {
    let mut sure: Vec<(f64, &str)> = rows
        .iter()
        .filter_map(|row| Some((row.logprob?, row.id.as_str())))
        .collect();
    sure.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(other.1)));
    let count = (DOUBTFUL_SHARE * sure.len() as f64) as usize;
    sure[..count]
        .iter()
        .map(|(_, id)| (*id).to_owned())
        .collect()
}
