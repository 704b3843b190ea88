//! Greedy generation and scoring over a key/value cache, many ragged rows at a time.
//!
//! Every pass lays the new tokens of all live rows end to end: the whole prompt of a row that has
//! just joined, one token of a row that is under way. A row that ends makes room for the next.
//! Leading tokens that all prompts share are run once and their keys kept once.

mod cache;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use cache::{Over, RowCache};
use candle_core::Tensor;

use crate::decoder::{Decoder, DecoderError, check_row};
use crate::ops::{Choice, best_of_row, elements_of, linear, log_probability_of};

/// Prompt tokens that join one pass.
const PASS_TOKENS: usize = 4096;
/// Shared leading tokens below which sharing is not worth a pass of its own.
const SHARED_LEAST: usize = 8;
/// Rows of logits held at a time when scoring.
const LOGIT_ROWS: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerateSettings {
    pub max_new_tokens: usize,
    /// Any of these ends a row.
    pub stop_tokens: Vec<u32>,
    /// Rows decoded together.
    pub max_rows: usize,
}

impl Default for GenerateSettings {
    fn default() -> Self {
        Self {
            max_new_tokens: 64,
            stop_tokens: Vec::new(),
            max_rows: 32,
        }
    }
}

/// Why a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It came to this stop token.
    Stop(u32),
    /// It reached the most new tokens allowed.
    Length,
    /// The model takes no more positions.
    ContextFull,
}

/// The answer to one prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// Without the stop token.
    pub tokens: Vec<u32>,
    /// One for each token, and one more for the stop token where one was reached.
    pub log_probabilities: Vec<f32>,
    /// For each log-probability, how far that of the second likeliest token lay below it.
    pub margins: Vec<f32>,
    pub finish: Finish,
}

/// Answers each prompt with the likeliest token at every step; answers come in the order of the
/// prompts. An answer does not depend on which rows ran beside it, beyond the rounding of sums.
pub fn generate(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    settings: &GenerateSettings,
) -> Result<Vec<Generation>, DecoderError> {
    generate_each(decoder, prompts, settings, &mut |_, _| ())
}

/// As [`generate`]; `on_token` hears of each token of a reply (the place of its prompt, the token) as
/// soon as it is chosen. Stop tokens are no part of a reply.
pub fn generate_each(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    settings: &GenerateSettings,
    on_token: &mut dyn FnMut(usize, u32),
) -> Result<Vec<Generation>, DecoderError> {
    for (row, prompt) in prompts.iter().enumerate() {
        check_row(row, prompt, decoder.config())?;
    }
    let shared = Arc::new(prefill(decoder, shared_prefix(prompts))?);
    let mut waiting: VecDeque<usize> = (0..prompts.len()).collect();
    let mut live: Vec<Row> = Vec::new();
    let mut answers: Vec<Option<Generation>> = vec![None; prompts.len()];
    if settings.max_new_tokens == 0 {
        return Ok(prompts.iter().map(|_| Generation::empty()).collect());
    }
    loop {
        let mut joining: usize = live.iter().map(|row| row.pending.len()).sum();
        while let Some(&next) = waiting.front() {
            let tail = &prompts[next][shared.length()..];
            let full = joining + tail.len() > PASS_TOKENS || live.len() >= settings.max_rows;
            if full && !live.is_empty() {
                break;
            }
            joining += tail.len();
            live.push(Row::new(next, tail, decoder));
            waiting.pop_front();
        }
        if live.is_empty() {
            break;
        }
        advance(decoder, &mut live, &shared, settings)?;
        for row in &live {
            if let (Some(token), None | Some(Finish::Length | Finish::ContextFull)) =
                (row.tokens.last(), row.ended)
            {
                on_token(row.index, *token);
            }
        }
        live.retain_mut(|row| match row.ended.take() {
            Some(finish) => {
                answers[row.index] = Some(row.answer(finish));
                false
            }
            None => true,
        });
    }
    Ok(answers
        .into_iter()
        .map(|answer| answer.expect("every row leaves the loop with an answer"))
        .collect())
}

impl Generation {
    fn empty() -> Self {
        Self {
            tokens: Vec::new(),
            log_probabilities: Vec::new(),
            margins: Vec::new(),
            finish: Finish::Length,
        }
    }
}

/// A row under way.
struct Row {
    /// Its place among the prompts.
    index: usize,
    cache: RowCache,
    /// Tokens that have not been run yet.
    pending: Vec<u32>,
    tokens: Vec<u32>,
    log_probabilities: Vec<f32>,
    margins: Vec<f32>,
    ended: Option<Finish>,
}

impl Row {
    fn new(index: usize, tail: &[u32], decoder: &Decoder) -> Self {
        Self {
            index,
            cache: RowCache::new(decoder.config().num_hidden_layers),
            pending: tail.to_vec(),
            tokens: Vec::new(),
            log_probabilities: Vec::new(),
            margins: Vec::new(),
            ended: None,
        }
    }

    /// Takes the next token; `positions` are those that are used already.
    fn take(&mut self, choice: Choice, room: bool, settings: &GenerateSettings) {
        let token = choice.token;
        self.log_probabilities.push(choice.log_probability);
        self.margins.push(choice.margin);
        if settings.stop_tokens.contains(&token) {
            self.ended = Some(Finish::Stop(token));
            return;
        }
        self.tokens.push(token);
        self.pending = vec![token];
        if self.tokens.len() >= settings.max_new_tokens {
            self.ended = Some(Finish::Length);
        } else if !room {
            self.ended = Some(Finish::ContextFull);
        }
    }

