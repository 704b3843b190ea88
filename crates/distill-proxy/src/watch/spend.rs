//! The spend breaker: when somebody spends much, their owner is asked "did you mean to spend this?".
//!
//! What was spent of late is counted in memory, minute by minute, from the ledger's events, and begun
//! from the ledger's tables, so that a process that is started again knows what went before. A rule
//! that is met raises a question in the ledger; whether the person may go on is the ledger's to say,
//! for every process that shares it. Nothing here stands in the way of a request.

mod habit;
mod rules;
#[cfg(test)]
mod tests;
mod wording;

use std::collections::{HashMap, HashSet};

use distill_gateway::Usd;
use distill_ledger::{
    Answer, Clock, Dimension, Ledger, LedgerError, LedgerEvent, NewQuestion, Question,
    QuestionFilter, Scope, UsageQuery,
};

use crate::config::{self, Config, PersonConfig, SpendConfig, StoreConfig};
use habit::Habit;
use rules::{Minute, Usage};
pub(super) use wording::default_wording;
pub use wording::question_message;

/// How long habits are taken for known.
const HABIT_MS: i64 = 3_600_000;
/// How often the windows are made anew where other processes spend too.
const SHARED_MS: i64 = 5 * 60_000;
/// How long a rule that was met and did not ask is left alone.
const LOOK_AGAIN_MS: i64 = 15_000;

/// Watches what everybody spends.
#[derive(Debug)]
pub struct Spend {
    ledger: Ledger,
    clock: Clock,
    people: HashMap<String, Usage>,
    /// Who used it since the last check.
    active: HashSet<String>,
    habits: HashMap<String, Habit>,
    habits_ms: Option<i64>,
    /// When the windows were begun from the tables.
    begun_ms: Option<i64>,
    /// Rules that were met and did not ask, by person: not looked at before then.
    later: HashMap<(String, &'static str), i64>,
}

impl Spend {
    pub fn new(ledger: Ledger, clock: Clock) -> Self {
        Self {
            ledger,
            clock,
            people: HashMap::new(),
            active: HashSet::new(),
            habits: HashMap::new(),
            habits_ms: None,
            begun_ms: None,
            later: HashMap::new(),
        }
    }

    /// Counts what the ledger tells of.
    pub fn hears(&mut self, event: &LedgerEvent) {
        let now_ms = self.clock.now_ms();
        match event {
            LedgerEvent::AttemptSettled(attempt) => {
                let minute = Minute {
                    // What is not known counts with its bound, as it does for budgets.
                    usd: attempt.usd.unwrap_or(attempt.reserved),
                    bound: attempt.usd.map_or(attempt.reserved, |_| Usd::ZERO),
                    tokens: tokens(&attempt.usage),
                    simulated: attempt.simulated,
                };
                self.add(&attempt.facts.user, now_ms, minute);
            }
            LedgerEvent::RequestFinished(request) => {
                self.add(&request.facts.user, now_ms, Minute::default());
            }
            // Whatever was answered: the next look asks the ledger.
            LedgerEvent::QuestionAnswered(question) => {
                if let Scope::User(user) = &question.about {
                    self.later.retain(|(name, _), _| name != user);
                }
            }
            LedgerEvent::QuestionRaised(_)
            | LedgerEvent::ModelChanged(_)
            | LedgerEvent::KeysChanged => {}
        }
    }

    /// Events were missed: the windows are begun anew from the tables.
    pub fn forget(&mut self) {
        self.begun_ms = None;
    }

    fn add(&mut self, user: &str, now_ms: i64, minute: Minute) {
        if !self.active.contains(user) {
            self.active.insert(user.to_owned());
        }
        match self.people.get_mut(user) {
            Some(usage) => usage.add(now_ms, minute),
            None => self
                .people
                .entry(user.to_owned())
                .or_default()
                .add(now_ms, minute),
        }
    }

    /// Raises the questions that the rules want, for whoever used the proxy since the last check.
    ///
    /// # Errors
    /// Where the ledger cannot be read or written; the next check tries again.
    pub async fn check(&mut self, config: &Config) -> Result<Vec<Question>, LedgerError> {
        let now_ms = self.clock.now_ms();
        self.begin(config, now_ms).await?;
        let spend = &config.spend;
        if spend.rate.is_some() && !self.active.is_empty() {
            self.learn_habits(spend, now_ms).await?;
        }
        self.later.retain(|_, until| now_ms < *until);
        let mut raised = Vec::new();
        let active: Vec<String> = self.active.iter().cloned().collect();
        for user in active {
            let person = config.people.iter().find(|person| person.name == user);
            if !person.is_some_and(|person| person.spend_exempt) {
                raised.extend(self.check_one(&user, person, spend, now_ms).await?);
            }
            // Only now: after an error the next check looks at the rest.
            self.active.remove(&user);
        }
        let keep_ms = rules::longest_ms(spend);
        self.people.retain(|_, usage| usage.trim(now_ms - keep_ms));
        Ok(raised)
    }

    async fn check_one(
        &mut self,
        user: &str,
        person: Option<&PersonConfig>,
        spend: &SpendConfig,
        now_ms: i64,
    ) -> Result<Option<Question>, LedgerError> {
        let Some(usage) = self.people.get(user) else {
            return Ok(None);
        };
        let met = rules::met(usage, spend, self.habits.get(user), now_ms);
        let Some(met) = met.into_iter().find(|met| {
            let key = (user.to_owned(), met.rule);
            !self.later.contains_key(&key)
        }) else {
            return Ok(None);
        };
        if self.is_settled(user, met.rule, spend, now_ms).await? {
            let key = (user.to_owned(), met.rule);
            self.later.insert(key, now_ms + LOOK_AGAIN_MS);
            return Ok(None);
        }
        let owner = person.and_then(|person| person.owner.clone());
        let question = NewQuestion {
            about: Scope::User(user.to_owned()),
            user: Some(owner.unwrap_or_else(|| user.to_owned())),
            rule: met.rule.to_owned(),
            wording: wording::asking(user, &met.words, spend, usage.is_simulated()),
            holds: spend.pause_while_open,
            default: answer(spend.default_answer),
            deadline_ms: now_ms + spend.answer_within.as_millis() as i64,
        };
        self.ledger.raise(question).await.map(Some)
    }

