//! From exchanges to the figures of the report.

use distill_report::{Arrival, EnergyFacts, LoadFacts, Spread};
use serde::{Deserialize, Serialize};

use super::{Exchange, Measure, Setting, energy::Busy};

/// What a measurement found: the settings in the order of the plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoadRecord {
    pub load: Vec<LoadFacts>,
    pub energy: Option<EnergyFacts>,
    /// The closed loop with the most answers a second: what energy is taken from.
    pub busiest: Option<Busy>,
}

impl LoadRecord {
    pub(super) fn note_energy(&mut self, setting: Setting, load: &LoadFacts, joules: Option<f64>) {
        let (Setting::Closed { .. }, Some(seconds)) = (setting, load.duration) else {
            return;
        };
        let busy = Busy {
            completed: load.completed,
            seconds,
            joules,
        };
        let rate = |busy: &Busy| busy.completed as f64 / busy.seconds;
        if self
            .busiest
            .is_none_or(|busiest| rate(&busy) > rate(&busiest))
        {
            self.busiest = Some(busy);
        }
    }
}

/// The figures of one setting.
pub(super) fn load(
    arm: &str,
    setting: Setting,
    warm_up: usize,
    sent: &[Exchange],
    measure: &Measure,
) -> LoadFacts {
    let answered: Vec<&Exchange> = sent
        .iter()
        .filter(|exchange| exchange.problem.is_none() && exchange.ended_ms.is_some())
        .collect();
    let duration = duration_seconds(sent, &answered);
    let per_second = |count: f64| duration.map(|seconds| count / seconds);
    let total = |tokens: fn(&Exchange) -> Option<u64>| -> Option<u64> {
        (!answered.is_empty())
            .then(|| answered.iter().map(|exchange| tokens(exchange)).sum())
            .flatten()
    };
    let input = total(|exchange| exchange.input_tokens);
    let output = total(|exchange| exchange.output_tokens);
    let spread = |of: fn(&Exchange) -> Option<f64>| -> Spread {
        let values: Vec<f64> = answered
            .iter()
            .filter_map(|exchange| of(exchange))
            .collect();
        Spread::of(&values)
    };
    let first = spread(Exchange::first_ms);
    let per_token = spread(Exchange::per_token_ms);
    let gaps: Vec<f64> = answered
        .iter()
        .flat_map(|exchange| exchange.gaps_ms())
        .collect();
    let gap = Spread::of(&gaps);
    let end_to_end = spread(Exchange::end_to_end_ms);
    let (arrival, max_concurrency, request_rate) = match setting {
        Setting::Closed { clients } => (Arrival::ClosedLoop, Some(clients), None),
        Setting::Open { per_second } => (Arrival::Poisson, None, Some(per_second)),
    };
    LoadFacts {
        arm: arm.to_owned(),
        simulated: false,
        engine: format!(
            "the server of `distill serve`, over loopback HTTP, streamed; {} threads, shared with the client",
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        ),
        arrival,
        warm_up,
        num_prompts: sent.len(),
        max_concurrency,
        request_rate,
        duration,
        completed: answered.len(),
        failed: sent.len() - answered.len(),
        total_input_tokens: input,
        total_output_tokens: output,
        request_throughput: per_second(answered.len() as f64).filter(|_| !answered.is_empty()),
        output_throughput: output.and_then(|tokens| per_second(tokens as f64)),
        total_token_throughput: input
            .zip(output)
            .and_then(|(input, output)| per_second((input + output) as f64)),
        max_concurrent_requests: most_at_once(&answered),
        mean_ttft_ms: first.mean,
        median_ttft_ms: first.median,
        std_ttft_ms: first.std,
        p95_ttft_ms: first.p95,
        p99_ttft_ms: first.p99,
        mean_tpot_ms: per_token.mean,
        median_tpot_ms: per_token.median,
        std_tpot_ms: per_token.std,
        p95_tpot_ms: per_token.p95,
        p99_tpot_ms: per_token.p99,
        mean_itl_ms: gap.mean,
        median_itl_ms: gap.median,
        std_itl_ms: gap.std,
        p95_itl_ms: gap.p95,
        p99_itl_ms: gap.p99,
        mean_e2el_ms: end_to_end.mean,
        median_e2el_ms: end_to_end.median,
        std_e2el_ms: end_to_end.std,
        p95_e2el_ms: end_to_end.p95,
        p99_e2el_ms: end_to_end.p99,
        notes: notes(setting, sent, &answered, measure),
    }
}

fn notes(
    setting: Setting,
    sent: &[Exchange],
    answered: &[&Exchange],
    measure: &Measure,
) -> Vec<String> {
    let mut notes = Vec::new();
    if sent.len() < measure.spec.requests {
        notes.push(format!(
            "{} of the {} requests asked for were sent: a setting ends after {} s",
            sent.len(),
            measure.spec.requests,
            super::SETTING_SECONDS
        ));
    }
    if !answered.is_empty()
        && answered
            .iter()
            .all(|exchange| exchange.output_tokens.is_none())
    {
        notes.push(
            "this student has no tokens: its one output is its first, and there is no time per output token"
                .to_owned(),
        );
    }
    if matches!(setting, Setting::Open { .. }) {
        notes.push(
            "latency counts from the drawn time; the client's clock ticks each millisecond, which is in it"
                .to_owned(),
        );
    }
    if let Some(problem) = sent.iter().find_map(|exchange| exchange.problem.as_ref()) {
        notes.push(format!("requests failed, the first with: {problem}"));
    }
    notes
}

/// From the first arrival to the last answer.
fn duration_seconds(sent: &[Exchange], answered: &[&Exchange]) -> Option<f64> {
    let first = sent
        .iter()
        .map(|exchange| exchange.due_ms)
        .min_by(f64::total_cmp)?;
    let last = answered
        .iter()
        .filter_map(|exchange| exchange.ended_ms)
        .max_by(f64::total_cmp)?;
    Some((last - first) / 1000.0).filter(|seconds| *seconds > 0.0)
}

/// Requests in flight at the fullest moment; one that ends makes room for one that begins.
fn most_at_once(answered: &[&Exchange]) -> Option<usize> {
    let mut moments: Vec<(f64, i32)> = answered
        .iter()
        .filter_map(|exchange| Some([(exchange.sent_ms, 1), (exchange.ended_ms?, -1)]))
        .flatten()
        .collect();
    moments.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    let mut now = 0;
    moments
        .iter()
        .map(|(_, change)| {
            now += change;
            now
        })
        .max()
        .map(|most| most.unsigned_abs() as usize)
}

/// The most answers a second that a closed loop reached, and how: what one machine can do.
pub(crate) fn capacity(load: &[LoadFacts]) -> Option<(f64, String)> {
    load.iter()
        .filter(|facts| facts.arrival == Arrival::ClosedLoop)
        .filter_map(|facts| Some((facts.request_throughput?, facts.max_concurrency?)))
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(rate, clients)| (rate, format!("served over loopback, {clients} at a time")))
}

/// The setting that a latency limit is held against: the closed loop with the fewest at a time.
pub(crate) fn single_answer(load: &[LoadFacts]) -> Option<&LoadFacts> {
    load.iter()
        .filter(|facts| facts.arrival == Arrival::ClosedLoop && facts.completed > 0)
        .min_by_key(|facts| facts.max_concurrency)
}
