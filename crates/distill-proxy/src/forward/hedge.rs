//! Two targets at once, where a route asks for it: when the first is slow, a second is asked as well,
//! and whoever answers first wins. The other is called back and booked.

use std::{pin::pin, sync::Arc, time::Duration};

use distill_gateway::{Step, Walker};
use tokio::time::Instant;

use super::{
    Context,
    attempt::{Ask, Ended, attempt},
};

/// What a race brought: the ends of its attempts, the winner's or the last failure last.
pub(super) type Race = Vec<(usize, Ended)>;

impl Ended {
    fn is_answer(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::Stream(_))
    }
}

/// What two ended attempts bring: an answer counts more than the failure before it, even one that
/// would have ended the walk, because it was paid for.
fn both(failed: (usize, Ended), last: (usize, Ended)) -> Race {
    if last.1.is_answer() {
        vec![last]
    } else {
        vec![failed, last]
    }
}

/// Makes an attempt, and a second one at another target when no content came within `after`.
pub(super) async fn race(
    context: &Arc<Context>,
    walker: &mut Walker,
    ask: Ask,
    after: Duration,
) -> Race {
    let index = ask.index;
    let mut first = pin!(attempt(context, ask));
    tokio::select! {
        biased;
        ended = &mut first => return vec![(index, ended)],
        () = tokio::time::sleep(after) => {}
    }
    // The walk would name the same target again.
    let mut second_walk = walker.clone();
    second_walk.skip(index);
    let step = second_walk.next(
        |place| {
            context.route.members[place]
                .live
                .health_for(context.endpoint)
        },
        context.size,
        Instant::now(),
    );
    let Step::Ask {
        index: other,
        probe,
        number,
    } = step
    else {
        return vec![(index, first.await)];
    };
    walker.begun();
    let mut second = pin!(attempt(
        context,
        Ask {
            index: other,
            number,
            probe,
            others: true,
        }
    ));
    tokio::select! {
        // An attempt that is never begun would never hand its probe back.
        biased;
        ended = &mut second => {
            if ended.is_answer() {
                return vec![(other, ended)];
            }
            both((other, ended), (index, first.await))
        }
        ended = &mut first => {
            if ended.is_answer() {
                return vec![(index, ended)];
            }
            both((index, ended), (other, second.await))
        }
    }
}
