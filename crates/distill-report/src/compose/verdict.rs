//! The verdict, its reason, and what to hold against it.

use distill_eval::{Decision, Reference};

use super::{cell, cost, from, gates, headline, metric_name, score, text};
use crate::{
    Arm, RunReport,
    document::{Align, Block, Column, Document, Line, Section, Table},
    number::{self, MISSING, or_missing},
};

/// All but the sections.
pub(super) fn head(report: &RunReport) -> Document {
    let simulated = report.touched_by_simulation();
    Document {
        title: format!("Report of {}", report.name),
        decision: decision(report),
        meaning: Line::new(meaning(report)),
        reason: Line::marked(&report.recommendation.verdict.reason, simulated),
        scope: Line::new(scope(report)),
        next: next(report),
        banner: banner(report),
        sections: Vec::new(),
    }
}

/// What leads on from here, where a command does.
fn next(report: &RunReport) -> Option<(String, String)> {
    let lineage = &report.lineage;
    if let Some(command) = &lineage.next_command {
        return Some((String::new(), command.clone()));
    }
    let again = |with: String| {
        let command = &lineage.rerun_command;
        (!command.is_empty()).then(|| (with, command.clone()))
    };
    if !report.task.reference.can_replace() && !lineage.run_id.is_empty() {
        return Some((
            "for labels by people".to_owned(),
            format!("distill eval label {}", lineage.run_id),
        ));
    }
    match report.recommendation.verdict.decision {
        Decision::MoreData { train_rows } => again(format!(
            "with about {} training rows",
            number::count(train_rows)
        )),
        Decision::Undecided {
            eval_rows: Some(rows),
        } => again(format!("with about {} eval rows", number::count(rows))),
        _ => None,
    }
}

