mod overlap;

use std::collections::BTreeSet;

use distill_chat::Role;
use serde_json::Value;

use super::{lexicon::PartOfSpeech, *};

#[test]
fn a_sample_follows_from_seed_and_number() {
    let (one, other, mix) = (Corpus::new(1), Corpus::new(2), Mix::Broad);
    let backwards: Vec<Sample> = (0..50)
        .rev()
        .map(|number| one.sample(mix, number))
        .collect();
    for (number, sample) in backwards.into_iter().rev().enumerate() {
        assert_eq!(sample, Corpus::new(1).sample(mix, number as u64));
    }
    assert!((0..50).all(|number| one.sample(mix, number) != other.sample(mix, number)));
}

#[test]
fn every_slot_of_the_lexicon_has_a_meaning() {
    let lexicon = Lexicon::load();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let phrases = lexicon.phrases.values().flatten();
    let situations = lexicon
        .situations
        .iter()
        .flat_map(|situation| &situation.patterns);
    let heads = lexicon
        .schemas
        .iter()
        .flat_map(|schema| schema.heads.iter().chain(&schema.tails));
    let keys = lexicon.schemas.iter().flat_map(|schema| &schema.keys);
    let fragments = keys.flat_map(|key| &key.fragments);
    for pattern in phrases.chain(situations).chain(heads).chain(fragments) {
        for part in pattern.split(['{', '[']).skip(1) {
            let name = part.split(['}', ']']).next().unwrap();
            let known = slots::draw(&lexicon, name, &mut rng).is_some()
                || lexicon.phrases.contains_key(name)
                || lexicon.words(name).is_some();
            assert!(known, "`{name}` in `{pattern}`");
        }
    }
}

#[test]
fn every_schema_has_plain_heads_and_fragments_with_one_value() {
    for schema in &Lexicon::load().schemas {
        assert!(
            schema.heads.iter().any(|head| !head.contains('{')),
            "{:?}",
            schema.heads
        );
        for key in &schema.keys {
            for fragment in &key.fragments {
                assert_eq!(
                    fragment.matches('[').count(),
                    1,
                    "{:?}: `{fragment}`",
                    schema.heads
                );
            }
        }
    }
}

#[test]
fn the_lexicon_is_broad() {
    let lexicon = Lexicon::load();
    let words: BTreeSet<&str> = lexicon
        .fields
        .iter()
        .flat_map(|field| &field.words)
        .copied()
        .collect();
    assert!(words.len() > 2000, "{} words", words.len());
    assert!(lexicon.situations.len() > 250);
    for part in [
        PartOfSpeech::Noun,
        PartOfSpeech::Verb,
        PartOfSpeech::Adjective,
    ] {
        assert!(
            lexicon
                .fields
                .iter()
                .filter(|field| field.part == part)
                .count()
                > 20
        );
    }
}

/// The question before each answer of a conversation.
fn turns(messages: &[Message]) -> impl Iterator<Item = (&str, &str)> {
    messages
        .windows(2)
        .filter(|pair| pair[1].role == Role::Assistant)
        .map(|pair| (pair[0].content.as_str(), pair[1].content.as_str()))
}

#[test]
fn a_value_stands_in_its_text_letter_for_letter() {
    let lexicon = Lexicon::load();
    let (mut values, mut empty, mut answers) = (0, 0, 0);
    for number in 0..300 {
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        for (text, answer) in turns(&extract::form(&lexicon, &mut rng)) {
            let object: Value = serde_json::from_str(answer).unwrap();
            let object = object.as_object().unwrap();
            answers += 1;
            empty += usize::from(object.is_empty());
            for value in object.values() {
                values += 1;
                assert!(text.contains(value.as_str().unwrap()), "{value} in {text}");
            }
        }
    }
    assert!(values > 500 && empty * 5 > answers && empty * 2 < answers);
}

#[test]
fn a_label_is_one_of_the_list() {
    let lexicon = Lexicon::load();
    for number in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        for make in [classify::situation, classify::topic, classify::domain] {
            let messages = make(&lexicon, &mut rng);
            for (_, answer) in turns(&messages) {
                assert!(messages[0].content.contains(answer), "{answer}");
            }
        }
    }
}

#[test]
fn the_shares_of_a_mix_make_a_whole() {
    for mix in [Mix::Broad, Mix::Narrow] {
        let sum: u32 = mix.shares().iter().map(|(share, _)| share).sum();
        assert_eq!(sum, 100, "{mix:?}");
    }
}

#[test]
fn a_plural_is_spelt_by_rule() {
    for (one, many) in [
        ("pony", "ponies"),
        ("toy", "toys"),
        ("box", "boxes"),
        ("glass", "glasses"),
        ("jeans", "jeans"),
    ] {
        assert_eq!(grammar::plural(one), many);
    }
}
