//! What scorers of free text share: references, words, counts of n-grams.

use std::collections::HashMap;
use std::hash::Hash;

use super::Context;
use crate::{Sample, Score};

/// 1 when the reply holds against one of the row's references, else 0.
pub(super) fn right_by_any(
    sample: &Sample,
    context: &Context<'_>,
    holds: impl Fn(&str, &str) -> bool,
) -> Score {
    best(sample, context, |reply, reference| {
        f64::from(u8::from(holds(reply, reference)))
    })
}

/// The largest score of the reply against the row's references. Scores are 0 or more.
pub(super) fn best(
    sample: &Sample,
    context: &Context<'_>,
    score: impl Fn(&str, &str) -> f64,
) -> Score {
    match sample.reply_and_gold() {
        Ok((reply, gold)) => Score::Value(
            context
                .kind()
                .references(gold)
                .iter()
                .map(|reference| score(reply, reference))
                .fold(0.0, f64::max),
        ),
        Err(unscored) => unscored,
    }
}

/// Words between white space as Python's `str.split` finds them: the four ASCII separators count as
/// white space there, and not in Unicode's own property.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_python_space).filter(|word| !word.is_empty())
}

pub(super) fn is_python_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// How often each run of `order` items occurs.
pub(super) fn ngrams<T: Eq + Hash>(items: &[T], order: usize) -> HashMap<&[T], u64> {
    let mut counts = HashMap::new();
    for run in items.windows(order) {
        *counts.entry(run).or_default() += 1;
    }
    counts
}

/// How many n-grams two texts share, each as often as the text that has fewer of it.
pub(super) fn shared<T: Eq + Hash>(one: &HashMap<T, u64>, other: &HashMap<T, u64>) -> u64 {
    one.iter()
        .filter_map(|(ngram, count)| Some(*count.min(other.get(ngram)?)))
        .sum()
}

/// The harmonic mean of precision and recall; 0 where both are 0.
pub(super) fn harmonic_mean(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 {
        2.0 * precision * recall / (precision + recall)
    } else {
        0.0
    }
}
