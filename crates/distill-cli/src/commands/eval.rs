//! `distill eval`: scores answerers on a suite of rows, compares them, and lists the scorers.

mod compare;
mod junit;
mod label;
mod render;
mod run;
mod scorers;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::failure::Failure;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill eval run evals/quickstart.yaml\n  distill eval compare results/samples/a.jsonl results/samples/b.jsonl\n  distill eval scorers"
)]
pub(crate) struct EvalArguments {
    #[command(subcommand)]
    pub(crate) command: EvalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Score one or several answerers on the rows of a suite, and compare them pair by pair
    Run(run::RunArguments),
    /// Compare two files of recorded answers that `eval run` wrote
    Compare(compare::CompareArguments),
    /// Ask people for the right answers of the test rows that are worth most
    Label(label::LabelArguments),
    /// List the scorers, what they measure and what they can be set to
    Scorers(scorers::ScorersArguments),
}

/// How results are written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EvalFormat {
    #[value(alias = "terminal")]
    Text,
    Markdown,
    Json,
}

pub(crate) async fn execute(arguments: &EvalArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        EvalCommand::Run(arguments) => run::execute(arguments).await,
        EvalCommand::Compare(arguments) => compare::execute(arguments),
        EvalCommand::Label(arguments) => label::execute(arguments),
        EvalCommand::Scorers(arguments) => Ok(scorers::execute(arguments)),
    }
}
