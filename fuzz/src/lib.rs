//! What the targets share.

pub mod model;

use distill_wire::{Dialect, Quirks, ReplyContext, Writing, envelope};

const QUIRKS: [Quirks; 7] = [
    Quirks::COMPATIBLE,
    Quirks::OPENAI,
    Quirks::MISTRAL,
    Quirks::DEEPSEEK,
    Quirks::GROQ,
    Quirks::XAI,
    Quirks::OPENROUTER,
];

/// Reads a caller's body by its two readers, which must agree, and writes it for every target.
pub fn request(dialect: Dialect, body: &[u8]) {
    let scanned = envelope::scan(dialect, body);
    if let Ok(envelope) = &scanned {
        let written = envelope.rewritten(body, "other/model", true);
        let value: serde_json::Value = match serde_json::from_slice(&written) {
            Ok(value) => value,
            // What only the scan takes is refused by whoever reads it.
            Err(_) => return,
        };
        if envelope.model_span.is_some() {
            assert_eq!(value["model"], "other/model");
        }
    }
    let Ok(request) = dialect.read_request(body) else {
        return;
    };
    if let Ok(envelope) = scanned {
        assert_eq!(envelope.stream, request.stream);
        assert_eq!(envelope.model.unwrap_or_default(), request.model);
    }
    for target in Dialect::ALL {
        for quirks in QUIRKS {
            let writing = Writing {
                model: "target",
                quirks,
                fixed_temperature: false,
                default_max_tokens: 100,
                meter: true,
            };
            if let Ok(written) = target.write_request(&request, &writing) {
                serde_json::from_slice::<serde_json::Value>(&written.body)
                    .expect("what is written is JSON");
            }
        }
    }
}

pub fn context(dialect: Dialect) -> ReplyContext {
    ReplyContext {
        source: Some(dialect),
        model: "m".to_owned(),
        id: "r".to_owned(),
        created: 1,
        stream_usage: true,
        request: None,
    }
}
