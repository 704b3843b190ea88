//! The executor that does the work in this process.

use super::Executor;
use crate::step::{BoxFuture, Outcome, StepContext, StepFailure, StepRunner, Work};

/// Does the work in this process.
#[derive(Debug, Clone)]
pub struct LocalExecutor<R> {
    runner: R,
}

impl<R> LocalExecutor<R> {
    pub fn new(runner: R) -> Self {
        Self { runner }
    }
}

impl<A, R: StepRunner<A>> Executor<A> for LocalExecutor<R> {
    fn execute(
        &self,
        work: Work<A>,
        context: StepContext,
    ) -> BoxFuture<'_, Result<Outcome, StepFailure>> {
        self.runner.run(work, context)
    }
}
