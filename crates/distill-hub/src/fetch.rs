//! A model's files, from the cache or from the hub.

use std::{collections::BTreeSet, path::PathBuf};

use serde::Deserialize;

use crate::{
    HubError, HubSettings, ModelName,
    download::{Download, read_index},
    files,
    http::Http,
    name::is_commit,
};

/// A model that is wholly on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The model at the commit that it is.
    pub name: ModelName,
    /// The folder with its files, as a local model has them.
    pub folder: PathBuf,
    /// What the user should know of how it came, such as that the hub did not answer.
    pub note: Option<String>,
}

/// How far a fetch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    pub file: &'a str,
    /// Bytes of this file that are there, and its size where known.
    pub bytes: u64,
    pub total: Option<u64>,
    /// The file's place among those that are to be fetched, from 1.
    pub index: usize,
    pub files: usize,
}

/// The hub, and the cache in front of it.
#[derive(Debug)]
pub struct Hub {
    settings: HubSettings,
    http: Http,
}

/// What the hub says of a repository; the rest of its answer is not needed.
#[derive(Debug, Deserialize)]
struct Repository {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Hub {
    /// Prepares a client; asks nobody.
    ///
    /// # Errors
    /// [`HubError::Settings`] when the hub's address is none.
    pub fn new(settings: HubSettings) -> Result<Self, HubError> {
        let http = Http::new(&settings)?;
        Ok(Self { settings, http })
    }

    pub fn settings(&self) -> &HubSettings {
        &self.settings
    }

    /// Makes a model available and gives its folder. A branch or tag is looked up anew, and what it
    /// means now is fetched; a commit that is there is taken without asking anybody. Where the hub
    /// does not answer, what the revision meant last is taken, and [`Snapshot::note`] says so.
    /// Dropping the future keeps what has arrived.
    ///
    /// # Errors
    /// A [`HubError`]; [`HubError::hint`] says what to do.
    pub async fn fetch(
        &self,
        name: &ModelName,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<Snapshot, HubError> {
        let cached = self.settings.cache.find(name);
        if let Some(snapshot) = cached
            .clone()
            .filter(|_| self.settings.offline || name.is_pinned())
        {
            return Ok(snapshot);
        }
        if self.settings.offline {
            return Err(HubError::Offline {
                name: name.to_string(),
                cache: self.settings.cache.path().to_owned(),
            });
        }
        let repository = match (self.repository(name).await, cached) {
            (Err(error), Some(snapshot)) if error.is_temporary() => {
                let note = format!("{error}; taken as it was fetched last: {}", snapshot.name);
                return Ok(Snapshot {
                    note: Some(note),
                    ..snapshot
                });
            }
            (repository, _) => repository?,
        };
        let commit = repository.sha;
        let there = repository
            .siblings
            .into_iter()
            .map(|sibling| sibling.rfilename)
            .collect();
        self.fetch_files(name, &commit, &there, progress).await?;
        self.settings.cache.write_reference(name, &commit)?;
        Ok(Snapshot {
            folder: self.settings.cache.snapshot(name, &commit),
            name: name.at(&commit),
            note: None,
        })
    }

    async fn repository(&self, name: &ModelName) -> Result<Repository, HubError> {
        let (organisation, model) = name.id().split_once('/').unwrap_or_default();
        let parts = [
            "api",
            "models",
            organisation,
            model,
            "revision",
            name.revision(),
        ];
        let url = self.http.url(&parts);
        let bytes = self.http.json(url.clone(), name).await?;
        let repository: Repository = serde_json::from_slice(&bytes).map_err(|error| {
            crate::http::answer(&url, &format!("it describes no model: {error}"))
        })?;
        if !is_commit(&repository.sha) || (name.is_pinned() && repository.sha != name.revision()) {
            return Err(crate::http::answer(
                &url,
                "it names no commit, or another one",
            ));
        }
        Ok(repository)
    }

    async fn fetch_files(
        &self,
        name: &ModelName,
        commit: &str,
        there: &BTreeSet<String>,
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<(), HubError> {
        let unfit = |problem| HubError::Unfit {
            id: name.id().to_owned(),
            problem,
        };
        let first = files::wanted(there).map_err(unfit)?;
        let mut count = first.len();
        for (index, file) in first.iter().enumerate() {
            self.fetch_file(name, commit, file, (index + 1, count), progress)
                .await?;
        }
        if first.contains(&files::INDEX) {
            let folder = self.settings.cache.snapshot(name, commit);
            let shards = files::shards(&read_index(&folder)?).map_err(unfit)?;
            if let Some(missing) = shards.iter().find(|shard| !there.contains(*shard)) {
                return Err(unfit(format!(
                    "{} names `{missing}`, which the repository does not have",
                    files::INDEX
                )));
            }
            let before = count;
            count += shards.len();
            for (index, shard) in shards.iter().enumerate() {
                self.fetch_file(name, commit, shard, (before + index + 1, count), progress)
                    .await?;
            }
        }
        Ok(())
    }

    async fn fetch_file(
        &self,
        name: &ModelName,
        commit: &str,
        file: &str,
        (index, files): (usize, usize),
        progress: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<(), HubError> {
        let cache = &self.settings.cache;
        if cache.snapshot(name, commit).join(file).is_file() {
            return Ok(());
        }
        let (organisation, model) = name.id().split_once('/').unwrap_or_default();
        let url = self
            .http
            .url(&[organisation, model, "resolve", commit, file]);
        let metadata = self.http.metadata(&url, name).await?;
        if metadata
            .commit
            .as_deref()
            .is_some_and(|found| found != commit)
        {
            return Err(crate::http::answer(&url, "it belongs to another commit"));
        }
        let download = Download {
            http: &self.http,
            cache,
            name,
            file,
            url: &url,
            metadata: &metadata,
        };
        download
            .run(&mut |bytes| {
                progress(Progress {
                    file,
                    bytes,
                    total: metadata.size,
                    index,
                    files,
                });
            })
            .await?;
        cache.link(name, commit, file, &metadata.etag)
    }
}
