//! Who answers, as data: one row a vendor.
//!
//! How bytes look on the wire is the [`Dialect`]; almost every new vendor is a row here and no code.

use distill_wire::{Dialect, Quirks, SeedParameter};

mod family;

pub use family::families;

/// A vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, not a state"
)]
pub struct Vendor {
    pub name: &'static str,
    /// What stands before a dialect's path. `None`: chosen when the program starts (simulated), or
    /// named by the user, because each account has its own.
    pub base_url: Option<&'static str>,
    /// Whether a user must name the address.
    pub own_address: bool,
    /// Environment variable that holds the key; `None`: no key is needed.
    pub key_env: Option<&'static str>,
    /// What it is asked in where the caller's own dialect is not known to it.
    pub dialect: Dialect,
    /// Other dialects it knows at the same address: a caller that speaks one is passed through.
    pub also: &'static [Dialect],
    /// The header that carries the key, and what stands before the key in it.
    pub key_header: (&'static str, &'static str),
    pub quirks: Quirks,
    /// Whether it has an endpoint for embeddings, in the form of `OpenAI`.
    pub embeddings: bool,
    /// Answers are made up by this program.
    pub simulated: bool,
    /// Runs on the user's own machine, so a token has no price.
    pub local: bool,
    /// What the vendor's published terms say about training on its answers, where they restrict it.
    pub terms: Option<&'static str>,
}

const COMPATIBLE: Quirks = Quirks::COMPATIBLE;

const BEARER: (&str, &str) = ("authorization", "Bearer ");

const OPENAI_COMPATIBLE: Vendor = Vendor {
    name: "",
    base_url: None,
    own_address: false,
    key_env: None,
    dialect: Dialect::ChatCompletions,
    also: &[],
    key_header: BEARER,
    quirks: COMPATIBLE,
    embeddings: true,
    simulated: false,
    local: false,
    terms: None,
};

const LOCAL: Vendor = Vendor {
    local: true,
    terms: Some("the licence of the model's weights applies"),
    ..OPENAI_COMPATIBLE
};

const NO_COMPETING_MODELS: &str =
    "the terms forbid using outputs to develop models that compete with the vendor's";

