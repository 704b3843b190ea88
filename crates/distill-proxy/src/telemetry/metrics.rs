//! Counts and times in the text format of Prometheus (version 0.0.4 of its exposition formats).

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use distill_chat::Usage;
use distill_gateway::Usd;

/// Upper bounds of the histograms' buckets, in seconds.
const BUCKETS: [f64; 17] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    120.0, 300.0,
];

/// Sets of labels of one family at most. A caller may name models freely where they are passed
/// through; beyond this its names count as `other`.
const SETS: usize = 2000;

/// A request that is over.
#[derive(Debug, Clone)]
pub struct RequestMeasure<'a> {
    /// Empty: it never came to a route.
    pub route: &'a str,
    pub dialect: &'a str,
    pub status: u16,
    pub outcome: &'a str,
    pub latency: Duration,
    pub first_token: Option<Duration>,
    /// `exact` or `semantic`.
    pub cache: Option<&'a str>,
    pub saved: Option<Usd>,
}

/// An attempt that is settled.
#[derive(Debug, Clone)]
pub struct AttemptMeasure<'a> {
    pub target: &'a str,
    pub simulated: bool,
    pub outcome: &'a str,
    pub usage: Usage,
    /// `None`: not known.
    pub usd: Option<Usd>,
    pub latency: Option<Duration>,
    pub first_token: Option<Duration>,
}

/// How a target stands, as `/metrics` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetState {
    pub target: String,
    /// One of [`STATES`].
    pub state: &'static str,
}

/// The states of targets.
pub const STATES: [&str; 6] = ["closed", "slow", "resting", "open", "half_open", "out"];

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Metrics {
    in_flight: AtomicI64,
    log_dropped: AtomicU64,
    traces_dropped: AtomicU64,
    traces_sent: AtomicU64,
    reloads: AtomicU64,
    refused_reloads: AtomicU64,
    families: Mutex<Families>,
}

#[derive(Debug, Default)]
struct Families {
    requests: Family<u64>,
    refusals: Family<u64>,
    request_seconds: Family<Histogram>,
    request_first_token: Family<Histogram>,
    attempts: Family<u64>,
    attempt_seconds: Family<Histogram>,
    attempt_first_token: Family<Histogram>,
    tokens: Family<u64>,
    usd: Family<f64>,
    unpriced: Family<u64>,
    cache: Family<u64>,
    saved: Family<f64>,
}

/// A number per set of labels, by the labels as they are shown.
#[derive(Debug)]
struct Family<V>(BTreeMap<String, V>);

impl<V> Default for Family<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V: Default> Family<V> {
    fn at(&mut self, labels: &[(&str, &str)]) -> &mut V {
        let mut key = rendered(labels);
        if self.0.len() >= SETS && !self.0.contains_key(&key) {
            let other: Vec<_> = labels.iter().map(|(name, _)| (*name, "other")).collect();
            key = rendered(&other);
        }
        self.0.entry(key).or_default()
    }
}

#[derive(Debug, Default)]
struct Histogram {
    counts: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, value: Duration) {
        let value = value.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|bound| value <= *bound) {
            self.counts[bucket] += 1;
        }
        self.count += 1;
        self.sum += value;
    }
}

