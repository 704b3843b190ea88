//! The shape of a decoder, read from a Hugging Face `config.json`.
//!
//! A field is honoured, or known to be harmless, or refused by name: a model that is read wrongly
//! gives plausible nonsense.

pub(crate) mod fields;
mod identity;
mod layers;
pub(crate) mod limits;
mod read;
mod rope;
#[cfg(test)]
mod tests;
mod wrapper;

use serde_json::{Map, Value};

use super::{DecoderError, DeltaConfig, LinearShape};
pub use crate::ops::Activation;
use crate::ops::{AttentionRule, Heads};
use crate::weights::Precision;
pub use rope::{RopeConfig, RopeScaling};
pub(crate) use wrapper::own_name;

/// What one layer is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerConfig {
    pub mixer: MixerConfig,
}

/// How a layer mixes the tokens of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum MixerConfig {
    Attention(AttentionConfig),
    DeltaNet(DeltaConfig),
}

/// What differs between the attention of one layer and of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionConfig {
    /// Tokens that each token sees, itself included; all before it if none.
    pub window: Option<usize>,
    /// The rotation of [`DecoderConfig::ropes`] that it takes, if it takes one.
    pub rope: Option<usize>,
}

/// A decoder: sizes, switches and the layers one by one. It is read, not edited: what it was read
/// from goes with it.
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
    pub tie_word_embeddings: bool,
    /// As many as `num_hidden_layers`.
    pub layers: Vec<LayerConfig>,
    pub ropes: Vec<RopeConfig>,
    pub qkv_bias: bool,
    pub output_bias: bool,
    pub mlp_bias: bool,
    /// A norm of each head's queries and keys.
    pub qk_norm: bool,
    /// A norm behind the mixer and the feed-forward too, before the residual.
    pub post_norms: bool,
    /// Norms scale by one plus their weight.
    pub zero_centred_norms: bool,
    /// One projection for q, k and v, and one for gate and up.
    pub fused_projections: bool,
    /// The query projection also gives a gate for the attention's output.
    pub output_gate: bool,
    pub activation: Activation,
    /// What embeddings are multiplied by.
    pub embedding_multiplier: f64,
    /// What each block adds to the residual stream is multiplied by this.
    pub residual_multiplier: f64,
    /// What attention scores are multiplied by.
    pub attention_scale: f64,
    /// Attention scores are bent to lie within ± this.
    pub attention_soft_cap: Option<f64>,
    /// What logits are multiplied by.
    pub logit_multiplier: f64,
    /// Logits are bent to lie within ± this.
    pub logit_soft_cap: Option<f64>,
    /// Standard deviation of random initial weights.
    pub initializer_range: f64,
    /// The fields that it was read from.
    source: Map<String, Value>,
}

impl DecoderConfig {
    /// Reads a `config.json`, in the forms of transformers 4 and 5.
    ///
    /// # Errors
    /// Names the field that is missing, absurd, or asks for something that is not honoured.
    pub fn from_json(text: &str) -> Result<Self, DecoderError> {
        let value: Value = serde_json::from_str(text).map_err(|error| DecoderError::Config {
            reason: error.to_string(),
        })?;
        let Value::Object(fields) = value else {
            return Err(DecoderError::Config {
                reason: "it is not a JSON object".into(),
            });
        };
        let fields = wrapper::unwrapped(&fields)?.unwrap_or(fields);
        read::Reader::new(&fields)?.read()
    }

    /// The `config.json` that it was read from, its fields in order. The same configuration gives
    /// the same bytes, and [`Self::from_json`] reads them back.
    pub fn to_json(&self) -> String {
        let mut fields: Vec<_> = self.source.iter().collect();
        fields.sort_by_key(|(name, _)| name.as_str());
        let sorted: Map<String, Value> = fields
            .into_iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        format!("{:#}\n", Value::Object(sorted))
    }

    /// Parts the head from the embeddings, for those who read [`Self::to_json`] too.
    pub(crate) fn untie(&mut self) {
        self.tie_word_embeddings = false;
        self.source
            .insert("tie_word_embeddings".to_owned(), Value::Bool(false));
    }

    /// Says how the numbers of a file are stored: other programs load them so.
    pub(crate) fn tell_precision(&mut self, precision: Precision) {
        let name = match precision {
            Precision::F32 => "float32",
            Precision::Bf16 => "bfloat16",
        };
        let older = self.source.contains_key("torch_dtype");
        let field = if older { "torch_dtype" } else { "dtype" };
        self.source.insert(field.to_owned(), Value::from(name));
    }

