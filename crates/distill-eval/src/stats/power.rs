use super::{
    binomial, critical, normal_quantile,
    tango::{score_at, variance_at},
};

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

    fn is_possible(&self) -> bool {
        (0.0..=1.0).contains(&self.discordance)
            && self.difference.abs() <= self.discordance
            && (0.0..1.0).contains(&self.margin)
            && self.confidence > 0.0
            && self.confidence < 1.0
            && self.power > 0.0
            && self.power < 1.0
    }
}

/// How many rows let the interval of the difference settle on which side of −margin it lies.
///
/// Starts at the normal approximation of Tango's test and ends at the number whose exact
/// [`power`], by enumeration of the tables that can occur, is what was asked. `None` when the
/// assumed difference lies on the margin (no number would do) or the plan contradicts itself.
pub fn required_n(plan: &PowerPlan) -> Option<usize> {
    let start = approximate_n(plan)?;
    let enough = |rows: usize| power(plan, rows).is_some_and(|power| power >= plan.power);
    let (mut few, mut many) = (0, start);
    while !enough(many) {
        few = many;
        many += (many / 8).max(1);
    }
    // Power rises with the rows but for a fine saw-tooth, of which this finds one tooth.
    while many - few > 1 {
        let middle = usize::midpoint(few, many);
        if enough(middle) {
            many = middle;
        } else {
            few = middle;
        }
    }
    Some(many)
}

/// The exact chance that `rows` rows settle what the plan asks, if what it assumes is true: the sum
/// over all numbers of discordant pairs that are not negligible. `None` as for [`required_n`].
pub fn power(plan: &PowerPlan, rows: usize) -> Option<f64> {
    let distance = plan.difference + plan.margin;
    if !plan.is_possible() || distance.abs() < 1e-9 {
        return None;
    }
    let only_candidate = f64::midpoint(plan.discordance, plan.difference);
    let only_baseline = f64::midpoint(plan.discordance, -plan.difference);
    // Shown to be worse is the mirror image: the baseline shown to be better by the margin.
    let (gained, lost, bound) = if distance > 0.0 {
        (only_candidate, only_baseline, -plan.margin)
    } else {
        (only_baseline, only_candidate, plan.margin)
    };
    Some(chance_above(rows, gained, lost, bound, plan.confidence))
}

/// P(the interval lies above `bound`) with these chances of a gained and of a lost row.
fn chance_above(rows: usize, gained: f64, lost: f64, bound: f64, confidence: f64) -> f64 {
    let z = critical(confidence);
    let (mean, spread) = (
        rows as f64 * lost,
        (rows as f64 * lost * (1.0 - lost)).sqrt(),
    );
    // Beyond nine standard deviations lies less than 1e-17.
    let first = (mean - 9.0 * spread - 9.0).max(0.0) as usize;
    let last = ((mean + 9.0 * spread + 9.0).ceil() as usize).min(rows);
    let chance = if lost < 1.0 {
        gained / (1.0 - lost)
    } else {
        0.0
    };
    let (mut total, mut least) = (0.0, 0);
    for losses in first..=last {
        // The more was lost, the more must be gained: the least that does only rises.
        let most = rows - losses;
        while least <= most && score_at(least, losses, rows, bound) <= z {
            least += 1;
        }
        if least > most {
            break;
        }
        let enough = if least == 0 {
            1.0
        } else {
            1.0 - binomial::at_most(least - 1, most, chance)
        };
        total += binomial::point(losses, rows, lost) * enough;
    }
    total
}

/// Normal approximation: the variance at the margin is the restricted one, as in Tango's test, and
/// the variance at the assumed difference is its own.
fn approximate_n(plan: &PowerPlan) -> Option<usize> {
    let PowerPlan {
        margin,
        difference,
        discordance,
        ..
    } = *plan;
    let distance = difference + margin;
    if !plan.is_possible() || distance.abs() < 1e-9 {
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