fn decision(report: &RunReport) -> Line {
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

fn meaning(report: &RunReport) -> String {
    let verdict = &report.recommendation.verdict;
    let name = verdict.candidate.as_deref().unwrap_or("no candidate");
    match &verdict.decision {
        Decision::Replace => format!("{name} may take over from the teacher."),
        Decision::Cascade { deferred } => format!(
            "{name} may answer where the student is sure; the teacher keeps {} of the requests.",
            number::percent(*deferred)
        ),
        Decision::CheaperApi => {
            format!("{name}, a cheaper hosted model, may take over from the teacher.")
        }
        Decision::KeepTeacher => "Keep the teacher.".to_owned(),
        Decision::MoreData { train_rows } => format!(
            "Keep the teacher for now; {name} may do with about {} training rows.",
            number::count(*train_rows)
        ),
        Decision::Undecided {
            eval_rows: Some(rows),
        } => format!(
            "Keep the teacher for now: these rows do not settle it, about {} eval rows would.",
            number::count(*rows)
        ),
        Decision::Undecided { .. } if !report.arms.is_empty() && report.teacher().is_none() => {
            "Nothing to decide: no teacher was asked, so there is nobody to replace.".to_owned()
        }
        Decision::Undecided { eval_rows: None } => {
            "Keep the teacher for now: what was measured does not settle it.".to_owned()
        }
    }
}

/// Of whom, on how many rows, at which margin: one sentence.
fn scope(report: &RunReport) -> String {
    let accept = &report.accept;
    let terms = format!(
        "at a margin of {:.1} points and {:.0}% confidence",
        accept.margin * 100.0,
        accept.confidence * 100.0
    );
    let source = from(report);
    let Some(main) = report.main_arm() else {
        return format!("Nothing was compared (n = 0), {terms}.");
    };
    let metric = metric_name(report, &report.task.metric);
    match (report.against_teacher(&main.name), report.teacher()) {
        (Some(row), _) if row.n > 0 => {
            let left_out = if row.left_out > 0 {
                format!(
                    " ({} more were not scored for both)",
                    number::count(row.left_out)
                )
            } else {
                String::new()
            };
            format!(
                "Decided about {} against {} by {metric} on {} rows{source}{left_out}, {terms}.",
                row.candidate,
                row.baseline,
                number::count(row.n)
            )
        }
        (_, Some(teacher)) => format!(
            "No row{source} was scored for both {} and {} (n = 0), {terms}.",
            main.name, teacher.name
        ),
        (_, None) => format!(
            "No teacher answered the eval rows{source} (n = 0 pairs with {}), {terms}.",
            main.name
        ),
    }
}

fn banner(report: &RunReport) -> Option<String> {
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
    let mut blocks = Vec::new();
    blocks.extend(at_a_glance(report).map(Block::Table));
    blocks.push(Block::Table(gate_table(report)));
    blocks.extend(planned(report).map(text));
    blocks.extend(pays(report).map(Block::Text));
    if recommendation.candidates.len() != 1 || recommendation.choice.is_none() {
        blocks.push(Block::Text(Line::marked(
            format!("Recommendation: {}", recommendation.reason),
            simulated,
        )));
    }
    if let Some(note) = &recommendation.floor_note {
        blocks.push(text(note));
    }
    if report.task.reference == Reference::TeacherLabels {
        blocks.push(text(
            "The eval rows carry only the teacher's own labels: every score below is agreement with the teacher, not accuracy (the teacher's own is full by definition). Such rows can never yield REPLACE; labels by people can (distill eval label).",
        ));
    }
    blocks.extend(vouched(report).map(text));
    if recommendation.candidates.len() > 1 {
        blocks.push(Block::Table(candidates(report)));
        let others: Vec<Line> = recommendation
            .candidates
            .iter()
            .filter(|candidate| candidate.verdict != recommendation.verdict)
            .map(|candidate| Line::marked(&candidate.verdict.reason, simulated))
            .collect();
        if !others.is_empty() {
            blocks.push(Block::Fold {
                summary: "What each other candidate's verdict rests on".to_owned(),
                blocks: vec![Block::Items(others)],
            });
        }
    }
    if !report.notes.is_empty() {
        blocks.push(Block::Items(report.notes.iter().map(cell).collect()));
    }
    headline(super::section("verdict", "Verdict", blocks))
}

/// The candidate beside the teacher in what decides.
pub(super) fn at_a_glance(report: &RunReport) -> Option<Table> {
    let main = report.main_arm()?;
    let teacher = report
        .teacher()
        .filter(|teacher| teacher.name != main.name)?;
    let metric = metric_name(report, &report.task.metric);
    let unit = report.unit(&report.task.metric);
    let mut table = Table::new("At a glance", &["what"]);
    table.columns.extend(
        [main.name.as_str(), teacher.name.as_str(), "difference"].map(|title| Column {
            title: title.to_owned(),
            align: Align::Right,
        }),
    );
    let difference = report.against_teacher(&main.name);
    let simulated = main.simulated || teacher.simulated;
    let points = difference
        .and_then(|row| Some((row.difference?, row.interval)))
        .map(|(value, interval)| {
            let interval = interval
                .map(|interval| format!(" ({})", number::change_interval(unit, &interval)))
                .unwrap_or_default();
            format!("{}{interval} points", number::change(unit, value))
        });
    table.row(vec![
        cell(metric),
        Line::marked(score(report.primary(main)), main.simulated),
        Line::marked(score(report.primary(teacher)), teacher.simulated),
        Line::marked(or_missing(points, |points| points), simulated),
    ]);
    let mut toll = |what: &str, of: fn(&Arm) -> Option<f64>, show: fn(f64) -> String| {
        let (candidate, baseline) = (of(main), of(teacher));
        let change = candidate
            .zip(baseline)
            .and_then(|(candidate, baseline)| number::times(candidate, baseline));
        table.row(vec![
            cell(what),
            Line::marked(or_missing(candidate, show), main.simulated),
            Line::marked(or_missing(baseline, show), teacher.simulated),
            Line::marked(or_missing(change, |change| change), simulated),
        ]);
    };
    toll(
        "p50 ms per answer",
        |arm| Some(arm.speed.as_ref()?.per_answer_ms.p50),
        number::milliseconds,
    );
    toll(
        "p95 ms per answer",
        |arm| Some(arm.speed.as_ref()?.per_answer_ms.p95),
        number::milliseconds,
    );
    toll("$ per 1,000 answers", |arm| arm.usd_per_1000, number::usd);
    Some(table)
}

fn gate_table(report: &RunReport) -> Table {
    let about = report
        .main_arm()
        .map(|arm| format!(", for {}", arm.name))
        .unwrap_or_default();
    let mut table = Table::new(
        format!("The gate{about}"),
        &["condition", "limit", "measured", "outcome"],
    );
    let simulated = report.touched_by_simulation();
    for gate in gates(report) {
        table.row(vec![
            cell(gate.name),
            cell(gate.limit),
            Line::marked(gate.measured, simulated),
            cell(gate.outcome.label()),
        ]);
    }
    table.row(vec![
        cell("verdict"),
        cell("something may take over"),
        Line::marked(
            report.recommendation.verdict.decision.to_string(),
            simulated,
        ),
        cell(if report.recommendation.verdict.decision.is_met() {
            "met"
        } else {
            "not met"
        }),
    ]);
    table
}

fn planned(report: &RunReport) -> Option<String> {
    let rows = report.accept.required_rows?;
    let assumed = report
        .accept
        .assumed_discordance
        .map(|share| format!(" if the two differ on {} of them", number::percent(share)))
        .unwrap_or_default();
    Some(format!(
        "Planned before the run: {} eval rows{assumed}; there are {}.",
        number::count(rows),
        number::count(report.task.eval_rows)
    ))
}

/// When the candidate has paid for itself.
pub(super) fn pays(report: &RunReport) -> Option<Line> {
    let main = report.main_arm()?;
    let mut students = report.cost.students.iter();
    let student = students.find(|student| student.candidate == main.name)?;
    let (requests, days) = cost::break_even(&report.cost, student);
    let sentence = match requests.as_str() {
        "never" => format!(
            "{} never pays for itself at the stated rate: its answers cost no less than the teacher's.",
            main.name
        ),
        MISSING => format!("When {} has paid for itself: {MISSING}.", main.name),
        _ => format!(
            "{} has paid for itself after {requests} requests, {days} days at the stated rate (break-even, labels and training counted).",
            main.name
        ),
    };
    Some(Line::marked(sentence, report.cost.teacher_simulated))
}

/// Who vouches for the references.
fn vouched(report: &RunReport) -> Option<String> {
    let by = &report.task.expected_by;
    if by.is_empty() {
        return None;
    }
    let parts: Vec<String> = by
        .iter()
        .map(|part| format!("{} {}", number::count(part.count), part.what))
        .collect();
    Some(format!(
        "References of the eval rows, by who vouches for them: {}.",
        parts.join(", ")
    ))
}

pub(super) fn candidates(report: &RunReport) -> Table {
    let mut table = Table::new(
        "Each candidate; p is that of being worse than the teacher by the margin or more",
        &[
            "candidate",
            "verdict",
            ">difference",
            ">interval",
            ">p",
            ">p after Holm",
        ],
    );
    let simulated = report.touched_by_simulation();
    let unit = report.unit(&report.task.metric);
    for (place, candidate) in report.recommendation.candidates.iter().enumerate() {
        if Some(&candidate.name) == report.recommendation.choice.as_ref() {
            table.emphasised = Some(place);
        }
        let mark = |text| Line::marked(text, simulated);
        let row = report.against_teacher(&candidate.name);
        table.row(vec![
            cell(&candidate.name),
            mark(candidate.verdict.decision.to_string()),
            mark(or_missing(row.and_then(|row| row.difference), |value| {
                number::change(unit, value)
            })),
            mark(or_missing(row.and_then(|row| row.interval), |interval| {
                number::change_interval(unit, &interval)
            })),
            mark(or_missing(candidate.p_noninferior, number::p_value)),
            mark(or_missing(candidate.p_holm, number::p_value)),
        ]);
    }
    table
}
