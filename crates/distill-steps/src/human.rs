//! Answers of people to test rows: which rows are worth asking a person about, the file that keeps
//! the answers, and what the verdict makes of rows that were not drawn evenly.
//!
//! **The draw.** Two models that give one answer to a row are equally right on it, whatever the right
//! answer is: for their difference only the rows on which they differ need a person. So rows are
//! drawn from three strata: those on which a student and the teacher *differ*, those on which they
//! agree and somebody was *in doubt* (low confidence, a judge's tie), and the *rest*. A share of the
//! draw ([`EVEN_SHARE`]) goes over all rows evenly, so that every row has a chance; what is left goes
//! to the first stratum until it is exhausted, then to the next. Within a stratum rows are drawn
//! evenly and without replacement, so that a row's chance of being labelled (its *inclusion*) is the
//! stratum's labelled rows over its rows, and is written beside every row of the test set.
//!
//! **The verdict** must not take such rows for a random sample: see [`Design::balance`], which makes
//! one of them, and [`Design::even_rows`].
//!
//! Stratified sampling and its weights: W. G. Cochran, "Sampling Techniques" (1977), chapter 5;
//! choosing what to label by the disagreement of models and weighting it back: T. Zrnic,
//! E. J. Candès, "Active statistical inference" (2024).

use std::collections::{BTreeMap, BTreeSet};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

mod balance;
mod file;
mod signals;
#[cfg(test)]
mod tests;

pub use balance::{Answered, Balanced, Design};
pub use file::{LabelRow, Labels, Sheet, read_labels, read_sheet, write_labels, write_sheet};
pub use signals::{Signals, signals};

/// Share of a draw that goes over all rows evenly.
pub const EVEN_SHARE: f64 = 0.3;

/// Why a row may be worth a person's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stratum {
    /// Labelled before this draw: in it for certain.
    Known,
    /// A student and the teacher gave different answers.
    Differ,
    /// They agree, and a student was not sure or a judge saw a tie.
    Doubt,
    Rest,
}

impl Stratum {
    pub fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Differ => "differ",
            Self::Doubt => "doubt",
            Self::Rest => "rest",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Known, Self::Differ, Self::Doubt, Self::Rest]
            .into_iter()
            .find(|stratum| stratum.name() == name)
    }

    /// Those that are drawn from, the most worth first.
    const DRAWN: [Self; 3] = [Self::Differ, Self::Doubt, Self::Rest];
}

/// A row and its place in the draw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub id: String,
    pub stratum: Stratum,
    /// In the order in which people are asked; `None` for a row that was not drawn.
    pub order: Option<usize>,
}

/// Draws `count` rows for people, without those in `known`, which were labelled before and count as
/// certain. Gives every row its stratum, in the order of `ids`. The order of asking is random, so
/// that whoever stops early has still answered an even part of each stratum.
pub fn draw(
    ids: &[String],
    signals: &Signals,
    known: &BTreeSet<String>,
    count: usize,
    seed: u64,
) -> Vec<Placed> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut strata: BTreeMap<Stratum, Vec<usize>> = BTreeMap::new();
    let mut placed: Vec<Placed> = ids
        .iter()
        .enumerate()
        .map(|(index, id)| {
            let stratum = if known.contains(id) {
                Stratum::Known
            } else {
                signals.stratum(id)
            };
            strata.entry(stratum).or_default().push(index);
            Placed {
                id: id.clone(),
                stratum,
                order: None,
            }
        })
        .collect();
    let sizes = Stratum::DRAWN.map(|stratum| strata.get(&stratum).map_or(0, Vec::len));
    let mut drawn = Vec::new();
    for (stratum, share) in Stratum::DRAWN.into_iter().zip(allocate(sizes, count)) {
        let rows = strata.entry(stratum).or_default();
        rows.shuffle(&mut random);
        drawn.extend(rows.iter().take(share).copied());
    }
    drawn.shuffle(&mut random);
    for (order, index) in drawn.into_iter().enumerate() {
        placed[index].order = Some(order);
    }
    placed
}

/// How many rows of each stratum are drawn: first the even part, at least one row of each stratum
/// that has any, then the rest in order of worth.
fn allocate(sizes: [usize; 3], count: usize) -> [usize; 3] {
    let all: usize = sizes.iter().sum();
    let count = count.min(all);
    if count == 0 {
        return [0; 3];
    }
    let even = EVEN_SHARE * count as f64;
    let mut shares = sizes.map(|size| {
        let share = even * size as f64 / all as f64;
        (share.ceil() as usize).min(size)
    });
    // With fewer rows to draw than strata there are, the first strata keep theirs.
    while shares.iter().sum::<usize>() > count {
        if let Some(last) = shares.iter_mut().rev().find(|share| **share > 0) {
            *last -= 1;
        }
    }
    let mut left = count - shares.iter().sum::<usize>();
    for (share, size) in shares.iter_mut().zip(sizes) {
        let more = left.min(size - *share);
        *share += more;
        left -= more;
    }
    shares
}
