//! The shape of an encoder, read from a Hugging Face `config.json`: every field is honoured, or
//! known to be harmless, or refused by name.

mod identity;

use serde_json::{Map, Value, json};

use super::DropoutRates;
use crate::decoder::DecoderError;
use crate::decoder::config::fields::Fields;
use crate::decoder::config::limits;

/// Fields that change nothing about the weights' meaning or the logits.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_name_or_path",
    "architectures",
    "bos_token_id",
    "cls_token_id",
    "decoder_bias",
    "deterministic_flash_attn",
    "dtype",
    "eos_token_id",
    "gradient_checkpointing",
    "initializer_cutoff_factor",
    "label2id",
    "num_labels",
    "pad_token_id",
    "reference_compile",
    "repad_logits_with_grad",
    "sep_token_id",
    "sparse_pred_ignore_index",
    "sparse_prediction",
    "tie_word_embeddings",
    "tokenizer_class",
    "torch_dtype",
    "transformers_version",
    "use_cache",
];

/// Fields of both families.
const READ: &[&str] = &[
    "hidden_size",
    "id2label",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
];

const BERT: &[&str] = &[
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "hidden_dropout_prob",
    "layer_norm_eps",
    "type_vocab_size",
];
const MODERNBERT: &[&str] = &[
    "attention_bias",
    "attention_dropout",
    "classifier_bias",
    "classifier_dropout",
    "classifier_pooling",
    "embedding_dropout",
    "global_attn_every_n_layers",
    "global_rope_theta",
    "layer_types",
    "local_attention",
    "local_rope_theta",
    "mlp_bias",
    "mlp_dropout",
    "norm_bias",
    "norm_eps",
    "rope_parameters",
];

/// Fields that are taken at one value.
const ONLY: &[(&str, &str)] = &[
    ("add_cross_attention", "false"),
    ("chunk_size_feed_forward", "0"),
    ("classifier_activation", "\"gelu\""),
    ("hidden_act", "\"gelu\""),
    ("hidden_activation", "\"gelu\""),
    ("is_decoder", "false"),
    ("is_encoder_decoder", "false"),
    ("position_embedding_type", "\"absolute\""),
    ("problem_type", "\"single_label_classification\""),
];

/// What of a row the head looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Its first token.
    First,
    /// The mean over its tokens.
    Mean,
}

/// What tells the families apart.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Family {
    Bert { token_types: usize },
    ModernBert(ModernBert),
}

#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches of the format"
)]
pub(super) struct ModernBert {
    /// For each layer whether it sees the tokens near by only.
    pub(super) local: Vec<bool>,
    /// Tokens that a local layer sees to each side.
    pub(super) reach: usize,
    pub(super) global_theta: f64,
    pub(super) local_theta: f64,
    pub(super) attention_bias: bool,
    pub(super) mlp_bias: bool,
    pub(super) norm_bias: bool,
    pub(super) classifier_bias: bool,
    pub(super) pooling: Pooling,
}

/// An encoder with its labels. It is read, not edited: what it was read from goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    pub model_type: String,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    pub norm_eps: f64,
    /// Standard deviation of random initial weights.
    pub initializer_range: f64,
    /// In the order of the head's rows.
    pub labels: Vec<String>,
    /// What is dropped in training.
    pub dropout: DropoutRates,
    pub(super) family: Family,
    source: Map<String, Value>,
}

impl EncoderConfig {
    /// Reads a `config.json`, in the forms of transformers 4 and 5.
    ///
    /// # Errors
    /// Names the field that is missing, absurd, or asks for something that is not honoured.
    pub fn from_json(text: &str) -> Result<Self, DecoderError> {
        let value: Value = serde_json::from_str(text).map_err(|error| DecoderError::Config {
            reason: error.to_string(),
        })?;
        let Value::Object(map) = value else {
            return Err(DecoderError::Config {
                reason: "it is not a JSON object".into(),
            });
        };
        read(&map)
    }

