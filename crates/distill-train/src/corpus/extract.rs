//! Conversations that copy spans of a text into a JSON object.

use distill_chat::Message;
use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

use super::{
    grammar::{chance, pick, word},
    lexicon::{Lexicon, Schema, SchemaKey},
    noise::Hand,
};

/// `@` is the list of keys.
const INSTRUCTIONS: [&str; 12] = [
    "Copy these fields out of the text as JSON: @. Leave out what is not there.",
    "Keys: @. Reply with a JSON object; only keys that the text has.",
    "Fill a JSON object with @ as they stand in the message.",
    "Find @ in the user's words. Answer in JSON, {} when there is nothing.",
    "Return JSON. Possible keys: @",
    "Which of @ does the message give? JSON only.",
    "Slots: @\nOutput the slots of the text as one JSON object.",
    "Take down @ word for word, as JSON.",
    "You are a form filler. Form: @. Skip empty fields.",
    "Extract @ (JSON, exact spans).",
    "JSON object with any of: @",
    "Read the note and list @ as JSON.",
];
/// `@` is the list of keys that were asked for, `#` the text.
const ASKED: [&str; 7] = [
    "asked: @\n#",
    "[needs: @] #",
    "We asked for @.\nReply: #",
    "(question about @)\n#",
    "@?\n#",
    "wanted = @\ntext = #",
    "expecting @: #",
];

struct Form<'a> {
    schema: &'a Schema,
    /// The keys the instruction lists, each with the name it goes by.
    listed: Vec<(&'a SchemaKey, String)>,
}

impl<'a> Form<'a> {
    fn draw(lexicon: &'a Lexicon, rng: &mut ChaCha8Rng) -> Self {
        let schema = pick(&lexicon.schemas, rng);
        let mut keys: Vec<&SchemaKey> = schema.keys.iter().collect();
        keys.shuffle(rng);
        keys.truncate(rng.random_range(2..7));
        let camel = chance(0.12, rng);
        let listed = keys
            .into_iter()
            .map(|key| {
                let name = *pick(&key.names, rng);
                (
                    key,
                    if camel {
                        camel_case(name)
                    } else {
                        name.to_owned()
                    },
                )
            })
            .collect();
        Self { schema, listed }
    }

    fn instruction(&self, rng: &mut ChaCha8Rng) -> Message {
        let names: Vec<&str> = self.listed.iter().map(|(_, name)| name.as_str()).collect();
        let list = if chance(0.2, rng) {
            format!("\"{}\"", names.join("\", \""))
        } else {
            names.join(", ")
        };
        Message::system(pick(&INSTRUCTIONS, rng).replace('@', &list))
    }

    /// The object for the values found, in the order of the instruction.
    fn object(&self, found: &[(&SchemaKey, String)]) -> String {
        let mut object = Map::new();
        for (key, name) in &self.listed {
            if let Some((_, value)) = found.iter().find(|(other, _)| std::ptr::eq(*other, *key)) {
                object.insert(name.clone(), Value::String(value.clone()));
            }
        }
        Value::Object(object).to_string()
    }
}

/// One form, several texts.
pub(super) fn form(lexicon: &Lexicon, rng: &mut ChaCha8Rng) -> Vec<Message> {
    let form = Form::draw(lexicon, rng);
    let mut messages = vec![form.instruction(rng)];
    let asks = chance(0.5, rng);
    let frame = *pick(&ASKED, rng);
    for _ in 0..rng.random_range(2..7) {
        let (text, answer) = if asks && chance(0.4, rng) {
            answer_to_question(lexicon, &form, frame, rng)
        } else if chance(0.2, rng) {
            (nothing(lexicon, &form, rng), "{}".to_owned())
        } else {
            text_with_values(lexicon, &form, rng)
        };
        messages.push(Message::user(text));
        messages.push(Message::assistant(answer));
    }
    messages
}

