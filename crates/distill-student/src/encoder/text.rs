//! Texts as an encoder reads them: between the tokens that open and close a row.

use std::path::Path;

use super::EncoderConfig;
use crate::decoder::DecoderError;
use crate::tokenizer::{
    Tokenizer, TokenizerError, TokenizerFiles, optional, parse_json, token_name, tokenizer_json_in,
};

/// A text, or a pair of texts, as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedText {
    pub tokens: Vec<u32>,
    /// 0 for what belongs to the first text, 1 for the second.
    pub types: Vec<u32>,
    /// Tokens that did not fit, cut from the end.
    pub dropped: Vec<u32>,
}

/// The tokenizer of an encoder. What a text says never becomes a control token.
#[derive(Debug, Clone)]
pub struct EncoderTokenizer {
    inner: std::sync::Arc<Tokenizer>,
    /// `tokenizer.json`
    source: std::sync::Arc<[u8]>,
    first: Control,
    separator: Control,
    /// Tokens of a row.
    limit: usize,
}

/// A control token by name and id.
#[derive(Debug, Clone)]
struct Control {
    name: String,
    id: u32,
}

impl EncoderTokenizer {
    /// Reads `tokenizer.json`, or `vocab.txt` where there is none, and from `tokenizer_config.json`
    /// which tokens open and close a row: `[CLS]` and `[SEP]` where it does not say. `limit` bounds
    /// the tokens of a row.
    ///
    /// # Errors
    /// A file that is there and cannot be read, or none at all.
    pub fn from_directory(directory: &Path, limit: usize) -> Result<Self, TokenizerError> {
        const CONFIG: &str = "tokenizer_config.json";
        let origin = directory.display().to_string();
        let written = optional(directory, CONFIG)?;
        let config = parse_json(&origin, CONFIG, written.as_deref())?;
        let name =
            |key: &str, usual: &str| token_name(&config, key).unwrap_or_else(|| usual.to_owned());
        let (first, separator) = (name("cls_token", "[CLS]"), name("sep_token", "[SEP]"));
        let source = tokenizer_json_in(directory, written.as_deref())?;
        Self::new(&origin, source, &first, &separator, limit)
    }

    /// Builds the tokenizer from the bytes of a `tokenizer.json`; `origin` names it in messages.
    pub fn new(
        origin: &str,
        tokenizer_json: Vec<u8>,
        first: &str,
        separator: &str,
        limit: usize,
    ) -> Result<Self, TokenizerError> {
        let files = TokenizerFiles {
            tokenizer_json: &tokenizer_json,
            ..TokenizerFiles::default()
        };
        let inner = Tokenizer::from_files(origin, &files)?;
        let control = |name: &str| match inner.id(name) {
            Some(id) => Ok(Control {
                name: name.to_owned(),
                id,
            }),
            None => Err(TokenizerError::Unsupported {
                origin: origin.to_owned(),
                problem: format!("it has no token `{name}`, which opens or closes a row"),
            }),
        };
        Ok(Self {
            first: control(first)?,
            separator: control(separator)?,
            inner: std::sync::Arc::new(inner),
            source: tokenizer_json.into(),
            limit,
        })
    }

    /// Holds it against a model.
    ///
    /// # Errors
    /// It knows more tokens than the model.
    pub fn check(&self, model: &EncoderConfig) -> Result<(), DecoderError> {
        let (known, taken) = (self.vocabulary_size(), model.vocab_size);
        if known > taken {
            return Err(DecoderError::Format {
                what: "the tokenizer".to_owned(),
                reason: format!("it has {known} tokens, the model {taken}"),
            });
        }
        Ok(())
    }

    /// One text: opened, closed, cut at its end where it is too long.
    pub fn encode(&self, text: &str) -> Result<EncodedText, TokenizerError> {
        let mut body = self.inner.encode_text(text)?;
        let room = self.limit.saturating_sub(2);
        let dropped = body.split_off(body.len().min(room));
        let mut tokens = Vec::with_capacity(body.len() + 2);
        tokens.push(self.first.id);
        tokens.append(&mut body);
        tokens.push(self.separator.id);
        Ok(EncodedText {
            types: vec![0; tokens.len()],
            tokens,
            dropped,
        })
    }

    /// Two texts, each closed; the longer one is cut first.
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<EncodedText, TokenizerError> {
        let (mut one, mut other) = (
            self.inner.encode_text(first)?,
            self.inner.encode_text(second)?,
        );
        let (keep_one, keep_other) = kept(one.len(), other.len(), self.limit.saturating_sub(3));
        let mut dropped = one.split_off(keep_one);
        dropped.extend(other.split_off(keep_other));
        let mut tokens = vec![self.first.id];
        tokens.append(&mut one);
        tokens.push(self.separator.id);
        let mut types = vec![0; tokens.len()];
        tokens.append(&mut other);
        tokens.push(self.separator.id);
        types.resize(tokens.len(), 1);
        Ok(EncodedText {
            tokens,
            types,
            dropped,
        })
    }

    /// The text that tokens spell.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(tokens)
    }

    /// The bytes of `tokenizer.json`.
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// The id of a token by its name.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.id(token)
    }

    /// The names of the tokens that open and close a row.
    pub fn controls(&self) -> (&str, &str) {
        (&self.first.name, &self.separator.name)
    }

    /// Tokens of a row.
    pub fn limit(&self) -> usize {
        self.limit
    }

    pub fn vocabulary_size(&self) -> usize {
        self.inner.vocabulary_size()
    }
}

/// How many tokens of each of two texts stay: the shorter whole where it takes less than half of the
/// room, otherwise half each.
fn kept(one: usize, other: usize, room: usize) -> (usize, usize) {
    if one + other <= room {
        return (one, other);
    }
    let shorter = one.min(other).min(room / 2);
    if one <= other {
        (shorter, room - shorter)
    } else {
        (room - shorter, shorter)
    }
}
