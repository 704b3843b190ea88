//! Checks of `vendors`: addresses, keys, headers, prices of the user's own.

use distill_gateway::{Price, PriceSource, Rates, Secret, Usd, Vendor, vendor, vendors};
use distill_pipeline::spec::document::{At, Code};
use serde_json::Value;

use super::{NOT_NEGATIVE, Resolver, STUDENT};
use crate::config::{
    Keys,
    resolved::{PriceConfig, VendorConfig, VendorModel},
    values::{Entry, Json},
    written::{PriceSection, Proxy, VendorSection},
};

/// Headers that carry what the proxy sets itself, or that frame the message.
const OWN_HEADERS: [&str; 7] = [
    "authorization",
    "x-api-key",
    "api-key",
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
];

impl Resolver<'_> {
    /// The connections of the file, then those rows of the table that it does not change.
    pub(super) fn vendors(&mut self, written: &Proxy, students: bool) -> Vec<VendorConfig> {
        let mut all = Vec::new();
        for entry in written.vendors.iter().flat_map(|at| &at.value.0) {
            if let Some(vendor) = self.vendor(entry) {
                all.push(vendor);
            }
        }
        for row in vendors() {
            if all
                .iter()
                .all(|vendor: &VendorConfig| vendor.name != row.name)
            {
                let key = row
                    .key_env
                    .and_then(|variable| self.key_of(row.name, variable));
                all.push(VendorConfig {
                    base_url: row.base_url.map(str::to_owned),
                    key,
                    ..bare(row.name, row)
                });
            }
        }
        if students && let Some(row) = vendor("vllm") {
            all.push(bare(STUDENT, row));
        }
        all
    }

    /// A key, or the memory that it is missing: that matters only where somebody asks this vendor.
    fn key_of(&mut self, name: &str, variable: &str) -> Option<Secret> {
        let key = (self.sources.environment)(variable)
            .map(|key| key.trim().to_owned())
            .filter(|key| !key.is_empty());
        if key.is_none() && self.keys == Keys::Needed {
            self.missing.insert(name.to_owned(), variable.to_owned());
        }
        key.map(Secret::new)
    }

    fn vendor(&mut self, entry: &Entry<VendorSection>) -> Option<VendorConfig> {
        let (name, section) = (entry.name.as_str(), &entry.value);
        let path = format!("vendors.{name}");
        self.vendor_name(entry);
        let row = if let Some(like) = &section.like {
            let names = vendors().iter().map(|vendor| vendor.name);
            let hint = "`vllm` suits most OpenAI-compatible servers";
            self.known_name(&like.value, &like.span, "vendor", names, hint);
            vendor(&like.value)?
        } else if let Some(row) = vendor(name) {
            row
        } else {
            self.report(
                Code::Missing,
                &entry.span,
                format!("`{path}` does not say what it speaks like"),
                "not a vendor of the table",
                "add `like: vllm` for an OpenAI-compatible server, or another vendor's name",
            );
            return None;
        };
        let base_url = match &section.base_url {
            Some(url) => self.base_url(url, &path),
            None => row.base_url.map(str::to_owned),
        };
        if base_url.is_none() && section.base_url.is_none() && !row.simulated {
            self.report(
                Code::Missing,
                &entry.span,
                format!("`{path}.base_url` is missing"),
                "has no address",
                format!(
                    "`{}` has an address of each customer's own: add `base_url:`",
                    row.name
                ),
            );
        }
        let moved = section.base_url.is_some() && vendor(name).is_none();
        let key = match (&section.key_env, row.key_env) {
            (Some(variable), _) => self
                .variable_name(variable, &format!("`{path}.key_env`"))
                .and_then(|variable| self.key_of(name, &variable)),
            // A server of the user's own may need no key, and must not get another vendor's.
            (None, Some(variable)) if !moved => self.key_of(name, variable),
            _ => None,
        };
        if let (Some(url), Some(_)) = (&base_url, &key)
            && url.starts_with("http://")
            && !is_loopback(url)
        {
            self.notes.push(format!(
                "`{path}` sends its key in the clear: its address begins with http://"
            ));
        }
        let mut headers = self.headers(section.headers.as_ref(), &path);
        headers.extend(
            self.secret_headers(section.headers_env.as_ref(), &format!("{path}.headers_env")),
        );
        let price = section
            .price
            .as_ref()
            .and_then(|price| self.price(&price.value, &format!("{path}.price")));
        let models = section
            .models
            .iter()
            .flat_map(|models| &models.value.0)
            .map(|model| {
                let path = format!("{path}.models.{}", model.name);
                VendorModel {
                    name: model.name.clone(),
                    price: model
                        .value
                        .price
                        .as_ref()
                        .and_then(|price| self.price(&price.value, &format!("{path}.price"))),
                    sunset: self.day(model.value.sunset.as_ref(), &format!("{path}.sunset")),
                }
            })
            .collect();
        let max_in_flight = self
            .whole(
                section.max_in_flight.as_ref(),
                &format!("{path}.max_in_flight"),
                1,
                100_000,
            )
            .map(|bound| bound as u32);
        Some(VendorConfig {
            base_url,
            key,
            headers,
            models,
            price,
            max_in_flight,
            ..bare(name, row)
        })
    }

    fn vendor_name(&mut self, entry: &Entry<VendorSection>) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if entry.name.is_empty() || !entry.name.chars().all(plain) || entry.name == STUDENT {
            self.report(
                Code::Invalid,
                &entry.span,
                format!("a vendor cannot be called `{}`", entry.name),
                "targets are written `vendor/model`",
                "use letters, digits, `-`, `_` and `.`; `student` is taken",
            );
        }
    }

    fn base_url(&mut self, url: &At<String>, path: &str) -> Option<String> {
        let parsed = reqwest::Url::parse(url.value.trim()).ok().filter(|parsed| {
            matches!(parsed.scheme(), "http" | "https")
                && parsed.has_host()
                && parsed.username().is_empty()
                && parsed.password().is_none()
                && parsed.fragment().is_none()
        });
        if parsed.is_none() {
            // It may hold a password.
            self.masked.push(url.span.clone());
            self.report(
                Code::Invalid,
                &url.span,
                format!("`{path}.base_url` is no http or https address"),
                "cannot be asked",
                "give for instance http://127.0.0.1:8000/v1, without a name or password in it",
            );
            return None;
        }
        Some(url.value.trim().trim_end_matches('/').to_owned())
    }

    fn headers(&mut self, headers: Option<&At<Json>>, path: &str) -> Vec<(String, Secret)> {
        let Some(headers) = headers else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (name, value) in &headers.value.0 {
            self.header_name(name, headers, path);
            match value {
                Value::String(text) if reqwest::header::HeaderValue::from_str(text).is_ok() => {
                    all.push((name.to_ascii_lowercase(), Secret::new(text.clone())));
                }
                _ => self.report(
                    Code::Invalid,
                    &headers.span,
                    format!("`{path}.headers.{name}` is no text that a header can hold"),
                    "in here",
                    "put the value in quotes, on one line",
                ),
            }
        }
        all
    }

    /// Headers whose values stand in the environment.
    pub(super) fn secret_headers(
        &mut self,
        headers: Option<&At<Json>>,
        path: &str,
    ) -> Vec<(String, Secret)> {
        let Some(headers) = headers else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (name, variable) in &headers.value.0 {
            self.header_name(name, headers, path);
            let Value::String(variable) = variable else {
                self.report(
                    Code::WrongType,
                    &headers.span,
                    format!("`{path}.{name}` names no environment variable"),
                    "in here",
                    "write `header: VARIABLE`",
                );
                continue;
            };
            let variable = At {
                value: variable.clone(),
                span: headers.span.clone(),
            };
            if let Some(value) = self.variable(&variable, &format!("`{path}.{name}`")) {
                if reqwest::header::HeaderValue::from_str(value.expose()).is_err() {
                    self.report(
                        Code::Invalid,
                        &headers.span,
                        format!("{} holds nothing that a header can", variable.value),
                        "in here",
                        "it must be one line of printable characters",
                    );
                }
                all.push((name.to_ascii_lowercase(), value));
            }
        }
        all
    }

    fn header_name(&mut self, name: &str, headers: &At<Json>, path: &str) {
        let lower = name.to_ascii_lowercase();
        if reqwest::header::HeaderName::from_bytes(lower.as_bytes()).is_err()
            || OWN_HEADERS.contains(&lower.as_str())
        {
            self.report(
                Code::Invalid,
                &headers.span,
                format!("`{path}`: the header `{name}` cannot be set"),
                "in here",
                "the key goes into `key_env`; what frames a message is set by the proxy",
            );
        }
    }

    fn price(&mut self, price: &PriceSection, path: &str) -> Option<PriceConfig> {
        let mut of = |value: Option<&At<f64>>, key: &str| {
            self.optional(
                value,
                &format!("{path}.{key}"),
                &NOT_NEGATIVE,
                "US dollars for a million tokens",
            )
            // A price per million with six decimals is a whole number of pico-dollars a token.
            .map(|dollars| Usd::from_dollars(dollars / 1e6))
        };
        let input = of(price.input.as_ref(), "input");
        let output = of(price.output.as_ref(), "output");
        let cached_input = of(price.cached_input.as_ref(), "cached_input");
        let cache_write = of(price.cache_write.as_ref(), "cache_write");
        let mut own = Price::per_million(0.0, 0.0, None, PriceSource::Custom);
        own.base = Rates {
            input: input?,
            output: output?,
            cached_input,
            cache_write,
        };
        Some(PriceConfig(own))
    }

    fn variable_name(&mut self, name: &At<String>, what: &str) -> Option<String> {
        if super::is_variable(&name.value) {
            return Some(name.value.clone());
        }
        self.not_a_variable(name, what);
        None
    }
}

fn bare(name: &str, row: &'static Vendor) -> VendorConfig {
    VendorConfig {
        name: name.to_owned(),
        row,
        base_url: None,
        key: None,
        headers: Vec::new(),
        models: Vec::new(),
        price: None,
        max_in_flight: None,
    }
}

fn is_loopback(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| match url.host_str() {
        Some("localhost" | "[::1]") => true,
        Some(host) => host.starts_with("127."),
        None => false,
    })
}
