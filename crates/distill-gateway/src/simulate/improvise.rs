//! Answers to what no gold table holds: short text, JSON that fits a schema, and tool calls, all of
//! them a function of the seed and the request.

use serde_json::{Map, Value, json};

use super::{
    asked::{Asked, Choice, Form, Offered},
    draw,
    wire::Call,
};

/// Deepest nesting of a made-up value.
const DEEPEST: usize = 12;
/// Most characters of a tool's answer that are said again.
const LONGEST_ECHO: usize = 400;

/// The tools that are called: those that must be, or that the user's last words name. Nothing is
/// called when a tool has just answered.
pub(super) fn calls(asked: &Asked) -> Vec<Call> {
    if asked.tool_result.is_some() || asked.tools.is_empty() {
        return Vec::new();
    }
    let mut named: Vec<&Offered> = asked
        .tools
        .iter()
        .filter(|tool| names(&asked.wish, &tool.name))
        .collect();
    match &asked.choice {
        Choice::Never => return Vec::new(),
        Choice::Named(name) => {
            named = asked
                .tools
                .iter()
                .filter(|tool| tool.name == *name)
                .collect();
        }
        Choice::Required if named.is_empty() => named = asked.tools.iter().take(1).collect(),
        Choice::Auto if named.is_empty() && wants_any(&asked.wish) => {
            named = asked.tools.iter().take(1).collect();
        }
        Choice::Auto | Choice::Required => {}
    }
    if !asked.parallel {
        named.truncate(1);
    }
    named
        .iter()
        .enumerate()
        .map(|(index, tool)| Call {
            id: format!("{}{index}", &asked.hash[..20]),
            name: tool.name.clone(),
            arguments: instance(&tool.parameters, &asked.wish, 0).to_string(),
        })
        .collect()
}

/// Whether the words name a tool: as it is written, or with spaces for underscores.
fn names(wish: &str, tool: &str) -> bool {
    let whole = |text: &str, name: &str| {
        text.match_indices(name).any(|(at, _)| {
            let part = |letter: Option<char>| {
                letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
            };
            !part(text[..at].chars().next_back()) && !part(text[at + name.len()..].chars().next())
        })
    };
    if tool.is_empty() {
        return false;
    }
    whole(wish, tool)
        || (tool.contains('_')
            && whole(&wish.to_lowercase(), &tool.to_lowercase().replace('_', " ")))
}

fn wants_any(wish: &str) -> bool {
    let wish = wish.to_lowercase();
    ["use a tool", "call a tool", "use the tool", "call the tool"]
        .iter()
        .any(|phrase| wish.contains(phrase))
}

/// The text of the answer.
pub(super) fn text(asked: &Asked, seed: u64) -> String {
    match &asked.form {
        Form::Schema(schema) => return instance(schema, &asked.wish, 0).to_string(),
        Form::Json => {
            return json!({"simulated": true, "answer": sentence(asked, seed, 0)}).to_string();
        }
        Form::Text => {}
    }
    if let Some(result) = &asked.tool_result {
        let shown: String = result.chars().take(LONGEST_ECHO).collect();
        return format!("Simulated answer. The tool said: {}", shown.trim());
    }
    let sentences =
        1 + (draw::uniform(seed, &[b"sentences", asked.prompt.as_bytes()]) * 5.0) as u64;
    let mut text = String::from("Simulated answer.");
    for number in 0..sentences {
        text.push(' ');
        text.push_str(&sentence(asked, seed, number));
    }
    text
}

/// Sentences with a gap for something out of the question.
const SENTENCES: [&str; 12] = [
    "The short version is that {} depends on who asks and when.",
    "Start with {}, measure it, and change one thing at a time.",
    "There is no reason to expect trouble from {} here.",
    "Most of the time goes into {}, so that is where to look first.",
    "If {} matters to you, write a test for it before anything else.",
    "Both readings are possible, but {} points to the second one.",
    "In the last quarter {} was the usual cause.",
    "Keep {} as it is and move the rest behind it.",
    "The numbers for {} are too few to say more.",
    "Somebody should own {}, or it will come back.",
    "For now {} can wait until the next release.",
    "Taken together, {} is cheaper than it looks.",
];

