//! Reading a `config.json`: every field is honoured, or known to be harmless, or refused by name.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::layers::{Layers, Stack};
use super::{Activation, DecoderConfig, limits};
use crate::decoder::DecoderError;
use crate::decoder::family::{AttentionBias, FAMILIES, Family, find};

/// Fields that change nothing about the weights' meaning or the logits. Dropout is among them: it
/// is a setting of a training run.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
    "dtype",
    "embd_pdrop",
    "eos_token_id",
    "is_decoder",
    "pad_token_id",
    "pretraining_tp",
    "resid_pdrop",
    "tokenizer_class",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// Fields of every family.
const READ: &[&str] = &[
    "head_dim",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "tie_word_embeddings",
    "vocab_size",
];

/// Fields that say "not here" at one value, whatever the family.
const NEUTRAL: &[(&str, &str)] = &[
    ("is_encoder_decoder", "false"),
    ("lm_head_bias", "false"),
    ("partial_rotary_factor", "1.0"),
    ("rope_interleaved", "false"),
    ("use_bidirectional_attention", "false"),
    ("use_mrope", "false"),
    ("use_sliding_window", "false"),
];

/// Fields that a window needs; without `use_sliding_window` they say nothing.
const OF_WINDOWS: &[&str] = &["max_window_layers", "sliding_window"];

pub(super) struct Reader<'a> {
    fields: Fields<'a>,
    family: &'static Family,
}

impl<'a> Reader<'a> {
    pub(super) fn new(map: &'a Map<String, Value>) -> Result<Self, DecoderError> {
        let fields = Fields::new(map, "");
        let model_type = fields.text("model_type")?;
        let Some(family) = model_type.and_then(find) else {
            let known: Vec<&str> = FAMILIES.iter().map(|f| f.model_type).collect();
            let hint = if map.contains_key("text_config") {
                "; a model that also reads images or sound is not taken, save its text model alone"
            } else {
                ""
            };
            return Err(DecoderError::Config {
                reason: format!(
                    "`model_type` is {}, known are {}{hint}",
                    model_type.map_or("missing".to_owned(), |name| name.chars().take(40).collect()),
                    known.join(", ")
                ),
            });
        };
        Ok(Self { fields, family })
    }

    pub(super) fn read(&self) -> Result<DecoderConfig, DecoderError> {
        self.refuse_unknown()?;
        let (fields, family) = (self.fields, self.family);
        let hidden_size = fields.size("hidden_size", limits::WIDTH)?;
        let num_attention_heads = fields.size("num_attention_heads", limits::HEADS)?;
        let head_dim = self.head_dim(hidden_size, num_attention_heads)?;
        let num_hidden_layers = fields.size("num_hidden_layers", limits::LAYERS)?;
        let max_position_embeddings = fields.size("max_position_embeddings", limits::POSITIONS)?;
        let Stack { layers, ropes } = Layers {
            fields,
            family,
            count: num_hidden_layers,
            head_dim,
            max_positions: max_position_embeddings,
        }
        .read()?;
        let (qkv_bias, output_bias) = match family.attention_bias {
            AttentionBias::Never => (false, false),
            AttentionBias::QueryKeyValue => (true, false),
            AttentionBias::Field => {
                let bias = fields.switch("attention_bias", false)?;
                (bias, bias)
            }
        };
        Ok(DecoderConfig {
            model_type: family.model_type.to_owned(),
            vocab_size: fields.size("vocab_size", limits::VOCABULARY)?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size", limits::FEED_FORWARD)?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads: self.key_value_heads(num_attention_heads)?,
            head_dim,
            max_position_embeddings,
            rms_norm_eps: fields.number_or("rms_norm_eps", family.rms_norm_eps)?,
            tie_word_embeddings: fields.switch("tie_word_embeddings", family.tied)?,
            layers,
            ropes,
            qkv_bias,
            output_bias,
            mlp_bias: family.feed_forward_bias && fields.switch("mlp_bias", false)?,
            qk_norm: family.qk_norm,
            post_norms: family.post_norms,
            zero_centred_norms: family.zero_centred_norms,
            fused_projections: family.fused_projections,
            output_gate: family.output_gate,
            activation: self.activation()?,
            embedding_multiplier: if family.scaled_embeddings {
                (hidden_size as f64).sqrt()
            } else {
                fields.number_or("embedding_multiplier", 1.0)?
            },
            residual_multiplier: fields.number_or("residual_multiplier", 1.0)?,
            attention_scale: self.attention_scale(head_dim)?,
            attention_soft_cap: fields.optional_number("attn_logit_softcapping")?,
            logit_multiplier: 1.0 / fields.number_or("logits_scaling", 1.0)?,
            logit_soft_cap: fields.optional_number("final_logit_softcapping")?,
            initializer_range: fields.number_or("initializer_range", 0.02)?,
            source: fields.map().clone(),
        })
    }

