//! What was spent, on what, and what of it is not known.

use distill_chat::Usage;
use rusqlite::{Connection, OptionalExtension, Params};
use serde::Serialize;

use super::holder::Holder;
use crate::{RequestHash, Usd};

/// The account of a budget scope, or of a set of requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpendSummary {
    /// The scope; empty for a set of requests.
    pub scope: String,
    /// What vendors reported.
    pub settled_usd: Usd,
    /// The bound of what they may have charged beyond that.
    pub unsettled_reserved_usd: Usd,
    /// What counts against the cap: the two above and what is in flight.
    pub committed_usd: Usd,
    pub attempts: Vec<AttemptCount>,
    /// Attempts whose cost is not known, each with its bound.
    pub unsettled: Vec<UnsettledAttempt>,
    pub in_flight: u64,
    pub requests_answered: u64,
    /// Requests that another than the first of the chain answered.
    pub failovers: u64,
    pub teachers: Vec<TeacherShare>,
    /// Of the attempts that answered; answers from the journal never enter. `None`: there are none.
    pub latency: Option<LatencySummary>,
    /// Of the requests that took more than one attempt and were answered: the time of all their
    /// attempts together, pauses between them left out. `None`: there are none.
    pub retried: Option<LatencySummary>,
    pub usage: UsageTotals,
    /// Whether any attempt went to a simulated vendor.
    pub simulated: bool,
}

/// Attempts of one target that ended alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttemptCount {
    pub target: String,
    pub outcome: String,
    pub attempts: u64,
    pub usd: Usd,
}

/// An attempt whose cost is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnsettledAttempt {
    pub attempt: String,
    pub request_hash: String,
    pub target: String,
    pub why: String,
    pub reserved_usd: Usd,
    pub started_unix_ms: i64,
}

/// How much one model answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TeacherShare {
    pub target: String,
    /// The snapshot, as it named itself.
    pub model: String,
    pub requests: u64,
    pub simulated: bool,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencySummary {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
}

/// Tokens of the attempts that reported them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UsageTotals {
    pub input: u64,
    pub cached_input: u64,
    pub cache_write: u64,
    pub output: u64,
    pub reasoning: u64,
    /// Answered attempts of which the vendor told no tokens.
    pub answers_without_usage: u64,
}

impl SpendSummary {
    /// Whether more than one model, or more than one snapshot of it, answered.
    pub fn mixed_teachers(&self) -> bool {
        self.teachers.len() > 1
    }
}

pub(super) fn of_scope(
    connection: &Connection,
    scope: &str,
    holder: &Holder,
) -> rusqlite::Result<SpendSummary> {
    summary(
        connection,
        scope,
        "scope = ?1",
        "scope = ?1",
        [scope],
        holder,
    )
}

pub(super) fn of_requests(
    connection: &Connection,
    hashes: &[RequestHash],
    holder: &Holder,
) -> rusqlite::Result<SpendSummary> {
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS chosen (hash TEXT PRIMARY KEY) WITHOUT ROWID;
         DELETE FROM chosen;",
    )?;
    {
        let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO chosen VALUES (?1)")?;
        for hash in hashes {
            insert.execute([hash.as_str()])?;
        }
    }
    summary(
        connection,
        "",
        "request_hash IN (SELECT hash FROM chosen)",
        "hash IN (SELECT hash FROM chosen)",
        [],
        holder,
    )
}

/// One attempt: a line to hold against the vendor's bill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptRecord {
    /// The name that the vendor got with the request (`x-client-request-id`).
    pub id: String,
    pub request_hash: String,
    pub target: String,
    pub simulated: bool,
    /// `open` (in flight), `settled`, or `unsettled`.
    pub state: String,
    pub outcome: String,
    pub reserved: Usd,
    /// `None` unless settled.
    pub usd: Option<Usd>,
    pub usage: Usage,
    /// The vendor's own name for the exchange.
    pub response_id: Option<String>,
    pub latency_us: Option<i64>,
    pub started_ms: i64,
}

pub(super) fn attempts_of_scope(
    connection: &Connection,
    scope: &str,
    holder: &Holder,
) -> rusqlite::Result<Vec<AttemptRecord>> {
    attempts(connection, "scope = ?1", [scope], holder)
}

