use distill_wire::{Block, Delta, Dialect, Event, ReplyContext, Turn, TurnRole};
use proptest::prelude::*;
use regex::Regex;
use serde_json::json;

use super::*;

fn redactor() -> Redactor {
    Redactor::new(&RedactionConfig::default())
}

fn redacted(text: &str) -> String {
    redactor()
        .text(text, &mut Redacted::default())
        .unwrap_or_else(|| text.to_owned())
}

// Made for tests; split so that no scanner takes them for real ones.
const GITHUB: &str = concat!("gh", "p_", "abcdefghijklmnopqrstuvwxyz0123456789");
const AMAZON: &str = concat!("AK", "IA", "ABCDEFGHIJKLMNOP");
const OPENAI: &str = concat!("sk", "-proj-", "abcdefghijklmnopqrst_-42");
const TOKEN: &str = concat!(
    "ey",
    "JhbGciOiJIUzI1NiJ9.",
    "eyJzdWIiOiIxMjM0In0.",
    "c2lnbmF0dXJl"
);

#[test]
fn what_is_personal_or_secret_is_found() {
    for (text, wanted) in [
        ("mail ann.lee+x@mail.example.org.", "mail <EMAIL_1>."),
        ("jürgen@büro.example", "<EMAIL_1>"),
        ("call +49 30 901820 now", "call <PHONE_1> now"),
        ("(+1) 212-555-0123", "(+1) <PHONE_1>"),
        ("(212) 555-0123 or 212.555.0199", "<PHONE_1> or <PHONE_2>"),
        ("0044 20 7946 0958", "<PHONE_1>"),
        ("01 23 45 67 89", "<PHONE_1>"),
        ("Tel. 0171/1234567", "Tel. <PHONE_1>"),
        ("020 7946 0958!", "<PHONE_1>!"),
        ("card 4111 1111 1111 1111 12/27", "card <CARD_1> 12/27"),
        ("378282246310005", "<CARD_1>"),
        ("5555-5555-5555-4444", "<CARD_1>"),
        (
            "to DE89 3704 0044 0532 0130 00 please",
            "to <IBAN_1> please",
        ),
        ("GB82WEST12345698765432", "<IBAN_1>"),
        ("gb82 west 1234 5698 7654 32 BIC", "<IBAN_1> BIC"),
        (&format!("key={OPENAI};"), "key=<KEY_1>;"),
        (&format!("{AMAZON} {GITHUB}"), "<KEY_1> <KEY_2>"),
        (
            "Authorization: Bearer abcdefghijklmnop1234==",
            "Authorization: Bearer <KEY_1>",
        ),
        (TOKEN, "<KEY_1>"),
        (
            "a\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nb",
            "a\n<KEY_1>\nb",
        ),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "<KEY_1>"),
    ] {
        assert_eq!(redacted(text), wanted, "{text}");
    }
}

#[test]
fn what_only_looks_like_it_is_left_alone() {
    for text in [
        "on 2024-01-02 12:30:45.123456",
        "version 10.12.2023-4",
        "192.168.100.200:8080",
        "order 4111111111111112",
        "3.14159265358979323846",
        "id 123e4567-e89b-12d3-a456-426614174000",
        "0.0421-1234567",
        "DE89 3704 0044 0532 0130 01",
        "user@localhost and a@b",
        "sk-learn and risk-averse-investments",
        "0000 0000 0000 0000",
        "bearer of bad news",
        "#[derive(Debug)] fn main() { println!(\"{}\", 1_000_000); }",
        "population 1 402 112 000",
        "",
    ] {
        assert_eq!(redacted(text), text);
    }
}

