//! A student as other programs open it: PEFT's adapter directory, or a whole model as transformers
//! saves one.
//!
//! What is exported was proved first (the bundle is opened as serving opens it), and a whole model is
//! proved again as it was written: read back, it must answer the bundle's golden rows as recorded. The
//! folder appears when it is finished, or not at all.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use distill_chat::Task;
use serde_json::{Value, json};

use super::{
    Bundle, BundleError, DecoderManifest, Manifest, StudentManifest, TunedKind, check_golden,
    read_adapter, read_encoder, read_full,
};
use crate::{
    answer::LoadedStudent,
    base::{BaseError, BaseModel, BaseResolver},
    decoder::{Decoder, DecoderError},
    encoder::EncoderStudent,
    lora::LoraAdapter,
    ops::Storage,
    template::TemplateError,
    tokenizer::TokenizerError,
    weights::{DecoderWeights, Precision, Written, model_file},
};

mod card;
mod folder;
#[cfg(test)]
mod tests;
mod texts;

use card::Card;
use folder::Folder;

/// The folder within an adapter's in which its base lies, where nobody could fetch it.
const BASE_FOLDER: &str = "base";

/// What other programs find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportForm {
    /// PEFT's files, for use on the base model.
    Adapter,
    /// A model by itself; an adapter is merged into its base.
    Model,
}

/// What is exported, and where to.
#[derive(Debug)]
pub struct Export<'a> {
    /// The bundle's directory.
    pub bundle: &'a Path,
    /// The folder that is made.
    pub to: &'a Path,
    /// None: an adapter as an adapter, all else as a model.
    pub form: Option<ExportForm>,
    /// The type of a whole model's numbers; none: as its base stores them.
    pub precision: Option<Precision>,
    /// An earlier export in that folder gives way.
    pub replace: bool,
    /// Where the student comes from, for the card: what, and which.
    pub origin: &'a [(String, String)],
    /// Under which licence the base is, where that is known.
    pub licence: Option<&'a str>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    pub form: ExportForm,
    /// Names within the folder, with their bytes, in order.
    pub files: Vec<(String, u64)>,
    /// What whoever opens it should know.
    pub notes: Vec<String>,
    /// Golden rows that the written model answered as recorded; none for an adapter, whose files are
    /// the bundle's own.
    pub proved_rows: Option<usize>,
}

/// Why a student cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(
        "the linear student `{0}` has no weights of a transformer: its n-grams are this program's own"
    )]
    Linear(String),
    #[error("`{0}` is no adapter: all of its weights were trained")]
    NoAdapter(String),
    #[error("`{}` exists and is not empty", .0.display())]
    NotEmpty(PathBuf),
    #[error("`{}` exists and is no folder", .0.display())]
    NoFolder(PathBuf),
    #[error("`{}` holds `{}`, of which the export is made", folder.display(), needed.display())]
    Needed { folder: PathBuf, needed: PathBuf },
    #[error("`{}` holds files that no export wrote, such as `{file}`", folder.display())]
    Foreign { folder: PathBuf, file: String },
    #[error("the model as it was written answers otherwise than the student")]
    Answers(#[source] BundleError),
    #[error("cannot {action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{file}` of base model `{base}` cannot be used: {problem}")]
    BaseFile {
        base: String,
        file: &'static str,
        problem: String,
    },
    #[error("the student cannot be trusted")]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl ExportError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Linear(_) => {
                "serve it with `distill deploy`, or export another student of the run with `--student`"
            }
            Self::NoAdapter(_) => "leave `--format peft` out: it is exported as a whole model",
            Self::NotEmpty(_) => "name another folder, or replace an earlier export with `--force`",
            Self::Foreign { .. } => {
                "name another folder: `--force` replaces an earlier export and nothing else"
            }
            Self::Answers(_) => {
                "write it with `--precision f32`, which rounds nothing, or export the adapter with `--format peft`"
            }
            Self::NoFolder(_) | Self::Needed { .. } => "name another folder",
            Self::Io { source, .. } | Self::Decoder(DecoderError::Io { source, .. }) => {
                match source.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                        "free some space, or name a folder on another disk"
                    }
                    ErrorKind::ResourceBusy | ErrorKind::CrossesDevices => {
                        "name a folder within it: what is mounted there cannot be moved"
                    }
                    _ => "name a folder that can be written",
                }
            }
            Self::Base(_) => {
                "the base model must be on this machine: `distill models fetch NAME` gets one of the hub"
            }
            _ => return None,
        })
    }
}

