//! Finds near duplicates among many texts, all of them and no others.
//!
//! Two sets whose Jaccard index is at least `t` share a member among the rarest
//! `|x| - ceil(t |x|) + 1` of each (prefix filtering: Chaudhuri, Ganti and Kaushik 2006; Bayardo, Ma
//! and Srikant 2007). Only those are indexed and looked up, so frequent trigrams, which would bring
//! every text together with every other, are never looked at before a candidate is verified.

use std::collections::HashMap;

use super::NEAR_DUPLICATE;

/// A near duplicate that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Near {
    /// Position among the indexed sets.
    pub position: usize,
    /// Jaccard index, 0 to 1.
    pub similarity: f64,
}

/// Sets of trigrams, ready to be searched.
pub(super) struct NearIndex {
    /// How rare a trigram is among the indexed sets: 0 for the rarest.
    ranks: HashMap<u64, u32>,
    /// Of each set its trigrams' ranks, ascending; empty for a position that was left out.
    sets: Vec<Vec<u32>>,
    /// By the rank of a trigram, the sets that have it in their prefix.
    by_rank: HashMap<u32, Vec<u32>>,
}

impl NearIndex {
    /// `sets` holds each trigram once; `None` is never found.
    pub(super) fn new(sets: &[Option<Vec<u64>>]) -> Self {
        let mut counts: HashMap<u64, u32> = HashMap::new();
        for gram in sets.iter().flatten().flatten() {
            *counts.entry(*gram).or_default() += 1;
        }
        let mut order: Vec<(u32, u64)> = counts.into_iter().map(|(gram, n)| (n, gram)).collect();
        order.sort_unstable();
        let ranks: HashMap<u64, u32> = order.iter().map(|(_, gram)| *gram).zip(0..).collect();
        let sets: Vec<Vec<u32>> = sets
            .iter()
            .map(|set| {
                let grams = set.iter().flatten();
                let mut set: Vec<u32> = grams.map(|gram| ranks[gram]).collect();
                set.sort_unstable();
                set
            })
            .collect();
        let mut by_rank: HashMap<u32, Vec<u32>> = HashMap::new();
        for (position, set) in sets.iter().enumerate() {
            for rank in &set[..prefix(set.len())] {
                by_rank.entry(*rank).or_default().push(position as u32);
            }
        }
        Self {
            ranks,
            sets,
            by_rank,
        }
    }

    /// Ranks of the trigrams that any indexed set has, ascending.
    fn known(&self, grams: &[u64]) -> Vec<u32> {
        let mut known: Vec<u32> = grams
            .iter()
            .filter_map(|gram| self.ranks.get(gram).copied())
            .collect();
        known.sort_unstable();
        known
    }

    /// Positions that may be near duplicates of a set of `size` trigrams, ascending.
    fn candidates(&self, known: &[u32], size: usize) -> Vec<u32> {
        // Trigrams that no indexed set has are the rarest of all: they stand first in the prefix.
        let unknown = size - known.len();
        let looked_up = prefix(size).saturating_sub(unknown);
        let mut candidates: Vec<u32> = known[..looked_up.min(known.len())]
            .iter()
            .filter_map(|rank| self.by_rank.get(rank))
            .flatten()
            .copied()
            .collect();
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }

    /// The set that is most like `grams`, the first of them among equals; only positions for which
    /// `wanted` holds.
    pub(super) fn nearest(&self, grams: &[u64], wanted: impl Fn(usize) -> bool) -> Option<Near> {
        let known = self.known(grams);
        let candidates = self.candidates(&known, grams.len());
        let mut best: Option<Near> = None;
        for position in candidates.into_iter().map(|position| position as usize) {
            let set = &self.sets[position];
            let (small, large) = (set.len().min(grams.len()), set.len().max(grams.len()));
            if (small as f64) < NEAR_DUPLICATE * large as f64 || !wanted(position) {
                continue;
            }
            let both = shared(&known, set);
            let union = set.len() + grams.len() - both;
            let similarity = both as f64 / union as f64;
            if similarity >= NEAR_DUPLICATE && best.is_none_or(|best| similarity > best.similarity)
            {
                best = Some(Near {
                    position,
                    similarity,
                });
            }
        }
        best
    }
}

