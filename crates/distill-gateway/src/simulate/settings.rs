//! What a simulated provider is told to be like.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Price;

/// Settings of a simulated provider; whatever a model does not set for itself holds for all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulatorSettings {
    /// Share of gold answers given right.
    pub accuracy: f64,
    pub latency: LatencySettings,
    pub faults: FaultShares,
    pub seed: u64,
    /// What a 429 asks for.
    pub retry_after: Duration,
    /// How much chance there is in which rows are answered wrong: at 0 exactly the hardest ones, at
    /// large values any. In units of the spread of their difficulty.
    pub error_noise: f64,
    /// Share of questions that a model answers otherwise when it is asked them again on purpose.
    pub unsteady: f64,
    /// Whether what is not in the gold table is answered too: with made-up text, with JSON and calls
    /// of tools where they are asked for, and with vectors. The table may then be empty.
    pub improvise: bool,
    /// How many rows of the bill are kept; its totals count them all.
    pub bill_rows: usize,
    pub judge: JudgeSettings,
    pub models: Vec<ModelSettings>,
}

/// How any model of the provider judges the answers of others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JudgeSettings {
    /// Share of answers and pairs judged by what they are worth; the rest are judged wrong, and in
    /// both orders of a pair alike.
    pub accuracy: f64,
    /// Share of pairs of which the first shown is preferred, whichever it is.
    pub position_bias: f64,
    /// Share of judgements that are no verdict but chatter.
    pub unreadable: f64,
}

/// The simulated model that judges by default: it is of no teacher's family.
pub const JUDGE_MODEL: &str = "judge";

impl Default for JudgeSettings {
    fn default() -> Self {
        Self {
            accuracy: 0.95,
            position_bias: 0.05,
            unreadable: 0.0,
        }
    }
}

impl JudgeSettings {
    /// All that shapes its verdicts.
    pub(super) fn digest(&self) -> Vec<u8> {
        let mut bytes = b"judge".to_vec();
        for share in [self.accuracy, self.position_bias, self.unreadable] {
            bytes.extend(share.to_le_bytes());
        }
        bytes
    }
}

/// A log-normal latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencySettings {
    pub median: Duration,
    pub p95: Duration,
}

/// Shares of requests that meet a fault. All but `truncate` end the attempt without an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultShares {
    /// 429 with a retry-after.
    pub rate_limit: f64,
    /// 500.
    pub server_error: f64,
    /// No answer at all.
    pub hang: f64,
    /// An answer that stops in the middle and stays open.
    pub stall: f64,
    /// Status 200 and a body that is not whole JSON.
    pub malformed: f64,
    /// A whole answer with its text cut off. A function of the message alone, so that the same row
    /// is cut at every attempt: a limit that is too low does not go away by itself.
    pub truncate: f64,
    /// An answer whose connection breaks in the middle.
    pub cut: f64,
    /// An error in place of the content, with status 200.
    pub early_error: f64,
    /// An error after half of a streamed answer; of a whole one, with status 200.
    pub late_error: f64,
}

/// One simulated model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    pub name: String,
    #[serde(default)]
    pub accuracy: Option<f64>,
    #[serde(default)]
    pub latency: Option<LatencySettings>,
    #[serde(default)]
    pub faults: Option<FaultShares>,
    /// Hidden tokens of reasoning for each token that is shown; they are billed as output.
    #[serde(default)]
    pub reasoning: f64,
    pub input_usd_per_million: f64,
    pub output_usd_per_million: f64,
}

/// How much less often right the cheap model is.
const CHEAP_PENALTY: f64 = 0.06;

impl Default for SimulatorSettings {
    fn default() -> Self {
        Self {
            accuracy: 0.91,
            latency: LatencySettings {
                median: Duration::from_millis(30),
                p95: Duration::from_millis(80),
            },
            faults: FaultShares::default(),
            seed: 7,
            retry_after: Duration::from_millis(250),
            error_noise: 1.0,
            unsteady: 0.0,
            improvise: false,
            bill_rows: usize::MAX,
            judge: JudgeSettings::default(),
            models: ["frontier", "backup", "cheap", JUDGE_MODEL]
                .into_iter()
                .map(ModelSettings::known)
                .collect(),
        }
    }
}

