//! What the data steps did, for the report.

use std::collections::HashSet;

use distill_report::{DataFacts, EvalDuplicate, LabelConflict, LeakedRow, SharedText};

use super::Inputs;
use crate::{
    curate::{Curation, Removal, RemovedRow},
    rows::Example,
    write_report::Additions,
};

/// Ids that the report lists per reason of removal.
const SHOWN_IDS: usize = 20;

/// The examples as the split parted them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Parts {
    pub train: usize,
    pub validation: usize,
    pub calibration: usize,
    /// Those that nothing but the split took out: they repeat one set apart for calibration.
    pub left_out: Vec<String>,
}

impl Parts {
    /// `all` are the examples that were parted.
    pub(crate) fn new(
        all: &[Example],
        train: &[Example],
        validation: &[Example],
        calibration: &[Example],
    ) -> Self {
        let used: HashSet<&str> = [train, validation, calibration]
            .into_iter()
            .flatten()
            .map(|example| example.id.as_str())
            .collect();
        let left_out = all
            .iter()
            .map(|example| example.id.as_str())
            .filter(|id| !used.contains(id))
            .map(str::to_owned)
            .collect();
        Self {
            train: train.len(),
            validation: validation.len(),
            calibration: calibration.len(),
            left_out,
        }
    }
}

pub(super) fn data_facts(inputs: &Inputs) -> DataFacts {
    let curation = &inputs.curation;
    let rows = |reason| {
        let rows = curation.removed_rows.iter();
        rows.filter(move |row| row.reason == reason)
    };
    let mut removed: Vec<distill_report::Removal> = curation
        .removed
        .iter()
        .map(|(reason, count)| distill_report::Removal {
            reason: reason.text().to_owned(),
            rows: *count,
            ids: rows(*reason)
                .take(SHOWN_IDS)
                .map(|row| row.id.clone())
                .collect(),
        })
        .collect();
    let parts = inputs.parts.clone().unwrap_or_else(|| Parts {
        train: curation.kept,
        ..Parts::default()
    });
    if !parts.left_out.is_empty() {
        removed.push(distill_report::Removal {
            reason: "repeats a row set apart for calibration".to_owned(),
            rows: parts.left_out.len(),
            ids: parts.left_out.iter().take(SHOWN_IDS).cloned().collect(),
        });
    }
    DataFacts {
        train_rows_read: curation.rows,
        train_rows_used: parts.train,
        validation_rows: parts.validation,
        calibration_rows: parts.calibration,
        removed,
        leaked: rows(Removal::Leaked).map(leaked).collect(),
        rules: rules(curation),
        shared_texts: curation
            .shared_texts
            .iter()
            .map(|shared| SharedText {
                eval_id: shared.eval_id.clone(),
                text: shared.text.clone(),
                context: shared.context.clone(),
                how: shared.how.clone(),
                removed: shared.removed.rows,
                kept: shared.kept.rows,
                why: shared.why.clone(),
            })
            .collect(),
    }
}

fn leaked(row: &RemovedRow) -> LeakedRow {
    LeakedRow {
        train_id: row.id.clone(),
        eval_id: row.repeats.clone().unwrap_or_default(),
        text: row.text.clone(),
        how: row.detail.clone().unwrap_or_default(),
    }
}

fn rules(curation: &Curation) -> Vec<String> {
    let mut rules: Vec<String> = (!curation.rule.is_empty())
        .then(|| curation.rule.clone())
        .into_iter()
        .collect();
    rules.push(format!(
        "{} training rows are near duplicates of another one with the same answer, {} of one with another answer; they were kept",
        curation.near_duplicates_kept,
        curation.near_conflicts.len()
    ));
    rules.push(
        "every removed row, shared text, repeat and conflict is listed in `data/` beside this report"
            .to_owned(),
    );
    rules
}

/// What other steps found for the report, with what curation found in both sets and kept.
pub(super) fn additions(inputs: &Inputs) -> Additions {
    let curation = &inputs.curation;
    let mut additions = inputs.additions.clone();
    let duplicates = curation.eval_duplicates.iter();
    additions
        .eval_duplicates
        .extend(duplicates.map(|row| EvalDuplicate {
            id: row.id.clone(),
            of: row.of.clone(),
            text: row.text.clone(),
            how: match &row.answers {
                None => row.how.clone(),
                Some((this, earlier)) => {
                    format!(
                        "{}, but the answers differ: `{this}` and `{earlier}`",
                        row.how
                    )
                }
            },
        }));
    additions.label_conflicts.extend(conflicts(curation));
    additions
}

/// Training texts with two labels, removed ones and kept ones.
fn conflicts(curation: &Curation) -> Vec<LabelConflict> {
    let removed = curation
        .removed_rows
        .iter()
        .filter(|row| row.reason == Removal::Conflict)
        .map(|row| LabelConflict {
            text: row.text.clone(),
            ids: [Some(row.id.clone()), row.repeats.clone()]
                .into_iter()
                .flatten()
                .collect(),
            labels: row.detail.clone().into_iter().collect(),
        });
    let kept = curation.near_conflicts.iter().map(|row| LabelConflict {
        text: row.text.clone(),
        ids: vec![row.id.clone(), row.of.clone()],
        labels: row
            .answers
            .clone()
            .map(|(this, earlier)| vec![this, earlier])
            .unwrap_or_default(),
    });
    removed.chain(kept).collect()
}
