//! What a request says besides the conversation.

use serde_json::{Map, Value, json};

use super::{CARRIED, Writer, cache_control};
use crate::{
    Dialect, OutputFormat, Tool, ToolChoice, Unsupported, leftover::leave_out, messages::thinking,
};

const THINKS: &str = "this vendor forbids it while the model thinks";
const FIXED: &str = "this model refuses it";

impl Writer<'_> {
    pub(super) fn tools(&mut self, body: &mut Map<String, Value>) -> Result<(), Unsupported> {
        let mut tools = Vec::with_capacity(self.request.tools.len());
        for tool in &self.request.tools {
            match (&tool.vendor, &tool.parameters) {
                (Some(vendor), _) if self.own => tools.push(vendor.clone()),
                (_, Some(parameters)) => tools.push(self.tool(tool, parameters)),
                (_, None) => {
                    if matches!(&self.request.tool_choice, Some(ToolChoice::Tool(name)) if *name == tool.name)
                    {
                        return Err(Unsupported::new(
                            "tool_choice",
                            format!("the vendor of another dialect runs `{}`", tool.name),
                        ));
                    }
                    self.leave(
                        &format!("tools[{}]", tool.name),
                        "only the vendor of its own dialect runs it",
                    );
                }
            }
        }
        if tools.is_empty() {
            return match &self.request.tool_choice {
                Some(ToolChoice::Required | ToolChoice::Tool(_)) => Err(Unsupported::new(
                    "tool_choice",
                    "it forces a tool, and none of the tools can be sent",
                )),
                _ => Ok(()),
            };
        }
        body.insert("tools".to_owned(), Value::Array(tools));
        let one = self.request.parallel_tool_calls.map(|parallel| !parallel);
        let mut choice = match &self.request.tool_choice {
            Some(ToolChoice::None) => {
                body.insert("tool_choice".to_owned(), json!({"type": "none"}));
                return Ok(());
            }
            None if one != Some(true) => return Ok(()),
            Some(ToolChoice::Auto) | None => json!({"type": "auto"}),
            Some(ToolChoice::Required) => json!({"type": "any"}),
            Some(ToolChoice::Tool(name)) => json!({"type": "tool", "name": name}),
        };
        match one {
            Some(one) if one || self.own => choice["disable_parallel_tool_use"] = one.into(),
            _ => {}
        }
        body.insert("tool_choice".to_owned(), choice);
        Ok(())
    }

    fn tool(&mut self, tool: &Tool, parameters: &Value) -> Value {
        let mut written = Map::new();
        written.insert("name".to_owned(), tool.name.as_str().into());
        if let Some(description) = &tool.description {
            written.insert("description".to_owned(), description.as_str().into());
        }
        let mut schema = parameters.clone();
        if !self.own
            && let Value::Object(schema) = &mut schema
            && !schema.contains_key("type")
        {
            // A function without parameters may be written `{}` elsewhere.
            schema.insert("type".to_owned(), "object".into());
        }
        written.insert("input_schema".to_owned(), schema);
        match tool.strict {
            Some(strict) if self.own => {
                written.insert("strict".to_owned(), strict.into());
            }
            Some(true) => self.leave("tools[].strict", "not every model of this dialect knows it"),
            _ => {}
        }
        if let Some(cache) = &tool.cache {
            written.insert("cache_control".to_owned(), cache_control(cache));
        }
        Value::Object(written)
    }

    pub(super) fn thinking_and_sampling(&mut self, body: &mut Map<String, Value>, max_tokens: u64) {
        let request = self.request;
        let plan = thinking::plan(request, self.writing.model, max_tokens);
        if let Some(reason) = plan.left_out {
            self.leave_named("reasoning", reason);
        }
        if let Some(thinking) = plan.thinking {
            body.insert("thinking".to_owned(), thinking);
        }
        if let Some(effort) = plan.effort {
            body.insert("output_config".to_owned(), json!({"effort": effort}));
        }
        let forbidden = |name: &str, value: f64| {
            if self.writing.fixed_temperature {
                Some(FIXED)
            } else if plan.on && !self.own && !(name == "top_p" && value >= 0.95) {
                Some(THINKS)
            } else {
                None
            }
        };
        let sampling = [
            ("temperature", request.temperature),
            ("top_p", request.top_p),
            ("top_k", request.top_k.map(|top_k| top_k as f64)),
        ];
        let mut left = Vec::new();
        for (name, value) in sampling {
            let Some(value) = value else { continue };
            if let Some(reason) = forbidden(name, value) {
                left.push((name, reason));
            } else if name == "top_k" {
                body.insert(name.to_owned(), request.top_k.into());
            } else if name == "top_p" && !self.own && body.contains_key("temperature") {
                left.push((
                    name,
                    "newer models of this vendor refuse it beside a temperature",
                ));
            } else if name == "temperature" && !self.own && value > 1.0 {
                body.insert(name.to_owned(), 1.0.into());
                left.push((name, "sent as 1, the highest of this dialect"));
            } else {
                body.insert(name.to_owned(), value.into());
            }
        }
        for (name, reason) in left {
            self.leave(name, reason);
        }
    }

    pub(super) fn output(&mut self, body: &mut Map<String, Value>) {
        match &self.request.output {
            Some(OutputFormat::JsonSchema { schema, .. })
                if self.own || self.writing.quirks.schema == crate::SchemaSupport::JsonSchema =>
            {
                let config = body
                    .entry("output_config")
                    .or_insert_with(|| Value::Object(Map::new()));
                config["format"] = json!({"type": "json_schema", "schema": schema});
            }
            Some(OutputFormat::JsonSchema { .. }) => {
                self.leave_named("output", "this vendor holds no reply to a schema");
            }
            Some(OutputFormat::JsonObject) => {
                self.leave_named("output", "this dialect has no JSON mode without a schema");
            }
            Some(OutputFormat::Text) | None => {}
        }
    }

    pub(super) fn about_the_caller(&mut self, body: &mut Map<String, Value>) {
        let request = self.request;
        let mut metadata = match &request.metadata {
            Some(Value::Object(metadata)) if self.own => metadata.clone(),
            Some(_) => {
                self.leave("metadata", "this dialect keeps no metadata");
                Map::new()
            }
            None => Map::new(),
        };
        if let Some(user) = &request.user {
            metadata.insert("user_id".to_owned(), user.as_str().into());
        }
        if !metadata.is_empty() {
            body.insert("metadata".to_owned(), Value::Object(metadata));
        }
        match request.service_tier.as_deref() {
            Some(tier) if self.own => {
                body.insert("service_tier".to_owned(), tier.into());
            }
            Some("auto") => {
                body.insert("service_tier".to_owned(), "auto".into());
            }
            Some("default") => {
                body.insert("service_tier".to_owned(), "standard_only".into());
            }
            Some(_) => self.leave("service_tier", "this vendor has no such tier"),
            None => {}
        }
    }

    pub(super) fn not_here(&mut self) -> Result<(), Unsupported> {
        let request = self.request;
        if request.n.is_some_and(|n| n > 1) {
            return Err(Unsupported::new(
                "n",
                "this dialect gives one reply a request; ask n times",
            ));
        }
        let absent = [
            ("presence_penalty", request.presence_penalty.is_some()),
            ("frequency_penalty", request.frequency_penalty.is_some()),
            ("seed", request.seed.is_some()),
            ("logprobs", request.logprobs.is_some()),
            ("store", request.store == Some(true)),
        ];
        for (name, asked) in absent {
            if asked {
                self.leave(name, "this dialect does not know it");
            }
        }
        leave_out(request, Dialect::Messages, &CARRIED, &mut self.dropped)
    }
}