/// A text that has none of the form's values.
fn nothing(lexicon: &Lexicon, form: &Form<'_>, rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..5) {
        0 => {
            let short = *pick(
                &[
                    "yes",
                    "no",
                    "ok",
                    "sure",
                    "yes please",
                    "no thanks",
                    "thanks a lot",
                    "i don't know yet",
                    "sounds good",
                    "hello",
                    "what?",
                    "not sure",
                    "that's it",
                    "great",
                    "correct",
                ],
                rng,
            );
            Hand::draw(rng).write(short, true, rng)
        }
        1..3 => {
            let situation = pick(&lexicon.situations, rng);
            // Situations may name places or days, so only their plain patterns serve here.
            let plain: Vec<&str> = situation
                .patterns
                .iter()
                .copied()
                .filter(|pattern| !pattern.contains('{'))
                .collect();
            if plain.is_empty() {
                lexicon.dressed(&head(lexicon, form.schema, rng), rng)
            } else {
                let core = lexicon.expand(word(&plain, rng), rng);
                Hand::draw(rng).write(&core, true, rng)
            }
        }
        _ => {
            let core = head(lexicon, form.schema, rng);
            Hand::draw(rng).write(&core, true, rng)
        }
    }
}

fn head(lexicon: &Lexicon, schema: &Schema, rng: &mut ChaCha8Rng) -> String {
    // A head with a slot could state a value that the form asks for.
    let plain: Vec<&str> = schema
        .heads
        .iter()
        .copied()
        .filter(|head| !head.contains('{'))
        .collect();
    lexicon.expand(word(&plain, rng), rng)
}

/// A text that gives some keys of the schema, the form's and others.
fn text_with_values(lexicon: &Lexicon, form: &Form<'_>, rng: &mut ChaCha8Rng) -> (String, String) {
    let mut given: Vec<&SchemaKey> = form
        .listed
        .iter()
        .map(|(key, _)| *key)
        .filter(|_| chance(0.5, rng))
        .collect();
    if chance(0.4, rng) {
        let other = pick(&form.schema.keys, rng);
        if !given.iter().any(|key| std::ptr::eq(*key, other)) {
            given.push(other);
        }
    }
    if given.is_empty() {
        given.push(form.listed[0].0);
    }
    given.shuffle(rng);
    given.truncate(4);
    let hand = Hand::draw(rng);
    let mut text = String::new();
    if chance(0.65, rng) {
        text.push_str(&hand.write(&head(lexicon, form.schema, rng), true, rng));
    }
    let mut found = Vec::new();
    for key in given {
        if !text.is_empty() {
            text.push_str(word(&[" ", " ", " ", ", ", ", ", ". ", " and "], rng));
        }
        let value = append_clause(lexicon, key, hand, &mut text, rng);
        found.push((key, value));
    }
    if hand.punctuates {
        text.push('.');
    }
    if chance(0.15, rng) {
        text.push(' ');
        let tail = *pick(&form.schema.tails, rng);
        text.push_str(&hand.write(&lexicon.expand(tail, rng), hand.punctuates, rng));
    }
    (text, form.object(&found))
}

/// Adds one clause to a text and says what value it gave, letter for letter.
fn append_clause(
    lexicon: &Lexicon,
    key: &SchemaKey,
    hand: Hand,
    text: &mut String,
    rng: &mut ChaCha8Rng,
) -> String {
    let clause = lexicon.clause(word(&key.fragments, rng), rng);
    let starts = text.is_empty() || text.ends_with(". ");
    if !clause.before.is_empty() {
        text.push_str(&hand.write(&clause.before, starts, rng));
    }
    let value = hand.write_value(&clause.value, starts && clause.before.is_empty());
    text.push_str(&value);
    if !clause.after.is_empty() {
        text.push_str(&hand.write(&clause.after, false, rng));
    }
    value
}

/// A reply to a question for one or two keys: often the bare value.
fn answer_to_question(
    lexicon: &Lexicon,
    form: &Form<'_>,
    frame: &str,
    rng: &mut ChaCha8Rng,
) -> (String, String) {
    let (key, name) = pick(&form.listed, rng);
    let mut asked = vec![name.as_str()];
    if form.listed.len() > 2 && chance(0.2, rng) {
        let (_, other) = pick(&form.listed, rng);
        if other != name {
            asked.push(other);
        }
    }
    let hand = Hand::draw(rng);
    let mut text = String::new();
    let mut found = Vec::new();
    match rng.random_range(0..10) {
        0..2 => text = nothing(lexicon, form, rng),
        2..7 => {
            let clause = lexicon.clause(word(&key.fragments, rng), rng);
            text = hand.write_value(&clause.value, true);
            found.push((*key, text.clone()));
        }
        _ => {
            let value = append_clause(lexicon, key, hand, &mut text, rng);
            found.push((*key, value));
        }
    }
    if hand.punctuates && chance(0.5, rng) {
        text.push('.');
    }
    let message = frame.replace('@', &asked.join(", ")).replace('#', &text);
    (message, form.object(&found))
}

fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| name + &super::slots::title(part))
}
