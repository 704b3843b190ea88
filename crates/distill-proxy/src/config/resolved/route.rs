//! Vendors and routes: who can be asked, in which order, and how long that may take.

use std::{path::PathBuf, time::Duration};

use distill_gateway::{Price, Secret, Vendor};
use serde_json::{Map, Value};

use super::{CacheConfig, Day};

/// A connection to a vendor, by the name that targets use (`NAME/model`).
#[derive(Debug, Clone)]
pub struct VendorConfig {
    pub name: String,
    /// The row of the vendor table that it is, or is like.
    pub row: &'static Vendor,
    /// Without a slash at the end. `None`: its address is known when the program runs (simulated
    /// vendors, students).
    pub base_url: Option<String>,
    pub key: Option<Secret>,
    /// Headers that every request to it gets; their values come from the environment or the file.
    pub headers: Vec<(String, Secret)>,
    /// What is known of single models.
    pub models: Vec<VendorModel>,
    /// The price of a model that `models` does not name; before the price table.
    pub price: Option<PriceConfig>,
    /// Requests in flight at once; `None`: no bound.
    pub max_in_flight: Option<u32>,
}

impl VendorConfig {
    /// What is known of this model.
    pub fn model(&self, name: &str) -> Option<&VendorModel> {
        self.models.iter().find(|model| model.name == name)
    }
}

/// What the configuration says of one model of a vendor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VendorModel {
    pub name: String,
    pub price: Option<PriceConfig>,
    /// The last day on which it is asked.
    pub sunset: Option<Day>,
}

/// A price of the user's own.
#[derive(Debug, Clone, PartialEq)]
pub struct PriceConfig(pub Price);

/// What a caller names as `model`, and who answers.
#[derive(Debug, Clone)]
pub struct RouteConfig {
    pub name: String,
    pub members: Vec<MemberConfig>,
    pub policy: Policy,
    pub timeouts: RouteTimeouts,
    /// Attempts of one request over all members.
    pub max_attempts: u32,
    /// Whether a server error gets its one fast retry at the same target.
    pub retry: bool,
    pub hedge: Option<HedgeConfig>,
    /// Whether requests of one session stay with one member.
    pub affinity: bool,
    /// `None`: nothing is cached.
    pub cache: Option<CacheConfig>,
    /// Whether prompts and replies are stored in the ledger.
    pub store_bodies: bool,
    pub redact: RedactConfig,
    /// Name of the data class; members were checked against it when the file was read.
    pub data_class: Option<String>,
    /// Users, `team:NAME`s or `role:admin` that may name this route; empty: all whose key allows it.
    pub allow: Vec<String>,
    /// Bytes of a request body at most; `None`: the server's bound.
    pub max_prompt_bytes: Option<u64>,
    pub quality: Option<RouteQuality>,
}

/// One target of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberConfig {
    /// `vendor/model`.
    pub target: String,
    /// Share of the traffic under [`Policy::Weight`], relative to the other members.
    pub weight: f64,
    pub when: Conditions,
    /// The last day on which it is asked: the member's own, or its model's.
    pub sunset: Option<Day>,
    /// Fields that are set in every body that goes to it, in the target's own dialect.
    pub options: Map<String, Value>,
}

/// Which requests a member takes. What is not said does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    pub min_prompt_bytes: Option<u64>,
    pub max_prompt_bytes: Option<u64>,
    /// Whether the request brings tools.
    pub tools: Option<bool>,
    pub images: Option<bool>,
    /// Whether the reply must hold to a JSON schema.
    pub schema: Option<bool>,
}

/// Who of the members that can is asked first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// As they are listed.
    #[default]
    Order,
    /// By chance, by weight.
    Weight,
    /// The fastest to its first token, as it was of late.
    Latency,
    /// The cheapest for this request.
    Cost,
}

/// How long the parts of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteTimeouts {
    pub connect: Duration,
    /// From sending to the first content of a stream.
    pub first_token: Duration,
    /// Between two pieces of a stream.
    pub between_tokens: Duration,
    /// All attempts together.
    pub total: Duration,
}

impl Default for RouteTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_token: Duration::from_mins(1),
            between_tokens: Duration::from_secs(30),
            total: Duration::from_mins(10),
        }
    }
}

/// A second target is asked as well when the first is slow, and the first to answer wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HedgeConfig {
    pub after: Duration,
}

/// Where personal data and secrets are taken out of a route's text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RedactConfig {
    pub before_sending: bool,
    pub before_storing: bool,
    /// Whether placeholders in a reply become again what they stood for, for the caller.
    pub reversible: bool,
}

/// How good a route's members must be.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteQuality {
    /// An eval suite; the members are asked its rows.
    pub suite: PathBuf,
    /// The score below which a member is asked last; `None`: only the comparison with the best counts.
    pub floor: Option<f64>,
    /// How far a member may lie under the best before a significant difference demotes it.
    pub margin: f64,
}

impl RouteConfig {
    /// A route of that name with the defaults of everything else.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            members: Vec::new(),
            policy: Policy::default(),
            timeouts: RouteTimeouts::default(),
            max_attempts: 6,
            retry: true,
            hedge: None,
            affinity: true,
            cache: None,
            store_bodies: false,
            redact: RedactConfig::default(),
            data_class: None,
            allow: Vec::new(),
            max_prompt_bytes: None,
            quality: None,
        }
    }
}

impl MemberConfig {
    /// A member that takes every request.
    pub fn target(target: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            weight: 1.0,
            when: Conditions::default(),
            sunset: None,
            options: Map::new(),
        }
    }
}
