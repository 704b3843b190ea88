//! Entries as they go into the tables, many at a time.
//!
//! A request that begins and ends within one batch is one row written once, and the balances of a
//! scope are moved once for the whole batch.

use std::collections::{BTreeMap, HashMap};

use crate::{
    books::{Scope, Window},
    clock,
    entry::{Entry, Finish, Intent, RequestFacts, Settlement},
    store::Statement,
};

const REQUEST: &str = "INSERT INTO requests (id, started_ms, instance, key_id, user_name, team,
    discipline, level, task, task_version, route, model_asked, dialect, streamed, session,
    status, outcome, answered_by, model, attempts, latency_us, first_token_us,
    cache_kind, cache_age_ms, cache_saved, ended_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
    $20, $21, $22, $23, $24, $25, $26)
    ON CONFLICT (id) DO UPDATE SET status = excluded.status, outcome = excluded.outcome,
    answered_by = excluded.answered_by, model = excluded.model, attempts = excluded.attempts,
    latency_us = excluded.latency_us, first_token_us = excluded.first_token_us,
    cache_kind = excluded.cache_kind, cache_age_ms = excluded.cache_age_ms,
    cache_saved = excluded.cache_saved, ended_ms = excluded.ended_ms
    WHERE excluded.outcome IS NOT NULL";

const ATTEMPT: &str = "INSERT INTO attempts (request_id, number, started_ms, instance, target,
    simulated, reserved, pool, pool_held, pool_of, outcome, usd, pool_usd, pool_tokens,
    input_tokens, cached_tokens, cache_write_tokens, output_tokens, reasoning_tokens,
    status, model, fingerprint, response_id, latency_us, first_token_us, ended_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
    $20, $21, $22, $23, $24, $25, $26)
    ON CONFLICT (request_id, number) DO UPDATE SET outcome = excluded.outcome,
    usd = excluded.usd, pool_usd = excluded.pool_usd, pool_tokens = excluded.pool_tokens,
    input_tokens = excluded.input_tokens, cached_tokens = excluded.cached_tokens,
    cache_write_tokens = excluded.cache_write_tokens, output_tokens = excluded.output_tokens,
    reasoning_tokens = excluded.reasoning_tokens, status = excluded.status,
    model = excluded.model, fingerprint = excluded.fingerprint,
    response_id = excluded.response_id, latency_us = excluded.latency_us,
    first_token_us = excluded.first_token_us, ended_ms = excluded.ended_ms
    WHERE excluded.outcome IS NOT NULL";

const BALANCE: &str = "INSERT INTO balances (account, span, number, amount)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (account, span, number) DO UPDATE SET amount = balances.amount + excluded.amount";

const SIGHTING: &str = "INSERT INTO sightings (target, model, fingerprint, first_ms, last_ms,
    answers) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (target, model, fingerprint) DO UPDATE SET answers =
    sightings.answers + excluded.answers, last_ms = excluded.last_ms";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Global,
    Key,
    User,
    Team,
    Task,
}

impl Kind {
    fn scope(self, name: &str) -> Scope {
        let name = name.to_owned();
        match self {
            Self::Global => Scope::Global,
            Self::Key => Scope::Key(name),
            Self::User => Scope::User(name),
            Self::Team => Scope::Team(name),
            Self::Task => Scope::Task(name),
        }
    }
}