    /// Whether a `config.json` is that of an encoder.
    pub fn is_encoder(text: &str) -> bool {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        matches!(value["model_type"].as_str(), Some("bert" | "modernbert"))
    }

    /// The same model with other labels.
    #[must_use]
    pub fn with_labels(mut self, labels: &[String]) -> Self {
        self.labels = labels.to_vec();
        self
    }

    /// A `config.json` that transformers reads too, its fields in order. The same configuration
    /// gives the same bytes, and [`Self::from_json`] reads them back.
    pub fn to_json(&self) -> String {
        let architecture = match self.family {
            Family::Bert { .. } => "BertForSequenceClassification",
            Family::ModernBert(_) => "ModernBertForSequenceClassification",
        };
        let mut source = self.source.clone();
        let numbered = self.labels.iter().enumerate();
        let by_number: Map<String, Value> = numbered
            .clone()
            .map(|(number, label)| (number.to_string(), json!(label)))
            .collect();
        let by_label: Map<String, Value> = numbered
            .map(|(number, label)| (label.clone(), json!(number)))
            .collect();
        source.insert("architectures".to_owned(), json!([architecture]));
        source.insert("id2label".to_owned(), Value::Object(by_number));
        source.insert("label2id".to_owned(), Value::Object(by_label));
        source.remove("num_labels");
        let mut fields: Vec<_> = source.into_iter().collect();
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        format!("{:#}\n", Value::Object(fields.into_iter().collect()))
    }

    pub(super) fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The bases of the rotations: of the layers that see all, then of the others.
    pub(super) fn rope_thetas(&self) -> Vec<f64> {
        match &self.family {
            Family::Bert { .. } => Vec::new(),
            Family::ModernBert(modern) => vec![modern.global_theta, modern.local_theta],
        }
    }

    /// The norm behind the last layer.
    pub(super) fn final_norm(&self) -> Option<&'static str> {
        match self.family {
            Family::Bert { .. } => None,
            Family::ModernBert(_) => Some("model.final_norm"),
        }
    }

    /// Number of weights, those of the head included.
    pub fn parameter_count(&self) -> usize {
        self.tensors()
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// Every tensor with its shape, by its name in transformers' sequence classifier.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut list = Tensors {
            out: Vec::new(),
            width: self.hidden_size,
            norm_bias: true,
        };
        let (d, i) = (self.hidden_size, self.intermediate_size);
        match &self.family {
            Family::Bert { token_types } => {
                let rows = [
                    ("word", self.vocab_size),
                    ("position", self.max_position_embeddings),
                    ("token_type", *token_types),
                ];
                for (name, count) in rows {
                    let name = format!("bert.embeddings.{name}_embeddings.weight");
                    list.out.push((name, vec![count, d]));
                }
                list.norm("bert.embeddings.LayerNorm");
                for layer in 0..self.num_hidden_layers {
                    let at = |name: &str| format!("bert.encoder.layer.{layer}.{name}");
                    for name in ["query", "key", "value"] {
                        list.linear(&at(&format!("attention.self.{name}")), d, d, true);
                    }
                    list.linear(&at("attention.output.dense"), d, d, true);
                    list.norm(&at("attention.output.LayerNorm"));
                    list.linear(&at("intermediate.dense"), i, d, true);
                    list.linear(&at("output.dense"), d, i, true);
                    list.norm(&at("output.LayerNorm"));
                }
                list.linear("bert.pooler.dense", d, d, true);
            }
            Family::ModernBert(modern) => {
                list.norm_bias = modern.norm_bias;
                let name = "model.embeddings.tok_embeddings.weight".to_owned();
                list.out.push((name, vec![self.vocab_size, d]));
                list.norm("model.embeddings.norm");
                for layer in 0..self.num_hidden_layers {
                    let at = |name: &str| format!("model.layers.{layer}.{name}");
                    if layer > 0 {
                        list.norm(&at("attn_norm"));
                    }
                    list.linear(&at("attn.Wqkv"), 3 * d, d, modern.attention_bias);
                    list.linear(&at("attn.Wo"), d, d, modern.attention_bias);
                    list.norm(&at("mlp_norm"));
                    list.linear(&at("mlp.Wi"), 2 * i, d, modern.mlp_bias);
                    list.linear(&at("mlp.Wo"), d, i, modern.mlp_bias);
                }
                list.norm("model.final_norm");
                list.linear("head.dense", d, d, modern.classifier_bias);
                list.norm("head.norm");
            }
        }
        list.linear("classifier", self.labels.len(), d, true);
        list.out
    }
}

