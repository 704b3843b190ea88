//! `curate`: turns labelled rows into training examples, and says what it took out and why.
//!
//! Rows are compared as the model is asked them: all rendered messages, context included. Two rows
//! are the same when they are equal but for case, white space and sentence punctuation. They are
//! near duplicates when the prompt puts the same context around both texts and the texts share at
//! least [`NEAR_DUPLICATE`] of their word trigrams (Jaccard index); texts of fewer than
//! [`SHORT_WORDS`] words are the same only when they are equal, because "yes" is not a copy of "yes
//! please", and "13" after "what time?" is not "13" after "how many?".
//!
//! Training rows that the test rows repeat are removed, test rows never are: the questions that the
//! verdict rests on stay those that the user brought. A question that stands among them twice is
//! listed and kept, and counts twice: rows are taken as drawn from what users ask, where a frequent
//! question is drawn often. Where repeats come from how the set was made instead, `evals.group`
//! makes them one cluster.

use std::collections::{BTreeMap, HashMap};

use distill_chat::{Task, TaskKind};
use serde::{Deserialize, Serialize};

use crate::rows::{AnswerRow, AnswerStatus, Example, Row};

mod lists;
mod near;
mod shared;
#[cfg(test)]
mod tests;
mod texts;

use near::NearIndex;
use texts::{Rendered, Renderer, normalised};

/// Shared word trigrams (Jaccard) from which two texts count as near duplicates.
pub const NEAR_DUPLICATE: f64 = 0.8;
/// Texts with fewer words than this are compared for equality only.
pub const SHORT_WORDS: usize = 5;
/// Characters of a text that lists show.
const SHOWN_CHARACTERS: usize = 160;

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
    /// Other rows ask the same and more of them have another answer, or as many.
    Conflict,
    /// A row of the test set asks the same or nearly the same.
    Leaked,
}

impl Removal {
    /// As reports name it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Empty => "empty text",
            Self::Unlabelled => "no label",
            Self::Invalid => "the label is no valid answer",
            Self::Truncated => "the label was cut off",
            Self::Refused => "the teacher refused",
            Self::Duplicate => "duplicate with the same label",
            Self::Conflict => "duplicate with another label",
            Self::Leaked => "stands in the test rows too",
        }
    }
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

/// A test row whose text stands in the training rows too, and what was done about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharedText {
    pub eval_id: String,
    /// The text alone, without the context.
    pub text: String,
    /// What the prompt puts around the text, normalised; empty where it puts nothing.
    pub context: String,
    /// How alike the texts are: "equal", "equal but for case and white space", "equal but for case
    /// and punctuation".
    pub how: String,
    /// Training rows with this text and this context: taken out.
    pub removed: Listed,
    /// Training rows with this text in another context, which ask something else: kept.
    pub kept: Listed,
    /// Training rows with this text that were taken out for another reason.
    pub otherwise: Listed,
    /// What was done, in one sentence.
    pub why: String,
}

/// Rows, counted and the first of them named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub rows: usize,
    pub ids: Vec<String>,
}

/// A row that repeats an earlier one of the same file and was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RepeatedRow {
    pub id: String,
    /// The earlier row.
    pub of: String,
    /// The start of the rendered text.
    pub text: String,
    /// Such as "equal", or "near duplicate: 0.91 of the word trigrams shared".
    pub how: String,
    /// Both rows' answers, where they differ: this row's, the earlier one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<(String, String)>,
}

