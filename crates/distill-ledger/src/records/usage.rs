//! Who used what, and what it cost.

use std::{collections::HashMap, fmt::Write as _, time::Duration};

use distill_gateway::{Usd, date_of_days};
use serde::Serialize;

use super::Records;
use crate::{
    error::LedgerError,
    store::{Database, Row, Statement, Value},
};

/// What usage is told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    User,
    Team,
    Discipline,
    Level,
    Task,
    Route,
    Key,
    Dialect,
    /// Of the target, as the configuration names it.
    Model,
    /// `vendor/model`.
    Target,
    Vendor,
    /// Days of UTC, as `2026-01-31`.
    Day,
    /// Hours of UTC, as `2026-01-31T17`.
    Hour,
    /// Minutes of UTC, as `2026-01-31T17:05`.
    Minute,
}

impl Dimension {
    pub const ALL: [Self; 14] = [
        Self::User,
        Self::Team,
        Self::Discipline,
        Self::Level,
        Self::Task,
        Self::Route,
        Self::Key,
        Self::Dialect,
        Self::Model,
        Self::Target,
        Self::Vendor,
        Self::Day,
        Self::Hour,
        Self::Minute,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Team => "team",
            Self::Discipline => "discipline",
            Self::Level => "level",
            Self::Task => "task",
            Self::Route => "route",
            Self::Key => "key",
            Self::Dialect => "dialect",
            Self::Model => "model",
            Self::Target => "target",
            Self::Vendor => "vendor",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|dimension| dimension.name() == name)
    }

    fn is_time(self) -> bool {
        matches!(self, Self::Day | Self::Hour | Self::Minute)
    }

    /// The column, where `target` is the one that names the target.
    fn column(self, database: &Database, target: &str) -> String {
        match self {
            Self::User => "r.user_name".to_owned(),
            Self::Team => "r.team".to_owned(),
            Self::Discipline => "r.discipline".to_owned(),
            Self::Level => "r.level".to_owned(),
            Self::Task => "r.task".to_owned(),
            Self::Route => "r.route".to_owned(),
            Self::Key => "r.key_id".to_owned(),
            Self::Dialect => "r.dialect".to_owned(),
            Self::Model => database.after_slash(target),
            Self::Target => target.to_owned(),
            Self::Vendor => database.before_slash(target),
            Self::Day => "(r.started_ms / 86400000)".to_owned(),
            Self::Hour => "(r.started_ms / 3600000)".to_owned(),
            Self::Minute => "(r.started_ms / 60000)".to_owned(),
        }
    }

    fn shown(self, value: &Value<'_>) -> Option<String> {
        match self {
            Self::Day => value.integer().map(date_of_days),
            Self::Hour => value.integer().map(|hour| {
                let date = date_of_days(hour.div_euclid(24));
                format!("{date}T{:02}", hour.rem_euclid(24))
            }),
            Self::Minute => value.integer().map(|minute| {
                let date = date_of_days(minute.div_euclid(1440));
                let minute = minute.rem_euclid(1440);
                format!("{date}T{:02}:{:02}", minute / 60, minute % 60)
            }),
            _ => value.text(),
        }
    }
}

/// Which usage is wanted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UsageQuery {
    /// Empty: one row for everything.
    pub by: Vec<Dimension>,
    /// By when requests began, in milliseconds since 1970: from, and up to but without.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
    /// Only requests (and attempts) of these values; a time cannot be asked for here.
    pub only: Vec<(Dimension, String)>,
}

/// Tokens of one group, by disjoint classes. `None`: nobody reported that class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    pub input: Option<u64>,
    pub cached_input: Option<u64>,
    pub cache_write: Option<u64>,
    pub output: Option<u64>,
    pub reasoning: Option<u64>,
}