/// Writes a student into a folder for other programs.
///
/// # Errors
/// An [`ExportError`]; the folder is then as it was.
pub fn export(request: &Export<'_>, bases: &dyn BaseResolver) -> Result<Exported, ExportError> {
    let folder = Folder::begin(request.to, request.replace)?;
    spare(&folder, request, request.bundle)?;
    // Opened as serving does, which proves it; dropped before the base is loaded again.
    let manifest = Bundle::open(request.bundle, bases)?.manifest().clone();
    let part = Part {
        request,
        manifest: &manifest,
        folder: &folder,
    };
    let done = match &manifest.student {
        StudentManifest::Linear(_) => return Err(ExportError::Linear(manifest.name.clone())),
        StudentManifest::Encoder(encoder) => {
            let base = bases.folder(&encoder.base).ok();
            base.map_or(Ok(()), |base| spare(&folder, request, &base))?;
            let student = read_encoder(request.bundle, &manifest, encoder, bases)?;
            part.encoder(&student, &encoder.base)?
        }
        StudentManifest::Decoder(decoder) => {
            let base = bases.resolve(&decoder.base)?;
            if let Some(files) = base.files.folder() {
                spare(&folder, request, files)?;
            }
            part.decoder(decoder, &base)?
        }
    };
    let card = Card {
        manifest: &manifest,
        origin: request.origin,
        licence: request.licence,
        done: &done,
    };
    folder.write("README.md", card.text().as_bytes())?;
    let files = folder.finish(provenance(request, &manifest, done.form))?;
    Ok(Exported {
        form: done.form,
        files,
        notes: done.notes,
        proved_rows: done.proved_rows,
    })
}

/// Refuses to replace what the student itself, or its base, is read from.
fn spare(folder: &Folder, request: &Export<'_>, needed: &Path) -> Result<(), ExportError> {
    if folder.replaces(needed) {
        return Err(ExportError::Needed {
            folder: request.to.to_owned(),
            needed: needed.to_owned(),
        });
    }
    Ok(())
}

/// What was written beside the card.
#[derive(Debug)]
struct Done {
    form: ExportForm,
    notes: Vec<String>,
    proved_rows: Option<usize>,
    /// The base as another program names it, and its revision; none where it lies in the folder.
    base: Option<(String, Option<String>)>,
}

struct Part<'a> {
    request: &'a Export<'a>,
    manifest: &'a Manifest,
    folder: &'a Folder,
}