/// What curation did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curation {
    pub rows: usize,
    pub kept: usize,
    pub removed: BTreeMap<Removal, usize>,
    /// All of them, in the order of the file.
    pub removed_rows: Vec<RemovedRow>,
    /// Test rows whose text stands in the training rows too, in the order of the file.
    #[serde(default)]
    pub shared_texts: Vec<SharedText>,
    /// Test rows that repeat an earlier test row; they stay and count.
    #[serde(default)]
    pub eval_duplicates: Vec<RepeatedRow>,
    /// Kept training rows of which an earlier kept one is a near duplicate with the same answer.
    #[serde(default)]
    pub near_duplicates_kept: usize,
    /// Kept training rows of which an earlier kept one is a near duplicate with another answer.
    #[serde(default)]
    pub near_conflicts: Vec<RepeatedRow>,
    /// The rule that rows were compared by, in words.
    #[serde(default)]
    pub rule: String,
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
/// students will be judged on. Of equal rows with different answers the answer of the most rows is
/// kept; with no such majority nobody knows which is right, and none is.
///
/// # Errors
/// [`CurateError`] for the first row that lacks a column the prompt reads.
pub fn curate(
    task: &Task,
    rows: &[Row],
    answers: Option<&[AnswerRow]>,
    test: &[Row],
) -> Result<(Vec<Example>, Curation), CurateError> {
    let kind = task.definition().kind;
    let renderer = Renderer::new(task, &[rows, test]);
    let asked = render_all(&renderer, rows)?;
    let tested = render_all(&renderer, test)?;
    let answers: Option<HashMap<&str, &AnswerRow>> = answers.map(|answers| {
        answers
            .iter()
            .map(|answer| (answer.id.as_str(), answer))
            .collect()
    });
    let tests = Tests::new(test, &tested);
    let mut verdicts: Vec<Result<String, Removed>> = rows
        .iter()
        .zip(&asked)
        .map(|(row, asked)| {
            let answer = label_of(kind, row, answers.as_ref())?;
            if asked.user.trim().is_empty() {
                return Err(Removed::new(Removal::Empty));
            }
            tests.leak(asked).map_or(Ok(answer), Err)
        })
        .collect();
    settle_repeats(kind, rows, &asked, &mut verdicts);

    let mut curation = Curation {
        rows: rows.len(),
        shared_texts: shared::texts((test, &tested), (rows, &asked), &verdicts),
        eval_duplicates: shared::repeated(kind, test, &tested),
        rule: rule(),
        ..Curation::default()
    };
    let mut examples = Vec::new();
    let mut kept = Vec::new();
    for ((row, asked), verdict) in rows.iter().zip(&asked).zip(verdicts) {
        match verdict {
            Ok(answer) => {
                kept.push(asked);
                let given = answers.as_ref().and_then(|all| all.get(row.id.as_str()));
                examples.push(Example {
                    id: row.id.clone(),
                    fields: row.fields.clone(),
                    // Of equal rows one answer was kept: what was said belongs to that answer alone.
                    token_logprobs: given
                        .filter(|given| given.answer.as_ref() == Some(&answer))
                        .and_then(|given| given.token_logprobs.clone()),
                    answer,
                });
            }
            Err(removed) => {
                *curation.removed.entry(removed.reason).or_default() += 1;
                curation.removed_rows.push(RemovedRow {
                    id: row.id.clone(),
                    reason: removed.reason,
                    repeats: removed.repeats,
                    text: shown(&asked.user),
                    detail: removed.detail,
                });
            }
        }
    }
    curation.kept = examples.len();
    shared::near_within(kind, &examples, &kept, &mut curation);
    Ok((examples, curation))
}

/// Takes the examples that repeat one of `apart` out, by the rule that parts training from test rows.
///
/// # Errors
/// [`CurateError`] for the first row that lacks a column the prompt reads.
pub(crate) fn without_repeats_of(
    task: &Task,
    examples: Vec<Example>,
    apart: &[Example],
) -> Result<Vec<Example>, CurateError> {
    let rows = |examples: &[Example]| -> Vec<Row> {
        examples
            .iter()
            .map(|example| Row {
                id: example.id.clone(),
                fields: example.fields.clone(),
                gold: None,
            })
            .collect()
    };
    let (asked, apart) = (rows(&examples), rows(apart));
    let renderer = Renderer::new(task, &[&asked, &apart]);
    let tested = render_all(&renderer, &apart)?;
    let tests = Tests::new(&apart, &tested);
    let asked = render_all(&renderer, &asked)?;
    Ok(examples
        .into_iter()
        .zip(asked)
        .filter(|(_, asked)| tests.leak(asked).is_none())
        .map(|(example, _)| example)
        .collect())
}

/// The rule in words, with its thresholds, for the report.
fn rule() -> String {
    format!(
        "rows are compared as rendered, context included; equal means equal but for case, white \
         space and sentence punctuation; near duplicates have the same context and share at least \
         {NEAR_DUPLICATE} of the word trigrams of their texts (Jaccard index), which is looked at \
         for texts of {SHORT_WORDS} words and more; shorter ones count only when equal"
    )
}

fn render_all(renderer: &Renderer<'_>, rows: &[Row]) -> Result<Vec<Rendered>, CurateError> {
    rows.iter().map(|row| renderer.render(row)).collect()
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS).collect()
}

fn near_text(similarity: f64) -> String {
    format!("near duplicate: {similarity:.2} of the word trigrams shared")
}

/// Why a row is taken out.
#[derive(Debug, Clone)]
struct Removed {
    reason: Removal,
    repeats: Option<String>,
    detail: Option<String>,
}

impl Removed {
    fn new(reason: Removal) -> Self {
        Self {
            reason,
            repeats: None,
            detail: None,
        }
    }
}

/// The test rows, ready to be searched for one that a training row repeats.
struct Tests<'a> {
    rows: &'a [Row],
    rendered: &'a [Rendered],
    equal: HashMap<&'a str, usize>,
    near: NearIndex,
}

