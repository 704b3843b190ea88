//! Answers that vendors really gave, where `DISTILL_PROVIDERS_DIR` holds them.

use std::path::PathBuf;

use serde_json::Value;

use super::{
    CHAT,
    stream::{read_frames, write},
};
use crate::{Delta, Event, ReplyContext, merge_usage, sse::Frame};

/// The folder of recorded answers, or a printed reason why the test does nothing.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn folder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DISTILL_PROVIDERS_DIR").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: {test}: DISTILL_PROVIDERS_DIR is not set");
    }
    folder.map(|folder| folder.join("vercel-ai-fixtures"))
}

/// Without what says nothing: nulls, an empty text or list, Mistral's missing `type`.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, value)| {
                !(value.is_null()
                    || value == ""
                    || value.as_array().is_some_and(Vec::is_empty)
                    || (name == "type" && value == "function"))
            })
            .map(|(name, value)| (name, plain(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(plain).collect(),
        other => other,
    }
}

#[test]
fn recorded_replies_are_written_as_they_came() {
    let Some(folder) = folder("recorded_replies_are_written_as_they_came") else {
        return;
    };
    for name in [
        "xai/xai-text",
        "mistral/mistral-text",
        "mistral/mistral-tool-call",
        "deepseek/deepseek-text",
        "deepseek/deepseek-tool-call",
        "groq/groq-tool-call",
    ] {
        let body = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        let reply = CHAT.read_reply(&body).unwrap();
        let written = CHAT.write_reply(&reply, &ReplyContext::default());
        let written: Value = serde_json::from_slice(&written).unwrap();
        let mut expected: Value = serde_json::from_slice(&body).unwrap();
        // DeepSeek numbers the calls of a whole reply too, which only a stream needs.
        if let Some(calls) = expected.pointer_mut("/choices/0/message/tool_calls/0") {
            calls.as_object_mut().unwrap().shift_remove("index");
        }
        assert_eq!(plain(written), plain(expected), "{name}");
    }
}

/// What a stream says in all: text, thinking, arguments, the reason, the usage.
fn whole(events: &[Event]) -> (String, String, String, Vec<Event>, distill_chat::Usage) {
    let mut usage = distill_chat::Usage::default();
    let (mut text, mut thinking, mut arguments) = (String::new(), String::new(), String::new());
    let mut marks = Vec::new();
    for event in events {
        match event {
            Event::Delta { delta, .. } => match delta {
                Delta::Text(piece) => text.push_str(piece),
                Delta::Thinking(piece) => thinking.push_str(piece),
                Delta::Arguments(piece) => arguments.push_str(piece),
                other => panic!("{other:?}"),
            },
            Event::Usage(reported) => merge_usage(&mut usage, reported),
            mark => marks.push(mark.clone()),
        }
    }
    (text, thinking, arguments, marks, usage)
}

#[test]
fn recorded_streams_say_the_same_when_they_are_written_again() {
    let Some(folder) = folder("recorded_streams_say_the_same_when_they_are_written_again") else {
        return;
    };
    for (name, start, arguments) in [
        ("xai/xai-text", "Hello", ""),
        ("mistral/mistral-text", "Hello, ", ""),
        (
            "mistral/mistral-tool-call",
            "",
            "{\"location\": \"San Francisco\"}",
        ),
        ("deepseek/deepseek-text", "## **", ""),
        (
            "deepseek/deepseek-tool-call",
            "",
            "{\"location\": \"San Francisco\"}",
        ),
        ("groq/groq-tool-call", "", "{}"),
    ] {
        let lines = std::fs::read_to_string(folder.join(format!("{name}.chunks.txt"))).unwrap();
        let mut frames: Vec<Frame> = lines
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| Frame {
                event: None,
                data: line.to_owned(),
            })
            .collect();
        frames.push(Frame {
            event: None,
            data: "[DONE]".to_owned(),
        });
        let (events, is_whole) = read_frames(&frames).unwrap();
        assert!(is_whole, "{name}");
        let first = whole(&events);
        assert!(first.0.starts_with(start), "{name}: {}", first.0);
        assert_eq!(first.2, arguments, "{name}");
        assert!(first.4.output_tokens.is_some(), "{name}");
        let context = ReplyContext {
            stream_usage: true,
            ..ReplyContext::default()
        };
        let again: Vec<Frame> = write(&events, &context)
            .into_iter()
            .map(|data| Frame { event: None, data })
            .collect();
        let (events, _) = read_frames(&again).unwrap();
        assert_eq!(whole(&events), first, "{name}");
    }
}
