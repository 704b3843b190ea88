//! Overlap of words without regard to their order, as `SQuAD` v1.1 scores spans of text.
//!
//! P. Rajpurkar, J. Zhang, K. Lopyrev, P. Liang, "`SQuAD`: 100,000+ questions for machine
//! comprehension of text", EMNLP 2016, arXiv:1606.05250.

use std::{collections::HashMap, sync::LazyLock};

use regex::Regex;

use super::{
    Context, Direction, GENERATE, Metric, Rule, Unit,
    text::{best, harmonic_mean, shared, words},
};
use crate::{Sample, Score};

pub(super) static METRIC: Metric = Metric {
    name: "token_f1",
    unit: Unit::Score0To1,
    direction: Direction::Higher,
    description: "mean F1 of the bag of words, as SQuAD v1.1: lower case, ASCII punctuation and the articles a, an, the removed; two texts without a word share nothing",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Mean(score),
};

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    best(sample, context, f1)
}

fn f1(reply: &str, reference: &str) -> f64 {
    let (reply, reference) = (normalised(reply), normalised(reference));
    let (reply, reference) = (bag(&reply), bag(&reference));
    let same = shared(&reply, &reference) as f64;
    let share_of = |bag: &HashMap<&str, u64>| {
        let size: u64 = bag.values().sum();
        if size > 0 { same / size as f64 } else { 0.0 }
    };
    harmonic_mean(share_of(&reply), share_of(&reference))
}

fn normalised(text: &str) -> String {
    static ARTICLES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\b(?:an?|the)\b").expect("the pattern is valid"));
    let bare: String = text
        .to_lowercase()
        .chars()
        .filter(|character| !character.is_ascii_punctuation())
        .collect();
    ARTICLES.replace_all(&bare, " ").into_owned()
}

fn bag(text: &str) -> HashMap<&str, u64> {
    let mut counts = HashMap::new();
    for word in words(text) {
        *counts.entry(word).or_default() += 1;
    }
    counts
}
