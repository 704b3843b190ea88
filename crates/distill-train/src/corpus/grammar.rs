//! Expands patterns: `(one|two)`, `{field}`, `{phrase}`, `{slot}` and, in extraction, `[slot]`.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    lexicon::{Lexicon, split},
    slots,
};

/// An element of a list that is not empty.
pub(super) fn pick<'a, T>(list: &'a [T], rng: &mut ChaCha8Rng) -> &'a T {
    list.choose(rng).expect("the lexicon has no empty list")
}

/// A word of a list that is not empty.
pub(super) fn word<'a>(list: &[&'a str], rng: &mut ChaCha8Rng) -> &'a str {
    list.choose(rng).expect("the lexicon has no empty list")
}

/// True in `share` of the calls.
pub(super) fn chance(share: f64, rng: &mut ChaCha8Rng) -> bool {
    rng.random::<f64>() < share
}

/// An expanded clause with the value it carries: the text before it, the value, the text after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) before: String,
    pub(super) value: String,
    pub(super) after: String,
}

impl Lexicon {
    /// One reading of a pattern.
    pub(super) fn expand(&self, pattern: &str, rng: &mut ChaCha8Rng) -> String {
        let mut text = String::with_capacity(pattern.len() * 2);
        self.expand_into(pattern, rng, &mut text);
        text
    }

    /// One reading of a fragment that holds a `[slot]`.
    pub(super) fn clause(&self, fragment: &str, rng: &mut ChaCha8Rng) -> Clause {
        let (before, rest) = fragment.split_once('[').unwrap_or((fragment, ""));
        let (slot, after) = rest.split_once(']').unwrap_or((rest, ""));
        Clause {
            before: self.expand(before, rng),
            value: self.resolve(slot, rng),
            after: self.expand(after, rng),
        }
    }

    /// What a slot stands for this time.
    pub(super) fn resolve(&self, name: &str, rng: &mut ChaCha8Rng) -> String {
        if let Some(value) = slots::draw(self, name, rng) {
            value
        } else if let Some(variants) = self.phrases.get(name) {
            self.expand(word(variants, rng), rng)
        } else if let Some(words) = self.words(name) {
            (*pick(words, rng)).to_owned()
        } else {
            // A test walks the lexicon, so that no slot is left without a meaning.
            name.to_owned()
        }
    }

    fn expand_into(&self, pattern: &str, rng: &mut ChaCha8Rng, text: &mut String) {
        let mut rest = pattern;
        while let Some(at) = rest.find(['(', '{']) {
            text.push_str(&rest[..at]);
            rest = &rest[at..];
            if rest.starts_with('{') {
                let end = rest.find('}').unwrap_or(rest.len() - 1);
                let mut value = self.resolve(&rest[1..end], rng);
                rest = &rest[end + 1..];
                if let Some(after) = rest.strip_prefix('s')
                    && !after.starts_with(char::is_alphanumeric)
                {
                    value = plural(&value);
                    rest = after;
                }
                text.push_str(&value);
            } else {
                let end = closing(rest);
                let choice = *pick(&split(&rest[1..end], '|'), rng);
                self.expand_into(choice, rng, text);
                rest = &rest[(end + 1).min(rest.len())..];
            }
        }
        text.push_str(rest);
    }
}

/// Where the parenthesis that opens `text` closes.
fn closing(text: &str) -> usize {
    let mut depth = 0_u32;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 1 => return at,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The plural of an English noun, by the rules that need no list.
pub(super) fn plural(word: &str) -> String {
    if word.ends_with('s') && !word.ends_with("ss") {
        word.to_owned()
    } else if ["ss", "x", "ch", "sh", "z"]
        .iter()
        .any(|end| word.ends_with(end))
    {
        format!("{word}es")
    } else if let Some(stem) = word.strip_suffix('y')
        && !stem.ends_with(['a', 'e', 'i', 'o', 'u'])
    {
        format!("{stem}ies")
    } else {
        format!("{word}s")
    }
}
