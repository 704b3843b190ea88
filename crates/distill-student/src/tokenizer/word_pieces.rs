//! A `tokenizer.json` out of BERT's `vocab.txt` and `tokenizer_config.json`: what older models have.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::assemble::{Fault, added_tokens};

/// Classes of which the vocabulary is read so; a configuration that names none means the first.
const CLASSES: &[&str] = &["BertTokenizer", "BertTokenizerFast"];

/// The keys of tokens that steer the model, with their usual names.
const SPECIAL: &[(&str, &str)] = &[
    ("pad_token", "[PAD]"),
    ("unk_token", "[UNK]"),
    ("cls_token", "[CLS]"),
    ("sep_token", "[SEP]"),
    ("mask_token", "[MASK]"),
];

/// Writes the `tokenizer.json`. The same files give the same bytes.
pub(super) fn tokenizer_json(vocabulary: &[u8], config: &Value) -> Result<Vec<u8>, Fault> {
    let at = |problem: String| ("tokenizer_config.json", problem);
    let class = config["tokenizer_class"].as_str().unwrap_or(CLASSES[0]);
    if !CLASSES.contains(&class) {
        return Err(at(format!(
            "`tokenizer_class` is `{class}`; from a vocab.txt only {} can be built: save the model \
             with its tokenizer.json",
            CLASSES[0]
        )));
    }
    let switch = |key: &str, usual: bool| match &config[key] {
        Value::Null => Ok(usual),
        Value::Bool(value) => Ok(*value),
        other => Err(at(format!("`{key}` is {other}"))),
    };
    if !switch("do_basic_tokenize", true)? {
        return Err(at(
            "`do_basic_tokenize` is false: text is always split into words here".to_owned(),
        ));
    }
    let kept_whole = config["never_split"].as_array();
    if kept_whole.is_some_and(|words| !words.is_empty()) {
        return Err(at("`never_split` is not supported".to_owned()));
    }
    let strip_accents = match &config["strip_accents"] {
        Value::Null => None,
        Value::Bool(value) => Some(*value),
        other => return Err(at(format!("`strip_accents` is {other}"))),
    };
    let text = std::str::from_utf8(vocabulary).map_err(|error| ("vocab.txt", error.to_string()))?;
    // Of a token that stands twice the last place counts.
    let ids: BTreeMap<&str, u32> = text
        .lines()
        .zip(0..)
        .map(|(token, id)| (token.trim_end(), id))
        .collect();
    let unknown = super::token_name(config, "unk_token").unwrap_or_else(|| "[UNK]".to_owned());
    if !ids.contains_key(unknown.as_str()) {
        return Err(("vocab.txt", format!("it has no token `{unknown}`")));
    }
    let words: Map<String, Value> = ids
        .iter()
        .map(|(token, id)| ((*token).to_owned(), json!(id)))
        .collect();
    let written = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": special_tokens(&ids, config).map_err(at)?,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": switch("tokenize_chinese_chars", true)?,
            "strip_accents": strip_accents,
            "lowercase": switch("do_lower_case", true)?,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": null,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": words,
        },
    });
    serde_json::to_vec(&written).map_err(|error| ("vocab.txt", error.to_string()))
}

/// The tokens that the configuration lists, and those that every BERT has.
fn special_tokens(ids: &BTreeMap<&str, u32>, config: &Value) -> Result<Vec<Value>, String> {
    let mut rows = added_tokens(config)?;
    for (key, usual) in SPECIAL {
        let name = super::token_name(config, key).unwrap_or_else(|| (*usual).to_owned());
        let Some(id) = ids.get(name.as_str()) else {
            continue;
        };
        if rows.iter().any(|row| row["content"] == name.as_str()) {
            continue;
        }
        rows.push(json!({
            "id": id,
            "content": name,
            "single_word": false,
            "lstrip": false,
            "rstrip": false,
            "normalized": false,
            "special": true,
        }));
    }
    rows.sort_by_key(|row| row["id"].as_u64());
    Ok(rows)
}
