//! Writes a bundle: files first, the manifest last, so that a directory without one is unfinished.

use std::{collections::BTreeMap, path::Path};

use distill_chat::{Fields, Task, TaskDefinition};
use serde_json::Value;

use super::{
    BundleError, DecoderManifest, EncoderManifest, FORMAT, FileEntry, GoldenRow, MAX_GOLDEN_ROWS,
    Manifest, StudentManifest, TunedKind, check_context, check_encoder, check_labels, files::File,
    manifest, sha256,
};
use crate::{
    answer::LoadedStudent,
    base::BaseModel,
    decoder::Decoder,
    encoder::EncoderStudent,
    linear::LinearStudent,
    lora::LoraAdapter,
    template::ChatLimits,
    weights::{DecoderWeights, Precision},
};

/// What goes into a bundle.
#[derive(Debug)]
pub struct BundleContents<'a> {
    pub name: &'a str,
    pub task: &'a TaskDefinition,
    pub student: BundleStudent<'a>,
    /// A few rows; the student's tokens and answers for them are recorded.
    pub golden_rows: &'a [Fields],
    pub lineage: Value,
    pub verdict: Value,
}

#[derive(Debug)]
pub enum BundleStudent<'a> {
    Linear(&'a LinearStudent),
    Encoder {
        student: &'a EncoderStudent,
        /// The model that training began from, and its hash.
        base: &'a str,
        base_sha256: &'a str,
    },
    Decoder {
        base: &'a BaseModel,
        tuned: Tuned<'a>,
        limits: ChatLimits,
    },
}

