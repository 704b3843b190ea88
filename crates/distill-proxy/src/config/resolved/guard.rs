//! What watches over spend, answers, text and the server itself.

use std::{path::PathBuf, time::Duration};

use distill_gateway::{Secret, Usd};
use regex::Regex;

/// What people are answered about their spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    GoOn,
    Stop,
}

/// When a person is asked "did you mean to spend this?". A rule that is not set does not ask.
#[derive(Debug, Clone, PartialEq)]
pub struct SpendConfig {
    pub rate: Option<SpendRate>,
    /// Hours of use without a longer break than `break_after`.
    pub continuous: Option<Duration>,
    /// How long nothing must be asked for a stretch of use to end.
    pub break_after: Duration,
    pub tokens: Option<TokenRule>,
    pub usd: Option<UsdRule>,
    /// What counts when nobody answers in time.
    pub default_answer: Answer,
    /// How long the owner has.
    pub answer_within: Duration,
    /// Whether requests wait for the answer (are refused) while the question stands open.
    pub pause_while_open: bool,
    /// After "go on": how long the same rule does not ask the same person again.
    pub quiet_after_go: Duration,
    /// After "stop": how long the person is stopped; `None`: until somebody lifts it.
    pub stop_for: Option<Duration>,
    /// Where questions are posted; a person's own address goes before it.
    pub webhook: Option<WebhookConfig>,
}

impl Default for SpendConfig {
    fn default() -> Self {
        Self {
            rate: None,
            continuous: None,
            break_after: Duration::from_mins(15),
            tokens: None,
            usd: None,
            default_answer: Answer::Stop,
            answer_within: Duration::from_mins(15),
            pause_while_open: false,
            quiet_after_go: Duration::from_hours(4),
            stop_for: None,
            webhook: None,
        }
    }
}

impl SpendConfig {
    /// Whether any rule can ask.
    pub fn is_on(&self) -> bool {
        self.rate.is_some()
            || self.continuous.is_some()
            || self.tokens.is_some()
            || self.usd.is_some()
    }
}

/// Spending faster than one's own habit.
#[derive(Debug, Clone, PartialEq)]
pub struct SpendRate {
    /// How many times the person's usual spend of such a window is too much.
    pub times: f64,
    pub window: Duration,
    /// How far back the habit is looked up.
    pub history: Duration,
    /// Below this spend in the window nothing is asked, whatever the habit.
    pub at_least: Usd,
}

/// Tokens in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRule {
    pub tokens: u64,
    pub window: Duration,
}

/// Dollars in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct UsdRule {
    pub usd: Usd,
    pub window: Duration,
}

/// Where messages for people are posted.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookConfig {
    /// A secret, because whoever has a chat system's hook can post with it.
    pub url: Secret,
    pub timeout: Duration,
    pub attempts: u32,
}

/// Where alerts go beside the log and the pages.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertsConfig {
    pub webhook: Option<WebhookConfig>,
    /// Days before a sunset on which it is announced.
    pub sunset_days: u32,
    /// The proxy's address as people reach it, for links in messages.
    pub public_url: Option<String>,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        Self {
            webhook: None,
            sunset_days: 30,
            public_url: None,
        }
    }
}

/// When the quality of targets is measured by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct QualityConfig {
    pub every: Option<Duration>,
    /// Whether a model that changed under its name is measured at once.
    pub on_change: bool,
    /// Rows of each suite that are asked; `None`: all.
    pub rows: Option<u64>,
    /// What one measurement of all routes may cost.
    pub budget: Usd,
    /// Confidence of "significantly under the best".
    pub confidence: f64,
}

impl Default for QualityConfig {
    fn default() -> Self {
        Self {
            every: None,
            on_change: false,
            rows: None,
            budget: Usd::from_dollars(1.0),
            confidence: 0.95,
        }
    }
}

