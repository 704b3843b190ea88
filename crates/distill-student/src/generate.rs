//! Generation and scoring over a cache, many ragged rows at a time.
//!
//! Every pass lays the new tokens of all live rows end to end: the whole prompt of a row that has
//! just joined, one token of a row that is under way. A row that ends makes room for the next.
//! Leading tokens that all prompts share are run once and their keys kept once; so are the tokens
//! of a prompt that is given several times.

mod cache;
mod labels;
mod pass;
mod placed;
mod recall;
mod sampling;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use cache::RowCache;
use pass::{Branch, pooled, run};
use sampling::{Chooser, Scratch, check_finite};

pub use labels::{LabelTrie, score_continuations, score_labels};
pub use sampling::{Draws, Sampling};

use candle_core::Device;
use rayon::prelude::*;

use crate::decoder::{Decoder, DecoderError, check_row};
use crate::ops::{Choice, elements_of};

/// Prompt tokens that join one pass.
const PASS_TOKENS: usize = 4096;
/// Shared leading tokens below which sharing is not worth a pass of its own.
const SHARED_LEAST: usize = 8;

#[derive(Debug, Clone, PartialEq)]
pub struct GenerateSettings {
    pub max_new_tokens: usize,
    /// Any of these ends a row.
    pub stop_tokens: Vec<u32>,
    /// Rows decoded together.
    pub max_rows: usize,
    pub sampling: Sampling,
}

impl Default for GenerateSettings {
    fn default() -> Self {
        Self {
            max_new_tokens: 64,
            stop_tokens: Vec::new(),
            max_rows: 32,
            sampling: Sampling::Greedy,
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
    /// One for each token, and one more for the stop token where one was reached: under the
    /// model's own distribution, before temperature and truncation.
    pub log_probabilities: Vec<f32>,
    /// For each choice, how far the log-probability of the second likeliest token lay below that
    /// of the likeliest.
    pub margins: Vec<f32>,
    pub finish: Finish,
}

/// Answers each prompt; answers come in the order of the prompts. An answer does not depend on
/// which rows ran beside it, beyond the rounding of sums. Drawn answers depend on the seed, on the
/// prompt and on which of its copies it is.
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
    if settings.max_new_tokens == 0 {
        return Ok(prompts.iter().map(|_| Generation::empty()).collect());
    }
    let mut beginnings = Beginnings::new(decoder, prompts)?;
    let mut waiting: VecDeque<usize> = (0..prompts.len()).collect();
    let mut live: Vec<Row<'_>> = Vec::new();
    let mut answers: Vec<Option<Generation>> = vec![None; prompts.len()];
    let mut scratches: Vec<Scratch> = Vec::new();
    loop {
        let mut joining: usize = live.iter().map(|row| row.pending.len()).sum();
        while let Some(&next) = waiting.front() {
            let tail = prompts[next].len() - beginnings.shared.length();
            let full = joining + tail > PASS_TOKENS || live.len() >= settings.max_rows;
            if full && !live.is_empty() {
                break;
            }
            let row = beginnings.row(decoder, prompts, next, settings)?;
            joining += row.pending.len();
            live.push(row);
            waiting.pop_front();
        }
        if live.is_empty() {
            break;
        }
        pooled(decoder, || {
            advance(decoder, &mut live, settings, &mut scratches)
        })?;
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

/// What rows have in common, run once.
struct Beginnings<'a> {
    /// The leading tokens of every prompt.
    shared: Arc<RowCache>,
    /// Prompts by their tokens.
    copies: HashMap<&'a [u32], Copies>,
}

/// A prompt that is given once or several times.
#[derive(Default)]
struct Copies {
    given: usize,
    joined: usize,
    /// All of it but its last token, from the first copy that joins to the last.
    cache: Option<Arc<RowCache>>,
}

impl<'a> Beginnings<'a> {
    fn new(decoder: &Decoder, prompts: &'a [Vec<u32>]) -> Result<Self, DecoderError> {
        let mut copies: HashMap<&[u32], Copies> = HashMap::new();
        for prompt in prompts {
            copies.entry(prompt.as_slice()).or_default().given += 1;
        }
        let (prefix, row_length) = shared_prefix(decoder, prompts, 0);
        Ok(Self {
            shared: Arc::new(prefill(decoder, prefix, &[], row_length)?),
            copies,
        })
    }

    /// A row that begins with what has been run of its prompt.
    fn row(
        &mut self,
        decoder: &Decoder,
        prompts: &'a [Vec<u32>],
        index: usize,
        settings: &GenerateSettings,
    ) -> Result<Row<'a>, DecoderError> {
        let prompt = prompts[index].as_slice();
        let tail = &prompt[self.shared.length()..];
        let copies = self.copies.entry(prompt).or_default();
        let (own, last) = tail.split_at(tail.len() - 1);
        if copies.joined == 0 && copies.given > 1 && own.len() >= SHARED_LEAST {
            copies.cache = Some(Arc::new(prefill(
                decoder,
                own,
                &[&self.shared],
                prompt.len(),
            )?));
        }
        let mut before = vec![Arc::clone(&self.shared)];
        before.extend(copies.cache.clone());
        let pending = if before.len() > 1 { last } else { tail };
        let chooser = Chooser::new(settings.sampling, prompt, copies.joined as u64);
        copies.joined += 1;
        if copies.joined == copies.given {
            copies.cache = None;
        }
        Ok(Row {
            index,
            prompt,
            turned_as: prompt.len(),
            before,
            cache: RowCache::new(decoder),
            chooser,
            pending: pending.to_vec(),
            tokens: Vec::new(),
            log_probabilities: Vec::new(),
            margins: Vec::new(),
            ended: None,
        })
    }
}

/// A row under way.
struct Row<'a> {
    /// Its place among the prompts.
    index: usize,
    prompt: &'a [u32],
    /// The length of row that its caches were made for.
    turned_as: usize,
    /// What was run before and is shared with other rows.
    before: Vec<Arc<RowCache>>,
    cache: RowCache,
    chooser: Chooser,
    /// Tokens that have not been run yet.
    pending: Vec<u32>,
    tokens: Vec<u32>,
    log_probabilities: Vec<f32>,
    margins: Vec<f32>,
    ended: Option<Finish>,
}