    fn refuse_unknown(&self) -> Result<(), DecoderError> {
        let windows = self.fields.switch("use_sliding_window", false)?;
        let says_no_windows = !windows && self.fields.present("use_sliding_window").is_some();
        for (name, value) in self.fields.map() {
            let name = name.as_str();
            let of_all = [READ, HARMLESS].concat().contains(&name);
            // Its values are looked at with the layers.
            let layers = name == "layer_types";
            let bias = match name {
                "attention_bias" => self.family.attention_bias == AttentionBias::Field,
                "mlp_bias" => self.family.feed_forward_bias,
                _ => name == self.family.activation.0,
            };
            let idle = says_no_windows && OF_WINDOWS.contains(&name);
            let own = self.family.fields.contains(&name);
            if of_all || layers || bias || idle || own || value.is_null() {
                continue;
            }
            let only = |table: &[(&str, &str)]| {
                let row = table.iter().find(|(field, _)| *field == name)?;
                Some(serde_json::from_str::<Value>(row.1).is_ok_and(|only| same(&only, value)))
            };
            let reason = match only(self.family.fixed).or_else(|| only(NEUTRAL)) {
                Some(true) => continue,
                Some(false) => "this family knows one other value",
                None if name == "quantization_config" => "weights are read as they were trained",
                None => "the field is not known for this family",
            };
            return Err(self.fields.refuse(name, value.clone(), reason));
        }
        Ok(())
    }

    fn head_dim(&self, hidden_size: usize, heads: usize) -> Result<usize, DecoderError> {
        let given = self.fields.optional_size("head_dim", limits::HEAD_WIDTH)?;
        let head_dim = match given.or(self.family.head_dim) {
            Some(head_dim) => head_dim,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                let reason = "it does not divide hidden_size";
                return Err(self.fields.refuse("num_attention_heads", heads, reason));
            }
        };
        if head_dim.is_multiple_of(2) && head_dim <= limits::HEAD_WIDTH {
            Ok(head_dim)
        } else {
            Err(self
                .fields
                .refuse("head_dim", head_dim, "it is odd or too large"))
        }
    }

    fn key_value_heads(&self, heads: usize) -> Result<usize, DecoderError> {
        let field = "num_key_value_heads";
        let groups = match self.fields.optional_size(field, limits::HEADS)? {
            Some(groups) => groups,
            // A null means one for each query head; the default of some families is a number.
            None if self.family.ungrouped_by_default || self.fields.map().contains_key(field) => {
                heads
            }
            None => return Err(self.fields.missing(field)),
        };
        if heads.is_multiple_of(groups) {
            return Ok(groups);
        }
        let reason = "it does not divide num_attention_heads";
        Err(self.fields.refuse(field, groups, reason))
    }

    fn activation(&self) -> Result<Activation, DecoderError> {
        let (field, default) = self.family.activation;
        let read = |field: &str| {
            let Some(name) = self.fields.text(field)? else {
                return Ok(None);
            };
            match name {
                "silu" | "swish" => Ok(Some(Activation::Silu)),
                "gelu_pytorch_tanh" => Ok(Some(Activation::GeluTanh)),
                _ => {
                    let reason = "known are silu and gelu_pytorch_tanh";
                    Err(self.fields.refuse(field, name, reason))
                }
            }
        };
        let activation = read(field)?.unwrap_or(default);
        match read("hidden_act")? {
            Some(other) if other != activation => {
                let name = self.fields.text("hidden_act")?;
                let reason = "this family's activation is another one";
                Err(self.fields.refuse("hidden_act", name, reason))
            }
            _ => Ok(activation),
        }
    }

    fn attention_scale(&self, head_dim: usize) -> Result<f64, DecoderError> {
        if let Some(scale) = self.fields.optional_number("attention_multiplier")? {
            return Ok(scale);
        }
        if self.family.fields.contains(&"attention_multiplier") {
            return Ok(1.0);
        }
        let width = if self.family.fields.contains(&"query_pre_attn_scalar") {
            self.fields.number_or("query_pre_attn_scalar", 256.0)?
        } else {
            head_dim as f64
        };
        Ok(1.0 / width.sqrt())
    }
}

/// Equal, 1 and 1.0 as well.
fn same(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => (one - other).abs() < f64::EPSILON,
        _ => one == other,
    }
}