#[test]
fn the_same_thing_has_the_same_placeholder_and_overlaps_are_one() {
    let text = "a@example.org b@example.org a@example.org";
    let mut found = Redacted::default();
    assert_eq!(
        redactor().text(text, &mut found).unwrap(),
        "<EMAIL_1> <EMAIL_2> <EMAIL_1>"
    );
    assert_eq!(found.counts()["email"], 3);
    let config = RedactionConfig {
        detectors: vec![
            Detector::Email,
            Detector::Custom {
                name: "case-id".into(),
                pattern: Regex::new(r"example\.org/\d+").unwrap(),
            },
        ],
    };
    let text = "see a@example.org/77 and example.org/8";
    assert_eq!(
        Redactor::new(&config)
            .text(text, &mut Redacted::default())
            .unwrap(),
        "see <EMAIL_1> and <CASE-ID_1>"
    );
}

fn request() -> Request {
    let body = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "You serve ann@example.org"},
            {"role": "user", "content": [{"type": "text", "text": "I am bob@example.org, <EMAIL_2>"}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function",
                "function": {"name": "f", "arguments": "{\"to\":\"b\\u006fb@example.org\"}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "sent to ann@example.org"},
        ],
        "user": "bob@example.org",
        "metadata": {"owner": "eve@example.org"},
    });
    Dialect::ChatCompletions
        .read_request(body.to_string().as_bytes())
        .unwrap()
}

#[test]
fn every_text_of_a_request_is_looked_at() {
    let mut request = request();
    let found = redactor().redact(&mut request);
    let shown = format!("{request:?}");
    assert!(!shown.contains("@example.org"), "{shown}");
    // The text held a placeholder of its own, which is not given out again.
    assert!(shown.contains("You serve <EMAIL_1>") && shown.contains("I am <EMAIL_3>, <EMAIL_2>"));
    assert!(shown.contains("sent to <EMAIL_1>"));
    let Block::ToolCall { arguments, .. } = &request.turns[1].blocks[0] else {
        panic!("{request:?}");
    };
    assert_eq!(arguments, r#"{"to":"<EMAIL_3>"}"#);
    assert_eq!(found.counts()["email"], 6);
    assert!(!format!("{found:?} {:?}", found.restorer()).contains("example.org"));
}

#[test]
fn a_conversation_that_grows_keeps_its_placeholders() {
    let mut short = request();
    let mut long = request();
    long.turns.push(Turn {
        role: TurnRole::User,
        blocks: vec![Block::text("and dan@example.org")],
        name: None,
        extra: serde_json::Map::new(),
    });
    short.user = None;
    short.metadata = None;
    long.user = None;
    long.metadata = None;
    redactor().redact(&mut short);
    redactor().redact(&mut long);
    assert_eq!(long.turns[..short.turns.len()], short.turns[..]);
}

fn filled(request: &mut Request) -> Restorer {
    redactor().redact(request).restorer().unwrap()
}

#[test]
fn a_whole_reply_is_filled() {
    let restorer = filled(&mut request());
    let body = json!({
        "content": "Dear <EMAIL_3>, not <EMAIL_2>, <EMAIL_99> or <b>",
        "tool_calls": [{"function": {"arguments": "{\"to\":\"<EMAIL_1>\"}"}}],
    });
    let value: Value = serde_json::from_slice(&restorer.body(body.to_string().as_bytes())).unwrap();
    assert_eq!(
        value["content"],
        "Dear bob@example.org, not <EMAIL_2>, <EMAIL_99> or <b>"
    );
    assert_eq!(
        value["tool_calls"][0]["function"]["arguments"],
        "{\"to\":\"ann@example.org\"}"
    );
}

#[test]
fn what_is_filled_into_arguments_is_escaped() {
    let block = "-----BEGIN PRIVATE KEY-----\n\"x\"\n-----END PRIVATE KEY-----";
    let mut request = Request {
        system: vec![Block::text(block)],
        ..Request::default()
    };
    let mut restorer = filled(&mut request);
    let mut events = Vec::new();
    for piece in ["{\"key\":\"<KE", "Y_1>\"}"] {
        let delta = Delta::Arguments(piece.into());
        restorer.event(Event::Delta { index: 0, delta }, &mut events);
    }
    restorer.event(Event::Close { index: 0 }, &mut events);
    let text = joined(&events);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["key"], block);
}

