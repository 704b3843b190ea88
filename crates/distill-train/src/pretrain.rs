//! Makes a base model from nothing: corpus, vocabulary, weights, and the card that says how.
//!
//! Everything follows from a [`Recipe`]: the same recipe gives the same bytes on the same kind of
//! machine. A run that was cut off goes on from its last checkpoint in the output directory.
//!
//! Start reading at [`pretrain`].

mod card;
mod checkpoint;
mod optimizer;
mod stream;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use candle_core::{Var, backprop::GradStore};
use distill_student::{
    decoder::{Decoder, DecoderConfig, DecoderError, PackedTokens},
    ops::cross_entropy,
    tokenizer::{Tokenizer, TokenizerError},
    weights::{DecoderWeights, Precision},
};
use serde::{Deserialize, Serialize};

use crate::corpus::{Corpus, Mix};
use checkpoint::Progress;
use optimizer::Optimizer;
use stream::{Batch, Stream};
use vocabulary::VocabularyFiles;

const NANO: &str = include_str!("../recipes/nano.json");

/// All that decides what a base model becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    pub name: String,
    /// Of the corpus and of the first weights.
    pub seed: u64,
    pub tokenizer: TokenizerRecipe,
    pub model: ModelRecipe,
    /// One after the other.
    pub stages: Vec<Stage>,
    /// Parts of a batch that are worked on side by side, one core each. Part of the recipe since
    /// sums of floats depend on it.
    pub shards: usize,
    pub optimizer: OptimizerRecipe,
}

/// A stretch of the training in which the kind of samples stays the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    pub steps: usize,
    pub mix: Mix,
    /// Tokens of one batch and step, at most.
    pub batch_tokens: usize,
    /// What a token that a person wrote counts in the loss; one of a reply counts 1.
    pub text_weight: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRecipe {
    pub vocabulary: usize,
    /// Samples of the corpus that the merges are learnt from.
    pub samples: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecipe {
    pub width: usize,
    pub feed_forward: usize,
    pub layers: usize,
    pub query_heads: usize,
    pub key_value_heads: usize,
    pub context: usize,
    pub rope_theta: f64,
    /// Standard deviation of the first weights.
    pub initial_deviation: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerRecipe {
    /// Of the matrices between the layers.
    pub matrix_learning_rate: f64,
    /// Of the embedding and the norms.
    pub vector_learning_rate: f64,
    /// Steps in which the rates rise.
    pub warmup_steps: usize,
    /// Share of the steps, the last ones, in which the rates fall to nothing.
    pub decay_share: f64,
    pub weight_decay: f64,
    pub clip: f64,
}

/// Recipes compiled into the binary, by name.
pub const RECIPES: &[(&str, &str)] = &[("nano", NANO)];

impl Recipe {
    /// The recipe of that name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        let (_, text) = RECIPES.iter().find(|(known, _)| *known == name)?;
        Some(Self::from_json(text).expect("a test reads every embedded recipe"))
    }

    /// Reads a recipe file.
    pub fn from_json(text: &str) -> Result<Self, PretrainError> {
        serde_json::from_str(text).map_err(|error| PretrainError::Recipe {
            reason: error.to_string(),
        })
    }

    /// Steps of all stages.
    pub fn steps(&self) -> usize {
        self.stages.iter().map(|stage| stage.steps).sum()
    }

    /// The recipe cut off after some steps, for a trial.
    #[must_use]
    pub fn shortened(mut self, steps: usize) -> Self {
        let mut left = steps;
        for stage in &mut self.stages {
            stage.steps = stage.steps.min(left);
            left -= stage.steps;
        }
        self
    }

    /// The stage of a step counted from 1; the last one for any step beyond.
    fn stage(&self, step: usize) -> Option<&Stage> {
        let mut end = 0;
        let current = self.stages.iter().find(|stage| {
            end += stage.steps;
            step <= end
        });
        current.or(self.stages.last())
    }

    fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("a recipe has only plain fields");
        format!("{text}\n")
    }

    fn decoder_config(&self, vocabulary: usize) -> Result<DecoderConfig, DecoderError> {
        let model = &self.model;
        let fields = serde_json::json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "head_dim": model.width / model.query_heads.max(1),
            "hidden_act": "silu",
            "hidden_size": model.width,
            "initializer_range": model.initial_deviation,
            "intermediate_size": model.feed_forward,
            "max_position_embeddings": model.context,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": model.query_heads,
            "num_hidden_layers": model.layers,
            "num_key_value_heads": model.key_value_heads,
            "rms_norm_eps": 1e-5,
            "rope_theta": model.rope_theta,
            "tie_word_embeddings": true,
            "vocab_size": vocabulary,
        });
        DecoderConfig::from_json(&fields.to_string())
    }

    /// Share of the peak learning rates at a step counted from 1: up, level, down in a line. The
    /// way up and the level part do not depend on how many steps there are, so a longer run
    /// begins as a shorter one does.
    fn rate(&self, step: usize) -> f64 {
        let optimizer = &self.optimizer;
        let up = step as f64 / optimizer.warmup_steps.max(1) as f64;
        let falling = (optimizer.decay_share * self.steps() as f64).max(1.0);
        let down = (self.steps() + 1).saturating_sub(step) as f64 / falling;
        up.min(down).clamp(0.0, 1.0)
    }
}

