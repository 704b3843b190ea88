//! Properties of training on a model of a few thousand weights.

use distill_student::decoder::{DecoderConfig, PackedTokens};

use distill_student::lora::{LoraConfig, LoraVariant};
use distill_student::ops::Storage;

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
            TrainExample::new(tokens, loss_from)
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

pub(super) fn lora() -> Method {
    Method::lora(4, 8.0)
}

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
        initial: None,
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
    for method in [lora(), Method::Full] {
        let settings = TrainSettings {
            epochs: 150,
            batch_tokens: 1000,
            accumulation: 1,
            ..settings(method.clone())
        };
        let (_, events) = train(&settings, &rows(4), &[]);
        let losses = losses(&events);
        assert!(losses[0] > 1.0, "{}", losses[0]);
        assert!(losses.last().unwrap() < &0.05, "{method:?}: {losses:?}");
    }
}

#[test]
fn every_epoch_and_the_end_are_validated_and_the_best_is_kept() {
    let settings = TrainSettings {
        // A rate that makes things worse after a while.
        learning_rate: 0.3,
        epochs: 6,
        ..settings(Method::Full)
    };
    let (outcome, events) = train(&settings, &rows(24), &rows(6));
    let validated: Vec<(usize, f64)> = events
        .iter()
        .filter_map(|event| match event {
            TrainEvent::Validated { step, loss, .. } => Some((*step, *loss)),
            _ => None,
        })
        .collect();
    assert_eq!(validated.len(), 6);
    let best = validated
        .iter()
        .copied()
        .reduce(|a, b| if b.1 < a.1 { b } else { a });
    let (step, loss) = best.unwrap();
    assert_eq!(outcome.summary.best_step, Some(step));
    let Trained::Full(weights) = &outcome.trained else {
        panic!("full training gives full weights");
    };
    let decoder = Decoder::new(weights).unwrap();
    let rows = rows(6);
    let rows: Vec<&TrainExample> = rows.iter().collect();
    let kept = packed_loss(&decoder, &rows, 1.0 / 18.0).unwrap();
    let kept = f64::from(kept.to_scalar::<f32>().unwrap());
    assert!((kept - loss).abs() < 1e-5, "{kept} instead of {loss}");
}

#[test]
fn patience_ends_training_early() {
    let settings = TrainSettings {
        learning_rate: 2.0,
        epochs: 50,
        patience: Some(2),
        ..settings(lora())
    };
    let (outcome, events) = train(&settings, &rows(12), &rows(6));
    assert!(outcome.summary.stopped_early);
    let Some(TrainEvent::StoppedEarly { step, best_step }) = events.last() else {
        panic!("the last event is {:?}", events.last());
    };
    assert_eq!(outcome.summary.steps, *step);
    assert_eq!(outcome.summary.best_step, Some(*best_step));
    assert!(best_step < step);
}

/// Gradients of the mean loss over `window`, by parameter.
fn window_gradients(window: &[Vec<TrainExample>], method: Method) -> Vec<Vec<f32>> {
    let weights = weights();
    let settings = settings(method);
    let request = TrainRequest {
        weights: &weights,
        settings: &settings,
        train: &window[0],
        validation: &[],
        initial: None,
        checkpointing: None,
        cancelled: &|| false,
    };
    let mut trainer = trainer(&request).unwrap();
    let window: Vec<Vec<&TrainExample>> = window.iter().map(|b| b.iter().collect()).collect();
    let learner = &mut trainer.learner;
    let sums = learner.gradients_of(&window, 0, &mut |_| {}).unwrap().sums;
    sums.values(learner.variables()).unwrap()
}

fn assert_close(got: &[Vec<f32>], expected: &[Vec<f32>]) {
    let largest = expected
        .iter()
        .flatten()
        .fold(0.0f32, |a, b| a.max(b.abs()));
    for (got, expected) in got.iter().zip(expected) {
        for (a, b) in got.iter().zip(expected) {
            assert!((a - b).abs() <= 1e-5 * largest, "{a} instead of {b}");
        }
    }
}

