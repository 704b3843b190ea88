//! The teacher's latency, from the journal: as a run happened to ask it.

use distill_report::{Arrival, LoadFacts, Spread};
use serde_json::Value;

use crate::label::{LabelUsage, RowUsage};

/// The teacher's figures under the names of a load measurement. `None` where the journal timed no
/// answer. What the journal does not hold is absent and said so.
///
/// A row's latency is that of the attempt that answered it; an answer that was taken from the journal
/// counts with the latency of the day it was asked, never with that of the lookup.
pub(crate) fn teacher_load(usage: &LabelUsage) -> Option<LoadFacts> {
    if usage.per_row.is_empty() {
        return None;
    }
    let latencies: Vec<f64> = usage.per_row.iter().map(|row| row.latency_ms).collect();
    let end_to_end = Spread::of(&latencies);
    let total = |tokens: fn(&RowUsage) -> Option<u64>| -> Option<u64> {
        usage.per_row.iter().map(tokens).sum()
    };
    Some(LoadFacts {
        arm: "teacher".to_owned(),
        simulated: usage.simulated,
        engine:
            "through the gateway, the attempt that answered each row, as the journal recorded it"
                .to_owned(),
        arrival: Arrival::Recorded,
        num_prompts: usage.rows,
        max_concurrency: usage.concurrency,
        completed: usage.per_row.len(),
        failed: usage.rows.saturating_sub(usage.per_row.len()),
        total_input_tokens: total(|row| row.input_tokens),
        total_output_tokens: total(|row| row.output_tokens),
        mean_e2el_ms: end_to_end.mean,
        median_e2el_ms: end_to_end.median,
        std_e2el_ms: end_to_end.std,
        p95_e2el_ms: end_to_end.p95,
        p99_e2el_ms: end_to_end.p99,
        notes: notes(usage),
        ..LoadFacts::default()
    })
}

fn notes(usage: &LabelUsage) -> Vec<String> {
    let mut notes =
        vec!["answers were not streamed: no time to first token, none per output token".to_owned()];
    let earlier = usage.per_row.iter().filter(|row| row.from_journal).count();
    if earlier > 0 {
        notes.push(format!(
            "{earlier} answers were taken from the journal and count with the latency of their day"
        ));
    }
    let attempts = usage.spend.get("attempts").and_then(Value::as_array);
    let failed: u64 = attempts
        .into_iter()
        .flatten()
        .filter(|group| group.get("outcome").and_then(Value::as_str) != Some("answered"))
        .filter_map(|group| group.get("attempts").and_then(Value::as_u64))
        .sum();
    if failed > 0 {
        notes.push(format!(
            "{failed} attempts of the job failed and are left out of the latencies"
        ));
    }
    notes.extend(retried(&usage.spend));
    notes
}

/// Requests that took more than one attempt, with the time of all their attempts.
fn retried(spend: &Value) -> Option<String> {
    let retried = spend.get("retried").filter(|retried| !retried.is_null())?;
    let number = |name: &str| retried.get(name).and_then(Value::as_f64);
    Some(format!(
        "{} requests of the job took more than one attempt: with all attempts p50 {:.0} ms, p95 {:.0} ms",
        number("count")? as usize,
        number("p50_ms")?,
        number("p95_ms")?
    ))
}
