//! Identical requests at the same time: one asks, the others wait for it.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Cache, Hit, Lead, Stored, key::Digest};

type Landed = Option<Arc<Stored>>;

/// Who is asking what.
#[derive(Default)]
pub(super) struct Flights(HashMap<Digest, watch::Receiver<Landed>>);

impl Flights {
    /// The answer that somebody is waiting for, if anybody is.
    pub(super) fn join(&self, digest: Digest) -> Option<watch::Receiver<Landed>> {
        self.0.get(&digest).cloned()
    }

    /// Nobody asks this: now one does.
    pub(super) fn begin(&mut self, digest: Digest, cache: &Cache) -> Flight {
        let (landing, landed) = watch::channel(None);
        self.0.insert(digest, landed);
        Flight {
            cache: cache.clone(),
            digest,
            landing,
        }
    }
}

/// One request under way. Its end, with an answer or without, ends the waiting of its followers.
pub(super) struct Flight {
    cache: Cache,
    digest: Digest,
    landing: watch::Sender<Landed>,
}

impl fmt::Debug for Flight {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Flight({} wait)", self.landing.receiver_count())
    }
}

impl Flight {
    pub(super) fn land(self, stored: Arc<Stored>) {
        // Nobody may be waiting.
        let _ = self.landing.send(Some(stored));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.cache.state().flights.0.remove(&self.digest);
    }
}

/// The wait for somebody's answer to the same request.
#[derive(Debug)]
pub struct Follow {
    landed: watch::Receiver<Landed>,
    alone: Lead,
}

/// What a wait came to.
#[derive(Debug)]
pub enum Followed {
    Hit(Hit),
    /// The other failed, was cancelled, or its answer is none to share: ask. Nobody follows this
    /// one, so that a request which always fails keeps nobody waiting twice.
    Alone(Lead),
}

impl Follow {
    pub(super) fn new(landed: watch::Receiver<Landed>, alone: Lead) -> Self {
        Self { landed, alone }
    }

    /// Waits for the other's end, which the other's deadline bounds.
    pub async fn wait(mut self) -> Followed {
        let landed = match self.landed.wait_for(Option::is_some).await {
            Ok(stored) => stored.clone(),
            Err(_) => None,
        };
        match landed {
            Some(stored) => Followed::Hit(Hit {
                stored,
                kind: "exact",
                age: Duration::ZERO,
            }),
            None => Followed::Alone(self.alone),
        }
    }
}
