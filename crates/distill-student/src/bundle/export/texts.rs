//! The small files beside the weights: tokenizer, chat template, stop tokens.

use serde_json::{Map, Value, json};

use super::{DecoderManifest, ExportError};
use crate::{base::BaseModel, encoder::EncoderTokenizer, weights::Precision};

/// Files of the base that are taken as they are, where they are there.
const COPIED: &[&str] = &[
    "tokenizer.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "LICENSE",
    "LICENSE.md",
    "LICENSE.txt",
    "NOTICE",
];

/// Names of files with their content.
type Texts = Vec<(&'static str, Vec<u8>)>;

/// The files of a tuned decoder: the base's own, with the template that the student was trained with,
/// and every token that ends a reply.
pub(super) fn of_decoder(
    decoder: &DecoderManifest,
    base: &BaseModel,
) -> Result<Texts, ExportError> {
    let mut texts = Texts::new();
    for name in COPIED.iter().copied() {
        if let Some(bytes) = read(base, name)? {
            texts.push((name, bytes));
        }
    }
    let mut config = read_object(base, "tokenizer_config.json")?.unwrap_or_else(|| {
        let mut config = Map::new();
        config.insert(
            "tokenizer_class".to_owned(),
            json!("PreTrainedTokenizerFast"),
        );
        for (key, token) in [
            ("bos_token", base.tokenizer.bos_token()),
            ("eos_token", base.tokenizer.eos_token()),
        ] {
            if let Some(token) = token {
                config.insert(key.to_owned(), json!(token));
            }
        }
        config
    });
    // The file beside it has it.
    config.remove("chat_template");
    texts.push(("tokenizer_config.json", pretty(config)));
    let template = decoder.chat_template.clone().into_bytes();
    texts.push(("chat_template.jinja", template));
    let mut generation = read_object(base, "generation_config.json")?.unwrap_or_default();
    let stops = decoder.encoder(base)?;
    generation.insert("eos_token_id".to_owned(), json!(stops.stop_ids()));
    texts.push(("generation_config.json", pretty(generation)));
    Ok(texts)
}

/// The files of an encoder: its tokenizer, which puts the opening and the closing token around a text
/// for other programs as well.
pub(super) fn of_encoder(tokenizer: &EncoderTokenizer) -> Result<Texts, ExportError> {
    let unusable = |problem: String| ExportError::BaseFile {
        base: "of the student".to_owned(),
        file: "tokenizer.json",
        problem,
    };
    let mut whole: Value =
        serde_json::from_slice(tokenizer.source()).map_err(|error| unusable(error.to_string()))?;
    let (first, separator) = tokenizer.controls();
    if whole["post_processor"].is_null() {
        let id = |token: &str| {
            tokenizer
                .id(token)
                .ok_or_else(|| unusable(format!("it has no token `{token}`")))
        };
        whole["post_processor"] =
            template_processing((first, id(first)?), (separator, id(separator)?));
    }
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "cls_token": first,
        "sep_token": separator,
        "model_max_length": tokenizer.limit(),
    });
    for (key, token) in [
        ("pad_token", "[PAD]"),
        ("unk_token", "[UNK]"),
        ("mask_token", "[MASK]"),
    ] {
        if tokenizer.id(token).is_some() {
            config[key] = json!(token);
        }
    }
    let config = format!("{config:#}\n").into_bytes();
    Ok(vec![
        ("tokenizer.json", whole.to_string().into_bytes()),
        ("tokenizer_config.json", config),
    ])
}

/// How the format says: opened, closed, and a second text closed too.
fn template_processing(first: (&str, u32), separator: (&str, u32)) -> Value {
    let special = |token: &str, of: u32| json!({"SpecialToken": {"id": token, "type_id": of}});
    let text = |name: &str, of: u32| json!({"Sequence": {"id": name, "type_id": of}});
    let known = |(token, id): (&str, u32)| json!({"id": token, "ids": [id], "tokens": [token]});
    let single = [special(first.0, 0), text("A", 0), special(separator.0, 0)];
    let second = [text("B", 1), special(separator.0, 1)];
    let pair: Vec<&Value> = single.iter().chain(&second).collect();
    json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {first.0: known(first), separator.0: known(separator)},
    })
}

/// A configuration that tells how the numbers beside it are stored.
pub(super) fn with_precision(config: &str, precision: Precision) -> String {
    let mut value: Value = serde_json::from_str(config).unwrap_or_default();
    let name = match precision {
        Precision::F32 => "float32",
        Precision::Bf16 => "bfloat16",
    };
    if let Some(fields) = value.as_object_mut() {
        fields.remove("torch_dtype");
        fields.insert("dtype".to_owned(), json!(name));
    }
    format!("{value:#}\n")
}

/// A note where the base is the text part of a larger model: other programs name its parts otherwise.
pub(super) fn wrapped(base: &BaseModel) -> Result<Option<String>, ExportError> {
    let config = read_object(base, "config.json")?;
    let wrapped = config.is_some_and(|fields| fields.contains_key("text_config"));
    Ok(wrapped.then(|| {
        "the base is the text part of a larger model: open it by its text class, whose layers have \
         the names that the adapter's tensors do, or export with `--merge`"
            .to_owned()
    }))
}

fn pretty(fields: Map<String, Value>) -> Vec<u8> {
    format!("{:#}\n", Value::Object(fields)).into_bytes()
}

fn read(base: &BaseModel, file: &'static str) -> Result<Option<Vec<u8>>, ExportError> {
    base.files
        .read(file)
        .map_err(|error| unusable(base, file, &error))
}

fn read_object(
    base: &BaseModel,
    file: &'static str,
) -> Result<Option<Map<String, Value>>, ExportError> {
    let Some(bytes) = read(base, file)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| unusable(base, file, &error))
}

fn unusable(base: &BaseModel, file: &'static str, error: &dyn std::error::Error) -> ExportError {
    ExportError::BaseFile {
        base: base.name.clone(),
        file,
        problem: error.to_string(),
    }
}
