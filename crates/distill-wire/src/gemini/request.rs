//! Reading a request in this dialect.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Value, json};

use super::MADE_ID;
use crate::{
    Block, Dialect, ImageSource, OutputFormat, Reasoning, Request, RequestError, Tool, ToolChoice,
    Turn, TurnRole,
    fields::Fields,
    rest::{fill, integer, texts},
};

pub(crate) fn read_request(body: &[u8]) -> Result<Request, RequestError> {
    let mut fields = Fields::of_body(body)?;
    let mut request = Request {
        source: Some(Dialect::Gemini),
        ..Request::default()
    };
    let mut rest = Map::new();
    if let Some(mut system) = either(&mut fields, "systemInstruction", "system_instruction")? {
        let parts = system.list("parts")?.unwrap_or_default();
        for (index, part) in parts.into_iter().enumerate() {
            let place = format!("systemInstruction.parts[{index}]");
            request
                .system
                .extend(read_part(Fields::of(part, place)?, &mut Names::default())?);
        }
        keep(&mut rest, "systemInstruction", system.rest());
    }
    let contents = fields
        .list("contents")?
        .ok_or_else(|| fields.missing("contents"))?;
    let mut names = Names::default();
    for (index, content) in contents.into_iter().enumerate() {
        let content = Fields::of(content, format!("contents[{index}]"))?;
        request.turns.push(read_content(content, &mut names)?);
    }
    for (index, entry) in fields
        .list("tools")?
        .unwrap_or_default()
        .into_iter()
        .enumerate()
    {
        read_tools(Fields::of(entry, format!("tools[{index}]"))?, &mut request)?;
    }
    if let Some(mut config) = either(&mut fields, "toolConfig", "tool_config")? {
        if let Some(mut calling) = config.object("functionCallingConfig")? {
            read_choice(&mut calling, &mut request)?;
            let left = calling.rest();
            if !left.is_empty() {
                rest.insert(
                    "toolConfig".into(),
                    json!({ "functionCallingConfig": left }),
                );
            }
        }
        let left = config.rest();
        if !left.is_empty() {
            fill(
                rest.entry("toolConfig").or_insert_with(|| json!({})),
                &Value::Object(left),
            );
        }
    }
    if let Some(mut config) = either(&mut fields, "generationConfig", "generation_config")? {
        read_config(&mut config, &mut request)?;
        keep(&mut rest, "generationConfig", config.rest());
    }
    request.extra = fields.rest();
    request.extra.append(&mut rest);
    Ok(request)
}

fn either(fields: &mut Fields, name: &str, other: &str) -> Result<Option<Fields>, RequestError> {
    match fields.object(name)? {
        Some(found) => Ok(Some(found)),
        None => fields.object(other),
    }
}

fn keep(rest: &mut Map<String, Value>, name: &str, left: Map<String, Value>) {
    if !left.is_empty() {
        rest.insert(name.to_owned(), Value::Object(left));
    }
}

/// The calls of the conversation so far that have no result yet, by their function's name: older
/// requests name no call.
#[derive(Default)]
pub(super) struct Names {
    open: BTreeMap<String, VecDeque<String>>,
    made: usize,
}

impl Names {
    fn call(&mut self, name: &str, id: Option<String>) -> String {
        let id = id.unwrap_or_else(|| {
            self.made += 1;
            format!("{MADE_ID}{}", self.made)
        });
        self.open
            .entry(name.to_owned())
            .or_default()
            .push_back(id.clone());
        id
    }

    fn result(&mut self, name: &str, id: Option<String>) -> Option<String> {
        let open = self.open.get_mut(name);
        match (id, open) {
            (Some(id), Some(open)) => {
                open.retain(|call| *call != id);
                Some(id)
            }
            (Some(id), None) => Some(id),
            (None, open) => open?.pop_front(),
        }
    }
}

fn read_content(mut content: Fields, names: &mut Names) -> Result<Turn, RequestError> {
    let role = match content.text("role")?.as_deref() {
        None | Some("user" | "function") => TurnRole::User,
        Some("model") => TurnRole::Assistant,
        Some("system") => TurnRole::System,
        Some(_) => return Err(content.invalid("role", "is to be `user` or `model`")),
    };
    let parts = content.list("parts")?.unwrap_or_default();
    let mut blocks = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        let place = content.name(&format!("parts[{index}]"));
        blocks.extend(read_part(Fields::of(part, place)?, names)?);
    }
    let only_results = !blocks.is_empty()
        && blocks
            .iter()
            .all(|block| matches!(block, Block::ToolResult { .. }));
    Ok(Turn {
        role: if role == TurnRole::User && only_results {
            TurnRole::Tool
        } else {
            role
        },
        blocks,
        name: None,
        extra: content.rest(),
    })
}

