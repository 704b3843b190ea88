use serde_json::{Value, json};

use super::{super::*, context, folder};
use crate::{
    Delta, Dialect, ErrorKind, Event, Finish, Opening,
    sse::{Decoder, Frame},
};

fn frame(data: &Value) -> Frame {
    Frame {
        event: None,
        data: data.to_string(),
    }
}

fn read_all(frames: &[Frame]) -> (Vec<Event>, bool) {
    let mut reader = stream_reader();
    let mut events = Vec::new();
    for frame in frames {
        reader.read(frame, &mut events).unwrap();
    }
    (events, reader.is_whole())
}

fn write_all(events: &[Event], context: &ReplyContext) -> Vec<Frame> {
    let mut writer = stream_writer(context);
    let mut bytes = Vec::new();
    for event in events {
        writer.write(event, &mut bytes);
    }
    let mut frames = Vec::new();
    Decoder::new(1 << 20).push(&bytes, &mut frames).unwrap();
    frames
}

/// Streams with what a stream event has no place for taken out: empty pieces, pings, and the parts of
/// the usage that are no token class.
fn comparable(frames: &[Frame]) -> Vec<Value> {
    let mut told = serde_json::Map::new();
    frames
        .iter()
        .map(|frame| serde_json::from_str::<Value>(&frame.data).unwrap())
        .filter(|event| {
            event["type"] != "ping" && event.pointer("/delta/partial_json") != Some(&json!(""))
        })
        .map(|mut event| {
            if let Some(usage) = event.pointer_mut("/message/usage") {
                let usage = usage.as_object_mut().unwrap();
                for name in [
                    "cache_creation",
                    "service_tier",
                    "inference_geo",
                    "output_tokens",
                ] {
                    usage.remove(name);
                }
                told.clone_from(usage);
            }
            // Older recordings do not say at the end what they said at the start.
            if event["type"] == "message_delta" {
                for (name, count) in &told {
                    let usage = event["usage"].as_object_mut().unwrap();
                    usage.entry(name).or_insert_with(|| count.clone());
                }
            }
            if let Some(block) = event.get_mut("content_block") {
                block.as_object_mut().unwrap().remove("caller");
            }
            event
        })
        .collect()
}

fn recorded() -> Option<Vec<(String, Vec<Frame>)>> {
    let folder = folder("messages::recorded_streams")?;
    let mut streams = Vec::new();
    for name in [
        "anthropic-text",
        "anthropic-json-tool.1",
        "anthropic-tool-no-args",
        "anthropic-json-output-format.1",
    ] {
        let path = folder.join(format!("vercel-ai-fixtures/anthropic/{name}.chunks.txt"));
        let frames = std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| Frame {
                event: None,
                data: line.to_owned(),
            })
            .collect();
        streams.push((name.to_owned(), frames));
    }
    for name in ["basic_response", "tool_use_response"] {
        let mut bytes = std::fs::read(folder.join(format!("anthropic-sse/{name}.txt"))).unwrap();
        // The recordings end without the blank line that ends the last event.
        bytes.extend_from_slice(b"\n\n");
        let mut frames = Vec::new();
        Decoder::new(1 << 20).push(&bytes, &mut frames).unwrap();
        streams.push((name.to_owned(), frames));
    }
    Some(streams)
}

/// The events but for the usage, and the usage as it stands at the end.
fn without_usage(events: Vec<Event>) -> (Vec<Event>, distill_chat::Usage) {
    let mut usage = distill_chat::Usage::default();
    let rest = events
        .into_iter()
        .filter(|event| match event {
            Event::Usage(more) => {
                crate::event::merge_usage(&mut usage, more);
                false
            }
            _ => *event != Event::Ping,
        })
        .collect();
    (rest, usage)
}

#[test]
fn recorded_streams_are_read_and_written_back_event_by_event() {
    for (name, frames) in recorded().unwrap_or_default() {
        let (events, whole) = read_all(&frames);
        assert!(whole, "{name}");
        let written = write_all(&events, &context());
        let mut expected = comparable(&frames);
        if name == "anthropic-tool-no-args" {
            // A call that says nothing says `{}`, so that every dialect has JSON.
            let stop = expected
                .iter()
                .position(|event| event["type"] == "content_block_stop" && event["index"] == 1)
                .unwrap();
            let delta = json!({"type": "input_json_delta", "partial_json": "{}"});
            expected.insert(
                stop,
                json!({"type": "content_block_delta", "index": 1, "delta": delta}),
            );
        }
        assert_eq!(comparable(&written), expected, "{name}");
        for frame in &written {
            let data: Value = serde_json::from_str(&frame.data).unwrap();
            assert_eq!(frame.event.as_deref(), data["type"].as_str(), "{name}");
        }
        assert_eq!(without_usage(read_all(&written).0), without_usage(events));
    }
}

#[test]
fn a_placeholder_of_output_is_not_taken_for_a_count() {
    let usage = json!({"input_tokens": 4, "output_tokens": 1});
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "usage": usage}});
    let (events, whole) = read_all(&[frame(&start)]);
    assert!(!whole, "a stream that ends here was cut");
    let Event::Usage(usage) = &events[1] else {
        panic!("{events:?}")
    };
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(4), None));
}

