//! Answers that are given again: exactly the same question, or one that means the same.
//!
//! - **What enters.** Whole, valid answers with a success status to requests that a route lets in:
//!   temperature 0 or `sampled`, no tools unless `tools`, one reply (`n`), no state that the vendor
//!   keeps. What was cut, filtered or failed never enters.
//! - **Who shares.** The key holds the scope that the route sets (user, team, everyone), the route, the
//!   version of the task, the caller's beta headers and the whole request but for its names of
//!   callers and sessions. Beside it stands the target that really answered: an answer of a target
//!   that the route does not lead to any more is not given.
//! - **One at a time.** Of identical requests at the same time the first asks ([`Looked::Lead`]), the
//!   others wait ([`Looked::Follow`]); where the first fails or is cancelled, each asks by itself.
//! - **Streams.** A whole answer is replayed as a stream and a stream as a whole answer.
//! - **Meaning the same.** Where the route asks for it, and never with tools or images: everything but
//!   the last message of the user must be the same, that message must be as similar as the route
//!   says, and the numbers in it must be equal. Tasks are left out: their template is most of their
//!   text, and any two calls of one are alike.
//!
//! Entries are in memory only, so that no prompt and no answer comes to lie on a disk by way of the
//! cache; they are gone when the process ends.
//!
//! **Start reading** at [`Cache::look`].

mod alike;
mod flight;
mod key;
mod shelf;
mod stored;

use std::{
    fmt,
    fmt::Write as _,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use distill_gateway::Usd;
use distill_ledger::{CacheUse, Caller};
use distill_wire::envelope::Envelope;
use tokio::time::Instant;

use crate::{
    config::{CacheConfig, Config},
    forward::{Done, Endpoint},
};
use alike::{Alike, Vector};
use flight::{Flight, Flights};
pub use flight::{Follow, Followed};
use key::Digest;
use shelf::{Entry, Shelf};
pub use stored::Stored;
pub(crate) use stored::gather;

/// What turns a text into a vector; `None` where it cannot.
pub type Embed =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<Vec<f32>>> + Send>> + Send + Sync>;

/// A vector of hashed word and character n-grams, computed here: [`crate::config::EmbeddingConfig::Local`].
pub fn embed_locally() -> Embed {
    Arc::new(|text| Box::pin(std::future::ready(alike::embed(&text))))
}

/// A request as the cache sees it. The caller is known and may ask this route.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub config: &'a CacheConfig,
    pub caller: &'a Caller,
    pub route: &'a str,
    /// The digest of the task's version, where one was named.
    pub task: Option<&'a str>,
    pub endpoint: Endpoint,
    pub headers: &'a HeaderMap,
    /// As it came: before redaction, which makes different texts the same.
    pub body: &'a Bytes,
    pub envelope: &'a Envelope,
    /// Whether the route leads to this target now.
    pub leads_to: &'a (dyn Fn(&str) -> bool + Sync),
    /// What embeds questions for this route; used only where the route asks for it.
    pub embed: Option<&'a Embed>,
}

/// What the cache says to a request.
#[derive(Debug)]
pub enum Looked {
    /// The request is none that may be cached, or its sender wants no cache.
    Off,
    Hit(Hit),
    /// Nobody knows: ask, with [`crate::forward::Forwarded::collect`], and hand the end to
    /// [`Lead::finish`].
    Lead(Lead),
    /// Somebody is asking the same.
    Follow(Follow),
}

/// An answer from the cache.
#[derive(Debug, Clone)]
pub struct Hit {
    pub stored: Arc<Stored>,
    /// `exact` or `semantic`.
    pub kind: &'static str,
    pub age: Duration,
}

impl Hit {
    /// What the answer cost when it was asked for; `ZERO` where that is not known.
    pub fn saved(&self) -> Usd {
        self.stored.usd.unwrap_or(Usd::ZERO)
    }

    /// As the ledger records it.
    pub fn used(&self) -> CacheUse {
        CacheUse {
            kind: self.kind,
            age: self.age,
            saved: self.saved(),
        }
    }

    /// Headers of the answer. The saving is left out where the cost was not known.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut said = format!("hit; kind={}; age={}", self.kind, self.age.as_secs());
        if let Some(usd) = self.stored.usd {
            // Writing to a string cannot fail.
            let _ = write!(said, "; saved-usd={}", usd.dollars());
        }
        let mut headers = vec![
            ("x-distill-cache", said),
            ("x-distill-target", self.stored.target.clone()),
            ("age", self.age.as_secs().to_string()),
        ];
        if self.stored.simulated {
            headers.push(("x-distill-simulated", "true".to_owned()));
        }
        headers
    }

    /// The answer in the form that this request asks for.
    pub fn body(&self, envelope: &Envelope) -> Bytes {
        self.stored.body(envelope)
    }

    /// The same, after `mend` has changed the whole answer (put back what redaction took out).
    pub fn mended(&self, envelope: &Envelope, mend: &dyn Fn(&Bytes) -> Bytes) -> Bytes {
        self.stored.mended(envelope, mend)
    }

    pub fn content_type(&self, envelope: &Envelope) -> &'static str {
        if envelope.stream && self.stored.can_stream() {
            "text/event-stream"
        } else {
            "application/json"
        }
    }
}

/// The duty to ask. Dropped unfinished, it lets the followers ask by themselves.
#[derive(Debug)]
pub struct Lead {
    cache: Cache,
    digest: Digest,
    endpoint: Endpoint,
    streamed: bool,
    stream_usage: bool,
    ttl: Duration,
    alike: Option<(Alike, Vector)>,
    /// `None`: nobody may follow.
    flight: Option<Flight>,
}

