//! `manifest.json`: what a bundle says about itself.

use std::{collections::BTreeMap, path::Path};

use distill_chat::{Fields, TaskDefinition};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BundleError, files, sha256};
use crate::{linear::LinearSettings, ops::Storage, template::ChatLimits};

/// Version of the directory's layout.
pub const FORMAT: u32 = 1;
pub(super) const NAME: &str = "manifest.json";
/// Largest manifest: thousands of labels and dozens of golden rows fit well.
const MAX_BYTES: u64 = 16 << 20;

/// Everything about a student but its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub name: String,
    pub student: StudentManifest,
    pub task: TaskDefinition,
    /// By file name.
    pub files: BTreeMap<String, FileEntry>,
    pub golden: Vec<GoldenRow>,
    /// From data hash and teachers to run and code version.
    pub lineage: Value,
    /// What the evaluation said; null until there is one.
    pub verdict: Value,
}

/// The class of the student and what that class needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StudentManifest {
    Linear(LinearSettings),
    Encoder(EncoderManifest),
    Decoder(DecoderManifest),
}

/// What an encoder's own files do not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderManifest {
    /// Name of the model that training began from, and a hash over its configuration and weights
    /// ([`EncoderWeights::base_sha256`](crate::encoder::EncoderWeights::base_sha256) where an
    /// adapter was trained). Serving needs the model for an adapter only.
    pub base: String,
    pub base_sha256: String,
    /// The tokens that open and close a row.
    pub first_token: String,
    pub separator_token: String,
    /// Tokens of a row, those two included.
    pub max_tokens: usize,
    #[serde(default, skip_serializing_if = "TunedKind::is_full")]
    pub tuned: TunedKind,
}

/// A decoder's base, renderer and limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecoderManifest {
    /// Name of the base model: `embedded:nano`, or a directory.
    pub base: String,
    /// Hash of the base's configuration and values, whatever type its file stores.
    pub base_sha256: String,
    pub tokenizer_sha256: String,
    /// Source of the chat template.
    pub chat_template: String,
    pub limits: ChatLimits,
    pub tuned: TunedKind,
    /// How an adapter's base is held; none: as its files are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_storage: Option<Storage>,
}

/// What training changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunedKind {
    Adapter,
    #[default]
    Full,
}

impl TunedKind {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_full(&self) -> bool {
        *self == Self::Full
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    pub bytes: u64,
    pub sha256: String,
}

/// A row with what the student made of it when the bundle was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenRow {
    pub fields: Fields,
    /// Ids of the prompt; absent for a linear student.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<u32>>,
    pub answer: String,
}

impl Manifest {
    /// Reads the manifest of a bundle, the version before the rest.
    pub fn read(directory: &Path) -> Result<Self, BundleError> {
        let path = directory.join(NAME);
        let bytes = files::read_bounded(&path, MAX_BYTES)?;
        let malformed = |error: serde_json::Error| BundleError::Malformed {
            path: path.clone(),
            problem: error.to_string(),
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(malformed)?;
        if value["format"] != FORMAT {
            return Err(BundleError::Version {
                path,
                found: value["format"].clone(),
            });
        }
        serde_json::from_value(value).map_err(malformed)
    }

    /// Name and a hash of all that shapes answers; lineage and verdict do not.
    pub fn identity(&self) -> String {
        let shape = serde_json::to_vec(&(&self.student, &self.task, &self.files))
            .expect("a manifest always serialises");
        format!("{}@{}", self.name, &sha256(&shape)[..16])
    }
}
