//! Requests to the hub: who gets the token, which redirects are followed, what an answer means.

use std::time::Duration;

use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{self, HeaderMap},
};

use crate::{HubError, HubSettings, ModelName, Token};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that sends nothing for so long is given up.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 10;
/// Attempts of one request, the first included; a transfer that got on begins to count anew.
const MAX_ATTEMPTS: u32 = 5;
/// Longest wait that a server may ask for.
const MAX_WAIT: Duration = Duration::from_mins(1);
/// Largest description of a repository.
const MAX_JSON_BYTES: usize = 64 << 20;

/// The hub's address, and how to speak to it.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    endpoint: Url,
    token: Option<Token>,
    first_wait: Duration,
}

/// What the hub says of a file before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// Names the content: its SHA-256 for large files, a git hash for small ones.
    pub(crate) etag: String,
    pub(crate) size: Option<u64>,
    pub(crate) commit: Option<String>,
}

impl Metadata {
    /// The content's SHA-256, where the name is one.
    pub(crate) fn sha256(&self) -> Option<&str> {
        let is_hash = self.etag.len() == 64 && self.etag.bytes().all(|b| b.is_ascii_hexdigit());
        is_hash.then_some(self.etag.as_str())
    }
}

impl Http {
    pub(crate) fn new(settings: &HubSettings) -> Result<Self, HubError> {
        let wrong = |problem: String| HubError::Settings {
            problem: format!("the hub's address `{}`: {problem}", settings.endpoint),
        };
        let endpoint = Url::parse(&settings.endpoint).map_err(|error| wrong(error.to_string()))?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.host_str().is_none() {
            return Err(wrong("it is to begin with https://".to_owned()));
        }
        // A second call finds the provider set; that is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let builder = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(IDLE_TIMEOUT)
            // Redirects are followed by hand: the token stays with the hub.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .user_agent(concat!("distill/", env!("CARGO_PKG_VERSION")));
        let builder = if endpoint.scheme() == "http" && is_loopback(&endpoint) {
            builder.no_proxy().tls_certs_only([])
        } else {
            builder
        };
        Ok(Self {
            client: builder.build().map_err(|error| wrong(chain_of(&error)))?,
            endpoint,
            token: settings.token.clone(),
            first_wait: settings.first_wait,
        })
    }

    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    pub(crate) fn endpoint(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff {
            attempts: 1,
            wait: self.first_wait,
            first: self.first_wait,
        }
    }

