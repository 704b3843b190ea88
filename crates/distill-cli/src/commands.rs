//! One module per subcommand, named as the user types it.

pub(crate) mod bench;
mod check;
pub(crate) mod data;
mod deploy;
pub(crate) mod eval;
mod explain;
pub(crate) mod export;
mod forecast;
pub(crate) mod init;
pub(crate) mod keys;
mod ledger;
mod load;
pub(crate) mod models;
mod plan;
mod pretrain;
pub(crate) mod prices;
pub(crate) mod proxy;
mod recorded;
pub(crate) mod reference;
mod report;
mod rollback;
mod run;
mod runs;
mod serve;
mod simulate;
pub(crate) mod spend;
pub(crate) mod usage;

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use crate::{
    arguments::{Arguments, Command},
    failure::Failure,
};

/// Runs the command that the user typed.
pub(crate) async fn dispatch(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Init(arguments) => init::execute(&arguments),
        Command::Check(arguments) => check::execute(&arguments).await,
        Command::Plan(arguments) => plan::execute(&arguments).await,
        Command::Reference(arguments) => reference::execute(&arguments),
        Command::Run(arguments) => run::execute(&arguments).await,
        Command::Runs(arguments) => runs::execute(&arguments),
        Command::Report(arguments) => report::execute(&arguments),
        Command::Eval(arguments) => eval::execute(&arguments).await,
        Command::Explain(arguments) => explain::execute(&arguments),
        Command::Data(arguments) => data::execute(&arguments).await,
        Command::Models(arguments) => models::execute(&arguments).await,
        Command::Prices(arguments) => prices::execute(&arguments),
        Command::Simulate(arguments) => simulate::execute(&arguments).await,
        Command::Pretrain(arguments) => pretrain::execute(&arguments).await,
        Command::Bench(arguments) => bench::execute(&arguments),
        Command::Deploy(arguments) => deploy::execute(&arguments).await,
        Command::Export(arguments) => export::execute(&arguments),
        Command::Rollback(arguments) => rollback::execute(&arguments),
        Command::Serve(arguments) => serve::execute(&arguments).await,
        Command::Proxy(arguments) => proxy::execute(&arguments).await,
        Command::Keys(arguments) => keys::execute(&arguments).await,
        Command::Spend(arguments) => spend::execute(&arguments).await,
        Command::Usage(arguments) => usage::execute(&arguments).await,
    }
}

/// A token that Ctrl-C cancels. A second Ctrl-C ends the process at once: the state on disk can be
/// resumed from any point.
pub(crate) fn interruption() -> CancellationToken {
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            eprintln!("stopping: what is finished is kept (press Ctrl-C again to leave at once)");
            cancel.cancel();
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(crate::failure::exit::INTERRUPTED));
        }
    });
    token
}
