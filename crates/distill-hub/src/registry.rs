//! The models that the program lists, and those that the user adds.
//!
//! A row holds what cannot be computed: where the model is, its licence, where its facts were read,
//! and its `config.json` as it stands there. Everything else is computed from that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{ModelName, NameError};

const EMBEDDED: &str = include_str!("../data/models.yaml");
/// Largest list of models.
const MAX_BYTES: usize = 8 << 20;

/// A list of models.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    pub models: Vec<ModelRow>,
}

/// One model of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRow {
    /// How the list calls it.
    pub name: String,
    /// `org/name` on the hub.
    pub id: String,
    /// The commit that the facts are of, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    pub licence: String,
    /// Where the configuration was read.
    pub source: String,
    /// The text of its `config.json`.
    pub config: String,
}

/// Why a list of models cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("the list of models has {bytes} bytes, more than {MAX_BYTES}")]
    TooLarge { bytes: usize },
    #[error("the list of models cannot be read: {problem}")]
    Malformed { problem: String },
    #[error("model `{name}` is listed twice")]
    Twice { name: String },
    #[error("model `{name}` of the list has no usable id")]
    Id {
        name: String,
        #[source]
        source: NameError,
    },
}

impl Registry {
    /// The list that the program carries.
    ///
    /// # Errors
    /// Never with the list that is compiled in, which a test reads.
    pub fn embedded() -> Result<Self, RegistryError> {
        Self::from_yaml(EMBEDDED)
    }

    /// Reads a list: `models:`, and under it rows with `name`, `id`, `licence`, `source`, `config`
    /// (the text of a `config.json`) and, where wanted, `revision`.
    ///
    /// # Errors
    /// A [`RegistryError`] with the place in the text.
    pub fn from_yaml(text: &str) -> Result<Self, RegistryError> {
        if text.len() > MAX_BYTES {
            return Err(RegistryError::TooLarge { bytes: text.len() });
        }
        let registry: Self =
            serde_saphyr::from_str(text).map_err(|error| RegistryError::Malformed {
                problem: error.to_string(),
            })?;
        let mut seen = BTreeSet::new();
        for row in &registry.models {
            if !seen.insert(row.name.as_str()) {
                return Err(RegistryError::Twice {
                    name: row.name.clone(),
                });
            }
            row.model_name()?;
        }
        Ok(registry)
    }

    /// The user's rows in front; one of the same name takes the place of the program's.
    #[must_use]
    pub fn with(self, own: Self) -> Self {
        let replaced: BTreeSet<String> = own.models.iter().map(|row| row.name.clone()).collect();
        let mut models = own.models;
        let rest = self.models.into_iter();
        models.extend(rest.filter(|row| !replaced.contains(&row.name)));
        Self { models }
    }

    /// The row of a name or of a hub id, whatever its case.
    pub fn find(&self, name: &str) -> Option<&ModelRow> {
        self.models
            .iter()
            .find(|row| row.name.eq_ignore_ascii_case(name) || row.id.eq_ignore_ascii_case(name))
    }
}

impl ModelRow {
    /// The model's name on the hub, at its revision.
    ///
    /// # Errors
    /// [`RegistryError::Id`] when it is none.
    pub fn model_name(&self) -> Result<ModelName, RegistryError> {
        let text = match &self.revision {
            Some(revision) => format!("{}@{revision}", self.id),
            None => self.id.clone(),
        };
        text.parse().map_err(|source| RegistryError::Id {
            name: self.name.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "models:\n  - name: mine\n    id: me/mine\n    licence: MIT\n    source: me\n    config: '{}'\n";

    #[test]
    fn the_list_of_the_program_can_be_read() {
        let registry = Registry::embedded().unwrap();
        assert!(registry.models.len() >= 5);
        for row in &registry.models {
            assert!(serde_json::from_str::<serde_json::Value>(&row.config).is_ok());
            assert!(!row.licence.is_empty() && !row.source.is_empty());
        }
    }

    #[test]
    fn own_rows_go_first_and_replace() {
        let own = Registry::from_yaml(OWN).unwrap();
        let joined = own
            .clone()
            .with(Registry::from_yaml(&OWN.replace("me/mine", "us/mine")).unwrap());
        assert_eq!(joined.models.len(), 1);
        assert_eq!(joined.find("MINE").unwrap().id, "us/mine");
        assert_eq!(joined.find("us/mine").unwrap().name, "mine");
        let all = Registry::embedded().unwrap().with(own);
        assert_eq!(all.models[0].name, "mine");
    }

    #[test]
    fn a_mistake_is_named() {
        let refused = |text: &str| Registry::from_yaml(text).unwrap_err().to_string();
        assert!(refused(&OWN.replace("licence", "license")).contains("license"));
        assert!(refused(&OWN.replace("me/mine", "mine")).contains("mine"));
        assert!(
            refused(&format!("{OWN}{}", OWN.trim_start_matches("models:\n"))).contains("twice")
        );
        assert!(refused(&"x".repeat(MAX_BYTES + 1)).contains("bytes"));
    }
}
