//! Rules of the repository that a reader relies on, held by tests instead of by memory.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Which crates of ours each crate may depend on. Edges point down only.
const EDGES: &[(&str, &[&str])] = &[
    ("distill-chat", &[]),
    ("distill-pipeline", &["chat"]),
    ("distill-runner", &["pipeline"]),
    ("distill-wire", &["chat"]),
    ("distill-gateway", &["chat", "wire"]),
    ("distill-hub", &[]),
    ("distill-ledger", &["chat", "gateway"]),
    (
        "distill-proxy",
        &["chat", "wire", "gateway", "ledger", "pipeline"],
    ),
    ("distill-student", &["chat"]),
    ("distill-eval", &["chat"]),
    ("distill-train", &["student", "chat"]),
    ("distill-serve", &["student", "chat"]),
    ("distill-report", &["pipeline", "eval"]),
    (
        "distill-steps",
        &[
            "chat", "pipeline", "runner", "gateway", "hub", "student", "train", "eval", "serve",
            "report",
        ],
    ),
    (
        "distill-cli",
        &[
            "chat", "pipeline", "runner", "gateway", "hub", "student", "train", "eval", "serve",
            "report", "steps", "wire", "ledger", "proxy",
        ],
    ),
];

/// Crates of which two versions in one binary would be two incompatible worlds.
const ONE_VERSION: &[&str] = &[
    "candle-core",
    "candle-nn",
    "tokio",
    "serde",
    "safetensors",
    "gemm",
    "rusqlite",
    "rustls",
];

/// Licences that the project accepts; `.deny.toml` lists the same for cargo-deny.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates with another licence, each with its reason; `.deny.toml` lists the same.
const LICENCE_EXCEPTIONS: &[(&str, &str)] = &[
    // Public domain, and compiled for WebAssembly only, by way of `parquet` and `ahash`.
    ("tiny-keccak", "CC0-1.0"),
];

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn metadata() -> Value {
    let host = Command::new(env!("CARGO")).arg("-vV").output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let host = host
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--locked",
            "--filter-platform",
            host,
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn packages(metadata: &Value) -> &Vec<Value> {
    metadata["packages"].as_array().unwrap()
}

#[test]
fn crates_depend_on_each_other_only_as_the_table_allows() {
    let metadata = metadata();
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut seen = BTreeSet::new();
    for package in packages(&metadata)
        .iter()
        .filter(|package| package["source"].is_null())
    {
        let name = package["name"].as_str().unwrap();
        seen.insert(name.to_owned());
        let allowed = allowed
            .get(name)
            .unwrap_or_else(|| panic!("`{name}` has no row in EDGES"));
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            if let Some(short) = dependency.strip_prefix("distill-") {
                assert!(
                    allowed.contains(&short),
                    "`{name}` must not depend on `{dependency}`"
                );
            }
        }
    }
    let listed: BTreeSet<String> = EDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(seen, listed, "EDGES lists exactly the crates there are");
}

#[test]
fn the_map_has_a_row_for_each_crate_and_no_other() {
    let map = fs::read_to_string(root().join("crates/README.md")).unwrap();
    for (name, _) in EDGES {
        assert!(
            map.contains(&format!("| `{name}` |")),
            "crates/README.md has no row for `{name}`"
        );
    }
    for line in map
        .lines()
        .filter_map(|line| line.strip_prefix("| `distill-"))
    {
        let name = format!("distill-{}", line.split('`').next().unwrap());
        assert!(
            EDGES.iter().any(|(known, _)| *known == name),
            "crates/README.md has a row for `{name}`, which is not there"
        );
    }
}

#[test]
fn every_crate_says_what_it_owns_and_must_not_know() {
    for (name, _) in EDGES {
        let folder = root().join("crates").join(name).join("src");
        let file = if folder.join("lib.rs").exists() {
            "lib.rs"
        } else {
            "main.rs"
        };
        let text = fs::read_to_string(folder.join(file))
            .unwrap()
            .to_lowercase()
            .replace('*', "");
        for part in ["//! owns", "//! must not know", "//! start reading"] {
            assert!(text.contains(part), "{name}/src/{file} lacks `{part}`");
        }
    }
}

#[test]
fn licences_are_accepted_and_versions_single() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages(&metadata) {
        let name = package["name"].as_str().unwrap();
        versions
            .entry(name)
            .or_default()
            .insert(package["version"].as_str().unwrap());
        let licence = package["license"].as_str().unwrap_or("none stated");
        assert!(
            accepted(licence) || LICENCE_EXCEPTIONS.contains(&(name, licence)),
            "`{name}` has licence `{licence}`"
        );
    }
    for name in ONE_VERSION {
        assert!(
            versions.get(name).is_none_or(|found| found.len() == 1),
            "`{name}` is there as {:?}",
            versions[name]
        );
    }
}

/// Whether an SPDX expression can be met: each term joined by AND has an accepted alternative.
fn accepted(expression: &str) -> bool {
    expression.split(" AND ").all(|term| {
        term.trim_matches(['(', ')'])
            .split(" OR ")
            .flat_map(|choice| choice.split('/'))
            .any(|choice| LICENCES.contains(&choice.trim().trim_matches(['(', ')'])))
    })
}

#[test]
fn an_expression_is_met_term_by_term() {
    assert!(accepted("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(accepted("Unlicense/MIT"));
    assert!(!accepted("GPL-3.0"));
    assert!(!accepted("MIT AND GPL-3.0"));
}

pub(crate) fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn no_source_file_is_longer_than_600_lines() {
    let mut sources = files_below(&root().join("crates"), "rs");
    sources.extend(files_below(&root().join("tests"), "rs"));
    for path in sources {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 600, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_test_file_is_part_of_the_binary() {
    let main = fs::read_to_string(root().join("tests/main.rs")).unwrap();
    for path in fs::read_dir(root().join("tests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            assert!(
                stem == "main" || main.contains(&format!("mod {stem};")),
                "tests/{stem}.rs is compiled by nobody"
            );
        }
    }
}