impl ModelSettings {
    /// A model of the price table's simulated rows.
    fn known(name: &str) -> Self {
        let price = Price::simulated(name).expect("the simulated prices have this row");
        Self {
            name: name.to_owned(),
            accuracy: None,
            latency: None,
            faults: None,
            reasoning: 0.0,
            input_usd_per_million: price.base.input.dollars() * 1e6,
            output_usd_per_million: price.base.output.dollars() * 1e6,
        }
    }
}

impl SimulatorSettings {
    /// The first value that cannot be, in words.
    pub(super) fn problem(&self) -> Option<String> {
        let share = |name: &str, value: f64| {
            (!(0.0..=1.0).contains(&value))
                .then(|| format!("`{name}` is {value}, which is no share between 0 and 1"))
        };
        let faults = |faults: &FaultShares| {
            share("rate_limit", faults.rate_limit)
                .or_else(|| share("server_error", faults.server_error))
                .or_else(|| share("hang", faults.hang))
                .or_else(|| share("stall", faults.stall))
                .or_else(|| share("malformed", faults.malformed))
                .or_else(|| share("truncate", faults.truncate))
                .or_else(|| share("cut", faults.cut))
                .or_else(|| share("early_error", faults.early_error))
                .or_else(|| share("late_error", faults.late_error))
                .or_else(|| share("the sum of the faults", faults.sum()))
        };
        let latency = |latency: &LatencySettings| {
            (latency.p95 < latency.median).then(|| "`p95` is less than the median".to_owned())
        };
        share("accuracy", self.accuracy)
            .or_else(|| share("unsteady", self.unsteady))
            .or_else(|| share("judge.accuracy", self.judge.accuracy))
            .or_else(|| share("judge.position_bias", self.judge.position_bias))
            .or_else(|| share("judge.unreadable", self.judge.unreadable))
            .or_else(|| faults(&self.faults))
            .or_else(|| latency(&self.latency))
            .or_else(|| {
                (!self.error_noise.is_finite() || self.error_noise < 0.0)
                    .then(|| "`error_noise` is not a number of 0 or more".to_owned())
            })
            .or_else(|| {
                self.models.iter().find_map(|model| {
                    share("accuracy", model.accuracy.unwrap_or_default())
                        .or_else(|| model.faults.as_ref().and_then(&faults))
                        .or_else(|| model.latency.as_ref().and_then(latency))
                        .or_else(|| {
                            (!(0.0..=100.0).contains(&model.reasoning))
                                .then(|| "`reasoning` is no number between 0 and 100".to_owned())
                        })
                        .map(|problem| format!("model `{}`: {problem}", model.name))
                })
            })
    }

    pub(super) fn model(&self, name: &str) -> Option<&ModelSettings> {
        self.models.iter().find(|model| model.name == name)
    }

    pub(super) fn accuracy_of(&self, model: &ModelSettings) -> f64 {
        model.accuracy.unwrap_or_else(|| {
            if model.name == "cheap" {
                (self.accuracy - CHEAP_PENALTY).max(0.0)
            } else {
                self.accuracy
            }
        })
    }

    pub(super) fn faults_of(&self, model: &ModelSettings) -> FaultShares {
        model.faults.unwrap_or(self.faults)
    }

    pub(super) fn latency_of(&self, model: &ModelSettings) -> LatencySettings {
        model.latency.unwrap_or(self.latency)
    }
}

impl FaultShares {
    fn sum(&self) -> f64 {
        self.rate_limit
            + self.server_error
            + self.hang
            + self.stall
            + self.malformed
            + self.cut
            + self.early_error
            + self.late_error
    }
}