    /// Whether this person was asked already: a question is open, a stop stands, or somebody said go
    /// on for this rule not long ago.
    async fn is_settled(
        &self,
        user: &str,
        rule: &str,
        spend: &SpendConfig,
        now_ms: i64,
    ) -> Result<bool, LedgerError> {
        let filter = QuestionFilter {
            about: Some(Scope::User(user.to_owned())),
            ..QuestionFilter::default()
        };
        let asked = self.ledger.records().questions(&filter).await?;
        let quiet_ms = spend.quiet_after_go.as_millis() as i64;
        Ok(asked.iter().any(|question| match question.answer {
            None => true,
            Some(Answer::Stop) => question.pauses(now_ms),
            Some(Answer::GoOn) => {
                question.rule == rule
                    && question
                        .answered_ms
                        .is_some_and(|answered| now_ms - answered < quiet_ms)
            }
        }))
    }

    /// Gives the default answer to questions whose time is over. Every process that shares the ledger
    /// does; the first one counts.
    ///
    /// # Errors
    /// Where the ledger cannot be read or written.
    pub async fn overdue(&mut self, config: &Config) -> Result<Vec<Question>, LedgerError> {
        let now_ms = self.clock.now_ms();
        let filter = QuestionFilter {
            only_open: true,
            limit: 1_000,
            ..QuestionFilter::default()
        };
        let mut answered = Vec::new();
        for question in self.ledger.records().questions(&filter).await? {
            if now_ms < question.deadline_ms {
                continue;
            }
            let stops_until = stops_until(&config.spend, now_ms);
            let question = self
                .ledger
                .answer_by_default(&question, stops_until)
                .await?;
            if question.answered_by.as_deref() == Some(BY_DEFAULT) {
                answered.push(question);
            }
        }
        Ok(answered)
    }

    /// Begins the windows from the tables: at the start, after missed events, and now and then where
    /// other processes spend too. The tables are a moment behind the events and know what other
    /// processes did, so of each minute the larger count stands.
    async fn begin(&mut self, config: &Config, now_ms: i64) -> Result<(), LedgerError> {
        let shared = matches!(config.ledger, StoreConfig::Postgres(_));
        let fresh = self
            .begun_ms
            .is_some_and(|begun| !shared || now_ms - begun < SHARED_MS);
        if fresh {
            return Ok(());
        }
        let since_ms = now_ms - rules::longest_ms(&config.spend);
        let query = UsageQuery {
            by: vec![Dimension::User, Dimension::Minute],
            since_ms: Some(since_ms),
            ..UsageQuery::default()
        };
        let table = self.ledger.records().usage(&query).await?;
        for row in table.rows {
            let [Some(user), Some(time)] = row.group.as_slice() else {
                continue;
            };
            let Some(at_ms) = habit::milliseconds_of(time) else {
                continue;
            };
            let minute = Minute {
                usd: row.usd.unwrap_or_default() + row.usd_unsettled,
                bound: row.usd_unsettled,
                tokens: [
                    row.tokens.input,
                    row.tokens.cached_input,
                    row.tokens.cache_write,
                    row.tokens.output,
                    row.tokens.reasoning,
                ]
                .into_iter()
                .flatten()
                .sum(),
                simulated: row.simulated,
            };
            self.active.insert(user.clone());
            self.people
                .entry(user.clone())
                .or_default()
                .at_least(at_ms, minute);
        }
        self.begun_ms = Some(now_ms);
        Ok(())
    }

    async fn learn_habits(&mut self, spend: &SpendConfig, now_ms: i64) -> Result<(), LedgerError> {
        let Some(rate) = &spend.rate else {
            return Ok(());
        };
        let fresh = self
            .habits_ms
            .is_some_and(|learned| now_ms - learned < HABIT_MS);
        if fresh {
            return Ok(());
        }
        let query = UsageQuery {
            by: vec![Dimension::User, Dimension::Hour],
            since_ms: Some(now_ms - rate.history.as_millis() as i64),
            // What is judged now must not be its own measure.
            until_ms: Some(now_ms - rate.window.as_millis() as i64),
            ..UsageQuery::default()
        };
        let table = self.ledger.records().usage(&query).await?;
        self.habits = habit::learn(&table);
        self.habits_ms = Some(now_ms);
        Ok(())
    }
}

/// Who the ledger says answered where nobody did.
const BY_DEFAULT: &str = "deadline";

/// Until when a "stop" holds; `None`: until somebody lifts it.
pub(crate) fn stops_until(spend: &SpendConfig, now_ms: i64) -> Option<i64> {
    spend
        .stop_for
        .map(|length| now_ms + length.as_millis() as i64)
}

fn answer(answer: config::Answer) -> Answer {
    match answer {
        config::Answer::GoOn => Answer::GoOn,
        config::Answer::Stop => Answer::Stop,
    }
}

fn tokens(usage: &distill_chat::Usage) -> u64 {
    [
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    ]
    .into_iter()
    .flatten()
    .fold(0, u64::saturating_add)
}