/// What to make and where.
pub struct PretrainRequest<'a> {
    pub recipe: &'a Recipe,
    /// Takes the model's files and, until it is done, `checkpoint.safetensors`.
    pub directory: &'a Path,
    /// Steps between checkpoints; each also writes the model as it is then.
    pub checkpoint_every: usize,
    /// Asked between steps.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// What a pretraining run tells while it goes.
#[derive(Debug, Clone, PartialEq)]
pub enum PretrainEvent {
    Vocabulary {
        tokens: usize,
        seconds: f64,
    },
    Started {
        parameters: usize,
        steps: usize,
        resumed_at: Option<usize>,
    },
    Step {
        step: usize,
        steps: usize,
        /// Cross-entropy a token of replies.
        reply_loss: f64,
        /// Cross-entropy a token of text.
        text_loss: f64,
        learning_rate_share: f64,
        gradient_norm: f64,
        tokens: usize,
        seconds: f64,
    },
    Checkpointed {
        step: usize,
    },
}

/// Facts of a finished run; the model card holds the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PretrainSummary {
    pub recipe: String,
    pub parameters: usize,
    pub vocabulary: usize,
    pub steps: usize,
    pub tokens_seen: u64,
    pub samples_seen: u64,
    /// Mean of the last hundredth of the steps.
    pub reply_loss: f64,
    pub text_loss: f64,
    /// Spent in steps, over all parts of an interrupted run.
    pub seconds: f64,
    pub weights_sha256: String,
    pub tokenizer_sha256: String,
}

/// Why no base model came of it.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    #[error("cannot read the recipe: {reason}")]
    Recipe { reason: String },
    #[error("cannot learn a vocabulary: {reason}")]
    Vocabulary { reason: String },
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    #[error("arithmetic failed in pretraining")]
    Arithmetic(#[from] candle_core::Error),
    #[error("parameter {name} got no gradient")]
    NoGradient { name: String },
    #[error("cannot start threads: {reason}")]
    Threads { reason: String },
    #[error("the loss is no longer a number at step {step}")]
    Diverged { step: usize },
    #[error("cannot use the checkpoint: {reason}")]
    Checkpoint { reason: String },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cancelled at step {step}")]
    Cancelled { step: usize },
}