    fn answer(&mut self, finish: Finish) -> Generation {
        Generation {
            tokens: std::mem::take(&mut self.tokens),
            log_probabilities: std::mem::take(&mut self.log_probabilities),
            margins: std::mem::take(&mut self.margins),
            finish,
        }
    }
}

/// Runs every row's pending tokens in one pass and gives each its next token.
fn advance(
    decoder: &Decoder,
    live: &mut [Row],
    shared: &RowCache,
    settings: &GenerateSettings,
) -> Result<(), DecoderError> {
    let pending: Vec<Vec<u32>> = live
        .iter_mut()
        .map(|row| std::mem::take(&mut row.pending))
        .collect();
    let caches = live.iter_mut().map(|row| &mut row.cache).collect();
    let x = pass(decoder, &pending, caches, shared)?;
    let mut last = 0;
    let ends: Vec<u32> = pending
        .iter()
        .map(|tokens| {
            last += tokens.len();
            (last - 1) as u32
        })
        .collect();
    let hidden = decoder.finish(&x, &ends.into())?; // (T, D) → (rows, D)
    let logits = linear(&hidden, decoder.head())?; // (rows, V)
    let logits = elements_of(&logits)?;
    let limit = decoder.config().max_position_embeddings;
    for (row, logits) in live
        .iter_mut()
        .zip(logits.chunks_exact(decoder.config().vocab_size))
    {
        let room = shared.length() + row.cache.length() < limit;
        row.take(best_of_row(logits), room, settings);
    }
    Ok(())
}

/// Runs new tokens of some rows, each after what its cache holds; returns the trunk's (T, D).
fn pass(
    decoder: &Decoder,
    rows: &[Vec<u32>],
    caches: Vec<&mut RowCache>,
    shared: &RowCache,
) -> Result<Tensor, DecoderError> {
    let positions: Vec<u32> = rows
        .iter()
        .zip(&caches)
        .flat_map(|(tokens, cache)| {
            let start = shared.length() + cache.length();
            (start..start + tokens.len()).map(|position| position as u32)
        })
        .collect();
    let counts = rows.iter().map(Vec::len).collect();
    let mut over = Over::new(decoder.config().heads(), shared, caches, counts);
    let tokens: Vec<u32> = rows.concat();
    decoder.trunk(&tokens.into(), &positions.into(), &mut over)
}

/// The leading tokens that every prompt has and that leave each a token to run.
fn shared_prefix(prompts: &[Vec<u32>]) -> &[u32] {
    let [first, others @ ..] = prompts else {
        return &[];
    };
    if others.is_empty() {
        return &[];
    }
    let mut length = first.len() - 1;
    for other in others {
        let same = first.iter().zip(other).take_while(|(a, b)| a == b).count();
        length = length.min(same).min(other.len() - 1);
    }
    if length < SHARED_LEAST {
        return &[];
    }
    &first[..length]
}

/// Runs tokens that others will follow and keeps their keys and values.
fn prefill(decoder: &Decoder, tokens: &[u32]) -> Result<RowCache, DecoderError> {
    let layers = decoder.config().num_hidden_layers;
    let mut cache = RowCache::new(layers);
    if !tokens.is_empty() {
        let nothing = RowCache::new(layers);
        pass(decoder, &[tokens.to_vec()], vec![&mut cache], &nothing)?;
    }
    Ok(cache)
}

/// The log-probability of every token of each continuation of a prompt. The prompt is run once,
/// the continuations together.
pub fn score_continuations(
    decoder: &Decoder,
    prompt: &[u32],
    continuations: &[Vec<u32>],
) -> Result<Vec<Vec<f32>>, DecoderError> {
    check_row(0, prompt, decoder.config())?;
    let (last, before) = prompt.split_last().expect("an empty row was refused");
    let mut rows = Vec::with_capacity(continuations.len());
    for (row, continuation) in continuations.iter().enumerate() {
        let whole = [prompt, continuation].concat();
        check_row(row, &whole, decoder.config())?;
        // The last token of a continuation is only ever predicted.
        let run = continuation.len().saturating_sub(1);
        if !continuation.is_empty() {
            rows.push([&[*last], &continuation[..run]].concat());
        }
    }
    if rows.is_empty() {
        return Ok(vec![Vec::new(); continuations.len()]);
    }
    let shared = prefill(decoder, before)?;
    let layers = decoder.config().num_hidden_layers;
    let mut caches: Vec<RowCache> = rows.iter().map(|_| RowCache::new(layers)).collect();
    let x = pass(decoder, &rows, caches.iter_mut().collect(), &shared)?;
    let targets = continuations.concat();
    let mut scores = Vec::with_capacity(targets.len());
    for (start, part) in (0..).step_by(LOGIT_ROWS).zip(targets.chunks(LOGIT_ROWS)) {
        let indices: Vec<u32> = (start..start + part.len() as u32).collect();
        let hidden = decoder.finish(&x, &indices.into())?;
        let logits = linear(&hidden, decoder.head())?;
        let logits = elements_of(&logits)?;
        for (row, &target) in logits.chunks_exact(decoder.config().vocab_size).zip(part) {
            scores.push(log_probability_of(row, target));
        }
    }
    let mut rest = scores.as_slice();
    Ok(continuations
        .iter()
        .map(|continuation| {
            let (own, others) = rest.split_at(continuation.len());
            rest = others;
            own.to_vec()
        })
        .collect())
}
