//! The text that the embedded base model learns from, made by a generator.
//!
//! Sample `n` is a function of the seed and `n` alone, so the corpus is never held and a run that
//! was interrupted goes on where it was. Words, patterns, labels and schemas are the data files in
//! `corpus/lexicon/`; they were written for this generator and share no rows, labels or templates
//! with any pipeline or eval (`tests` measures the overlap).
//!
//! Start reading at [`Corpus::sample`].

mod classify;
mod exercises;
mod extract;
mod grammar;
mod lexicon;
mod message;
mod noise;
mod prose;
mod slots;

use distill_chat::Message;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use lexicon::Lexicon;

/// One text of the corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sample {
    /// A conversation; the assistant's turns are the answers to learn.
    Chat(Vec<Message>),
    /// Running text.
    Prose(String),
}

/// How often each kind of sample comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mix {
    /// A little of everything, much of it text.
    Broad,
    /// Mostly what a narrow job will ask: naming a message, choosing a label, copying into JSON.
    Narrow,
}

enum Kind {
    Chat(fn(&Lexicon, &mut ChaCha8Rng) -> Vec<Message>),
    Prose,
}

impl Mix {
    /// Kinds with their shares in percent.
    fn shares(self) -> &'static [(u32, Kind)] {
        match self {
            Self::Broad => &[
                (24, Kind::Chat(classify::situation)),
                (9, Kind::Chat(classify::topic)),
                (4, Kind::Chat(classify::domain)),
                (6, Kind::Chat(classify::reverse)),
                (3, Kind::Chat(classify::same_meaning)),
                (28, Kind::Chat(extract::form)),
                (14, Kind::Chat(exercises::exercise)),
                (12, Kind::Prose),
            ],
            Self::Narrow => &[
                (24, Kind::Chat(classify::naming)),
                (17, Kind::Chat(classify::situation)),
                (5, Kind::Chat(classify::topic)),
                (3, Kind::Chat(classify::domain)),
                (5, Kind::Chat(classify::reverse)),
                (33, Kind::Chat(extract::form)),
                (10, Kind::Chat(exercises::exercise)),
                (3, Kind::Prose),
            ],
        }
    }
}

/// The generator.
#[derive(Debug)]
pub struct Corpus {
    lexicon: Lexicon,
    seed: u64,
}

impl Corpus {
    pub fn new(seed: u64) -> Self {
        Self {
            lexicon: Lexicon::load(),
            seed,
        }
    }

    /// The sample with this number.
    pub fn sample(&self, mix: Mix, number: u64) -> Sample {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(number);
        let (lexicon, rng) = (&self.lexicon, &mut rng);
        let mut at = rng.random_range(0..100);
        for (share, kind) in mix.shares() {
            if at < *share {
                return match kind {
                    Kind::Prose => Sample::Prose(prose::passage(lexicon, rng)),
                    Kind::Chat(make) => Sample::Chat(make(lexicon, rng)),
                };
            }
            at -= share;
        }
        Sample::Prose(prose::passage(lexicon, rng))
    }

    /// Every name that a label of the corpus may go by, in its plain form.
    pub fn label_names(&self) -> Vec<&'static str> {
        let situations = self
            .lexicon
            .situations
            .iter()
            .flat_map(|situation| &situation.labels);
        let fields = self.lexicon.fields.iter().flat_map(|field| &field.names);
        situations
            .chain(fields)
            .chain(&self.lexicon.domains)
            .copied()
            .collect()
    }

    /// Every list of keys that an extraction of the corpus may ask for, by its schema.
    pub fn schema_keys(&self) -> Vec<Vec<&'static str>> {
        let keys = |schema: &lexicon::Schema| {
            schema
                .keys
                .iter()
                .flat_map(|key| key.names.iter().copied())
                .collect()
        };
        self.lexicon.schemas.iter().map(keys).collect()
    }
}

impl Sample {
    /// All text of the sample, for counting words.
    pub fn text(&self) -> String {
        match self {
            Self::Prose(text) => text.clone(),
            Self::Chat(messages) => {
                let texts: Vec<&str> = messages
                    .iter()
                    .map(|message| message.content.as_str())
                    .collect();
                texts.join("\n")
            }
        }
    }
}

#[cfg(test)]
mod tests;
