//! Who is logged in to the pages: sessions held in memory, each with its token against forged forms.

use std::{
    collections::HashMap,
    hint::black_box,
    sync::Mutex,
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};

/// The cookie's name. Its value is random and means nothing outside this process.
pub(super) const COOKIE: &str = "distill_session";
/// How long a login lasts.
pub(super) const LASTS: Duration = Duration::from_hours(12);
/// Most sessions at once; the oldest goes first.
const MOST_SESSIONS: usize = 256;
/// Wrong keys in [`FAILURES_WITHIN`] after which none is looked at any more.
const MOST_FAILURES: usize = 20;
const FAILURES_WITHIN: Duration = Duration::from_mins(1);

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// Whom the ledger records as the one who pressed a button.
    pub(super) who: String,
    /// Every form that somebody logged in sends carries it.
    pub(super) form_token: String,
    id: String,
}

/// Why nobody was logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// Too many wrong keys; the next is looked at after so long.
    Away(Duration),
    /// The system gives no random numbers.
    NoRandomness,
}

struct Held {
    session: Session,
    since: Instant,
}

#[derive(Default)]
struct State {
    /// By the hash of the cookie, so that looking one up takes the same time whatever it shares with
    /// a real one.
    sessions: HashMap<[u8; 32], Held>,
    failures: Vec<Instant>,
}

/// All logins.
#[derive(Default)]
pub(super) struct Sessions(Mutex<State>);

impl Sessions {
    /// Whether another key may be tried now.
    pub(super) fn may_try(&self, now: Instant) -> Result<(), Turned> {
        let mut state = self.state();
        state
            .failures
            .retain(|failure| now.saturating_duration_since(*failure) < FAILURES_WITHIN);
        match state.failures.first() {
            Some(first) if state.failures.len() >= MOST_FAILURES => {
                let passed = now.saturating_duration_since(*first);
                Err(Turned::Away(FAILURES_WITHIN.saturating_sub(passed)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.state();
        if state.failures.len() < MOST_FAILURES {
            state.failures.push(now);
        }
    }

    /// Begins a session; gives the value of its cookie.
    pub(super) fn begin(&self, who: String, now: Instant) -> Result<String, Turned> {
        let cookie = random()?;
        let session = Session {
            who,
            form_token: random()?,
            id: cookie.clone(),
        };
        let mut state = self.state();
        while state.sessions.len() >= MOST_SESSIONS {
            let oldest = state
                .sessions
                .iter()
                .min_by_key(|(_, held)| held.since)
                .map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                state.sessions.remove(&oldest);
            }
        }
        let held = Held {
            session,
            since: now,
        };
        state.sessions.insert(hash(&cookie), held);
        Ok(cookie)
    }

    /// The session of a request's cookie.
    pub(super) fn of(&self, headers: &HeaderMap, now: Instant) -> Option<Session> {
        let key = hash(cookie(headers)?);
        let mut state = self.state();
        let held = state.sessions.get(&key)?;
        if now.saturating_duration_since(held.since) >= LASTS {
            state.sessions.remove(&key);
            return None;
        }
        Some(held.session.clone())
    }

    pub(super) fn end(&self, session: &Session) {
        self.state().sessions.remove(&hash(&session.id));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.state().sessions.len();
        write!(formatter, "Sessions({count})")
    }
}

/// Whether two secrets are the same, in a time that tells nothing of where they differ.
pub(super) fn same(one: &str, other: &str) -> bool {
    let differing = hash(one)
        .iter()
        .zip(hash(other))
        .fold(0_u8, |differing, (one, other)| {
            black_box(differing | (one ^ other))
        });
    black_box(differing) == 0
}

/// The `Set-Cookie` of a login; with `secure`, browsers send it over TLS only.
pub(super) fn set_cookie(value: &str, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!(
        "{COOKIE}={value}; Path=/ui; HttpOnly; SameSite=Strict; Max-Age={}{secure}",
        LASTS.as_secs()
    )
}

/// The `Set-Cookie` of a logout.
pub(super) fn clear_cookie() -> String {
    format!("{COOKIE}=; Path=/ui; HttpOnly; SameSite=Strict; Max-Age=0")
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value)
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// 256 random bits in hexadecimal.
fn random() -> Result<String, Turned> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|_| Turned::NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A number that no page before had, for the policy that names a page's own scripts.
pub(super) fn nonce() -> Result<String, Turned> {
    random().map(|text| text[..32].to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use axum::http::{HeaderMap, HeaderValue, header};

    use super::{LASTS, MOST_FAILURES, MOST_SESSIONS, Sessions, Turned, same, set_cookie};

    fn with(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let value = format!("other=1; distill_session={cookie}; more=2");
        headers.insert(header::COOKIE, HeaderValue::from_str(&value).unwrap());
        headers
    }

    #[test]
    fn a_session_is_known_by_its_cookie_until_it_ends_or_is_old() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let cookie = sessions.begin("admin".to_owned(), now).unwrap();
        let session = sessions.of(&with(&cookie), now).unwrap();
        assert_eq!(session.who, "admin");
        assert_ne!(session.form_token, cookie);
        assert!(sessions.of(&with("0000"), now).is_none());
        assert!(sessions.of(&HeaderMap::new(), now).is_none());
        assert!(sessions.of(&with(&cookie), now + LASTS).is_none());
        let cookie = sessions.begin("admin".to_owned(), now).unwrap();
        let session = sessions.of(&with(&cookie), now).unwrap();
        sessions.end(&session);
        assert!(sessions.of(&with(&cookie), now).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_the_oldest_goes() {
        let sessions = Sessions::default();
        let start = Instant::now();
        let cookies: Vec<String> = (0..=MOST_SESSIONS as u64)
            .map(|second| {
                let now = start + Duration::from_secs(second);
                sessions.begin("admin".to_owned(), now).unwrap()
            })
            .collect();
        let now = start + Duration::from_mins(5);
        assert!(sessions.of(&with(&cookies[0]), now).is_none());
        assert!(sessions.of(&with(&cookies[1]), now).is_some());
    }

    #[test]
    fn guessing_keys_is_slowed() {
        let sessions = Sessions::default();
        let now = Instant::now();
        for _ in 0..MOST_FAILURES {
            sessions.may_try(now).unwrap();
            sessions.failed(now);
        }
        assert!(matches!(sessions.may_try(now), Err(Turned::Away(_))));
        sessions.may_try(now + Duration::from_mins(1)).unwrap();
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let cookie = set_cookie("x", false);
        for part in ["HttpOnly", "SameSite=Strict", "Path=/ui", "Max-Age=43200"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert!(set_cookie("x", true).ends_with("; Secure"));
        assert!(same("abc", "abc") && !same("abc", "abd") && !same("abc", "ab"));
    }
}
