//! The letter that a reply chooses.
//!
//! Read in this order, and only what is unambiguous: a letter alone (`B`, `(B)`, `**B**.`); the last
//! "answer: B", "answer is (B)" or `\boxed{B}`; a letter at the beginning with its mark (`B) because`); the text
//! of exactly one option; the only letter in brackets. Otherwise no letter was chosen, which is wrong.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;

use super::{Context, Direction, GENERATE, Metric, Rule, Setting, SettingKind, Unit};
use crate::{Sample, Score, metric::normalised_match::normalised};

#[cfg(test)]
mod tests;

pub(super) static METRIC: Metric = Metric {
    name: "multiple_choice",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies that choose the letter of the reference; a reply that chooses none, or several, is wrong",
    kinds: GENERATE,
    settings: &[
        Setting {
            name: CHOICES,
            kind: SettingKind::Text,
            required: false,
            description: "column with the list of option texts, so that a reply (or a reference) may name an option by its text",
        },
        Setting {
            name: "letters",
            kind: SettingKind::Text,
            required: false,
            description: "the letters of the options in order; ABCDEFGHIJ by default",
        },
    ],
    rule: Rule::Share(score),
};

/// The setting that names the column of the option texts.
pub(super) const CHOICES: &str = "choices";
const LETTERS: &str = "ABCDEFGHIJ";

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    let (reply, gold) = match sample.reply_and_gold() {
        Ok(both) => both,
        Err(unscored) => return unscored,
    };
    if let (Some(column), true) = (context.options.text(CHOICES), sample.choices.is_empty()) {
        return Score::unscored(format!(
            "column `{column}` of the row holds no list of texts"
        ));
    }
    let letters: Vec<char> = context
        .options
        .text("letters")
        .unwrap_or(LETTERS)
        .chars()
        .flat_map(char::to_uppercase)
        .collect();
    let offered = if sample.choices.is_empty() {
        letters.len()
    } else {
        letters.len().min(sample.choices.len())
    };
    let options = Options {
        letters: &letters[..offered],
        texts: &sample.choices,
    };
    match options.alone(gold).or_else(|| options.by_text(gold)) {
        None => Score::unscored("the reference is neither the letter nor the text of an option"),
        right => Score::right(options.chosen(reply) == right),
    }
}

struct Options<'a> {
    letters: &'a [char],
    texts: &'a [String],
}

impl Options<'_> {
    fn chosen(&self, reply: &str) -> Option<char> {
        self.alone(reply)
            .or_else(|| self.announced(reply))
            .or_else(|| self.leading(reply))
            .or_else(|| self.by_text(reply))
            .or_else(|| self.bracketed(reply))
    }

    fn letter(&self, text: &str) -> Option<char> {
        let mut characters = text.chars();
        let letter = characters.next()?.to_ascii_uppercase();
        (characters.next().is_none() && self.letters.contains(&letter)).then_some(letter)
    }

    /// Nothing but a letter and marks around it.
    fn alone(&self, text: &str) -> Option<char> {
        self.letter(text.trim_matches(|character: char| !character.is_alphanumeric()))
    }

    /// The last "answer: B", "answer is (B)", "choose option B".
    fn announced(&self, text: &str) -> Option<char> {
        static ANNOUNCED: LazyLock<Regex> = LazyLock::new(|| {
            let pattern = concat!(
                r"(?i:\b(?:answer|choice|option|choose)|\\boxed)(?i:\s+(?:is|are|option|choice))*",
                r"\s*[:=]?\s*[(\[{*_`$\\]*([A-Za-z])(?:[^A-Za-z0-9'\u{2019}]|$)",
            );
            Regex::new(pattern).expect("the pattern is valid")
        });
        ANNOUNCED
            .captures_iter(text)
            .filter_map(|found| {
                let letter = found.get(1)?;
                // In running text a small letter is a word: "the answer is a matter of taste".
                let sure = letter.as_str() != "a"
                    || text[letter.end()..].starts_with([')', ']', '}', '.']);
                sure.then(|| self.letter(letter.as_str())).flatten()
            })
            .last()
    }

    /// A letter at the beginning with the mark that follows it in a list: `B)`, `(B)`, `B.`, `B:`.
    fn leading(&self, text: &str) -> Option<char> {
        static LEADING: LazyLock<Regex> = LazyLock::new(|| {
            Regex::new(r"^\W*([A-Za-z])\*{0,2}(?:[).\]:]|\s+-)").expect("the pattern is valid")
        });
        self.letter(LEADING.captures(text)?.get(1)?.as_str())
    }

    /// The only option whose text the reply is, or else the only one whose text it holds.
    fn by_text(&self, text: &str) -> Option<char> {
        let text = normalised(text);
        let texts: Vec<(char, String)> = self
            .letters
            .iter()
            .copied()
            .zip(self.texts.iter().map(|text| normalised(text)))
            .filter(|(_, option)| !option.is_empty())
            .collect();
        let only = |holds: &dyn Fn(&str) -> bool| {
            let mut found = texts.iter().filter(|(_, option)| holds(option));
            match (found.next(), found.next()) {
                (Some((letter, _)), None) => Some(*letter),
                _ => None,
            }
        };
        only(&|option| option == text).or_else(|| only(&|option| holds_words(&text, option)))
    }

    /// The only letter that stands in brackets.
    fn bracketed(&self, text: &str) -> Option<char> {
        static BRACKETED: LazyLock<Regex> =
            LazyLock::new(|| Regex::new(r"[(\[]([A-Z])[)\]]").expect("the pattern is valid"));
        let letters: BTreeSet<char> = BRACKETED
            .captures_iter(text)
            .filter_map(|found| self.letter(found.get(1)?.as_str()))
            .collect();
        (letters.len() == 1)
            .then(|| letters.first().copied())
            .flatten()
    }
}

/// Whether the words stand in the text as words, not as parts of others.
fn holds_words(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(start, found)| {
        let before = text[..start].chars().next_back();
        let after = text[start + found.len()..].chars().next();
        ![before, after]
            .into_iter()
            .flatten()
            .any(char::is_alphanumeric)
    })
}
