//! Does distillation from a local teacher beat plain cross-entropy on few rows? Measures it.
//!
//! ```text
//! cargo run --release -p distill-train --example distillation
//! cargo run --release -p distill-train --example distillation -- --tune
//! ```
//!
//! Task, stated before anything was run: a prompt of eight of sixteen letters is answered with four letters,
//! the images of the first four under a fixed permutation of the alphabet, and a stop token. Every
//! letter of a reply in the training data is wrong by chance with a stated probability, as an annotator's would
//! be. Figure of merit, stated before too: the share of the letters of greedy replies to held-out prompts that
//! are right, against replies without errors.
//!
//! The teacher learns from plenty of rows of that data; each student from few, from random weights, with
//! the same number of optimizer steps, rows and order of rows in every arm. The number of rows was chosen so that
//! plain cross-entropy gets most but not all letters right, learning rate and steps are those that serve it
//! best, both on seeds of their own (`--tune`): the comparison leans its way. Arms are paired by seed: a seed
//! fixes rows, errors, initial weights and order. `RESULTS.md` beside this file has the figures.

#![expect(clippy::print_stdout, reason = "a measurement reports itself")]

mod study;
mod task;

use std::process::ExitCode;

use study::{Arm, Study};

/// Seeds of the comparison; `--tune` takes others.
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];
const TUNING_SEEDS: [u64; 3] = [101, 102, 103];
/// Two-sided 95% quantile of Student's t with four degrees of freedom.
const T_FOUR: f64 = 2.776;

fn main() -> ExitCode {
    let tune = std::env::args()
        .skip(1)
        .any(|argument| argument == "--tune");
    let done = if tune { tuned() } else { compared() };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Plain cross-entropy over numbers of rows, learning rates and steps.
fn tuned() -> Result<(), Box<dyn std::error::Error>> {
    println!("cross-entropy, share of letters right on seeds {TUNING_SEEDS:?}");
    for (few, errors) in [(256, 0.2), (512, 0.2), (256, 0.0)] {
        for learning_rate in [3e-3, 1e-2] {
            for steps in [100, 200, 400] {
                let study = Study::new(few, errors, learning_rate, steps);
                let right = TUNING_SEEDS
                    .iter()
                    .map(|seed| study.student(Arm::CrossEntropy, *seed).map(|it| it.right))
                    .collect::<Result<Vec<_>, _>>()?;
                println!(
                    "rows {few}, errors {errors}, rate {learning_rate}, steps {steps}: {:.4}",
                    mean(&right)
                );
            }
        }
    }
    Ok(())
}

fn compared() -> Result<(), Box<dyn std::error::Error>> {
    // The first by `--tune`. Without errors 256 rows teach plain cross-entropy all there is, so half of them
    // stand for that case.
    for (few, errors, learning_rate, steps) in [(256, 0.2, 1e-2, 400), (128, 0.0, 1e-2, 400)] {
        let mut study = Study::new(few, errors, learning_rate, steps);
        let teacher = study.teach()?;
        println!("\nerrors in the training replies: {errors}");
        println!("{}", study.described());
        println!(
            "teacher: {:.4} of the letters right, {:.4} nats a token",
            teacher.right, teacher.loss
        );
        let mut plain = Vec::new();
        for arm in Arm::ALL {
            let made = SEEDS
                .iter()
                .map(|seed| study.student(arm, *seed))
                .collect::<Result<Vec<_>, _>>()?;
            let right: Vec<f64> = made.iter().map(|it| it.right).collect();
            let loss: Vec<f64> = made.iter().map(|it| it.loss).collect();
            println!(
                "{:<22} right {:.4} {right:.4?}, {:.4} nats a token, {} tokens trained on",
                arm.name(),
                mean(&right),
                mean(&loss),
                made[0].tokens,
            );
            if arm == Arm::CrossEntropy {
                plain = right;
                continue;
            }
            let differences: Vec<f64> = right.iter().zip(&plain).map(|(a, b)| a - b).collect();
            let half = T_FOUR * standard_error(&differences);
            let middle = mean(&differences);
            println!(
                "{:<22} {middle:+.4}, 95% interval [{:+.4}, {:+.4}] (paired, t, n = 5): {}",
                "  less cross-entropy",
                middle - half,
                middle + half,
                if middle > half {
                    "better"
                } else {
                    "not shown to be better"
                },
            );
        }
    }
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn standard_error(values: &[f64]) -> f64 {
    let middle = mean(values);
    let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    let n = values.len() as f64;
    (squares / (n - 1.0) / n).sqrt()
}
