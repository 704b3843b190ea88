//! What the data step took out, and what may still be wrong with the rows.

use super::{cell, quoted, text};
use crate::{
    RunReport,
    document::{Block, Section, Table},
    number::{self, MISSING, or_missing},
};

/// Rows of a list that are shown at once; more are folded.
const SHOWN: usize = 5;
/// Shared texts that the page lists at all.
const SHOWN_SHARED: usize = 200;

pub(super) fn section(report: &RunReport) -> Section {
    let data = &report.data;
    let mut blocks = vec![text(counted(report))];
    if !data.removed.is_empty() {
        let mut table = Table::new("Removed from training", &["reason", ">rows"]);
        for removal in &data.removed {
            table.row(vec![
                cell(&removal.reason),
                cell(number::count(removal.rows)),
            ]);
        }
        blocks.push(Block::Table(table));
        let mut ids = Table::new(
            "The first rows removed for each reason",
            &["reason", "rows"],
        );
        for removal in data
            .removed
            .iter()
            .filter(|removal| !removal.ids.is_empty())
        {
            ids.row(vec![cell(&removal.reason), quoted(&removal.ids.join(", "))]);
        }
        if !ids.rows.is_empty() {
            blocks.push(Block::Fold {
                summary: "Which rows were removed".to_owned(),
                blocks: vec![Block::Table(ids)],
            });
        }
    }
    if !data.rules.is_empty() {
        blocks.push(Block::Items(data.rules.iter().map(cell).collect()));
    }
    blocks.extend(leaked(report));
    blocks.extend(shared_texts(report));
    blocks.extend(duplicates(report));
    blocks.extend(conflicts(report));
    super::section("data", "Data", blocks)
}

fn counted(report: &RunReport) -> String {
    let data = &report.data;
    let removed: usize = data.removed.iter().map(|removal| removal.rows).sum();
    let accounted = data.train_rows_used + data.validation_rows + data.calibration_rows + removed;
    let rest = match data.train_rows_read.saturating_sub(accounted) {
        0 => String::new(),
        rest => format!(
            " The other {} took no part: they lie beyond the limit or have no label.",
            number::count(rest)
        ),
    };
    let calibration = if data.calibration_rows > 0 {
        format!(", {} to calibrate", number::count(data.calibration_rows))
    } else {
        String::new()
    };
    format!(
        "Of {} training rows {} were used to train, {} to select{calibration}; {} were removed.{rest} {} rows were scored.",
        number::count(data.train_rows_read),
        number::count(data.train_rows_used),
        number::count(data.validation_rows),
        number::count(removed),
        number::count(report.task.eval_rows)
    )
}

/// A table, folded where it is long.
fn listed(table: Table) -> Block {
    if table.rows.len() > SHOWN {
        Block::Fold {
            summary: format!("{} ({})", table.caption, number::count(table.rows.len())),
            blocks: vec![Block::Table(table)],
        }
    } else {
        Block::Table(table)
    }
}

fn leaked(report: &RunReport) -> Vec<Block> {
    let leaked = &report.data.leaked;
    if leaked.is_empty() && report.data.train_rows_read == 0 {
        return Vec::new();
    }
    if leaked.is_empty() {
        return vec![text("No training row was found among the eval rows.")];
    }
    let mut table = Table::new(
        "Training rows that also stand among the eval rows",
        &["training row", "eval row", "how", "text"],
    );
    for row in leaked {
        table.row(vec![
            cell(&row.train_id),
            cell(&row.eval_id),
            cell(&row.how),
            quoted(&row.text),
        ]);
    }
    vec![
        text(format!(
            "Training rows that also stand among the eval rows, and so did not train: {} listed.",
            number::count(leaked.len())
        )),
        listed(table),
    ]
}

