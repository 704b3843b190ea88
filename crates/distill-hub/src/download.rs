//! One file's content: fetched under a lock, taken up where it was cut, compared with what the hub
//! promised, and given its name only then.

use std::{
    fs::{self, TryLockError},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Response, StatusCode, Url};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
};

use crate::{
    HubError, ModelName,
    cache::{Cache, make_folder_of},
    files,
    http::{Http, Metadata, answer, cut, text},
};

/// How often somebody else's lock is looked at.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// Bytes read at once when what is there is hashed again.
const READ_BYTES: usize = 1 << 20;
/// Largest file that holds no weights.
const MAX_SMALL_BYTES: u64 = 512 << 20;

/// A file to be fetched.
#[derive(Debug)]
pub(crate) struct Download<'a> {
    pub(crate) http: &'a Http,
    pub(crate) cache: &'a Cache,
    pub(crate) name: &'a ModelName,
    pub(crate) file: &'a str,
    pub(crate) url: &'a Url,
    pub(crate) metadata: &'a Metadata,
}

/// What has arrived of a file.
struct Part {
    path: PathBuf,
    bytes: u64,
    hash: Sha256,
}

impl Download<'_> {
    /// Makes the content available. `progress` gets the bytes that are there.
    pub(crate) async fn run(&self, progress: &mut (dyn FnMut(u64) + Send)) -> Result<(), HubError> {
        let blob = self.cache.blob(self.name, &self.metadata.etag);
        if self.is_whole(&blob) {
            progress(self.metadata.size.unwrap_or_default());
            return Ok(());
        }
        let is_weights = Path::new(self.file)
            .extension()
            .is_some_and(|extension| extension == "safetensors");
        if !is_weights
            && self
                .metadata
                .size
                .is_some_and(|size| size > MAX_SMALL_BYTES)
        {
            return Err(self.corrupt("it is far larger than such a file may be"));
        }
        make_folder_of(&blob)?;
        let _lock = self.lock().await?;
        // Whoever held the lock may have fetched it.
        if self.is_whole(&blob) {
            progress(self.metadata.size.unwrap_or_default());
            return Ok(());
        }
        let mut part = self
            .take_up(blob.with_added_extension("incomplete"))
            .await?;
        let mut taken_up = part.bytes > 0;
        loop {
            self.fetch(&mut part, progress).await?;
            let found = format!("{:x}", std::mem::take(&mut part.hash).finalize());
            match self.metadata.sha256() {
                Some(promised) if promised != found => {
                    remove(&part.path)?;
                    if !taken_up {
                        return Err(self
                            .corrupt(&format!("its SHA-256 is {found}, promised is {promised}")));
                    }
                    // What lay there may have been damaged: once from the beginning.
                    taken_up = false;
                    part.bytes = 0;
                }
                _ => break,
            }
        }
        fs::rename(&part.path, &blob).map_err(|source| HubError::Io {
            action: "name",
            path: blob,
            source,
        })
    }

    fn is_whole(&self, blob: &Path) -> bool {
        fs::metadata(blob).is_ok_and(|found| {
            found.is_file() && self.metadata.size.is_none_or(|size| size == found.len())
        })
    }

    /// Holds the content's lock until the file that is given back is closed.
    async fn lock(&self) -> Result<fs::File, HubError> {
        let path = self.cache.lock(self.name, &self.metadata.etag);
        make_folder_of(&path)?;
        let failed = |source| HubError::Io {
            action: "lock",
            path: path.clone(),
            source,
        };
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
                Err(TryLockError::Error(error))
                    if error.kind() == std::io::ErrorKind::Unsupported =>
                {
                    return Ok(file);
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// What an earlier download left. Without a hash to compare with, it is not trusted.
    async fn take_up(&self, path: PathBuf) -> Result<Part, HubError> {
        let mut part = Part {
            path,
            bytes: 0,
            hash: Sha256::new(),
        };
        let found = fs::metadata(&part.path).map_or(0, |found| found.len());
        let fits = self.metadata.size.is_some_and(|size| found <= size);
        if found == 0 || !fits || self.metadata.sha256().is_none() {
            return Ok(part);
        }
        let failed = |source| HubError::Io {
            action: "read",
            path: part.path.clone(),
            source,
        };
        let mut file = File::open(&part.path).await.map_err(failed)?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let count = file.read(&mut buffer).await.map_err(failed)?;
            if count == 0 {
                return Ok(part);
            }
            part.hash.update(&buffer[..count]);
            part.bytes += count as u64;
        }
    }

    /// Fetches what is missing, again and again where it is cut.
    async fn fetch(
        &self,
        part: &mut Part,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), HubError> {
        let mut backoff = self.http.backoff();
        loop {
            let before = part.bytes;
            match self.try_fetch(part, progress).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    if part.bytes > before {
                        backoff.reset();
                    }
                    if self.metadata.sha256().is_none() {
                        part.bytes = 0;
                    }
                    backoff.pause(error).await?;
                }
            }
        }
    }

    async fn try_fetch(
        &self,
        part: &mut Part,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), HubError> {
        progress(part.bytes);
        if part.bytes > 0 && self.metadata.size == Some(part.bytes) {
            return Ok(());
        }
        let mut response = self.http.open(self.url, part.bytes).await?;
        self.agree_on_start(&response, part)?;
        let unwritable = |source: std::io::Error, path: &Path, bytes: u64| {
            if source.kind() == std::io::ErrorKind::StorageFull {
                return HubError::DiskFull {
                    file: self.file.to_owned(),
                    bytes: self.metadata.size.unwrap_or(bytes).saturating_sub(bytes),
                    folder: self.cache.path().to_owned(),
                };
            }
            HubError::Io {
                action: "write",
                path: path.to_owned(),
                source,
            }
        };
        let mut file = if part.bytes == 0 {
            part.hash = Sha256::new();
            File::create(&part.path).await
        } else {
            File::options().append(true).open(&part.path).await
        }
        .map_err(|error| unwritable(error, &part.path, part.bytes))?;
        let most = self.metadata.size.unwrap_or(MAX_SMALL_BYTES);
        let outcome = loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(()),
                Err(error) => break Err(cut(response.url(), &error)),
            };
            if part.bytes + chunk.len() as u64 > most {
                break Err(self.corrupt(&format!("more than {most} bytes came")));
            }
            if let Err(error) = file.write_all(&chunk).await {
                break Err(unwritable(error, &part.path, part.bytes));
            }
            part.hash.update(&chunk);
            part.bytes += chunk.len() as u64;
            progress(part.bytes);
        };
        // What has arrived is kept, whatever ended it.
        let kept = match file.flush().await {
            Ok(()) => file.sync_all().await,
            failed => failed,
        };
        outcome?;
        kept.map_err(|error| unwritable(error, &part.path, part.bytes))?;
        match self.metadata.size {
            Some(size) if part.bytes < size => Err(HubError::Connection {
                url: crate::http::shown(response.url()),
                problem: format!("the transfer ended after {} of {size} bytes", part.bytes),
            }),
            _ => Ok(()),
        }
    }

    /// Whether the answer goes on where the part ends; a server that knows no ranges begins anew.
    fn agree_on_start(&self, response: &Response, part: &mut Part) -> Result<(), HubError> {
        let status = response.status();
        if status == StatusCode::PARTIAL_CONTENT {
            let start = text(response.headers(), "content-range").and_then(|range| {
                range
                    .strip_prefix("bytes ")?
                    .split('-')
                    .next()?
                    .parse()
                    .ok()
            });
            if start == Some(part.bytes) {
                return Ok(());
            }
            return Err(answer(
                response.url(),
                "it is another part than was asked for",
            ));
        }
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            part.bytes = 0;
            return Err(HubError::Status {
                url: crate::http::shown(response.url()),
                status: status.as_u16(),
                attempts: 1,
                wait: None,
            });
        }
        if status.is_success() {
            part.bytes = 0;
            return Ok(());
        }
        Err(self.http.refusal(response, self.name))
    }

    fn corrupt(&self, problem: &str) -> HubError {
        HubError::Corrupt {
            id: self.name.id().to_owned(),
            file: self.file.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

fn remove(path: &Path) -> Result<(), HubError> {
    fs::remove_file(path).map_err(|source| HubError::Io {
        action: "remove",
        path: path.to_owned(),
        source,
    })
}

/// Reads a small file that was fetched.
pub(crate) fn read_index(folder: &Path) -> Result<Vec<u8>, HubError> {
    let path = folder.join(files::INDEX);
    fs::read(&path).map_err(|source| HubError::Io {
        action: "read",
        path,
        source,
    })
}
