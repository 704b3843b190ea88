//! An encoder as a student: from a folder with a tiny random BERT to answers over HTTP.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    fixture::{Job, PIPELINE, http},
    repository::root,
};

/// Copies the encoder that the parity tests of the student crate are made with.
fn encoder(to: &Path) {
    let from = root().join("crates/distill-student/tests/fixtures/encoders/bert");
    fs::create_dir_all(to).unwrap();
    for file in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

fn pipeline() -> String {
    PIPELINE
        .replace("[linear, nano]", "[./encoder]")
        .replace("controls: []", "controls: [untuned]")
        .replace(
            "train:\n  decoder: {rank: 4, alpha: 8, epochs: 30, max_steps: 2, batch_tokens: 256, patience: 1000}",
            "train:\n  encoder: {epochs: 8, learning_rate: 0.003, batch_rows: 8}",
        )
}

#[test]
fn an_encoder_is_trained_compared_released_and_served() {
    let job = Job::new(&pipeline());
    encoder(&job.path().join("encoder"));
    let events = job.run();
    let started = events.started();
    assert!(
        started.iter().any(|step| step.starts_with("train:")),
        "{started:?}"
    );
    assert!(
        !started.iter().any(|step| step.contains("untuned")),
        "{started:?}"
    );
    let report = events.report().to_string();
    assert!(report.contains("./encoder"), "{report}");

    let again = job.run();
    assert_eq!(again.started(), Vec::<&str>::new());
    assert_eq!(again.artifacts(), events.artifacts());

    let arguments = [
        "deploy",
        "latest",
        "--student",
        "./encoder",
        "--despite-gate",
        "a rehearsal",
    ];
    job.check(&arguments).success();
    let (_server, url) = job.serve(&["serve", "--port", "0"]);
    let body = json!({
        "model": "queues",
        "messages": [{"role": "user", "content": "invoice wrong amber kettle 900"}],
    });
    let (status, answer) = http(
        &format!("{url}/chat/completions"),
        "POST",
        &body.to_string(),
    );
    assert_eq!(status, 200, "{answer}");
    let label = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(
        ["account", "billing", "delivery", "refund"].contains(&label),
        "{label}"
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[test]
fn an_encoder_cannot_write() {
    let pipeline = pipeline().replace("kind: classify", "kind: generate");
    let job = Job::new(&pipeline);
    encoder(&job.path().join("encoder"));
    let told = job.check(&["plan", "pipeline.yaml"]).failure();
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(
        told.contains("encoder") && told.contains("classify"),
        "{told}"
    );
}
