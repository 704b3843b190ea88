//! Virtual keys: how they look, and what of them is kept.

use std::{fmt::Write as _, hint::black_box};

use distill_gateway::Secret;
use sha2::{Digest, Sha256};

/// What every virtual key begins with.
pub const KEY_PREFIX: &str = "dk-";

/// Characters of a key that may be shown: enough to tell keys apart, too few to guess one.
const SHOWN: usize = KEY_PREFIX.len() + 6;

/// The SHA-256 of a key, which is all that is kept of it. A key holds 256 random bits, so its plain
/// hash cannot be searched and needs neither salt nor stretching.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyHash([u8; 32]);

impl KeyHash {
    pub(crate) fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Takes as long whatever the two hold.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let differing = self
            .0
            .iter()
            .zip(other.0)
            .fold(0_u8, |differing, (one, other)| {
                black_box(differing | (one ^ other))
            });
        black_box(differing) == 0
    }

    pub(crate) fn hex(&self) -> String {
        hex(&self.0)
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[hash of a key]")
    }
}

/// A new key of 256 bits from the system's generator.
pub(crate) fn draw() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::new(format!("{KEY_PREFIX}{}", hex(&bytes))))
}

/// A new name for something in the store, which no other instance draws too.
pub(crate) fn draw_id(prefix: &str) -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 8];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{prefix}_{}", hex(&bytes)))
}

/// The beginning of a key, for lists.
pub(crate) fn shown(key: &Secret) -> String {
    let text = key.expose();
    format!("{}...", text.get(..SHOWN).unwrap_or_default())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::{KeyHash, draw, shown};

    #[test]
    fn a_key_is_long_random_and_known_by_its_hash() {
        let (one, other) = (draw().unwrap(), draw().unwrap());
        assert_eq!(one.expose().len(), 3 + 64);
        assert_ne!(one.expose(), other.expose());
        let hash = KeyHash::of(one.expose());
        assert!(hash.same(&KeyHash::of(one.expose())));
        assert!(!hash.same(&KeyHash::of(other.expose())));
        assert!(hash.same(&KeyHash::from_hex(&hash.hex()).unwrap()));
        assert!(KeyHash::from_hex("12").is_none());
        assert_eq!(shown(&one).len(), 12);
        assert!(!format!("{hash:?}").contains(&hash.hex()[..8]));
    }
}
