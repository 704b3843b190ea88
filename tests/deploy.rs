//! From a run to answers over HTTP, and back.

use serde_json::{Value, json};

use crate::fixture::{Job, PIPELINE, http};

fn linear() -> String {
    PIPELINE.replace("[linear, nano]", "linear")
}

fn deploy(job: &Job, more: &[&str]) -> Value {
    let mut arguments = vec![
        "deploy",
        "latest",
        "--student",
        "linear",
        "--format",
        "json",
    ];
    arguments.extend(more);
    let released = job.check(&arguments).success();
    serde_json::from_slice(&released.get_output().stdout).unwrap()
}

fn ask(url: &str, model: &str) -> (u16, Value) {
    let body = json!({
        "model": model,
        "messages": [
            {"role": "system", "content": "Name the queue: account, billing, delivery, refund."},
            {"role": "user", "content": "invoice wrong amber kettle 900"},
        ],
    });
    http(
        &format!("{url}/chat/completions"),
        "POST",
        &body.to_string(),
    )
}

fn released(url: &str) -> Vec<Value> {
    let (status, models) = http(&format!("{url}/models"), "GET", "");
    assert_eq!(status, 200);
    models["data"].as_array().unwrap().clone()
}

#[test]
fn a_student_is_released_served_replaced_and_taken_back() {
    // 32 rows can prove nothing at a margin of 3 points.
    let job = Job::new(&linear());
    job.run();
    let refused = job
        .check(&["deploy", "latest", "--student", "linear"])
        .code(3);
    let told = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(
        told.contains("not released") && told.contains("--despite-gate"),
        "{told}"
    );
    let told = job.check(&["serve", "--port", "0"]).code(1);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(told.contains("distill deploy"), "{told}");

    let first = deploy(&job, &["--despite-gate", "a rehearsal"]);
    assert_eq!(first["route"], "queues");
    assert_eq!(first["gate"]["met"], false);
    assert_eq!(first["gate"]["despite"]["why"], "a rehearsal");

    let (server, url) = job.serve(&["serve", "--port", "0"]);
    let models = released(&url);
    assert_eq!(models.len(), 1);
    assert_eq!(models[0]["id"], "queues");
    assert_eq!(models[0]["release"], first["id"]);
    assert_eq!(models[0]["gate_met"], false);
    let (status, answer) = ask(&url, "queues");
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "billing");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(ask(&url, "nothing").0, 404);
    let (status, body) = http(&format!("{url}/chat/completions"), "POST", "{");
    assert_eq!(status, 400, "{body}");

    // The server goes on; it notices what is released and taken back.
    job.write(
        "pipeline.yaml",
        &linear().replace(
            "train:\n  decoder",
            "train:\n  linear: {word_ngrams: 1}\n  decoder",
        ),
    );
    job.run();
    let second = deploy(&job, &["--despite-gate", "one more"]);
    assert_ne!(second["bundle"], first["bundle"]);
    assert_eq!(released(&url)[0]["release"], second["id"]);
    assert_eq!(
        ask(&url, "queues").1["choices"][0]["message"]["content"],
        "billing"
    );

    let back = job.check(&["rollback", "--format", "json"]).success();
    let back: Value = serde_json::from_slice(&back.get_output().stdout).unwrap();
    assert_eq!(back["taken_back"]["id"], second["id"]);
    assert_eq!(back["answers_now"]["id"], first["id"]);
    assert_eq!(released(&url)[0]["release"], first["id"]);
    assert_eq!(ask(&url, "queues").0, 200);

    job.check(&["rollback", "queues"]).success();
    assert_eq!(released(&url), Vec::<Value>::new());
    let (status, error) = ask(&url, "queues");
    assert_eq!(status, 404, "{error}");
    assert!(
        error["error"]["message"]
            .as_str()
            .unwrap()
            .contains("queues"),
        "{error}"
    );
    job.check(&["rollback", "queues"]).failure();

    server.interrupt();
    server.finish(0);
}

#[test]
fn a_student_that_meets_its_gate_is_released_without_a_word() {
    let job = Job::with_rows(&linear().replace("margin: 0.03", "margin: 0.6"), 80, 80);
    let run = job
        .distill(["run", "pipeline.yaml", "--gate"])
        .status()
        .unwrap();
    assert_eq!(run.code(), Some(0));
    let release = deploy(&job, &["--route", "front-desk"]);
    assert_eq!(release["gate"]["met"], true);
    assert_eq!(release["gate"]["despite"], Value::Null);
    assert_eq!(release["route"], "front-desk");
    let (_server, url) = job.serve(&["serve", "--port", "0"]);
    assert_eq!(ask(&url, "front-desk").0, 200);

    // The same bundle again is no new release.
    let again = job
        .check(&[
            "deploy",
            "latest",
            "--student",
            "linear",
            "--route",
            "front-desk",
        ])
        .success();
    let told = String::from_utf8(again.get_output().stderr.clone()).unwrap();
    assert!(told.contains("already"), "{told}");
}

#[test]
fn a_gate_that_is_not_met_is_an_exit_code() {
    let job = Job::new(&linear());
    let run = job.distill(["run", "pipeline.yaml", "--gate"]).status();
    assert_eq!(run.unwrap().code(), Some(3));
    let told = job.check(&["deploy", "no-such-run"]).code(2);
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(
        told.contains("no-such-run") && told.contains("distill runs"),
        "{told}"
    );
    let told = job
        .check(&["deploy", "latest", "--student", "nobody"])
        .failure();
    let told = String::from_utf8(told.get_output().stderr.clone()).unwrap();
    assert!(told.contains("nobody"), "{told}");
}
