//! The one place where alerts go: the log, a webhook, the list on the pages. Each thing is told once.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use distill_ledger::Clock;

/// Writes a line of the log: what it is about, and the words.
pub type Tell = Arc<dyn Fn(&'static str, String) + Send + Sync>;

/// Something that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Alert {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// What it is about: `target`, `ledger`, `spend`, `model`, `sunset`, `quality`.
    pub what: &'static str,
    pub wording: String,
    /// How often it came up in the time in which it is told once.
    pub count: u64,
}

/// Alerts. Clones share them.
#[derive(Clone)]
pub struct Alerts(Arc<Inner>);

struct Inner {
    clock: Clock,
    tell: Tell,
    /// Also sends it to people, where the configuration names an address.
    send: Tell,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    list: VecDeque<(String, Alert)>,
    /// When each key was told.
    told: HashMap<String, i64>,
}

/// Alerts that are kept.
const KEPT: usize = 200;
/// The same thing is told again after a day.
const ONCE_IN_MS: i64 = 24 * 3_600_000;

impl fmt::Debug for Alerts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Alerts").finish_non_exhaustive()
    }
}

impl Alerts {
    /// `tell` writes the log; `send` tells people, and must not wait.
    pub fn new(clock: Clock, tell: Tell, send: Tell) -> Self {
        Self(Arc::new(Inner {
            clock,
            tell,
            send,
            state: Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of something, once a day for each key. Says whether it was told now.
    pub fn raise(&self, key: &str, what: &'static str, wording: String) -> bool {
        let now_ms = self.0.clock.now_ms();
        {
            let mut state = self.state();
            let told = state.told.get(key).copied();
            if told.is_some_and(|told| now_ms - told < ONCE_IN_MS) {
                if let Some((_, alert)) =
                    state.list.iter_mut().rev().find(|(other, _)| other == key)
                {
                    alert.count += 1;
                }
                return false;
            }
            state.told.retain(|_, told| now_ms - *told < ONCE_IN_MS);
            state.told.insert(key.to_owned(), now_ms);
            if state.list.len() == KEPT {
                state.list.pop_front();
            }
            let alert = Alert {
                at_ms: now_ms,
                what,
                wording: wording.clone(),
                count: 1,
            };
            state.list.push_back((key.to_owned(), alert));
        }
        (self.0.tell)(what, wording.clone());
        (self.0.send)(what, wording);
        true
    }

    /// That something is well again: when it comes up next, it is told at once.
    pub fn settle(&self, key: &str) {
        self.state().told.remove(key);
    }

    /// Writes to the log what its own message tells people.
    pub fn note(&self, what: &'static str, wording: String) {
        (self.0.tell)(what, wording);
    }

    /// The newest first.
    pub fn list(&self) -> Vec<Alert> {
        let state = self.state();
        state
            .list
            .iter()
            .rev()
            .map(|(_, alert)| alert.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    };

    use distill_ledger::Clock;

    use super::{Alerts, KEPT, ONCE_IN_MS};

    #[test]
    fn each_thing_is_told_once_a_day_and_again_after_it_was_well() {
        let now = Arc::new(AtomicI64::new(0));
        let told = Arc::new(Mutex::new(Vec::new()));
        let sent = told.clone();
        let alerts = Alerts::new(
            Clock::ByHand(now.clone()),
            Arc::new(|_, _| {}),
            Arc::new(move |_, words| sent.lock().unwrap().push(words)),
        );
        assert!(alerts.raise("a", "target", "first".to_owned()));
        assert!(!alerts.raise("a", "target", "second".to_owned()));
        assert!(alerts.raise("b", "target", "other".to_owned()));
        now.store(ONCE_IN_MS, Ordering::Relaxed);
        assert!(alerts.raise("a", "target", "third".to_owned()));
        alerts.settle("a");
        assert!(alerts.raise("a", "target", "fourth".to_owned()));
        assert_eq!(*told.lock().unwrap(), ["first", "other", "third", "fourth"]);
        let list = alerts.list();
        assert_eq!((list[0].wording.as_str(), list[3].count), ("fourth", 2));
        for number in 0..2 * KEPT {
            alerts.raise(&number.to_string(), "target", String::new());
        }
        assert_eq!(alerts.list().len(), KEPT);
    }
}
