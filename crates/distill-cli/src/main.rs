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
    leave_quietly_without_a_reader();
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
    distill_steps::models::install(&environment::reader());
    let result = runtime.block_on(commands::dispatch(arguments));
    // A blocking thread that is still cooling down must not hold up the exit.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(failure) => failure::show(&failure),
    }
}

/// Whoever reads the output may stop reading, as `head` does: that is no fault of this program. The
/// exit code is what a shell makes of a process that the broken pipe ended.
fn leave_quietly_without_a_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let unread = panic.payload_as_str().is_some_and(|message| {
            message.starts_with("failed printing to std") && message.contains("Broken pipe")
        });
        if unread {
            std::process::exit(i32::from(failure::exit::NO_READER));
        }
        usual(panic);
    }));
}
