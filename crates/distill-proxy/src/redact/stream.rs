//! Fills the placeholders of a stream that is on its way to the caller.

use distill_wire::{
    Dialect, Event, Malformed, ReadStream, ReplyContext, WriteStream,
    sse::{Decoder, Frame},
};

use super::{LARGEST_EVENT, Restorer};

/// Reads a stream in the caller's dialect and writes it in the same with its placeholders filled.
pub struct StreamRestorer {
    decoder: Decoder,
    reader: Box<dyn ReadStream>,
    writer: Box<dyn WriteStream>,
    restorer: Restorer,
    frames: Vec<Frame>,
    events: Vec<Event>,
    filled: Vec<Event>,
}

impl StreamRestorer {
    /// `context`: as the stream was written for; its `source` is to be the caller's own dialect.
    pub fn new(dialect: Dialect, restorer: Restorer, context: &ReplyContext) -> Self {
        Self {
            decoder: Decoder::new(LARGEST_EVENT),
            reader: dialect.stream_reader(),
            writer: dialect.stream_writer(context),
            restorer,
            frames: Vec::new(),
            events: Vec::new(),
            filled: Vec::new(),
        }
    }

    /// Takes bytes of the stream; appends those that may be sent on.
    ///
    /// # Errors
    /// [`Malformed`] where the stream cannot be read; it is then to be given up.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.frames.clear();
        self.decoder
            .push(bytes, &mut self.frames)
            .map_err(|error| Malformed::NotJson(error.to_string()))?;
        self.events.clear();
        for frame in &self.frames {
            self.reader.read(frame, &mut self.events)?;
        }
        self.write(out);
        Ok(())
    }

    /// The stream ended in order.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.events.clear();
        self.reader.finish(&mut self.events);
        self.write(out);
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        self.filled.clear();
        for event in self.events.drain(..) {
            self.restorer.event(event, &mut self.filled);
        }
        for event in &self.filled {
            self.writer.write(event, out);
        }
    }
}
