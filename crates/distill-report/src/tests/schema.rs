//! `schema/report.schema.json` against what is written, by a checker of the keywords that it uses.

use serde_json::{Map, Value};

use crate::{
    json,
    sample::{bare, full},
};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/report.schema.json")).unwrap()
}

/// Every way in which `value` breaks `rule`.
fn problems(root: &Value, rule: &Value, value: &Value, path: &str) -> Vec<String> {
    let rule = rule.as_object().unwrap();
    let mut found = Vec::new();
    for (keyword, wanted) in rule {
        match keyword.as_str() {
            // Looked at with the fields, or no rule at all.
            "$schema"
            | "title"
            | "description"
            | "$defs"
            | "required"
            | "properties"
            | "additionalProperties" => {}
            "$ref" => {
                let name = wanted.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                found.extend(problems(root, &root["$defs"][name], value, path));
            }
            "anyOf" => {
                let any = wanted
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|rule| problems(root, rule, value, path).is_empty());
                found.extend((!any).then(|| format!("{path}: {value} fits no choice")));
            }
            "type" => {
                let fits = match wanted.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "number" => value.is_number(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                };
                found.extend((!fits).then(|| format!("{path}: {value} is not {wanted}")));
            }
            "enum" => {
                let listed = wanted.as_array().unwrap().contains(value);
                found.extend((!listed).then(|| format!("{path}: {value} is not listed")));
            }
            "const" => found.extend((wanted != value).then(|| format!("{path}: not {wanted}"))),
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(problems(root, wanted, item, &format!("{path}[{place}]")));
                }
            }
            other => panic!("the checker does not know the keyword {other}"),
        }
    }
    if let Some(object) = value.as_object() {
        found.extend(fields(root, rule, object, path));
    }
    found
}

fn fields(
    root: &Value,
    rule: &Map<String, Value>,
    object: &Map<String, Value>,
    path: &str,
) -> Vec<String> {
    let mut found = Vec::new();
    for name in rule
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = name.as_str().unwrap();
        found.extend((!object.contains_key(name)).then(|| format!("{path}.{name} is missing")));
    }
    let known = rule.get("properties").and_then(Value::as_object);
    let rest = rule.get("additionalProperties");
    for (name, value) in object {
        let path = format!("{path}.{name}");
        let rule = known.and_then(|known| known.get(name));
        match rule.or(rest) {
            Some(Value::Bool(false)) => found.push(format!("{path} is not in the schema")),
            Some(rule) => found.extend(problems(root, rule, value, &path)),
            None => {}
        }
    }
    found
}

fn check(report: &Value) -> Vec<String> {
    let schema = schema();
    problems(&schema, &schema, report, "report")
}

#[test]
fn a_written_report_fits_the_schema() {
    for report in [full(), bare()] {
        let value: Value = serde_json::from_str(&json(&report)).unwrap();
        assert_eq!(check(&value), Vec::<String>::new());
    }
}

#[test]
fn the_checker_sees_what_is_missing_wrong_and_too_much() {
    let mut value: Value = serde_json::from_str(&json(&full())).unwrap();
    value["arms"][0]["role"] = "cheerleader".into();
    value["task"].as_object_mut().unwrap().remove("metric");
    value["lineage"]["seed"] = "17".into();
    value["extra"] = 1.into();
    let found = check(&value).join("; ");
    for wanted in [
        ".arms[0].role",
        ".task.metric is missing",
        ".lineage.seed",
        ".extra is not in",
    ] {
        assert!(found.contains(wanted), "{wanted} in {found}");
    }
}

/// Each object of the schema is closed and asks for all its fields, so that with the test above the
/// schema and the structs cannot drift apart unseen.
#[test]
fn every_object_of_the_schema_is_closed_and_asks_for_all_its_fields() {
    let schema = schema();
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, rule) in definitions.iter().chain([(&"report".to_owned(), &schema)]) {
        let Some(properties) = rule["properties"].as_object() else {
            continue;
        };
        assert_eq!(rule["additionalProperties"], Value::Bool(false), "{name}");
        let required = rule["required"].as_array().unwrap();
        assert!(
            properties
                .keys()
                .all(|key| required.contains(&Value::from(key.as_str()))),
            "{name}"
        );
    }
}
