//! One link of a chain: a model at a vendor, where it is reached, with which key and at what price.

use std::{sync::Arc, time::Duration};

use distill_wire::{Dialect, SchemaSupport, Writing};

use crate::{
    Price, PriceSource, PriceTable, Secret,
    vendor::{Vendor, vendor, vendors},
};

/// What a user may say about a model beyond its name.
#[derive(Debug, Clone, Default)]
pub struct TargetOptions {
    pub base_url: Option<String>,
    pub api_key_env: Option<String>,
    pub input_usd_per_million: Option<f64>,
    pub output_usd_per_million: Option<f64>,
    pub cached_input_usd_per_million: Option<f64>,
    /// Where prices stand; `None`: in the project's own table.
    pub prices: Option<Arc<PriceTable>>,
    /// The day whose price is taken (`YYYY-MM-DD`); `None`: the day the table was read.
    pub day: Option<String>,
}

/// A model that can be asked.
#[derive(Debug, Clone)]
pub struct Target {
    name: String,
    identity: String,
    vendor: &'static Vendor,
    model: String,
    base_url: String,
    key: Option<Secret>,
    price: Price,
    expected_latency: Option<Duration>,
}

/// Why a model cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("`{text}` does not name a model as `vendor/model`")]
    NotVendorSlashModel { text: String },
    #[error("model `{model}`: there is no vendor `{vendor}`")]
    UnknownVendor { vendor: String, model: String },
    #[error("model `{target}`: the environment variable {variable} holds no key")]
    MissingKey { target: String, variable: String },
    #[error("model `{target}`: its price is not known, so no budget can hold it")]
    NoPrice { target: String },
    #[error("model `{target}`: `{url}` is not an http or https address")]
    BaseUrl { target: String, url: String },
    #[error("model `{target}`: `{vendor}` has an address for each account, and none is given")]
    NoAddress { target: String, vendor: String },
    #[error("model `{target}`: a price must be a number of dollars, 0 or more")]
    BadPrice { target: String },
}

impl TargetError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotVendorSlashModel { .. } => Some("for example `openai/gpt-5-mini`".to_owned()),
            Self::UnknownVendor { .. } => {
                let names: Vec<&str> = vendors().iter().map(|vendor| vendor.name).collect();
                Some(format!(
                    "known vendors: {}; any OpenAI-compatible server works as `{{vendor: openai, model: …, base_url: …}}`",
                    names.join(", ")
                ))
            }
            Self::MissingKey { variable, .. } => Some(format!(
                "set {variable}, or name another variable with `api_key_env`"
            )),
            Self::NoPrice { .. } => Some(
                "give `input_usd_per_million` and `output_usd_per_million` beside the model"
                    .to_owned(),
            ),
            Self::NoAddress { .. } => Some("name it with `base_url`".to_owned()),
            Self::BaseUrl { .. } | Self::BadPrice { .. } => None,
        }
    }
}

/// A model at an address that somebody else looked up.
#[derive(Debug, Clone)]
pub struct Connection {
    /// As messages, bills and routes name it: `vendor/model`.
    pub name: String,
    /// The row of the vendor table that it is, or is like.
    pub vendor: &'static Vendor,
    /// As the vendor calls it.
    pub model: String,
    /// Without a slash at the end.
    pub base_url: String,
    pub key: Option<Secret>,
    pub price: Price,
}

impl From<Connection> for Target {
    fn from(connection: Connection) -> Self {
        Self {
            identity: format!("{}@{}", connection.name, connection.base_url),
            name: connection.name,
            vendor: connection.vendor,
            model: connection.model,
            base_url: connection.base_url,
            key: connection.key,
            price: connection.price,
            expected_latency: None,
        }
    }
}

impl Target {
    /// Finds a model written as `vendor/model`.
    pub fn parse(
        text: &str,
        options: &TargetOptions,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, TargetError> {
        match text.split_once('/') {
            Some((vendor, model)) if !vendor.is_empty() && !model.is_empty() => {
                Self::resolve(vendor, model, options, environment)
            }
            _ => Err(TargetError::NotVendorSlashModel {
                text: text.to_owned(),
            }),
        }
    }

    /// Finds a model of a vendor. `environment` looks a variable up; this crate reads none itself.
    pub fn resolve(
        vendor_name: &str,
        model: &str,
        options: &TargetOptions,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, TargetError> {
        let vendor = vendor(vendor_name).ok_or_else(|| TargetError::UnknownVendor {
            vendor: vendor_name.to_owned(),
            model: model.to_owned(),
        })?;
        let name = format!("{vendor_name}/{model}");
        let base_url = match &options.base_url {
            Some(url) => checked_url(&name, url)?,
            None if vendor.own_address => {
                return Err(TargetError::NoAddress {
                    target: name,
                    vendor: vendor_name.to_owned(),
                });
            }
            None => vendor.base_url.unwrap_or_default().to_owned(),
        };
        let identity = match &options.base_url {
            Some(_) => format!("{name}@{base_url}"),
            None => name.clone(),
        };
        // A server of the user's own may need no key; a vendor's own address always does.
        let variable = match (&options.api_key_env, &options.base_url) {
            (Some(variable), _) => Some(variable.as_str()),
            (None, None) => vendor.key_env,
            (None, Some(_)) if vendor.own_address => vendor.key_env,
            (None, Some(_)) => None,
        };
        let key = match variable {
            None => None,
            Some(variable) => Some(
                environment(variable)
                    .map(Secret::new)
                    .filter(|key| !key.is_empty())
                    .ok_or_else(|| TargetError::MissingKey {
                        target: name.clone(),
                        variable: variable.to_owned(),
                    })?,
            ),
        };
        let price = price(vendor, model, &name, options)?;
        Ok(Self {
            name,
            identity,
            vendor,
            model: model.to_owned(),
            base_url,
            key,
            price,
            expected_latency: None,
        })
    }

    /// Sends requests elsewhere without becoming another model: for an address that changes from
    /// run to run.
    #[must_use]
    pub fn with_base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = url.into();
        self
    }

    /// Adds what else shapes this model's answers to its identity.
    #[must_use]
    pub fn with_identity_suffix(mut self, digest: &str) -> Self {
        self.identity = format!("{}#{digest}", self.name);
        self
    }

    /// The latency to assume in estimates while the journal knows none.
    #[must_use]
    pub fn with_expected_latency(mut self, latency: Duration) -> Self {
        self.expected_latency = Some(latency);
        self
    }

    /// Another price than the table's.
    #[must_use]
    pub fn with_price(mut self, price: Price) -> Self {
        self.price = price;
        self
    }

    /// `vendor/model`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All that decides what this model answers, as far as it is known; part of every cache key.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    pub fn vendor(&self) -> &'static Vendor {
        self.vendor
    }