/// Everything that a batch changes.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    instance: &'a str,
    requests: BTreeMap<&'a str, (&'a RequestFacts, Option<&'a Finish>)>,
    attempts: BTreeMap<(&'a str, u32), (&'a Intent, Option<&'a Settlement>)>,
    /// Pico-dollars by kind and name of a scope and by day; months and totals follow from them.
    money: HashMap<(Kind, &'a str, i64), i64>,
    balances: HashMap<(String, Window, i64), i64>,
    sightings: BTreeMap<(&'a str, &'a str, &'a str), (i64, i64, i64)>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(instance: &'a str, entries: &'a [Entry]) -> Self {
        let mut batch = Self {
            instance,
            ..Self::default()
        };
        for entry in entries {
            match entry {
                Entry::Intent(intent) => batch.intent(intent),
                Entry::Settlement(settlement) => batch.settlement(settlement),
                Entry::Finish(finish) => {
                    batch
                        .requests
                        .insert(&finish.facts.id, (&finish.facts, Some(finish)));
                }
            }
        }
        batch
    }

    fn intent(&mut self, intent: &'a Intent) {
        self.requests
            .entry(&intent.facts.id)
            .or_insert((&intent.facts, None));
        self.attempts
            .entry((&intent.facts.id, intent.number))
            .or_insert((intent, None));
        self.money(intent, intent.reserved);
        if let Some(draw) = &intent.pool {
            self.pool(&draw.name, signed(draw.tokens));
        }
    }

    fn settlement(&mut self, settlement: &'a Settlement) {
        let intent: &Intent = &settlement.intent;
        self.attempts.insert(
            (&intent.facts.id, intent.number),
            (intent, Some(settlement)),
        );
        if let Some(usd) = settlement.usd {
            self.money(intent, usd.saturating_sub(intent.reserved));
        }
        if let Some(draw) = &intent.pool {
            self.pool(
                &draw.name,
                signed(settlement.pool_tokens) - signed(draw.tokens),
            );
        }
        if let Some(model) = &settlement.model {
            let fingerprint = settlement.fingerprint.as_deref().unwrap_or_default();
            let at = settlement.ended_ms;
            let seen = self
                .sightings
                .entry((&intent.target, model, fingerprint))
                .or_insert((at, at, 0));
            seen.1 = seen.1.max(at);
            seen.2 += 1;
        }
    }

    fn money(&mut self, intent: &'a Intent, delta: i64) {
        if delta == 0 {
            return;
        }
        let facts: &RequestFacts = &intent.facts;
        let day = clock::day(intent.started_ms);
        let scopes = [
            Some((Kind::Global, "")),
            Some((Kind::Key, facts.key.as_str())),
            Some((Kind::User, facts.user.as_str())),
            facts.team.as_deref().map(|team| (Kind::Team, team)),
            facts.task.as_deref().map(|task| (Kind::Task, task)),
        ];
        for (kind, name) in scopes.into_iter().flatten() {
            let amount = self.money.entry((kind, name, day)).or_default();
            *amount = amount.saturating_add(delta);
        }
    }

    fn pool(&mut self, name: &str, tokens: i64) {
        self.balance(format!("pool:{name}"), Window::Total, 0, tokens);
    }

    /// Moves a balance; also the counters of rates, where a store is shared.
    pub(crate) fn balance(&mut self, account: String, window: Window, at_ms: i64, delta: i64) {
        let amount = self
            .balances
            .entry((account, window, window.index(at_ms)))
            .or_default();
        *amount = amount.saturating_add(delta);
    }

    /// The statements that bring a batch into the tables.
    pub(crate) fn statements(mut self) -> Vec<Statement<'a>> {
        for ((kind, name, day), delta) in std::mem::take(&mut self.money) {
            let account = kind.scope(name).account();
            for window in Window::MONEY {
                self.balance(account.clone(), window, clock::first_of_day(day), delta);
            }
        }
        let mut statements = Vec::new();
        for (facts, finish) in self.requests.into_values() {
            statements.push(request(self.instance, facts, finish));
        }
        for (intent, settlement) in self.attempts.into_values() {
            statements.push(attempt(self.instance, intent, settlement));
        }
        let mut balances: Vec<_> = self.balances.into_iter().collect();
        balances.sort();
        for ((account, window, index), amount) in balances {
            statements.push(Statement::new(
                BALANCE,
                vec![
                    account.into(),
                    window.name().into(),
                    index.into(),
                    amount.into(),
                ],
            ));
        }
        for ((target, model, fingerprint), (first, last, answers)) in self.sightings {
            statements.push(Statement::new(
                SIGHTING,
                vec![
                    target.into(),
                    model.into(),
                    fingerprint.into(),
                    first.into(),
                    last.into(),
                    answers.into(),
                ],
            ));
        }
        statements
    }
}

fn request<'a>(
    instance: &'a str,
    facts: &'a RequestFacts,
    finish: Option<&'a Finish>,
) -> Statement<'a> {
    let cache = finish.and_then(|finish| finish.cache.as_ref());
    Statement::new(
        REQUEST,
        vec![
            (&facts.id).into(),
            facts.started_ms.into(),
            instance.into(),
            (&facts.key).into(),
            (&facts.user).into(),
            facts.team.as_ref().into(),
            facts.discipline.as_ref().into(),
            facts.level.as_ref().into(),
            facts.task.as_ref().into(),
            facts.task_version.as_ref().into(),
            (&facts.route).into(),
            (&facts.model_asked).into(),
            (&facts.dialect).into(),
            facts.streamed.into(),
            facts.session.as_ref().into(),
            finish.map(|finish| finish.status).into(),
            finish.map(|finish| &finish.outcome).into(),
            finish.and_then(|finish| finish.answered_by.as_ref()).into(),
            finish.and_then(|finish| finish.model.as_ref()).into(),
            finish.map(|finish| finish.attempts).into(),
            finish.map(|finish| finish.latency_us).into(),
            finish.and_then(|finish| finish.first_token_us).into(),
            cache.map(|cache| &cache.kind).into(),
            cache.map(|cache| cache.age_ms).into(),
            cache.map(|cache| cache.saved).into(),
            finish.map(|finish| finish.ended_ms).into(),
        ],
    )
}

fn attempt<'a>(
    instance: &'a str,
    intent: &'a Intent,
    settlement: Option<&'a Settlement>,
) -> Statement<'a> {
    let usage = settlement.map(|end| end.usage).unwrap_or_default();
    let pool = intent.pool.as_ref();
    Statement::new(
        ATTEMPT,
        vec![
            (&intent.facts.id).into(),
            intent.number.into(),
            intent.started_ms.into(),
            instance.into(),
            (&intent.target).into(),
            intent.simulated.into(),
            intent.reserved.into(),
            pool.map(|draw| &draw.name).into(),
            pool.map(|draw| draw.tokens).into(),
            pool.map(|draw| draw.of).into(),
            settlement.map(|end| &end.outcome).into(),
            settlement.and_then(|end| end.usd).into(),
            settlement.and_then(|end| end.pool_usd).into(),
            settlement
                .filter(|_| pool.is_some())
                .map(|end| end.pool_tokens)
                .into(),
            usage.input_tokens.into(),
            usage.cached_input_tokens.into(),
            usage.cache_write_tokens.into(),
            usage.output_tokens.into(),
            usage.reasoning_tokens.into(),
            settlement.and_then(|end| end.status).into(),
            settlement.and_then(|end| end.model.as_ref()).into(),
            settlement.and_then(|end| end.fingerprint.as_ref()).into(),
            settlement.and_then(|end| end.response_id.as_ref()).into(),
            settlement.and_then(|end| end.latency_us).into(),
            settlement.and_then(|end| end.first_token_us).into(),
            settlement.map(|end| end.ended_ms).into(),
        ],
    )
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
