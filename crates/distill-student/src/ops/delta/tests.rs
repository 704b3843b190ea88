//! The chunked rule against the recurrence as it is written, token by token, and against finite
//! differences.

use candle_core::{D, Device, Var};

use super::super::tests::{assert_close, check, on_threads, segments, variable};
use super::*;

const HEADS: DeltaHeads = DeltaHeads {
    key: 2,
    value: 4,
    key_width: 8,
    value_width: 6,
};

struct Inputs {
    mixed: Var,
    log_decay: Var,
    beta: Var,
}

/// Decays from hardly any to almost all, strengths between 0 and 1.
fn inputs(tokens: usize, heads: DeltaHeads) -> Inputs {
    let moved = |seed, by: f64, plus: f64| {
        let x = variable(&[tokens, heads.value], seed).as_detached_tensor();
        Var::from_tensor(&((x * by).unwrap() + plus).unwrap()).unwrap()
    };
    Inputs {
        mixed: variable(&[tokens, heads.mixed_row()], 1),
        log_decay: moved(2, 0.6, -0.61),
        beta: moved(3, 0.45, 0.5),
    }
}

/// The recurrence, one token after the other, in plain differentiable operations.
fn recurrent(inputs: &Inputs, heads: DeltaHeads, segments: &[Segment]) -> Result<Tensor> {
    let unit = |x: Tensor| -> Result<Tensor> {
        let squares = x.sqr()?.sum_keepdim(D::Minus1)?;
        x.broadcast_div(&(squares + f64::from(LENGTH_EPSILON))?.sqrt()?)
    };
    let mut rows = Vec::new();
    for segment in segments {
        let mut memory = vec![
            Tensor::zeros(
                (heads.key_width, heads.value_width),
                candle_core::DType::F32,
                &Device::Cpu
            )?;
            heads.value
        ];
        for token in segment.start..segment.start + segment.length {
            let row = inputs.mixed.narrow(0, token, 1)?;
            let mut answers = Vec::new();
            for (head, memory) in memory.iter_mut().enumerate() {
                let key_at = head / heads.group() * heads.key_width;
                let q = unit(row.narrow(1, key_at, heads.key_width)?)?;
                let k = unit(row.narrow(1, heads.key_row() + key_at, heads.key_width)?)?;
                let value_at = 2 * heads.key_row() + head * heads.value_width;
                let v = row.narrow(1, value_at, heads.value_width)?;
                let of = |x: &Var| x.narrow(0, token, 1)?.narrow(1, head, 1);
                let faded = memory.broadcast_mul(&of(&inputs.log_decay)?.exp()?)?;
                let recalled = k.matmul(&faded)?;
                let written = (v - recalled)?.broadcast_mul(&of(&inputs.beta)?)?;
                *memory = (faded + k.t()?.matmul(&written)?)?;
                let scale = 1.0 / (heads.key_width as f64).sqrt();
                answers.push((q.matmul(memory)? * scale)?);
            }
            rows.push(Tensor::cat(&answers, 1)?);
        }
    }
    Tensor::cat(&rows, 0)
}

#[test]
fn the_chunked_rule_matches_the_recurrence() {
    for lengths in [
        vec![1],
        vec![5, 1, 9],
        vec![CHUNK, 3],
        vec![2 * CHUNK + 1, 70],
    ] {
        let segments = segments(&lengths);
        let given = inputs(lengths.iter().sum(), HEADS);
        check(
            &[&given.mixed, &given.log_decay, &given.beta],
            || {
                gated_delta(
                    &given.mixed,
                    &given.log_decay,
                    &given.beta,
                    HEADS,
                    &segments,
                )
            },
            || recurrent(&given, HEADS, &segments),
        );
    }
}

#[test]
fn the_composed_rule_matches_the_fused_one() {
    for lengths in [vec![3], vec![2 * CHUNK, 1, 70]] {
        let segments = segments(&lengths);
        let given = inputs(lengths.iter().sum(), HEADS);
        check(
            &[&given.mixed, &given.log_decay, &given.beta],
            || {
                composed::composed(
                    &given.mixed,
                    &given.log_decay,
                    &given.beta,
                    HEADS,
                    &segments,
                )
            },
            || {
                gated_delta(
                    &given.mixed,
                    &given.log_decay,
                    &given.beta,
                    HEADS,
                    &segments,
                )
            },
        );
    }
}

