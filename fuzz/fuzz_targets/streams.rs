#![no_main]

//! The decoder of server-sent events under two splits, then every dialect's reader, and every
//! caller's writer on what was read; the same bytes as a whole reply too.

use distill_wire::{
    Dialect, Gatherer, replay,
    sse::{Decoder, Frame, TooLong},
};
use libfuzzer_sys::fuzz_target;

fn decode(bytes: &[u8], piece: usize) -> (Result<(), TooLong>, Vec<Frame>) {
    let (mut decoder, mut frames) = (Decoder::new(4096), Vec::new());
    let ended = bytes
        .chunks(piece)
        .try_for_each(|chunk| decoder.push(chunk, &mut frames));
    (ended, frames)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = decode(bytes, bytes.len().max(1));
    assert_eq!(decode(bytes, usize::from(piece).max(1)), whole);
    for dialect in Dialect::ALL {
        let (mut reader, mut events) = (dialect.stream_reader(), Vec::new());
        let read = whole
            .1
            .iter()
            .try_for_each(|frame| reader.read(frame, &mut events));
        if read.is_ok() {
            reader.finish(&mut events);
        }
        let mut gatherer = Gatherer::new(dialect);
        for event in &events {
            gatherer.take(event);
        }
        for caller in Dialect::ALL {
            let mut writer = caller.stream_writer(&distill_fuzz::context(dialect));
            let mut written = Vec::new();
            for event in &events {
                writer.write(event, &mut written);
            }
            caller.write_reply(gatherer.so_far(), &distill_fuzz::context(dialect));
        }
        if let Ok(reply) = dialect.read_reply(bytes) {
            replay(&reply);
            for caller in Dialect::ALL {
                let written = caller.write_reply(&reply, &distill_fuzz::context(dialect));
                serde_json::from_slice::<serde_json::Value>(&written)
                    .expect("what is written is JSON");
            }
        }
    }
});
