//! A key that cannot be printed.

use std::fmt;

/// Holds an API key. No way of formatting shows it and it does not serialise; the one place that
/// puts it into a request header calls [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The key itself. Never pass it to anything that logs, stores or formats.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.trim().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

/// Takes a key out of text that came from a vendor: some echo it in their error messages.
pub fn without(text: &str, secret: Option<&Secret>) -> String {
    match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret.expose(), "[secret]"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Secret, without};

    #[test]
    fn no_formatting_shows_the_key() {
        let secret = Secret::new("sk-planted");
        for text in [
            format!("{secret}"),
            format!("{secret:?}"),
            format!("{secret:#?}"),
            format!("{:?}", Some(&secret)),
        ] {
            assert!(!text.contains("planted"), "{text}");
        }
    }

    #[test]
    fn an_echoed_key_is_taken_out() {
        let secret = Secret::new("sk-planted");
        assert_eq!(
            without("incorrect key sk-planted provided", Some(&secret)),
            "incorrect key [secret] provided"
        );
        assert_eq!(without("text", Some(&Secret::new(""))), "text");
    }
}