    /// An address below the hub's own. `parts` are path segments; what is no letter is escaped.
    pub(crate) fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// Reads a JSON document of bounded size.
    pub(crate) async fn json(&self, url: Url, name: &ModelName) -> Result<Vec<u8>, HubError> {
        let mut backoff = self.backoff();
        loop {
            match self.try_json(&url, name).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => backoff.pause(error).await?,
            }
        }
    }

    async fn try_json(&self, url: &Url, name: &ModelName) -> Result<Vec<u8>, HubError> {
        let mut response = self.send(Method::GET, url.clone(), 0, false).await?;
        if !response.status().is_success() {
            return Err(self.refusal(&response, name));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| cut(url, &error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_JSON_BYTES {
                return Err(answer(url, "it is larger than a description may be"));
            }
        }
        Ok(bytes)
    }

    /// Asks what a file is, without fetching it.
    pub(crate) async fn metadata(&self, url: &Url, name: &ModelName) -> Result<Metadata, HubError> {
        let mut backoff = self.backoff();
        loop {
            match self.try_metadata(url, name).await {
                Ok(metadata) => return Ok(metadata),
                Err(error) => backoff.pause(error).await?,
            }
        }
    }

    async fn try_metadata(&self, url: &Url, name: &ModelName) -> Result<Metadata, HubError> {
        let response = self.send(Method::HEAD, url.clone(), 0, true).await?;
        let status = response.status();
        if !status.is_success() && !status.is_redirection() {
            return Err(self.refusal(&response, name));
        }
        let headers = response.headers();
        let etag = text(headers, "x-linked-etag")
            .or_else(|| text(headers, "etag"))
            .map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned())
            .ok_or_else(|| answer(url, "it has no ETag"))?;
        let is_name = (1..=128).contains(&etag.len())
            && etag
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !is_name {
            return Err(answer(url, "its ETag is no name for a file"));
        }
        let length = || text(headers, "content-length").filter(|_| status.is_success());
        Ok(Metadata {
            size: text(headers, "x-linked-size")
                .or_else(length)
                .and_then(|size| size.parse().ok()),
            commit: text(headers, "x-repo-commit").map(str::to_owned),
            etag,
        })
    }

    /// Opens a file from a byte on. The status is the caller's to judge.
    pub(crate) async fn open(&self, url: &Url, from: u64) -> Result<Response, HubError> {
        self.send(Method::GET, url.clone(), from, false).await
    }

    /// Sends a request and follows redirects; with `stay`, only those that the hub makes to itself.
    async fn send(
        &self,
        method: Method,
        mut url: Url,
        from: u64,
        stay: bool,
    ) -> Result<Response, HubError> {
        for _ in 0..MAX_REDIRECTS {
            let mut request = self
                .client
                .request(method.clone(), url.clone())
                // The size that is promised is that of the file, not of its compression.
                .header(header::ACCEPT_ENCODING, "identity");
            if let Some(token) = self.token.as_ref().filter(|_| self.may_know_token(&url)) {
                request = request.bearer_auth(token.expose());
            }
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let response = request.send().await.map_err(|error| cut(&url, &error))?;
            let moved =
                response.status().is_redirection() && response.status() != StatusCode::NOT_MODIFIED;
            if !moved {
                return Ok(response);
            }
            let next = text(response.headers(), "location")
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| answer(&url, "it redirects to no address"))?;
            let secure = next.scheme() == "https"
                || (next.scheme() == "http" && self.endpoint.scheme() == "http");
            if !secure {
                return Err(answer(
                    &url,
                    "it redirects to an address that is not encrypted",
                ));
            }
            if stay && next.origin() != self.endpoint.origin() {
                return Ok(response);
            }
            url = next;
        }
        Err(answer(&url, "it redirects too often"))
    }

    /// The token is for the hub itself, and not for a line that others can read.
    fn may_know_token(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin() && (url.scheme() == "https" || is_loopback(url))
    }

    /// What an answer other than success means.
    pub(crate) fn refusal(&self, response: &Response, name: &ModelName) -> HubError {
        let code = text(response.headers(), "x-error-code").unwrap_or_default();
        let status = response.status();
        let has_token = self.has_token();
        let of_hub = response.url().origin() == self.endpoint.origin();
        let refused_token = text(response.headers(), "x-error-message")
            .is_some_and(|message| message.contains("Invalid credentials"));
        match (code, status) {
            ("GatedRepo", _) => HubError::Gated {
                id: name.id().to_owned(),
                page: format!("{}/{}", self.endpoint(), name.id()),
                has_token,
            },
            ("RevisionNotFound", _) => HubError::Revision {
                id: name.id().to_owned(),
                revision: name.revision().to_owned(),
            },
            (_, StatusCode::UNAUTHORIZED) if has_token && of_hub && refused_token => {
                HubError::Token {
                    endpoint: self.endpoint().to_owned(),
                }
            }
            // The hub says 401 of a model that is not there or that others must not know of.
            (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
                if of_hub =>
            {
                HubError::NotFound {
                    id: name.id().to_owned(),
                    endpoint: self.endpoint().to_owned(),
                    has_token,
                }
            }
            _ if is_temporary(status) || !of_hub => HubError::Status {
                url: shown(response.url()),
                status: status.as_u16(),
                attempts: 1,
                wait: text(response.headers(), "retry-after")
                    .and_then(|seconds| seconds.parse().ok())
                    .map(Duration::from_secs),
            },
            _ => answer(response.url(), &format!("its status is {status}")),
        }
    }
}

/// A link that a storage host no longer honours is asked for anew, as an overloaded server is.
fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        )
}

/// The waits between attempts: doubled each time, or as long as the server asks.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    wait: Duration,
    first: Duration,
}

impl Backoff {
    /// Something came: what fails next is another failure.
    pub(crate) fn reset(&mut self) {
        self.attempts = 1;
        self.wait = self.first;
    }

    /// Waits before the next attempt, or gives the error back when it is final.
    pub(crate) async fn pause(&mut self, error: HubError) -> Result<(), HubError> {
        if !error.is_temporary() {
            return Err(error);
        }
        let asked = match &error {
            HubError::Status { wait, .. } => *wait,
            _ => None,
        };
        if self.attempts >= MAX_ATTEMPTS || asked.is_some_and(|wait| wait > MAX_WAIT) {
            return Err(match error {
                HubError::Status {
                    url, status, wait, ..
                } => HubError::Status {
                    url,
                    status,
                    wait,
                    attempts: self.attempts,
                },
                other => other,
            });
        }
        tokio::time::sleep(asked.unwrap_or(self.wait)).await;
        self.attempts += 1;
        self.wait = (self.wait * 2).min(MAX_WAIT);
        Ok(())
    }
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(crate) fn answer(url: &Url, problem: &str) -> HubError {
    HubError::Answer {
        url: shown(url),
        problem: problem.to_owned(),
    }
}

pub(crate) fn cut(url: &Url, error: &reqwest::Error) -> HubError {
    HubError::Connection {
        url: shown(url),
        problem: chain_of(error),
    }
}

/// An address without its query, which may hold a signature.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let _ = url.set_password(None);
    url.to_string()
}

fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"))
}

fn chain_of(error: &reqwest::Error) -> String {
    // The address is told apart, and may hold a signature.
    let mut text = error.to_string();
    if let Some(url) = error.url() {
        text = text.replace(&format!(" for url ({url})"), "");
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
