//! A student as a directory that can be carried to another machine.
//!
//! ```text
//! manifest.json              contract, hashes, golden rows, lineage, verdict; written last
//! linear.safetensors         a linear student's n-grams and weights
//! adapter_config.json        a tuned decoder's adapter, in PEFT's format
//! adapter_model.safetensors
//! config.json                a fully fine-tuned decoder, or an encoder
//! model.safetensors
//! tokenizer.json             an encoder's own
//! ```
//!
//! A bundle is opened as if a stranger had made it: file names are fixed, sizes are bounded and
//! compared with the manifest before a byte is read, hashes before a byte is parsed, and no value may
//! be NaN. Then it has to prove itself: the golden rows must give the recorded token ids (renderer
//! and tokenizer unchanged) and the recorded answers (weights and engine unchanged).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::Device;
use distill_chat::{Fields, Task, TaskDefinition, TaskError};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    answer::{AnswerError, LoadedStudent},
    base::{BaseError, BaseModel, BaseResolver},
    decoder::{Decoder, DecoderConfig, DecoderError, DecoderPlan},
    device::{DeviceChoice, DeviceError},
    encoder::{EncoderConfig, EncoderStudent, EncoderTokenizer, EncoderWeights},
    linear::{LinearError, LinearStudent},
    lora::LoraAdapter,
    template::{ChatEncoder, ChatLimits, ChatTemplate, TemplateError},
    tokenizer::{TokenizerError, hex},
    weights::DecoderWeights,
};

pub mod export;
mod files;
mod manifest;
#[cfg(test)]
mod tests;
mod write;

use files::{File, read_file};
pub use manifest::{
    DecoderManifest, EncoderManifest, FORMAT, FileEntry, GoldenRow, Manifest, StudentManifest,
    TunedKind,
};
pub use write::{BundleContents, BundleStudent, Tuned, set_verdict, write_bundle};

/// Most golden rows that are checked on opening.
pub const MAX_GOLDEN_ROWS: usize = 32;

