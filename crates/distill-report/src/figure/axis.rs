//! From values to places, with round ticks.

use distill_eval::Unit;

use crate::number;

/// An even scale.
pub(super) struct Linear {
    unit: Unit,
    from: f64,
    to: f64,
    step: f64,
    start: f64,
    end: f64,
}

impl Linear {
    /// Holds all values, and ends at round ticks; `start` is where the least lies.
    pub(super) fn over(
        unit: Unit,
        values: impl Iterator<Item = f64>,
        start: f64,
        end: f64,
    ) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let whole = if matches!(unit, Unit::Share | Unit::Score0To1) {
            Some(1.0)
        } else if unit == Unit::Score0To100 {
            Some(100.0)
        } else {
            None
        };
        let least = whole.map_or_else(
            || (high.abs() + low.abs()).max(1.0) * 1e-3,
            |one| one / 100.0,
        );
        let step = round_step((high - low).max(least) / 5.0);
        let mut from = (low / step + 1e-9).floor() * step;
        let mut to = (high / step - 1e-9).ceil() * step;
        if to <= from {
            to = from + step;
        }
        if let Some(one) = whole {
            from = from.max(0.0);
            to = to.min(one);
            if to <= from {
                from = to - step;
            }
        }
        Self {
            unit,
            from,
            to,
            step,
            start,
            end,
        }
    }

    /// Exactly from one value to another.
    pub(super) fn between(unit: Unit, from: f64, to: f64, start: f64, end: f64) -> Self {
        Self {
            unit,
            from,
            to,
            step: (to - from) / 5.0,
            start,
            end,
        }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let along = (value - self.from) / (self.to - self.from).max(1e-12);
        self.start + along * (self.end - self.start)
    }

    pub(super) fn holds(&self, value: f64) -> bool {
        value >= self.from && value <= self.to
    }

    pub(super) fn ticks(&self) -> impl Iterator<Item = f64> {
        let steps = ((self.to - self.from) / self.step + 1e-6).floor() as usize;
        (0..=steps).map(|step| self.from + step as f64 * self.step)
    }

    pub(super) fn label(&self, tick: f64) -> String {
        match self.unit {
            Unit::Share | Unit::Score0To1 => {
                let digits = usize::from(self.step < 0.0099);
                format!("{:.digits$}%", tick * 100.0)
            }
            _ => {
                let digits = (-self.step.log10().floor()).clamp(0.0, 6.0) as usize;
                format!("{tick:.digits$}")
            }
        }
    }
}

/// The next of 1, 2 or 5 times a power of ten.
fn round_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(power * 10.0)
}

/// A logarithmic scale. Values must be above 0.
pub(super) struct Log {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Log {
    pub(super) fn over(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values {
            low = low.min(value);
            high = high.max(value);
        }
        Self {
            from: (low / 1.3).log10(),
            to: (high * 1.3).log10(),
            start,
            end,
        }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let along = (value.log10() - self.from) / (self.to - self.from);
        self.start + along * (self.end - self.start)
    }

    pub(super) fn holds(&self, value: f64) -> bool {
        value > 0.0 && (self.from..=self.to).contains(&value.log10())
    }

    /// Powers of ten, and where there are few of them 2 and 5 times these.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let factors: &[f64] = match self.to - self.from {
            span if span > 3.0 => &[1.0],
            span if span > 1.4 => &[1.0, 3.0],
            span if span > 0.8 => &[1.0, 2.0, 5.0],
            _ => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
        };
        let powers = self.from.floor() as i32..=self.to.ceil() as i32;
        let ticks: Vec<f64> = powers
            .flat_map(|power| {
                factors
                    .iter()
                    .map(move |factor| factor * 10_f64.powi(power))
            })
            .filter(|tick| self.holds(*tick))
            .collect();
        // Wide spans get every second or third power.
        let every = ticks.len().div_ceil(8).max(1);
        ticks.into_iter().step_by(every).collect()
    }

    pub(super) fn label(tick: f64) -> String {
        let digits = (-tick.log10().floor()).clamp(0.0, 9.0) as usize;
        let halves = (tick * 10_f64.powi(digits as i32)).fract();
        if tick >= 10.0 {
            number::count64(tick.round() as u64)
        } else if (0.1..0.9).contains(&halves) {
            // One digit more for 1.5 and its like.
            format!("{tick:.*}", digits + 1)
        } else {
            format!("{tick:.digits$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_ticks_and_hold_every_value() {
        let scale = Linear::over(Unit::Share, [0.712, 0.934].into_iter(), 100.0, 0.0);
        let labels: Vec<String> = scale.ticks().map(|tick| scale.label(tick)).collect();
        assert_eq!(labels, ["70%", "75%", "80%", "85%", "90%", "95%"]);
        assert!((scale.place(0.7) - 100.0).abs() < 1e-9 && scale.place(0.95).abs() < 1e-9);
        let full = Linear::over(Unit::Share, [1.0, 1.0].into_iter(), 0.0, 1.0);
        assert!(full.holds(1.0) && full.ticks().count() >= 2);
        let hundred = Linear::over(Unit::Score0To100, [12.3, 41.0].into_iter(), 0.0, 1.0);
        assert_eq!(hundred.label(hundred.ticks().next().unwrap()), "10");
        assert!(
            Linear::over(Unit::Share, std::iter::empty(), 0.0, 1.0)
                .ticks()
                .count()
                > 1
        );
    }

    #[test]
    fn a_logarithmic_scale_labels_its_ticks_in_plain_digits() {
        let scale = Log::over([0.06, 31.0].into_iter(), 0.0, 1.0);
        let labels: Vec<String> = scale.ticks().into_iter().map(Log::label).collect();
        assert_eq!(labels, ["0.1", "0.3", "1", "3", "10", "30"]);
        assert_eq!(Log::label(20_000.0), "20,000");
        let narrow = Log::over([0.2, 0.6].into_iter(), 0.0, 1.0);
        assert!(narrow.ticks().len() >= 3, "{:?}", narrow.ticks());
        assert_eq!(Log::label(0.15), "0.15");
        assert_eq!(Log::label(1.5), "1.5");
        assert_eq!(Log::label(0.3), "0.3");
    }
}
