//! `distill bench`: what training and loading take on this machine.

mod case;
mod measure;
mod process;

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
    time::Instant,
};

use clap::{Args, Subcommand};
use distill_student::{device::DeviceChoice, weights::DecoderWeights};
use serde_json::json;

use self::{
    case::{Case, Held},
    measure::{Measurement, measure},
};
use crate::{arguments::Format, failure::Failure};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill bench train\n  distill bench train --case 101m --held bf16 --steps 5\n  distill bench load ./Qwen3-0.6B"
)]
pub(crate) struct BenchArguments {
    #[command(subcommand)]
    what: BenchSubject,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text", global = true)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum BenchSubject {
    /// Measure the training of an adapter: rank 16 on every projection, 4 rows a step
    Train(TrainArguments),
    /// Measure the loading of a model's weights
    Load(LoadArguments),
}

#[derive(Debug, Args)]
struct TrainArguments {
    /// Model and rows; may be repeated [default: all but nano]
    #[arg(long, value_enum)]
    case: Vec<Case>,
    /// How the frozen weights are held; may be repeated [default: f32 and bf16]
    #[arg(long, value_enum)]
    held: Vec<Held>,
    /// Measured steps; one more goes before them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=1000), value_name = "N")]
    steps: u16,
    /// Run blocks again in the backward pass instead of keeping them
    #[arg(long)]
    gradient_checkpointing: bool,
    #[arg(
        long,
        default_value_t = 1e-3,
        value_name = "RATE",
        help = "Learning rate, constant"
    )]
    learning_rate: f64,
    /// Measure in this process, on as many threads as `RAYON_NUM_THREADS` says
    #[arg(long)]
    here: bool,
    /// A model's folder instead of a case; implies --here
    #[arg(
        long,
        value_name = "DIR",
        requires = "examples",
        conflicts_with = "case"
    )]
    model: Option<PathBuf>,
    #[arg(
        long,
        value_name = "FILE",
        requires = "model",
        help = "Its rows, one a line: {\"tokens\": [..], \"loss_from\": N}"
    )]
    examples: Option<PathBuf>,
    /// The PEFT adapter to begin with; drawn otherwise
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Where the model runs: `cpu`, `cuda`, `cuda:N`, `metal` or `auto`
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// The most that the device computes, in TFLOP/s of products as it is asked for them; the share of
    /// it that training uses is then shown. An H200 says 989 of bf16
    #[arg(long, value_name = "TFLOPS")]
    peak: Option<f64>,
    /// How often the rows are taken in a step: four rows leave a card idle
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), value_name = "N")]
    repeat: u16,
}

#[derive(Debug, Args)]
struct LoadArguments {
    /// Folder with `config.json` and safetensors files
    model: PathBuf,
}

