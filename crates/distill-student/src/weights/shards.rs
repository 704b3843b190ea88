//! A model's weights out, as a Hugging Face directory has them: one file, or several and an index.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::{Map, json};

use super::write::{Entry, LIBRARY, header, write_values};
use super::{DecoderWeights, Precision};
use crate::decoder::{DecoderConfig, DecoderError};
use crate::lora::LoraAdapter;

/// Bytes of values in one file, unless a single tensor has more. What transformers did for years.
pub const SHARD_BYTES: u64 = 5_000_000_000;

const HEAD: &str = "lm_head.weight";
const EMBEDDINGS: &str = "model.embed_tokens.weight";

/// How a model is written.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// Added into the weights; a tensor at a time, so that no second model is in memory.
    pub adapter: Option<&'a LoraAdapter>,
    /// The type of every tensor; none: each as the weights have it.
    pub precision: Option<Precision>,
    /// Bytes of values in one file.
    pub shard_bytes: u64,
}

impl Default for Written<'_> {
    fn default() -> Self {
        Self {
            adapter: None,
            precision: None,
            shard_bytes: SHARD_BYTES,
        }
    }
}

impl DecoderWeights {
    /// Writes `config.json` and `model.safetensors`, or numbered files with
    /// `model.safetensors.index.json`, into a directory that exists. The same weights give the same
    /// bytes. What is written is the same as [`Self::merge`] gives, without a merged copy in memory.
    ///
    /// # Errors
    /// The adapter does not fit, the weights are held in four bits, or a file cannot be written.
    pub fn write_dir(&self, directory: &Path, how: &Written<'_>) -> Result<(), DecoderError> {
        self.as_stored()?;
        let config = self.written_config(how)?;
        write_file(&directory.join("config.json"), config.to_json().as_bytes())?;
        let unties = how.adapter.is_some_and(|a| a.unties(&self.config));
        let mut names: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        if unties {
            names.push(HEAD);
            names.sort_unstable();
        }
        let entries = names
            .into_iter()
            .map(|name| {
                let tensor = self.source(name)?;
                Ok(Entry {
                    name,
                    shape: tensor.dims(),
                    precision: how.precision.unwrap_or_else(|| stored(tensor)),
                })
            })
            .collect::<Result<Vec<_>, DecoderError>>()?;
        let shards = shards(&entries, how.shard_bytes);
        let mut places = Map::new();
        for (index, shard) in shards.iter().enumerate() {
            let file = match shards.len() {
                1 => "model.safetensors".to_owned(),
                count => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
            };
            self.write_shard(&directory.join(&file), shard, how)?;
            places.extend(
                shard
                    .iter()
                    .map(|entry| (entry.name.to_owned(), json!(file))),
            );
        }
        if shards.len() > 1 {
            let bytes: u64 = entries.iter().map(Entry::bytes).sum();
            let index = json!({"metadata": {"total_size": bytes}, "weight_map": places});
            let path = directory.join("model.safetensors.index.json");
            write_file(&path, format!("{index:#}\n").as_bytes())?;
        }
        Ok(())
    }

    /// The configuration that belongs to what is written.
    fn written_config(&self, how: &Written<'_>) -> Result<DecoderConfig, DecoderError> {
        let mut config = self.config.clone();
        if let Some(adapter) = how.adapter {
            adapter.check(&config)?;
            if adapter.unties(&config) {
                config.untie();
            }
        }
        if let Some(precision) = how.precision {
            config.tell_precision(precision);
        }
        Ok(config)
    }

    /// The tensor that the one of this name is made of.
    fn source(&self, name: &str) -> Result<&Tensor, DecoderError> {
        // A head that is untied begins as the embeddings.
        let absent = name == HEAD && !self.tensors.contains_key(HEAD);
        self.get(if absent { EMBEDDINGS } else { name })
    }

    fn write_shard(
        &self,
        path: &Path,
        entries: &[Entry<'_>],
        how: &Written<'_>,
    ) -> Result<(), DecoderError> {
        let failed = |source| DecoderError::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        file.write_all(&header(entries, Some(LIBRARY)))
            .map_err(failed)?;
        for entry in entries {
            let tensor = self.source(entry.name)?;
            let module = entry.name.strip_suffix(".weight");
            match how.adapter.zip(module) {
                Some((adapter, module)) => {
                    let merged = adapter.merged_weight(module, tensor)?;
                    write_values(&merged, entry.precision, &mut file)?;
                }
                None => write_values(tensor, entry.precision, &mut file)?,
            }
        }
        let file = file
            .into_inner()
            .map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)
    }
}

fn stored(tensor: &Tensor) -> Precision {
    if tensor.dtype() == DType::BF16 {
        Precision::Bf16
    } else {
        Precision::F32
    }
}

/// Runs of tensors of at most so many bytes; a larger tensor has a file to itself.
fn shards<'a, 'b>(entries: &'b [Entry<'a>], most: u64) -> Vec<&'b [Entry<'a>]> {
    let mut shards = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, entry) in entries.iter().enumerate() {
        if at > start && bytes + entry.bytes() > most {
            shards.push(&entries[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += entry.bytes();
    }
    shards.push(&entries[start..]);
    shards
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), DecoderError> {
    std::fs::write(path, bytes).map_err(|source| DecoderError::Io {
        path: path.to_owned(),
        source,
    })
}