impl Lead {
    /// The request ended: keeps its answer if it is fit to be kept, and gives it to the followers.
    /// Whether it was kept.
    pub fn finish(mut self, done: &Done) -> bool {
        let Some(stored) = Stored::of(done, self.endpoint, self.streamed, self.stream_usage) else {
            return false;
        };
        let stored = Arc::new(stored);
        let entry = Entry {
            stored: stored.clone(),
            since: Instant::now(),
            ttl: self.ttl,
            alike: self.alike.take(),
        };
        let kept = self.cache.state().shelf.put(self.digest, entry);
        if let Some(flight) = self.flight.take() {
            flight.land(stored);
        }
        kept
    }
}

/// The cache. Clones share it.
#[derive(Clone, Default)]
pub struct Cache(Arc<Mutex<State>>);

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(
            formatter,
            "Cache({} entries, {} bytes)",
            state.shelf.len(),
            state.shelf.bytes()
        )
    }
}

#[derive(Default)]
struct State {
    shelf: Shelf,
    flights: Flights,
}

/// What the sender of a request wants of the cache (RFC 9111, section 5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Use,
    /// `no-cache`: a fresh answer, which may be kept.
    Fresh,
    /// `no-store`: nothing of this.
    Off,
}

impl Wish {
    fn of(headers: &HeaderMap) -> Self {
        let mut wish = Self::Use;
        let values = headers.get_all(header::CACHE_CONTROL);
        for word in values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
        {
            match word.trim().to_ascii_lowercase().as_str() {
                "no-store" => return Self::Off,
                "no-cache" => wish = Self::Fresh,
                _ => {}
            }
        }
        wish
    }
}

impl Cache {
    pub fn new(max_bytes: u64) -> Self {
        let cache = Self::default();
        cache.bound(max_bytes);
        cache
    }

    /// Takes the bounds of a configuration, at the start and whenever it is read again: the largest
    /// that any route sets.
    pub fn apply(&self, config: &Config) {
        let routes = config
            .routes
            .iter()
            .filter_map(|route| route.cache.as_ref());
        let bounds = config.cache.iter().chain(routes);
        self.bound(
            bounds
                .map(|cache| cache.max_bytes)
                .max()
                .unwrap_or_default(),
        );
    }

    /// Bytes that all entries may hold together.
    pub fn bound(&self, max_bytes: u64) {
        self.state().shelf.bound(max_bytes);
    }

    /// Bytes that the entries hold.
    pub fn bytes(&self) -> u64 {
        self.state().shelf.bytes()
    }

    pub fn entries(&self) -> usize {
        self.state().shelf.len()
    }

    /// Forgets what a target answered (its model changed under its name); how much that was.
    pub fn forget(&self, target: &str) -> usize {
        self.state().shelf.forget(target)
    }

    pub fn clear(&self) {
        let mut state = self.state();
        state.shelf = Shelf::of(state.shelf.bounded_at());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in another thread leaves a map that is whole: each change is one insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks an answer up. Waits only for the embedding of a question, where the route compares
    /// meanings.
    pub async fn look(&self, question: &Question<'_>) -> Looked {
        let wish = Wish::of(question.headers);
        if wish == Wish::Off || !key::may_be_cached(question) {
            return Looked::Off;
        }
        let Some(digest) = key::digest(question) else {
            return Looked::Off;
        };
        if wish == Wish::Fresh {
            return Looked::Lead(self.lead(question, digest, None, None));
        }
        if let Some(found) = self.exact(question, digest) {
            return found;
        }
        let alike = self.vector(question).await;
        if let Some((alike, vector)) = &alike
            && let Some(hit) = self.similar(question, alike, vector)
        {
            return Looked::Hit(hit);
        }
        // While the question was embedded another may have begun to ask it.
        let mut state = self.state();
        if let Some(found) = state.exact(question, digest, self) {
            return found;
        }
        let flight = state.flights.begin(digest, self);
        drop(state);
        Looked::Lead(self.lead(question, digest, alike, Some(flight)))
    }

    fn exact(&self, question: &Question<'_>, digest: Digest) -> Option<Looked> {
        self.state().exact(question, digest, self)
    }

    fn lead(
        &self,
        question: &Question<'_>,
        digest: Digest,
        alike: Option<(Alike, Vector)>,
        flight: Option<Flight>,
    ) -> Lead {
        Lead {
            cache: self.clone(),
            digest,
            endpoint: question.endpoint,
            streamed: question.envelope.stream,
            stream_usage: question.envelope.stream_usage,
            ttl: question.config.ttl,
            alike,
            flight,
        }
    }

    /// What the question is compared by; `None` where it is compared exactly only.
    async fn vector(&self, question: &Question<'_>) -> Option<(Alike, Vector)> {
        let embed = question.embed?;
        let (alike, text) = Alike::of(question)?;
        let vector = Vector::new(embed(text).await?)?;
        Some((alike, vector))
    }

    fn similar(&self, question: &Question<'_>, alike: &Alike, vector: &Vector) -> Option<Hit> {
        let least = question.config.semantic.as_ref()?.similarity;
        let (stored, age) =
            self.state()
                .shelf
                .similar(alike, vector, least, question.leads_to, Instant::now())?;
        Some(Hit {
            stored,
            kind: "semantic",
            age,
        })
    }
}

impl State {
    fn exact(&mut self, question: &Question<'_>, digest: Digest, cache: &Cache) -> Option<Looked> {
        if let Some((stored, age)) = self.shelf.get(digest, question.leads_to, Instant::now()) {
            return Some(Looked::Hit(Hit {
                stored,
                kind: "exact",
                age,
            }));
        }
        let flight = self.flights.join(digest)?;
        let alone = cache.lead(question, digest, None, None);
        Some(Looked::Follow(Follow::new(flight, alone)))
    }
}

#[cfg(test)]
mod tests;
