use serde_json::{Value, json};

use super::{super::*, call, caller, context, reply};
use crate::{
    Block, Delta, Dialect, ErrorKind, Event, Finish, Opening,
    sse::{Decoder, Frame},
};

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

fn read_all(frames: &[Frame]) -> (Vec<Event>, bool) {
    let mut reader = stream_reader();
    let mut events = Vec::new();
    for frame in frames {
        reader.read(frame, &mut events).unwrap();
    }
    (events, reader.is_whole())
}

fn data(frames: &[Frame]) -> Vec<Value> {
    frames
        .iter()
        .map(|frame| serde_json::from_str(&frame.data).unwrap())
        .collect()
}

fn delta(index: usize, delta: Delta) -> Event {
    Event::Delta { index, delta }
}

fn open(index: usize, block: Opening) -> Event {
    Event::Open { index, block }
}

fn tool(id: &str, name: &str) -> Opening {
    Opening::ToolCall {
        id: id.into(),
        name: name.into(),
    }
}

/// Thinking, text, then calls of every kind.
fn turn() -> Vec<Event> {
    let usage = reply(Vec::new(), Finish::Stop).usage;
    vec![
        Event::Start {
            id: Some("msg_1".into()),
            model: Some("claude-opus-4-6".into()),
            created: None,
            fingerprint: None,
        },
        open(0, Opening::Thinking { id: None }),
        delta(0, Delta::Thinking("h".into())),
        delta(0, Delta::Thinking("m".into())),
        delta(0, Delta::Signature("EqQB".into())),
        Event::Close { index: 0 },
        open(1, Opening::Text),
        delta(1, Delta::Text("Look\n".into())),
        delta(1, Delta::Text("\"now\"".into())),
        Event::Close { index: 1 },
        Event::Ping,
        open(2, tool("toolu_1", "exec")),
        delta(2, Delta::Arguments("{\"cmd\"".into())),
        delta(2, Delta::Arguments(":\"ls\"}".into())),
        Event::Close { index: 2 },
        open(3, tool("toolu_2", "apply_patch")),
        delta(3, Delta::Arguments("{\"input\":\"*** Be".into())),
        delta(3, Delta::Arguments("gin\"}".into())),
        Event::Close { index: 3 },
        open(4, tool("toolu_3", "agents__close")),
        Event::Close { index: 4 },
        Event::Finish {
            reason: Finish::ToolCalls,
            stop_sequence: None,
        },
        Event::Usage(usage),
        Event::End,
    ]
}

pub(super) fn written_turn() -> Vec<Value> {
    data(&write_all(&turn(), &context(&caller())))
}

#[test]
fn the_events_are_those_that_clients_rely_on_in_their_order() {
    let frames = write_all(&turn(), &context(&caller()));
    let events = data(&frames);
    let names: Vec<&str> = frames
        .iter()
        .map(|frame| frame.event.as_deref().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.custom_tool_call_input.delta",
            "response.custom_tool_call_input.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    for (number, (event, name)) in events.iter().zip(&names).enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
        assert_eq!(event["type"], *name);
    }
    assert_eq!(
        events[11],
        json!({
            "type": "response.output_text.delta", "sequence_number": 11, "item_id": "msg_7_1",
            "output_index": 1, "content_index": 0, "delta": "Look\n", "logprobs": [],
        })
    );
    assert_eq!(
        events[19],
        json!({
            "type": "response.function_call_arguments.done", "sequence_number": 19, "item_id": "fc_7_2",
            "output_index": 2, "name": "exec", "arguments": "{\"cmd\":\"ls\"}",
        })
    );
    assert_eq!(events[23]["input"], "*** Begin");
    assert_eq!(events[27]["item"]["namespace"], "agents");
    assert_eq!(events[27]["item"]["arguments"], "{}");
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[0]["response"]["output"], json!([]));
    assert_eq!(events[0]["response"]["usage"], Value::Null);
}

#[test]
fn a_stream_ends_with_what_the_whole_reply_would_have_said() {
    let events = data(&write_all(&turn(), &context(&caller())));
    let blocks = vec![
        Block::Thinking {
            text: "hm".into(),
            signature: Some("EqQB".into()),
            id: None,
        },
        Block::text("Look\n\"now\""),
        call("toolu_1", "exec", "{\"cmd\":\"ls\"}"),
        call("toolu_2", "apply_patch", "{\"input\":\"*** Begin\"}"),
        call("toolu_3", "agents__close", ""),
    ];
    let whole: Value = serde_json::from_slice(&write_reply(
        &reply(blocks, Finish::ToolCalls),
        &context(&caller()),
    ))
    .unwrap();
    assert_eq!(events.last().unwrap()["response"], whole);
    let done: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    assert_eq!(json!(done), whole["output"]);
}

#[test]
fn what_is_written_is_read_back() {
    let mut own = context(&caller());
    own.source = Some(Dialect::Responses);
    let (events, whole) = read_all(&write_all(&turn(), &own));
    assert!(whole);
    let mut expected = turn();
    // The identity of the reply is the proxy's, a ping is a comment, and calls of custom tools and
    // without arguments come whole.
    expected[0] = Event::Start {
        id: Some("resp_7".into()),
        model: Some("claude-opus-4-6".into()),
        created: Some(1_700_000_000),
        fingerprint: None,
    };
    expected[1] = open(
        0,
        Opening::Thinking {
            id: Some("rs_7_0".into()),
        },
    );
    expected.retain(|event| *event != Event::Ping);
    let custom = expected
        .iter()
        .position(|event| matches!(event, Event::Delta { index: 3, .. }))
        .unwrap();
    expected[custom] = delta(3, Delta::Arguments("{\"input\":\"*** Begin".into()));
    expected[custom + 1] = delta(3, Delta::Arguments("\"}".into()));
    let close = expected
        .iter()
        .position(|event| *event == Event::Close { index: 4 })
        .unwrap();
    expected.insert(close, delta(4, Delta::Arguments("{}".into())));
    assert_eq!(events, expected);
}

