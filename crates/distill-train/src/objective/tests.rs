//! Each objective against its definition, and runs that draw against runs that were cut off.

use std::cell::Cell;
use std::path::Path;

use candle_core::{Tensor, Var};
use distill_student::decoder::DecoderConfig;
use distill_student::generate::score_continuations;
use distill_student::ops::TopTokens;
use distill_student::weights::DecoderWeights;

use super::*;
use crate::decoder::{
    Checkpointing, Method, TrainEvent, TrainOutcome, TrainRequest, TrainSettings, Trained,
    train_decoder,
};

const VOCABULARY: usize = 40;
/// Ends a reply.
const STOP: u32 = 39;

fn weights(seed: u64, width: usize) -> DecoderWeights {
    let config = format!(
        r#"{{"model_type": "llama", "vocab_size": {VOCABULARY}, "hidden_size": {width},
            "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true,
            "initializer_range": 0.3}}"#
    );
    DecoderWeights::random(DecoderConfig::from_json(&config).unwrap(), seed).unwrap()
}

fn student() -> DecoderWeights {
    weights(5, 32)
}

fn teacher() -> Teacher {
    Teacher::new(&weights(6, 48), None).unwrap()
}

fn rows(count: u32) -> Vec<TrainExample> {
    (0..count)
        .map(|i| {
            let mut tokens: Vec<u32> = (0..5 + i % 4).map(|j| (i * 7 + j * 3) % 36).collect();
            let loss_from = tokens.len();
            tokens.extend([(i * 7) % 36, (i * 7 + 1) % 36, STOP]);
            TrainExample::new(tokens, loss_from)
        })
        .collect()
}

fn by_reference(rows: &[TrainExample]) -> Vec<&TrainExample> {
    rows.iter().collect()
}

fn scalar(tensor: &Tensor) -> f64 {
    f64::from(tensor.to_scalar::<f32>().unwrap())
}

fn whole_settings(divergence: Divergence) -> Distillation {
    Distillation {
        divergence,
        rest: Rest::Bucket,
        temperature: 1.0,
        share: 1.0,
        shared_vocabulary: VOCABULARY,
    }
}

fn on_policy(estimate: Estimate) -> OnPolicy {
    OnPolicy {
        teacher: teacher(),
        estimate,
        distillation: whole_settings(Divergence::Reverse),
        student_share: 0.75,
        sampling_temperature: 1.0,
        max_new_tokens: 4,
        stop_tokens: vec![STOP],
    }
}

/// Probabilities at each target of a row, in f64.
fn probabilities(decoder: &Decoder, row: &TrainExample) -> Vec<Vec<f64>> {
    let packed = PackedTokens::new([&row.tokens[..row.tokens.len() - 1]]);
    let logits: Vec<Vec<f32>> = decoder.logits(&packed).unwrap().to_vec2().unwrap();
    logits[row.first_target() - 1..]
        .iter()
        .map(|logits| {
            let e: Vec<f64> = logits.iter().map(|z| f64::from(*z).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.into_iter().map(|e| e / sum).collect()
        })
        .collect()
}

fn kl(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * (a / b).ln()).sum()
}

fn close(got: f64, expected: f64) {
    let error = (got - expected).abs();
    assert!(
        error <= 2e-5 * expected.abs().max(1.0),
        "{got} instead of {expected}"
    );
}

#[test]
fn rows_count_by_their_weights() {
    let decoder = Decoder::new(&student()).unwrap();
    let mut rows = rows(4);
    let alone: Vec<f64> = rows
        .iter()
        .map(|row| scalar(&packed_loss(&decoder, &[row], 1.0).unwrap()))
        .collect();
    for (at, row) in rows.iter_mut().enumerate() {
        row.weight = [1.0, 0.25, 2.0, 0.5][at];
    }
    let expected: f64 = rows
        .iter()
        .zip(&alone)
        .map(|(r, l)| f64::from(r.weight) * l)
        .sum();
    close(
        scalar(&packed_loss(&decoder, &by_reference(&rows), 1.0).unwrap()),
        expected,
    );
    let total: f64 = rows.iter().map(TrainExample::loss_weight).sum();
    close(total, 3.0 * 3.75);
}

