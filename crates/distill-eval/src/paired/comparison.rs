use serde::{Deserialize, Serialize};

use super::PairedTable;
use crate::{
    Direction, Interval, IntervalMethod, Settings, Statistic, Unit,
    aggregate::value_of,
    stats::{
        bootstrap::{self, Clusters, Distribution},
        mcnemar_exact, mcnemar_mid_p, noninferiority_p, normal_cdf, normal_quantile, tango,
    },
};

/// What a score's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// The score of a perfect answer: 1 for a share, 100 for BLEU. A margin is a share of it.
    pub full: f64,
    /// Whether scores lie between 0 and `full`; those of a scorer's own scale need not.
    #[serde(default)]
    pub is_bounded: bool,
    /// Whether a smaller score is the better one.
    pub lower_is_better: bool,
}

impl Default for Scale {
    /// 0 to 1, higher is better.
    fn default() -> Self {
        Self {
            full: 1.0,
            is_bounded: true,
            lower_is_better: false,
        }
    }
}

impl Scale {
    /// Of a metric's values. A scale of the scorer's own has no full score that is known: a margin
    /// is then in its points.
    pub fn of(unit: Unit, direction: Direction) -> Self {
        Self {
            full: match unit {
                Unit::Share | Unit::Score0To1 | Unit::Points => 1.0,
                Unit::Score0To100 => 100.0,
            },
            is_bounded: unit.full().is_some(),
            lower_is_better: direction == Direction::Lower,
        }
    }
}

/// What the pairs say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Right and wrong, pair by pair; `None` for scores that are more than that, and for rows in
    /// groups.
    pub table: Option<PairedTable>,
    pub n: usize,
    /// Pairs of which a side could not be scored.
    pub left_out: usize,
    /// Groups of rows that were drawn together; `None` where each row stands for itself.
    pub groups: Option<usize>,
    pub candidate: Option<f64>,
    pub baseline: Option<f64>,
    /// Candidate minus baseline.
    pub difference: Option<f64>,
    /// Tango's for right and wrong; else a paired bootstrap, or for a judge that people corrected
    /// a prediction-powered interval.
    pub interval: Option<Interval>,
    /// Exact, two-sided; only with a table.
    pub mcnemar_p: Option<f64>,
    pub mcnemar_mid_p: Option<f64>,
    #[serde(default)]
    pub scale: Scale,
    /// What the interval was read from, to be read again at another confidence. Not kept in files:
    /// a decision is made where the scores are.
    #[serde(skip)]
    evidence: Option<Evidence>,
}

/// What is known of a difference that no table holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Evidence {
    /// Paired bootstrap draws.
    Drawn(Distribution),
    /// A judge's difference corrected with that of so many rows that people judged; normal with
    /// this standard error.
    Corrected { error: f64, labelled: usize },
}

impl Evidence {
    /// Whether it shows no error at all, which no number of rows warrants.
    fn is_constant(&self) -> bool {
        match self {
            Self::Drawn(drawn) => drawn.is_constant(),
            Self::Corrected { error, .. } => *error <= 0.0,
        }
    }
}

impl Comparison {
    /// From counts of right and wrong.
    pub fn of(table: PairedTable, left_out: usize, confidence: f64) -> Self {
        let any = table.pairs() > 0;
        let (only_candidate, only_baseline) = (table.only_candidate, table.only_baseline);
        Self {
            table: Some(table),
            n: table.pairs(),
            left_out,
            groups: None,
            candidate: table.share((table.both + only_candidate) as f64),
            baseline: table.share((table.both + only_baseline) as f64),
            difference: table.difference(),
            interval: tango(&table, confidence),
            mcnemar_p: any.then(|| mcnemar_exact(only_candidate, only_baseline)),
            mcnemar_mid_p: any.then(|| mcnemar_mid_p(only_candidate, only_baseline)),
            scale: Scale::default(),
            evidence: None,
        }
    }

    /// From a statistic of each side over the same rows, by a paired bootstrap.
    pub fn of_statistics(
        candidate: &dyn Statistic,
        baseline: &dyn Statistic,
        clusters: &Clusters,
        left_out: usize,
        scale: Scale,
        settings: &Settings,
    ) -> Self {
        let drawn = bootstrap::paired(candidate, baseline, clusters, settings.draws, settings.seed);
        let values = (value_of(candidate), value_of(baseline));
        let mut comparison = Self::of_evidence(
            values,
            candidate.samples(),
            left_out,
            scale,
            drawn.map(Evidence::Drawn),
        );
        comparison.groups = (!clusters.is_single()).then(|| clusters.count());
        comparison.interval = comparison.interval_at(settings.confidence);
        comparison
    }

