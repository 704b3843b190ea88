//! Spend, people, cache, redaction, telemetry and security as written.

use super::{Answer, CacheScope, Length, LimitSection, LogFormat, Short, Size, Texts};
use crate::config::values::Json;

distill_pipeline::document_section! {
    /// A person. Keys are made by `distill keys create`; what stands here holds for all of a person's keys.
    PersonSection {
        /// Their team, where the key names none.
        optional team: String,
        /// Their discipline, where the key names none.
        optional discipline: String,
        /// Their level, where the key names none.
        optional level: String,
        /// What they may use, instead of `limits.each_user`.
        optional limits: LimitSection,
        /// Who is asked about their spend beside themselves.
        optional owner: String,
        /// Environment variable with the address that questions about their spend are posted to, instead of `spend.webhook_env`.
        optional webhook_env: String,
        /// Whether nobody is asked about their spend: a service with a budget of its own. Default false.
        optional spend_exempt: bool,
    }
}

distill_pipeline::document_section! {
    /// Tokens that were bought in bulk: requests draw from the pool and cost nothing more while it lasts. A new purchase takes a new name.
    PoolSection {
        /// Targets `vendor/model` that draw from it; `*` at the end stands for anything.
        required models: Texts,
        /// How many tokens were bought.
        required tokens: u64,
        /// Teams that draw from it. Left out: everybody.
        optional teams: Texts,
        /// What was paid for them, in US dollars. Default 0.
        optional usd: f64,
        /// The last day on which they can be used (`YYYY-MM-DD`).
        optional until: String,
    }
}

distill_pipeline::document_section! {
    /// The spend breaker. Each rule that is given can raise the question "did you mean to spend this?"; requests in flight always finish.
    SpendSection {
        /// Spending faster than one's own habit.
        optional rate: RateSection,
        /// Using it for so long without a break.
        optional continuous: Length,
        /// How long nothing must be asked for a stretch of use to end. Default 15m.
        optional break_after: Length,
        /// Tokens in a window.
        optional tokens: WindowSection,
        /// US dollars in a window.
        optional usd: WindowSection,
        /// What counts when nobody answers in time: `stop` (default) or `go`.
        optional default: Answer,
        /// How long there is to answer. Default 15m.
        optional answer_within: Length,
        /// Whether new requests of the person are refused while the question is open. Default false.
        optional pause_while_open: bool,
        /// After `go`: how long the same rule does not ask the same person again. Default 4h.
        optional quiet_after_go: Length,
        /// After `stop`: how long the person is stopped. Left out: until somebody lifts it with `distill spend answer ID go`.
        optional stop_for: Length,
        /// Environment variable with the address that questions are posted to (Slack's incoming webhooks and whatever takes their JSON).
        optional webhook_env: String,
        /// The same address in the open, for one that is no secret.
        optional webhook: String,
    }
}

distill_pipeline::document_section! {
    /// Spending faster than one's own habit.
    RateSection {
        /// How many times the usual spend of such a window is too much. Default 5.
        optional times: f64,
        /// The window. Default 1h.
        optional window: Length,
        /// How far back the habit is looked up. Default 14d.
        optional history: Length,
        /// Below this spend in the window nothing is asked. Default 5.
        optional at_least_usd: f64,
    }
}

distill_pipeline::document_section! {
    /// An amount in a window of time.
    WindowSection {
        /// The amount: tokens, or US dollars.
        required amount: f64,
        /// The window. Default 1h.
        optional window: Length,
    }
}

distill_pipeline::document_section! {
    /// How answers are kept and given again. Only whole, successful answers are.
    CacheSection {
        /// How long an answer is kept. Default 1h.
        optional ttl: Length,
        /// Also requests that bring tools. Default false.
        optional tools: bool,
        /// Also requests that sample: a temperature above 0, or none said. Default false.
        optional sampled: bool,
        /// Who shares answers: `user`, `team` (default), `everyone`.
        optional scope: CacheScope,
        /// Also questions that mean the same, by their embeddings.
        optional semantic: SemanticSection,
        /// What all answers together may take. Default 64 MiB.
        optional max_size: Size,
    }
}

