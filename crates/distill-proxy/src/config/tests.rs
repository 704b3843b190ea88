use std::{collections::BTreeMap, path::Path, time::Duration};

use distill_gateway::Usd;
use distill_pipeline::spec::document::{Code, Findings};

use super::{Answer, Config, Day, Detector, EmbeddingConfig, Policy, Sources, StoreConfig};

mod findings;

const KEYS: &[(&str, &str)] = &[
    ("OPENAI_API_KEY", "sk-openai-planted"),
    ("GROQ_API_KEY", "gsk-planted"),
    ("ANTHROPIC_API_KEY", "sk-ant-planted"),
    ("DISTILL_ADMIN_KEY", "administrator-key-planted"),
    ("BOX_KEY", "box-planted"),
    ("SLACK", "https://hooks.example.com/services/planted"),
    ("LEDGER_URL", "postgres://name:planted@db/ledger"),
];

/// Loads a file on 2026-11-21 with these variables set.
fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, Findings> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Config::load(
        "proxy.yaml",
        text,
        &Sources {
            environment: &|name| variables.get(name).map(|value| (*value).to_owned()),
            folder: Path::new("/nowhere"),
            state: Path::new("/state"),
            today: Day::parse("2026-11-21").unwrap(),
            prices: None,
        },
    )
}

fn load(text: &str) -> Result<Config, Findings> {
    load_with(text, KEYS)
}

fn loaded(text: &str) -> Config {
    load(text).unwrap_or_else(|findings| panic!("{}", findings.to_text()))
}

#[test]
fn a_chain_is_a_whole_file() {
    let config = loaded("models: {fast: [groq/llama-3.3-70b-versatile, openai/gpt-5-mini]}");
    assert_eq!(config.listen.to_string(), "127.0.0.1:4000");
    assert_eq!(config.ledger, StoreConfig::Sqlite("/state/proxy.db".into()));
    assert!(config.admin_key.is_none() && !config.security.require_keys);
    let route = config.route("fast").unwrap();
    let targets: Vec<&str> = route.members.iter().map(|m| m.target.as_str()).collect();
    assert_eq!(
        targets,
        ["groq/llama-3.3-70b-versatile", "openai/gpt-5-mini"]
    );
    assert_eq!(route.policy, Policy::Order);
    let names: Vec<&str> = config.vendors.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["openai", "groq"], "those that a route leads to");
    assert_eq!(
        config
            .vendor("groq")
            .unwrap()
            .key
            .as_ref()
            .unwrap()
            .expose(),
        "gsk-planted"
    );
}

#[test]
fn one_target_is_a_route_and_a_star_takes_what_begins_so() {
    let config = loaded(
        "models: {smart: anthropic/claude-sonnet-4-5, 'claude-*': openai/gpt-5-mini, 'claude-h*': openai/gpt-5-nano}",
    );
    let target = |model| {
        config
            .route_for(model)
            .map(|route| route.members[0].target.clone())
    };
    assert_eq!(
        target("smart").as_deref(),
        Some("anthropic/claude-sonnet-4-5")
    );
    assert_eq!(
        target("claude-opus-9").as_deref(),
        Some("openai/gpt-5-mini")
    );
    assert_eq!(
        target("claude-haiku-4").as_deref(),
        Some("openai/gpt-5-nano")
    );
    assert_eq!(target("gpt-5"), None);
}

const FULL: &str = r#"
listen: 127.0.0.1:4100
ledger: {url_env: LEDGER_URL}
admin_key_env: DISTILL_ADMIN_KEY
passthrough: true
vendors:
  box:
    like: vllm
    base_url: http://10.0.0.7:8000/v1/
    key_env: BOX_KEY
    headers: {x-team: core}
    headers_env: {x-token: BOX_KEY}
    price: {input: 0.1, output: 0.4}
    max_in_flight: 8
    models:
      llama-70b: {price: {input: 0.2, output: 0.8, cached_input: 0.05}, sunset: 2026-12-01}
defaults:
  timeouts: {total: 2m, first_token: 20s}
  store_bodies: true
models:
  pool:
    members:
      - {model: box/llama-70b, weight: 3, when: {max_prompt: 200 KB, tools: false}}
      - {model: openai/gpt-5-mini, sunset: 2027-01-31, options: {reasoning_effort: low}}
    policy: weight
    attempts: 3
    retry: false
    hedge: 1500ms
    affinity: false
    cache: {ttl: 10m, scope: user, semantic: {similarity: 0.9, embedding: box/embedder}}
    store_bodies: false
    redact: {sent: false, reversible: true}
    data_class: inner
    allow: [team:core, anna]
    max_prompt: 2 MB
