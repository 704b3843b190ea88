//! Streams as they are read and written.

use serde_json::{Value, json};

use super::DIALECT;
use crate::{
    Delta, ErrorKind, Event, Finish, ReplyContext,
    sse::{Decoder, Frame},
};

fn stream(frames: &[Value]) -> (Vec<Event>, bool) {
    let mut reader = DIALECT.stream_reader();
    let mut events = Vec::new();
    for frame in frames {
        let frame = Frame {
            event: None,
            data: frame.to_string(),
        };
        reader.read(&frame, &mut events).unwrap();
    }
    assert!(!reader.is_whole());
    reader.finish(&mut events);
    (events, reader.is_whole())
}

#[test]
fn a_stream_is_whole_once_it_says_why_it_ended() {
    let text = json!({"candidates": [{"content": {"parts": [{"text": "a"}]}}]});
    let last = json!({"candidates": [{"content": {"parts": [{"text": "b"}]}, "finishReason": "MAX_TOKENS"}]});
    let (events, whole) = stream(std::slice::from_ref(&text));
    assert!(!whole && !events.contains(&Event::End));
    let (events, whole) = stream(&[text, last]);
    assert!(whole);
    assert_eq!(
        events[3..],
        [
            Event::Delta {
                index: 0,
                delta: Delta::Text("b".into())
            },
            Event::Close { index: 0 },
            Event::Finish {
                reason: Finish::Length,
                stop_sequence: None
            },
            Event::End,
        ]
    );
}

#[test]
fn an_error_ends_a_stream() {
    let error = json!({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}});
    let (events, whole) = stream(&[error]);
    assert!(!whole);
    assert!(matches!(&events[..], [Event::Error(error)] if error.kind == ErrorKind::Overloaded));
}

#[test]
fn a_stream_that_is_written_reads_the_same() {
    let frames = [
        json!({"responseId": "r", "modelVersion": "m", "usageMetadata": {"promptTokenCount": 3},
            "candidates": [{"content": {"parts": [{"text": "hm", "thought": true}]}}]}),
        json!({"candidates": [{"content": {"parts": [
            {"text": "", "thought": true, "thoughtSignature": "S1"},
            {"text": "Hello"},
        ]}}]}),
        json!({"candidates": [{"content": {"parts": [
            {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "S2"},
            {"functionCall": {"id": "own", "name": "g"}},
            {"text": "", "thoughtSignature": "S3"},
            {"executableCode": {"code": "1"}},
        ]}, "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 9}}),
    ];
    let (events, _) = stream(&frames);
    assert!(events.contains(&Event::Finish {
        reason: Finish::ToolCalls,
        stop_sequence: None
    }));
    let mut writer = DIALECT.stream_writer(&ReplyContext::default());
    let mut bytes = Vec::new();
    for event in &events {
        writer.write(event, &mut bytes);
    }
    let mut frames = Vec::new();
    Decoder::new(1 << 20).push(&bytes, &mut frames).unwrap();
    let values: Vec<Value> = frames
        .iter()
        .map(|frame| serde_json::from_str(&frame.data).unwrap())
        .collect();
    let without_usage = |events: Vec<Event>| -> Vec<Event> {
        events
            .into_iter()
            .filter(|event| !matches!(event, Event::Usage(_)))
            .collect()
    };
    assert_eq!(without_usage(stream(&values).0), without_usage(events));
}
