//! `distill models`: lists, shows and fetches base models.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use distill_hub::{ModelName, Progress, Snapshot};
use distill_steps::models::{self, BATCH_TOKENS, Listing, ModelFacts, SERVED_TOKENS};
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::interruption;
use crate::{arguments::Format, environment, failure::Failure};

/// The list of models that is read where it is there.
const OWN_LIST: &str = "models.yaml";

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "A list of your own, `models.yaml` or --models, has the form that `distill models show NAME --format yaml`\nprints; its rows go before the program's own.\n\nExamples:\n  distill models\n  distill models show qwen3-0.6b\n  distill models fetch Qwen/Qwen3-0.6B"
)]
pub(crate) struct ModelsArguments {
    #[command(subcommand)]
    command: Option<ModelsCommand>,
    #[command(flatten)]
    list: ListArguments,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Args)]
struct ListArguments {
    #[arg(
        long,
        value_name = "FILE",
        help = "A list whose rows go before the program's own [default: models.yaml, where it is there]"
    )]
    models: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Show all that is known of a model
    Show(ShowArguments),
    /// Fetch a model from the hub, or what is missing of it
    Fetch(FetchArguments),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ShowFormat {
    Text,
    Json,
    Yaml,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  distill models show qwen3-0.6b --format yaml > models.yaml")]
struct ShowArguments {
    /// The model, as the list calls it or as the hub does
    name: String,
    #[command(flatten)]
    list: ListArguments,
    /// Form of the result; yaml: a list of this one row
    #[arg(long, value_enum, default_value = "text")]
    format: ShowFormat,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Files go to the cache that Python's huggingface_hub uses: HF_HUB_CACHE, HF_HOME and HF_ENDPOINT are\nheeded, HF_TOKEN (or the token that `hf auth login` kept) opens gated models, HF_HUB_OFFLINE=1 asks\nnobody. A branch or tag is looked up anew; a commit after `@` always means the same files.\n\nExamples:\n  distill models fetch Qwen/Qwen3-0.6B\n  distill models fetch Qwen/Qwen2.5-0.5B@060db6499f32faf8b98477b0a26969ef7d8b9987"
)]
struct FetchArguments {
    /// The model: `org/name`, `org/name@revision`, or a name of the list
    name: String,
    #[command(flatten)]
    list: ListArguments,
}

pub(crate) async fn execute(arguments: &ModelsArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        None => list(arguments),
        Some(ModelsCommand::Show(arguments)) => show(arguments),
        Some(ModelsCommand::Fetch(arguments)) => fetch(arguments).await,
    }
}

impl ListArguments {
    /// The program's models with the user's own in front.
    fn read(&self) -> Result<Vec<Listing>, Failure> {
        let path = match &self.models {
            Some(path) => Some(path.as_path()),
            None => Some(Path::new(OWN_LIST)).filter(|path| path.is_file()),
        };
        let own = path
            .map(|path| {
                environment::read_text(path).map_err(|error| {
                    Failure::bad_input(format!("`{}` cannot be read", path.display()))
                        .caused_by(error)
                })
            })
            .transpose()?;
        models::list(own.as_deref(), &environment::reader()).map_err(|error| {
            let place = path.map_or_else(|| "of this program".into(), Path::to_string_lossy);
            Failure::bad_input(format!("the list of models `{place}` cannot be used"))
                .caused_by(error)
                .hint(
                    "`distill models show qwen3-0.6b --format yaml` prints a row as it is to look",
                )
        })
    }
}

fn list(arguments: &ModelsArguments) -> Result<ExitCode, Failure> {
    let listings = arguments.list.read()?;
    if arguments.format == Format::Json {
        print_json(&listings);
        return Ok(ExitCode::SUCCESS);
    }
    let width = listings.iter().map(|l| l.row.name.len()).max().unwrap_or(0);
    let id = listings.iter().map(|l| l.row.id.len()).max().unwrap_or(0);
    println!(
        "{:width$}  {:id$}  {:8} {:>7} {:>8} {:>9} {:>9}  licence",
        "model", "on the hub", "family", "weights", "context", "to train", "to serve"
    );
    for listing in &listings {
        let row = &listing.row;
        let head = format!("{:width$}  {:id$}", row.name, row.id);
        match (&listing.facts, &listing.unread) {
            (Some(facts), _) => println!(
                "{head}  {:8} {:>7} {:>8} {:>9} {:>9}  {}{}",
                facts.family,
                count(facts.parameters),
                facts.context,
                facts.lora_bytes.map_or_else(|| "-".to_owned(), bytes),
                bytes(facts.serve_bytes),
                row.licence,
                if listing.fetched { "  (fetched)" } else { "" }
            ),
            (None, Some(unread)) => println!("{head}  cannot be used: {}", unread.0),
            (None, None) => println!("{head}"),
        }
    }
    println!(
        "\nto train: estimated peak with LoRA of rank 16 on all projections over bf16 weights, batches of {BATCH_TOKENS} tokens\nto serve: bf16 weights, keys and values of one row of {SERVED_TOKENS} tokens"
    );
    Ok(ExitCode::SUCCESS)
}

