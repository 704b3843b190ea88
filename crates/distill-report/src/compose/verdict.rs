//! The verdict, its reason, and what to hold against it.

use distill_eval::Reference;

use super::{cell, headline, text};
use crate::{
    RunReport,
    document::{Block, Line, Section, Table},
    number,
};

pub(super) fn decision(report: &RunReport) -> Line {
    let verdict = &report.recommendation.verdict;
    let about = verdict
        .candidate
        .as_ref()
        .map(|candidate| format!(": {candidate}"))
        .unwrap_or_default();
    Line::marked(
        format!("{}{about}", verdict.decision),
        report.touched_by_simulation(),
    )
}

pub(super) fn banner(report: &RunReport) -> Option<String> {
    if !report.touched_by_simulation() {
        return None;
    }
    let touched = if report.simulated.is_empty() {
        "the numbers marked SIM".to_owned()
    } else {
        report.simulated.join(", ")
    };
    Some(format!(
        "SIMULATED: a simulated provider stood in for the teacher. It touched: {touched}. What follows shows that the pipeline works, not what a real teacher would do."
    ))
}

pub(super) fn section(report: &RunReport) -> Section {
    let recommendation = &report.recommendation;
    let simulated = report.touched_by_simulation();
    let mut blocks = vec![Block::Text(Line::marked(
        &recommendation.verdict.reason,
        simulated,
    ))];
    if recommendation.candidates.len() != 1 || recommendation.choice.is_none() {
        blocks.push(Block::Text(Line::marked(
            format!("Recommendation: {}", recommendation.reason),
            simulated,
        )));
    }
    if let Some(note) = &recommendation.floor_note {
        blocks.push(text(note));
    }
    blocks.push(text(gate(report)));
    if report.task.reference == Reference::TeacherLabels {
        blocks.push(text(
            "The eval rows carry only the teacher's own labels: every score below is agreement with the teacher, not accuracy.",
        ));
    }
    if recommendation.candidates.len() > 1 {
        blocks.push(Block::Table(candidates(report)));
        let others = recommendation
            .candidates
            .iter()
            .filter(|candidate| candidate.verdict != recommendation.verdict)
            .map(|candidate| Line::marked(&candidate.verdict.reason, simulated))
            .collect();
        blocks.push(Block::Items(others));
    }
    if !report.notes.is_empty() {
        blocks.push(Block::Items(report.notes.iter().map(cell).collect()));
    }
    headline(super::section("verdict", "Verdict", blocks))
}

/// One sentence on what was asked of the student.
fn gate(report: &RunReport) -> String {
    let accept = &report.accept;
    let mut limits = vec![format!(
        "at most {:.1} points worse than the teacher at {:.0}% confidence",
        accept.margin * 100.0,
        accept.confidence * 100.0
    )];
    if let Some(limit) = accept.max_p95_ms {
        limits.push(format!("p95 at most {} ms", number::milliseconds(limit)));
    }
    if let Some(limit) = accept.max_usd_per_1000 {
        limits.push(format!("at most {} per 1,000 answers", number::usd(limit)));
    }
    let planned = accept
        .required_rows
        .map(|rows| {
            let assumed = accept
                .assumed_discordance
                .map(|share| format!(" if the two differ on {}", number::percent(share)))
                .unwrap_or_default();
            format!(
                " Planned before the run: {} eval rows{assumed}; there are {}.",
                number::count(rows),
                number::count(report.task.eval_rows)
            )
        })
        .unwrap_or_default();
    format!("The gate: {}.{planned}", limits.join(", "))
}

fn candidates(report: &RunReport) -> Table {
    let mut table = Table::new(
        "Each candidate; p is that of being worse than the teacher by the margin or more",
        &["candidate", "verdict", ">p", ">p after Holm"],
    );
    let simulated = report.touched_by_simulation();
    for (place, candidate) in report.recommendation.candidates.iter().enumerate() {
        if Some(&candidate.name) == report.recommendation.choice.as_ref() {
            table.emphasised = Some(place);
        }
        let p = |p| Line::marked(number::or_missing(p, number::p_value), simulated);
        table.row(vec![
            cell(&candidate.name),
            Line::marked(candidate.verdict.decision.to_string(), simulated),
            p(candidate.p_noninferior),
            p(candidate.p_holm),
        ]);
    }
    table
}
