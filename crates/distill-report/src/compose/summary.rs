//! What a pull request's readers need of a report, and no more.

use super::{cell, gates, headline, models, verdict};
use crate::{
    RunReport,
    document::{Block, Document, Line, Section, Table},
    number,
};

/// Rows of each table; what is beyond is in the report.
const ROWS: usize = 12;

/// The short form: verdict, gate, models, differences from the teacher, cost.
pub(crate) fn summary(report: &RunReport) -> Document {
    let mut sections = vec![gate(report)];
    if let Some(mut section) = models::side_by_side(report) {
        section
            .blocks
            .retain(|block| matches!(block, Block::Table(_)));
        sections.push(section);
    }
    sections.extend(differences(report));
    sections.extend(price(report));
    for section in &mut sections {
        for block in &mut section.blocks {
            if let Block::Table(table) = block {
                cut(table);
            }
        }
    }
    Document {
        sections,
        ..verdict::head(report)
    }
}

fn gate(report: &RunReport) -> Section {
    let simulated = report.touched_by_simulation();
    let items = gates(report)
        .iter()
        .map(|gate| Line::marked(gate.sentence(), simulated))
        .collect();
    headline(super::section("gate", "Gate", vec![Block::Items(items)]))
}

fn differences(report: &RunReport) -> Option<Section> {
    let mut table = verdict::candidates(report);
    if table.rows.is_empty() {
        return None;
    }
    table.caption = format!(
        "Each candidate minus the teacher, in points, {:.0}% paired intervals",
        report.task.confidence * 100.0
    );
    Some(super::section(
        "differences",
        "Differences from the teacher",
        vec![Block::Table(table)],
    ))
}

fn price(report: &RunReport) -> Option<Section> {
    let mut items = Vec::new();
    if let Some(spend) = &report.spend {
        items.push(Line::marked(
            format!(
                "This run paid {} to models.",
                number::usd(spend.settled_usd)
            ),
            spend.simulated,
        ));
    }
    items.extend(verdict::pays(report));
    (!items.is_empty()).then(|| super::section("cost", "Cost", vec![Block::Items(items)]))
}

fn cut(table: &mut Table) {
    let rest = table.rows.len().saturating_sub(ROWS);
    if rest > 0 {
        // The row that the verdict is about stays, wherever it stands.
        let kept = table
            .emphasised
            .filter(|place| *place >= ROWS)
            .map(|place| table.rows.remove(place));
        table.rows.truncate(ROWS - usize::from(kept.is_some()));
        if let Some(kept) = kept {
            table.emphasised = Some(table.rows.len());
            table.rows.push(kept);
        }
        let mut more = vec![cell(format!("{rest} more in the report"))];
        more.resize(table.columns.len(), cell(""));
        table.rows.push(more);
    }
}
