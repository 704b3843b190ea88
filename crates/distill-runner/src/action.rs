//! Action records: what was done under which key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use distill_pipeline::graph::StepNode;
use distill_pipeline::hash::{ContentHash, Key};
use distill_pipeline::plan::{Known, Lookup, MissReason};
use distill_pipeline::record::{ActionRecord, RunId, Timestamp};

use crate::artifact::Presence;
use crate::durable::{self, Created};
use crate::home::{Home, StoreError};
use crate::memory;

/// The key that a step of a pipeline had last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastKey {
    pub(crate) key: Key,
    pub(crate) run: RunId,
    pub(crate) at: Timestamp,
}

impl Known for &Home {
    type Error = StoreError;

    fn file(&mut self, path: &Path) -> Result<ContentHash, StoreError> {
        // The memory goes by the whole path, so that it holds wherever the command runs.
        let whole = fs::canonicalize(path).map_err(StoreError::io("read", path))?;
        let content = memory::content(&whole, &self.source_memory(&whole))?;
        Ok(content.hash)
    }

    fn lookup<A>(&mut self, key: &Key, step: &StepNode<A>) -> Result<Lookup, StoreError> {
        let Some(record) = self.read_action(key)? else {
            return Ok(Lookup::Miss(MissReason::NeverMade));
        };
        let same_ports = record.outputs.len() == step.outputs.len()
            && step.outputs.iter().all(|port| {
                let recorded = record.outputs.get(&port.name);
                recorded.is_some_and(|output| output.kind == port.kind)
            });
        if !same_ports {
            return Ok(Lookup::Miss(MissReason::PortsChanged));
        }
        for (port, output) in &record.outputs {
            let (port, artifact) = (port.clone(), output.hash);
            match self.verify(&artifact)? {
                Presence::Sound => {}
                Presence::Missing => {
                    return Ok(Lookup::Miss(MissReason::Missing { port, artifact }));
                }
                Presence::Corrupted => {
                    return Ok(Lookup::Miss(MissReason::Corrupted { port, artifact }));
                }
            }
        }
        Ok(Lookup::Hit(Box::new(record)))
    }
}

impl Home {
    /// Reads the record of a key. A record that is not whole or whose ingredients do not give its
    /// key counts as none.
    pub(crate) fn read_action(&self, key: &Key) -> Result<Option<ActionRecord>, StoreError> {
        let path = self.action(key);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path)(error)),
        };
        let record: Option<ActionRecord> = serde_json::from_slice(&text).ok();
        Ok(record.filter(|record| record.key == *key && record.ingredients.key() == *key))
    }

    /// Publishes a record unless its key has one: the first writer wins.
    pub(crate) fn publish_action(&self, record: &ActionRecord) -> Result<Created, StoreError> {
        let text = serde_json::to_vec_pretty(record).expect("a record is always JSON");
        durable::create(&self.action(&record.key), &text)
    }

    /// Moves away a record whose artifacts are gone, so that the step can be recorded anew.
    ///
    /// Only for the holder of the step's claim.
    pub(crate) fn retire_action(
        &self,
        key: &Key,
        run: &RunId,
    ) -> Result<Option<PathBuf>, StoreError> {
        let path = self.action(key);
        if path.exists() {
            self.move_to_quarantine(&path, run).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Lists all whole records; for `explain` only, it reads them all.
    pub(crate) fn actions_of_kind(&self, kind: &str) -> Result<Vec<ActionRecord>, StoreError> {
        let mut records = Vec::new();
        for path in durable::entries(&self.actions())? {
            let name = path.file_name().and_then(|name| name.to_str());
            let key = name.and_then(|name| name.strip_suffix(".json")?.parse().ok());
            if let Some(key) = key
                && let Some(record) = self.read_action(&key)?
                && record.ingredients.kind == kind
            {
                records.push(record);
            }
        }
        Ok(records)
    }

    pub(crate) fn read_last_key(&self, pipeline: &str, step: &str) -> Option<LastKey> {
        // It only serves to explain; one that cannot be read is as good as none.
        serde_json::from_slice(&fs::read(self.last_key(pipeline, step)).ok()?).ok()
    }

    /// Notes the key that a step has now, for the next `explain`.
    pub(crate) fn write_last_key(
        &self,
        pipeline: &str,
        step: &str,
        last: &LastKey,
    ) -> Result<(), StoreError> {
        let known = self.read_last_key(pipeline, step);
        if known.is_some_and(|known| known.key == last.key) {
            return Ok(());
        }
        let text = serde_json::to_vec(last).expect("plain data is always JSON");
        durable::replace(&self.last_key(pipeline, step), &text)
    }
}
