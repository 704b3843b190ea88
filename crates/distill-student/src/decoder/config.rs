//! The shape of a decoder, read from a Hugging Face `config.json`.
//!
//! A field is honoured, or known to be harmless, or refused by name: a model that is read wrongly
//! gives plausible nonsense.

use serde_json::{Map, Value, json};

use super::family::{FAMILIES, Family, find};
use super::{DecoderError, LinearShape};
use crate::ops::Heads;

/// Fields that change nothing about the weights' meaning or the logits.
const HARMLESS: &[&str] = &[
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "is_llama_config",
    "layer_types",
    "max_window_layers",
    "pad_token_id",
    "pretraining_tp",
    "rope_interleaved",
    "sliding_window",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "use_cache",
];

/// The sizes and switches of a decoder of the Llama shape.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of the format"
)]
pub struct DecoderConfig {
    pub model_type: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    pub tie_word_embeddings: bool,
    pub qkv_bias: bool,
    pub output_bias: bool,
    pub mlp_bias: bool,
    pub qk_norm: bool,
    /// Standard deviation of random initial weights.
    pub initializer_range: f64,
}

impl DecoderConfig {
    /// Reads a `config.json`, in the forms of transformers 4 and 5.
    pub fn from_json(text: &str) -> Result<Self, DecoderError> {
        let value: Value = serde_json::from_str(text).map_err(|error| DecoderError::Config {
            reason: error.to_string(),
        })?;
        let Value::Object(fields) = value else {
            return Err(DecoderError::Config {
                reason: "it is not a JSON object".into(),
            });
        };
        Reader::new(&fields)?.read()
    }

    /// Writes the configuration in the Hugging Face form. The same configuration gives the same
    /// bytes, and [`Self::from_json`] reads them back.
    pub fn to_json(&self) -> String {
        let architecture = find(&self.model_type).map_or("LlamaForCausalLM", |f| f.architecture);
        let mut value = json!({
            "architectures": [architecture],
            "model_type": self.model_type,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": self.tie_word_embeddings,
            "initializer_range": self.initializer_range,
        });
        if self.model_type != "qwen2" {
            value["attention_bias"] = json!(self.qkv_bias);
        }
        if self.model_type == "llama" {
            value["mlp_bias"] = json!(self.mlp_bias);
        }
        format!("{value:#}\n")
    }

    pub(crate) fn heads(&self) -> Heads {
        Heads {
            query: self.num_attention_heads,
            key_value: self.num_key_value_heads,
            width: self.head_dim,
        }
    }

    /// Number of weights.
    pub fn parameter_count(&self) -> usize {
        self.tensors()
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// Every tensor of the model with its shape, in the order of the forward pass.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let d = self.hidden_size;
        let mut out = vec![(
            "model.embed_tokens.weight".to_owned(),
            vec![self.vocab_size, d],
        )];
        for layer in 0..self.num_hidden_layers {
            let prefix = format!("model.layers.{layer}");
            out.push((format!("{prefix}.input_layernorm.weight"), vec![d]));
            for linear in self.linears() {
                let name = format!("{prefix}.{}", linear.name);
                out.push((format!("{name}.weight"), vec![linear.output, linear.input]));
                if linear.bias {
                    out.push((format!("{name}.bias"), vec![linear.output]));
                }
            }
            if self.qk_norm {
                for norm in ["q_norm", "k_norm"] {
                    out.push((
                        format!("{prefix}.self_attn.{norm}.weight"),
                        vec![self.head_dim],
                    ));
                }
            }
            out.push((format!("{prefix}.post_attention_layernorm.weight"), vec![d]));
        }
        out.push(("model.norm.weight".to_owned(), vec![d]));
        if !self.tie_word_embeddings {
            out.push(("lm_head.weight".to_owned(), vec![self.vocab_size, d]));
        }
        out
    }

    /// The projections of one layer, in the order of the forward pass. An adapter goes on each.
    pub(crate) fn linears(&self) -> [LinearShape; 7] {
        let (d, i) = (self.hidden_size, self.intermediate_size);
        let (q, k) = (
            self.num_attention_heads * self.head_dim,
            self.num_key_value_heads * self.head_dim,
        );
        let shape = |name, output, input, bias| LinearShape {
            name,
            output,
            input,
            bias,
        };
        [
            shape("self_attn.q_proj", q, d, self.qkv_bias),
            shape("self_attn.k_proj", k, d, self.qkv_bias),
            shape("self_attn.v_proj", k, d, self.qkv_bias),
            shape("self_attn.o_proj", d, q, self.output_bias),
            shape("mlp.gate_proj", i, d, self.mlp_bias),
            shape("mlp.up_proj", i, d, self.mlp_bias),
            shape("mlp.down_proj", d, i, self.mlp_bias),
        ]
    }
}

/// Reads fields and remembers which were asked for.
struct Reader<'a> {
    fields: &'a Map<String, Value>,
    family: &'static Family,
}

const READ: &[&str] = &[
    "attention_bias",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "mlp_bias",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "quantization_config",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "tie_word_embeddings",
    "use_sliding_window",
    "vocab_size",
];

fn unsupported(field: &str, value: &Value, reason: &'static str) -> DecoderError {
    DecoderError::Unsupported {
        field: field.to_owned(),
        value: value.to_string(),
        reason,
    }
}

