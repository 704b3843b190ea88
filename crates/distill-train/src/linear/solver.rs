//! Dual coordinate descent for the squared hinge (Hsieh et al., 2008), one label against the rest.
//!
//! For one label, with y = ±1, it minimises ½‖w‖² + C Σ max(0, 1 − y w·x)² by updating one dual
//! variable α at a time and keeping w = Σ y α x. Rows that stay at α = 0 with room to spare are set
//! aside (*shrinking*) and looked at again before the end.

use distill_student::linear::{FeatureSettings, LinearError, LinearStudent, SparseRow, Vectorizer};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::LinearTrainError;

/// Stop when the gradients of a pass differ by less.
const TOLERANCE: f64 = 0.1;
const MAX_PASSES: usize = 300;

/// Rows as features, ready to be solved at several costs.
pub(super) struct Problem<'a> {
    vectorizer: Vectorizer,
    pub(super) rows: Vec<SparseRow>,
    targets: Vec<usize>,
    labels: &'a [String],
}

impl<'a> Problem<'a> {
    /// Features are learnt from the rows named by `learn` alone.
    pub(super) fn new(
        features: FeatureSettings,
        texts: &[&str],
        targets: &[usize],
        learn: &[usize],
        labels: &'a [String],
    ) -> Result<Self, LinearTrainError> {
        let texts: Vec<&str> = learn.iter().map(|row| texts[*row]).collect();
        let vectorizer = Vectorizer::fit(features, &texts);
        if vectorizer.is_empty() {
            return Err(LinearTrainError::NoFeatures(features.min_rows));
        }
        let rows = texts
            .par_iter()
            .map(|text| vectorizer.transform(text))
            .collect();
        Ok(Self {
            vectorizer,
            rows,
            targets: learn.iter().map(|row| targets[*row]).collect(),
            labels,
        })
    }

    pub(super) fn train(&self, cost: f64, seed: u64) -> Result<LinearStudent, LinearError> {
        let classes = self.labels.len();
        let features = self.vectorizer.len();
        let machines: Vec<Machine> = (0..classes)
            .into_par_iter()
            .map(|class| self.machine(class, cost, seed))
            .collect();
        let mut weights = vec![0.0; features * classes];
        for (class, machine) in machines.iter().enumerate() {
            for (feature, weight) in machine.weights.iter().enumerate() {
                weights[feature * classes + class] = *weight;
            }
        }
        let bias = machines.iter().map(|machine| machine.bias).collect();
        LinearStudent::new(
            self.vectorizer.clone(),
            self.labels.to_vec(),
            &weights,
            bias,
        )
    }

    /// Solves one label against the rest. The bias is a weight on a feature that is always 1.
    pub(super) fn machine(&self, class: usize, cost: f64, seed: u64) -> Machine {
        let mut machine = Machine {
            weights: vec![0.0; self.vectorizer.len()],
            bias: 0.0,
        };
        let slack = 0.5 / cost;
        let curvature: Vec<f64> = self
            .rows
            .iter()
            .map(|row| {
                slack
                    + 1.0
                    + row
                        .entries()
                        .iter()
                        .map(|(_, x)| f64::from(x * x))
                        .sum::<f64>()
            })
            .collect();
        let sign = |row: usize| {
            if self.targets[row] == class {
                1.0
            } else {
                -1.0
            }
        };
        let mut alpha = vec![0.0_f64; self.rows.len()];
        let mut active: Vec<usize> = (0..self.rows.len()).collect();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(class as u64);
        let mut aside_above = f64::INFINITY;
        for _ in 0..MAX_PASSES {
            active.shuffle(&mut random);
            let (mut highest, mut lowest) = (f64::NEG_INFINITY, f64::INFINITY);
            let mut kept = Vec::with_capacity(active.len());
            for row in &active {
                let row = *row;
                let margin = f64::from(machine.score(&self.rows[row]));
                let gradient = sign(row) * margin - 1.0 + slack * alpha[row];
                let projected = if alpha[row] == 0.0 {
                    if gradient > aside_above {
                        continue;
                    }
                    gradient.min(0.0)
                } else {
                    gradient
                };
                kept.push(row);
                highest = highest.max(projected);
                lowest = lowest.min(projected);
                if projected.abs() > 1e-12 {
                    let before = alpha[row];
                    alpha[row] = (before - gradient / curvature[row]).max(0.0);
                    machine.add(&self.rows[row], (alpha[row] - before) * sign(row));
                }
            }
            let everything = kept.len() == self.rows.len() && active.len() == self.rows.len();
            active = kept;
            if highest - lowest <= TOLERANCE {
                if everything {
                    break;
                }
                active = (0..self.rows.len()).collect();
                aside_above = f64::INFINITY;
            } else {
                aside_above = if highest <= 0.0 {
                    f64::INFINITY
                } else {
                    highest
                };
            }
        }
        machine
    }
}

/// One label against the rest.
pub(super) struct Machine {
    pub(super) weights: Vec<f32>,
    bias: f32,
}

impl Machine {
    pub(super) fn score(&self, row: &SparseRow) -> f32 {
        row.entries().iter().fold(self.bias, |score, (feature, x)| {
            score + self.weights[*feature as usize] * x
        })
    }

    fn add(&mut self, row: &SparseRow, step: f64) {
        let step = step as f32;
        for (feature, x) in row.entries() {
            self.weights[*feature as usize] += step * x;
        }
        self.bias += step;
    }
}
