//! The pages under `/ui`: what is spent by whom, how the vendors fare, and what wants an answer.
//!
//! Everything is drawn on the server; one small script replaces the parts that changed. Only who has
//! the admin key gets in, and no page can be framed, scripted from elsewhere, or made to act by
//! another site.
//!
//! Start reading at [`router`], then `page`.

mod chart;
mod form;
mod html;
mod live;
mod number;
mod page;
mod session;
mod source;
mod view;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use distill_ledger::{Answer, Ledger, LedgerError, Role};

use form::Fields;
use html::Html;
use page::{Frame, Part};
use session::{Session, Sessions, Turned};
pub use view::{AlertView, TargetView};

/// Where the pages get what they show beside the ledger.
pub struct Pages {
    pub ledger: Ledger,
    /// How each target fares now.
    pub targets: Arc<dyn Fn() -> Vec<TargetView> + Send + Sync>,
    /// What somebody should look at, the newest first.
    pub alerts: Arc<dyn Fn() -> Vec<AlertView> + Send + Sync>,
    /// How long "stop" holds; `None`: until somebody lifts it.
    pub stop_for: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
    /// Whether an admin key is configured; else the login says how to get in.
    pub admin_key: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Whether the server is being stopped: live pages end then.
    pub stopping: Arc<dyn Fn() -> bool + Send + Sync>,
}

struct Shared {
    pages: Pages,
    sessions: Sessions,
    streams: Arc<tokio::sync::Semaphore>,
}

type Ui = State<Arc<Shared>>;

/// Largest form.
const LARGEST_FORM: usize = 16 * 1024;

/// Every path under `/ui`.
pub fn router(pages: Pages) -> Router {
    let shared = Arc::new(Shared {
        pages,
        sessions: Sessions::default(),
        streams: Arc::new(tokio::sync::Semaphore::new(live::MOST_STREAMS)),
    });
    Router::new()
        .route("/ui", get(overview))
        .route("/ui/", get(overview))
        .route("/ui/people", get(people))
        .route("/ui/teams", get(teams))
        .route("/ui/tasks", get(tasks))
        .route("/ui/models", get(models))
        .route("/ui/requests", get(requests))
        .route("/ui/requests/{id}", get(request))
        .route("/ui/keys", get(keys).post(make_key))
        .route("/ui/keys/{id}/revoke", post(revoke_key))
        .route("/ui/questions/{id}", post(answer))
        .route("/ui/login", get(login_page).post(login))
        .route("/ui/logout", post(logout))
        .route("/ui/live", get(live::stream))
        .route("/ui/style.css", get(style))
        .route("/ui/script.js", get(script))
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        .with_state(shared)
}

async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("ui/style.css"))
}

async fn script() -> Response {
    asset(
        "text/javascript; charset=utf-8",
        include_str!("ui/script.js"),
    )
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text).into_response()
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

