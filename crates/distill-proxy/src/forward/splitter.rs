//! Cuts a stream of server-sent events into whole events, byte for byte.
//!
//! What is passed on ends at the end of an event, so that an error can be added after a break
//! without standing inside half an event.

/// The bytes of events that are whole, and those of one that is not yet.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    pending: Vec<u8>,
    /// Where the event begins that is looked for; what stands before was handed out.
    start: usize,
    /// How far `pending` was looked at.
    seen: usize,
    /// Bytes of the line that `seen` stands in.
    line: usize,
    after_return: bool,
}

impl Splitter {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        // Once for a piece and not for each of its events: what is left is less than one event.
        self.pending.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        self.pending.extend_from_slice(bytes);
    }

    /// The next whole event with the empty line that ends it.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        while let Some(&byte) = self.pending.get(self.seen) {
            self.seen += 1;
            let ends_line = match byte {
                b'\r' => true,
                // The second half of a line's end is no line of its own.
                b'\n' => !self.after_return,
                _ => false,
            };
            self.after_return = byte == b'\r';
            if !ends_line {
                if byte != b'\n' {
                    self.line += 1;
                }
                continue;
            }
            let empty = self.line == 0;
            self.line = 0;
            if empty {
                // The other half of this line's end belongs to this event.
                if byte == b'\r' && self.pending.get(self.seen) == Some(&b'\n') {
                    self.seen += 1;
                    self.after_return = false;
                }
                let event = std::mem::replace(&mut self.start, self.seen)..self.seen;
                return Some(&self.pending[event]);
            }
        }
        None
    }

    /// Bytes of an event that is not whole.
    pub(super) fn held(&self) -> usize {
        self.pending.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::Splitter;

    fn split(text: &str, piece: usize) -> (Vec<String>, usize) {
        let mut splitter = Splitter::default();
        let mut events = Vec::new();
        for bytes in text.as_bytes().chunks(piece) {
            splitter.push(bytes);
            while let Some(event) = splitter.next() {
                events.push(String::from_utf8(event.to_vec()).unwrap());
            }
        }
        (events, splitter.held())
    }

    #[test]
    fn events_are_cut_at_empty_lines_whatever_the_pieces() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!(
                "event: a{end}data: ü{end}{end}: note{end}{end}data: x{end}data: y{end}{end}data: z"
            );
            for piece in 1..text.len() {
                let (events, held) = split(&text, piece);
                assert_eq!(
                    events.concat().len() + held,
                    text.len(),
                    "{end:?} {piece}: no byte is lost"
                );
                assert_eq!(events.len(), 3, "{end:?} {piece}: {events:?}");
                assert!(events[0].contains('ü') && events[2].contains('y'));
                assert!(text.starts_with(&events.concat()));
            }
        }
    }
}