distill_pipeline::document_section! {
    /// Answers to questions that mean the same.
    SemanticSection {
        /// Cosine similarity from which two questions count as one, above 0 and at most 1. Default 0.95.
        optional similarity: f64,
        /// Who embeds questions: `local` (default; hashed n-grams, finds rewordings and no synonyms), or an embedding model as a name of `models` or `vendor/model`.
        optional embedding: String,
    }
}

distill_pipeline::document_section! {
    /// What is taken out of text.
    RedactionSection {
        /// Which of `email`, `phone`, `card`, `key`, `iban`. Default all.
        optional detect: Texts,
        /// Regular expressions of your own, by the name that stands in the placeholder.
        optional custom: Json,
    }
}

distill_pipeline::document_section! {
    /// Metrics, traces and the log.
    TelemetrySection {
        /// Whether `/metrics` answers: programs of this machine without a key, others with the administrator's. Default true.
        optional prometheus: bool,
        /// A collector of OpenTelemetry traces: its address, or a map.
        optional otlp: Short<OtlpSection>,
        /// How the log is written: `text` (default), `json`, `off`.
        optional log: LogFormat,
    }
}

distill_pipeline::document_section! {
    /// A collector of traces.
    OtlpSection {
        /// Its address; `/v1/traces` is added. OTLP over HTTP with JSON.
        required endpoint: String,
        /// Headers with values from the environment: header to variable.
        optional headers_env: Json,
        /// Name of this service. Default `distill-proxy`.
        optional service: String,
        /// Share of requests that are traced. Default 1.
        optional sample: f64,
    }
}

distill_pipeline::document_section! {
    /// Bounds of the server.
    SecuritySection {
        /// Whether other machines may connect. Needs `admin_key_env`, and every caller a key. Default false.
        optional remote: bool,
        /// Whether every caller must show a key. Default: true when `admin_key_env` is given; without keys all are `anonymous`.
        optional require_keys: bool,
        /// A request at most. Default 32 MiB.
        optional max_body: Size,
        /// All headers of a request at most. Default 64 KiB.
        optional max_headers: Size,
        /// How long a client may take to send its headers. Default 10s.
        optional header_timeout: Length,
        /// How long a client may take to send its body. Default 1m.
        optional body_timeout: Length,
        /// Connections at once. Default 10000.
        optional max_connections: u64,
        /// Names under which the server may be addressed beside its own address.
        optional hosts: Texts,
        /// Hosts whose images may be fetched for a target that takes no addresses. Default none: no image is ever fetched.
        optional image_hosts: Texts,
    }
}

distill_pipeline::document_section! {
    /// Released students that answer behind this proxy.
    StudentsSection {
        /// The release registry's folder.
        required releases: String,
    }
}

distill_pipeline::document_section! {
    /// Where alerts go. Each is told once.
    AlertsSection {
        /// Environment variable with the address that alerts are posted to.
        optional webhook_env: String,
        /// The same address in the open, for one that is no secret.
        optional webhook: String,
        /// How many days before a sunset it is announced. Default 30.
        optional sunset_days: u64,
        /// This proxy's address as people reach it, for links in messages.
        optional public_url: String,
    }
}

distill_pipeline::document_section! {
    /// When quality is measured.
    QualitySection {
        /// How often. Left out: only by `distill proxy eval`.
        optional every: Length,
        /// Whether a model that changed under its name is measured at once. Default false.
        optional on_change: bool,
        /// Rows of each suite that are asked. Default all.
        optional rows: u64,
        /// What one measurement of everything may cost, in US dollars. Default 1.
        optional budget_usd: f64,
        /// Confidence of "significantly under the best". Default 0.95.
        optional confidence: f64,
    }
}

distill_pipeline::document_section! {
    /// The simulated vendors.
    SimulateSection {
        /// Seed of their answers and faults. Default 17.
        optional seed: u64,
        /// Median latency. Default none.
        optional latency: Length,
        /// Share of requests that meet a fault. Default 0.
        optional faults: f64,
    }
}
