//! Base models: what a decoder student is tuned from, resolved by name.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use crate::{
    decoder::{DecoderConfig, DecoderError},
    regular_file,
    template::{ChatTemplate, TemplateError},
    tokenizer::{Tokenizer, TokenizerError, TokenizerFiles},
    weights::DecoderWeights,
};

#[cfg(test)]
pub(crate) mod tests;

/// Frozen weights with the tokenizer and chat template that belong to them. Clones share all three.
#[derive(Debug, Clone)]
pub struct BaseModel {
    /// As the user names it: `embedded:nano`, a directory, or `org/name@commit`.
    pub name: String,
    pub weights: DecoderWeights,
    pub tokenizer: Arc<Tokenizer>,
    pub template: Arc<ChatTemplate>,
}

/// Why a base model cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    #[error("`{name}` is no embedded model; embedded are: {known}")]
    UnknownEmbedded { name: String, known: String },
    #[error(
        "base model `{name}` is neither a directory with Hugging Face files nor among the models that were fetched"
    )]
    NotADirectory { name: String },
    #[error("cannot read `{}` of base model `{name}`", path.display())]
    Read {
        name: String,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot load the weights of base model `{name}`")]
    Weights {
        name: String,
        #[source]
        source: DecoderError,
    },
    #[error("cannot load the tokenizer of base model `{name}`")]
    Tokenizer {
        name: String,
        #[source]
        source: TokenizerError,
    },
    #[error("cannot load the chat template of base model `{name}`")]
    Template {
        name: String,
        #[source]
        source: TemplateError,
    },
    #[error(
        "the tokenizer of base model `{name}` has {tokens} tokens, its weights hold only {vocabulary}"
    )]
    Vocabulary {
        name: String,
        tokens: usize,
        vocabulary: usize,
    },
}

impl BaseModel {
    /// Reads a directory as `save_pretrained` writes it. The chat template comes from
    /// `chat_template.jinja` or from `tokenizer_config.json`.
    pub fn from_directory(name: &str, directory: &Path) -> Result<Self, BaseError> {
        let weights = DecoderWeights::from_dir(directory).map_err(|source| BaseError::Weights {
            name: name.to_owned(),
            source,
        })?;
        let tokenizer =
            Tokenizer::from_directory(directory).map_err(|source| BaseError::Tokenizer {
                name: name.to_owned(),
                source,
            })?;
        let read = |file: &str| -> Result<Option<Vec<u8>>, BaseError> {
            let path = directory.join(file);
            if !path.exists() {
                return Ok(None);
            }
            regular_file::read(&path, LONGEST_TEXT)
                .map(Some)
                .map_err(|source| BaseError::Read {
                    name: name.to_owned(),
                    path,
                    source,
                })
        };
        let source = read("chat_template.jinja")?;
        let config = read("tokenizer_config.json")?;
        let template = match source.map(String::from_utf8) {
            Some(Ok(source)) => {
                ChatTemplate::new(&source, tokenizer.bos_token(), tokenizer.eos_token())
            }
            Some(Err(_)) => Err(TemplateError::Compile("it is not UTF-8".to_owned())),
            None => ChatTemplate::from_config(&config.unwrap_or_default(), &tokenizer),
        };
        Self::assemble(name, weights, tokenizer, template)
    }

    /// Builds a base model from file contents: `config.json`, the weights, the tokenizer's files
    /// and the source of the chat template.
    pub fn from_files(
        name: &str,
        config: &str,
        safetensors: &[u8],
        tokenizer: &TokenizerFiles<'_>,
        template: &str,
    ) -> Result<Self, BaseError> {
        let weights = DecoderConfig::from_json(config)
            .and_then(|config| DecoderWeights::from_safetensors(config, safetensors))
            .map_err(|source| BaseError::Weights {
                name: name.to_owned(),
                source,
            })?;
        let tokenizer =
            Tokenizer::from_files(name, tokenizer).map_err(|source| BaseError::Tokenizer {
                name: name.to_owned(),
                source,
            })?;
        let template = ChatTemplate::new(template, tokenizer.bos_token(), tokenizer.eos_token());
        Self::assemble(name, weights, tokenizer, template)
    }

    fn assemble(
        name: &str,
        weights: DecoderWeights,
        tokenizer: Tokenizer,
        template: Result<ChatTemplate, TemplateError>,
    ) -> Result<Self, BaseError> {
        let template = template.map_err(|source| BaseError::Template {
            name: name.to_owned(),
            source,
        })?;
        let (tokens, vocabulary) = (tokenizer.vocabulary_size(), weights.config().vocab_size);
        if tokens > vocabulary {
            return Err(BaseError::Vocabulary {
                name: name.to_owned(),
                tokens,
                vocabulary,
            });
        }
        Ok(Self {
            name: name.to_owned(),
            weights,
            tokenizer: Arc::new(tokenizer),
            template: Arc::new(template),
        })
    }
}

/// Longest template or tokenizer configuration; those of the largest models have some megabytes.
const LONGEST_TEXT: u64 = 64 << 20;

/// Where base models come from.
pub trait BaseResolver {
    fn resolve(&self, name: &str) -> Result<BaseModel, BaseError>;
}

/// Says in which folder the files of a model lie, for a name such as `org/name@commit`.
pub type FindFolder = Box<dyn Fn(&str) -> Option<PathBuf> + Send + Sync>;

static FIND_FOLDER: OnceLock<FindFolder> = OnceLock::new();

/// Tells this process, once and for all, where models lie that are neither embedded nor named by their
/// directory. A second call changes nothing and gives `false`. One place for the whole process, since
/// a bundle names its base in words, and every program that opens one must mean the same model.
pub fn find_folders_with(find: FindFolder) -> bool {
    FIND_FOLDER.set(find).is_ok()
}

/// Makes one embedded model.
pub type EmbeddedModel = fn() -> Result<BaseModel, BaseError>;

/// Names that begin with `embedded:` are looked up in a list; any other is a directory, or a name
/// whose folder [`find_folders_with`] can tell.
#[derive(Debug, Clone, Default)]
pub struct StandardBases {
    embedded: Vec<(&'static str, EmbeddedModel)>,
}

impl StandardBases {
    /// No embedded model, directories only.
    pub fn directories() -> Self {
        Self::default()
    }

    /// Adds an embedded model under its full name.
    #[must_use]
    pub fn with(mut self, name: &'static str, model: EmbeddedModel) -> Self {
        self.embedded.push((name, model));
        self
    }
}

impl BaseResolver for StandardBases {
    fn resolve(&self, name: &str) -> Result<BaseModel, BaseError> {
        if let Some((_, model)) = self.embedded.iter().find(|(known, _)| *known == name) {
            return model();
        }
        if name.starts_with("embedded:") {
            let known: Vec<_> = self.embedded.iter().map(|(known, _)| *known).collect();
            return Err(BaseError::UnknownEmbedded {
                name: name.to_owned(),
                known: known.join(", "),
            });
        }
        let directory = Path::new(name);
        if directory.is_dir() {
            return BaseModel::from_directory(name, directory);
        }
        match FIND_FOLDER.get().and_then(|find| find(name)) {
            Some(folder) => BaseModel::from_directory(name, &folder),
            None => Err(BaseError::NotADirectory {
                name: name.to_owned(),
            }),
        }
    }
}