fn sentence(asked: &Asked, seed: u64, number: u64) -> String {
    let pick = |what: &[u8], from: usize| {
        let names: [&[u8]; 3] = [what, asked.prompt.as_bytes(), &number.to_le_bytes()];
        ((draw::uniform(seed, &names) * from as f64) as usize).min(from.saturating_sub(1))
    };
    let words: Vec<&str> = asked
        .wish
        .split_whitespace()
        .map(|word| word.trim_matches(|letter: char| !letter.is_alphanumeric()))
        .filter(|word| (4..=24).contains(&word.chars().count()))
        .collect();
    let topic = if words.is_empty() {
        "this"
    } else {
        words[pick(b"topic", words.len())]
    };
    SENTENCES[pick(b"sentence", SENTENCES.len())].replace("{}", topic)
}

/// A value that fits a JSON schema, as far as the schemas of tools and answers go: types, required
/// fields, `enum`, `const`, `default`, the first of several choices, bounds of numbers and lengths.
/// Strings are what the user quoted, where there is a quotation.
fn instance(schema: &Value, wish: &str, depth: usize) -> Value {
    for key in ["const", "default"] {
        if let Some(value) = schema.get(key) {
            return value.clone();
        }
    }
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(key).and_then(|choices| choices.get(0)) {
            return instance(first, wish, depth + 1);
        }
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.to_lowercase(),
        Some(Value::Array(kinds)) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
            .unwrap_or("null")
            .to_lowercase(),
        _ if schema.get("properties").is_some() => "object".to_owned(),
        _ => "string".to_owned(),
    };
    let least = |key: &str| schema.get(key).and_then(Value::as_f64);
    match kind.as_str() {
        "object" if depth < DEEPEST => Value::Object(object(schema, wish, depth)),
        "object" => json!({}),
        "array" => {
            let count = if depth < DEEPEST {
                least("minItems").unwrap_or(1.0).max(1.0) as usize
            } else {
                0
            };
            let item = schema.get("items").cloned().unwrap_or_default();
            Value::Array(vec![instance(&item, wish, depth + 1); count.min(64)])
        }
        "integer" => json!(least("minimum").unwrap_or(1.0).ceil() as i64),
        "number" => json!(least("minimum").unwrap_or(1.0)),
        "boolean" => json!(false),
        "null" => Value::Null,
        _ => {
            let mut text = quoted(wish).unwrap_or("simulated").to_owned();
            let shortest = least("minLength").unwrap_or(0.0).min(1024.0) as usize;
            while text.chars().count() < shortest {
                text.push('x');
            }
            let longest = least("maxLength").unwrap_or(f64::MAX) as usize;
            Value::String(text.chars().take(longest).collect())
        }
    }
}

fn object(schema: &Value, wish: &str, depth: usize) -> Map<String, Value> {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(name, _)| required.contains(&name.as_str()))
        .map(|(name, property)| (name.clone(), instance(property, wish, depth + 1)))
        .collect()
}

/// The first passage between back-ticks or double quotation marks.
fn quoted(wish: &str) -> Option<&str> {
    ['`', '"'].into_iter().find_map(|mark| {
        let (_, rest) = wish.split_once(mark)?;
        let (passage, _) = rest.split_once(mark)?;
        (!passage.trim().is_empty()).then_some(passage)
    })
}

#[cfg(test)]
mod tests {
    use distill_wire::Dialect;
    use serde_json::{Value, json};

    use super::{super::asked, calls, instance, text};

