//! Plausible mistakes of an extractor: a field missed, two swapped, a span shifted, one too many.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    draw,
    gold::{GoldEntry, Mistake},
};

type Object = Map<String, Value>;
/// Makes one kind of mistake, where the row allows it: prompt, gold, all field names, a draw.
type Kind = fn(&str, &Object, &[&str], f64) -> Option<Object>;

/// The mistake of each row. Rows with more fields are harder.
pub(super) fn mistakes(entries: &[&GoldEntry], objects: &[Object], seed: u64) -> Vec<Mistake> {
    let fields: Vec<&str> = objects
        .iter()
        .flat_map(Object::keys)
        .map(String::as_str)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    entries
        .iter()
        .zip(objects)
        .map(|(entry, object)| {
            let wrong = wrong(&entry.prompt, object, &fields, seed);
            Mistake {
                answer: Value::Object(wrong).to_string(),
                difficulty: object.len() as f64,
            }
        })
        .collect()
}

/// The first mistake, in drawn order, that is possible here and changes something.
fn wrong(prompt: &str, object: &Object, fields: &[&str], seed: u64) -> Object {
    let draw = |name: &str| draw::uniform(seed, &[name.as_bytes(), prompt.as_bytes()]);
    let kinds: [Kind; 4] = [without_field, swapped, shifted, with_wrong_field];
    let first = (draw("extraction.kind") * kinds.len() as f64) as usize;
    (0..kinds.len())
        .filter_map(|step| {
            let kind = kinds[(first + step) % kinds.len()];
            kind(prompt, object, fields, draw("extraction.choice"))
        })
        .find(|changed| changed != object)
        .unwrap_or_else(|| {
            // Nothing in the text can be mistaken: the model makes something up.
            let mut made_up = object.clone();
            let field = fields.first().copied().unwrap_or("value");
            made_up.insert(field.to_owned(), Value::from("unknown"));
            made_up
        })
}

fn choose<T>(choices: &[T], draw: f64) -> Option<&T> {
    choices.get(((draw * choices.len() as f64) as usize).min(choices.len().saturating_sub(1)))
}

fn without_field(_: &str, object: &Object, _: &[&str], draw: f64) -> Option<Object> {
    let names: Vec<&String> = object.keys().collect();
    let missed = *choose(&names, draw)?;
    Some(
        object
            .iter()
            .filter(|(name, _)| *name != missed)
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
    )
}

fn swapped(_: &str, object: &Object, _: &[&str], draw: f64) -> Option<Object> {
    let names: Vec<&String> = object.keys().collect();
    if names.len() < 2 {
        return None;
    }
    let one = ((draw * names.len() as f64) as usize).min(names.len() - 1);
    let other = (one + 1) % names.len();
    let mut changed = object.clone();
    changed[names[one]] = object[names[other]].clone();
    changed[names[other]] = object[names[one]].clone();
    Some(changed)
}

/// A span that begins or ends a word off.
fn shifted(prompt: &str, object: &Object, _: &[&str], draw: f64) -> Option<Object> {
    let candidates: Vec<(&String, String)> = object
        .iter()
        .filter_map(|(name, value)| {
            let value = value.as_str()?;
            let start = prompt.rfind(value)?;
            let (before, after) = (&prompt[..start], &prompt[start + value.len()..]);
            let next = after
                .split_whitespace()
                .next()
                .filter(|_| after.starts_with(' '));
            let previous = before
                .split_whitespace()
                .next_back()
                .filter(|_| before.ends_with(' '));
            let longer = match (next, previous) {
                (Some(next), _) => format!("{value} {next}"),
                (None, Some(previous)) => format!("{previous} {value}"),
                (None, None) => return None,
            };
            // Of a span of several words the last may also be missed.
            let shorter = value.rsplit_once(' ').map(|(start, _)| start.to_owned());
            Some((
                name,
                if draw < 0.5 {
                    shorter.unwrap_or(longer)
                } else {
                    longer
                },
            ))
        })
        .collect();
    let (name, value) = choose(&candidates, draw)?;
    let mut changed = object.clone();
    changed[*name] = Value::from(value.as_str());
    Some(changed)
}

/// A field that is not there, filled with a word that is.
fn with_wrong_field(prompt: &str, object: &Object, fields: &[&str], draw: f64) -> Option<Object> {
    let absent: Vec<&str> = fields
        .iter()
        .copied()
        .filter(|field| !object.contains_key(*field))
        .collect();
    let words: Vec<&str> = prompt
        .split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let mut changed = object.clone();
    changed.insert(
        (*choose(&absent, draw)?).to_owned(),
        Value::from(*choose(&words, draw)?),
    );
    Some(changed)
}
