//! Where a step runs. An executor receives work as data, so that all of them are alike.

use crate::step::{BoxFuture, Outcome, StepContext, StepFailure, Work};

mod local;

pub use local::LocalExecutor;

/// Has work done somewhere, and passes on what it says.
pub trait Executor<A>: Send + Sync {
    fn execute(
        &self,
        work: Work<A>,
        context: StepContext,
    ) -> BoxFuture<'_, Result<Outcome, StepFailure>>;
}
