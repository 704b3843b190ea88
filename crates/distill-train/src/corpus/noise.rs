//! How people really type: casing, punctuation, abbreviations and slips of the finger.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{
    grammar::{chance, pick},
    slots::title,
};

const ABBREVIATIONS: [(&str, &str); 18] = [
    ("you", "u"),
    ("your", "ur"),
    ("please", "pls"),
    ("thanks", "thx"),
    ("because", "cos"),
    ("are", "r"),
    ("tomorrow", "tmrw"),
    ("received", "recieved"),
    ("receive", "recieve"),
    ("definitely", "definately"),
    ("and", "&"),
    ("don't", "dont"),
    ("can't", "cant"),
    ("i'd", "id"),
    ("doesn't", "doesnt"),
    ("won't", "wont"),
    ("it's", "its"),
    ("i'm", "im"),
];
const NEIGHBOURS: [(char, &str); 26] = [
    ('a', "sq"),
    ('b', "vn"),
    ('c', "xv"),
    ('d', "sf"),
    ('e', "wr"),
    ('f', "dg"),
    ('g', "fh"),
    ('h', "gj"),
    ('i', "uo"),
    ('j', "hk"),
    ('k', "jl"),
    ('l', "k"),
    ('m', "n"),
    ('n', "bm"),
    ('o', "ip"),
    ('p', "o"),
    ('q', "wa"),
    ('r', "et"),
    ('s', "ad"),
    ('t', "ry"),
    ('u', "yi"),
    ('v', "cb"),
    ('w', "qe"),
    ('x', "zc"),
    ('y', "tu"),
    ('z', "x"),
];
const PROPER: [&str; 24] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "january",
    "february",
    "april",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "london",
    "paris",
    "berlin",
    "france",
    "germany",
    "english",
    "french",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Casing {
    AsIs,
    Lower,
    Sentence,
    Upper,
}

/// One writer's habits, held for a whole message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hand {
    casing: Casing,
    /// Share of words that are mistyped.
    slips: f64,
    /// Share of abbreviable words that are abbreviated.
    abbreviates: f64,
    pub(super) punctuates: bool,
}

impl Hand {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self {
            casing: *pick(
                &[
                    Casing::AsIs,
                    Casing::AsIs,
                    Casing::AsIs,
                    Casing::Lower,
                    Casing::Lower,
                    Casing::Lower,
                    Casing::Lower,
                    Casing::Sentence,
                    Casing::Sentence,
                    Casing::Sentence,
                    Casing::Sentence,
                    Casing::Sentence,
                    Casing::Sentence,
                    Casing::Sentence,
                    Casing::Upper,
                ],
                rng,
            ),
            slips: *pick(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.02, 0.05, 0.12], rng),
            abbreviates: *pick(&[0.0, 0.0, 0.0, 0.0, 0.4, 0.8], rng),
            punctuates: chance(0.6, rng),
        }
    }

    /// The hand of somebody who makes no mistakes.
    pub(super) fn neat() -> Self {
        Self {
            casing: Casing::Sentence,
            slips: 0.0,
            abbreviates: 0.0,
            punctuates: true,
        }
    }

    /// The text as this hand types it. `starts` tells whether it opens a sentence.
    pub(super) fn write(self, text: &str, starts: bool, rng: &mut ChaCha8Rng) -> String {
        let mut words: Vec<String> = Vec::new();
        for word in text.split(' ') {
            let mut word = self.abbreviate(word, rng);
            if self.slips > 0.0 && chance(self.slips, rng) {
                word = slip(&word, rng);
            }
            words.push(self.cased(word));
        }
        let mut text = words.join(" ");
        if starts && self.casing == Casing::Sentence {
            text = title(&text);
        }
        text
    }

    /// A value as this hand types it: its letters may change case, nothing else.
    pub(super) fn write_value(self, value: &str, starts: bool) -> String {
        let words: Vec<String> = value
            .split(' ')
            .map(|word| self.cased(word.to_owned()))
            .collect();
        let text = words.join(" ");
        if starts && self.casing == Casing::Sentence {
            title(&text)
        } else {
            text
        }
    }

    fn abbreviate(self, word: &str, rng: &mut ChaCha8Rng) -> String {
        if self.abbreviates > 0.0
            && let Some((_, short)) = ABBREVIATIONS.iter().find(|(long, _)| *long == word)
            && chance(self.abbreviates, rng)
        {
            return (*short).to_owned();
        }
        word.to_owned()
    }

    fn cased(self, word: String) -> String {
        match self.casing {
            Casing::AsIs => word,
            Casing::Lower => word.to_lowercase(),
            Casing::Upper => word.to_uppercase(),
            Casing::Sentence => {
                if word == "i" || word.starts_with("i'") || PROPER.contains(&word.as_str()) {
                    title(&word)
                } else {
                    word
                }
            }
        }
    }
}

/// One slip of the finger; short words and words with digits stay.
fn slip(word: &str, rng: &mut ChaCha8Rng) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    if letters.len() < 4 || !letters.iter().all(char::is_ascii_lowercase) {
        return word.to_owned();
    }
    let at = rng.random_range(1..letters.len() - 1);
    match rng.random_range(0..5) {
        0 => letters.swap(at, at + 1),
        1 => {
            letters.remove(at);
        }
        2 => letters.insert(at, letters[at]),
        3 => {
            if let Some((_, near)) = NEIGHBOURS.iter().find(|(key, _)| *key == letters[at]) {
                let near: Vec<char> = near.chars().collect();
                letters[at] = *pick(&near, rng);
            }
        }
        _ => {
            if "aeiou".contains(letters[at]) {
                letters[at] = *pick(&['a', 'e', 'i', 'o', 'u'], rng);
            } else {
                letters.remove(at);
            }
        }
    }
    letters.into_iter().collect()
}
