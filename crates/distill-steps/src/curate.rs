//! `curate`: turns labelled rows into training examples, and says what it took out and why.
//!
//! Rows are compared as the model sees them: the rendered user message, context included. Near
//! duplicates share at least [`NEAR_DUPLICATE`] of their word trigrams (Jaccard index); texts of
//! fewer than [`SHORT_WORDS`] words count as the same only when they are equal, because "yes" is
//! not a copy of "yes please".

use std::collections::{BTreeMap, HashMap, HashSet};

use distill_chat::{Role, Task, TaskKind};
use serde::{Deserialize, Serialize};

use crate::rows::{AnswerRow, AnswerStatus, Example, Row};

/// Shared word trigrams (Jaccard) from which two texts count as near duplicates.
pub const NEAR_DUPLICATE: f64 = 0.8;
/// Texts with fewer words than this are compared for equality only.
pub const SHORT_WORDS: usize = 5;

/// Why a row is not a training example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    /// The rendered prompt is empty.
    Empty,
    /// Nobody answered this row.
    Unlabelled,
    Invalid,
    Truncated,
    Refused,
    /// Another row asks the same and has the same answer.
    Duplicate,
    /// Another row asks the same and has another answer: the first is kept.
    Conflict,
    /// A row of the test set asks the same or nearly the same.
    Leaked,
}

/// One row that was taken out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemovedRow {
    pub id: String,
    pub reason: Removal,
    /// The row it repeats, where it repeats one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<String>,
    /// The start of the rendered text.
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What curation did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curation {
    pub rows: usize,
    pub kept: usize,
    pub removed: BTreeMap<Removal, usize>,
    pub removed_rows: Vec<RemovedRow>,
}

/// A row that cannot be rendered with the task's templates.
#[derive(Debug, thiserror::Error)]
#[error("row `{id}` cannot be rendered")]
pub struct CurateError {
    pub id: String,
    #[source]
    pub source: distill_chat::TaskError,
}

/// Sorts training rows into examples and removed rows.
///
/// `answers` are the teacher's; without them the rows' gold answers are used. `test` is what the
/// students will be judged on.
///
/// # Errors
/// [`CurateError`] for the first row that lacks a column the prompt reads.
pub fn curate(
    task: &Task,
    rows: &[Row],
    answers: Option<&[AnswerRow]>,
    test: &[Row],
) -> Result<(Vec<Example>, Curation), CurateError> {
    let answers: Option<HashMap<&str, &AnswerRow>> = answers.map(|answers| {
        answers
            .iter()
            .map(|answer| (answer.id.as_str(), answer))
            .collect()
    });
    let test_texts = test
        .iter()
        .map(|row| Ok((row.id.clone(), text_of(task, row)?)))
        .collect::<Result<Vec<_>, CurateError>>()?;
    let tests = TextIndex::new(&test_texts);
    let mut seen: HashMap<String, (String, String)> = HashMap::new();
    let mut examples = Vec::new();
    let mut curation = Curation {
        rows: rows.len(),
        ..Curation::default()
    };
    for row in rows {
        let text = text_of(task, row)?;
        let verdict = label_of(task.definition().kind, row, answers.as_ref()).and_then(|answer| {
            let normal = normalised(&text);
            if normal.is_empty() {
                return Err((Removal::Empty, None, None));
            }
            if let Some((test, how)) = tests.twin(&text) {
                return Err((Removal::Leaked, Some(test.to_owned()), Some(how.to_owned())));
            }
            if let Some((first, given)) = seen.get(&normal) {
                let reason = if *given == answer {
                    Removal::Duplicate
                } else {
                    Removal::Conflict
                };
                return Err((reason, Some(first.clone()), None));
            }
            seen.insert(normal, (row.id.clone(), answer.clone()));
            Ok(answer)
        });
        match verdict {
            Ok(answer) => examples.push(Example {
                id: row.id.clone(),
                fields: row.fields.clone(),
                answer,
            }),
            Err((reason, repeats, detail)) => {
                *curation.removed.entry(reason).or_default() += 1;
                curation.removed_rows.push(RemovedRow {
                    id: row.id.clone(),
                    reason,
                    repeats,
                    text: text.chars().take(160).collect(),
                    detail,
                });
            }
        }
    }
    curation.kept = examples.len();
    Ok((examples, curation))
}

