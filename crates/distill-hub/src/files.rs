//! Which files of a model are needed, and which of a repository's files they are.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use crate::name::is_part;

pub(crate) const CONFIG: &str = "config.json";
pub(crate) const WEIGHTS: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";
const TOKENIZER: &str = "tokenizer.json";
const VOCABULARY: [&str; 2] = ["vocab.json", "merges.txt"];
/// Files that are taken where they are there.
const SMALL: &[&str] = &[
    CONFIG,
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    VOCABULARY[0],
    VOCABULARY[1],
    "chat_template.jinja",
    "chat_template.json",
];
/// Most files that an index may name: the largest open models have some 200.
const MAX_SHARDS: usize = 2000;

/// The files to begin with: everything small, and the weights or their index.
///
/// # Errors
/// What the repository lacks, in words.
pub(crate) fn wanted(there: &BTreeSet<String>) -> Result<Vec<&'static str>, String> {
    let has = |name: &str| there.contains(name);
    if !has(CONFIG) {
        return Err(if has("adapter_config.json") {
            "it is an adapter, not a model: name its base model".to_owned()
        } else {
            "it has no config.json".to_owned()
        });
    }
    let mut wanted: Vec<&'static str> = SMALL.iter().copied().filter(|name| has(name)).collect();
    if has(INDEX) {
        wanted.push(INDEX);
    } else if has(WEIGHTS) {
        wanted.push(WEIGHTS);
    } else if there.iter().any(|name| is_pickle(name)) {
        return Err(
            "its weights are pickled (.bin or .pth), which can run code: only safetensors are read"
                .to_owned(),
        );
    } else {
        return Err(format!("it has neither {WEIGHTS} nor {INDEX}"));
    }
    if !has(TOKENIZER) && !VOCABULARY.iter().all(|name| has(name)) {
        return Err("it has neither tokenizer.json nor vocab.json with merges.txt".to_owned());
    }
    Ok(wanted)
}

fn is_pickle(name: &str) -> bool {
    let extension = Path::new(name).extension();
    extension.is_some_and(|found| found == "bin" || found == "pth" || found == "pt")
}

/// The files that an index names, each once. Names that are not those of a file beside it are
/// refused.
///
/// # Errors
/// What is wrong with the index, in words.
pub(crate) fn shards(index: &[u8]) -> Result<BTreeSet<String>, String> {
    let value: Value =
        serde_json::from_slice(index).map_err(|error| format!("{INDEX} is no JSON: {error}"))?;
    let map = value["weight_map"]
        .as_object()
        .ok_or_else(|| format!("{INDEX} has no `weight_map`"))?;
    let mut files = BTreeSet::new();
    for file in map.values() {
        match file.as_str() {
            Some(name) if is_part(name) && name.ends_with(".safetensors") => {
                files.insert(name.to_owned());
            }
            _ => return Err(format!("{INDEX} names {file}, which is no file beside it")),
        }
        if files.len() > MAX_SHARDS {
            return Err(format!("{INDEX} names more than {MAX_SHARDS} files"));
        }
    }
    if files.is_empty() {
        return Err(format!("{INDEX} names no file"));
    }
    Ok(files)
}

/// Whether a folder holds all that a model needs.
pub(crate) fn is_complete(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    let weights = if has(INDEX) {
        std::fs::read(folder.join(INDEX))
            .ok()
            .and_then(|index| shards(&index).ok())
            .is_some_and(|files| files.iter().all(|file| has(file)))
    } else {
        has(WEIGHTS)
    };
    weights && has(CONFIG) && (has(TOKENIZER) || VOCABULARY.iter().all(|name| has(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_is_needed_is_wanted() {
        let there = set(&[
            ".gitattributes",
            "README.md",
            "config.json",
            "model.safetensors",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "tokenizer.json",
            "tokenizer_config.json",
        ]);
        assert_eq!(
            wanted(&there).unwrap(),
            [
                "config.json",
                "tokenizer.json",
                "tokenizer_config.json",
                "model.safetensors"
            ]
        );
        let several = set(&["config.json", "vocab.json", "merges.txt", INDEX, WEIGHTS]);
        assert!(wanted(&several).unwrap().contains(&INDEX));
        assert!(!wanted(&several).unwrap().contains(&WEIGHTS));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let refused = |names: &[&str]| wanted(&set(names)).unwrap_err();
        assert!(refused(&["adapter_config.json"]).contains("adapter"));
        assert!(refused(&["config.json", "pytorch_model.bin"]).contains("pickled"));
        assert!(refused(&["config.json", "tokenizer.json"]).contains("neither"));
        assert!(refused(&["config.json", WEIGHTS]).contains("tokenizer"));
    }

    #[test]
    fn an_index_names_files_beside_it_only() {
        let shard = |name: &str| format!(r#"{{"weight_map": {{"a": "{name}", "b": "{name}"}}}}"#);
        let good = shard("model-00001-of-00002.safetensors");
        assert_eq!(shards(good.as_bytes()).unwrap().len(), 1);
        for name in [
            "../x.safetensors",
            "/etc/x.safetensors",
            "a/b.safetensors",
            "x.bin",
            "",
        ] {
            assert!(shards(shard(name).as_bytes()).is_err(), "{name}");
        }
        for text in [
            "[]",
            "{}",
            r#"{"weight_map": {}}"#,
            r#"{"weight_map": {"a": 1}}"#,
            "{",
        ] {
            assert!(shards(text.as_bytes()).is_err(), "{text}");
        }
    }
}
