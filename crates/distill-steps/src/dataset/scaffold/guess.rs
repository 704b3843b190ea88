//! Which column is the text and which the answer, with the reasons.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Table, Wishes};

/// Names that people give to the column with the text, best first.
const TEXT_NAMES: [&str; 16] = [
    "text",
    "message",
    "question",
    "query",
    "utterance",
    "prompt",
    "input",
    "body",
    "content",
    "description",
    "comment",
    "review",
    "email",
    "ticket",
    "sentence",
    "title",
];
/// Names that people give to the column with the answer, best first.
const LABEL_NAMES: [&str; 18] = [
    "label",
    "gold",
    "category",
    "intent",
    "class",
    "target",
    "answer",
    "slots",
    "entities",
    "output",
    "expected",
    "topic",
    "tag",
    "queue",
    "sentiment",
    "department",
    "team",
    "type",
];
/// More distinct values than this are no label set.
const MOST_LABELS: usize = 500;

/// What the file seems to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Guess {
    pub text: String,
    /// The column with the human answer.
    pub label: Option<String>,
    pub answer: Answer,
    /// One sentence for each guess.
    pub reasons: Vec<String>,
}

/// What an answer is.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// One label of these; empty where no column tells them.
    Label { labels: Vec<String> },
    /// A JSON object with these fields, each with its JSON type.
    Object { fields: Vec<(String, &'static str)> },
}

struct Column<'a> {
    name: &'a str,
    /// Of the rows that have a value.
    values: usize,
    distinct: BTreeSet<String>,
    characters: f64,
    words: f64,
}

impl<'a> Column<'a> {
    fn new(table: &Table, name: &'a str) -> Self {
        let texts: Vec<String> = table
            .records
            .iter()
            .filter_map(|record| record.fields.get(name))
            .map(text_of)
            .filter(|text| !text.trim().is_empty())
            .collect();
        let count = texts.len().max(1) as f64;
        Self {
            name,
            values: texts.len(),
            characters: texts.iter().map(|text| text.chars().count()).sum::<usize>() as f64 / count,
            words: texts
                .iter()
                .map(|text| text.split_whitespace().count())
                .sum::<usize>() as f64
                / count,
            distinct: texts.into_iter().collect(),
        }
    }

    fn is_number(&self) -> bool {
        self.distinct
            .iter()
            .all(|text| text.trim().parse::<f64>().is_ok())
    }

    /// Few values, often repeated, short.
    fn could_be_label(&self) -> bool {
        let distinct = self.distinct.len();
        (2..=MOST_LABELS).contains(&distinct) && distinct * 2 <= self.values && self.words <= 6.0
    }
}

/// Guesses the columns; `None` when no column looks like text.
pub(super) fn guess(table: &Table, wishes: &Wishes) -> Option<Guess> {
    let columns: Vec<Column<'_>> = table
        .columns
        .iter()
        .map(|name| Column::new(table, name))
        .collect();
    let mut reasons = Vec::new();
    let text = text_column(&columns, wishes, &mut reasons)?;
    let label = label_column(table, &columns, text, wishes, &mut reasons);
    let answer = answer_of(table, &columns, label.as_deref());
    if let Answer::Object { fields } = &answer {
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        reasons.push(format!(
            "its answers are JSON objects with the fields {}",
            names.join(", ")
        ));
    }
    Some(Guess {
        text: text.to_owned(),
        label,
        answer,
        reasons,
    })
}

fn text_column<'a>(
    columns: &'a [Column<'_>],
    wishes: &Wishes,
    reasons: &mut Vec<String>,
) -> Option<&'a str> {
    if let Some(name) = &wishes.text {
        reasons.push(format!("text: column `{name}`, as you said"));
        return columns
            .iter()
            .map(|column| column.name)
            .find(|column| column == name);
    }
    let candidates = || {
        columns.iter().filter(|column| {
            column.values > 0 && !column.is_number() && wishes.label.as_deref() != Some(column.name)
        })
    };
    let named = TEXT_NAMES
        .iter()
        .find_map(|name| candidates().find(|column| column.name.eq_ignore_ascii_case(name)));
    if let Some(column) = named {
        reasons.push(format!(
            "text: column `{}`, by its name ({:.0} characters on average)",
            column.name, column.characters
        ));
        return Some(column.name);
    }
    let longest = candidates()
        .filter(|column| !column.could_be_label())
        .max_by(|left, right| left.characters.total_cmp(&right.characters))?;
    reasons.push(format!(
        "text: column `{}`, the longest ({:.0} characters on average)",
        longest.name, longest.characters
    ));
    Some(longest.name)
}

