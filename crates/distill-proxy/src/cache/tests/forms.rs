//! A whole answer as a stream, and a stream as a whole answer, in every caller's dialect.

use distill_wire::{Event, Gatherer, Reply, ReplyContext, replay, sse::Decoder};

use super::*;

const DIALECTS: [Dialect; 3] = [
    Dialect::ChatCompletions,
    Dialect::Messages,
    Dialect::Responses,
];

fn in_dialect(dialect: Dialect, stream: bool) -> Asked {
    let mut body = match dialect {
        Dialect::Responses => json!({"model": "fast", "temperature": 0, "input": "What is 2 + 2?"}),
        _ => question(json!({"max_tokens": 9})),
    };
    body["stream"] = stream.into();
    Asked {
        endpoint: Endpoint::Chat(dialect),
        ..Asked::new(&body)
    }
}

/// The answer as this dialect's callers read it, whole or streamed.
fn sent(dialect: Dialect, stream: bool, usage: bool) -> Vec<u8> {
    let reply = Dialect::ChatCompletions
        .read_reply(answer().to_string().as_bytes())
        .unwrap();
    let reply = Reply {
        source: Some(dialect),
        ..reply
    };
    let context = ReplyContext {
        source: Some(dialect),
        model: "fast".into(),
        id: "id-1".into(),
        created: 1,
        stream_usage: usage,
        request: None,
    };
    if !stream {
        return dialect.write_reply(&reply, &context);
    }
    let mut writer = dialect.stream_writer(&context);
    let mut bytes = Vec::new();
    for event in replay(&reply) {
        writer.write(&event, &mut bytes);
    }
    bytes
}

fn read(dialect: Dialect, stream: bool, body: &[u8]) -> Reply {
    if !stream {
        return dialect.read_reply(body).unwrap();
    }
    let mut frames = Vec::new();
    Decoder::new(1 << 20).push(body, &mut frames).unwrap();
    let mut reader = dialect.stream_reader();
    let mut events: Vec<Event> = Vec::new();
    for frame in &frames {
        reader.read(frame, &mut events).unwrap();
    }
    reader.finish(&mut events);
    assert!(reader.is_whole());
    let mut gatherer = Gatherer::new(dialect);
    for event in &events {
        gatherer.take(event);
    }
    gatherer.into_reply().unwrap()
}

#[tokio::test]
async fn each_form_is_replayed_as_the_other() {
    for dialect in DIALECTS {
        for stored in [false, true] {
            let cache = cache();
            let first = sent(dialect, stored, true);
            in_dialect(dialect, stored)
                .keep(&cache, &done(first.clone()))
                .await;
            for wanted in [false, true] {
                let asked = in_dialect(dialect, wanted);
                let envelope = envelope::scan(dialect, &asked.body).unwrap();
                let hit = asked.hit(&cache).await;
                let body = hit.body(&envelope);
                let reply = read(dialect, wanted, &body);
                let text = reply.blocks.iter().find_map(|block| match block {
                    distill_wire::Block::Text { text, .. } => Some(text.as_str()),
                    _ => None,
                });
                assert_eq!(text, Some("4"), "{dialect:?} {stored} as {wanted}");
                assert_eq!(reply.finish, distill_wire::Finish::Stop);
                let kind = if wanted {
                    "text/event-stream"
                } else {
                    "application/json"
                };
                assert_eq!(hit.content_type(&envelope), kind);
                if stored == wanted && dialect != Dialect::ChatCompletions {
                    assert_eq!(body, first, "the same form is given as it came");
                }
            }
        }
    }
}

#[tokio::test]
async fn usage_ends_a_replayed_stream_where_it_was_asked_for() {
    let streamed = |usage: bool| {
        Asked::new(&question(
            json!({"stream": true, "stream_options": {"include_usage": usage}}),
        ))
    };
    for stored in [false, true] {
        let cache = cache();
        let first = sent(Dialect::ChatCompletions, true, stored);
        let done = Done {
            usage: distill_chat::Usage {
                input_tokens: Some(7),
                output_tokens: Some(1),
                ..distill_chat::Usage::default()
            },
            ..done(first.clone())
        };
        streamed(stored).keep(&cache, &done).await;
        for wanted in [false, true] {
            let asked = streamed(wanted);
            let envelope = envelope::scan(Dialect::ChatCompletions, &asked.body).unwrap();
            let body = asked.hit(&cache).await.body(&envelope);
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(text.ends_with("data: [DONE]\n\n"));
            if stored == wanted {
                assert_eq!(body, first);
            }
            assert_eq!(text.contains("\"prompt_tokens\":7"), wanted);
        }
    }
}

#[tokio::test]
async fn a_stream_that_was_cut_is_not_kept() {
    for dialect in DIALECTS {
        let cache = cache();
        let mut cut = sent(dialect, true, false);
        cut.truncate(cut.len() / 2);
        let lead = in_dialect(dialect, true).lead(&cache).await;
        assert!(!lead.finish(&done(cut)), "{dialect:?}");
    }
}

#[tokio::test]
async fn a_tool_call_is_replayed_whole() {
    let called = json!({"id": "chatcmpl-2", "object": "chat.completion", "created": 1, "model": "m-1", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ]}, "finish_reason": "tool_calls"},
    ]});
    let asking = |stream: bool| {
        let mut asked = Asked::new(&question(json!({
            "stream": stream, "tools": [{"type": "function", "function": {"name": "f"}}],
        })));
        asked.config.tools = true;
        asked
    };
    let cache = cache();
    asking(false).keep(&cache, &done(called.to_string())).await;
    let asked = asking(true);
    let envelope = envelope::scan(Dialect::ChatCompletions, &asked.body).unwrap();
    let body = asked.hit(&cache).await.body(&envelope);
    let replayed = read(Dialect::ChatCompletions, true, &body);
    let first = read(
        Dialect::ChatCompletions,
        false,
        called.to_string().as_bytes(),
    );
    assert_eq!(replayed.blocks, first.blocks);
    assert_eq!(replayed.finish, first.finish);
}

#[tokio::test]
async fn an_answer_is_mended_in_either_form() {
    for dialect in DIALECTS {
        let cache = cache();
        let first = sent(dialect, true, true);
        in_dialect(dialect, true).keep(&cache, &done(first)).await;
        for wanted in [false, true] {
            let asked = in_dialect(dialect, wanted);
            let envelope = envelope::scan(dialect, &asked.body).unwrap();
            let hit = asked.hit(&cache).await;
            let body = hit.mended(&envelope, &|whole| {
                let text = String::from_utf8(whole.to_vec()).unwrap();
                text.replace("\"4\"", "\"four\"").into()
            });
            let reply = read(dialect, wanted, &body);
            assert!(
                reply.blocks.iter().any(
                    |block| matches!(block, distill_wire::Block::Text { text, .. } if text == "four")
                ),
                "{dialect:?} {wanted}"
            );
        }
    }
}
