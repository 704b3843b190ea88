//! Streams, both ways.

use distill_chat::Usage;
use serde_json::{Value, json};

use super::CHAT;
use crate::{
    Delta, Dialect, ErrorKind, ErrorReply, Event, Finish, Malformed, Opening, ReplyContext, SEAL,
    TokenLogprob, sse::Frame,
};

fn frame(data: impl ToString) -> Frame {
    Frame {
        event: None,
        data: data.to_string(),
    }
}

pub(super) fn read_frames<'a>(
    frames: impl IntoIterator<Item = &'a Frame>,
) -> Result<(Vec<Event>, bool), Malformed> {
    let mut reader = CHAT.stream_reader();
    let mut events = Vec::new();
    for frame in frames {
        reader.read(frame, &mut events)?;
    }
    Ok((events, reader.is_whole()))
}

fn read(chunks: &[Value]) -> (Vec<Event>, bool) {
    let frames: Vec<Frame> = chunks.iter().map(frame).collect();
    read_frames(&frames).unwrap()
}

fn delta(delta: Value) -> Value {
    json!({"id": "x", "created": 3, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn finish(reason: &str) -> Value {
    json!({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

/// What a writer of this dialect makes of these events, as chunks; the end as `[DONE]`.
pub(super) fn write(events: &[Event], context: &ReplyContext) -> Vec<String> {
    let mut writer = CHAT.stream_writer(context);
    let mut bytes = Vec::new();
    for event in events {
        writer.write(event, &mut bytes);
    }
    let mut decoder = crate::sse::Decoder::new(1 << 20);
    let mut frames = Vec::new();
    decoder.push(&bytes, &mut frames).unwrap();
    frames.into_iter().map(|frame| frame.data).collect()
}

fn pieces(events: &[Event]) -> Vec<(usize, String)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Delta {
                index,
                delta:
                    Delta::Text(piece)
                    | Delta::Thinking(piece)
                    | Delta::Arguments(piece)
                    | Delta::Refusal(piece)
                    | Delta::Signature(piece),
            } => Some((*index, piece.clone())),
            _ => None,
        })
        .collect()
}

#[test]
fn blocks_open_and_close_around_their_deltas() {
    let (events, whole) = read(&[
        json!({"id": "", "model": "", "choices": [], "prompt_filter_results": []}),
        delta(json!({"role": "assistant", "content": null, "reasoning_content": ""})),
        delta(json!({"reasoning_content": "hm"})),
        delta(json!({"content": "a\u{e9}\n", "reasoning_content": null})),
        finish("length"),
        json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}),
    ]);
    assert!(whole, "the vendor gave its reason");
    assert_eq!(
        events,
        [
            Event::Start {
                id: Some("x".into()),
                model: Some("m".into()),
                created: Some(3),
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
            Event::Open {
                index: 1,
                block: Opening::Text,
            },
            Event::Delta {
                index: 1,
                delta: Delta::Text("aé\n".into()),
            },
            Event::Close { index: 1 },
            Event::Finish {
                reason: Finish::Length,
                stop_sequence: None,
            },
            Event::Usage(Usage {
                input_tokens: Some(3),
                output_tokens: Some(2),
                ..Usage::default()
            }),
        ]
    );
}

#[test]
fn parallel_calls_are_told_apart_in_every_vendors_way() {
    let call = |index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: &str| {
        let mut call = json!({"function": {"arguments": arguments}});
        if let Some(index) = index {
            call["index"] = index.into();
        }
        if let Some(id) = id {
            call["id"] = id.into();
        }
        if let Some(name) = name {
            call["function"]["name"] = name.into();
        }
        call
    };
    let by_index = vec![
        delta(json!({"tool_calls": [call(Some(0), Some("a"), Some("f"), "")]})),
        delta(json!({"tool_calls": [call(Some(1), Some("b"), Some("g"), "")]})),
        delta(
            json!({"tool_calls": [call(Some(0), None, None, "{"), call(Some(1), None, None, "[")]}),
        ),
        delta(
            json!({"tool_calls": [call(Some(0), None, None, "}"), call(Some(1), None, None, "]")]}),
        ),
    ];
    let repeated_ids = vec![
        delta(json!({"tool_calls": [call(Some(0), Some("a"), Some("f"), "{")]})),
        delta(json!({"tool_calls": [call(Some(0), Some("a"), None, "}")]})),
        delta(json!({"tool_calls": [call(Some(1), Some("b"), Some("g"), "[")]})),
        delta(json!({"tool_calls": [call(Some(1), Some("b"), Some(""), "]")]})),
    ];
    let without_index = vec![delta(json!({"tool_calls": [
        call(None, Some("a"), Some("f"), "{}"), call(None, Some("b"), Some("g"), "[]"),
    ]}))];
    let one_index = vec![
        delta(json!({"tool_calls": [call(Some(0), Some("a"), Some("f"), "{}")]})),
        delta(json!({"tool_calls": [call(Some(0), Some("b"), Some("g"), "[]")]})),
    ];
    for mut chunks in [by_index, repeated_ids, without_index, one_index] {
        chunks.push(finish("stop"));
        let (events, _) = read(&chunks);
        let opened: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Open {
                    index,
                    block: Opening::ToolCall { id, name },
                } => Some((*index, id.as_str(), name.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(opened, [(0, "a", "f"), (1, "b", "g")]);
        let of = |wanted: usize| -> String {
            pieces(&events)
                .into_iter()
                .filter(|(index, _)| *index == wanted)
                .map(|(_, piece)| piece)
                .collect()
        };
        assert_eq!((of(0).as_str(), of(1).as_str()), ("{}", "[]"));
        assert_eq!(
            events.last(),
            Some(&Event::Finish {
                reason: Finish::ToolCalls,
                stop_sequence: None,
            })
        );
        assert!(events.contains(&Event::Close { index: 0 }));
        assert!(events.contains(&Event::Close { index: 1 }));
    }
}

#[test]
fn a_stream_is_whole_only_where_the_vendor_says_so() {
    let cut = [frame(delta(json!({"content": "a"})))];
    assert!(!read_frames(&cut).unwrap().1);
    let unfinished = [frame(delta(json!({"content": "a"}))), frame("[DONE]")];
    assert_eq!(
        read_frames(&unfinished).unwrap_err(),
        Malformed::Missing("finish reason")
    );
    let mut reader = CHAT.stream_reader();
    let mut events = Vec::new();
    reader.read(&frame(finish("stop")), &mut events).unwrap();
    reader.finish(&mut events);
    assert_eq!(events.pop(), Some(Event::End), "closed without `[DONE]`");
    let mut reader = CHAT.stream_reader();
    reader.finish(&mut events);
    assert_ne!(events.pop(), Some(Event::End), "cut before the reason");
    let whole = [
        frame(delta(json!({"content": "a"}))),
        frame(finish("stop")),
        frame("[DONE]"),
        frame("what follows counts for nothing"),
    ];
    let (events, is_whole) = read_frames(&whole).unwrap();
    assert!(is_whole);
    assert_eq!(events.last(), Some(&Event::End));
}

#[test]
fn an_error_in_mid_stream_ends_it() {
    let (events, whole) = read(&[
        delta(json!({"content": "a"})),
        json!({"error": {"message": "Overloaded", "type": "overloaded_error", "code": 503}}),
        delta(json!({"content": "b"})),
    ]);
    assert!(!whole);
    assert_eq!(
        events.last(),
        Some(&Event::Error(ErrorReply {
            kind: ErrorKind::Overloaded,
            message: "Overloaded".into(),
            code: Some("503".into()),
            param: None,
        }))
    );
    for (error, kind) in [
        (json!({"code": "rate_limit_exceeded"}), ErrorKind::RateLimit),
        (
            json!({"type": "invalid_request_error"}),
            ErrorKind::InvalidRequest,
        ),
        (json!({"type": "insufficient_quota"}), ErrorKind::Billing),
        (json!("plain words"), ErrorKind::Server),
    ] {
        let (events, _) = read(&[json!({"error": error})]);
        assert!(
            matches!(&events[..], [Event::Error(reply)] if reply.kind == kind),
            "{error}"
        );
    }
}

#[test]
fn what_cannot_be_a_stream_is_refused() {
    for chunks in [
        vec![frame("<html>")],
        vec![frame(delta(
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}),
        ))],
        vec![
            frame(finish("stop")),
            frame(delta(json!({"content": "late"}))),
        ],
        vec![frame(r#"{"choices": 3}"#)],
    ] {
        assert!(read_frames(&chunks).is_err(), "{chunks:?}");
    }
}

#[test]
fn every_kind_of_thinking_is_read() {
    let (events, _) = read(&[
        delta(json!({"reasoning": "h"})),
        delta(
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "m"}]}]}),
        ),
        delta(json!({"content": [{"type": "text", "text": "a"}]})),
    ]);
    assert_eq!(
        pieces(&events),
        [(0, "h".into()), (0, "m".into()), (1, "a".into())]
    );
    let (events, _) = read(&[
        delta(
            json!({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
        ),
        delta(json!({"reasoning_details": [{"type": "reasoning.text", "signature": "s"}]})),
        delta(json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "d"}]})),
    ]);
    assert_eq!(pieces(&events), [(0, "hm".into()), (0, "s".into())]);
    assert!(events.contains(&Event::Open {
        index: 1,
        block: Opening::RedactedThinking {
            data: "d".into(),
            id: None
        },
    }));
}

