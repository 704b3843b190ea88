//! Whether a file has changed since it was last looked at.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};

/// Looks at files again and again. A change of the time alone is none: the content decides, so that a
/// checkout or a `touch` reloads nothing.
#[derive(Debug)]
pub struct FileWatch {
    files: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    seen: Option<Stamp>,
    content: Option<[u8; 32]>,
}

/// What is cheap to look at.
type Stamp = (Option<SystemTime>, u64);

impl FileWatch {
    /// Remembers the files as they are now. One that is not there is watched too.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let files = paths
            .into_iter()
            .map(|path| Watched {
                path: path.to_owned(),
                seen: stamp(path),
                content: content(path),
            })
            .collect();
        Self { files }
    }

    /// Whether a file is another than at the last look. One that cannot be read counts as unchanged:
    /// an editor may be about to write it.
    pub fn changed(&mut self) -> bool {
        let mut changed = false;
        for file in &mut self.files {
            let seen = stamp(&file.path);
            if seen == file.seen {
                continue;
            }
            let Some(content) = content(&file.path) else {
                continue;
            };
            file.seen = seen;
            changed |= file.content != Some(content);
            file.content = Some(content);
        }
        changed
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok(), metadata.len()))
}

fn content(path: &Path) -> Option<[u8; 32]> {
    std::fs::read(path)
        .ok()
        .map(|bytes| Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::FileWatch;

    #[test]
    fn only_another_content_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::write(&one, "first").unwrap();
        let mut watch = FileWatch::new([one.as_path(), two.as_path()]);
        assert!(!watch.changed());
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::options()
            .append(true)
            .open(&one)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert!(!watch.changed(), "only its time");
        std::fs::write(&one, "second").unwrap();
        assert!(watch.changed());
        assert!(!watch.changed());
        std::fs::remove_file(&one).unwrap();
        assert!(!watch.changed(), "gone while it is being replaced");
        std::fs::write(&one, "third").unwrap();
        std::fs::write(&two, "new").unwrap();
        assert!(watch.changed());
        assert!(!watch.changed());
    }
}
