//! The configuration as written: every section, every key, its type and its documentation.
//!
//! The Markdown reference is made from the comments here. Nothing is checked yet but names and
//! types; [`resolve`](super::resolve) does the rest.

use distill_pipeline::spec::document::{At, Node, NodeValue, Place, Read, Reader, Section};

use super::{
    resolved::{Answer, CacheScope, LogFormat, Policy},
    values::{Json, Length, Named, Short, Size, Switch, Texts, Word},
};

mod guard;
mod task;

pub(crate) use guard::{
    AlertsSection, CacheSection, PersonSection, PoolSection, QualitySection, RedactionSection,
    SecuritySection, SemanticSection, SimulateSection, SpendSection, StudentsSection,
    TelemetrySection, WindowSection,
};
pub(crate) use task::{ParametersSection, TaskSection};

distill_pipeline::document_section! {
    /// The proxy: who may be asked under which name, by whom, and for how much. A whole file can be `models: {fast: [groq/llama-3.3-70b-versatile, openai/gpt-5-mini]}`.
    Proxy {
        /// Address to listen on. Default `127.0.0.1:4000`. An address that other machines reach needs `security.remote: true` and `admin_key_env`.
        optional listen: String,
        /// Where requests, attempts and spend are recorded: the path of an SQLite file (relative to this file), or `{url_env: NAME}` for PostgreSQL. Default `proxy.db` in the state folder.
        optional ledger: Short<LedgerSection>,
        /// Environment variable that holds the key of the administrator: usage, questions about spend, keys, reload, the pages. Left out, nobody administers over HTTP.
        optional admin_key_env: String,
        /// A price table (relative to this file) whose rows go before the program's own; `distill prices import` makes one.
        optional prices: String,
        /// Connections by name. Those of the built-in table need no entry; an entry of the same name changes one.
        optional vendors: Named<VendorSection>,
        /// What callers may name as `model`, and who answers: a target `vendor/model`, a list in the order in which they are asked, or a map. A name that ends in `*` takes every model that begins so and has no entry of its own.
        optional models: Named<WrittenRoute>,
        /// What holds for every route that does not say otherwise. `members` has no place here.
        optional defaults: RouteSection,
        /// Whether a model that `models` does not name may be asked as `vendor/model`. Default false.
        optional passthrough: bool,
        /// What to do with a target whose key is not in the environment: `refuse` (default) the file, or `leave_out` the target where its route has another.
        optional missing_keys: MissingKeys,
        /// Prompts with a name and versions; callers send variables and nothing else.
        optional tasks: Named<TaskSection>,
        /// What a data class allows, by its name.
        optional data_classes: Named<ClassSection>,
        /// What everything together, each user and each team may use.
        optional limits: LimitsSection,
        /// People by name: team, limits, who is asked about their spend.
        optional users: Named<PersonSection>,
        /// Teams by name, with their limits.
        optional teams: Named<TeamSection>,
        /// Tokens that were bought in bulk, by the pool's name.
        optional pools: Named<PoolSection>,
        /// When somebody is asked whether they meant to spend this.
        optional spend: SpendSection,
        /// How answers are cached where a route says `cache: true`; the route's own keys go before these.
        optional cache: CacheSection,
        /// What is taken out of text where a route says `redact`.
        optional redaction: RedactionSection,
        /// Metrics, traces and the log.
        optional telemetry: TelemetrySection,
        /// Bounds of the server.
        optional security: SecuritySection,
        /// Folder of the release registry (relative to this file): released students answer as `student/ROUTE`.
        optional students: Short<StudentsSection>,
        /// Where alerts go beside the log and the pages.
        optional alerts: AlertsSection,
        /// When the quality of targets is measured by itself. What is measured stands with each route.
        optional quality: QualitySection,
        /// How the vendors `simulated` and `simulated-anthropic` behave. Whatever they answer is marked as simulated.
        optional simulate: SimulateSection,
    }
}

distill_pipeline::document_section! {
    /// Where the ledger is.
    LedgerSection {
        /// An SQLite file, relative to this file.
        optional path: String,
        /// Environment variable that holds the address of a PostgreSQL database, for several instances that share a ledger.
        optional url_env: String,
    }
}

