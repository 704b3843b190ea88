use serde_json::json;

use super::calls;
use crate::{Sample, Score, Scorer, metric, metric::tests::generate};

#[track_caller]
fn check(name: &str, reply: &str, gold: &str, wanted: Option<bool>) {
    let task = generate();
    let sample = Sample::read("1", &task, Ok(reply), Some(gold));
    let score = Scorer::plain(metric(name).unwrap())
        .score(&sample, &task)
        .unwrap();
    match wanted {
        Some(right) => assert_eq!(score, Score::right(right), "{name} {reply} {gold}"),
        None => assert!(matches!(score, Score::Unscored { .. })),
    }
}

const WEATHER: &str = r#"[{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}]"#;

#[test]
fn every_way_to_write_a_call_is_the_same_call() {
    let arguments = r#"{"days": 3.0, "city": "Oslo"}"#;
    let input = json!({"days": 3, "city": "Oslo"});
    let forms = [
        json!([{"name": "weather", "arguments": input}]),
        json!({"name": "weather", "arguments": arguments}),
        json!([{"id": "1", "type": "function", "function": {"name": "weather", "arguments": arguments}}]),
        json!({"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": arguments}}]}),
        json!([{"type": "text", "text": "Let me look."}, {"type": "tool_use", "id": "a", "name": "weather", "input": input}]),
        json!({"role": "assistant", "content": [{"type": "tool_use", "name": "weather", "input": input}]}),
    ];
    for form in forms {
        check("tool_call", &form.to_string(), WEATHER, Some(true));
        check(
            "tool_call",
            &format!("```json\n{form}\n```"),
            WEATHER,
            Some(true),
        );
    }
}

#[test]
fn calls_may_stand_in_tags() {
    let one = r#"<tool_call>
{"name": "weather", "arguments": {"city": "Oslo", "days": 3}}
</tool_call>"#;
    check("tool_call", one, WEATHER, Some(true));
    check(
        "tool_call",
        &format!("Let me look.\n{one}"),
        WEATHER,
        Some(true),
    );
    check("tool_call", &format!("{one}{one}"), WEATHER, Some(false));
    check(
        "tool_call",
        &one.replace("</tool_call>", ""),
        WEATHER,
        Some(false),
    );
}

#[test]
fn arguments_count_by_type_and_value() {
    let with = |arguments: &str| format!(r#"[{{"name": "weather", "arguments": {arguments}}}]"#);
    for (arguments, right) in [
        (r#"{"city": "Oslo", "days": 3.0}"#, true),
        (r#"{"city": "Oslo", "days": "3"}"#, false),
        (r#"{"city": "oslo", "days": 3}"#, false),
        (r#"{"city": "Oslo"}"#, false),
        (r#"{"city": "Oslo", "days": 3, "units": null}"#, false),
    ] {
        check("tool_call", &with(arguments), WEATHER, Some(right));
        check("tool_arguments", &with(arguments), WEATHER, Some(right));
        check("tool_name", &with(arguments), WEATHER, Some(true));
    }
    let renamed = WEATHER.replace("weather", "forecast");
    check("tool_call", &renamed, WEATHER, Some(false));
    check("tool_name", &renamed, WEATHER, Some(false));
    check("tool_arguments", &renamed, WEATHER, Some(true));
}

#[test]
fn parallel_calls_are_a_multiset() {
    let call = |name: &str, n: u32| json!({"name": name, "arguments": {"n": n}});
    let gold = json!([call("a", 1), call("b", 2), call("a", 1)]).to_string();
    let list = |calls: &[serde_json::Value]| json!(calls).to_string();
    let same = list(&[call("b", 2), call("a", 1), call("a", 1)]);
    check("tool_call", &same, &gold, Some(true));
    let fewer = list(&[call("b", 2), call("a", 1)]);
    check("tool_call", &fewer, &gold, Some(false));
    let other = list(&[call("b", 2), call("a", 1), call("b", 2)]);
    check("tool_call", &other, &gold, Some(false));
    check("tool_name", &other, &gold, Some(false));
    // The names and the arguments are right, but they stand together wrongly.
    let crossed = list(&[call("b", 1), call("a", 2), call("a", 1)]);
    check("tool_name", &crossed, &gold, Some(true));
    check("tool_arguments", &crossed, &gold, Some(true));
    check("tool_call", &crossed, &gold, Some(false));
}

#[test]
fn no_call_is_an_answer() {
    for none in [
        "[]",
        "no call",
        "null",
        "I cannot look that up.",
        r#"{"content": "Hello", "role": "assistant"}"#,
    ] {
        check("tool_call", none, "[]", Some(true));
        check("tool_call", none, "no call", Some(true));
        check("tool_call", none, WEATHER, Some(false));
    }
    // An empty reply is not an answer to the task, but it calls nothing.
    check("tool_call", "", "[]", Some(true));
    check("tool_call", WEATHER, "[]", Some(false));
}

#[test]
fn a_broken_call_is_wrong_and_a_broken_reference_is_unscored() {
    for broken in [
        r#"[{"name": "weather""#,
        "[1]",
        r#"{"city": "Oslo"}"#,
        r#"[{"name": "w", "arguments": "{"}]"#,
    ] {
        assert_eq!(calls(broken), None, "{broken}");
        check("tool_call", broken, "[]", Some(false));
        check("tool_call", "[]", broken, None);
    }
}