fn joined(events: &[Event]) -> String {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Delta {
                delta: Delta::Text(text) | Delta::Arguments(text),
                ..
            } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_stream_is_filled_in_every_dialect_of_callers() {
    for dialect in [
        Dialect::ChatCompletions,
        Dialect::Responses,
        Dialect::Messages,
    ] {
        let context = ReplyContext {
            source: Some(dialect),
            stream_usage: true,
            ..ReplyContext::default()
        };
        let mut writer = dialect.stream_writer(&context);
        let mut sent = Vec::new();
        let mut events = vec![
            Event::Start {
                id: Some("r".into()),
                model: Some("m".into()),
                created: Some(1),
                fingerprint: None,
            },
            Event::Open {
                index: 0,
                block: distill_wire::Opening::Text,
            },
        ];
        for piece in [
            "Dear <EM",
            "AIL",
            "_3",
            ">, 1 <",
            " 2 <EMAIL_",
            "7> <EMAIL_1",
        ] {
            let delta = Delta::Text(piece.into());
            events.push(Event::Delta { index: 0, delta });
        }
        events.extend([
            Event::Close { index: 0 },
            Event::Finish {
                reason: distill_wire::Finish::Stop,
                stop_sequence: None,
            },
            Event::End,
        ]);
        for event in &events {
            writer.write(event, &mut sent);
        }
        let mut stream = StreamRestorer::new(dialect, filled(&mut request()), &context);
        let mut got = Vec::new();
        for chunk in sent.chunks(5) {
            stream.push(chunk, &mut got).unwrap();
        }
        stream.finish(&mut got);
        let whole = gathered(dialect, &got).unwrap();
        let reply = dialect.read_reply(&whole).unwrap();
        assert_eq!(
            reply.blocks,
            [Block::text(
                "Dear bob@example.org, 1 < 2 <EMAIL_7> <EMAIL_1"
            )],
            "{dialect:?}"
        );
    }
}

#[test]
fn a_stored_stream_is_put_together_before_it_is_looked_at() {
    let mut stream = Vec::new();
    for piece in ["mail bo", "b@exam", "ple.org now"] {
        let chunk = json!({"id": "r", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": null}]});
        distill_wire::sse::write(None, &chunk.to_string(), &mut stream);
    }
    let stored = redactor().stored(Dialect::ChatCompletions, &stream);
    let value: Value = serde_json::from_slice(&stored).unwrap();
    assert_eq!(
        value["choices"][0]["message"]["content"],
        "mail <EMAIL_1> now"
    );
    let plain = redactor().stored(Dialect::Messages, b"oops bob@example.org");
    assert_eq!(plain, b"oops <EMAIL_1>");
}

#[test]
fn a_number_in_a_field_that_holds_media_elsewhere_is_looked_at() {
    let mut value = json!({"data": "4111111111111111", "text": "4111111111111111"});
    redactor().value(&mut value, &mut Redacted::default());
    assert_eq!(value, json!({"data": "<CARD_1>", "text": "<CARD_1>"}));
}

fn words() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![
            3 => prop::sample::select(vec![
                "a@example.org", "+49 30 901820", "4111 1111 1111 1111", "DE89370400440532013000",
                "212-555-0123", "<EMAIL_1>", "<EMAIL_", "_1>", "<", ">", " ", "\n", "1", "-", "é",
            ])
            .prop_map(str::to_owned),
            1 => ".{0,6}",
        ],
        0..20,
    )
    .prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn what_is_taken_out_is_put_back(text in words()) {
        let mut request = Request { system: vec![Block::text(text.clone())], ..Request::default() };
        let found = redactor().redact(&mut request);
        let Block::Text { text: sent, .. } = &request.system[0] else { panic!() };
        let back = match found.restorer() {
            Some(restorer) => restorer.text(sent).into_owned(),
            None => sent.clone(),
        };
        prop_assert_eq!(back, text);
    }

    #[test]
    fn nothing_of_what_was_found_is_sent(text in words()) {
        let mut found = Redacted::default();
        let sent = redactor().text(&text, &mut found).unwrap_or(text);
        // What is left joins to nothing that would be found.
        let again = redactor().text(&sent, &mut Redacted::default());
        prop_assert_eq!(again, None, "{}", sent);
    }

    #[test]
    fn a_stream_is_filled_however_it_is_cut(
        text in words(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut request = Request { system: vec![Block::text(text.clone())], ..Request::default() };
        let found = redactor().redact(&mut request);
        let Block::Text { text: sent, .. } = &request.system[0] else { panic!() };
        let Some(mut restorer) = found.restorer() else { return Ok(()) };
        let letters: Vec<char> = sent.chars().collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(letters.len() + 1)).collect();
        cuts.push(letters.len());
        cuts.sort_unstable();
        let (mut from, mut events) = (0, Vec::new());
        for cut in cuts {
            let delta = Delta::Text(letters[from..cut].iter().collect());
            restorer.event(Event::Delta { index: 0, delta }, &mut events);
            from = cut;
        }
        restorer.event(Event::Close { index: 0 }, &mut events);
        prop_assert_eq!(joined(&events), text);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>()) {
        redacted(&text);
    }
}

#[test]
fn fields_that_are_called_like_media_but_hold_words_are_looked_at() {
    let body = json!({
        "model": "m", "max_tokens": 9,
        "messages": [
            {"role": "user", "content": [
                {"type": "document", "source": {"type": "text", "media_type": "text/plain",
                    "data": "Ann Lee, ann@example.org"}},
                {"type": "text", "text": "data: bob@example.org"},
            ]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {
                "data": "eve@example.org", "signature": "Joe, joe@example.org",
                "note": "data: kim@example.org"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c",
                "content": "data: lou@example.org"}]},
        ],
        "metadata": {"user_id": "data: max@example.org"},
    });
    let mut request = Dialect::Messages
        .read_request(body.to_string().as_bytes())
        .unwrap();
    redactor().redact(&mut request);
    let shown = format!("{request:?}");
    assert!(!shown.contains("@example.org"), "{shown}");
    let stored = redactor().stored(Dialect::Messages, body.to_string().as_bytes());
    let stored = String::from_utf8(stored).unwrap();
    assert!(!stored.contains("@example.org"), "{stored}");
}

