//! `distill init`: scaffolds a pipeline from a data file. Uses no network.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use distill_steps::dataset::scaffold::{Scaffold, ScaffoldError, Wishes};

use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill init your.csv\n  distill init tickets.jsonl --text body --label queue --out tickets"
)]
pub(crate) struct InitArguments {
    /// The data: .csv, .jsonl or .json
    pub(crate) data: PathBuf,
    /// Column with the text [default: guessed]
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// Column with the human answer [default: guessed]
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// Folder for the pipeline and its data [default: the file's name without its ending]
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Overwrite what is in the folder
    #[arg(long)]
    pub(crate) force: bool,
}

pub(crate) fn execute(arguments: &InitArguments) -> Result<ExitCode, Failure> {
    let wishes = Wishes {
        text: arguments.text.clone(),
        label: arguments.label.clone(),
    };
    let scaffold = Scaffold::new(&arguments.data, &wishes).map_err(failure)?;
    let folder = arguments
        .out
        .clone()
        .unwrap_or_else(|| default_folder(&arguments.data));
    let written = scaffold.write(&folder, arguments.force).map_err(failure)?;
    for note in &scaffold.notes {
        eprintln!("{note}");
    }
    for warning in &scaffold.warnings {
        eprintln!("warning: {warning}");
    }
    for path in &written {
        eprintln!("wrote {}", path.display());
    }
    let pipeline = written.last().map_or(folder.as_path(), PathBuf::as_path);
    if scaffold.guess.label.is_none() {
        eprintln!(
            "next: put your labels into {0}, then type",
            pipeline.display()
        );
    } else {
        eprintln!("next: look through {}, then type", pipeline.display());
    }
    println!("distill run {}", pipeline.display());
    Ok(ExitCode::SUCCESS)
}

fn default_folder(data: &Path) -> PathBuf {
    data.file_stem()
        .map_or_else(|| PathBuf::from("pipeline"), PathBuf::from)
}

fn failure(error: ScaffoldError) -> Failure {
    let hint = error.hint();
    let failure = match error {
        ScaffoldError::Data(error) => return super::data::failure(&error),
        other => Failure::bad_input(other.to_string()),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