/// What training made of the base.
#[derive(Debug, Clone, Copy)]
pub enum Tuned<'a> {
    Adapter(&'a LoraAdapter),
    Full(&'a DecoderWeights),
}

/// Writes a bundle into a directory, which is made when it is not there. The same contents give the
/// same bytes.
pub fn write_bundle(
    directory: &Path,
    contents: &BundleContents<'_>,
) -> Result<Manifest, BundleError> {
    let rows = contents.golden_rows;
    if rows.is_empty() || rows.len() > MAX_GOLDEN_ROWS {
        return Err(BundleError::GoldenCount(rows.len()));
    }
    let task = Task::new(contents.task.clone())?;
    let (student, files, loaded) = match &contents.student {
        BundleStudent::Linear(student) => {
            check_labels(student, contents.task)?;
            let files = vec![(File::Linear, student.to_safetensors())];
            let loaded = LoadedStudent::linear(contents.name, task, (*student).clone());
            let settings = student.settings().clone();
            (StudentManifest::Linear(settings), files, loaded)
        }
        BundleStudent::Encoder {
            student,
            base,
            base_sha256,
        } => {
            check_encoder(student, contents.task)?;
            encoder_parts(contents.name, task, student, base, base_sha256)?
        }
        BundleStudent::Decoder {
            base,
            tuned,
            limits,
        } => decoder_parts(contents.name, task, base, *tuned, *limits)?,
    };
    let golden = golden_rows(&loaded, rows)?;
    std::fs::create_dir_all(directory).map_err(|source| BundleError::Io {
        action: "create",
        path: directory.to_owned(),
        source,
    })?;
    let mut entries = BTreeMap::new();
    for (file, bytes) in files {
        write_file(directory, file.name(), &bytes)?;
        let entry = FileEntry {
            bytes: bytes.len() as u64,
            sha256: sha256(&bytes),
        };
        entries.insert(file.name().to_owned(), entry);
    }
    let manifest = Manifest {
        format: FORMAT,
        name: contents.name.to_owned(),
        student,
        task: contents.task.clone(),
        files: entries,
        golden,
        lineage: contents.lineage.clone(),
        verdict: contents.verdict.clone(),
    };
    write_manifest(directory, &manifest)?;
    Ok(manifest)
}

/// Records what the evaluation said, in a bundle that was written before it. Nothing else changes.
pub fn set_verdict(directory: &Path, verdict: Value) -> Result<(), BundleError> {
    let mut manifest = Manifest::read(directory)?;
    manifest.verdict = verdict;
    write_manifest(directory, &manifest)
}

type Parts = (StudentManifest, Vec<(File, Vec<u8>)>, LoadedStudent);

fn encoder_parts(
    name: &str,
    task: Task,
    student: &EncoderStudent,
    base: &str,
    base_sha256: &str,
) -> Result<Parts, BundleError> {
    let (weights, tokenizer) = (student.weights(), student.tokenizer());
    let mut files = match student.adapter() {
        Some(adapter) => adapter_files(adapter, base)?,
        None => vec![
            (File::ModelConfig, weights.config().to_json().into_bytes()),
            (File::Model, weights.to_safetensors()?),
        ],
    };
    files.push((File::Tokenizer, tokenizer.source().to_vec()));
    let (first, separator) = tokenizer.controls();
    let manifest = EncoderManifest {
        base: base.to_owned(),
        base_sha256: base_sha256.to_owned(),
        first_token: first.to_owned(),
        separator_token: separator.to_owned(),
        max_tokens: tokenizer.limit(),
        tuned: match student.adapter() {
            Some(_) => TunedKind::Adapter,
            None => TunedKind::Full,
        },
    };
    let loaded = LoadedStudent::encoder(name, task, student.clone());
    Ok((StudentManifest::Encoder(manifest), files, loaded))
}

fn adapter_files(adapter: &LoraAdapter, base: &str) -> Result<Vec<(File, Vec<u8>)>, BundleError> {
    let config = adapter.adapter_config_json(base).into_bytes();
    Ok(vec![
        (File::AdapterConfig, config),
        (File::Adapter, adapter.to_safetensors()?),
    ])
}

fn decoder_parts(
    name: &str,
    task: Task,
    base: &BaseModel,
    tuned: Tuned<'_>,
    limits: ChatLimits,
) -> Result<Parts, BundleError> {
    let (kind, files, decoder) = match tuned {
        Tuned::Adapter(adapter) => {
            let files = adapter_files(adapter, &base.name)?;
            let decoder = Decoder::with_adapter(&base.weights, adapter)?;
            (TunedKind::Adapter, files, decoder)
        }
        Tuned::Full(weights) => {
            let files = vec![
                (File::ModelConfig, weights.config().to_json().into_bytes()),
                (File::Model, weights.to_safetensors(Precision::F32)?),
            ];
            (TunedKind::Full, files, Decoder::new(weights)?)
        }
    };
    let manifest = DecoderManifest {
        base: base.name.clone(),
        base_sha256: base.weights.sha256()?,
        tokenizer_sha256: base.tokenizer.sha256().to_owned(),
        chat_template: base.template.source().to_owned(),
        limits,
        tuned: kind,
        base_storage: match tuned {
            Tuned::Adapter(adapter) => adapter.base_storage(),
            Tuned::Full(_) => None,
        },
    };
    let encoder = manifest.encoder(base)?;
    check_context(decoder.config(), limits)?;
    let loaded = LoadedStudent::decoder(name, task, decoder, encoder);
    Ok((StudentManifest::Decoder(manifest), files, loaded))
}

fn golden_rows(student: &LoadedStudent, rows: &[Fields]) -> Result<Vec<GoldenRow>, BundleError> {
    let answers = student.answer_batch(rows);
    rows.iter()
        .zip(answers)
        .enumerate()
        .map(|(row, (fields, answer))| {
            let failed = |source| BundleError::GoldenFailed { row, source };
            Ok(GoldenRow {
                fields: fields.clone(),
                tokens: student.prompt_tokens(fields).map_err(failed)?,
                answer: answer.map_err(failed)?.text,
            })
        })
        .collect()
}

fn write_manifest(directory: &Path, manifest: &Manifest) -> Result<(), BundleError> {
    let mut bytes = serde_json::to_vec_pretty(manifest).expect("a manifest always serialises");
    bytes.push(b'\n');
    write_file(directory, manifest::NAME, &bytes)
}

/// Written beside and renamed into place: a reader sees the old file or the new one.
fn write_file(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), BundleError> {
    let path = directory.join(name);
    let beside = directory.join(format!("{name}.partial"));
    let failed = |source| BundleError::Io {
        action: "write",
        path: path.clone(),
        source,
    };
    std::fs::write(&beside, bytes).map_err(failed)?;
    std::fs::rename(&beside, &path).map_err(failed)
}
