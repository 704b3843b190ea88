//! What is released where: one JSON file a route, each with its whole history.
//!
//! A release copies the student's bundle into the registry, so that what is served depends on no
//! run's artifacts. A file is replaced by renaming a finished one over it, so that a reader sees
//! the old state or the new one.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The gate's outcome when a release was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateRecord {
    pub met: bool,
    /// The verdict on the bundle as it is served, in one sentence.
    pub reason: String,
    /// Who set the gate aside and why, where it was not met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub despite: Option<Despite>,
}

/// A gate that was set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Despite {
    pub who: String,
    pub why: String,
}

/// One release of one student on one route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Unique in the registry.
    pub id: String,
    pub route: String,
    /// The student's target name in its run.
    pub student: String,
    /// The run that made it.
    pub run: String,
    /// Content hash of the bundle.
    pub bundle: String,
    /// RFC 3339, UTC.
    pub released_at: String,
    pub gate: GateRecord,
}

/// A route's history, oldest first. The last entry that was not taken back answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    pub name: String,
    pub releases: Vec<Release>,
    /// Ids of releases that were taken back.
    pub rolled_back: Vec<String>,
}

impl Route {
    /// The release that answers now.
    pub fn current(&self) -> Option<&Release> {
        self.releases
            .iter()
            .rev()
            .find(|release| !self.rolled_back.contains(&release.id))
    }
}

/// What can go wrong with the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("cannot {what} `{}`", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("`{}` is not a route's file", path.display())]
    Shape {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("`{0}` is no name for a route: use letters, digits, `.`, `_` and `-`")]
    Name(String),
    #[error("route `{0}` has no release to take back")]
    NothingReleased(String),
}

/// The releases below one folder.
#[derive(Debug, Clone)]
pub struct Registry {
    folder: PathBuf,
}

impl Registry {
    /// A registry below `folder`, which is made on the first release.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Where the bundle of a release lies.
    pub fn bundle(&self, release: &Release) -> PathBuf {
        self.folder.join("bundles").join(&release.bundle)
    }

    /// All routes, by name.
    ///
    /// # Errors
    /// [`RegistryError`] for a file that cannot be read.
    pub fn routes(&self) -> Result<Vec<Route>, RegistryError> {
        let folder = self.folder.join("routes");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(file("read", &folder)(source)),
        };
        let mut routes = Vec::new();
        for entry in entries {
            let path = entry.map_err(file("read", &folder))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                routes.push(read_route(&path)?);
            }
        }
        routes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(routes)
    }

    /// One route; an empty one where nothing was ever released on it.
    ///
    /// # Errors
    /// [`RegistryError`] for a bad name or a file that cannot be read.
    pub fn route(&self, name: &str) -> Result<Route, RegistryError> {
        let path = self.path(name)?;
        if !path.exists() {
            return Ok(Route {
                name: name.to_owned(),
                ..Route::default()
            });
        }
        read_route(&path)
    }

    /// Whether the registry's copy of a release holds the same bytes as `bundle`.
    ///
    /// # Errors
    /// [`RegistryError`] for a file that cannot be read.
    pub fn is_intact(&self, release: &Release, bundle: &Path) -> Result<bool, RegistryError> {
        let copy = self.bundle(release);
        Ok(copy.is_dir() && read_folder(&copy)? == read_folder(bundle)?)
    }

    /// Copies the bundle in and makes the release answer on its route. A damaged copy that the
    /// registry had of the same bundle is replaced.
    ///
    /// # Errors
    /// [`RegistryError`]; the route is as it was.
    pub fn release(&self, release: Release, bundle: &Path) -> Result<(), RegistryError> {
        let mut route = self.route(&release.route)?;
        let target = self.bundle(&release);
        if !self.is_intact(&release, bundle)? {
            copy_folder(bundle, &target)?;
        }
        route.releases.push(release);
        self.write(&route)
    }

    /// Takes the answering release of a route back. Returns what was taken back and what answers now.
    ///
    /// # Errors
    /// [`RegistryError::NothingReleased`] where nothing answers.
    pub fn rollback(&self, name: &str) -> Result<(Release, Option<Release>), RegistryError> {
        let mut route = self.route(name)?;
        let current = route
            .current()
            .cloned()
            .ok_or_else(|| RegistryError::NothingReleased(name.to_owned()))?;
        route.rolled_back.push(current.id.clone());
        self.write(&route)?;
        Ok((current, route.current().cloned()))
    }

    fn path(&self, name: &str) -> Result<PathBuf, RegistryError> {
        let good = !name.is_empty()
            && !name.starts_with('.')
            && name
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || "._-".contains(character));
        if good {
            Ok(self.folder.join("routes").join(format!("{name}.json")))
        } else {
            Err(RegistryError::Name(name.to_owned()))
        }
    }

    fn write(&self, route: &Route) -> Result<(), RegistryError> {
        let path = self.path(&route.name)?;
        let folder = self.folder.join("routes");
        fs::create_dir_all(&folder).map_err(file("make", &folder))?;
        let beside = path.with_extension(format!("{}.tmp", std::process::id()));
        let text = serde_json::to_string_pretty(route).expect("a route is plain data");
        let write = || {
            let mut file = fs::File::create(&beside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(file("write", &path))
    }
}

fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RegistryError {
    let path = path.to_owned();
    move |source| RegistryError::File { what, path, source }
}

fn read_route(path: &Path) -> Result<Route, RegistryError> {
    let text = fs::read(path).map_err(file("read", path))?;
    serde_json::from_slice(&text).map_err(|source| RegistryError::Shape {
        path: path.to_owned(),
        source,
    })
}

/// The files of a flat folder, by name.
fn read_folder(folder: &Path) -> Result<BTreeMap<OsString, Vec<u8>>, RegistryError> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(file("read", folder))? {
        let path = entry.map_err(file("read", folder))?.path();
        if let (true, Some(name)) = (path.is_file(), path.file_name()) {
            let bytes = fs::read(&path).map_err(file("read", &path))?;
            files.insert(name.to_owned(), bytes);
        }
    }
    Ok(files)
}

