//! What is wrong with a file is told at once, with its place and the next step.

use super::*;

/// The codes and messages of a bad file.
fn wrong(text: &str) -> Vec<(Code, String)> {
    let findings = load(text).unwrap_err();
    findings
        .iter()
        .map(|finding| (finding.code, finding.message.clone()))
        .collect()
}

#[track_caller]
fn one(text: &str, code: Code, words: &str) {
    let found = wrong(text);
    assert!(
        matches!(found.as_slice(), [(found, message)] if *found == code && message.contains(words)),
        "{text}\n{found:#?}"
    );
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let text = "\
listen: nowhere
modles: {}
models:
  fast: [grok/llama, openai]
  slow:
    polcy: weight
    timeouts: {total: 5}
tasks:
  t: {route: fats, prompt: '{{ text'}
";
    let findings = load(text).unwrap_err();
    let found: Vec<(usize, usize, Code)> = findings
        .iter()
        .map(|finding| (finding.line, finding.column, finding.code))
        .collect();
    assert_eq!(
        found,
        [
            (1, 9, Code::Invalid),
            (2, 1, Code::UnknownKey),
            (4, 10, Code::UnknownName),
            (4, 22, Code::Invalid),
            (5, 3, Code::Missing),
            (6, 5, Code::UnknownKey),
            (7, 23, Code::WrongType),
            (9, 14, Code::UnknownName),
            (9, 28, Code::Template),
        ],
        "{}",
        findings.to_text()
    );
    let text = findings.to_text();
    for hint in [
        "did you mean `models`?",
        "did you mean `groq`?",
        "did you mean `policy`?",
        "did you mean `fast`?",
    ] {
        assert!(text.contains(hint), "{hint}\n{text}");
    }
}

#[test]
fn a_key_in_the_place_of_its_variable_is_not_shown() {
    let key = "sk-proj-planted-0123456789";
    let text = format!("admin_key_env: {key}\nmodels: {{a: simulated/frontier}}\n");
    let findings = load(&text).unwrap_err();
    assert!(
        !findings.to_text().contains("planted"),
        "{}",
        findings.to_text()
    );
    assert!(!findings.to_json().to_string().contains("planted"));
    assert!(!format!("{findings:?}").contains("planted"));

    for text in [
        "ledger: 'postgres://me:planted@db/x'\nmodels: {a: simulated/frontier}",
        "vendors: {b: {like: vllm, base_url: 'http://me:planted@b/v1'}}\nmodels: {a: simulated/frontier}",
    ] {
        let findings = load(text).unwrap_err();
        assert!(
            !findings.to_text().contains("planted"),
            "{}",
            findings.to_text()
        );
    }
}

#[test]
fn other_machines_need_leave_and_keys() {
    let rest = "models: {a: simulated/frontier}";
    let found = wrong(&format!("listen: 0.0.0.0:4000\n{rest}"));
    assert_eq!(found.len(), 2, "{found:#?}");
    one(
        &format!("listen: 0.0.0.0:4000\nsecurity: {{remote: true}}\n{rest}"),
        Code::Missing,
        "administrator's key",
    );
    one(
        &format!(
            "listen: '[::]:4000'\nadmin_key_env: DISTILL_ADMIN_KEY\nsecurity: {{remote: true, require_keys: false}}\n{rest}"
        ),
        Code::Conflict,
        "must show a key",
    );
    let config = loaded(&format!(
        "listen: 0.0.0.0:4000\nadmin_key_env: DISTILL_ADMIN_KEY\nsecurity: {{remote: true}}\n{rest}"
    ));
    assert!(config.security.remote && config.security.require_keys);
}

#[test]
fn what_cannot_be_asked_is_found_before_anybody_asks() {
    one(
        "models: {a: openai/no-such-model}",
        Code::Missing,
        "what it costs",
    );
    one("models: {a: []}", Code::Missing, "no members");
    one(
        "models: {a: azure/gpt-4o}",
        Code::Missing,
        "address of each customer",
    );
    one(
        "models: {a: student/support}",
        Code::UnknownName,
        "released student",
    );
    one(
        "models: {a: [simulated/frontier, simulated/frontier]}",
        Code::Invalid,
        "listed twice",
    );
    one(
        "models: {task/x: simulated/frontier}",
        Code::Invalid,
        "name of a route",
    );
    one(
        "models: {'a*b': simulated/frontier}",
        Code::Invalid,
        "name of a route",
    );
    one("{}", Code::Missing, "nobody can be asked");
    one(
        "models: {a: {members: [simulated/frontier], data_class: inner}}\ndata_classes: {inner: {vendors: [openai]}}",
        Code::Conflict,
        "does not allow",
    );
    one(
        "models: {a: {members: [{model: simulated/frontier, options: {stream: true}}]}}",
        Code::Conflict,
        "set by each request",
    );
    one(
        "models: {a: {members: [simulated/frontier], quality: {suite: none.yaml}}}",
        Code::Invalid,
        "there is no file",
    );
    one(
        "models: {a: {members: [simulated/frontier], timeouts: {total: 5s}}}",
        Code::Conflict,
        "first token",
    );
}