impl<'a> Reader<'a> {
    fn new(fields: &'a Map<String, Value>) -> Result<Self, DecoderError> {
        let model_type = fields.get("model_type").and_then(Value::as_str);
        let Some(family) = model_type.and_then(find) else {
            let known: Vec<&str> = FAMILIES.iter().map(|f| f.model_type).collect();
            return Err(DecoderError::Config {
                reason: format!(
                    "`model_type` is {}, known are {}",
                    model_type.unwrap_or("missing"),
                    known.join(", ")
                ),
            });
        };
        Ok(Self { fields, family })
    }

    fn read(&self) -> Result<DecoderConfig, DecoderError> {
        self.refuse_unknown()?;
        let hidden_size = self.size("hidden_size")?;
        let num_attention_heads = self.size("num_attention_heads")?;
        let head_dim = match self.present("head_dim") {
            Some(_) => self.size("head_dim")?,
            None => hidden_size / num_attention_heads,
        };
        let num_key_value_heads = match self.present("num_key_value_heads") {
            Some(_) => self.size("num_key_value_heads")?,
            None => num_attention_heads,
        };
        let qkv_bias = self.switch("attention_bias", self.family.qkv_bias)?;
        let config = DecoderConfig {
            model_type: self.family.model_type.to_owned(),
            vocab_size: self.size("vocab_size")?,
            hidden_size,
            intermediate_size: self.size("intermediate_size")?,
            num_hidden_layers: self.size("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            max_position_embeddings: self.size("max_position_embeddings")?,
            rms_norm_eps: number(self.fields, "rms_norm_eps", 1e-6)?,
            rope_theta: self.rope_theta()?,
            tie_word_embeddings: self.switch("tie_word_embeddings", self.family.tied)?,
            qkv_bias,
            output_bias: qkv_bias && self.family.output_bias,
            mlp_bias: self.switch("mlp_bias", false)?,
            qk_norm: self.family.qk_norm,
            initializer_range: number(self.fields, "initializer_range", 0.02)?,
        };
        check(&config)?;
        Ok(config)
    }

    fn refuse_unknown(&self) -> Result<(), DecoderError> {
        for (field, value) in self.fields {
            if !READ.contains(&field.as_str()) && !HARMLESS.contains(&field.as_str()) {
                return Err(unsupported(field, value, "the field is not known"));
            }
        }
        let refused = [
            ("hidden_act", json!("silu"), "only silu is supported"),
            ("use_sliding_window", json!(false), "every layer sees all"),
            ("rope_interleaved", json!(false), "halves are rotated"),
        ];
        for (field, expected, reason) in refused {
            match self.present(field) {
                Some(value) if *value != expected => return Err(unsupported(field, value, reason)),
                _ => {}
            }
        }
        if let Some(value) = self.present("quantization_config") {
            return Err(unsupported(
                "quantization_config",
                value,
                "weights are read as f32",
            ));
        }
        let layer_types = self.present("layer_types").and_then(Value::as_array);
        for value in layer_types.into_iter().flatten() {
            if value != "full_attention" {
                return Err(unsupported("layer_types", value, "every layer sees all"));
            }
        }
        Ok(())
    }

    /// Both forms: `rope_theta` with `rope_scaling`, and `rope_parameters`.
    fn rope_theta(&self) -> Result<f64, DecoderError> {
        let mut theta = number(self.fields, "rope_theta", self.family.rope_theta)?;
        for field in ["rope_scaling", "rope_parameters"] {
            let Some(value) = self.present(field) else {
                continue;
            };
            let Some(parameters) = value.as_object() else {
                return Err(unsupported(field, value, "it is not an object"));
            };
            for (name, value) in parameters {
                let path = format!("{field}.{name}");
                match name.as_str() {
                    "rope_theta" => theta = number(parameters, "rope_theta", theta)?,
                    "rope_type" | "type" if value == "default" => {}
                    _ => {
                        return Err(unsupported(
                            &path,
                            value,
                            "only plain rotation is supported",
                        ));
                    }
                }
            }
        }
        Ok(theta)
    }

    /// A field that is there and not null.
    fn present(&self, field: &str) -> Option<&'a Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    fn size(&self, field: &str) -> Result<usize, DecoderError> {
        let value = self.present(field).ok_or_else(|| DecoderError::Config {
            reason: format!("`{field}` is missing"),
        })?;
        match value.as_u64() {
            Some(size) if size > 0 => Ok(size as usize),
            _ => Err(unsupported(field, value, "it is not a positive integer")),
        }
    }

    fn switch(&self, field: &str, default: bool) -> Result<bool, DecoderError> {
        match self.present(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(value) => Err(unsupported(field, value, "it is not true or false")),
        }
    }
}

fn check(config: &DecoderConfig) -> Result<(), DecoderError> {
    let (heads, groups) = (config.num_attention_heads, config.num_key_value_heads);
    if !heads.is_multiple_of(groups) {
        return Err(unsupported(
            "num_key_value_heads",
            &json!(groups),
            "it does not divide num_attention_heads",
        ));
    }
    if !config.head_dim.is_multiple_of(2) {
        return Err(unsupported(
            "head_dim",
            &json!(config.head_dim),
            "it is odd",
        ));
    }
    Ok(())
}

fn number(fields: &Map<String, Value>, field: &str, default: f64) -> Result<f64, DecoderError> {
    match fields.get(field).filter(|value| !value.is_null()) {
        None => Ok(default),
        Some(value) => match value.as_f64() {
            Some(number) if number > 0.0 => Ok(number),
            _ => Err(unsupported(field, value, "it is not a positive number")),
        },
    }
}