fn start() -> Event {
    Event::Start {
        id: Some("msg_1".into()),
        model: None,
        created: None,
        fingerprint: Some("fp".into()),
    }
}

fn context() -> ReplyContext {
    ReplyContext {
        source: Some(Dialect::Messages),
        model: "fast".into(),
        id: "chatcmpl-9".into(),
        created: 7,
        stream_usage: true,
        request: None,
    }
}

#[test]
fn a_caller_gets_the_sequence_that_openai_sends() {
    let events = [
        start(),
        Event::Ping,
        Event::Open {
            index: 0,
            block: Opening::Text,
        },
        Event::Delta {
            index: 0,
            delta: Delta::Text("a\"\n".into()),
        },
        Event::Delta {
            index: 0,
            delta: Delta::Logprobs(vec![TokenLogprob {
                token: "a".into(),
                logprob: -0.5,
                bytes: None,
                top: vec![],
            }]),
        },
        Event::Close { index: 0 },
        Event::Open {
            index: 1,
            block: Opening::ToolCall {
                id: "t".into(),
                name: "f".into(),
            },
        },
        Event::Delta {
            index: 1,
            delta: Delta::Arguments("{\"a\":".into()),
        },
        Event::Usage(Usage {
            input_tokens: Some(3),
            ..Usage::default()
        }),
        Event::Finish {
            reason: Finish::ToolCalls,
            stop_sequence: None,
        },
        Event::Usage(Usage {
            output_tokens: Some(2),
            ..Usage::default()
        }),
        Event::End,
        Event::End,
    ];
    let chunks = write(&events, &context());
    let last = chunks.last().unwrap();
    assert_eq!(last, "[DONE]");
    let chunks: Vec<Value> = chunks[..chunks.len() - 1]
        .iter()
        .map(|chunk| serde_json::from_str(chunk).unwrap())
        .collect();
    for chunk in &chunks {
        assert_eq!(chunk["id"], "chatcmpl-9");
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["model"], "fast");
        assert_eq!(chunk["created"], 7);
        assert_eq!(chunk["system_fingerprint"], "fp");
    }
    let deltas: Vec<&Value> = chunks
        .iter()
        .filter_map(|chunk| chunk.pointer("/choices/0/delta"))
        .collect();
    assert_eq!(
        deltas,
        [
            &json!({"role": "assistant", "content": ""}),
            &json!({"content": "a\"\n"}),
            &json!({}),
            &json!({"tool_calls": [{"index": 0, "id": "t", "type": "function",
                "function": {"name": "f", "arguments": ""}}]}),
            &json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"a\":"}}]}),
            &json!({}),
        ]
    );
    assert_eq!(
        chunks[2]["choices"][0]["logprobs"]["content"][0]["token"],
        "a"
    );
    assert_eq!(chunks[5]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(chunks[5]["usage"], Value::Null);
    assert_eq!(chunks[6]["choices"], json!([]));
    assert_eq!(
        chunks[6]["usage"],
        json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5})
    );
    let without = ReplyContext {
        stream_usage: false,
        ..context()
    };
    assert_eq!(write(&events, &without).len(), 7, "no usage was asked for");
}