/// Usage of one group.
///
/// A request is counted with the target that answered it, its attempts with the target that each
/// went to: told apart by model, a failover shows the attempt at the first and the request at the
/// second.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UsageRow {
    /// A value for each dimension asked for; `None`: there is none, such as a team of a key without.
    pub group: Vec<Option<String>>,
    pub requests: u64,
    /// Neither answered nor refused nor cancelled by the caller.
    pub failures: u64,
    pub cancelled: u64,
    /// Answered by another target than the first that was asked.
    pub failovers: u64,
    pub attempts: u64,
    pub tokens: Tokens,
    /// Answered attempts that reported no usage: the tokens and dollars of this row are without them.
    pub without_usage: u64,
    /// Reasoning tokens of all that models wrote.
    pub reasoning_share: Option<f64>,
    /// Of the attempts whose price is known; `None`: of none is.
    pub usd: Option<Usd>,
    /// What the others cost at most.
    pub usd_unsettled: Usd,
    pub unsettled: u64,
    /// Paid by bulk-bought pools.
    pub pool_tokens: u64,
    /// What those tokens cost by list.
    pub pool_usd: Usd,
    pub cache_hits: u64,
    pub cache_saved: Usd,
    /// Of answered requests that came from no cache, by nearest rank.
    pub latency_p50: Option<Duration>,
    pub latency_p95: Option<Duration>,
    /// A simulated vendor has part in it: nothing of this was paid.
    pub simulated: bool,
}

/// Usage by groups: the dearest first, or by time where that was asked for first.
///
/// Sums of money are exact up to nine million dollars.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UsageTable {
    pub by: Vec<Dimension>,
    pub rows: Vec<UsageRow>,
}

impl UsageTable {
    /// Of all rows together, but for what cannot be added up (latencies).
    pub fn total(&self) -> UsageRow {
        let mut total = UsageRow::default();
        for row in &self.rows {
            total.requests += row.requests;
            total.failures += row.failures;
            total.cancelled += row.cancelled;
            total.failovers += row.failovers;
            total.attempts += row.attempts;
            add(&mut total.tokens.input, row.tokens.input);
            add(&mut total.tokens.cached_input, row.tokens.cached_input);
            add(&mut total.tokens.cache_write, row.tokens.cache_write);
            add(&mut total.tokens.output, row.tokens.output);
            add(&mut total.tokens.reasoning, row.tokens.reasoning);
            total.without_usage += row.without_usage;
            if let Some(usd) = row.usd {
                total.usd = Some(total.usd.unwrap_or_default() + usd);
            }
            total.usd_unsettled += row.usd_unsettled;
            total.unsettled += row.unsettled;
            total.pool_tokens += row.pool_tokens;
            total.pool_usd += row.pool_usd;
            total.cache_hits += row.cache_hits;
            total.cache_saved += row.cache_saved;
            total.simulated |= row.simulated;
        }
        total.reasoning_share = share(&total.tokens);
        total
    }
}

fn add(sum: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or(0).saturating_add(more));
    }
}

fn share(tokens: &Tokens) -> Option<f64> {
    let reasoning = tokens.reasoning?;
    let written = tokens.output.unwrap_or(0) + reasoning;
    (written > 0).then(|| reasoning as f64 / written as f64)
}

/// A query under way: its conditions, and the parameters that they name.
struct Asked<'a> {
    query: &'a UsageQuery,
    database: &'a Database,
}

