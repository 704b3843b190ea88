//! A walk over JSON text that builds nothing (RFC 8259).

use memchr::memchr;

use crate::RequestError;

/// As deep as `serde_json` reads, so that what passes here can be read where it must be.
const DEEPEST: u32 = 127;

/// What is done with the value of a key; it must take the whole value.
pub(super) type Visit<'v, 'b> =
    &'v mut dyn FnMut(&mut Scanner<'b>, &[u8]) -> Result<(), RequestError>;

pub(super) struct Scanner<'b> {
    body: &'b [u8],
    at: usize,
    depth: u32,
}

/// What stands in a conversation beside text.
#[derive(Default)]
pub(super) struct Attached {
    pub(super) images: u64,
    pub(super) files: u64,
    pub(super) bytes: usize,
}

impl<'b> Scanner<'b> {
    pub(super) fn new(body: &'b [u8]) -> Self {
        Self {
            body,
            at: 0,
            depth: 0,
        }
    }

    /// Where the next value begins.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Where the last byte that was taken stands, blanks at the end apart.
    pub(super) fn last(&self) -> usize {
        self.body[..self.at]
            .iter()
            .rposition(|byte| !is_blank(*byte))
            .unwrap_or_default()
    }

    /// Reads the body as one object.
    pub(super) fn whole(&mut self, visit: Visit<'_, 'b>) -> Result<(), RequestError> {
        self.blanks();
        if self.peek() != Some(b'{') {
            return Err(self.wrong("an object was expected"));
        }
        self.object(visit)?;
        self.blanks();
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.wrong("something follows the object")),
        }
    }

    /// Reads an object; another value is skipped.
    pub(super) fn object_or_skip(&mut self, visit: Visit<'_, 'b>) -> Result<(), RequestError> {
        if self.peek() == Some(b'{') {
            self.object(visit)
        } else {
            self.skip()
        }
    }

    fn object(&mut self, visit: Visit<'_, 'b>) -> Result<(), RequestError> {
        self.enter()?;
        if self.closes(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.wrong("a key was expected"));
            }
            let start = self.at;
            self.skip_string()?;
            let end = self.at;
            let (name, escaped) = self.inside(start);
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.wrong("`:` was expected"));
            }
            self.at += 1;
            self.blanks();
            if escaped {
                let key = self.decode(start, end)?;
                visit(self, key.as_bytes())?;
            } else {
                visit(self, name)?;
            }
            if self.next_or_end(b'}')? {
                return Ok(());
            }
        }
    }

    /// Reads an array; whether there was one. Another value is skipped.
    fn array_or_skip(
        &mut self,
        visit: &mut dyn FnMut(&mut Self) -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        if self.peek() != Some(b'[') {
            return self.skip();
        }
        self.enter()?;
        if self.closes(b']') {
            return Ok(());
        }
        loop {
            visit(self)?;
            if self.next_or_end(b']')? {
                return Ok(());
            }
        }
    }

    /// Takes the bracket of a value that holds others.
    fn enter(&mut self) -> Result<(), RequestError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("the values are nested too deep"));
        }
        self.at += 1;
        self.blanks();
        Ok(())
    }

    /// Takes the closing bracket, if it stands here.
    fn closes(&mut self, bracket: u8) -> bool {
        let closes = self.peek() == Some(bracket);
        if closes {
            self.at += 1;
            self.depth -= 1;
        }
        closes
    }

    /// After a member: takes the comma, or the closing bracket (true).
    fn next_or_end(&mut self, bracket: u8) -> Result<bool, RequestError> {
        self.blanks();
        if self.closes(bracket) {
            return Ok(true);
        }
        if self.peek() != Some(b',') {
            return Err(self.wrong("`,` or the end was expected"));
        }
        self.at += 1;
        self.blanks();
        Ok(false)
    }

    /// Takes one value.
    pub(super) fn skip(&mut self) -> Result<(), RequestError> {
        match self.peek() {
            Some(b'{') => self.object(&mut |scanner, _| scanner.skip()),
            Some(b'[') => self.array_or_skip(&mut Self::skip),
            Some(b'"') => self.skip_string(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            Some(_) => Err(self.wrong("a value was expected")),
            None => Err(self.wrong("the body ends too early")),
        }
    }

    fn literal(&mut self, literal: &str) -> Result<(), RequestError> {
        if !self.body[self.at..].starts_with(literal.as_bytes()) {
            return Err(self.wrong("a value was expected"));
        }
        self.at += literal.len();
        Ok(())
    }

    /// Takes a string.
    fn skip_string(&mut self) -> Result<(), RequestError> {
        let start = self.at;
        let inside = start + 1;
        let mut next = inside;
        while let Some(distance) = memchr(b'"', &self.body[next..]) {
            let quote = next + distance;
            // A quote after an odd number of backslashes is escaped by the last of them. No backslash
            // is counted twice: those before the next quote follow this one.
            let backslashes = self.body[next..quote]
                .iter()
                .rev()
                .take_while(|byte| **byte == b'\\')
                .count();
            next = quote + 1;
            if backslashes % 2 == 0 {
                self.at = next;
                return Ok(());
            }
        }
        Err(self.wrong("a string that begins here does not end"))
    }

    /// What stands between the quotes of the string that was just taken, and whether an escape does.
    fn inside(&self, start: usize) -> (&'b [u8], bool) {
        let body = self.body;
        let inside = &body[start + 1..self.at - 1];
        (inside, memchr(b'\\', inside).is_some())
    }

    fn skip_number(&mut self) -> Result<(), RequestError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), RequestError> {
        let count = self.body[self.at..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if count == 0 {
            return Err(self.wrong("a digit was expected"));
        }
        self.at += count;
        Ok(())
    }

    /// A string, or `None` for null.
    pub(super) fn string(&mut self, field: &str) -> Result<Option<String>, RequestError> {
        match self.peek() {
            Some(b'"') => {
                let start = self.at;
                self.skip_string()?;
                self.text(start).map(Some)
            }
            _ => self.null(field, "must be a string"),
        }
    }

    /// A string, or `None` for any other value.
    pub(super) fn string_or_skip(&mut self) -> Result<Option<String>, RequestError> {
        if self.peek() != Some(b'"') {
            self.skip()?;
            return Ok(None);
        }
        let start = self.at;
        self.skip_string()?;
        self.text(start).map(Some)
    }

    /// What the string that was just taken says.
    fn text(&self, start: usize) -> Result<String, RequestError> {
        let (inside, escaped) = self.inside(start);
        if !escaped && inside.iter().all(|byte| *byte >= 0x20) {
            return Ok(String::from_utf8_lossy(inside).into_owned());
        }
        self.decode(start, self.at)
    }

    fn decode(&self, start: usize, end: usize) -> Result<String, RequestError> {
        serde_json::from_slice(&self.body[start..end]).map_err(|_| {
            let place = Self { at: start, ..*self };
            place.wrong("a string that begins here is none")
        })
    }

    pub(super) fn boolean(&mut self, field: &str) -> Result<Option<bool>, RequestError> {
        let value = match self.peek() {
            Some(b't') => true,
            Some(b'f') => false,
            _ => return self.null(field, "must be true or false"),
        };
        self.literal(if value { "true" } else { "false" })?;
        Ok(Some(value))
    }

    /// A number of things.
    pub(super) fn count(&mut self, field: &str) -> Result<Option<u64>, RequestError> {
        let Some(text) = self.number_text(field)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| super::invalid(field, "must be a whole number, 0 or more"))
    }

    pub(super) fn number(&mut self, field: &str) -> Result<Option<f64>, RequestError> {
        let Some(text) = self.number_text(field)? else {
            return Ok(None);
        };
        text.parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Some)
            .ok_or_else(|| super::invalid(field, "is too large"))
    }

    fn number_text(&mut self, field: &str) -> Result<Option<&'b str>, RequestError> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return self.null(field, "must be a number");
        }
        let start = self.at;
        self.skip_number()?;
        Ok(std::str::from_utf8(&self.body[start..self.at]).ok())
    }

    /// Takes a null; anything else is the problem.
    fn null<T>(&mut self, field: &str, problem: &str) -> Result<Option<T>, RequestError> {
        let start = self.at;
        self.skip()?;
        if self.body[start..self.at] == *b"null" {
            Ok(None)
        } else {
            Err(super::invalid(field, problem))
        }
    }

    /// Takes one value; whether it is an array with an element.
    pub(super) fn is_filled(&mut self) -> Result<bool, RequestError> {
        let mut filled = false;
        self.array_or_skip(&mut |scanner| {
            filled = true;
            scanner.skip()
        })?;
        Ok(filled)
    }

    /// Takes one value; whether it is another than `null`.
    pub(super) fn is_present(&mut self) -> Result<bool, RequestError> {
        let present = self.peek() != Some(b'n');
        self.skip()?;
        Ok(present)
    }

    /// Takes a conversation; what stands in its messages and in results of tools beside text.
    pub(super) fn attached(&mut self) -> Result<Attached, RequestError> {
        let mut attached = Attached::default();
        self.items(2, &mut attached)?;
        Ok(attached)
    }

    /// `below`: how many levels of parts may stand below these.
    fn items(&mut self, below: u32, attached: &mut Attached) -> Result<(), RequestError> {
        self.array_or_skip(&mut |scanner| {
            let (start, before) = (scanner.at, attached.bytes);
            let (mut image, mut file) = (false, false);
            scanner.object_or_skip(&mut |scanner, key| match key {
                b"type" if scanner.peek() == Some(b'"') => {
                    let start = scanner.at;
                    scanner.skip_string()?;
                    let kind = scanner.inside(start).0;
                    image = matches!(kind, b"image_url" | b"input_image" | b"image");
                    file = matches!(kind, b"document" | b"input_file" | b"file");
                    Ok(())
                }
                b"content" | b"output" if below > 0 => scanner.items(below - 1, attached),
                _ => scanner.skip(),
            })?;
            attached.images += u64::from(image);
            attached.files += u64::from(file);
            if image || file {
                // What stands within it is counted with it.
                attached.bytes = before + scanner.at - start;
            }
            Ok(())
        })
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    /// The problem with its place, counted as an editor counts.
    fn wrong(&self, problem: &str) -> RequestError {
        let before = &self.body[..self.at.min(self.body.len())];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1) + 1;
        RequestError::NotJson(format!("{problem} at line {line}, column {column}"))
    }
}

/// RFC 8259, section 2.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
