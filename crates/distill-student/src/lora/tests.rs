//! PEFT's form, there and back.

use super::*;
use crate::decoder::tests::tiny;

fn adapter() -> LoraAdapter {
    let lora = LoraConfig {
        rank: 4,
        alpha: 8.0,
        ..LoraConfig::default()
    };
    LoraAdapter::init(&tiny("llama", true), lora, 7).unwrap()
}

#[test]
fn an_adapter_survives_its_files() {
    let adapter = adapter();
    let bytes = adapter.to_safetensors().unwrap();
    let text = adapter.adapter_config_json("base");
    let read = LoraAdapter::from_parts(&text, &bytes).unwrap();
    assert_eq!(read.config(), adapter.config());
    assert_eq!(read.to_safetensors().unwrap(), bytes);
    assert_eq!(read.adapter_config_json("base"), text);
}

#[test]
fn names_and_start_are_those_of_peft() {
    let adapter = adapter();
    assert_eq!(adapter.tensors().len(), 2 * 2 * 7);
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    let down: Vec<f32> = adapter.tensors()[name]
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    let bound = 1.0 / 32.0f32.sqrt();
    assert!(down.iter().all(|v| v.abs() <= bound));
    assert!(down.iter().any(|v| v.abs() > 0.9 * bound));
    for (name, tensor) in adapter.tensors() {
        if name.ends_with(UP) {
            let sum: f32 = tensor
                .abs()
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar()
                .unwrap();
            assert!(sum < f32::MIN_POSITIVE, "{name}");
        }
    }
}

#[test]
fn variants_of_lora_are_refused_by_name() {
    let adapter = adapter();
    let bytes = adapter.to_safetensors().unwrap();
    for (field, value) in [
        ("use_dora", serde_json::json!(true)),
        ("use_rslora", serde_json::json!(true)),
        ("bias", serde_json::json!("all")),
        ("rank_pattern", serde_json::json!({"q_proj": 8})),
        ("modules_to_save", serde_json::json!(["lm_head"])),
        ("peft_type", serde_json::json!("IA3")),
    ] {
        let mut config: serde_json::Value =
            serde_json::from_str(&adapter.adapter_config_json("base")).unwrap();
        config[field] = value;
        let error = LoraAdapter::from_parts(&config.to_string(), &bytes).unwrap_err();
        assert!(error.to_string().contains(field), "{error}");
    }
}

#[test]
fn an_adapter_of_another_model_is_refused() {
    let mut other = tiny("llama", true);
    other.intermediate_size = 64;
    assert!(
        adapter()
            .check(&other)
            .unwrap_err()
            .to_string()
            .contains("mlp.")
    );
}
