//! minGPT's letter sorter, which somebody else trained and whose activations were recorded with
//! `PyTorch`: its forward pass made of the operations that every student here is made of. Weights
//! and activations are read from `DISTILL_MODELS_DIR`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails; a test that cannot run says so"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{D, Device, Tensor};
use distill_student::ops::{
    Activation, Heads, Segment, attention, gated, gather, layer_norm, linear,
};

const LAYERS: usize = 3;
const HEADS: usize = 3;
const WIDTH: usize = 48;
/// Letters of one input; as many follow, sorted.
const LETTERS: usize = 6;
/// The largest difference from `PyTorch`'s activations, which lie within ± 20.
const TOLERANCE: f32 = 1e-5;

type Tensors = BTreeMap<String, Tensor>;

/// Base64 with the usual alphabet (RFC 4648, section 4).
fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("{letter} is no base64"),
        };
        held = (held << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits).unwrap());
            held &= (1 << bits) - 1;
        }
    }
    bytes
}

/// The tensors of a file: little-endian f32 in base64, with their shapes.
fn read(path: &Path) -> Tensors {
    let file: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let tensor = |entry: &serde_json::Value| {
        let shape: Vec<usize> = serde_json::from_value(entry["shape"].clone()).unwrap();
        let bytes = bytes_of(entry["data"].as_str()?);
        let (numbers, rest) = bytes.as_chunks::<4>();
        assert!(rest.is_empty());
        let values: Vec<f32> = numbers
            .iter()
            .map(|four| f32::from_le_bytes(*four))
            .collect();
        Some(Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    let named = |(name, entry): (String, serde_json::Value)| {
        (name != "config").then(|| (name, tensor(&entry).unwrap()))
    };
    file.into_iter().filter_map(named).collect()
}

struct Sorter {
    weights: Tensors,
}

impl Sorter {
    fn weight(&self, name: &str) -> &Tensor {
        &self.weights[&format!("transformer.{name}")]
    }

    fn norm(&self, x: &Tensor, name: &str) -> Tensor {
        let weight = self.weight(&format!("{name}.weight"));
        layer_norm(x, weight, self.weight(&format!("{name}.bias")), 1e-5).unwrap()
    }

    /// # Shapes
    /// - `x`: (T, I), the weight: (O, I); returns (T, O)
    fn projection(&self, x: &Tensor, name: &str) -> Tensor {
        let product = linear(x, self.weight(&format!("{name}.weight"))).unwrap();
        let bias = self.weight(&format!("{name}.bias"));
        product.broadcast_add(bias).unwrap()
    }

    /// The steps of one block by their names, of which the last is its output.
    fn block(&self, x: &Tensor, layer: usize, segments: &Arc<[Segment]>) -> Steps {
        let name = |part: &str| format!("h.{layer}.{part}");
        let ln1 = self.norm(x, &name("ln_1"));
        let qkv = self.projection(&ln1, &name("attn.c_attn")); // (T, 3 * W)
        let part = |index: usize| qkv.narrow(1, index * WIDTH, WIDTH).unwrap();
        let [q, k, v] = [part(0), part(1), part(2)];
        let heads = Heads {
            query: HEADS,
            key_value: HEADS,
            width: WIDTH / HEADS,
        };
        let y = attention(&q, &k, &v, heads, segments).unwrap();
        let attended = self.projection(&y, &name("attn.c_proj"));
        let middle = (x + &attended).unwrap();
        let ln2 = self.norm(&middle, &name("ln_2"));
        let wide = self.projection(&ln2, &name("mlp.c_fc")); // (T, 4 * W)
        let bent = gated(&wide, &wide.ones_like().unwrap(), Activation::GeluTanh).unwrap();
        let narrow = self.projection(&bent, &name("mlp.c_proj"));
        let out = (&middle + &narrow).unwrap();
        vec![
            ("ln1", ln1),
            ("qkv", qkv),
            ("y", y),
            ("yProj", attended),
            ("attnResid", middle),
            ("ln2", ln2),
            ("fc", wide),
            ("gelu", bent),
            ("mlp", narrow),
            ("mlpResid", out),
        ]
    }

    /// Every step of a forward pass by its name in the record; the last are the logits.
    /// Sequences of `length` letters each, one after the other.
    fn steps(&self, letters: &[u32], length: usize) -> Steps {
        let segment = |start| Segment { start, length };
        let segments: Arc<[Segment]> = (0..letters.len()).step_by(length).map(segment).collect();
        let places: Arc<[u32]> = (0..)
            .take(length)
            .collect::<Vec<u32>>()
            .repeat(segments.len())
            .into();
        let tokens = gather(self.weight("wte.weight"), &letters.into()).unwrap();
        let mut x = (tokens + gather(self.weight("wpe.weight"), &places).unwrap()).unwrap();
        let mut steps = vec![("x", x.clone())];
        for (layer, name) in ["block0", "block1", "block2"].into_iter().enumerate() {
            let of_block = self.block(&x, layer, &segments);
            x = of_block.last().unwrap().1.clone();
            if layer == 0 {
                steps.extend(of_block);
            }
            steps.push((name, x.clone()));
        }
        let normed = self.norm(&x, "ln_f");
        let logits = linear(&normed, &self.weights["lm_head.weight"]).unwrap();
        steps.extend([("ln_f", normed), ("lm_head", logits)]);
        steps
    }

    /// The likeliest letter after each of these sequences.
    fn next(&self, sequences: &[Vec<u32>]) -> Vec<u32> {
        let length = sequences[0].len();
        let logits = self.steps(&sequences.concat(), length).pop().unwrap().1; // (T, 3)
        let likeliest: Vec<u32> = logits.argmax(D::Minus1).unwrap().to_vec1().unwrap();
        likeliest
            .chunks(length)
            .map(|of_one| of_one[length - 1])
            .collect()
    }
}

type Steps = Vec<(&'static str, Tensor)>;

fn folder(test: &str) -> Option<PathBuf> {
    let Some(models) = std::env::var_os("DISTILL_MODELS_DIR") else {
        eprintln!("skipped: {test}: DISTILL_MODELS_DIR is not set");
        return None;
    };
    Some(PathBuf::from(models).join("gpt-nano-sort"))
}

fn sorter(folder: &Path) -> Sorter {
    Sorter {
        weights: read(&folder.join("gpt-nano-sort-model.json")),
    }
}

#[test]
fn every_step_of_a_known_model_is_the_recorded_one() {
    let Some(folder) = folder("every_step_of_a_known_model_is_the_recorded_one") else {
        return;
    };
    let recorded = read(&folder.join("gpt-nano-sort-t0-partials.json"));
    let letters: Vec<f32> = recorded["idx"].flatten_all().unwrap().to_vec1().unwrap();
    let letters: Vec<u32> = letters.into_iter().map(|letter| letter as u32).collect();
    let length = recorded["idx"].dim(1).unwrap();
    let steps = sorter(&folder).steps(&letters, length);
    assert_eq!(steps.len(), 1 + 10 + LAYERS + 2);
    for (name, ours) in steps {
        let theirs = recorded[name].reshape(ours.shape()).unwrap();
        let difference = (ours - theirs).unwrap().abs().unwrap();
        let largest: f32 = difference.max_all().unwrap().to_scalar().unwrap();
        assert!(largest < TOLERANCE, "{name} differs by {largest}");
    }
}

#[test]
fn a_known_model_sorts_every_input() {
    let Some(folder) = folder("a_known_model_sorts_every_input") else {
        return;
    };
    let sorter = sorter(&folder);
    let mut sequences = vec![Vec::new()];
    for _ in 0..LETTERS {
        let longer =
            |sequence: &Vec<u32>| [0, 1, 2].map(|letter| [&sequence[..], &[letter]].concat());
        sequences = sequences.iter().flat_map(longer).collect();
    }
    assert_eq!(sequences.len(), 729);
    for _ in 0..LETTERS {
        let letters = sorter.next(&sequences);
        for (sequence, letter) in sequences.iter_mut().zip(letters) {
            sequence.push(letter);
        }
    }
    for sequence in sequences {
        let (input, answer) = sequence.split_at(LETTERS);
        let mut sorted = input.to_vec();
        sorted.sort_unstable();
        assert_eq!(answer, sorted, "{input:?}");
    }
}
