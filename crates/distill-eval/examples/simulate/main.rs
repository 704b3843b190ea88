//! Simulates what the statistics promise, and fails when a promise is not kept.
//!
//! ```text
//! cargo run --release -p distill-eval --example simulate -- --draws 10000 > evals/simulation/summary.md
//! ```
//!
//! Exits with code 1 when a limit is missed by more than two Monte Carlo errors.

use std::process::ExitCode;

use study::{Study, Table};

mod coverage;
mod decisions;
mod deferral;
mod model;
mod study;
#[cfg(test)]
mod tests;

const USAGE: &str = "usage: simulate [--draws N] [--seed N] [--only WORD]";

fn main() -> ExitCode {
    let mut study = Study {
        draws: 10_000,
        seed: 17,
        errors: 2.0,
    };
    let mut only = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next();
        let number = value.as_deref().and_then(|value| value.parse::<u64>().ok());
        match (argument.as_str(), value.as_deref(), number) {
            ("--draws", _, Some(draws)) if draws > 0 => study.draws = draws as usize,
            ("--seed", _, Some(seed)) => study.seed = seed,
            ("--only", Some(word), _) => only = Some(word.to_lowercase()),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    println!("{}", introduction(&study));
    let mut missed = Vec::new();
    for (title, make) in TABLES {
        if only
            .as_ref()
            .is_some_and(|word| !title.contains(word.as_str()))
        {
            continue;
        }
        eprintln!("{title}");
        let table = make(&study);
        println!("{}", table.markdown(study.errors));
        missed.extend(
            table
                .lines
                .iter()
                .filter(|line| !line.is_kept(study.errors))
                .map(|line| format!("{}: {}", table.title, line.cell)),
        );
    }
    if missed.is_empty() {
        println!("Every limit is kept.");
        return ExitCode::SUCCESS;
    }
    println!("Missed:\n");
    for line in &missed {
        println!("- {line}");
        eprintln!("missed: {line}");
    }
    ExitCode::FAILURE
}

/// Every table, under the word that `--only` finds it by.
const TABLES: &[(&str, fn(&Study) -> Table)] = &[
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