#[test]
fn accumulated_batches_give_the_gradient_of_one_big_batch() {
    for method in [lora(), Method::Full] {
        let all = rows(9);
        let whole = window_gradients(std::slice::from_ref(&all), method.clone());
        // Parts of unequal numbers of tokens: a mean of means would differ.
        let parts = [all[..1].to_vec(), all[1..6].to_vec(), all[6..].to_vec()];
        assert_close(&window_gradients(&parts, method), &whole);
    }
}

#[test]
fn packed_rows_give_the_gradient_of_rows_run_alone() {
    let all = rows(6);
    let packed = window_gradients(std::slice::from_ref(&all), Method::Full);
    let alone: Vec<Vec<TrainExample>> = all.into_iter().map(|row| vec![row]).collect();
    assert_close(&window_gradients(&alone, Method::Full), &packed);
}

#[test]
fn loss_falls_on_the_reply_only() {
    let decoder = Decoder::new(&weights()).unwrap();
    let row = TrainExample::new(vec![1, 2, 3, 4, 5], 3);
    let packed = PackedTokens::new([&row.tokens[..]]);
    let logits = decoder.logits(&packed).unwrap();
    let log_probabilities = candle_nn::ops::log_softmax(&logits, 1).unwrap();
    let table: Vec<Vec<f32>> = log_probabilities.to_vec2().unwrap();
    let expected = -(table[2][4] + table[3][5]);
    let loss = packed_loss(&decoder, &[&row], 1.0).unwrap();
    let loss: f32 = loss.to_scalar().unwrap();
    assert!(
        (loss - expected).abs() < 1e-4,
        "{loss} instead of {expected}"
    );
}

#[test]
fn a_tensor_that_no_gradient_reaches_stops_the_run() {
    let weights = weights();
    let zeroed = weights
        .tensors()
        .iter()
        .map(|(name, tensor)| {
            // With its output projection at zero, nothing reaches a layer's attention.
            let keep = f64::from(!name.ends_with("layers.1.self_attn.o_proj.weight"));
            (name.clone(), (tensor * keep).unwrap())
        })
        .collect();
    let weights = DecoderWeights::from_tensors(config(), zeroed).unwrap();
    let request = TrainRequest {
        weights: &weights,
        settings: &settings(Method::Full),
        train: &rows(8),
        validation: &[],
        initial: None,
        checkpointing: None,
        cancelled: &|| false,
    };
    let error = train_decoder(&request, &mut |_| {}).unwrap_err();
    assert!(matches!(error, TrainError::Census { .. }), "{error}");
    assert!(error.to_string().contains("layers.1."), "{error}");
}

#[test]
fn examples_and_settings_that_cannot_train_are_named() {
    let weights = weights();
    let message = |train: &[TrainExample], settings: &TrainSettings| {
        let request = TrainRequest {
            weights: &weights,
            settings,
            train,
            validation: &[],
            initial: None,
            checkpointing: None,
            cancelled: &|| false,
        };
        train_decoder(&request, &mut |_| {})
            .unwrap_err()
            .to_string()
    };
    let row = |tokens: usize, loss_from| TrainExample::new(vec![1; tokens], loss_from);
    let good = settings(lora());
    assert!(message(&[], &good).contains("no training examples"));
    assert!(message(&[row(3, 1), row(3, 3)], &good).contains("training example 1 has no token"));
    assert!(message(&[row(1, 0)], &good).contains("example 0 has no token"));
    assert!(message(&[row(65, 1)], &good).contains("the model takes 64"));
    let nothing = TrainSettings { epochs: 0, ..good };
    assert!(message(&rows(2), &nothing).contains("`epochs` is 0"));
}

fn proofs(events: &[TrainEvent]) -> Vec<Proof> {
    let proofs = events.iter().filter_map(|event| match event {
        TrainEvent::Proved(proof) => Some(proof.clone()),
        _ => None,
    });
    proofs.collect()
}