#[test]
fn thinking_and_its_signature_and_citations_are_read() {
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let piece = |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    let frames: Vec<Frame> = [
        start(
            0,
            json!({"type": "thinking", "thinking": "", "signature": ""}),
        ),
        piece(0, json!({"type": "thinking_delta", "thinking": "hm"})),
        piece(0, json!({"type": "signature_delta", "signature": "Eq"})),
        stop(0),
        start(1, json!({"type": "redacted_thinking", "data": "Em"})),
        stop(1),
        start(
            2,
            json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
        ),
        piece(2, json!({"type": "input_json_delta", "partial_json": "{}"})),
        stop(2),
        start(3, json!({"type": "text", "text": ""})),
        piece(
            3,
            json!({"type": "citations_delta", "citation": {"cited_text": "x"}}),
        ),
        piece(3, json!({"type": "later_delta"})),
        stop(3),
        json!({"type": "later_event"}),
        json!({
            "type": "message_delta",
            "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"},
            "usage": {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}},
        }),
        json!({"type": "message_stop"}),
    ]
    .iter()
    .map(frame)
    .collect();
    let (events, whole) = read_all(&frames);
    assert!(whole);
    let delta = |index, delta| Event::Delta { index, delta };
    let open = |index, block| Event::Open { index, block };
    let close = |index| Event::Close { index };
    let redacted = Opening::RedactedThinking {
        data: "Em".into(),
        id: None,
    };
    assert_eq!(
        events,
        [
            open(0, Opening::Thinking { id: None }),
            delta(0, Delta::Thinking("hm".into())),
            delta(0, Delta::Signature("Eq".into())),
            close(0),
            open(1, redacted),
            close(1),
            open(2, Opening::Other("server_tool_use".into())),
            close(2),
            open(3, Opening::Text),
            delta(3, Delta::Annotation(json!({"cited_text": "x"}))),
            close(3),
            Event::Finish {
                reason: Finish::Stop,
                stop_sequence: Some("END".into())
            },
            Event::Usage(distill_chat::Usage {
                output_tokens: Some(5),
                reasoning_tokens: Some(4),
                ..distill_chat::Usage::default()
            }),
            Event::End,
        ]
    );
}

#[test]
fn an_error_in_mid_stream_is_read_and_written_and_nothing_follows() {
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}});
    let (events, whole) = read_all(&[frame(&error)]);
    assert!(!whole);
    let Event::Error(reply) = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(reply.kind, ErrorKind::Overloaded);
    let written = write_all(&[events[0].clone(), Event::End, Event::Ping], &context());
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].event.as_deref(), Some("error"));
    let data: Value = serde_json::from_str(&written[0].data).unwrap();
    assert_eq!(data["error"]["type"], "overloaded_error");
}

#[test]
fn blocks_of_another_dialect_that_interleave_are_told_one_after_the_other() {
    let call = |index: usize, id: &str| Event::Open {
        index,
        block: Opening::ToolCall {
            id: id.into(),
            name: "f".into(),
        },
    };
    let arguments = |index, text: &str| Event::Delta {
        index,
        delta: Delta::Arguments(text.into()),
    };
    let events = [
        Event::Start {
            id: Some("chatcmpl-1".into()),
            model: Some("gpt".into()),
            created: None,
            fingerprint: None,
        },
        Event::Open {
            index: 0,
            block: Opening::Thinking { id: None },
        },
        Event::Delta {
            index: 0,
            delta: Delta::Thinking("hm".into()),
        },
        Event::Close { index: 0 },
        call(1, "a"),
        arguments(1, "{\"x\":"),
        call(2, "b"),
        arguments(2, "{}"),
        arguments(1, "1}"),
        Event::Finish {
            reason: Finish::Stop,
            stop_sequence: None,
        },
        Event::End,
        Event::Ping,
    ];
    let context = ReplyContext {
        source: Some(Dialect::ChatCompletions),
        ..context()
    };
    let written: Vec<Value> = write_all(&events, &context)
        .iter()
        .map(|frame| serde_json::from_str(&frame.data).unwrap())
        .collect();
    let start = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta = |index: u64, kind: &str, name: &str, text: &str| json!({"type": "content_block_delta", "index": index, "delta": {"type": kind, name: text}});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    let tool = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let seal = "distill-sealed:openai.chat_completions:t::";
    assert_eq!(
        written,
        [
            json!({"type": "message_start", "message": {
                "id": "msg_7", "type": "message", "role": "assistant", "model": "gpt", "content": [],
                "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            }}),
            start(
                0,
                json!({"type": "thinking", "thinking": "", "signature": ""})
            ),
            delta(0, "thinking_delta", "thinking", "hm"),
            delta(0, "signature_delta", "signature", seal),
            stop(0),
            start(1, tool("a")),
            delta(1, "input_json_delta", "partial_json", "{\"x\":"),
            delta(1, "input_json_delta", "partial_json", "1}"),
            stop(1),
            start(2, tool("b")),
            delta(2, "input_json_delta", "partial_json", "{}"),
            stop(2),
            json!({
                "type": "message_delta",
                "delta": {"stop_reason": "tool_use", "stop_sequence": null},
                "usage": {},
            }),
            json!({"type": "message_stop"}),
        ]
    );
}

#[test]
fn an_event_of_a_block_that_was_not_opened_is_out_of_order() {
    let mut reader = stream_reader();
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}});
    assert_eq!(
        reader.read(&frame(&delta), &mut Vec::new()),
        Err(Malformed::OutOfOrder("a block that was not opened"))
    );
}
