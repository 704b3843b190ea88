//! The `distill` command.
//!
//! **Owns** arguments, environment, wiring, and the rendering of events and errors.
//!
//! **Must not know** anything that would deserve a unit test of its own: that lives in a library.
//!
//! **Start reading** at [`commands::run`], the main job.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    reason = "the shell of the project: the one crate that may print"
)]

mod arguments;
mod commands;
mod environment;
mod failure;
mod progress;

use std::process::ExitCode;

use clap::Parser;

use crate::{arguments::Arguments, failure::Failure};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return failure::show(
                &Failure::bug("the async runtime could not start").caused_by(error),
            );
        }
    };
    let result = runtime.block_on(commands::dispatch(arguments));
    // A blocking thread that is still cooling down must not hold up the exit.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(failure) => failure::show(&failure),
    }
}
