//! `distill simulate`: the simulated provider, started by hand.

use std::{net::Ipv4Addr, process::ExitCode};

use distill_gateway::simulate::SimulatedProvider;

use super::{interruption, load::Job};
use crate::{arguments::SimulateArguments, failure::Failure};

pub(crate) async fn execute(arguments: &SimulateArguments) -> Result<ExitCode, Failure> {
    let job = Job::load(&arguments.pipeline)?;
    let (gold, settings) = job.compiled.simulated().map_err(Failure::from)?;
    let rows = gold.len();
    let mut builder = SimulatedProvider::builder(gold, settings)
        .listen((Ipv4Addr::LOCALHOST, arguments.port).into());
    if let Some(state) = &arguments.state {
        builder = builder.state(state.clone());
    }
    let provider = builder.start().await.map_err(|error| {
        Failure::failed("the simulated provider could not start")
            .caused_by(error)
            .hint("`--port 0` takes a free port")
    })?;
    println!("{}", provider.openai_base_url());
    eprintln!(
        "SIMULATED provider for {rows} rows of {}",
        arguments.pipeline.display()
    );
    eprintln!(
        "  OpenAI dialect     {}/chat/completions",
        provider.openai_base_url()
    );
    eprintln!(
        "  Anthropic dialect  {}/messages",
        provider.anthropic_base_url()
    );
    eprintln!(
        "  its bill           http://{}/simulated/bill",
        provider.address()
    );
    eprintln!("  stop with Ctrl-C");
    interruption().cancelled().await;
    let bill = provider.bill();
    eprintln!(
        "answered {} requests, billed {}",
        bill.requests, bill.billed_usd
    );
    provider.stop().await;
    Ok(ExitCode::SUCCESS)
}