distill_pipeline::document_section! {
    /// A connection to a vendor.
    VendorSection {
        /// The vendor of the built-in table that it speaks like: `vllm` for most OpenAI-compatible servers. Left out, the vendor of the same name.
        optional like: String,
        /// Its address, up to where the dialect's own paths begin.
        optional base_url: String,
        /// Environment variable that holds the key. Keys themselves never stand in this file.
        optional key_env: String,
        /// Headers that every request to it gets.
        optional headers: Json,
        /// The same, their values from the environment: header to variable.
        optional headers_env: Json,
        /// Price of its models that `models` does not price, before the price table.
        optional price: PriceSection,
        /// What is known of single models.
        optional models: Named<ModelSection>,
        /// Requests in flight at once at most.
        optional max_in_flight: u64,
    }
}

distill_pipeline::document_section! {
    /// What a million tokens cost, in US dollars.
    PriceSection {
        /// Input that is not cached.
        required input: f64,
        /// Output, reasoning included.
        required output: f64,
        /// Input that the vendor had cached. Left out, it costs as other input.
        optional cached_input: f64,
        /// Input that is written to the vendor's cache. Left out, it costs as other input.
        optional cache_write: f64,
    }
}

distill_pipeline::document_section! {
    /// What is known of one model of a vendor.
    ModelSection {
        /// Its price, before the price table.
        optional price: PriceSection,
        /// The last day on which it is asked (`YYYY-MM-DD`); it is announced before.
        optional sunset: String,
    }
}

/// A route as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WrittenRoute {
    Members(Vec<At<Short<MemberSection>>>),
    Detailed(Box<RouteSection>),
}

impl Read for WrittenRoute {
    const EXPECTED: &'static str = "a target `vendor/model`, a list of targets, or a map of keys";
    const SECTION: Option<fn() -> Section> = Some(RouteSection::section);

    fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            NodeValue::Text(_) => Short::read(node, place, reader).map(|value| {
                Self::Members(vec![At {
                    value,
                    span: node.span.clone(),
                }])
            }),
            NodeValue::List(_) => Vec::read(node, place, reader).map(Self::Members),
            NodeValue::Map(_) => RouteSection::read(node, place, reader)
                .map(|section| Self::Detailed(Box::new(section))),
            _ => {
                reader.wrong_type(node, place, Self::EXPECTED);
                None
            }
        }
    }
}

distill_pipeline::document_section! {
    /// A route in detail.
    RouteSection {
        /// Targets `vendor/model`, or maps with conditions and weights.
        optional members: Vec<At<Short<MemberSection>>>,
        /// Who of them is asked first: `order` (default), `weight`, `latency`, `cost`.
        optional policy: Policy,
        /// How long the parts of a request may take.
        optional timeouts: TimeoutsSection,
        /// Attempts of one request over all members. Default 6.
        optional attempts: u64,
        /// Whether a server error gets one fast retry at the same target. Default true.
        optional retry: bool,
        /// Ask a second target as well when the first has not answered for so long; the first answer wins and both are paid. Default never.
        optional hedge: Length,
        /// Whether requests of one session stay with one member, whose prompt cache is warm. Default true.
        optional affinity: bool,
        /// Whether answers are kept and given again: `true`, or keys that go before those of `cache`. Default false.
        optional cache: Switch<CacheSection>,
        /// Whether prompts and replies are stored in the ledger. Default false.
        optional store_bodies: bool,
        /// Whether `redaction` is applied: `true` (before storing and sending), or where. Default false.
        optional redact: Switch<RedactSection>,
        /// A name of `data_classes`; the members must be allowed by it.
        optional data_class: String,
        /// Who may name this route: users, `team:NAME`, `role:admin`. Left out: all whose key allows it.
        optional allow: Texts,
        /// Bytes of a request at most.
        optional max_prompt: Size,
        /// How good the members must be, and by which suite that is measured.
        optional quality: RouteQualitySection,
    }
}

distill_pipeline::document_section! {
    /// One target of a route.
    MemberSection {
        /// `vendor/model`.
        required model: String,
        /// Share of the traffic under `policy: weight`, relative to the others. Default 1.
        optional weight: f64,
        /// Which requests it takes. Default all.
        optional when: ConditionsSection,
        /// The last day on which it is asked here (`YYYY-MM-DD`).
        optional sunset: String,
        /// Fields set in every body that goes to it, in its own dialect.
        optional options: Json,
    }
}

