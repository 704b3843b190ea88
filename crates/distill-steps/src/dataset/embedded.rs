//! What the program carries with it, so that the quickstart runs in any folder.

use std::path::Path;

use super::{Card, Split};

const CARDS: [(&str, &str); 4] = [
    (
        "banking77",
        include_str!("../../../../datasets/banking77/card.yaml"),
    ),
    (
        "gsm8k",
        include_str!("../../../../datasets/gsm8k/card.yaml"),
    ),
    (
        "restaurant8k",
        include_str!("../../../../datasets/restaurant8k/card.yaml"),
    ),
    (
        "support-intents",
        include_str!("../../../../datasets/support-intents/card.yaml"),
    ),
];

const FILES: [(&str, &str, &[u8]); 2] = [
    (
        "support-intents",
        "train.csv",
        include_bytes!("../../../../datasets/support-intents/train.csv"),
    ),
    (
        "support-intents",
        "test.csv",
        include_bytes!("../../../../datasets/support-intents/test.csv"),
    ),
];

/// The quickstart's data set: its card and the bytes of its files.
pub struct Embedded {
    pub card: Card,
    pub train: &'static [u8],
    pub test: &'static [u8],
}

/// The support messages that the quickstart learns from.
pub fn support_intents() -> Embedded {
    let bytes = |file: &str| {
        let found = FILES.iter().find(|(_, name, _)| *name == file);
        found.expect("the list above has both files").2
    };
    Embedded {
        card: card("support-intents").expect("the list above has this card"),
        train: bytes("train.csv"),
        test: bytes("test.csv"),
    }
}

/// A card that the program carries.
pub(super) fn card(name: &str) -> Option<Card> {
    let (name, text) = CARDS.iter().find(|(known, _)| *known == name)?;
    let path = Path::new("datasets").join(name).join("card.yaml");
    Some(Card::parse(&path, text).expect("a test reads every card that is compiled in"))
}

pub(super) fn cards() -> impl Iterator<Item = Card> {
    CARDS.iter().filter_map(|(name, _)| card(name))
}

/// The bytes of a file that the program carries.
pub(super) fn file(dataset: &str, split: &Split) -> Option<&'static [u8]> {
    FILES
        .iter()
        .find(|(name, file, _)| *name == dataset && *file == split.file)
        .map(|(_, _, bytes)| *bytes)
}
