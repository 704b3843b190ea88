//! In which order the members of a route are asked for one request.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Mutex,
    time::Duration,
};

use distill_gateway::health::Kind;
use tokio::time::Instant;

use super::{Asked, Member, Route};
use crate::config::{Day, Policy};

/// What a route remembers of the requests before.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// Smooth weighted round robin: what each member is owed.
    owed: Vec<f64>,
    /// Which member a session was given, and when it was last seen.
    sessions: HashMap<u64, (usize, Instant)>,
    requests: u64,
}

/// How long a session is remembered: beyond it no vendor's prompt cache is warm by default.
const SESSION: Duration = Duration::from_hours(1);
/// Sessions remembered at most; the oldest are forgotten first.
const SESSIONS: usize = 20_000;
/// Each so manieth request without a session asks another than the fastest first, so that a target
/// that has become fast again is found.
const LOOK_ABOUT: u64 = 32;
/// Assumed where a request names no bound, to compare prices.
const USUAL_OUTPUT_TOKENS: u64 = 500;
const BYTES_PER_TOKEN: u64 = 4;

impl Memory {
    pub(super) fn new(members: usize) -> Mutex<Self> {
        Mutex::new(Self {
            owed: vec![0.0; members],
            ..Self::default()
        })
    }
}

impl Route {
    /// What it remembers, for the route that takes its place.
    pub(super) fn remembered(&self) -> Mutex<Memory> {
        let memory = self.memory.lock().expect("no holder of this lock panics");
        Mutex::new(memory.clone())
    }

    /// The members that can answer, best first. Those that are below their quality or became slow
    /// stand last, because late or worse is better than not at all.
    pub(crate) fn order(&self, asked: &Asked<'_>, today: Day, now: Instant) -> Vec<usize> {
        let able =
            |member: &Member| member.takes(asked) && member.sunset.is_none_or(|last| today <= last);
        let mut order: Vec<usize> = (0..self.members.len())
            .filter(|&index| able(&self.members[index]))
            .collect();
        if order.len() < 2 {
            return order;
        }
        let session = asked
            .session
            .filter(|_| self.config.affinity)
            .map(|session| hash_of(&(session, &self.config.name)));
        match self.config.policy {
            Policy::Order => {}
            Policy::Weight => self.by_weight(&mut order, session),
            Policy::Latency => self.by_latency(&mut order, session, asked, now),
            Policy::Cost => self.by_cost(&mut order, session, asked, now),
        }
        // By latency the slow stand last as it is, and must be measured now and then.
        let by_pace = self.config.policy == Policy::Latency && session.is_none();
        // Once for each: who looks at a slow one after its pause is the one that may ask it.
        order.sort_by_cached_key(|&index| {
            let member = &self.members[index];
            let health = member.live.health_where(asked.embeds);
            (member.is_demoted(), !by_pace && health.is_slow(now))
        });
        order
    }

    fn by_weight(&self, order: &mut [usize], session: Option<u64>) {
        let weight = |index: usize| self.members[index].weight.max(f64::MIN_POSITIVE);
        if let Some(session) = session {
            // Weighted rendezvous hashing (Schindelhauer and Schomaker, 2005): every instance of the
            // proxy finds the same member without asking another, and a member that joins or leaves
            // moves no session but its own.
            let score = |index: usize| {
                let hash = hash_of(&(session, self.members[index].live.name()));
                let unit = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
                -weight(index) / unit.ln()
            };
            order.sort_by(|&a, &b| score(b).total_cmp(&score(a)));
            return;
        }
        let total: f64 = order.iter().map(|&index| weight(index)).sum();
        let mut memory = self.memory.lock().expect("no holder of this lock panics");
        for &index in order.iter() {
            memory.owed[index] += weight(index);
        }
        order.sort_by(|&a, &b| memory.owed[b].total_cmp(&memory.owed[a]));
        memory.owed[order[0]] -= total;
    }

    fn by_latency(
        &self,
        order: &mut [usize],
        session: Option<u64>,
        asked: &Asked<'_>,
        now: Instant,
    ) {
        let kind = if asked.stream {
            Kind::FirstToken
        } else {
            Kind::Whole
        };
        // What was never measured is measured first.
        order.sort_by_cached_key(|&index| {
            let live = &self.members[index].live;
            live.health_where(asked.embeds).pace(kind)
        });
        if !self.stay(order, session, now) {
            let mut memory = self.memory.lock().expect("no holder of this lock panics");
            memory.requests += 1;
            if memory.requests.is_multiple_of(LOOK_ABOUT) {
                let others = order.len() as u64 - 1;
                let other = 1 + (memory.requests / LOOK_ABOUT) % others;
                order[..=other as usize].rotate_right(1);
            }
        }
    }

    fn by_cost(&self, order: &mut [usize], session: Option<u64>, asked: &Asked<'_>, now: Instant) {
        let input = asked.prompt_bytes as u64 / BYTES_PER_TOKEN;
        let output = asked.max_tokens.unwrap_or(USUAL_OUTPUT_TOKENS);
        order.sort_by_key(|&index| {
            let rates = self.members[index].live.target.price().rates(input);
            rates.input * input + rates.output * output
        });
        self.stay(order, session, now);
    }

    /// Puts the member first that the session had before; says whether there is a session.
    fn stay(&self, order: &mut [usize], session: Option<u64>, now: Instant) -> bool {
        let Some(session) = session else {
            return false;
        };
        let mut memory = self.memory.lock().expect("no holder of this lock panics");
        if let Some((known, seen)) = memory.sessions.get_mut(&session)
            && now.saturating_duration_since(*seen) < SESSION
            && let Some(place) = order.iter().position(|index| index == known)
        {
            *seen = now;
            order[..=place].rotate_right(1);
            return true;
        }
        if memory.sessions.len() >= SESSIONS {
            memory
                .sessions
                .retain(|_, (_, seen)| now.saturating_duration_since(*seen) < SESSION / 4);
            if memory.sessions.len() >= SESSIONS {
                memory.sessions.clear();
            }
        }
        memory.sessions.insert(session, (order[0], now));
        true
    }

    /// A session was answered by another member than it had: its prompt cache is warm there now.
    pub(crate) fn answered(&self, session: Option<&str>, index: usize, now: Instant) {
        let Some(session) = session.filter(|_| {
            self.config.affinity
                && self.members.len() > 1
                && matches!(self.config.policy, Policy::Latency | Policy::Cost)
        }) else {
            return;
        };
        let session = hash_of(&(session, &self.config.name));
        let mut memory = self.memory.lock().expect("no holder of this lock panics");
        memory.sessions.insert(session, (index, now));
    }
}

/// The same in every process of this program: the hasher's keys are fixed.
fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
