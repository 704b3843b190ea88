//! The base model's own byte-level BPE vocabulary and its chat template.

use distill_student::tokenizer::{Tokenizer, TokenizerFiles};
use serde_json::json;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    SplitDelimiterBehavior, TokenizerBuilder, TokenizerImpl,
    models::bpe::{BPE, BpeTrainerBuilder},
    pre_tokenizers::{
        byte_level::ByteLevel,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::{PretrainError, TokenizerRecipe};
use crate::corpus::{Corpus, Mix};

pub(super) const SYSTEM: &str = "<|system|>";
pub(super) const USER: &str = "<|user|>";
pub(super) const ASSISTANT: &str = "<|assistant|>";
pub(super) const END: &str = "<|end|>";
pub(super) const PAD: &str = "<|pad|>";

const CHAT_TEMPLATE: &str = "{% for message in messages %}<|{{ message['role'] }}|>\
{{ message['content'] }}<|end|>{% endfor %}\
{% if add_generation_prompt %}<|assistant|>{% endif %}";

/// Digits and capitalised words never take the space before them along, so that a number or a
/// name is the same tokens in a text and in a JSON string that copies it.
const PIECES: &str =
    r"'(?:[sdmt]|ll|ve|re)| I\b| ?\p{Ll}+|\p{Lu}\p{L}*|\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+";

/// `tokenizer.json` and `tokenizer_config.json`.
#[derive(Debug, Clone)]
pub(super) struct VocabularyFiles {
    pub(super) tokenizer: Vec<u8>,
    pub(super) config: Vec<u8>,
}

impl VocabularyFiles {
    pub(super) fn load(&self, origin: &str) -> Result<Tokenizer, PretrainError> {
        Ok(Tokenizer::from_files(
            origin,
            &TokenizerFiles {
                tokenizer_json: &self.tokenizer,
                tokenizer_config: Some(&self.config),
                generation_config: None,
                model_config: None,
            },
        )?)
    }
}

/// Learns merges from the first samples of the corpus. Ties between pairs go to the lower ids, so
/// the same corpus gives the same bytes.
pub(super) fn learn(
    corpus: &Corpus,
    recipe: &TokenizerRecipe,
    context: usize,
) -> Result<VocabularyFiles, PretrainError> {
    let failed = |error: tokenizers::Error| PretrainError::Vocabulary {
        reason: error.to_string(),
    };
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(recipe.vocabulary)
        .min_frequency(2)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(
            [PAD, END, SYSTEM, USER, ASSISTANT]
                .map(|token| AddedToken::from(token, true))
                .to_vec(),
        )
        .build();
    let bytes = || ByteLevel::new(false, false, false);
    let split = Split::new(
        SplitPattern::Regex(PIECES.to_owned()),
        SplitDelimiterBehavior::Isolated,
        false,
    )
    .map_err(failed)?;
    let mut tokenizer: TokenizerImpl<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    > = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None)
        .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
            PreTokenizerWrapper::Split(split),
            PreTokenizerWrapper::ByteLevel(bytes()),
        ]))))
        .with_post_processor(None)
        .with_decoder(Some(DecoderWrapper::ByteLevel(bytes())))
        .build()
        .map_err(failed)?;
    let texts = (0..recipe.samples).map(|number| corpus.sample(Mix::Broad, number).text());
    tokenizer.train(&mut trainer, texts).map_err(failed)?;
    Ok(VocabularyFiles {
        tokenizer: tokenizer.to_string(false).map_err(failed)?.into_bytes(),
        config: format!(
            "{:#}\n",
            json!({
                "tokenizer_class": "PreTrainedTokenizerFast",
                "model_max_length": context,
                "eos_token": END,
                "pad_token": PAD,
                "chat_template": CHAT_TEMPLATE,
            })
        )
        .into_bytes(),
    })
}
