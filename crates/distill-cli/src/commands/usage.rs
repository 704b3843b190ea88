//! `distill usage`: who asked what of whom, and what it cost.

mod render;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use distill_ledger::{Clock, Dimension, UsageQuery, UsageTable};

use super::ledger::{LedgerArguments, failure, moment};
use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(
    after_help = "Dimensions: user, team, discipline, level, task, route, key, dialect, model, target, vendor, day,\nhour, minute. The dearest come first, or the oldest where a time is asked for first.\nClasses of tokens are disjoint: input is without cached ones, output without reasoning. `unknown`\nwas not reported and is not 0; `unsettled` is what attempts cost at most that are under way or whose\ncost nobody told; `-` in place of a name: none, such as the model of a request that nobody answered.\n\nExamples:\n  distill usage\n  distill usage --by team,model --since 30d\n  distill usage --by user --only vendor=anthropic --top 10\n  distill usage --by day,discipline --format csv > usage.csv"
)]
pub(crate) struct UsageArguments {
    /// What to tell apart by, with commas between
    #[arg(long, value_name = "DIMENSIONS", default_value = "user")]
    by: String,
    /// From when: a date (UTC), or a span like 30d, 12h
    #[arg(long, value_name = "WHEN", default_value = "30d")]
    since: String,
    /// Until when [default: now]
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only these, such as team=search; repeatable
    #[arg(long, value_name = "DIMENSION=VALUE")]
    only: Vec<String>,
    /// Show so many rows; the sum is of all
    #[arg(long, value_name = "COUNT")]
    top: Option<usize>,
    #[arg(long, value_enum, default_value = "table")]
    format: UsageFormat,
    #[command(flatten)]
    ledger: LedgerArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum UsageFormat {
    Table,
    Csv,
    Json,
}

pub(crate) async fn execute(arguments: &UsageArguments) -> Result<ExitCode, Failure> {
    let query = query(arguments, Clock::System.now_ms())?;
    let found = arguments.ledger.open(false).await?;
    let table = found.records.usage(&query).await.map_err(failure)?;
    let total = table.total();
    let shown = UsageTable {
        by: table.by,
        rows: table
            .rows
            .into_iter()
            .take(arguments.top.unwrap_or(usize::MAX))
            .collect(),
    };
    match arguments.format {
        UsageFormat::Table if shown.rows.is_empty() => {
            eprintln!("nothing is on record in {} for that", found.records.name());
        }
        UsageFormat::Table => print!("{}", render::table(&shown, &total)),
        UsageFormat::Csv => print!("{}", render::csv(&shown)),
        UsageFormat::Json => println!("{:#}", render::json(&shown, &total, &query)),
    }
    Ok(ExitCode::SUCCESS)
}

fn query(arguments: &UsageArguments, now_ms: i64) -> Result<UsageQuery, Failure> {
    let mut by = Vec::new();
    for name in arguments.by.split(',').map(str::trim) {
        if name.is_empty() {
            continue;
        }
        let dimension = dimension(name)?;
        if !by.contains(&dimension) {
            by.push(dimension);
        }
    }
    let mut only = Vec::new();
    for one in &arguments.only {
        let (name, value) = one.split_once('=').ok_or_else(|| {
            Failure::bad_input(format!("`--only {one}` names no value"))
                .hint("write it like `--only team=search`")
        })?;
        let dimension = dimension(name)?;
        if matches!(
            dimension,
            Dimension::Day | Dimension::Hour | Dimension::Minute
        ) {
            return Err(Failure::bad_input(format!("`--only {one}` is a time"))
                .hint("use `--since` and `--until`"));
        }
        only.push((dimension, value.to_owned()));
    }
    let until_ms = match &arguments.until {
        Some(until) => Some(moment(until, now_ms, false)?),
        None => None,
    };
    Ok(UsageQuery {
        by,
        since_ms: Some(moment(&arguments.since, now_ms, false)?),
        until_ms,
        only,
    })
}

fn dimension(name: &str) -> Result<Dimension, Failure> {
    Dimension::from_name(name).ok_or_else(|| {
        let names = Dimension::ALL.map(Dimension::name).join(", ");
        Failure::bad_input(format!("usage is not told apart by `{name}`"))
            .hint(format!("one or more of {names}"))
    })
}
