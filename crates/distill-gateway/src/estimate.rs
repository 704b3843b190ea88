//! What a set of requests will cost, before any is sent.

use std::time::Duration;

use distill_chat::ChatRequest;
use serde::Serialize;

use crate::{
    Journal, JournalError, Target, Usd,
    client::{body_for, max_tokens, worst_case},
    journal::latency_of_target,
    request_hash::canonical,
};

/// A forecast.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    pub requests: u64,
    /// Of these, already answered: they cost nothing.
    pub in_journal: u64,
    /// With answers as long as the journal knows them from this model, else half the permitted length.
    pub expected_usd: Usd,
    /// Every token bound reached and every request answered at the first attempt.
    pub worst_usd: Usd,
    pub seconds: f64,
    pub simulated: bool,
    /// The day of the price table; `None` where no table was used.
    pub price_as_of: Option<String>,
}

/// Bytes of a token of usual text.
const BYTES_PER_TOKEN: u64 = 4;
/// Assumed of a model that the journal does not know.
const USUAL_LATENCY: Duration = Duration::from_millis(1500);

/// Estimates requests to a chain, all answered by its first model. Without a journal nothing is
/// known to be answered. `sample` is 0 for first answers and counts the times that the same is asked
/// again on purpose.
///
/// # Errors
/// A [`JournalError`] when the journal cannot be read.
pub fn estimate(
    journal: Option<&Journal>,
    chain: &[Target],
    concurrency: usize,
    requests: &[ChatRequest],
    sample: u32,
) -> Result<Estimate, JournalError> {
    let mut estimate = Estimate {
        requests: requests.len() as u64,
        in_journal: 0,
        expected_usd: Usd::ZERO,
        worst_usd: Usd::ZERO,
        seconds: 0.0,
        simulated: chain.iter().any(Target::simulated),
        price_as_of: None,
    };
    let Some(target) = chain.first() else {
        return Ok(estimate);
    };
    estimate.price_as_of.clone_from(&target.price().as_of);
    let seen = match journal {
        Some(journal) => journal.read(|rows| latency_of_target(rows, target.name()))?,
        None => None,
    };
    for request in requests {
        if let Some(journal) = journal {
            let (_, hash) = canonical(chain, request, max_tokens(request), sample);
            if journal.answer(&hash)?.is_some() {
                estimate.in_journal += 1;
                continue;
            }
        }
        let bytes: usize = request
            .messages
            .iter()
            .map(|message| message.content.len())
            .sum();
        let limit = u64::from(max_tokens(request));
        let output = seen.map_or(limit.div_ceil(2), |(_, tokens)| {
            (tokens.ceil() as u64).min(limit)
        });
        let input = (bytes as u64).div_ceil(BYTES_PER_TOKEN);
        let rates = target.price().rates(input);
        estimate.expected_usd += rates.input * input + rates.output * output;
        // What the first model cannot be asked is answered by another, for a like body.
        let body = body_for(target, request).map_or(bytes, |body| body.len());
        estimate.worst_usd += worst_case(target, body, request);
    }
    let latency = seen.map_or_else(
        || {
            target
                .expected_latency()
                .unwrap_or(USUAL_LATENCY)
                .as_secs_f64()
        },
        |(microseconds, _)| microseconds / 1e6,
    );
    let open = estimate.requests - estimate.in_journal;
    estimate.seconds = open as f64 * latency / concurrency.max(1) as f64;
    Ok(estimate)
}
