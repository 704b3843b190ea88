//! `distill serve`: answers for released students.

use std::process::ExitCode;

use distill_serve::ServeOptions;

use super::{interruption, rollback::registry};
use crate::{arguments::ServeArguments, failure::Failure};

pub(crate) async fn execute(arguments: &ServeArguments) -> Result<ExitCode, Failure> {
    let registry = registry();
    let options = ServeOptions {
        address: (arguments.host, arguments.port).into(),
        device: arguments.device,
        stop: interruption(),
    };
    let server = distill_serve::serve(registry, options)
        .await
        .map_err(|error| {
            Failure::failed("the server could not start")
                .caused_by(error)
                .hint("`--port 0` takes a free port; `distill deploy RUN` makes a release")
        })?;
    println!("http://{}/v1", server.address());
    for route in server.routes() {
        eprintln!("  model {route}");
    }
    eprintln!("  stop with Ctrl-C");
    server
        .finished()
        .await
        .map_err(|error| Failure::failed("the server stopped").caused_by(error))?;
    Ok(ExitCode::SUCCESS)
}
