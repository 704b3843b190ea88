//! What a run will take of the machine's memory, told before it begins.
//!
//! Every part follows from the configuration, the settings and the rows. It is an estimate: it
//! does not know what the allocator holds back. `distill bench train` shows it beside what was
//! measured.

use distill_student::decoder::DecoderConfig;
use distill_student::lora::{LoraAdapter, LoraConfig};
use distill_student::ops::{Storage, logits_at_a_time};
use distill_student::weights::{DecoderWeights, Precision};

use crate::decoder::{Method, TrainError, TrainExample, TrainSettings};
use crate::objective::Objective;

/// The program itself with its buffers.
const PROGRAM: u64 = 48 << 20;
/// Bytes of a trained number: its value, its gradient twice (of a batch, of the window), two
/// moments, and the best value so far.
pub(crate) const TRAINED: u64 = 24;
/// Share that the allocator holds beyond what was asked for.
const HELD_BACK: f64 = 0.05;

/// Bytes by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The weights as they were loaded.
    pub weights: u64,
    /// Copies of frozen matrices that are held otherwise than they were loaded.
    pub copies: u64,
    /// What is trained, with gradients and moments.
    pub trained: u64,
    /// What the layers keep for the backward pass, and the gradients of one layer.
    pub activations: u64,
    /// The last hidden states and a chunk of logits.
    pub loss: u64,
    /// The program itself, and what its allocator holds back.
    pub program: u64,
}

impl Estimate {
    /// The peak.
    pub fn total(&self) -> u64 {
        self.weights + self.copies + self.trained + self.activations + self.loss + self.program
    }

    /// With the program itself, which is to be counted last.
    pub(crate) fn with_program(mut self) -> Self {
        self.program = PROGRAM + (self.total() as f64 * HELD_BACK) as u64;
        self
    }
}

/// The largest batch of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargestBatch {
    pub tokens: usize,
    /// Tokens that carry loss.
    pub targets: usize,
}

impl LargestBatch {
    /// An upper bound for rows packed to batches of `batch_tokens`.
    pub fn of(rows: &[TrainExample], batch_tokens: usize) -> Self {
        let lengths = || rows.iter().map(|row| row.tokens.len());
        let longest = lengths().max().unwrap_or_default();
        let tokens = lengths().sum::<usize>().min(batch_tokens).max(longest);
        let targets = rows.iter().map(TrainExample::targets).sum::<usize>();
        Self {
            tokens,
            targets: targets.min(tokens),
        }
    }

    /// The same where a student answers its rows itself: each reply may be as long as it is let.
    fn of_run(rows: &[TrainExample], settings: &TrainSettings) -> Self {
        let mut batch = Self::of(rows, settings.batch_tokens);
        let Objective::OnPolicy(objective) = &settings.objective else {
            return batch;
        };
        if objective.student_share <= 0.0 {
            return batch;
        }
        // Of the shortest rows the most are packed into one batch.
        let mut rows: Vec<(usize, usize)> = rows
            .iter()
            .map(|row| (row.tokens.len(), row.targets()))
            .collect();
        rows.sort_unstable();
        let (mut packed, mut more) = (0, 0);
        for (length, targets) in rows {
            packed += length;
            if packed > batch.tokens {
                break;
            }
            more += objective.max_new_tokens.saturating_sub(targets);
        }
        batch.tokens += more;
        batch.targets += more;
        batch
    }
}

/// What a run will take at its peak, where a base in four bits is quantised while it is read.
///
/// # Errors
/// When the settings ask for an adapter that the model cannot have.
pub fn estimate(
    config: &DecoderConfig,
    stored: Precision,
    settings: &TrainSettings,
    batch: LargestBatch,
) -> Result<Estimate, TrainError> {
    let element = match stored {
        Precision::F32 => 4,
        Precision::Bf16 => 2,
    };
    let all = config.parameter_count() as u64;
    let (trained, copies) = match &settings.method {
        // All weights are copied in f32 and trained.
        Method::Full => (all, 0),
        Method::Lora(lora) => {
            let trained = LoraAdapter::parameter_count(config, lora)?;
            (trained as u64, copied(config, stored, settings.base))
        }
    };
    let in_four_bits =
        matches!(settings.method, Method::Lora(_)) && settings.base == Some(Storage::Nf4);
    let parts = Estimate {
        weights: if in_four_bits {
            let projections = projections(config);
            element * (all - projections) + in_four_bits_bytes(projections)
        } else {
            element * all
        },
        copies,
        trained: trained * TRAINED,
        activations: activations(config, settings, batch),
        loss: loss(config, settings, batch),
        program: 0,
    };
    Ok(parts.with_program())
}