pub(crate) fn execute(arguments: &BenchArguments) -> Result<ExitCode, Failure> {
    match &arguments.what {
        BenchSubject::Load(load) => print_load(load, arguments.format)?,
        BenchSubject::Train(train) if train.here || train.model.is_some() => {
            let measurement = measure(train)?;
            match arguments.format {
                Format::Json => println!("{}", json!(measurement)),
                Format::Text => print_one(&measurement, train.peak),
            }
        }
        BenchSubject::Train(train) => print_table(train, arguments.format)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_load(arguments: &LoadArguments, format: Format) -> Result<(), Failure> {
    let before = process::memory();
    let (started, cpu) = (Instant::now(), process::cpu_seconds());
    let weights = DecoderWeights::from_dir(&arguments.model).map_err(|error| {
        let name = arguments.model.display();
        Failure::bad_input(format!("cannot load the model `{name}`")).caused_by(error)
    })?;
    let (wall, cpu) = (
        started.elapsed().as_secs_f64(),
        process::cpu_seconds() - cpu,
    );
    let after = process::memory();
    let peak = after.map(|memory| memory.peak);
    match format {
        Format::Json => println!(
            "{}",
            json!({
                "parameters": weights.config().parameter_count(),
                "weight_bytes": weights.bytes(),
                "bytes_before": before.map(|memory| memory.now),
                "peak_bytes": peak,
                "bytes_after": after.map(|memory| memory.now),
                "wall_seconds": wall,
                "cpu_seconds": cpu,
            })
        ),
        Format::Text => {
            println!("weights        {}", megabytes(Some(weights.bytes() as u64)));
            println!("peak memory    {}", megabytes(peak));
            println!(
                "memory after   {}",
                megabytes(after.map(|memory| memory.now))
            );
            println!("time           {wall:.2} s, {cpu:.2} CPU-s");
        }
    }
    Ok(())
}

fn print_one(measurement: &Measurement, peak: Option<f64>) {
    for (index, step) in measurement.steps.iter().enumerate() {
        println!(
            "step {index}  loss {:.5}  {:.3} CPU-s  {:.3} s",
            step.loss, step.cpu_seconds, step.wall_seconds
        );
    }
    let (cpu, wall) = measurement.medians();
    println!(
        "{:.0} tokens a CPU-second, peak memory {}",
        measurement.tokens() / cpu,
        megabytes(measurement.peak_bytes)
    );
    println!("{}", of_the_device(measurement, wall, peak));
}

/// Tokens a second, what of the model's own operations that is, and their share of the device's.
fn of_the_device(measurement: &Measurement, wall: f64, peak: Option<f64>) -> String {
    let teraflops = measurement.flops_per_step / wall / 1e12;
    let share = peak.map(|peak| format!(", {:.1}% of {peak} TFLOP/s", 100.0 * teraflops / peak));
    format!(
        "{:.0} tokens/s on {}, {teraflops:.2} TFLOP/s of the model's operations{}",
        measurement.tokens() / wall,
        measurement.device,
        share.unwrap_or_default(),
    )
}

/// Measures every case on a card, each in a process of its own.
fn print_table_of_device(
    arguments: &TrainArguments,
    cases: &[Case],
    format: Format,
) -> Result<(), Failure> {
    let held = match arguments.held.as_slice() {
        [] => &[Held::Bf16],
        held => held,
    };
    let mut rows = Vec::new();
    for case in cases {
        for held in held {
            let one = measure_apart(arguments, *case, *held, None)?;
            let (_, wall) = one.medians();
            match format {
                Format::Text => println!(
                    "{case:<12} {held:<5} {wall:>8.4} s a step, {}",
                    of_the_device(&one, wall, arguments.peak)
                ),
                Format::Json => rows.push(json!({
                    "case": case.to_string(),
                    "held": held.to_string(),
                    "device": one.device,
                    "wall_seconds_per_step": wall,
                    "tokens_per_second": one.tokens() / wall,
                    "model_flops_per_step": one.flops_per_step,
                    "model_flop_utilisation":
                        arguments.peak.map(|peak| one.flops_per_step / wall / peak / 1e12),
                    "losses": one.steps.iter().map(|step| step.loss).collect::<Vec<_>>(),
                })),
            }
        }
    }
    if format == Format::Json {
        println!("{}", json!(rows));
    }
    Ok(())
}

/// Measures every case at one thread and at two, each in a process of its own.
fn print_table(arguments: &TrainArguments, format: Format) -> Result<(), Failure> {
    let cases = match arguments.case.as_slice() {
        [] => &[Case::Dense101M, Case::Real101M, Case::Qwen3],
        cases => cases,
    };
    if arguments.device.resolved() != DeviceChoice::Cpu {
        return print_table_of_device(arguments, cases, format);
    }
    let held = match arguments.held.as_slice() {
        [] => &[Held::F32, Held::Bf16],
        held => held,
    };
    if format == Format::Text {
        println!(
            "LoRA of rank 16 on every projection, 4 rows a step; medians of {} steps\n",
            arguments.steps
        );
        println!(
            "{:<12} {:<5} {:>12} {:>15} {:>14} {:>14} {:>10} {:>10}",
            "case",
            "held",
            "CPU-s a step",
            "tokens a CPU-s",
            "s at 2 threads",
            "tokens/s there",
            "peak",
            "estimated"
        );
    }
    let mut rows = Vec::new();
    for case in cases {
        for held in held {
            let one = measure_apart(arguments, *case, *held, Some(1))?;
            let two = measure_apart(arguments, *case, *held, Some(2))?;
            let ((cpu, _), (_, wall)) = (one.medians(), two.medians());
            match format {
                Format::Text => println!(
                    "{case:<12} {held:<5} {cpu:>12.2} {:>15.1} {wall:>14.2} {:>14.1} {:>10} {:>10}",
                    one.tokens() / cpu,
                    two.tokens() / wall,
                    megabytes(one.peak_bytes),
                    megabytes(Some(one.estimated_bytes)),
                ),
                Format::Json => rows.push(json!({
                    "case": case.to_string(),
                    "held": held.to_string(),
                    "cpu_seconds_per_step": cpu,
                    "tokens_per_cpu_second": one.tokens() / cpu,
                    "wall_seconds_per_step_on_two_threads": wall,
                    "tokens_per_second_on_two_threads": two.tokens() / wall,
                    "peak_bytes": one.peak_bytes,
                    "estimated_bytes": one.estimated_bytes,
                    "losses": one.steps.iter().map(|step| step.loss).collect::<Vec<_>>(),
                })),
            }
        }
    }
    if format == Format::Json {
        println!("{}", json!(rows));
    }
    Ok(())
}

/// Runs this program for one measurement, so that its peak of memory is its own.
fn measure_apart(
    arguments: &TrainArguments,
    case: Case,
    held: Held,
    threads: Option<usize>,
) -> Result<Measurement, Failure> {
    let failed = || Failure::failed(format!("the measurement of {case} in {held} failed"));
    let program = std::env::current_exe()
        .map_err(|error| Failure::bug("this program does not find itself").caused_by(error))?;
    let mut command = Command::new(program);
    command
        .args(["bench", "train", "--here", "--format", "json"])
        .args(["--case", &case.to_string(), "--held", &held.to_string()])
        .args(["--steps", &arguments.steps.to_string()])
        .args(["--learning-rate", &arguments.learning_rate.to_string()]);
    command
        .args(["--device", &arguments.device.to_string()])
        .args(["--repeat", &arguments.repeat.to_string()]);
    if let Some(threads) = threads {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    if arguments.gradient_checkpointing {
        command.arg("--gradient-checkpointing");
    }
    let output = command
        .output()
        .map_err(|error| failed().caused_by(error))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(failed().hint(reason.trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed().caused_by(error))
}

fn megabytes(bytes: Option<u64>) -> String {
    match bytes {
        Some(bytes) => format!("{:.0} MB", bytes as f64 / 1e6),
        None => "-".to_owned(),
    }
}