/// Counts a request as in flight while it lives.
#[derive(Debug)]
pub struct InFlight(Arc<Metrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    pub fn in_flight(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    pub fn log_dropped(&self) {
        self.log_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub fn traces_dropped(&self, spans: u64) {
        self.traces_dropped.fetch_add(spans, Ordering::Relaxed);
    }

    pub fn traces_sent(&self, spans: u64) {
        self.traces_sent.fetch_add(spans, Ordering::Relaxed);
    }

    /// A configuration was read again.
    pub fn reloaded(&self, taken: bool) {
        let counter = if taken {
            &self.reloads
        } else {
            &self.refused_reloads
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was turned away before anybody was asked.
    pub fn refused(&self, reason: &str) {
        *self.families().refusals.at(&[("reason", reason)]) += 1;
    }

    pub fn request(&self, measure: &RequestMeasure<'_>) {
        let mut status = [0; 5];
        let status = decimal(measure.status, &mut status);
        let mut families = self.families();
        *families.requests.at(&[
            ("route", measure.route),
            ("dialect", measure.dialect),
            ("status", status),
            ("outcome", measure.outcome),
        ]) += 1;
        let route = [("route", measure.route)];
        families.request_seconds.at(&route).observe(measure.latency);
        if let Some(first_token) = measure.first_token {
            families.request_first_token.at(&route).observe(first_token);
        }
        if let Some(kind) = measure.cache {
            let labels = [("route", measure.route), ("kind", kind)];
            *families.cache.at(&labels) += 1;
            if let Some(saved) = measure.saved {
                *families.saved.at(&labels) += saved.dollars();
            }
        }
    }

    pub fn attempt(&self, measure: &AttemptMeasure<'_>) {
        let simulated = if measure.simulated { "true" } else { "false" };
        let target = ("target", measure.target);
        let mut families = self.families();
        *families.attempts.at(&[
            target,
            ("outcome", measure.outcome),
            ("simulated", simulated),
        ]) += 1;
        if let Some(latency) = measure.latency {
            families.attempt_seconds.at(&[target]).observe(latency);
        }
        if let Some(first_token) = measure.first_token {
            families
                .attempt_first_token
                .at(&[target])
                .observe(first_token);
        }
        let usage = measure.usage;
        for (class, tokens) in [
            ("input", usage.input_tokens),
            ("cached_input", usage.cached_input_tokens),
            ("cache_write", usage.cache_write_tokens),
            ("output", usage.output_tokens),
            ("reasoning", usage.reasoning_tokens),
        ] {
            if let Some(tokens) = tokens {
                *families
                    .tokens
                    .at(&[target, ("class", class), ("simulated", simulated)]) += tokens;
            }
        }
        match measure.usd {
            Some(usd) => {
                *families.usd.at(&[target, ("simulated", simulated)]) += usd.dollars();
            }
            None => *families.unpriced.at(&[target]) += 1,
        }
    }

    fn families(&self) -> std::sync::MutexGuard<'_, Families> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The page that a scraper reads.
    pub fn render(&self, targets: &[TargetState]) -> String {
        let mut page = Page(String::with_capacity(16 << 10));
        page.gauge(
            "distill_in_flight",
            "Requests that are being answered.",
            [("", self.in_flight.load(Ordering::Relaxed) as f64)],
        );
        {
            let families = self.families();
            families.write(&mut page);
        }
        page.gauge(
            "distill_target_state",
            "1 for the state in which a target is (closed: it is asked as usual).",
            targets.iter().flat_map(|target| {
                STATES.map(|state| {
                    (
                        rendered(&[("target", &target.target), ("state", state)]),
                        f64::from(u8::from(target.state == state)),
                    )
                })
            }),
        );
        for (name, help, count) in [
            (
                "distill_config_reloads_total",
                "Configurations that were taken.",
                &self.reloads,
            ),
            (
                "distill_config_refused_total",
                "Configurations that were refused; the one before stays.",
                &self.refused_reloads,
            ),
            (
                "distill_spans_sent_total",
                "Spans that a collector took.",
                &self.traces_sent,
            ),
            (
                "distill_spans_dropped_total",
                "Spans that no collector took in time.",
                &self.traces_dropped,
            ),
            (
                "distill_log_lines_dropped_total",
                "Log lines that nobody read in time.",
                &self.log_dropped,
            ),
        ] {
            page.counter(name, help, [("", count.load(Ordering::Relaxed) as f64)]);
        }
        page.process();
        page.0
    }
}

impl Families {
    fn write(&self, page: &mut Page) {
        page.counter(
            "distill_requests_total",
            "Requests that are over.",
            self.requests.whole(),
        );
        page.counter(
            "distill_refusals_total",
            "Requests that were turned away before anybody was asked.",
            self.refusals.whole(),
        );
        page.histogram(
            "distill_request_seconds",
            "From a request's head to the end of its answer.",
            &self.request_seconds,
        );
        page.histogram(
            "distill_request_first_token_seconds",
            "From a request's head to the first content of its stream.",
            &self.request_first_token,
        );
        page.counter(
            "distill_attempts_total",
            "Attempts that are settled.",
            self.attempts.whole(),
        );
        page.histogram(
            "distill_attempt_seconds",
            "From sending an attempt to the end of its answer.",
            &self.attempt_seconds,
        );
        page.histogram(
            "distill_attempt_first_token_seconds",
            "From sending an attempt to the first content of its stream.",
            &self.attempt_first_token,
        );
        page.counter(
            "distill_tokens_total",
            "Tokens as the vendors reported them; the classes are disjoint.",
            self.tokens.whole(),
        );
        page.counter(
            "distill_usd_total",
            "Dollars of the attempts whose cost is known.",
            self.usd.exact(),
        );
        page.counter(
            "distill_attempts_without_cost_total",
            "Attempts whose cost is not known: their reservation stands.",
            self.unpriced.whole(),
        );
        page.counter(
            "distill_cache_hits_total",
            "Answers from the cache.",
            self.cache.whole(),
        );
        page.counter(
            "distill_cache_saved_usd_total",
            "Dollars that the cache saved.",
            self.saved.exact(),
        );
    }
}

impl Family<u64> {
    fn whole(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0
            .iter()
            .map(|(labels, count)| (labels.as_str(), *count as f64))
    }
}

impl Family<f64> {
    fn exact(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0
            .iter()
            .map(|(labels, value)| (labels.as_str(), *value))
    }
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn counter<L: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) {
        self.head(name, "counter", help);
        self.values(name, values);
    }

    fn gauge<L: AsRef<str>>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64)>,
    ) {
        self.head(name, "gauge", help);
        self.values(name, values);
    }

    fn values<L: AsRef<str>>(&mut self, name: &str, values: impl IntoIterator<Item = (L, f64)>) {
        for (labels, value) in values {
            let labels = labels.as_ref();
            let _ = if labels.is_empty() {
                writeln!(self.0, "{name} {value}")
            } else {
                writeln!(self.0, "{name}{{{labels}}} {value}")
            };
        }
    }

    fn histogram(&mut self, name: &str, help: &str, family: &Family<Histogram>) {
        self.head(name, "histogram", help);
        for (labels, histogram) in &family.0 {
            let mut below = 0;
            for (bound, count) in BUCKETS.iter().zip(histogram.counts) {
                below += count;
                let _ = writeln!(self.0, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
            }
            let _ = writeln!(
                self.0,
                "{name}_bucket{{{labels},le=\"+Inf\"}} {count}\n{name}_sum{{{labels}}} {sum}\n\
                 {name}_count{{{labels}}} {count}",
                count = histogram.count,
                sum = histogram.sum
            );
        }
    }

    /// What the process itself holds, where the system tells (Linux).
    fn process(&mut self) {
        let kilobytes = std::fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|status| {
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("VmRSS:"))?;
                line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
            });
        if let Some(kilobytes) = kilobytes {
            self.gauge(
                "process_resident_memory_bytes",
                "Resident memory.",
                [("", (kilobytes << 10) as f64)],
            );
        }
        if let Ok(handles) = std::fs::read_dir("/proc/self/fd") {
            self.gauge(
                "process_open_fds",
                "Open file handles.",
                [("", handles.count() as f64)],
            );
        }
    }
}

/// Labels as the format shows them.
fn rendered(labels: &[(&str, &str)]) -> String {
    let mut text = String::with_capacity(64);
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                character => text.push(character),
            }
        }
        text.push('"');
    }
    text
}

/// A status without an allocation.
fn decimal(status: u16, digits: &mut [u8; 5]) -> &str {
    let mut at = digits.len();
    let mut rest = status;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or_default()
}

#[cfg(test)]
mod tests;