fn read_part(mut part: Fields, names: &mut Names) -> Result<Vec<Block>, RequestError> {
    let signature = part.text("thoughtSignature")?;
    let thought = part.flag("thought")?.unwrap_or(false);
    if let Some(text) = part.text("text")? {
        return Ok(text_blocks(text, thought, signature));
    }
    if let Some(mut call) = part.object("functionCall")? {
        let name = call.required_text("name")?;
        let id = call.text("id")?;
        return Ok(vec![Block::ToolCall {
            id: names.call(&name, id),
            name,
            arguments: call.take("args").unwrap_or_else(|| json!({})).to_string(),
            cache: None,
            signature,
        }]);
    }
    if let Some(mut result) = part.object("functionResponse")? {
        let name = result.required_text("name")?;
        let id = result.text("id")?;
        let id = names
            .result(&name, id)
            .ok_or_else(|| result.invalid("name", "names no function that was called before"))?;
        let (text, is_error) = result_text(result.take("response"));
        return Ok(vec![Block::ToolResult {
            id,
            blocks: vec![Block::text(text)],
            is_error,
            cache: None,
        }]);
    }
    if let Some(mut data) = part.object("inlineData")? {
        let media_type = data.text("mimeType")?.unwrap_or_default();
        let content = data.required_text("data")?;
        if media_type.starts_with("image/") {
            return Ok(vec![image(ImageSource::Base64 {
                media_type,
                data: content,
            })]);
        }
        return Ok(vec![Block::Other(
            json!({"inlineData": {"mimeType": media_type, "data": content}}),
        )]);
    }
    if let Some(mut file) = part.object("fileData")? {
        let media_type = file.text("mimeType")?;
        let address = file.required_text("fileUri")?;
        if media_type
            .as_deref()
            .is_some_and(|media_type| media_type.starts_with("image/"))
        {
            return Ok(vec![image(ImageSource::Url(address))]);
        }
        return Ok(vec![Block::Other(
            json!({"fileData": {"mimeType": media_type, "fileUri": address}}),
        )]);
    }
    Ok(vec![Block::Other(Value::Object(part.rest()))])
}

/// A signature beside text stands for thinking that is not shown.
pub(super) fn text_blocks(text: String, thought: bool, signature: Option<String>) -> Vec<Block> {
    if thought {
        return vec![Block::Thinking {
            text,
            signature,
            id: None,
        }];
    }
    let mut blocks = Vec::new();
    if !text.is_empty() || signature.is_none() {
        blocks.push(Block::text(text));
    }
    if signature.is_some() {
        blocks.push(Block::Thinking {
            text: String::new(),
            signature,
            id: None,
        });
    }
    blocks
}

fn image(source: ImageSource) -> Block {
    Block::Image {
        source,
        detail: None,
        cache: None,
    }
}

/// The API's convention: `output` holds the result, `error` what went wrong; any other object is the
/// result itself.
fn result_text(response: Option<Value>) -> (String, bool) {
    let Some(response) = response else {
        return (String::new(), false);
    };
    if let Value::Object(map) = &response
        && map.len() == 1
    {
        if let Some(Value::String(text)) = map.get("output") {
            return (text.clone(), false);
        }
        if let Some(Value::String(text)) = map.get("error") {
            return (text.clone(), true);
        }
    }
    (response.to_string(), false)
}

fn read_tools(mut entry: Fields, request: &mut Request) -> Result<(), RequestError> {
    let declarations = match entry.list("functionDeclarations")? {
        Some(declarations) => declarations,
        None => entry.list("function_declarations")?.unwrap_or_default(),
    };
    for (index, declaration) in declarations.into_iter().enumerate() {
        let place = entry.name(&format!("functionDeclarations[{index}]"));
        let mut declaration = Fields::of(declaration, place)?;
        let schema = declaration.take("parametersJsonSchema");
        let parameters = match (schema, declaration.take("parameters")) {
            (Some(schema), _) => schema,
            (None, Some(schema)) => json_schema(schema),
            (None, None) => json!({"type": "object", "properties": {}}),
        };
        request.tools.push(Tool {
            name: declaration.required_text("name")?,
            description: declaration.text("description")?,
            parameters: Some(parameters),
            strict: None,
            cache: None,
            vendor: None,
        });
    }
    for (name, setting) in entry.rest() {
        request.tools.push(Tool {
            name: name.clone(),
            description: None,
            parameters: None,
            strict: None,
            cache: None,
            vendor: Some(json!({ name: setting })),
        });
    }
    Ok(())
}

