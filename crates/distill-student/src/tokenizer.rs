//! A model's own tokenizer, with control tokens that text can never forge.
//!
//! Three rules differ from calling the `tokenizers` crate directly:
//!
//! - Nothing is added: what post-processors, padding and truncation of `tokenizer.json` would do is
//!   switched off. A begin-of-sequence token exists only where the chat template writes one, so it
//!   cannot be doubled.
//! - A *control token* (every added token that is special or is not mere white space) is recognised
//!   only in text that the caller vouches for. `<|im_end|>` typed by a user stays nine characters.
//! - Text between two control tokens is encoded in one piece, whoever wrote it, so its merges are
//!   those of the tokenizer run over the whole rendering.

use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokenizers::AddedToken;

use crate::regular_file;

mod assemble;
#[cfg(test)]
pub(crate) mod tests;
mod word_pieces;

/// Largest `tokenizer.json` that is read. The largest in the field has some 35 MB.
pub(crate) const MAX_FILE_BYTES: u64 = 96 << 20;

/// Stands in front of a piece that does not open the text, because some tokenizers mark the start
/// of a text with a space. A noncharacter: no interchanged text contains it.
const ANCHOR: char = '\u{10FFFE}';

/// The files of a tokenizer, as a Hugging Face directory has them.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokenizerFiles<'a> {
    pub tokenizer_json: &'a [u8],
    /// Names the begin and end tokens.
    pub tokenizer_config: Option<&'a [u8]>,
    /// May list several end tokens.
    pub generation_config: Option<&'a [u8]>,
    /// The model's `config.json`; may list end tokens too.
    pub model_config: Option<&'a [u8]>,
}

/// Why a tokenizer cannot be loaded or used. `origin` is a path or the name of an embedded model.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{file} of `{origin}` cannot be read: {problem}")]
    Malformed {
        origin: String,
        file: &'static str,
        problem: String,
    },
    #[error("tokenizer.json of `{origin}`: {problem}")]
    Unsupported { origin: String, problem: String },
    #[error("cannot {action} with the tokenizer of `{origin}`: {problem}")]
    Failed {
        action: &'static str,
        origin: String,
        problem: String,
    },
}

/// Text to token ids and back, for one model.
#[derive(Debug)]
pub struct Tokenizer {
    origin: String,
    /// Recognises no control token in text; see [`Tokenizer::encode_spans`].
    inner: tokenizers::Tokenizer,
    anchor_id: u32,
    control: ControlTokens,
    /// What a model emits for characters outside its vocabulary; the one control token that text
    /// may become.
    unknown_id: Option<u32>,
    vocabulary_size: usize,
    longest_token: usize,
    bos_token: Option<String>,
    eos_token: Option<String>,
    eos_ids: Vec<u32>,
    sha256: String,
}

/// The part of `tokenizer.json` that is read beside the `tokenizers` crate.
#[derive(Deserialize)]
struct TokenizerHeader {
    #[serde(default)]
    added_tokens: Vec<AddedTokenRow>,
    model: ModelHeader,
}

