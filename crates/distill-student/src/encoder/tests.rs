//! Encoders against tiny ones of transformers (`scripts/fixtures/encoders.py`).

use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::decoder::tests::distance;

/// Largest difference to the recorded logits, which go up to 4.2.
const TOLERANCE: f32 = 1e-4;
const FAMILIES: [&str; 2] = ["bert", "modernbert"];

pub(crate) fn folder(family: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/encoders")
        .join(family)
}

fn expected(family: &str) -> Value {
    let text = std::fs::read_to_string(folder(family).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn labels() -> Vec<String> {
    ["card", "refund", "transfer"].map(str::to_owned).to_vec()
}

pub(crate) fn weights(family: &str) -> EncoderWeights {
    EncoderWeights::from_dir(&folder(family), &labels(), 0).unwrap()
}

fn rows(expected: &Value) -> Vec<EncodedText> {
    expected["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| EncodedText {
            tokens: list(&row["tokens"]),
            types: list(&row["types"]),
            dropped: Vec::new(),
        })
        .collect()
}

fn tensor(value: &Value) -> Tensor {
    let rows: Vec<Vec<f32>> = list(value);
    Tensor::new(rows, &candle_core::Device::Cpu).unwrap()
}

#[test]
fn logits_are_those_of_transformers() {
    for family in FAMILIES {
        let expected = expected(family);
        let encoder = Encoder::new(&weights(family)).unwrap();
        let rows = rows(&expected);
        let logits = encoder.logits(&EncoderRows::new(&rows)).unwrap();
        let recorded = tensor(&expected["logits"]);
        let difference = distance(&logits, &recorded);
        assert!(difference < TOLERANCE, "{family}: {difference}");
        for (index, row) in rows.iter().enumerate() {
            let alone = encoder.logits(&EncoderRows::new([row])).unwrap();
            let within = recorded.narrow(0, index, 1).unwrap();
            assert!(
                distance(&alone, &within) < TOLERANCE,
                "{family}, row {index}"
            );
        }
    }
}

#[test]
fn texts_and_pairs_become_the_tokens_of_transformers() {
    for family in FAMILIES {
        let expected = expected(family);
        let limit = list(&expected["limit"]);
        let tokenizer = EncoderTokenizer::from_directory(&folder(family), limit).unwrap();
        let texts: Vec<String> = list(&expected["texts"]);
        let pairs: Vec<[String; 2]> = list(&expected["pairs"]);
        let encoded = texts.iter().map(|text| tokenizer.encode(text)).chain(
            pairs
                .iter()
                .map(|[one, other]| tokenizer.encode_pair(one, other)),
        );
        let recorded = rows(&expected);
        assert_eq!(recorded.len(), texts.len() + pairs.len());
        let mut cut = 0;
        for (encoded, recorded) in encoded.zip(&recorded) {
            let encoded = encoded.unwrap();
            assert_eq!(encoded.tokens, recorded.tokens);
            assert_eq!(encoded.types, recorded.types);
            cut += usize::from(!encoded.dropped.is_empty());
        }
        assert_eq!(cut, 2);
    }
}

#[test]
fn training_takes_the_steps_of_torch() {
    for family in FAMILIES {
        let expected = expected(family);
        let training = &expected["training"];
        let targets: Vec<u32> = list(&training["targets"]);
        let rows = EncoderRows::new(&rows(&expected)[..targets.len()]);
        let start = weights(family);
        let variables: Vec<(String, candle_core::Var)> = start
            .tensors()
            .iter()
            .map(|(name, tensor)| (name.clone(), candle_core::Var::from_tensor(tensor).unwrap()))
            .collect();
        let tensors = variables
            .iter()
            .map(|(n, v)| (n.clone(), v.as_tensor().clone()));
        let trained =
            EncoderWeights::from_tensors(start.config().clone(), tensors.collect()).unwrap();
        let encoder = Encoder::new(&trained).unwrap();
        let targets = Tensor::new(targets, &candle_core::Device::Cpu).unwrap();
        let logits = encoder.logits(&rows).unwrap();
        let loss = candle_nn::loss::cross_entropy(&logits, &targets).unwrap();
        let recorded: Vec<f32> = list(&training["losses"]);
        let difference = loss.to_scalar::<f32>().unwrap() - recorded[0];
        assert!(difference.abs() < 1e-5, "{family}: {difference}");
        let gradients = loss.backward().unwrap();
        for (name, variable) in &variables {
            assert!(
                gradients.get(variable).is_some(),
                "{family}: {name} got no gradient"
            );
        }
    }
}

#[test]
fn a_configuration_survives_its_own_form() {
    for family in FAMILIES {
        let text = std::fs::read_to_string(folder(family).join("config.json")).unwrap();
        let config = EncoderConfig::from_json(&text).unwrap();
        let again = EncoderConfig::from_json(&config.to_json()).unwrap();
        assert_eq!(again.to_json(), config.to_json());
        assert_eq!(again.labels, labels());
        assert_eq!(again.tensors(), config.tensors());
        assert!(EncoderConfig::is_encoder(&text));
    }
}

#[test]
fn what_is_not_honoured_is_refused_by_name() {
    for (family, field, value) in [
        ("bert", "hidden_act", json!("relu")),
        ("bert", "position_embedding_type", json!("relative_key")),
        ("bert", "is_decoder", json!(true)),
        ("bert", "num_attention_heads", json!(5)),
        ("bert", "hidden_size", json!(1u64 << 60)),
        ("bert", "norm_bias", json!(true)),
        ("bert", "problem_type", json!("regression")),
        ("bert", "id2label", json!({"1": "a"})),
        ("modernbert", "classifier_pooling", json!("max")),
        ("modernbert", "layer_types", json!(["full_attention"])),
        ("modernbert", "hidden_activation", json!("silu")),
        ("modernbert", "model_type", json!("roberta")),
    ] {
        let text = std::fs::read_to_string(folder(family).join("config.json")).unwrap();
        let mut fields: Value = serde_json::from_str(&text).unwrap();
        fields[field] = value;
        let error = EncoderConfig::from_json(&fields.to_string())
            .unwrap_err()
            .to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
}

#[test]
fn a_pretrained_model_without_a_head_gets_one() {
    let home = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let to = home.path().join(family);
        std::fs::create_dir(&to).unwrap();
        std::fs::copy(folder(family).join("config.json"), to.join("config.json")).unwrap();
        let own = if family == "bert" { "bert." } else { "model." };
        // As the model without a head is saved, with the names of the oldest files.
        let bare = weights(family)
            .tensors()
            .iter()
            .filter_map(|(name, tensor)| {
                let name = name.strip_prefix(own)?;
                let name = name.replace("LayerNorm.weight", "LayerNorm.gamma");
                Some((
                    name.replace("LayerNorm.bias", "LayerNorm.beta"),
                    tensor.clone(),
                ))
            })
            .collect();
        let bytes = crate::weights::write_tensors(&bare, crate::weights::Precision::F32).unwrap();
        std::fs::write(to.join("model.safetensors"), bytes).unwrap();

        let labels = vec!["yes".to_owned(), "no".to_owned()];
        let loaded = EncoderWeights::from_dir(&to, &labels, 5).unwrap();
        let again = EncoderWeights::from_dir(&to, &labels, 5).unwrap();
        let other = EncoderWeights::from_dir(&to, &labels, 6).unwrap();
        assert_eq!(loaded.tensors()["classifier.weight"].dims(), [2, 32]);
        assert_eq!(loaded.sha256().unwrap(), again.sha256().unwrap());
        assert_ne!(loaded.sha256().unwrap(), other.sha256().unwrap());
        for (name, tensor) in weights(family).tensors() {
            if name.starts_with(own) {
                assert!(distance(&loaded.tensors()[name], tensor) < 1e-9, "{name}");
            }
        }
    }
}

#[test]
fn rows_that_the_model_cannot_take_are_named() {
    let encoder = Encoder::new(&weights("bert")).unwrap();
    let message = |tokens: Vec<u32>| {
        let row = EncodedText {
            types: vec![0; tokens.len()],
            tokens,
            dropped: Vec::new(),
        };
        encoder
            .logits(&EncoderRows::new([&row]))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(message(Vec::new()), "row 0 is empty");
    assert_eq!(
        message(vec![1; 25]),
        "row 0 has 25 tokens, the model takes 24"
    );
    assert_eq!(
        message(vec![500]),
        "row 0 holds token 500, the vocabulary has 105"
    );
}

#[test]
fn a_student_names_the_label_of_the_largest_logit() {
    let expected = expected("bert");
    let tokenizer = EncoderTokenizer::from_directory(&folder("bert"), 24).unwrap();
    let student = EncoderStudent::new(weights("bert"), tokenizer).unwrap();
    let texts: Vec<String> = list(&expected["texts"]);
    let encoded: Vec<EncodedText> = texts.iter().map(|t| student.encode(t).unwrap()).collect();
    let predictions = student.predict(&encoded).unwrap();
    let logits: Vec<Vec<f64>> = list(&expected["logits"]);
    for (prediction, logits) in predictions.iter().zip(&logits) {
        let largest = logits.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        assert!((logits[prediction.label] - largest).abs() < 1e-9);
        assert!((prediction.log_probability + sum.ln()).abs() < 1e-4);
    }
}

#[test]
fn a_vocabulary_alone_gives_the_tokens_of_transformers() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/word_pieces.json");
    let recorded: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let texts: Vec<String> = list(&recorded["texts"]);
    let vocabulary: Vec<String> = list(&recorded["vocabulary"]);
    let mut compared = 0;
    for case in recorded["cases"].as_array().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text);
        write("vocab.txt", vocabulary.join("\n") + "\n").unwrap();
        write("tokenizer_config.json", case["config"].to_string()).unwrap();
        let tokenizer = EncoderTokenizer::from_directory(folder.path(), 512).unwrap();
        let expected: Vec<Vec<u32>> = list(&case["ids"]);
        for (text, expected) in texts.iter().zip(&expected) {
            let encoded = tokenizer.encode(text).unwrap();
            assert_eq!(encoded.tokens, *expected, "{text:?} by {}", case["config"]);
            compared += 1;
        }
        // What a bundle carries is the same tokenizer.
        let carried =
            EncoderTokenizer::new("it", tokenizer.source().to_vec(), "[CLS]", "[SEP]", 512);
        let again = carried.unwrap().encode(&texts[0]).unwrap();
        assert_eq!(again.tokens, expected[0]);
    }
    assert_eq!(compared, 70);
}

