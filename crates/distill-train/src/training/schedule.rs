//! The learning rate of each step: a linear rise, then the shape that was asked for.

use crate::{ScheduleShape, TrainSettings};

pub(crate) struct Schedule {
    shape: ScheduleShape,
    peak: f64,
    floor: f64,
    warmup: usize,
    steps: usize,
}

impl Schedule {
    pub(crate) fn new(settings: &TrainSettings, steps: usize) -> Self {
        Self {
            shape: settings.schedule,
            peak: settings.learning_rate,
            floor: settings.learning_rate * settings.final_learning_rate,
            warmup: (steps as f64 * settings.warmup).ceil() as usize,
            steps,
        }
    }

    /// `step` counts from 0. The first step already moves, and so does the last one.
    pub(crate) fn learning_rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let after_warmup = |from: usize| {
            let done = step.saturating_sub(from) as f64;
            (done / (self.steps - from).max(1) as f64).min(1.0)
        };
        let share = match self.shape {
            ScheduleShape::Constant => return self.peak,
            ScheduleShape::Linear => 1.0 - after_warmup(self.warmup),
            ScheduleShape::Cosine => {
                0.5 * (1.0 + (std::f64::consts::PI * after_warmup(self.warmup)).cos())
            }
            ScheduleShape::WarmupStableDecay { decay } => {
                let falling = (self.steps as f64 * decay).ceil() as usize;
                let from = self.steps.saturating_sub(falling).max(self.warmup);
                1.0 - after_warmup(from)
            }
        };
        self.floor + (self.peak - self.floor) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(shape: ScheduleShape) -> Vec<f64> {
        let settings = TrainSettings {
            schedule: shape,
            learning_rate: 1.0,
            warmup: 0.1,
            final_learning_rate: 0.1,
            ..TrainSettings::default()
        };
        let schedule = Schedule::new(&settings, 100);
        (0..100).map(|step| schedule.learning_rate(step)).collect()
    }

    fn is(rate: f64, expected: f64) {
        assert!((rate - expected).abs() < 1e-12, "{rate} is not {expected}");
    }

    #[test]
    fn each_shape_rises_to_the_peak_and_falls_to_the_floor() {
        for shape in [ScheduleShape::Cosine, ScheduleShape::Linear] {
            let rates = rates(shape);
            is(rates[0], 0.1);
            is(rates[9], 1.0);
            assert!(rates[..10].windows(2).all(|w| w[0] < w[1]));
            assert!(rates[10..].windows(2).all(|w| w[0] > w[1]), "{shape:?}");
            assert!(rates[99] > 0.1 && rates[99] < 0.12);
        }
        is(rates(ScheduleShape::Linear)[55], 0.55);
        is(rates(ScheduleShape::Cosine)[55], 0.55);
        is(rates(ScheduleShape::Cosine)[32], {
            0.1 + 0.9 * 0.5 * (1.0 + (std::f64::consts::PI * 22.0 / 90.0).cos())
        });
    }

    #[test]
    fn a_stable_rate_stays_at_its_peak_until_it_decays() {
        let shape = ScheduleShape::WarmupStableDecay { decay: 0.2 };
        let rates_of = rates(shape);
        assert!(
            rates_of[10..=80]
                .iter()
                .all(|rate| (rate - 1.0).abs() < 1e-12)
        );
        is(rates_of[90], 0.55);
        assert!(
            rates(ScheduleShape::Constant)[9..]
                .iter()
                .all(|rate| (rate - 1.0).abs() < 1e-12)
        );
    }
}
