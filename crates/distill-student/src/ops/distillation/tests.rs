//! Against the definitions in f64: values, gradients by finite differences, chunks, storages.

use candle_core::{Device, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::ops::{cross_entropy, tests::on_threads};

mod exact;

const ROWS: usize = 7;
const WIDTH: usize = 6;
const VOCABULARY: usize = 40;
const SHARED: usize = 37;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| random.random_range(-1.5..1.5)).collect()
}

fn matrix(rows: usize, columns: usize, seed: u64) -> Tensor {
    Tensor::from_vec(numbers(rows * columns, seed), (rows, columns), &Device::Cpu).unwrap()
}

/// (rows, width) @ (vocabulary, width)ᵀ in f64.
fn logits_of(hidden: &[f64], head: &[f64], width: usize) -> Vec<Vec<f64>> {
    hidden
        .chunks(width)
        .map(|row| {
            head.chunks(width)
                .map(|token| row.iter().zip(token).map(|(a, b)| a * b).sum())
                .collect()
        })
        .collect()
}

fn softmax(logits: &[f64], temperature: f64) -> Vec<f64> {
    let exponentials: Vec<f64> = logits.iter().map(|z| (z / temperature).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|e| e / sum).collect()
}

fn divergence(q: &[f64], p: &[f64], which: Divergence) -> f64 {
    let kl = |a: &[f64], b: &[f64]| -> f64 {
        let terms = a.iter().zip(b).filter(|(a, _)| **a > 0.0);
        terms.map(|(a, b)| a * (a / b).ln()).sum()
    };
    match which {
        Divergence::Forward => kl(q, p),
        Divergence::Reverse => kl(p, q),
    }
}

/// The two distributions over events as the documentation defines them, from a teacher's top
/// tokens and all of the student's probabilities.
fn events(top: &TopTokens, p: &[f64], settings: &Distillation) -> (Vec<f64>, Vec<f64>) {
    let shared: Vec<(usize, f64)> = top
        .tokens
        .iter()
        .zip(&top.log_probabilities)
        .map(|(token, value)| (*token as usize, f64::from(*value).exp()))
        .collect();
    let dropped: f64 = shared
        .iter()
        .filter(|(t, _)| *t >= SHARED)
        .map(|(_, q)| q)
        .sum();
    let kept: Vec<(usize, f64)> = shared
        .into_iter()
        .filter(|(token, _)| *token < SHARED)
        .map(|(token, q)| (token, q / (1.0 - dropped)))
        .collect();
    let mut q: Vec<f64> = kept.iter().map(|(_, q)| *q).collect();
    let mut own: Vec<f64> = kept.iter().map(|(token, _)| p[*token]).collect();
    match (settings.rest, settings.divergence) {
        (Rest::Bucket, _) => {
            q.push(1.0 - q.iter().sum::<f64>());
            own.push(1.0 - own.iter().sum::<f64>());
        }
        (Rest::Renormalised, Divergence::Forward) => {
            let sum: f64 = q.iter().sum();
            divide(&mut q, sum);
        }
        (Rest::Renormalised, Divergence::Reverse) => {
            let (q_sum, p_sum): (f64, f64) = (q.iter().sum(), own.iter().sum());
            divide(&mut q, q_sum);
            divide(&mut own, p_sum);
        }
    }
    (q, own)
}

fn divide(values: &mut [f64], by: f64) {
    for value in values {
        *value /= by;
    }
}

/// A row of the reference: token, weight, and what the teacher says.
struct Row {
    token: u32,
    weight: f32,
    top: Option<TopTokens>,
}