type Removed = (Removal, Option<String>, Option<String>);

fn label_of(
    kind: TaskKind,
    row: &Row,
    answers: Option<&HashMap<&str, &AnswerRow>>,
) -> Result<String, Removed> {
    let Some(answers) = answers else {
        return row
            .gold
            .as_deref()
            .map(|gold| kind.first_reference(gold))
            .ok_or((Removal::Unlabelled, None, None));
    };
    let Some(answer) = answers.get(row.id.as_str()) else {
        return Err((Removal::Unlabelled, None, None));
    };
    let reason = match answer.status {
        AnswerStatus::Answered => {
            return answer
                .answer
                .clone()
                .ok_or((Removal::Unlabelled, None, None));
        }
        AnswerStatus::Invalid => Removal::Invalid,
        AnswerStatus::Truncated => Removal::Truncated,
        AnswerStatus::Refused => Removal::Refused,
        AnswerStatus::Failed => Removal::Unlabelled,
    };
    Err((reason, None, answer.reason.clone()))
}

/// The rendered user message of a row.
fn text_of(task: &Task, row: &Row) -> Result<String, CurateError> {
    let messages = task.messages(&row.fields).map_err(|source| CurateError {
        id: row.id.clone(),
        source,
    })?;
    let user = messages
        .into_iter()
        .rfind(|message| message.role == Role::User);
    Ok(user.map(|message| message.content).unwrap_or_default())
}

/// Lower case, words only, single spaces: what two texts must share to count as equal.
fn normalised(text: &str) -> String {
    words(text).join(" ")
}

fn words(text: &str) -> Vec<String> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Word trigrams as hashes: the set that the Jaccard index is taken over.
fn trigrams(words: &[String]) -> HashSet<u64> {
    words
        .windows(3)
        .map(|window| {
            let mut hash = 0xcbf2_9ce4_8422_2325_u64;
            for byte in window.iter().flat_map(|word| word.bytes().chain([0])) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
            hash
        })
        .collect()
}

/// Finds a text's equal or near duplicate among many, by an inverted index over trigrams.
struct TextIndex<'a> {
    equal: HashMap<String, &'a str>,
    sizes: Vec<(&'a str, usize)>,
    by_trigram: HashMap<u64, Vec<usize>>,
}

impl<'a> TextIndex<'a> {
    fn new(texts: &'a [(String, String)]) -> Self {
        let mut index = Self {
            equal: HashMap::new(),
            sizes: Vec::new(),
            by_trigram: HashMap::new(),
        };
        for (id, text) in texts {
            let words = words(text);
            index.equal.entry(words.join(" ")).or_insert(id);
            if words.len() >= SHORT_WORDS {
                let grams = trigrams(&words);
                let position = index.sizes.len();
                index.sizes.push((id, grams.len()));
                for gram in grams {
                    index.by_trigram.entry(gram).or_default().push(position);
                }
            }
        }
        index
    }