/// How many of a set's rarest members have to be looked at.
fn prefix(size: usize) -> usize {
    if size == 0 {
        return 0;
    }
    // A hair less than the product, so that rounding up cannot make the prefix too short.
    let least = (NEAR_DUPLICATE * size as f64 - 1e-9).ceil() as usize;
    size - least + 1
}

/// Members of both of two ascending lists.
fn shared(first: &[u32], second: &[u32]) -> usize {
    let (mut one, mut other, mut both) = (0, 0, 0);
    while let (Some(a), Some(b)) = (first.get(one), second.get(other)) {
        both += usize::from(a == b);
        one += usize::from(a <= b);
        other += usize::from(b <= a);
    }
    both
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, seq::SliceRandom};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Sets over a few common and many rare trigrams; every third is an earlier one, little changed.
    fn sets(count: usize, seed: u64) -> Vec<Option<Vec<u64>>> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut sets: Vec<Option<Vec<u64>>> = Vec::new();
        for index in 0..count {
            let mut set: Vec<u64> = if index % 3 == 2 {
                let mut set = sets[random.random_range(0..index)].clone().unwrap();
                set.shuffle(&mut random);
                set.truncate(set.len().max(4) - random.random_range(0..3));
                set.push(random.random_range(0..1 << 40));
                set
            } else {
                let size = random.random_range(3..30);
                (0..size)
                    .map(|_| {
                        if random.random_bool(0.4) {
                            random.random_range(0..20)
                        } else {
                            random.random_range(0..100_000)
                        }
                    })
                    .collect()
            };
            set.sort_unstable();
            set.dedup();
            sets.push(Some(set));
        }
        sets
    }

    #[test]
    fn finds_what_comparing_every_pair_finds() {
        let sets = sets(600, 5);
        let index = NearIndex::new(&sets);
        let mut found = 0;
        for (position, set) in sets.iter().enumerate() {
            let set = set.as_ref().unwrap();
            let mut best: Option<(usize, f64)> = None;
            for (other, earlier) in sets[..position].iter().enumerate() {
                let earlier = earlier.as_ref().unwrap();
                let both = set.iter().filter(|gram| earlier.contains(gram)).count();
                let similarity = both as f64 / (set.len() + earlier.len() - both) as f64;
                if similarity >= NEAR_DUPLICATE && best.is_none_or(|(_, known)| similarity > known)
                {
                    best = Some((other, similarity));
                }
            }
            let near = index.nearest(set, |other| other < position);
            assert_eq!(near.map(|near| (near.position, near.similarity)), best);
            found += usize::from(near.is_some());
        }
        assert!(found > 50, "{found}");
    }

    #[test]
    fn looks_at_few_of_many_texts_that_share_their_phrases() {
        // Three of four trigrams of every set are among the 50 that all sets draw from.
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let sets: Vec<Option<Vec<u64>>> = (0..5000u64)
            .map(|index| {
                let common = (0..12).map(|_| random.random_range(0..50));
                let mut set: Vec<u64> =
                    common.chain((0..4).map(|i| 1000 + index * 4 + i)).collect();
                set.sort_unstable();
                set.dedup();
                Some(set)
            })
            .collect();
        let index = NearIndex::new(&sets);
        let looked_at: usize = sets
            .iter()
            .flatten()
            .map(|set| index.candidates(&index.known(set), set.len()).len())
            .sum();
        // Each finds itself; comparing every pair would look at 5,000 each.
        assert!(looked_at < 3 * sets.len(), "{looked_at}");
    }
}
