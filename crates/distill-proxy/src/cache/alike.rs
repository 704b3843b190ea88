//! Questions that mean the same.

use distill_wire::{Block, Request, TurnRole};

use super::{
    Question,
    key::{self, Digest},
};
use crate::config::EmbeddingConfig;

/// Questions of one group differ in the words of the last message only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alike {
    group: Digest,
    /// The numbers in the words, in their order: texts that differ in a number are near each other
    /// for any embedding and ask for something else.
    numbers: Vec<String>,
}

impl Alike {
    /// The question's group and the words to be compared; `None` where it is compared exactly only.
    pub(super) fn of(question: &Question<'_>) -> Option<(Self, String)> {
        let semantic = question.config.semantic.as_ref()?;
        let envelope = question.envelope;
        if envelope.has_tools || envelope.has_images || question.task.is_some() {
            return None;
        }
        let dialect = key::dialect(question.endpoint)?;
        let mut request = dialect.read_request(question.body).ok()?;
        let text = take_words(&mut request)?;
        request.stream = false;
        request.stream_usage = false;
        request.user = None;
        request.metadata = None;
        request.prompt_cache_key = None;
        request.service_tier = None;
        let embedder = match &semantic.embedding {
            EmbeddingConfig::Local => "local",
            EmbeddingConfig::Route(name) => name,
        };
        // The debug form names every field and every value of what is left.
        let rest = format!("{request:?}");
        let alike = Self {
            group: key::digest_around(question, embedder, &rest),
            numbers: numbers(&text),
        };
        Some((alike, text))
    }

    pub(super) fn group(&self) -> Digest {
        self.group
    }

    pub(super) fn has_the_numbers_of(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

/// Takes the text of the last message, which must be the user's and hold nothing but text.
fn take_words(request: &mut Request) -> Option<String> {
    let last = request.turns.last_mut()?;
    if last.role != TurnRole::User || last.blocks.is_empty() {
        return None;
    }
    let mut words = String::new();
    for block in &mut last.blocks {
        let Block::Text { text, .. } = block else {
            return None;
        };
        words.push_str(text);
        words.push('\n');
        text.clear();
    }
    (!words.trim().is_empty()).then_some(words)
}

fn numbers(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_numeric())
        .filter(|number| !number.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A vector of length 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vector(Vec<f32>);

impl Vector {
    /// `None` where it has no direction.
    pub(super) fn new(mut numbers: Vec<f32>) -> Option<Self> {
        let square: f64 = numbers
            .iter()
            .map(|number| f64::from(*number) * f64::from(*number))
            .sum();
        let length = square.sqrt();
        if !length.is_finite() || length == 0.0 {
            return None;
        }
        for number in &mut numbers {
            *number = (f64::from(*number) / length) as f32;
        }
        Some(Self(numbers))
    }

    /// Cosine of the angle between both; vectors of different models have none.
    pub(super) fn cosine(&self, other: &Self) -> f64 {
        if self.0.len() != other.0.len() {
            return -1.0;
        }
        self.0
            .iter()
            .zip(&other.0)
            .map(|(one, other)| f64::from(*one) * f64::from(*other))
            .sum()
    }

    pub(super) fn bytes(&self) -> u64 {
        4 * self.0.len() as u64
    }
}

/// Slots of the local vector.
const SLOTS: usize = 1024;

/// Hashed features of a text (the hashing trick of Weinberger et al., 2009): words, pairs of words
/// and runs of three letters, each counted by the square root of how often it occurs. Sees wording,
/// not meaning: rewordings in other words stay apart.
pub(super) fn embed(text: &str) -> Option<Vec<f32>> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let mut slots = vec![0.0_f32; SLOTS];
    let mut count = |kind: u8, feature: &str, weight: f32| {
        let hash = hash(kind, feature);
        let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
        slots[(hash % SLOTS as u64) as usize] += sign * weight;
    };
    for word in &words {
        count(b'w', word, 1.0);
        let letters: Vec<char> = std::iter::once(' ')
            .chain(word.chars())
            .chain(std::iter::once(' '))
            .collect();
        for run in letters.windows(3) {
            count(b'l', &run.iter().collect::<String>(), 0.3);
        }
    }
    for pair in words.windows(2) {
        count(b'p', &pair.join(" "), 0.5);
    }
    for slot in &mut slots {
        *slot = slot.signum() * slot.abs().sqrt();
    }
    (!words.is_empty()).then_some(slots)
}

/// FNV-1a, with a last mixing step because its high bits are weak on short texts.
fn hash(kind: u8, feature: &str) -> u64 {
    let hash = std::iter::once(kind)
        .chain(feature.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
