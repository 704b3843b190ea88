//! A target as it runs: where its requests go, with which headers, and how it has fared.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use distill_gateway::{BreakerSettings, Target, TargetHealth};
use distill_wire::Dialect;
use reqwest::Url;

use super::RouteError;
use crate::{config::VendorConfig, forward::Endpoint};

/// How a target fares. A model that refuses to embed is none the worse at conversations, and the
/// other way round: a caller who takes one for the other must not take it from everybody.
#[derive(Debug, Clone)]
pub(super) struct Health {
    conversations: Arc<TargetHealth>,
    embeddings: Arc<TargetHealth>,
}

impl Health {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self {
            conversations: Arc::new(TargetHealth::new(settings)),
            embeddings: Arc::new(TargetHealth::new(settings)),
        }
    }
}

/// A target that can be asked, shared by all routes that name it.
#[derive(Debug)]
pub struct LiveTarget {
    pub(crate) target: Target,
    pub(super) health: Health,
    /// The key and whatever else every request to it carries.
    pub(crate) headers: HeaderMap,
    urls: Vec<(Dialect, bool, Url)>,
    pub(crate) embeddings: Option<Url>,
    pub(crate) count_tokens: Option<Url>,
    /// Requests in flight at once, over all its vendor's models.
    pub(crate) places: Option<Arc<tokio::sync::Semaphore>>,
}

impl LiveTarget {
    pub(super) fn new(
        target: Target,
        vendor: &VendorConfig,
        health: Health,
        places: Option<Arc<tokio::sync::Semaphore>>,
    ) -> Result<Self, RouteError> {
        let address = |text: &str| {
            Url::parse(text).map_err(|_| RouteError::Address {
                target: target.name().to_owned(),
            })
        };
        let row = target.vendor();
        let mut urls = Vec::new();
        for dialect in std::iter::once(row.dialect).chain(row.also.iter().copied()) {
            for stream in [false, true] {
                urls.push((dialect, stream, address(&target.url(dialect, stream))?));
            }
        }
        let embeddings = if row.embeddings {
            Some(address(&target.embeddings_url())?)
        } else {
            None
        };
        // Only the vendor itself counts; the simulated one of its dialect does not.
        let count_tokens = if row.dialect == Dialect::Messages {
            Some(address(&target.count_tokens_url())?)
        } else {
            None
        };
        Ok(Self {
            headers: headers(&target, vendor)?,
            target,
            health,
            urls,
            embeddings,
            count_tokens,
            places,
        })
    }

    /// The dialect in which it is asked for a caller of this one.
    pub(crate) fn dialect_for(&self, dialect: Dialect) -> Dialect {
        self.target.vendor().dialect_for(dialect)
    }

    /// Where a request in a dialect that it speaks goes.
    pub(crate) fn url(&self, dialect: Dialect, stream: bool) -> Option<&Url> {
        self.urls
            .iter()
            .find(|(known, streamed, _)| *known == dialect && *streamed == stream)
            .map(|(_, _, url)| url)
    }

    /// `vendor/model`.
    pub fn name(&self) -> &str {
        self.target.name()
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How it fares in conversations; where it was only ever asked for embeddings, in those.
    pub fn health(&self) -> &TargetHealth {
        if self.health.conversations.was_asked() || !self.health.embeddings.was_asked() {
            &self.health.conversations
        } else {
            &self.health.embeddings
        }
    }

    pub(crate) fn health_for(&self, endpoint: Endpoint) -> &TargetHealth {
        self.health_where(endpoint == Endpoint::Embeddings)
    }

    pub(super) fn health_where(&self, embeds: bool) -> &TargetHealth {
        if embeds {
            &self.health.embeddings
        } else {
            &self.health.conversations
        }
    }
}

fn headers(target: &Target, vendor: &VendorConfig) -> Result<HeaderMap, RouteError> {
    let mut headers = HeaderMap::new();
    let secret = |text: String| {
        let mut value = HeaderValue::try_from(text).map_err(|_| RouteError::Key {
            target: target.name().to_owned(),
        })?;
        value.set_sensitive(true);
        Ok::<_, RouteError>(value)
    };
    if let Some(key) = target.key() {
        let (name, before) = target.vendor().key_header;
        headers.insert(
            HeaderName::from_static(name),
            secret(format!("{before}{}", key.expose()))?,
        );
    }
    for (name, value) in &vendor.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| RouteError::Key {
            target: target.name().to_owned(),
        })?;
        headers.insert(name, secret(value.expose().to_owned())?);
    }
    Ok(headers)
}
