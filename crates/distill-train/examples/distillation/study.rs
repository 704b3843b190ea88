//! Teacher and students: trained, and scored on held-out prompts.

use distill_student::decoder::{Decoder, DecoderConfig};
use distill_student::generate::{GenerateSettings, generate};
use distill_student::ops::{Distillation, Divergence, Rest};
use distill_student::weights::DecoderWeights;
use distill_train::objective::{
    Estimate, Objective, OnPolicy, Teacher, TopTokenSettings, with_top_tokens,
};
use distill_train::{
    Method, TrainError, TrainExample, TrainRequest, TrainSettings, Trained, decoder::packed_loss,
    train_decoder,
};

use crate::task::{REPLY, STOP, VOCABULARY, rows};

const PLENTY: usize = 4000;
const HELD_OUT: usize = 500;
const BATCH_TOKENS: usize = 512;
/// Tokens that a teacher tells of each place.
const TOP: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arm {
    CrossEntropy,
    TopTokens,
    OnPolicy,
    OnPolicyDrawn,
}

impl Arm {
    pub(crate) const ALL: [Self; 4] = [
        Self::CrossEntropy,
        Self::TopTokens,
        Self::OnPolicy,
        Self::OnPolicyDrawn,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross-entropy",
            Self::TopTokens => "top 8, forward KL",
            Self::OnPolicy => "on policy, whole",
            Self::OnPolicyDrawn => "on policy, drawn",
        }
    }
}

/// What a model does on held-out prompts.
pub(crate) struct Score {
    /// Share of the letters that are right.
    pub(crate) right: f64,
    /// Cross-entropy of replies without errors, nats a token.
    pub(crate) loss: f64,
    /// That training ran through the model.
    pub(crate) tokens: u64,
}

pub(crate) struct Study {
    few: usize,
    errors: f64,
    learning_rate: f64,
    steps: usize,
    teacher: Option<Teacher>,
}

impl Study {
    pub(crate) fn new(few: usize, errors: f64, learning_rate: f64, steps: usize) -> Self {
        Self {
            few,
            errors,
            learning_rate,
            steps,
            teacher: None,
        }
    }

    pub(crate) fn described(&self) -> String {
        format!(
            "student: 2 layers of width 64 from random weights, {} rows, {} steps of up to \
             {BATCH_TOKENS} tokens at {}; teacher: 2 layers of width 128, {PLENTY} rows; scored on \
             {HELD_OUT} held-out prompts",
            self.few, self.steps, self.learning_rate
        )
    }

    /// Trains the teacher, once for all seeds.
    pub(crate) fn teach(&mut self) -> Result<Score, TrainError> {
        let settings = TrainSettings {
            method: Method::Full,
            epochs: 12,
            batch_tokens: 2048,
            learning_rate: 2e-3,
            ..TrainSettings::default()
        };
        let start = initial(128, 7)?;
        let (weights, tokens) = train(&start, &settings, &rows(PLENTY, self.errors, 1000))?;
        self.teacher = Some(Teacher::new(&weights, None)?);
        score(&weights, tokens)
    }

    /// Trains a student.
    pub(crate) fn student(&self, arm: Arm, seed: u64) -> Result<Score, TrainError> {
        let few = rows(self.few, self.errors, 2000 + seed);
        let (objective, few) = self.objective(arm, few)?;
        let settings = TrainSettings {
            method: Method::Full,
            objective,
            epochs: self.steps,
            max_steps: Some(self.steps),
            batch_tokens: BATCH_TOKENS,
            learning_rate: self.learning_rate,
            seed,
            ..TrainSettings::default()
        };
        let (weights, tokens) = train(&initial(64, seed)?, &settings, &few)?;
        score(&weights, tokens)
    }

    fn objective(
        &self,
        arm: Arm,
        few: Vec<TrainExample>,
    ) -> Result<(Objective, Vec<TrainExample>), TrainError> {
        let distillation = |divergence| Distillation {
            divergence,
            rest: Rest::Bucket,
            temperature: 1.0,
            share: 1.0,
            shared_vocabulary: VOCABULARY,
        };
        let Some(teacher) = &self.teacher else {
            return Ok((Objective::CrossEntropy, few));
        };
        let on_policy = |estimate| {
            Objective::OnPolicy(Box::new(OnPolicy {
                teacher: teacher.clone(),
                estimate,
                distillation: distillation(Divergence::Reverse),
                student_share: 1.0,
                sampling_temperature: 1.0,
                max_new_tokens: REPLY + 1,
                stop_tokens: vec![STOP],
            }))
        };
        Ok(match arm {
            Arm::CrossEntropy => (Objective::CrossEntropy, few),
            Arm::TopTokens => {
                let settings = TopTokenSettings {
                    count: TOP,
                    temperature: 1.0,
                    shared_vocabulary: VOCABULARY,
                    batch_tokens: 4096,
                };
                let taught = with_top_tokens(&few, teacher, &settings, &|| false)?;
                (
                    Objective::TopTokens(distillation(Divergence::Forward)),
                    taught,
                )
            }
            Arm::OnPolicy => (on_policy(Estimate::Whole), few),
            Arm::OnPolicyDrawn => (on_policy(Estimate::Drawn), few),
        })
    }
}

fn initial(width: usize, seed: u64) -> Result<DecoderWeights, TrainError> {
    let config = format!(
        r#"{{"model_type": "llama", "vocab_size": {VOCABULARY}, "hidden_size": {width},
            "intermediate_size": {}, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 4, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true,
            "initializer_range": 0.05}}"#,
        2 * width
    );
    Ok(DecoderWeights::random(
        DecoderConfig::from_json(&config)?,
        seed,
    )?)
}

fn train(
    start: &DecoderWeights,
    settings: &TrainSettings,
    rows: &[TrainExample],
) -> Result<(DecoderWeights, u64), TrainError> {
    let request = TrainRequest {
        weights: start,
        settings,
        train: rows,
        validation: &[],
        initial: None,
        checkpointing: None,
        cancelled: &|| false,
    };
    let outcome = train_decoder(&request, &mut |_| {})?;
    let weights = match outcome.trained {
        Trained::Full(weights) => weights,
        Trained::Lora(adapter) => start.merge(&adapter)?,
    };
    Ok((weights, outcome.summary.tokens_seen))
}

fn score(weights: &DecoderWeights, tokens: u64) -> Result<Score, TrainError> {
    let decoder = Decoder::new(weights)?;
    let held_out = rows(HELD_OUT, 0.0, 9999);
    let settings = GenerateSettings {
        max_new_tokens: REPLY + 1,
        stop_tokens: vec![STOP],
        max_rows: HELD_OUT,
        ..GenerateSettings::default()
    };
    let prompts: Vec<Vec<u32>> = held_out
        .iter()
        .map(|row| row.tokens[..row.loss_from].to_vec())
        .collect();
    let mut right = 0;
    for (reply, row) in generate(&decoder, &prompts, &settings)?
        .iter()
        .zip(&held_out)
    {
        let expected = &row.tokens[row.loss_from..row.loss_from + REPLY];
        let pairs = reply.tokens.iter().zip(expected);
        right += pairs.filter(|(got, expected)| got == expected).count();
    }
    let all: Vec<&TrainExample> = held_out.iter().collect();
    let loss = packed_loss(&decoder, &all, 1.0 / (HELD_OUT * (REPLY + 1)) as f64)?;
    Ok(Score {
        right: right as f64 / (HELD_OUT * REPLY) as f64,
        loss: f64::from(loss.to_scalar::<f32>()?),
        tokens,
    })
}
