//! Usage as a table, as CSV and as JSON.

use std::{fmt::Write as _, time::Duration};

use distill_ledger::{UsageQuery, UsageRow, UsageTable};
use serde_json::{Map, Value, json};

const HEADINGS: [&str; 13] = [
    "requests",
    "attempts",
    "failed",
    "failovers",
    "input",
    "cached",
    "output",
    "reasoning",
    "dollars",
    "unsettled",
    "saved",
    "p50 s",
    "p95 s",
];

/// A table for a terminal, with the sum of all rows at its end.
pub(super) fn table(table: &UsageTable, total: &UsageRow) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut heading: Vec<String> = table.by.iter().map(|by| by.name().to_owned()).collect();
    let names = heading.len().max(1);
    if heading.is_empty() {
        heading.push(String::new());
    }
    heading.extend(HEADINGS.map(str::to_owned));
    lines.push(heading);
    for row in &table.rows {
        lines.push(line(row, names));
    }
    if table.rows.len() != 1 {
        let mut sum = line(total, names);
        "together".clone_into(&mut sum[0]);
        lines.push(sum);
    }
    let columns = lines[0].len();
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = lines.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    let simulated = std::iter::once(false)
        .chain(table.rows.iter().map(|row| row.simulated))
        .chain(std::iter::once(total.simulated));
    let mut text = String::new();
    for (line, simulated) in lines.iter().zip(simulated) {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column < names {
                    format!("{cell:width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push_str(if simulated { "  SIMULATED\n" } else { "\n" });
    }
    text.push_str("\ninput is without cached tokens, output without reasoning\n");
    if total.without_usage > 0 {
        let _ = write!(
            text,
            "\n+?  {} answers reported no usage: their tokens and dollars are not in these sums\n",
            total.without_usage
        );
    }
    if total.unsettled > 0 {
        let _ = write!(
            text,
            "\nunsettled: at most this for {} attempts that are under way or whose cost nobody told\n",
            total.unsettled
        );
    }
    if total.pool_tokens > 0 {
        let _ = write!(
            text,
            "\n{} tokens worth {} by list were paid by bulk-bought pools\n",
            total.pool_tokens, total.pool_usd
        );
    }
    text
}

fn line(row: &UsageRow, names: usize) -> Vec<String> {
    let mut cells: Vec<String> = row
        .group
        .iter()
        .map(|name| name.clone().unwrap_or_else(|| "-".to_owned()))
        .collect();
    cells.resize(names, String::new());
    let more = if row.without_usage > 0 { "+?" } else { "" };
    let count = |count: Option<u64>| match count {
        Some(count) => format!("{count}{more}"),
        None if row.attempts == 0 => "-".to_owned(),
        None => "unknown".to_owned(),
    };
    let reasoning = match row.reasoning_share {
        Some(share) => format!("{} ({:.0}%)", count(row.tokens.reasoning), share * 100.0),
        None => count(row.tokens.reasoning),
    };
    cells.extend([
        row.requests.to_string(),
        row.attempts.to_string(),
        row.failures.to_string(),
        row.failovers.to_string(),
        count(row.tokens.input),
        count(row.tokens.cached_input),
        count(row.tokens.output),
        reasoning,
        match row.usd {
            Some(usd) => format!("{usd}{more}"),
            None if row.attempts == 0 => "-".to_owned(),
            None => "unknown".to_owned(),
        },
        if row.unsettled == 0 {
            "-".to_owned()
        } else {
            format!("≤ {}", row.usd_unsettled)
        },
        if row.cache_hits == 0 {
            "-".to_owned()
        } else {
            row.cache_saved.to_string()
        },
        seconds(row.latency_p50),
        seconds(row.latency_p95),
    ]);
    cells
}

fn seconds(latency: Option<Duration>) -> String {
    latency.map_or_else(
        || "-".to_owned(),
        |latency| {
            let seconds = latency.as_secs_f64();
            // What the cache or a simulated vendor answers takes less than a hundredth.
            format!("{seconds:.0$}", if seconds < 0.01 { 4 } else { 2 })
        },
    )
}

/// Every figure of a row by its name; `None` where it is not known.
fn figures(row: &UsageRow) -> Vec<(&'static str, Value)> {
    let milliseconds =
        |latency: Option<Duration>| latency.map(|latency| latency.as_secs_f64() * 1_000.0);
    vec![
        ("requests", json!(row.requests)),
        ("failures", json!(row.failures)),
        ("cancelled", json!(row.cancelled)),
        ("failovers", json!(row.failovers)),
        ("attempts", json!(row.attempts)),
        ("input_tokens", json!(row.tokens.input)),
        ("cached_input_tokens", json!(row.tokens.cached_input)),
        ("cache_write_tokens", json!(row.tokens.cache_write)),
        ("output_tokens", json!(row.tokens.output)),
        ("reasoning_tokens", json!(row.tokens.reasoning)),
        ("reasoning_share", json!(row.reasoning_share)),
        ("answers_without_usage", json!(row.without_usage)),
        ("usd", json!(row.usd)),
        ("usd_unsettled_at_most", json!(row.usd_unsettled)),
        ("unsettled_attempts", json!(row.unsettled)),
        ("pool_tokens", json!(row.pool_tokens)),
        ("pool_usd_by_list", json!(row.pool_usd)),
        ("cache_hits", json!(row.cache_hits)),
        ("cache_saved_usd", json!(row.cache_saved)),
        ("latency_p50_ms", json!(milliseconds(row.latency_p50))),
        ("latency_p95_ms", json!(milliseconds(row.latency_p95))),
        ("simulated", json!(row.simulated)),
    ]
}

/// Comma-separated values; an empty field was not reported.
pub(super) fn csv(table: &UsageTable) -> String {
    let mut heading: Vec<String> = table.by.iter().map(|by| by.name().to_owned()).collect();
    let empty = UsageRow::default();
    heading.extend(figures(&empty).iter().map(|(name, _)| (*name).to_owned()));
    let mut text = heading.join(",") + "\n";
    for row in &table.rows {
        let mut fields: Vec<String> = row
            .group
            .iter()
            .map(|name| field(name.as_deref().unwrap_or_default()))
            .collect();
        fields.extend(figures(row).into_iter().map(|(_, value)| match value {
            Value::Null => String::new(),
            value => value.to_string(),
        }));
        text.push_str(&fields.join(","));
        text.push('\n');
    }
    text
}

/// A field by RFC 4180. What a spreadsheet would take for a formula gets an apostrophe before it:
/// names come from whoever made the keys.
fn field(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    };
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

pub(super) fn json(table: &UsageTable, total: &UsageRow, query: &UsageQuery) -> Value {
    let object = |row: &UsageRow| {
        let mut object: Map<String, Value> = table
            .by
            .iter()
            .zip(&row.group)
            .map(|(by, name)| (by.name().to_owned(), json!(name)))
            .collect();
        for (name, value) in figures(row) {
            object.insert(name.to_owned(), value);
        }
        object
    };
    json!({
        "by": table.by,
        "since_ms": query.since_ms,
        "until_ms": query.until_ms,
        "rows": table.rows.iter().map(object).collect::<Vec<_>>(),
        "total": object(total),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use distill_gateway::Usd;
    use distill_ledger::{Dimension, Tokens, UsageQuery, UsageRow, UsageTable};

    use super::{csv, field, json, table};

    fn usage() -> UsageTable {
        UsageTable {
            by: vec![Dimension::Team, Dimension::Model],
            rows: vec![
                UsageRow {
                    group: vec![Some("search, web".to_owned()), Some("gpt-5".to_owned())],
                    requests: 12,
                    attempts: 13,
                    failovers: 1,
                    tokens: Tokens {
                        input: Some(1_000),
                        output: Some(50),
                        reasoning: Some(150),
                        ..Tokens::default()
                    },
                    reasoning_share: Some(0.75),
                    usd: Some(Usd::from_dollars(1.25)),
                    latency_p50: Some(Duration::from_millis(1_500)),
                    ..UsageRow::default()
                },
                UsageRow {
                    group: vec![None, Some("fast".to_owned())],
                    requests: 1,
                    attempts: 1,
                    without_usage: 1,
                    unsettled: 1,
                    usd_unsettled: Usd::from_dollars(0.5),
                    simulated: true,
                    ..UsageRow::default()
                },
            ],
        }
    }

    #[test]
    fn a_table_says_unknown_and_simulated() {
        let usage = usage();
        let text = table(&usage, &usage.total());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("team"), "{text}");
        assert!(
            lines[1].contains("150 (75%)") && lines[1].contains("$1.25"),
            "{text}"
        );
        assert!(lines[1].contains("unknown"), "cached tokens: {text}");
        assert!(
            lines[2].contains("unknown") && lines[2].contains("≤ $0.50"),
            "{text}"
        );
        assert!(
            lines[2].ends_with("SIMULATED") && !lines[1].ends_with("SIMULATED"),
            "{text}"
        );
        assert!(
            lines[3].starts_with("together") && lines[3].contains("1000+?"),
            "{text}"
        );
        assert!(text.contains("1 answers reported no usage"), "{text}");
    }

    #[test]
    fn csv_leaves_empty_what_was_not_reported() {
        let text = csv(&usage());
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("team,model,requests,failures"),
            "{text}"
        );
        assert!(
            lines[1].starts_with("\"search, web\",gpt-5,12,0,0,1,13,1000,,,50,150,0.75,0,1.25,")
        );
        assert!(
            lines[2].starts_with(",fast,1,0,0,0,1,,,,,,,1,,0.5,1,"),
            "{text}"
        );
        assert_eq!(field("=1+1"), "'=1+1");
        assert_eq!(field("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn json_holds_every_figure() {
        let usage = usage();
        let value = json(&usage, &usage.total(), &UsageQuery::default());
        assert_eq!(value["rows"][0]["team"], "search, web");
        assert_eq!(value["rows"][0]["usd"], 1.25);
        assert_eq!(value["rows"][0]["latency_p50_ms"], 1500.0);
        assert!(value["rows"][1]["usd"].is_null());
        assert_eq!(value["rows"][1]["simulated"], true);
        assert_eq!(value["total"]["requests"], 13);
        assert_eq!(value["by"][1], "model");
    }
}
