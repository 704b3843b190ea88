//! `distill prices`: what models cost, how old that is, and the import that makes the table.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use distill_gateway::{PriceRow, PriceTable, date_of_days, days_of_date};
use distill_steps::prices;
use serde_json::json;

use crate::{arguments::Format, environment, failure::Failure};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  distill prices openai/gpt-4.1-mini\n  distill prices claude\n  distill prices import --litellm model_prices_and_context_window.json --genai data.json --out prices.json"
)]
pub(crate) struct PricesArguments {
    #[command(subcommand)]
    command: Option<PricesCommand>,
    /// A model, or a part of its name [default: all models]
    model: Option<String>,
    #[arg(
        long,
        value_name = "FILE",
        help = "A price table whose rows go before the program's own [default: $DISTILL_PRICES]"
    )]
    prices: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum PricesCommand {
    /// Make a price table from two public ones
    Import(ImportArguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "LiteLLM's model_prices_and_context_window.json and genai-prices' prices/data.json are read as they are.\nWhere both price a model, LiteLLM's figures are taken and the row says what the other says.\n\nExample:\n  distill prices import --litellm model_prices_and_context_window.json --genai data.json --out prices.json"
)]
struct ImportArguments {
    #[arg(long, value_name = "FILE", help = "LiteLLM's table")]
    litellm: PathBuf,
    /// genai-prices' table
    #[arg(long, value_name = "FILE")]
    genai: PathBuf,
    /// Where the table goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn execute(arguments: &PricesArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Some(PricesCommand::Import(arguments)) => import(arguments),
        None => list(arguments),
    }
}

fn import(arguments: &ImportArguments) -> Result<ExitCode, Failure> {
    let read = |path: &PathBuf| {
        environment::read_text(path).map_err(|error| {
            Failure::bad_input(format!("`{}` cannot be read", path.display()))
                .caused_by(error)
                .hint("fetch both tables first: nothing is downloaded here")
        })
    };
    let table =
        distill_gateway::import_prices(&read(&arguments.litellm)?, &read(&arguments.genai)?)
            .map_err(|error| {
                Failure::bad_input("the price table cannot be made")
                    .caused_by(error)
                    .hint("`--litellm` takes model_prices_and_context_window.json, `--genai` the data.json of genai-prices")
            })?;
    let text = table.to_text();
    match &arguments.out {
        None => print!("{text}"),
        Some(path) => {
            std::fs::write(path, text).map_err(|error| {
                Failure::failed(format!("`{}` cannot be written", path.display())).caused_by(error)
            })?;
            let differing = table.prices.iter().filter(|row| row.disagrees.is_some());
            eprintln!(
                "{} prices, of which the two tables disagree on {}; {}",
                table.prices.len(),
                differing.count(),
                table.rule
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(arguments: &PricesArguments) -> Result<ExitCode, Failure> {
    let environment = environment::with_prices(arguments.prices.as_deref());
    let own = prices::table(&environment).map_err(Failure::from)?;
    let table = own.as_deref().unwrap_or(PriceTable::embedded());
    let today = prices::today();
    let rows = wanted(table, arguments.model.as_deref(), &date_of_days(today));
    if rows.is_empty() {
        let model = arguments.model.as_deref().unwrap_or_default();
        return Err(Failure::bad_input(format!(
            "no model of the price table is called `{model}`"
        ))
        .hint("give `input_usd_per_million` and `output_usd_per_million` beside the model, or a table of your own with `--prices`"));
    }
    if arguments.format == Format::Json {
        let rows: Vec<_> = rows
            .iter()
            .map(|row| json!({ "price": row, "age_days": age(row, today) }))
            .collect();
        println!(
            "{}",
            serde_json::to_string_pretty(&rows).expect("a price is plain data")
        );
        return Ok(ExitCode::SUCCESS);
    }
    let width = rows.iter().map(|row| row.name().len()).max().unwrap_or(0);
    println!("USD per million tokens\n");
    println!(
        "{:width$}  {:>9} {:>9} {:>9} {:>9}  age",
        "model", "input", "output", "cached", "write"
    );
    for row in &rows {
        println!("{}", text(row, width, today));
        // Details only where there is room to read them.
        if rows.len() <= 12 {
            for line in details(row) {
                println!("  {line}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The rows of the models asked for that hold today: the one of that very name, else all whose name
/// holds the text.
fn wanted<'a>(table: &'a PriceTable, model: Option<&str>, day: &str) -> Vec<&'a PriceRow> {
    let Some(model) = model else {
        return holding(table, day, |_| true);
    };
    if let Some((vendor, name)) = model.split_once('/')
        && let Some(row) = table.find(vendor, name, Some(day))
    {
        return vec![row];
    }
    let exact = holding(table, day, |row| row.model == model);
    if exact.is_empty() {
        holding(table, day, |row| row.name().contains(model))
    } else {
        exact
    }
}

fn holding<'a>(
    table: &'a PriceTable,
    day: &str,
    wanted: impl Fn(&PriceRow) -> bool,
) -> Vec<&'a PriceRow> {
    table
        .prices
        .iter()
        .filter(|row| row.holds_on(Some(day)) && wanted(row))
        .collect()
}

fn age(row: &PriceRow, today: i64) -> Option<i64> {
    Some(today - days_of_date(row.as_of.as_deref()?)?)
}

fn text(row: &PriceRow, width: usize, today: i64) -> String {
    let cell = |price: Option<f64>| price.map_or_else(|| "-".to_owned(), |price| price.to_string());
    let age = age(row, today).map_or_else(|| "not dated".to_owned(), |days| format!("{days} days"));
    format!(
        "{:width$}  {:>9} {:>9} {:>9} {:>9}  {age}{}",
        row.name(),
        cell(Some(row.input)),
        cell(Some(row.output)),
        cell(row.cached_input),
        cell(row.cache_write),
        if row.disagrees.is_some() {
            "  (sources disagree)"
        } else {
            ""
        }
    )
}

fn details(row: &PriceRow) -> Vec<String> {
    let mut lines: Vec<String> = row
        .tiers
        .iter()
        .map(|tier| {
            format!(
                "requests of more than {} tokens: input {}, output {}",
                tier.above, tier.input, tier.output
            )
        })
        .collect();
    if let Some(batch) = row.batch {
        lines.push(format!(
            "batch: input {}, output {}",
            batch.input, batch.output
        ));
    }
    let holds = match (&row.from, &row.to) {
        (Some(from), Some(to)) => Some(format!("holds from {from} until {to}")),
        (Some(from), None) => Some(format!("holds from {from}")),
        (None, Some(to)) => Some(format!("holds until {to}")),
        (None, None) => None,
    };
    lines.extend(holds);
    lines.extend(row.note());
    if let Some(as_of) = &row.as_of {
        lines.push(format!("read on {as_of}"));
    }
    lines
}
