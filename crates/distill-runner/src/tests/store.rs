//! The store by itself: hashes of trees, verification, quarantine, writing.

use std::path::Path;

use distill_pipeline::hash::ContentHash;
use distill_pipeline::record::RunId;

use super::*;
use crate::artifact::Presence;
use crate::durable::{self, Created};
use crate::home::StoreError;
use crate::memory;
use crate::tree;

fn hash(path: &Path) -> ContentHash {
    let stats = tree::stats(path).unwrap();
    tree::content(path, &stats).unwrap().hash
}

fn put(root: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[test]
fn a_directory_is_its_files_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let tree = |name: &str, files: &[(&str, &str)]| {
        let root = directory.path().join(name);
        put(&root, files);
        root
    };
    let one = tree("one", &[("a", "1"), ("b/c", "2"), ("b.d", "3")]);
    let same = tree("same", &[("b.d", "3"), ("b/c", "2"), ("a", "1")]);
    fs::create_dir(same.join("empty")).unwrap();
    assert_eq!(hash(&one), hash(&same));
    for (name, files) in [
        ("content", [("a", "1"), ("b/c", "2"), ("b.d", "4")]),
        ("name", [("a", "1"), ("b/x", "2"), ("b.d", "3")]),
        ("swap", [("a", "2"), ("b/c", "1"), ("b.d", "3")]),
        ("flat", [("a", "1"), ("bc", "2"), ("b.d", "3")]),
    ] {
        assert_ne!(hash(&one), hash(&tree(name, &files)), "{name}");
    }
    let file = tree("file", &[("a", "1")]).join("a");
    assert_eq!(hash(&file), ContentHash::of_bytes(b"1"));
}

#[cfg(unix)]
#[test]
fn links_are_no_content() {
    let directory = tempfile::tempdir().unwrap();
    put(directory.path(), &[("tree/a", "1")]);
    let link = directory.path().join("tree/link");
    std::os::unix::fs::symlink("a", &link).unwrap();
    let error = tree::stats(&directory.path().join("tree")).unwrap_err();
    assert!(matches!(error, StoreError::NotPlain { path } if path == link));
}

#[test]
fn what_was_adopted_is_sound_until_somebody_touches_it() {
    let bench = Bench::new();
    let home = bench.home();
    let run = RunId::new(Timestamp::from_millis(0), 1);
    let from = home.path().join("work/out");
    let adopt = |content: &str| {
        fs::write(&from, content).unwrap();
        home.adopt(&from, &TEXT, &run).unwrap().hash
    };
    let hash = adopt("content");
    assert_eq!(hash, ContentHash::of_bytes(b"content"));
    assert!(!from.exists());
    assert_eq!(home.verify(&hash).unwrap(), Presence::Sound);
    assert_eq!(adopt("content"), hash);

    fs::write(home.artifact(&hash), "CONTENT").unwrap();
    assert_eq!(home.verify(&hash).unwrap(), Presence::Corrupted);
    // The right content takes the place of the wrong one, which is kept aside.
    assert_eq!(adopt("content"), hash);
    assert_eq!(home.verify(&hash).unwrap(), Presence::Sound);
    assert_eq!(fs::read_dir(home.quarantine()).unwrap().count(), 1);

    fs::remove_file(home.artifact(&hash)).unwrap();
    assert_eq!(home.verify(&hash).unwrap(), Presence::Missing);
}

#[test]
fn content_is_read_again_when_the_file_was_touched() {
    let directory = tempfile::tempdir().unwrap();
    let (path, note) = (directory.path().join("file"), directory.path().join("note"));
    fs::write(&path, "one").unwrap();
    let content = |expect: &[u8]| {
        let found = memory::content(&path, &note).unwrap();
        assert_eq!(found.hash, ContentHash::of_bytes(expect));
    };
    content(b"one");
    content(b"one");
    fs::write(&path, "two").unwrap();
    content(b"two");
    // A damaged memory costs nothing but time.
    fs::write(&note, "{").unwrap();
    content(b"two");
}

/// The memory is really used: a wrong one is believed as long as sizes and times fit.
#[test]
fn content_is_not_read_again_when_nothing_was_touched() {
    let directory = tempfile::tempdir().unwrap();
    let (path, note) = (directory.path().join("file"), directory.path().join("note"));
    fs::write(&path, "one").unwrap();
    memory::content(&path, &note).unwrap();
    let wrong = ContentHash::of_bytes(b"something else");
    let mut seen: Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    seen["hash"] = json!(wrong);
    let at = seen["files"][0]["changed"].as_i64().unwrap();
    // Looked at in the tick in which it was written: not to be trusted.
    seen["at"] = json!(at);
    fs::write(&note, seen.to_string()).unwrap();
    assert_ne!(memory::content(&path, &note).unwrap().hash, wrong);
    // Looked at a second later.
    seen["at"] = json!(at + 1_000_000_000);
    fs::write(&note, seen.to_string()).unwrap();
    assert_eq!(memory::content(&path, &note).unwrap().hash, wrong);
}

#[test]
fn a_name_is_taken_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/record.json");
    assert_eq!(durable::create(&path, b"first").unwrap(), Created::Now);
    assert_eq!(durable::create(&path, b"second").unwrap(), Created::Before);
    assert_eq!(fs::read(&path).unwrap(), b"first");
    durable::replace(&path, b"third").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"third");
    let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(left, 1, "no unfinished file is left behind");
}

#[test]
fn many_writers_have_one_winner() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("record.json");
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let path = path.clone();
            std::thread::spawn(move || durable::create(&path, format!("{n}").as_bytes()).unwrap())
        })
        .collect();
    let results = threads.into_iter().map(|thread| thread.join().unwrap());
    assert_eq!(results.filter(|made| *made == Created::Now).count(), 1);
}

#[test]
fn names_become_file_names_of_their_own() {
    let bench = Bench::new();
    let home = bench.home();
    let names = [
        "a",
        "a.",
        ".",
        "..",
        "",
        "%",
        "a/b",
        "a%2Fb",
        "train:linear",
        "ä",
    ];
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        let path = home.last_key(name, "step");
        let parent = path.parent().unwrap();
        assert_eq!(
            parent.parent().unwrap(),
            home.path().join("steps"),
            "{name}"
        );
        assert!(parent.file_name().is_some(), "{name}");
        assert!(seen.insert(path), "{name} is taken");
    }
}

#[test]
fn a_full_disk_says_what_is_safe() {
    let error = StoreError::io("write", Path::new("artifacts/ab"))(std::io::Error::from(
        std::io::ErrorKind::StorageFull,
    ));
    assert_eq!(error.to_string(), "could not write artifacts/ab");
    assert_eq!(
        error.hint().unwrap(),
        "free some space and run the same command again: finished steps and the work done so far \
         are kept"
    );
    let failure = StepFailure::from(error).record();
    assert_eq!(failure.file, Some("artifacts/ab".into()));
    assert_eq!(failure.causes.len(), 1);
}