fn rows() -> Vec<Row> {
    let teacher = logits_of(
        &numbers(ROWS * VOCABULARY, 3)
            .iter()
            .map(|v| f64::from(*v))
            .collect::<Vec<_>>(),
        &(0..VOCABULARY * VOCABULARY)
            .map(|i| f64::from(u8::from(i % (VOCABULARY + 1) == 0)))
            .collect::<Vec<_>>(),
        VOCABULARY,
    );
    teacher
        .iter()
        .enumerate()
        .map(|(row, logits)| {
            let q = softmax(logits, 1.0);
            // Row 2 has no teacher; row 4 names a token that is not shared.
            let first = if row == 4 { VOCABULARY - 2 } else { row };
            let tokens: Vec<u32> = (0..5)
                .map(|i| ((first + i * 9) % VOCABULARY) as u32)
                .collect();
            let log_probabilities = tokens.iter().map(|t| q[*t as usize].ln() as f32).collect();
            Row {
                token: (row * 5 % VOCABULARY) as u32,
                weight: [1.0, 0.5, -0.75][row % 3],
                top: (row != 2).then_some(TopTokens {
                    tokens,
                    log_probabilities,
                }),
            }
        })
        .collect()
}

fn targets(rows: &[Row]) -> Vec<Target<'_>> {
    rows.iter()
        .map(|row| Target {
            token: row.token,
            weight: row.weight,
            teacher: row.top.as_ref(),
        })
        .collect()
}

fn bent(mut logits: Vec<Vec<f64>>, cap: Option<f64>) -> Vec<Vec<f64>> {
    if let Some(cap) = cap {
        for logit in logits.iter_mut().flatten() {
            *logit = cap * (*logit / cap).tanh();
        }
    }
    logits
}

fn reference(
    logits: &[Vec<f64>],
    rows: &[Row],
    whole: Option<&[Vec<f64>]>,
    settings: &Distillation,
) -> f64 {
    let temperature = settings.temperature;
    let mut total = 0.0;
    for (at, (row, logits)) in rows.iter().zip(logits).enumerate() {
        let hard = -softmax(logits, 1.0)[row.token as usize].ln();
        let p = softmax(&logits[..SHARED], temperature);
        let soft = match (whole, &row.top) {
            (Some(teacher), _) => {
                let q = softmax(&teacher[at][..SHARED], temperature);
                Some(divergence(&q, &p, settings.divergence))
            }
            (None, Some(top)) => {
                let (q, p) = events(top, &p, settings);
                Some(divergence(&q, &p, settings.divergence))
            }
            (None, None) => None,
        };
        let share = if soft.is_some() { settings.share } else { 0.0 };
        let square = temperature * temperature;
        total +=
            f64::from(row.weight) * ((1.0 - share) * hard + share * square * soft.unwrap_or(0.0));
    }
    total
}

fn every_setting() -> Vec<Distillation> {
    let mut all = Vec::new();
    for divergence in [Divergence::Forward, Divergence::Reverse] {
        for rest in [Rest::Bucket, Rest::Renormalised] {
            for (temperature, share) in [(1.0, 1.0), (2.0, 0.7), (0.5, 0.25)] {
                all.push(Distillation {
                    divergence,
                    rest,
                    temperature,
                    share,
                    shared_vocabulary: SHARED,
                });
            }
        }
    }
    all
}

fn doubles(tensor: &Tensor) -> Vec<f64> {
    let values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values.into_iter().map(f64::from).collect()
}

/// Central differences of the reference in f64: exact to about 1e-9 here.
fn differences(values: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    (0..values.len())
        .map(|at| {
            let mut moved = values.to_vec();
            moved[at] += step;
            let above = loss(&moved);
            moved[at] -= 2.0 * step;
            (above - loss(&moved)) / (2.0 * step)
        })
        .collect()
}

fn assert_close(got: &[f64], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.1f64, |most, v| most.max(v.abs()));
    for (at, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= 1e-5 * largest,
            "{what}[{at}]: {a} instead of {b}"
        );
    }
}

/// Value and gradients of an operation against the reference, with plain logits and with bent ones.
fn check(
    settings: &Distillation,
    whole: Option<&[Vec<f64>]>,
    operation: impl Fn(&Tensor, OutputHead<'_>, &[Target<'_>]) -> Result<Tensor>,
) {
    for soft_cap in [None, Some(2.5)] {
        check_bent(settings, whole, soft_cap, &operation);
    }
}

