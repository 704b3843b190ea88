//! The base model that the binary carries, made by `distill pretrain --recipe nano`.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256};

use crate::{
    base::{BaseError, BaseModel, StandardBases},
    decoder::{DecoderConfig, DecoderError},
    template::ChatTemplate,
    tokenizer::{Tokenizer, TokenizerFiles, hex},
};

/// The name by which a pipeline asks for [`nano`].
pub const NANO: &str = "embedded:nano";

const CONFIG: &str = include_str!("../assets/nano/config.json");
const WEIGHTS: &[u8] = include_bytes!("../assets/nano/model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../assets/nano/tokenizer.json");
const TOKENIZER_CONFIG: &[u8] = include_bytes!("../assets/nano/tokenizer_config.json");

/// Every base that a name can mean: the embedded ones, and directories.
pub fn bases() -> StandardBases {
    StandardBases::directories().with(NANO, nano)
}

/// SHA-256 over the embedded model's files: its identity in cache keys.
pub fn nano_sha256() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let mut hasher = Sha256::new();
        for file in [CONFIG.as_bytes(), WEIGHTS, TOKENIZER, TOKENIZER_CONFIG] {
            hasher.update((file.len() as u64).to_le_bytes());
            hasher.update(file);
        }
        hex(&hasher.finalize())
    })
}

/// The shape of [`nano`], without its weights.
///
/// # Errors
/// Never with the file that is compiled in.
pub fn nano_config() -> Result<DecoderConfig, DecoderError> {
    DecoderConfig::from_json(CONFIG)
}

/// A decoder of a few million weights with its own vocabulary and chat template; its card is in
/// `assets/nano/MODEL_CARD.md`.
///
/// # Errors
/// Never with the files that are compiled in, which a test reads.
pub fn nano() -> Result<BaseModel, BaseError> {
    let files = TokenizerFiles {
        tokenizer_json: TOKENIZER,
        tokenizer_config: Some(TOKENIZER_CONFIG),
        generation_config: None,
        model_config: Some(CONFIG.as_bytes()),
    };
    let tokenizer = |source| BaseError::Tokenizer {
        name: NANO.to_owned(),
        source,
    };
    let template = |source| BaseError::Template {
        name: NANO.to_owned(),
        source,
    };
    let reader = Tokenizer::from_files(NANO, &files).map_err(tokenizer)?;
    let source = ChatTemplate::from_config(TOKENIZER_CONFIG, &reader).map_err(template)?;
    BaseModel::from_files(NANO, CONFIG, WEIGHTS, &files, source.source())
}

#[cfg(test)]
mod tests {
    use distill_chat::Message;

    use super::*;
    use crate::template::{ChatEncoder, ChatLimits};

    #[test]
    fn the_embedded_model_is_whole_and_small() {
        let base = nano().unwrap();
        assert_eq!(
            base.weights.config().vocab_size,
            base.tokenizer.vocabulary_size()
        );
        assert!(WEIGHTS.len() <= 8_000_000, "{} bytes", WEIGHTS.len());
        assert!(
            base.weights.config().num_key_value_heads < base.weights.config().num_attention_heads
        );
    }

    #[test]
    fn a_name_or_a_number_is_the_same_tokens_in_a_text_and_in_json() {
        let tokenizer = nano().unwrap().tokenizer;
        for value in ["Quill Varnas", "7:45 pm", "19 June", "4"] {
            let copied = tokenizer.encode_text(value).unwrap();
            for around in [format!("it is {value}"), format!("{{\"key\":\"{value}")] {
                let tokens = tokenizer.encode_text(&around).unwrap();
                assert!(tokens.ends_with(&copied), "{around}");
            }
        }
    }

    #[test]
    fn a_conversation_has_one_mark_before_each_turn_and_one_after() {
        let base = nano().unwrap();
        let limits = ChatLimits {
            max_prompt_tokens: 100,
            max_reply_tokens: 20,
        };
        let encoder = ChatEncoder::new(base.tokenizer.clone(), base.template, limits).unwrap();
        let messages = [Message::system("pick"), Message::user("hi")];
        let example = encoder.encode_example(&messages, "yes").unwrap();
        let end = base.tokenizer.id("<|end|>").unwrap();
        let ends = example.tokens.iter().filter(|token| **token == end).count();
        assert_eq!(ends, 3);
        assert_eq!(example.tokens.last(), Some(&end));
        assert!(encoder.stop_ids().contains(&end));
    }
}