#[test]
fn thinking_and_its_proof_reach_a_caller() {
    let events = [
        start(),
        Event::Open {
            index: 0,
            block: Opening::Thinking { id: None },
        },
        Event::Delta {
            index: 0,
            delta: Delta::Thinking("h".into()),
        },
        Event::Delta {
            index: 0,
            delta: Delta::Thinking("m".into()),
        },
        Event::Delta {
            index: 0,
            delta: Delta::Signature("EqQB".into()),
        },
    ];
    let chunks = write(&events, &context());
    let last: Value = serde_json::from_str(chunks.last().unwrap()).unwrap();
    let detail = &last["choices"][0]["delta"]["reasoning_details"][0];
    assert_eq!(detail["text"], "hm");
    let signature = detail["signature"].as_str().unwrap();
    assert!(signature.starts_with(SEAL) && signature.ends_with("EqQB"));
}

#[test]
fn the_proof_of_a_call_is_read_from_its_first_piece_and_from_a_later_one() {
    let proof = json!({"google": {"thought_signature": "s"}});
    let opened = json!({"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}});
    let mut with = opened.clone();
    with["extra_content"] = proof.clone();
    let later = json!({"index": 0, "extra_content": proof});
    for (chunks, expected) in [
        (vec![with], ["s", "{}"]),
        (vec![opened, later], ["{}", "s"]),
    ] {
        let chunks: Vec<Value> = chunks
            .into_iter()
            .map(|call| delta(json!({"tool_calls": [call]})))
            .collect();
        let (events, _) = read(&chunks);
        let said: Vec<String> = pieces(&events)
            .into_iter()
            .map(|(_, piece)| piece)
            .collect();
        assert_eq!(said, expected);
    }
}

#[test]
fn an_error_ends_a_callers_stream_without_its_end() {
    let error = ErrorReply {
        kind: ErrorKind::Timeout,
        message: "Nobody answered.".into(),
        code: None,
        param: None,
    };
    let chunks = write(&[start(), Event::Error(error), Event::End], &context());
    assert_eq!(chunks.len(), 2);
    let last: Value = serde_json::from_str(&chunks[1]).unwrap();
    assert_eq!(last["error"]["message"], "Nobody answered.");
    assert!(!chunks.contains(&"[DONE]".to_owned()));
}
