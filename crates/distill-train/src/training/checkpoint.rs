//! A checkpoint: values, moments, position and the best so far, in one safetensors file that is
//! written beside and renamed, so that it is whole or not there.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use distill_student::regular_file;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::variables::Variables;
use crate::decoder::optimizer::AdamW;
use crate::{Checkpointing, TrainError, TrainSettings};

/// Where training stands.
#[derive(Default)]
pub(crate) struct Progress {
    /// Steps done.
    pub(crate) step: usize,
    pub(crate) tokens_seen: u64,
    /// Of the last step.
    pub(crate) loss: f64,
    pub(crate) best: Option<Best>,
    pub(crate) without_gain: usize,
    pub(crate) stopped_early: bool,
}

pub(crate) struct Best {
    pub(crate) step: usize,
    pub(crate) loss: f64,
    pub(crate) values: Vec<Vec<f32>>,
}

/// What the file says beside its tensors. Numbers with a fraction are kept as bits: they must
/// come back exactly.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    run: String,
    step: usize,
    tokens_seen: u64,
    loss_bits: u64,
    best: Option<(usize, u64)>,
    without_gain: usize,
    stopped_early: bool,
}

const FORMAT: u32 = 2;
const KEY: &str = "distill";
/// Most bytes of a checkpoint that is read: a large model's values with two moments and the best.
const LARGEST: u64 = 1 << 40;

pub(crate) struct Store {
    path: PathBuf,
    run: String,
}

/// Writes a file beside its place, waits for the disk, renames; makes its directory.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let beside = path.with_extension("partial");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    if cfg!(unix) {
        // The name itself is durable only once the directory is.
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

impl Store {
    /// `run` is a hash of everything that decides what training does: [`run_hash`].
    pub(crate) fn new(to: &Checkpointing, run: String) -> Self {
        let path = to.directory.join("checkpoint.safetensors");
        Self { path, run }
    }

    pub(crate) fn save(
        &self,
        variables: &Variables,
        optimizer: &AdamW,
        progress: &Progress,
    ) -> Result<(), TrainError> {
        let header = Header {
            format: FORMAT,
            run: self.run.clone(),
            step: progress.step,
            tokens_seen: progress.tokens_seen,
            loss_bits: progress.loss.to_bits(),
            best: progress.best.as_ref().map(|b| (b.step, b.loss.to_bits())),
            without_gain: progress.without_gain,
            stopped_early: progress.stopped_early,
        };
        let header = serde_json::to_string(&header).map_err(|error| self.refused(&error))?;
        let values = variables.values()?;
        let [first, second] = optimizer.moments(variables)?;
        let mut groups = vec![("value", &values), ("first", &first), ("second", &second)];
        if let Some(best) = &progress.best {
            groups.push(("best", &best.values));
        }
        let mut stored: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (group, tensors) in groups {
            for ((name, _), tensor) in variables.iter().zip(tensors) {
                let bytes = tensor.iter().flat_map(|v| v.to_le_bytes()).collect();
                stored.insert(format!("{group}/{name}"), bytes);
            }
        }
        let views = stored
            .iter()
            .map(|(name, bytes)| {
                let view = TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes);
                view.map(|view| (name.as_str(), view))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| self.refused(&error))?;
        let metadata = HashMap::from([(KEY.to_owned(), header)]);
        let bytes =
            safetensors::serialize(views, Some(metadata)).map_err(|error| self.refused(&error))?;
        replace(&self.path, &bytes).map_err(|error| self.refused(&error))
    }

    /// Puts a run back where its checkpoint left it; does nothing where there is none.
    pub(crate) fn load(
        &self,
        variables: &Variables,
        optimizer: &mut AdamW,
        progress: &mut Progress,
    ) -> Result<(), TrainError> {
        let bytes = match regular_file::read(&self.path, LARGEST) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.unusable(&error)),
        };
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| self.unusable(&error))?;
        let header = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get(KEY))
            .ok_or_else(|| self.unusable(&"it is not a checkpoint"))?;
        let header: Header = serde_json::from_str(header).map_err(|error| self.unusable(&error))?;
        if header.format != FORMAT || header.run != self.run {
            return Err(self.unusable(
                &"it belongs to a run with other weights, data or settings, or on another device",
            ));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(|error| self.unusable(&error))?;
        let group = |group: &str| -> Result<Vec<Vec<f32>>, TrainError> {
            variables
                .iter()
                .map(|(name, tensor)| {
                    let view = file
                        .tensor(&format!("{group}/{name}"))
                        .map_err(|error| self.unusable(&error))?;
                    let (chunks, _) = view.data().as_chunks();
                    if view.dtype() != Dtype::F32 || chunks.len() != tensor.elem_count() {
                        return Err(self.unusable(&format!("`{group}/{name}` has another size")));
                    }
                    Ok(chunks.iter().map(|b| f32::from_le_bytes(*b)).collect())
                })
                .collect()
        };
        variables.set(&group("value")?)?;
        optimizer.restore(header.step, [group("first")?, group("second")?])?;
        let best = match header.best {
            Some((step, loss)) => Some(Best {
                step,
                loss: f64::from_bits(loss),
                values: group("best")?,
            }),
            None => None,
        };
        *progress = Progress {
            step: header.step,
            tokens_seen: header.tokens_seen,
            loss: f64::from_bits(header.loss_bits),
            best,
            without_gain: header.without_gain,
            stopped_early: header.stopped_early,
        };
        Ok(())
    }

    /// For a file that is there: what to do about it is said with it.
    fn unusable(&self, reason: &dyn std::fmt::Display) -> TrainError {
        self.refused(&format!("{reason}; move it away to start afresh"))
    }

    fn refused(&self, reason: &dyn std::fmt::Display) -> TrainError {
        TrainError::Checkpoint {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Begins the hash that ties a checkpoint to its run, with the base and the settings; what training
/// goes on from and the rows are added by whoever knows them.
pub(crate) fn begin_run_hash(base: &str, settings: &TrainSettings) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(base);
    for bits in settings.bits() {
        hash.update(bits.to_le_bytes());
    }
    hash
}

/// The tensors of what training goes on from.
pub(crate) fn add_tensors<'a>(
    hash: &mut Sha256,
    tensors: impl Iterator<Item = (&'a String, &'a Tensor)>,
) -> Result<(), TrainError> {
    for (name, tensor) in tensors {
        hash.update(name);
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        hash.update(&bytes);
    }
    Ok(())
}

pub(crate) fn hexadecimal(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}
