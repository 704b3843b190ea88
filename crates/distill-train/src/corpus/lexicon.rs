//! The words the generator speaks with, read from the data files beside this module.

use std::collections::BTreeMap;

const FIELDS: &str = include_str!("lexicon/fields.txt");
const PHRASES: &str = include_str!("lexicon/phrases.txt");
const SITUATIONS: &str = include_str!("lexicon/situations.txt");
const SCHEMAS: &str = include_str!("lexicon/schemas.txt");
const NAMES: &str = include_str!("lexicon/names.txt");

/// Which frame sentences a field's words fit in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartOfSpeech {
    Noun,
    Verb,
    Adjective,
}

/// Words that are near each other in meaning.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) part: PartOfSpeech,
    /// The first one names the field in patterns.
    pub(super) names: Vec<&'static str>,
    pub(super) words: Vec<&'static str>,
}

/// Why somebody writes a message, and how they may put it.
#[derive(Debug)]
pub(super) struct Situation {
    pub(super) domain: usize,
    pub(super) labels: Vec<&'static str>,
    pub(super) patterns: Vec<&'static str>,
}

/// A key of an extraction schema and the clauses that carry its value.
#[derive(Debug)]
pub(super) struct SchemaKey {
    pub(super) names: Vec<&'static str>,
    /// Each holds one `[slot]`: the value.
    pub(super) fragments: Vec<&'static str>,
}

#[derive(Debug)]
pub(super) struct Schema {
    pub(super) heads: Vec<&'static str>,
    pub(super) tails: Vec<&'static str>,
    pub(super) keys: Vec<SchemaKey>,
}

#[derive(Debug)]
pub(super) struct Lexicon {
    pub(super) fields: Vec<Field>,
    pub(super) field_by_name: BTreeMap<&'static str, usize>,
    pub(super) phrases: BTreeMap<&'static str, Vec<&'static str>>,
    pub(super) domains: Vec<&'static str>,
    pub(super) situations: Vec<Situation>,
    pub(super) schemas: Vec<Schema>,
    /// Given names, surnames and the syllables of invented ones.
    pub(super) names: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Lexicon {
    /// Reads the files compiled into the binary.
    pub(super) fn load() -> Self {
        let fields = read_fields();
        let field_by_name = fields
            .iter()
            .enumerate()
            .map(|(index, field)| (field.names[0], index))
            .collect();
        let (domains, situations) = read_situations();
        Self {
            fields,
            field_by_name,
            phrases: lines(PHRASES)
                .map(|line| {
                    let (name, variants) = cut(line, ':');
                    (name, split(variants, '|'))
                })
                .collect(),
            domains,
            situations,
            schemas: read_schemas(),
            names: lines(NAMES)
                .map(|line| {
                    let (name, list) = cut(line, ':');
                    (name, list.split(',').map(str::trim).collect())
                })
                .collect(),
        }
    }

    /// Words of the field that patterns call `name`.
    pub(super) fn words(&self, name: &str) -> Option<&[&'static str]> {
        let index = *self.field_by_name.get(name)?;
        Some(&self.fields[index].words)
    }

    /// A list of the names file.
    pub(super) fn name_parts(&self, kind: &str) -> &[&'static str] {
        self.names
            .get(kind)
            .expect("the names file holds every list that slots ask for")
    }
}

fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn cut(line: &'static str, separator: char) -> (&'static str, &'static str) {
    let (before, after) = line
        .split_once(separator)
        .expect("a lexicon line names its entry before a separator");
    (before.trim(), after.trim())
}

/// Parts between separators that stand outside parentheses.
pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut from) = (0_u32, 0);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if character == separator && depth == 0 => {
                parts.push(text[from..at].trim());
                from = at + character.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(text[from..].trim());
    parts
}

fn read_fields() -> Vec<Field> {
    lines(FIELDS)
        .map(|line| {
            let (head, words) = cut(line, ':');
            let (part, names) = cut(head, ' ');
            Field {
                part: match part {
                    "v" => PartOfSpeech::Verb,
                    "a" => PartOfSpeech::Adjective,
                    _ => PartOfSpeech::Noun,
                },
                names: split(names, '|'),
                words: words.split(',').map(str::trim).collect(),
            }
        })
        .collect()
}

fn read_situations() -> (Vec<&'static str>, Vec<Situation>) {
    let mut domains = Vec::new();
    let mut situations: Vec<Situation> = Vec::new();
    for line in lines(SITUATIONS) {
        if let Some(domain) = line.strip_prefix("@ ") {
            domains.push(domain);
        } else if let Some(labels) = line.strip_prefix("= ") {
            situations.push(Situation {
                domain: domains.len() - 1,
                labels: split(labels, '|'),
                patterns: Vec::new(),
            });
        } else {
            situations
                .last_mut()
                .expect("a pattern follows its labels")
                .patterns
                .push(line);
        }
    }
    (domains, situations)
}

fn read_schemas() -> Vec<Schema> {
    let mut schemas: Vec<Schema> = Vec::new();
    for line in lines(SCHEMAS) {
        if line.starts_with("@ ") {
            schemas.push(Schema {
                heads: Vec::new(),
                tails: Vec::new(),
                keys: Vec::new(),
            });
            continue;
        }
        let schema = schemas.last_mut().expect("a line follows its schema");
        if let Some(heads) = line.strip_prefix("h ") {
            schema.heads = split(heads, '|');
        } else if let Some(tails) = line.strip_prefix("t ") {
            schema.tails = split(tails, '|');
        } else {
            let (names, fragments) = cut(line, '=');
            schema.keys.push(SchemaKey {
                names: split(names, '|'),
                fragments: split(fragments, '|'),
            });
        }
    }
    schemas
}
