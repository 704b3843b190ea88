//! How fast this machine trains and answers: a few steps on random tokens, timed.

mod steps;

use std::time::Instant;

use distill_student::decoder::{Decoder, DecoderConfig};
use distill_student::generate::{GenerateSettings, generate};
use distill_student::weights::DecoderWeights;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use steps::{StepFigures, StepsBench, dense_rows, real_rows};

use crate::decoder::{
    Method, TrainError, TrainEvent, TrainExample, TrainRequest, TrainSettings, train_decoder,
};

/// What is measured.
#[derive(Debug, Clone)]
pub struct BenchSettings {
    pub batch_tokens: usize,
    /// Tokens of each row.
    pub row_tokens: usize,
    /// Tokens of each row that carry loss, from its end.
    pub target_tokens: usize,
    /// Timed steps; one more goes before them.
    pub steps: usize,
    pub rank: usize,
}

/// Tokens per second of wall-clock time. In training, prompts and the optimizer step count.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchFigures {
    pub parameters: usize,
    pub threads: usize,
    pub full_tokens_per_second: f64,
    pub lora_tokens_per_second: f64,
    /// New tokens only, 32 rows at a time; their prompts are run within the time.
    pub generated_tokens_per_second: f64,
}

/// Threads that training uses.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Trains a model of this shape for a few steps, all weights and then an adapter, and lets it
/// answer.
pub fn bench(config: &DecoderConfig, settings: &BenchSettings) -> Result<BenchFigures, TrainError> {
    let weights = DecoderWeights::random(config.clone(), 1)?;
    let lora = Method::lora(settings.rank, 32.0);
    Ok(BenchFigures {
        parameters: config.parameter_count(),
        threads: rayon::current_num_threads(),
        full_tokens_per_second: tokens_per_second(&weights, settings, Method::Full)?,
        lora_tokens_per_second: tokens_per_second(&weights, settings, lora)?,
        generated_tokens_per_second: generated_per_second(&weights, settings)?,
    })
}

fn tokens_per_second(
    weights: &DecoderWeights,
    settings: &BenchSettings,
    method: Method,
) -> Result<f64, TrainError> {
    let rows = (settings.steps + 1) * settings.batch_tokens / settings.row_tokens.max(2);
    let train: Vec<TrainExample> = random_rows(weights, rows.max(1), settings.row_tokens.max(2))
        .into_iter()
        .map(|tokens| {
            let loss_from = settings.row_tokens.saturating_sub(settings.target_tokens);
            TrainExample::new(tokens, loss_from)
        })
        .collect();
    let train_settings = TrainSettings {
        method,
        epochs: 1,
        batch_tokens: settings.batch_tokens,
        learning_rate: 1e-4,
        ..TrainSettings::default()
    };
    let request = TrainRequest {
        weights,
        settings: &train_settings,
        train: &train,
        validation: &[],
        initial: None,
        checkpointing: None,
        cancelled: &|| false,
    };
    let (mut total, mut spent) = (0, 0.0);
    train_decoder(&request, &mut |event| {
        if let TrainEvent::Step {
            step,
            tokens,
            seconds,
            ..
        } = event
            && step > 1
        {
            total += tokens;
            spent += seconds;
        }
    })?;
    Ok(total as f64 / spent)
}

fn random_rows(weights: &DecoderWeights, count: usize, tokens: usize) -> Vec<Vec<u32>> {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let vocabulary = weights.config().vocab_size as u32;
    let mut row = || {
        (0..tokens)
            .map(|_| random.random_range(0..vocabulary))
            .collect()
    };
    (0..count).map(|_| row()).collect()
}

fn generated_per_second(
    weights: &DecoderWeights,
    settings: &BenchSettings,
) -> Result<f64, TrainError> {
    let decoder = Decoder::new(weights)?;
    let generation = GenerateSettings {
        max_new_tokens: 32,
        ..GenerateSettings::default()
    };
    let prompts = random_rows(weights, 64, settings.row_tokens.div_ceil(2));
    let started = Instant::now();
    let answers = generate(&decoder, &prompts, &generation)?;
    let tokens: usize = answers.iter().map(|answer| answer.tokens.len()).sum();
    Ok(tokens as f64 / started.elapsed().as_secs_f64())
}

#[cfg(test)]
#[expect(clippy::print_stderr, reason = "a measurement reports itself")]
mod tests {
    use super::*;

    /// Prints figures for the shape of the embedded base; set `DISTILL_BENCH` to run it.
    #[test]
    fn speed_of_the_embedded_shape() {
        if std::env::var_os("DISTILL_BENCH").is_none() {
            eprintln!("skipped: speed_of_the_embedded_shape: DISTILL_BENCH is not set");
            return;
        }
        let config = DecoderConfig::from_json(
            r#"{"model_type": "llama", "vocab_size": 3072, "hidden_size": 192,
                "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 6,
                "num_key_value_heads": 2, "max_position_embeddings": 1024, "hidden_act": "silu",
                "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}"#,
        )
        .unwrap();
        // `DISTILL_BENCH=batch,row,target` picks one shape of batch.
        let picked = std::env::var("DISTILL_BENCH").unwrap();
        let picked: Vec<usize> = picked.split(',').map_while(|n| n.parse().ok()).collect();
        let shapes = match picked[..] {
            [batch, row, target] => vec![(batch, row, target)],
            _ => vec![(4096, 128, 127), (4096, 512, 511), (4096, 64, 8)],
        };
        for (batch_tokens, row_tokens, target_tokens) in shapes {
            let settings = BenchSettings {
                batch_tokens,
                row_tokens,
                target_tokens,
                steps: 8,
                rank: 16,
            };
            let figures = bench(&config, &settings).unwrap();
            eprintln!("{settings:?}: {figures:?}");
        }
    }
}
