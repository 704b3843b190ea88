//! Where a pretraining run stands, on disk.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::Path,
};

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::{PretrainError, Recipe, optimizer::Optimizer};

const FILE: &str = "checkpoint.safetensors";
const RECIPE: &str = "recipe";
const PROGRESS: &str = "progress";

/// How far a run got.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) step: usize,
    pub(super) next_sample: u64,
    pub(super) tokens: u64,
    pub(super) seconds: f64,
    /// Running means over about a hundred steps.
    pub(super) reply_loss: f64,
    pub(super) text_loss: f64,
}

impl Progress {
    pub(super) fn advance(
        &mut self,
        tokens: usize,
        next_sample: u64,
        (reply_loss, text_loss): (f64, f64),
        seconds: f64,
    ) {
        self.step += 1;
        self.next_sample = next_sample;
        self.tokens += tokens as u64;
        self.seconds += seconds;
        let share = 1.0 / self.step.min(100) as f64;
        self.reply_loss += share * (reply_loss - self.reply_loss);
        self.text_loss += share * (text_loss - self.text_loss);
    }
}

/// Writes beside and renames into place.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), PretrainError> {
    let failed = |source: io::Error| PretrainError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let beside = path.with_extension("part");
    fs::write(&beside, bytes).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

pub(super) fn save(
    directory: &Path,
    recipe: &Recipe,
    optimizer: &Optimizer,
    progress: &Progress,
) -> Result<(), PretrainError> {
    let place = serde_json::to_string(progress).expect("progress has only plain fields");
    let about = HashMap::from([
        (RECIPE.to_owned(), recipe.to_json()),
        (PROGRESS.to_owned(), place),
    ]);
    let bytes = safetensors::serialize(optimizer.state()?, Some(about)).map_err(|error| {
        PretrainError::Checkpoint {
            reason: error.to_string(),
        }
    })?;
    write(&directory.join(FILE), &bytes)
}

/// Takes up a checkpoint of the same recipe, if the directory holds one.
pub(super) fn load(
    directory: &Path,
    recipe: &Recipe,
    optimizer: &mut Optimizer,
) -> Result<Option<Progress>, PretrainError> {
    let path = directory.join(FILE);
    let broken = |reason: String| PretrainError::Checkpoint {
        reason: format!("{}: {reason}", path.display()),
    };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broken(error.to_string())),
    };
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| broken(error.to_string()))?;
    let about = header.metadata().clone().unwrap_or_default();
    if about.get(RECIPE) != Some(&recipe.to_json()) {
        return Err(broken("it was made by another recipe".into()));
    }
    let progress = about
        .get(PROGRESS)
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| broken("it does not say how far it got".into()))?;
    let state: HashMap<String, Tensor> =
        candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
    optimizer.restore(&state.into_iter().collect::<BTreeMap<_, _>>())?;
    Ok(Some(progress))
}

/// Clears the checkpoint of a run that is done.
pub(super) fn remove(directory: &Path) -> Result<(), PretrainError> {
    let path = directory.join(FILE);
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PretrainError::Write { path, source })
        }
        _ => Ok(()),
    }
}
