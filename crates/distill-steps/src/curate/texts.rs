//! What two rows are compared by: the whole question as rendered, and apart from it the row's own
//! text and the context that the prompt puts around it.

use std::collections::HashSet;

use distill_chat::{Fields, Role, Task};
use serde_json::Value;

use super::{CurateError, SHORT_WORDS};
use crate::rows::Row;

/// Stands for the text where only the context around it is wanted. White space and an empty text
/// would not do: a template may ask whether there is any.
const TEXT_MARK: &str = "\u{fffc}";

/// How alike two texts are, the closest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Equality {
    /// Byte for byte.
    Exact,
    /// After lower-casing and folding white space.
    Folded,
    /// After taking off sentence punctuation too.
    Normalised,
}

impl Equality {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Exact => "equal",
            Self::Folded => "equal but for case and white space",
            Self::Normalised => "equal but for case and punctuation",
        }
    }
}

/// A row as it is asked.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    /// The user message: what is shown of the row.
    pub user: String,
    /// All messages, system message included.
    whole: String,
    /// [`normalised`] of `whole`.
    pub normal: String,
    /// The row's own text: the column that says most, or the whole question where there is no such column.
    pub text: String,
    /// What the prompt puts around the text, normalised. Two rows with different contexts ask
    /// different things, whatever their texts.
    pub context: String,
}

impl Rendered {
    /// How two rows with the same [`Rendered::normal`] are alike.
    pub(super) fn equality(&self, other: &Self) -> Equality {
        if self.whole == other.whole {
            Equality::Exact
        } else if folded(&self.whole) == folded(&other.whole) {
            Equality::Folded
        } else {
            Equality::Normalised
        }
    }

    /// Word trigrams of the text, hashed together with the context; sorted, each once. `None` for a
    /// text that is too short to be anything but equal or different.
    pub(super) fn grams(&self) -> Option<Vec<u64>> {
        let words = words(&self.text);
        if words.len() < SHORT_WORDS {
            return None;
        }
        let start = fnv(FNV_START, self.context.bytes());
        let mut grams: Vec<u64> = words
            .windows(3)
            .map(|window| {
                fnv(
                    start,
                    window.iter().flat_map(|word| word.bytes().chain([0])),
                )
            })
            .collect();
        grams.sort_unstable();
        grams.dedup();
        Some(grams)
    }
}

/// Renders rows for comparison.
pub(super) struct Renderer<'a> {
    task: &'a Task,
    /// The column that holds the text; the others that the prompt reads are its context.
    text_column: Option<String>,
}

impl<'a> Renderer<'a> {
    /// The text is the column with the most characters over its distinct values, of those that the
    /// prompt reads and that hold text: a context repeats from row to row, what is asked does not.
    pub(super) fn new(task: &'a Task, rows: &[&[Row]]) -> Self {
        let characters = |column: &str| -> usize {
            let rows = rows.iter().copied().flatten();
            let values: HashSet<&str> = rows
                .filter_map(|row| row.fields.get(column).and_then(Value::as_str))
                .collect();
            values.into_iter().map(str::len).sum()
        };
        let mut text_column = None;
        let mut most = 0;
        for column in task.referenced_columns() {
            let length = characters(&column);
            if length > most {
                (text_column, most) = (Some(column), length);
            }
        }
        Self { task, text_column }
    }

    pub(super) fn render(&self, row: &Row) -> Result<Rendered, CurateError> {
        let (user, whole) = self.messages(&row.fields).map_err(|source| CurateError {
            id: row.id.clone(),
            source,
        })?;
        let apart = self.text_column.as_ref().and_then(|column| {
            let text = row.fields.get(column)?.as_str()?.to_owned();
            let mut around = row.fields.clone();
            around.insert(column.clone(), TEXT_MARK.into());
            // A template that cannot take the mark in place of the text has its rows compared whole.
            let (_, context) = self.messages(&around).ok()?;
            let context = normalised(&context.replace(TEXT_MARK, " "));
            Some((text, context))
        });
        let (text, context) = apart.unwrap_or_else(|| (user.clone(), String::new()));
        Ok(Rendered {
            normal: normalised(&whole),
            user,
            whole,
            text,
            context,
        })
    }

    /// The user message, and all messages as one text.
    fn messages(&self, fields: &Fields) -> Result<(String, String), distill_chat::TaskError> {
        let messages = self.task.messages(fields)?;
        let whole: Vec<&str> = messages
            .iter()
            .map(|message| message.content.as_str())
            .collect();
        let whole = whole.join("\n");
        let user = messages
            .into_iter()
            .rfind(|message| message.role == Role::User);
        Ok((user.map(|user| user.content).unwrap_or_default(), whole))
    }
}

/// Lower case and single spaces.
pub(super) fn folded(text: &str) -> String {
    let lower = text.to_lowercase();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Lower case, words only, single spaces: what two texts must share to count as equal. A text of
/// punctuation alone is only folded: "?" is not "!".
pub(super) fn normalised(text: &str) -> String {
    let words = words(text);
    if words.is_empty() {
        folded(text)
    } else {
        words.join(" ")
    }
}

/// Lower-case words. Sentence punctuation parts them; signs that carry meaning stay, so that "C#",
/// "-5" and "50%" are not "C", "5" and "50". A character of a script that puts no space between
/// words is a word of its own.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut before = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let minus = character == '-'
            && !before.is_alphanumeric()
            && characters.peek().is_some_and(char::is_ascii_digit);
        let parts = character.is_whitespace() || (is_punctuation(character) && !minus);
        let alone = is_unspaced(character);
        if (parts || alone) && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if alone {
            words.push(character.to_string());
        } else if !parts {
            word.extend(character.to_lowercase());
        }
        before = character;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn is_punctuation(character: char) -> bool {
    matches!(
        character,
        '.' | ','
            | ';'
            | ':'
            | '!'
            | '?'
            | '"'
            | '\''
            | '`'
            | '('
            | ')'
            | '['
            | ']'
            | '{'
            | '}'
            | '-'
            | '_'
            | '¿'
            | '¡'
            | '«'
            | '»'
            | '·'
            | '。'
            | '、'
            | '，'
            | '！'
            | '？'
            | '：'
            | '；'
            | '（'
            | '）'
            | '「'
            | '」'
            | '\u{2010}'..='\u{2027}'
    )
}

/// Thai, kana and Chinese characters.
fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{e00}'..='\u{e7f}' | '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}')
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the same on every machine and in every version.
fn fnv(start: u64, bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