    /// The test row that a text repeats, and how.
    fn twin(&self, text: &str) -> Option<(&'a str, &'static str)> {
        let words = words(text);
        if let Some(id) = self.equal.get(&words.join(" ")) {
            return Some((id, "equal but for case and punctuation"));
        }
        if words.len() < SHORT_WORDS {
            return None;
        }
        let grams = trigrams(&words);
        let mut shared: BTreeMap<usize, usize> = BTreeMap::new();
        for position in grams
            .iter()
            .filter_map(|gram| self.by_trigram.get(gram))
            .flatten()
        {
            *shared.entry(*position).or_default() += 1;
        }
        shared.into_iter().find_map(|(position, both)| {
            let (id, size) = self.sizes[position];
            let union = size + grams.len() - both;
            (both as f64 >= NEAR_DUPLICATE * union as f64).then_some((
                id,
                "near duplicate: at least 0.8 of the word trigrams shared",
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use distill_chat::TaskDefinition;
    use serde_json::json;

    use super::*;

    fn task() -> Task {
        Task::new(TaskDefinition {
            kind: TaskKind::Classify,
            system: None,
            prompt: "{% if asked %}(asked: {{ asked }}) {% endif %}{{ text }}".into(),
            labels: vec!["a".into(), "b".into()],
            schema: None,
        })
        .unwrap()
    }

    fn row(id: &str, text: &str, asked: &str, gold: &str) -> Row {
        Row {
            id: id.into(),
            fields: json!({"text": text, "asked": asked})
                .as_object()
                .unwrap()
                .clone(),
            gold: Some(gold.into()),
        }
    }

    fn reasons(rows: &[Row], test: &[Row]) -> Vec<(String, Removal, Option<String>)> {
        let (examples, curation) = curate(&task(), rows, None, test).unwrap();
        assert_eq!(examples.len() + curation.removed_rows.len(), rows.len());
        curation
            .removed_rows
            .into_iter()
            .map(|row| (row.id, row.reason, row.repeats))
            .collect()
    }

    #[test]
    fn equal_and_nearly_equal_test_texts_are_leaks_whatever_case_and_marks() {
        let test = [row(
            "t1",
            "When will the parcel that I ordered on Monday finally arrive here?",
            "",
            "a",
        )];
        let rows = [
            row(
                "1",
                "when will the parcel that i ordered on monday finally arrive here",
                "",
                "a",
            ),
            row(
                "2",
                "So when will the parcel that I ordered on Monday finally arrive here?",
                "",
                "a",
            ),
            row("3", "When will the parcel arrive?", "", "a"),
        ];
        assert_eq!(
            reasons(&rows, &test),
            [
                ("1".into(), Removal::Leaked, Some("t1".into())),
                ("2".into(), Removal::Leaked, Some("t1".into()))
            ]
        );
    }

    #[test]
    fn a_short_text_leaks_only_when_equal_with_its_context() {
        let test = [row("t1", "13", "time", "a"), row("t2", "yes", "", "a")];
        let rows = [
            row("1", "13", "people", "a"),
            row("2", "13", "time", "a"),
            row("3", "yes please", "", "a"),
        ];
        assert_eq!(
            reasons(&rows, &test),
            [("2".into(), Removal::Leaked, Some("t1".into()))]
        );
    }

    #[test]
    fn duplicates_and_conflicts_keep_the_first() {
        let rows = [
            row("1", "hello", "", "a"),
            row("2", "Hello!", "", "a"),
            row("3", "hello", "", "b"),
        ];
        assert_eq!(
            reasons(&rows, &[]),
            [
                ("2".into(), Removal::Duplicate, Some("1".into())),
                ("3".into(), Removal::Conflict, Some("1".into()))
            ]
        );
    }

    #[test]
    fn a_row_without_a_usable_answer_is_counted_by_its_reason() {
        let rows = [
            row("1", "one", "", "a"),
            row("2", "two", "", "a"),
            row("3", "three", "", "a"),
            row("4", "", "", "a"),
        ];
        let answer = |id: &str, status, answer: Option<&str>| AnswerRow {
            id: id.into(),
            status,
            answer: answer.map(Into::into),
            reply: None,
            model: None,
            reason: None,
        };
        let answers = [
            answer("1", AnswerStatus::Answered, Some("b")),
            answer("2", AnswerStatus::Truncated, None),
            answer("4", AnswerStatus::Answered, Some("a")),
        ];
        let (examples, curation) = curate(&task(), &rows, Some(&answers), &[]).unwrap();
        assert_eq!(
            examples
                .iter()
                .map(|example| example.answer.as_str())
                .collect::<Vec<_>>(),
            ["b"]
        );
        assert_eq!(
            curation.removed,
            BTreeMap::from([
                (Removal::Truncated, 1),
                (Removal::Unlabelled, 1),
                (Removal::Empty, 1)
            ])
        );
    }
}
