//! Running text: what belongs with what, who did what, what somebody wrote and meant.

use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    grammar::{chance, pick, word},
    lexicon::{Lexicon, PartOfSpeech},
    noise::Hand,
    slots::title,
};

const EVENTS: [&str; 16] = [
    "{parts of day} came and the {weather} did not stop",
    "the {trades} mended the {plumbing} in the {rooms}",
    "the {family} bought {fruit}s and {dairy} at the {shops}",
    "the {health staff} looked at the {body parts} and gave {medicine}s against the {illness}",
    "on {dayphrase} they went to {cities} by {railway}",
    "the {pets} slept under the {furniture}",
    "a courier brought a {goods} to {address}",
    "the {appliances} was {broken}, so they called a {trades} at {clock}",
    "in {months} the {garden} was full of {flowers}s",
    "the {office jobs} wrote a {documents} about the {costs}",
    "{person} paid {amount} for a {colours} {goods}",
    "they {cook} {vegetables}s with {spices}",
    "the {school} was over and the pupils played {sports}",
    "a {weather} warning was on the {news} in {countries}",
    "the {road vehicles} stopped because of the {car parts}",
    "the bank took {amount} and nobody knew why",
];

/// A few sentences.
pub(super) fn passage(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    let sentences = rng.random_range(3..8);
    let mut text: Vec<String> = Vec::with_capacity(sentences);
    match rng.random_range(0..4) {
        0 => {
            let field = pick(&lexicon.fields, rng);
            for _ in 0..sentences {
                text.push(about_field(lexicon, field, rng));
            }
        }
        1 => {
            let hero = lexicon.resolve("given", rng);
            text.push(introduction(lexicon, &hero, rng));
            for _ in 1..sentences {
                text.push(deed(lexicon, &hero, rng));
            }
        }
        2 => {
            for _ in 0..sentences.div_ceil(2) {
                text.push(reported(lexicon, rng));
            }
        }
        _ => {
            for _ in 0..sentences {
                text.push(
                    Hand::neat().write(&lexicon.expand(word(&EVENTS, rng), rng), true, rng) + ".",
                );
            }
        }
    }
    text.join(" ")
}

fn about_field(lexicon: &Lexicon, field: &super::lexicon::Field, rng: &mut ChaCha8Rng) -> String {
    let name = *pick(&field.names, rng);
    let words: Vec<&str> = field.words.choose_multiple(rng, 4).copied().collect();
    let (first, second) = (words[0], words[1]);
    let last = words[words.len() - 1];
    let other = pick(&pick(&lexicon.fields, rng).words, rng);
    let sentence = match (field.part, rng.random_range(0..5)) {
        (_, 0) => lexicon.field_sentence(field, rng),
        (PartOfSpeech::Noun, 1) => format!("{first} and {second} are {name}"),
        (PartOfSpeech::Noun, 2) => format!("among {name} there are {first}, {second} and {last}"),
        (PartOfSpeech::Noun, 3) => {
            format!("a {first} has more to do with a {last} than with a {other}")
        }
        (PartOfSpeech::Noun, _) => format!("think of {name}: {}", words.join(", ")),
        (PartOfSpeech::Verb, 1 | 2) => format!("to {first} is to {second}"),
        (PartOfSpeech::Verb, _) => format!("who can {first} can also {second}, which is to {name}"),
        (PartOfSpeech::Adjective, 1 | 2) => format!("{first} means {second} or {last}"),
        (PartOfSpeech::Adjective, _) => format!("something {name} is {first}, not {other}"),
    };
    Hand::neat().write(&sentence, true, rng) + "."
}

fn introduction(lexicon: &Lexicon, hero: &str, rng: &mut ChaCha8Rng) -> String {
    let pattern = *pick(
        &[
            "# lives in {city} and works as a {trades}.",
            "# {surname} is a {public jobs} from {cities}.",
            "In {city} there was a {office jobs} called #.",
            "My {family} # has a {pets} and a {road vehicles}.",
        ],
        rng,
    );
    lexicon.expand(pattern, rng).replace('#', hero)
}

fn deed(lexicon: &Lexicon, hero: &str, rng: &mut ChaCha8Rng) -> String {
    let pattern = *pick(
        &[
            "On {weekdays} # bought a {goods} for {amount}.",
            "Then # had {dishes} and {drinks}.",
            "# was {happy} because of the {colours} {goods}.",
            "# was {angry}: the {appliances} was {broken}.",
            "At {clock} # went to the {city places}.",
            "# called a {trades} about the {plumbing}.",
            "The {health staff} told # to rest because of the {illness}.",
            "# reads {books}s and plays {sports}.",
            "Everybody in the {lodging} knows #.",
            "# lost a {accessories} on the {railway}.",
        ],
        rng,
    );
    title(&lexicon.expand(pattern, rng).replace('#', hero))
}

/// A message inside a text, with what it was about.
fn reported(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> String {
    let situation = pick(&lexicon.situations, rng);
    let message = lexicon.message(situation, rng);
    let label = *pick(&situation.labels, rng);
    if chance(0.5, rng) {
        format!(
            "\"{message}\" This is about {label}, and belongs to {}.",
            lexicon.domains[situation.domain]
        )
    } else {
        format!(
            "About {label} {} wrote: \"{message}\"",
            lexicon.resolve("given", rng)
        )
    }
}
