//! What everybody has spent and how fast: the books that limits are held against.
//!
//! Everything is decided and charged in one step under the caller's exclusive hold of the books, so
//! parallel requests cannot overrun a limit together. What an attempt may cost at most is charged
//! before it leaves and corrected to what it cost after.

mod rate;

use std::{collections::HashMap, time::Duration};

use distill_gateway::Usd;

use crate::{
    api::{KeyLimits, LimitTable, Refusal, TokenPool},
    clock,
    entry::{PoolDraw, RequestFacts},
};
use rate::Minute;

/// What a balance is counted over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Window {
    Day,
    Month,
    Total,
    /// Requests in a minute of the clock.
    Requests,
    /// Tokens in a minute of the clock.
    Tokens,
}

impl Window {
    pub(crate) const MONEY: [Self; 3] = [Self::Day, Self::Month, Self::Total];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Total => "total",
            Self::Requests => "requests",
            Self::Tokens => "tokens",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [
            Self::Day,
            Self::Month,
            Self::Total,
            Self::Requests,
            Self::Tokens,
        ]
        .into_iter()
        .find(|window| window.name() == name)
    }

    /// Which one it is at a time: days, months or minutes are counted, the total is one.
    pub(crate) fn index(self, at_ms: i64) -> i64 {
        match self {
            Self::Day => clock::day(at_ms),
            Self::Month => clock::month(at_ms),
            Self::Total => 0,
            Self::Requests | Self::Tokens => rate::minute(at_ms),
        }
    }
}

/// Whose limits and spending an account holds.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything together.
    Global,
    /// A key, by its id.
    Key(String),
    User(String),
    Team(String),
    Task(String),
}

impl Scope {
    /// As the store names its account.
    pub(crate) fn account(&self) -> String {
        match self {
            Self::Global => "global".to_owned(),
            Self::Key(name) => format!("key:{name}"),
            Self::User(name) => format!("user:{name}"),
            Self::Team(name) => format!("team:{name}"),
            Self::Task(name) => format!("task:{name}"),
        }
    }

    pub(crate) fn from_account(account: &str) -> Option<Self> {
        let (kind, name) = account.split_once(':').unwrap_or((account, ""));
        let name = name.to_owned();
        Some(match kind {
            "global" => Self::Global,
            "key" => Self::Key(name),
            "user" => Self::User(name),
            "team" => Self::Team(name),
            "task" => Self::Task(name),
            _ => return None,
        })
    }

    /// The scopes that a request is charged to.
    pub(crate) fn of(facts: &RequestFacts) -> Vec<Self> {
        let mut scopes = vec![
            Self::Global,
            Self::Key(facts.key.clone()),
            Self::User(facts.user.clone()),
        ];
        scopes.extend(facts.team.clone().map(Self::Team));
        scopes.extend(facts.task.clone().map(Self::Task));
        scopes
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Global => formatter.write_str("everybody"),
            Self::Key(name) => write!(formatter, "key `{name}`"),
            Self::User(name) => write!(formatter, "user `{name}`"),
            Self::Team(name) => write!(formatter, "team `{name}`"),
            Self::Task(name) => write!(formatter, "task `{name}`"),
        }
    }
}

/// A balance of the store's account in one window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Balance {
    pub(crate) account: String,
    pub(crate) window: Window,
    pub(crate) index: i64,
    /// Pico-dollars, requests or tokens.
    pub(crate) amount: i64,
}

/// The accounts of one request, in the books.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts(Vec<usize>);

/// What an attempt holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    /// Pico-dollars.
    pub(crate) reserved: i64,
    pub(crate) pool: Option<PoolDraw>,
    /// When, by the books: the windows it is charged to.
    pub(crate) at_ms: i64,
}

/// What a settled attempt is booked at.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Booked {
    pub(crate) usd: Option<i64>,
    pub(crate) pool_usd: Option<i64>,
    pub(crate) pool_tokens: u64,
}

impl Booked {
    /// Of an attempt that never left.
    pub(crate) fn nothing() -> Self {
        Self {
            usd: Some(0),
            pool_usd: None,
            pool_tokens: 0,
        }
    }