    fn asked(user: &str, edit: impl Fn(&mut Value)) -> asked::Asked {
        let mut body = json!({
            "model": "m",
            "messages": [{"role": "user", "content": user}],
            "tools": [
                {"type": "function", "function": {"name": "get_weather", "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string"},
                        "unit": {"enum": ["celsius", "fahrenheit"]},
                        "days": {"type": "integer", "minimum": 2},
                        "note": {"type": "string"},
                    },
                    "required": ["city", "unit", "days"],
                }}},
                {"type": "function", "function": {"name": "Bash", "parameters": {
                    "type": "object", "properties": {"command": {"type": "string"}},
                    "required": ["command"],
                }}},
            ],
        });
        edit(&mut body);
        asked::read(Dialect::ChatCompletions, body.to_string().as_bytes(), None).unwrap()
    }

    fn named(user: &str, edit: impl Fn(&mut Value)) -> Vec<String> {
        calls(&asked(user, edit))
            .into_iter()
            .map(|call| format!("{} {}", call.name, call.arguments))
            .collect()
    }

    #[test]
    fn a_tool_is_called_when_the_users_words_name_it() {
        assert_eq!(
            named("Use Bash to run `echo hi`", |_| ()),
            [r#"Bash {"command":"echo hi"}"#]
        );
        assert_eq!(
            named("get weather for \"Oslo\"", |_| ()),
            [r#"get_weather {"city":"Oslo","unit":"celsius","days":2}"#]
        );
        assert!(named("Bashful people say hello", |_| ()).is_empty());
        assert_eq!(named("please call a tool", |_| ()).len(), 1);
        assert_eq!(named("get_weather and then Bash", |_| ()).len(), 2);
        let alone = |body: &mut Value| body["parallel_tool_calls"] = false.into();
        assert_eq!(named("get_weather and then Bash", alone).len(), 1);
    }

    #[test]
    fn the_choice_of_tools_is_obeyed() {
        let with = |choice: Value| move |body: &mut Value| body["tool_choice"] = choice.clone();
        assert!(named("use Bash", with(json!("none"))).is_empty());
        assert_eq!(named("hello", with(json!("required"))).len(), 1);
        let only = json!({"type": "function", "function": {"name": "Bash"}});
        assert!(named("get_weather", with(only))[0].starts_with("Bash"));
    }

    #[test]
    fn a_tools_answer_is_said_and_nothing_is_called_again() {
        let answered = |body: &mut Value| {
            let messages = body["messages"].as_array_mut().unwrap();
            messages.push(json!({"role": "tool", "tool_call_id": "1", "content": "hi there"}));
        };
        let asked = asked("Use Bash to run `echo hi`", answered);
        assert!(calls(&asked).is_empty());
        assert!(text(&asked, 7).contains("hi there"));
    }

    #[test]
    fn text_repeats_and_differs_between_questions() {
        let say = |user: &str| text(&asked(user, |_| ()), 7);
        assert_eq!(
            say("why is compilation slow"),
            say("why is compilation slow")
        );
        let different: std::collections::BTreeSet<String> = (0..20)
            .map(|number| say(&format!("question number {number}")))
            .collect();
        assert!(different.len() > 10, "{different:?}");
    }

    #[test]
    fn a_made_up_value_fits_its_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "label": {"type": "string", "enum": ["spam", "ham"]},
                "score": {"type": "number", "minimum": 0.5},
                "tags": {"type": "array", "items": {"type": "string", "minLength": 12}, "minItems": 2},
                "inner": {"anyOf": [{"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}, {"type": "null"}]},
                "maybe": {"type": ["null", "integer"]},
                "left out": {"type": "string"},
            },
            "required": ["label", "score", "tags", "inner", "maybe"],
        });
        assert_eq!(
            instance(&schema, "", 0),
            json!({"label": "spam", "score": 0.5, "tags": ["simulatedxxx", "simulatedxxx"],
                "inner": {"on": false}, "maybe": 1})
        );
    }

    #[test]
    fn a_schema_that_nests_for_ever_ends() {
        let mut schema = json!({"type": "string"});
        for _ in 0..60 {
            schema =
                json!({"type": "object", "properties": {"next": schema}, "required": ["next"]});
        }
        assert!(instance(&schema, "", 0).to_string().len() < 1000);
    }
}