static VENDORS: [Vendor; 18] = [
    Vendor {
        name: "openai",
        base_url: Some("https://api.openai.com/v1"),
        key_env: Some("OPENAI_API_KEY"),
        also: &[Dialect::Responses],
        quirks: Quirks::OPENAI,
        terms: Some(NO_COMPETING_MODELS),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "anthropic",
        base_url: Some("https://api.anthropic.com"),
        key_env: Some("ANTHROPIC_API_KEY"),
        dialect: Dialect::Messages,
        key_header: ("x-api-key", ""),
        quirks: Quirks {
            seed: SeedParameter::Unknown,
            ..COMPATIBLE
        },
        embeddings: false,
        terms: Some(NO_COMPETING_MODELS),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "gemini",
        base_url: Some("https://generativelanguage.googleapis.com/v1beta"),
        key_env: Some("GEMINI_API_KEY"),
        dialect: Dialect::Gemini,
        key_header: ("x-goog-api-key", ""),
        quirks: Quirks {
            // An image is sent in the request or as a file that the vendor keeps.
            image_urls: false,
            ..COMPATIBLE
        },
        embeddings: false,
        terms: Some(NO_COMPETING_MODELS),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "cohere",
        base_url: Some("https://api.cohere.com"),
        key_env: Some("COHERE_API_KEY"),
        dialect: Dialect::Cohere,
        embeddings: false,
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "simulated",
        simulated: true,
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "simulated-anthropic",
        dialect: Dialect::Messages,
        key_header: ("x-api-key", ""),
        embeddings: false,
        simulated: true,
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "groq",
        base_url: Some("https://api.groq.com/openai/v1"),
        key_env: Some("GROQ_API_KEY"),
        quirks: Quirks::GROQ,
        embeddings: false,
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "deepseek",
        base_url: Some("https://api.deepseek.com"),
        key_env: Some("DEEPSEEK_API_KEY"),
        quirks: Quirks::DEEPSEEK,
        embeddings: false,
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "xai",
        base_url: Some("https://api.x.ai/v1"),
        key_env: Some("XAI_API_KEY"),
        quirks: Quirks::XAI,
        also: &[Dialect::Responses],
        terms: Some(NO_COMPETING_MODELS),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "openrouter",
        base_url: Some("https://openrouter.ai/api/v1"),
        key_env: Some("OPENROUTER_API_KEY"),
        quirks: Quirks::OPENROUTER,
        terms: Some("the terms of the model's own vendor apply"),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "mistral",
        base_url: Some("https://api.mistral.ai/v1"),
        key_env: Some("MISTRAL_API_KEY"),
        // Usage comes at the end of every stream, and unknown parameters are refused.
        quirks: Quirks::MISTRAL,
        ..OPENAI_COMPATIBLE
    },
    // Addresses of one's own: `https://NAME.openai.azure.com/openai/v1`.
    Vendor {
        name: "azure",
        own_address: true,
        key_env: Some("AZURE_OPENAI_API_KEY"),
        also: &[Dialect::Responses],
        key_header: ("api-key", ""),
        quirks: Quirks::OPENAI,
        terms: Some(NO_COMPETING_MODELS),
        ..OPENAI_COMPATIBLE
    },
    // `https://bedrock-runtime.REGION.amazonaws.com/openai/v1`.
    Vendor {
        name: "bedrock",
        own_address: true,
        key_env: Some("AWS_BEARER_TOKEN_BEDROCK"),
        quirks: Quirks {
            image_urls: false,
            ..COMPATIBLE
        },
        embeddings: false,
        terms: Some("the terms of the model's own vendor apply"),
        ..OPENAI_COMPATIBLE
    },
    // `https://REGION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/REGION/endpoints/openapi`.
    Vendor {
        name: "vertex",
        own_address: true,
        key_env: Some("VERTEX_ACCESS_TOKEN"),
        embeddings: false,
        terms: Some("the terms of the model's own vendor apply"),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "together",
        base_url: Some("https://api.together.xyz/v1"),
        key_env: Some("TOGETHER_API_KEY"),
        terms: Some("the terms of the model's own vendor apply"),
        ..OPENAI_COMPATIBLE
    },
    Vendor {
        name: "ollama",
        base_url: Some("http://127.0.0.1:11434/v1"),
        quirks: Quirks {
            image_urls: false,
            ..COMPATIBLE
        },
        ..LOCAL
    },
    Vendor {
        name: "vllm",
        base_url: Some("http://127.0.0.1:8000/v1"),
        ..LOCAL
    },
    Vendor {
        name: "llama.cpp",
        base_url: Some("http://127.0.0.1:8080/v1"),
        ..LOCAL
    },
];

impl Vendor {
    /// The dialect in which to ask for a caller who speaks `dialect`: the same where it is known, so
    /// that a request can be passed on as it is.
    pub fn dialect_for(&self, dialect: Dialect) -> Dialect {
        if self.also.contains(&dialect) {
            dialect
        } else {
            self.dialect
        }
    }
}

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

    use distill_wire::Quirks;

    use super::{vendor, vendors};

    /// A vendor that refuses what it does not know is sent nothing of it.
    #[test]
    fn a_vendor_is_written_to_as_its_own_quirks_say() {
        for (name, quirks) in [
            ("openai", Quirks::OPENAI),
            ("azure", Quirks::OPENAI),
            ("mistral", Quirks::MISTRAL),
            ("deepseek", Quirks::DEEPSEEK),
            ("groq", Quirks::GROQ),
            ("xai", Quirks::XAI),
            ("openrouter", Quirks::OPENROUTER),
        ] {
            assert_eq!(vendor(name).unwrap().quirks, quirks, "{name}");
        }
    }

    #[test]
    fn every_row_is_whole() {
        let mut names = BTreeSet::new();
        for vendor in vendors() {
            assert!(names.insert(vendor.name), "`{}` twice", vendor.name);
            assert_eq!(
                vendor.base_url.is_none(),
                vendor.simulated || vendor.own_address,
                "`{}`: only a simulated vendor gets its URL at run time, and an account of one's own",
                vendor.name
            );
            assert_eq!(
                vendor.key_env.is_none(),
                vendor.simulated || vendor.local,
                "`{}`: a hosted vendor needs a key",
                vendor.name
            );
            assert!(
                !vendor.also.contains(&vendor.dialect),
                "`{}` twice",
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
