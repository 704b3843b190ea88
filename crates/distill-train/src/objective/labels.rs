//! A teacher's probabilities of the labels as something to learn from.
//!
//! With q a teacher's distribution over label sequences (a label's tokens and its end), the loss
//! is the cross-entropy -Σ q(s) log p(s) of Hinton et al. 2015 (arXiv:1503.02531). By the chain rule
//! it is the sum, over every beginning that labels share, of the probability of that beginning times
//! the cross-entropy of the next token. [`label_sequences`] gives rows for all of it; [`soft_labels`] for
//! the part along one label, at the price of a single row.

use std::collections::BTreeMap;
use std::sync::Arc;

use distill_student::ops::TopTokens;

use super::TrainExample;

/// A label's tokens, its end included, and what the teacher gives it.
pub type LabelProbability<'a> = (&'a [u32], f64);

/// The row of a prompt and a reply, with the teacher's distribution of the next token at each
/// place of the reply, given that the reply so far is the beginning of a label. Every label that leaves the
/// reply's path is compared where it leaves; what follows there is learnt from rows that have it as reply.
///
/// None where the reply is no label that the teacher gives a probability.
pub fn soft_labels(
    prompt: &[u32],
    reply: &[u32],
    labels: &[LabelProbability<'_>],
) -> Option<TrainExample> {
    let mut places = Vec::with_capacity(reply.len());
    for at in 0..reply.len() {
        let mut next: BTreeMap<u32, f64> = BTreeMap::new();
        for (label, probability) in labels.iter().filter(|(_, probability)| *probability > 0.0) {
            if label.starts_with(&reply[..at])
                && let Some(&token) = label.get(at)
            {
                *next.entry(token).or_default() += probability;
            }
        }
        let total: f64 = next.values().sum();
        if !next.contains_key(&reply[at]) || !total.is_finite() {
            return None;
        }
        places.push(TopTokens {
            log_probabilities: next.values().map(|q| (q / total).ln() as f32).collect(),
            tokens: next.into_keys().collect(),
        });
    }
    let mut row = TrainExample::new([prompt, reply].concat(), prompt.len());
    row.teacher = Some(Arc::from(places));
    (row.targets() == reply.len()).then_some(row)
}

/// One row for each label that the teacher gives at least `least`, weighted by its probability among
/// those: their cross-entropies add up to the whole of -Σ q(s) log p(s).
pub fn label_sequences(
    prompt: &[u32],
    labels: &[LabelProbability<'_>],
    least: f64,
) -> Vec<TrainExample> {
    let kept: Vec<&LabelProbability<'_>> = labels
        .iter()
        .filter(|(_, probability)| *probability >= least.max(f64::MIN_POSITIVE))
        .collect();
    let total: f64 = kept.iter().map(|(_, probability)| probability).sum();
    kept.into_iter()
        .map(|(label, probability)| {
            let mut row = TrainExample::new([prompt, label].concat(), prompt.len());
            row.weight = (probability / total) as f32;
            row
        })
        .collect()
}