fn show(arguments: &ShowArguments) -> Result<ExitCode, Failure> {
    let listing = find(&arguments.list, &arguments.name)?;
    match arguments.format {
        ShowFormat::Json => print_json(&listing),
        ShowFormat::Yaml => print!("{}", as_yaml(&listing)),
        ShowFormat::Text => {
            let row = &listing.row;
            println!("{}\n", row.name);
            let name = row
                .model_name()
                .map_or(row.id.clone(), |name| name.to_string());
            println!("on the hub   {name}");
            println!("licence      {}", row.licence);
            println!("read from    {}", row.source);
            println!(
                "fetched      {}",
                if listing.fetched { "yes" } else { "no" }
            );
            if let Some(facts) = &listing.facts {
                show_facts(facts);
            }
            if let Some(unread) = &listing.unread {
                println!("cannot be used: {}", unread.0);
            }
            println!("\nin a pipeline: {{student: {{target: {name}}}}}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show_facts(facts: &ModelFacts) {
    println!("family       {}", facts.family);
    println!(
        "weights      {} ({})",
        count(facts.parameters),
        facts.parameters
    );
    println!("size         {} as bf16", bytes(facts.weight_bytes as u64));
    for (what, estimated) in [("LoRA", facts.lora_bytes), ("QLoRA", facts.qlora_bytes)] {
        if let Some(estimated) = estimated {
            println!(
                "to train     {} with {what} of rank 16 on all projections, batches of {BATCH_TOKENS} tokens (estimated)",
                bytes(estimated)
            );
        }
    }
    println!(
        "to serve     {} with keys and values of {SERVED_TOKENS} tokens",
        bytes(facts.serve_bytes)
    );
    println!("layers       {}", facts.layers);
    println!("width        {}", facts.hidden);
    println!(
        "heads        {} for queries, {} for keys and values",
        facts.heads, facts.key_value_heads
    );
    println!("vocabulary   {}", facts.vocabulary);
    println!("context      {}", facts.context);
}

async fn fetch(arguments: &FetchArguments) -> Result<ExitCode, Failure> {
    let name = if arguments.name.contains('/') {
        arguments.name.parse::<ModelName>().map_err(|error| {
            Failure::bad_input("this model cannot be fetched")
                .caused_by(error)
                .hint("give `org/name`, `org/name@revision`, or a name that `distill models` lists")
        })?
    } else {
        find(&arguments.list, &arguments.name)?
            .row
            .model_name()
            .map_err(|error| Failure::bad_input("this model cannot be fetched").caused_by(error))?
    };
    let Some(snapshot) = fetch_shown(&name, &interruption()).await? else {
        return Ok(ExitCode::from(crate::failure::exit::INTERRUPTED));
    };
    println!("{} {}", snapshot.name, snapshot.folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Fetches a model and shows how far it is; `None` when the user stopped it.
pub(super) async fn fetch_shown(
    name: &ModelName,
    stop: &CancellationToken,
) -> Result<Option<Snapshot>, Failure> {
    let bar = if environment::is_terminal() {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    bar.set_style(
        ProgressStyle::with_template("  {msg:40} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}")
            .expect("the template is well formed"),
    );
    eprintln!("fetching {name}");
    let mut progress = |at: Progress<'_>| {
        bar.set_message(format!("{} ({} of {})", at.file, at.index, at.files));
        bar.set_length(at.total.unwrap_or(at.bytes));
        bar.set_position(at.bytes);
    };
    let environment = environment::reader();
    let fetched = tokio::select! {
        fetched = models::fetch(name, &environment, &mut progress) => fetched?,
        () = stop.cancelled() => {
            bar.finish_and_clear();
            return Ok(None);
        }
    };
    bar.finish_and_clear();
    if let Some(note) = &fetched.note {
        eprintln!("warning: {note}");
    }
    Ok(Some(fetched))
}

fn find(list: &ListArguments, name: &str) -> Result<Listing, Failure> {
    let listings = list.read()?;
    let wanted = |listing: &Listing| {
        let row = &listing.row;
        row.name.eq_ignore_ascii_case(name) || row.id.eq_ignore_ascii_case(name)
    };
    listings.into_iter().find(wanted).ok_or_else(|| {
        Failure::bad_input(format!("no model of the list is called `{name}`")).hint(
            "`distill models` lists them; a model that is not listed is fetched and trained by its hub name all the same",
        )
    })
}

/// A row as a list of the user's own has it.
fn as_yaml(listing: &Listing) -> String {
    let row = &listing.row;
    let revision = row.revision.as_ref().map_or(String::new(), |revision| {
        format!("    revision: {revision}\n")
    });
    let config: String = row
        .config
        .trim_end()
        .lines()
        .map(|line| format!("      {line}\n"))
        .collect();
    let text = |text: &str| serde_json::to_string(text).expect("a text serialises");
    format!(
        "models:\n  - name: {}\n    id: {}\n{revision}    licence: {}\n    source: {}\n    config: |\n{config}",
        text(&row.name),
        text(&row.id),
        text(&row.licence),
        text(&row.source),
    )
}

fn print_json(value: &impl serde::Serialize) {
    println!(
        "{}",
        serde_json::to_string_pretty(value).expect("a listing serialises")
    );
}

fn count(parameters: usize) -> String {
    let millions = parameters as f64 / 1e6;
    if millions >= 1000.0 {
        format!("{:.2}B", millions / 1000.0)
    } else {
        format!("{millions:.0}M")
    }
}

fn bytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}