#[test]
fn a_tokenizer_that_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let refused = || {
        EncoderTokenizer::from_directory(folder.path(), 24)
            .unwrap_err()
            .to_string()
    };
    assert!(refused().contains("tokenizer.json"), "{}", refused());
    write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n");
    EncoderTokenizer::from_directory(folder.path(), 24).unwrap();
    for (config, said) in [
        ("{\"do_lower_case\": tr", "tokenizer_config.json"),
        ("{\"do_lower_case\": \"yes\"}", "do_lower_case"),
        ("{\"do_basic_tokenize\": false}", "do_basic_tokenize"),
        ("{\"never_split\": [\"a\"]}", "never_split"),
        ("{\"tokenizer_class\": \"T5Tokenizer\"}", "T5Tokenizer"),
        ("{\"cls_token\": \"<s>\"}", "<s>"),
        ("{\"unk_token\": \"<unk>\"}", "<unk>"),
    ] {
        write("tokenizer_config.json", config);
        let refused = refused();
        assert!(refused.contains(said), "{config}: {refused}");
    }
}

#[test]
fn a_hash_is_of_what_a_configuration_means() {
    for family in FAMILIES {
        let read = weights(family);
        let fields: Value = serde_json::from_str(&read.config().to_json()).unwrap();
        let hash = |change: &dyn Fn(&mut Value)| {
            let mut fields = fields.clone();
            change(&mut fields);
            let config = EncoderConfig::from_json(&fields.to_string()).unwrap();
            let again = EncoderWeights::from_tensors(config, read.tensors().clone()).unwrap();
            (again.sha256().unwrap(), again.base_sha256().unwrap())
        };
        let own = (read.sha256().unwrap(), read.base_sha256().unwrap());
        let same = hash(&|fields| {
            fields["transformers_version"] = "5.0.0".into();
            fields["initializer_range"] = 0.01.into();
        });
        assert_eq!(same, own, "{family}");
        let epsilon = if family == "bert" {
            "layer_norm_eps"
        } else {
            "norm_eps"
        };
        let other = hash(&|fields| fields[epsilon] = 3e-5.into());
        assert!(other.0 != own.0 && other.1 != own.1, "{family}");
    }
}

