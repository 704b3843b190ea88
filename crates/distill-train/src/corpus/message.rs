//! Messages that people write in a situation, and the names that a label may go by.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    grammar::{chance, pick, plural, word},
    lexicon::{Field, Lexicon, PartOfSpeech, Situation},
    noise::Hand,
    slots::title,
};

/// Frames for a sentence that is about a field because of its words. `#` is a word.
const NOUN_FRAMES: [&str; 14] = [
    "have you seen the # and the #",
    "we talked about # and # for {duration}",
    "there was a # next to a #",
    "my {family} knows all about #s",
    "i dreamt of a {big} #",
    "{given} has a {colours} # and a #",
    "which # is {good}",
    "what is the use of a # without a #",
    "a #, a # and a # please",
    "{given} wrote about the # {ago}",
    "is a # {expensive}",
    "i can't stop thinking about the #",
    "#s and #s",
    "the # again, and then the #",
];
const VERB_FRAMES: [&str; 6] = [
    "{iwant} # it {soon}",
    "why did {given} # and # like that",
    "please # the {goods}",
    "they # and # all day",
    "did you # it {ago}",
    "my {family} will # {soon}",
];
const ADJECTIVE_FRAMES: [&str; 6] = [
    "the {goods} is # and #",
    "it was so #",
    "what a # {parts of day}",
    "{given} looked # {ago}",
    "my {goods} seems #",
    "a # {city places} in {cities}",
];

/// How label names are written in one conversation.
#[derive(Debug, Clone, Copy)]
pub(super) enum LabelStyle {
    Snake,
    Spaced,
    Title,
    Kebab,
}

impl LabelStyle {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        match rng.random_range(0..10) {
            0..6 => Self::Snake,
            6..8 => Self::Spaced,
            8 => Self::Title,
            _ => Self::Kebab,
        }
    }

    pub(super) fn write(self, label: &str) -> String {
        match self {
            Self::Snake => label.replace(' ', "_"),
            Self::Spaced => label.to_owned(),
            Self::Title => title(label),
            Self::Kebab => label.replace(' ', "-"),
        }
    }
}

impl Lexicon {
    /// What somebody in this situation may write, without habits of typing.
    pub(super) fn plain_message(&self, situation: &Situation, rng: &mut ChaCha8Rng) -> String {
        let core = self.expand(word(&situation.patterns, rng), rng);
        match rng.random_range(0..20) {
            0..2 => format!(
                "{core}. {}",
                self.expand(word(&situation.patterns, rng), rng)
            ),
            2 => format!("{}. {core}", self.resolve("aside", rng)),
            3 => format!("{core}. {}", self.resolve("aside", rng)),
            4 => format!("{core}, {}", self.resolve("angry", rng)),
            5 => format!("{core}, {}", self.resolve("calm", rng)),
            6 => format!("{} {core}", self.resolve("filler", rng)),
            _ => core,
        }
    }

    /// What somebody in this situation may write.
    pub(super) fn message(&self, situation: &Situation, rng: &mut ChaCha8Rng) -> String {
        let core = self.plain_message(situation, rng);
        self.dressed(&core, rng)
    }

    /// A greeting, a farewell, an end mark and one writer's typing around a text.
    pub(super) fn dressed(&self, core: &str, rng: &mut ChaCha8Rng) -> String {
        let hand = Hand::draw(rng);
        let mut text = String::new();
        if chance(0.15, rng) {
            text.push_str(&hand.write(&self.resolve("open", rng), true, rng));
            text.push_str(if hand.punctuates { ", " } else { " " });
        }
        text.push_str(&hand.write(core, text.is_empty(), rng));
        if hand.punctuates {
            text.push(if asks(core) {
                '?'
            } else {
                *pick(&['.', '.', '!'], rng)
            });
        }
        if chance(0.12, rng) {
            text.push(' ');
            text.push_str(&hand.write(&self.resolve("close", rng), hand.punctuates, rng));
        }
        text
    }

    /// A sentence that is about a field because of its words.
    pub(super) fn field_sentence(&self, field: &Field, rng: &mut ChaCha8Rng) -> String {
        let frame = match field.part {
            PartOfSpeech::Noun => *pick(&NOUN_FRAMES, rng),
            PartOfSpeech::Verb => *pick(&VERB_FRAMES, rng),
            PartOfSpeech::Adjective => *pick(&ADJECTIVE_FRAMES, rng),
        };
        let mut text = String::new();
        let mut parts = frame.split('#').peekable();
        while let Some(part) = parts.next() {
            let (part, cut) = part
                .strip_prefix('s')
                .filter(|rest| !text.is_empty() && !rest.starts_with(char::is_alphanumeric))
                .map_or((part, false), |rest| (rest, true));
            if cut && let Some(at) = text.rfind(' ').map(|at| at + 1).or(Some(0)) {
                let last = plural(&text[at..]);
                text.truncate(at);
                text.push_str(&last);
            }
            text.push_str(&self.expand(part, rng));
            if parts.peek().is_some() {
                text.push_str(word(&field.words, rng));
            }
        }
        text
    }

    /// `count` situations: of one domain where that has enough of them and `close` is set.
    pub(super) fn situations_around(
        &self,
        count: usize,
        close: bool,
        rng: &mut ChaCha8Rng,
    ) -> Vec<&Situation> {
        let domain = rng.random_range(0..self.domains.len());
        let near: Vec<&Situation> = self
            .situations
            .iter()
            .filter(|situation| !close || situation.domain == domain)
            .collect();
        let mut chosen: Vec<&Situation> = near.choose_multiple(rng, count).copied().collect();
        while chosen.len() < count {
            let extra = pick(&self.situations, rng);
            if !chosen.iter().any(|known| std::ptr::eq(*known, extra)) {
                chosen.push(extra);
            }
        }
        chosen
    }
}

fn asks(text: &str) -> bool {
    const WORDS: [&str; 18] = [
        "how", "what", "when", "where", "why", "who", "which", "is", "are", "do", "does", "can",
        "could", "may", "did", "will", "would", "am",
    ];
    text.split(' ')
        .next()
        .is_some_and(|first| WORDS.contains(&first))
}
