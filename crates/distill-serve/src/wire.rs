//! The `OpenAI` chat-completions dialect, as far as a released student speaks it.

use distill_chat::{FinishReason, Message, Role};
use distill_student::answer::StudentAnswer;
use serde::Deserialize;
use serde_json::{Value, json};

/// A request body. Fields that a student has no use for (temperature, seed, ...) are accepted and
/// have no effect: a student always answers greedily.
#[derive(Debug, Deserialize)]
pub(crate) struct ChatBody {
    pub(crate) model: String,
    pub(crate) messages: Vec<BodyMessage>,
    #[serde(default)]
    pub(crate) stream: bool,
    #[serde(default)]
    pub(crate) stream_options: StreamOptions,
    #[serde(default)]
    pub(crate) tools: Option<Value>,
    #[serde(default)]
    pub(crate) n: Option<u32>,
}

/// What a stream carries beside the answer.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(crate) struct StreamOptions {
    #[serde(default)]
    pub(crate) include_usage: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct BodyMessage {
    role: String,
    content: Content,
}

/// Text, or a list of parts of which only text can be read.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
}

impl ChatBody {
    /// The conversation.
    ///
    /// # Errors
    /// What in the request a student cannot do.
    pub(crate) fn conversation(self) -> Result<Vec<Message>, String> {
        if self
            .tools
            .as_ref()
            .is_some_and(|tools| tools.as_array().is_none_or(|tools| !tools.is_empty()))
        {
            return Err("a distilled student calls no tools".to_owned());
        }
        if self.n.is_some_and(|count| count != 1) {
            return Err("`n` must be 1: a student answers greedily".to_owned());
        }
        if self.messages.is_empty() {
            return Err("`messages` is empty".to_owned());
        }
        self.messages
            .into_iter()
            .map(BodyMessage::message)
            .collect()
    }
}

impl BodyMessage {
    fn message(self) -> Result<Message, String> {
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => return Err(format!("role `{other}` is not known to a student")),
        };
        let content = match self.content {
            Content::Text(text) => text,
            Content::Parts(parts) => {
                if let Some(part) = parts.iter().find(|part| part.kind != "text") {
                    return Err(format!("a student reads text, not `{}`", part.kind));
                }
                parts.into_iter().map(|part| part.text).collect()
            }
        };
        Ok(Message { role, content })
    }
}

/// What identifies an answer on the wire.
pub(crate) struct Envelope {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    /// The release that answered.
    pub(crate) fingerprint: String,
}

impl Envelope {
    fn document(&self, object: &str, choice: &Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": [choice],
        })
    }

    /// A whole answer.
    pub(crate) fn completion(&self, answer: &StudentAnswer) -> Value {
        let choice = json!({
            "index": 0,
            "message": {"role": "assistant", "content": answer.text},
            "logprobs": null,
            "finish_reason": finish(&answer.finish),
        });
        let mut document = self.document("chat.completion", &choice);
        document["usage"] = usage(answer);
        document
    }

    /// The first event of a streamed answer.
    pub(crate) fn opening(&self) -> String {
        event(&self.chunk(&json!({"role": "assistant", "content": ""}), &Value::Null))
    }

    /// The event that carries one piece of a streamed answer.
    pub(crate) fn piece(&self, text: &str) -> String {
        event(&self.chunk(&json!({ "content": text }), &Value::Null))
    }

    /// The events after the last piece; the usage only where the caller asked for it.
    pub(crate) fn closing(&self, answer: &StudentAnswer, with_usage: bool) -> String {
        let mut events = event(&self.chunk(&json!({}), &json!(finish(&answer.finish))));
        if with_usage {
            let mut document = self.chunk(&json!({}), &Value::Null);
            document["choices"] = json!([]);
            document["usage"] = usage(answer);
            events.push_str(&event(&document));
        }
        events + "data: [DONE]\n\n"
    }

    fn chunk(&self, delta: &Value, finish: &Value) -> Value {
        self.document(
            "chat.completion.chunk",
            &json!({"index": 0, "delta": delta, "finish_reason": finish}),
        )
    }
}

/// A server-sent event.
pub(crate) fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn finish(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        _ => "stop",
    }
}

/// Token counts; null for a student that counts none, because not counted is not zero.
fn usage(answer: &StudentAnswer) -> Value {
    match (answer.input_tokens, answer.output_tokens) {
        (Some(input), Some(output)) => {
            json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
        }
        _ => Value::Null,
    }
}

/// An error body in the dialect's shape.
pub(crate) fn error(kind: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(body: Value) -> Result<Vec<Message>, String> {
        serde_json::from_value::<ChatBody>(body)
            .map_err(|error| error.to_string())?
            .conversation()
    }

    #[test]
    fn text_and_text_parts_become_messages() {
        let body = json!({"model": "m", "temperature": 0.3, "messages": [
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}]}
        ]});
        assert_eq!(
            conversation(body).unwrap(),
            [Message::system("be brief"), Message::user("hello")]
        );
    }

    #[test]
    fn what_a_student_cannot_do_is_refused_by_name() {
        let with = |extra: Value| {
            let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}]});
            body.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            conversation(body).unwrap_err()
        };
        assert!(with(json!({"tools": [{}]})).contains("tools"));
        assert!(with(json!({"n": 2})).contains("`n`"));
        assert!(with(json!({"messages": []})).contains("messages"));
        assert!(
            with(json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}))
                .contains("image_url")
        );
        assert!(with(json!({"messages": [{"role": "tool", "content": "x"}]})).contains("tool"));
    }
}
