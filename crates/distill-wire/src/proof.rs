//! Proofs of thinking (signatures, encrypted content) that travel through a caller of another dialect.
//!
//! A vendor that is sent another vendor's proof refuses the request. So a proof that is handed to a
//! caller in another dialect is sealed with the name of the dialect that it belongs to; when it comes
//! back, it is opened for that dialect and left out for every other.

use crate::Dialect;

/// How every sealed proof begins. A body that holds it must not be passed through untouched.
pub const SEAL: &str = "distill-sealed:";

/// What is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) dialect: Dialect,
    /// Whether the thinking itself can only be read by its vendor.
    pub(crate) redacted: bool,
    /// The vendor's name of the item.
    pub(crate) id: Option<String>,
    /// Signature, encrypted content or redacted data; `None`: the vendor gives none.
    pub(crate) text: Option<String>,
}

impl Proof {
    pub(crate) fn seal(&self) -> String {
        format!(
            "{SEAL}{}:{}:{}:{}",
            self.dialect.as_str(),
            if self.redacted { "r" } else { "t" },
            self.id.as_deref().unwrap_or_default(),
            self.text.as_deref().unwrap_or_default(),
        )
    }

    /// `None` where the text is not sealed.
    pub(crate) fn open(sealed: &str) -> Option<Self> {
        let rest = sealed.strip_prefix(SEAL)?;
        let mut parts = rest.splitn(4, ':');
        let name = parts.next()?;
        let kind = parts.next()?;
        let id = parts.next()?;
        let text = parts.next()?;
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        Some(Self {
            dialect: Dialect::ALL
                .into_iter()
                .find(|dialect| dialect.as_str() == name)?,
            redacted: kind == "r",
            id: some(id),
            text: some(text),
        })
    }

    /// What a caller's thinking block proves to the writer's vendor; `None` where another vendor made
    /// it. `source`: the dialect that the block was read from.
    pub(crate) fn of_own(
        text: Option<&str>,
        id: Option<&str>,
        source: Option<Dialect>,
        writer: Dialect,
    ) -> Option<Self> {
        match text.and_then(Self::open) {
            Some(proof) => (proof.dialect == writer).then_some(proof),
            // A seal that cannot be opened is nobody's.
            None if text.is_some_and(|text| text.starts_with(SEAL)) => None,
            None => source.is_none_or(|source| source == writer).then(|| Self {
                dialect: writer,
                redacted: false,
                id: id.map(str::to_owned),
                text: text.map(str::to_owned).filter(|text| !text.is_empty()),
            }),
        }
    }

    /// The proof as a caller gets it: as it is in its own dialect, sealed in another.
    pub(crate) fn for_caller(self, caller: Dialect) -> Option<String> {
        if self.dialect == caller {
            self.text
        } else {
            Some(self.seal())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_proof_opens_to_what_it_was() {
        for proof in [
            Proof {
                dialect: Dialect::Messages,
                redacted: false,
                id: None,
                text: Some("EqQB:a+/=".into()),
            },
            Proof {
                dialect: Dialect::Responses,
                redacted: true,
                id: Some("rs_1".into()),
                text: Some("gAAAA_-".into()),
            },
            Proof {
                dialect: Dialect::ChatCompletions,
                redacted: false,
                id: None,
                text: None,
            },
        ] {
            assert_eq!(Proof::open(&proof.seal()), Some(proof));
        }
        assert_eq!(Proof::open("EqQBCkYIBxgCKkD"), None);
        assert_eq!(Proof::open("distill-sealed:nobody:t::x"), None);
    }
}
