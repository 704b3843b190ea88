//! Base models: what a decoder student is tuned from, resolved by name.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use crate::{
    decoder::{DecoderConfig, DecoderError},
    ops::Storage,
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
    /// What it was read from, beside the weights.
    pub files: BaseFiles,
}

/// The small files that a base model was read from.
#[derive(Debug, Clone)]
pub enum BaseFiles {
    /// All files of this folder.
    Folder(PathBuf),
    /// The content of files by name.
    Held(Arc<BTreeMap<&'static str, Vec<u8>>>),
}

impl BaseFiles {
    /// The content of a file; none where the base has no such file.
    ///
    /// # Errors
    /// It is there and cannot be read, or has no end.
    pub fn read(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        match self {
            Self::Held(files) => Ok(files.get(name).cloned()),
            Self::Folder(folder) => {
                let path = folder.join(name);
                let there = path.exists();
                there
                    .then(|| regular_file::read(&path, LONGEST_TEXT))
                    .transpose()
            }
        }
    }

    /// Where the files are; none where they are held in memory.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Held(_) => None,
        }
    }
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
        Self::from_directory_held(name, directory, None)
    }

    /// As [`Self::from_directory`], for a base that is frozen and held like this
    /// ([`DecoderWeights::from_dir_held`]).
    pub fn from_directory_held(
        name: &str,
        directory: &Path,
        storage: Option<Storage>,
    ) -> Result<Self, BaseError> {
        let weights = DecoderWeights::from_dir_held(directory, storage).map_err(|source| {
            BaseError::Weights {
                name: name.to_owned(),
                source,
            }
        })?;
        let tokenizer =
            Tokenizer::from_directory(directory).map_err(|source| BaseError::Tokenizer {
                name: name.to_owned(),
                source,
            })?;
        let files = BaseFiles::Folder(directory.to_owned());
        let read = |file: &str| -> Result<Option<Vec<u8>>, BaseError> {
            files.read(file).map_err(|source| BaseError::Read {
                name: name.to_owned(),
                path: directory.join(file),
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
        Self::assemble(name, weights, tokenizer, template, files)
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
        let held = [
            ("tokenizer.json", Some(tokenizer.tokenizer_json)),
            ("tokenizer_config.json", tokenizer.tokenizer_config),
            ("generation_config.json", tokenizer.generation_config),
        ]
        .into_iter()
        .filter_map(|(file, bytes)| Some((file, bytes?.to_vec())));
        let held = BaseFiles::Held(Arc::new(held.collect()));
        let tokenizer =
            Tokenizer::from_files(name, tokenizer).map_err(|source| BaseError::Tokenizer {
                name: name.to_owned(),
                source,
            })?;
        let template = ChatTemplate::new(template, tokenizer.bos_token(), tokenizer.eos_token());
        Self::assemble(name, weights, tokenizer, template, held)
    }

    fn assemble(
        name: &str,
        weights: DecoderWeights,
        tokenizer: Tokenizer,
        template: Result<ChatTemplate, TemplateError>,
        files: BaseFiles,
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
            files,
        })
    }
}

/// Longest file beside the weights; the largest tokenizers have some 35 MB.
const LONGEST_TEXT: u64 = 96 << 20;

/// Where base models come from.
pub trait BaseResolver {
    fn resolve(&self, name: &str) -> Result<BaseModel, BaseError>;

    /// As [`Self::resolve`], for an adapter whose base is held like this. A base may come as it is
    /// stored even so: it takes more memory then, and answers the same.
    fn resolve_held(&self, name: &str, _storage: Option<Storage>) -> Result<BaseModel, BaseError> {
        self.resolve(name)
    }

    /// The folder of a model that is no decoder: the base of an encoder's adapter.
    ///
    /// # Errors
    /// There is none of this name.
    fn folder(&self, name: &str) -> Result<PathBuf, BaseError> {
        Err(BaseError::NotADirectory {
            name: name.to_owned(),
        })
    }
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
        self.resolve_held(name, None)
    }

    fn resolve_held(&self, name: &str, storage: Option<Storage>) -> Result<BaseModel, BaseError> {
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
        BaseModel::from_directory_held(name, &self.folder(name)?, storage)
    }

    fn folder(&self, name: &str) -> Result<PathBuf, BaseError> {
        let directory = Path::new(name);
        if directory.is_dir() {
            return Ok(directory.to_owned());
        }
        let found = FIND_FOLDER.get().and_then(|find| find(name));
        found.ok_or_else(|| BaseError::NotADirectory {
            name: name.to_owned(),
        })
    }
}