/// Texts that stand on both sides, kept ones too: whether removal was right is for the reader to see.
fn shared_texts(report: &RunReport) -> Vec<Block> {
    let shared = &report.data.shared_texts;
    if shared.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(
        "Eval rows whose text stands in the training rows too",
        &[
            "eval row",
            "text",
            "context",
            "how",
            ">training rows removed",
            ">kept",
        ],
    );
    for row in shared.iter().take(SHOWN_SHARED) {
        table.row(vec![
            cell(&row.eval_id),
            quoted(&row.text),
            quoted(&row.context),
            cell(&row.how),
            cell(number::count(row.removed)),
            cell(number::count(row.kept)),
        ]);
    }
    let removed = shared.iter().filter(|row| row.removed > 0).count();
    let more = match shared.len().saturating_sub(SHOWN_SHARED) {
        0 => "",
        _ => " The first ones are shown; `data/shared_texts.jsonl` beside this report has all.",
    };
    vec![
        text(format!(
            "{} in the training rows too, whatever stands around it there. For {} of them training rows asked the same and were removed; where the context is another one, they ask something else and were kept.{more}",
            number::several(
                shared.len(),
                "eval row has a text that stands",
                "eval rows have a text that stands"
            ),
            number::count(removed)
        )),
        listed(table),
    ]
}

fn duplicates(report: &RunReport) -> Vec<Block> {
    let duplicates = &report.eval_duplicates;
    if duplicates.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(
        "Eval rows that repeat another eval row",
        &["row", "repeats", "how", "text"],
    );
    for row in duplicates {
        table.row(vec![
            cell(&row.id),
            cell(&row.of),
            cell(&row.how),
            quoted(&row.text),
        ]);
    }
    vec![
        text(format!(
            "{} another one. They were scored like all others; intervals count them as if they were independent unless rows are grouped.",
            number::several(duplicates.len(), "eval row repeats", "eval rows repeat")
        )),
        listed(table),
    ]
}

fn conflicts(report: &RunReport) -> Vec<Block> {
    let conflicts = &report.label_conflicts;
    if conflicts.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(
        "Texts with more than one label",
        &["text", "labels", "rows"],
    );
    for conflict in conflicts {
        table.row(vec![
            quoted(&conflict.text),
            quoted(&conflict.labels.join(", ")),
            quoted(&conflict.ids.join(", ")),
        ]);
    }
    vec![
        text(format!(
            "{} in the data with more than one label: one of the labels is wrong, or the text does not say enough.",
            number::several(conflicts.len(), "text stands", "texts stand")
        )),
        listed(table),
    ]
}

pub(super) fn label_noise(report: &RunReport) -> Option<Section> {
    let noise = report.label_noise.as_ref()?;
    let mark = |text: String| crate::document::Line::marked(text, noise.simulated);
    let suspected = noise.suspected.max(noise.suspects.len());
    let mut blocks = vec![Block::Text(mark(if noise.n == 0 {
        format!("No label was looked at (n = 0): estimated share of wrong labels {MISSING}.")
    } else {
        let share = match (noise.estimated_share, noise.upper_share) {
            (Some(low), Some(high)) if low < high => format!(
                "between {} and {}",
                number::percent(low),
                number::percent(high)
            ),
            (share, _) => or_missing(share, number::percent),
        };
        format!(
            "Of {} labels {} look wrong; the estimated share of wrong labels is {share}.",
            number::count(noise.n),
            number::count(suspected),
        )
    }))];
    if !noise.method.is_empty() {
        blocks.push(text(format!(
            "How: {}.",
            noise.method.trim_end_matches('.')
        )));
    }
    if !noise.suspects.is_empty() {
        let mut table = Table::new(
            "Labels worth a look, the likeliest first",
            &[
                "row",
                "text",
                "label given",
                "likelier",
                ">probability of the given one",
            ],
        );
        for suspect in &noise.suspects {
            table.row(vec![
                cell(&suspect.id),
                quoted(&suspect.text),
                quoted(&suspect.given),
                quoted(&suspect.likely),
                cell(number::percent(suspect.probability)),
            ]);
        }
        blocks.push(listed(table));
    }
    Some(super::section(
        "label-noise",
        "Labels that look wrong",
        blocks,
    ))
}
