//! What is found and kept: texts shared with the test rows in another context, repeats within the
//! test rows, near duplicates within the training rows.

use std::collections::{BTreeMap, HashMap, HashSet};

use distill_chat::TaskKind;

use super::{
    Curation, Listed, Removal, Removed, RepeatedRow, SharedText,
    near::NearIndex,
    near_text, same_answer, shown,
    texts::{Equality, Rendered, folded, normalised},
};
use crate::rows::{Example, Row};

/// Ids that one entry names; the rest is counted.
const SHOWN_IDS: usize = 20;

impl Listed {
    fn push(&mut self, id: &str) {
        self.rows += 1;
        if self.ids.len() < SHOWN_IDS {
            self.ids.push(id.to_owned());
        }
    }

    fn extend(&mut self, other: &Self) {
        self.rows += other.rows;
        let room = SHOWN_IDS.saturating_sub(self.ids.len());
        self.ids.extend(other.ids.iter().take(room).cloned());
    }
}

/// Training rows of one text in one context, by what became of them.
#[derive(Default)]
struct Tally {
    leaked: Listed,
    kept: Listed,
    otherwise: Listed,
}

/// Training rows of one text.
#[derive(Default)]
struct TextGroup<'a> {
    exact: HashSet<&'a str>,
    folded: HashSet<String>,
    by_context: BTreeMap<&'a str, Tally>,
}

/// The test rows whose text stands in the training rows, and what became of those.
pub(super) fn texts(
    (test, tested): (&[Row], &[Rendered]),
    (rows, asked): (&[Row], &[Rendered]),
    verdicts: &[Result<String, Removed>],
) -> Vec<SharedText> {
    let normal: Vec<String> = tested.iter().map(|row| normalised(&row.text)).collect();
    let mut groups: HashMap<&str, TextGroup<'_>> = normal
        .iter()
        .map(|text| (text.as_str(), TextGroup::default()))
        .collect();
    for ((row, asked), verdict) in rows.iter().zip(asked).zip(verdicts) {
        let Some(group) = groups.get_mut(normalised(&asked.text).as_str()) else {
            continue;
        };
        group.exact.insert(&asked.text);
        group.folded.insert(folded(&asked.text));
        let tally = group.by_context.entry(&asked.context).or_default();
        match verdict {
            Ok(_) => tally.kept.push(&row.id),
            Err(removed) if removed.reason == Removal::Leaked => tally.leaked.push(&row.id),
            Err(_) => tally.otherwise.push(&row.id),
        }
    }
    test.iter()
        .zip(tested)
        .zip(&normal)
        .filter_map(|((row, tested), normal)| entry(row, tested, groups.get(normal.as_str())?))
        .collect()
}

fn entry(row: &Row, tested: &Rendered, group: &TextGroup<'_>) -> Option<SharedText> {
    if group.by_context.is_empty() || tested.text.trim().is_empty() {
        return None;
    }
    let equality = if group.exact.contains(tested.text.as_str()) {
        Equality::Exact
    } else if group.folded.contains(&folded(&tested.text)) {
        Equality::Folded
    } else {
        Equality::Normalised
    };
    let (mut removed, mut kept, mut otherwise) =
        (Listed::default(), Listed::default(), Listed::default());
    for (context, tally) in &group.by_context {
        if *context == tested.context {
            removed.extend(&tally.leaked);
        } else {
            // What another test row's context took out is that row's entry.
            otherwise.extend(&tally.leaked);
        }
        kept.extend(&tally.kept);
        otherwise.extend(&tally.otherwise);
    }
    let why = match (removed.rows, kept.rows) {
        (0, 0) => {
            "no training row asks the same; those with this text were taken out for what other test rows ask, or for a reason of their own"
        }
        (0, _) => {
            "kept: the training rows with this text stand in another context, so they ask something else"
        }
        (_, 0) => "removed: the training rows ask the same, context included",
        _ => "removed where the context is the same too, kept where it is another one",
    };
    Some(SharedText {
        eval_id: row.id.clone(),
        text: shown(&tested.text),
        context: tested.context.clone(),
        how: equality.text().to_owned(),
        removed,
        kept,
        otherwise,
        why: why.to_owned(),
    })
}

/// The rows that repeat an earlier one, with both gold answers where those differ.
pub(super) fn repeated(kind: TaskKind, rows: &[Row], rendered: &[Rendered]) -> Vec<RepeatedRow> {
    let sets: Vec<_> = rendered.iter().map(Rendered::grams).collect();
    let index = NearIndex::new(&sets);
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut repeated = Vec::new();
    for (position, asked) in rendered.iter().enumerate() {
        let (of, how) = if let Some(of) = first.get(asked.normal.as_str()) {
            (*of, asked.equality(&rendered[*of]).text().to_owned())
        } else {
            first.insert(&asked.normal, position);
            let near = sets[position]
                .as_ref()
                .and_then(|grams| index.nearest(grams, |other| other < position));
            let Some(near) = near else { continue };
            (near.position, near_text(near.similarity))
        };
        let (row, earlier) = (&rows[position], &rows[of]);
        let answers = match (&row.gold, &earlier.gold) {
            (Some(one), Some(other)) if !same_answer(kind, one, other) => {
                Some((one.clone(), other.clone()))
            }
            _ => None,
        };
        repeated.push(RepeatedRow {
            id: row.id.clone(),
            of: earlier.id.clone(),
            text: shown(&asked.user),
            how,
            answers,
        });
    }
    repeated
}

/// Near duplicates among the kept examples: with one answer they are counted, with two they are
/// listed, since one of the two may be wrong. Neither is removed.
pub(super) fn near_within(
    kind: TaskKind,
    examples: &[Example],
    asked: &[&Rendered],
    curation: &mut Curation,
) {
    let sets: Vec<_> = asked.iter().map(|asked| asked.grams()).collect();
    let index = NearIndex::new(&sets);
    for (position, set) in sets.iter().enumerate() {
        let Some(grams) = set else { continue };
        let answer = |other: usize| &examples[other].answer;
        if index.nearest(grams, |other| other < position).is_none() {
            continue;
        }
        let other =
            |other: usize| other < position && !same_answer(kind, answer(other), answer(position));
        let Some(conflict) = index.nearest(grams, other) else {
            curation.near_duplicates_kept += 1;
            continue;
        };
        curation.near_conflicts.push(RepeatedRow {
            id: examples[position].id.clone(),
            of: examples[conflict.position].id.clone(),
            text: shown(&asked[position].user),
            how: near_text(conflict.similarity),
            answers: Some((answer(position).clone(), answer(conflict.position).clone())),
        });
    }
}
