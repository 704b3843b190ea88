//! A card against the processor: the same model, rows and adapter, trained and asked on both.
//! Without a card that opens each test says so and ends.
#![allow(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use distill_student::decoder::{Decoder, DecoderConfig, DecoderPlan, PackedTokens};
use distill_student::device::DeviceChoice;
use distill_student::generate::{GenerateSettings, generate};
use distill_student::lora::{LoraConfig, LoraVariant};
use distill_student::ops::Storage;
use distill_student::weights::{DecoderWeights, Precision};
use distill_train::{
    Method, TrainEvent, TrainExample, TrainRequest, TrainSettings, Trained, train_decoder,
};

/// The card of this machine, if it has one and this build knows of it.
fn card(test: &str) -> Option<DeviceChoice> {
    let choices = [DeviceChoice::Cuda(0), DeviceChoice::Metal];
    let reasons: Vec<String> = choices
        .iter()
        .filter_map(|choice| choice.open().err())
        .map(|error| error.to_string())
        .collect();
    let found = choices.into_iter().find(|choice| choice.open().is_ok());
    if found.is_none() {
        eprintln!("skipped: {test}: {}", reasons.join("; "));
    }
    found
}

const LLAMA: &str = r#"{"model_type": "llama", "vocab_size": 640, "hidden_size": 96,
    "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "hidden_act": "silu",
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}"#;

fn weights(precision: Precision) -> DecoderWeights {
    let config = DecoderConfig::from_json(LLAMA).unwrap();
    DecoderWeights::random_in(config, 3, precision).unwrap()
}

/// Rows of several lengths, most of them a prompt.
fn rows() -> Vec<TrainExample> {
    let row = |length: u32, seed: u32| {
        let tokens = (0..length).map(|at| (at * at * 7 + at * seed + seed) % 640);
        TrainExample::new(tokens.collect(), length as usize / 2)
    };
    [90, 33, 150, 12, 61, 33]
        .into_iter()
        .zip(1..)
        .map(|(length, seed)| row(length, seed))
        .collect()
}

fn train(
    weights: &DecoderWeights,
    settings: &TrainSettings,
    device: DeviceChoice,
) -> (Vec<f64>, Trained) {
    let settings = TrainSettings {
        device,
        ..settings.clone()
    };
    let request = TrainRequest {
        weights,
        settings: &settings,
        train: &rows(),
        validation: &[],
        initial: None,
        checkpointing: None,
        cancelled: &|| false,
    };
    let mut losses = Vec::new();
    let outcome = train_decoder(&request, &mut |event| {
        if let TrainEvent::Step { loss, .. } = event {
            losses.push(loss);
        }
    })
    .unwrap();
    (losses, outcome.trained)
}

/// 20 steps of an adapter.
fn settings(variant: LoraVariant, base: Option<Storage>, checkpointing: bool) -> TrainSettings {
    TrainSettings {
        method: Method::Lora(LoraConfig {
            rank: 8,
            alpha: 16.0,
            variant,
            ..LoraConfig::default()
        }),
        base,
        gradient_checkpointing: checkpointing,
        epochs: 20,
        max_steps: Some(20),
        batch_tokens: 200,
        accumulation: 2,
        learning_rate: 2e-3,
        weight_decay: 0.01,
        ..TrainSettings::default()
    }
}

fn assert_near(card: &[f64], processor: &[f64], tolerance: f64, what: &str) {
    assert_eq!(card.len(), processor.len(), "{what}");
    for (step, (card, processor)) in card.iter().zip(processor).enumerate() {
        let off = (card - processor).abs() / processor.abs();
        assert!(
            off <= tolerance,
            "{what}, step {step}: {card} instead of {processor}"
        );
    }
}

#[test]
fn losses_of_twenty_steps_are_those_of_the_processor() {
    let Some(card) = card("losses_of_twenty_steps_are_those_of_the_processor") else {
        return;
    };
    for (precision, variant, base, checkpointing) in [
        (Precision::F32, LoraVariant::Lora, None, false),
        (Precision::F32, LoraVariant::Dora, None, true),
        (Precision::Bf16, LoraVariant::Lora, None, false),
        (Precision::Bf16, LoraVariant::Lora, Some(Storage::Nf4), true),
    ] {
        let weights = weights(precision);
        let settings = settings(variant, base, checkpointing);
        let (here, _) = train(&weights, &settings, DeviceChoice::Cpu);
        let (there, _) = train(&weights, &settings, card);
        // Of bf16 the card rounds what a product gives, the processor does not.
        let tolerance = if precision == Precision::F32 {
            1e-3
        } else {
            1e-2
        };
        assert_near(
            &there,
            &here,
            tolerance,
            &format!("{variant:?} on {base:?}"),
        );
    }
}

#[test]
fn all_weights_learn_as_on_the_processor() {
    let Some(card) = card("all_weights_learn_as_on_the_processor") else {
        return;
    };
    let settings = TrainSettings {
        method: Method::Full,
        learning_rate: 2e-4,
        ..settings(LoraVariant::Lora, None, false)
    };
    let weights = weights(Precision::F32);
    let (here, _) = train(&weights, &settings, DeviceChoice::Cpu);
    let (there, trained) = train(&weights, &settings, card);
    assert_near(&there, &here, 1e-3, "full");
    let Trained::Full(trained) = trained else {
        panic!("all weights were trained");
    };
    let tensors = trained.tensors().values();
    assert!(tensors.into_iter().all(|tensor| tensor.device().is_cpu()));
}

#[test]
fn logits_and_greedy_tokens_are_those_of_the_processor() {
    let Some(card) = card("logits_and_greedy_tokens_are_those_of_the_processor") else {
        return;
    };
    let weights = weights(Precision::F32);
    let device = card.open().unwrap();
    let there = DecoderPlan {
        device: Some(&device),
        ..DecoderPlan::default()
    };
    let there = Decoder::with_plan(&weights, there).unwrap();
    let here = Decoder::new(&weights).unwrap();
    let rows = rows();
    let packed = PackedTokens::new(rows.iter().map(|row| row.tokens.as_slice()));
    let logits = |decoder: &Decoder| {
        let logits = decoder.logits(&packed).unwrap().flatten_all().unwrap();
        logits.to_vec1::<f32>().unwrap()
    };
    for (there, here) in logits(&there).iter().zip(&logits(&here)) {
        assert!((there - here).abs() <= 1e-3, "{there} instead of {here}");
    }
    let prompts: Vec<Vec<u32>> = rows.iter().map(|row| row.tokens.clone()).collect();
    let settings = GenerateSettings {
        max_new_tokens: 24,
        ..GenerateSettings::default()
    };
    let tokens = |decoder: &Decoder| -> Vec<Vec<u32>> {
        let answers = generate(decoder, &prompts, &settings).unwrap();
        answers.into_iter().map(|answer| answer.tokens).collect()
    };
    assert_eq!(tokens(&there), tokens(&here));
}
