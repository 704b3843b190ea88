//! Dropout in a projection against the formula, element by element.

use candle_core::Device;

use super::*;

fn matrix(rows: usize, columns: usize, seed: usize) -> Tensor {
    let value = |i: usize| ((i * 37 + seed * 11) % 23) as f32 * 0.1 - 1.1;
    let values: Vec<f32> = (0..rows * columns).map(value).collect();
    Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
}

fn elements(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn dropout_hides_from_the_update_and_from_the_change_of_length_alone() {
    let (x, w) = (matrix(3, 6, 1), matrix(5, 6, 2));
    let (down, up) = (matrix(2, 6, 3), matrix(5, 2, 4));
    let trained = Tensor::new(&[0.5f32, 1.0, 2.0, 3.0, 0.1], &Device::Cpu).unwrap();
    let weight = FrozenWeight::new(&w, Storage::F32).unwrap();
    let update = |magnitude| LowRank {
        down: down.clone(),
        up: up.clone(),
        scale: 1.5,
        magnitude,
    };
    let dropout = Dropout::new(0.5);
    dropout.begin(1, 2, 3);
    let seen = dropout.apply(&x, 9).unwrap();
    assert!(elements(&seen).contains(&0.0));
    let change = seen.matmul(&down.t().unwrap()).unwrap();
    let change = (change.matmul(&up.t().unwrap()).unwrap() * 1.5).unwrap();
    let of = |x: &Tensor| elements(&x.matmul(&w.t().unwrap()).unwrap());
    let (base, base_seen, change) = (of(&x), of(&seen), elements(&change));
    let whole = (&w + (up.matmul(&down).unwrap() * 1.5).unwrap()).unwrap();
    let lengths: Vec<f32> = whole
        .to_vec2::<f32>()
        .unwrap()
        .iter()
        .map(|row| row.iter().map(|v| v * v).sum::<f32>().sqrt())
        .collect();
    for with_lengths in [false, true] {
        let update = update(with_lengths.then(|| trained.clone()));
        let magnitude = with_lengths
            .then(|| Magnitude::build(&weight, &update, &trained, true))
            .transpose()
            .unwrap();
        let projection = Projection {
            matrix: Matrix::LowRank {
                weight: weight.clone(),
                update,
                magnitude,
                dropout: Some((dropout.clone(), 9)),
            },
            bias: None,
        };
        let got = elements(&projection.forward(&x).unwrap());
        let trained = elements(&trained);
        for (i, got) in got.iter().enumerate() {
            let m = if with_lengths {
                trained[i % 5] / lengths[i % 5]
            } else {
                1.0
            };
            let expected = base[i] + (m - 1.0) * base_seen[i] + m * change[i];
            assert!((got - expected).abs() < 1e-4, "{i}: {got}, not {expected}");
        }
    }
}
