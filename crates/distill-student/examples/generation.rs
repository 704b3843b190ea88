//! How fast a model answers on this machine.
//!
//! `generation DIRECTORY PROMPT_TOKENS NEW_TOKENS ROWS [TIMES]` runs that many prompts of drawn
//! tokens side by side and prints one line of JSON: seconds of wall clock and of processor for the
//! prompts alone and for each further token of all rows, and the first tokens that were chosen.
//! `scripts/peers-generate.py` sets the figures beside those of transformers.

#![expect(clippy::print_stdout, reason = "a measurement reports itself")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use distill_student::decoder::Decoder;
use distill_student::generate::{GenerateSettings, generate};
use distill_student::weights::DecoderWeights;

/// Seconds of processor time that this process has used, from `/proc`; `None` elsewhere.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = |index: usize| fields.split(' ').nth(index)?.parse::<f64>().ok();
    // Ticks of a hundredth of a second: in user code, in the kernel.
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// The prompts that the peer draws too: a linear congruence, no token outside the vocabulary.
fn prompts(rows: usize, tokens: usize, vocabulary: usize) -> Vec<Vec<u32>> {
    let mut state = 1_u64;
    let mut next = || {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        ((state >> 8) % vocabulary as u64) as u32
    };
    (0..rows)
        .map(|_| (0..tokens).map(|_| next()).collect())
        .collect()
}

/// Wall-clock and processor seconds, and the tokens of each row.
type Timed = ([f64; 2], Vec<Vec<u32>>);

/// The best of some runs, and what was chosen.
fn timed(
    decoder: &Decoder,
    prompts: &[Vec<u32>],
    new: usize,
    times: usize,
) -> Result<Timed, Box<dyn Error>> {
    let settings = GenerateSettings {
        max_new_tokens: new,
        ..GenerateSettings::default()
    };
    let mut best = [f64::INFINITY; 2];
    let mut chosen = Vec::new();
    for _ in 0..times {
        let (started, before) = (Instant::now(), processor_seconds());
        let answers = generate(decoder, prompts, &settings)?;
        let spent = processor_seconds()
            .zip(before)
            .map(|(now, then)| now - then);
        best[0] = best[0].min(started.elapsed().as_secs_f64());
        best[1] = best[1].min(spent.unwrap_or(f64::NAN));
        chosen = answers.into_iter().map(|answer| answer.tokens).collect();
    }
    Ok((best, chosen))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, numbers @ ..] = arguments.as_slice() else {
        return Err("DIRECTORY PROMPT_TOKENS NEW_TOKENS ROWS [TIMES]".into());
    };
    let numbers: Vec<usize> = numbers
        .iter()
        .map(|n| n.parse())
        .collect::<Result<_, _>>()?;
    let [prompt_tokens, new_tokens, rows, ref times @ ..] = numbers[..] else {
        return Err("DIRECTORY PROMPT_TOKENS NEW_TOKENS ROWS [TIMES]".into());
    };
    let times = times.first().copied().unwrap_or(1);
    let decoder = Decoder::new(&DecoderWeights::from_dir(Path::new(directory))?)?;
    let prompts = prompts(rows, prompt_tokens, decoder.config().vocab_size);
    generate(
        &decoder,
        &prompts[..1],
        &GenerateSettings {
            max_new_tokens: 2,
            ..Default::default()
        },
    )?;
    let (prefill, _) = timed(&decoder, &prompts, 1, times)?;
    let (whole, chosen) = timed(&decoder, &prompts, 1 + new_tokens, times)?;
    let steps = new_tokens.max(1) as f64;
    let tokens: Vec<&[u32]> = chosen.iter().map(|row| &row[..row.len().min(12)]).collect();
    println!(
        "{}",
        serde_json::json!({
            "prefill_wall": prefill[0],
            "prefill_cpu": prefill[1],
            "step_wall": (whole[0] - prefill[0]) / steps,
            "step_cpu": (whole[1] - prefill[1]) / steps,
            "tokens": tokens,
        })
    );
    Ok(())
}
