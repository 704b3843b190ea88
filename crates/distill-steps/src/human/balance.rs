//! From rows that were not drawn evenly to rows that stand for all.

use std::collections::{BTreeMap, BTreeSet};

use distill_eval::{Score, ScoredRow};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Each test row's chance of having been labelled by a person, and which rows were.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Design {
    /// Of every row of the test set, 0 to 1; 0 for a row that had no chance.
    pub inclusion: BTreeMap<String, f64>,
    pub labelled: BTreeSet<String>,
}

/// What one arm said to one row, and what that is worth where a person answered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered<'a> {
    pub id: &'a str,
    /// In canonical text; `None` where there is none.
    pub answer: Option<&'a str>,
    /// Against the person's answer; unscored where there is none.
    pub score: Score,
}

/// Two arms on rows that can be taken for a random sample of all rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Balanced {
    pub candidate: Vec<ScoredRow>,
    pub baseline: Vec<ScoredRow>,
    /// Rows that a person answered.
    pub labelled: usize,
    /// Rows on which both gave the same answer and nobody was asked: equal, right or wrong.
    pub equal: usize,
    /// The share of all rows that these stand for.
    pub rate: f64,
}

impl Design {
    /// A design in which every row had the same chance.
    pub fn even(ids: &[String], labelled: BTreeSet<String>) -> Self {
        let known = ids.iter().filter(|id| labelled.contains(*id)).count();
        let chance = known as f64 / ids.len().max(1) as f64;
        Self {
            inclusion: ids.iter().map(|id| (id.clone(), chance)).collect(),
            labelled,
        }
    }

    /// Whether every row was labelled: then no row needs a weight.
    pub fn is_whole(&self) -> bool {
        self.inclusion.keys().all(|id| self.labelled.contains(id))
    }

    /// Whether every row had the same chance, as far as is known.
    pub fn is_even(&self) -> bool {
        let mut chances = self.inclusion.values();
        let first = chances.next();
        chances.all(|chance| Some(chance) == first)
    }

    /// Labelled rows that can be taken for a random sample of all rows: each is kept with the
    /// chance that makes up for how likely it was to be labelled. For figures of one arm.
    pub fn even_rows(&self, seed: u64) -> BTreeSet<String> {
        let Some(rate) = self.least_inclusion(self.inclusion.keys()) else {
            return BTreeSet::new();
        };
        self.labelled
            .iter()
            .filter(|id| self.is_kept(id, rate, seed))
            .cloned()
            .collect()
    }

    /// Makes a random sample of all rows for the comparison of two arms.
    ///
    /// On rows to which both gave the same answer they are equal, whether a person was asked or not.
    /// So only the rows on which they differ thin the sample out: of these the labelled ones are
    /// kept, each with the chance that makes up for its inclusion, so that all have the same one
    /// (*the rate*), and beside them stands the same share of the rows on which the two agree. What
    /// comes out is what labelling a random share of all rows would have given, and every paired
    /// test holds for it. Rows that were equal without a label count as right in the share that the
    /// labelled ones are, which changes neither difference nor test.
    ///
    /// `None` when a row on which they differ had no chance of being labelled, or the two are not
    /// about the same rows in the same order: then the labels say nothing about the pair.
    pub fn balance(
        &self,
        candidate: &[Answered<'_>],
        baseline: &[Answered<'_>],
        seed: u64,
    ) -> Option<Balanced> {
        if candidate.len() != baseline.len() {
            return None;
        }
        let (mut differ, mut agree) = (Vec::new(), Vec::new());
        for (mine, theirs) in candidate.iter().zip(baseline) {
            if mine.id != theirs.id {
                return None;
            }
            if mine.answer.is_some() && mine.answer == theirs.answer {
                agree.push((mine, theirs));
            } else {
                differ.push((mine, theirs));
            }
        }
        let rate = if differ.is_empty() {
            1.0
        } else {
            self.least_inclusion(differ.iter().map(|(mine, _)| mine.id))?
        };
        let mut balanced = Balanced {
            candidate: Vec::new(),
            baseline: Vec::new(),
            labelled: 0,
            equal: 0,
            rate,
        };
        for (mine, theirs) in differ {
            if self.labelled.contains(mine.id) && self.is_kept(mine.id, rate, seed) {
                balanced.labelled += 1;
                balanced.push(mine.id, mine.score.clone(), theirs.score.clone());
            }
        }
        self.add_equals(&mut balanced, agree, seed);
        Some(balanced)
    }

    /// The share of the agreeing rows that belongs beside the differing ones.
    fn add_equals(
        &self,
        balanced: &mut Balanced,
        agree: Vec<(&Answered<'_>, &Answered<'_>)>,
        seed: u64,
    ) {
        let level = self.level(agree.iter().map(|(mine, _)| *mine));
        let mut drawn: Vec<(f64, (&Answered<'_>, &Answered<'_>))> = agree
            .into_iter()
            .map(|pair| (chance(pair.0.id, seed), pair))
            .collect();
        drawn.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.0.id.cmp(other.1.0.id)));
        let agree: Vec<_> = drawn.into_iter().map(|(_, pair)| pair).collect();
        let keep = (balanced.rate * agree.len() as f64).floor() as usize;
        let asked = |answered: &Answered<'_>| self.labelled.contains(answered.id);
        let unasked = agree[..keep]
            .iter()
            .filter(|(mine, _)| !asked(mine))
            .count();
        let right = (level * unasked as f64).round() as usize;
        for (mine, theirs) in agree.into_iter().take(keep) {
            if asked(mine) {
                balanced.labelled += 1;
                balanced.push(mine.id, mine.score.clone(), theirs.score.clone());
            } else {
                let score = Score::Value(if balanced.equal < right { 1.0 } else { 0.0 });
                balanced.equal += 1;
                balanced.push(mine.id, score.clone(), score);
            }
        }
    }

    /// The weighted mean score of the labelled rows; 1 where there is none, which no difference
    /// depends on.
    fn level<'a>(&self, rows: impl Iterator<Item = &'a Answered<'a>>) -> f64 {
        let (mut sum, mut weights) = (0.0, 0.0);
        for row in rows {
            let inclusion = self.inclusion.get(row.id).copied().unwrap_or(0.0);
            if let (true, Score::Value(value)) = (inclusion > 0.0, &row.score) {
                sum += value / inclusion;
                weights += 1.0 / inclusion;
            }
        }
        if weights > 0.0 { sum / weights } else { 1.0 }
    }

    /// The least chance among these rows; `None` when one of them had none.
    fn least_inclusion(&self, ids: impl Iterator<Item = impl AsRef<str>>) -> Option<f64> {
        let mut least = f64::INFINITY;
        for id in ids {
            least = least.min(self.inclusion.get(id.as_ref()).copied().unwrap_or(0.0));
        }
        (least > 0.0 && least.is_finite()).then_some(least)
    }

    fn is_kept(&self, id: &str, rate: f64, seed: u64) -> bool {
        let inclusion = self.inclusion.get(id).copied().unwrap_or(0.0);
        inclusion > 0.0 && chance(id, seed) < rate / inclusion
    }
}

impl Balanced {
    fn push(&mut self, id: &str, candidate: Score, baseline: Score) {
        let row = |score| ScoredRow {
            id: id.to_owned(),
            score,
        };
        self.candidate.push(row(candidate));
        self.baseline.push(row(baseline));
    }
}

/// A number in [0, 1) of a row: the same whichever arms are compared.
fn chance(id: &str, seed: u64) -> f64 {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(id.as_bytes());
    let digest = hash.finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
}