#[derive(Deserialize)]
struct ModelHeader {
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    unk_id: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags of the file format"
)]
struct AddedTokenRow {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

impl AddedTokenRow {
    /// White-space runs that some vocabularies add are ordinary text; all else steers the model.
    fn is_control(&self) -> bool {
        self.special || !self.content.chars().all(char::is_whitespace)
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` and, where there, `tokenizer_config.json`, `generation_config.json`
    /// and `config.json` of a directory. Without the first, `vocab.json` and `merges.txt` are read
    /// for it, or `vocab.txt`.
    pub fn from_directory(directory: &Path) -> Result<Self, TokenizerError> {
        let optional = |name: &str| optional(directory, name);
        let tokenizer_config = optional("tokenizer_config.json")?;
        let tokenizer_json = tokenizer_json_in(directory, tokenizer_config.as_deref())?;
        let generation_config = optional("generation_config.json")?;
        let model_config = optional("config.json")?;
        Self::from_files(
            &directory.display().to_string(),
            &TokenizerFiles {
                tokenizer_json: &tokenizer_json,
                tokenizer_config: tokenizer_config.as_deref(),
                generation_config: generation_config.as_deref(),
                model_config: model_config.as_deref(),
            },
        )
    }

    /// Builds the tokenizer from file contents. `origin` names the model in messages.
    pub fn from_files(origin: &str, files: &TokenizerFiles<'_>) -> Result<Self, TokenizerError> {
        let malformed = |file: &'static str, problem: String| TokenizerError::Malformed {
            origin: origin.to_owned(),
            file,
            problem,
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(files.tokenizer_json)
            .map_err(|error| malformed("tokenizer.json", error.to_string()))?;
        let header: TokenizerHeader = serde_json::from_slice(files.tokenizer_json)
            .map_err(|error| malformed("tokenizer.json", error.to_string()))?;
        check_added_tokens(origin, &inner, &header)?;

        let vocabulary = inner.get_vocab(true);
        let vocabulary_size = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
        let longest_token = vocabulary.keys().map(String::len).max().unwrap_or(1);
        let unknown_id = header.model.unk_id.or_else(|| {
            let token = header.model.unk_token.as_deref()?;
            inner.token_to_id(token)
        });
        let control = ControlTokens::new(&header.added_tokens);
        let anchor_id = disarm(&mut inner, &control)
            .map_err(|error| malformed("tokenizer.json", error.to_string()))?;

        let config = parse_json(origin, "tokenizer_config.json", files.tokenizer_config)?;
        let bos_token = token_name(&config, "bos_token");
        let eos_token = token_name(&config, "eos_token");
        let mut eos_ids: Vec<u32> = eos_token
            .iter()
            .filter_map(|token| inner.token_to_id(token))
            .collect();
        for (file, bytes) in [
            ("generation_config.json", files.generation_config),
            ("config.json", files.model_config),
        ] {
            eos_ids.extend(listed_ids(
                &parse_json(origin, file, bytes)?["eos_token_id"],
            ));
        }
        eos_ids.sort_unstable();
        eos_ids.dedup();
        if let Some(id) = eos_ids.iter().find(|id| **id as usize >= vocabulary_size) {
            return Err(TokenizerError::Unsupported {
                origin: origin.to_owned(),
                problem: format!("end token {id} is outside the vocabulary of {vocabulary_size}"),
            });
        }
        Ok(Self {
            origin: origin.to_owned(),
            inner,
            anchor_id,
            control,
            unknown_id,
            vocabulary_size,
            longest_token,
            bos_token,
            eos_token,
            eos_ids,
            sha256: hex(&Sha256::digest(files.tokenizer_json)),
        })
    }

    /// Token ids of plain text. No control token comes out, whatever the text says.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode_piece(text, true)
    }

    /// Token ids of a rendered conversation. Control tokens are recognised everywhere but inside
    /// `content` (byte ranges, ascending, disjoint): what people and models wrote.
    pub fn encode_spans(
        &self,
        text: &str,
        content: &[Range<usize>],
    ) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        let mut piece_start = 0;
        let mut strip_left = false;
        for (range, token) in self.control.find(text, content) {
            let mut piece = &text[piece_start..range.start];
            if strip_left {
                piece = piece.trim_start();
            }
            if token.lstrip {
                piece = piece.trim_end();
            }
            ids.extend(self.encode_piece(piece, piece_start == 0)?);
            ids.push(token.id);
            strip_left = token.rstrip;
            piece_start = range.end;
        }
        let mut piece = &text[piece_start..];
        if strip_left {
            piece = piece.trim_start();
        }
        ids.extend(self.encode_piece(piece, piece_start == 0)?);
        Ok(ids)
    }

    /// The first control token at or after `from`, with its byte range.
    pub(crate) fn next_control(&self, text: &str, from: usize) -> Option<(Range<usize>, u32)> {
        let before = 0..from;
        self.control
            .find(text, std::slice::from_ref(&before))
            .into_iter()
            .next()
            .map(|(range, token)| (range, token.id))
    }

    /// Text of token ids; control tokens are left out.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner
            .decode(ids, true)
            .map_err(|error| self.failed("decode", &*error))
    }

    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner
            .token_to_id(token)
            .filter(|id| *id != self.anchor_id)
    }

    pub fn is_control(&self, id: u32) -> bool {
        self.control.ids.contains(&id)
    }

    /// Highest token id plus one. The model's embedding may be padded beyond it.
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// Length of the longest token in bytes: a text of more than `n` times that needs more than
    /// `n` tokens.
    pub(crate) fn longest_token(&self) -> usize {
        self.longest_token
    }

    /// Every token that ends a reply according to the model's files, ascending. May be empty; the
    /// chat template may add one ([`crate::template::ChatEncoder::stop_ids`]).
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    pub fn bos_token(&self) -> Option<&str> {
        self.bos_token.as_deref()
    }

    pub fn eos_token(&self) -> Option<&str> {
        self.eos_token.as_deref()
    }

    /// Hash of `tokenizer.json`, in hex.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    fn encode_piece(&self, piece: &str, opens_text: bool) -> Result<Vec<u32>, TokenizerError> {
        if piece.is_empty() {
            return Ok(Vec::new());
        }
        let ids = self.run(piece, opens_text)?;
        let forged = |id: &u32| self.is_control(*id) && Some(*id) != self.unknown_id;
        if !ids.iter().any(forged) {
            return Ok(ids);
        }
        // A vocabulary that spells a control token as ordinary text: encode character by character,
        // which cannot assemble it.
        let mut spelled = Vec::with_capacity(piece.len());
        let mut buffer = [0; 4];
        for character in piece.chars() {
            let ids = self.run(character.encode_utf8(&mut buffer), false)?;
            spelled.extend(ids.into_iter().filter(|id| !forged(id)));
        }
        Ok(spelled)
    }

    fn run(&self, piece: &str, opens_text: bool) -> Result<Vec<u32>, TokenizerError> {
        let encode = |text: &str| {
            self.inner
                .encode_fast(text, false)
                .map_err(|error| self.failed("encode text", &*error))
        };
        if piece.contains(ANCHOR) {
            return self.run(&piece.replace(ANCHOR, "\u{FFFD}"), opens_text);
        }
        if opens_text {
            return Ok(encode(piece)?.get_ids().to_vec());
        }
        let mut anchored = String::with_capacity(piece.len() + ANCHOR.len_utf8());
        anchored.push(ANCHOR);
        anchored.push_str(piece);
        let encoding = encode(&anchored)?;
        match encoding.get_ids() {
            [first, rest @ ..] if *first == self.anchor_id => Ok(rest.to_vec()),
            _ => Err(TokenizerError::Failed {
                action: "encode text",
                origin: self.origin.clone(),
                problem: "it does not keep added tokens apart from text".to_owned(),
            }),
        }
    }

    fn failed(
        &self,
        action: &'static str,
        error: &(dyn std::error::Error + Send + Sync),
    ) -> TokenizerError {
        TokenizerError::Failed {
            action,
            origin: self.origin.clone(),
            problem: error.to_string(),
        }
    }
}

/// Switches off everything that adds, cuts or recognises tokens on its own, and adds the anchor.
fn disarm(
    inner: &mut tokenizers::Tokenizer,
    control: &ControlTokens,
) -> Result<u32, tokenizers::Error> {
    inner.with_truncation(None)?;
    inner.with_padding(None);
    let rows = control.by_first_byte.values().flatten();
    inner.add_special_tokens(rows.map(|row| {
        AddedToken::from(row.content.clone(), true)
            .lstrip(row.lstrip)
            .rstrip(row.rstrip)
            .normalized(false)
    }))?;
    inner.set_encode_special_tokens(true);
    inner.add_tokens([AddedToken::from(ANCHOR.to_string(), false).normalized(false)])?;
    Ok(inner
        .token_to_id(&ANCHOR.to_string())
        .expect("the anchor was added a line above"))
}

/// The `tokenizer.json` of a directory, or the one that belongs to its `vocab.json` and `merges.txt`
/// or to its `vocab.txt`, by the class that `tokenizer_config.json` names.
pub(crate) fn tokenizer_json_in(
    directory: &Path,
    tokenizer_config: Option<&[u8]>,
) -> Result<Vec<u8>, TokenizerError> {
    if let Some(whole) = optional(directory, "tokenizer.json")? {
        return Ok(whole);
    }
    let origin = directory.display().to_string();
    let config = parse_json(&origin, "tokenizer_config.json", tokenizer_config)?;
    let made = if let Some(vocabulary) = optional(directory, "vocab.json")? {
        let merges = read(&directory.join("merges.txt"))?;
        assemble::tokenizer_json(&vocabulary, &merges, &config)
    } else if let Some(vocabulary) = optional(directory, "vocab.txt")? {
        word_pieces::tokenizer_json(&vocabulary, &config)
    } else {
        // Named in the message as what is missing.
        return read(&directory.join("tokenizer.json"));
    };
    made.map_err(|(file, problem)| TokenizerError::Malformed {
        origin,
        file,
        problem,
    })
}

/// A file of a directory, where it is there.
pub(crate) fn optional(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, TokenizerError> {
    let path = directory.join(name);
    path.exists().then(|| read(&path)).transpose()
}

/// The ids that the file declares must be those that the library gave out, and every flag that the
/// search for control tokens does not honour is refused.
fn check_added_tokens(
    origin: &str,
    inner: &tokenizers::Tokenizer,
    header: &TokenizerHeader,
) -> Result<(), TokenizerError> {
    let unsupported = |problem: String| TokenizerError::Unsupported {
        origin: origin.to_owned(),
        problem,
    };
    for row in &header.added_tokens {
        let content = &row.content;
        if inner.token_to_id(content) != Some(row.id) {
            return Err(unsupported(format!(
                "added token `{content}` is declared as {} but would be given {:?}",
                row.id,
                inner.token_to_id(content)
            )));
        }
        if row.single_word && row.is_control() {
            return Err(unsupported(format!(
                "added token `{content}` asks for `single_word`, which is not supported"
            )));
        }
    }
    Ok(())
}

/// The control tokens, ready to be searched for.
#[derive(Debug)]
struct ControlTokens {
    /// Longest first within a bucket.
    by_first_byte: BTreeMap<u8, Vec<AddedTokenRow>>,
    ids: HashSet<u32>,
}

impl ControlTokens {
    fn new(rows: &[AddedTokenRow]) -> Self {
        let mut by_first_byte: BTreeMap<u8, Vec<AddedTokenRow>> = BTreeMap::new();
        let control = rows.iter().filter(|row| row.is_control());
        for row in control.clone() {
            if let Some(first) = row.content.bytes().next() {
                by_first_byte.entry(first).or_default().push(row.clone());
            }
        }
        for bucket in by_first_byte.values_mut() {
            bucket.sort_by_key(|row| std::cmp::Reverse(row.content.len()));
        }
        Self {
            by_first_byte,
            ids: control.map(|row| row.id).collect(),
        }
    }

    /// Leftmost-longest matches that lie wholly outside `content`.
    fn find<'a>(
        &'a self,
        text: &str,
        content: &[Range<usize>],
    ) -> Vec<(Range<usize>, &'a AddedTokenRow)> {
        let mut found = Vec::new();
        let mut start = 0;
        for range in content {
            self.find_in(text, start..range.start, &mut found);
            start = range.end;
        }
        self.find_in(text, start..text.len(), &mut found);
        found
    }

    fn find_in<'a>(
        &'a self,
        text: &str,
        gap: Range<usize>,
        found: &mut Vec<(Range<usize>, &'a AddedTokenRow)>,
    ) {
        let bytes = &text.as_bytes()[..gap.end];
        let mut at = gap.start;
        while at < gap.end {
            let matched = self.by_first_byte.get(&bytes[at]).and_then(|bucket| {
                bucket
                    .iter()
                    .find(|row| bytes[at..].starts_with(row.content.as_bytes()))
            });
            match matched {
                Some(row) => {
                    found.push((at..at + row.content.len(), row));
                    at += row.content.len();
                }
                None => at += 1,
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    regular_file::read(path, MAX_FILE_BYTES).map_err(|source| TokenizerError::Read {
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn parse_json(
    origin: &str,
    file: &'static str,
    bytes: Option<&[u8]>,
) -> Result<Value, TokenizerError> {
    bytes.map_or(Ok(Value::Null), |bytes| {
        serde_json::from_slice(bytes).map_err(|error| TokenizerError::Malformed {
            origin: origin.to_owned(),
            file,
            problem: error.to_string(),
        })
    })
}

/// A token's text, written as a string or as an object with `content`.
pub(crate) fn token_name(config: &Value, key: &str) -> Option<String> {
    let value = &config[key];
    value
        .as_str()
        .or_else(|| value["content"].as_str())
        .map(str::to_owned)
}

/// One id or a list of them.
fn listed_ids(value: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(ids) => ids.iter().filter_map(id).collect(),
        single => id(single).into_iter().collect(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}
