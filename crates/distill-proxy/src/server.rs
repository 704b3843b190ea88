//! The HTTP server: connections, endpoints, who is asking, and the way of a request through the rest.
//!
//! **Start reading** at [`Proxy::start`], then [`Proxy::serve`]; a request comes in at `dispatch` and
//! goes on to `exchange`.

mod admin;
mod authenticate;
mod body;
mod connection;
mod count_tokens;
mod dispatch;
mod exchange;
mod live;
mod models;
mod paths;
mod permission;
mod service;
mod story;

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use distill_ledger::{Caller, Clock, Ledger};
use serde_json::json;
use tokio::{net::TcpListener, sync::Mutex, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cache::Cache,
    config::Config,
    forward::{Engine, EngineSettings},
    http,
    telemetry::{Contexts, Exporter, LogSink, Metrics, Notice, observe},
    ui::{self, AlertView, Pages},
    watch::{Alerts, Measure, Poster, Tell, Watch, Watching},
};
pub use connection::{ConnectionLimits, Drained};
pub use live::{Addresses, Live, LiveError, World};

/// Reads the configuration again; findings come laid out.
pub type Loader = Arc<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// What a proxy is made of.
pub struct Setup {
    pub config: Config,
    pub ledger: Ledger,
    pub world: World,
    /// `None`: the configuration cannot be read again.
    pub loader: Option<Loader>,
    pub log: LogSink,
    /// Measures the quality of targets, where the configuration asks for it.
    pub measure: Option<Measure>,
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error("preparing the connection to the collector of traces")]
    Collector(#[source] reqwest::Error),
}

/// What came of reading the configuration again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Hash of the configuration that answers now.
    pub digest: String,
    /// Whether anything differs.
    pub changed: bool,
    /// Keys whose change takes effect only when the process starts again.
    pub needs_restart: Vec<&'static str>,
}

/// The proxy. Clones share it.
#[derive(Clone)]
pub struct Proxy(Arc<Shared>);

/// What every request sees.
pub(crate) struct Shared {
    live: Current,
    world: World,
    loader: Option<Loader>,
    reloading: Mutex<()>,
    pub(crate) ledger: Ledger,
    pub(crate) engine: Engine,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traces: Arc<Contexts>,
    anonymous: Arc<Caller>,
    sink: LogSink,
    ids: RequestIds,
    /// What is still to be told of requests whose head is out.
    endings: TaskTracker,
    stopping: Arc<AtomicBool>,
    pub(crate) cache: Cache,
    pub(crate) alerts: Alerts,
    /// The pages.
    pages: axum::Router,
    telling: Mutex<Option<Telling>>,
}

/// What runs beside the requests and hears of them.
struct Telling {
    stop: CancellationToken,
    observer: JoinHandle<()>,
    /// Ends when nobody can give it spans any more and the last are sent.
    exporter: Option<JoinHandle<()>>,
    watch: Watch,
}

/// The configuration that answers now.
type Current = Arc<RwLock<Arc<Live>>>;

fn current(live: &Current) -> Arc<Live> {
    live.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Proxy").finish_non_exhaustive()
    }
}

/// How long the spans that wait at the end may take to be sent.
const LAST_SPANS: Duration = Duration::from_secs(3);
/// How long the database of a shared ledger may take for what happened last.
const LAST_ENTRIES: Duration = Duration::from_secs(10);

impl Proxy {
    /// Makes the routes and starts what runs in the background.
    ///
    /// # Errors
    /// [`StartError`] names what of the configuration cannot run.
    pub fn start(setup: Setup) -> Result<Self, StartError> {
        let live = Live::build(setup.config, &setup.world, None)?;
        let ledger = setup.ledger;
        ledger.set_admin_key(live.config.admin_key.as_ref());
        ledger.set_limits(live.config.limits.clone());
        let metrics = Arc::new(Metrics::default());
        let traces = Arc::new(Contexts::default());
        let cache = Cache::default();
        cache.apply(&live.config);
        let (exporter, sending) = exporter(&live.config, &metrics)?;
        let live: Current = Arc::new(RwLock::new(Arc::new(live)));
        let stop = CancellationToken::new();
        let observer = tokio::spawn(observe(
            ledger.subscribe(),
            metrics.clone(),
            traces.clone(),
            exporter,
            cache.clone(),
            stop.clone(),
        ));
        let (alerts, poster) = alerts(&live, &setup.log, &metrics);
        let watch = Watch::start(Watching {
            ledger: ledger.clone(),
            live: Arc::new({
                let live = live.clone();
                move || current(&live)
            }),
            alerts: alerts.clone(),
            poster,
            clock: Clock::System,
            measure: setup.measure,
        });
        let stopping = Arc::new(AtomicBool::new(false));
        let pages = pages(&live, &ledger, &alerts, stopping.clone());
        let engine = engine(alerts.clone());
        Ok(Self(Arc::new(Shared {
            live,
            world: setup.world,
            loader: setup.loader,
            reloading: Mutex::new(()),
            ledger,
            engine,
            metrics,
            traces,
            anonymous: Arc::new(authenticate::anonymous()),
            sink: setup.log,
            ids: RequestIds::default(),
            endings: TaskTracker::new(),
            stopping,
            cache,
            alerts,
            pages,
            telling: Mutex::new(Some(Telling {
                stop,
                observer,
                exporter: sending,
                watch,
            })),
        })))
    }