    /// Divides the cost of an attempt between its pool and the budgets. `tokens` is what it used.
    pub(crate) fn new(held: &Held, usd: Option<Usd>, tokens: Option<u64>) -> Self {
        let cost = usd.map(Usd::pico);
        let Some(draw) = &held.pool else {
            return Self {
                usd: cost,
                ..Self::default()
            };
        };
        match (cost, tokens) {
            // Nothing was used, or it is known to have cost nothing.
            (Some(0), None) | (Some(_), Some(0)) => Self {
                usd: cost,
                pool_usd: Some(0),
                pool_tokens: 0,
            },
            (Some(cost), Some(used)) => {
                let paid = used.min(draw.tokens);
                let share = i128::from(cost) * i128::from(paid) / i128::from(used);
                let share = i64::try_from(share).unwrap_or(cost);
                Self {
                    usd: Some(cost - share),
                    pool_usd: Some(share),
                    pool_tokens: paid,
                }
            }
            // Not known: what was set aside stays set aside.
            (cost, _) => Self {
                usd: cost.filter(|_| draw.tokens < draw.of),
                pool_usd: None,
                pool_tokens: draw.tokens,
            },
        }
    }
}

#[derive(Debug)]
struct Account {
    scope: Scope,
    limits: KeyLimits,
    /// Day, month and total: which one, and pico-dollars committed in it.
    money: [(i64, i64); 3],
    requests: Minute,
    tokens: Minute,
}

/// The day, the month and the total of a time.
fn money_windows(at_ms: i64) -> [i64; 3] {
    Window::MONEY.map(|window| window.index(at_ms))
}

impl Account {
    /// Moves on to the windows of a time, which `windows` are.
    fn turn(&mut self, now_ms: i64, windows: [i64; 3]) {
        for (slot, index) in self.money.iter_mut().zip(windows) {
            // Only forwards: a clock that is set back does not give a spent day afresh.
            if index > slot.0 {
                *slot = (index, 0);
            }
        }
        self.requests.turn(now_ms);
        self.tokens.turn(now_ms);
    }

    fn refuse_money(&self, needed: i64, now_ms: i64) -> Option<Refusal> {
        if needed == 0 {
            // A pool pays, or nobody has to: a spent budget is no obstacle.
            return None;
        }
        let caps = [
            self.limits.usd_per_day,
            self.limits.usd_per_month,
            self.limits.usd_total,
        ];
        let passed = (0..3).find(|&at| {
            // What cannot be counted is not granted: a sum that stops at its largest value would
            // forget what was spent as soon as the reservation is taken back.
            let sum = self.money[at].1.checked_add(needed);
            sum.is_none_or(|sum| caps[at].is_some_and(|cap| sum > cap.pico()))
        })?;
        let (span, fresh_in) = [
            ("a day", Some(clock::until_next_day(now_ms))),
            ("a month", Some(clock::until_next_month(now_ms))),
            ("in all", None),
        ][passed];
        Some(Refusal::Budget {
            what: format!("the budget of {} {span}", self.scope),
            cap: caps[passed].unwrap_or(Usd::from_pico(i64::MAX)),
            committed: Usd::from_pico(self.money[passed].1),
            needed: Usd::from_pico(needed),
            fresh_in,
        })
    }

