//! chrF of the whole set, as sacreBLEU computes it.
//!
//! M. Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015; "chrF++:
//! words helping character n-grams", WMT 2017. Characters are Unicode scalar values, white space is
//! left out, case is kept, n-grams go up to 6 characters, recall counts twice (beta 2).

use std::{collections::HashMap, hash::Hash};

use super::{
    Context, Corpus, Direction, GENERATE, Metric, Rule, Setting, SettingKind, Unit, has_reference,
    text::{is_python_space, ngrams, shared, words},
};
use crate::{Sample, Statistic};

pub(super) static METRIC: Metric = Metric {
    name: "chrf",
    unit: Unit::Score0To100,
    direction: Direction::Higher,
    description: "corpus chrF2 as sacreBLEU: F2 of up to 6-grams of characters, white space left out",
    kinds: GENERATE,
    settings: SETTINGS,
    rule: Rule::Corpus(Corpus {
        scorable: has_reference,
        statistic,
    }),
};

pub(super) const SETTINGS: &[Setting] = &[Setting {
    name: "word_order",
    kind: SettingKind::Count,
    required: false,
    description: "longest n-gram of words beside those of characters: 0 (default) is chrF, 2 is chrF++",
}];

/// The longest n-gram of characters.
const CHARACTER_ORDERS: usize = 6;
/// How much recall counts against precision.
const BETA: f64 = 2.0;

fn statistic(samples: &[&Sample], context: &Context<'_>) -> Box<dyn Statistic> {
    Box::new(CorpusChrf(
        samples
            .iter()
            .filter_map(|sample| {
                let (reply, gold) = sample.reply_and_gold().ok()?;
                let references = context.kind().references(gold);
                Some(Matches::count(reply, &references, word_order(context)))
            })
            .collect(),
    ))
}

pub(super) fn word_order(context: &Context<'_>) -> usize {
    context.options.number("word_order").unwrap_or(0.0) as usize
}

struct CorpusChrf(Vec<Matches>);

impl Statistic for CorpusChrf {
    fn samples(&self) -> usize {
        self.0.len()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        if weights.iter().all(|weight| *weight == 0) {
            return None;
        }
        let mut sum = Matches(vec![Order::default(); self.0.first()?.0.len()]);
        for (matches, weight) in self.0.iter().zip(weights) {
            sum.add(matches, u64::from(*weight));
        }
        Some(sum.f_score())
    }
}

/// N-grams of one order: said, in the reference, in both.
#[derive(Debug, Clone, Copy, Default)]
struct Order {
    reply: u64,
    reference: u64,
    shared: u64,
}

/// All that chrF depends on, by order: characters first, then words. Adds up over segments.
#[derive(Debug, Clone)]
pub(super) struct Matches(Vec<Order>);

impl Matches {
    /// Against the reference that gives the best score, the first among equals.
    pub(super) fn count<T: AsRef<str>>(reply: &str, references: &[T], word_order: usize) -> Self {
        let reply = Text::new(reply);
        let mut best: Option<(f64, Self)> = None;
        for reference in references {
            let matches = Self::between(&reply, &Text::new(reference.as_ref()), word_order);
            let score = matches.f_score();
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, matches));
            }
        }
        best.map_or_else(|| Self(Vec::new()), |(_, matches)| matches)
    }

    fn between(reply: &Text<'_>, reference: &Text<'_>, word_order: usize) -> Self {
        let characters = (1..=CHARACTER_ORDERS).map(|order| {
            Order::between(
                &ngrams(&reply.characters, order),
                &ngrams(&reference.characters, order),
            )
        });
        let words = (1..=word_order).map(|order| {
            Order::between(
                &ngrams(&reply.words, order),
                &ngrams(&reference.words, order),
            )
        });
        Self(characters.chain(words).collect())
    }

    fn add(&mut self, other: &Self, weight: u64) {
        for (order, other) in self.0.iter_mut().zip(&other.0) {
            order.reply += weight * other.reply;
            order.reference += weight * other.reference;
            order.shared += weight * other.shared;
        }
    }

    /// 0 to 100: precision and recall are means over the orders that both texts are long enough for.
    pub(super) fn f_score(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0);
        for order in &self.0 {
            if order.reply > 0 && order.reference > 0 {
                precision += order.shared as f64 / order.reply as f64;
                recall += order.shared as f64 / order.reference as f64;
                orders += 1;
            }
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / f64::from(orders), recall / f64::from(orders));
        let factor = BETA * BETA;
        100.0 * (1.0 + factor) * precision * recall / (factor * precision + recall)
    }
}

impl Order {
    fn between<T: Eq + Hash>(reply: &HashMap<T, u64>, reference: &HashMap<T, u64>) -> Self {
        let in_reference = reference.values().sum();
        Self {
            // What no reference is long enough to answer is held against nobody.
            reply: if in_reference > 0 {
                reply.values().sum()
            } else {
                0
            },
            reference: in_reference,
            shared: shared(reply, reference),
        }
    }
}

struct Text<'a> {
    characters: Vec<char>,
    words: Vec<&'a str>,
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            characters: text
                .chars()
                .filter(|character| !is_python_space(*character))
                .collect(),
            words: words(text).flat_map(without_outer_mark).collect(),
        }
    }
}

/// A word and the punctuation mark at its end, or else at its beginning, as two: "(hi)" is "(hi" and
/// ")".
fn without_outer_mark(word: &str) -> impl Iterator<Item = &str> {
    let is_mark = |character: char| character.is_ascii_punctuation();
    let split = match (word.chars().next(), word.chars().next_back()) {
        (Some(first), Some(_)) if first.len_utf8() == word.len() => None,
        (_, Some(last)) if is_mark(last) => Some(word.len() - 1),
        (Some(first), _) if is_mark(first) => Some(1),
        _ => None,
    };
    let (one, other) = split.map_or((word, None), |place| {
        let (one, other) = word.split_at(place);
        (one, Some(other))
    });
    std::iter::once(one).chain(other)
}