    /// Key and value heads of the attention.
    pub(crate) fn heads(&self) -> Heads {
        Heads {
            query: self.num_attention_heads,
            key_value: self.num_key_value_heads,
            width: self.head_dim,
        }
    }

    /// How a layer with this attention attends.
    pub(crate) fn attention_rule(&self, attention: AttentionConfig) -> AttentionRule {
        AttentionRule {
            heads: self.heads(),
            scale: self.attention_scale as f32,
            causal: true,
            window: attention.window,
            soft_cap: self.attention_soft_cap.map(|cap| cap as f32),
        }
    }

    /// The row length above which rows are turned otherwise as a whole (LongRoPE): keys cached
    /// at or below it are not those of a longer row.
    pub fn long_rows_after(&self) -> Option<usize> {
        let lengths = self.ropes.iter().filter_map(|rope| match rope.scaling {
            RopeScaling::Long {
                original_length, ..
            } => Some(original_length),
            _ => None,
        });
        lengths.min()
    }

    /// What the elements of a new norm, or of another vector that is no bias, start at.
    pub(crate) fn initial_norm(&self, name: &str) -> f32 {
        // The norm within a delta net scales by its weight in every family.
        let centred = self.zero_centred_norms && !name.contains(".linear_attn.");
        if centred { 0.0 } else { 1.0 }
    }

    /// Whether rows of these two lengths are turned alike, so that one's keys serve the other.
    pub(crate) fn turns_alike(&self, one: usize, other: usize) -> bool {
        let limit = self.long_rows_after();
        limit.is_none_or(|limit| (one > limit) == (other > limit))
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
            let mut add = |name: &str, shape| out.push((format!("{prefix}.{name}"), shape));
            add("input_layernorm.weight", vec![d]);
            for linear in self.linears(layer) {
                let name = linear.name;
                add(&format!("{name}.weight"), vec![linear.output, linear.input]);
                if linear.bias {
                    add(&format!("{name}.bias"), vec![linear.output]);
                }
            }
            match &self.layers[layer].mixer {
                MixerConfig::Attention(_) => {
                    if self.qk_norm {
                        add("self_attn.q_norm.weight", vec![self.head_dim]);
                        add("self_attn.k_norm.weight", vec![self.head_dim]);
                    }
                }
                MixerConfig::DeltaNet(net) => {
                    for (name, shape) in net.tensors() {
                        add(name, shape);
                    }
                }
            }
            add("post_attention_layernorm.weight", vec![d]);
            if self.post_norms {
                add("pre_feedforward_layernorm.weight", vec![d]);
                add("post_feedforward_layernorm.weight", vec![d]);
            }
        }
        out.push(("model.norm.weight".to_owned(), vec![d]));
        if !self.tie_word_embeddings {
            out.push(("lm_head.weight".to_owned(), vec![self.vocab_size, d]));
        }
        out
    }

    /// The projections of one layer, in the order of the forward pass. An adapter goes on each.
    pub(crate) fn linears(&self, layer: usize) -> Vec<LinearShape> {
        let (d, i) = (self.hidden_size, self.intermediate_size);
        let mut linears = match &self.layers[layer].mixer {
            MixerConfig::Attention(_) => self.attention_linears(),
            MixerConfig::DeltaNet(net) => net.linears(self.hidden_size),
        };
        let shape = |name, output, input| LinearShape {
            name,
            output,
            input,
            bias: self.mlp_bias,
        };
        if self.fused_projections {
            linears.push(shape("mlp.gate_up_proj", 2 * i, d));
        } else {
            linears.push(shape("mlp.gate_proj", i, d));
            linears.push(shape("mlp.up_proj", i, d));
        }
        linears.push(shape("mlp.down_proj", d, i));
        linears
    }

    fn attention_linears(&self) -> Vec<LinearShape> {
        let d = self.hidden_size;
        let (q, k) = (
            self.num_attention_heads * self.head_dim,
            self.num_key_value_heads * self.head_dim,
        );
        let input = |name, output| LinearShape {
            name,
            output,
            input: d,
            bias: self.qkv_bias,
        };
        let mut linears = if self.fused_projections {
            vec![input("self_attn.qkv_proj", q + 2 * k)]
        } else {
            vec![
                input("self_attn.q_proj", if self.output_gate { 2 * q } else { q }),
                input("self_attn.k_proj", k),
                input("self_attn.v_proj", k),
            ]
        };
        linears.push(LinearShape {
            name: "self_attn.o_proj",
            output: d,
            input: q,
            bias: self.output_bias,
        });
        linears
    }
}
