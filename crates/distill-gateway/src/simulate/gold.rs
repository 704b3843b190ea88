//! The gold table, and for each row the answer that a model would give when it errs.
//!
//! Which rows are answered wrong is decided by rank: rows are ordered by how hard they are, with
//! some chance in it, and a model of accuracy *a* errs on the first share *1 − a*. So the realised
//! share is the set one to a row, and a weaker model errs wherever a stronger one does.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{confusion, draw, extraction, free_text};
use crate::request_hash::hex;

/// Above so many different answers they are taken for free text, not for the labels of a set.
const MOST_CLASSES: usize = 500;

/// A message and its right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldEntry {
    /// The last user message, as a task renders it.
    pub prompt: String,
    pub answer: String,
}

/// What a row would be answered wrong, and how likely that is.
pub(super) struct Mistake {
    pub(super) answer: String,
    /// Larger is harder; only the order counts.
    pub(super) difficulty: f64,
}

#[derive(Debug)]
struct Row {
    right: String,
    wrong: String,
    /// Place in the order of difficulty, hardest first.
    rank: usize,
}

/// Answers by message.
#[derive(Debug)]
pub(super) struct GoldTable {
    rows: HashMap<[u8; 32], Row>,
}

impl GoldTable {
    /// A table without rows, of a provider that improvises.
    pub(super) fn empty() -> Self {
        Self {
            rows: HashMap::new(),
        }
    }

    /// Reads a table. Of rows with equal messages the first counts: a model cannot tell them apart.
    pub(super) fn new(entries: &[GoldEntry], seed: u64, noise: f64) -> Result<Self, String> {
        let mut first = HashMap::with_capacity(entries.len());
        let mut distinct = Vec::with_capacity(entries.len());
        for entry in entries {
            first.entry(key(&entry.prompt)).or_insert_with(|| {
                distinct.push(entry);
                distinct.len() - 1
            });
        }
        if distinct.is_empty() {
            return Err("the gold table has no rows".to_owned());
        }
        let objects: Option<Vec<Map<String, Value>>> = distinct
            .iter()
            .map(|entry| serde_json::from_str(&entry.answer).ok())
            .collect();
        let mistakes = match objects {
            Some(objects) => extraction::mistakes(&distinct, &objects, seed),
            None if distinct_answers(&distinct) > MOST_CLASSES => {
                free_text::mistakes(&distinct, seed)
            }
            None => confusion::mistakes(&distinct, seed),
        };
        let ranks = ranks(&distinct, &mistakes, seed, noise);
        let mut rows: Vec<Option<Row>> = distinct
            .iter()
            .zip(mistakes)
            .zip(ranks)
            .map(|((entry, mistake), rank)| {
                Some(Row {
                    right: entry.answer.clone(),
                    wrong: mistake.answer,
                    rank,
                })
            })
            .collect();
        let rows = first
            .into_iter()
            .map(|(key, index)| (key, rows[index].take().expect("each row has one key")))
            .collect();
        Ok(Self { rows })
    }

    /// The answer of a model of this accuracy; `None` for a message that is not in the table.
    pub(super) fn answer(&self, prompt: &str, accuracy: f64) -> Option<&str> {
        let row = self.rows.get(&key(prompt))?;
        let wrong = ((1.0 - accuracy) * self.rows.len() as f64).round() as usize;
        Some(if row.rank < wrong {
            &row.wrong
        } else {
            &row.right
        })
    }

    /// What this model does not answer: the mistake where it is right, else the right answer.
    pub(super) fn other_answer(&self, prompt: &str, accuracy: f64) -> Option<&str> {
        let row = self.rows.get(&key(prompt))?;
        let given = self.answer(prompt, accuracy)?;
        Some(if given == row.right {
            &row.wrong
        } else {
            &row.right
        })
    }

    /// The right answer to a message.
    pub(super) fn right(&self, prompt: &str) -> Option<&str> {
        Some(&self.rows.get(&key(prompt))?.right)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

fn distinct_answers(entries: &[&GoldEntry]) -> usize {
    let answers: HashSet<&str> = entries.iter().map(|entry| entry.answer.as_str()).collect();
    answers.len()
}

fn key(prompt: &str) -> [u8; 32] {
    // A template may leave white space at the ends that a client takes off.
    Sha256::digest(prompt.trim().as_bytes()).into()
}

/// The place of each row in the order of difficulty plus chance, hardest first.
fn ranks(entries: &[&GoldEntry], mistakes: &[Mistake], seed: u64, noise: f64) -> Vec<usize> {
    let count = mistakes.len() as f64;
    let mean = mistakes
        .iter()
        .map(|mistake| mistake.difficulty)
        .sum::<f64>()
        / count;
    let variance = mistakes
        .iter()
        .map(|mistake| (mistake.difficulty - mean).powi(2))
        .sum::<f64>()
        / count;
    let spread = if variance > 0.0 { variance.sqrt() } else { 1.0 };
    let scores: Vec<f64> = entries
        .iter()
        .zip(mistakes)
        .map(|(entry, mistake)| {
            let chance = draw::normal(seed, &[b"difficulty", entry.prompt.as_bytes()]);
            (mistake.difficulty - mean) / spread + noise * chance
        })
        .collect();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| {
        scores[b]
            .total_cmp(&scores[a])
            .then_with(|| entries[a].prompt.cmp(&entries[b].prompt))
    });
    let mut ranks = vec![0; order.len()];
    for (rank, index) in order.into_iter().enumerate() {
        ranks[index] = rank;
    }
    ranks
}

/// A digest of the table, in its order: of rows with equal messages the first counts.
pub(super) fn digest(entries: &[GoldEntry]) -> String {
    let mut hash = Sha256::new();
    for entry in entries {
        for part in [&entry.prompt, &entry.answer] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests;