/// Tensors in the making.
struct Tensors {
    out: Vec<(String, Vec<usize>)>,
    width: usize,
    norm_bias: bool,
}

impl Tensors {
    fn norm(&mut self, name: &str) {
        self.out.push((format!("{name}.weight"), vec![self.width]));
        if self.norm_bias {
            self.out.push((format!("{name}.bias"), vec![self.width]));
        }
    }

    fn linear(&mut self, name: &str, output: usize, input: usize, bias: bool) {
        self.out
            .push((format!("{name}.weight"), vec![output, input]));
        if bias {
            self.out.push((format!("{name}.bias"), vec![output]));
        }
    }
}

fn read(map: &Map<String, Value>) -> Result<EncoderConfig, DecoderError> {
    let fields = Fields::new(map, "");
    let (model_type, own) = match fields.text("model_type")? {
        Some("bert") => ("bert", BERT),
        Some("modernbert") => ("modernbert", MODERNBERT),
        other => {
            return Err(DecoderError::Config {
                reason: format!(
                    "`model_type` is {}, known encoders are bert and modernbert",
                    other.map_or("missing".to_owned(), |name| name.chars().take(40).collect())
                ),
            });
        }
    };
    refuse_unknown(fields, own)?;
    let hidden_size = fields.size("hidden_size", limits::WIDTH)?;
    let heads = fields.size("num_attention_heads", limits::HEADS)?;
    if !hidden_size.is_multiple_of(heads) || !(hidden_size / heads).is_multiple_of(2) {
        let reason = "it does not divide hidden_size into even heads";
        return Err(fields.refuse("num_attention_heads", heads, reason));
    }
    let num_hidden_layers = fields.size("num_hidden_layers", limits::LAYERS)?;
    let (norm_eps, dropout, family) = if model_type == "bert" {
        let token_types = fields.optional_size("type_vocab_size", limits::HEADS)?;
        let family = Family::Bert {
            token_types: token_types.unwrap_or(2),
        };
        let dropout = DropoutRates::of_bert(fields)?;
        (fields.number_or("layer_norm_eps", 1e-12)?, dropout, family)
    } else {
        let family = Family::ModernBert(modern_bert(fields, num_hidden_layers)?);
        let dropout = DropoutRates::of_modern_bert(fields)?;
        (fields.number_or("norm_eps", 1e-5)?, dropout, family)
    };
    let mut source = map.clone();
    source.retain(|_, value| !value.is_null());
    Ok(EncoderConfig {
        model_type: model_type.to_owned(),
        vocab_size: fields.size("vocab_size", limits::VOCABULARY)?,
        hidden_size,
        intermediate_size: fields.size("intermediate_size", limits::FEED_FORWARD)?,
        num_hidden_layers,
        num_attention_heads: heads,
        max_position_embeddings: fields.size("max_position_embeddings", limits::VOCABULARY)?,
        norm_eps,
        initializer_range: fields.number_or("initializer_range", 0.02)?,
        labels: labels(fields)?,
        dropout,
        family,
        source,
    })
}