#[test]
fn plain_rows_have_the_loss_of_cross_entropy_to_the_bit() {
    let decoder = Decoder::new(&student()).unwrap();
    let rows = rows(6);
    let rows = by_reference(&rows);
    let places = Places::new(&rows);
    let hidden = places.hidden(&decoder).unwrap();
    let expected = cross_entropy(&hidden, decoder.head(), &places.tokens, 0.1).unwrap();
    let got = Objective::CrossEntropy.loss(&decoder, &rows, 0.1).unwrap();
    assert_eq!(scalar(&got).to_bits(), scalar(&expected).to_bits());
}

#[test]
fn top_tokens_of_a_teacher_give_the_divergence_from_it() {
    let (decoder, teacher) = (Decoder::new(&student()).unwrap(), teacher());
    let rows = rows(5);
    let settings = TopTokenSettings {
        count: 6,
        temperature: 1.0,
        shared_vocabulary: VOCABULARY,
        batch_tokens: 20, // several batches
    };
    let taught = with_top_tokens(&rows, &teacher, &settings, &|| false).unwrap();
    let mut expected = 0.0;
    for row in &taught {
        let places = row.teacher.as_ref().unwrap();
        assert_eq!(places.len(), row.targets());
        let (p, q) = (
            probabilities(&decoder, row),
            probabilities(teacher.decoder(), row),
        );
        for ((top, p), q) in places.iter().zip(p).zip(q) {
            let of = |all: &[f64]| {
                let mut kept: Vec<f64> = top.tokens.iter().map(|t| all[*t as usize]).collect();
                kept.push(1.0 - kept.iter().sum::<f64>());
                kept
            };
            assert!(
                q.iter()
                    .filter(|other| **other > q[top.tokens[5] as usize])
                    .count()
                    == 5
            );
            expected += kl(&of(&q), &of(&p));
        }
    }
    let objective = Objective::TopTokens(whole_settings(Divergence::Forward));
    let loss = objective
        .loss(&decoder, &by_reference(&taught), 1.0)
        .unwrap();
    close(scalar(&loss), expected);
    let cancelled = with_top_tokens(&rows, &teacher, &settings, &|| true);
    assert!(matches!(cancelled, Err(TrainError::Cancelled { .. })));
}

#[test]
fn soft_labels_are_conditional_at_each_place_and_sequences_are_whole() {
    let labels: [(&[u32], f64); 4] = [
        (&[1, STOP], 0.5),
        (&[2, STOP], 0.3),
        (&[2, 3, STOP], 0.2),
        (&[4, STOP], 0.0),
    ];
    let row = soft_labels(&[7, 8], &[2, 3, STOP], &labels).unwrap();
    let expected: [&[(u32, f64)]; 3] = [
        &[(1, 0.5), (2, 0.5)],
        &[(3, 0.4), (STOP, 0.6)],
        &[(STOP, 1.0)],
    ];
    for (place, expected) in row.teacher.as_ref().unwrap().iter().zip(expected) {
        let tokens: Vec<u32> = expected.iter().map(|(token, _)| *token).collect();
        assert_eq!(place.tokens, tokens);
        for (value, (_, q)) in place.log_probabilities.iter().zip(expected) {
            close(f64::from(*value).exp(), *q);
        }
    }
    assert!(soft_labels(&[7], &[4, STOP], &labels).is_none());
    assert!(soft_labels(&[7], &[2, 5], &labels).is_none());

    let decoder = Decoder::new(&student()).unwrap();
    let sequences = label_sequences(&[7, 8], &labels, 0.01);
    let got = scalar(&packed_loss(&decoder, &by_reference(&sequences), 1.0).unwrap());
    let written: Vec<Vec<u32>> = labels.iter().map(|(label, _)| label.to_vec()).collect();
    let scores = score_continuations(&decoder, &[7, 8], &written).unwrap();
    let of = |at: usize| scores[at].iter().map(|v| f64::from(*v)).sum::<f64>();
    close(got, -(0.5 * of(0) + 0.3 * of(1) + 0.2 * of(2)));
}

