//! The order of turns where a call and its result must stand together.

use std::borrow::Cow;

use crate::{Block, Request, Turn, TurnRole};

/// The turns of another dialect's conversation as dialects take them that want every call answered by
/// the next turn: what the assistant says after a call belongs to the turn of the call, and results
/// stand before what else is said beside them.
pub(crate) fn settled(request: &Request) -> Vec<Cow<'_, Turn>> {
    let mut turns: Vec<Cow<'_, Turn>> = Vec::with_capacity(request.turns.len());
    // Where the results of the last calls belong; `None` where nothing was called.
    let mut results: Option<usize> = None;
    for turn in &request.turns {
        match (turn.role, results) {
            (TurnRole::Assistant, Some(_))
                if turns
                    .last()
                    .is_some_and(|last| last.role == TurnRole::Assistant) =>
            {
                if let Some(last) = turns.last_mut() {
                    last.to_mut().blocks.extend(turn.blocks.iter().cloned());
                }
            }
            (TurnRole::Assistant, _) => {
                turns.push(Cow::Borrowed(turn));
                results = calls(turn).then_some(turns.len());
            }
            (TurnRole::Tool, Some(at)) => {
                turns.insert(at, Cow::Borrowed(turn));
                results = Some(at + 1);
            }
            _ => turns.push(Cow::Borrowed(turn)),
        }
    }
    turns
}

fn calls(turn: &Turn) -> bool {
    turn.blocks
        .iter()
        .any(|block| matches!(block, Block::ToolCall { .. }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{Dialect, Quirks, Writing};

    fn written(from: Dialect, body: &Value, to: Dialect) -> Value {
        let request = from.read_request(body.to_string().as_bytes()).unwrap();
        let writing = Writing {
            model: "m",
            quirks: Quirks::COMPATIBLE,
            fixed_temperature: false,
            default_max_tokens: 100,
            meter: false,
        };
        let written = to.write_request(&request, &writing).unwrap();
        serde_json::from_slice(&written.body).unwrap()
    }

    #[test]
    fn what_is_said_between_calls_does_not_part_them_from_their_results() {
        let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"});
        let result =
            |id: &str| json!({"type": "function_call_output", "call_id": id, "output": id});
        let body = json!({"model": "m", "input": [
            {"role": "user", "content": "go"},
            call("a"),
            {"role": "assistant", "content": [{"type": "output_text", "text": "and one more"}]},
            call("b"),
            result("a"),
            result("b"),
            call("c"),
            result("c"),
        ]});
        let chat = written(Dialect::Responses, &body, Dialect::ChatCompletions);
        let roles: Vec<&str> = chat["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["role"].as_str().unwrap())
            .collect();
        let wanted = ["user", "assistant", "tool", "tool", "assistant", "tool"];
        assert_eq!(roles, wanted, "{chat}");
        assert_eq!(chat["messages"][1]["content"], "and one more");
        assert_eq!(chat["messages"][1]["tool_calls"][1]["id"], "b");
        let gemini = written(Dialect::Responses, &body, Dialect::Gemini);
        let counts: Vec<usize> = gemini["contents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|content| content["parts"].as_array().unwrap().len())
            .collect();
        assert_eq!(counts, [1, 3, 2, 1, 1], "{gemini}");
    }

    #[test]
    fn results_stand_before_what_is_said_beside_them() {
        let body = json!({"model": "m", "max_tokens": 9, "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {"type": "text", "text": "hurry"},
                {"type": "tool_result", "tool_use_id": "b", "content": "2"},
            ]},
        ]});
        let chat = written(Dialect::Messages, &body, Dialect::ChatCompletions);
        let messages = chat["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 5, "{chat}");
        assert_eq!(messages[2]["tool_call_id"], "a");
        assert_eq!(messages[3]["tool_call_id"], "b");
        assert_eq!(messages[4]["content"], "hurry");
        let gemini = written(Dialect::Messages, &body, Dialect::Gemini);
        assert_eq!(gemini["contents"][2]["parts"].as_array().unwrap().len(), 2);
        assert_eq!(gemini["contents"][3]["parts"][0]["text"], "hurry");
    }
}