fn check_bent(
    settings: &Distillation,
    whole: Option<&[Vec<f64>]>,
    soft_cap: Option<f32>,
    operation: impl Fn(&Tensor, OutputHead<'_>, &[Target<'_>]) -> Result<Tensor>,
) {
    let what = format!(
        "{settings:?}, whole teacher: {}, {soft_cap:?}",
        whole.is_some()
    );
    let hidden = Var::from_tensor(&matrix(ROWS, WIDTH, 1)).unwrap();
    let head = Var::from_tensor(&matrix(VOCABULARY, WIDTH, 2)).unwrap();
    let rows = rows();
    let output = OutputHead {
        soft_cap,
        ..(&head).into()
    };
    let loss = operation(&hidden, output, &targets(&rows)).unwrap();
    let (x, w) = (doubles(&hidden), doubles(&head));
    let cap = soft_cap.map(f64::from);
    let at = |x: &[f64], w: &[f64]| {
        let logits = bent(logits_of(x, w, WIDTH), cap);
        0.25 * reference(&logits, &rows, whole, settings)
    };
    assert_close(&doubles(&loss), &[at(&x, &w)], &what);
    // A factor above, so that the gradient from there counts.
    let gradients = (loss * 3.0).unwrap().backward().unwrap();
    let scaled = |values: Vec<f64>| values.into_iter().map(|v| 3.0 * v).collect::<Vec<_>>();
    let by_hidden = scaled(differences(&x, |x| at(x, &w)));
    let by_head = scaled(differences(&w, |w| at(&x, w)));
    assert_close(&doubles(gradients.get(&hidden).unwrap()), &by_hidden, &what);
    assert_close(&doubles(gradients.get(&head).unwrap()), &by_head, &what);
}

#[test]
fn top_tokens_of_a_teacher_give_the_defined_loss_and_gradient() {
    for settings in every_setting() {
        check(&settings, None, |hidden, head, targets| {
            distillation(hidden, head, targets, &settings, 0.25)
        });
    }
}

#[test]
fn a_whole_teacher_gives_the_defined_loss_and_gradient() {
    let (hidden_t, head_t) = (matrix(ROWS, 9, 5), matrix(VOCABULARY + 3, 9, 6));
    let taught = logits_of(&doubles(&hidden_t), &doubles(&head_t), 9);
    for settings in every_setting() {
        check(&settings, Some(&taught), |hidden, head, targets| {
            let teacher = WholeTeacher {
                hidden: &hidden_t,
                head: (&head_t).into(),
            };
            whole_distillation(hidden, head, targets, teacher, &settings, 0.25)
        });
    }
}

#[test]
fn a_teacher_that_bends_its_logits_teaches_the_bent_ones() {
    let (hidden_t, head_t) = (matrix(ROWS, 9, 5), matrix(VOCABULARY + 3, 9, 6));
    let taught = logits_of(&doubles(&hidden_t), &doubles(&head_t), 9);
    let taught = bent(taught, Some(3.0));
    let head_t = OutputHead {
        soft_cap: Some(3.0),
        ..(&head_t).into()
    };
    let settings = plain(SHARED);
    check(&settings, Some(&taught), |hidden, head, targets| {
        let teacher = WholeTeacher {
            hidden: &hidden_t,
            head: head_t,
        };
        whole_distillation(hidden, head, targets, teacher, &settings, 0.25)
    });
    let tops = top_tokens(&hidden_t, head_t, 4, 2.0, SHARED).unwrap();
    let tokens: Vec<u32> = tops.iter().map(|top| top.tokens[0]).collect();
    let scores = token_log_probabilities(&hidden_t, head_t, &tokens, SHARED).unwrap();
    for (at, (top, logits)) in tops.iter().zip(&taught).enumerate() {
        let first = tokens[at] as usize;
        let warm = softmax(&logits[..SHARED], 2.0)[first].ln();
        assert!((f64::from(top.log_probabilities[0]) - warm).abs() < 1e-5);
        let plain = softmax(&logits[..SHARED], 1.0)[first].ln();
        assert!((f64::from(scores[at]) - plain).abs() < 1e-5);
    }
}

