//! Plausible mistakes of a classifier, drawn from the rows themselves.
//!
//! Each class is the centre of its rows in a space of weighted words and pairs of words. A row is
//! hard when another class is nearly as close as its own, and is mistaken for one of the nearest:
//! "where is my card" for "when does my card arrive", hardly ever for "exchange rate".

use std::collections::{BTreeSet, HashMap};

use super::{
    draw,
    gold::{GoldEntry, Mistake},
};

/// Classes among which a mistake is drawn.
const NEAREST: usize = 5;
/// How sharply the nearer are preferred: cosine differences of this size change the odds by *e*.
const TEMPERATURE: f64 = 0.05;

/// A row as weights by feature, of length one.
type Sparse = Vec<(usize, f64)>;

/// The mistake of each row.
pub(super) fn mistakes(entries: &[&GoldEntry], seed: u64) -> Vec<Mistake> {
    let classes: Vec<&str> = entries
        .iter()
        .map(|entry| entry.answer.as_str())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let class_of: HashMap<&str, usize> = classes
        .iter()
        .enumerate()
        .map(|(index, class)| (*class, index))
        .collect();
    let own: Vec<usize> = entries
        .iter()
        .map(|entry| class_of[entry.answer.as_str()])
        .collect();
    let (rows, features) = weighted(entries);
    let centres = Centres::new(&rows, &own, classes.len(), features);
    let mut similarity = vec![0.0; classes.len()];
    entries
        .iter()
        .zip(&rows)
        .zip(&own)
        .map(|((entry, row), &own)| {
            let own_similarity = centres.similarities(row, own, &mut similarity);
            mistake(entry, &classes, own, own_similarity, &similarity, seed)
        })
        .collect()
}

fn mistake(
    entry: &GoldEntry,
    classes: &[&str],
    own: usize,
    own_similarity: f64,
    similarity: &[f64],
    seed: u64,
) -> Mistake {
    let mut others: Vec<usize> = (0..classes.len()).filter(|&class| class != own).collect();
    others.sort_by(|&a, &b| similarity[b].total_cmp(&similarity[a]).then(a.cmp(&b)));
    others.truncate(NEAREST);
    let Some(&nearest) = others.first() else {
        // One class only: the other thing a model can do is to say something else.
        return Mistake {
            answer: "unknown".to_owned(),
            difficulty: 0.0,
        };
    };
    let odds: Vec<f64> = others
        .iter()
        .map(|&class| ((similarity[class] - similarity[nearest]) / TEMPERATURE).exp())
        .collect();
    let mut left =
        draw::uniform(seed, &[b"confusion", entry.prompt.as_bytes()]) * odds.iter().sum::<f64>();
    let chosen = odds
        .iter()
        .position(|odd| {
            left -= odd;
            left < 0.0
        })
        .unwrap_or_default();
    Mistake {
        answer: classes[others[chosen]].to_owned(),
        difficulty: similarity[nearest] - own_similarity,
    }
}

/// Rows as unit vectors of TF-IDF weights over words and pairs of words.
fn weighted(entries: &[&GoldEntry]) -> (Vec<Sparse>, usize) {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut rows_with: Vec<u32> = Vec::new();
    let counted: Vec<HashMap<usize, f64>> = entries
        .iter()
        .map(|entry| {
            let mut counts = HashMap::new();
            for term in terms(&entry.prompt) {
                let next = numbers.len();
                let number = *numbers.entry(term).or_insert(next);
                if number == rows_with.len() {
                    rows_with.push(0);
                }
                let count = counts.entry(number).or_insert(0.0);
                if *count == 0.0 {
                    rows_with[number] += 1;
                }
                *count += 1.0;
            }
            counts
        })
        .collect();
    let total = entries.len() as f64;
    let rows = counted
        .into_iter()
        .map(|counts| {
            let mut row: Sparse = counts
                .into_iter()
                .map(|(feature, count)| {
                    let rarity = ((1.0 + total) / (1.0 + f64::from(rows_with[feature]))).ln();
                    (feature, (1.0 + f64::ln(count)) * rarity)
                })
                .collect();
            // A map has no order of its own, and sums must not depend on one.
            row.sort_unstable_by_key(|&(feature, _)| feature);
            let length = row
                .iter()
                .map(|(_, weight)| weight * weight)
                .sum::<f64>()
                .sqrt();
            if length > 0.0 {
                for (_, weight) in &mut row {
                    *weight /= length;
                }
            }
            row
        })
        .collect();
    (rows, numbers.len())
}

fn terms(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let pairs = words.windows(2).map(|pair| pair.join(" "));
    words
        .iter()
        .map(|word| (*word).to_owned())
        .chain(pairs)
        .collect()
}

/// The sum of each class's rows, by feature.
struct Centres {
    by_feature: Vec<Vec<(usize, f64)>>,
    squared_length: Vec<f64>,
}

impl Centres {
    fn new(rows: &[Sparse], own: &[usize], classes: usize, features: usize) -> Self {
        let mut sums: Vec<HashMap<usize, f64>> = vec![HashMap::new(); features];
        for (row, &class) in rows.iter().zip(own) {
            for &(feature, weight) in row {
                *sums[feature].entry(class).or_default() += weight;
            }
        }
        let mut squared_length = vec![0.0; classes];
        let by_feature = sums
            .into_iter()
            .map(|sum| {
                let mut sum: Vec<(usize, f64)> = sum.into_iter().collect();
                sum.sort_unstable_by_key(|&(class, _)| class);
                for &(class, weight) in &sum {
                    squared_length[class] += weight * weight;
                }
                sum
            })
            .collect();
        Self {
            by_feature,
            squared_length,
        }
    }

    /// Writes the cosine of a row with every centre and returns that with its own, the row itself
    /// left out of it: in a small class it would be near itself alone.
    fn similarities(&self, row: &Sparse, own: usize, into: &mut [f64]) -> f64 {
        into.fill(0.0);
        for &(feature, weight) in row {
            for &(class, sum) in &self.by_feature[feature] {
                into[class] += weight * sum;
            }
        }
        let itself: f64 = row.iter().map(|(_, weight)| weight * weight).sum();
        let own_product = into[own];
        let rest = self.squared_length[own] - 2.0 * own_product + itself;
        for (product, squared) in into.iter_mut().zip(&self.squared_length) {
            if *squared > 0.0 {
                *product /= squared.sqrt();
            }
        }
        if rest > 1e-9 {
            (own_product - itself) / rest.sqrt()
        } else {
            0.0
        }
    }
}