/// A page that may only load what this server gives it, and its script and style by this nonce.
fn guarded(status: StatusCode, nonce: &str, html: Html) -> Response {
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut response = (status, html.into_string()).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn message(status: StatusCode, title: &'static str, words: &str) -> Response {
    match session::nonce() {
        Ok(nonce) => guarded(status, &nonce, page::login::message(&nonce, title, words)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn redirect(to: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// The ledger could not be read.
fn unread(error: &LedgerError) -> Response {
    let words = format!("The ledger could not be read: {error}. Reload the page to try again.");
    message(StatusCode::SERVICE_UNAVAILABLE, "Not available", &words)
}

/// The session of a request, or the page that asks for the key.
fn session_of(ui: &Shared, headers: &HeaderMap) -> Result<Session, Box<Response>> {
    ui.sessions
        .of(headers, Instant::now())
        .ok_or_else(|| Box::new(login_form(ui, StatusCode::OK, None)))
}

/// The session of a form and its fields, where the form is one of ours.
fn form_of(
    ui: &Shared,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(Session, Fields), Box<Response>> {
    let session = session_of(ui, headers)?;
    let fields = Fields::read(&String::from_utf8_lossy(body));
    let given = fields.get("token").unwrap_or_default();
    if from_elsewhere(headers) || !session::same(given, &session.form_token) {
        return Err(Box::new(message(
            StatusCode::FORBIDDEN,
            "Not done",
            "This form is not from the page that you are logged in to. Open the page again and repeat what you did.",
        )));
    }
    Ok((session, fields))
}

/// Whether the browser says that another site sends this.
fn from_elsewhere(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "same-origin" && site != "none")
}

fn login_form(ui: &Shared, status: StatusCode, problem: Option<&str>) -> Response {
    let problem = problem.or_else(|| {
        (!(ui.pages.admin_key)()).then_some(
            "No admin key is configured (`admin_key_env`): only a virtual key of an admin opens these pages.",
        )
    });
    match session::nonce() {
        Ok(nonce) => guarded(status, &nonce, page::login::form(&nonce, problem)),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn login_page(ui: Ui, headers: HeaderMap) -> Response {
    match session_of(&ui, &headers) {
        Ok(_) => redirect("/ui"),
        Err(form) => *form,
    }
}

async fn login(ui: Ui, headers: HeaderMap, body: Bytes) -> Response {
    let now = Instant::now();
    if let Err(Turned::Away(wait)) = ui.sessions.may_try(now) {
        let words = format!(
            "Too many wrong keys. Try again in {} s.",
            wait.as_secs().max(1)
        );
        return login_form(&ui, StatusCode::TOO_MANY_REQUESTS, Some(&words));
    }
    let fields = Fields::read(&String::from_utf8_lossy(&body));
    let caller = match fields.get("key") {
        Some(key) if !from_elsewhere(&headers) => ui.pages.ledger.identify(key).await,
        _ => None,
    };
    let Some(caller) = caller.filter(|caller| caller.role == Role::Admin) else {
        ui.sessions.failed(now);
        let words = "That is not an admin key.";
        return login_form(&ui, StatusCode::UNAUTHORIZED, Some(words));
    };
    let Ok(cookie) = ui.sessions.begin(caller.user.clone(), now) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let secure = headers
        .get("x-forwarded-proto")
        .is_some_and(|scheme| scheme == "https");
    let mut response = redirect("/ui");
    if let Ok(value) = HeaderValue::from_str(&session::set_cookie(&cookie, secure)) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

async fn logout(ui: Ui, headers: HeaderMap, body: Bytes) -> Response {
    match form_of(&ui, &headers, &body) {
        Err(response) => *response,
        Ok((session, _)) => {
            ui.sessions.end(&session);
            let mut response = redirect("/ui/login");
            if let Ok(value) = HeaderValue::from_str(&session::clear_cookie()) {
                response.headers_mut().insert(header::SET_COOKIE, value);
            }
            response
        }
    }
}

/// A page of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Overview,
    People,
    Teams,
    Tasks,
    Models,
    Requests,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Overview,
        Self::People,
        Self::Teams,
        Self::Tasks,
        Self::Models,
        Self::Requests,
    ];

    fn path(self) -> &'static str {
        match self {
            Self::Overview => "/ui",
            Self::People => "/ui/people",
            Self::Teams => "/ui/teams",
            Self::Tasks => "/ui/tasks",
            Self::Models => "/ui/models",
            Self::Requests => "/ui/requests",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::People => "People",
            Self::Teams => "Teams",
            Self::Tasks => "Tasks",
            Self::Models => "Models",
            Self::Requests => "Requests",
        }
    }

    fn of(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.path() == path)
    }
}

/// The parts of a page as they are now.
async fn parts_of(
    ui: &Shared,
    kind: Kind,
    fields: &Fields,
    session: &Session,
) -> Result<Vec<Part>, LedgerError> {
    let period = view::Period::of(fields.get("since"));
    let records = ui.pages.ledger.records();
    let at = now();
    match kind {
        Kind::Overview => {
            let overview = source::overview(&ui.pages, period, at).await?;
            Ok(page::overview::parts(&overview, &session.form_token))
        }
        Kind::Requests => {
            let filter = source::filter(fields);
            let list = source::requests(records, &filter, period, at).await?;
            Ok(vec![page::requests::list(&list, source::MOST_REQUESTS)])
        }
        Kind::People | Kind::Teams | Kind::Tasks | Kind::Models => {
            let tables = source::tables(records, kind, period, at).await?;
            Ok(page::groups::parts(&tables, period))
        }
    }
}

async fn show(ui: &Shared, kind: Kind, headers: &HeaderMap, query: Option<&str>) -> Response {
    let session = match session_of(ui, headers) {
        Ok(session) => session,
        Err(response) => return *response,
    };
    let fields = Fields::read(query.unwrap_or_default());
    let mut parts = match parts_of(ui, kind, &fields, &session).await {
        Ok(parts) => parts,
        Err(error) => return unread(&error),
    };
    let period = view::Period::of(fields.get("since"));
    let filter = source::filter(&fields);
    if kind == Kind::Requests {
        parts.insert(0, page::requests::filters(&filter, period));
    }
    let mut live = format!(
        "page={}&since={}",
        html::UrlPart(kind.path()),
        period.name()
    );
    for (name, _, value) in filter.fields() {
        if let Some(value) = value {
            live.push('&');
            live.push_str(name);
            live.push('=');
            live.push_str(&html::UrlPart(value).to_string());
        }
    }
    let Ok(nonce) = session::nonce() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let frame = Frame {
        nonce: &nonce,
        title: kind.title(),
        path: kind.path(),
        live: Some(live),
        period: Some(period),
        form_token: &session.form_token,
    };
    guarded(StatusCode::OK, &nonce, page::whole(&frame, &parts))
}

/// A page that is not live.
fn still(session: &Session, title: &'static str, path: &str, parts: &[Part]) -> Response {
    let Ok(nonce) = session::nonce() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let frame = Frame {
        nonce: &nonce,
        title,
        path,
        live: None,
        period: None,
        form_token: &session.form_token,
    };
    guarded(StatusCode::OK, &nonce, page::whole(&frame, parts))
}

async fn overview(ui: Ui, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    show(&ui, Kind::Overview, &headers, query.as_deref()).await
}

async fn people(ui: Ui, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    show(&ui, Kind::People, &headers, query.as_deref()).await
}

async fn teams(ui: Ui, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    show(&ui, Kind::Teams, &headers, query.as_deref()).await
}

async fn tasks(ui: Ui, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    show(&ui, Kind::Tasks, &headers, query.as_deref()).await
}

async fn models(ui: Ui, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    show(&ui, Kind::Models, &headers, query.as_deref()).await
}

async fn requests(ui: Ui, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    show(&ui, Kind::Requests, &headers, query.as_deref()).await
}

async fn request(ui: Ui, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let session = match session_of(&ui, &headers) {
        Ok(session) => session,
        Err(response) => return *response,
    };
    match source::request(ui.pages.ledger.records(), &id).await {
        Err(error) => unread(&error),
        Ok(None) => message(
            StatusCode::NOT_FOUND,
            "Not found",
            "There is no such request in the ledger (any more).",
        ),
        Ok(Some(found)) => {
            let parts = page::requests::one(&found.request, &found.attempts, found.bodies.as_ref());
            still(&session, "Request", "/ui/requests/one", &parts)
        }
    }
}

async fn keys(ui: Ui, headers: HeaderMap) -> Response {
    let session = match session_of(&ui, &headers) {
        Ok(session) => session,
        Err(response) => return *response,
    };
    match source::keys(&ui.pages.ledger).await {
        Err(error) => unread(&error),
        Ok(keys) => {
            let parts = page::keys::parts(&keys, &session.form_token);
            still(&session, "Keys", "/ui/keys", &parts)
        }
    }
}

async fn make_key(ui: Ui, headers: HeaderMap, body: Bytes) -> Response {
    let (session, fields) = match form_of(&ui, &headers, &body) {
        Ok(form) => form,
        Err(response) => return *response,
    };
    let key = match source::new_key(&fields, &session.who) {
        Ok(key) => key,
        Err(problem) => return message(StatusCode::BAD_REQUEST, "Not made", problem),
    };
    let user = key.user.clone();
    match ui.pages.ledger.create_key(key).await {
        Err(error) => unread(&error),
        Ok((secret, _)) => {
            // The one place where a new key is shown: on the page of the one who made it.
            let parts = page::keys::made(secret.expose(), &user);
            still(&session, "Keys", "/ui/keys", &parts)
        }
    }
}

async fn revoke_key(ui: Ui, Path(id): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(response) = form_of(&ui, &headers, &body) {
        return *response;
    }
    match ui.pages.ledger.revoke_key(&id).await {
        Err(error) => unread(&error),
        Ok(_) => redirect("/ui/keys"),
    }
}

async fn answer(ui: Ui, Path(id): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let (session, fields) = match form_of(&ui, &headers, &body) {
        Ok(form) => form,
        Err(response) => return *response,
    };
    let (answer, until) = match fields.get("answer") {
        Some("go") => (Answer::GoOn, None),
        Some("stop") => {
            let until =
                (ui.pages.stop_for)().map(|length| (now() + length.as_secs() as i64) * 1000);
            (Answer::Stop, until)
        }
        _ => {
            let words = "An answer is `go` or `stop`.";
            return message(StatusCode::BAD_REQUEST, "Not done", words);
        }
    };
    match ui
        .pages
        .ledger
        .answer(&id, answer, &session.who, until)
        .await
    {
        Err(error) => unread(&error),
        Ok(_) => redirect("/ui"),
    }
}

#[cfg(test)]
mod tests;
