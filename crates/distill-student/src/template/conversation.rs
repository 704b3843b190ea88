//! Conversations with everything that chat templates know of: tools, calls of them and their
//! results, thoughts, content in parts, variables of one model alone.

use serde_json::{Map, Value};

use super::{ChatTemplate, TemplateError};

/// The names under which an assistant's thoughts are found, in the order of their standing.
const THOUGHTS: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A conversation as `apply_chat_template` of transformers takes it.
#[derive(Debug, Clone, Copy)]
pub struct Conversation<'a> {
    /// Objects with `role`, `content` and what else the template looks for (`tool_calls`, …).
    pub messages: &'a [Value],
    /// JSON schemas of functions.
    pub tools: Option<&'a [Value]>,
    /// Whether the rendering ends where the assistant is to go on.
    pub add_generation_prompt: bool,
    /// Such as `enable_thinking`.
    pub variables: &'a Map<String, Value>,
}

impl ChatTemplate {
    /// The conversation as text, byte for byte as transformers renders it, but for the day:
    /// every template is told the same one.
    ///
    /// # Errors
    /// Whatever the template refuses, and what exceeds the bounds of a rendering.
    pub fn render_conversation(
        &self,
        conversation: &Conversation<'_>,
    ) -> Result<String, TemplateError> {
        let mut context = conversation.variables.clone();
        let messages = conversation.messages.iter().map(with_thoughts).collect();
        let tools = conversation.tools.map(<[Value]>::to_vec);
        for (name, value) in [
            ("messages", Value::Array(messages)),
            ("tools", tools.map_or(Value::Null, Value::Array)),
            ("documents", Value::Null),
            (
                "add_generation_prompt",
                conversation.add_generation_prompt.into(),
            ),
            ("bos_token", self.bos_token.as_str().into()),
            ("eos_token", self.eos_token.as_str().into()),
        ] {
            context.insert(name.to_owned(), value);
        }
        self.render_context(minijinja::Value::from_serialize(&context))
    }
}

/// Thoughts under one name are given under the names that templates read.
fn with_thoughts(message: &Value) -> Value {
    let Some(fields) = message.as_object() else {
        return message.clone();
    };
    let thoughts = THOUGHTS.iter().filter_map(|name| fields.get(*name));
    let mut thoughts = thoughts.filter(|thought| !thought.is_null());
    let Some(thought) = thoughts.next().cloned() else {
        return message.clone();
    };
    let mut fields = fields.clone();
    fields.entry("thinking").or_insert_with(|| thought.clone());
    fields.insert("reasoning_content".to_owned(), thought);
    Value::Object(fields)
}