distill_pipeline::document_section! {
    /// Which requests a target takes. What is left out does not matter.
    ConditionsSection {
        /// Only requests of at least this size.
        optional min_prompt: Size,
        /// Only requests of at most this size.
        optional max_prompt: Size,
        /// Only requests with (true) or without (false) tools.
        optional tools: bool,
        /// Only requests with or without images.
        optional images: bool,
        /// Only requests whose reply must or need not hold to a JSON schema.
        optional schema: bool,
    }
}

distill_pipeline::document_section! {
    /// How long the parts of a request may take.
    TimeoutsSection {
        /// To connect. Default 5s.
        optional connect: Length,
        /// From sending to the first content of a stream. Default 1m.
        optional first_token: Length,
        /// Between two pieces of a stream. Default 30s.
        optional between_tokens: Length,
        /// All attempts together. Default 10m.
        optional total: Length,
    }
}

distill_pipeline::document_section! {
    /// Where personal data and secrets are taken out.
    RedactSection {
        /// Before anything is sent to a vendor. Default true.
        optional sent: bool,
        /// Before anything is stored. Default true.
        optional stored: bool,
        /// Whether placeholders in a reply become again what they stood for, for the caller. Default false.
        optional reversible: bool,
    }
}

distill_pipeline::document_section! {
    /// How good a route's members must be.
    RouteQualitySection {
        /// An eval suite (relative to this file), as `distill eval run` reads it; each member is asked its rows.
        required suite: String,
        /// A member that scores below this is asked last. Left out, only the comparison with the best counts.
        optional floor: f64,
        /// A member that is significantly more than this under the best is asked last. Default 0.05.
        optional margin: f64,
    }
}

distill_pipeline::document_section! {
    /// What a data class allows.
    ClassSection {
        /// Vendors that may see it. Left out: any.
        optional vendors: Texts,
        /// Targets `vendor/model` that may see it; `*` at the end stands for anything. Left out: any.
        optional models: Texts,
    }
}

distill_pipeline::document_section! {
    /// Limits. What is left out does not bind.
    LimitSection {
        /// Requests in a minute.
        optional requests_per_minute: u64,
        /// Tokens in a minute, input and output.
        optional tokens_per_minute: u64,
        /// US dollars in a day (UTC).
        optional usd_per_day: f64,
        /// US dollars in a calendar month (UTC).
        optional usd_per_month: f64,
        /// US dollars ever.
        optional usd_total: f64,
    }
}

distill_pipeline::document_section! {
    /// Limits that need no name.
    LimitsSection {
        /// Of everything together.
        optional total: LimitSection,
        /// Of each user who has no limits of their own in `users`.
        optional each_user: LimitSection,
        /// Of each team that has no limits of its own in `teams`.
        optional each_team: LimitSection,
    }
}

distill_pipeline::document_section! {
    /// A team.
    TeamSection {
        /// What all of it together may use.
        optional limits: LimitSection,
    }
}

/// What becomes of a target without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingKeys {
    Refuse,
    LeaveOut,
}

macro_rules! choices {
    ($type:ty, $expected:literal, [$(($name:literal, $value:expr)),+ $(,)?]) => {
        impl Read for $type {
            const EXPECTED: &'static str = $expected;

            fn read(node: &Node, place: &Place, reader: &mut Reader) -> Option<Self> {
                reader.choose(node, place, &[$(($name, $value)),+])
            }
        }
    };
}

choices!(
    Policy,
    "one of: order, weight, latency, cost",
    [
        ("order", Self::Order),
        ("weight", Self::Weight),
        ("latency", Self::Latency),
        ("cost", Self::Cost),
    ]
);
choices!(
    Answer,
    "one of: go, stop",
    [("go", Self::GoOn), ("stop", Self::Stop)]
);
choices!(
    CacheScope,
    "one of: user, team, everyone",
    [
        ("user", Self::User),
        ("team", Self::Team),
        ("everyone", Self::Everyone),
    ]
);
choices!(
    LogFormat,
    "one of: text, json, off",
    [
        ("text", Self::Text),
        ("json", Self::Json),
        ("off", Self::Off)
    ]
);
choices!(
    MissingKeys,
    "one of: refuse, leave_out",
    [("refuse", Self::Refuse), ("leave_out", Self::LeaveOut)]
);
