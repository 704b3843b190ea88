//! Speed and energy of an engine under load. The fields of [`LoadFacts`] carry the names that
//! `vllm bench serve` gives them in its result file, so that one reader serves both.

use distill_eval::stats::quantile;
use serde::{Deserialize, Serialize};

/// How requests came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// So many clients, each sending its next request when the last was answered.
    ClosedLoop,
    /// At drawn times, whether or not earlier requests were answered; latency counts from the drawn
    /// time, so that waiting is never left out.
    Poisson,
    /// As a run happened to send them.
    #[default]
    Recorded,
}

/// One engine at one setting. Times are milliseconds unless the name says otherwise; the time per
/// output token leaves the first token out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadFacts {
    /// The arm's name.
    pub arm: String,
    pub simulated: bool,
    /// What was measured through which layers, and on how many threads.
    pub engine: String,
    pub arrival: Arrival,
    /// Requests answered before the clock started.
    pub warm_up: usize,
    /// Requests sent.
    pub num_prompts: usize,
    /// Requests in flight at most; absent where nothing bounds them.
    pub max_concurrency: Option<usize>,
    /// Mean arrivals a second; absent in a closed loop.
    pub request_rate: Option<f64>,
    /// Seconds from the first arrival to the last answer.
    pub duration: Option<f64>,
    pub completed: usize,
    pub failed: usize,
    pub total_input_tokens: Option<u64>,
    pub total_output_tokens: Option<u64>,
    /// Answers a second.
    pub request_throughput: Option<f64>,
    /// Output tokens a second.
    pub output_throughput: Option<f64>,
    /// Input and output tokens a second.
    pub total_token_throughput: Option<f64>,
    pub max_concurrent_requests: Option<usize>,
    pub mean_ttft_ms: Option<f64>,
    pub median_ttft_ms: Option<f64>,
    pub std_ttft_ms: Option<f64>,
    pub p95_ttft_ms: Option<f64>,
    pub p99_ttft_ms: Option<f64>,
    pub mean_tpot_ms: Option<f64>,
    pub median_tpot_ms: Option<f64>,
    pub std_tpot_ms: Option<f64>,
    pub p95_tpot_ms: Option<f64>,
    pub p99_tpot_ms: Option<f64>,
    pub mean_itl_ms: Option<f64>,
    pub median_itl_ms: Option<f64>,
    pub std_itl_ms: Option<f64>,
    pub p95_itl_ms: Option<f64>,
    pub p99_itl_ms: Option<f64>,
    pub mean_e2el_ms: Option<f64>,
    pub median_e2el_ms: Option<f64>,
    pub std_e2el_ms: Option<f64>,
    pub p95_e2el_ms: Option<f64>,
    pub p99_e2el_ms: Option<f64>,
    /// What of the above is missing, or left out of it, and why: one sentence each.
    pub notes: Vec<String>,
}

/// Mean, median, standard deviation (of the population, as numpy's), p95 and p99 of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    pub mean: Option<f64>,
    pub median: Option<f64>,
    pub std: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

impl Spread {
    /// All absent without a value.
    pub fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values
            .iter()
            .map(|value| (value - mean) * (value - mean))
            .sum::<f64>()
            / count;
        Self {
            mean: Some(mean),
            median: quantile(values, 0.50),
            std: Some(variance.sqrt()),
            p95: quantile(values, 0.95),
            p99: quantile(values, 0.99),
        }
    }
}

/// Where an energy figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergySource {
    /// The processor's own counters: packages alone, neither memory nor power supply.
    Rapl,
    /// The stated watts of the machine times the measured seconds: an estimate.
    StatedWatts,
    NotMeasured,
}

/// What answers take from the wall while the machine answers; idle hours are not in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyFacts {
    /// The arm's name.
    pub arm: String,
    pub source: EnergySource,
    pub watt_hours_per_1000: Option<f64>,
    /// Mean watts while the machine answered.
    pub watts: Option<f64>,
    /// What was read, or why nothing was.
    pub method: String,
}

impl EnergyFacts {
    /// Whether the figure is an estimate, which every rendering says.
    pub fn estimated(&self) -> bool {
        self.source == EnergySource::StatedWatts
    }
}

/// What becomes of the cost figures of one student when the teacher gets cheaper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sensitivity {
    pub candidate: String,
    /// 1 is today's price, 2 half of it.
    pub teacher_cheaper_by: f64,
    pub teacher_usd_per_1000: Option<f64>,
    pub student_usd_per_1000: Option<f64>,
    /// Whether the student's answers cost less than the teacher's at the stated request rate.
    pub student_is_cheaper: Option<bool>,
    /// Whether that differs from today's price.
    pub flips: Option<bool>,
    /// Requests a day above which the first machine costs less than the teacher; absent also when no
    /// number of requests is enough, which `never_cheaper` says.
    pub cheaper_above_requests_per_day: Option<f64>,
    /// Whether the student would cost more at any number of requests.
    pub never_cheaper: Option<bool>,
    pub break_even_requests: Option<f64>,
    pub break_even_days: Option<f64>,
    pub simulated: bool,
}

/// How old the prices are that a run used. Counted once, on the day of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceAge {
    /// The model as `vendor/model`.
    pub model: String,
    /// `table`, `custom`, `simulated` or `local`.
    pub source: String,
    /// The day on which the price was read (`YYYY-MM-DD`); absent where no table was.
    pub as_of: Option<String>,
    /// Days between that and the run.
    pub age_days: Option<i64>,
    pub input_usd_per_million: f64,
    pub output_usd_per_million: f64,
    pub cached_input_usd_per_million: Option<f64>,
    /// What else the table says: where it comes from, and what another source says instead.
    pub note: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn a_spread_reads_as_numpy_does() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((spread.mean, spread.median), (Some(2.5), Some(2.5)));
        // The variance of the population is (2.25 + 0.25 + 0.25 + 2.25) / 4.
        assert!((spread.std.unwrap() - 1.25_f64.sqrt()).abs() < 1e-12);
        // Rank 0.95 × 3 = 2.85: 3 + 0.85 × (4 − 3).
        assert!((spread.p95.unwrap() - 3.85).abs() < 1e-12);
        assert!((spread.p99.unwrap() - 3.97).abs() < 1e-12);
        assert_eq!(Spread::of(&[]), Spread::default());
    }
}
