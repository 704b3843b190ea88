//! Money and time.

use distill_eval::stats::QUANTILE_DEFINITION;

use super::{cell, headline, section, text};
use crate::{
    CostModel, RunReport, StudentCost,
    document::{Block, Line, Section, Table},
    number::{self, MISSING, or_missing},
};

pub(super) fn spend(report: &RunReport) -> Option<Section> {
    let spend = report.spend.as_ref()?;
    let mark = |text: String| Line::marked(text, spend.simulated);
    let bound = spend.unsettled_bound_usd();
    let mut items = vec![
        mark(format!(
            "settled {} of a budget of {}",
            number::usd(spend.settled_usd),
            spend
                .budget_usd
                .map_or_else(|| "none set".to_owned(), number::usd)
        )),
        mark(format!(
            "{} requests: {} from the journal at no price, {} attempts sent",
            number::count(spend.requests),
            number::count(spend.journal_hits),
            number::count(spend.attempts)
        )),
        mark(format!(
            "attempts that could not be settled: {}, which may yet cost up to {} in all",
            number::count(spend.unsettled.len()),
            number::usd(bound)
        )),
        mark(format!(
            "tokens: {} in, {} out",
            or_missing(spend.input_tokens, number::count64),
            or_missing(spend.output_tokens, number::count64)
        )),
    ];
    items.extend(spend.failed_attempts.iter().map(|failed| {
        mark(format!(
            "failed attempts, {}: {}",
            failed.what,
            number::count(failed.count)
        ))
    }));
    let mut blocks = vec![Block::Items(items)];
    if !spend.unsettled.is_empty() {
        let mut table = Table::new(
            "Attempts whose price is not known, each with its reserved bound",
            &["model", "row", "why", ">at most"],
        );
        for attempt in &spend.unsettled {
            table.row(vec![
                cell(&attempt.model),
                cell(attempt.row_id.as_deref().unwrap_or("none")),
                cell(&attempt.why),
                mark(number::usd(attempt.reserved_usd)),
            ]);
        }
        blocks.push(Block::Table(table));
    }
    Some(headline(section("spend", "Spend", blocks)))
}

pub(super) fn model(report: &RunReport) -> Option<Section> {
    let cost = &report.cost;
    if cost.students.is_empty() && cost.teacher_usd_per_1000.is_none() {
        return None;
    }
    let mut blocks = vec![
        Block::Text(Line::marked(
            format!(
                "The teacher costs {} per 1,000 answers, failed attempts included.",
                or_missing(cost.teacher_usd_per_1000, number::usd)
            ),
            cost.teacher_simulated,
        )),
        text(format!(
            "A student costs a machine that is on all month, busy or not: {} an hour × 24 ÷ {} requests a day. \"If busy all day\" is the price of an answer when the machine answers without pause.",
            or_missing(cost.usd_per_hour, number::usd),
            or_missing(cost.requests_per_day, |rate| number::count(
                rate.round() as usize
            ))
        )),
    ];
    if !cost.students.is_empty() {
        blocks.push(Block::Table(students(cost)));
    }
    Some(section("cost", "Cost", blocks))
}

fn students(cost: &CostModel) -> Table {
    let mut table = Table::new(
        "Students at the stated request rate; break-even counts labels and training",
        &[
            "student",
            ">machines",
            ">$ per 1,000",
            ">busy",
            ">$ per 1,000 if busy all day",
            ">answers a day at most",
            ">one-off $",
            ">break-even requests",
            ">break-even days",
        ],
    );
    for student in &cost.students {
        let (requests, days) = break_even(cost, student);
        table.row(vec![
            cell(&student.candidate),
            cell(or_missing(student.machines, number::count)),
            cell(or_missing(student.usd_per_1000, number::usd)),
            cell(or_missing(student.utilisation, |share| {
                format!("{}%", number::significant(share * 100.0))
            })),
            cell(or_missing(student.usd_per_1000_saturated, number::usd)),
            cell(or_missing(student.requests_per_day_saturated, |rate| {
                number::count(rate as usize)
            })),
            Line::marked(
                or_missing(student.one_off_usd, number::usd),
                cost.teacher_simulated,
            ),
            Line::marked(requests, cost.teacher_simulated),
            Line::marked(days, cost.teacher_simulated),
        ]);
    }
    table
}

/// A student that saves nothing per answer never pays; that is not the same as not known.
pub(super) fn break_even(cost: &CostModel, student: &StudentCost) -> (String, String) {
    let saves_nothing = cost
        .teacher_usd_per_1000
        .zip(student.usd_per_1000)
        .is_some_and(|(teacher, student)| student >= teacher);
    if saves_nothing {
        return ("never".to_owned(), "never".to_owned());
    }
    (
        or_missing(student.break_even_requests, |requests| {
            number::count(requests.ceil() as usize)
        }),
        or_missing(student.break_even_days, number::significant),
    )
}

pub(super) fn speed(report: &RunReport) -> Section {
    let mut table = Table::new(
        "Milliseconds from question to whole answer",
        &[
            "model",
            ">p50",
            ">p95",
            ">p99",
            ">mean",
            ">n",
            ">answers/s",
            "measured on",
        ],
    );
    for arm in &report.arms {
        let Some(speed) = &arm.speed else { continue };
        let mark = |value: f64| Line::marked(number::milliseconds(value), arm.simulated);
        let mut on = speed.measured_on.clone();
        if let Some(left_out) = &speed.left_out {
            on = format!("{on}; left out: {left_out}");
        }
        table.row(vec![
            cell(&arm.name),
            mark(speed.per_answer_ms.p50),
            mark(speed.per_answer_ms.p95),
            mark(speed.per_answer_ms.p99),
            mark(speed.per_answer_ms.mean),
            cell(number::count(speed.per_answer_ms.n)),
            Line::marked(
                or_missing(speed.answers_per_second, number::significant),
                arm.simulated,
            ),
            cell(on),
        ]);
    }
    if table.rows.is_empty() {
        return section("speed", "Speed", vec![text(format!("Speed: {MISSING}."))]);
    }
    let definition = text(format!("Percentiles: {QUANTILE_DEFINITION}."));
    section("speed", "Speed", vec![Block::Table(table), definition])
}