/// Why a bundle cannot be written or trusted.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("cannot {action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` cannot be read: {problem}", path.display())]
    Malformed { path: PathBuf, problem: String },
    #[error("`{}` has format {found}; this version reads format {FORMAT}", path.display())]
    Version { path: PathBuf, found: Value },
    #[error("`{}` has {bytes} bytes, {problem}", path.display())]
    Size {
        path: PathBuf,
        bytes: u64,
        problem: String,
    },
    #[error("`{}` has changed since the bundle was written", path.display())]
    Hash { path: PathBuf },
    #[error("tensor `{tensor}` of `{}` holds a value that is not a finite number", path.display())]
    NotFinite { path: PathBuf, tensor: String },
    #[error("base model `{base}` does not have the {what} that the student was trained on")]
    Base { base: String, what: &'static str },
    #[error("the student's answers are outside the task: label `{0}`")]
    ForeignLabel(String),
    #[error("prompts of {prompt} and replies of {reply} tokens do not fit the model's {context}")]
    Context {
        prompt: usize,
        reply: usize,
        context: usize,
    },
    #[error("a bundle needs 1 to {MAX_GOLDEN_ROWS} golden rows, not {0}")]
    GoldenCount(usize),
    #[error("golden row {row} renders to other tokens than when the bundle was written")]
    GoldenTokens { row: usize },
    #[error(
        "golden row {row} is answered `{found}`, it was `{expected}` when the bundle was written"
    )]
    GoldenAnswer {
        row: usize,
        expected: String,
        found: String,
    },
    #[error("golden row {row} cannot be answered")]
    GoldenFailed {
        row: usize,
        #[source]
        source: AnswerError,
    },
    #[error("the task of the student does not hold")]
    Task(#[from] TaskError),
    #[error(transparent)]
    BaseModel(#[from] BaseError),
    #[error(transparent)]
    Linear(#[from] LinearError),
    #[error("the tokenizer of the student cannot be loaded")]
    Tokenizer(#[from] TokenizerError),
    #[error("the student has other labels than its task")]
    Labels,
    #[error("the model of the student cannot be loaded")]
    Decoder(#[from] DecoderError),
    #[error("the chat template of the student does not hold")]
    Template(#[from] TemplateError),
}

/// An opened bundle: everything in it was verified.
#[derive(Debug)]
pub struct Bundle {
    manifest: Manifest,
    student: LoadedStudent,
}

impl Bundle {
    /// Reads and verifies a bundle; `bases` supplies the base model of a decoder.
    pub fn open(directory: &Path, bases: &dyn BaseResolver) -> Result<Self, BundleError> {
        Self::open_on(directory, bases, DeviceChoice::Cpu)
    }

    /// As [`Self::open`], with a decoder that runs on a device; other students run on the
    /// processor. Its recorded answers were given on the processor and are compared there alone:
    /// on another device two nearly equal tokens may change places.
    pub fn open_on(
        directory: &Path,
        bases: &dyn BaseResolver,
        device: DeviceChoice,
    ) -> Result<Self, BundleError> {
        let device = device.open()?;
        let manifest = Manifest::read(directory)?;
        let task = Task::new(manifest.task.clone())?;
        let identity = manifest.identity();
        let student = match &manifest.student {
            StudentManifest::Linear(settings) => {
                let tensors = read_file(directory, &manifest.files, File::Linear)?;
                let student = LinearStudent::from_parts(settings.clone(), &tensors)?;
                check_labels(&student, &manifest.task)?;
                LoadedStudent::linear(&identity, task, student)
            }
            StudentManifest::Encoder(encoder) => {
                let student = read_encoder(directory, &manifest, encoder, bases)?;
                check_encoder(&student, &manifest.task)?;
                LoadedStudent::encoder(&identity, task, student)
            }
            StudentManifest::Decoder(decoder) => {
                let base = bases.resolve_held(&decoder.base, decoder.base_storage)?;
                decoder.check_base(&base)?;
                let model = read_decoder(directory, &manifest.files, decoder, (&base, &device))?;
                let encoder = decoder.encoder(&base)?;
                check_context(model.config(), encoder.limits())?;
                LoadedStudent::decoder(&identity, task, model, encoder)
            }
        };
        check_golden(&student, &manifest.golden, device.is_cpu())?;
        Ok(Self { manifest, student })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn student(&self) -> &LoadedStudent {
        &self.student
    }

    pub fn into_student(self) -> LoadedStudent {
        self.student
    }
}

impl DecoderManifest {
    fn check_base(&self, base: &BaseModel) -> Result<(), BundleError> {
        let differs = |what| BundleError::Base {
            base: base.name.clone(),
            what,
        };
        if base.tokenizer.sha256() != self.tokenizer_sha256 {
            return Err(differs("tokenizer"));
        }
        if base.weights.sha256()? != self.base_sha256 {
            return Err(differs("weights"));
        }
        Ok(())
    }

    /// The template that the bundle carries, over the base model's tokenizer.
    fn encoder(&self, base: &BaseModel) -> Result<ChatEncoder, BundleError> {
        let template = ChatTemplate::new(
            &self.chat_template,
            base.tokenizer.bos_token(),
            base.tokenizer.eos_token(),
        )?;
        let tokenizer = base.tokenizer.clone();
        Ok(ChatEncoder::new(tokenizer, template.into(), self.limits)?)
    }
}

/// Reads a text file of a bundle.
fn read_text(
    directory: &Path,
    files: &BTreeMap<String, FileEntry>,
    file: File,
) -> Result<String, BundleError> {
    String::from_utf8(read_file(directory, files, file)?).map_err(|error| BundleError::Malformed {
        path: directory.join(file.name()),
        problem: error.to_string(),
    })
}

fn read_encoder(
    directory: &Path,
    manifest: &Manifest,
    encoder: &EncoderManifest,
    bases: &dyn BaseResolver,
) -> Result<EncoderStudent, BundleError> {
    let files = &manifest.files;
    let tokenizer = |positions: usize| {
        Ok::<_, BundleError>(EncoderTokenizer::new(
            &directory.display().to_string(),
            read_file(directory, files, File::Tokenizer)?,
            &encoder.first_token,
            &encoder.separator_token,
            encoder.max_tokens.min(positions),
        )?)
    };
    if encoder.tuned == TunedKind::Adapter {
        let config = read_text(directory, files, File::AdapterConfig)?;
        let tensors = read_file(directory, files, File::Adapter)?;
        let adapter = LoraAdapter::from_parts(&config, &tensors)?;
        let folder = bases.folder(&encoder.base)?;
        // What the seed draws is what the adapter brings with it.
        let base = EncoderWeights::from_dir(&folder, &manifest.task.labels, 0)?;
        if base.base_sha256()? != encoder.base_sha256 {
            return Err(BundleError::Base {
                base: encoder.base.clone(),
                what: "weights",
            });
        }
        let tokenizer = tokenizer(base.config().max_position_embeddings)?;
        return Ok(EncoderStudent::adapted(&base, adapter, tokenizer)?);
    }
    let config = EncoderConfig::from_json(&read_text(directory, files, File::ModelConfig)?)?;
    let tokenizer = tokenizer(config.max_position_embeddings)?;
    let tensors = read_file(directory, files, File::Model)?;
    let weights = EncoderWeights::from_safetensors(config, &tensors)?;
    Ok(EncoderStudent::new(weights, tokenizer)?)
}

/// The head must have one row for each label of the task, in its order.
fn check_encoder(student: &EncoderStudent, task: &TaskDefinition) -> Result<(), BundleError> {
    if student.labels() == task.labels {
        Ok(())
    } else {
        Err(BundleError::Labels)
    }
}

fn read_decoder(
    directory: &Path,
    files: &BTreeMap<String, FileEntry>,
    manifest: &DecoderManifest,
    (base, device): (&BaseModel, &Device),
) -> Result<Decoder, BundleError> {
    let plan = DecoderPlan {
        device: Some(device),
        ..DecoderPlan::default()
    };
    Ok(match manifest.tuned {
        TunedKind::Adapter => {
            let adapter = read_adapter(directory, files, manifest)?;
            let plan = DecoderPlan {
                adapter: Some(&adapter),
                ..plan
            };
            Decoder::with_plan(&base.weights, plan)?
        }
        TunedKind::Full => Decoder::with_plan(&read_full(directory, files, base)?, plan)?,
    })
}

fn read_adapter(
    directory: &Path,
    files: &BTreeMap<String, FileEntry>,
    manifest: &DecoderManifest,
) -> Result<LoraAdapter, BundleError> {
    let config = read_text(directory, files, File::AdapterConfig)?;
    let tensors = read_file(directory, files, File::Adapter)?;
    let adapter = LoraAdapter::from_parts(&config, &tensors)?;
    Ok(adapter.with_base_storage(manifest.base_storage))
}

fn read_full(
    directory: &Path,
    files: &BTreeMap<String, FileEntry>,
    base: &BaseModel,
) -> Result<DecoderWeights, BundleError> {
    let config = DecoderConfig::from_json(&read_text(directory, files, File::ModelConfig)?)?;
    if config.vocab_size < base.tokenizer.vocabulary_size() {
        return Err(BundleError::Base {
            base: base.name.clone(),
            what: "vocabulary",
        });
    }
    let tensors = read_file(directory, files, File::Model)?;
    Ok(DecoderWeights::from_safetensors(config, &tensors)?)
}

fn check_labels(student: &LinearStudent, task: &TaskDefinition) -> Result<(), BundleError> {
    let foreign = student
        .labels()
        .iter()
        .find(|label| !task.labels.contains(label));
    foreign.map_or(Ok(()), |label| {
        Err(BundleError::ForeignLabel(label.clone()))
    })
}

fn check_context(config: &DecoderConfig, limits: ChatLimits) -> Result<(), BundleError> {
    let (prompt, reply) = (limits.max_prompt_tokens, limits.max_reply_tokens);
    let context = config.max_position_embeddings;
    let needed = prompt.checked_add(reply);
    if reply > 0 && needed.is_some_and(|needed| needed <= context) {
        Ok(())
    } else {
        Err(BundleError::Context {
            prompt,
            reply,
            context,
        })
    }
}

/// The rows must render to the recorded ids and be answered as recorded.
/// Compares the recorded rows' tokens, and their answers where these were given on the same device.
fn check_golden(
    student: &LoadedStudent,
    golden: &[GoldenRow],
    answers: bool,
) -> Result<(), BundleError> {
    if golden.is_empty() || golden.len() > MAX_GOLDEN_ROWS {
        return Err(BundleError::GoldenCount(golden.len()));
    }
    for (row, expected) in golden.iter().enumerate() {
        let tokens = student
            .prompt_tokens(&expected.fields)
            .map_err(|source| BundleError::GoldenFailed { row, source })?;
        if tokens != expected.tokens {
            return Err(BundleError::GoldenTokens { row });
        }
    }
    if !answers {
        return Ok(());
    }
    let rows: Vec<Fields> = golden.iter().map(|row| row.fields.clone()).collect();
    let answers = student.answer_batch(&rows);
    for (row, (expected, answer)) in golden.iter().zip(answers).enumerate() {
        let answer = answer.map_err(|source| BundleError::GoldenFailed { row, source })?;
        if answer.text != expected.answer {
            return Err(BundleError::GoldenAnswer {
                row,
                expected: expected.answer.clone(),
                found: answer.text,
            });
        }
    }
    Ok(())
}

fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