    /// Serves until `stop` is cancelled; then takes nobody new, lets answers in flight finish within
    /// the bound, and tells what is still to be told.
    pub async fn serve(
        &self,
        listener: TcpListener,
        limits: &ConnectionLimits,
        stop: &CancellationToken,
    ) -> Drained {
        let shared = self.0.clone();
        let stopping = async {
            stop.cancelled().await;
            self.0.stopping.store(true, Ordering::Relaxed);
            std::future::pending::<()>().await;
        };
        let drained = tokio::select! {
            drained = connection::accept(listener, limits, stop, move |peer, request| {
                dispatch::respond(shared.clone(), peer, request)
            }) => drained,
            () = stopping => unreachable!("it waits for ever"),
        };
        self.0.endings.close();
        self.0.endings.wait().await;
        drained
    }

    /// Sends the last spans, and has the ledger put what it knows on record.
    pub async fn close(self) {
        let Some(telling) = self.0.telling.lock().await.take() else {
            return;
        };
        telling.watch.close().await;
        telling.stop.cancel();
        let told = async {
            // A task that panicked has nothing left to tell.
            let _ = telling.observer.await;
            if let Some(exporter) = telling.exporter {
                let _ = exporter.await;
            }
        };
        let _ = tokio::time::timeout(LAST_SPANS, told).await;
        // The ledger of one process is brought up to date when its last clone is dropped; one that
        // instances share would lose what still waits for the database.
        let closing = self.0.ledger.clone().close();
        if tokio::time::timeout(LAST_ENTRIES, closing).await.is_err() {
            self.0.notice(
                "ledger",
                "its database did not answer: what it did not get stays reserved".to_owned(),
            );
        }
    }

    /// Bounds of connections as the configuration sets them.
    pub fn connection_limits(&self) -> ConnectionLimits {
        let security = &self.0.live().config.security;
        ConnectionLimits {
            connections: security.max_connections as usize,
            header_bytes: security.max_header_bytes as usize,
            header_time: security.header_timeout,
            ..ConnectionLimits::default()
        }
    }

    /// The configuration that answers now, with its routes.
    pub fn live(&self) -> Arc<Live> {
        self.0.live()
    }

    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// Reads the configuration again and answers by it from the next request on; requests under way
    /// finish by the one that they began with.
    ///
    /// # Errors
    /// The findings; the configuration before stays.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        self.0.reload().await
    }
}

impl Shared {
    pub(crate) fn live(&self) -> Arc<Live> {
        current(&self.live)
    }

    pub(crate) fn log(&self, line: String) {
        if !(self.sink)(line) {
            self.metrics.log_dropped();
        }
    }

    pub(crate) fn notice(&self, what: &'static str, message: String) {
        let format = self.live().config.telemetry.log;
        self.log(Notice { what, message }.render(format, story::now_ms()));
    }

    pub(crate) async fn reload(&self) -> Result<Reloaded, String> {
        let _one_at_a_time = self.reloading.lock().await;
        let result = self.read_again().await;
        match &result {
            Ok(reloaded) if reloaded.changed => {
                self.metrics.reloaded(true);
                let mut message = format!("configuration {} answers", reloaded.digest);
                if !reloaded.needs_restart.is_empty() {
                    message.push_str("; these change only with a restart: ");
                    message.push_str(&reloaded.needs_restart.join(", "));
                }
                self.notice("reload", message);
            }
            Ok(_) => {}
            Err(findings) => {
                self.metrics.reloaded(false);
                self.notice(
                    "reload",
                    format!("refused, the configuration before stays: {findings}"),
                );
            }
        }
        result
    }

