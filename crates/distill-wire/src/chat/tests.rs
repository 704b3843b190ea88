use serde_json::{Value, json};

use crate::{Dialect, Quirks, Request, Unsupported, Writing, Written};

mod recorded;
mod reply;
mod request;
mod stream;
mod target;

const CHAT: Dialect = Dialect::ChatCompletions;

fn writing(quirks: Quirks) -> Writing<'static> {
    Writing {
        model: "m-1",
        quirks,
        fixed_temperature: false,
        default_max_tokens: 512,
        meter: true,
    }
}

fn read(body: &Value) -> Request {
    CHAT.read_request(body.to_string().as_bytes())
        .unwrap_or_else(|error| panic!("{body}: {error}"))
}

fn write(request: &Request, quirks: Quirks) -> Result<Written, Unsupported> {
    CHAT.write_request(request, &writing(quirks))
}

fn body(request: &Request, quirks: Quirks) -> Value {
    serde_json::from_slice(&write(request, quirks).unwrap().body).unwrap()
}

/// The names of what is left out, in order.
fn dropped(request: &Request, quirks: Quirks) -> Vec<String> {
    let written = write(request, quirks).unwrap();
    written.dropped.into_iter().map(|drop| drop.field).collect()
}

/// A request with one message of the user's and these fields beside.
fn asking(fields: Value) -> Value {
    let mut body = json!({"model": "x", "messages": [{"role": "user", "content": "hi"}]});
    let fields = fields.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}