fn proving(method: Method) -> TrainSettings {
    TrainSettings {
        proofs: Proofs {
            stop_tokens: vec![38, 39],
            overfit_rows: 8,
            overfit_steps: 30,
        },
        ..settings(method)
    }
}

#[test]
fn what_holds_before_a_run_is_shown_and_changes_nothing() {
    for method in [lora(), Method::Full] {
        let (plain, _) = train(&settings(method.clone()), &rows(12), &[]);
        let (proved, events) = train(&proving(method.clone()), &rows(12), &[]);
        assert!(bytes(&proved) == bytes(&plain), "{method:?}");
        let proofs = proofs(&events);
        let first = &rows(12)[0];
        assert_eq!(
            proofs[0],
            Proof::Mask {
                tokens: first.tokens.clone(),
                loss_from: first.loss_from
            }
        );
        assert_eq!(proofs[1], Proof::StopTokens { rows: 12 });
        let adapter = method != Method::Full;
        let starts = |proof: &Proof| matches!(proof, Proof::StartsAtBase { difference, .. } if *difference < 1e-4);
        assert_eq!(proofs.iter().any(starts), adapter);
        let learnt = |proof: &Proof| match proof {
            Proof::Overfit {
                rows: 8,
                first_loss,
                last_loss,
                ..
            } => last_loss < first_loss,
            _ => false,
        };
        assert!(proofs.iter().any(learnt), "{proofs:?}");
        let counted = if adapter { (28, 20) } else { (20, 0) };
        let census = Proof::Census {
            trained: counted.0,
            frozen: counted.1,
        };
        assert_eq!(proofs.last(), Some(&census));
    }
}

#[test]
fn each_failed_proof_has_its_own_message() {
    let weights = weights();
    let message = |settings: &TrainSettings, train: &[TrainExample]| {
        let request = TrainRequest {
            weights: &weights,
            settings,
            train,
            validation: &[],
            initial: None,
            checkpointing: None,
            cancelled: &|| false,
        };
        train_decoder(&request, &mut |_| {})
            .unwrap_err()
            .to_string()
    };
    let mut unstopped = rows(5);
    unstopped[3].tokens.push(7);
    let said = message(&proving(lora()), &unstopped);
    assert!(
        said.contains("example 3 ends in token 7") && said.contains("stop"),
        "{said}"
    );
    let slow = TrainSettings {
        learning_rate: 1e-9,
        ..proving(lora())
    };
    let said = message(&slow, &rows(12));
    assert!(
        said.contains("8 rows cannot be learnt by heart") && said.contains("30 steps"),
        "{said}"
    );
}

/// Grouping by length only says which rows share a batch: a window of all rows has one gradient.
#[test]
fn rows_grouped_by_length_give_the_gradient_of_rows_as_they_come() {
    let all = rows(9);
    let whole = window_gradients(std::slice::from_ref(&all), lora());
    let settings = TrainSettings {
        group_by_length: true,
        batch_tokens: 20,
        accumulation: 100,
        ..settings(lora())
    };
    let lengths = all.iter().map(|row| row.tokens.len()).collect();
    let size = BatchSize::Tokens(settings.batch_tokens);
    let mut batches = Batches::new(lengths, size, &settings);
    assert!(batches.ends_epoch(1));
    let window: Vec<Vec<TrainExample>> = batches
        .window(&all, 0)
        .into_iter()
        .map(|batch| batch.into_iter().cloned().collect())
        .collect();
    assert!(window.len() > 2);
    assert_close(&window_gradients(&window, lora()), &whole);
}