impl Asked<'_> {
    /// The columns of the groups, as `d0`, `d1`.
    fn columns(&self, target: &str) -> String {
        self.query
            .by
            .iter()
            .enumerate()
            .map(|(at, by)| format!("{} AS d{at}, ", by.column(self.database, target)))
            .collect()
    }

    fn names(&self) -> String {
        (0..self.query.by.len())
            .map(|at| format!("d{at}, "))
            .collect()
    }

    /// ` GROUP BY ...`, or nothing where there is one group.
    fn grouping(&self) -> String {
        let names = self.names();
        match names.strip_suffix(", ") {
            Some(names) => format!(" GROUP BY {names}"),
            None => String::new(),
        }
    }

    fn conditions(&self, target: &str) -> (String, Vec<Value<'static>>) {
        let mut text = String::from("1 = 1");
        let mut values: Vec<Value<'static>> = Vec::new();
        for (comparison, at) in [(">=", self.query.since_ms), ("<", self.query.until_ms)] {
            if let Some(at) = at {
                values.push(at.into());
                let _ = write!(text, " AND r.started_ms {comparison} ${}", values.len());
            }
        }
        for (dimension, wanted) in &self.query.only {
            if dimension.is_time() {
                continue;
            }
            values.push(wanted.clone().into());
            let column = dimension.column(self.database, target);
            let _ = write!(text, " AND {column} = ${}", values.len());
        }
        (text, values)
    }

    async fn rows(
        &self,
        sql: String,
        values: Vec<Value<'static>>,
    ) -> Result<Vec<Row>, LedgerError> {
        self.database.query(Statement::new(sql, values)).await
    }

    fn group(&self, row: &Row) -> Vec<Option<String>> {
        self.query
            .by
            .iter()
            .zip(row)
            .map(|(by, value)| by.shown(value))
            .collect()
    }
}

const ANSWERED_BY: &str = "r.answered_by";
const ATTEMPTED: &str = "a.target";

impl Records {
    /// Usage by groups.
    pub async fn usage(&self, query: &UsageQuery) -> Result<UsageTable, LedgerError> {
        let asked = Asked {
            query,
            database: self.database(),
        };
        let mut found: HashMap<Vec<Option<String>>, UsageRow> = HashMap::new();
        let width = query.by.len();
        for row in requests(&asked).await? {
            let usage = found.entry(asked.group(&row)).or_default();
            let figure = |at: usize| row[width + at].count().unwrap_or(0);
            usage.requests = figure(0);
            usage.failures = figure(1);
            usage.cancelled = figure(2);
            usage.failovers = figure(3);
            usage.cache_hits = figure(4);
            usage.cache_saved = dollars(&row[width + 5]);
        }
        for row in attempts(&asked).await? {
            let usage = found.entry(asked.group(&row)).or_default();
            take_attempts(usage, &row[width..]);
        }
        for row in latencies(&asked).await? {
            let usage = found.entry(asked.group(&row)).or_default();
            usage.latency_p50 = duration(&row[width]);
            usage.latency_p95 = duration(&row[width + 1]);
        }
        let mut rows: Vec<UsageRow> = found
            .into_iter()
            .map(|(group, row)| UsageRow { group, ..row })
            .filter(|row| row.requests + row.attempts > 0)
            .collect();
        let by_time = query.by.first().is_some_and(|by| by.is_time());
        rows.sort_by(|one, other| {
            let money = |row: &UsageRow| row.usd.unwrap_or_default() + row.usd_unsettled;
            let dearest = money(other)
                .cmp(&money(one))
                .then(other.requests.cmp(&one.requests));
            let time = if by_time {
                one.group[0].cmp(&other.group[0])
            } else {
                std::cmp::Ordering::Equal
            };
            time.then(dearest).then(one.group.cmp(&other.group))
        });
        Ok(UsageTable {
            by: query.by.clone(),
            rows,
        })
    }
}

async fn requests(asked: &Asked<'_>) -> Result<Vec<Row>, LedgerError> {
    let (conditions, values) = asked.conditions(ANSWERED_BY);
    let sql = format!(
        "SELECT {}COUNT(*),
         SUM(CASE WHEN r.outcome IS NOT NULL
             AND r.outcome NOT IN ('answered', 'cached', 'refused', 'cancelled') THEN 1 ELSE 0 END),
         SUM(CASE WHEN r.outcome = 'cancelled' THEN 1 ELSE 0 END),
         SUM(CASE WHEN r.attempts > 1 AND r.answered_by IS NOT NULL
             AND EXISTS (SELECT 1 FROM attempts a WHERE a.request_id = r.id
                         AND a.target <> r.answered_by) THEN 1 ELSE 0 END),
         SUM(CASE WHEN r.cache_kind IS NOT NULL THEN 1 ELSE 0 END),
         CAST(SUM(r.cache_saved) AS BIGINT)
         FROM requests r WHERE {conditions}{}",
        asked.columns(ANSWERED_BY),
        asked.grouping(),
    );
    asked.rows(sql, values).await
}

