//! The teacher's latency, from the journal: as a run happened to ask it.

use distill_report::{Arrival, LoadFacts};
use serde_json::Value;

use crate::label::LabelUsage;

/// The teacher's figures under the names of a load measurement. `None` where the journal timed no
/// answer. What the journal does not hold is absent and said so.
pub(crate) fn teacher_load(usage: &LabelUsage) -> Option<LoadFacts> {
    let spend = &usage.spend;
    let latency = spend.get("latency").filter(|latency| !latency.is_null())?;
    let number = |name: &str| latency.get(name).and_then(Value::as_f64);
    let completed = latency.get("count").and_then(Value::as_u64)? as usize;
    let (mut sent, mut failed) = (0, 0);
    let attempts = spend.get("attempts").and_then(Value::as_array);
    for group in attempts.into_iter().flatten() {
        let count = group.get("attempts").and_then(Value::as_u64).unwrap_or(0) as usize;
        sent += count;
        if group.get("outcome").and_then(Value::as_str) != Some("answered") {
            failed += count;
        }
    }
    let mut notes = vec![
        "answers were not streamed: no time to first token, none per output token".to_owned(),
        "percentiles are nearest ranks: latencies that really occurred".to_owned(),
    ];
    if usage.from_journal > 0 {
        notes.push(format!(
            "{} answers were taken from the journal and are not timed again",
            usage.from_journal
        ));
    }
    if failed > 0 {
        notes.push(format!(
            "{failed} attempts failed and are left out of the latencies"
        ));
    }
    notes.extend(retried(spend));
    Some(LoadFacts {
        arm: "teacher".to_owned(),
        simulated: usage.simulated,
        engine: "through the gateway, single attempts that answered, as the journal recorded them"
            .to_owned(),
        arrival: Arrival::Recorded,
        num_prompts: sent,
        max_concurrency: usage.concurrency,
        completed,
        failed,
        mean_e2el_ms: number("mean_ms"),
        median_e2el_ms: number("p50_ms"),
        p95_e2el_ms: number("p95_ms"),
        p99_e2el_ms: number("p99_ms"),
        notes,
        ..LoadFacts::default()
    })
}

/// Requests that took more than one attempt, with the time of all their attempts.
fn retried(spend: &Value) -> Option<String> {
    let retried = spend.get("retried").filter(|retried| !retried.is_null())?;
    let number = |name: &str| retried.get(name).and_then(Value::as_f64);
    Some(format!(
        "{} requests took more than one attempt: with all attempts p50 {:.0} ms, p95 {:.0} ms",
        number("count")? as usize,
        number("p50_ms")?,
        number("p95_ms")?
    ))
}