/// [`estimate`] for weights and rows at hand.
pub fn estimate_for(
    weights: &DecoderWeights,
    settings: &TrainSettings,
    rows: &[TrainExample],
) -> Result<Estimate, TrainError> {
    let batch = LargestBatch::of_run(rows, settings);
    let mut parts = estimate(weights.config(), weights.precision(), settings, batch)?;
    if matches!(settings.method, Method::Lora(_)) && settings.base == Some(Storage::Nf4) {
        parts.weights = weights.bytes() as u64;
        if !weights.in_four_bits() {
            // Loaded as they are stored, and held in four bits beside that.
            parts.copies = in_four_bits_bytes(projections(weights.config()));
        }
        parts.program = 0;
        parts = parts.with_program();
    }
    Ok(parts)
}

/// A change to the settings that takes less memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saving {
    /// Layers are run again instead of being kept.
    GradientCheckpointing,
    /// A batch of so many tokens.
    BatchTokens(usize),
    /// Frozen matrices in four bits.
    FourBits,
}

impl Saving {
    fn apply(self, settings: &mut TrainSettings) {
        match self {
            Self::GradientCheckpointing => settings.gradient_checkpointing = true,
            Self::BatchTokens(tokens) => settings.batch_tokens = tokens,
            Self::FourBits => settings.base = Some(Storage::Nf4),
        }
    }
}

/// Sets of changes with which a run takes no more than `most` bytes beside its weights, each with
/// what it would then take beside them: single changes, else all together, else none.
pub fn savings(
    weights: &DecoderWeights,
    settings: &TrainSettings,
    rows: &[TrainExample],
    most: u64,
) -> Result<Vec<(Vec<Saving>, u64)>, TrainError> {
    let beside = |changes: &[Saving]| -> Result<u64, TrainError> {
        let mut settings = settings.clone();
        for change in changes {
            change.apply(&mut settings);
        }
        let batch = LargestBatch::of_run(rows, &settings);
        let parts = estimate(weights.config(), weights.precision(), &settings, batch)?;
        Ok(parts.total() - parts.weights)
    };
    let longest = rows.iter().map(|row| row.tokens.len()).max().unwrap_or(1);
    let mut smaller = settings.batch_tokens / 2;
    while smaller > longest && beside(&[Saving::BatchTokens(smaller)])? > most {
        smaller /= 2;
    }
    let mut single = Vec::new();
    if !settings.gradient_checkpointing {
        single.push(Saving::GradientCheckpointing);
    }
    if smaller.max(longest) < settings.batch_tokens {
        single.push(Saving::BatchTokens(smaller.max(longest)));
    }
    if matches!(settings.method, Method::Lora(_)) && settings.base == Some(Storage::F32) {
        single.push(Saving::FourBits);
    }
    let mut found = Vec::new();
    for change in &single {
        let bytes = beside(&[*change])?;
        if bytes <= most {
            found.push((vec![*change], bytes));
        }
    }
    if found.is_empty() && single.len() > 1 {
        let bytes = beside(&single)?;
        if bytes <= most {
            found.push((single, bytes));
        }
    }
    Ok(found)
}

/// Weights of the projections.
fn projections(config: &DecoderConfig) -> u64 {
    (0..config.num_hidden_layers)
        .flat_map(|layer| config.projection_sizes(layer))
        .map(|(input, output)| (input * output) as u64)
        .sum()
}

/// Half a byte each, and a scale for every 64.
fn in_four_bits_bytes(weights: u64) -> u64 {
    weights * 9 / 16
}

/// Bytes of the frozen matrices once more, where they are held otherwise than loaded.
fn copied(config: &DecoderConfig, stored: Precision, base: Option<Storage>) -> u64 {
    let matrices = projections(config);
    let embeddings = (config.vocab_size * config.hidden_size) as u64;
    match (base, stored) {
        // Four bits are made while the weights are read.
        (None | Some(Storage::Nf4), _)
        | (Some(Storage::F32), Precision::F32)
        | (Some(Storage::Bf16), Precision::Bf16) => 0,
        (Some(Storage::F32), Precision::Bf16) => 4 * (matrices + embeddings),
        (Some(Storage::Bf16), Precision::F32) => 2 * (matrices + embeddings),
    }
}