/// Along one label, the loss is the part of the sequences' cross-entropy at the places that the label
/// passes: the chain rule.
#[test]
fn soft_labels_along_a_reply_are_a_part_of_the_sequences() {
    let decoder = Decoder::new(&student()).unwrap();
    let labels: [(&[u32], f64); 2] = [(&[1], 0.7), (&[2], 0.3)];
    // Labels of one token have no other places: the two losses are the same.
    let row = soft_labels(&[7, 8, 9], &[1], &labels).unwrap();
    let settings = Distillation {
        rest: Rest::Renormalised,
        ..whole_settings(Divergence::Forward)
    };
    let soft = Objective::TopTokens(settings)
        .loss(&decoder, &[&row], 1.0)
        .unwrap();
    let sequences = label_sequences(&[7, 8, 9], &labels, 0.0);
    let whole = packed_loss(&decoder, &by_reference(&sequences), 1.0).unwrap();
    let entropy = -(0.7f64.ln() * 0.7 + 0.3f64.ln() * 0.3);
    close(scalar(&soft) + entropy, scalar(&whole));
}

/// A student whose weights are variables.
fn trained_student() -> (Vec<(String, Var)>, Decoder) {
    let start = student();
    let variables: Vec<(String, Var)> = start
        .tensors()
        .iter()
        .map(|(name, tensor)| (name.clone(), Var::from_tensor(tensor).unwrap()))
        .collect();
    let tensors = variables
        .iter()
        .map(|(name, variable)| (name.clone(), variable.as_tensor().clone()))
        .collect();
    let weights = DecoderWeights::from_tensors(start.config().clone(), tensors).unwrap();
    (variables, Decoder::new(&weights).unwrap())
}

/// The drawn estimate over every token there is, each as often as the student draws it, has the value
/// and the gradient of the whole reverse divergence.
#[test]
fn drawn_tokens_give_the_reverse_divergence_in_expectation() {
    let (variables, decoder) = trained_student();
    let prompt = [3, 1, 4, 1, 5];
    let drawn = on_policy(Estimate::Drawn);
    let one = TrainExample::new([&prompt[..], &[0]].concat(), prompt.len());
    let p = probabilities(&decoder, &one).remove(0);
    let mut every: Vec<TrainExample> = (0..VOCABULARY as u32)
        .map(|token| {
            let score = p[token as usize].ln() as f32;
            let mut row = drawn.with_reply(&one, &[token], &[score]);
            row.weight = p[token as usize] as f32;
            row
        })
        .collect();
    drawn.score(&mut every).unwrap();
    let estimate = drawn.loss(&decoder, &by_reference(&every), 1.0).unwrap();

    let whole = on_policy(Estimate::Whole);
    let row = whole.with_reply(&one, &[0], &[0.0]);
    let exact = whole.loss(&decoder, &[&row], 1.0).unwrap();
    let q = probabilities(whole.teacher.decoder(), &one).remove(0);
    close(scalar(&exact), kl(&p, &q));
    close(scalar(&estimate), kl(&p, &q));

    let (estimate, exact) = (estimate.backward().unwrap(), exact.backward().unwrap());
    for (name, variable) in &variables {
        let values = |of: &candle_core::backprop::GradStore| -> Vec<f32> {
            of.get(variable)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap()
        };
        let (got, expected) = (values(&estimate), values(&exact));
        let largest = expected.iter().fold(0.01f32, |most, v| most.max(v.abs()));
        for (a, b) in got.iter().zip(&expected) {
            assert!(
                (a - b).abs() <= 1e-4 * largest,
                "{name}: {a} instead of {b}"
            );
        }
    }
}

