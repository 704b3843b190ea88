//! `adapter_config.json`: what is written, and what is refused when it is read.

use serde_json::{Map, Value, json};

use super::{LoraConfig, LoraVariant, Targets};
use crate::decoder::DecoderError;

/// Fields that only describe, or that count only beside others that are refused.
const HARMLESS: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Fields that are read below.
const READ: &[&str] = &[
    "alpha_pattern",
    "lora_alpha",
    "lora_dropout",
    "modules_to_save",
    "peft_type",
    "r",
    "rank_pattern",
    "target_modules",
    "use_dora",
    "use_rslora",
];

/// Ways to draw the factors that leave the base as it is. Others (`pissa`, `olora`, `corda`,
/// `loftq`) change the base's weights too, so that their adapters mean nothing on the base itself.
const STARTS: &[&str] = &["gaussian", "orthogonal", "eva"];

/// PEFT's name for the task of a classifier.
const CLASSIFICATION: &str = "SEQ_CLS";

pub(super) fn write(config: &LoraConfig, suffixes: &[&str], base_model: &str) -> String {
    let targets = match &config.targets {
        Targets::AllLinear | Targets::Usual => json!(suffixes),
        Targets::Names(names) => json!(names),
        Targets::Pattern(pattern) => json!(pattern),
    };
    let mut saved: Vec<&str> = config.classifier.iter().map(String::as_str).collect();
    let task = if saved.is_empty() {
        "CAUSAL_LM"
    } else {
        CLASSIFICATION
    };
    if config.train_embeddings {
        saved.push("embed_tokens");
    }
    if config.train_head {
        saved.push("lm_head");
    }
    let ranks: Map<String, Value> = config
        .rank_pattern
        .iter()
        .map(|(pattern, rank)| (pattern.clone(), json!(rank)))
        .collect();
    let alphas: Map<String, Value> = config
        .alpha_pattern
        .iter()
        .map(|(pattern, alpha)| (pattern.clone(), number(*alpha)))
        .collect();
    let value = json!({
        "alpha_pattern": alphas,
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": number(config.alpha),
        "lora_dropout": config.dropout,
        "modules_to_save": if saved.is_empty() { Value::Null } else { json!(saved) },
        "peft_type": "LORA",
        "r": config.rank,
        "rank_pattern": ranks,
        "target_modules": targets,
        "task_type": task,
        "use_dora": config.variant.has_magnitudes(),
        "use_rslora": config.variant.is_rank_stabilised(),
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

fn malformed(reason: impl Into<String>) -> DecoderError {
    DecoderError::Format {
        what: "the adapter's configuration".to_owned(),
        reason: reason.into(),
    }
}

fn unsupported(field: &str, value: &Value, reason: &'static str) -> DecoderError {
    DecoderError::Unsupported {
        field: field.to_owned(),
        value: value.to_string(),
        reason,
    }
}

pub(super) fn read(text: &str) -> Result<LoraConfig, DecoderError> {
    let value: Value = serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
    let fields = value
        .as_object()
        .ok_or_else(|| malformed("it is not a JSON object"))?;
    match fields.get("peft_type") {
        Some(kind) if kind == "LORA" => {}
        Some(kind) => {
            let reason = "adapters of type LORA are read, rsLoRA and DoRA among them";
            return Err(unsupported("peft_type", kind, reason));
        }
        None => return Err(malformed("`peft_type` is missing")),
    }
    for (field, value) in fields {
        refuse_unknown(field, value)?;
    }
    let classifies = fields
        .get("task_type")
        .is_some_and(|task| task == CLASSIFICATION);
    let saved = saved(fields.get("modules_to_save"), classifies)?;
    let config = LoraConfig {
        rank: integer(fields, "r")?,
        alpha: fields
            .get("lora_alpha")
            .and_then(Value::as_f64)
            .ok_or_else(|| malformed("`lora_alpha` is missing or no number"))?,
        variant: match (switch(fields, "use_dora")?, switch(fields, "use_rslora")?) {
            (false, false) => LoraVariant::Lora,
            (false, true) => LoraVariant::RsLora,
            (true, false) => LoraVariant::Dora,
            (true, true) => LoraVariant::RsDora,
        },
        targets: targets(fields.get("target_modules"))?,
        rank_pattern: pattern(fields, "rank_pattern", |value| {
            value.as_u64().map(|rank| rank as usize)
        })?,
        alpha_pattern: pattern(fields, "alpha_pattern", Value::as_f64)?,
        train_embeddings: saved.embeddings,
        train_head: saved.head,
        classifier: saved.classifier,
        dropout: match fields.get("lora_dropout") {
            None | Some(Value::Null) => 0.0,
            Some(value) => value
                .as_f64()
                .ok_or_else(|| malformed(format!("`lora_dropout` is {value}")))?,
        },
    };
    config.check()?;
    Ok(config)
}

/// Refuses a field that asks for something else than what is read.
fn refuse_unknown(field: &str, value: &Value) -> Result<(), DecoderError> {
    let honoured = match field {
        "bias" => value == "none",
        "init_lora_weights" => {
            value.is_boolean() || value.as_str().is_some_and(|name| STARTS.contains(&name))
        }
        name => READ.contains(&name) || HARMLESS.contains(&name) || is_neutral(value),
    };
    if honoured {
        return Ok(());
    }
    let reason = match field {
        "init_lora_weights" => "this start changes the base's weights as well",
        "bias" => "biases are not trained",
        _ => "only LoRA, rsLoRA and DoRA are read",
    };
    Err(unsupported(field, value, reason))
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

fn integer(fields: &Map<String, Value>, name: &str) -> Result<usize, DecoderError> {
    fields
        .get(name)
        .and_then(Value::as_u64)
        .filter(|value| *value > 0)
        .map(|value| value as usize)
        .ok_or_else(|| malformed(format!("`{name}` is missing or no positive number")))
}

fn switch(fields: &Map<String, Value>, name: &str) -> Result<bool, DecoderError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(value) => Err(malformed(format!("`{name}` is {value}"))),
    }
}

fn texts(name: &str, value: &Value) -> Result<Vec<String>, DecoderError> {
    let items = value.as_array().map_or(&[] as &[Value], Vec::as_slice);
    items
        .iter()
        .map(|item| item.as_str().map(str::to_owned))
        .collect::<Option<Vec<_>>>()
        .filter(|texts| !texts.is_empty())
        .ok_or_else(|| malformed(format!("`{name}` is {value}")))
}

fn targets(value: Option<&Value>) -> Result<Targets, DecoderError> {
    match value {
        None | Some(Value::Null) => Ok(Targets::Usual),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("all-linear") => {
            Ok(Targets::AllLinear)
        }
        Some(Value::String(pattern)) => Ok(Targets::Pattern(pattern.clone())),
        Some(value) => texts("target_modules", value).map(Targets::Names),
    }
}

/// What is saved whole.
#[derive(Default)]
struct Saved {
    embeddings: bool,
    head: bool,
    classifier: Vec<String>,
}

/// Of a classifier PEFT names both names that a head may have; encoders here call it `classifier`.
fn saved(value: Option<&Value>, classifies: bool) -> Result<Saved, DecoderError> {
    let mut saved = Saved::default();
    if classifies {
        saved.classifier.push("classifier".to_owned());
    }
    let Some(value) = value.filter(|value| !is_neutral(value)) else {
        return Ok(saved);
    };
    for name in texts("modules_to_save", value)? {
        match name.as_str() {
            "classifier" | "score" if classifies => {}
            "pooler" | "head" if classifies => saved.classifier.push(name),
            "embed_tokens" | "model.embed_tokens" if !classifies => saved.embeddings = true,
            "lm_head" if !classifies => saved.head = true,
            _ => {
                let reason = if classifies {
                    "of an encoder's head `classifier`, `pooler` and `head` are read"
                } else {
                    "the embeddings (`embed_tokens`) and the head (`lm_head`) are read"
                };
                return Err(unsupported("modules_to_save", value, reason));
            }
        }
    }
    Ok(saved)
}

/// A table of patterns, in the order of the file: the first that matches counts.
fn pattern<V>(
    fields: &Map<String, Value>,
    name: &str,
    read: impl Fn(&Value) -> Option<V>,
) -> Result<Vec<(String, V)>, DecoderError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(entries)) => entries
            .iter()
            .map(|(pattern, value)| Some((pattern.clone(), read(value)?)))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| malformed(format!("`{name}` holds something else than numbers"))),
        Some(value) => Err(malformed(format!("`{name}` is {value}"))),
    }
}