impl<'a> Tests<'a> {
    fn new(rows: &'a [Row], rendered: &'a [Rendered]) -> Self {
        let mut equal = HashMap::new();
        for (index, row) in rendered.iter().enumerate() {
            equal.entry(row.normal.as_str()).or_insert(index);
        }
        let sets: Vec<_> = rendered.iter().map(Rendered::grams).collect();
        Self {
            rows,
            rendered,
            equal,
            near: NearIndex::new(&sets),
        }
    }

    fn leak(&self, asked: &Rendered) -> Option<Removed> {
        let leaked = |index: usize, how: String| Removed {
            reason: Removal::Leaked,
            repeats: Some(self.rows[index].id.clone()),
            detail: Some(how),
        };
        if let Some(index) = self.equal.get(asked.normal.as_str()).copied() {
            let how = asked.equality(&self.rendered[index]).text().to_owned();
            return Some(leaked(index, how));
        }
        let near = self.near.nearest(&asked.grams()?, |_| true)?;
        Some(leaked(near.position, near_text(near.similarity)))
    }
}

/// Leaves one of each group of equal rows: the first with the answer of the majority.
fn settle_repeats(
    kind: TaskKind,
    rows: &[Row],
    asked: &[Rendered],
    verdicts: &mut [Result<String, Removed>],
) {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, asked) in asked.iter().enumerate() {
        if verdicts[index].is_ok() {
            groups.entry(&asked.normal).or_default().push(index);
        }
    }
    for group in groups.into_values().filter(|group| group.len() > 1) {
        let answers: Vec<String> = group
            .iter()
            .filter_map(|index| verdicts[*index].clone().ok())
            .collect();
        let keys: Vec<String> = answers
            .iter()
            .map(|answer| answer_key(kind, answer))
            .collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for key in &keys {
            *votes.entry(key).or_default() += 1;
        }
        let most = votes.values().max().copied().unwrap_or(0);
        let mut winners = votes.iter().filter(|(_, count)| **count == most);
        let winner = match (winners.next(), winners.next()) {
            (Some((winner, _)), None) => Some(*winner),
            _ => None,
        };
        let detail = (votes.len() > 1).then(|| {
            let votes: Vec<String> = votes
                .iter()
                .map(|(answer, count)| format!("`{answer}` {count}"))
                .collect();
            format!("rows by answer: {}", votes.join(", "))
        });
        let first = |wanted: &dyn Fn(&str) -> bool| {
            let position = keys.iter().position(|key| wanted(key));
            position.map(|position| group[position])
        };
        let keeper = winner.and_then(|winner| first(&|key| key == winner));
        for (index, key) in group.iter().zip(&keys) {
            if keeper == Some(*index) {
                continue;
            }
            let same = winner == Some(key.as_str());
            let repeats = keeper.or_else(|| first(&|other| other != key));
            verdicts[*index] = Err(Removed {
                reason: if same {
                    Removal::Duplicate
                } else {
                    Removal::Conflict
                },
                repeats: repeats.map(|index| rows[index].id.clone()),
                detail: if same { None } else { detail.clone() },
            });
        }
    }
}

/// What two answers to equal questions must share to be one answer. Words taken from the texts may
/// differ as far as equal texts do; labels may not.
fn answer_key(kind: TaskKind, answer: &str) -> String {
    match kind {
        TaskKind::Classify => answer.to_owned(),
        TaskKind::Extract | TaskKind::Generate => normalised(answer),
    }
}

fn same_answer(kind: TaskKind, one: &str, other: &str) -> bool {
    answer_key(kind, one) == answer_key(kind, other)
}

fn label_of(
    kind: TaskKind,
    row: &Row,
    answers: Option<&HashMap<&str, &AnswerRow>>,
) -> Result<String, Removed> {
    let unlabelled = || Removed::new(Removal::Unlabelled);
    let Some(answers) = answers else {
        return row
            .gold
            .as_deref()
            .map(|gold| kind.first_reference(gold))
            .ok_or_else(unlabelled);
    };
    let answer = answers.get(row.id.as_str()).ok_or_else(unlabelled)?;
    let reason = match answer.status {
        AnswerStatus::Answered => return answer.answer.clone().ok_or_else(unlabelled),
        AnswerStatus::Invalid => Removal::Invalid,
        AnswerStatus::Truncated => Removal::Truncated,
        AnswerStatus::Refused => Removal::Refused,
        AnswerStatus::Failed => Removal::Unlabelled,
    };
    Err(Removed {
        detail: answer.reason.clone(),
        ..Removed::new(reason)
    })
}
