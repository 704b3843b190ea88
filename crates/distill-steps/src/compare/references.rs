//! Which answer counts as right on each row, and who says so.

use std::collections::{BTreeMap, BTreeSet};

use distill_eval::{ExpectedBy, Reference, SampleRecord};
use distill_report::Counted;
use distill_runner::StepFailure;

use super::records::Evidence;
use crate::{
    Arm,
    human::{Design, Labels},
};

/// By row id.
pub(super) type References = BTreeMap<String, (String, ExpectedBy)>;

/// A person's answer where there is one, else the column's, else the teacher's.
///
/// # Errors
/// A [`StepFailure`] when no row has any.
pub(super) fn references(evidence: &Evidence) -> Result<(References, Vec<String>), StepFailure> {
    let teacher: BTreeMap<&str, &str> = evidence
        .hosted
        .get(&crate::compile::step_name(&Arm::Teacher))
        .iter()
        .flat_map(|(answers, _)| answers)
        .filter_map(|answer| Some((answer.id.as_str(), answer.answer.as_deref()?)))
        .collect();
    let mut references = References::new();
    let human = evidence
        .human
        .as_ref()
        .map(Labels::answers)
        .unwrap_or_default();
    for row in &evidence.rows {
        let human = human.get(&row.id).map(String::as_str);
        let found = human
            .map(|answer| (answer, ExpectedBy::Human))
            .or_else(|| Some((row.gold.as_deref()?, ExpectedBy::Gold)))
            .or_else(|| Some((*teacher.get(row.id.as_str())?, ExpectedBy::Teacher)));
        if let Some((answer, by)) = found {
            references.insert(row.id.clone(), (answer.to_owned(), by));
        }
    }
    if references.is_empty() && !evidence.rows.is_empty() {
        return Err(StepFailure::bad_input("there is nothing to judge the answers by: the test rows have no gold column and no teacher answered them")
            .hint("name the column with the right answers in `evals.gold`, or give a `teacher`"));
    }
    let rows: BTreeSet<&str> = evidence.rows.iter().map(|row| row.id.as_str()).collect();
    let strangers = human
        .keys()
        .filter(|id| !rows.contains(id.as_str()))
        .count();
    let notes = (strangers > 0)
        .then(|| {
            format!("{strangers} human answers of `evals.human` are about rows that are not among the test rows, and were left out")
        })
        .into_iter()
        .collect();
    Ok((references, notes))
}

/// What the figures of a study are held against, as a whole.
///
/// Where somebody other than the teacher vouches for any row, figures are made on those rows alone:
/// a figure over both kinds would be neither accuracy nor agreement.
pub(super) struct Standing {
    pub(super) reference: Reference,
    /// Who vouches, and for how many rows.
    pub(super) counts: Vec<Counted>,
    /// Rows that only the teacher vouches for and that the figures leave out.
    pub(super) left_out: usize,
    /// Where people answered rows that were drawn unevenly: the rows among them that stand for all.
    even: Option<BTreeSet<String>>,
    /// Whether the rows that people answered were drawn where models differ.
    is_uneven: bool,
}

impl Standing {
    /// `design` says how the rows were drawn that people answered.
    pub(super) fn of(
        vouchers: impl Iterator<Item = Option<ExpectedBy>>,
        design: Option<&Design>,
        seed: u64,
    ) -> Self {
        let mut counts = BTreeMap::<ExpectedBy, usize>::new();
        for by in vouchers.flatten() {
            *counts.entry(by).or_default() += 1;
        }
        let of = |by: ExpectedBy| counts.get(&by).copied().unwrap_or(0);
        let (human, gold, teacher) = (
            of(ExpectedBy::Human),
            of(ExpectedBy::Gold),
            of(ExpectedBy::Teacher),
        );
        let reference = match (human, gold) {
            (0, 0) => Reference::TeacherLabels,
            (_, 0) => Reference::Human,
            _ => Reference::Gold,
        };
        Self {
            reference,
            counts: [("human", human), ("gold", gold), ("teacher", teacher)]
                .into_iter()
                .filter(|(_, count)| *count > 0)
                .map(|(what, count)| Counted {
                    what: what.to_owned(),
                    count,
                })
                .collect(),
            left_out: if reference == Reference::TeacherLabels {
                0
            } else {
                teacher
            },
            even: design
                .filter(|design| reference == Reference::Human && !design.is_whole())
                .map(|design| design.even_rows(seed)),
            is_uneven: design.is_some_and(|design| !design.is_whole() && !design.is_even()),
        }
    }

    /// Whether the rows that people answered were drawn unevenly, so that pairs of arms have to be
    /// balanced before they are compared.
    pub(super) fn is_drawn(&self) -> bool {
        self.even.is_some()
    }

    /// Whether a row enters the figures.
    pub(super) fn counts_row(&self, record: &SampleRecord) -> bool {
        match &self.even {
            Some(even) => even.contains(&record.id),
            None => self.left_out == 0 || record.expected_by != Some(ExpectedBy::Teacher),
        }
    }

    /// What the reader must know of it.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.reference == Reference::TeacherLabels {
            notes.push("the test rows have no human answers: every figure is agreement with the teacher, not accuracy".to_owned());
        }
        if let (Some(_), false) = (&self.even, self.is_uneven) {
            notes.push(format!(
                "people answered {} of the test rows, and nothing says how these were chosen: they are taken for a random draw; where somebody chose them, no figure holds for the others (`distill eval label` draws rows and keeps how)",
                self.count_of("human")
            ));
        } else if let Some(even) = &self.even {
            notes.push(format!(
                "people answered {} of the test rows, drawn where an answer was worth most: figures of one arm rest on {} of these that stand for all rows, and differences on all of them, balanced by how likely each was to be drawn",
                self.count_of("human"),
                even.len()
            ));
            if even.is_empty() {
                notes.push("some kinds of rows have no human answer yet, so the answers that there are stand for nothing: `distill eval label` goes on with the rows that were drawn".to_owned());
            }
        } else if self.left_out > 0 {
            notes.push(format!(
                "{} test rows have no right answer but the teacher's: they are left out of every figure and of the verdict, since to equal it is agreement, not accuracy",
                self.left_out
            ));
        }
        let human = self.count_of("human");
        if human > 0 && self.even.is_none() && self.counts.len() > 1 {
            notes.push(format!(
                "people answered {human} of the test rows for this run, and their answers count before any other"
            ));
        }
        if self.is_uneven && self.even.is_none() && self.left_out > 0 {
            notes.push(format!(
                "the {human} rows that people answered were drawn where models differ and stand beside {} rows with a right answer of the data's own without a weight: every arm's own score leans to what is hard, and differences come out larger than they are",
                self.count_of("gold")
            ));
        }
        notes
    }

    fn count_of(&self, what: &str) -> usize {
        self.counts
            .iter()
            .find(|counted| counted.what == what)
            .map_or(0, |counted| counted.count)
    }
}
