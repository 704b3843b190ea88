use super::{critical, normal_quantile, tango::variance_at};

/// What a paired decision is asked to settle, and how surely.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerPlan {
    /// The loss that would still be accepted, as a share.
    pub margin: f64,
    /// Of the two-sided interval.
    pub confidence: f64,
    /// The chance that the decision is reached when `difference` is true.
    pub power: f64,
    /// Share of rows on which exactly one of the two models is right.
    pub discordance: f64,
    /// The true (candidate − baseline) difference that is assumed.
    pub difference: f64,
}

impl PowerPlan {
    /// A candidate that is truly as good as the baseline, shown with power 0.8.
    pub fn noninferiority(margin: f64, confidence: f64, discordance: f64) -> Self {
        Self {
            margin,
            confidence,
            power: 0.8,
            discordance,
            difference: 0.0,
        }
    }
}

/// How many rows let the interval of the difference settle on which side of −margin it lies.
///
/// Normal approximation of Tango's test: the variance at the margin is the restricted one, as in
/// the test, and the variance at the assumed difference is its own. `None` when the assumed
/// difference lies on the margin (no number would do) or the plan contradicts itself.
pub fn required_n(plan: &PowerPlan) -> Option<usize> {
    let PowerPlan {
        margin,
        difference,
        discordance,
        ..
    } = *plan;
    let distance = difference + margin;
    let possible = (0.0..=1.0).contains(&discordance)
        && difference.abs() <= discordance
        && (0.0..1.0).contains(&margin)
        && plan.confidence > 0.0
        && plan.confidence < 1.0
        && plan.power > 0.0
        && plan.power < 1.0;
    if !possible || distance.abs() < 1e-9 {
        return None;
    }
    let only_candidate = f64::midpoint(discordance, difference);
    let only_baseline = f64::midpoint(discordance, -difference);
    let at_margin = variance_at(only_candidate, only_baseline, 1.0, -margin).max(0.0);
    let at_truth = (discordance - difference * difference).max(0.0);
    let reach = critical(plan.confidence) * at_margin.sqrt()
        + normal_quantile(plan.power) * at_truth.sqrt();
    Some(((reach / distance).powi(2).ceil() as usize).max(1))
}
