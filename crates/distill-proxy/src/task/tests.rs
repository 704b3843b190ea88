use std::path::Path;

use distill_ledger::{KeyLimits, Role as CallerRole};
use serde_json::json;

use super::*;
use crate::config::{Day, Sources};

const FILE: &str = "
models:
  fast: [simulated/frontier, simulated-anthropic/frontier]
  slow: simulated/frontier
data_classes: {inner: {vendors: [simulated]}}
tasks:
  triage:
    route: fast
    active: old
    allow: [team:core]
    max_size: 40
    versions:
      old: {system: \"One of {{ labels | join(', ') }}.\", prompt: '{{ text }}', labels: [refund, delivery], parameters: {max_tokens: 8, temperature: 0}}
      new: {prompt: '{{ text }}!', labels: [refund, delivery], route: slow}
  letter:
    route: fast
    data_class: inner
    prompt: 'To {{ name }} about {{ topic }}'
    schema: {type: object, properties: {body: {type: string}}}
";

fn config(text: &str) -> Config {
    Config::load(
        "proxy.yaml",
        text,
        &Sources {
            environment: &|_| None,
            folder: Path::new("."),
            state: Path::new("."),
            today: Day(20_000),
            prices: None,
        },
    )
    .unwrap_or_else(|findings| panic!("{}", findings.to_text()))
}

fn caller(team: &str) -> Caller {
    Caller {
        key_id: "key".to_owned(),
        user: "anna".to_owned(),
        team: Some(team.to_owned()),
        discipline: None,
        level: None,
        role: CallerRole::User,
        models: Vec::new(),
        limits: KeyLimits::default(),
    }
}

fn prepare(body: &serde_json::Value) -> Result<Prepared, TaskProblem> {
    let tasks = Tasks::new(&config(FILE), &TaskReleases::default());
    tasks.prepare(
        &TaskCall::read(body.to_string().as_bytes())?,
        &caller("core"),
    )
}

fn text_of(blocks: &[Block]) -> &str {
    match blocks {
        [Block::Text { text, .. }] => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_becomes_the_task_s_question() {
    let prepared = prepare(&json!({
        "model": "task/triage", "variables": {"text": "where is it?"}, "stream": true,
        "stream_options": {"include_usage": true}, "temperature": 1, "max_tokens": 99
    }))
    .unwrap();
    let request = &prepared.request;
    assert_eq!(text_of(&request.system), "One of refund, delivery.");
    assert_eq!(text_of(&request.turns[0].blocks), "where is it?");
    assert_eq!(
        (request.max_tokens, request.temperature),
        (Some(8), Some(0.0))
    );
    assert!(request.stream && request.stream_usage && request.output.is_none());
    assert_eq!(prepared.route, "task/triage@old");
    assert!(prepared.version.starts_with("old#") && prepared.version.len() == 12);
    let dropped: Vec<&str> = prepared
        .dropped
        .iter()
        .map(|field| field.field.as_str())
        .collect();
    assert_eq!(dropped, ["temperature", "max_tokens"]);
}

#[test]
fn variables_come_in_whatever_way_a_client_can_send_them() {
    let asked = |body| text_of(&prepare(&body).unwrap().request.turns[0].blocks).to_owned();
    let model = "task/triage";
    for body in [
        json!({"model": model, "variables": {"text": "x y"}, "messages": []}),
        json!({"model": model, "metadata": {"variables": {"text": "x y"}}, "input": []}),
        json!({"model": model, "metadata": {"variables": "{\"text\": \"x y\"}"}}),
        json!({"model": model, "messages": [{"role": "user", "content": "x y"}]}),
        json!({"model": model, "messages": [{"role": "user", "content": [{"type": "text", "text": "x y"}]}]}),
        json!({"model": model, "input": "x y"}),
    ] {
        assert_eq!(asked(body.clone()), "x y", "{body}");
    }
    let call = TaskCall::read_named(
        "triage",
        br#"{"variables": {"text": "z"}, "version": "new"}"#,
    )
    .unwrap();
    assert_eq!(call.version.as_deref(), Some("new"));
}

#[test]
fn what_is_not_a_call_is_refused_with_its_field() {
    let refused = |body: serde_json::Value| prepare(&body).unwrap_err();
    let cases = [
        (
            json!({"model": "task/none"}),
            ErrorKind::NotFound,
            "letter, triage",
        ),
        (
            json!({"model": "task/triage@3"}),
            ErrorKind::NotFound,
            "old, new",
        ),
        (
            json!({"model": "task/triage"}),
            ErrorKind::InvalidRequest,
            "lacks the variable `text`",
        ),
        (
            json!({"model": "task/triage", "variables": {"text": "a", "tone": "b"}}),
            ErrorKind::InvalidRequest,
            "no variable `tone`",
        ),
        (
            json!({"model": "task/letter", "messages": [{"role": "user", "content": "a"}]}),
            ErrorKind::InvalidRequest,
            "send them in `variables`",
        ),
        (
            json!({"model": "task/triage", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}),
            ErrorKind::InvalidRequest,
            "conversation",
        ),
        (
            json!({"model": "task/triage", "variables": [1]}),
            ErrorKind::InvalidRequest,
            "map",
        ),
        (
            json!({"model": "task/triage", "variables": {"text": "a".repeat(50)}}),
            ErrorKind::TooLarge,
            "it takes 40",
        ),
        (
            json!({"model": "task/triage", "variables": {}, "metadata": {"variables": {}}}),
            ErrorKind::InvalidRequest,
            "one of the two",
        ),
    ];
    for (body, kind, words) in cases {
        let problem = refused(body.clone());
        assert_eq!(problem.kind(), kind, "{body}");
        assert!(problem.to_string().contains(words), "{body}: {problem}");
    }
    assert!(matches!(
        TaskCall::read(b"[]"),
        Err(TaskProblem::Body { .. })
    ));
    let tasks = Tasks::new(&config(FILE), &TaskReleases::default());
    let call = TaskCall::read(br#"{"model": "task/triage", "variables": {"text": "a"}}"#).unwrap();
    let problem = tasks.prepare(&call, &caller("other")).unwrap_err();
    assert_eq!(problem.kind(), ErrorKind::Permission);
}

#[test]
fn a_schema_holds_the_reply_and_rules_narrow_the_route() {
    let prepared =
        prepare(&json!({"model": "task/letter", "variables": {"name": "A", "topic": 7}})).unwrap();
    assert_eq!(text_of(&prepared.request.turns[0].blocks), "To A about 7");
    assert!(matches!(
        &prepared.request.output,
        Some(OutputFormat::JsonSchema { name: Some(name), .. }) if name == "letter"
    ));
    let text = FILE.replace(", route: slow}", "}").replace(
        "active: old",
        "active: old\n    vendors: [simulated-anthropic]",
    );
    let config = config(&text);
    let members = |route: &str| -> Vec<String> {
        let route = config.route(route).unwrap();
        route
            .members
            .iter()
            .map(|member| member.target.clone())
            .collect()
    };
    assert_eq!(
        members("task/letter@1"),
        ["simulated/frontier"],
        "by its data class"
    );
    assert_eq!(
        members("task/triage@old"),
        ["simulated-anthropic/frontier"],
        "by its vendors"
    );
    assert_eq!(
        config.route("task/triage@old").unwrap().allow,
        ["team:core"]
    );
}

#[test]
fn a_release_changes_who_answers_and_can_be_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state/tasks.json");
    let config = config(FILE);
    assert_eq!(TaskReleases::read(&path).unwrap(), TaskReleases::default());
    let active = |releases: &TaskReleases| Tasks::new(&config, releases).list()[1].active.clone();

    let release = |version: &str, at_ms| Release {
        version: version.to_owned(),
        digest: "d".to_owned(),
        by: "anna".to_owned(),
        at_ms,
        taken_back_ms: None,
    };
    let mut releases = TaskReleases::default();
    assert_eq!(active(&releases), "old");
    releases.release("triage", release("new", 1));
    releases.write(&path).unwrap();
    let mut releases = TaskReleases::read(&path).unwrap();
    assert_eq!(active(&releases), "new");
    releases.release("triage", release("gone", 2));
    assert_eq!(
        active(&releases),
        "old",
        "a version that the file no longer has"
    );
    assert_eq!(releases.take_back("triage", 3).unwrap().version, "gone");
    assert_eq!(active(&releases), "new");
    releases.take_back("triage", 4).unwrap();
    assert_eq!(active(&releases), "old");
    assert!(matches!(
        releases.take_back("triage", 5),
        Err(ReleaseError::NothingReleased { .. })
    ));
    assert_eq!(releases.history("triage").len(), 2, "history stays");
    std::fs::write(&path, "{").unwrap();
    assert!(matches!(
        TaskReleases::read(&path),
        Err(ReleaseError::Content { .. })
    ));
}

#[test]
fn an_edited_version_is_recorded_as_another() {
    let version = |text: &str| {
        let tasks = Tasks::new(&config(text), &TaskReleases::default());
        let call = TaskCall::read(
            br#"{"model": "task/letter", "variables": {"name": "a", "topic": "b"}}"#,
        )
        .unwrap();
        tasks.prepare(&call, &caller("core")).unwrap().version
    };
    let before = version(FILE);
    assert_eq!(before, version(&format!("# a comment\n{FILE}")));
    assert_ne!(
        before,
        version(&FILE.replace("To {{ name }}", "Dear {{ name }}"))
    );
}
