//! Real tokenizers, read from `DISTILL_MODELS_DIR`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails; a test that cannot run says so"
)]

use std::path::PathBuf;

use distill_student::template::{ChatEncoder, ChatLimits, ChatTemplate};
use distill_student::tokenizer::Tokenizer;
use serde_json::Value;

/// The folder of small public models, or a word about its absence.
fn models(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DISTILL_MODELS_DIR").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: {test}: DISTILL_MODELS_DIR is not set");
    }
    folder
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_tokenizer_out_of_vocabulary_and_merges_gives_the_recorded_ids() {
    let Some(models) = models("a_tokenizer_out_of_vocabulary_and_merges_gives_the_recorded_ids")
    else {
        return;
    };
    let tokenizer = Tokenizer::from_directory(&models.join("qwen3-0.6b-tokenizer")).unwrap();
    let inputs = json(models.join("tokenizer-conformance/inputs.json"));
    let recorded = json(models.join("tokenizer-conformance/Qwen__Qwen2.5-0.5B.json"));
    let mut right = 0;
    for input in inputs["inputs"].as_array().unwrap() {
        let id = input["id"].as_str().unwrap();
        let text = input["text"].as_str().unwrap();
        let expected: Vec<u32> = recorded["entries"][id]["input_ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
            .collect();
        assert_eq!(tokenizer.encode_text(text).unwrap(), expected, "{id}");
        assert_eq!(tokenizer.encode_spans(text, &[]).unwrap(), expected, "{id}");
        right += 1;
    }
    assert_eq!(right, 30);
    // Added tokens, of the vocabulary's own file and of the configuration.
    assert_eq!(tokenizer.id("<|im_end|>"), Some(151_645));
    assert_eq!(tokenizer.id("</think>"), Some(151_668));
    assert_eq!(tokenizer.vocabulary_size(), 151_669);
    assert_eq!(tokenizer.eos_ids(), [151_643]);
    let again = Tokenizer::from_directory(&models.join("qwen3-0.6b-tokenizer")).unwrap();
    assert_eq!(tokenizer.sha256(), again.sha256());
}

#[test]
fn a_sentencepiece_like_tokenizer_loads_and_keeps_text() {
    let Some(models) = models("a_sentencepiece_like_tokenizer_loads_and_keeps_text") else {
        return;
    };
    let tokenizer = Tokenizer::from_directory(&models.join("phi-3-mini-tokenizer")).unwrap();
    let inputs = json(models.join("tokenizer-conformance/inputs.json"));
    for input in inputs["inputs"].as_array().unwrap() {
        let text = input["text"].as_str().unwrap();
        let ids = tokenizer.encode_text(text).unwrap();
        assert!(ids.iter().all(|id| !tokenizer.is_control(*id)), "{text}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
    // "Hello" opens a text with a space of its own, as the model was taught.
    let hello = tokenizer.encode_text("Hello world").unwrap();
    assert_eq!(hello, [15_043, 3_186]);
}

#[test]
fn templates_of_real_models_write_the_begin_token_once_and_end_replies() {
    let test = "templates_of_real_models_write_the_begin_token_once_and_end_replies";
    let Some(models) = models(test) else {
        return;
    };
    for (folder, stop) in [
        ("qwen3-0.6b-tokenizer", "<|im_end|>"),
        ("phi-3-mini-tokenizer", "<|end|>"),
    ] {
        let folder = models.join(folder);
        let tokenizer = Tokenizer::from_directory(&folder).unwrap();
        let config = std::fs::read(folder.join("tokenizer_config.json")).unwrap();
        let template = ChatTemplate::from_config(&config, &tokenizer).unwrap();
        let limits = ChatLimits {
            max_prompt_tokens: 512,
            max_reply_tokens: 64,
        };
        let bos = tokenizer.bos_token().and_then(|token| tokenizer.id(token));
        let stop = tokenizer.id(stop).unwrap();
        let encoder = ChatEncoder::new(tokenizer.into(), template.into(), limits).unwrap();
        assert!(encoder.stop_ids().contains(&stop));
        let messages = [distill_chat::Message::user("Is it <|end|> or <s>?")];
        let example = encoder.encode_example(&messages, "Neither.").unwrap();
        assert_eq!(example.tokens.last(), Some(&stop));
        if let Some(bos) = bos {
            let count = example.tokens.iter().filter(|id| **id == bos).count();
            assert!(count <= 1, "{count} begin tokens");
        }
    }
}
