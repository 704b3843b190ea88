//! What a request says besides the conversation.

use serde_json::{Map, Value, json};

use super::{LONGEST_USER, NO_MARKS, Writer, include, text_format, thinks, tool_choice};
use crate::{
    Dialect, ToolChoice, Unsupported,
    leftover::{caller_name, leave_out},
    messages::effort_of_budget,
    responses::tools,
};

impl Writer<'_> {
    pub(super) fn tools(&mut self, body: &mut Map<String, Value>) -> Result<(), Unsupported> {
        let request = self.request;
        let written = if self.own {
            tools::write_own(&request.tools)
        } else {
            let mut written = Vec::with_capacity(request.tools.len());
            for tool in &request.tools {
                if tool.cache.is_some() {
                    self.leave("cache_control", NO_MARKS);
                }
                if tool.parameters.is_some() {
                    written.push(tools::write_function(tool));
                    continue;
                }
                if matches!(&request.tool_choice, Some(ToolChoice::Tool(name)) if *name == tool.name)
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
            written
        };
        if written.is_empty() {
            return match &request.tool_choice {
                Some(ToolChoice::Required | ToolChoice::Tool(_)) => Err(Unsupported::new(
                    "tool_choice",
                    "it forces a tool, and none of the tools can be sent",
                )),
                _ => Ok(()),
            };
        }
        body.insert("tools".to_owned(), Value::Array(written));
        if let Some(choice) = &request.tool_choice {
            body.insert("tool_choice".to_owned(), tool_choice(choice, Some(request)));
        }
        if let Some(parallel) = request.parallel_tool_calls {
            body.insert("parallel_tool_calls".to_owned(), parallel.into());
        }
        Ok(())
    }

    pub(super) fn sampling(&mut self, body: &mut Map<String, Value>) {
        for (name, value) in [
            ("temperature", self.request.temperature),
            ("top_p", self.request.top_p),
        ] {
            let Some(value) = value else { continue };
            if self.writing.fixed_temperature {
                self.leave(name, "this model refuses it");
            } else {
                body.insert(name.to_owned(), value.into());
            }
        }
        if let Some(logprobs) = self.request.logprobs {
            body.insert("top_logprobs".to_owned(), logprobs.into());
            if !self.own {
                include(body, "message.output_text.logprobs");
            }
        }
    }

    pub(super) fn reasoning(&mut self, body: &mut Map<String, Value>) {
        let Some(asked) = &self.request.reasoning else {
            return;
        };
        if !self.own && !thinks(self.writing.model) {
            self.leave_named("reasoning", "this model does not think");
            return;
        }
        let mut reasoning = Map::new();
        let effort = match (asked.effort.as_deref(), asked.budget_tokens) {
            (Some(effort), _) => Some(effort),
            (None, Some(budget)) => Some(effort_of_budget(budget)),
            (None, None) => None,
        };
        // Not every model can be told not to think.
        let off = asked.enabled == Some(false);
        if let Some(effort) = effort.filter(|_| !off) {
            reasoning.insert("effort".to_owned(), effort.into());
        }
        match asked.summary.as_deref() {
            Some("omitted") => {}
            Some(summary @ ("auto" | "concise" | "detailed")) => {
                reasoning.insert("summary".to_owned(), summary.into());
            }
            Some(summary) if self.own => {
                reasoning.insert("summary".to_owned(), summary.into());
            }
            Some(_) => {
                reasoning.insert("summary".to_owned(), "auto".into());
            }
            // Callers of another dialect are shown what was thought unless they say otherwise.
            None if !self.own && asked.enabled == Some(true) => {
                reasoning.insert("summary".to_owned(), "auto".into());
            }
            None => {}
        }
        if !self.own && !off {
            include(body, "reasoning.encrypted_content");
        }
        if !reasoning.is_empty() || self.own {
            body.insert("reasoning".to_owned(), Value::Object(reasoning));
        }
    }

    pub(super) fn text(&mut self, body: &mut Map<String, Value>) {
        if let Some(format) = self.request.output.as_ref().map(text_format) {
            body.insert("text".to_owned(), json!({ "format": format }));
        }
    }

    pub(super) fn about_the_caller(&mut self, body: &mut Map<String, Value>) {
        let request = self.request;
        let kin = self.own || request.source == Some(Dialect::ChatCompletions);
        match &request.metadata {
            Some(metadata) if kin => {
                body.insert("metadata".to_owned(), metadata.clone());
            }
            Some(_) => self.leave("metadata", "only its own dialect keeps it"),
            None => {}
        }
        match &request.user {
            Some(user) if self.own || user.len() <= LONGEST_USER => {
                body.insert("user".to_owned(), user.as_str().into());
            }
            Some(_) => self.leave_named("user", "it is longer than this vendor takes"),
            None => {}
        }
        let tier = match request.service_tier.as_deref() {
            Some(tier) if kin => Some(tier),
            Some("auto") => Some("auto"),
            Some("standard_only") => Some("default"),
            Some(_) => {
                self.leave("service_tier", "this vendor has no such tier");
                None
            }
            None => None,
        };
        if let Some(tier) = tier {
            body.insert("service_tier".to_owned(), tier.into());
        }
        if let Some(key) = &request.prompt_cache_key {
            body.insert("prompt_cache_key".to_owned(), key.as_str().into());
        }
        // This vendor keeps replies unless told otherwise; callers of other dialects expect none kept.
        let store = if self.own {
            request.store
        } else {
            Some(request.store.unwrap_or(false))
        };
        if let Some(store) = store {
            body.insert("store".to_owned(), store.into());
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
        if !request.stop.is_empty() {
            return Err(Unsupported::new(
                caller_name(request.source, "stop"),
                "this dialect knows no stop sequences; leave them out or choose another model",
            ));
        }
        let absent = [
            ("top_k", request.top_k.is_some()),
            ("presence_penalty", request.presence_penalty.is_some()),
            ("frequency_penalty", request.frequency_penalty.is_some()),
            ("seed", request.seed.is_some()),
        ];
        for (name, asked) in absent {
            if asked {
                self.leave(name, "this dialect does not know it");
            }
        }
        leave_out(request, Dialect::Responses, &[], &mut self.dropped)
    }
}
