//! One request and its answer, as the client saw them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Times are milliseconds since the setting's clock started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Exchange {
    /// Place of the setting in the plan.
    pub setting: usize,
    /// The row that was asked about.
    pub id: String,
    /// Place in the order of sending.
    pub index: usize,
    /// When the request was due: latency counts from here.
    pub due_ms: f64,
    /// When it was sent.
    pub sent_ms: f64,
    /// When each piece of text arrived.
    pub pieces_ms: Vec<f64>,
    /// When the answer was complete.
    pub ended_ms: Option<f64>,
    pub input_tokens: Option<u64>,
    /// With the stop token.
    pub output_tokens: Option<u64>,
    /// Why there is no whole answer.
    pub problem: Option<String>,
}

impl Exchange {
    /// From the moment it was due to the whole answer.
    pub(super) fn end_to_end_ms(&self) -> Option<f64> {
        Some(self.ended_ms? - self.due_ms)
    }

    /// From the moment it was due to the first piece.
    pub(super) fn first_ms(&self) -> Option<f64> {
        Some(self.pieces_ms.first()? - self.due_ms)
    }

    /// Mean time of an output token after the first; `None` with fewer than two tokens.
    pub(super) fn per_token_ms(&self) -> Option<f64> {
        let after_first = self
            .output_tokens?
            .checked_sub(1)
            .filter(|tokens| *tokens > 0)?;
        Some((self.end_to_end_ms()? - self.first_ms()?) / after_first as f64)
    }

    /// Times between one piece and the next.
    pub(super) fn gaps_ms(&self) -> impl Iterator<Item = f64> + '_ {
        self.pieces_ms.windows(2).map(|pair| pair[1] - pair[0])
    }
}

/// Reads a stream of server-sent events that arrived as `chunks` of bytes at given times.
pub(super) fn read_stream(exchange: &mut Exchange, chunks: &[(f64, Vec<u8>)]) {
    let mut buffer = Vec::new();
    let mut done = false;
    for (arrived_ms, bytes) in chunks {
        buffer.extend_from_slice(bytes);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let Some(data) = line.trim_end().strip_prefix("data: ") else {
                continue;
            };
            if data == "[DONE]" {
                exchange.ended_ms = Some(*arrived_ms);
                done = true;
            } else if let Ok(event) = serde_json::from_str::<Value>(data) {
                read_event(exchange, &event, *arrived_ms);
            }
        }
    }
    if !done && exchange.problem.is_none() {
        exchange.problem = Some("the answer was cut off".to_owned());
    }
}

fn read_event(exchange: &mut Exchange, event: &Value, arrived_ms: f64) {
    let content = &event["choices"][0]["delta"]["content"];
    if content.as_str().is_some_and(|text| !text.is_empty()) {
        exchange.pieces_ms.push(arrived_ms);
    }
    let tokens = |name: &str| event["usage"][name].as_u64();
    exchange.input_tokens = tokens("prompt_tokens").or(exchange.input_tokens);
    exchange.output_tokens = tokens("completion_tokens").or(exchange.output_tokens);
    if let Some(message) = event["error"]["message"].as_str() {
        exchange.problem = Some(message.to_owned());
    }
}