#[test]
fn composed_operations_for_other_devices_agree() {
    let (hidden_t, head_t) = (matrix(ROWS, 9, 5), matrix(VOCABULARY + 3, 9, 6));
    let taught = logits_of(&doubles(&hidden_t), &doubles(&head_t), 9);
    let prepared = |targets: &[Target<'_>], settings: &Distillation, whole| -> Vec<Prepared> {
        let each = targets.iter();
        each.map(|target| Prepared::new(target, settings, whole).unwrap())
            .collect()
    };
    for settings in every_setting() {
        check(&settings, None, |hidden, head, targets| {
            let rows = prepared(targets, &settings, false);
            composed::distillation(hidden, head, &rows, None, &settings, 0.25)
        });
        check(&settings, Some(&taught), |hidden, head, targets| {
            let teacher = WholeTeacher {
                hidden: &hidden_t,
                head: (&head_t).into(),
            };
            let rows = prepared(targets, &settings, true);
            composed::distillation(hidden, head, &rows, Some(teacher), &settings, 0.25)
        });
    }
}

fn plain(shared_vocabulary: usize) -> Distillation {
    Distillation {
        divergence: Divergence::Forward,
        rest: Rest::Bucket,
        temperature: 1.0,
        share: 1.0,
        shared_vocabulary,
    }
}

#[test]
fn rows_without_a_teacher_give_cross_entropy() {
    let hidden = Var::from_tensor(&matrix(ROWS, WIDTH, 1)).unwrap();
    let head = matrix(VOCABULARY, WIDTH, 2);
    let tokens: Vec<u32> = (0..ROWS as u32).collect();
    let rows: Vec<Target<'_>> = tokens
        .iter()
        .map(|&token| Target {
            token,
            weight: 1.0,
            teacher: None,
        })
        .collect();
    let got = distillation(&hidden, &head, &rows, &plain(VOCABULARY), 0.5).unwrap();
    let expected = cross_entropy(&hidden, &head, &tokens, 0.5).unwrap();
    assert_close(&doubles(&got), &doubles(&expected), "value");
    let (got, expected) = (got.backward().unwrap(), expected.backward().unwrap());
    let of = |store: &candle_core::backprop::GradStore| doubles(store.get(&hidden).unwrap());
    assert_close(&of(&got), &of(&expected), "gradient");
    assert!(got.get(&head).is_none());
}

/// A large head is read once for many rows, whatever the rows are held against.
#[test]
fn chunks_are_of_many_rows_and_bounded() {
    for (vocabulary, rows) in [(151_936, 100), (32_000, 256), (500, 4000)] {
        let chunk = chunk_rows(vocabulary);
        assert!(chunk >= rows, "{chunk} rows of {vocabulary}");
        assert!(chunk * vocabulary <= 1 << 24);
        assert_eq!(logits_at_a_time(vocabulary, 3), 3 * vocabulary);
    }
    assert_eq!(chunk_rows(1 << 25), 1);
}

