//! Who answers, as data: one row a vendor.
//!
//! How bytes look on the wire is the [`Dialect`]; almost every new vendor is a row here and no code.

use crate::dialect::Dialect;

mod family;

pub use family::families;

/// How a vendor departs from its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quirks {
    /// The parameter that bounds the reply.
    pub token_limit: TokenLimit,
    /// How a reply can be held to a JSON schema.
    pub schema: SchemaSupport,
    /// Whether `seed` is a known parameter; others refuse unknown ones.
    pub seed: bool,
}

/// Name of the parameter that bounds the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLimit {
    MaxTokens,
    /// The name that `OpenAI` uses since its reasoning models, which refuse the old one.
    MaxCompletionTokens,
}

/// How far a vendor holds a reply to a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaSupport {
    JsonSchema,
    /// Any JSON object: the schema itself must be in the prompt.
    JsonObject,
    None,
}

/// A vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendor {
    pub name: &'static str,
    /// `None`: chosen when the program starts (simulated).
    pub base_url: Option<&'static str>,
    /// Environment variable that holds the key; `None`: no key is needed.
    pub key_env: Option<&'static str>,
    pub dialect: Dialect,
    pub quirks: Quirks,
    /// Answers are made up by this program.
    pub simulated: bool,
    /// Runs on the user's own machine, so a token has no price.
    pub local: bool,
    /// What the vendor's published terms say about training on its answers, where they restrict it.
    pub terms: Option<&'static str>,
}

const COMPATIBLE: Quirks = Quirks {
    token_limit: TokenLimit::MaxTokens,
    schema: SchemaSupport::JsonSchema,
    seed: true,
};

const OPENAI_COMPATIBLE: Vendor = Vendor {
    name: "",
    base_url: None,
    key_env: None,
    dialect: Dialect::OpenAi,
    quirks: COMPATIBLE,
    simulated: false,
    local: false,
    terms: None,
};

const NO_COMPETING_MODELS: &str =
    "the terms forbid using outputs to develop models that compete with the vendor's";

static VENDORS: [Vendor; 11] = [
    Vendor {
        name: "openai",
        base_url: Some("https://api.openai.com/v1"),
        key_env: Some("OPENAI_API_KEY"),
        quirks: Quirks {
            token_limit: TokenLimit::MaxCompletionTokens,
            ..COMPATIBLE
        },
        terms: Some(NO_COMPETING_MODELS),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "anthropic",
        base_url: Some("https://api.anthropic.com"),
        key_env: Some("ANTHROPIC_API_KEY"),
        dialect: Dialect::Anthropic,
        quirks: Quirks {
            seed: false,
            ..COMPATIBLE
        },
        terms: Some(NO_COMPETING_MODELS),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "simulated",
        simulated: true,
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "simulated-anthropic",
        dialect: Dialect::Anthropic,
        simulated: true,
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "groq",
        base_url: Some("https://api.groq.com/openai/v1"),
        key_env: Some("GROQ_API_KEY"),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "deepseek",
        base_url: Some("https://api.deepseek.com"),
        key_env: Some("DEEPSEEK_API_KEY"),
        quirks: Quirks {
            schema: SchemaSupport::JsonObject,
            seed: false,
            ..COMPATIBLE
        },
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "xai",
        base_url: Some("https://api.x.ai/v1"),
        key_env: Some("XAI_API_KEY"),
        terms: Some(NO_COMPETING_MODELS),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "openrouter",
        base_url: Some("https://openrouter.ai/api/v1"),
        key_env: Some("OPENROUTER_API_KEY"),
        terms: Some("the terms of the model's own vendor apply"),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "mistral",
        base_url: Some("https://api.mistral.ai/v1"),
        key_env: Some("MISTRAL_API_KEY"),
        quirks: Quirks {
            // Its parameter is called `random_seed`, and an unknown one is refused.
            seed: false,
            ..COMPATIBLE
        },
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "ollama",
        base_url: Some("http://127.0.0.1:11434/v1"),
        local: true,
        terms: Some("the licence of the model's weights applies"),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "vllm",
        base_url: Some("http://127.0.0.1:8000/v1"),
        local: true,
        terms: Some("the licence of the model's weights applies"),
        ..OPENAI_COMPATIBLE
    },
];

/// Every vendor, in the order in which messages list them.
pub fn vendors() -> &'static [Vendor] {
    &VENDORS
}

/// The vendor of that name.
pub fn vendor(name: &str) -> Option<&'static Vendor> {
    VENDORS.iter().find(|vendor| vendor.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::vendors;

    #[test]
    fn every_row_is_whole() {
        let mut names = BTreeSet::new();
        for vendor in vendors() {
            assert!(names.insert(vendor.name), "`{}` twice", vendor.name);
            assert_eq!(
                vendor.base_url.is_none(),
                vendor.simulated,
                "`{}`: only a simulated vendor gets its URL at run time",
                vendor.name
            );
            assert_eq!(
                vendor.key_env.is_none(),
                vendor.simulated || vendor.local,
                "`{}`: a hosted vendor needs a key",
                vendor.name
            );
            if let Some(url) = vendor.base_url {
                assert!(
                    url.starts_with("https://") || vendor.local,
                    "`{}` would send a key in the clear",
                    vendor.name
                );
                assert!(!url.ends_with('/'), "`{}`", vendor.name);
            }
        }
    }
}
