//! Every dialect that callers speak against every dialect that targets speak, whole and streamed:
//! what arrives is what was meant, or it is named as dropped, or the request is refused.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod digest;
mod proofs;
mod requests;

use std::collections::BTreeSet;

use distill_chat::Usage;
use distill_wire::{
    Block, Dialect, Event, Finish, Gatherer, Quirks, Reply, ReplyContext, Request, Writing, replay,
    sse::{Decoder, Frame},
};
use requests::{WISHES, Wish};

const CALLERS: [Dialect; 3] = [
    Dialect::ChatCompletions,
    Dialect::Responses,
    Dialect::Messages,
];

const TARGETS: [(&str, Dialect, Quirks, &str); 8] = [
    (
        "compatible",
        Dialect::ChatCompletions,
        Quirks::COMPATIBLE,
        "m",
    ),
    (
        "openai",
        Dialect::ChatCompletions,
        Quirks::OPENAI,
        "gpt-5-mini",
    ),
    (
        "mistral",
        Dialect::ChatCompletions,
        Quirks::MISTRAL,
        "mistral-large-latest",
    ),
    (
        "openai responses",
        Dialect::Responses,
        Quirks::OPENAI,
        "gpt-5-mini",
    ),
    (
        "anthropic",
        Dialect::Messages,
        Quirks::COMPATIBLE,
        "claude-sonnet-4-5",
    ),
    (
        "gemini 2.5",
        Dialect::Gemini,
        Quirks::COMPATIBLE,
        "gemini-2.5-flash",
    ),
    (
        "gemini 3",
        Dialect::Gemini,
        Quirks::COMPATIBLE,
        "gemini-3-pro-preview",
    ),
    (
        "cohere",
        Dialect::Cohere,
        Quirks::COMPATIBLE,
        "command-a-reasoning-08-2025",
    ),
];

/// The names under which a part of a request may be dropped.
const NAMES: &[(&str, &[&str])] = &[
    (
        "parallel_tool_calls",
        &[
            "parallel_tool_calls",
            "tool_choice.disable_parallel_tool_use",
        ],
    ),
    ("stop", &["stop", "stop_sequences"]),
    ("temperature", &["temperature"]),
    ("tool_choice", &["tool_choice"]),
    (
        "reasoning",
        &[
            "reasoning",
            "reasoning_effort",
            "reasoning.effort",
            "thinking",
            "thinking.budget_tokens",
        ],
    ),
];

fn read(caller: Dialect, wish: Wish, stream: bool) -> Request {
    let body = requests::request(caller, wish, stream);
    caller.read_request(body.to_string().as_bytes()).unwrap()
}

fn writing(model: &str, quirks: Quirks) -> Writing<'_> {
    Writing {
        model,
        quirks,
        fixed_temperature: false,
        default_max_tokens: 1000,
        meter: true,
    }
}

