//! Results as tables: for a terminal, and as Markdown.

use std::fmt::Write as _;

use distill_eval::{Aggregate, Direction, Interval, Unit};
use distill_report::{Corrected, JudgeFacts};
use distill_steps::suite::{AnswererFacts, FileComparison, PairFigures, ScorerFigures, Summary};

/// A table: the first row is its head. Numbers stand right.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    /// Names and values are the user's: one cell is one line, and not a long one.
    fn push(&mut self, cells: Vec<String>) {
        let plain = |cell: String| {
            let mut text = cell.split_whitespace().collect::<Vec<_>>().join(" ");
            text.retain(|character| !character.is_control());
            if text.chars().count() > MOST_CELL {
                text = text.chars().take(MOST_CELL - 3).collect::<String>() + "...";
            }
            text
        };
        self.rows.push(cells.into_iter().map(plain).collect());
    }

    fn render(&self, markdown: bool) -> String {
        let mut text = String::new();
        if markdown {
            for (index, row) in self.rows.iter().enumerate() {
                let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
                writeln!(text, "| {} |", cells.join(" | ")).expect(INTO_TEXT);
                if index == 0 {
                    let rest = "---:|".repeat(row.len().saturating_sub(1));
                    writeln!(text, "|---|{rest}").expect(INTO_TEXT);
                }
            }
            return text;
        }
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::from(" ");
            for (column, cell) in row.iter().enumerate() {
                let gap = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                if column == 0 {
                    write!(line, " {cell}{gap}").expect(INTO_TEXT);
                } else {
                    write!(line, "  {gap}{cell}").expect(INTO_TEXT);
                }
            }
            writeln!(text, "{}", line.trim_end()).expect(INTO_TEXT);
        }
        text
    }
}

/// Characters of one cell.
const MOST_CELL: usize = 80;
const INTO_TEXT: &str = "a String takes every write";

pub(super) fn text(summary: &Summary) -> String {
    render(summary, false)
}

pub(super) fn markdown(summary: &Summary) -> String {
    render(summary, true)
}

fn render(summary: &Summary, markdown: bool) -> String {
    let mut out = String::new();
    let head = if markdown { "# " } else { "" };
    writeln!(
        out,
        "{head}{}: {} rows of {}{}\n",
        summary.suite,
        summary.rows.count,
        summary.rows.source,
        summary
            .rows
            .limit
            .map_or_else(String::new, |_| " (a seeded sample)".to_owned())
    )
    .expect(INTO_TEXT);
    for note in &summary.notes {
        writeln!(out, "{}{note}", if markdown { "- " } else { "note: " }).expect(INTO_TEXT);
    }
    if !summary.notes.is_empty() {
        out.push('\n');
    }
    for scorer in &summary.scorers {
        scorer_tables(&mut out, summary, scorer, markdown);
    }
    if let Some(judge) = &summary.judge {
        judge_table(&mut out, judge, summary.confidence, markdown);
    }
    answerer_table(&mut out, &summary.answerers, markdown);
    for result in &summary.requirements {
        let word = if result.met { "met" } else { "NOT MET" };
        writeln!(
            out,
            "{}requirement {} {word} by {}: {}",
            if markdown { "- " } else { "" },
            result.requirement,
            result.answerer,
            result.reason
        )
        .expect(INTO_TEXT);
    }
    out
}

fn heading(out: &mut String, text: &str, markdown: bool) {
    if markdown {
        writeln!(out, "## {text}\n").expect(INTO_TEXT);
    } else {
        writeln!(out, "{text}").expect(INTO_TEXT);
    }
}

fn scorer_tables(out: &mut String, summary: &Summary, scorer: &ScorerFigures, markdown: bool) {
    let direction = match scorer.direction {
        Direction::Higher => "higher is better",
        Direction::Lower => "lower is better",
    };
    let remark = scorer
        .remark
        .as_ref()
        .map_or_else(String::new, |remark| format!("; {remark}"));
    heading(
        out,
        &format!("{} ({direction}{remark})", scorer.name),
        markdown,
    );
    let percent = format!("{}% interval", summary.confidence * 100.0);
    let mut table = Table::new(&["answerer", "value", &percent, "n", "unscored", "method"]);
    for (answerer, value) in summary.answerers.iter().zip(&scorer.values) {
        table.push(vec![
            shown_name(answerer),
            number(value.value, scorer.unit),
            interval(value.interval.as_ref(), scorer.unit),
            value.n.to_string(),
            value.unscored.to_string(),
            method(value.interval.as_ref()),
        ]);
    }
    writeln!(out, "{}", table.render(markdown)).expect(INTO_TEXT);
    for (answerer, value) in summary.answerers.iter().zip(&scorer.values) {
        for (reason, count) in &value.unscored_reasons {
            writeln!(
                out,
                "{}{}: {count} unscored: {reason}",
                if markdown { "- " } else { "  " },
                answerer.name
            )
            .expect(INTO_TEXT);
        }
    }
    if scorer.values.iter().any(|value| value.unscored > 0) {
        out.push('\n');
    }
    if !scorer.comparisons.is_empty() {
        let pairs: Vec<&PairFigures> = scorer.comparisons.iter().collect();
        writeln!(
            out,
            "{}",
            pair_table(&pairs, scorer.unit, &percent, markdown)
        )
        .expect(INTO_TEXT);
    }
    for check in &scorer.checks {
        writeln!(
            out,
            "{}{} agrees with `{}` on {} of {} rows{}",
            if markdown { "- " } else { "  " },
            scorer.name,
            check.column,
            check.agreed,
            check.n,
            match check.left_out {
                0 => String::new(),
                count => format!(" ({count} left out)"),
            }
        )
        .expect(INTO_TEXT);
    }
    if !scorer.checks.is_empty() {
        out.push('\n');
    }
    slice_tables(out, summary, scorer, markdown);
}