/// Makes the base model of a recipe.
///
/// # Errors
/// [`PretrainError::Cancelled`] leaves a checkpoint to go on from.
pub fn pretrain(
    request: &PretrainRequest<'_>,
    on_event: &mut dyn FnMut(PretrainEvent),
) -> Result<PretrainSummary, PretrainError> {
    let recipe = request.recipe;
    let corpus = Corpus::new(recipe.seed);
    let started = Instant::now();
    let files = vocabulary::learn(&corpus, &recipe.tokenizer, recipe.model.context)?;
    let tokenizer = files.load(&recipe.name)?;
    on_event(PretrainEvent::Vocabulary {
        tokens: tokenizer.vocabulary_size(),
        seconds: started.elapsed().as_secs_f64(),
    });
    let mut run = Run::new(recipe, &tokenizer)?;
    let mut stream = Stream::new(&corpus, &tokenizer, recipe.model.context)?;
    let mut progress = Progress::default();
    let resumed_at =
        checkpoint::load(request.directory, recipe, &mut run.optimizer)?.map(|found| {
            stream.next = found.next_sample;
            progress = found;
            progress.step
        });
    on_event(PretrainEvent::Started {
        parameters: run.weights.config().parameter_count(),
        steps: recipe.steps(),
        resumed_at,
    });
    while progress.step < recipe.steps() {
        let save = |run: &Run, progress: &Progress| {
            checkpoint::save(request.directory, recipe, &run.optimizer, progress)?;
            run.export(request.directory, &files, &tokenizer, progress)
        };
        if (request.cancelled)() {
            save(&run, &progress)?;
            return Err(PretrainError::Cancelled {
                step: progress.step,
            });
        }
        on_event(run.step(&mut stream, &mut progress)?);
        if progress
            .step
            .is_multiple_of(request.checkpoint_every.max(1))
        {
            save(&run, &progress)?;
            on_event(PretrainEvent::Checkpointed {
                step: progress.step,
            });
        }
    }
    let summary = run.export(request.directory, &files, &tokenizer, &progress)?;
    checkpoint::remove(request.directory)?;
    Ok(summary)
}

fn no_stage() -> PretrainError {
    PretrainError::Recipe {
        reason: "it has no stages".into(),
    }
}

/// A model under training.
struct Run<'a> {
    recipe: &'a Recipe,
    weights: DecoderWeights,
    decoder: Decoder,
    optimizer: Optimizer,
    /// One thread each.
    pools: Vec<rayon::ThreadPool>,
}

/// What one shard of a batch teaches.
struct Lesson {
    gradients: GradStore,
    /// Weighted sums over the shard.
    reply_loss: f64,
    text_loss: f64,
}

impl<'a> Run<'a> {
    fn new(recipe: &'a Recipe, tokenizer: &Tokenizer) -> Result<Self, PretrainError> {
        let config = recipe.decoder_config(tokenizer.vocabulary_size())?;
        let first = DecoderWeights::random(config.clone(), recipe.seed)?;
        let mut variables = BTreeMap::new();
        for (name, tensor) in first.tensors() {
            variables.insert(name.clone(), Var::from_tensor(tensor)?);
        }
        let tensors = variables
            .iter()
            .map(|(name, variable)| (name.clone(), variable.as_tensor().clone()))
            .collect();
        let weights = DecoderWeights::from_tensors(config, tensors)?;
        Ok(Self {
            recipe,
            decoder: Decoder::new(&weights)?,
            weights,
            optimizer: Optimizer::new(variables, recipe.optimizer.clone())?,
            pools: (0..recipe.shards.max(1))
                .map(|_| rayon::ThreadPoolBuilder::new().num_threads(1).build())
                .collect::<Result<_, _>>()
                .map_err(|error| PretrainError::Threads {
                    reason: error.to_string(),
                })?,
        })
    }

    /// One batch in shards: forward, loss, backward; then one step.
    fn step(
        &mut self,
        stream: &mut Stream<'_>,
        progress: &mut Progress,
    ) -> Result<PretrainEvent, PretrainError> {
        let started = Instant::now();
        let step = progress.step + 1;
        let stage = self.recipe.stage(step).ok_or_else(no_stage)?;
        let count = self.recipe.shards.max(1);
        let shards = (0..count)
            .map(|_| stream.batch(stage.mix, stage.batch_tokens / count))
            .collect::<Result<Vec<_>, _>>()?;
        let replies: usize = shards.iter().map(|batch| batch.reply_targets.len()).sum();
        let texts: usize = shards.iter().map(|batch| batch.text_targets.len()).sum();
        let total = replies as f64 + stage.text_weight * texts as f64;
        let lessons = self.lessons(&shards, 1.0 / total, stage.text_weight / total)?;
        let sum = |loss: fn(&Lesson) -> f64| lessons.iter().map(loss).sum::<f64>() * total;
        let reply_loss = sum(|lesson| lesson.reply_loss) / replies.max(1) as f64;
        let text_loss = sum(|lesson| lesson.text_loss) / (stage.text_weight * texts.max(1) as f64);
        if !(reply_loss + text_loss).is_finite() {
            return Err(PretrainError::Diverged { step });
        }
        let stores: Vec<GradStore> = lessons.into_iter().map(|lesson| lesson.gradients).collect();
        let gradients = self.optimizer.gather(&stores)?;
        let share = self.recipe.rate(step);
        let gradient_norm = self.optimizer.step(&gradients, step, share)?;
        let tokens = shards.iter().map(|batch| batch.tokens).sum();
        let seconds = started.elapsed().as_secs_f64();
        progress.advance(tokens, stream.next, (reply_loss, text_loss), seconds);
        Ok(PretrainEvent::Step {
            step,
            steps: self.recipe.steps(),
            reply_loss,
            text_loss,
            learning_rate_share: share,
            gradient_norm,
            tokens,
            seconds,
        })
    }