#[test]
fn rows_that_keep_their_replies_are_held_against_the_teacher_too() {
    let decoder = Decoder::new(&student()).unwrap();
    let mut settings = on_policy(Estimate::Whole);
    settings.distillation.share = 0.25;
    let rows = rows(3);
    let kept = settings.loss(&decoder, &by_reference(&rows), 1.0).unwrap();
    let mut expected = 0.0;
    for row in &rows {
        let p = probabilities(&decoder, row);
        let q = probabilities(settings.teacher.decoder(), row);
        for ((p, q), token) in p.iter().zip(&q).zip(&row.tokens[row.first_target()..]) {
            expected += 0.25 * kl(p, q) - 0.75 * p[*token as usize].ln();
        }
    }
    close(scalar(&kept), expected);
}

#[test]
fn drawing_follows_its_seed_and_ends_where_it_must() {
    let decoder = Decoder::new(&student()).unwrap();
    let settings = on_policy(Estimate::Drawn);
    let rows = rows(40);
    let window: Vec<Vec<&TrainExample>> = rows.chunks(15).map(by_reference).collect();
    let drawn = settings.draw(&window, &decoder, 3).unwrap();
    assert_eq!(drawn, settings.draw(&window, &decoder, 3).unwrap());
    assert_ne!(drawn, settings.draw(&window, &decoder, 4).unwrap());
    assert_eq!(drawn.iter().map(Vec::len).collect::<Vec<_>>(), [15, 15, 10]);
    let mut answered = 0;
    for (row, own) in drawn.iter().flatten().zip(&rows) {
        assert_eq!(row.prompt(), own.prompt());
        let Some(advantages) = &row.drawn else {
            assert_eq!(row, own);
            continue;
        };
        answered += 1;
        assert_eq!(advantages.len(), row.targets());
        let reply = &row.tokens[row.loss_from..];
        let stops = reply.iter().filter(|token| **token == STOP).count();
        assert!(
            reply.len() == 4 || (stops == 1 && reply.ends_with(&[STOP])),
            "{reply:?}"
        );
        let (p, q) = (
            probabilities(&decoder, row),
            probabilities(settings.teacher.decoder(), row),
        );
        for (((p, q), token), got) in p.iter().zip(&q).zip(reply).zip(advantages.iter()) {
            let token = *token as usize;
            assert!((f64::from(*got) - (q[token] / p[token]).ln()).abs() < 1e-4);
        }
    }
    assert!(
        (20..40).contains(&answered),
        "{answered} of 40 at a share of 0.75"
    );
}

#[test]
fn a_reply_ends_before_a_token_that_the_teacher_does_not_know() {
    let mut settings = on_policy(Estimate::Whole);
    settings.distillation.shared_vocabulary = 30;
    let own = &rows(1)[0];
    let cut = settings.with_reply(own, &[1, 29, 30, 2], &[-1.0; 4]);
    assert_eq!(cut.tokens[cut.loss_from..], [1, 29]);
    assert_eq!(settings.with_reply(own, &[35], &[-1.0]), *own);
}

fn lora() -> Method {
    Method::lora(4, 8.0)
}

fn train(
    settings: &TrainSettings,
    directory: Option<&Path>,
    steps: usize,
) -> (Result<TrainOutcome, TrainError>, Vec<f64>) {
    let (weights, done) = (student(), Cell::new(0));
    let mut losses = Vec::new();
    let request = TrainRequest {
        weights: &weights,
        settings,
        train: &rows(24),
        validation: &[],
        initial: None,
        checkpointing: directory.map(|directory| Checkpointing {
            directory: directory.to_owned(),
            every_steps: 3,
        }),
        cancelled: &|| done.get() >= steps,
    };
    let outcome = train_decoder(&request, &mut |event| {
        if let TrainEvent::Step { loss, .. } = event {
            done.set(done.get() + 1);
            losses.push(loss);
        }
    });
    (outcome, losses)
}

fn settings(objective: Objective) -> TrainSettings {
    TrainSettings {
        method: lora(),
        objective,
        epochs: 3,
        batch_tokens: 60,
        accumulation: 2,
        learning_rate: 1e-2,
        ..TrainSettings::default()
    }
}

fn bytes(outcome: &TrainOutcome) -> Vec<u8> {
    match &outcome.trained {
        Trained::Lora(adapter) => adapter.to_safetensors().unwrap(),
        Trained::Full(_) => panic!("an adapter was trained"),
    }
}