    pub fn dialect(&self) -> Dialect {
        self.vendor.dialect
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    pub fn price(&self) -> &Price {
        &self.price
    }

    pub fn simulated(&self) -> bool {
        self.vendor.simulated
    }

    /// Whether a temperature is left out of requests because this model refuses one.
    pub fn fixed_temperature(&self) -> bool {
        self.vendor.name == "openai"
            && ["o1", "o3", "o4", "gpt-5"]
                .iter()
                .any(|family| self.model.starts_with(family))
    }

    /// Where a request in a dialect goes, by the convention of each vendor's own SDK.
    pub fn url(&self, dialect: Dialect, stream: bool) -> String {
        let base = &self.base_url;
        match dialect {
            Dialect::ChatCompletions => format!("{base}/chat/completions"),
            Dialect::Responses => format!("{base}/responses"),
            Dialect::Messages => format!("{base}/v1/messages"),
            Dialect::Gemini if stream => {
                format!("{base}/models/{}:streamGenerateContent?alt=sse", self.model)
            }
            Dialect::Gemini => format!("{base}/models/{}:generateContent", self.model),
            Dialect::Cohere => format!("{base}/v2/chat"),
        }
    }

    /// Where the tokens of a request in the messages dialect are counted.
    pub fn count_tokens_url(&self) -> String {
        format!("{}/v1/messages/count_tokens", self.base_url)
    }

    /// Where embeddings are made.
    pub fn embeddings_url(&self) -> String {
        format!("{}/embeddings", self.base_url)
    }

    /// What a writer of requests must know of this model.
    pub fn writing(&self, default_max_tokens: u64, meter: bool) -> Writing<'_> {
        Writing {
            model: &self.model,
            quirks: self.vendor.quirks,
            fixed_temperature: self.fixed_temperature(),
            default_max_tokens,
            meter,
        }
    }

    /// Whether this model can be held to a JSON schema: it is asked next when another broke one.
    pub fn holds_schema(&self) -> bool {
        self.vendor.quirks.schema == SchemaSupport::JsonSchema
    }

    /// The key, for the one place that puts it into a header.
    pub fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    pub(crate) fn expected_latency(&self) -> Option<Duration> {
        self.expected_latency
    }

    /// Whether requests stay on this machine, where neither TLS nor a proxy has a place.
    pub fn loopback(&self) -> bool {
        ["http://127.0.0.1", "http://localhost", "http://[::1]"]
            .iter()
            .any(|prefix| {
                self.base_url.strip_prefix(prefix).is_some_and(|rest| {
                    rest.is_empty() || rest.starts_with(':') || rest.starts_with('/')
                })
            })
    }
}

fn checked_url(target: &str, url: &str) -> Result<String, TargetError> {
    let parsed = reqwest::Url::parse(url)
        .ok()
        .filter(|parsed| matches!(parsed.scheme(), "http" | "https") && parsed.has_host());
    match parsed {
        // A password in the address would end up in identities and messages.
        Some(parsed) if parsed.username().is_empty() && parsed.password().is_none() => {
            Ok(url.trim_end_matches('/').to_owned())
        }
        _ => Err(TargetError::BaseUrl {
            target: target.to_owned(),
            url: parsed.map_or_else(
                || url.to_owned(),
                |parsed| parsed.scheme().to_owned() + "://…",
            ),
        }),
    }
}

fn price(
    vendor: &Vendor,
    model: &str,
    name: &str,
    options: &TargetOptions,
) -> Result<Price, TargetError> {
    let custom = [
        options.input_usd_per_million,
        options.output_usd_per_million,
        options.cached_input_usd_per_million,
    ];
    if custom
        .iter()
        .flatten()
        .any(|price| !price.is_finite() || *price < 0.0)
    {
        return Err(TargetError::BadPrice {
            target: name.to_owned(),
        });
    }
    let source = if vendor.simulated {
        PriceSource::Simulated
    } else {
        PriceSource::Custom
    };
    match (custom[0], custom[1]) {
        (Some(input), Some(output)) => Ok(Price::per_million(input, output, custom[2], source)),
        (None, None) => {
            let table = options.prices.as_deref().unwrap_or(PriceTable::embedded());
            Price::of(vendor, model, table, options.day.as_deref()).ok_or_else(|| {
                TargetError::NoPrice {
                    target: name.to_owned(),
                }
            })
        }
        // Half a price would be completed with a guess.
        _ => Err(TargetError::NoPrice {
            target: name.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