fn label_column(
    table: &Table,
    columns: &[Column<'_>],
    text: &str,
    wishes: &Wishes,
    reasons: &mut Vec<String>,
) -> Option<String> {
    if let Some(name) = &wishes.label {
        reasons.push(format!("answer: column `{name}`, as you said"));
        return Some(name.clone());
    }
    let candidates = || {
        columns
            .iter()
            .filter(|column| column.name != text && column.values > 0)
    };
    let fits = |column: &&Column<'_>| {
        column.could_be_label() || object_fields(table, column.name).is_some()
    };
    let named = LABEL_NAMES.iter().find_map(|name| {
        candidates()
            .filter(fits)
            .find(|column| column.name.eq_ignore_ascii_case(name))
    });
    if let Some(column) = named {
        reasons.push(format!(
            "answer: column `{}`, by its name ({} distinct values)",
            column.name,
            column.distinct.len()
        ));
        return Some(column.name.to_owned());
    }
    let mut fitting: Vec<&Column<'_>> = candidates()
        .filter(fits)
        .filter(|column| !column.is_number())
        .collect();
    fitting.sort_by_key(|column| column.distinct.len());
    let Some(column) = fitting.first() else {
        reasons.push(
            "answer: no column has few values that are often repeated, or JSON objects".to_owned(),
        );
        return None;
    };
    let mut reason = format!(
        "answer: column `{}`, with {} distinct values in {} rows",
        column.name,
        column.distinct.len(),
        column.values
    );
    if fitting.len() > 1 {
        let others: Vec<String> = fitting[1..]
            .iter()
            .map(|column| format!("`{}`", column.name))
            .collect();
        reason.push_str(
            &format_args!(
                " (could also be {}: say so with `--label`)",
                others.join(", ")
            )
            .to_string(),
        );
    }
    reasons.push(reason);
    Some(column.name.to_owned())
}

fn answer_of(table: &Table, columns: &[Column<'_>], label: Option<&str>) -> Answer {
    let Some(label) = label else {
        return Answer::Label { labels: Vec::new() };
    };
    if let Some(fields) = object_fields(table, label) {
        return Answer::Object { fields };
    }
    let column = columns.iter().find(|column| column.name == label);
    let labels: BTreeSet<String> = column
        .into_iter()
        .flat_map(|column| &column.distinct)
        .map(|text| text.trim().to_owned())
        .collect();
    Answer::Label {
        labels: labels.into_iter().collect(),
    }
}

/// The fields of a column whose every value is a flat JSON object, with their types.
fn object_fields(table: &Table, column: &str) -> Option<Vec<(String, &'static str)>> {
    let mut fields: BTreeMap<String, &'static str> = BTreeMap::new();
    for record in &table.records {
        let object = match record.fields.get(column) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) if text.trim().is_empty() => continue,
            Some(Value::String(text)) => serde_json::from_str(text).ok()?,
            Some(value) => value.clone(),
        };
        let Value::Object(object) = object else {
            return None;
        };
        for (name, value) in object {
            let kind = match value {
                Value::String(_) => "string",
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_f64() => "number",
                Value::Number(_) => "integer",
                Value::Null | Value::Array(_) | Value::Object(_) => return None,
            };
            let known = fields.entry(name).or_insert(kind);
            if *known != kind {
                let numbers = ["number", "integer"];
                if !(numbers.contains(known) && numbers.contains(&kind)) {
                    return None;
                }
                *known = "number";
            }
        }
    }
    (!fields.is_empty()).then(|| fields.into_iter().collect())
}

/// A value as text: itself, or its JSON.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