data_classes:
  inner: {vendors: [box, openai]}
tasks:
  triage:
    route: pool
    active: 1
    vendors: [box]
    max_size: 64 KB
    limits: {usd_per_day: 5}
    versions:
      1: {system: "One of {{ labels | join(', ') }}", prompt: "{{ text }}", labels: [refund, delivery], parameters: {temperature: 0, max_tokens: 16}}
      two: {prompt: "{{ text }}!", schema: {type: object, properties: {deep: {type: object}}}}
limits: {total: {usd_per_month: 500}, each_user: {requests_per_minute: 60}}
users:
  anna: {team: core, limits: {usd_per_day: 20}, owner: bert, webhook_env: SLACK}
teams:
  core: {limits: {tokens_per_minute: 100000}}
pools:
  bulk: {models: [box/*], tokens: 1000000000, usd: 500, until: 2026-12-31}
spend:
  rate: {times: 4, at_least_usd: 2}
  continuous: 6h
  tokens: {amount: 5000000, window: 2h}
  usd: {amount: 20}
  default: go
  answer_within: 5m
  webhook_env: SLACK
cache: {ttl: 2h}
redaction: {detect: [email, key], custom: {staff: 'E-\d{6}'}}
telemetry: {otlp: 'http://127.0.0.1:4318/', log: json}
security: {max_body: 8 MiB, hosts: [llm.example.com]}
students: releases
alerts: {webhook_env: SLACK, sunset_days: 20, public_url: 'https://llm.example.com/'}
quality: {every: 24h, on_change: true, rows: 50}
simulate: {faults: 0.1, latency: 20ms}
"#;

#[test]
fn everything_that_can_be_said_is_understood() {
    let config = loaded(FULL);
    assert!(
        matches!(&config.ledger, StoreConfig::Postgres(url) if url.expose().starts_with("postgres://"))
    );
    assert!(config.security.require_keys && config.security.max_body_bytes == 8 << 20);
    let vendor = config.vendor("box").unwrap();
    assert_eq!(vendor.base_url.as_deref(), Some("http://10.0.0.7:8000/v1"));
    assert_eq!(vendor.row.name, "vllm");
    assert_eq!(vendor.headers.len(), 2);
    let price = &vendor.model("llama-70b").unwrap().price.as_ref().unwrap().0;
    assert_eq!(price.base.input * 1_000_000, Usd::from_dollars(0.2));
    assert_eq!(
        price.base.cached_input.unwrap() * 1_000_000,
        Usd::from_dollars(0.05)
    );

    let route = config.route("pool").unwrap();
    assert_eq!(route.policy, Policy::Weight);
    assert!((route.members[0].weight - 3.0).abs() < 1e-12);
    assert_eq!(route.members[0].when.max_prompt_bytes, Some(200_000));
    assert_eq!(route.members[0].when.tools, Some(false));
    assert_eq!(
        route.members[0].sunset,
        Day::parse("2026-12-01"),
        "its model's"
    );
    assert_eq!(route.members[1].sunset, Day::parse("2027-01-31"));
    assert_eq!(route.members[1].options["reasoning_effort"], "low");
    assert_eq!(
        (route.max_attempts, route.retry, route.affinity),
        (3, false, false)
    );
    assert_eq!(route.hedge.unwrap().after, Duration::from_millis(1500));
    assert_eq!(
        route.timeouts.total,
        Duration::from_mins(2),
        "from the defaults"
    );
    assert!(!route.store_bodies && config.passthrough_route.store_bodies);
    let cache = route.cache.as_ref().unwrap();
    assert_eq!(cache.ttl, Duration::from_mins(10));
    let semantic = cache.semantic.as_ref().unwrap();
    assert_eq!(
        semantic.embedding,
        EmbeddingConfig::Route("box/embedder".to_owned())
    );
    assert!(!route.redact.before_sending && route.redact.before_storing && route.redact.reversible);

    let task = config.task("triage").unwrap();
    assert_eq!((task.active.as_str(), task.versions.len()), ("1", 2));
    assert!(task.policy.allows("box/llama-70b") && !task.policy.allows("openai/gpt-5-mini"));
    assert_ne!(task.versions[0].digest, task.versions[1].digest);
    assert_eq!(task.versions[0].parameters.max_tokens, Some(16));

    assert_eq!(
        config.limits.users["anna"].usd_per_day,
        Some(Usd::from_dollars(20.0))
    );
    assert_eq!(
        config.limits.tasks["triage"].usd_per_day,
        Some(Usd::from_dollars(5.0))
    );
    assert_eq!(config.limits.pools[0].expires_ms, Some(20_819 * 86_400_000));
    assert_eq!(config.people[0].owner.as_deref(), Some("bert"));
    assert_eq!(config.spend.default_answer, Answer::GoOn);
    assert_eq!(config.spend.tokens.as_ref().unwrap().tokens, 5_000_000);
    assert_eq!(
        config.spend.usd.as_ref().unwrap().window,
        Duration::from_hours(1)
    );
    let names: Vec<&str> = config
        .redaction
        .detectors
        .iter()
        .map(Detector::name)
        .collect();
    assert_eq!(names, ["email", "key", "staff"]);
    assert_eq!(
        config.telemetry.otlp.as_ref().unwrap().endpoint,
        "http://127.0.0.1:4318"
    );
    assert_eq!(
        config.alerts.public_url.as_deref(),
        Some("https://llm.example.com")
    );
    assert_eq!(config.quality.rows, Some(50));
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.contains("box/llama-70b") && note.contains("10 more days")),
        "{:?}",
        config.notes
    );
}

#[test]
fn nothing_that_is_secret_can_be_printed() {
    let text = format!("{:?}", loaded(FULL));
    assert!(!text.contains("planted"), "{text}");
}

#[test]
fn the_same_text_has_the_same_digest() {
    let text = "models: {a: simulated/frontier}";
    assert_eq!(loaded(text).digest, loaded(text).digest);
    assert_ne!(loaded(text).digest, loaded(&format!("{text} ")).digest);
}

#[test]
fn a_target_without_a_key_is_refused_or_left_out() {
    let chain = "models: {fast: [groq/llama-3.3-70b-versatile, openai/gpt-5-mini]}";
    let keys = &[("OPENAI_API_KEY", "sk")];
    let findings = load_with(chain, keys).unwrap_err();
    assert_eq!(findings.len(), 1);
    assert!(
        findings.to_text().contains("GROQ_API_KEY holds nothing"),
        "{}",
        findings.to_text()
    );

    let lenient = format!("missing_keys: leave_out\n{chain}");
    let config = load_with(&lenient, keys).unwrap();
    assert_eq!(config.route("fast").unwrap().members.len(), 1);
    assert!(
        config
            .notes
            .iter()
            .any(|note| note.contains("GROQ_API_KEY"))
    );
    let findings = load_with(&lenient, &[]).unwrap_err();
    assert!(
        findings.to_text().contains("no member with a key"),
        "{}",
        findings.to_text()
    );
}

#[test]
fn whoever_only_looks_needs_no_keys() {
    let sources = Sources {
        environment: &|_| None,
        folder: Path::new("."),
        state: Path::new("."),
        today: Day(20_000),
        prices: None,
    };
    let text = "admin_key_env: NONE\nmodels: {a: [openai/unpriced, groq/x]}\nspend: {usd: {amount: 1}, webhook_env: NONE}";
    let config = Config::look_at("proxy.yaml", text, &sources).unwrap();
    assert_eq!(config.route("a").unwrap().members.len(), 2);
    let text = format!("{text}\nledger: {{url_env: NONE}}");
    assert!(Config::look_at("proxy.yaml", &text, &sources).is_err());
}

#[test]
fn the_reference_tells_every_key() {
    let text = super::reference();
    for key in [
        "`passthrough`",
        "`first_token`",
        "`quiet_after_go`",
        "## `tasks.versions`",
        "## `models.members.when`",
    ] {
        assert!(text.contains(key), "{key}");
    }
    assert!(!text.contains("``"), "a key without a name");
}

#[test]
fn a_day_is_a_day_of_the_calendar() {
    assert_eq!(Day::parse("2026-02-28").unwrap().to_string(), "2026-02-28");
    for bad in ["2026-02-31", "2026-13-01", "26-1-1", "tomorrow", ""] {
        assert_eq!(Day::parse(bad), None, "{bad}");
    }
    assert_eq!(Day::of_seconds(86_400 * 3 + 5), Day(3));
}

#[test]
fn the_examples_of_this_repository_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proxies");
    for name in ["simulated.yaml", "team.yaml"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let keys = |name: &str| match name {
            "SLACK_WEBHOOK" => Some("https://hooks.example.com/x".to_owned()),
            _ => Some("a-key-of-enough-letters".to_owned()),
        };
        let config = Config::load(
            name,
            &text,
            &Sources {
                environment: &keys,
                folder: &folder,
                state: &folder,
                today: Day::parse("2026-11-21").unwrap(),
                prices: None,
            },
        );
        let config = config.unwrap_or_else(|findings| panic!("{}", findings.to_text()));
        assert!(!config.routes.is_empty() && !config.tasks.is_empty());
    }
}