#[test]
fn a_run_that_draws_and_was_cut_off_equals_an_unbroken_one() {
    for estimate in [Estimate::Whole, Estimate::Drawn] {
        let settings = settings(Objective::OnPolicy(Box::new(on_policy(estimate))));
        let (straight, losses) = train(&settings, None, usize::MAX);
        let straight = straight.unwrap();
        assert!(losses.len() > 5, "{losses:?}");
        for steps in [1, 3, 4] {
            let directory = tempfile::tempdir().unwrap();
            let resumed = loop {
                match train(&settings, Some(directory.path()), steps).0 {
                    Ok(outcome) => break outcome,
                    Err(TrainError::Cancelled { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            };
            assert!(bytes(&resumed) == bytes(&straight), "{estimate:?}, {steps}");
            assert_eq!(resumed.summary, straight.summary);
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_byte_of_a_run_that_draws() {
    let settings = settings(Objective::OnPolicy(Box::new(on_policy(Estimate::Whole))));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| bytes(&train(&settings, None, usize::MAX).0.unwrap()))
    };
    assert!(run(1) == run(2));
}

#[test]
fn students_come_nearer_to_their_teacher() {
    for estimate in [Estimate::Whole, Estimate::Drawn] {
        let long = TrainSettings {
            method: Method::Full,
            epochs: 40,
            ..settings(Objective::OnPolicy(Box::new(OnPolicy {
                student_share: 1.0,
                ..on_policy(estimate)
            })))
        };
        let (outcome, losses) = train(&long, None, usize::MAX);
        outcome.unwrap();
        // What is drawn says little of a single step: the last third against the beginning.
        let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
        let (begin, end) = (losses.len() / 12, losses.len() * 2 / 3);
        let (first, last) = (mean(&losses[..begin]), mean(&losses[end..]));
        assert!(last < 0.8 * first, "{estimate:?}: from {first} to {last}");
    }
}

#[test]
fn a_checkpoint_belongs_to_its_teacher_and_to_what_was_said() {
    let directory = tempfile::tempdir().unwrap();
    let objective = |teacher: Teacher| {
        Objective::OnPolicy(Box::new(OnPolicy {
            teacher,
            ..on_policy(Estimate::Whole)
        }))
    };
    let (cut, _) = train(&settings(objective(teacher())), Some(directory.path()), 2);
    assert!(matches!(cut, Err(TrainError::Cancelled { .. })));
    let other = Teacher::new(&weights(7, 48), None).unwrap();
    assert_ne!(other, teacher());
    let (refused, _) = train(&settings(objective(other)), Some(directory.path()), 2);
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("other weights, data or settings"),
        "{message}"
    );
}

#[test]
fn settings_and_rows_that_cannot_be_learnt_are_named() {
    let message = |objective: Objective| objective.check().unwrap_err().to_string();
    let top = |change: &dyn Fn(&mut Distillation)| {
        let mut settings = whole_settings(Divergence::Forward);
        change(&mut settings);
        message(Objective::TopTokens(settings))
    };
    assert!(top(&|s| s.temperature = 0.0).contains("`objective.temperature` is 0"));
    assert!(top(&|s| s.share = 0.0).contains("`objective.share` is 0"));
    let drawn = |change: &dyn Fn(&mut OnPolicy)| {
        let mut settings = on_policy(Estimate::Drawn);
        change(&mut settings);
        message(Objective::OnPolicy(Box::new(settings)))
    };
    assert!(drawn(&|s| s.student_share = 1.5).contains("`objective.student_share` is 1.5"));
    assert!(drawn(&|s| s.sampling_temperature = 0.7).contains("holds at 1 only"));
    assert!(drawn(&|s| s.max_new_tokens = 0).contains("`objective.max_new_tokens` is 0"));

    let mut row = rows(1).remove(0);
    assert_eq!(row.fault(), None);
    row.teacher = Some(Arc::from(vec![TopTokens::default()]));
    assert!(row.fault().unwrap().contains("1 places where 3 carry loss"));
    row.weight = 0.0;
    assert!(row.fault().unwrap().contains("weight is 0"));
}
