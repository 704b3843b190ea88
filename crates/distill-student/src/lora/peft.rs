//! `adapter_config.json`: what is written, and what is refused when it is read.

use serde_json::{Value, json};

use super::LoraConfig;
use crate::decoder::DecoderError;

/// Fields that only describe.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "init_lora_weights",
    "lora_dropout",
    "peft_version",
    "revision",
    "target_modules",
    "task_type",
    "use_qalora",
    "qalora_group_size",
];

pub(super) fn write(config: LoraConfig, targets: &[&str], base_model: &str) -> String {
    let value = json!({
        "alpha_pattern": {},
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": number(config.alpha),
        "lora_dropout": 0.0,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": config.rank,
        "rank_pattern": {},
        "target_modules": targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": false,
    });
    format!("{value:#}\n")
}

/// Whole numbers as integers: that is how the format's own writer puts them.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

pub(super) fn read(text: &str) -> Result<LoraConfig, DecoderError> {
    let malformed = |reason: String| DecoderError::Format {
        what: "the adapter's configuration".to_owned(),
        reason,
    };
    let value: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let fields = value
        .as_object()
        .ok_or_else(|| malformed("it is not a JSON object".to_owned()))?;
    for (field, value) in fields {
        let honoured = match field.as_str() {
            "peft_type" => value == "LORA",
            "bias" => value == "none",
            "r" | "lora_alpha" => true,
            name => HARMLESS.contains(&name) || is_neutral(value),
        };
        if !honoured {
            return Err(DecoderError::Unsupported {
                field: field.clone(),
                value: value.to_string(),
                reason: "only plain LoRA is read",
            });
        }
    }
    let rank = fields.get("r").and_then(Value::as_u64).unwrap_or(0) as usize;
    let alpha = fields.get("lora_alpha").and_then(Value::as_f64);
    match alpha {
        Some(alpha) if rank > 0 => Ok(LoraConfig { rank, alpha }),
        _ => Err(malformed("`r` or `lora_alpha` is missing".to_owned())),
    }
}

/// A switch that is off or a table that is empty asks for nothing.
fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        _ => false,
    }
}
