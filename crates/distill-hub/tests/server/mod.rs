//! A server that behaves like the hub, with the faults that a test asks for: the hub itself on one
//! port, the storage that it redirects to on another.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does wrong, or asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Requests that are answered with this status before all is well.
    pub(crate) refuse: Vec<(StatusCode, Option<&'static str>)>,
    /// The storage's transfers that end after so many bytes.
    pub(crate) cut: Vec<usize>,
    /// The storage knows no ranges.
    pub(crate) no_ranges: bool,
    /// The storage's transfers give other bytes of the same number.
    pub(crate) garble: usize,
    /// Only this token may read the files.
    pub(crate) gated: Option<&'static str>,
    /// Every token is refused.
    pub(crate) bad_token: bool,
    /// The model has moved to this name.
    pub(crate) moved_to: Option<&'static str>,
    /// The `ETag` of large files, in place of their hash.
    pub(crate) etag: Option<&'static str>,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) host: &'static str,
    pub(crate) method: Method,
    pub(crate) range: Option<String>,
    pub(crate) token: bool,
}

struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    faults: Mutex<Faults>,
    seen: Mutex<Vec<Seen>>,
    storage: Mutex<Option<SocketAddr>>,
}

/// The running hub.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
}

impl Server {
    /// Starts a hub that has one model, `org/tiny`.
    pub(crate) async fn start(files: &[(&str, &[u8])]) -> Self {
        let shared = Arc::new(Shared {
            files: files
                .iter()
                .map(|(name, content)| ((*name).to_owned(), content.to_vec()))
                .collect(),
            faults: Mutex::default(),
            seen: Mutex::default(),
            storage: Mutex::default(),
        });
        let storage = listen(Router::new().fallback(storage).with_state(shared.clone())).await;
        *shared.storage.lock().unwrap() = Some(storage);
        let hub = listen(Router::new().fallback(hub).with_state(shared.clone())).await;
        Self {
            endpoint: format!("http://{hub}"),
            shared,
        }
    }

    pub(crate) fn set(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap() = faults;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.shared.seen.lock().unwrap().clear();
    }
}

async fn listen(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

pub(crate) fn sha256(content: &[u8]) -> String {
    format!("{:x}", Sha256::digest(content))
}

fn note(shared: &Shared, host: &'static str, request: &Request) {
    let text = |name| {
        let value = request.headers().get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    shared.seen.lock().unwrap().push(Seen {
        host,
        method: request.method().clone(),
        range: text(header::RANGE),
        token: request.headers().contains_key(header::AUTHORIZATION),
    });
}

fn refusal(status: StatusCode, code: &'static str) -> Response {
    (status, [("x-error-code", code)]).into_response()
}

async fn hub(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    note(&shared, "hub", &request);
    let mut faults = shared.faults.lock().unwrap();
    if !faults.refuse.is_empty() {
        let (status, wait) = faults.refuse.remove(0);
        let mut response = status.into_response();
        if let Some(wait) = wait {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, wait.parse().unwrap());
        }
        return response;
    }
    let path = request.uri().path().to_owned();
    if faults.bad_token && request.headers().contains_key(header::AUTHORIZATION) {
        let message = [(
            "x-error-message",
            "Invalid credentials in Authorization header",
        )];
        return (StatusCode::UNAUTHORIZED, message).into_response();
    }
    if let Some(to) = faults.moved_to
        && path.contains("org/tiny")
    {
        let to = path.replace("org/tiny", to);
        return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response();
    }
    let name = faults.moved_to.unwrap_or("org/tiny");
    if let Some(revision) = path.strip_prefix(&format!("/api/models/{name}/revision/")) {
        return describe(&shared, revision);
    }
    if let Some(file) = path.strip_prefix(&format!("/{name}/resolve/{COMMIT}/")) {
        let bearer = request.headers().get(header::AUTHORIZATION);
        let token = bearer.map(|value| value.to_str().unwrap().trim_start_matches("Bearer "));
        match faults.gated {
            Some(_) if token.is_none() => return refusal(StatusCode::UNAUTHORIZED, "GatedRepo"),
            Some(needed) if token != Some(needed) => {
                return refusal(StatusCode::FORBIDDEN, "GatedRepo");
            }
            _ => {}
        }
        return resolve(&shared, &faults, file, request.method());
    }
    // As the hub does for models that are not there, so that nobody can probe for private ones.
    refusal(StatusCode::UNAUTHORIZED, "RepoNotFound")
}

fn describe(shared: &Shared, revision: &str) -> Response {
    if !["main", "v1", COMMIT].contains(&revision) {
        return refusal(StatusCode::NOT_FOUND, "RevisionNotFound");
    }
    let names: Vec<String> = shared
        .files
        .keys()
        .map(|name| format!(r#"{{"rfilename": "{name}"}}"#))
        .collect();
    format!(
        r#"{{"id": "org/tiny", "sha": "{COMMIT}", "gated": false, "siblings": [{}]}}"#,
        names.join(", ")
    )
    .into_response()
}

fn resolve(shared: &Shared, faults: &Faults, file: &str, method: &Method) -> Response {
    let Some(content) = shared.files.get(file) else {
        return refusal(StatusCode::NOT_FOUND, "EntryNotFound");
    };
    let hash = sha256(content);
    if !file.ends_with(".safetensors") {
        let headers = [
            ("etag", format!("W/\"{}\"", &hash[..40])),
            ("x-repo-commit", COMMIT.to_owned()),
            ("content-length", content.len().to_string()),
        ];
        if *method == Method::HEAD {
            return (headers, Body::empty()).into_response();
        }
        return (headers, content.clone()).into_response();
    }
    let storage = shared.storage.lock().unwrap().unwrap();
    let headers = [
        (
            "location",
            format!("http://{storage}/{file}?signature=secret"),
        ),
        (
            "x-linked-etag",
            format!("\"{}\"", faults.etag.unwrap_or(&hash)),
        ),
        ("x-linked-size", content.len().to_string()),
        ("x-repo-commit", COMMIT.to_owned()),
    ];
    (StatusCode::FOUND, headers).into_response()
}

async fn storage(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    note(&shared, "storage", &request);
    let mut faults = shared.faults.lock().unwrap();
    let file = request.uri().path().trim_start_matches('/').to_owned();
    let mut content = shared.files[&file].clone();
    if faults.garble > 0 {
        faults.garble -= 1;
        for byte in &mut content {
            *byte ^= 1;
        }
    }
    let start = range(request.headers()).filter(|_| !faults.no_ranges);
    if start.is_some_and(|start| start >= content.len()) {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let part = content[start.unwrap_or(0)..].to_vec();
    let cut = (!faults.cut.is_empty()).then(|| faults.cut.remove(0));
    let body = match cut {
        None => Body::from(part.clone()),
        Some(bytes) => {
            let sent = part[..bytes.min(part.len())].to_vec();
            let broken = stream::once(async {
                // What was sent is to be on its way before the line is cut.
                tokio::time::sleep(Duration::from_millis(30)).await;
                Err(std::io::Error::other("the line is cut"))
            });
            Body::from_stream(stream::iter([Ok(sent)]).chain(Box::pin(broken)))
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, part.len().into());
    if let Some(start) = start {
        let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
        headers.insert(header::CONTENT_RANGE, range.parse().unwrap());
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

fn range(headers: &HeaderMap) -> Option<usize> {
    let text = headers.get(header::RANGE)?.to_str().unwrap();
    let start = text.strip_prefix("bytes=")?.strip_suffix('-')?;
    Some(start.parse().unwrap())
}
