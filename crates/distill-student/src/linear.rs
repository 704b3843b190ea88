//! The smallest student: hashed n-grams and a softmax. It answers in microseconds, weighs kilobytes
//! and is the floor that a decoder has to beat.
//!
//! Score of a label = bias + Σ over the text's n-grams of tf-idf × weight. Weights are kept in eight
//! bits with one scale an n-gram; [`LinearStudent::new`] does the rounding, so what is measured after
//! training is what is stored and served. The probability of a label is the softmax of the scores
//! times a sharpness that training fits on rows it did not learn from.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

mod features;
mod files;
#[cfg(test)]
mod tests;

pub use features::{FeatureSettings, MAX_TEXT_BYTES, SparseRow, Vectorizer};

/// Largest weight in eight bits.
const QUANTA: f32 = 127.0;

/// Why a linear student cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum LinearError {
    #[error("a linear student needs at least two labels, not {0}")]
    TooFewLabels(usize),
    #[error("label `{0}` is listed twice")]
    RepeatedLabel(String),
    #[error("the weights of the linear student cannot be read: {0}")]
    Malformed(String),
    #[error("tensor `{name}` of the linear student is {found}, expected {expected}")]
    Shape {
        name: &'static str,
        found: String,
        expected: String,
    },
    #[error("tensor `{name}` of the linear student holds a value that is not a finite number")]
    NotFinite { name: &'static str },
    #[error("the settings of the linear student do not hold: {0}")]
    Settings(String),
}

/// Everything about a linear student but its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearSettings {
    pub features: FeatureSettings,
    /// In the order of the weights' columns.
    pub labels: Vec<String>,
    /// Scores are multiplied by this before the softmax (the inverse of a temperature).
    pub sharpness: f64,
}

/// A label and how sure the student is of it.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearPrediction {
    /// Index into [`LinearStudent::labels`].
    pub label: usize,
    /// Calibrated probability of that label, in 0..=1.
    pub probability: f64,
}

/// A trained classifier of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearStudent {
    settings: LinearSettings,
    vectorizer: Vectorizer,
    /// Feature-major: all labels of feature 0, then of feature 1.
    weights: Vec<i8>,
    /// One a feature.
    scales: Vec<f32>,
    /// One a label.
    bias: Vec<f32>,
}

impl LinearStudent {
    /// Rounds trained weights. `weights` is feature-major with one row of `labels.len()` values a
    /// feature of `vectorizer`.
    pub fn new(
        vectorizer: Vectorizer,
        labels: Vec<String>,
        weights: &[f32],
        bias: Vec<f32>,
    ) -> Result<Self, LinearError> {
        let classes = labels.len();
        let expected = vectorizer.len() * classes;
        if weights.len() != expected || bias.len() != classes {
            return Err(LinearError::Shape {
                name: "weights",
                found: format!("{} with {} biases", weights.len(), bias.len()),
                expected: format!("{expected} with {classes} biases"),
            });
        }
        if weights.iter().chain(&bias).any(|value| !value.is_finite()) {
            return Err(LinearError::NotFinite { name: "weights" });
        }
        let mut quantised = Vec::with_capacity(weights.len());
        let mut scales = Vec::with_capacity(vectorizer.len());
        for row in weights.chunks_exact(classes.max(1)) {
            let largest = row
                .iter()
                .fold(0.0_f32, |largest, value| largest.max(value.abs()));
            let scale = largest / QUANTA;
            scales.push(scale);
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            quantised.extend(row.iter().map(|value| (value * inverse).round() as i8));
        }
        let student = Self {
            settings: LinearSettings {
                features: *vectorizer.settings(),
                labels,
                sharpness: 1.0,
            },
            vectorizer,
            weights: quantised,
            scales,
            bias,
        };
        student.check_labels()?;
        Ok(student)
    }

    /// Sets what scores are multiplied by before the softmax.
    #[must_use]
    pub fn with_sharpness(mut self, sharpness: f64) -> Self {
        self.settings.sharpness = sharpness;
        self
    }

    pub fn labels(&self) -> &[String] {
        &self.settings.labels
    }

    pub fn settings(&self) -> &LinearSettings {
        &self.settings
    }

    /// Number of n-grams that have weights.
    pub fn feature_count(&self) -> usize {
        self.vectorizer.len()
    }

    /// The most probable label of a text. Ties go to the label listed first.
    pub fn predict(&self, text: &str) -> LinearPrediction {
        let scores = self.scores(text);
        let mut best = 0;
        for (label, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = label;
            }
        }
        let sharpness = self.settings.sharpness;
        let total: f64 = scores
            .iter()
            .map(|score| ((f64::from(*score) - f64::from(scores[best])) * sharpness).exp())
            .sum();
        LinearPrediction {
            label: best,
            probability: 1.0 / total,
        }
    }

    /// [`LinearStudent::predict`] for many texts, on all cores, in their order.
    pub fn predict_batch<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Vec<LinearPrediction> {
        texts
            .par_iter()
            .map(|text| self.predict(text.as_ref()))
            .collect()
    }

    /// One score a label, before sharpness and softmax.
    pub fn scores(&self, text: &str) -> Vec<f32> {
        let classes = self.bias.len();
        let mut scores = self.bias.clone();
        for (feature, value) in self.vectorizer.transform(text).entries() {
            let feature = *feature as usize;
            let value = value * self.scales[feature];
            let row = &self.weights[feature * classes..(feature + 1) * classes];
            for (score, weight) in scores.iter_mut().zip(row) {
                *score += value * f32::from(*weight);
            }
        }
        scores
    }

    fn check_labels(&self) -> Result<(), LinearError> {
        let labels = self.labels();
        if labels.len() < 2 {
            return Err(LinearError::TooFewLabels(labels.len()));
        }
        let mut sorted: Vec<&String> = labels.iter().collect();
        sorted.sort();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(LinearError::RepeatedLabel(pair[0].clone())),
            None => Ok(()),
        }
    }
}
