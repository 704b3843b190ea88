//! Intervals, tests and sizes, each from counts or plain numbers.

use serde::{Deserialize, Serialize};

mod agreement;
mod binomial;
pub mod bootstrap;
mod clopper_pearson;
mod holm;
mod isotonic;
mod kappa;
mod line;
mod mcnemar;
mod mean;
mod percentile;
mod power;
mod prediction_powered;
mod quantile;
mod settle;
mod tango;
#[cfg(test)]
mod tests;
mod wilson;

pub use agreement::{Agreement, agreement};
pub(crate) use clopper_pearson::most_successes;
pub use clopper_pearson::{clopper_pearson, clopper_pearson_lower, clopper_pearson_upper};
pub use holm::holm;
pub use isotonic::{Weighted, isotonic};
pub use kappa::{Kappa, cohen_kappa, cohen_kappa_of_counts};
pub(crate) use line::Line;
pub use mcnemar::{mcnemar_exact, mcnemar_mid_p};
pub use mean::Mean;
pub use percentile::Percentile;
pub use power::{PowerPlan, power, required_n};
pub use prediction_powered::{PredictionPowered, Tuning, prediction_powered_mean};
pub use quantile::{QUANTILE_DEFINITION, Quantiles, quantile, quantiles};
pub(crate) use settle::chance_to_settle;
pub use tango::{noninferiority_p, tango};
pub use wilson::wilson;

/// A two-sided confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// Nominal coverage, 0 to 1.
    pub confidence: f64,
    pub method: IntervalMethod,
}

impl Interval {
    /// Cut at the values that are possible: a bootstrap steadied by rows that nobody answered can
    /// reach a little beyond them, and what lies there is known not to be true.
    #[must_use]
    pub(crate) fn within(self, least: f64, most: f64) -> Self {
        Self {
            low: self.low.clamp(least, most),
            high: self.high.clamp(least, most),
            ..self
        }
    }
}

/// How an interval was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// Wilson's score interval of a proportion.
    Wilson,
    /// Tango's score interval of a difference of paired proportions.
    Tango,
    /// Percentiles of bootstrap draws.
    BootstrapPercentile,
    /// Bootstrap, bias-corrected and accelerated, with two rows added as [`bootstrap`] says.
    BootstrapBca,
    /// Exact interval of a proportion.
    ClopperPearson,
    /// Normal, by an asymptotic standard error.
    Asymptotic,
    /// Normal, around a judge's mean corrected with human labels.
    PredictionPowered,
}

impl IntervalMethod {
    /// As a reader of a report meets it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Wilson => "Wilson",
            Self::Tango => "Tango",
            Self::BootstrapPercentile => "bootstrap percentile",
            Self::BootstrapBca => "bootstrap BCa",
            Self::ClopperPearson => "Clopper-Pearson",
            Self::Asymptotic => "asymptotic",
            Self::PredictionPowered => "prediction-powered",
        }
    }
}

/// A value of a set of samples that can be recomputed when each sample counts a given number of
/// times: what a bootstrap draws.
pub trait Statistic: Send + Sync {
    /// How many samples there are; the length of `weights`.
    fn samples(&self) -> usize;

    /// The value with each sample counted `weights[i]` times; `None` where it is not defined.
    fn value(&self, weights: &[u32]) -> Option<f64>;
}

/// The two-sided critical value of the standard normal distribution.
fn critical(confidence: f64) -> f64 {
    normal_quantile(f64::midpoint(1.0, confidence))
}

pub(crate) fn normal_quantile(probability: f64) -> f64 {
    use statrs::distribution::ContinuousCDF;
    statrs::distribution::Normal::standard().inverse_cdf(probability)
}

pub(crate) fn normal_cdf(value: f64) -> f64 {
    use statrs::distribution::ContinuousCDF;
    statrs::distribution::Normal::standard().cdf(value)
}