fn slice_tables(out: &mut String, summary: &Summary, scorer: &ScorerFigures, markdown: bool) {
    for slices in &scorer.slices {
        let column = format!("{} by `{}`", scorer.name, slices.column);
        let mut head = vec![column.as_str(), "rows"];
        let names: Vec<String> = summary.answerers.iter().map(shown_name).collect();
        head.extend(names.iter().map(String::as_str));
        let mut table = Table::new(&head);
        for slice in &slices.values {
            let mut cells = vec![slice.value.clone(), slice.rows.to_string()];
            cells.extend(slice.values.iter().map(|value| cell(value, scorer.unit)));
            table.push(cells);
        }
        writeln!(out, "{}", table.render(markdown)).expect(INTO_TEXT);
        if slices.not_shown > 0 {
            writeln!(out, "  and {} values more\n", slices.not_shown).expect(INTO_TEXT);
        }
    }
}

/// A value with its interval.
fn cell(value: &Aggregate, unit: Unit) -> String {
    format!(
        "{} {}",
        number(value.value, unit),
        interval(value.interval.as_ref(), unit)
    )
    .trim_end()
    .to_owned()
}

fn pair_table(pairs: &[&PairFigures], unit: Unit, percent: &str, markdown: bool) -> String {
    let mut table = Table::new(&[
        "pair",
        "difference",
        percent,
        "pairs",
        "left out",
        "only first",
        "only second",
        "p",
        "p (Holm)",
        "method",
    ]);
    for pair in pairs {
        let count = |of: fn(&distill_eval::PairedTable) -> usize| {
            pair.table
                .as_ref()
                .map_or_else(|| MISSING.to_owned(), |table| of(table).to_string())
        };
        table.push(vec![
            format!("{} - {}", pair.candidate, pair.baseline),
            pair.difference.map_or_else(
                || MISSING.to_owned(),
                |value| format!("{:+.*}", digits(unit), value),
            ),
            interval(pair.interval.as_ref(), unit),
            pair.n.to_string(),
            pair.left_out.to_string(),
            count(|table| table.only_candidate),
            count(|table| table.only_baseline),
            p_value(pair.p),
            p_value(pair.holm_p),
            method(pair.interval.as_ref()),
        ]);
    }
    table.render(markdown)
}

fn answerer_table(out: &mut String, answerers: &[AnswererFacts], markdown: bool) {
    heading(out, "answerers", markdown);
    let mut table = Table::new(&[
        "answerer",
        "answered",
        "from cache",
        "p50 ms",
        "p95 ms",
        "tokens in",
        "tokens out",
        "USD",
    ]);
    for one in answerers {
        let latency = |of: fn(&distill_eval::Quantiles) -> f64| {
            one.latency_ms.as_ref().map_or_else(
                || MISSING.to_owned(),
                |quantiles| format!("{:.3}", of(quantiles)),
            )
        };
        let count = |count: Option<u64>| {
            count.map_or_else(|| MISSING.to_owned(), |count| count.to_string())
        };
        table.push(vec![
            shown_name(one),
            one.answered.to_string(),
            match one.kind.as_str() {
                "model" => one.from_cache.to_string(),
                _ => MISSING.to_owned(),
            },
            latency(|quantiles| quantiles.p50),
            latency(|quantiles| quantiles.p95),
            count(one.input_tokens),
            count(one.output_tokens),
            one.usd
                .map_or_else(|| MISSING.to_owned(), |usd| format!("{usd:.6}")),
        ]);
    }
    writeln!(out, "{}", table.render(markdown)).expect(INTO_TEXT);
}