/// One key that comes again and again makes the worst triangular system.
#[test]
fn a_row_of_equal_tokens_keeps_its_digits() {
    let tokens = 130;
    let given = inputs(tokens, HEADS);
    let same = given.mixed.narrow(0, 0, 1).unwrap();
    let same = same.broadcast_as((tokens, HEADS.mixed_row())).unwrap();
    let given = Inputs {
        mixed: Var::from_tensor(&same.contiguous().unwrap()).unwrap(),
        log_decay: Var::from_tensor(&(given.log_decay.as_tensor() * 0.01).unwrap()).unwrap(),
        beta: Var::from_tensor(&given.beta.ones_like().unwrap()).unwrap(),
    };
    let segments = segments(&[tokens]);
    let of = |fused: bool| {
        let (m, g, b) = (&given.mixed, &given.log_decay, &given.beta);
        if fused {
            gated_delta(m, g, b, HEADS, &segments).unwrap()
        } else {
            composed::composed(m, g, b, HEADS, &segments).unwrap()
        }
    };
    let expected = recurrent(&given, HEADS, &segments).unwrap();
    assert_close(&of(true), &expected, "fused");
    assert_close(&of(false), &expected, "composed");
}

#[test]
fn gradients_match_finite_differences() {
    let heads = DeltaHeads {
        key: 1,
        value: 2,
        key_width: 3,
        value_width: 2,
    };
    let segments = segments(&[67, 2]);
    let given = inputs(69, heads);
    let weights = variable(&[69, heads.value_row()], 9).as_detached_tensor();
    let loss = |mixed: &Tensor, decay: &Tensor, beta: &Tensor| {
        let out = gated_delta(mixed, decay, beta, heads, &segments).unwrap();
        (out * &weights).unwrap().sum_all().unwrap()
    };
    let whole = loss(&given.mixed, &given.log_decay, &given.beta);
    let gradients = whole.backward().unwrap();
    let variables = [&given.mixed, &given.log_decay, &given.beta];
    for (place, variable) in variables.iter().enumerate() {
        let exact = gradients.get(variable).unwrap();
        let exact: Vec<f32> = exact.flatten_all().unwrap().to_vec1().unwrap();
        let values: Vec<f32> = variable.flatten_all().unwrap().to_vec1().unwrap();
        for at in (0..values.len()).step_by(values.len() / 12) {
            let moved = |by: f32| {
                let mut values = values.clone();
                values[at] += by;
                let moved = Tensor::from_vec(values, variable.shape(), &Device::Cpu).unwrap();
                let mut all =
                    [&given.mixed, &given.log_decay, &given.beta].map(Var::as_detached_tensor);
                all[place] = moved;
                f64::from(loss(&all[0], &all[1], &all[2]).to_scalar::<f32>().unwrap())
            };
            let step = 5e-3;
            let slope = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
            let difference = (slope - f64::from(exact[at])).abs();
            assert!(
                difference < 3e-3 * slope.abs().max(1.0),
                "input {place} at {at}: {} instead of {slope}",
                exact[at]
            );
        }
    }
}

#[test]
fn tokens_that_come_in_pieces_give_the_same_as_all_at_once() {
    let tokens = 90;
    let given = inputs(tokens, HEADS);
    let (mixed, decay, beta) = (&given.mixed, &given.log_decay, &given.beta);
    let whole = gated_delta(mixed, decay, beta, HEADS, &segments(&[tokens])).unwrap();
    let mut state = vec![0.0; HEADS.state()];
    let (mut out, mut start) = (Vec::new(), 0);
    for count in [1, 80, 2, 1, 1, 5] {
        let of = |x: &Var| {
            let rows = x.narrow(0, start, count).unwrap();
            rows.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let mut rows = [DeltaRow {
            state: &mut state,
            tokens: count,
        }];
        out.extend(gated_delta_over(
            HEADS,
            &of(mixed),
            &of(decay),
            &of(beta),
            &mut rows,
        ));
        start += count;
    }
    assert_eq!(start, tokens);
    let out = Tensor::from_vec(out, whole.shape(), &Device::Cpu).unwrap();
    assert_close(&out, &whole, "pieces");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |threads: usize| {
        on_threads(threads, || {
            let given = inputs(200, HEADS);
            let out = gated_delta(
                &given.mixed,
                &given.log_decay,
                &given.beta,
                HEADS,
                &segments(&[150, 50]),
            )
            .unwrap();
            let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            [&given.mixed, &given.log_decay, &given.beta].map(|variable| {
                let values: Vec<f32> = gradients
                    .get(variable)
                    .unwrap()
                    .flatten_all()
                    .unwrap()
                    .to_vec1()
                    .unwrap();
                values
                    .iter()
                    .map(|value| value.to_bits())
                    .collect::<Vec<_>>()
            })
        })
    };
    assert!(run(1) == run(3));
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let given = inputs(4, HEADS);
    let (mixed, decay, beta) = (&given.mixed, &given.log_decay, &given.beta);
    for lengths in [&[3][..], &[4, 1], &[4, 0]] {
        assert!(gated_delta(mixed, decay, beta, HEADS, &segments(lengths)).is_err());
    }
    let odd = DeltaHeads { value: 3, ..HEADS };
    assert!(gated_delta(mixed, decay, beta, odd, &segments(&[4])).is_err());
}
