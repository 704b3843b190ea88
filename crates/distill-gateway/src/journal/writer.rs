//! The one thread that writes, and its group commit.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::{
    AttemptId, Intent, JournalError, NewAnswer, Reservation, Settlement, find_answer,
    holder::Holder, schema,
};
use crate::Usd;

/// Operations of one transaction at most: bounds what a failed commit takes with it.
const GROUP: usize = 512;

/// Something to write.
pub(super) enum Operation {
    Reserve {
        attempt: AttemptId,
        intent: Intent,
        reply: oneshot::Sender<Result<Reservation, JournalError>>,
    },
    Settle {
        settlement: Settlement,
        answer: Option<Box<NewAnswer>>,
        reply: Option<oneshot::Sender<Result<(), JournalError>>>,
    },
    Keep {
        answer: Box<NewAnswer>,
        reply: oneshot::Sender<Result<(), JournalError>>,
    },
}

/// Wakes the task that waits for an operation.
type Wake = Box<dyn FnOnce(Result<(), JournalError>)>;

pub(super) fn start(
    connection: Connection,
    path: PathBuf,
    holder: Arc<Holder>,
    inbox: mpsc::Receiver<Operation>,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || {
            while let Ok(first) = inbox.recv() {
                let group: Vec<Operation> = std::iter::once(first)
                    .chain(inbox.try_iter().take(GROUP - 1))
                    .collect();
                write_group(&connection, &path, &holder, group);
            }
        })
}

/// Marks what dead processes left open.
pub(super) fn cut_the_dead(connection: &Connection, holder: &Holder) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(schema::OPEN_HOLDERS)?;
    let names: Vec<String> = statement
        .query_map([holder.name()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in names {
        if !holder.lives(&name) {
            connection.execute(schema::CUT, [&name])?;
        }
    }
    Ok(())
}

/// One transaction; every waiting task hears of it after the commit, or of why there was none.
fn write_group(connection: &Connection, path: &Path, holder: &Holder, group: Vec<Operation>) {
    let mut wakes: Vec<Wake> = Vec::with_capacity(group.len());
    let mut result = connection.execute_batch("BEGIN IMMEDIATE");
    for operation in group {
        match operation {
            Operation::Reserve {
                attempt,
                intent,
                reply,
            } => {
                let reservation = result
                    .is_ok()
                    .then(|| reserve(connection, holder, attempt, &intent))
                    .transpose();
                let reservation = match reservation {
                    Ok(reservation) => reservation,
                    Err(error) => {
                        result = Err(error);
                        None
                    }
                };
                wakes.push(Box::new(move |written| {
                    let answer = written.map(|()| {
                        reservation.expect("a group is only committed when each part was written")
                    });
                    drop(reply.send(answer));
                }));
            }
            Operation::Settle {
                settlement,
                answer,
                reply,
            } => {
                if result.is_ok() {
                    result = settle(connection, &settlement, answer.as_deref());
                }
                if let Some(reply) = reply {
                    wakes.push(Box::new(move |written| drop(reply.send(written))));
                }
            }
            Operation::Keep { answer, reply } => {
                if result.is_ok() {
                    result = insert(connection, &answer);
                }
                wakes.push(Box::new(move |written| drop(reply.send(written))));
            }
        }
    }
    let result = result.and_then(|()| connection.execute_batch("COMMIT"));
    if result.is_err() && !connection.is_autocommit() {
        // The failure to report is the first one.
        drop(connection.execute_batch("ROLLBACK"));
    }
    let written = result.map_err(|error| JournalError::Write {
        path: path.to_owned(),
        source: Arc::new(error),
    });
    for wake in wakes {
        wake(written.clone());
    }
}

fn reserve(
    connection: &Connection,
    holder: &Holder,
    attempt: AttemptId,
    intent: &Intent,
) -> rusqlite::Result<Reservation> {
    if let Some(recorded) = find_answer(connection, &intent.request_hash)? {
        return Ok(Reservation::Answered(Box::new(recorded)));
    }
    let elsewhere: Vec<String> = connection
        .prepare_cached(schema::OPEN_ELSEWHERE)?
        .query_map([intent.request_hash.as_str(), holder.name()], |row| {
            row.get(0)
        })?
        .collect::<rusqlite::Result<_>>()?;
    for name in elsewhere {
        if holder.lives(&name) {
            return Ok(Reservation::AskedElsewhere);
        }
        connection.prepare_cached(schema::CUT)?.execute([&name])?;
    }
    connection
        .prepare_cached(schema::KNOW_SCOPE)?
        .execute([&intent.scope])?;
    let granted = connection
        .prepare_cached(schema::COMMIT_MONEY)?
        .execute(params![
            intent.scope,
            intent.reserved.pico(),
            intent.cap.map_or(i64::MAX, Usd::pico),
        ])?;
    if granted == 0 {
        let committed = connection
            .prepare_cached(schema::COMMITTED)?
            .query_row([&intent.scope], |row| row.get(0))?;
        let open: Vec<String> = connection
            .prepare_cached(schema::OPEN_IN_SCOPE)?
            .query_map([&intent.scope], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        return Ok(Reservation::Exhausted {
            committed: Usd::from_pico(committed),
            open: open.iter().any(|name| holder.lives(name)),
        });
    }
    connection.prepare_cached(schema::INTENT)?.execute(params![
        attempt.0,
        intent.request_hash.as_str(),
        intent.scope,
        holder.name(),
        intent.target,
        intent.simulated,
        intent.number,
        intent.reserved.pico(),
        intent.started_ms,
    ])?;
    Ok(Reservation::Granted(attempt))
}

fn settle(
    connection: &Connection,
    settlement: &Settlement,
    answer: Option<&NewAnswer>,
) -> rusqlite::Result<()> {
    let count =
        |tokens: Option<u64>| tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX));
    let usage = settlement.usage;
    let settled = connection.prepare_cached(schema::SETTLE)?.execute(params![
        settlement.attempt.0,
        if settlement.usd.is_some() {
            "settled"
        } else {
            "unsettled"
        },
        settlement.outcome,
        settlement.status,
        settlement.model,
        count(usage.input_tokens),
        count(usage.cached_input_tokens),
        count(usage.cache_write_tokens),
        count(usage.output_tokens),
        count(usage.reasoning_tokens),
        settlement.usd.map(Usd::pico),
        settlement.response_id,
        settlement.latency.map(microseconds),
        settlement.ended_ms,
    ])?;
    // An attempt is settled once: money is booked with the change of state and never again.
    if let Some(usd) = settlement.usd
        && settled == 1
    {
        connection
            .prepare_cached(schema::BOOK)?
            .execute(params![settlement.attempt.0, usd.pico()])?;
    }
    match answer {
        Some(answer) => insert(connection, answer),
        None => Ok(()),
    }
}

fn insert(connection: &Connection, answer: &NewAnswer) -> rusqlite::Result<()> {
    let recorded = &answer.recorded;
    let completion =
        serde_json::to_string(&recorded.completion).expect("a completion is strings and numbers");
    connection
        .prepare_cached(schema::ANSWERED)?
        .execute(params![
            answer.hash.as_str(),
            answer.scope,
            answer.canonical,
            answer.first_target,
            recorded.target,
            recorded.completion.model,
            completion,
            answer.raw,
            recorded.usd.map(Usd::pico),
            answer.price.base.input.pico(),
            answer.price.base.output.pico(),
            answer.price.as_of,
            recorded.simulated,
            microseconds(recorded.latency),
            recorded.attempts,
            answer.answered_ms,
        ])?;
    Ok(())
}

fn microseconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