#[test]
fn an_adapter_of_another_kind_is_not_gone_on_from() {
    let weights = weights();
    let adapter = LoraAdapter::init(weights.config(), LoraConfig::default(), 1).unwrap();
    for (method, said) in [
        (lora(), "another configuration"),
        (Method::Full, "merge it into the weights first"),
    ] {
        let request = TrainRequest {
            weights: &weights,
            settings: &settings(method),
            train: &rows(4),
            validation: &[],
            initial: Some(&adapter),
            checkpointing: None,
            cancelled: &|| false,
        };
        let error = train_decoder(&request, &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// The base is held in four bits: the adapter learns on what the four bits say, and starts there.
#[test]
fn an_adapter_learns_on_a_base_of_fewer_bits() {
    for (base, variant) in [
        (Storage::Nf4, LoraVariant::Lora),
        (Storage::Nf4, LoraVariant::Dora),
        (Storage::Bf16, LoraVariant::Lora),
    ] {
        let settings = TrainSettings {
            base: Some(base),
            epochs: 30,
            ..proving(Method::Lora(LoraConfig {
                rank: 4,
                alpha: 8.0,
                variant,
                ..LoraConfig::default()
            }))
        };
        let (_, events) = train(&settings, &rows(12), &[]);
        let losses = losses(&events);
        assert!(losses.last().unwrap() < &(losses[0] * 0.5), "{losses:?}");
    }
}

/// The trained head is in f32, that of the base in bf16: what it rounds is no other beginning.
#[test]
fn a_head_is_trained_on_a_base_of_fewer_bits() {
    let settings = TrainSettings {
        base: Some(Storage::Bf16),
        ..proving(Method::Lora(LoraConfig {
            rank: 4,
            train_head: true,
            ..LoraConfig::default()
        }))
    };
    let (_, events) = train(&settings, &rows(12), &[]);
    let difference = events.iter().find_map(|event| match event {
        TrainEvent::Proved(Proof::StartsAtBase { difference, .. }) => Some(*difference),
        _ => None,
    });
    assert!(difference.unwrap() > 1e-3, "{difference:?}");
}

/// Weights that know no number for a token's embedding.
fn without_a_number_for(token: usize) -> DecoderWeights {
    let text = config().to_json();
    let text = text.replace(
        "\"tie_word_embeddings\": true",
        "\"tie_word_embeddings\": false",
    );
    let weights = DecoderWeights::random(DecoderConfig::from_json(&text).unwrap(), 5).unwrap();
    let mut tensors = weights.tensors().clone();
    let name = "model.embed_tokens.weight";
    let mut rows: Vec<Vec<f32>> = tensors[name].to_vec2().unwrap();
    rows[token][3] = f32::NAN;
    let device = candle_core::Device::Cpu;
    tensors.insert(
        name.to_owned(),
        candle_core::Tensor::new(rows, &device).unwrap(),
    );
    DecoderWeights::from_tensors(weights.config().clone(), tensors).unwrap()
}

#[test]
fn a_number_that_is_not_finite_ends_the_run_and_is_named() {
    let weights = without_a_number_for(38);
    let settings = TrainSettings {
        batch_tokens: 1000,
        ..settings(lora())
    };
    let poisoned = || TrainExample::new(vec![1, 38, 2, 3], 2);
    let failure = |train: &[TrainExample], validation: &[TrainExample]| {
        let request = TrainRequest {
            weights: &weights,
            settings: &settings,
            train,
            validation,
            initial: None,
            checkpointing: None,
            cancelled: &|| false,
        };
        let error = train_decoder(&request, &mut |_| {}).unwrap_err();
        match error {
            TrainError::Decoder(inner) => inner.to_string(),
            other => other.to_string(),
        }
    };
    let first = failure(&[poisoned()], &[]);
    assert!(first.contains("a logit that is not finite"), "{first}");
    let loss = failure(&[rows(4), vec![poisoned()]].concat(), &[]);
    assert!(
        loss.starts_with("the loss is not finite at step 1"),
        "{loss}"
    );
    let validation = failure(&rows(4), &[rows(2), vec![poisoned()]].concat());
    assert!(
        validation.starts_with("the loss on the validation rows is not finite at step 1"),
        "{validation}"
    );
}
