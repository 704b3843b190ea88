//! Text to a sparse row: word n-grams and character n-grams, hashed, weighted by tf-idf.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// A longer text is read up to here, so that no request costs more than milliseconds.
pub const MAX_TEXT_BYTES: usize = 64 << 10;

/// Which n-grams count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSettings {
    /// Words in a row: 1 up to this; 0 for none.
    pub max_words: usize,
    /// Shortest and longest character n-gram; `[1, 0]` for none.
    pub characters: [usize; 2],
    /// Character n-grams stop at the borders of words (which count as a space).
    pub within_words: bool,
    /// 1 + ln(count) in place of the count.
    pub sublinear: bool,
    /// An n-gram counts when it occurs in at least so many training rows.
    pub min_rows: u32,
}

impl Default for FeatureSettings {
    fn default() -> Self {
        Self {
            max_words: 2,
            characters: [2, 4],
            within_words: true,
            sublinear: true,
            min_rows: 2,
        }
    }
}

/// Features of one text: (index, value), ascending by index. Words and characters each have length
/// one when they have any known n-gram.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SparseRow(Vec<(u32, f32)>);

impl SparseRow {
    pub fn entries(&self) -> &[(u32, f32)] {
        &self.0
    }
}

/// The n-grams of a training set with their weights.
#[derive(Debug, Clone)]
pub struct Vectorizer {
    settings: FeatureSettings,
    /// Ascending; the position is the feature's index.
    hashes: Vec<u32>,
    idf: Vec<f32>,
    index: HashMap<u32, u32, BuildHasherDefault<AlreadyHashed>>,
}

impl PartialEq for Vectorizer {
    fn eq(&self, other: &Self) -> bool {
        (&self.settings, &self.hashes, &self.idf) == (&other.settings, &other.hashes, &other.idf)
    }
}

/// The lowest bit of a hash tells the two kinds of n-gram apart, so that each can be normalised.
const CHARACTER_BIT: u32 = 1;

impl Vectorizer {
    /// Learns the n-grams of `texts`.
    pub fn fit<T: AsRef<str> + Sync>(settings: FeatureSettings, texts: &[T]) -> Self {
        let rows: Vec<Vec<u32>> = texts
            .par_iter()
            .map(|text| {
                let mut hashes = ngrams(settings, text.as_ref());
                hashes.sort_unstable();
                hashes.dedup();
                hashes
            })
            .collect();
        let mut frequency: HashMap<u32, u32, BuildHasherDefault<AlreadyHashed>> =
            HashMap::default();
        for hash in rows.iter().flatten() {
            *frequency.entry(*hash).or_default() += 1;
        }
        let mut kept: Vec<(u32, u32)> = frequency
            .into_iter()
            .filter(|(_, rows)| *rows >= settings.min_rows)
            .collect();
        kept.sort_unstable();
        let total = 1.0 + texts.len() as f64;
        let idf = kept
            .iter()
            .map(|(_, rows)| ((total / (1.0 + f64::from(*rows))).ln() + 1.0) as f32)
            .collect();
        Self::from_parts(
            settings,
            kept.into_iter().map(|(hash, _)| hash).collect(),
            idf,
        )
    }

    /// `hashes` ascend strictly and are as many as `idf`.
    pub(super) fn from_parts(settings: FeatureSettings, hashes: Vec<u32>, idf: Vec<f32>) -> Self {
        let index = hashes.iter().copied().zip(0..).collect();
        Self {
            settings,
            hashes,
            idf,
            index,
        }
    }

    pub fn settings(&self) -> &FeatureSettings {
        &self.settings
    }

    pub(super) fn hashes(&self) -> &[u32] {
        &self.hashes
    }

    pub(super) fn idf(&self) -> &[f32] {
        &self.idf
    }

    /// Number of features.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Features of a text; n-grams that training did not see are left out.
    pub fn transform(&self, text: &str) -> SparseRow {
        let mut found: Vec<u32> = ngrams(self.settings, text)
            .iter()
            .filter_map(|hash| self.index.get(hash).copied())
            .collect();
        found.sort_unstable();
        let mut row: Vec<(u32, f32)> = Vec::with_capacity(found.len());
        let mut squares = [0.0_f32; 2];
        for same in found.chunk_by(|a, b| a == b) {
            let feature = same[0];
            let count = same.len() as f32;
            let count = if self.settings.sublinear {
                1.0 + count.ln()
            } else {
                count
            };
            let value = count * self.idf[feature as usize];
            squares[self.kind(feature)] += value * value;
            row.push((feature, value));
        }
        for (feature, value) in &mut row {
            *value /= squares[self.kind(*feature)].sqrt();
        }
        SparseRow(row)
    }

    fn kind(&self, feature: u32) -> usize {
        (self.hashes[feature as usize] & CHARACTER_BIT) as usize
    }
}

/// Hashes of every n-gram of a text, one an occurrence.
fn ngrams(settings: FeatureSettings, text: &str) -> Vec<u32> {
    let text = &text[..text.floor_char_boundary(MAX_TEXT_BYTES)];
    let text = text.to_lowercase();
    let mut hashes = Vec::with_capacity(text.len() * 4);
    let words: Vec<&str> = text
        .split(|character: char| !(character.is_alphanumeric() || character == '_'))
        .filter(|word| !word.is_empty())
        .collect();
    for length in 1..=settings.max_words {
        for run in words.windows(length) {
            let mut hash = Fnv::new();
            for word in run {
                hash.add(word.as_bytes());
                hash.add(b" ");
            }
            hashes.push(hash.finish() & !CHARACTER_BIT);
        }
    }
    if settings.within_words {
        for word in text.split_whitespace() {
            character_ngrams(settings, word, &mut hashes);
        }
    } else {
        let spaced: Vec<&str> = text.split_whitespace().collect();
        character_ngrams(settings, &spaced.join(" "), &mut hashes);
    }
    hashes
}

/// N-grams of ` text `.
fn character_ngrams(settings: FeatureSettings, text: &str, hashes: &mut Vec<u32>) {
    let padded = format!(" {text} ");
    let borders: Vec<usize> = padded
        .char_indices()
        .map(|(at, _)| at)
        .chain([padded.len()])
        .collect();
    let [shortest, longest] = settings.characters;
    for length in shortest..=longest {
        for ends in borders.windows(length + 1) {
            let mut hash = Fnv::new();
            hash.add(&padded.as_bytes()[ends[0]..ends[length]]);
            hashes.push(hash.finish() | CHARACTER_BIT);
        }
    }
}

/// FNV-1a of 64 bits, folded to 32: the same on every platform and in every version.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u32 {
        (self.0 >> 32) as u32 ^ self.0 as u32
    }
}

/// Keys are hashes already; spreading them by one multiplication is enough.
#[derive(Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = u64::from(value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