#[test]
fn texts_that_follow_each_other_are_parts_of_one_message() {
    let events = [
        open(0, Opening::Text),
        delta(0, Delta::Text("a".into())),
        Event::Close { index: 0 },
        open(1, Opening::Other("server_tool_use".into())),
        Event::Close { index: 1 },
        open(2, Opening::Refusal),
        delta(2, Delta::Refusal("b".into())),
        Event::Close { index: 2 },
        Event::Finish {
            reason: Finish::Length,
            stop_sequence: None,
        },
        Event::End,
    ];
    let written = data(&write_all(&events, &context(&caller())));
    let last = written.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(
        last["response"]["output"],
        json!([{"type": "message", "id": "msg_7_0", "status": "incomplete", "role": "assistant", "content": [
            {"type": "output_text", "text": "a", "annotations": [], "logprobs": []},
            {"type": "refusal", "refusal": "b"},
        ]}])
    );
    assert_eq!(last["response"]["usage"], Value::Null);
}

#[test]
fn blocks_that_interleave_keep_their_own_items() {
    let events = [
        open(0, Opening::Text),
        delta(0, Delta::Text("a".into())),
        open(1, tool("t1", "exec")),
        open(2, tool("t2", "exec")),
        delta(2, Delta::Arguments("{\"b\":".into())),
        delta(1, Delta::Arguments("{}".into())),
        delta(0, Delta::Text("b".into())),
        delta(2, Delta::Arguments("2}".into())),
        Event::End,
    ];
    let written = data(&write_all(&events, &context(&caller())));
    let output = &written.last().unwrap()["response"]["output"];
    assert_eq!(output[0]["content"][0]["text"], "ab");
    assert_eq!(output[1]["arguments"], "{}");
    assert_eq!(output[2]["arguments"], "{\"b\":2}");
    assert_eq!(output.as_array().unwrap().len(), 3);
}

#[test]
fn a_failure_is_told_in_both_ways_and_nothing_follows() {
    let events = [
        Event::Start {
            id: None,
            model: None,
            created: None,
            fingerprint: None,
        },
        open(0, Opening::Text),
        delta(0, Delta::Text("a".into())),
        Event::Error(ErrorReply {
            kind: ErrorKind::Overloaded,
            message: "cut".into(),
            code: None,
            param: None,
        }),
        Event::End,
    ];
    let frames = write_all(&events, &context(&caller()));
    let written = data(&frames);
    let [.., error, failed] = written.as_slice() else {
        panic!("{written:?}")
    };
    assert_eq!(error["type"], "error");
    assert_eq!(error["message"], "cut");
    assert_eq!(failed["type"], "response.failed");
    assert_eq!(failed["response"]["status"], "failed");
    assert_eq!(
        failed["response"]["error"],
        json!({"code": "server_is_overloaded", "message": "cut"})
    );
    let (read, whole) = read_all(&frames);
    assert!(!whole);
    assert!(
        read.iter().any(
            |event| matches!(event, Event::Error(error) if error.kind == ErrorKind::Overloaded)
        )
    );
}

#[test]
fn a_server_that_says_only_whole_items_is_read_as_one_that_says_pieces() {
    let frame = |value: Value| Frame {
        event: None,
        data: value.to_string(),
    };
    let done = |index: u64, item: Value| {
        frame(json!({"type": "response.output_item.done", "output_index": index, "item": item}))
    };
    let (events, whole) = read_all(&[
        done(
            0,
            json!({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}),
        ),
        done(
            1,
            json!({"type": "message", "content": [{"type": "output_text", "text": "a"}]}),
        ),
        done(
            2,
            json!({"type": "custom_tool_call", "call_id": "c", "name": "p", "input": "x\"y"}),
        ),
        done(3, json!({"type": "web_search_call", "id": "ws_1"})),
        frame(
            json!({"type": "response.completed", "response": {"status": "completed", "usage": {"input_tokens": 1, "output_tokens": 2}}}),
        ),
        Frame {
            event: None,
            data: "[DONE]".into(),
        },
    ]);
    assert!(whole);
    let redacted = Opening::RedactedThinking {
        data: "gAAA".into(),
        id: Some("rs_1".into()),
    };
    assert_eq!(
        events,
        [
            open(0, redacted),
            Event::Close { index: 0 },
            open(1, Opening::Text),
            delta(1, Delta::Text("a".into())),
            Event::Close { index: 1 },
            open(2, tool("c", "p")),
            delta(2, Delta::Arguments("{\"input\":\"x\\\"y\"}".into())),
            Event::Close { index: 2 },
            open(3, Opening::Other("web_search_call".into())),
            Event::Close { index: 3 },
            Event::Finish {
                reason: Finish::ToolCalls,
                stop_sequence: None
            },
            Event::Usage(distill_chat::Usage {
                input_tokens: Some(1),
                output_tokens: Some(2),
                ..distill_chat::Usage::default()
            }),
            Event::End,
        ]
    );
}