impl Row<'_> {
    /// Positions that are taken.
    fn length(&self) -> usize {
        let before: usize = self.before.iter().map(|cache| cache.length()).sum();
        before + self.cache.length()
    }

    /// Begins anew, with what it has chosen so far, where the row has grown so long that the model
    /// turns it otherwise.
    fn turn(&mut self, decoder: &Decoder) {
        let length = self.length() + self.pending.len();
        if decoder.config().turns_alike(self.turned_as, length) {
            return;
        }
        self.turned_as = length;
        self.before = Vec::new();
        self.cache = RowCache::new(decoder);
        self.pending = [self.prompt, &self.tokens].concat();
    }

    /// Takes the next token; `room` says whether the model takes another position.
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
    live: &mut [Row<'_>],
    settings: &GenerateSettings,
    scratches: &mut Vec<Scratch>,
) -> Result<(), DecoderError> {
    let mut ends = Vec::with_capacity(live.len());
    let mut packed = 0;
    let mut branches = Vec::with_capacity(live.len());
    for row in live.iter_mut() {
        row.turn(decoder);
        packed += row.pending.len();
        ends.push((packed - 1) as u32);
        branches.push(Branch {
            tokens: std::mem::take(&mut row.pending),
            before: row.before.iter().map(AsRef::as_ref).collect(),
            parents: Vec::new(),
            cache: &mut row.cache,
            row_length: 0,
        });
    }
    let x = run(decoder, branches)?;
    let hidden = decoder.finish(&x, &ends.into())?; // (T, D) → (rows, D)
    let logits = decoder.logits_of(&hidden)?.to_device(&Device::Cpu)?; // (rows, V)
    let logits = elements_of(&logits)?;
    let limit = decoder.config().max_position_embeddings;
    let vocabulary = decoder.config().vocab_size;
    // Each thread takes some rows, with buffers of its own; a choice looks at its row alone.
    scratches.resize_with(rayon::current_num_threads(), Scratch::default);
    let part = live.len().div_ceil(scratches.len());
    let taken: Vec<Result<(), DecoderError>> = live
        .par_chunks_mut(part)
        .zip(logits.par_chunks(part * vocabulary))
        .zip(scratches)
        .map(|((rows, logits), scratch)| {
            let mut rows = rows.iter_mut().zip(logits.chunks_exact(vocabulary));
            rows.try_for_each(|(row, logits)| {
                check_finite(logits, row.index, row.length())?;
                let room = row.length() < limit;
                let choice = row.chooser.choose(logits, scratch);
                row.take(choice, room, settings);
                Ok(())
            })
        })
        .collect();
    // Of several errors that of the first row.
    taken.into_iter().collect()
}

/// The leading tokens that every prompt has and that leave each a token to run; with them the
/// length of the shortest row, a prompt and `more`. There are none where some of the rows turn
/// otherwise than others.
fn shared_prefix<'a>(
    decoder: &Decoder,
    prompts: &'a [Vec<u32>],
    more: usize,
) -> (&'a [u32], usize) {
    let lengths = || prompts.iter().map(|prompt| prompt.len() + more);
    let (shortest, longest) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
    if decoder.config().turns_alike(shortest, longest) {
        (common_prefix(prompts), shortest)
    } else {
        (&[], shortest)
    }
}

fn common_prefix(prompts: &[Vec<u32>]) -> &[u32] {
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

/// Runs tokens that others will follow and keeps what they leave behind.
fn prefill(
    decoder: &Decoder,
    tokens: &[u32],
    before: &[&RowCache],
    row_length: usize,
) -> Result<RowCache, DecoderError> {
    let mut cache = RowCache::new(decoder);
    if !tokens.is_empty() {
        let branch = Branch {
            tokens: tokens.to_vec(),
            before: before.to_vec(),
            parents: Vec::new(),
            cache: &mut cache,
            row_length,
        };
        pooled(decoder, || run(decoder, vec![branch]))?;
    }
    Ok(cache)
}
