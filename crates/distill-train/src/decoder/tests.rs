//! Properties of training on a model of a few thousand weights.

use distill_student::decoder::DecoderConfig;

use super::*;

pub(super) fn config() -> DecoderConfig {
    DecoderConfig::from_json(
        r#"{"model_type": "llama", "vocab_size": 40, "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "hidden_act": "silu", "tie_word_embeddings": true, "initializer_range": 0.3}"#,
    )
    .unwrap()
}

pub(super) fn weights() -> DecoderWeights {
    DecoderWeights::random(config(), 5).unwrap()
}

/// Rows whose reply follows from their prompt.
pub(super) fn rows(count: usize) -> Vec<TrainExample> {
    (0..count as u32)
        .map(|i| {
            let mut tokens: Vec<u32> = (0..5 + i % 4).map(|j| (i * 7 + j * 3) % 36).collect();
            let loss_from = tokens.len();
            tokens.extend([(i * 7) % 36, (i * 7 + 1) % 36, 39]);
            TrainExample { tokens, loss_from }
        })
        .collect()
}

pub(super) fn settings(method: Method) -> TrainSettings {
    TrainSettings {
        method,
        epochs: 3,
        batch_tokens: 40,
        accumulation: 2,
        learning_rate: 1e-2,
        ..TrainSettings::default()
    }
}

pub(super) const LORA: Method = Method::Lora {
    rank: 4,
    alpha: 8.0,
};

pub(super) fn train(
    settings: &TrainSettings,
    train: &[TrainExample],
    validation: &[TrainExample],
) -> (TrainOutcome, Vec<TrainEvent>) {
    let mut events = Vec::new();
    let weights = weights();
    let request = TrainRequest {
        weights: &weights,
        settings,
        train,
        validation,
        checkpointing: None,
        cancelled: &|| false,
    };
    let outcome = train_decoder(&request, &mut |event| events.push(event)).unwrap();
    (outcome, events)
}

pub(super) fn bytes(outcome: &TrainOutcome) -> Vec<u8> {
    match &outcome.trained {
        Trained::Lora(adapter) => adapter.to_safetensors().unwrap(),
        Trained::Full(weights) => weights
            .to_safetensors(distill_student::weights::Precision::F32)
            .unwrap(),
    }
}

fn losses(events: &[TrainEvent]) -> Vec<f64> {
    events
        .iter()
        .filter_map(|event| match event {
            TrainEvent::Step { loss, .. } => Some(*loss),
            _ => None,
        })
        .collect()
}

#[test]
fn a_tiny_batch_overfits() {
    for method in [LORA, Method::Full] {
        let settings = TrainSettings {
            epochs: 150,
            batch_tokens: 1000,
            accumulation: 1,
            ..settings(method)
        };
        let (_, events) = train(&settings, &rows(4), &[]);
        let losses = losses(&events);
        assert!(losses[0] > 1.0, "{}", losses[0]);
        assert!(losses.last().unwrap() < &0.05, "{method:?}: {losses:?}");
    }
}
