//! A proxy on a free port before a simulated vendor.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use distill_gateway::{
    Secret,
    simulate::{FaultShares, LatencySettings, ModelSettings, SimulatedProvider, SimulatorSettings},
};
use distill_ledger::{Ledger, NewKey, Role, Store};
use distill_proxy::{
    config::{Config, Day, Sources},
    server::{ConnectionLimits, Drained, Proxy, Setup, World},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) const ADMIN_KEY: &str = "admin-key-of-the-test";

/// Routes over both simulated vendors; tests put their own lines behind it.
pub(crate) const CONFIG: &str = "\
admin_key_env: TEST_ADMIN_KEY
vendors:
  sim: {like: simulated, price: {input: 1, output: 5}}
  ant: {like: simulated-anthropic, price: {input: 3, output: 15}}
models:
  fast: [sim/small]
  claude: [ant/claude]
  both: [sim/small, ant/claude]
";

pub(crate) struct Fixture {
    pub(crate) proxy: Proxy,
    pub(crate) ledger: Ledger,
    pub(crate) base: String,
    /// A user's key.
    pub(crate) key: Secret,
    pub(crate) log: Arc<Mutex<Vec<String>>>,
    pub(crate) text: Arc<Mutex<String>>,
    pub(crate) folder: TempDir,
    pub(crate) stop: CancellationToken,
    http: reqwest::Client,
    served: Option<JoinHandle<Drained>>,
    pub(crate) vendor: SimulatedProvider,
}

pub(crate) fn settings() -> SimulatorSettings {
    SimulatorSettings {
        improvise: true,
        latency: LatencySettings {
            median: Duration::from_millis(1),
            p95: Duration::from_millis(2),
        },
        models: [
            ("small", 1.0, 5.0),
            ("claude", 3.0, 15.0),
            ("faulty", 1.0, 5.0),
        ]
        .map(|(name, input, output)| ModelSettings {
            name: name.to_owned(),
            accuracy: None,
            latency: None,
            faults: (name == "faulty").then(|| FaultShares {
                server_error: 1.0,
                ..FaultShares::default()
            }),
            reasoning: 0.0,
            input_usd_per_million: input,
            output_usd_per_million: output,
        })
        .to_vec(),
        ..SimulatorSettings::default()
    }
}

pub(crate) fn load(text: &str, folder: &Path) -> Result<Config, String> {
    Config::load(
        "proxy.yaml",
        text,
        &Sources {
            environment: &|name| match name {
                "TEST_ADMIN_KEY" => Some(ADMIN_KEY.to_owned()),
                "TEST_VENDOR_KEY" => Some("planted-vendor-key".to_owned()),
                _ => None,
            },
            folder,
            state: folder,
            today: Day::parse("2026-06-01").unwrap(),
            prices: None,
        },
    )
    .map_err(|findings| findings.to_text())
}

impl Fixture {
    /// With the common routes and these lines.
    pub(crate) async fn with(lines: &str) -> Self {
        Self::of(&format!("{CONFIG}{lines}"), settings(), None).await
    }

    pub(crate) async fn of(
        text: &str,
        settings: SimulatorSettings,
        limits: Option<ConnectionLimits>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vendor = SimulatedProvider::builder(Vec::new(), settings)
            .start()
            .await
            .unwrap();
        let (openai, anthropic) = (vendor.openai_base_url(), vendor.anthropic_base_url());
        let config = load(text, folder.path()).unwrap_or_else(|findings| panic!("{findings}"));
        let ledger = Ledger::open(Store::Sqlite(folder.path().join("ledger.db")))
            .await
            .unwrap();
        let (key, _) = ledger
            .create_key(new_key("ada", Some("core")))
            .await
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        let text = Arc::new(Mutex::new(text.to_owned()));
        let (reread, place) = (text.clone(), folder.path().to_owned());
        let proxy = Proxy::start(Setup {
            config,
            ledger: ledger.clone(),
            world: World {
                addresses: Arc::new(move |vendor| match vendor.row.name {
                    "simulated" => Some(openai.clone()),
                    "simulated-anthropic" => Some(anthropic.clone()),
                    _ => None,
                }),
                today: Arc::new(|| Day::parse("2026-06-01").unwrap()),
            },
            loader: Some(Arc::new(move || load(&reread.lock().unwrap(), &place))),
            measure: None,
            log: Arc::new(move |line| {
                lines.lock().unwrap().push(line);
                true
            }),
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let served = tokio::spawn({
            let (proxy, stop) = (proxy.clone(), stop.clone());
            let limits = limits.unwrap_or_else(|| proxy.connection_limits());
            async move { proxy.serve(listener, &limits, &stop).await }
        });
        Self {
            proxy,
            ledger,
            base,
            key,
            log,
            text,
            folder,
            stop,
            http: client(),
            served: Some(served),
            vendor,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Posts as the user.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.request(Method::POST, path)
            .bearer_auth(self.key.expose())
            .json(body)
            .send()
            .await
            .unwrap()
    }

    /// Gets as the user.
    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path)
            .bearer_auth(self.key.expose())
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn admin(&self, method: Method, path: &str) -> Response {
        self.request(method, path)
            .header("x-api-key", ADMIN_KEY)
            .send()
            .await
            .unwrap()
    }

    /// Stops the server and waits until it has ended.
    pub(crate) async fn stopped(&mut self) -> Drained {
        self.stop.cancel();
        self.served.take().unwrap().await.unwrap()
    }

    /// Log lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap()
}

pub(crate) fn new_key(user: &str, team: Option<&str>) -> NewKey {
    NewKey {
        user: user.to_owned(),
        team: team.map(str::to_owned),
        discipline: None,
        level: None,
        role: Role::User,
        models: Vec::new(),
        limits: distill_ledger::KeyLimits::default(),
        note: None,
        expires_ms: None,
    }
}

pub(crate) async fn json_of(response: Response, status: u16) -> Value {
    let found = response.status();
    let text = response.text().await.unwrap();
    assert_eq!(found, StatusCode::from_u16(status).unwrap(), "{text}");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

pub(crate) fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Say something short."}]})
}

pub(crate) fn messages(model: &str) -> Value {
    json!({"model": model, "max_tokens": 100,
        "messages": [{"role": "user", "content": "Say something short."}]})
}

pub(crate) fn responses(model: &str) -> Value {
    json!({"model": model, "input": "Say something short."})
}

/// Waits until something holds, within a generous bound.
pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came");
}
