//! BLEU of the whole set, as sacreBLEU computes it.
//!
//! K. Papineni, S. Roukos, T. Ward, W.-J. Zhu, "BLEU: a method for automatic evaluation of machine
//! translation", ACL 2002; the settings are those of M. Post, "A call for clarity in reporting BLEU
//! scores", WMT 2018, arXiv:1804.08771: n-grams up to 4 words, tokens of `mteval-v13a`, exponential
//! smoothing (B. Chen, C. Cherry, "A systematic comparison of smoothing techniques for sentence-level
//! BLEU", WMT 2014, method 3), case kept.

use std::{collections::HashMap, sync::LazyLock};

use regex::Regex;

use super::{
    Context, Corpus, Direction, GENERATE, Metric, Rule, Unit, has_reference,
    text::{is_python_space, ngrams, shared, words},
};
use crate::{Sample, Statistic};

pub(super) static METRIC: Metric = Metric {
    name: "bleu",
    unit: Unit::Score0To100,
    direction: Direction::Higher,
    description: "corpus BLEU as sacreBLEU: up to 4-grams, tokenizer 13a, exponential smoothing, case kept",
    kinds: GENERATE,
    settings: &[],
    rule: Rule::Corpus(Corpus {
        scorable: has_reference,
        statistic,
    }),
};

/// The longest n-gram.
const ORDERS: usize = 4;

fn statistic(samples: &[&Sample], context: &Context<'_>) -> Box<dyn Statistic> {
    Box::new(CorpusBleu(
        samples
            .iter()
            .filter_map(|sample| {
                let (reply, gold) = sample.reply_and_gold().ok()?;
                Some(Matches::count(reply, &context.kind().references(gold)))
            })
            .collect(),
    ))
}

struct CorpusBleu(Vec<Matches>);

impl Statistic for CorpusBleu {
    fn samples(&self) -> usize {
        self.0.len()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        if weights.iter().all(|weight| *weight == 0) {
            return None;
        }
        let mut sum = Matches::default();
        for (matches, weight) in self.0.iter().zip(weights) {
            sum.add(matches, u64::from(*weight));
        }
        Some(sum.bleu(false))
    }
}

/// All that BLEU depends on; adds up over segments.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Matches {
    /// N-grams of the reply that a reference has, by order from 1.
    correct: [u64; ORDERS],
    total: [u64; ORDERS],
    reply_words: u64,
    /// Of the reference nearest in length, the shorter one among equals.
    reference_words: u64,
}

impl Matches {
    pub(super) fn count<T: AsRef<str>>(reply: &str, references: &[T]) -> Self {
        let reply = tokens(reply);
        let reply: Vec<&str> = words(&reply).collect();
        let references: Vec<String> = references
            .iter()
            .map(|reference| tokens(reference.as_ref()))
            .collect();
        let references: Vec<Vec<&str>> = references
            .iter()
            .map(|reference| words(reference).collect())
            .collect();
        let length = reply.len();
        let nearest = references
            .iter()
            .map(Vec::len)
            .min_by_key(|words| (words.abs_diff(length), *words));
        let mut matches = Self {
            reply_words: length as u64,
            reference_words: nearest.unwrap_or(0) as u64,
            ..Self::default()
        };
        for order in 1..=ORDERS {
            let mut allowed: HashMap<&[&str], u64> = HashMap::new();
            for reference in &references {
                for (ngram, count) in ngrams(reference, order) {
                    let most = allowed.entry(ngram).or_default();
                    *most = count.max(*most);
                }
            }
            let said = ngrams(&reply, order);
            matches.correct[order - 1] = shared(&said, &allowed);
            matches.total[order - 1] = said.values().sum();
        }
        matches
    }

    fn add(&mut self, other: &Self, weight: u64) {
        for order in 0..ORDERS {
            self.correct[order] += weight * other.correct[order];
            self.total[order] += weight * other.total[order];
        }
        self.reply_words += weight * other.reply_words;
        self.reference_words += weight * other.reference_words;
    }

    /// 0 to 100. With `effective_order` the mean is over the orders that the reply is long enough
    /// for, as sentences are scored; without it a reply of fewer than 4 words is worth nothing.
    pub(super) fn bleu(&self, effective_order: bool) -> f64 {
        if self.correct.iter().all(|correct| *correct == 0) {
            return 0.0;
        }
        let orders = self.total.iter().take_while(|total| **total > 0).count();
        if orders < ORDERS && !effective_order {
            return 0.0;
        }
        let mut smoothing = 1.0;
        let mut logarithms = 0.0;
        for (correct, total) in self.correct.iter().zip(&self.total).take(orders) {
            let precision = if *correct == 0 {
                smoothing *= 2.0;
                100.0 / (smoothing * *total as f64)
            } else {
                100.0 * *correct as f64 / *total as f64
            };
            logarithms += precision.ln();
        }
        self.brevity_penalty() * (logarithms / orders as f64).exp()
    }

    fn brevity_penalty(&self) -> f64 {
        if self.reply_words >= self.reference_words {
            1.0
        } else if self.reply_words == 0 {
            0.0
        } else {
            (1.0 - self.reference_words as f64 / self.reply_words as f64).exp()
        }
    }
}

/// The text with a space around each token of `mteval-v13a`.
fn tokens(text: &str) -> String {
    static RULES: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
        [
            // ASCII punctuation stands alone, but for the apostrophe and what the next rules split.
            (r"[ -~&&[^0-9A-Za-z'.,-]]", " $0 "),
            // A stop or comma belongs to a number only between two digits.
            (r"([^0-9])([.,])", "$1 $2 "),
            (r"([.,])([^0-9])", " $1 $2"),
            (r"([0-9])(-)", "$1 $2 "),
        ]
        .map(|(pattern, to)| (Regex::new(pattern).expect("the pattern is valid"), to))
    });
    let mut text = text
        .trim_end_matches(is_python_space)
        .replace("<skipped>", "")
        .replace("-\n", "")
        .replace('\n', " ");
    for (entity, character) in [
        ("&quot;", "\""),
        ("&amp;", "&"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ] {
        text = text.replace(entity, character);
    }
    RULES
        .iter()
        .fold(format!(" {text} "), |text, (pattern, to)| {
            pattern.replace_all(&text, *to).into_owned()
        })
}