    async fn read_again(&self) -> Result<Reloaded, String> {
        let Some(loader) = self.loader.clone() else {
            return Err("this proxy was started without a file to read again".to_owned());
        };
        let config = tokio::task::spawn_blocking(move || loader())
            .await
            .map_err(|_| "reading the configuration broke off".to_owned())??;
        let old = self.live();
        let needs_restart = old.needs_restart(&config);
        let live =
            Live::build(config, &self.world, Some(&old)).map_err(|error| error.to_string())?;
        let digest = live.config.digest.clone();
        // The same text answers otherwise when another version of a task was released.
        if digest == old.config.digest && live.tasks.list() == old.tasks.list() {
            return Ok(Reloaded {
                digest,
                changed: false,
                needs_restart: Vec::new(),
            });
        }
        self.ledger.set_admin_key(live.config.admin_key.as_ref());
        self.ledger.set_limits(live.config.limits.clone());
        self.cache.apply(&live.config);
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(live);
        Ok(Reloaded {
            digest,
            changed: true,
            needs_restart,
        })
    }
}

type Exporting = (Option<Exporter>, Option<JoinHandle<()>>);

fn exporter(config: &Config, metrics: &Arc<Metrics>) -> Result<Exporting, StartError> {
    let Some(otlp) = &config.telemetry.otlp else {
        return Ok((None, None));
    };
    let client = http::client(http::Reach::of(&otlp.endpoint)).map_err(StartError::Collector)?;
    let (exporter, task) = Exporter::start(otlp, client, metrics.clone());
    Ok((Some(exporter), Some(task)))
}

/// Where alerts go: the log, and the webhook that the configuration names.
fn alerts(live: &Current, log: &LogSink, metrics: &Arc<Metrics>) -> (Alerts, Poster) {
    let tell: Tell = {
        let (live, log, metrics) = (live.clone(), log.clone(), metrics.clone());
        Arc::new(move |what, message| {
            let format = current(&live).config.telemetry.log;
            if !log(Notice { what, message }.render(format, story::now_ms())) {
                metrics.log_dropped();
            }
        })
    };
    let poster = Poster::new(tell.clone());
    let send: Tell = {
        let (live, poster) = (live.clone(), poster.clone());
        Arc::new(move |what, message| {
            if let Some(webhook) = &current(&live).config.alerts.webhook {
                let text = format!("distill proxy, {what}: {message}");
                poster.post("an alert", webhook.clone(), json!({"text": text}));
            }
        })
    };
    (Alerts::new(Clock::System, tell, send), poster)
}

/// An engine that tells once of a target that somebody must look at, or of a ledger.
fn engine(alerts: Alerts) -> Engine {
    let on_ledger = alerts.clone();
    Engine::new(EngineSettings {
        on_ledger_fault: Some(Arc::new(move |problem: &str| {
            on_ledger.raise(
                &format!("ledger {problem}"),
                "ledger",
                format!("nothing is asked while the ledger cannot be written: {problem}"),
            );
        })),
        on_alert: Some(Arc::new(move |alert: distill_gateway::Alert| {
            let failure = alert.failure.rule().name;
            alerts.raise(
                &format!("{} {failure}", alert.target),
                "target",
                format!("`{}` {failure}: {}", alert.target, alert.message),
            );
        })),
        ..EngineSettings::default()
    })
}

fn pages(
    live: &Current,
    ledger: &Ledger,
    alerts: &Alerts,
    stopping: Arc<AtomicBool>,
) -> axum::Router {
    let (targets, stop_for, admin_key) = (live.clone(), live.clone(), live.clone());
    let alerts = alerts.clone();
    ui::router(Pages {
        ledger: ledger.clone(),
        targets: Arc::new(move || current(&targets).target_views()),
        alerts: Arc::new(move || {
            let shown = |alert: crate::watch::Alert| AlertView {
                at: alert.at_ms / 1000,
                wording: alert.wording,
            };
            alerts.list().into_iter().map(shown).collect()
        }),
        stop_for: Arc::new(move || current(&stop_for).config.spend.stop_for),
        admin_key: Arc::new(move || current(&admin_key).config.admin_key.is_some()),
        stopping: Arc::new(move || stopping.load(Ordering::Relaxed)),
    })
}

/// Names of requests, unique over all instances: a moment, a number drawn when the process started,
/// and a count.
#[derive(Debug)]
struct RequestIds {
    instance: u64,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _, RandomState};
        Self {
            instance: RandomState::new().build_hasher().finish(),
            next: AtomicU64::new(0),
        }
    }
}

impl RequestIds {
    fn next(&self, now_ms: i64) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("req-{now_ms:011x}-{:016x}-{number:x}", self.instance)
    }
}
