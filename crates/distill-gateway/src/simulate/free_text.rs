//! Mistakes of a model that writes free text: it answers as if it had been asked another row.
//!
//! Where nearly every row has an answer of its own, nearness between answers says little, and
//! comparing each row with each answer costs the square of the table.

use std::collections::BTreeSet;

use super::{
    draw,
    gold::{GoldEntry, Mistake},
};

/// Answers of another row that are tried before a made-up one is given.
const TRIES: u64 = 8;

/// The mistake of each row. Rows with longer messages are harder.
pub(super) fn mistakes(entries: &[&GoldEntry], seed: u64) -> Vec<Mistake> {
    let answers: Vec<&str> = entries
        .iter()
        .map(|entry| entry.answer.as_str())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    entries
        .iter()
        .map(|entry| Mistake {
            answer: other_answer(entry, &answers, seed),
            difficulty: (1.0 + entry.prompt.chars().count() as f64).ln(),
        })
        .collect()
}

fn other_answer(entry: &GoldEntry, answers: &[&str], seed: u64) -> String {
    (0..TRIES)
        .map(|attempt| {
            let parts: [&[u8]; 3] = [
                b"free text",
                entry.prompt.as_bytes(),
                &attempt.to_le_bytes(),
            ];
            let drawn = (draw::uniform(seed, &parts) * answers.len() as f64) as usize;
            answers[drawn.min(answers.len() - 1)]
        })
        .find(|answer| *answer != entry.answer)
        .unwrap_or("unknown")
        .to_owned()
}