/// The vendor's own schemas write types in capitals and `nullable` beside them.
fn json_schema(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(map) => {
            let nullable = map.get("nullable") == Some(&Value::Bool(true));
            if let Some(Value::String(name)) = map.get("type") {
                let name = name.to_ascii_lowercase();
                let written = if nullable {
                    json!([name, "null"])
                } else {
                    json!(name)
                };
                map.insert("type".into(), written);
                map.shift_remove("nullable");
            }
            for name in ["properties", "$defs"] {
                if let Some(Value::Object(members)) = map.get_mut(name) {
                    for member in members.values_mut() {
                        *member = json_schema(member.take());
                    }
                }
            }
            for name in ["items", "anyOf", "prefixItems", "additionalProperties"] {
                if let Some(member) = map.get_mut(name) {
                    *member = json_schema(member.take());
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = json_schema(item.take());
            }
        }
        _ => {}
    }
    schema
}

fn read_choice(calling: &mut Fields, request: &mut Request) -> Result<(), RequestError> {
    let mut names = texts(calling, "allowedFunctionNames")?;
    request.tool_choice = match calling.text("mode")?.as_deref() {
        None | Some("MODE_UNSPECIFIED") => None,
        Some("AUTO") => Some(ToolChoice::Auto),
        Some("NONE") => Some(ToolChoice::None),
        Some("ANY") if names.len() == 1 => names.pop().map(ToolChoice::Tool),
        Some("ANY") => {
            if !names.is_empty() {
                request.tools.retain(|tool| names.contains(&tool.name));
            }
            Some(ToolChoice::Required)
        }
        Some(_) => return Err(calling.invalid("mode", "is to be `AUTO`, `ANY` or `NONE`")),
    };
    Ok(())
}

fn read_config(config: &mut Fields, request: &mut Request) -> Result<(), RequestError> {
    request.max_tokens = config.count("maxOutputTokens")?;
    request.temperature = config.number("temperature")?;
    request.top_p = config.number("topP")?;
    // Written as a number with or without a fraction by the vendor's own clients.
    request.top_k = config.number("topK")?.map(|top| top as u64);
    request.presence_penalty = config.number("presencePenalty")?;
    request.frequency_penalty = config.number("frequencyPenalty")?;
    request.stop = texts(config, "stopSequences")?;
    request.seed = integer(config, "seed")?;
    request.n = config.count("candidateCount")?;
    let top = config.count("logprobs")?;
    if config.flag("responseLogprobs")? == Some(true) {
        request.logprobs = Some(top.unwrap_or(0));
    }
    let schema = config
        .take("responseJsonSchema")
        .or_else(|| config.take("responseSchema").map(json_schema));
    request.output = match (config.text("responseMimeType")?.as_deref(), schema) {
        (_, Some(schema)) => Some(OutputFormat::JsonSchema {
            name: None,
            description: None,
            schema,
            strict: None,
        }),
        (Some("application/json"), None) => Some(OutputFormat::JsonObject),
        (Some("text/plain"), None) => Some(OutputFormat::Text),
        (None, None) => None,
        (Some(_), None) => {
            return Err(config.invalid(
                "responseMimeType",
                "is to be `text/plain` or `application/json`",
            ));
        }
    };
    if let Some(mut thinking) = config.object("thinkingConfig")? {
        request.reasoning = Some(read_thinking(&mut thinking)?);
    }
    Ok(())
}

fn read_thinking(thinking: &mut Fields) -> Result<Reasoning, RequestError> {
    // -1 lets the model choose, which is what saying nothing does.
    let budget = integer(thinking, "thinkingBudget")?;
    let shown = thinking.flag("includeThoughts")?;
    Ok(Reasoning {
        effort: thinking
            .text("thinkingLevel")?
            .map(|level| level.to_ascii_lowercase()),
        budget_tokens: budget.and_then(|tokens| u64::try_from(tokens).ok()),
        enabled: match budget {
            Some(0) => Some(false),
            Some(_) => Some(true),
            None => None,
        },
        summary: (shown == Some(true)).then(|| "auto".to_owned()),
    })
}