#[test]
fn tasks_are_whole_or_refused() {
    let with = |task: &str| format!("models: {{a: simulated/frontier}}\ntasks:\n  t: {task}");
    one(&with("{route: a}"), Code::Missing, "no prompt");
    one(
        &with("{route: a, prompt: x, versions: {1: {prompt: y}}}"),
        Code::Conflict,
        "beside `versions`",
    );
    one(
        &with("{route: a, prompt: x, active: 2}"),
        Code::UnknownName,
        "version `2`",
    );
    one(
        &with("{route: a, prompt: x, labels: [only]}"),
        Code::Missing,
        "fewer than two",
    );
    one(
        &with("{route: a, prompt: x, kind: extract}"),
        Code::Missing,
        "schema` is missing",
    );
    one(
        &with("{route: a, prompt: x, vendors: [openai]}"),
        Code::Conflict,
        "may answer",
    );
    one(
        &with("{route: a, prompt: x, allow: ['group:x']}"),
        Code::Invalid,
        "names nobody",
    );
    one(
        &with("{route: openai/gpt-5-mini, prompt: x}"),
        Code::UnknownName,
        "route",
    );
    one(
        &with("{route: a, prompt: x, parameters: {reasoning: hgih}}"),
        Code::UnknownName,
        "effort",
    );
    let config = loaded(&with(
        "{route: a, prompt: '{{ text }}', schema: {type: object, properties: {a: {type: array}}}}",
    ));
    assert_eq!(config.tasks[0].active, "1");
}

#[test]
fn money_text_and_time_have_bounds() {
    let with = |rest: &str| format!("models: {{a: simulated/frontier}}\n{rest}");
    one(
        &with("limits: {total: {usd_per_day: 0}}"),
        Code::OutOfRange,
        "usd_per_day",
    );
    one(
        &with("limits: {each_user: {requests_per_minute: 0}}"),
        Code::OutOfRange,
        "at least 1",
    );
    one(&with("spend: {}"), Code::Missing, "no rule");
    one(
        &with("spend: {rate: {times: 1}}"),
        Code::OutOfRange,
        "times",
    );
    one(
        &with("spend: {rate: {history: 90m}}"),
        Code::Conflict,
        "several windows",
    );
    one(
        &with("spend: {continuous: 6}"),
        Code::WrongType,
        "length of time",
    );
    one(
        &with("redaction: {custom: {x: '('}}"),
        Code::Invalid,
        "regular expression",
    );
    one(
        &with("redaction: {custom: {x: 'a*'}}"),
        Code::Invalid,
        "nothing at all",
    );
    one(
        &with("redaction: {detect: [emial]}"),
        Code::UnknownName,
        "emial",
    );
    one(&with("alerts: {webhook: 'ftp://x'}"), Code::Invalid, "http");
    one(
        &with("alerts: {webhook_env: UNSET_ONE}"),
        Code::Missing,
        "UNSET_ONE holds nothing",
    );
    one(
        &with("pools: {p: {models: a/*, tokens: 5, until: 2026-02-30}}"),
        Code::Invalid,
        "until",
    );
    one(
        &with("vendors: {b: {base_url: 'http://b/v1'}}"),
        Code::Missing,
        "speaks like",
    );
    one(
        &with("vendors: {b: {like: vlm, base_url: 'http://b/v1'}}"),
        Code::UnknownName,
        "vlm",
    );
    one(
        &with("vendors: {b: {like: vllm, headers: {Authorization: x}}}"),
        Code::Invalid,
        "cannot be set",
    );
}

#[test]
fn hostile_text_is_refused_quickly() {
    let deep = format!("models: {}1{}", "[".repeat(5_000), "]".repeat(5_000));
    assert!(matches!(
        wrong(&deep).as_slice(),
        [(Code::Limit | Code::Syntax, _)]
    ));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    assert!(!wrong(bomb).is_empty());
    assert!(matches!(
        wrong("models: {a: b/c}\nmodels: {}").as_slice(),
        [(Code::DuplicateKey, _)]
    ));
    assert!(matches!(
        wrong(&"x".repeat(2 << 20)).as_slice(),
        [(Code::Limit, _)]
    ));
    assert!(matches!(wrong("").as_slice(), [(Code::WrongType, _)]));
    // A pattern that would need more memory than a pattern may.
    let pattern = "models: {a: simulated/frontier}\nredaction: {custom: {x: '(a{1000}){1000}'}}";
    one(pattern, Code::Invalid, "regular expression");
}
