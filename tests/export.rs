//! From a run to folders that PEFT and transformers open. That they do, and that their logits are
//! ours, is what `scripts/check_formats.py` holds.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::fixture::{Job, PIPELINE, artifact};

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What the command says to a person where it does its work.
#[track_caller]
fn exported(job: &Job, arguments: &[&str]) -> String {
    let done = job.check(&[&["export"], arguments].concat()).success();
    String::from_utf8(done.get_output().stderr.clone()).unwrap()
}

#[track_caller]
fn refused(job: &Job, arguments: &[&str], words: &[&str]) {
    let done = job.check(&[&["export"], arguments].concat()).code(2);
    let told = String::from_utf8(done.get_output().stderr.clone()).unwrap();
    for word in words.iter().chain(&["help:"]) {
        assert!(told.contains(word), "`{word}` is not in:\n{told}");
    }
}

#[test]
fn a_student_goes_out_as_an_adapter_and_as_a_model() {
    let job = Job::new(PIPELINE);
    let events = job.run();
    // The only student with weights of a transformer need not be named.
    let told = exported(&job, &["--out", "adapter"]);
    assert!(told.contains("adapter for PEFT"), "{told}");
    let folder = job.path().join("adapter");
    let there = files(&folder);
    for file in [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "base",
        "chat_template.jinja",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        assert!(there.contains(file), "{file}: {there:?}");
    }
    let config = json_of(&folder.join("adapter_config.json"));
    assert_eq!(config["r"], 4);
    assert_eq!(config["base_model_name_or_path"], "base");
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    for words in [
        "license: \"apache-2.0\"",
        "| pipeline | `queues` |",
        "`refund`",
    ] {
        assert!(card.contains(words), "{words}:\n{card}");
    }

    let told = exported(
        &job,
        &["latest", "--student", "nano", "--merge", "--out", "whole"],
    );
    assert!(told.contains("golden rows as the student does"), "{told}");
    let there = files(&job.path().join("whole"));
    assert!(there.contains("model.safetensors") && !there.contains("adapter_config.json"));
    // What went out comes back in: the model is a base like any other.
    job.write(
        "pipeline.yaml",
        &PIPELINE.replace("[linear, nano]", "./whole"),
    );
    job.check(&["check", "pipeline.yaml"]).success();

    let bundle = artifact(&job.home(), &events.artifacts()["train:nano.student"]);
    let bundle = bundle.display().to_string();
    let told = exported(
        &job,
        &[
            &bundle,
            "--format",
            "hf",
            "--precision",
            "f32",
            "--out",
            "again",
        ],
    );
    assert!(told.contains("model for transformers"), "{told}");
    let weights = |folder: &str| fs::read(job.path().join(folder).join("model.safetensors"));
    // The embedded model's numbers are held in four bytes, and so they are written.
    assert!(weights("again").unwrap() == weights("whole").unwrap());
    refusals(&job);
    routes(&job);
}

fn refusals(job: &Job) {
    refused(
        job,
        &["latest", "--student", "linear", "--out", "linear"],
        &["no weights of a transformer"],
    );
    refused(
        job,
        &["latest", "--out", "whole"],
        &["not empty", "--force"],
    );
    job.write("mine/notes.txt", "mine");
    refused(
        job,
        &["latest", "--out", "mine", "--force"],
        &["no export wrote", "notes.txt"],
    );
    assert_eq!(files(&job.path().join("mine")).len(), 1);
    exported(job, &["latest", "--out", "whole", "--force"]);
    assert!(job.path().join("whole/adapter_config.json").is_file());
    refused(
        job,
        &["latest", "--student", "nanu", "--out", "new"],
        &["no student `nanu`", "nano"],
    );
    refused(job, &["2001", "--out", "new"], &["there is no run `2001`"]);
    assert!(!job.path().join("new").exists());
}

fn routes(job: &Job) {
    job.check(&[
        "deploy",
        "latest",
        "--student",
        "nano",
        "--despite-gate",
        "a rehearsal",
    ])
    .success();
    let told = exported(job, &["queues", "--merge", "--out", "released"]);
    assert!(told.contains("model for transformers"), "{told}");
    let card = fs::read_to_string(job.path().join("released/README.md")).unwrap();
    assert!(card.contains("| release |"), "{card}");
}
