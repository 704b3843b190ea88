//! Gradients to five digits where digits are lost most easily.

use super::*;

/// The gradient by a row's logits in f64, of cross-entropy and of both divergences from a teacher's logits.
fn exact_gradient(z: &[f64], teacher: Option<&[f64]>, token: usize, reverse: bool) -> Vec<f64> {
    let p = softmax(z, 1.0);
    let Some(teacher) = teacher else {
        let mut gradient = p;
        gradient[token] = -(gradient.iter().sum::<f64>() - gradient[token]);
        return gradient;
    };
    let q = softmax(teacher, 1.0);
    if !reverse {
        return p.iter().zip(&q).map(|(p, q)| p - q).collect();
    }
    let ratios: Vec<f64> = p.iter().zip(&q).map(|(p, q)| (p / q).ln()).collect();
    let mean: f64 = p.iter().zip(&ratios).map(|(p, ratio)| p * ratio).sum();
    let pairs = p.iter().zip(&ratios);
    pairs.map(|(p, ratio)| p * (ratio - mean)).collect()
}

/// Over as many tokens as real models have, and with a row that is sure of its token: each row's
/// gradient to 1e-5 of its own length, however small it is.
#[test]
#[cfg_attr(
    feature = "composed",
    ignore = "single precision alone: of a sure row four digits are left"
)]
fn a_large_vocabulary_and_a_sure_row_cost_no_digits() {
    const TOKENS: usize = 120_001;
    let (rows, width) = (4, 3);
    let mut states = numbers(rows * width, 11);
    let mut table = numbers(TOKENS * width, 12);
    // Row 0 gives token 5 a lead of 25 nats over all others.
    states[..width].copy_from_slice(&[0.5, 0.25, 12.0]);
    for token in table.chunks_exact_mut(width) {
        token[2] = token[2].abs() * -0.1;
    }
    table[5 * width + 2] = 2.0;
    let taught = numbers(rows * width, 13);
    let tensor = |values: &[f32], rows| {
        Tensor::from_vec(values.to_vec(), (rows, width), &Device::Cpu).unwrap()
    };
    let hidden = Var::from_tensor(&tensor(&states, rows)).unwrap();
    let (head, teacher) = (tensor(&table, TOKENS), tensor(&taught, rows));
    let as_doubles = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let w = as_doubles(&table);
    let z = logits_of(&as_doubles(&states), &w, width);
    let q = logits_of(&as_doubles(&taught), &w, width);
    let tokens = [5, 7, 119_000, 3];
    for (whole, divergence) in [
        (false, Divergence::Forward),
        (true, Divergence::Forward),
        (true, Divergence::Reverse),
    ] {
        let loss = if whole {
            let settings = Distillation {
                divergence,
                ..plain(TOKENS)
            };
            let targets = tokens.map(|token| Target {
                token,
                weight: 1.0,
                teacher: None,
            });
            let teacher = WholeTeacher {
                hidden: &teacher,
                head: (&head).into(),
            };
            whole_distillation(&hidden, &head, &targets, teacher, &settings, 1.0).unwrap()
        } else {
            cross_entropy(&hidden, &head, &tokens, 1.0).unwrap()
        };
        let gradients = loss.backward().unwrap();
        let got = doubles(gradients.get(&hidden).unwrap());
        // Reverse, a sure row's gradient is the difference of two numbers that single precision holds alike.
        let first = usize::from(divergence == Divergence::Reverse);
        for row in first..rows {
            let taught = whole.then_some(q[row].as_slice());
            let reverse = divergence == Divergence::Reverse;
            let by_logits = exact_gradient(&z[row], taught, tokens[row] as usize, reverse);
            let expected: Vec<f64> = (0..width)
                .map(|i| {
                    let column = w.iter().skip(i).step_by(width);
                    column.zip(&by_logits).map(|(w, g)| w * g).sum()
                })
                .collect();
            let length = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
            let off: Vec<f64> = expected
                .iter()
                .zip(&got[row * width..])
                .map(|(a, b)| a - b)
                .collect();
            let (off, whole_length) = (length(&off), length(&expected));
            assert!(
                off <= 1e-5 * whole_length,
                "whole {whole}, {divergence:?}, row {row}: {off:e} of {whole_length:e}"
            );
        }
    }
}

/// A student that gives 1e-7 to all that the teacher gives a tenth: on any device its loss and the
/// pull back are those of the definition.
#[test]
fn a_student_sure_of_the_top_tokens_is_pulled_back_to_the_rest() {
    let top = TopTokens {
        tokens: vec![3],
        log_probabilities: vec![0.9f32.ln()],
    };
    let target = Target {
        token: 3,
        weight: 1.0,
        teacher: Some(&top),
    };
    let logits: Vec<f32> = (0..SHARED)
        .map(|at| if at == 3 { 20.0 } else { 0.0 })
        .collect();
    let hidden = Var::new(&[[1.0f32]], &Device::Cpu).unwrap();
    let head = Tensor::from_vec(logits, (SHARED, 1), &Device::Cpu).unwrap();
    for divergence in [Divergence::Forward, Divergence::Reverse] {
        let settings = Distillation {
            divergence,
            ..plain(SHARED)
        };
        let rows = [Prepared::new(&target, &settings, false).unwrap()];
        let hidden_t = hidden.as_tensor();
        let loss = composed::distillation(hidden_t, (&head).into(), &rows, None, &settings, 1.0);
        let loss = loss.unwrap();
        let others = (SHARED as f64 - 1.0) * (-20.0f64).exp();
        let (inside, outside) = (1.0 / (1.0 + others), others / (1.0 + others));
        let (own, rest) = ((inside / 0.9).ln(), (outside / 0.1).ln());
        // The two probabilities move by ± inside * outside * 20 with the hidden state.
        let moved = 20.0 * inside * outside;
        let (expected, slope) = match divergence {
            Divergence::Forward => (
                -0.9 * own - 0.1 * rest,
                moved * (0.1 / outside - 0.9 / inside),
            ),
            Divergence::Reverse => (inside * own + outside * rest, moved * (own - rest)),
        };
        let got = f64::from(loss.to_scalar::<f32>().unwrap());
        assert!(
            (got - expected).abs() < 1e-5 * expected.abs(),
            "{got}, {expected}"
        );
        let gradients = loss.backward().unwrap();
        let got = doubles(gradients.get(&hidden).unwrap())[0];
        // Reverse, it is the difference of two numbers that single precision holds alike.
        let least = if divergence == Divergence::Reverse {
            1e-5
        } else {
            0.0
        };
        let allowed = 1e-4 * slope.abs() + least;
        assert!((got - slope).abs() <= allowed, "{got}, {slope}");
    }
}
