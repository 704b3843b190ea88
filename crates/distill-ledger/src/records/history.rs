//! Single requests and attempts.

use std::time::Duration;

use distill_chat::Usage;
use distill_gateway::Usd;
use serde::Serialize;

use super::Records;
use crate::{
    clock::milliseconds,
    entry::RequestFacts,
    error::LedgerError,
    store::{Row, Statement, Value},
};

/// Which requests are wanted; the newest come first. Absent: all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestFilter {
    pub id: Option<String>,
    pub user: Option<String>,
    pub team: Option<String>,
    pub key: Option<String>,
    pub task: Option<String>,
    pub route: Option<String>,
    pub outcome: Option<String>,
    pub session: Option<String>,
    /// Milliseconds since 1970, from and up to but without.
    pub since_ms: Option<i64>,
    pub until_ms: Option<i64>,
    /// 0: a hundred.
    pub limit: u32,
}

/// A request as it is on record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RequestRecord {
    pub facts: RequestFacts,
    pub status: Option<u16>,
    /// `None`: under way. `cut`: its process ended before it did.
    pub outcome: Option<String>,
    pub answered_by: Option<String>,
    pub model: Option<String>,
    pub attempts: Option<u64>,
    pub latency: Option<Duration>,
    pub first_token: Option<Duration>,
    pub cache: Option<String>,
    pub cache_saved: Option<Usd>,
    /// Of its attempts so far; `None`: not known of one of them.
    pub usd: Option<Usd>,
    /// What the attempts without a known price may have cost at most.
    pub unsettled: Usd,
    /// One of its attempts went to a simulated vendor.
    pub simulated: bool,
}

/// An attempt as it is on record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptRecord {
    pub request_id: String,
    pub number: u64,
    pub target: String,
    pub simulated: bool,
    pub started_ms: i64,
    pub reserved: Usd,
    /// `None`: under way.
    pub outcome: Option<String>,
    /// Beyond a pool; `None`: not known.
    pub usd: Option<Usd>,
    pub pool: Option<String>,
    pub pool_tokens: Option<u64>,
    pub pool_usd: Option<Usd>,
    pub usage: Usage,
    pub status: Option<u16>,
    pub model: Option<String>,
    pub fingerprint: Option<String>,
    pub response_id: Option<String>,
    pub latency: Option<Duration>,
    pub first_token: Option<Duration>,
}

/// Why an attempt has no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnsettledState {
    /// Under way.
    Open,
    /// Its caller left it.
    GivenUp,
    /// Its process ended.
    Cut,
    /// It ended, and what it cost is not known.
    Unknown,
}

/// An attempt whose reservation stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unsettled {
    pub request_id: String,
    pub number: u64,
    pub user: Option<String>,
    pub target: String,
    pub simulated: bool,
    pub started_ms: i64,
    pub state: UnsettledState,
    /// The most that it cost.
    pub bound: Usd,
}

/// What was asked and answered, where the route keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredBody {
    pub request_id: String,
    pub stored_ms: i64,
    pub request: String,
    pub reply: Option<String>,
}

const REQUEST: &str = "SELECT r.id, r.started_ms, r.key_id, r.user_name, r.team, r.discipline,
    r.level, r.task, r.task_version, r.route, r.model_asked, r.dialect, r.streamed, r.session,
    r.status, r.outcome, r.answered_by, r.model, r.attempts, r.latency_us, r.first_token_us,
    r.cache_kind, r.cache_saved,
    (SELECT CAST(SUM(a.usd) AS BIGINT) FROM attempts a WHERE a.request_id = r.id),
    (SELECT CAST(SUM(CASE WHEN a.usd IS NULL THEN a.reserved ELSE 0 END) AS BIGINT)
     FROM attempts a WHERE a.request_id = r.id),
    (SELECT COUNT(*) FROM attempts a WHERE a.request_id = r.id AND a.usd IS NULL),
    (SELECT MAX(a.simulated) FROM attempts a WHERE a.request_id = r.id)
    FROM requests r";

const ATTEMPT: &str = "SELECT request_id, number, target, simulated, started_ms, reserved, outcome,
    usd, pool, pool_tokens, pool_usd, input_tokens, cached_tokens, cache_write_tokens,
    output_tokens, reasoning_tokens, status, model, fingerprint, response_id, latency_us,
    first_token_us FROM attempts";

impl Records {
    /// Requests, the newest first.
    pub async fn requests(
        &self,
        filter: &RequestFilter,
    ) -> Result<Vec<RequestRecord>, LedgerError> {
        let mut conditions = vec!["1 = 1".to_owned()];
        let mut values: Vec<Value<'static>> = Vec::new();
        let texts = [
            ("id", &filter.id),
            ("user_name", &filter.user),
            ("team", &filter.team),
            ("key_id", &filter.key),
            ("task", &filter.task),
            ("route", &filter.route),
            ("outcome", &filter.outcome),
            ("session", &filter.session),
        ];
        for (column, wanted) in texts {
            if let Some(wanted) = wanted {
                values.push(wanted.clone().into());
                conditions.push(format!("r.{column} = ${}", values.len()));
            }
        }
        for (comparison, at) in [(">=", filter.since_ms), ("<", filter.until_ms)] {
            if let Some(at) = at {
                values.push(at.into());
                conditions.push(format!("r.started_ms {comparison} ${}", values.len()));
            }
        }
        values.push(i64::from(if filter.limit == 0 { 100 } else { filter.limit }).into());
        let sql = format!(
            "{REQUEST} WHERE {} ORDER BY r.started_ms DESC, r.id DESC LIMIT ${}",
            conditions.join(" AND "),
            values.len()
        );
        let rows = self.database().query(Statement::new(sql, values)).await?;
        Ok(rows.iter().map(request).collect())
    }