fn summary(
    connection: &Connection,
    scope: &str,
    attempts_where: &str,
    requests_where: &str,
    parameters: impl Params + Clone,
    holder: &Holder,
) -> rusqlite::Result<SpendSummary> {
    let attempts = attempts(connection, attempts_where, parameters.clone(), holder)?;
    let teachers = teachers(connection, requests_where, parameters.clone())?;
    let failovers = connection.query_row(
        &format!("SELECT COUNT(*) FROM request WHERE {requests_where} AND target <> first_target"),
        parameters,
        |row| row.get::<_, i64>(0),
    )?;
    let sum = |state: &str| -> Usd {
        attempts
            .iter()
            .filter(|attempt| attempt.state == state)
            .map(|attempt| attempt.usd.unwrap_or(attempt.reserved))
            .sum()
    };
    let (settled, unsettled, open) = (sum("settled"), sum("unsettled"), sum("open"));
    let answered = || {
        attempts
            .iter()
            .filter(|attempt| attempt.outcome == "answered")
    };
    Ok(SpendSummary {
        scope: scope.to_owned(),
        settled_usd: settled,
        unsettled_reserved_usd: unsettled,
        committed_usd: settled + unsettled + open,
        attempts: counts(&attempts),
        unsettled: attempts
            .iter()
            .filter(|attempt| attempt.state == "unsettled")
            .map(|attempt| UnsettledAttempt {
                attempt: attempt.id.clone(),
                request_hash: attempt.request_hash.clone(),
                target: attempt.target.clone(),
                why: if attempt.outcome == "answered" {
                    "usage_not_reported".to_owned()
                } else {
                    attempt.outcome.clone()
                },
                reserved_usd: attempt.reserved,
                started_unix_ms: attempt.started_ms,
            })
            .collect(),
        in_flight: attempts
            .iter()
            .filter(|attempt| attempt.state == "open")
            .count() as u64,
        requests_answered: teachers.iter().map(|teacher| teacher.requests).sum(),
        failovers: failovers.unsigned_abs(),
        teachers,
        latency: latency(
            answered()
                .filter_map(|attempt| attempt.latency_us)
                .collect(),
        ),
        retried: latency(retried(&attempts)),
        usage: totals(&attempts),
        simulated: attempts.iter().any(|attempt| attempt.simulated),
    })
}

fn attempts(
    connection: &Connection,
    condition: &str,
    parameters: impl Params,
    holder: &Holder,
) -> rusqlite::Result<Vec<AttemptRecord>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, request_hash, target, simulated, state, outcome, reserved_pico, usd_pico,
                input, cached_input, cache_write, output, reasoning, latency_us, started_ms, holder,
                response_id
         FROM attempt WHERE {condition} ORDER BY started_ms, id"
    ))?;
    let count = |tokens: Option<i64>| tokens.map(i64::unsigned_abs);
    let rows = statement.query_map(parameters, |row| {
        let state: String = row.get(4)?;
        let cut = state == "open" && !holder.lives(&row.get::<_, String>(15)?);
        let outcome: Option<String> = row.get(5)?;
        Ok(AttemptRecord {
            id: row.get(0)?,
            request_hash: row.get(1)?,
            target: row.get(2)?,
            simulated: row.get(3)?,
            // A process that died since this journal was opened.
            state: if cut { "unsettled".to_owned() } else { state },
            outcome: outcome.unwrap_or_else(|| if cut { "cut" } else { "in_flight" }.to_owned()),
            reserved: Usd::from_pico(row.get(6)?),
            usd: row.get::<_, Option<i64>>(7)?.map(Usd::from_pico),
            usage: Usage {
                input_tokens: count(row.get(8)?),
                cached_input_tokens: count(row.get(9)?),
                cache_write_tokens: count(row.get(10)?),
                output_tokens: count(row.get(11)?),
                reasoning_tokens: count(row.get(12)?),
            },
            response_id: row.get(16)?,
            latency_us: row.get(13)?,
            started_ms: row.get(14)?,
        })
    })?;
    rows.collect()
}

