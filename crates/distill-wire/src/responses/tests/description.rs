//! What is written, held to the vendor's own description where `DISTILL_PROVIDERS_DIR` holds it.

use serde_json::{Value, json};

use super::{super::*, call, caller, context, reply, streams};
use crate::{Block, Finish};

/// The description, or a printed reason why the test does nothing.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn description(test: &str) -> Option<Value> {
    let Some(folder) = std::env::var_os("DISTILL_PROVIDERS_DIR") else {
        eprintln!("skipped: {test}: DISTILL_PROVIDERS_DIR is not set");
        return None;
    };
    let path = std::path::PathBuf::from(folder).join("openai-openapi/openapi.json");
    let text = std::fs::read(path).unwrap();
    Some(serde_json::from_slice(&text).unwrap())
}

/// Where a value departs from a schema, of the keywords that the description uses.
fn departs(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let schema = root.pointer(&name[1..]).unwrap();
        return departs(root, schema, value, at, found);
    }
    for part in schema["allOf"].as_array().into_iter().flatten() {
        departs(root, part, value, at, found);
    }
    for word in ["anyOf", "oneOf"] {
        let Some(choices) = schema[word].as_array() else {
            continue;
        };
        let nearest = choices
            .iter()
            .map(|choice| {
                let mut found = Vec::new();
                departs(root, choice, value, at, &mut found);
                found
            })
            .min_by_key(Vec::len);
        found.extend(nearest.unwrap_or_default());
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => true,
    };
    let listed = schema["enum"]
        .as_array()
        .is_none_or(|list| list.contains(value));
    if !fits || !listed {
        found.push(format!("{at}: {value} is not as described"));
        return;
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        if value.is_object() && value.get(name).is_none() {
            found.push(format!("{at}.{name} is missing"));
        }
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            departs(root, schema, value, &format!("{at}.{name}"), found);
        }
    }
    if let (Some(items), true) = (schema.get("items"), value.is_array()) {
        for (index, value) in value.as_array().unwrap().iter().enumerate() {
            departs(root, items, value, &format!("{at}[{index}]"), found);
        }
    }
}

fn schema(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[test]
fn replies_are_as_the_vendor_describes_them() {
    let Some(root) = description("responses::replies_are_as_the_vendor_describes_them") else {
        return;
    };
    let blocks = vec![
        Block::Thinking {
            text: "hm".into(),
            signature: Some("EqQB".into()),
            id: None,
        },
        Block::text("a"),
        Block::Refusal { text: "b".into() },
        call("toolu_1", "exec", ""),
        call("toolu_2", "apply_patch", "{\"input\":\"x\"}"),
        call("toolu_3", "local_shell", "{\"command\":[\"ls\"]}"),
    ];
    let written: Value = serde_json::from_slice(&write_reply(
        &reply(blocks, Finish::Length),
        &context(&caller()),
    ))
    .unwrap();
    let mut found = Vec::new();
    departs(&root, &schema("Response"), &written, "response", &mut found);
    assert_eq!(found, Vec::<String>::new());
    let mut broken = written;
    broken.as_object_mut().unwrap().shift_remove("tools");
    departs(&root, &schema("Response"), &broken, "response", &mut found);
    assert_eq!(found, ["response.tools is missing"]);
}

#[test]
fn events_are_as_the_vendor_describes_them() {
    let Some(root) = description("responses::events_are_as_the_vendor_describes_them") else {
        return;
    };
    let kinds = root["components"]["schemas"]["ResponseStreamEvent"]["anyOf"]
        .as_array()
        .unwrap();
    for event in streams::written_turn() {
        let kind = kinds
            .iter()
            .find(|kind| {
                let name = kind["$ref"].as_str().unwrap();
                root.pointer(&name[1..]).unwrap()["properties"]["type"]["enum"][0] == event["type"]
            })
            .unwrap_or_else(|| panic!("{} is not described", event["type"]));
        let mut found = Vec::new();
        departs(
            &root,
            kind,
            &event,
            event["type"].as_str().unwrap(),
            &mut found,
        );
        assert_eq!(found, Vec::<String>::new());
    }
}