    /// The attempts of a request, as they were made.
    pub async fn attempts_of(&self, request_id: &str) -> Result<Vec<AttemptRecord>, LedgerError> {
        let rows = self
            .database()
            .query(Statement::new(
                format!("{ATTEMPT} WHERE request_id = $1 ORDER BY number"),
                vec![request_id.to_owned().into()],
            ))
            .await?;
        Ok(rows.iter().map(attempt).collect())
    }

    /// Every attempt that began in a time, in the order of a vendor's bill. Milliseconds since 1970,
    /// from and up to but without.
    pub async fn attempts_between(
        &self,
        since_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<AttemptRecord>, LedgerError> {
        let rows = self
            .database()
            .query(Statement::new(
                format!(
                    "{ATTEMPT} WHERE started_ms >= $1 AND started_ms < $2
                     ORDER BY started_ms, request_id, number"
                ),
                vec![since_ms.into(), until_ms.into()],
            ))
            .await?;
        Ok(rows.iter().map(attempt).collect())
    }

    /// Attempts whose reservation stands, oldest first; those under way too.
    pub async fn unsettled(&self) -> Result<Vec<Unsettled>, LedgerError> {
        let rows = self
            .database()
            .query(Statement::new(
                "SELECT a.request_id, a.number, r.user_name, a.target, a.simulated, a.started_ms,
                 a.outcome, a.reserved FROM attempts a LEFT JOIN requests r ON r.id = a.request_id
                 WHERE a.usd IS NULL ORDER BY a.started_ms, a.request_id, a.number",
                vec![],
            ))
            .await?;
        Ok(rows
            .iter()
            .map(|row| Unsettled {
                request_id: row[0].words(),
                number: row[1].count().unwrap_or(0),
                user: row[2].text(),
                target: row[3].words(),
                simulated: row[4].integer() == Some(1),
                started_ms: row[5].integer().unwrap_or(0),
                state: match row[6].text().as_deref() {
                    None => UnsettledState::Open,
                    Some("given_up") => UnsettledState::GivenUp,
                    Some("cut") => UnsettledState::Cut,
                    Some(_) => UnsettledState::Unknown,
                },
                bound: Usd::from_pico(row[7].integer().unwrap_or(0)),
            })
            .collect())
    }

    /// What was asked and answered, where it was stored and still is.
    pub async fn body(&self, request_id: &str) -> Result<Option<StoredBody>, LedgerError> {
        let rows = self
            .database()
            .query(Statement::new(
                "SELECT request_id, stored_ms, request, reply FROM bodies WHERE request_id = $1",
                vec![request_id.to_owned().into()],
            ))
            .await?;
        Ok(rows.first().map(|row| StoredBody {
            request_id: row[0].words(),
            stored_ms: row[1].integer().unwrap_or(0),
            request: row[2].words(),
            reply: row[3].text(),
        }))
    }
}

fn request(row: &Row) -> RequestRecord {
    let unknown = row[25].integer().unwrap_or(0) > 0;
    RequestRecord {
        facts: RequestFacts {
            id: row[0].words(),
            started_ms: row[1].integer().unwrap_or(0),
            key: row[2].words(),
            user: row[3].words(),
            team: row[4].text(),
            discipline: row[5].text(),
            level: row[6].text(),
            task: row[7].text(),
            task_version: row[8].text(),
            route: row[9].words(),
            model_asked: row[10].words(),
            dialect: row[11].words(),
            streamed: row[12].integer() == Some(1),
            session: row[13].text(),
        },
        status: status(&row[14]),
        outcome: row[15].text(),
        answered_by: row[16].text(),
        model: row[17].text(),
        attempts: row[18].count(),
        latency: microseconds(&row[19]),
        first_token: microseconds(&row[20]),
        cache: row[21].text(),
        cache_saved: dollars(&row[22]),
        // A request without attempts cost nothing.
        usd: (!unknown).then(|| dollars(&row[23]).unwrap_or(Usd::ZERO)),
        unsettled: dollars(&row[24]).unwrap_or(Usd::ZERO),
        simulated: row[26].integer() == Some(1),
    }
}

fn attempt(row: &Row) -> AttemptRecord {
    AttemptRecord {
        request_id: row[0].words(),
        number: row[1].count().unwrap_or(0),
        target: row[2].words(),
        simulated: row[3].integer() == Some(1),
        started_ms: row[4].integer().unwrap_or(0),
        reserved: dollars(&row[5]).unwrap_or(Usd::ZERO),
        outcome: row[6].text(),
        usd: dollars(&row[7]),
        pool: row[8].text(),
        pool_tokens: row[9].count(),
        pool_usd: dollars(&row[10]),
        usage: Usage {
            input_tokens: row[11].count(),
            cached_input_tokens: row[12].count(),
            cache_write_tokens: row[13].count(),
            output_tokens: row[14].count(),
            reasoning_tokens: row[15].count(),
        },
        status: status(&row[16]),
        model: row[17].text(),
        fingerprint: row[18].text(),
        response_id: row[19].text(),
        latency: microseconds(&row[20]),
        first_token: microseconds(&row[21]),
    }
}

fn status(value: &Value<'_>) -> Option<u16> {
    value
        .integer()
        .and_then(|status| u16::try_from(status).ok())
}

fn dollars(value: &Value<'_>) -> Option<Usd> {
    value.integer().map(Usd::from_pico)
}

fn microseconds(value: &Value<'_>) -> Option<Duration> {
    let microseconds = value.integer()?;
    Some(milliseconds(microseconds / 1_000) + Duration::from_micros((microseconds % 1_000) as u64))
}
