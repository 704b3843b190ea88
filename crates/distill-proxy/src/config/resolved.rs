//! The configuration as plain data: what the rest of the proxy reads.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use distill_gateway::{PriceTable, Secret};
use distill_ledger::LimitTable;

mod guard;
mod route;
mod task;

pub use guard::{
    AlertsConfig, Answer, CacheConfig, CacheScope, ClassConfig, Detector, EmbeddingConfig,
    LogFormat, OtlpConfig, QualityConfig, RedactionConfig, SecurityConfig, SemanticConfig,
    SpendConfig, SpendRate, TelemetryConfig, TokenRule, UsdRule, WebhookConfig,
};
pub use route::{
    Conditions, HedgeConfig, MemberConfig, Policy, PriceConfig, RedactConfig, RouteConfig,
    RouteQuality, RouteTimeouts, VendorConfig, VendorModel,
};
pub use task::{TaskConfig, TaskParameters, TaskPolicy, TaskVersion};

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file's name, as it was given.
    pub name: String,
    /// Hash of the text, in hexadecimal: which configuration answered.
    pub digest: String,
    pub listen: SocketAddr,
    /// The key of the one who sees and changes everything; `None`: nobody may.
    pub admin_key: Option<Secret>,
    pub ledger: StoreConfig,
    /// Every vendor that a route, a task or a passed-through name can lead to.
    pub vendors: Vec<VendorConfig>,
    /// Those of `models`, then one `task/NAME@VERSION` for each version of each task.
    pub routes: Vec<RouteConfig>,
    /// Whether a model that no route names may be asked as `vendor/model`.
    pub passthrough: bool,
    /// How models that are passed through are asked; its name and members are empty.
    pub passthrough_route: RouteConfig,
    pub tasks: Vec<TaskConfig>,
    /// Where it is kept which version of a task was released.
    pub task_releases: PathBuf,
    /// What a data class allows, by its name.
    pub classes: BTreeMap<String, ClassConfig>,
    /// What people, teams and tasks may use, and the pools they draw on.
    pub limits: LimitTable,
    pub people: Vec<PersonConfig>,
    pub spend: SpendConfig,
    /// Whether and how answers are cached where a route does not say otherwise; `None`: not.
    pub cache: Option<CacheConfig>,
    pub redaction: RedactionConfig,
    pub telemetry: TelemetryConfig,
    pub security: SecurityConfig,
    /// Where released students are, if they answer behind this proxy.
    pub students: Option<StudentsConfig>,
    pub alerts: AlertsConfig,
    pub quality: QualityConfig,
    /// What tokens cost: the program's own table, or the user's rows before it.
    pub prices: Arc<PriceTable>,
    /// Settings of the simulated vendors, which answer from inside the program.
    pub simulate: SimulateConfig,
    /// What is worth knowing and is no mistake (a key that is not set for a vendor that has others
    /// behind it, a sunset that is near), for the log and `distill proxy check`.
    pub notes: Vec<String>,
}

impl Config {
    /// The route of that name.
    pub fn route(&self, name: &str) -> Option<&RouteConfig> {
        self.routes.iter().find(|route| route.name == name)
    }

    /// The route that takes a model which callers name so: the one of that name, or the one with the
    /// longest `NAME*` that it begins with.
    pub fn route_for(&self, model: &str) -> Option<&RouteConfig> {
        self.route(model).or_else(|| {
            self.routes
                .iter()
                .filter(|route| {
                    route
                        .name
                        .strip_suffix('*')
                        .is_some_and(|start| model.starts_with(start))
                })
                .max_by_key(|route| route.name.len())
        })
    }

    /// The task of that name.
    pub fn task(&self, name: &str) -> Option<&TaskConfig> {
        self.tasks.iter().find(|task| task.name == name)
    }

    /// The vendor of that name.
    pub fn vendor(&self, name: &str) -> Option<&VendorConfig> {
        self.vendors.iter().find(|vendor| vendor.name == name)
    }
}

/// Where the ledger is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreConfig {
    Sqlite(PathBuf),
    /// The whole address holds the password.
    Postgres(Secret),
}

/// What the configuration says of a person; who has which key stands in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct PersonConfig {
    pub name: String,
    pub team: Option<String>,
    pub discipline: Option<String>,
    pub level: Option<String>,
    /// Who is asked about this person's spend beside the person.
    pub owner: Option<String>,
    /// Where questions about this person's spend go instead of the common address.
    pub webhook: Option<WebhookConfig>,
    /// Whether the spend breaker leaves this person alone (a service with its own budget).
    pub spend_exempt: bool,
}

/// Released students.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudentsConfig {
    /// The release registry.
    pub releases: PathBuf,
}

/// How the simulated vendors behave.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulateConfig {
    pub seed: u64,
    /// Median latency of an answer; `None`: at once.
    pub latency: Option<Duration>,
    /// Share of requests that meet a fault, between 0 and 1.
    pub faults: f64,
}

impl Default for SimulateConfig {
    fn default() -> Self {
        Self {
            seed: 17,
            latency: None,
            faults: 0.0,
        }
    }
}

/// A day of the calendar (UTC), in days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    /// Reads `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Option<Self> {
        let day = distill_gateway::days_of_date(text)?;
        // A day that its month does not have would be read as one of the next.
        (distill_gateway::date_of_days(day) == text).then_some(Self(day))
    }

    /// The day of a moment, in seconds since 1970.
    pub fn of_seconds(seconds: i64) -> Self {
        Self(seconds.div_euclid(86_400))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&distill_gateway::date_of_days(self.0))
    }
}
