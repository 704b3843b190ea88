//! Simulates what the statistics promise, and fails when a promise is not kept.
//!
//! ```text
//! cargo run --release -p distill-eval --example simulate -- --draws 10000 > evals/simulation/summary.md
//! ```
//!
//! Exits with code 1 when a limit is missed by more than two Monte Carlo errors.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use study::{Study, Table};

mod coverage;
mod decisions;
mod deferral;
mod model;
mod study;
#[cfg(test)]
mod tests;

const USAGE: &str = "usage: simulate [--draws N] [--seed N] [--only WORD]";

/// What the command line asks for.
struct Asked {
    study: Study,
    only: Option<String>,
}

fn main() -> ExitCode {
    let Some(asked) = asked(std::env::args().skip(1)) else {
        return told(writeln!(io::stderr(), "{USAGE}"), ExitCode::from(2));
    };
    match simulate(&asked) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => told(Err(error), ExitCode::FAILURE),
    }
}

/// The exit code, unless not even the message could be written.
fn told(written: io::Result<()>, code: ExitCode) -> ExitCode {
    written.map_or(ExitCode::FAILURE, |()| code)
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Option<Asked> {
    let mut asked = Asked {
        study: Study {
            draws: 10_000,
            seed: 17,
            errors: 2.0,
        },
        only: None,
    };
    while let Some(argument) = arguments.next() {
        let value = arguments.next()?;
        match argument.as_str() {
            "--draws" => asked.study.draws = value.parse().ok().filter(|draws| *draws > 0)?,
            "--seed" => asked.study.seed = value.parse().ok()?,
            "--only" => asked.only = Some(value.to_lowercase()),
            _ => return None,
        }
    }
    Some(asked)
}

/// Writes the summary; whether every limit is kept.
fn simulate(asked: &Asked) -> io::Result<bool> {
    let (mut summary, mut progress) = (io::stdout(), io::stderr());
    let study = &asked.study;
    writeln!(summary, "{}", introduction(study))?;
    let mut missed = Vec::new();
    for (title, make) in TABLES {
        if asked
            .only
            .as_ref()
            .is_some_and(|word| !title.contains(word.as_str()))
        {
            continue;
        }
        writeln!(progress, "{title}")?;
        let table = make(study);
        writeln!(summary, "{}", table.markdown(study.errors))?;
        missed.extend(
            table
                .lines
                .iter()
                .filter(|line| !line.is_kept(study.errors))
                .map(|line| format!("{}: {}", table.title, line.cell)),
        );
    }
    if missed.is_empty() {
        writeln!(summary, "Every limit is kept.")?;
        return Ok(true);
    }
    writeln!(summary, "Missed:\n")?;
    for line in &missed {
        writeln!(summary, "- {line}")?;
        writeln!(progress, "missed: {line}")?;
    }
    Ok(false)
}

/// Makes one table.
type Make = fn(&Study) -> Table;

/// Every table, under the word that `--only` finds it by.
const TABLES: &[(&str, Make)] = &[
    ("wilson", coverage::wilson_table),
    ("tango", coverage::tango_table),
    ("bca mean", coverage::mean_table),
    ("bca macro f1", coverage::macro_f1_table),
    ("bca clustered", coverage::clustered_table),
    ("bca percentile", coverage::percentile_table),
    ("kappa", coverage::kappa_table),
    ("prediction-powered", coverage::prediction_powered_table),
    ("exact", coverage::exact_table),
    ("false claims", decisions::false_claims_table),
    ("power", decisions::power_table),
    ("cascade", deferral::table),
];

fn introduction(study: &Study) -> String {
    format!(
        "# Simulation of the statistics\n\n\
         What the intervals, the verdict and the cascade promise, held against worlds whose truth is known. \
         {} draws a cell, seed {}. A limit is missed when a share lies more than two Monte Carlo errors beyond it; \
         single cells without a limit are shown for the average below them. Made by\n\n\
         ```text\n\
         cargo run --release -p distill-eval --example simulate -- --draws {} --seed {} > evals/simulation/summary.md\n\
         ```\n\n\
         which exits with 1 when a limit is missed. The same code with few draws is a test of the crate.\n",
        study.draws, study.seed, study.draws, study.seed
    )
}