/// How answers are kept and given again.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheConfig {
    pub ttl: Duration,
    /// Also requests that bring tools.
    pub tools: bool,
    /// Also requests that sample (temperature above 0 or not said).
    pub sampled: bool,
    pub scope: CacheScope,
    pub semantic: Option<SemanticConfig>,
    /// Bytes that all entries may hold together.
    pub max_bytes: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_hours(1),
            tools: false,
            sampled: false,
            scope: CacheScope::Team,
            semantic: None,
            max_bytes: 64 << 20,
        }
    }
}

/// Who shares an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    User,
    /// A person without a team shares with nobody.
    Team,
    Everyone,
}

/// Answers to questions that mean the same.
#[derive(Debug, Clone, PartialEq)]
pub struct SemanticConfig {
    /// Cosine similarity from which two questions count as one.
    pub similarity: f64,
    pub embedding: EmbeddingConfig,
}

/// Who embeds questions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddingConfig {
    /// Hashed word and character n-grams, computed here.
    Local,
    /// An embedding model through this proxy: a route or `vendor/model`.
    Route(String),
}

/// What is taken out of text where a route asks for it.
#[derive(Debug, Clone)]
pub struct RedactionConfig {
    pub detectors: Vec<Detector>,
}

/// Something that is looked for.
#[derive(Debug, Clone)]
pub enum Detector {
    Email,
    Phone,
    /// Payment cards: 13 to 19 digits whose Luhn sum holds.
    Card,
    /// API keys and tokens of known forms.
    Key,
    Iban,
    Custom {
        name: String,
        pattern: Regex,
    },
}

impl Detector {
    /// As the file writes it.
    pub fn name(&self) -> &str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Card => "card",
            Self::Key => "key",
            Self::Iban => "iban",
            Self::Custom { name, .. } => name,
        }
    }
}

impl Default for RedactionConfig {
    fn default() -> Self {
        Self {
            detectors: vec![
                Detector::Email,
                Detector::Phone,
                Detector::Card,
                Detector::Key,
                Detector::Iban,
            ],
        }
    }
}

/// What a data class allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassConfig {
    /// Vendors that may see it; empty: any.
    pub vendors: Vec<String>,
    /// `vendor/model` patterns that may see it; empty: any.
    pub models: Vec<String>,
}

/// What is told about requests, and to whom.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    /// Whether `/metrics` answers.
    pub prometheus: bool,
    pub otlp: Option<OtlpConfig>,
    pub log: LogFormat,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            prometheus: true,
            otlp: None,
            log: LogFormat::Text,
        }
    }
}

/// A collector of traces.
#[derive(Debug, Clone, PartialEq)]
pub struct OtlpConfig {
    /// OTLP over HTTP with JSON; `/v1/traces` is added.
    pub endpoint: String,
    pub headers: Vec<(String, Secret)>,
    pub service: String,
    /// Share of requests that are traced.
    pub sample: f64,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
    Off,
}

/// Bounds of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct SecurityConfig {
    /// Whether other machines may connect; needs keys.
    pub remote: bool,
    /// Whether a caller must show a key. Without, everybody on this machine is `anonymous`.
    pub require_keys: bool,
    pub max_body_bytes: u64,
    pub max_header_bytes: u64,
    /// How long a client may take to send its header.
    pub header_timeout: Duration,
    /// How long a client may take to send its body.
    pub body_timeout: Duration,
    pub max_connections: u32,
    /// Names under which the server may be addressed (`Host`), beside its own address; against
    /// pages that bind a name of theirs to it.
    pub hosts: Vec<String>,
    /// Hosts whose images may be fetched for targets that take no addresses; empty: none is.
    pub image_hosts: Vec<String>,
    /// Folder for files that the proxy keeps beside the ledger.
    pub state: Option<PathBuf>,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        Self {
            remote: false,
            require_keys: true,
            max_body_bytes: 32 << 20,
            max_header_bytes: 64 << 10,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_mins(1),
            max_connections: 10_000,
            hosts: Vec::new(),
            image_hosts: Vec::new(),
            state: None,
        }
    }
}
