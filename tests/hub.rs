//! Base models by their hub name, from `plan` to a bundle, against a server that behaves like the hub.

use std::{fs, path::Path};

use serde_json::Value;

use crate::fixture::{Job, PIPELINE};

#[path = "../crates/distill-hub/tests/server/mod.rs"]
#[allow(
    dead_code,
    reason = "the client's own tests look at more of what was asked"
)]
mod server;

use server::{COMMIT, Faults, Server};

/// A job with one decoder of the hub, which is the embedded one under another name.
fn pipeline(target: &str) -> String {
    PIPELINE.replace("[linear, nano]", target)
}

struct Online {
    // The server answers while the runtime lives.
    runtime: tokio::runtime::Runtime,
    server: Server,
}

impl Online {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = crate::repository::root().join("crates/distill-student/assets/nano");
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let files = [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ]
        .map(|name| (name, read(name)));
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, content)| (*name, content.as_slice()))
            .collect();
        let server = runtime.block_on(Server::start(&files));
        Self { runtime, server }
    }

    fn distill(&self, job: &Job, arguments: &[&str], code: i32) -> (String, String) {
        let _ = &self.runtime;
        let output = job
            .distill(arguments.iter().copied())
            .env("HF_ENDPOINT", &self.server.endpoint)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (said, told) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(code), "{said}\n{told}");
        (said, told)
    }
}

#[test]
fn a_pipeline_names_its_base_by_the_hub() {
    let online = Online::new();
    let job = Job::new(&pipeline("org/tiny"));
    for command in ["check", "plan"] {
        let (said, _) = online.distill(&job, &[command, "pipeline.yaml"], 0);
        assert!(said.contains("`org/tiny` is not on this machine"), "{said}");
    }
    assert!(
        online.server.seen().is_empty(),
        "plan and check download nothing"
    );

    let (_, told) = online.distill(&job, &["run", "pipeline.yaml"], 0);
    assert!(told.contains("fetching org/tiny"), "{told}");
    let bundle = manifest(&job);
    assert_eq!(
        bundle["student"]["decoder"]["base"],
        format!("org/tiny@{COMMIT}")
    );

    // What is there is taken: nobody is asked, every step is cached.
    online.server.forget();
    let (said, _) = online.distill(&job, &["plan", "pipeline.yaml"], 0);
    assert!(!said.contains("will run"), "{said}");
    assert!(!said.contains("not on this machine"), "{said}");
    online.distill(&job, &["run", "pipeline.yaml"], 0);
    assert!(online.server.seen().is_empty());
}

/// The manifest of the job's one decoder.
fn manifest(job: &Job) -> Value {
    let mut folders = vec![job.home()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with(Path::new("manifest.json")) {
                return serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            }
        }
    }
    panic!("no bundle was written");
}

#[test]
fn a_model_that_cannot_be_had_is_told_before_anything_is_paid() {
    let online = Online::new();
    let job = Job::new(&pipeline("org/other"));
    let (_, told) = online.distill(&job, &["run", "pipeline.yaml"], 2);
    assert!(told.contains("knows no model `org/other`"), "{told}");
    assert!(told.contains("help:"), "{told}");

    online.server.set(Faults {
        gated: Some("hf_right"),
        ..Faults::default()
    });
    let job = Job::new(&pipeline("org/tiny@v1"));
    let (_, told) = online.distill(&job, &["run", "pipeline.yaml"], 2);
    assert!(told.contains("accept the terms at"), "{told}");
    assert!(told.contains("HF_TOKEN"), "{told}");
    assert!(!job.home().join("journal.sqlite").exists());
}

#[test]
fn models_are_fetched_and_listed_by_hand() {
    let online = Online::new();
    let job = Job::new(&pipeline("org/tiny"));
    let (said, _) = online.distill(&job, &["models", "fetch", "org/tiny"], 0);
    assert!(said.starts_with(&format!("org/tiny@{COMMIT} ")), "{said}");
    let (said, _) = online.distill(&job, &["plan", "pipeline.yaml"], 0);
    assert!(!said.contains("not on this machine"), "{said}");
    let (_, told) = online.distill(&job, &["models", "fetch", "tiny"], 2);
    assert!(told.contains("help:"), "{told}");

    let listed = json(&online, &job, &["models", "--format", "json"]);
    let rows = listed.as_array().unwrap();
    assert!(rows.len() >= 5);
    for row in rows {
        let (facts, unread) = (&row["facts"], &row["unread"]);
        assert!(facts.is_object() != unread.is_string(), "{row}");
        assert_eq!(row["fetched"], false);
    }

    // A row of the user's own goes first; its figures are computed from its configuration.
    let config = online_config();
    job.write(
        "models.yaml",
        &format!(
            "models:\n  - {{name: mine, id: org/tiny, licence: MIT, source: here, config: '{config}'}}\n"
        ),
    );
    let listed = json(&online, &job, &["models", "--format", "json"]);
    assert_eq!(listed[0]["name"], "mine");
    assert_eq!(listed[0]["fetched"], true);
    assert_eq!(listed[0]["facts"]["layers"], 5);
    let (said, _) = online.distill(&job, &["models", "show", "org/tiny"], 0);
    assert!(said.contains("target: org/tiny"), "{said}");
    let (yaml, _) = online.distill(&job, &["models", "show", "mine", "--format", "yaml"], 0);
    job.write("models.yaml", &yaml);
    let again = json(
        &online,
        &job,
        &["models", "show", "mine", "--format", "json"],
    );
    assert_eq!(again["facts"], listed[0]["facts"]);
    job.write("models.yaml", "models: [{name: x}]");
    let (_, told) = online.distill(&job, &["models"], 2);
    assert!(
        told.contains("models.yaml") && told.contains("id"),
        "{told}"
    );
}

fn online_config() -> String {
    let path = crate::repository::root().join("crates/distill-student/assets/nano/config.json");
    let value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    value.to_string()
}

fn json(online: &Online, job: &Job, arguments: &[&str]) -> Value {
    serde_json::from_str(&online.distill(job, arguments, 0).0).unwrap()
}