impl Part<'_> {
    fn no_adapter(&self) -> Result<(), ExportError> {
        if self.request.form == Some(ExportForm::Adapter) {
            return Err(ExportError::NoAdapter(self.manifest.name.clone()));
        }
        Ok(())
    }

    fn encoder(&self, student: &EncoderStudent, base: &str) -> Result<Done, ExportError> {
        for (name, bytes) in texts::of_encoder(student.tokenizer())? {
            self.folder.write(name, &bytes)?;
        }
        let notes = vec![
            "it was given the user's message alone, as the prompt template makes it".to_owned(),
        ];
        if let Some(adapter) = student.adapter()
            && self.request.form != Some(ExportForm::Model)
        {
            let (name, revision) = revision(base);
            self.adapter_files(adapter, &name, revision.as_deref())?;
            return Ok(Done {
                form: ExportForm::Adapter,
                notes,
                proved_rows: None,
                base: Some((name, revision)),
            });
        }
        self.no_adapter()?;
        let weights = student.weights();
        let precision = self.request.precision.unwrap_or(Precision::F32);
        let mut config = weights.config().to_json();
        if let Some(precision) = self.request.precision {
            config = texts::with_precision(&config, precision);
        }
        self.folder.write("config.json", config.as_bytes())?;
        let bytes = model_file(weights.tensors(), precision)?;
        self.folder.write("model.safetensors", &bytes)?;
        Ok(Done {
            form: ExportForm::Model,
            notes,
            proved_rows: None,
            base: Some(revision(base)),
        })
    }

    fn decoder(&self, decoder: &DecoderManifest, base: &BaseModel) -> Result<Done, ExportError> {
        let bundle = self.request.bundle;
        for (name, bytes) in texts::of_decoder(decoder, base)? {
            self.folder.write(name, &bytes)?;
        }
        match decoder.tuned {
            TunedKind::Adapter => {
                let adapter = read_adapter(bundle, &self.manifest.files, decoder)?;
                if self.request.form == Some(ExportForm::Model) {
                    return self.model(decoder, base, Some(&adapter), &base.weights);
                }
                self.adapter(decoder, base, &adapter)
            }
            TunedKind::Full => {
                self.no_adapter()?;
                let weights = read_full(bundle, &self.manifest.files, base)?;
                self.model(decoder, base, None, &weights)
            }
        }
    }

    fn adapter(
        &self,
        decoder: &DecoderManifest,
        base: &BaseModel,
        adapter: &LoraAdapter,
    ) -> Result<Done, ExportError> {
        let embedded = base.files.folder().is_none();
        let (name, revision) = if embedded {
            (BASE_FOLDER.to_owned(), None)
        } else {
            revision(&decoder.base)
        };
        self.adapter_files(adapter, &name, revision.as_deref())?;
        let mut notes = Vec::new();
        if embedded {
            let inner = self.folder.inner(BASE_FOLDER)?;
            base.weights.write_dir(&inner, &Written::default())?;
            for (file, bytes) in texts::of_decoder(decoder, base)? {
                self.folder
                    .write(&format!("{BASE_FOLDER}/{file}"), &bytes)?;
            }
            notes.push(format!(
                "the base model is part of this program, so it lies beside the adapter, in `{BASE_FOLDER}`"
            ));
        }
        if decoder.base_storage == Some(Storage::Nf4) {
            notes.push(
                "the adapter was trained on a base in four bits (NF4, blocks of 64, scales not \
                 quantised again): on the base as it is stored it answers somewhat otherwise"
                    .to_owned(),
            );
        }
        notes.extend(texts::wrapped(base)?);
        Ok(Done {
            form: ExportForm::Adapter,
            notes,
            proved_rows: None,
            base: (!embedded).then_some((name, revision)),
        })
    }

    /// PEFT's two files, with the base's name and commit.
    fn adapter_files(
        &self,
        adapter: &LoraAdapter,
        base: &str,
        revision: Option<&str>,
    ) -> Result<(), ExportError> {
        let mut config: Value = serde_json::from_str(&adapter.adapter_config_json(base))
            .expect("a configuration that was just written is JSON");
        config["revision"] = json!(revision);
        let config = format!("{config:#}\n");
        self.folder
            .write("adapter_config.json", config.as_bytes())?;
        let tensors = model_file(adapter.tensors(), Precision::F32)?;
        self.folder.write("adapter_model.safetensors", &tensors)
    }

    /// Writes a whole model and holds what was written to the golden rows.
    fn model(
        &self,
        decoder: &DecoderManifest,
        base: &BaseModel,
        adapter: Option<&LoraAdapter>,
        weights: &DecoderWeights,
    ) -> Result<Done, ExportError> {
        let how = Written {
            adapter,
            precision: self.request.precision,
            ..Written::default()
        };
        weights.write_dir(self.folder.path(), &how)?;
        let mut notes = Vec::new();
        if decoder.base_storage == Some(Storage::Nf4) {
            let bytes = match self.request.precision.unwrap_or(weights.precision()) {
                Precision::F32 => "four",
                Precision::Bf16 => "two",
            };
            notes.push(format!(
                "the base was held in four bits while it was trained and measured: its weights are \
                 written as those four bits give them, in {bytes} bytes each, so that the model \
                 answers as it was measured; it takes as much memory as an unquantised one"
            ));
        }
        self.prove(decoder)?;
        Ok(Done {
            form: ExportForm::Model,
            notes,
            proved_rows: Some(self.manifest.golden.len()),
            base: base.files.folder().map(|_| revision(&decoder.base)),
        })
    }

    /// Reads the model back as a stranger's and asks it the golden rows.
    fn prove(&self, decoder: &DecoderManifest) -> Result<(), ExportError> {
        let name = self.folder.path().display().to_string();
        let written = BaseModel::from_directory(&name, self.folder.path())?;
        let encoder = decoder.encoder(&written)?;
        let task = Task::new(self.manifest.task.clone()).map_err(BundleError::from)?;
        let model = Decoder::new(&written.weights)?;
        let student = LoadedStudent::decoder(&self.manifest.name, task, model, encoder);
        check_golden(&student, &self.manifest.golden, true).map_err(ExportError::Answers)
    }
}

/// A base of the hub by its name and its commit; any other by its name alone.
fn revision(base: &str) -> (String, Option<String>) {
    match base.split_once('@') {
        Some((name, revision)) if !Path::new(base).exists() => {
            (name.to_owned(), Some(revision.to_owned()))
        }
        _ => (base.to_owned(), None),
    }
}

/// What the export says of itself, for programs.
fn provenance(request: &Export<'_>, manifest: &Manifest, form: ExportForm) -> Value {
    let (base, hash) = match &manifest.student {
        StudentManifest::Linear(_) => (None, None),
        StudentManifest::Encoder(encoder) => (Some(&encoder.base), Some(&encoder.base_sha256)),
        StudentManifest::Decoder(decoder) => (Some(&decoder.base), Some(&decoder.base_sha256)),
    };
    let origin: serde_json::Map<String, Value> = request
        .origin
        .iter()
        .map(|(what, which)| (what.clone(), json!(which)))
        .collect();
    json!({
        "student": manifest.name,
        "identity": manifest.identity(),
        "form": match form {
            ExportForm::Adapter => "peft",
            ExportForm::Model => "hf",
        },
        "base": base,
        "base_sha256": hash,
        "licence": request.licence,
        "origin": origin,
        "task": manifest.task,
        "golden": manifest.golden,
    })
}
