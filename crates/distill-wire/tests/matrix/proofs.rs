//! Proofs of thinking on their way through a caller: back to the vendor that gave them and to no other.

use distill_wire::{Block, Dialect, Finish, Gatherer, Reply, ReplyContext, Request, SEAL, replay};
use serde_json::{Value, json};

use super::{
    CALLERS, TARGETS, context, events, replies,
    requests::{self, Wish},
    stream, vendor, writing,
};

const THINKING: &str = "UHJvb2ZPZlRoaW5raW5n";
const CALL: &str = "UHJvb2ZPZkNhbGw=";

/// A reply with proofs, as a vendor gives them.
fn proven(target: Dialect) -> Reply {
    let (_, reply) = replies().remove(0);
    Reply {
        blocks: vec![
            Block::Thinking {
                text: "Rome lies to the south.".into(),
                signature: Some(THINKING.into()),
                id: (target == Dialect::Responses).then(|| "rs_1".into()),
            },
            Block::text("I look."),
            Block::ToolCall {
                id: "call_one".into(),
                name: "weather".into(),
                arguments: r#"{"city":"Rome"}"#.into(),
                cache: None,
                signature: (target == Dialect::Gemini).then(|| CALL.into()),
            },
        ],
        finish: Finish::ToolCalls,
        source: Some(target),
        ..reply
    }
}

/// A request that asks for proofs, where a dialect gives them only then.
fn asking(caller: Dialect) -> Request {
    let mut body = requests::request(caller, Wish::Reasoning, false);
    if caller == Dialect::Responses {
        body["include"] = json!(["reasoning.encrypted_content"]);
    }
    caller.read_request(body.to_string().as_bytes()).unwrap()
}

/// The reply as a caller puts it together from the stream.
fn streamed(maker: Dialect, caller: Dialect, context: &ReplyContext) -> Vec<u8> {
    let sent = stream(maker, &replay(&proven(maker)), &vendor(maker));
    let bytes = stream(caller, &events(maker, &sent, sent.len()), context);
    let mut gatherer = Gatherer::new(caller);
    for event in events(caller, &bytes, bytes.len()) {
        gatherer.take(&event);
    }
    caller.write_reply(gatherer.so_far(), &vendor(caller))
}

/// What a caller sends next: the reply as it came, and the call's result.
fn next(caller: Dialect, reply: &Value) -> Value {
    match caller {
        Dialect::ChatCompletions => json!({"model": "m", "messages": [
            {"role": "user", "content": "Which is warmer?"},
            reply["choices"][0]["message"],
            {"role": "tool", "content": "21 degrees",
                "tool_call_id": reply["choices"][0]["message"]["tool_calls"][0]["id"]},
        ]}),
        Dialect::Responses => {
            let output = reply["output"].as_array().unwrap();
            let call = output
                .iter()
                .find(|item| item["type"] == "function_call")
                .unwrap();
            let mut input = vec![json!({"role": "user", "content": "Which is warmer?"})];
            input.extend(output.iter().cloned());
            input.push(
                json!({"type": "function_call_output", "call_id": call["call_id"],
                "output": "21 degrees"}),
            );
            json!({"model": "m", "input": input})
        }
        Dialect::Messages => {
            let content = reply["content"].as_array().unwrap();
            let call = content
                .iter()
                .find(|block| block["type"] == "tool_use")
                .unwrap();
            json!({"model": "m", "max_tokens": 100, "messages": [
                {"role": "user", "content": "Which is warmer?"},
                {"role": "assistant", "content": content},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": call["id"], "content": "21 degrees"},
                ]},
            ]})
        }
        other => panic!("no caller speaks {other:?}"),
    }
}

#[test]
fn proofs_come_back_to_their_vendor_and_reach_no_other() {
    let mut failures = Vec::new();
    for maker in [Dialect::Messages, Dialect::Responses, Dialect::Gemini] {
        let sent = maker.write_reply(&proven(maker), &vendor(maker));
        let read = maker.read_reply(&sent).unwrap();
        for caller in CALLERS {
            let mut context = context(caller, maker);
            context.request = Some(asking(caller).into());
            let whole = caller.write_reply(&read, &context);
            for reply in [whole, streamed(maker, caller, &context)] {
                let body = next(caller, &serde_json::from_slice(&reply).unwrap());
                let request = caller.read_request(body.to_string().as_bytes()).unwrap();
                for (name, target, quirks, model) in TARGETS {
                    let place = format!("of {maker:?} by {caller:?} to {name}");
                    let written = match target.write_request(&request, &writing(model, quirks)) {
                        Ok(written) => String::from_utf8(written.body).unwrap(),
                        Err(refused) => {
                            failures.push(format!("{place}: {refused}"));
                            continue;
                        }
                    };
                    if written.contains(SEAL) {
                        failures.push(format!("{place}: a seal was sent: {written}"));
                    }
                    let has = |proof: &str| written.contains(proof);
                    let home = target == maker;
                    if has(THINKING) != home {
                        failures.push(format!("{place}: proof of thinking: {}", has(THINKING)));
                    }
                    if maker == Dialect::Gemini && has(CALL) != home {
                        failures.push(format!(
                            "{place}: proof of the call: {}: {written}",
                            has(CALL)
                        ));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
