use proptest::prelude::*;

use super::{Decoder, Frame, TooLong, write};

fn decode(chunks: &[&[u8]]) -> Vec<Frame> {
    let mut decoder = Decoder::new(1 << 20);
    let mut frames = Vec::new();
    for chunk in chunks {
        decoder.push(chunk, &mut frames).unwrap();
    }
    frames
}

fn frame(event: Option<&str>, data: &str) -> Frame {
    Frame {
        event: event.map(str::to_owned),
        data: data.to_owned(),
    }
}

#[test]
fn lines_end_in_any_of_three_ways() {
    for end in ["\n", "\r", "\r\n"] {
        let stream = [
            "event: ping",
            "data: {}",
            "",
            "data: 1",
            "data:2",
            "data",
            "",
            "",
        ]
        .join(end);
        assert_eq!(
            decode(&[stream.as_bytes()]),
            [frame(Some("ping"), "{}"), frame(None, "1\n2\n")],
            "{end:?}"
        );
    }
}

#[test]
fn comments_other_fields_and_a_byte_order_mark_say_nothing() {
    let stream = "\u{feff}data: a\nid: 7\nretry: 10\n: a comment\nunknown: x\n\n:\n\nevent: lost\n\ndata:  b\n\n";
    assert_eq!(
        decode(&[stream.as_bytes()]),
        [frame(None, "a"), frame(None, " b")]
    );
    let later = "data: a\n\n\u{feff}data: b\n\n";
    assert_eq!(decode(&[later.as_bytes()]), [frame(None, "a")]);
}

#[test]
fn an_empty_name_and_empty_data() {
    assert_eq!(
        decode(&[b"event:\ndata\n\ndata:\n\n"]),
        [frame(None, ""), frame(None, "")]
    );
}

#[test]
fn what_was_cut_off_is_no_event() {
    assert_eq!(decode(&[b"data: a\n\ndata: b\n"]), [frame(None, "a")]);
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_end_nothing() {
    assert_eq!(
        decode(&[b"data: a\xFFb\xE2\x82\n\n"]),
        [frame(None, "a\u{fffd}b\u{fffd}")]
    );
}

#[test]
fn an_event_beyond_the_limit_ends_the_stream() {
    let mut frames = Vec::new();
    let mut decoder = Decoder::new(16);
    decoder.push(b"data: 0123456789\n\n", &mut frames).unwrap();
    assert_eq!(
        decoder.push(b"data: 0123456789a", &mut frames),
        Err(TooLong { limit: 16 })
    );
    assert_eq!(
        decoder.push(b"\n\n", &mut frames),
        Err(TooLong { limit: 16 })
    );
    assert_eq!(frames, [frame(None, "0123456789")]);
    let mut many = Decoder::new(16);
    assert_eq!(
        many.push(b"data: 012345\ndata: 01234\n", &mut frames),
        Err(TooLong { limit: 16 })
    );
}

#[test]
fn what_is_written_is_read() {
    let mut bytes = Vec::new();
    write(Some("message_start"), r#"{"a":"\n"}"#, &mut bytes);
    write(None, "[DONE]", &mut bytes);
    assert_eq!(
        decode(&[&bytes]),
        [
            frame(Some("message_start"), r#"{"a":"\n"}"#),
            frame(None, "[DONE]")
        ]
    );
}

/// The specification read word by word, on the whole stream at once.
fn reference(stream: &[u8]) -> Vec<Frame> {
    let text = String::from_utf8_lossy(stream).into_owned();
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines: Vec<&str> = text.split('\n').collect();
    lines.pop();
    let (mut frames, mut name, mut data) = (Vec::new(), String::new(), String::new());
    for line in lines {
        if line.is_empty() {
            if !data.is_empty() {
                data.pop();
                frames.push(frame((!name.is_empty()).then_some(&name), &data));
            }
            name.clear();
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "event" => value.clone_into(&mut name),
            _ => {}
        }
    }
    frames
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "data: ", "data", "data:", "event: ", "event", "id: 1", ":", ": c", "\n", "\n", "\n\n",
            "\r", "\r\n", "\r\n\r\n", "\u{feff}", "{\"a\":1}", "é", "😀", " ",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

proptest! {
    #[test]
    fn any_split_gives_the_frames_of_the_specification(
        pieces in prop::collection::vec(piece(), 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream = pieces.concat();
        let mut places: Vec<usize> =
            cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        places.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for place in places {
            chunks.push(&stream[from..place]);
            from = place;
        }
        chunks.push(&stream[from..]);
        let expected = reference(&stream);
        prop_assert_eq!(&decode(&chunks), &expected);
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        prop_assert_eq!(&decode(&bytes), &expected);
    }

    #[test]
    fn the_limit_does_not_depend_on_the_split(
        pieces in prop::collection::vec(piece(), 0..40),
        limit in 0_usize..40,
    ) {
        let stream = pieces.concat();
        let run = |size: usize| {
            let (mut decoder, mut frames) = (Decoder::new(limit), Vec::new());
            let ended = stream
                .chunks(size)
                .try_for_each(|chunk| decoder.push(chunk, &mut frames));
            (ended, frames)
        };
        let whole = run(stream.len().max(1));
        prop_assert_eq!(&run(1), &whole);
        prop_assert_eq!(&run(3), &whole);
    }
}
