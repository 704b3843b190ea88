//! The task's rows.

use distill_train::TrainExample;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) const LETTERS: u32 = 16;
/// Stands between prompt and reply.
const ASK: u32 = 16;
/// Ends a reply.
pub(crate) const STOP: u32 = 17;
pub(crate) const VOCABULARY: usize = 18;
pub(crate) const PROMPT: usize = 8;
pub(crate) const REPLY: usize = 4;

/// The image of a letter: 5 and 16 have no common divisor, so each is hit once.
fn image(letter: u32) -> u32 {
    (5 * letter + 3) % LETTERS
}

/// Prompts with replies of which each letter is another one with probability `errors`.
pub(crate) fn rows(count: usize, errors: f64, seed: u64) -> Vec<TrainExample> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|_| {
            let mut tokens: Vec<u32> = (0..PROMPT)
                .map(|_| random.random_range(0..LETTERS))
                .collect();
            let right: Vec<u32> = tokens[..REPLY].iter().copied().map(image).collect();
            tokens.push(ASK);
            let loss_from = tokens.len();
            for letter in right {
                let slip = random.random::<f64>() < errors;
                let by = random.random_range(1..LETTERS);
                tokens.push(if slip {
                    (letter + by) % LETTERS
                } else {
                    letter
                });
            }
            tokens.push(STOP);
            TrainExample::new(tokens, loss_from)
        })
        .collect()
}
