//! `train.encoder` and `student.class`: what resolves, and what is found wrong.

use super::*;
use crate::spec::{AdapterKind, EncoderSpec, ModelClass};

fn with_keys(keys: &str) -> String {
    format!("{QUICKSTART}train: {{encoder: {{{keys}}}}}\n")
}

fn resolved(keys: &str) -> EncoderSpec {
    let spec = load("p.yaml", &with_keys(keys), &VOCABULARY).expect("the spec is right");
    spec.train.encoder
}

#[test]
fn an_adapter_learns_ten_times_as_fast_unless_told_otherwise() {
    assert_eq!(resolved("epochs: 4"), EncoderSpec::default());
    let adapter = resolved("adapter: dora, rank: 8, targets: [query, value], dropout: false");
    assert_eq!(
        adapter,
        EncoderSpec {
            adapter: Some(AdapterKind::Dora),
            rank: 8,
            targets: ["query", "value"].map(str::to_owned).to_vec(),
            dropout: false,
            learning_rate: 5e-4,
            ..EncoderSpec::default()
        }
    );
    let told = resolved("adapter: lora, learning_rate: 0.001");
    assert!((told.learning_rate - 1e-3).abs() < 1e-12);
}

#[test]
fn keys_of_an_adapter_that_is_not_trained_are_named() {
    let told = check(&with_keys("rank: 8, adapter_dropout: 0.1, targets: []"));
    for key in ["rank", "adapter_dropout", "targets"] {
        assert!(
            told.contains(&format!("`train.encoder.{key}` shapes an adapter")),
            "{told}"
        );
    }
    assert!(told.contains("empty list"), "{told}");
    assert!(check(&with_keys("adapter: qlora")).contains("rsdora"));
}

#[test]
fn a_class_is_one_of_two() {
    let of = |class: &str| {
        let student = format!("student: {{target: org/name, class: {class}}}");
        with("student: {target: [linear, nano]}", &student)
    };
    let spec = load("p.yaml", &of("encoder"), &VOCABULARY).expect("the spec is right");
    assert_eq!(spec.class, Some(ModelClass::Encoder));
    let told = check(&of("linear"));
    assert!(told.contains("not one of: encoder, decoder"), "{told}");
}
