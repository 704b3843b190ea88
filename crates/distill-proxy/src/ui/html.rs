//! Markup that cannot be broken by what it shows: only text of the program itself enters it raw.

use std::fmt::{Display, Write};

/// A piece of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Html(String);

impl Html {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Appends markup. `'static`, so that nothing a person or a vendor wrote can get here.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Appends a value as text, between tags or in a quoted attribute.
    pub(super) fn text(&mut self, value: impl Display) -> &mut Self {
        let mut escaped = Escaped(&mut self.0);
        write!(escaped, "{value}").expect("a string takes any text");
        self
    }

    /// Appends a piece that is already markup.
    pub(super) fn add(&mut self, piece: &Self) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Characters that turn the direction of what follows can make a name look like
                // another; control characters have no business in a page.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => self.0.push('\u{fffd}'),
                letter if letter.is_control() && letter != '\n' && letter != '\t' => {
                    self.0.push('\u{fffd}');
                }
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

/// A value as part of an address: everything but letters, digits and `-._~` is encoded
/// (RFC 3986, 2.3).
pub(super) struct UrlPart<'a>(pub(super) &'a str);

impl Display for UrlPart<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                formatter.write_char(char::from(byte))?;
            } else {
                write!(formatter, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

/// Appends to a piece: literals as markup, `(value)` as text, `[piece]` as markup made before.
macro_rules! markup {
    (@part $html:ident ($value:expr)) => { $html.text($value) };
    (@part $html:ident [$piece:expr]) => { $html.add(&$piece) };
    (@part $html:ident $markup:literal) => { $html.raw($markup) };
    ($html:expr; $($part:tt)*) => {{
        let html: &mut $crate::ui::html::Html = $html;
        $( markup!(@part html $part); )*
    }};
}
pub(super) use markup;

#[cfg(test)]
mod tests {
    use super::{Html, UrlPart};

    #[test]
    fn what_is_shown_cannot_leave_its_place() {
        let mut html = Html::new();
        markup!(&mut html; "<a title=\"" ("\"><script>alert('1')</script>&\u{202e}\u{0}") "\">x</a>");
        assert_eq!(
            html.as_str(),
            "<a title=\"&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;\u{fffd}\u{fffd}\">x</a>"
        );
    }

    #[test]
    fn a_part_of_an_address_keeps_only_what_is_unreserved() {
        assert_eq!(UrlPart("a b/ü?&#").to_string(), "a%20b%2F%C3%BC%3F%26%23");
    }
}
