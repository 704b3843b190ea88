//! An encoder as a student: from a folder with a tiny random BERT to answers over HTTP.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    fixture::{Events, Job, PIPELINE, artifact, http},
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

#[test]
fn a_vocabulary_larger_than_the_model_is_refused_before_the_training() {
    let job = Job::new(&pipeline());
    let folder = job.path().join("encoder");
    encoder(&folder);
    fs::remove_file(folder.join("tokenizer.json")).unwrap();
    fs::remove_file(folder.join("tokenizer_config.json")).unwrap();
    // A line that stands twice gives those behind it numbers that the model has no rows for.
    let words: String = (0..120)
        .map(|word| format!("word{}\n", word % 40))
        .collect();
    let vocabulary = format!("[PAD]\n[UNK]\n[CLS]\n[SEP]\n{words}");
    fs::write(folder.join("vocab.txt"), vocabulary).unwrap();
    for command in [["check", "pipeline.yaml"], ["run", "pipeline.yaml"]] {
        let told = job.check(&command).code(2);
        let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
        assert!(told.contains("it has 124 tokens, the model 105"), "{told}");
    }
}

/// With an adapter, dropout, and soft labels of the embedded decoder; some hundred steps.
fn tuned() -> String {
    pipeline().replace(
        "encoder: {epochs: 8, learning_rate: 0.003, batch_rows: 8}",
        "encoder: {adapter: lora, rank: 4, alpha: 8, adapter_dropout: 0.1, epochs: 60, patience: 1000, learning_rate: 0.003, batch_rows: 8}\n  \
         objective: {kind: soft_labels, teacher: nano, temperature: 2, share: 0.5}",
    )
}

/// The bytes of the adapter that a run ended with.
fn adapter(job: &Job, events: &Events) -> Vec<u8> {
    let student = &events.artifacts()["train:encoder.student"];
    let folder = artifact(&job.home(), student);
    fs::read(folder.join("adapter_model.safetensors")).unwrap()
}

#[test]
fn an_adapter_of_an_encoder_is_trained_through_a_kill_and_served() {
    let straight = Job::new(&tuned());
    encoder(&straight.path().join("encoder"));
    let reference = straight.run();

    let job = Job::new(&tuned());
    encoder(&job.path().join("encoder"));
    let mut run = job.start(&["run", "pipeline.yaml", "--format", "json"]);
    let mut steps = 0;
    while steps < 25 {
        let event = run.next_event().expect("the training goes on");
        let is_step = event["type"] == "step_metric" && event["name"] == "loss";
        steps += u64::from(is_step && event["step"] == "train:encoder");
    }
    let killed = run.kill();
    assert!(killed.is_inside("train:encoder"), "it was over too soon");
    let events = job.run();
    let notes: Vec<&str> = events
        .of_type("step_note")
        .filter_map(|note| note["text"].as_str())
        .collect();
    let told = |text: &str| notes.iter().any(|note| note.contains(text));
    assert!(told("goes on from the checkpoint"), "{notes:?}");
    assert!(told("scores every label"), "{notes:?}");
    assert!(adapter(&job, &events) == adapter(&straight, &reference));
    let report = events.report().to_string();
    assert!(report.contains("LoRA rank 4"), "{report}");

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
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
}

#[test]
fn what_an_encoder_cannot_learn_is_refused() {
    let job = Job::new(
        &tuned()
            .replace("kind: soft_labels,", "kind: on_policy,")
            .replace(", temperature: 2, share: 0.5", ""),
    );
    encoder(&job.path().join("encoder"));
    let refused = |job: &Job| {
        let told = job.check(&["check", "pipeline.yaml"]).failure();
        String::from_utf8(told.get_output().stderr.clone()).unwrap()
    };
    let told = refused(&job);
    assert!(told.contains("soft_labels"), "{told}");
    job.write(
        "pipeline.yaml",
        &tuned().replace("rank: 4,", "rank: 4, targets: [query, vlaue],"),
    );
    let told = refused(&job);
    assert!(
        told.contains("`vlaue`") && told.contains("`dense`"),
        "{told}"
    );
}

#[test]
fn an_encoder_of_the_hub_is_one_before_it_is_fetched() {
    let of_hub = |name: &str| pipeline().replace("[./encoder]", &format!("[{name}]"));
    let plan = |text: &str| {
        let job = Job::new(text);
        let told = job.check(&["plan", "pipeline.yaml"]).success();
        String::from_utf8(told.get_output().stdout.clone()).unwrap()
    };
    // A control of decoders is there where a decoder is trained.
    let listed = plan(&of_hub("answerdotai/ModernBERT-base"));
    assert!(!listed.contains("untuned"), "{listed}");
    let unknown = plan(&of_hub("someone/some-model"));
    assert!(unknown.contains("untuned"), "{unknown}");
    assert!(unknown.contains("class: encoder"), "{unknown}");
    let said = of_hub("someone/some-model").replace("student:\n", "student:\n  class: encoder\n");
    let said = plan(&said);
    assert!(!said.contains("untuned"), "{said}");
}