fn refuse_unknown(fields: Fields<'_>, own: &[&str]) -> Result<(), DecoderError> {
    for (name, value) in fields.map() {
        let name = name.as_str();
        if value.is_null() || [READ, HARMLESS, own].concat().contains(&name) {
            continue;
        }
        let reason = match ONLY.iter().find(|(field, _)| *field == name) {
            Some((_, only))
                if serde_json::from_str(only).is_ok_and(|only: Value| *value == only) =>
            {
                continue;
            }
            Some(_) => "encoders are read at one other value",
            None if name == "quantization_config" => "weights are read as they were trained",
            None => "the field is not known for this family",
        };
        return Err(fields.refuse(name, value.clone(), reason));
    }
    Ok(())
}

fn modern_bert(fields: Fields<'_>, count: usize) -> Result<ModernBert, DecoderError> {
    let local = match fields.list("layer_types")? {
        None => {
            let field = "global_attn_every_n_layers";
            let interval = fields.optional_size(field, limits::LAYERS)?.unwrap_or(3);
            (0..count).map(|layer| layer % interval != 0).collect()
        }
        Some(list) if list.len() != count => {
            let reason = "it does not name one kind for each layer";
            return Err(fields.refuse("layer_types", list.len(), reason));
        }
        Some(list) => list
            .iter()
            .map(|kind| match kind.as_str() {
                Some("full_attention") => Ok(false),
                Some("sliding_attention") => Ok(true),
                _ => {
                    let reason = "this family has no such kind of layer";
                    Err(fields.refuse("layer_types", kind.clone(), reason))
                }
            })
            .collect::<Result<_, _>>()?,
    };
    let window = fields.optional_size("local_attention", limits::POSITIONS)?;
    let pooling = match fields.text("classifier_pooling")? {
        None | Some("cls") => Pooling::First,
        Some("mean") => Pooling::Mean,
        Some(other) => {
            return Err(fields.refuse("classifier_pooling", other, "known are cls and mean"));
        }
    };
    Ok(ModernBert {
        local,
        reach: window.unwrap_or(128) / 2,
        global_theta: theta(fields, "full_attention", "global_rope_theta", 160_000.0)?,
        local_theta: theta(fields, "sliding_attention", "local_rope_theta", 10_000.0)?,
        attention_bias: fields.switch("attention_bias", false)?,
        mlp_bias: fields.switch("mlp_bias", false)?,
        norm_bias: fields.switch("norm_bias", false)?,
        classifier_bias: fields.switch("classifier_bias", false)?,
        pooling,
    })
}

/// The base of the rotation of one kind of layer, in the form of transformers 5 or 4.
fn theta(fields: Fields<'_>, kind: &str, older: &str, default: f64) -> Result<f64, DecoderError> {
    let default = fields.number_or(older, default)?;
    let Some(all) = fields.object("rope_parameters")? else {
        return Ok(default);
    };
    let Some(own) = Fields::new(all, "rope_parameters.").object(kind)? else {
        return Ok(default);
    };
    let path = format!("rope_parameters.{kind}.");
    let own = Fields::new(own, &path);
    if !matches!(own.text("rope_type")?, None | Some("default")) {
        let value = own.map()["rope_type"].clone();
        return Err(own.refuse("rope_type", value, "encoders turn without scaling"));
    }
    if let Some(name) = own
        .map()
        .keys()
        .find(|name| !["rope_type", "rope_theta"].contains(&name.as_str()))
    {
        let value = own.map()[name].clone();
        return Err(own.refuse(name, value, "encoders turn without scaling"));
    }
    own.number_or("rope_theta", default)
}

/// `id2label` in the order of its numbers; two labels without a name where there are none.
fn labels(fields: Fields<'_>) -> Result<Vec<String>, DecoderError> {
    let Some(named) = fields.object("id2label")? else {
        return Ok(vec!["LABEL_0".to_owned(), "LABEL_1".to_owned()]);
    };
    (0..named.len())
        .map(|number| {
            let label = named.get(&number.to_string()).and_then(Value::as_str);
            label.map(str::to_owned).ok_or_else(|| {
                let reason = "it does not name the labels from 0 on";
                fields.refuse("id2label", number, reason)
            })
        })
        .collect()
}
