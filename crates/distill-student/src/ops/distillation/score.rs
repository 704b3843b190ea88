//! What a model holds likely at some places, a chunk of rows at a time.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use super::composed::logits_of;
use super::row::exponentials;
use super::{OutputHead, TopTokens, chunk_rows};
use crate::ops::rows::{max, vectorised};
use crate::ops::storage::elements_of;

/// The `count` likeliest tokens of each row among the first `shared` ones, at a temperature; of
/// equals, those with the lower number.
///
/// # Shapes
/// - `hidden`: (N, D), `head`: (V, D); returns N of them
///
/// # Errors
/// Sizes that do not fit; a `count` of 0; a temperature that is not above 0.
pub fn top_tokens<'a>(
    hidden: &Tensor,
    head: impl Into<OutputHead<'a>>,
    count: usize,
    temperature: f64,
    shared: usize,
) -> Result<Vec<TopTokens>> {
    if count == 0 || temperature.is_nan() || temperature <= 0.0 {
        bail!("{count} top tokens at a temperature of {temperature}");
    }
    let inverse = 1.0 / temperature as f32;
    each_row(hidden, head.into(), shared, &|_, logits| {
        let scaled: Vec<f32> = logits.iter().map(|logit| logit * inverse).collect();
        let normaliser = log_sum(&mut scaled.clone());
        let mut order: Vec<u32> = (0..shared as u32).collect();
        let likelier = |a: &u32, b: &u32| {
            let (x, y) = (scaled[*a as usize], scaled[*b as usize]);
            y.total_cmp(&x).then(a.cmp(b))
        };
        let kept = count.min(shared);
        if kept < shared {
            order.select_nth_unstable_by(kept - 1, likelier);
            order.truncate(kept);
        }
        order.sort_unstable_by(likelier);
        TopTokens {
            log_probabilities: order
                .iter()
                .map(|token| (f64::from(scaled[*token as usize]) - normaliser) as f32)
                .collect(),
            tokens: order,
        }
    })
}

/// The log-probability of one token of each row among the first `shared` ones.
///
/// # Shapes
/// - `hidden`: (N, D), `head`: (V, D), `tokens`: N of them; returns N of them
///
/// # Errors
/// Sizes that do not fit; a token that is not shared.
pub fn token_log_probabilities<'a>(
    hidden: &Tensor,
    head: impl Into<OutputHead<'a>>,
    tokens: &[u32],
    shared: usize,
) -> Result<Vec<f32>> {
    if hidden.dim(0)? != tokens.len() {
        bail!("{} tokens for hidden rows {hidden:?}", tokens.len());
    }
    if let Some(token) = tokens.iter().find(|token| **token as usize >= shared) {
        bail!("token {token} is not among the {shared} shared ones");
    }
    each_row(hidden, head.into(), shared, &|row, logits| {
        let chosen = f64::from(logits[tokens[row] as usize]);
        (chosen - log_sum(&mut logits.to_vec())) as f32
    })
}

/// ln Σ eˣ; leaves the exponentials.
fn log_sum(values: &mut [f32]) -> f64 {
    vectorised(|| {
        let largest = max(values);
        f64::from(largest) + exponentials(values, largest).ln()
    })
}

/// Calls `of` with each row's number and its logits of the shared tokens.
fn each_row<T: Send>(
    hidden: &Tensor,
    head: OutputHead<'_>,
    shared: usize,
    of: &(dyn Fn(usize, &[f32]) -> T + Sync),
) -> Result<Vec<T>> {
    let (vocabulary, rows) = (head.vocabulary()?, hidden.dim(0)?);
    if shared == 0 || shared > vocabulary {
        bail!("{shared} shared tokens of a vocabulary of {vocabulary}");
    }
    let chunk = chunk_rows(vocabulary);
    let mut found = Vec::with_capacity(rows);
    for start in (0..rows).step_by(chunk) {
        let part = hidden.narrow(0, start, chunk.min(rows - start))?;
        let logits = logits_of(&part.detach(), head)?.contiguous()?;
        let logits = logits.to_device(&candle_core::Device::Cpu)?;
        let logits = elements_of(&logits)?;
        found.par_extend(
            logits
                .par_chunks(vocabulary)
                .enumerate()
                .map(|(row, logits)| of(start + row, &logits[..shared])),
        );
    }
    Ok(found)
}
