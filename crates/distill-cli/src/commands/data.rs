//! `distill data`: lists, shows and fetches data sets.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use distill_steps::dataset::{self, Card, DatasetError, Places, PullProgress, Pulled, PulledFrom};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{arguments::Format, environment, failure::Failure};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill data list\n  distill data show banking77\n  distill data pull banking77"
)]
pub(crate) struct DataArguments {
    #[command(subcommand)]
    pub(crate) command: DataCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// List the data sets that have a card
    List(ListArguments),
    /// Show the card of a data set
    Show(ShowArguments),
    /// Fetch the files of a data set, and check them
    Pull(PullArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  distill data list")]
pub(crate) struct ListArguments {
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  distill data show support-intents")]
pub(crate) struct ShowArguments {
    /// Name of the data set
    pub(crate) name: String,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Files that $DISTILL_DATA_DIR/NAME/ has are taken from there.\n\nExample:\n  distill data pull banking77"
)]
pub(crate) struct PullArguments {
    /// Name of the data set
    pub(crate) name: String,
}

pub(crate) async fn execute(arguments: &DataArguments) -> Result<ExitCode, Failure> {
    let places = Places {
        data_dir: environment::reader()("DISTILL_DATA_DIR").map(PathBuf::from),
        home: environment::home_path(),
        beside: PathBuf::from("."),
    };
    match &arguments.command {
        DataCommand::List(arguments) => list(arguments, &places),
        DataCommand::Show(arguments) => show(arguments, &places),
        DataCommand::Pull(arguments) => pull(arguments, &places).await,
    }
}

fn list(arguments: &ListArguments, places: &Places) -> Result<ExitCode, Failure> {
    let cards = dataset::cards(places).map_err(|error| failure(&error))?;
    if arguments.format == Format::Json {
        let names: Vec<_> = cards.iter().map(summary).collect();
        println!(
            "{}",
            serde_json::to_string_pretty(&names).expect("a listing serialises")
        );
        return Ok(ExitCode::SUCCESS);
    }
    let width = cards
        .iter()
        .map(|card| card.name.len())
        .max()
        .unwrap_or_default();
    for card in &cards {
        let splits: Vec<String> = card
            .splits
            .iter()
            .map(|(name, split)| format!("{name} {}", split.rows))
            .collect();
        println!(
            "{:width$}  {} ({})",
            card.name,
            card.title,
            splits.join(", ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(card: &Card) -> serde_json::Value {
    json!({
        "name": card.name,
        "title": card.title,
        "licence": card.licence,
        "splits": card.splits,
        "gold": card.gold,
    })
}

fn show(arguments: &ShowArguments, places: &Places) -> Result<ExitCode, Failure> {
    let card = dataset::find_card(&arguments.name, places).map_err(|error| failure(&error))?;
    if arguments.format == Format::Json {
        println!(
            "{}",
            serde_json::to_string_pretty(&card).expect("a card serialises")
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}: {}\n\n{}\n", card.name, card.title, card.about.trim());
    println!(
        "source       {}\nlicence      {}\nattribution  {}\n",
        card.source,
        card.licence,
        card.attribution.trim()
    );
    for (name, split) in &card.splits {
        println!(
            "split {name}: {} rows, {} bytes, {}",
            split.rows, split.bytes, split.file
        );
    }
    println!();
    for (name, meaning) in &card.columns {
        let gold = if *name == card.gold {
            " (the human answer)"
        } else {
            ""
        };
        println!(
            "column {name}{gold}: {}",
            meaning.as_str().unwrap_or_default().trim()
        );
    }
    let example = serde_json::to_string(&card.example).expect("a map of JSON values serialises");
    println!("\nmade-up row  {example}\n");
    for fact in &card.facts {
        println!("- {fact}");
    }
    println!(
        "\nin a pipeline: {{dataset: {}, split: {}}}",
        card.name,
        card.splits
            .keys()
            .next_back()
            .map_or("NAME", String::as_str)
    );
    Ok(ExitCode::SUCCESS)
}

async fn pull(arguments: &PullArguments, places: &Places) -> Result<ExitCode, Failure> {
    let card = dataset::find_card(&arguments.name, places).map_err(|error| failure(&error))?;
    let bar = if environment::is_terminal() {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    bar.set_style(
        ProgressStyle::with_template("{msg:16} {bar:30} {bytes}/{total_bytes}")
            .expect("the template is well formed"),
    );
    let mut progress = |at: PullProgress<'_>| {
        bar.set_message(at.file.to_owned());
        bar.set_length(at.total);
        bar.set_position(at.bytes);
    };
    let token = super::interruption();
    let pulled = tokio::select! {
        pulled = dataset::pull(&card, places, &mut progress) => pulled.map_err(|error| failure(&error))?,
        () = token.cancelled() => return Ok(ExitCode::from(crate::failure::exit::INTERRUPTED)),
    };
    bar.finish_and_clear();
    for Pulled {
        split,
        path,
        bytes,
        from,
    } in &pulled
    {
        let from = match from {
            PulledFrom::Present => "was there",
            PulledFrom::Embedded => "from the program",
            PulledFrom::Downloaded => "downloaded",
        };
        println!(
            "{split}: {} ({bytes} bytes, sha256 verified, {from})",
            path.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// A data error with its cause, its hint and its exit code.
pub(super) fn failure(error: &DatasetError) -> Failure {
    let message = error.to_string();
    let mut failure = match error {
        // What the network or the disk refused may work the next time.
        DatasetError::Download { .. } | DatasetError::Unwritable { .. } => Failure::failed(message),
        _ => Failure::bad_input(message),
    };
    if let Some(source) = std::error::Error::source(error) {
        failure = failure.caused_by(source);
    }
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
