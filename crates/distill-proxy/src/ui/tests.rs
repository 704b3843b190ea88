//! The pages over HTTP: who gets in, what a button does, what a hostile name cannot do.

use std::{sync::Arc, time::Duration};

use distill_chat::Usage;
use distill_gateway::{BreakerSettings, Secret, TargetHealth, Usd};
use distill_ledger::{
    Answer, AttemptEnd, AttemptStart, Caller, KeyLimits, Ledger, NewQuestion, QuestionFilter,
    RequestEnd, RequestFilter, RequestStart, Role, Scope, Store,
};
use reqwest::{Client, StatusCode, header, redirect::Policy};

use super::{AlertView, Pages, TargetView, router};

/// A name that would run a script, close a tag, an attribute or an address if it were not escaped.
const HOSTILE: &str =
    "\"><script>alert('x')</script><img src=x onerror=alert(1)>&user=root#\u{202e}";
const ADMIN_KEY: &str = "admin-key-of-the-test";

struct Site {
    address: String,
    ledger: Ledger,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn start(open: bool) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let folder = tempfile::tempdir().unwrap();
        let store = Store::Sqlite(folder.path().join("ledger.sqlite"));
        let ledger = Ledger::open(store).await.unwrap();
        ledger.set_admin_key(open.then(|| Secret::new(ADMIN_KEY)).as_ref());
        let target = TargetView {
            target: format!("vendor/{HOSTILE}"),
            routes: vec![HOSTILE.to_owned()],
            simulated: true,
            health: TargetHealth::new(BreakerSettings::default())
                .snapshot(tokio::time::Instant::now()),
            notes: vec![HOSTILE.to_owned()],
        };
        let alert = AlertView {
            at: 1_769_879_109,
            wording: HOSTILE.to_owned(),
        };
        let pages = Pages {
            ledger: ledger.clone(),
            targets: Arc::new(move || vec![target.clone()]),
            alerts: Arc::new(move || vec![alert.clone()]),
            stop_for: Arc::new(|| Some(Duration::from_hours(1))),
            admin_key: Arc::new(move || open),
            stopping: Arc::new(|| false),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router(pages)).into_future());
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .tls_certs_only([])
            .build()
            .unwrap();
        Self {
            address: format!("http://{address}"),
            ledger,
            client,
            _folder: folder,
        }
    }

    async fn get(&self, path: &str, cookie: &str) -> (StatusCode, String) {
        let response = self
            .client
            .get(format!("{}{path}", self.address))
            .header(header::COOKIE, cookie)
            .send()
            .await
            .unwrap();
        (response.status(), response.text().await.unwrap())
    }

    async fn post(&self, path: &str, cookie: &str, form: &str) -> reqwest::Response {
        self.client
            .post(format!("{}{path}", self.address))
            .header(header::COOKIE, cookie)
            .body(form.to_owned())
            .send()
            .await
            .unwrap()
    }

    /// The cookie of a new login.
    async fn log_in(&self) -> String {
        let response = self
            .post("/ui/login", "", &format!("key={ADMIN_KEY}"))
            .await;
        assert_eq!(response.status(), StatusCode::SEE_OTHER);
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    }

    /// The token that a page's forms carry.
    async fn token(&self, cookie: &str) -> String {
        let (_, page) = self.get("/ui/keys", cookie).await;
        let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    /// Puts a request with one attempt on record, all of whose names are `name`.
    async fn record(&self, id: &str, name: &str) {
        let some = || Some(name.to_owned());
        let caller = Caller {
            key_id: name.to_owned(),
            user: name.to_owned(),
            team: some(),
            discipline: some(),
            level: some(),
            role: Role::User,
            models: vec![],
            limits: KeyLimits::default(),
        };
        let start = RequestStart {
            id: id.to_owned(),
            caller: Arc::new(caller),
            task: Some((name.to_owned(), name.to_owned())),
            route: name.to_owned(),
            model_asked: name.to_owned(),
            dialect: "openai.chat_completions",
            streamed: false,
            session: None,
            worst_tokens: 10,
        };
        let open = self.ledger.begin(start).await.unwrap();
        let attempt = AttemptStart {
            number: 1,
            target: format!("vendor/{name}"),
            simulated: true,
            reserved: Usd::from_dollars(0.5),
        };
        open.reserve(attempt).await.unwrap().settle(AttemptEnd {
            outcome: "answered",
            usd: Some(Usd::from_dollars(0.001_23)),
            usage: Usage {
                input_tokens: Some(1234),
                output_tokens: Some(30),
                reasoning_tokens: Some(10),
                ..Usage::default()
            },
            status: Some(200),
            model: some(),
            fingerprint: some(),
            response_id: some(),
            latency: Some(Duration::from_millis(120)),
            first_token: None,
        });
        open.finish(RequestEnd {
            status: 200,
            outcome: "answered",
            answered_by: Some(format!("vendor/{name}")),
            cache: None,
        });
        self.until_recorded(id).await;
    }

    /// The tables have a request a moment after it ended.
    async fn until_recorded(&self, id: &str) {
        let filter = RequestFilter {
            id: Some(id.to_owned()),
            outcome: Some("answered".to_owned()),
            ..RequestFilter::default()
        };
        for _ in 0..600 {
            if !self
                .ledger
                .records()
                .requests(&filter)
                .await
                .unwrap()
                .is_empty()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the request is not on record");
    }

    async fn ask(&self, wording: &str) -> String {
        let question = NewQuestion {
            about: Scope::User("ada".to_owned()),
            user: Some(wording.to_owned()),
            rule: "usd".to_owned(),
            wording: wording.to_owned(),
            holds: true,
            default: Answer::Stop,
            deadline_ms: 1_900_000_000_000,
        };
        self.ledger.raise(question).await.unwrap().id
    }
}

const PATHS: [&str; 7] = [
    "/ui",
    "/ui/people",
    "/ui/teams",
    "/ui/tasks",
    "/ui/models",
    "/ui/requests",
    "/ui/keys",
];

#[tokio::test]
async fn without_a_login_every_page_asks_for_the_key_and_shows_nothing() {
    let site = Site::start(true).await;
    // No name that a random nonce in hexadecimal could spell.
    site.record("req_1", "grace").await;
    for path in PATHS.into_iter().chain(["/ui/requests/req_1"]) {
        for cookie in ["", "distill_session=0123"] {
            let (_, page) = site.get(path, cookie).await;
            assert!(
                page.contains("Admin key") && !page.contains("grace"),
                "{path}: {page}"
            );
        }
    }
    assert_eq!(
        site.get("/ui/live?page=%2Fui", "").await.0,
        StatusCode::UNAUTHORIZED
    );
    for (path, form) in [
        ("/ui/keys", "user=eve"),
        ("/ui/questions/q", "answer=go"),
        ("/ui/keys/k/revoke", ""),
    ] {
        let page = site.post(path, "", form).await.text().await.unwrap();
        assert!(page.contains("Admin key"), "{path}");
    }
    assert!(site.ledger.list_keys().await.unwrap().is_empty());
}

#[tokio::test]
async fn only_an_admin_key_opens_the_pages_and_guesses_are_counted() {
    let site = Site::start(true).await;
    let fields = super::Fields::read("user=eve");
    let key = super::source::new_key(&fields, "test").unwrap();
    let (users_key, _) = site.ledger.create_key(key).await.unwrap();
    for wrong in ["", "wrong", users_key.expose()] {
        let response = site.post("/ui/login", "", &format!("key={wrong}")).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().get(header::SET_COOKIE).is_none());
    }
    let cookie = site.log_in().await;
    assert!(site.get("/ui", &cookie).await.1.contains("Overview"));
    for _ in 0..20 {
        site.post("/ui/login", "", "key=wrong").await;
    }
    let right = site
        .post("/ui/login", "", &format!("key={ADMIN_KEY}"))
        .await;
    assert_eq!(right.status(), StatusCode::TOO_MANY_REQUESTS);
    let closed = Site::start(false).await;
    assert!(closed.get("/ui", "").await.1.contains("admin_key_env"));
    let response = closed
        .post("/ui/login", "", &format!("key={ADMIN_KEY}"))
        .await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn logging_out_ends_the_session() {
    let site = Site::start(true).await;
    let cookie = site.log_in().await;
    let token = site.token(&cookie).await;
    let response = site
        .post("/ui/logout", &cookie, &format!("token={token}"))
        .await;
    assert!(
        response.headers()[header::SET_COOKIE]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    assert!(site.get("/ui", &cookie).await.1.contains("Admin key"));
}

#[tokio::test]
async fn a_form_without_its_token_or_from_another_site_does_nothing() {
    let site = Site::start(true).await;
    let cookie = site.log_in().await;
    let token = site.token(&cookie).await;
    let question = site.ask("ada spent $12 in an hour").await;
    let path = format!("/ui/questions/{question}");
    for form in ["answer=go".to_owned(), "answer=go&token=0000".to_owned()] {
        assert_eq!(
            site.post(&path, &cookie, &form).await.status(),
            StatusCode::FORBIDDEN
        );
    }
    let forged = site
        .client
        .post(format!("{}{path}", site.address))
        .header(header::COOKIE, &cookie)
        .header("sec-fetch-site", "cross-site")
        .body(format!("answer=go&token={token}"))
        .send()
        .await
        .unwrap();
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    let open = QuestionFilter {
        only_open: true,
        ..QuestionFilter::default()
    };
    assert_eq!(
        site.ledger.records().questions(&open).await.unwrap().len(),
        1
    );
}

#[tokio::test]
async fn a_question_is_answered_by_its_button_and_the_answer_can_be_taken_back() {
    let site = Site::start(true).await;
    let cookie = site.log_in().await;
    let token = site.token(&cookie).await;
    let id = site
        .ask("ada spent $12 in an hour, 8 times the usual")
        .await;
    let (_, page) = site.get("/ui", &cookie).await;
    assert!(page.contains("8 times the usual") && page.contains(&format!("stop-{id}")));
    let path = format!("/ui/questions/{id}");
    let press = async |answer: &str| {
        let form = format!("token={token}&answer={answer}");
        let response = site.post(&path, &cookie, &form).await;
        (response.status(), site.get("/ui", &cookie).await.1)
    };
    let (status, page) = press("stop").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert!(page.contains("answered with <b>stop</b>") && page.contains("Stopped until"));
    assert!(!page.contains(&format!("stop-{id}")), "already stopped");
    let (_, page) = press("go").await;
    assert!(
        !page.contains("8 times the usual"),
        "nothing is left to answer"
    );
    let questions = site
        .ledger
        .records()
        .questions(&QuestionFilter::default())
        .await
        .unwrap();
    assert_eq!(questions[0].answer, Some(Answer::GoOn));
    assert_eq!(press("maybe").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_key_is_shown_once_and_can_be_revoked() {
    let site = Site::start(true).await;
    let cookie = site.log_in().await;
    let token = site.token(&cookie).await;
    let form = format!("token={token}&user=ada&team=search&models=fast&usd_per_month=25");
    let page = site
        .post("/ui/keys", &cookie, &form)
        .await
        .text()
        .await
        .unwrap();
    let (_, rest) = page.split_once("id=\"new-key\">").unwrap();
    let key = rest.split('<').next().unwrap().to_owned();
    let caller = site.ledger.identify(&key).await.unwrap();
    assert_eq!((caller.user.as_str(), caller.role), ("ada", Role::User));
    let (_, list) = site.get("/ui/keys", &cookie).await;
    assert!(list.contains("$25.00 a month") && !list.contains(&key));
    let id = site.ledger.list_keys().await.unwrap()[0].id.clone();
    let path = format!("/ui/keys/{id}/revoke");
    let response = site.post(&path, &cookie, &format!("token={token}")).await;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert!(site.ledger.identify(&key).await.is_none());
    assert!(site.get("/ui/keys", &cookie).await.1.contains("revoked"));
    let nobody = site
        .post("/ui/keys", &cookie, &format!("token={token}&team=x"))
        .await;
    assert_eq!(nobody.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn no_name_leaves_its_place_on_any_page() {
    let site = Site::start(true).await;
    site.record("req_hostile", HOSTILE).await;
    site.ask(HOSTILE).await;
    let cookie = site.log_in().await;
    let token = site.token(&cookie).await;
    let form = format!(
        "token={token}&user={}&team=t",
        super::html::UrlPart(HOSTILE)
    );
    let made = site
        .post("/ui/keys", &cookie, &form)
        .await
        .text()
        .await
        .unwrap();
    let filtered = format!("/ui/requests?user={}", super::html::UrlPart(HOSTILE));
    let mut pages = vec![made];
    for path in PATHS
        .into_iter()
        .chain(["/ui/requests/req_hostile", &filtered])
    {
        let (status, page) = site.get(path, &cookie).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(
            path == "/ui/keys" || page.contains("&quot;&gt;&lt;script&gt;"),
            "{path} shows it"
        );
        pages.push(page);
    }
    for page in pages {
        assert!(
            !page.contains("<script>alert") && !page.contains("<img"),
            "{page}"
        );
        assert!(!page.contains('\u{202e}'), "{page}");
        assert_eq!(page.matches("<script").count(), 1, "{page}");
        assert!(!page.contains(ADMIN_KEY));
    }
}

#[tokio::test]
async fn a_page_loads_and_sends_only_what_is_its_own() {
    let site = Site::start(true).await;
    let cookie = site.log_in().await;
    let mut policies = Vec::new();
    for _ in 0..2 {
        let response = site
            .client
            .get(format!("{}/ui", site.address))
            .header(header::COOKIE, &cookie)
            .send()
            .await
            .unwrap();
        let headers = response.headers().clone();
        let page = response.text().await.unwrap();
        let policy = headers[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let nonce = policy
            .split("nonce-")
            .nth(1)
            .unwrap()
            .split('\'')
            .next()
            .unwrap();
        assert_eq!(page.matches(nonce).count(), 2, "script and style");
        assert!(
            !page.contains("style=") && !page.contains("onclick"),
            "nothing inline"
        );
        for outside in ["http://", "https://", "//cdn"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY");
        policies.push(policy);
    }
    assert_ne!(policies[0], policies[1]);
}

#[tokio::test]
async fn a_live_page_gets_its_parts_and_then_what_changed() {
    let site = Site::start(true).await;
    let cookie = site.log_in().await;
    let mut response = site
        .client
        .get(format!("{}/ui/live?page=%2Fui&since=1h", site.address))
        .header(header::COOKIE, &cookie)
        .send()
        .await
        .unwrap();
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let mut buffer = String::new();
    let first = event(&mut response, &mut buffer).await.unwrap();
    let parts = |text: &str| -> serde_json::Value {
        serde_json::from_str(text.strip_prefix("event: parts\ndata: ").unwrap()).unwrap()
    };
    let before = parts(&first);
    assert!(before["totals"].as_str().unwrap().contains("n = 0"));
    assert!(before["over-time"].as_str().unwrap().contains("n = 0"));
    site.record("req_live", "ada").await;
    let changed = loop {
        let text = event(&mut response, &mut buffer).await.unwrap();
        if text.starts_with("event: parts") {
            let changed = parts(&text);
            // A request that is seen while it is under way is drawn again when it ended.
            let latest = changed["latest"].as_str();
            if latest.is_some_and(|part| part.contains("answered</span>")) {
                break changed;
            }
        }
    };
    assert!(changed["totals"].as_str().unwrap().contains("$0.0012"));
    assert!(changed["latest"].as_str().unwrap().contains("r-req_live"));
    assert!(changed.get("questions").is_none(), "nothing new there");
    let token = site.token(&cookie).await;
    site.post("/ui/logout", &cookie, &format!("token={token}"))
        .await;
    let mut last = String::new();
    while let Some(text) = event(&mut response, &mut buffer).await {
        last = text;
    }
    assert_eq!(last, "event: ended\ndata: {}");
}

/// The next event or comment of a stream; `None` at its end.
async fn event(response: &mut reqwest::Response, buffer: &mut String) -> Option<String> {
    loop {
        if let Some((event, rest)) = buffer.split_once("\n\n") {
            let event = event.to_owned();
            *buffer = rest.to_owned();
            return Some(event);
        }
        let bytes = response.chunk().await.unwrap()?;
        buffer.push_str(std::str::from_utf8(&bytes).unwrap());
    }
}

#[tokio::test]
async fn live_pages_are_bounded() {
    let site = Site::start(true).await;
    let cookie = site.log_in().await;
    let mut open = Vec::new();
    let live = async || {
        site.client
            .get(format!("{}/ui/live?page=%2Fui%2Frequests", site.address))
            .header(header::COOKIE, &cookie)
            .send()
            .await
            .unwrap()
    };
    for _ in 0..super::live::MOST_STREAMS {
        let response = live().await;
        assert_eq!(response.status(), StatusCode::OK);
        open.push(response);
    }
    assert_eq!(live().await.status(), StatusCode::SERVICE_UNAVAILABLE);
}
