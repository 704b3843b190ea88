//! A small model that somebody else trained: its greedy story, word for word. Weights are read from
//! `DISTILL_MODELS_DIR`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails; a test that cannot run says so"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use candle_core::{Device, Tensor};
use distill_student::decoder::{Decoder, DecoderConfig};
use distill_student::generate::{Finish, GenerateSettings, generate, score_continuations};
use distill_student::weights::DecoderWeights;

/// The sizes at the head of a checkpoint of llama2.c.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    width: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    key_heads: usize,
    vocabulary: usize,
    context: usize,
}

impl Sizes {
    fn read(bytes: &[u8]) -> Self {
        let at = |index: usize| {
            let field = bytes[4 * index..4 * index + 4].try_into().unwrap();
            usize::try_from(i32::from_le_bytes(field)).unwrap()
        };
        Self {
            width: at(0),
            hidden: at(1),
            layers: at(2),
            heads: at(3),
            key_heads: at(4),
            vocabulary: at(5),
            context: at(6),
        }
    }

    fn key_width(&self) -> usize {
        self.width / self.heads * self.key_heads
    }

    fn config(&self) -> DecoderConfig {
        let Self {
            width,
            hidden,
            layers,
            heads,
            key_heads,
            vocabulary,
            context,
        } = self;
        DecoderConfig::from_json(&format!(
            r#"{{"model_type": "llama", "vocab_size": {vocabulary}, "hidden_size": {width},
                "intermediate_size": {hidden}, "num_hidden_layers": {layers},
                "num_attention_heads": {heads}, "num_key_value_heads": {key_heads},
                "max_position_embeddings": {context}, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
                "rope_interleaved": true, "hidden_act": "silu", "tie_word_embeddings": true}}"#
        ))
        .unwrap()
    }
}

/// One kind of tensor of every layer: its name, its shape.
type Kind = (&'static str, Vec<usize>);

fn kinds(sizes: Sizes) -> [Kind; 9] {
    let (d, k, i) = (sizes.width, sizes.key_width(), sizes.hidden);
    [
        ("input_layernorm", vec![d]),
        ("self_attn.q_proj", vec![d, d]),
        ("self_attn.k_proj", vec![k, d]),
        ("self_attn.v_proj", vec![k, d]),
        ("self_attn.o_proj", vec![d, d]),
        ("post_attention_layernorm", vec![d]),
        ("mlp.gate_proj", vec![i, d]),
        ("mlp.down_proj", vec![d, i]),
        ("mlp.up_proj", vec![i, d]),
    ]
}

/// Takes tensors off the front of a file, all layers of a kind together.
struct Taker<'a> {
    rest: &'a [u8],
    tensors: BTreeMap<String, Tensor>,
}

impl Taker<'_> {
    fn take(&mut self, name: String, shape: Vec<usize>) {
        let (bytes, rest) = self.rest.split_at(4 * shape.iter().product::<usize>());
        self.rest = rest;
        let values: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
        self.tensors.insert(format!("{name}.weight"), tensor);
    }

    fn take_layers(&mut self, layers: usize, (name, shape): &Kind) {
        for layer in 0..layers {
            self.take(format!("model.layers.{layer}.{name}"), shape.clone());
        }
    }
}

/// The first form: sizes, then tensors in the order of the forward pass.
fn legacy(bytes: &[u8]) -> DecoderWeights {
    let sizes = Sizes::read(bytes);
    let mut taker = Taker {
        rest: &bytes[28..],
        tensors: BTreeMap::new(),
    };
    let embedding = vec![sizes.vocabulary, sizes.width];
    taker.take("model.embed_tokens".to_owned(), embedding);
    for kind in kinds(sizes) {
        taker.take_layers(sizes.layers, &kind);
    }
    taker.take("model.norm".to_owned(), vec![sizes.width]);
    DecoderWeights::from_tensors(sizes.config(), taker.tensors).unwrap()
}

/// The second form: a header of 256 bytes, then norms, embeddings, projections.
fn version_one(bytes: &[u8]) -> DecoderWeights {
    assert_eq!(&bytes[..8], b"24ka\x01\0\0\0");
    let sizes = Sizes::read(&bytes[8..]);
    let mut taker = Taker {
        rest: &bytes[256..],
        tensors: BTreeMap::new(),
    };
    let kinds = kinds(sizes);
    for norm in [&kinds[0], &kinds[5]] {
        taker.take_layers(sizes.layers, norm);
    }
    taker.take("model.norm".to_owned(), vec![sizes.width]);
    let embedding = vec![sizes.vocabulary, sizes.width];
    taker.take("model.embed_tokens".to_owned(), embedding);
    for kind in kinds.iter().filter(|kind| kind.1.len() == 2) {
        taker.take_layers(sizes.layers, kind);
    }
    assert!(taker.rest.is_empty());
    DecoderWeights::from_tensors(sizes.config(), taker.tensors).unwrap()
}

/// The pieces of text in `tokenizer.bin`.
fn pieces(bytes: &[u8], count: usize) -> Vec<Vec<u8>> {
    let mut rest = &bytes[4..];
    let piece = |_| {
        let length = i32::from_le_bytes(rest[4..8].try_into().unwrap());
        let (piece, after) = rest[8..].split_at(usize::try_from(length).unwrap());
        rest = after;
        // Bytes that are no piece of their own are written as <0x0A>.
        let text = std::str::from_utf8(piece).unwrap_or_default();
        let byte = text
            .strip_prefix("<0x")
            .and_then(|hex| hex.strip_suffix('>'));
        match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => vec![byte],
            None => piece.to_vec(),
        }
    };
    (0..count).map(piece).collect()
}

#[test]
fn a_known_model_tells_its_story_word_for_word() {
    let Some(models) = std::env::var_os("DISTILL_MODELS_DIR") else {
        eprintln!(
            "skipped: a_known_model_tells_its_story_word_for_word: DISTILL_MODELS_DIR is not set"
        );
        return;
    };
    let folder = PathBuf::from(models).join("stories260K");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let reference: serde_json::Value =
        serde_json::from_slice(&read("reference_greedy.json")).unwrap();
    let ids: Vec<u32> = serde_json::from_value(reference["token_ids"].clone()).unwrap();
    let (start, story) = ids.split_at(1);
    let settings = GenerateSettings {
        max_new_tokens: story.len(),
        ..GenerateSettings::default()
    };
    for weights in [
        legacy(&read("checkpoint_legacy.bin")),
        version_one(&read("checkpoint_v1.bin")),
    ] {
        assert_eq!(weights.config().parameter_count(), 260_032);
        let decoder = Decoder::new(&weights).unwrap();
        let answer = &generate(&decoder, &[start.to_vec()], &settings).unwrap()[0];
        assert_eq!(answer.tokens, story);
        assert_eq!(answer.finish, Finish::Length);
        let scores = score_continuations(&decoder, start, &[story.to_vec()]).unwrap();
        let mean = -scores[0][..199].iter().sum::<f32>() / 199.0;
        let recorded = reference["mean_nll_nats_of_ids_1_to_199_given_prefix"].as_f64();
        assert!((f64::from(mean) - recorded.unwrap()).abs() < 1e-4, "{mean}");
    }
    let pieces = pieces(&read("tokenizer.bin"), 512);
    let text: Vec<u8> = story
        .iter()
        .flat_map(|id| pieces[*id as usize].clone())
        .collect();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(text.trim_start(), reference["text"].as_str().unwrap());
}
