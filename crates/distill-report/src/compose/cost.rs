//! Money and time.

use distill_eval::stats::QUANTILE_DEFINITION;

use super::{cell, headline, section, text};
use crate::{
    Arrival, CostModel, LoadFacts, RunReport, Sensitivity, StudentCost,
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
    items.extend(spend.beside.iter().map(|other| {
        Line::marked(
            format!(
                "beside it, {}: {}",
                other.what,
                or_missing(other.settled_usd, number::usd)
            ),
            other.simulated,
        )
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
    let mut teacher = format!(
        "The teacher costs {} per 1,000 answers, failed attempts included",
        or_missing(cost.teacher_usd_per_1000, number::usd)
    );
    if let Some(usd) = cost.teacher_usd_per_correct {
        teacher = format!("{teacher}; {} a right answer", number::usd(usd));
    }
    if let Some(usd) = cost.teacher_usd_per_million_tokens {
        teacher = format!("{teacher}; {} per 1M tokens", number::usd(usd));
    }
    let mut blocks = vec![
        Block::Text(Line::marked(teacher + ".", cost.teacher_simulated)),
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
        blocks.extend(capacity(cost).map(Block::Items));
        blocks.push(Block::Table(one_off(cost)));
        blocks.push(text(
            "The one-off cost holds all that the teacher was paid (labels, failed attempts, its answers to the test rows), the judge, the cheaper models that were compared, and the training of every student of the run; the controls only explain and are not counted. Training is priced as hours of the serving machine.",
        ));
    }
    blocks.extend(sensitivity(report).map(Block::Table));
    blocks.extend(prices(report).map(Block::Table));
    blocks.extend(energy(report).map(Block::Table));
    Some(section("cost", "Cost", blocks))
}

fn students(cost: &CostModel) -> Table {
    let mut table = Table::new(
        "Students at the stated request rate",
        &[
            "student",
            ">machines",
            ">$ per 1,000",
            ">$ a right answer",
            ">$ per 1M tokens",
            ">busy",
            ">$ per 1,000 if busy all day",
            ">answers a day at most",
        ],
    );
    for student in &cost.students {
        table.row(vec![
            cell(&student.candidate),
            cell(or_missing(student.machines, number::count)),
            cell(or_missing(student.usd_per_1000, number::usd)),
            cell(or_missing(student.usd_per_correct, number::usd)),
            cell(or_missing(student.usd_per_million_tokens, number::usd)),
            cell(or_missing(student.utilisation, |share| {
                format!("{}%", number::significant(share * 100.0))
            })),
            cell(or_missing(student.usd_per_1000_saturated, number::usd)),
            cell(or_missing(student.requests_per_day_saturated, |rate| {
                number::count(rate as usize)
            })),
        ]);
    }
    table
}

/// How the capacity of a machine was measured, and which students take more than one.
fn capacity(cost: &CostModel) -> Option<Vec<Line>> {
    let lines: Vec<Line> = cost
        .students
        .iter()
        .filter_map(|student| {
            let name = &student.candidate;
            let how = student.capacity_measured.as_deref();
            match (student.machines, how) {
                (Some(machines), how) if machines > 1 => Some(cell(format!(
                    "{name} takes {} machines: one answers fewer requests than arrive{}",
                    number::count(machines),
                    how.map_or_else(String::new, |how| format!(" (measured {how})"))
                ))),
                (_, Some(how)) => Some(cell(format!("{name}: capacity measured {how}"))),
                (_, None) => None,
            }
        })
        .collect();
    (!lines.is_empty()).then_some(lines)
}

fn one_off(cost: &CostModel) -> Table {
    let mut table = Table::new(
        "What was paid once, and when it is paid back",
        &[
            "student",
            ">one-off $",
            ">teacher",
            ">of it failed",
            ">judge",
            ">cheaper models",
            ">training",
            ">other students",
            ">controls (not counted)",
            ">break-even requests",
            ">break-even days",
        ],
    );
    let usd = |value: Option<f64>| or_missing(value, number::usd);
    for student in &cost.students {
        let (requests, days) = break_even(cost, student);
        let paid = student.one_off;
        let mark = |text: String| Line::marked(text, cost.teacher_simulated);
        table.row(vec![
            cell(&student.candidate),
            mark(usd(student.one_off_usd)),
            mark(usd(paid.labels_usd)),
            mark(usd(paid.failed_attempts_usd)),
            mark(usd(paid.judge_usd)),
            mark(usd(paid.cheaper_usd)),
            cell(usd(paid.training_usd)),
            cell(usd(paid.search_usd)),
            cell(usd(paid.controls_usd)),
            mark(requests),
            mark(days),
        ]);
    }
    table
}

fn sensitivity(report: &RunReport) -> Option<Table> {
    let mut table = Table::new(
        "If the teacher gets cheaper: does the student still cost less, and from how many requests a day",
        &[
            "student",
            "teacher's price",
            ">teacher $ per 1,000",
            ">student $ per 1,000",
            "cheaper",
            ">cheaper above requests a day",
            ">break-even requests",
            ">break-even days",
        ],
    );
    for line in &report.sensitivity {
        let mark = |text: String| Line::marked(text, line.simulated);
        let never = line.student_is_cheaper == Some(false);
        let later = |text: String| if never { "never".to_owned() } else { text };
        table.row(vec![
            cell(&line.candidate),
            cell(if line.teacher_cheaper_by > 1.0 {
                format!("{}x cheaper", line.teacher_cheaper_by)
            } else {
                "today's".to_owned()
            }),
            mark(or_missing(line.teacher_usd_per_1000, number::usd)),
            cell(or_missing(line.student_usd_per_1000, number::usd)),
            mark(cheaper(line)),
            mark(if line.never_cheaper == Some(true) {
                "at no number".to_owned()
            } else {
                or_missing(line.cheaper_above_requests_per_day, |rate| {
                    number::count(rate.ceil() as usize)
                })
            }),
            mark(later(or_missing(line.break_even_requests, |requests| {
                number::count(requests.ceil() as usize)
            }))),
            mark(later(or_missing(line.break_even_days, number::significant))),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

fn cheaper(line: &Sensitivity) -> String {
    match (line.student_is_cheaper, line.flips) {
        (None, _) => MISSING.to_owned(),
        (Some(true), Some(true)) => "student (flips)".to_owned(),
        (Some(true), _) => "student".to_owned(),
        (Some(false), Some(true)) => "teacher (flips)".to_owned(),
        (Some(false), _) => "teacher".to_owned(),
    }
}

fn prices(report: &RunReport) -> Option<Table> {
    let mut table = Table::new(
        "Prices that were used, in $ per 1M tokens, and their age on the day of the run",
        &[
            "model",
            "from",
            "read on",
            ">age, days",
            ">input",
            ">output",
            "note",
        ],
    );
    for price in &report.price_age {
        let mark = |text: String| Line::marked(text, price.source == "simulated");
        table.row(vec![
            cell(&price.model),
            mark(price.source.clone()),
            cell(price.as_of.as_deref().unwrap_or("not dated")),
            cell(
                price
                    .age_days
                    .map_or_else(|| "not dated".to_owned(), |days| days.to_string()),
            ),
            mark(number::usd(price.input_usd_per_million)),
            mark(number::usd(price.output_usd_per_million)),
            cell(price.note.as_deref().unwrap_or_default()),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
}

fn energy(report: &RunReport) -> Option<Table> {
    let mut table = Table::new(
        "Energy while the machine answers; idle hours are not in it",
        &["model", ">Wh per 1,000 answers", ">watts", "how"],
    );
    for energy in &report.energy {
        let mut shown = or_missing(energy.watt_hours_per_1000, number::significant);
        if energy.estimated() {
            shown.push_str(" (estimated)");
        }
        table.row(vec![
            cell(&energy.arm),
            cell(shown),
            cell(or_missing(energy.watts, number::significant)),
            cell(&energy.method),
        ]);
    }
    (!table.rows.is_empty()).then_some(table)
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
    let mut blocks = vec![Block::Table(table)];
    blocks.extend(load(report));
    blocks.push(text(format!("Percentiles: {QUANTILE_DEFINITION}.")));
    section("speed", "Speed", blocks)
}

/// What was measured under load, one line a setting.
fn load(report: &RunReport) -> Vec<Block> {
    let mut whole = Table::new(
        "Under load: milliseconds to the whole answer",
        &[
            "model",
            "requests",
            ">sent",
            ">failed",
            ">answers/s",
            ">tokens/s",
            ">p50",
            ">p95",
            ">p99",
            ">mean",
        ],
    );
    let mut tokens = Table::new(
        "Under load: milliseconds to the first token, and per output token after it",
        &[
            "model",
            "requests",
            ">first p50",
            ">first p95",
            ">first p99",
            ">per token p50",
            ">per token p95",
            ">per token p99",
        ],
    );
    let mut notes = Vec::new();
    for facts in &report.load {
        let mark = |value: Option<f64>, show: fn(f64) -> String| {
            Line::marked(or_missing(value, show), facts.simulated)
        };
        let milliseconds = |value: Option<f64>| mark(value, number::milliseconds);
        whole.row(vec![
            cell(&facts.arm),
            cell(arrival(facts)),
            cell(number::count(facts.num_prompts)),
            cell(number::count(facts.failed)),
            mark(facts.request_throughput, number::significant),
            mark(facts.output_throughput, number::significant),
            milliseconds(facts.median_e2el_ms),
            milliseconds(facts.p95_e2el_ms),
            milliseconds(facts.p99_e2el_ms),
            milliseconds(facts.mean_e2el_ms),
        ]);
        if facts.median_ttft_ms.is_some() {
            tokens.row(vec![
                cell(&facts.arm),
                cell(arrival(facts)),
                milliseconds(facts.median_ttft_ms),
                milliseconds(facts.p95_ttft_ms),
                milliseconds(facts.p99_ttft_ms),
                milliseconds(facts.median_tpot_ms),
                milliseconds(facts.p95_tpot_ms),
                milliseconds(facts.p99_tpot_ms),
            ]);
        }
        let mut said = vec![facts.engine.clone()];
        if facts.warm_up > 0 {
            said.push(format!("after {} requests of warm-up", facts.warm_up));
        }
        said.extend(facts.notes.iter().cloned());
        let line = format!("{}: {}", facts.arm, said.join("; "));
        if !notes.contains(&line) {
            notes.push(line);
        }
    }
    if whole.rows.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![Block::Table(whole)];
    if !tokens.rows.is_empty() {
        blocks.push(Block::Table(tokens));
    }
    blocks.push(Block::Items(notes.into_iter().map(Line::new).collect()));
    blocks
}

fn arrival(facts: &LoadFacts) -> String {
    match (facts.arrival, facts.max_concurrency, facts.request_rate) {
        (Arrival::ClosedLoop, Some(clients), _) => format!("{clients} at a time"),
        (Arrival::Poisson, _, Some(rate)) => {
            format!("Poisson, {} a second", number::significant(rate))
        }
        (Arrival::Recorded, Some(most), _) => format!("as the run asked, up to {most} at a time"),
        _ => "as the run asked".to_owned(),
    }
}