/// Copies a flat folder of files beside its target and renames it into place; what stood there
/// is moved aside first and removed last, so that a failure in between loses neither.
fn copy_folder(from: &Path, to: &Path) -> Result<(), RegistryError> {
    let beside = to.with_extension(format!("{}.tmp", std::process::id()));
    let aside = to.with_extension(format!("{}.old", std::process::id()));
    fs::create_dir_all(&beside).map_err(file("make", &beside))?;
    for (name, bytes) in read_folder(from)? {
        let target = beside.join(name);
        fs::write(&target, bytes).map_err(file("write", &target))?;
    }
    let replaces = to.exists();
    if replaces {
        fs::rename(to, &aside).map_err(file("move", to))?;
    }
    match fs::rename(&beside, to) {
        // Somebody else released the same bundle meanwhile.
        Err(_) if to.exists() => fs::remove_dir_all(&beside).map_err(file("remove", &beside))?,
        result => result.map_err(file("write", to))?,
    }
    if replaces {
        fs::remove_dir_all(&aside).map_err(file("remove", &aside))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(id: &str, bundle: &str) -> Release {
        Release {
            id: id.into(),
            route: "support".into(),
            student: "nano".into(),
            run: "20260131-090507-1a2b".into(),
            bundle: bundle.into(),
            released_at: "2026-01-31T09:05:07.000Z".into(),
            gate: GateRecord {
                met: true,
                reason: "as good".into(),
                despite: None,
            },
        }
    }

    #[test]
    fn a_rollback_brings_back_what_answered_before_and_then_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(folder.path().join("releases"));
        let bundle = folder.path().join("bundle");
        fs::create_dir(&bundle).unwrap();
        fs::write(bundle.join("manifest.json"), "{}").unwrap();
        assert_eq!(registry.routes().unwrap(), []);
        registry.release(release("1", "aa"), &bundle).unwrap();
        registry.release(release("2", "bb"), &bundle).unwrap();
        assert_eq!(
            registry.route("support").unwrap().current().unwrap().id,
            "2"
        );
        assert!(
            registry
                .bundle(&release("2", "bb"))
                .join("manifest.json")
                .exists()
        );
        let (taken, now) = registry.rollback("support").unwrap();
        assert_eq!((taken.id, now.unwrap().id), ("2".into(), "1".into()));
        assert_eq!(registry.rollback("support").unwrap().1, None);
        assert!(matches!(
            registry.rollback("support"),
            Err(RegistryError::NothingReleased(_))
        ));
        assert_eq!(
            registry.route("support").unwrap().releases.len(),
            2,
            "history is kept"
        );
    }

    #[test]
    fn a_damaged_copy_is_replaced_by_the_next_release_of_the_same_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(folder.path().join("releases"));
        let bundle = folder.path().join("bundle");
        fs::create_dir(&bundle).unwrap();
        fs::write(bundle.join("manifest.json"), "{}").unwrap();
        let first = release("1", "aa");
        assert!(!registry.is_intact(&first, &bundle).unwrap());
        registry.release(first.clone(), &bundle).unwrap();
        assert!(registry.is_intact(&first, &bundle).unwrap());
        let copy = registry.bundle(&first);
        fs::write(copy.join("manifest.json"), "{").unwrap();
        fs::write(copy.join("stray"), "").unwrap();
        assert!(!registry.is_intact(&first, &bundle).unwrap());
        registry.release(release("2", "aa"), &bundle).unwrap();
        assert!(registry.is_intact(&first, &bundle).unwrap());
        let left = fs::read_dir(folder.path().join("releases/bundles")).unwrap();
        assert_eq!(left.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_route_name_cannot_leave_the_folder() {
        let registry = Registry::new("releases");
        for name in ["", "../x", "a/b", ".hidden", "a b"] {
            assert!(
                matches!(registry.route(name), Err(RegistryError::Name(_))),
                "{name:?}"
            );
        }
    }
}
