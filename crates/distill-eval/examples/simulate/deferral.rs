//! Whether a cascade keeps to the risk that it was given.

use distill_eval::cascade::choose_threshold;
use rand::Rng;

use crate::{
    coverage::CONFIDENCE,
    study::{Limit, Study, Table, percent},
};

/// A student whose stated confidence is uniform, and how often it is wrong at each.
struct Student {
    name: &'static str,
    wrong: fn(f64) -> f64,
    /// Confidences are stated in so many steps; `None` is any number.
    steps: Option<u32>,
}

const STUDENTS: [Student; 6] = [
    Student {
        name: "wrong where unsure",
        wrong: |confidence| 0.6 * (1.0 - confidence).powi(3) + 0.002,
        steps: None,
    },
    Student {
        name: "often wrong",
        wrong: |confidence| 0.35 * (1.0 - confidence).powi(2) + 0.005,
        steps: None,
    },
    Student {
        name: "confidence says little",
        wrong: |confidence| 0.04 + 0.03 * (1.0 - confidence),
        steps: None,
    },
    Student {
        name: "confidence says nothing, risk just above",
        wrong: |_| 0.0501,
        steps: None,
    },
    Student {
        name: "wrong where surest",
        wrong: |confidence| if confidence > 0.9 { 0.12 } else { 0.03 },
        steps: None,
    },
    Student {
        name: "ten steps of confidence",
        wrong: |confidence| 0.3 * (1.0 - confidence).powi(2) + 0.01,
        steps: Some(10),
    },
];

impl Student {
    fn stated(&self, confidence: f64) -> f64 {
        self.steps.map_or(confidence, |steps| {
            (confidence * f64::from(steps)).floor() / f64::from(steps)
        })
    }

    /// The share of wrong answers above a threshold, over all confidences there are.
    fn risk_above(&self, threshold: f64) -> f64 {
        let cells = 4000;
        let (mut wrong, mut answered) = (0.0, 0.0);
        for cell in 0..cells {
            let (low, high) = (
                f64::from(cell) / f64::from(cells),
                f64::from(cell + 1) / f64::from(cells),
            );
            // A cell that the threshold cuts counts in part; steps lie on the edges of cells.
            let from = if self.steps.is_some() {
                if self.stated(f64::midpoint(low, high)) >= threshold {
                    low
                } else {
                    high
                }
            } else {
                low.max(threshold)
            };
            if from < high {
                answered += high - from;
                wrong += (high - from) * (self.wrong)(f64::midpoint(from, high));
            }
        }
        wrong / answered
    }
}

pub(crate) fn table(study: &Study) -> Table {
    let mut table = Table::new(
        "Cascade: the risk asked for is kept",
        "kept",
        format!(
            "A threshold chosen on n calibration rows at confidence {CONFIDENCE}; kept when the true share of wrong answers above it is within the risk, or when no threshold was chosen. The note is the mean share answered, and that of the best threshold if the truth were known."
        ),
    );
    for student in &STUDENTS {
        for (n, risk) in [(200, 0.05), (500, 0.05), (1000, 0.05), (500, 0.1)] {
            let cell = format!("{}, n {n}, risk {risk}", student.name);
            let [kept, answered] = study.means(&format!("cascade {cell}"), |generator, _| {
                let rows: Vec<(f64, bool)> = (0..n)
                    .map(|_| {
                        let confidence: f64 = generator.random();
                        let wrong = generator.random_bool((student.wrong)(confidence));
                        (student.stated(confidence), !wrong)
                    })
                    .collect();
                choose_threshold(&rows, risk, CONFIDENCE).map_or([1.0, 0.0], |found| {
                    let kept = student.risk_above(found.raw) <= risk;
                    [
                        f64::from(u8::from(kept)),
                        found.answered as f64 / found.n as f64,
                    ]
                })
            });
            let best = (0..1000)
                .map(|step| f64::from(step) / 1000.0)
                .find(|threshold| student.risk_above(*threshold) <= risk)
                .map_or(0.0, |threshold| 1.0 - threshold);
            let note = format!("answers {} of {}", percent(answered), percent(best));
            table.add(study, &cell, kept, Limit::AtLeast(0.95), note);
        }
    }
    table
}