/// The tiny BERT with these shares dropped, ready for a training step of a seed.
fn dropping(rates: DropoutRates, seed: u64) -> Encoder {
    let weights = weights("bert");
    let dropout = EncoderDropout::new(rates, 0.0).unwrap();
    dropout.begin(seed, 1, 0);
    let plan = EncoderPlan {
        dropout: Some(&dropout),
        ..EncoderPlan::default()
    };
    Encoder::with_plan(&weights, plan).unwrap()
}

#[test]
fn each_place_drops_by_itself_repeats_itself_and_keeps_the_mean() {
    let rows = rows(&expected("bert"));
    let rows = EncoderRows::new(&rows[..3]);
    let plain = Encoder::new(&weights("bert")).unwrap();
    let plain = plain.logits(&rows).unwrap();
    let place = |at: usize, rate: f64| {
        let mut rates = [0.0; 6];
        rates[at] = rate;
        let [
            embeddings,
            attention,
            attended,
            inner,
            fed_forward,
            classifier,
        ] = rates;
        DropoutRates {
            embeddings,
            attention,
            attended,
            inner,
            fed_forward,
            classifier,
        }
    };
    for at in 0..6 {
        let logits = |seed| dropping(place(at, 0.1), seed).logits(&rows).unwrap();
        assert!(distance(&logits(1), &plain) > 1e-3, "place {at}");
        assert!(distance(&logits(1), &logits(1)) == 0.0, "place {at}");
        assert!(distance(&logits(1), &logits(2)) > 1e-3, "place {at}");
        // A share that is never drawn: what is dropped goes through the same operations.
        let seldom = dropping(place(at, 1e-9), 1).logits(&rows).unwrap();
        assert!(distance(&seldom, &plain) < 1e-4, "place {at}");
    }
    // The classifier is linear, so its mean over many draws is what it gives without.
    let draws = 600;
    let mut sum = plain.zeros_like().unwrap();
    let encoder = weights("bert");
    let dropout = EncoderDropout::new(place(5, 0.2), 0.0).unwrap();
    let plan = EncoderPlan {
        dropout: Some(&dropout),
        ..EncoderPlan::default()
    };
    let encoder = Encoder::with_plan(&encoder, plan).unwrap();
    for seed in 0..draws {
        dropout.begin(seed, 0, 0);
        sum = (sum + encoder.logits(&rows).unwrap()).unwrap();
    }
    let mean = (sum / draws as f64).unwrap();
    // A logit's draw differs by some 0.6: five standard deviations of the mean.
    assert!(
        distance(&mean, &plain) < 0.13,
        "{}",
        distance(&mean, &plain)
    );
}

