//! Base models by reference: what a step's key says of them, and how they are loaded.

use std::path::{Path, PathBuf};

use distill_chat::TaskKind;
use distill_hub::{Cache, ModelName, Registry};
use distill_pipeline::spec::{ModelClass, StudentTarget};
use distill_runner::StepFailure;
use distill_student::{
    base::{BaseModel, BaseResolver as _},
    decoder::{DecoderConfig, DecoderError},
    embedded,
    encoder::{EncoderConfig, EncoderTokenizer, EncoderWeights},
    ops::Storage,
    regular_file,
    template::{ChatEncoder, ChatLimits},
};
use serde::{Deserialize, Serialize};

/// Most of a configuration that is looked at to tell a decoder from an encoder.
pub(crate) const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Tokens that a label or an object may have.
const MAX_REPLY_TOKENS: usize = 128;
/// Tokens that free text may have.
const MAX_TEXT_TOKENS: usize = 1024;

/// Files of a model folder whose content is part of a step's key.
const BASE_FILES: &[&str] = &[
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "generation_config.json",
    "chat_template.jinja",
];

/// A base model by reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseReference {
    /// The model inside the binary; the hash is over its files.
    Embedded { name: String, sha256: String },
    /// A folder with Hugging Face files; their content enters keys as file inputs.
    Directory(PathBuf),
    /// A model of the hub. Its commit says what its files are: they were compared with the hub's
    /// hashes when they came.
    Hub {
        /// `org/name@commit`; with the revision that the spec names where nothing was fetched yet.
        name: String,
        /// Where its files are; none where nothing was fetched yet.
        folder: Option<PathBuf>,
    },
}

impl BaseReference {
    /// Finds the base of a student target. A relative folder is relative to the pipeline file's; a
    /// name that is no folder there is looked for among the models that were fetched. Asks nobody.
    ///
    /// # Errors
    /// A [`StepFailure`] when it is neither a folder nor a name of the hub.
    pub fn of_target(
        target: &StudentTarget,
        folder: &Path,
        fetched: Option<&Cache>,
    ) -> Result<Self, StepFailure> {
        match target {
            StudentTarget::Linear | StudentTarget::Nano => Ok(Self::Embedded {
                name: "nano".to_owned(),
                sha256: embedded::nano_sha256().to_owned(),
            }),
            StudentTarget::Directory(text) => {
                let path = folder.join(text);
                if path.join("config.json").is_file() {
                    return Ok(Self::Directory(path));
                }
                if let Some(name) = hub_name(text, folder) {
                    return Ok(Self::of_hub(&name, fetched));
                }
                Err(StepFailure::bad_input(format!("`{}` holds no model: it has no config.json", path.display()))
                    .hint("give a folder with config.json, model.safetensors, tokenizer.json and tokenizer_config.json, a model of the hub as `org/name`, or `nano`"))
            }
        }
    }

    fn of_hub(name: &ModelName, fetched: Option<&Cache>) -> Self {
        match fetched.and_then(|cache| cache.find(name)) {
            Some(snapshot) => Self::Hub {
                name: snapshot.name.to_string(),
                folder: Some(snapshot.folder),
            },
            None => Self::Hub {
                name: name.to_string(),
                folder: None,
            },
        }
    }

    /// The model's name where it has to be fetched first.
    pub fn missing(&self) -> Option<&str> {
        match self {
            Self::Hub { name, folder: None } => Some(name),
            _ => None,
        }
    }

    /// What a key says of it: the embedded model's hash, the hub's name with its commit. A folder's
    /// files are inputs of their own.
    pub fn identity(&self) -> Option<String> {
        match self {
            Self::Embedded { name, sha256 } => Some(format!("embedded:{name}@{sha256}")),
            Self::Directory(_) => None,
            Self::Hub { name, .. } => Some(format!("hub:{name}")),
        }
    }