#[test]
fn media_and_proofs_stay_as_they_are() {
    let encoded = "41111111111111110".repeat(4);
    let image = format!("data:image/png;base64,{encoded}");
    let mut value = json!({"data": encoded, "signature": encoded, "url": image,
        "encrypted_content": format!("{}anthropic.messages:t::4111111111111111", distill_wire::SEAL)});
    let before = value.clone();
    assert!(!redactor().value(&mut value, &mut Redacted::default()));
    assert_eq!(value, before);
}

#[test]
fn what_was_taken_out_of_such_fields_comes_back() {
    let mut found = Redacted::default();
    redactor().text("ann@example.org", &mut found);
    let restorer = found.restorer().unwrap();
    let reply = json!({"content": [{"type": "tool_use", "id": "c", "name": "f",
        "input": {"data": "<EMAIL_1>", "signature": "<EMAIL_1>", "note": "data: <EMAIL_1>"}}]});
    let filled = String::from_utf8(restorer.body(reply.to_string().as_bytes())).unwrap();
    assert!(!filled.contains("<EMAIL_1>"), "{filled}");
}

#[test]
fn placeholders_of_a_model_mean_the_same_in_the_next_turn() {
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "I am ann@example.org"},
        {"role": "assistant", "content": "Welcome, <EMAIL_1>"},
        {"role": "user", "content": "ann@example.org it is"},
    ]});
    let mut request = Dialect::ChatCompletions
        .read_request(body.to_string().as_bytes())
        .unwrap();
    redactor().redact(&mut request);
    let shown = format!("{:?}", request.turns);
    assert!(!shown.contains("EMAIL_2"), "{shown}");
    assert_eq!(shown.matches("<EMAIL_1>").count(), 3, "{shown}");
}
