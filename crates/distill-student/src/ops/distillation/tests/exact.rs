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