async fn attempts(asked: &Asked<'_>) -> Result<Vec<Row>, LedgerError> {
    let (conditions, values) = asked.conditions(ATTEMPTED);
    let sums: String = [
        "input_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
        "usd",
        "pool_tokens",
        "pool_usd",
    ]
    .iter()
    .map(|column| format!("CAST(SUM(a.{column}) AS BIGINT), "))
    .collect();
    let sql = format!(
        "SELECT {}{sums}COUNT(*),
         CAST(SUM(CASE WHEN a.usd IS NULL THEN a.reserved ELSE 0 END) AS BIGINT),
         SUM(CASE WHEN a.usd IS NULL THEN 1 ELSE 0 END),
         SUM(CASE WHEN a.outcome = 'answered' AND a.input_tokens IS NULL
             AND a.output_tokens IS NULL THEN 1 ELSE 0 END),
         MAX(a.simulated)
         FROM attempts a JOIN requests r ON r.id = a.request_id WHERE {conditions}{}",
        asked.columns(ATTEMPTED),
        asked.grouping(),
    );
    asked.rows(sql, values).await
}

fn take_attempts(usage: &mut UsageRow, row: &[Value<'_>]) {
    usage.tokens = Tokens {
        input: row[0].count(),
        cached_input: row[1].count(),
        cache_write: row[2].count(),
        output: row[3].count(),
        reasoning: row[4].count(),
    };
    usage.reasoning_share = share(&usage.tokens);
    usage.usd = row[5].integer().map(Usd::from_pico);
    usage.pool_tokens = row[6].count().unwrap_or(0);
    usage.pool_usd = dollars(&row[7]);
    usage.attempts = row[8].count().unwrap_or(0);
    usage.usd_unsettled = dollars(&row[9]);
    usage.unsettled = row[10].count().unwrap_or(0);
    usage.without_usage = row[11].count().unwrap_or(0);
    usage.simulated = row[12].integer() == Some(1);
}

/// Medians and 95th percentiles by nearest rank, which is a latency that somebody had.
async fn latencies(asked: &Asked<'_>) -> Result<Vec<Row>, LedgerError> {
    let (conditions, values) = asked.conditions(ANSWERED_BY);
    let columns = asked.columns(ANSWERED_BY);
    let groups: Vec<String> = asked
        .query
        .by
        .iter()
        .map(|by| by.column(asked.database, ANSWERED_BY))
        .collect();
    let partition = if groups.is_empty() {
        String::new()
    } else {
        format!("PARTITION BY {}", groups.join(", "))
    };
    let sql = format!(
        "WITH ranked AS (SELECT {columns}r.latency_us AS latency,
         ROW_NUMBER() OVER ({partition} ORDER BY r.latency_us) AS place,
         COUNT(*) OVER ({partition}) AS many
         FROM requests r WHERE {conditions} AND r.outcome = 'answered'
         AND r.cache_kind IS NULL AND r.latency_us IS NOT NULL)
         SELECT {}MAX(CASE WHEN place = (many * 50 + 99) / 100 THEN latency END),
         MAX(CASE WHEN place = (many * 95 + 99) / 100 THEN latency END) FROM ranked{}",
        asked.names(),
        asked.grouping(),
    );
    asked.rows(sql, values).await
}

fn dollars(value: &Value<'_>) -> Usd {
    Usd::from_pico(value.integer().unwrap_or(0))
}

fn duration(value: &Value<'_>) -> Option<Duration> {
    value.count().map(Duration::from_micros)
}