/// More rows than one chunk holds, and a frozen head.
#[test]
fn chunks_and_frozen_heads_change_nothing() {
    let (count, vocabulary) = (300, 9000);
    assert!(chunk_rows(vocabulary) < count);
    let hidden = Var::from_tensor(&matrix(count, 4, 1)).unwrap();
    let head = Var::from_tensor(&matrix(vocabulary, 4, 2)).unwrap();
    let frozen = FrozenWeight::new(&head, Storage::F32).unwrap();
    let teacher = matrix(count, 4, 7);
    let settings = Distillation {
        share: 0.5,
        ..plain(vocabulary - 9)
    };
    let tops = top_tokens(&teacher, &head, 8, 1.0, vocabulary - 9).unwrap();
    let tokens: Vec<u32> = (0..count as u32).map(|at| at * 29).collect();
    let run = |hidden: &Tensor, rows: std::ops::Range<usize>, head: WeightRef<'_>, whole: bool| {
        let targets: Vec<Target<'_>> = rows
            .clone()
            .map(|at| Target {
                token: tokens[at],
                weight: 1.0,
                teacher: Some(&tops[at]),
            })
            .collect();
        let hidden = hidden.narrow(0, rows.start, rows.len()).unwrap();
        if whole {
            let teacher = teacher.narrow(0, rows.start, rows.len()).unwrap();
            let teacher = WholeTeacher {
                hidden: &teacher,
                head: (&frozen).into(),
            };
            whole_distillation(&hidden, head, &targets, teacher, &settings, 1.0).unwrap()
        } else {
            distillation(&hidden, head, &targets, &settings, 1.0).unwrap()
        }
    };
    for whole in [false, true] {
        let together = run(&hidden, 0..count, (&head).into(), whole);
        let (mut alone, mut alone_head) = (0.0, vec![0.0; vocabulary * 4]);
        for at in 0..count {
            let loss = run(&hidden, at..at + 1, (&head).into(), whole);
            alone += doubles(&loss)[0];
            let gradients = loss.backward().unwrap();
            let own = doubles(gradients.get(&head).unwrap());
            alone_head
                .iter_mut()
                .zip(own)
                .for_each(|(sum, own)| *sum += own);
        }
        assert_close(&doubles(&together), &[alone], "chunks");
        let held = run(&hidden, 0..count, (&frozen).into(), whole);
        assert_close(&doubles(&held), &doubles(&together), "frozen head");
        let (a, b) = (held.backward().unwrap(), together.backward().unwrap());
        let of = |store: &candle_core::backprop::GradStore| doubles(store.get(&hidden).unwrap());
        assert_close(&of(&a), &of(&b), "gradient");
        assert_close(
            &doubles(b.get(&head).unwrap()),
            &alone_head,
            "head's gradient",
        );
    }
}

#[test]
fn a_student_that_equals_its_teacher_has_nothing_to_learn() {
    let hidden = Var::from_tensor(&matrix(ROWS, WIDTH, 1)).unwrap();
    let head = matrix(VOCABULARY, WIDTH, 2);
    for divergence in [Divergence::Forward, Divergence::Reverse] {
        for temperature in [1.0, 3.0] {
            let settings = Distillation {
                divergence,
                temperature,
                ..plain(SHARED)
            };
            let tops = top_tokens(&hidden, &head, 6, temperature, SHARED).unwrap();
            let targets: Vec<Target<'_>> = tops
                .iter()
                .map(|top| Target {
                    token: 0,
                    weight: 1.0,
                    teacher: Some(top),
                })
                .collect();
            let teacher = WholeTeacher {
                hidden: &hidden,
                head: (&head).into(),
            };
            for loss in [
                distillation(&hidden, &head, &targets, &settings, 1.0).unwrap(),
                whole_distillation(&hidden, &head, &targets, teacher, &settings, 1.0).unwrap(),
            ] {
                assert!(doubles(&loss)[0].abs() < 1e-4, "{loss}");
                let gradients = loss.backward().unwrap();
                let gradient = doubles(gradients.get(&hidden).unwrap());
                assert!(gradient.iter().all(|g| g.abs() < 1e-4), "{gradient:?}");
            }
        }
    }
}

