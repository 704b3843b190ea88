//! The entries: a bound of bytes, the least recently used out first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Stored,
    alike::{Alike, Vector},
    key::Digest,
};

/// What an entry takes beside its answer, about.
const OVERHEAD: u64 = 512;

pub(super) struct Entry {
    pub(super) stored: Arc<Stored>,
    pub(super) since: Instant,
    pub(super) ttl: Duration,
    /// By what questions that mean the same find it.
    pub(super) alike: Option<(Alike, Vector)>,
}

impl Entry {
    fn bytes(&self) -> u64 {
        let vector = self.alike.as_ref().map_or(0, |(_, vector)| vector.bytes());
        OVERHEAD + self.stored.bytes() + vector
    }

    fn age(&self, now: Instant) -> Option<Duration> {
        let age = now.saturating_duration_since(self.since);
        (age < self.ttl).then_some(age)
    }
}

struct Kept {
    entry: Entry,
    used: u64,
}

#[derive(Default)]
pub(super) struct Shelf {
    entries: HashMap<Digest, Kept>,
    /// When each entry was used last, counted in uses.
    order: BTreeMap<u64, Digest>,
    /// The entries of each group of questions that may mean the same.
    groups: HashMap<Digest, Vec<Digest>>,
    uses: u64,
    bytes: u64,
    max_bytes: u64,
}

impl Shelf {
    pub(super) fn of(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            ..Self::default()
        }
    }

    pub(super) fn bounded_at(&self) -> u64 {
        self.max_bytes
    }

    pub(super) fn bound(&mut self, max_bytes: u64) {
        self.max_bytes = max_bytes;
        self.shrink();
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps an answer in the place of the one before; whether there is room for it at all.
    pub(super) fn put(&mut self, digest: Digest, entry: Entry) -> bool {
        self.remove(digest);
        let bytes = entry.bytes();
        if bytes > self.max_bytes {
            return false;
        }
        if let Some((alike, _)) = &entry.alike {
            self.groups.entry(alike.group()).or_default().push(digest);
        }
        self.uses += 1;
        self.order.insert(self.uses, digest);
        self.bytes += bytes;
        let used = self.uses;
        self.entries.insert(digest, Kept { entry, used });
        self.shrink();
        true
    }

    fn shrink(&mut self) {
        while self.bytes > self.max_bytes {
            let Some((_, oldest)) = self.order.first_key_value() else {
                return;
            };
            self.remove(*oldest);
        }
    }

    fn remove(&mut self, digest: Digest) {
        let Some(kept) = self.entries.remove(&digest) else {
            return;
        };
        self.order.remove(&kept.used);
        self.bytes -= kept.entry.bytes();
        if let Some((alike, _)) = &kept.entry.alike
            && let Some(group) = self.groups.get_mut(&alike.group())
        {
            group.retain(|member| *member != digest);
            if group.is_empty() {
                self.groups.remove(&alike.group());
            }
        }
    }

    /// An answer with its age, unless it is too old or its target is none of the route's any more.
    pub(super) fn get(
        &mut self,
        digest: Digest,
        leads_to: &dyn Fn(&str) -> bool,
        now: Instant,
    ) -> Option<(Arc<Stored>, Duration)> {
        let kept = self.entries.get_mut(&digest)?;
        let Some(age) = kept.entry.age(now) else {
            self.remove(digest);
            return None;
        };
        if !leads_to(&kept.entry.stored.target) {
            return None;
        }
        self.uses += 1;
        self.order.remove(&kept.used);
        self.order.insert(self.uses, digest);
        kept.used = self.uses;
        Some((kept.entry.stored.clone(), age))
    }

    /// The answer to the question that is most like this one, if any is alike enough.
    pub(super) fn similar(
        &mut self,
        alike: &Alike,
        vector: &Vector,
        least: f64,
        leads_to: &dyn Fn(&str) -> bool,
        now: Instant,
    ) -> Option<(Arc<Stored>, Duration)> {
        let group = self.groups.get(&alike.group())?;
        let mut best: Option<(f64, Digest)> = None;
        for digest in group {
            let Some((other, known)) = self
                .entries
                .get(digest)
                .filter(|kept| kept.entry.age(now).is_some())
                .filter(|kept| leads_to(&kept.entry.stored.target))
                .and_then(|kept| kept.entry.alike.as_ref())
            else {
                continue;
            };
            if !other.has_the_numbers_of(alike) {
                continue;
            }
            let similarity = known.cosine(vector);
            if similarity >= least && best.is_none_or(|(known, _)| similarity > known) {
                best = Some((similarity, *digest));
            }
        }
        self.get(best?.1, leads_to, now)
    }

    pub(super) fn forget(&mut self, target: &str) -> usize {
        let digests: Vec<Digest> = self
            .entries
            .iter()
            .filter(|(_, kept)| kept.entry.stored.target == target)
            .map(|(digest, _)| *digest)
            .collect();
        for digest in &digests {
            self.remove(*digest);
        }
        digests.len()
    }
}