#[test]
fn every_request_arrives_or_is_named() {
    let mut failures = Vec::new();
    for caller in CALLERS {
        for (name, target, quirks, model) in TARGETS {
            for wish in WISHES {
                for stream in [false, true] {
                    let mut request = read(caller, wish, stream);
                    let writing = writing(model, quirks);
                    let place = format!("{caller:?} to {name}, {wish:?}, stream {stream}");
                    // What may be refused: this dialect alone has no stop sequences.
                    if target == Dialect::Responses && !request.stop.is_empty() {
                        let refused = target.write_request(&request, &writing).unwrap_err();
                        assert!(refused.field.starts_with("stop"), "{place}: {refused}");
                        request.stop.clear();
                    }
                    let written = match target.write_request(&request, &writing) {
                        Ok(written) => written,
                        Err(refused) => {
                            failures.push(format!("{place}: refused: {refused}"));
                            continue;
                        }
                    };
                    let arrived = match target.read_request(&written.body) {
                        Ok(arrived) => arrived,
                        Err(error) => {
                            failures.push(format!("{place}: {error}"));
                            continue;
                        }
                    };
                    let dropped: BTreeSet<&str> = written
                        .dropped
                        .iter()
                        .map(|dropped| &*dropped.field)
                        .collect();
                    let (meant, got) = (digest::request(&request), digest::request(&arrived));
                    let fields: BTreeSet<&&str> = meant.keys().chain(got.keys()).collect();
                    for field in fields {
                        let named = NAMES.iter().any(|(part, names)| {
                            part == field && names.iter().any(|name| dropped.contains(name))
                        });
                        if meant.get(*field) != got.get(*field) && !named {
                            failures.push(format!(
                                "{place}: {field} is {:?} instead of {:?}; dropped: {dropped:?}",
                                got.get(*field),
                                meant.get(*field)
                            ));
                        }
                    }
                    // Gemini says it in the path.
                    if target != Dialect::Gemini && arrived.stream != stream {
                        failures.push(format!("{place}: stream is {}", arrived.stream));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn replies() -> Vec<(&'static str, Reply)> {
    let text = |text: &str| Block::text(text);
    let call = |id: &str, city: &str| Block::ToolCall {
        id: id.into(),
        name: "weather".into(),
        arguments: format!("{{\"city\":\"{city}\"}}"),
        cache: None,
        signature: None,
    };
    let thinking = Block::Thinking {
        text: "Rome lies to the south.".into(),
        signature: None,
        id: None,
    };
    let reply = |blocks, finish| Reply {
        id: Some("r".into()),
        model: Some("m".into()),
        created: Some(1_700_000_000),
        blocks,
        finish,
        stop_sequence: None,
        usage: Usage {
            input_tokens: Some(40),
            cached_input_tokens: Some(20),
            cache_write_tokens: None,
            output_tokens: Some(11),
            reasoning_tokens: Some(5),
        },
        logprobs: None,
        fingerprint: None,
        service_tier: None,
        source: None,
        extra: serde_json::Map::new(),
    };
    vec![
        (
            "text",
            reply(vec![text("Nine degrees. \u{1f600} é")], Finish::Stop),
        ),
        ("cut off", reply(vec![text("Nine deg")], Finish::Length)),
        (
            "parallel calls",
            reply(
                vec![
                    text("I look."),
                    call("call_one", "Paris"),
                    call("call_two", "Rome"),
                ],
                Finish::ToolCalls,
            ),
        ),
        (
            "a call alone",
            reply(vec![call("call_one", "Paris")], Finish::ToolCalls),
        ),
        (
            "thinking",
            reply(vec![thinking, text("Rome.")], Finish::Stop),
        ),
    ]
}

fn context(caller: Dialect, target: Dialect) -> ReplyContext {
    ReplyContext {
        source: Some(target),
        model: "m".into(),
        id: "answer".into(),
        created: 1_700_000_000,
        stream_usage: true,
        request: Some(std::sync::Arc::new(read(caller, Wish::Plain, true))),
    }
}

fn vendor(target: Dialect) -> ReplyContext {
    ReplyContext {
        source: Some(target),
        stream_usage: true,
        ..ReplyContext::default()
    }
}

#[test]
fn every_whole_reply_arrives() {
    let mut failures = Vec::new();
    for (name, reply) in replies() {
        for target in Dialect::ALL {
            let body = target.write_reply(&reply, &vendor(target));
            let read = target.read_reply(&body).unwrap();
            for caller in CALLERS {
                let body = caller.write_reply(&read, &context(caller, target));
                let arrived = caller.read_reply(&body).unwrap();
                let (meant, got) = (digest::reply(&reply), digest::reply(&arrived));
                if meant != got {
                    failures.push(format!(
                        "{name} of {target:?} to {caller:?}: {got} instead of {meant}"
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn frames(bytes: &[u8], piece: usize) -> Vec<Frame> {
    let (mut decoder, mut frames) = (Decoder::new(1 << 20), Vec::new());
    for chunk in bytes.chunks(piece) {
        decoder.push(chunk, &mut frames).unwrap();
    }
    frames
}

fn stream(dialect: Dialect, events: &[Event], context: &ReplyContext) -> Vec<u8> {
    let (mut writer, mut bytes) = (dialect.stream_writer(context), Vec::new());
    for event in events {
        writer.write(event, &mut bytes);
    }
    bytes
}

fn events(dialect: Dialect, bytes: &[u8], piece: usize) -> Vec<Event> {
    let (mut reader, mut events) = (dialect.stream_reader(), Vec::new());
    for frame in frames(bytes, piece) {
        reader.read(&frame, &mut events).unwrap();
    }
    reader.finish(&mut events);
    assert!(reader.is_whole());
    events
}

#[test]
fn every_streamed_reply_arrives() {
    let mut failures = Vec::new();
    for (name, reply) in replies() {
        for target in Dialect::ALL {
            let sent = stream(target, &replay(&reply), &vendor(target));
            for caller in CALLERS {
                for piece in [1, 7, sent.len()] {
                    let read = events(target, &sent, piece);
                    let bytes = stream(caller, &read, &context(caller, target));
                    let mut gatherer = Gatherer::new(caller);
                    for event in events(caller, &bytes, piece) {
                        gatherer.take(&event);
                    }
                    let arrived = gatherer.into_reply().unwrap();
                    let (meant, got) = (digest::reply(&reply), digest::reply(&arrived));
                    if meant != got {
                        failures.push(format!(
                            "{name} of {target:?} to {caller:?} by {piece}: {got} instead of {meant}"
                        ));
                        break;
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A stream that is cut before its end is never called whole by any reader, nor ended by any writer.
#[test]
fn a_stream_that_is_cut_is_never_whole() {
    for (name, reply) in replies() {
        for target in Dialect::ALL {
            let sent = stream(target, &replay(&reply), &vendor(target));
            let all = frames(&sent, sent.len());
            let said = all
                .iter()
                .rposition(|frame| frame.data != "[DONE]")
                .unwrap();
            for kept in 0..said {
                let (mut reader, mut events) = (target.stream_reader(), Vec::new());
                for frame in &all[..kept] {
                    reader.read(frame, &mut events).unwrap();
                }
                reader.finish(&mut events);
                if target == Dialect::ChatCompletions && reader.is_whole() {
                    // What comes after the last word of the answer is its usage.
                    assert!(
                        events
                            .iter()
                            .any(|event| matches!(event, Event::Finish { .. }))
                    );
                    continue;
                }
                assert!(!reader.is_whole(), "{name} of {target:?} at {kept}");
                for caller in CALLERS {
                    let text = String::from_utf8(stream(caller, &events, &context(caller, target)))
                        .unwrap();
                    for end in ["[DONE]", "message_stop", "response.completed"] {
                        assert!(
                            !text.contains(end),
                            "{name} of {target:?} at {kept}: {text}"
                        );
                    }
                }
            }
        }
    }
}
