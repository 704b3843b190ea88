//! How fast a model answers on this machine.
//!
//! `generation DIRECTORY PROMPT_TOKENS NEW_TOKENS ROWS [TIMES [LABELS]]` runs that many prompts of
//! drawn tokens side by side and prints one line of JSON: seconds of wall clock and of processor for
//! the prompts alone and for each further token of all rows, and the first tokens that were chosen;
//! where labels are asked for, those for scoring that many of four tokens after all prompts.
//! `scripts/peers-generate.py` sets the figures beside those of transformers.

#![expect(clippy::print_stdout, reason = "a measurement reports itself")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use distill_student::decoder::Decoder;
use distill_student::generate::{GenerateSettings, LabelTrie, generate, score_labels};
use distill_student::ops::keep_freed_memory;
use distill_student::weights::DecoderWeights;

/// Seconds of processor time that the threads of this process have used, from `/proc`; `None`
/// elsewhere.
fn processor_seconds() -> Option<f64> {
    let mut nanoseconds = 0_u64;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let of_thread = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += of_thread.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(nanoseconds as f64 * 1e-9)
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
    let (best, answers) = best_of(times, || Ok(generate(decoder, prompts, &settings)?))?;
    let chosen = answers.into_iter().map(|answer| answer.tokens).collect();
    Ok((best, chosen))
}

/// The least wall-clock and processor seconds of some runs, and what the last one gave.
fn best_of<R>(
    times: usize,
    run: impl Fn() -> Result<R, Box<dyn Error>>,
) -> Result<([f64; 2], R), Box<dyn Error>> {
    let mut best = [f64::INFINITY; 2];
    for left in (0..times).rev() {
        let (started, before) = (Instant::now(), processor_seconds());
        let result = run()?;
        let spent = processor_seconds()
            .zip(before)
            .map(|(now, then)| now - then);
        best[0] = best[0].min(started.elapsed().as_secs_f64());
        best[1] = best[1].min(spent.unwrap_or(f64::NAN));
        if left == 0 {
            return Ok((best, result));
        }
    }
    Err("nothing is run 0 times".into())
}

/// Labels of four tokens, the first one of twelve.
fn labels(count: usize, vocabulary: usize) -> LabelTrie {
    let mut sequences = prompts(count, 4, vocabulary);
    for (index, label) in sequences.iter_mut().enumerate() {
        label[0] = (index % 12) as u32;
    }
    LabelTrie::new(sequences.iter().map(Vec::as_slice))
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, numbers @ ..] = arguments.as_slice() else {
        return Err("DIRECTORY PROMPT_TOKENS NEW_TOKENS ROWS [TIMES [LABELS]]".into());
    };
    let numbers: Vec<usize> = numbers
        .iter()
        .map(|n| n.parse())
        .collect::<Result<_, _>>()?;
    let [prompt_tokens, new_tokens, rows, ref times @ ..] = numbers[..] else {
        return Err("DIRECTORY PROMPT_TOKENS NEW_TOKENS ROWS [TIMES [LABELS]]".into());
    };
    let (times, labels_asked) = match *times {
        [] => (1, 0),
        [times] => (times, 0),
        [times, labels, ..] => (times, labels),
    };
    keep_freed_memory();
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
    let scored = match labels_asked {
        0 => None,
        count => {
            let labels = labels(count, decoder.config().vocab_size);
            let (best, _) = best_of(times, || Ok(score_labels(&decoder, &prompts, &labels)?))?;
            Some((best, labels.run_tokens()))
        }
    };
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
            "labels_wall": scored.map(|(best, _)| best[0]),
            "labels_cpu": scored.map(|(best, _)| best[1]),
            "label_tokens": scored.map(|(_, tokens)| tokens),
        })
    );
    Ok(())
}