    /// Where its files are; none for the embedded model and for what was not fetched yet.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Embedded { .. } => None,
            Self::Directory(path) => Some(path),
            Self::Hub { folder, .. } => folder.as_deref(),
        }
    }

    /// What kind of model it is: by its configuration, or for a model of the hub that is not here by
    /// that of the program's list; what neither says, the pipeline says, or it counts as a decoder.
    pub fn class(&self, said: Option<ModelClass>) -> ModelClass {
        let known = match self {
            Self::Hub { name, folder: None } => listed_class(name),
            _ if self.is_encoder() => Some(ModelClass::Encoder),
            _ => Some(ModelClass::Decoder),
        };
        known.or(said).unwrap_or(ModelClass::Decoder)
    }

    /// Whether nothing but the pipeline can say what kind of model it is.
    pub fn is_of_unknown_class(&self) -> bool {
        matches!(self, Self::Hub { name, folder: None } if listed_class(name).is_none())
    }

    /// Whether it is an encoder, as its configuration says.
    pub fn is_encoder(&self) -> bool {
        let config = self.folder().map(|folder| folder.join("config.json"));
        let text = config.and_then(|path| regular_file::read_text(&path, MAX_CONFIG_BYTES).ok());
        text.is_some_and(|text| EncoderConfig::is_encoder(&text))
    }

    /// The shape of a decoder, where the model is on this machine and is one.
    pub(crate) fn decoder_config(&self) -> Option<DecoderConfig> {
        if matches!(self, Self::Embedded { .. }) {
            return embedded::nano_config().ok();
        }
        let path = self.folder()?.join("config.json");
        let text = regular_file::read_text(&path, MAX_CONFIG_BYTES).ok()?;
        DecoderConfig::from_json(&text).ok()
    }

    /// The shape of an encoder, where the model is on this machine and is one.
    pub(crate) fn encoder_config(&self) -> Option<EncoderConfig> {
        let path = self.folder()?.join("config.json");
        let text = regular_file::read_text(&path, MAX_CONFIG_BYTES).ok()?;
        EncoderConfig::from_json(&text).ok()
    }

    /// How a bundle names it.
    pub fn name(&self) -> String {
        match self {
            Self::Embedded { name, .. } => format!("embedded:{name}"),
            Self::Directory(path) => path.display().to_string(),
            Self::Hub { name, .. } => name.clone(),
        }
    }

    /// The files whose content enters keys.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Embedded { .. } | Self::Hub { .. } => Vec::new(),
            Self::Directory(path) => BASE_FILES
                .iter()
                .map(|file| path.join(file))
                .filter(|file| file.is_file())
                .collect(),
        }
    }

    /// Loads weights, tokenizer and template.
    ///
    /// # Errors
    /// A [`StepFailure`] that names what is wrong with which file.
    pub fn load(&self) -> Result<BaseModel, StepFailure> {
        self.load_held(None)
    }

    /// As [`Self::load`], for a base that is frozen and held like this: what takes less memory so
    /// takes less from the start.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_held(&self, storage: Option<Storage>) -> Result<BaseModel, StepFailure> {
        let loaded = match self {
            Self::Hub { name, folder: None } => {
                return Err(
                    StepFailure::bad_input(format!("the model `{name}` was not fetched")).hint(
                        format!(
                            "`distill models fetch {name}` gets it; `distill run` does so by itself"
                        ),
                    ),
                );
            }
            Self::Hub {
                name,
                folder: Some(folder),
            } => BaseModel::from_directory_held(name, folder, storage),
            Self::Embedded { .. } | Self::Directory(_) => {
                embedded::bases().resolve_held(&self.name(), storage)
            }
        };
        loaded.map_err(|error| {
            StepFailure::bad_input(format!("the base model `{}` cannot be loaded", self.name()))
                .caused_by(error)
                .hint("fetch the model's files again; config.json, model.safetensors, tokenizer.json and tokenizer_config.json must be whole")
        })
    }
}