/// Numbers that the update of a projection of these inputs and outputs keeps for each token, beside the
/// projection's own result.
fn kept_by_update(lora: &LoraConfig, (input, output): (usize, usize)) -> usize {
    let lengths = lora.variant.has_magnitudes();
    if lora.dropout > 0.0 {
        // The mask and what it leaves of the input; then every product, sum and multiple by itself, and
        // with trained lengths what the base makes of that input.
        return lora.rank + 2 * input + if lengths { 7 } else { 3 } * output;
    }
    lora.rank + usize::from(lengths) * output
}

fn activations(config: &DecoderConfig, settings: &TrainSettings, batch: LargestBatch) -> u64 {
    let layer = |layer: usize| {
        let of_adapter: usize = match &settings.method {
            Method::Full => 0,
            Method::Lora(lora) => {
                let sizes = config.projection_sizes(layer);
                sizes
                    .into_iter()
                    .map(|size| kept_by_update(lora, size))
                    .sum()
            }
        };
        (config.kept_per_token(layer) + of_adapter) as u64
    };
    let layers = 0..config.num_hidden_layers;
    let largest = layers.clone().map(layer).max().unwrap_or_default();
    let kept: u64 = if settings.gradient_checkpointing {
        // The inputs, and the one layer that is run again.
        (config.num_hidden_layers * config.hidden_size) as u64 + largest
    } else {
        layers.map(layer).sum()
    };
    let embedded = config.hidden_size as u64;
    4 * batch.tokens as u64 * (embedded + kept + largest + of_teacher(&settings.objective))
}

/// Numbers for each token while a teacher at hand answers: of one layer, since nothing is kept for a
/// backward pass.
fn of_teacher(objective: &Objective) -> u64 {
    let Objective::OnPolicy(objective) = objective else {
        return 0;
    };
    let config = objective.teacher.decoder().config();
    let layers = 0..config.num_hidden_layers;
    let largest = layers.map(|layer| config.kept_per_token(layer)).max();
    (config.hidden_size + largest.unwrap_or_default()) as u64
}

fn loss(config: &DecoderConfig, settings: &TrainSettings, batch: LargestBatch) -> u64 {
    // The chosen rows, their norm, and a gradient of each.
    let hidden = 4 * batch.targets * config.hidden_size;
    // A gradient takes the place of its logit. Of a teacher at hand there are as many again.
    let models = match settings.objective {
        Objective::OnPolicy(_) => 2,
        Objective::CrossEntropy | Objective::TopTokens(_) => 1,
    };
    let logits = models * logits_at_a_time(config.vocab_size, batch.targets);
    4 * (hidden + logits) as u64
}

#[cfg(test)]
mod tests {
    use distill_student::lora::LoraVariant;

    use candle_core::Tensor;

    use super::*;

    fn config() -> DecoderConfig {
        DecoderConfig::from_json(
            r#"{"model_type": "llama", "vocab_size": 512, "hidden_size": 64,
                "intermediate_size": 128, "num_hidden_layers": 8, "num_attention_heads": 4,
                "num_key_value_heads": 2, "max_position_embeddings": 2048, "hidden_act": "silu",
                "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}"#,
        )
        .unwrap()
    }

    const BATCH: LargestBatch = LargestBatch {
        tokens: 1000,
        targets: 300,
    };

    fn of(change: impl Fn(&mut TrainSettings)) -> Estimate {
        let mut settings = TrainSettings::default();
        change(&mut settings);
        estimate(&config(), Precision::Bf16, &settings, BATCH).unwrap()
    }

    #[test]
    fn activations_grow_with_tokens_and_shrink_with_checkpointing() {
        let kept = of(|_| {}).activations;
        let twice = LargestBatch {
            tokens: 2 * BATCH.tokens,
            ..BATCH
        };
        let settings = TrainSettings::default();
        let more = estimate(&config(), Precision::Bf16, &settings, twice).unwrap();
        assert_eq!(more.activations, 2 * kept);
        assert!(of(|settings| settings.gradient_checkpointing = true).activations * 3 < kept);
    }

