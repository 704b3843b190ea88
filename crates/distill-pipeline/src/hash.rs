//! Content hashes, cache keys, and the one written rule by which values are hashed.
//!
//! The rule, so that another program could make the same key. Every value is a tag byte and then
//! its content; integers are little-endian; nothing else is written between values.
//!
//! | tag | value | content |
//! |---|---|---|
//! | 0 | null | |
//! | 1, 2 | false, true | |
//! | 3 | integer | 16 bytes, two's complement |
//! | 4 | float | 8 bytes of IEEE 754; -0 is written as 0, NaN is refused |
//! | 5 | text | 8 bytes of length, then UTF-8 |
//! | 6 | bytes | 8 bytes of length, then the bytes |
//! | 7 | list | 8 bytes of count, then each value; order counts |
//! | 8 | map | 8 bytes of count, then text and value of each entry, sorted by the bytes of its name |
//! | 9 | content hash | its 32 bytes |
//!
//! A hasher opens with its domain as text, so that two kinds of thing never share a hash. Tags and
//! lengths make the writing prefix-free: no two different sequences of values give the same bytes.
//! The integer 1 and the float 1.0 are different values.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::graph::Action;

/// A SHA-256; shown and stored as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// Hashes bytes as they are: the same figure that `sha256sum` shows for a file.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hashes a JSON value by the rule of this module.
    pub fn of_json(value: &Value) -> Self {
        let mut hasher = StableHasher::new("json");
        hasher.json(value);
        hasher.finish()
    }

    /// Takes a digest that was made elsewhere, for instance piece by piece while a file was read.
    pub const fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// Gives the first 12 digits, enough for a person to tell artifacts apart.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// Text that is not a content hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a content hash of 64 hexadecimal digits")]
pub struct BadHash(pub String);

impl FromStr for ContentHash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        let bad = || BadHash(text.to_owned());
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let mut digest = [0u8; 32];
        for (place, byte) in digest.iter_mut().enumerate() {
            let digits = &text[2 * place..2 * place + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| bad())?;
        }
        Ok(Self(digest))
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// The cache key of a step: two steps with one key make the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(pub ContentHash);

impl Key {
    /// Gives the first 12 digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Key {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        text.parse().map(Self)
    }
}

/// Everything that a step's key is made of, kept in the action record so that a later key can be
/// compared with it.
///
/// Never in here: names, paths, times, who asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ingredients {
    pub kind: String,
    pub version: u32,
    pub settings: Value,
    /// Input port to the content that stands there.
    pub inputs: BTreeMap<String, ContentHash>,
    /// Identities of the models that the step calls, in the order in which it would ask them.
    pub models: Vec<String>,
    /// `None` when the step draws nothing at random.
    pub seed: Option<u64>,
}

impl Ingredients {
    /// Takes what the action says of itself together with the content of its inputs.
    pub fn of<A: Action>(action: &A, inputs: BTreeMap<String, ContentHash>) -> Self {
        Self {
            kind: action.kind().to_owned(),
            version: action.version(),
            settings: action.settings(),
            inputs,
            models: action.models(),
            seed: action.seed(),
        }
    }

    pub fn key(&self) -> Key {
        let mut hasher = StableHasher::new("step key 1");
        hasher.text(&self.kind);
        hasher.integer(self.version.into());
        hasher.json(&self.settings);
        hasher.map(self.inputs.len());
        for (port, hash) in &self.inputs {
            hasher.text(port);
            hasher.hash(hash);
        }
        hasher.list(self.models.len());
        for model in &self.models {
            hasher.text(model);
        }
        match self.seed {
            Some(seed) => hasher.integer(seed.into()),
            None => hasher.null(),
        }
        Key(hasher.finish())
    }
}

/// A float that cannot be part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("NaN cannot be hashed into a key: it does not equal itself")]
pub struct NotANumber;

/// Hashes values by the rule at the top of this module.
pub struct StableHasher {
    sha: Sha256,
}

impl StableHasher {
    /// Starts a hash for one kind of thing.
    pub fn new(domain: &str) -> Self {
        let mut hasher = Self { sha: Sha256::new() };
        hasher.text(domain);
        hasher
    }

    fn tag(&mut self, tag: u8) {
        self.sha.update([tag]);
    }

    fn length(&mut self, length: usize) {
        self.sha.update((length as u64).to_le_bytes());
    }

    pub fn null(&mut self) {
        self.tag(0);
    }

    pub fn bool(&mut self, value: bool) {
        self.tag(1 + u8::from(value));
    }

    pub fn integer(&mut self, value: i128) {
        self.tag(3);
        self.sha.update(value.to_le_bytes());
    }

    pub fn float(&mut self, value: f64) -> Result<(), NotANumber> {
        if value.is_nan() {
            return Err(NotANumber);
        }
        // -0 == 0, so they must be one key; adding 0 turns the former into the latter.
        let bits = (value + 0.0).to_bits();
        self.tag(4);
        self.sha.update(bits.to_le_bytes());
        Ok(())
    }

    pub fn text(&mut self, value: &str) {
        self.tag(5);
        self.length(value.len());
        self.sha.update(value.as_bytes());
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.tag(6);
        self.length(value.len());
        self.sha.update(value);
    }

    /// Opens a list; its `length` values must follow.
    pub fn list(&mut self, length: usize) {
        self.tag(7);
        self.length(length);
    }

    /// Opens a map; `length` pairs of text and value must follow, sorted by the bytes of the text.
    pub fn map(&mut self, length: usize) {
        self.tag(8);
        self.length(length);
    }

    pub fn hash(&mut self, value: &ContentHash) {
        self.tag(9);
        self.sha.update(value.0);
    }

    pub fn json(&mut self, value: &Value) {
        match value {
            Value::Null => self.null(),
            Value::Bool(value) => self.bool(*value),
            Value::Number(number) => {
                if let Some(value) = number.as_i128() {
                    self.integer(value);
                } else {
                    let value = number.as_f64().expect("a JSON number is integer or float");
                    self.float(value).expect("a JSON number is never NaN");
                }
            }
            Value::String(text) => self.text(text),
            Value::Array(values) => {
                self.list(values.len());
                for value in values {
                    self.json(value);
                }
            }
            Value::Object(entries) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_unstable_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
                self.map(sorted.len());
                for (name, value) in sorted {
                    self.text(name);
                    self.json(value);
                }
            }
        }
    }

    pub fn finish(self) -> ContentHash {
        ContentHash(self.sha.finalize().into())
    }
}

#[cfg(test)]
mod tests;
