//! The walk along the members of a route.

use std::sync::Arc;

use distill_gateway::{Bounds, Failure, Patience, Step, Walker, failover::Then};
use tokio::time::Instant;

use super::{
    Answer, Context, Endpoint,
    attempt::{Ask, Ended, attempt},
    booked::Broken,
    hedge::race,
    outcome::{self, Told},
    whole::WholeAnswer,
};
use crate::config::Day;

/// What is known of a request on its way.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) failures: Vec<(String, Broken)>,
    /// What kept a target from being asked.
    pub(super) unfit: Vec<(String, String, String)>,
    /// The last whole answer that broke the schema: better than none.
    invalid: Option<Box<WholeAnswer>>,
}

/// Asks member after member until one answers or the policy says stop.
pub(super) async fn walk(context: Arc<Context>) -> Answer {
    let members = &context.route.members;
    let now = Instant::now();
    let today = Day::of_seconds(super::unix_seconds());
    let order = context.route.order(&context.asked(), today, now);
    if order.is_empty() {
        return outcome::told(&context, 0, &Told::nobody_takes_it(&context));
    }
    let mut walker = Walker::new(
        order,
        members.len(),
        Bounds {
            max_attempts: context.route.config.max_attempts,
            deadline: context.deadline,
            patience: Patience::TellsTheCaller,
            retries: context.route.config.retry,
        },
    );
    let mut progress = Progress::default();
    let health = |index: usize| members[index].live.health_for(context.endpoint);
    loop {
        let step = walker.next(health, context.size, Instant::now());
        let (index, number, probe) = match step {
            Step::Ask {
                index,
                number,
                probe,
            } => (index, number, probe),
            Step::WaitUntil(at) => {
                tokio::time::sleep_until(at).await;
                continue;
            }
            Step::Late | Step::Exhausted { .. } => {
                if context.endpoint == Endpoint::CountTokens {
                    return outcome::estimated(&context, walker.attempts());
                }
                return match progress.invalid {
                    Some(answer) => outcome::whole(&context, *answer, walker.attempts()),
                    None => outcome::told(
                        &context,
                        walker.attempts(),
                        &Told::end_of_chain(&context, step, &progress),
                    ),
                };
            }
        };
        let ask = Ask {
            index,
            number,
            probe,
            others: walker.has_others(index, health, context.size, Instant::now()),
        };
        let ends = match context.route.config.hedge {
            Some(hedge) => race(&context, &mut walker, ask, hedge.after).await,
            None => vec![(index, attempt(&context, ask).await)],
        };
        for (index, ended) in ends {
            if let Some(answer) = heed(&context, &mut walker, &mut progress, index, ended) {
                return answer;
            }
        }
    }
}

/// Applies the policy to the end of an attempt; the answer, where this ends the walk.
fn heed(
    context: &Arc<Context>,
    walker: &mut Walker,
    progress: &mut Progress,
    index: usize,
    ended: Ended,
) -> Option<Answer> {
    let members = &context.route.members;
    let attempts = walker.attempts();
    let session = context.envelope.session.as_deref();
    match ended {
        Ended::Whole(answer) => {
            context.route.answered(session, index, Instant::now());
            Some(outcome::whole(context, *answer, attempts))
        }
        Ended::Stream(relay) => {
            context.route.answered(session, index, Instant::now());
            Some(outcome::stream(context, *relay, attempts))
        }
        Ended::Invalid(answer) => {
            walker.failed(index, Failure::InvalidOutput);
            // Those first that a vendor can hold to a schema.
            walker.prefer(|index| members[index].live.target.holds_schema());
            progress.invalid = Some(answer);
            None
        }
        Ended::Failed(broken) => {
            let then = walker.failed(index, broken.failure);
            let name = members[index].live.name().to_owned();
            if then == Then::ReturnToCaller && !has_no_such_path(context, &broken) {
                let passes = members[index].live.dialect_for(context.endpoint.dialect())
                    == context.endpoint.dialect();
                return Some(outcome::fault(context, &name, passes, broken, attempts));
            }
            progress.failures.push((name, broken));
            None
        }
        Ended::Unfit { field, reason } => {
            walker.skip(index);
            walker.unbegun();
            let name = members[index].live.name().to_owned();
            progress.unfit.push((name, field, reason));
            None
        }
        Ended::BadRequest(error) => Some(outcome::told(
            context,
            attempts.saturating_sub(1),
            &Told::bad_request(error),
        )),
        Ended::Refused(refusal) => Some(match progress.invalid.take() {
            // It is paid for, and there is no money for a better one.
            Some(answer) => outcome::whole(context, *answer, attempts.saturating_sub(1)),
            None => outcome::told(context, attempts.saturating_sub(1), &Told::refused(refusal)),
        }),
    }
}

/// Whether a server merely does not count tokens: the request is not at fault.
fn has_no_such_path(context: &Context, broken: &Broken) -> bool {
    context.endpoint == Endpoint::CountTokens && matches!(broken.status, Some(404 | 405))
}
