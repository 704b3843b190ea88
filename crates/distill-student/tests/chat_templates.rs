//! Renderings of real chat templates against those that transformers recorded; the templates are
//! read from `DISTILL_MODELS_DIR`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails; a test that cannot run says so"
)]

use distill_chat::Message;
use distill_student::template::{ChatTemplate, Conversation};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

const CASES: &str = include_str!("fixtures/chat-templates/cases.json");
const EXPECTED: &str = include_str!("fixtures/chat-templates/expected.json");

/// As the fixture writes a rendering: the beginning of its hash, its length.
fn mark(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let digits: String = hash[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits} {}", text.len())
}

/// What does not agree of one conversation, each variant of it.
fn disagreements(
    template: &ChatTemplate,
    cases: &Value,
    conversation: &Value,
    expected: &Value,
) -> Vec<String> {
    let tools = conversation["tools"].as_bool().unwrap_or(false);
    let mut wrong = Vec::new();
    for (index, variant) in cases["variants"].as_array().unwrap().iter().enumerate() {
        let mut variables: Map<String, Value> = conversation["variables"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        if !variant[1].is_null() {
            variables.insert("enable_thinking".to_owned(), variant[1].clone());
        }
        let rendered = template.render_conversation(&Conversation {
            messages: conversation["messages"].as_array().unwrap(),
            tools: tools.then(|| cases["tools"].as_array().unwrap().as_slice()),
            add_generation_prompt: variant[0].as_bool().unwrap(),
            variables: &variables,
        });
        let expected = expected[index].as_str();
        let got = rendered.as_deref().map(mark);
        if got.as_deref().ok() != expected {
            wrong.push(format!(
                "{index}: {expected:?} instead of {got:?}\n{rendered:?}"
            ));
        }
    }
    wrong
}

#[test]
fn real_templates_render_as_transformers_does() {
    let Some(models) = std::env::var_os("DISTILL_MODELS_DIR") else {
        eprintln!(
            "skipped: real_templates_render_as_transformers_does: DISTILL_MODELS_DIR is not set"
        );
        return;
    };
    let folder = std::path::PathBuf::from(models).join("chat-templates");
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let expected: Value = serde_json::from_str(EXPECTED).unwrap();
    let (mut templates, mut renderings, mut wrong) = (0, 0, Vec::new());
    for (name, of) in expected.as_object().unwrap() {
        let source = std::fs::read_to_string(folder.join(format!("{name}.jinja"))).unwrap();
        let token = |which: &str| cases["tokens"][which].as_str();
        let template = ChatTemplate::new(&source, token("bos_token"), token("eos_token")).unwrap();
        templates += 1;
        for (case, conversation) in cases["conversations"].as_object().unwrap() {
            renderings += of[case].as_array().unwrap().len();
            let found = disagreements(&template, &cases, conversation, &of[case]);
            wrong.extend(found.into_iter().map(|at| format!("{name} {case} {at}")));
        }
    }
    assert_eq!(templates, 27);
    assert_eq!(renderings, 27 * 24 * 4);
    assert!(
        wrong.is_empty(),
        "{} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_template_that_grows_its_values_is_stopped() {
    let doubling = "x ~ x".to_owned() + &" ~ x".repeat(30);
    for source in [
        // By assignment, in a loop and without one.
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}".to_owned(),
        "{% set x = 'ab' %}".to_owned() + &"{% set x = x ~ x %}".repeat(60),
        // By capture, by arguments of a macro that calls itself, by nesting.
        "{% set x = 'ab' %}".to_owned() + &"{% set x %}{{ x }}{{ x }}{% endset %}".repeat(60),
        "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('ab') }}".to_owned(),
        "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}".to_owned(),
        "{% set n = namespace(x=1) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}".to_owned(),
        // By filters and methods.
        "{% set x = 'a' %}".to_owned() + &"{% set x = x | replace('', x ~ x) %}".repeat(40),
        "{% set x = '\"' %}{{ x".to_owned() + &" | tojson".repeat(64) + " }}",
        "{{ range(99999) | list | tojson(indent=99999) }}".to_owned(),
        "{{ range(99999) | join('x' | indent(9999, true)) }}".to_owned(),
        "{% set n = namespace(x='abc') %}{% for i in range(20) %}{% set n.x = n.x.split('') | join(n.x) %}{% endfor %}".to_owned(),
        // By time: large values made again and again and thrown away.
        format!("{{% set n = namespace(x='abcdefgh') %}}{{% for i in range(19) %}}{{% set n.x = n.x ~ n.x %}}{{% endfor %}}{{% set x = n.x %}}{{% for i in range(99999) %}}{{% if {doubling} == 1 %}}{{% endif %}}{{% endfor %}}"),
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}".to_owned(),
        "{% for a in range(99999) %}{% for b in range(99999) %}".to_owned() + &"x".repeat(200_000) + "{% endfor %}{% endfor %}",
    ] {
        let refused = match ChatTemplate::new(&source, None, None) {
            Ok(template) => template.render(&[Message::user("hello")], true).map(|_| ()),
            Err(error) => Err(error),
        };
        let error = refused.expect_err(&source).to_string();
        assert!(error.contains("template"), "{error}");
    }
}
