//! The learning rate of each step: a linear rise, then a cosine.

use super::TrainSettings;

pub(super) struct Schedule {
    peak: f64,
    floor: f64,
    warmup: usize,
    steps: usize,
}

impl Schedule {
    pub(super) fn new(settings: &TrainSettings, steps: usize) -> Self {
        Self {
            peak: settings.learning_rate,
            floor: settings.learning_rate * settings.final_learning_rate,
            warmup: (steps as f64 * settings.warmup).ceil() as usize,
            steps,
        }
    }

    /// `step` counts from 0. The first step already moves, and so does the last one.
    pub(super) fn learning_rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let done = (step - self.warmup) as f64 / (self.steps - self.warmup).max(1) as f64;
        let share = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
        self.floor + (self.peak - self.floor) * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_peak_and_falls_to_the_floor() {
        let settings = TrainSettings {
            learning_rate: 1.0,
            warmup: 0.1,
            final_learning_rate: 0.1,
            ..TrainSettings::default()
        };
        let schedule = Schedule::new(&settings, 100);
        let rates: Vec<f64> = (0..100).map(|step| schedule.learning_rate(step)).collect();
        assert!((rates[0] - 0.1).abs() < 1e-12 && (rates[9] - 1.0).abs() < 1e-12);
        assert!(rates[..10].windows(2).all(|w| w[0] < w[1]));
        assert!(rates[10..].windows(2).all(|w| w[0] > w[1]));
        assert!(rates[99] > 0.1 && rates[99] < 0.11);
    }
}
