//! Steps of `LoRA` training on a model of a given shape, each with its loss and what it took. What
//! another trainer does on the same weights, rows and adapter can be laid beside it.

use distill_student::decoder::{DecoderConfig, MixerConfig};
use distill_student::device::DeviceChoice;
use distill_student::lora::{LoraAdapter, LoraConfig};
use distill_student::ops::Storage;
use distill_student::weights::DecoderWeights;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::decoder::{
    Method, Proof, ScheduleShape, TrainError, TrainEvent, TrainExample, TrainRequest,
    TrainSettings, train_decoder,
};
use crate::memory::{Estimate, estimate_for};

/// Every step takes all rows, as one batch, with `AdamW` at a constant rate and without clipping.
pub struct StepsBench<'a> {
    pub weights: &'a DecoderWeights,
    pub rows: &'a [TrainExample],
    /// None draws an adapter on every projection.
    pub initial: Option<&'a LoraAdapter>,
    pub rank: usize,
    /// How the frozen matrices are held; none: as the weights are.
    pub base: Option<Storage>,
    pub gradient_checkpointing: bool,
    pub learning_rate: f64,
    pub steps: usize,
    pub device: DeviceChoice,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepFigures {
    /// Mean over the tokens that carry loss, in nats, before the step.
    pub loss: f64,
    /// Tokens of the rows; there is no padding.
    pub tokens: usize,
    pub wall_seconds: f64,
    /// Of all threads.
    pub cpu_seconds: f64,
}

impl StepsBench<'_> {
    /// What the steps are trained with.
    pub fn settings(&self) -> TrainSettings {
        let method = match self.initial {
            Some(adapter) => Method::Lora(adapter.config().clone()),
            None => Method::Lora(LoraConfig {
                rank: self.rank,
                alpha: 2.0 * self.rank as f64,
                ..LoraConfig::default()
            }),
        };
        TrainSettings {
            method,
            base: self.base,
            gradient_checkpointing: self.gradient_checkpointing,
            device: self.device,
            epochs: self.steps,
            learning_rate: self.learning_rate,
            schedule: ScheduleShape::Constant,
            warmup: 0.0,
            clip: 0.0,
            batch_tokens: self.rows.iter().map(|row| row.tokens.len()).sum(),
            ..TrainSettings::default()
        }
    }

    /// What it will take of the memory.
    pub fn estimate(&self) -> Result<Estimate, TrainError> {
        estimate_for(self.weights, &self.settings(), self.rows)
    }

    /// Trains. `cpu_clock` gives the processor time that this process has taken, in seconds; it is
    /// read at the end of each step, so that loading and proofs fall outside.
    pub fn run(&self, cpu_clock: &dyn Fn() -> f64) -> Result<Vec<StepFigures>, TrainError> {
        let settings = self.settings();
        let request = TrainRequest {
            weights: self.weights,
            settings: &settings,
            train: self.rows,
            validation: &[],
            initial: self.initial,
            checkpointing: None,
            cancelled: &|| false,
        };
        let mut figures = Vec::with_capacity(self.steps);
        let mut before = cpu_clock();
        train_decoder(&request, &mut |event| {
            match event {
                TrainEvent::Step {
                    loss,
                    tokens,
                    seconds,
                    ..
                } => figures.push(StepFigures {
                    loss,
                    tokens,
                    wall_seconds: seconds,
                    cpu_seconds: cpu_clock() - before,
                }),
                // Told in the middle of the first step.
                TrainEvent::Proved(Proof::Census { .. }) => return,
                _ => {}
            }
            before = cpu_clock();
        })?;
        Ok(figures)
    }
}

