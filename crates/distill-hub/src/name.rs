//! Names of models: `org/name`, or `org/name@revision`.

use std::{fmt, str::FromStr};

/// Most characters of each part of a name; the hub's own bound on `org/name` is 96.
const MAX_PART: usize = 96;
/// Digits of a commit.
const COMMIT_DIGITS: usize = 40;
const DEFAULT_REVISION: &str = "main";

/// A model of the hub at a revision: a branch, a tag, or a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName {
    id: String,
    revision: String,
}

/// Why a text is no model's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no name of a model on the hub: {reason}")]
pub struct NameError {
    pub text: String,
    pub reason: &'static str,
}

impl ModelName {
    /// `org/name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `main` where the name says none.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Whether the revision is a commit, which never changes what it means.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }

    /// The same model at a commit.
    #[must_use]
    pub fn at(&self, commit: &str) -> Self {
        Self {
            id: self.id.clone(),
            revision: commit.to_owned(),
        }
    }

    /// The folder of the model in the cache.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}", self.id.replace('/', "--"))
    }
}

impl FromStr for ModelName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let failed = |reason| NameError {
            text: text.to_owned(),
            reason,
        };
        let (id, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let Some((organisation, name)) = id.split_once('/') else {
            return Err(failed("it is to have the form `org/name`"));
        };
        for part in [organisation, name] {
            if !is_part(part) {
                return Err(failed(
                    "each part has 1 to 96 letters, digits, `-`, `_` and `.`, and neither begins nor ends with `-` or `.`",
                ));
            }
        }
        let well_formed = revision.split('/').all(is_part);
        if !well_formed || revision.len() > MAX_PART {
            return Err(failed(
                "after `@` stands a branch, a tag, or a commit of 40 digits",
            ));
        }
        Ok(Self {
            id: id.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.id)?;
        if self.revision != DEFAULT_REVISION {
            write!(formatter, "@{}", self.revision)?;
        }
        Ok(())
    }
}

pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == COMMIT_DIGITS
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Part of a name, of a revision, or a file name that may be joined to a path as it stands.
pub(crate) fn is_part(part: &str) -> bool {
    (1..=MAX_PART).contains(&part.len())
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !part.starts_with(['-', '.'])
        && !part.ends_with(['-', '.'])
        && !part.contains("--")
        && !part.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_two_parts_and_a_revision() {
        let name: ModelName = "Qwen/Qwen3-0.6B".parse().unwrap();
        assert_eq!((name.id(), name.revision()), ("Qwen/Qwen3-0.6B", "main"));
        assert!(!name.is_pinned());
        assert_eq!(name.to_string(), "Qwen/Qwen3-0.6B");
        assert_eq!(name.folder(), "models--Qwen--Qwen3-0.6B");

        let commit = "c1899de289a04d12100db370d81485cdf75e47ca";
        let pinned: ModelName = format!("Qwen/Qwen3-0.6B@{commit}").parse().unwrap();
        assert!(pinned.is_pinned());
        assert_eq!(pinned, name.at(commit));
        assert_eq!(pinned.to_string(), format!("Qwen/Qwen3-0.6B@{commit}"));
        let request: ModelName = "a/b@refs/pr/1".parse().unwrap();
        assert_eq!(request.revision(), "refs/pr/1");
    }

    #[test]
    fn what_could_leave_the_cache_is_no_name() {
        for text in [
            "", "gpt2", "a/b/c", "../b", "a/..", "/b", "a/", ".a/b", "a/b@", "a/b@../x", "a/b@x/",
            "a--b/c", "a/b c", "a\\b/c", "C:/x", "a/b@/etc", "-a/b", "a/b.", "a/b@c@d",
        ] {
            assert!(text.parse::<ModelName>().is_err(), "{text}");
        }
        assert!(
            format!("a/{}", "b".repeat(97))
                .parse::<ModelName>()
                .is_err()
        );
    }
}