    #[test]
    fn an_update_that_sees_a_part_of_its_input_keeps_more() {
        let with = |variant: LoraVariant, dropout: f64| {
            of(|settings| {
                settings.method = Method::Lora(LoraConfig {
                    variant,
                    dropout,
                    ..LoraConfig::default()
                });
            })
            .activations
        };
        let plain = with(LoraVariant::Lora, 0.0);
        let dropped = with(LoraVariant::Lora, 0.1);
        let lengths = with(LoraVariant::Dora, 0.1);
        assert!(plain < with(LoraVariant::Dora, 0.0));
        assert!(plain < dropped && dropped < lengths);
        // A mask and its product for each input, and three results for each output, of eight layers
        // and of the largest again.
        let sizes = config().projection_sizes(0);
        let more: usize = sizes.iter().map(|(i, o)| 2 * i + 3 * o).sum();
        assert_eq!(dropped - plain, (4 * BATCH.tokens * more * 9) as u64);
    }

    #[test]
    fn the_loss_holds_the_logits_of_a_chunk_of_rows() {
        let mut config = config();
        let loss = |config: &DecoderConfig| {
            let settings = TrainSettings::default();
            let parts = estimate(config, Precision::Bf16, &settings, BATCH).unwrap();
            parts.loss - 4 * 4 * (BATCH.targets * config.hidden_size) as u64
        };
        // All rows of a small vocabulary; of a large one as many as 64 MiB hold.
        assert_eq!(loss(&config), 4 * 300 * 512);
        config.vocab_size = 151_936;
        assert!((60..=64).contains(&(loss(&config) >> 20)));
    }

    #[test]
    fn an_adapter_trains_a_share_and_full_training_everything() {
        let adapter = LoraAdapter::init(&config(), LoraConfig::default(), 1).unwrap();
        let tensors = adapter.tensors().values();
        let count: usize = tensors.map(Tensor::elem_count).sum();
        assert_eq!(of(|_| {}).trained, count as u64 * TRAINED);
        let all = config().parameter_count() as u64;
        assert_eq!(of(|s| s.method = Method::Full).trained, all * TRAINED);
        assert_eq!(of(|_| {}).weights, 2 * all);
    }

    #[test]
    fn a_base_held_as_it_is_stored_costs_nothing_more() {
        assert_eq!(of(|_| {}).copies, 0);
        assert_eq!(of(|s| s.base = Some(Storage::Bf16)).copies, 0);
        let wide = of(|s| s.base = Some(Storage::F32)).copies;
        // Two norms a layer and the last one stay as they are.
        let norms = (2 * 8 + 1) * 64;
        assert_eq!(wide, 4 * (config().parameter_count() - norms) as u64);
        let four_bits = of(|s| s.base = Some(Storage::Nf4));
        assert!(four_bits.copies == 0 && four_bits.weights < of(|_| {}).weights);
        // Weights that are loaded as they are stored are held twice then.
        let mut settings = TrainSettings {
            base: Some(Storage::Nf4),
            ..TrainSettings::default()
        };
        let row = [TrainExample::new(vec![1; 10], 1)];
        let stored = DecoderWeights::random_in(config(), 1, Precision::Bf16).unwrap();
        let held = DecoderWeights::random_in_four_bits(config(), 1, Precision::Bf16).unwrap();
        let once = estimate_for(&held, &settings, &row).unwrap();
        let twice = estimate_for(&stored, &settings, &row).unwrap();
        assert_eq!((once.weights, once.copies), (held.bytes() as u64, 0));
        assert_eq!(twice.weights, stored.bytes() as u64);
        settings.base = None;
        let plain = estimate_for(&stored, &settings, &row).unwrap();
        assert!(once.total() < plain.total() && plain.total() < twice.total());
    }

    #[test]
    fn savings_fit_what_is_free() {
        let weights = DecoderWeights::random(config(), 1).unwrap();
        let row = |length: usize| TrainExample::new(vec![1; length], 1);
        let rows: Vec<TrainExample> = (0..40).map(|_| row(100)).collect();
        let settings = TrainSettings {
            batch_tokens: 4000,
            ..TrainSettings::default()
        };
        let parts = estimate_for(&weights, &settings, &rows).unwrap();
        let beside = parts.total() - parts.weights;
        let found = savings(&weights, &settings, &rows, beside * 2 / 3).unwrap();
        assert!(!found.is_empty());
        for (changes, bytes) in &found {
            assert_eq!(changes.len(), 1);
            assert!(*bytes <= beside * 2 / 3);
        }
        let smaller = |change: &Saving| match change {
            Saving::BatchTokens(tokens) => (100..4000).contains(tokens),
            _ => false,
        };
        assert!(found.iter().any(|(changes, _)| smaller(&changes[0])));
        assert!(savings(&weights, &settings, &rows, 1).unwrap().is_empty());
    }
}
