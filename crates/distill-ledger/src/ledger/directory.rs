//! What the process knows of keys and of questions about spend, taken over from the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use distill_gateway::Secret;

use crate::{
    api::{Caller, Refusal},
    books::Scope,
    entry::RequestFacts,
    event::LedgerEvent,
    key::{KEY_PREFIX, KeyHash},
    keyring::{self, KnownKey},
    question::Question,
    records::Records,
};

/// Unknown keys that the store is asked about in a second: guessing does not keep it busy.
const LOOKUPS_PER_SECOND: u32 = 20;

#[derive(Debug, Default)]
pub(super) struct Directory {
    keys: RwLock<Keys>,
    questions: RwLock<Questions>,
    lookups: Mutex<(i64, u32)>,
}

#[derive(Debug, Default)]
struct Keys {
    version: Option<i64>,
    known: HashMap<KeyHash, KnownKey>,
    admin: Option<(KeyHash, Arc<Caller>)>,
}

#[derive(Debug, Default)]
struct Questions {
    version: Option<i64>,
    /// By id, as last seen.
    seen: HashMap<String, Question>,
    /// Those that may refuse requests.
    pausing: Vec<Question>,
}

impl Directory {
    pub(super) fn set_admin(&self, admin: Option<(&Secret, Caller)>) {
        let admin = admin.map(|(key, caller)| (KeyHash::of(key.expose()), Arc::new(caller)));
        self.write_keys().admin = admin;
    }

    fn write_keys(&self) -> std::sync::RwLockWriteGuard<'_, Keys> {
        self.keys.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn identify(
        &self,
        records: &Records,
        presented: &str,
        now_ms: i64,
    ) -> Option<Arc<Caller>> {
        let hash = KeyHash::of(presented);
        {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            if let Some((admin, caller)) = &keys.admin
                && admin.same(&hash)
            {
                return Some(Arc::clone(caller));
            }
            if let Some(known) = keys.known.get(&hash)
                && known.hash.same(&hash)
            {
                return known.holds(now_ms).then(|| Arc::clone(&known.caller));
            }
        }
        if !presented.starts_with(KEY_PREFIX) || !self.may_look_up(now_ms) {
            return None;
        }
        // A store that cannot be read knows nobody.
        let found = keyring::known_by_hash(records.database(), &hash)
            .await
            .ok()??;
        if !found.hash.same(&hash) || !found.holds(now_ms) {
            return None;
        }
        let caller = Arc::clone(&found.caller);
        self.write_keys().known.insert(hash, found);
        Some(caller)
    }

    fn may_look_up(&self, now_ms: i64) -> bool {
        let mut lookups: MutexGuard<'_, (i64, u32)> =
            self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now_ms.div_euclid(1_000);
        if lookups.0 != second {
            *lookups = (second, 0);
        }
        lookups.1 += 1;
        lookups.1 <= LOOKUPS_PER_SECOND
    }

    pub(super) fn needs_keys(&self, version: i64) -> bool {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.version != Some(version)
    }

    /// Takes over the keys that hold; says whether they were known before and are others now.
    pub(super) fn take_keys(&self, version: i64, known: Vec<KnownKey>) -> bool {
        let mut keys = self.write_keys();
        let first = keys.version.is_none();
        keys.version = Some(version);
        keys.known = known.into_iter().map(|key| (key.hash, key)).collect();
        !first
    }

    pub(super) fn needs_questions(&self, version: i64) -> bool {
        let questions = self
            .questions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        questions.version != Some(version)
    }

    /// Takes over the questions; says what is new about them.
    pub(super) fn take_questions(&self, version: i64, list: Vec<Question>) -> Vec<LedgerEvent> {
        let mut questions = self
            .questions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let first = questions.version.is_none();
        questions.version = Some(version);
        let mut events = Vec::new();
        // Oldest first, as they were raised.
        for question in list.iter().rev() {
            let before = questions.seen.get(&question.id);
            if before.is_none() {
                events.push(LedgerEvent::QuestionRaised(Arc::new(question.clone())));
            }
            let answered_ms = before.and_then(|before| before.answered_ms);
            let answer = before.and_then(|before| before.answer);
            if question.answer.is_some()
                && (question.answered_ms, question.answer) != (answered_ms, answer)
            {
                events.push(LedgerEvent::QuestionAnswered(Arc::new(question.clone())));
            }
        }
        questions.pausing = list
            .iter()
            .filter(|question| match question.answer {
                None => question.holds,
                Some(answer) => answer == crate::question::Answer::Stop,
            })
            .cloned()
            .collect();
        questions.seen = list
            .into_iter()
            .map(|question| (question.id.clone(), question))
            .collect();
        if first { Vec::new() } else { events }
    }

    /// Whether a question holds back a request.
    pub(super) fn pause(&self, facts: &RequestFacts, now_ms: i64) -> Option<Refusal> {
        let questions = self
            .questions
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if questions.pausing.is_empty() {
            return None;
        }
        let scopes = Scope::of(facts);
        questions
            .pausing
            .iter()
            .find(|question| question.pauses(now_ms) && scopes.contains(&question.about))
            .map(|question| Refusal::Paused {
                // By its id it can be answered, by its words it is understood.
                question: format!("{} ({})", how_it_stands(question), question.wording),
            })
    }
}

/// Which question pauses, and why: who was told "stop" must not be told to wait for an answer.
fn how_it_stands(question: &Question) -> String {
    let id = &question.id;
    match (question.answer, question.answered_by.as_deref()) {
        (None, _) => format!("question {id} waits for an answer"),
        (Some(_), Some("deadline")) => {
            format!("question {id} was not answered in time, which means stop")
        }
        (Some(_), Some(by)) => format!("question {id} was answered with stop by {by}"),
        (Some(_), None) => format!("question {id} was answered with stop"),
    }
}