    /// Without an interval as yet: it is read from the evidence.
    pub(super) fn of_evidence(
        (candidate, baseline): (Option<f64>, Option<f64>),
        n: usize,
        left_out: usize,
        scale: Scale,
        evidence: Option<Evidence>,
    ) -> Self {
        Self {
            table: None,
            n,
            left_out,
            groups: None,
            candidate,
            baseline,
            difference: candidate
                .zip(baseline)
                .map(|(candidate, baseline)| candidate - baseline),
            interval: None,
            mcnemar_p: None,
            mcnemar_mid_p: None,
            scale,
            evidence,
        }
    }

    /// The interval of the difference at any confidence; `None` without a pair, and for a
    /// bootstrap read back from a file.
    pub fn interval_at(&self, confidence: f64) -> Option<Interval> {
        if let Some(table) = &self.table {
            return tango(table, confidence);
        }
        let (evidence, difference) = (self.evidence.as_ref()?, self.difference?);
        if evidence.is_constant() {
            // No row tells the sides apart by more than the next one does, and an interval from
            // that is a point. What is left open is how many rows would: by the exact bound of a
            // share of which nothing was seen, each such row taken to cost a full score.
            let tail = f64::midpoint(1.0, -confidence);
            let unseen = 1.0 - tail.powf(1.0 / self.units() as f64);
            let open = unseen * self.scale.full;
            return Some(Interval {
                low: difference - open,
                high: difference + open,
                confidence,
                method: IntervalMethod::ClopperPearson,
            });
        }
        let interval = match evidence {
            Evidence::Drawn(drawn) => drawn.interval(confidence),
            Evidence::Corrected { error, .. } => {
                let half = normal_quantile(f64::midpoint(1.0, confidence)) * error;
                Interval {
                    low: difference - half,
                    high: difference + half,
                    confidence,
                    method: IntervalMethod::PredictionPowered,
                }
            }
        };
        let full = self.scale.full;
        Some(if self.scale.is_bounded {
            interval.within(-full, full)
        } else {
            interval
        })
    }

    /// The one-sided p of "the candidate is worse than the baseline by `margin` (a share of the
    /// full score) or more"; below (1 − confidence) / 2 when the interval at that confidence lies
    /// on the right side of the margin.
    ///
    /// Tango's score test for right and wrong, else by inversion of the interval.
    pub fn noninferiority_p(&self, margin: f64) -> Option<f64> {
        if let Some(table) = &self.table {
            return noninferiority_p(table, margin);
        }
        let evidence = self.evidence.as_ref()?;
        let bound = margin * self.scale.full;
        let lower = self.scale.lower_is_better;
        if evidence.is_constant() {
            let unseen = (self.gain()? + margin).clamp(0.0, 1.0);
            return Some((1.0 - unseen).powf(self.units() as f64));
        }
        Some(match evidence {
            Evidence::Drawn(drawn) if lower => drawn.p_at_least(bound),
            Evidence::Drawn(drawn) => drawn.p_at_most(-bound),
            Evidence::Corrected { error, .. } => {
                let kept = (self.gain()? + margin) * self.scale.full;
                normal_cdf(-kept / error)
            }
        })
    }

    /// Whether it is a judge's, corrected with what people said of the same rows.
    pub fn is_corrected(&self) -> bool {
        matches!(self.evidence, Some(Evidence::Corrected { .. }))
    }

    /// The interval of what the candidate gains over the baseline, as a share of the full score:
    /// positive is better whatever the metric's direction.
    pub(crate) fn gain_at(&self, confidence: f64) -> Option<(f64, f64)> {
        let interval = self.interval_at(confidence)?;
        let full = self.scale.full;
        Some(if self.scale.lower_is_better {
            (-interval.high / full, -interval.low / full)
        } else {
            (interval.low / full, interval.high / full)
        })
    }

    /// The difference in the same sense.
    pub(crate) fn gain(&self) -> Option<f64> {
        let sign = if self.scale.lower_is_better {
            -1.0
        } else {
            1.0
        };
        Some(sign * self.difference? / self.scale.full)
    }

    /// What stands for itself: groups, rows that people judged, else rows.
    fn units(&self) -> usize {
        match &self.evidence {
            Some(Evidence::Corrected { labelled, .. }) => *labelled,
            _ => self.groups.unwrap_or(self.n),
        }
    }
}
