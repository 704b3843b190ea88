use serde::{Deserialize, Serialize};

use crate::stats::{Weighted, isotonic};

/// Where the chance of being right is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationPoint {
    /// The confidence as the student states it.
    pub raw: f64,
    /// Share of rows that were right at that confidence.
    pub probability: f64,
}

/// From a stated confidence to the share of right answers that it stood for, by isotonic
/// regression: never falling, and straight between the points, as scikit-learn's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// By rising `raw`.
    pub points: Vec<CalibrationPoint>,
}

impl Calibration {
    /// From (stated confidence, whether the answer was right) of rows that trained nothing. Rows
    /// whose confidence is not finite are left out; `None` without a row.
    pub fn fit(rows: &[(f64, bool)]) -> Option<Self> {
        let observations: Vec<Weighted> = rows
            .iter()
            .map(|(raw, right)| Weighted {
                place: *raw,
                value: f64::from(u8::from(*right)),
                weight: 1.0,
            })
            .collect();
        let points: Vec<CalibrationPoint> = isotonic(&observations)
            .into_iter()
            .map(|(raw, probability)| CalibrationPoint { raw, probability })
            .collect();
        (!points.is_empty()).then_some(Self { points })
    }

    /// The calibrated confidence; outside the fitted range that of its nearer end, and 0 for a
    /// confidence that is not a number.
    pub fn probability(&self, raw: f64) -> f64 {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return 0.0;
        };
        if raw.is_nan() {
            return 0.0;
        }
        if raw <= first.raw {
            return first.probability;
        }
        if raw >= last.raw {
            return last.probability;
        }
        let above = self.points.partition_point(|point| point.raw < raw);
        let (below, above) = (self.points[above - 1], self.points[above]);
        let share = (raw - below.raw) / (above.raw - below.raw);
        below.probability + share * (above.probability - below.probability)
    }
}
