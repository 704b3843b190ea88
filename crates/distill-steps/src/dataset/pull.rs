//! Fetches a data set's files: from `DISTILL_DATA_DIR` where it has them, else by HTTPS.
//!
//! A download is hashed while it arrives and gets its name only when size and sha256 are the
//! card's, so that no half or wrong file is ever found by [`resolve`](super::resolve).

use std::{path::PathBuf, time::Duration};

use distill_pipeline::hash::ContentHash;
use sha2::{Digest, Sha256};
use tokio::{fs::File, io::AsyncWriteExt};

use super::{
    Card, DatasetError, Places, Split, embedded,
    locate::{cache_path, candidates, part_path, verify, write_beside_and_rename},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that sends nothing for so long is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How far one file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress<'a> {
    pub file: &'a str,
    pub bytes: u64,
    pub total: u64,
}

/// A file that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    pub split: String,
    pub path: PathBuf,
    pub bytes: u64,
    pub from: PulledFrom,
}

/// Where a file came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PulledFrom {
    /// It was there already, and is the right one.
    Present,
    /// The program carries it.
    Embedded,
    Downloaded,
}

/// Makes every file of a data set available. Stops at the first that cannot be had; those before
/// it stay. Dropping the future leaves at most a `.part` file, which the next call does not read.
///
/// # Errors
/// [`DatasetError::Download`], [`DatasetError::Absent`] for a file without a URL,
/// [`DatasetError::Unwritable`].
pub async fn pull(
    card: &Card,
    places: &Places,
    progress: &mut (dyn FnMut(PullProgress<'_>) + Send),
) -> Result<Vec<Pulled>, DatasetError> {
    let mut pulled = Vec::new();
    for (name, split) in &card.splits {
        let (path, from) = fetch(card, split, places, progress).await?;
        pulled.push(Pulled {
            split: name.clone(),
            path,
            bytes: split.bytes,
            from,
        });
    }
    Ok(pulled)
}

async fn fetch(
    card: &Card,
    split: &Split,
    places: &Places,
    progress: &mut (dyn FnMut(PullProgress<'_>) + Send),
) -> Result<(PathBuf, PulledFrom), DatasetError> {
    let candidates = candidates(card, split, places);
    if let Some(path) = candidates
        .iter()
        .find(|path| verify(path, card, split).is_ok())
    {
        return Ok((path.clone(), PulledFrom::Present));
    }
    let path = cache_path(card, split, places);
    if let Some(bytes) = embedded::file(&card.name, split) {
        write_beside_and_rename(&path, bytes)?;
        verify(&path, card, split)?;
        return Ok((path, PulledFrom::Embedded));
    }
    let Some(url) = &split.url else {
        return Err(DatasetError::Absent {
            name: card.name.clone(),
            file: split.file.clone(),
            looked: candidates,
            downloadable: false,
        });
    };
    let part = part_path(&path);
    let downloaded = download(url, split, &part, progress).await;
    let placed = match downloaded {
        Ok(()) => {
            tokio::fs::rename(&part, &path)
                .await
                .map_err(|source| DatasetError::Unwritable {
                    path: path.clone(),
                    source,
                })
        }
        Err(error) => Err(error),
    };
    if placed.is_err() {
        drop(tokio::fs::remove_file(&part).await);
    }
    placed.map(|()| (path, PulledFrom::Downloaded))
}

async fn download(
    url: &str,
    split: &Split,
    part: &std::path::Path,
    progress: &mut (dyn FnMut(PullProgress<'_>) + Send),
) -> Result<(), DatasetError> {
    let failed = |problem: String| DatasetError::Download {
        url: url.to_owned(),
        problem,
    };
    let unwritable = |source| DatasetError::Unwritable {
        path: part.to_owned(),
        source,
    };
    let mut response = client(url)
        .map_err(failed)?
        .get(url)
        .send()
        .await
        .map_err(|error| failed(chain_of(&error)))?;
    if !response.status().is_success() {
        return Err(failed(format!("the server answered {}", response.status())));
    }
    if let Some(folder) = part.parent() {
        tokio::fs::create_dir_all(folder)
            .await
            .map_err(unwritable)?;
    }
    let mut file = File::create(part).await.map_err(unwritable)?;
    let mut hasher = Sha256::new();
    let mut bytes = 0;
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| failed(chain_of(&error)))?
    {
        bytes += chunk.len() as u64;
        if bytes > split.bytes {
            // No more is read than the card promises: the rest could be endless.
            return Err(failed(format!(
                "it has more than the {} bytes of the card",
                split.bytes
            )));
        }
        hasher.update(&chunk);
        file.write_all(&chunk).await.map_err(unwritable)?;
        progress(PullProgress {
            file: &split.file,
            bytes,
            total: split.bytes,
        });
    }
    file.sync_all().await.map_err(unwritable)?;
    if bytes != split.bytes {
        return Err(failed(format!("{bytes} of {} bytes arrived", split.bytes)));
    }
    let found = ContentHash::from_digest(hasher.finalize().into()).to_string();
    if found != split.sha256 {
        return Err(failed(format!(
            "its sha256 is {found}, and the card says {}",
            split.sha256
        )));
    }
    Ok(())
}

/// A client for HTTPS anywhere, or for plain HTTP on this machine.
fn client(url: &str) -> Result<reqwest::Client, String> {
    let parsed = reqwest::Url::parse(url).map_err(|error| format!("it is no URL: {error}"))?;
    let loopback = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    // A second call finds the provider set; that is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(IDLE_TIMEOUT)
        .user_agent(concat!("distill/", env!("CARGO_PKG_VERSION")));
    let builder = if loopback {
        builder.no_proxy().tls_certs_only([])
    } else {
        builder.https_only(true)
    };
    builder.build().map_err(|error| chain_of(&error))
}

fn chain_of(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
