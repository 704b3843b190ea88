//! Human verdicts on judged answers, from the user's calibration file.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use distill_eval::judge::JudgeMode;
use distill_runner::StepFailure;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::JudgedArm;
use crate::{
    dataset::{Format, Record, read_table},
    ingest::as_failure,
};

/// What a person said of one arm's answer to one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HumanVerdict {
    pub arm: String,
    pub id: String,
    /// 0 to 1, on the judge's scale.
    pub score: f64,
}

/// Reads a calibration file: CSV with the columns `id` and `verdict`, and with `arm` (whose answer
/// it is about) or `answer` (the text itself, of whichever arm) or both. A verdict on a text that
/// the arm does not say any more is no verdict on what it says now: it is left out and counted.
///
/// # Errors
/// A [`StepFailure`] with file and line at the first thing that is wrong.
pub fn read_verdicts(
    path: &Path,
    mode: JudgeMode,
    arms: &[JudgedArm],
    ids: &BTreeSet<&str>,
) -> Result<(Vec<HumanVerdict>, usize), StepFailure> {
    let table = read_table(path, Format::Csv).map_err(as_failure)?;
    for column in ["id", "verdict"] {
        if !table.columns.iter().any(|name| name == column) {
            return Err(
                wrong(path, Some(1), format!("there is no column `{column}`")).hint(
                    "a calibration file has the columns `id`, `verdict`, and `arm` or `answer`",
                ),
            );
        }
    }
    let mut verdicts = BTreeMap::new();
    let mut stale = 0;
    for record in &table.records {
        let line = record.line;
        let (id, said) = (text(record, "id"), text(record, "verdict"));
        if said.is_empty() {
            // A line that nobody has filled in.
            continue;
        }
        if !ids.contains(id) {
            return Err(wrong(
                path,
                line,
                format!("row `{id}` is not one of the test rows"),
            )
            .hint("`id` is the id that the report and the samples show"));
        }
        let score = mode.read_verdict(said).ok_or_else(|| {
            wrong(
                path,
                line,
                format!("the verdict `{said}` is not {}", mode.verdicts()),
            )
        })?;
        let about = named(path, record, arms)?;
        let answer = text(record, "answer");
        let mut met = false;
        for arm in about {
            let says = arm.answers.get(id).and_then(|answer| answer.as_ref().ok());
            if !answer.is_empty() && says.map(|text| text.trim()) != Some(answer.trim()) {
                continue;
            }
            met = true;
            if verdicts
                .insert((arm.name.clone(), id.to_owned()), score)
                .is_some_and(|earlier| earlier.to_bits() != score.to_bits())
            {
                return Err(wrong(
                    path,
                    line,
                    format!("row `{id}` has two different verdicts on `{}`", arm.name),
                ));
            }
        }
        stale += usize::from(!met);
    }
    let verdicts = verdicts
        .into_iter()
        .map(|((arm, id), score)| HumanVerdict { arm, id, score })
        .collect();
    Ok((verdicts, stale))
}

/// The arms that a line is about.
fn named<'a>(
    path: &Path,
    record: &Record,
    arms: &'a [JudgedArm],
) -> Result<Vec<&'a JudgedArm>, StepFailure> {
    let names = || {
        let names: Vec<&str> = arms.iter().map(|arm| arm.name.as_str()).collect();
        names.join(", ")
    };
    match (text(record, "arm"), text(record, "answer")) {
        ("", "") if arms.len() == 1 => Ok(arms.iter().collect()),
        ("", "") => Err(wrong(
            path,
            record.line,
            "the line does not say whose answer the verdict is about".to_owned(),
        )
        .hint(format!(
            "add the column `arm` ({}), or `answer` with the text",
            names()
        ))),
        ("", _) => Ok(arms.iter().collect()),
        (name, _) => match arms.iter().find(|arm| arm.name == name) {
            Some(arm) => Ok(vec![arm]),
            None => Err(
                wrong(path, record.line, format!("there is no arm `{name}`"))
                    .hint(format!("the judged arms are {}", names())),
            ),
        },
    }
}

fn text<'a>(record: &'a Record, column: &str) -> &'a str {
    record
        .fields
        .get(column)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .trim()
}

fn wrong(path: &Path, line: Option<u64>, problem: String) -> StepFailure {
    let place = line.map_or_else(String::new, |line| format!(", line {line}"));
    StepFailure::bad_input(format!("{}{place}: {problem}", path.display())).at(path, line)
}