#[test]
fn a_teachers_top_tokens_and_scores_are_those_of_its_softmax() {
    let (hidden, head) = (matrix(3, WIDTH, 1), matrix(VOCABULARY, WIDTH, 2));
    let logits = logits_of(&doubles(&hidden), &doubles(&head), WIDTH);
    for (temperature, shared) in [(1.0, VOCABULARY), (2.5, SHARED)] {
        let tops = top_tokens(&hidden, &head, 4, temperature, shared).unwrap();
        for (top, logits) in tops.iter().zip(&logits) {
            let q = softmax(&logits[..shared], temperature);
            let mut order: Vec<usize> = (0..shared).collect();
            order.sort_by(|a, b| q[*b].total_cmp(&q[*a]));
            for (at, token) in order.into_iter().take(4).enumerate() {
                assert_eq!(top.tokens[at] as usize, token);
                let got = f64::from(top.log_probabilities[at]);
                assert!((got - q[token].ln()).abs() < 1e-5);
            }
        }
    }
    let all = top_tokens(&hidden, &head, 100, 1.0, SHARED).unwrap();
    assert_eq!(all[0].tokens.len(), SHARED);
    let scores = token_log_probabilities(&hidden, &head, &[5, 0, 36], SHARED).unwrap();
    for ((score, token), logits) in scores.iter().zip([5, 0, 36]).zip(&logits) {
        let expected = softmax(&logits[..SHARED], 1.0)[token].ln();
        assert!((f64::from(*score) - expected).abs() < 1e-5);
    }
    assert!(token_log_probabilities(&hidden, &head, &[5, 0, 37], SHARED).is_err());
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let (hidden, head) = (matrix(1, WIDTH, 1), matrix(VOCABULARY, WIDTH, 2));
    let refused = |top: &TopTokens, token: u32, settings: Distillation| {
        let target = Target {
            token,
            weight: 1.0,
            teacher: Some(top),
        };
        distillation(&hidden, &head, &[target], &settings, 1.0)
            .unwrap_err()
            .to_string()
    };
    let top = |tokens: &[u32], log_probabilities: &[f32]| TopTokens {
        tokens: tokens.to_vec(),
        log_probabilities: log_probabilities.to_vec(),
    };
    let good = top(&[1, 2], &[-1.0, -2.0]);
    let settings = plain(SHARED);
    assert!(refused(&good, 40, settings).contains("outside a vocabulary of 40"));
    assert!(refused(&top(&[1, 1], &[-1.0, -2.0]), 0, settings).contains("twice"));
    assert!(refused(&top(&[1], &[-1.0, -2.0]), 0, settings).contains("1 top tokens"));
    assert!(refused(&top(&[1], &[f32::NAN]), 0, settings).contains("log-probability is NaN"));
    assert!(refused(&top(&[38], &[-1.0]), 0, settings).contains("none of a teacher's"));
    let cold = Distillation {
        temperature: 0.0,
        ..settings
    };
    assert!(refused(&good, 0, cold).contains("temperature of 0"));
    let much = Distillation {
        share: 1.5,
        ..settings
    };
    assert!(refused(&good, 0, much).contains("share of 1.5"));
    assert!(refused(&good, 0, plain(41)).contains("41 shared tokens"));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = |threads: usize| {
        on_threads(threads, || {
            let hidden = Var::from_tensor(&matrix(64, 16, 1)).unwrap();
            let head = Var::from_tensor(&matrix(300, 16, 2)).unwrap();
            let tops = top_tokens(&matrix(64, 16, 3), &head, 5, 1.0, 290).unwrap();
            let targets: Vec<Target<'_>> = tops
                .iter()
                .map(|top| Target {
                    token: 1,
                    weight: 0.3,
                    teacher: Some(top),
                })
                .collect();
            let settings = Distillation {
                share: 0.5,
                ..plain(290)
            };
            let loss = distillation(&hidden, &head, &targets, &settings, 1.0).unwrap();
            let gradients = loss.backward().unwrap();
            [&hidden, &head].map(|variable| {
                let values = doubles(gradients.get(variable).unwrap());
                values.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            })
        })
    };
    assert!(run(1) == run(2) && run(2) == run(3));
}