    /// Each shard on a core of its own: products this small gain less from being split.
    fn lessons(
        &self,
        shards: &[Batch],
        reply_weight: f64,
        text_weight: f64,
    ) -> Result<Vec<Lesson>, PretrainError> {
        std::thread::scope(|scope| {
            let workers: Vec<_> = shards
                .iter()
                .zip(&self.pools)
                .map(|(batch, pool)| {
                    scope.spawn(move || {
                        pool.install(|| self.lesson(batch, reply_weight, text_weight))
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().expect("a shard does not panic"))
                .collect()
        })
    }

    /// Loss and gradients of one shard; the weights are those of one token.
    fn lesson(
        &self,
        batch: &Batch,
        reply_weight: f64,
        text_weight: f64,
    ) -> Result<Lesson, PretrainError> {
        let (replies, texts) = (batch.reply_targets.len(), batch.text_targets.len());
        let places: Arc<[u32]> = batch
            .reply_places
            .iter()
            .chain(&batch.text_places)
            .copied()
            .collect();
        let packed = PackedTokens::new(batch.rows.iter().map(Vec::as_slice));
        let hidden = self.decoder.hidden_rows(&packed, &places)?; // (N, D)
        let head = self.decoder.loss_head();
        let reply = cross_entropy(
            &hidden.narrow(0, 0, replies)?,
            head,
            &batch.reply_targets,
            reply_weight,
        )?;
        let text = cross_entropy(
            &hidden.narrow(0, replies, texts)?,
            head,
            &batch.text_targets,
            text_weight,
        )?;
        Ok(Lesson {
            gradients: (&reply + &text)?.backward()?,
            reply_loss: f64::from(reply.to_scalar::<f32>()?),
            text_loss: f64::from(text.to_scalar::<f32>()?),
        })
    }

    /// Writes the model as it is now, in bf16, with its vocabulary and card.
    fn export(
        &self,
        directory: &Path,
        files: &VocabularyFiles,
        tokenizer: &Tokenizer,
        progress: &Progress,
    ) -> Result<PretrainSummary, PretrainError> {
        let weights = self.weights.to_safetensors(Precision::Bf16)?;
        // The hash is of what a reader of the files gets, which bf16 has rounded.
        let read = DecoderWeights::from_safetensors(self.weights.config().clone(), &weights)?;
        let summary = PretrainSummary {
            recipe: self.recipe.name.clone(),
            parameters: self.weights.config().parameter_count(),
            vocabulary: tokenizer.vocabulary_size(),
            steps: progress.step,
            tokens_seen: progress.tokens,
            samples_seen: progress.next_sample,
            reply_loss: progress.reply_loss,
            text_loss: progress.text_loss,
            seconds: progress.seconds,
            weights_sha256: read.sha256()?,
            tokenizer_sha256: tokenizer.sha256().to_owned(),
        };
        let config = self.weights.config().to_json();
        let card = card::model_card(self.recipe, &summary);
        for (name, bytes) in [
            ("config.json", config.as_bytes()),
            ("model.safetensors", &weights),
            ("tokenizer.json", &files.tokenizer),
            ("tokenizer_config.json", &files.config),
            ("recipe.json", self.recipe.to_json().as_bytes()),
            ("MODEL_CARD.md", card.as_bytes()),
        ] {
            checkpoint::write(&directory.join(name), bytes)?;
        }
        Ok(summary)
    }
}
