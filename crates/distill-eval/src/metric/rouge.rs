//! ROUGE: overlap of n-grams, or of the longest common subsequence, between a reply and a reference.
//!
//! C.-Y. Lin, "ROUGE: a package for automatic evaluation of summaries", Text Summarization Branches
//! Out (2004), 74-81. The value is the F1 of precision and recall, without stemming.
//!
//! Two ways to find words. Unicode: runs of letters, marks and digits in lower case, and each
//! character of a script that writes no spaces (Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar)
//! for itself. ASCII: runs of `a-z0-9` in lower case and nothing else, as the Python package
//! `rouge_score` has it; it is blind to every other script.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    Context,
    text::{best, harmonic_mean, ngrams, shared},
};
use crate::{Sample, Score};

/// What counts as a word.
#[derive(Debug, Clone, Copy)]
pub(super) enum Words {
    Unicode,
    Ascii,
}

impl Words {
    fn of(self, text: &str) -> Vec<String> {
        static UNICODE: LazyLock<Regex> = LazyLock::new(|| {
            let unspaced = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}";
            let pattern = format!(
                r"[[{unspaced}]&&[\p{{L}}\p{{N}}]]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{unspaced}]]+"
            );
            Regex::new(&pattern).expect("the pattern is valid")
        });
        let lower = text.to_lowercase();
        match self {
            Self::Unicode => UNICODE
                .find_iter(&lower)
                .map(|word| word.as_str().to_owned())
                .collect(),
            Self::Ascii => lower
                .split(|character: char| !character.is_ascii_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

/// ROUGE-N: the F1 of n-grams of `order` words; of several references the best.
pub(super) fn rouge_n(sample: &Sample, context: &Context<'_>, words: Words, order: usize) -> Score {
    best(sample, context, |reply, reference| {
        let (reply, reference) = (words.of(reply), words.of(reference));
        let (reply, reference) = (ngrams(&reply, order), ngrams(&reference, order));
        let total = |counts: &std::collections::HashMap<_, u64>| counts.values().sum::<u64>();
        f1(shared(&reply, &reference), total(&reply), total(&reference))
    })
}

/// ROUGE-L over the whole text: the F1 of the longest common subsequence of words.
pub(super) fn rouge_l(sample: &Sample, context: &Context<'_>, words: Words) -> Score {
    best(sample, context, |reply, reference| {
        let (reply, reference) = (words.of(reply), words.of(reference));
        f1(
            longest_common_subsequence(&reply, &reference) as u64,
            reply.len() as u64,
            reference.len() as u64,
        )
    })
}

fn f1(shared: u64, reply: u64, reference: u64) -> f64 {
    let share = |of: u64| {
        if of > 0 {
            shared as f64 / of as f64
        } else {
            0.0
        }
    };
    harmonic_mean(share(reply), share(reference))
}

fn longest_common_subsequence(one: &[String], other: &[String]) -> usize {
    let mut row = vec![0; other.len() + 1];
    for item in one {
        let mut diagonal = 0;
        for (place, candidate) in other.iter().enumerate() {
            let above = row[place + 1];
            row[place + 1] = if item == candidate {
                diagonal + 1
            } else {
                above.max(row[place])
            };
            diagonal = above;
        }
    }
    row[other.len()]
}
