//! A `tokenizer.json` out of `vocab.json`, `merges.txt` and `tokenizer_config.json`: what a model
//! directory has that was saved without the first.
//!
//! What the three files leave open (normaliser, split, decoder) belongs to the tokenizer's class,
//! which the configuration names. Classes are taken by name; any other is refused.

use serde_json::{Map, Value, json};

/// Most merges of a vocabulary that is read.
const MAX_MERGES: usize = 4_000_000;

/// What a class of byte-level tokenizers adds to its vocabulary.
struct Class {
    names: &'static [&'static str],
    /// Unicode composition of the text before it is split.
    composed: bool,
    /// How text is split before merging; the byte-level step's own split if none.
    split: Option<&'static str>,
}

const CLASSES: &[Class] = &[
    Class {
        names: &["Qwen2Tokenizer", "Qwen2TokenizerFast"],
        composed: true,
        split: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    },
    Class {
        names: &["Qwen3_5Tokenizer", "Qwen3_5TokenizerFast"],
        composed: true,
        split: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    },
    Class {
        names: &["GPT2Tokenizer", "GPT2TokenizerFast"],
        composed: false,
        split: None,
    },
];

/// Which file is at fault, and why.
pub(super) type Fault = (&'static str, String);

/// Writes the `tokenizer.json`. The same files give the same bytes.
pub(super) fn tokenizer_json(
    vocabulary: &[u8],
    merges: &[u8],
    config: &Value,
) -> Result<Vec<u8>, Fault> {
    let at = |problem: String| ("tokenizer_config.json", problem);
    let named = config["tokenizer_class"].as_str().unwrap_or_default();
    let class = CLASSES.iter().find(|class| class.names.contains(&named));
    let class = class.ok_or_else(|| {
        let known: Vec<_> = CLASSES.iter().map(|class| class.names[0]).collect();
        let known = known.join(", ");
        at(format!(
            "`tokenizer_class` is `{named}`; without a tokenizer.json only {known} can be built: \
             save the model with its tokenizer.json"
        ))
    })?;
    let prefix_space = config["add_prefix_space"].as_bool().unwrap_or(false);
    let byte_level = |own_split: bool| {
        json!({
            "type": "ByteLevel",
            "add_prefix_space": prefix_space,
            "trim_offsets": true,
            "use_regex": own_split,
        })
    };
    let pre_tokenizer = match class.split {
        None => byte_level(true),
        Some(pattern) => json!({
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
                byte_level(false),
            ],
        }),
    };
    let vocabulary: Map<String, Value> =
        serde_json::from_slice(vocabulary).map_err(|error| ("vocab.json", error.to_string()))?;
    let written = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(config).map_err(at)?,
        "normalizer": class.composed.then(|| json!({"type": "NFC"})),
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": byte_level(true),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocabulary,
            "merges": pairs(merges).map_err(|problem| ("merges.txt", problem))?,
        },
    });
    serde_json::to_vec(&written).map_err(|error| ("vocab.json", error.to_string()))
}

/// `added_tokens_decoder` as rows in the order of their ids.
pub(super) fn added_tokens(config: &Value) -> Result<Vec<Value>, String> {
    let Some(listed) = config["added_tokens_decoder"].as_object() else {
        return Ok(Vec::new());
    };
    let mut rows: Vec<(u32, Value)> = Vec::with_capacity(listed.len());
    for (id, token) in listed {
        let number: u32 = id
            .parse()
            .map_err(|_| format!("`added_tokens_decoder` has the id `{id}`"))?;
        let mut row = token
            .as_object()
            .cloned()
            .ok_or_else(|| format!("added token {id} is not an object"))?;
        if !row.get("content").is_some_and(Value::is_string) {
            return Err(format!("added token {id} has no `content`"));
        }
        for flag in ["single_word", "lstrip", "rstrip", "normalized", "special"] {
            row.entry(flag).or_insert(Value::Bool(false));
        }
        row.insert("id".to_owned(), json!(number));
        rows.push((number, Value::Object(row)));
    }
    rows.sort_by_key(|(id, _)| *id);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// The merges, a line each; the first line may say the version.
fn pairs(merges: &[u8]) -> Result<Vec<[&str; 2]>, String> {
    let text = std::str::from_utf8(merges).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || (number == 1 && line.starts_with("#version")) {
            continue;
        }
        let pair = line
            .split_once(' ')
            .filter(|(_, right)| !right.contains(' '));
        let (left, right) = pair.ok_or_else(|| format!("line {number} is not a pair of tokens"))?;
        if out.len() == MAX_MERGES {
            return Err(format!("it has more than {MAX_MERGES} merges"));
        }
        out.push([left, right]);
    }
    Ok(out)
}
