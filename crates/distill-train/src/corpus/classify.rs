//! Conversations that choose one label of a list, and their reverse.

use distill_chat::Message;
use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    grammar::{chance, pick, word},
    lexicon::{Lexicon, Situation},
    message::LabelStyle,
};

/// `@` is the list of labels.
const INSTRUCTIONS: [&str; 14] = [
    "Pick the label that fits the text: @",
    "Labels: @. Reply with one of them.",
    "Which of these is the text about? @",
    "You sort messages into groups. Groups: @",
    "Classify. Options: @",
    "Read the message and name its topic, one of: @.",
    "What does the writer want? Choose from @.",
    "Sort each message under one heading: @",
    "Your reply is exactly one of the following names and nothing else: @",
    "Categories:\n@",
    "Route the request to one queue. Queues: @.",
    "Name the purpose of the message. One of: @.",
    "Answer with one label only.\n@",
    "Tag the user's text with a single tag out of @.",
];
const NAMING_INSTRUCTIONS: [&str; 4] = [
    "Name the intent.",
    "Label the message.",
    "What is it about?",
    "Find the topic.",
];
const WRITE_INSTRUCTIONS: [&str; 5] = [
    "Write a message for the given label.",
    "Give an example of a customer's text on this topic.",
    "Invent what somebody could say.",
    "Make up a short request.",
    "Write what a user types.",
];

fn listed(labels: &[String], rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..8) {
        0 => labels.iter().map(|label| format!("\n- {label}")).collect(),
        1 => labels.join(" | "),
        2 => labels.join("; "),
        3 => labels.join("\n"),
        _ => labels.join(", "),
    }
}

fn instruction(labels: &[String], rng: &mut ChaCha8Rng) -> Message {
    Message::system(pick(&INSTRUCTIONS, rng).replace('@', &listed(labels, rng)))
}

/// One of few situations, for several messages.
pub(super) fn situation(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<Message> {
    let count = rng.random_range(2..11);
    let close = chance(0.7, rng);
    let chosen = lexicon.situations_around(count, close, rng);
    let style = LabelStyle::draw(rng);
    let labels: Vec<String> = chosen
        .iter()
        .map(|situation| style.write(word(&situation.labels, rng)))
        .collect();
    let mut messages = vec![instruction(&labels, rng)];
    let turns = rng.random_range(2..7);
    for _ in 0..turns {
        let at = rng.random_range(0..count);
        messages.push(Message::user(lexicon.message(chosen[at], rng)));
        messages.push(Message::assistant(labels[at].clone()));
    }
    messages
}

/// One of few semantic fields, for several sentences.
pub(super) fn topic(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<Message> {
    let count = rng.random_range(2..9);
    let mut order: Vec<usize> = (0..lexicon.fields.len()).collect();
    let (chosen, _) = order.partial_shuffle(rng, count);
    let style = LabelStyle::draw(rng);
    let labels: Vec<String> = chosen
        .iter()
        .map(|&at| style.write(word(&lexicon.fields[at].names, rng)))
        .collect();
    let mut messages = vec![instruction(&labels, rng)];
    for _ in 0..rng.random_range(2..7) {
        let at = rng.random_range(0..count);
        let field = &lexicon.fields[chosen[at]];
        let text = if chance(0.3, rng) {
            (*pick(&field.words, rng)).to_owned()
        } else {
            let sentence = lexicon.field_sentence(field, rng);
            lexicon.dressed(&sentence, rng)
        };
        messages.push(Message::user(text));
        messages.push(Message::assistant(labels[at].clone()));
    }
    messages
}

/// The domain of a message, out of a few.
pub(super) fn domain(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<Message> {
    let count = rng.random_range(3..9);
    let mut order: Vec<usize> = (0..lexicon.domains.len()).collect();
    let (chosen, _) = order.partial_shuffle(rng, count);
    let style = LabelStyle::draw(rng);
    let labels: Vec<String> = chosen
        .iter()
        .map(|&at| style.write(lexicon.domains[at]))
        .collect();
    let mut messages = vec![instruction(&labels, rng)];
    for _ in 0..rng.random_range(2..6) {
        let at = rng.random_range(0..count);
        let of_domain: Vec<_> = lexicon
            .situations
            .iter()
            .filter(|situation| situation.domain == chosen[at])
            .collect();
        messages.push(Message::user(
            lexicon.message(pick::<&Situation>(&of_domain, rng), rng),
        ));
        messages.push(Message::assistant(labels[at].clone()));
    }
    messages
}

/// The name of a message's situation, with no list to choose from.
pub(super) fn naming(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<Message> {
    let mut messages = vec![Message::system(word(&NAMING_INSTRUCTIONS, rng))];
    for _ in 0..rng.random_range(4..11) {
        let situation = pick(&lexicon.situations, rng);
        messages.push(Message::user(lexicon.message(situation, rng)));
        // Always the same name: what is to be learnt is the message, not the choice of words.
        messages.push(Message::assistant(
            LabelStyle::Snake.write(situation.labels[0]),
        ));
    }
    messages
}

/// From the label to messages.
pub(super) fn reverse(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<Message> {
    let mut messages = vec![Message::system(*pick(&WRITE_INSTRUCTIONS, rng))];
    let style = LabelStyle::draw(rng);
    for _ in 0..rng.random_range(2..6) {
        let situation = pick(&lexicon.situations, rng);
        messages.push(Message::user(style.write(word(&situation.labels, rng))));
        messages.push(Message::assistant(lexicon.message(situation, rng)));
    }
    messages
}

/// Whether two messages mean the same.
pub(super) fn same_meaning(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<Message> {
    let mut messages = vec![Message::system(*pick(
        &[
            "Do both texts want the same? yes or no",
            "Same request? Answer yes or no.",
            "Are these two alike in meaning?",
        ],
        rng,
    ))];
    for _ in 0..rng.random_range(2..5) {
        let chosen = lexicon.situations_around(2, true, rng);
        let same = chance(0.5, rng);
        let first = lexicon.message(chosen[0], rng);
        let second = lexicon.message(chosen[usize::from(!same)], rng);
        messages.push(Message::user(format!("{first}\n{second}")));
        messages.push(Message::assistant(if same { "yes" } else { "no" }));
    }
    messages
}