#[test]
fn dropped_attention_has_the_gradient_of_its_differences() {
    let recorded = rows(&expected("bert"));
    let rows = EncoderRows::new(&recorded[..2]);
    let start = weights("bert");
    let name = "bert.encoder.layer.0.attention.self.query.weight";
    let dropout = EncoderDropout::new(
        DropoutRates {
            attention: 0.3,
            ..DropoutRates::default()
        },
        0.0,
    )
    .unwrap();
    dropout.begin(4, 5, 6);
    let plan = EncoderPlan {
        dropout: Some(&dropout),
        ..EncoderPlan::default()
    };
    let value = |weight: Tensor| {
        let mut tensors = start.tensors().clone();
        tensors.insert(name.to_owned(), weight);
        let weights = EncoderWeights::from_tensors(start.config().clone(), tensors).unwrap();
        let encoder = Encoder::with_plan(&weights, plan).unwrap();
        encoder
            .logits(&rows)
            .unwrap()
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap()
    };
    let variable = candle_core::Var::from_tensor(&start.tensors()[name].copy().unwrap()).unwrap();
    let gradients = value(variable.as_tensor().clone()).backward().unwrap();
    let gradient = gradients.get(&variable).unwrap();
    // Along the gradient itself, where a step changes the most.
    let length = gradient
        .sqr()
        .unwrap()
        .sum_all()
        .unwrap()
        .to_scalar::<f32>()
        .unwrap()
        .sqrt();
    let step = (gradient * (1e-2 / f64::from(length))).unwrap();
    let at = |sign: f64| {
        let moved = (&start.tensors()[name] + (&step * sign).unwrap()).unwrap();
        value(moved).to_scalar::<f32>().unwrap()
    };
    let slope = (at(1.0) - at(-1.0)) / 2e-2;
    assert!((slope / length - 1.0).abs() < 2e-2, "{slope}, not {length}");
}