fn teachers(
    connection: &Connection,
    condition: &str,
    parameters: impl Params,
) -> rusqlite::Result<Vec<TeacherShare>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT target, model, COUNT(*), MAX(simulated) FROM request WHERE {condition}
         GROUP BY target, model ORDER BY COUNT(*) DESC, target, model"
    ))?;
    let rows = statement.query_map(parameters, |row| {
        Ok(TeacherShare {
            target: row.get(0)?,
            model: row.get(1)?,
            requests: row.get::<_, i64>(2)?.unsigned_abs(),
            simulated: row.get(3)?,
        })
    })?;
    rows.collect()
}

fn counts(attempts: &[AttemptRecord]) -> Vec<AttemptCount> {
    let mut groups = std::collections::BTreeMap::<(&str, &str), (u64, Usd)>::new();
    for attempt in attempts {
        let group = groups
            .entry((&attempt.target, &attempt.outcome))
            .or_default();
        group.0 += 1;
        group.1 += attempt.usd.unwrap_or_default();
    }
    groups
        .into_iter()
        .map(|((target, outcome), (attempts, usd))| AttemptCount {
            target: target.to_owned(),
            outcome: outcome.to_owned(),
            attempts,
            usd,
        })
        .collect()
}

fn totals(attempts: &[AttemptRecord]) -> UsageTotals {
    let mut totals = UsageTotals::default();
    for attempt in attempts {
        let usage = attempt.usage;
        totals.input += usage.input_tokens.unwrap_or_default();
        totals.cached_input += usage.cached_input_tokens.unwrap_or_default();
        totals.cache_write += usage.cache_write_tokens.unwrap_or_default();
        totals.output += usage.output_tokens.unwrap_or_default();
        totals.reasoning += usage.reasoning_tokens.unwrap_or_default();
        totals.answers_without_usage +=
            u64::from(attempt.outcome == "answered" && usage.output_tokens.is_none());
    }
    totals
}

fn latency(mut microseconds: Vec<i64>) -> Option<LatencySummary> {
    if microseconds.is_empty() {
        return None;
    }
    microseconds.sort_unstable();
    let count = microseconds.len();
    // The nearest rank: a value that really occurred.
    let rank = |share: f64| {
        let index = (share * count as f64).ceil() as usize;
        microseconds[index.clamp(1, count) - 1] as f64 / 1000.0
    };
    Some(LatencySummary {
        count: count as u64,
        mean_ms: microseconds.iter().sum::<i64>() as f64 / count as f64 / 1000.0,
        p50_ms: rank(0.50),
        p95_ms: rank(0.95),
        p99_ms: rank(0.99),
    })
}

/// Microseconds of all attempts of each answered request that took more than one. A request with an
/// attempt that nobody timed is left out.
fn retried(attempts: &[AttemptRecord]) -> Vec<i64> {
    let mut requests = std::collections::BTreeMap::<&str, Vec<&AttemptRecord>>::new();
    for attempt in attempts {
        requests
            .entry(&attempt.request_hash)
            .or_default()
            .push(attempt);
    }
    requests
        .values()
        .filter(|attempts| attempts.len() > 1)
        .filter(|attempts| attempts.iter().any(|attempt| attempt.outcome == "answered"))
        .filter_map(|attempts| attempts.iter().map(|attempt| attempt.latency_us).sum())
        .collect()
}

/// Mean latency in microseconds and mean output tokens of a target's recent answers.
pub(crate) fn latency_of_target(
    connection: &Connection,
    target: &str,
) -> rusqlite::Result<Option<(f64, f64)>> {
    connection
        .prepare_cached(
            "SELECT AVG(latency_us), AVG(output + COALESCE(reasoning, 0)) FROM (
               SELECT latency_us, output, reasoning FROM attempt
               WHERE target = ?1 AND outcome = 'answered' AND output IS NOT NULL
               ORDER BY rowid DESC LIMIT 1000)",
        )?
        .query_row([target], |row| {
            Ok(row
                .get::<_, Option<f64>>(0)?
                .zip(row.get::<_, Option<f64>>(1)?))
        })
        .optional()
        .map(Option::flatten)
}