/// What the judge says beyond a mean of scores: pairs, corrected figures, agreement with people.
fn judge_table(out: &mut String, judge: &JudgeFacts, confidence: f64, markdown: bool) {
    let calibration = if judge.calibrated {
        "calibrated"
    } else {
        "uncalibrated judge"
    };
    let models = judge.models.join(", ");
    heading(
        out,
        &format!("{} judge {models} ({calibration})", judge.mode),
        markdown,
    );
    let percent = format!("{}% interval", confidence * 100.0);
    if !judge.pairs.is_empty() {
        let mut table = Table::new(&[
            "pair",
            "win rate",
            &percent,
            "wins",
            "ties",
            "losses",
            "unscored",
            "corrected",
        ]);
        for pair in &judge.pairs {
            table.push(vec![
                format!("{} against {}", pair.candidate, pair.baseline),
                number(pair.value, Unit::Share),
                interval(pair.interval.as_ref(), Unit::Share),
                pair.wins.to_string(),
                pair.ties.to_string(),
                pair.losses.to_string(),
                pair.unscored.to_string(),
                corrected(pair.corrected.as_ref()),
            ]);
        }
        writeln!(out, "{}", table.render(markdown)).expect(INTO_TEXT);
        writeln!(
            out,
            "  the two orders contradicted each other on {} of {} pairs, which counts as a tie",
            judge.disagreements, judge.asked_both_ways
        )
        .expect(INTO_TEXT);
    }
    for score in judge
        .scores
        .iter()
        .filter(|score| score.corrected.is_some())
    {
        writeln!(
            out,
            "  {}: {} with people's verdicts",
            score.arm,
            corrected(score.corrected.as_ref())
        )
        .expect(INTO_TEXT);
    }
    if let Some(kappa) = &judge.kappa {
        writeln!(
            out,
            "  agreement with people: kappa {} {} on {} verdicts",
            number(kappa.value, Unit::Share),
            interval(kappa.interval.as_ref(), Unit::Share),
            kappa.n
        )
        .expect(INTO_TEXT);
    }
    if let Some(usd) = judge.usd {
        writeln!(out, "  the judge cost {usd:.6} USD").expect(INTO_TEXT);
    }
    out.push('\n');
}

/// A figure corrected with people's verdicts.
fn corrected(found: Option<&Corrected>) -> String {
    found.map_or_else(
        || MISSING.to_owned(),
        |found| {
            format!(
                "{} {}",
                number(found.value, Unit::Share),
                interval(found.interval.as_ref(), Unit::Share)
            )
        },
    )
}

pub(super) fn comparison(found: &FileComparison, markdown: bool) -> String {
    let mut out = String::new();
    heading(
        &mut out,
        &format!(
            "{} against {}: {} rows",
            found.candidate, found.baseline, found.rows
        ),
        markdown,
    );
    out.push('\n');
    let percent = format!("{}% interval", found.confidence * 100.0);
    for figures in &found.figures {
        heading(&mut out, &figures.scorer, markdown);
        let mut table = Table::new(&["answerer", "value", &percent, "n", "unscored", "method"]);
        for (name, value) in [&found.candidate, &found.baseline]
            .iter()
            .zip(&figures.values)
        {
            table.push(vec![
                (*name).clone(),
                number(value.value, figures.unit),
                interval(value.interval.as_ref(), figures.unit),
                value.n.to_string(),
                value.unscored.to_string(),
                method(value.interval.as_ref()),
            ]);
        }
        writeln!(out, "{}", table.render(markdown)).expect(INTO_TEXT);
        let pairs = pair_table(&[&figures.pair], figures.unit, &percent, markdown);
        writeln!(out, "{pairs}").expect(INTO_TEXT);
    }
    if !found.only_in_one.is_empty() {
        writeln!(out, "only in one file: {}", found.only_in_one.join(", ")).expect(INTO_TEXT);
    }
    out
}

fn shown_name(answerer: &AnswererFacts) -> String {
    if answerer.simulated {
        format!("{} (SIMULATED)", answerer.name)
    } else {
        answerer.name.clone()
    }
}

/// What is not known is shown as such, never as 0.
const MISSING: &str = "-";

fn digits(unit: Unit) -> usize {
    if unit == Unit::Score0To100 { 2 } else { 4 }
}

fn number(value: Option<f64>, unit: Unit) -> String {
    value.map_or_else(
        || MISSING.to_owned(),
        |value| format!("{value:.*}", digits(unit)),
    )
}

fn interval(interval: Option<&Interval>, unit: Unit) -> String {
    interval.map_or_else(
        || MISSING.to_owned(),
        |interval| {
            let digits = digits(unit);
            format!("[{:.digits$}, {:.digits$}]", interval.low, interval.high)
        },
    )
}

fn method(interval: Option<&Interval>) -> String {
    interval.map_or_else(
        || MISSING.to_owned(),
        |interval| interval.method.label().to_owned(),
    )
}

fn p_value(p: Option<f64>) -> String {
    match p {
        None => MISSING.to_owned(),
        Some(p) if p < 0.0001 => "< 0.0001".to_owned(),
        Some(p) => format!("{p:.4}"),
    }
}
