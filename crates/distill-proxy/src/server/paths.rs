//! Which path is which endpoint, and in which dialect its errors are told.

use axum::http::{HeaderMap, Method};
use distill_wire::Dialect;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A conversation in one of the three dialects of callers.
    Chat(Dialect),
    CountTokens,
    Embeddings,
    /// All models that the caller may name.
    Models,
    Model(String),
    /// A task by its path.
    Task(String),
    Health,
    Metrics,
    OpenApi,
    /// The pages.
    Pages,
    /// The rest of the path.
    Admin(String),
    /// Harnesses look whether anybody is there.
    Root,
}

/// How a request was addressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Addressed {
    To(Endpoint),
    /// The path exists, for these methods.
    WrongMethod(&'static str),
    Nowhere,
}

/// Finds the endpoint. The `/v1` may be missing or doubled: some clients add it to a base address
/// that has it, others expect it to be there.
pub(crate) fn address(method: &Method, path: &str) -> Addressed {
    let path = path.strip_suffix('/').unwrap_or(path);
    let read = matches!(*method, Method::GET | Method::HEAD);
    let gets = |endpoint| {
        if read {
            Addressed::To(endpoint)
        } else {
            Addressed::WrongMethod("GET, HEAD")
        }
    };
    match path {
        "" => return gets(Endpoint::Root),
        "/health" => return gets(Endpoint::Health),
        "/metrics" => return gets(Endpoint::Metrics),
        "/openapi.json" => return gets(Endpoint::OpenApi),
        _ => {}
    }
    if path == "/ui" || path.starts_with("/ui/") {
        return Addressed::To(Endpoint::Pages);
    }
    if let Some(rest) = path.strip_prefix("/admin/") {
        return Addressed::To(Endpoint::Admin(rest.to_owned()));
    }
    let mut rest = path;
    while let Some(inner) = rest
        .strip_prefix("/v1")
        .filter(|inner| inner.starts_with('/'))
    {
        rest = inner;
    }
    let posts = |endpoint| {
        if *method == Method::POST {
            Addressed::To(endpoint)
        } else {
            Addressed::WrongMethod("POST")
        }
    };
    match rest {
        "/chat/completions" => posts(Endpoint::Chat(Dialect::ChatCompletions)),
        "/responses" => posts(Endpoint::Chat(Dialect::Responses)),
        "/messages" => posts(Endpoint::Chat(Dialect::Messages)),
        "/messages/count_tokens" => posts(Endpoint::CountTokens),
        "/embeddings" => posts(Endpoint::Embeddings),
        "/models" => gets(Endpoint::Models),
        _ => match rest.split_once('/').map(|(_, rest)| rest.split_once('/')) {
            Some(Some(("models", model))) if !model.is_empty() => {
                gets(Endpoint::Model(decoded(model)))
            }
            Some(Some(("tasks", task))) if !task.is_empty() => posts(Endpoint::Task(decoded(task))),
            _ => Addressed::Nowhere,
        },
    }
}

/// The dialect in which errors of this request are told.
pub(crate) fn dialect_of_errors(path: &str, headers: &HeaderMap) -> Dialect {
    if path.contains("/messages") || headers.contains_key("anthropic-version") {
        Dialect::Messages
    } else if path.ends_with("/responses") {
        Dialect::Responses
    } else {
        Dialect::ChatCompletions
    }
}

/// Percent-decodes a path segment; what is no valid escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = escape {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Method};
    use distill_wire::Dialect;

    use super::{Addressed, Endpoint, address, decoded, dialect_of_errors};

    #[test]
    fn a_base_address_with_without_and_with_a_doubled_v1_leads_to_the_same() {
        for path in [
            "/messages",
            "/v1/messages",
            "/v1/v1/messages",
            "/v1/messages/",
        ] {
            assert_eq!(
                address(&Method::POST, path),
                Addressed::To(Endpoint::Chat(Dialect::Messages)),
                "{path}"
            );
        }
        assert_eq!(address(&Method::POST, "/v1messages"), Addressed::Nowhere);
        assert_eq!(address(&Method::POST, "/v1"), Addressed::Nowhere);
    }

    #[test]
    fn every_described_endpoint_is_found_and_no_other_method_of_it() {
        let whole: serde_json::Value =
            serde_json::from_str(crate::server::service::OPENAPI).unwrap();
        for (path, methods) in whole["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let path = path
                    .replace("{model}", "openai%2Fgpt-5-mini")
                    .replace(['{', '}'], "");
                let found = address(&method, &path);
                assert!(matches!(found, Addressed::To(_)), "{method} {path}");
                if !path.starts_with("/admin") && !path.starts_with("/ui") {
                    let other = address(&Method::PUT, &path);
                    assert!(matches!(other, Addressed::WrongMethod(_)), "PUT {path}");
                }
            }
        }
    }

    #[test]
    fn a_model_may_have_slashes_in_its_name() {
        for path in [
            "/v1/models/openai/gpt-5-mini",
            "/v1/models/openai%2Fgpt-5-mini",
        ] {
            assert_eq!(
                address(&Method::GET, path),
                Addressed::To(Endpoint::Model("openai/gpt-5-mini".into()))
            );
        }
    }

    #[test]
    fn what_is_no_escape_stays() {
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%20x"), "%zz x");
        assert_eq!(decoded("%ff"), "%ff");
    }

    #[test]
    fn an_error_is_told_in_the_dialect_of_the_path() {
        let none = HeaderMap::new();
        assert_eq!(
            dialect_of_errors("/v1/messages/x", &none),
            Dialect::Messages
        );
        assert_eq!(
            dialect_of_errors("/v1/responses", &none),
            Dialect::Responses
        );
        assert_eq!(
            dialect_of_errors("/v1/models", &none),
            Dialect::ChatCompletions
        );
        let mut anthropic = HeaderMap::new();
        anthropic.insert("anthropic-version", "2023-06-01".parse().unwrap());
        assert_eq!(
            dialect_of_errors("/v1/models", &anthropic),
            Dialect::Messages
        );
    }
}