impl BaseReference {
    /// Loads an encoder with a head for these labels, and its tokenizer.
    ///
    /// # Errors
    /// A [`StepFailure`] when a file is missing or does not fit the others.
    pub fn load_encoder(
        &self,
        labels: &[String],
        seed: u64,
    ) -> Result<(EncoderWeights, EncoderTokenizer), StepFailure> {
        let failure = || {
            StepFailure::bad_input(format!("the base model `{}` cannot be loaded", self.name()))
                .hint("fetch the model's files again; config.json, model.safetensors and tokenizer.json must be whole")
        };
        let folder = self.folder().ok_or_else(failure)?;
        let weights = EncoderWeights::from_dir(folder, labels, seed)
            .map_err(|error| failure().caused_by(error))?;
        let limit = weights.config().max_position_embeddings;
        let tokenizer = EncoderTokenizer::from_directory(folder, limit)
            .map_err(|error| failure().caused_by(error))?;
        tokenizer
            .check(weights.config())
            .map_err(|error| failure().caused_by(error))?;
        Ok((weights, tokenizer))
    }

    /// Loads an encoder that classifies by these labels already, in this order.
    ///
    /// # Errors
    /// A [`StepFailure`] when it has other labels, or cannot be loaded.
    pub fn load_classifier(
        &self,
        labels: &[String],
    ) -> Result<(EncoderWeights, EncoderTokenizer), StepFailure> {
        let own = self
            .encoder_config()
            .map(|config| config.labels)
            .unwrap_or_default();
        if own != labels {
            return Err(StepFailure::bad_input(format!(
                "the local teacher `{}` has the labels {}, not those of the task in their order",
                self.name(),
                own.join(", "),
            ))
            .hint("take a classifier of this task, or a decoder, as the teacher"));
        }
        self.load_encoder(labels, 0)
    }

    /// Looks whether it can be loaded, and whether its chat template renders.
    ///
    /// # Errors
    /// A [`StepFailure`] that names what is wrong with which file.
    pub fn check(&self, kind: TaskKind) -> Result<(), StepFailure> {
        if self.is_encoder() {
            let labels = ["one".to_owned(), "other".to_owned()];
            return self.load_encoder(&labels, 0).map(drop);
        }
        encoder(&self.load()?, kind).map(drop)
    }
}

/// The class of a model of the program's list.
fn listed_class(name: &str) -> Option<ModelClass> {
    let name: ModelName = name.parse().ok()?;
    let registry = Registry::embedded().ok()?;
    let row = registry.find(name.id())?;
    Some(if EncoderConfig::is_encoder(&row.config) {
        ModelClass::Encoder
    } else {
        ModelClass::Decoder
    })
}

/// The model of the hub that a target means, unless it is a folder beside the pipeline.
pub(crate) fn hub_name(text: &str, folder: &Path) -> Option<ModelName> {
    let is_folder = text.starts_with(['.', '/', '\\']) || folder.join(text).exists();
    (!is_folder).then(|| text.parse().ok()).flatten()
}

/// How long prompts and replies may be: the base's context, less room for the reply.
pub(crate) fn limits(base: &BaseModel, kind: TaskKind) -> ChatLimits {
    let context = base.weights.config().max_position_embeddings;
    let wanted = match kind {
        TaskKind::Classify | TaskKind::Extract => MAX_REPLY_TOKENS,
        TaskKind::Generate => MAX_TEXT_TOKENS,
    };
    let max_reply_tokens = wanted.min(context / 2);
    ChatLimits {
        max_prompt_tokens: context.saturating_sub(max_reply_tokens).max(1),
        max_reply_tokens,
    }
}

/// The encoder that training, evaluation and serving share.
///
/// # Errors
/// A [`StepFailure`] when the chat template cannot be used for training.
pub(crate) fn encoder(base: &BaseModel, kind: TaskKind) -> Result<ChatEncoder, StepFailure> {
    let limits = limits(base, kind);
    ChatEncoder::new(base.tokenizer.clone(), base.template.clone(), limits).map_err(|error| {
        StepFailure::bad_input(format!(
            "the chat template of `{}` cannot be used",
            base.name
        ))
        .caused_by(error)
    })
}

/// A failure of the decoder, its weights or its generation.
pub(crate) fn decoder_failure(error: DecoderError) -> StepFailure {
    StepFailure::failed("the decoder cannot be used").caused_by(error)
}
