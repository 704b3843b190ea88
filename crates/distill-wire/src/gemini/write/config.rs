//! Tools and the settings of generation.

use serde_json::{Map, Value, json};

use super::Writer;
use crate::{OutputFormat, Reasoning, Tool, ToolChoice, Unsupported};

impl Writer<'_> {
    pub(super) fn tools(&mut self, body: &mut Map<String, Value>) -> Result<(), Unsupported> {
        let request = self.request;
        let mut declarations = Vec::new();
        let mut entries = Vec::new();
        for tool in &request.tools {
            self.cache(tool.cache.is_some());
            match (&tool.parameters, &tool.vendor) {
                (Some(schema), _) => declarations.push(self.declaration(tool, schema)),
                (None, Some(vendor)) if self.own => entries.push(vendor.clone()),
                _ => {
                    if request.tool_choice == Some(ToolChoice::Tool(tool.name.clone())) {
                        return Err(Unsupported::new(
                            "tool_choice",
                            format!("`{}` is another vendor's own tool", tool.name),
                        ));
                    }
                    self.drop(&format!("tools.{}", tool.name), "another vendor's own tool");
                }
            }
        }
        let any = !declarations.is_empty();
        if any {
            entries.insert(0, json!({ "functionDeclarations": declarations }));
        }
        if !entries.is_empty() {
            body.insert("tools".into(), entries.into());
        }
        let config = match &request.tool_choice {
            None => None,
            Some(ToolChoice::Auto) => Some(json!({"mode": "AUTO"})),
            Some(ToolChoice::None) => Some(json!({"mode": "NONE"})),
            Some(ToolChoice::Required) => Some(json!({"mode": "ANY"})),
            Some(ToolChoice::Tool(name)) => {
                Some(json!({"mode": "ANY", "allowedFunctionNames": [name]}))
            }
        };
        match config {
            // A choice among no tools is refused by the vendor.
            Some(config) if any => {
                body.insert(
                    "toolConfig".into(),
                    json!({ "functionCallingConfig": config }),
                );
            }
            Some(_) if matches!(request.tool_choice, Some(ToolChoice::Required)) => {
                return Err(Unsupported::new(
                    "tool_choice",
                    "no tool is left that Gemini could call",
                ));
            }
            _ => {}
        }
        if request.parallel_tool_calls == Some(false) {
            self.drop(
                "parallel_tool_calls",
                "Gemini decides itself how many tools it calls at once",
            );
        }
        Ok(())
    }

    fn declaration(&mut self, tool: &Tool, schema: &Value) -> Value {
        if tool.strict == Some(true) {
            self.drop("tools.strict", "Gemini does not hold arguments to a schema");
        }
        let mut declaration = json!({"name": tool.name});
        if let Some(description) = &tool.description {
            declaration["description"] = description.as_str().into();
        }
        // A function without arguments has no schema: an object without properties is refused.
        let empty = schema
            .get("properties")
            .is_none_or(|properties| properties.as_object().is_some_and(Map::is_empty))
            && schema.as_object().is_some_and(|schema| {
                !["$ref", "anyOf", "oneOf", "allOf", "additionalProperties"]
                    .iter()
                    .any(|name| {
                        schema
                            .get(*name)
                            .is_some_and(|value| *value != Value::Bool(false))
                    })
            });
        if !empty {
            declaration["parametersJsonSchema"] = schema.clone();
        }
        declaration
    }

    pub(super) fn config(&mut self) -> Result<Map<String, Value>, Unsupported> {
        let request = self.request;
        let mut config = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                config.insert(name.to_owned(), value);
            }
        };
        let limit = match request.max_tokens {
            Some(limit) => Some(limit),
            None => {
                (self.writing.default_max_tokens > 0).then_some(self.writing.default_max_tokens)
            }
        };
        set("maxOutputTokens", limit.map(Into::into));
        if self.writing.fixed_temperature {
            if request.temperature.is_some() {
                self.drop("temperature", "this model has a fixed one");
            }
        } else {
            set("temperature", request.temperature.map(Into::into));
        }
        set("topP", request.top_p.map(Into::into));
        set("topK", request.top_k.map(Into::into));
        set("presencePenalty", request.presence_penalty.map(Into::into));
        set(
            "frequencyPenalty",
            request.frequency_penalty.map(Into::into),
        );
        if request.stop.len() > 5 {
            return Err(Unsupported::new(
                "stop",
                "Gemini takes at most 5 stop sequences",
            ));
        }
        if !request.stop.is_empty() {
            set("stopSequences", Some(request.stop.clone().into()));
        }
        match request.seed.map(i32::try_from) {
            None => {}
            Some(Ok(seed)) => set("seed", Some(seed.into())),
            Some(Err(_)) => self.drop("seed", "Gemini's seeds have 32 bits"),
        }
        if let Some(top) = request.logprobs {
            set("responseLogprobs", Some(true.into()));
            set("logprobs", (top > 0).then(|| top.min(20).into()));
            if top > 20 {
                self.drop("top_logprobs", "Gemini shows at most 20 tokens");
            }
        }
        match &request.output {
            None => {}
            Some(OutputFormat::Text) => set("responseMimeType", Some("text/plain".into())),
            Some(OutputFormat::JsonObject) => {
                set("responseMimeType", Some("application/json".into()));
            }
            Some(OutputFormat::JsonSchema { schema, .. }) => {
                set("responseMimeType", Some("application/json".into()));
                set("responseJsonSchema", Some(schema.clone()));
            }
        }
        if let Some(reasoning) = &request.reasoning {
            let thinking = self.reasoning(reasoning);
            set("thinkingConfig", thinking);
        }
        Ok(config)
    }

    /// Levels for Gemini 3 and later, tokens before; the tokens of a level are those of the vendor's
    /// own `OpenAI`-compatible endpoint.
    fn reasoning(&mut self, reasoning: &Reasoning) -> Option<Value> {
        let model = self.writing.model;
        let asked_off =
            reasoning.enabled == Some(false) || reasoning.effort.as_deref() == Some("none");
        if ["gemini-1", "gemini-2.0", "gemma"]
            .iter()
            .any(|old| model.contains(old))
        {
            if !asked_off {
                self.drop("reasoning", "this model cannot think");
            }
            return None;
        }
        let mut config = Map::new();
        if let Some(tokens) = reasoning.budget_tokens.filter(|_| !asked_off) {
            config.insert("thinkingBudget".into(), tokens.into());
        } else if generation(model) >= 3 {
            let level = match reasoning.effort.as_deref() {
                _ if asked_off => Some("minimal"),
                Some("xhigh" | "max") => Some("high"),
                effort => effort,
            };
            // The larger models of the generation know two levels only.
            let level = match level {
                Some("minimal") if model.contains("pro") => Some("low"),
                level => level,
            };
            if asked_off || (level.is_some() && level != reasoning.effort.as_deref()) {
                self.drop(
                    "the exact reasoning effort",
                    "the model's nearest level is asked for",
                );
            }
            if let Some(level) = level {
                config.insert("thinkingLevel".into(), level.into());
            }
        } else {
            let tokens = match reasoning.effort.as_deref() {
                _ if asked_off => Some(0),
                Some("minimal" | "low") => Some(1024),
                Some("medium") => Some(8192),
                Some(_) => Some(24576),
                None => None,
            };
            if let Some(tokens) = tokens {
                config.insert("thinkingBudget".into(), tokens.into());
            }
        }
        let shown = reasoning.summary.is_some()
            || (!self.own && reasoning.enabled == Some(true) && !asked_off);
        if shown {
            config.insert("includeThoughts".into(), true.into());
        }
        (!config.is_empty()).then(|| config.into())
    }
}

/// The generation in a model's name (`gemini-3-pro-preview`: 3); 0 where it has none.
pub(super) fn generation(model: &str) -> u32 {
    let name = model.rsplit('/').next().unwrap_or(model);
    name.strip_prefix("gemini-")
        .and_then(|rest| rest.split(['-', '.']).next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}