/// The operations that a step's mathematics asks for, whatever runs them: the model FLOPs of Chowdhery
/// et al. 2022 (`PaLM`, arXiv:2204.02311, appendix B) for an adapter on a frozen base. A multiplied
/// weight costs a token 2 forward and 2 for the gradient of the token, and 2 more where the weight
/// itself is trained: 4 for each of the base, 6 for each of the adapter. The head counts at the
/// tokens that carry loss. A pair of tokens that see one another costs 4 E of each head forward and 8
/// backward; a causal row of n tokens has n (n + 1) / 2 such pairs. What is computed again counts
/// nothing, and neither do delta nets' memories.
pub fn model_flops(config: &DecoderConfig, adapter: usize, rows: &[TrainExample]) -> f64 {
    let weights: usize = (0..config.num_hidden_layers)
        .flat_map(|layer| config.projection_sizes(layer))
        .map(|(input, output)| input * output)
        .sum();
    let attending = config.layers.iter();
    let attending = attending.filter(|layer| matches!(layer.mixer, MixerConfig::Attention(_)));
    let heads = attending.count() * config.num_attention_heads * config.head_dim;
    let head = config.vocab_size * config.hidden_size;
    let of_row = |row: &TrainExample| {
        // The last token of a row is only ever predicted.
        let tokens = row.tokens.len().saturating_sub(1) as f64;
        let pairs = tokens * (tokens + 1.0) / 2.0;
        tokens * (4 * weights + 6 * adapter) as f64
            + 4.0 * (row.targets() * head) as f64
            + 12.0 * heads as f64 * pairs
    };
    rows.iter().map(of_row).sum()
}

/// Threads that training uses.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// Four rows of 256 tokens that carry loss throughout.
pub fn dense_rows(config: &DecoderConfig) -> Vec<TrainExample> {
    random_rows(config, &[256; 4], 0)
}

/// Four rows as fine-tuning has them: 64 to 256 tokens, of which 70% are a prompt. Their lengths
/// are the mean order statistics of four uniform draws, so that padding them to the longest
/// wastes what it wastes on average.
pub fn real_rows(config: &DecoderConfig) -> Vec<TrainExample> {
    random_rows(config, &[218, 102, 179, 141], 70)
}

fn random_rows(
    config: &DecoderConfig,
    lengths: &[usize],
    prompt_percent: usize,
) -> Vec<TrainExample> {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let vocabulary = config.vocab_size as u32;
    let mut row = |length: usize| {
        let tokens = (0..length).map(|_| random.random_range(0..vocabulary));
        TrainExample::new(tokens.collect(), length * prompt_percent / 100)
    };
    lengths.iter().map(|length| row(*length)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operations_of_a_step_are_those_of_its_products() {
        let config = DecoderConfig::from_json(
            r#"{"model_type": "llama", "vocab_size": 10, "hidden_size": 4,
                "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2,
                "num_key_value_heads": 1, "max_position_embeddings": 64, "hidden_act": "silu",
                "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}"#,
        )
        .unwrap();
        // Three tokens run, of which the last two carry loss.
        let row = TrainExample::new(vec![1, 2, 3, 4], 2);
        // q and o 4 x 4, k and v 2 x 4, three of 6 x 4; two layers.
        let weights = 2 * (2 * 16 + 2 * 8 + 3 * 24);
        let expected = 3 * (4 * weights + 6 * 5) + 4 * 2 * 40 + 12 * 2 * 4 * 6;
        let found = model_flops(&config, 5, &[row]);
        assert!((found - f64::from(expected)).abs() < 0.5, "{found}");
    }

    #[test]
    fn every_step_takes_all_rows_and_reports_what_it_took() {
        let config = DecoderConfig::from_json(
            r#"{"model_type": "llama", "vocab_size": 64, "hidden_size": 16,
                "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                "num_key_value_heads": 1, "max_position_embeddings": 256, "hidden_act": "silu",
                "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}"#,
        )
        .unwrap();
        let weights = DecoderWeights::random(config.clone(), 1).unwrap();
        let rows = real_rows(&config);
        let bench = StepsBench {
            weights: &weights,
            rows: &rows,
            initial: None,
            rank: 4,
            base: None,
            gradient_checkpointing: false,
            device: DeviceChoice::Cpu,
            learning_rate: 1e-2,
            steps: 3,
        };
        let reads = std::cell::Cell::new(0.0);
        let clock = || {
            reads.set(reads.get() + 1.0);
            reads.get()
        };
        let figures = bench.run(&clock).unwrap();
        assert_eq!(figures.len(), 3);
        for figure in &figures {
            assert_eq!(figure.tokens, 640);
            // The clock is read once between a step's ends.
            assert!((figure.cpu_seconds - 1.0).abs() < 1e-9);
        }
        assert!(figures[2].loss < figures[0].loss);
    }
}