    fn refuse_rate(&self, tokens: u64, now_ms: i64) -> Option<Refusal> {
        let limited = |limit: Option<u64>, minute: &Minute, needed: u64, of: &str| {
            let limit = limit?;
            let retry_after = minute.wait(limit, needed, now_ms)?;
            let alone = if needed > limit {
                format!(", and this request alone may take {needed}")
            } else {
                String::new()
            };
            Some(Refusal::RateLimited {
                what: format!(
                    "the limit of {limit} {of} a minute of {}{alone}",
                    self.scope
                ),
                retry_after,
            })
        };
        limited(
            self.limits.requests_per_minute,
            &self.requests,
            1,
            "requests",
        )
        .or_else(|| {
            limited(
                self.limits.tokens_per_minute,
                &self.tokens,
                tokens,
                "tokens",
            )
        })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Books {
    by_scope: HashMap<Scope, usize>,
    accounts: Vec<Account>,
    /// Tokens drawn from each pool so far.
    drawn: HashMap<String, u64>,
    table: LimitTable,
    latest_ms: i64,
}

impl Books {
    /// Puts other limits into force. What is committed stays committed.
    pub(crate) fn set_limits(&mut self, table: LimitTable) {
        self.table = table;
        for account in &mut self.accounts {
            if let Some(limits) = limits_of(&self.table, &account.scope) {
                account.limits = limits;
            }
        }
    }

    pub(crate) fn pools(&self) -> &[TokenPool] {
        &self.table.pools
    }

    /// Tokens drawn from a pool so far.
    pub(crate) fn drawn(&self, pool: &str) -> u64 {
        self.drawn.get(pool).copied().unwrap_or(0)
    }

    /// The accounts of a request; the limits of its key may have changed since the last one.
    pub(crate) fn accounts(&mut self, facts: &RequestFacts, key_limits: &KeyLimits) -> Accounts {
        let indices = Scope::of(facts)
            .into_iter()
            .map(|scope| {
                let is_key = matches!(scope, Scope::Key(_));
                let index = self.account(scope);
                if is_key && self.accounts[index].limits != *key_limits {
                    self.accounts[index].limits = key_limits.clone();
                }
                index
            })
            .collect();
        Accounts(indices)
    }

    fn account(&mut self, scope: Scope) -> usize {
        if let Some(&index) = self.by_scope.get(&scope) {
            return index;
        }
        let index = self.accounts.len();
        self.accounts.push(Account {
            limits: limits_of(&self.table, &scope).unwrap_or_default(),
            scope: scope.clone(),
            money: [(i64::MIN, 0); 3],
            requests: Minute::default(),
            tokens: Minute::default(),
        });
        self.by_scope.insert(scope, index);
        index
    }

    /// Takes over a balance from the store.
    pub(crate) fn load(&mut self, balance: &Balance) {
        if let Some(pool) = balance.account.strip_prefix("pool:") {
            let drawn = u64::try_from(balance.amount).unwrap_or(0);
            self.drawn.insert(pool.to_owned(), drawn);
            return;
        }
        let Some(scope) = Scope::from_account(&balance.account) else {
            return;
        };
        let index = self.account(scope);
        let account = &mut self.accounts[index];
        match balance.window {
            Window::Day => account.money[0] = (balance.index, balance.amount),
            Window::Month => account.money[1] = (balance.index, balance.amount),
            Window::Total => account.money[2] = (balance.index, balance.amount),
            Window::Requests => account.requests.load(balance.index, balance.amount),
            Window::Tokens => account.tokens.load(balance.index, balance.amount),
        }
    }

    /// Forgets every balance, keeping limits: before they are loaded afresh from a shared store.
    pub(crate) fn clear(&mut self) {
        self.drawn.clear();
        for account in &mut self.accounts {
            account.money = [(i64::MIN, 0); 3];
            account.requests = Minute::default();
            account.tokens = Minute::default();
        }
    }

    fn now(&mut self, now_ms: i64) -> i64 {
        self.latest_ms = self.latest(now_ms);
        self.latest_ms
    }

    /// The time by the books, which never goes back.
    pub(crate) fn latest(&self, now_ms: i64) -> i64 {
        self.latest_ms.max(now_ms)
    }

    /// Lets a request in, or says which rate it passes. Returns when, by the books.
    pub(crate) fn admit(
        &mut self,
        accounts: &Accounts,
        worst_tokens: u64,
        now_ms: i64,
    ) -> Result<i64, Refusal> {
        let now_ms = self.now(now_ms);
        let windows = money_windows(now_ms);
        for &index in &accounts.0 {
            self.accounts[index].turn(now_ms, windows);
        }
        let refusal = accounts
            .0
            .iter()
            .filter_map(|&index| self.accounts[index].refuse_rate(worst_tokens, now_ms))
            .max_by_key(|refusal| match refusal {
                Refusal::RateLimited { retry_after, .. } => *retry_after,
                _ => Duration::ZERO,
            });
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        for &index in &accounts.0 {
            self.accounts[index].requests.charge(1);
            self.accounts[index].tokens.charge(signed(worst_tokens));
        }
        Ok(now_ms)
    }

    /// Corrects the tokens of a request that was let in at `at_ms`.
    pub(crate) fn correct_tokens(&mut self, accounts: &Accounts, delta: i64, at_ms: i64) {
        for &index in &accounts.0 {
            self.accounts[index].tokens.correct(delta, at_ms);
        }
    }

    /// Sets aside what an attempt may cost, or says which budget it passes.
    pub(crate) fn reserve(
        &mut self,
        accounts: &Accounts,
        facts: &RequestFacts,
        target: &str,
        worst: (Usd, u64),
        now_ms: i64,
    ) -> Result<Held, Refusal> {
        let now_ms = self.now(now_ms);
        let (usd, tokens) = worst;
        let pool = self.draw(facts, target, tokens, now_ms);
        let covered = pool.as_ref().map_or(0, |draw| draw.tokens);
        // Rounded up: what the pool does not cover is never set aside short.
        let reserved = if covered == 0 {
            usd.pico()
        } else {
            let left = i128::from(usd.pico()) * i128::from(tokens - covered);
            let tokens = i128::from(tokens);
            i64::try_from((left + tokens - 1) / tokens).unwrap_or(i64::MAX)
        };
        let windows = money_windows(now_ms);
        for &index in &accounts.0 {
            let account = &mut self.accounts[index];
            account.turn(now_ms, windows);
            if let Some(refusal) = account.refuse_money(reserved, now_ms) {
                return Err(refusal);
            }
        }
        for &index in &accounts.0 {
            for slot in &mut self.accounts[index].money {
                slot.1 = slot.1.saturating_add(reserved);
            }
        }
        if let Some(draw) = &pool {
            *self.drawn.entry(draw.name.clone()).or_default() += draw.tokens;
        }
        Ok(Held {
            reserved,
            pool,
            at_ms: now_ms,
        })
    }

    fn draw(
        &self,
        facts: &RequestFacts,
        target: &str,
        tokens: u64,
        now_ms: i64,
    ) -> Option<PoolDraw> {
        self.table.pools.iter().find_map(|pool| {
            let open_to = pool.teams.is_empty()
                || facts
                    .team
                    .as_ref()
                    .is_some_and(|team| pool.teams.contains(team));
            let lasts = pool.expires_ms.is_none_or(|expires| now_ms < expires);
            let left = pool.tokens.saturating_sub(self.drawn(&pool.name));
            let draws = open_to && lasts && pool.models.iter().any(|model| matches(model, target));
            (draws && left.min(tokens) > 0).then(|| PoolDraw {
                name: pool.name.clone(),
                tokens: left.min(tokens),
                of: tokens,
            })
        })
    }

    /// Replaces what was set aside by what it came to.
    pub(crate) fn settle(&mut self, accounts: &Accounts, held: &Held, booked: &Booked) {
        if let Some(usd) = booked.usd {
            self.correct_money(accounts, usd.saturating_sub(held.reserved), held.at_ms);
        }
        if let Some(draw) = &held.pool
            && let Some(drawn) = self.drawn.get_mut(&draw.name)
        {
            *drawn = drawn.saturating_sub(draw.tokens) + booked.pool_tokens;
        }
    }

    fn correct_money(&mut self, accounts: &Accounts, delta: i64, at_ms: i64) {
        let windows = money_windows(at_ms);
        for &index in &accounts.0 {
            for (slot, window) in self.accounts[index].money.iter_mut().zip(windows) {
                if slot.0 == window {
                    slot.1 = slot.1.saturating_add(delta);
                }
            }
        }
    }

    /// Pico-dollars committed by a scope in the day, the month and the whole time of `now_ms`.
    pub(crate) fn committed(&self, scope: &Scope, now_ms: i64) -> [i64; 3] {
        let now_ms = self.latest(now_ms);
        let mut committed = [0; 3];
        if let Some(&index) = self.by_scope.get(scope) {
            for (at, window) in Window::MONEY.into_iter().enumerate() {
                let (of, amount) = self.accounts[index].money[at];
                if of >= window.index(now_ms) {
                    committed[at] = amount;
                }
            }
        }
        committed
    }
}

/// The limits of a scope in the configuration; those of a key stand with the key.
fn limits_of(table: &LimitTable, scope: &Scope) -> Option<KeyLimits> {
    Some(match scope {
        Scope::Global => table.global.clone(),
        Scope::Key(_) => return None,
        Scope::User(name) => table.users.get(name).unwrap_or(&table.each_user).clone(),
        Scope::Team(name) => table.teams.get(name).unwrap_or(&table.each_team).clone(),
        Scope::Task(name) => table.tasks.get(name).cloned().unwrap_or_default(),
    })
}

/// Whether a pattern names something: the same, or the same up to a `*` at the pattern's end.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
