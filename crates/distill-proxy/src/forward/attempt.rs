//! One attempt at one member of a route.

use std::sync::Arc;

use distill_gateway::{Failure, TargetHealth};
use distill_ledger::{AttemptStart, Refusal};
use distill_wire::RequestError;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use super::{
    Context,
    body::{Unfit, prepare},
    booked::{Booked, Broken},
    relay::Relay,
    send::send,
    whole::{self, WholeAnswer},
};
use crate::route::Member;

/// How an attempt ended.
#[derive(Debug)]
pub(super) enum Ended {
    Whole(Box<WholeAnswer>),
    /// Paid for, whole, and not the JSON that was asked for.
    Invalid(Box<WholeAnswer>),
    /// Content has come; the rest follows.
    Stream(Box<Relay>),
    Failed(Broken),
    /// This target cannot be asked it; nothing was sent.
    Unfit {
        field: String,
        reason: String,
    },
    /// Nobody can be asked it.
    BadRequest(RequestError),
    /// The ledger does not allow it.
    Refused(Refusal),
}

/// What is tried.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    /// The place of its member on the route.
    pub(super) index: usize,
    /// From 1.
    pub(super) number: u32,
    /// Whether its target's breaker waits for what becomes of it.
    pub(super) probe: bool,
    /// Whether another target could be asked instead, so that this one may not use up all the time.
    pub(super) others: bool,
}

/// Makes an attempt.
pub(super) async fn attempt(context: &Arc<Context>, ask: Ask) -> Ended {
    let member = &context.route.members[ask.index];
    let live = &member.live;
    let probe = Probe(ask.probe.then(|| live.health_for(context.endpoint)));
    let prepared = match prepare(context, member) {
        Ok(prepared) => prepared,
        Err(Unfit::Request(error)) => return Ended::BadRequest(error),
        Err(Unfit::Target { field, reason }) => return Ended::Unfit { field, reason },
    };
    let until = time_of(context, ask.others);
    let place = match place(member, ask.others, until).await {
        Ok(place) => place,
        Err(broken) => return Ended::Failed(broken),
    };
    let start = AttemptStart {
        number: ask.number,
        target: live.name().to_owned(),
        simulated: live.target.simulated(),
        reserved: prepared.reserved,
    };
    let opened = match context.open.reserve(start).await {
        Ok(opened) => opened,
        Err(refusal) => {
            context.engine.0.heed(&refusal);
            return Ended::Refused(refusal);
        }
    };
    let booked = Booked::new(opened, live, context, (ask.probe, place));
    probe.over();
    match send(context, member, &prepared, ask.number, until).await {
        Err(mut broken) => {
            booked.failed(&mut broken, super::booked::Facts::default());
            Ended::Failed(broken)
        }
        Ok(response) if context.streams() => {
            match Relay::open(context, &prepared, response, booked, until).await {
                Ok(relay) => Ended::Stream(Box::new(relay)),
                Err(broken) => Ended::Failed(broken),
            }
        }
        Ok(response) => whole::read(context, prepared, response, booked, until).await,
    }
}

/// When the first content must be there. A whole answer tells nothing before its end: it may take
/// half of the time that is left while somebody else could be asked, and all of it otherwise.
fn time_of(context: &Context, others: bool) -> Instant {
    let now = Instant::now();
    let left = context.deadline.saturating_duration_since(now);
    if context.streams() {
        context
            .deadline
            .min(now + context.route.config.timeouts.first_token)
    } else if others {
        now + left / 2
    } else {
        context.deadline
    }
}

/// Takes a place among the requests that its vendor may have in flight. Waits only where nobody else
/// could be asked.
async fn place(
    member: &Member,
    others: bool,
    until: Instant,
) -> Result<Option<OwnedSemaphorePermit>, Broken> {
    let Some(places) = &member.live.places else {
        return Ok(None);
    };
    let full = || {
        Broken::new(
            Failure::RateLimited,
            "as many requests as `max_in_flight` allows are in flight",
        )
    };
    if others {
        return Arc::clone(places)
            .try_acquire_owned()
            .map(Some)
            .map_err(|_| full());
    }
    match timeout_at(until, Arc::clone(places).acquire_owned()).await {
        Ok(Ok(place)) => Ok(Some(place)),
        Ok(Err(_)) | Err(_) => Err(full()),
    }
}

/// Hands a probe back when nothing was sent.
struct Probe<'a>(Option<&'a TargetHealth>);

impl Probe<'_> {
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if let Some(health) = self.0 {
            health.released();
        }
    }
}
