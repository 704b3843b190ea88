//! Query strings and forms (`application/x-www-form-urlencoded`, WHATWG URL, section 5.1).

/// The fields of a query string or a form, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(super) fn read(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(name), decoded(value))
            })
            .collect();
        Self(pairs)
    }

    /// The first value of that name that is not empty, without white space around it.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.trim())
            .find(|value| !value.is_empty())
    }
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: usize| {
        bytes
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) => plain.push(b' '),
            (byte, ..) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn fields_are_decoded_and_broken_ones_are_left_as_they_are() {
        let fields = Fields::read("user=J%C3%BCrgen+M&empty=+&user=second&bad=%zz%4&flag");
        assert_eq!(fields.get("user"), Some("Jürgen M"));
        assert_eq!(fields.get("empty"), None);
        assert_eq!(fields.get("bad"), Some("%zz%4"));
        assert_eq!(fields.get("flag"), None);
        assert_eq!(fields.get("%FF"), None);
    }
}
