//! Checks of spend, cache, redaction, telemetry, security, alerts and quality.

use std::{net::SocketAddr, time::Duration};

use distill_gateway::Usd;
use distill_pipeline::spec::document::{At, Code};
use regex::RegexBuilder;
use serde_json::Value;

use super::{
    DOLLARS, Known, MORE_THAN_ONE, NOT_NEGATIVE, OPEN_SHARE, POSITIVE, Resolver, SHARE, length,
    size, texts,
};
use crate::config::{
    resolved::{
        AlertsConfig, CacheConfig, Detector, EmbeddingConfig, OtlpConfig, QualityConfig,
        RedactionConfig, RouteConfig, SecurityConfig, SemanticConfig, SpendConfig, SpendRate,
        TelemetryConfig, TokenRule, UsdRule,
    },
    values::Short,
    written::{CacheSection, Proxy, SecuritySection, SemanticSection, SpendSection, WindowSection},
};

const HOUR: Duration = Duration::from_hours(1);
/// A pattern that needs more than this to be compiled is no pattern for personal data.
const PATTERN_BYTES: usize = 1 << 20;

impl Resolver<'_> {
    pub(super) fn spend(&mut self, written: &Proxy) -> SpendConfig {
        let default = SpendConfig::default();
        let Some(at) = &written.spend else {
            return default;
        };
        let section = &at.value;
        let spend = SpendConfig {
            rate: self.spend_rate(section),
            continuous: length(section.continuous.as_ref()),
            break_after: length(section.break_after.as_ref()).unwrap_or(default.break_after),
            tokens: section
                .tokens
                .as_ref()
                .and_then(|at| self.window(&at.value, "spend.tokens"))
                .map(|(amount, window)| TokenRule {
                    tokens: amount as u64,
                    window,
                }),
            usd: section
                .usd
                .as_ref()
                .and_then(|at| self.window(&at.value, "spend.usd"))
                .map(|(amount, window)| UsdRule {
                    usd: Usd::from_dollars(amount.min(1e6)),
                    window,
                }),
            default_answer: section
                .default
                .as_ref()
                .map_or(default.default_answer, |at| at.value),
            answer_within: length(section.answer_within.as_ref()).unwrap_or(default.answer_within),
            pause_while_open: section.pause_while_open.as_ref().is_some_and(|at| at.value),
            quiet_after_go: length(section.quiet_after_go.as_ref())
                .unwrap_or(default.quiet_after_go),
            stop_for: length(section.stop_for.as_ref()),
            webhook: self.webhook(
                section.webhook_env.as_ref(),
                section.webhook.as_ref(),
                "spend.webhook",
            ),
        };
        if !spend.is_on() && self.findings.is_empty() {
            self.report(
                Code::Missing,
                &at.span,
                "`spend` has no rule, so nobody is ever asked",
                "asks nothing",
                "add `rate: {times: 5}`, `continuous: 6h`, `tokens: {amount: 5000000}` or `usd: {amount: 20}`",
            );
        }
        spend
    }

    fn spend_rate(&mut self, section: &SpendSection) -> Option<SpendRate> {
        let rate = &section.rate.as_ref()?.value;
        let times = self.number(
            rate.times.as_ref(),
            "spend.rate.times",
            5.0,
            &MORE_THAN_ONE,
            "5 asks when somebody spends five times as fast as usual",
        );
        let at_least = self.number(
            rate.at_least_usd.as_ref(),
            "spend.rate.at_least_usd",
            5.0,
            &NOT_NEGATIVE,
            "below this nothing is asked, whatever the habit",
        );
        let window = length(rate.window.as_ref()).unwrap_or(HOUR);
        let history = length(rate.history.as_ref()).unwrap_or(HOUR * 24 * 14);
        if let Some(at) = rate.history.as_ref().or(rate.window.as_ref())
            && history < window * 2
        {
            self.report(
                Code::Conflict,
                &at.span,
                "`spend.rate.history` must hold several windows",
                "too short to know a habit from",
                "14d with a window of 1h suits most",
            );
        }
        Some(SpendRate {
            times,
            window,
            history,
            at_least: Usd::from_dollars(at_least),
        })
    }

    fn window(&mut self, section: &WindowSection, path: &str) -> Option<(f64, Duration)> {
        let amount = self.optional(
            section.amount.as_ref(),
            &format!("{path}.amount"),
            &POSITIVE,
            "leave the rule out for none",
        )?;
        Some((amount, length(section.window.as_ref()).unwrap_or(HOUR)))
    }

    /// A cache, with what `common` says where this section is silent.
    pub(super) fn cache(
        &mut self,
        section: &CacheSection,
        common: Option<&CacheConfig>,
    ) -> CacheConfig {
        let default = common.cloned().unwrap_or_default();
        CacheConfig {
            ttl: length(section.ttl.as_ref()).unwrap_or(default.ttl),
            tools: section.tools.as_ref().map_or(default.tools, |at| at.value),
            sampled: section
                .sampled
                .as_ref()
                .map_or(default.sampled, |at| at.value),
            scope: section.scope.as_ref().map_or(default.scope, |at| at.value),
            semantic: match &section.semantic {
                Some(semantic) => Some(self.semantic(&semantic.value)),
                None => default.semantic,
            },
            max_bytes: size(section.max_size.as_ref()).unwrap_or(default.max_bytes),
        }
    }

    fn semantic(&mut self, section: &SemanticSection) -> SemanticConfig {
        let similarity = self.number(
            section.similarity.as_ref(),
            "cache.semantic.similarity",
            0.95,
            &super::Bounds {
                holds: |value| value > 0.0 && value <= 1.0,
                words: "above 0 and at most 1",
            },
            "0.95 lets small rewordings through",
        );
        let embedding = match &section.embedding {
            Some(name) if name.value != "local" => EmbeddingConfig::Route(name.value.clone()),
            _ => EmbeddingConfig::Local,
        };
        SemanticConfig {
            similarity,
            embedding,
        }
    }

    /// That whoever embeds questions is a name of the file.
    pub(super) fn semantic_embeddings(
        &mut self,
        written: &Proxy,
        routes: &[RouteConfig],
        known: &Known,
    ) {
        let sections = written.cache.iter().map(|at| &at.value).chain(
            written
                .models
                .iter()
                .flat_map(|at| &at.value.0)
                .filter_map(|entry| super::cache_section(&entry.value)),
        );
        for section in sections {
            let Some(name) = section
                .semantic
                .as_ref()
                .and_then(|semantic| semantic.value.embedding.as_ref())
            else {
                continue;
            };
            if name.value == "local" || routes.iter().any(|route| route.name == name.value) {
                continue;
            }
            if name.value.contains('/') {
                self.target(&name.value, &name.span, known);
            } else {
                let names = routes.iter().map(|route| route.name.as_str());
                let hint = "give `local`, a name of `models`, or `vendor/model`";
                self.known_name(&name.value, &name.span, "embedding model", names, hint);
            }
        }
    }

    pub(super) fn redaction(&mut self, written: &Proxy) -> RedactionConfig {
        let default = RedactionConfig::default();
        let Some(section) = written.redaction.as_ref().map(|at| &at.value) else {
            return default;
        };
        let mut detectors = match &section.detect {
            None => default.detectors,
            Some(names) => {
                let names = &names.value.0;
                names
                    .iter()
                    .filter_map(|name| self.detector(name))
                    .collect()
            }
        };
        if let Some(custom) = &section.custom {
            for (name, pattern) in &custom.value.0 {
                let compiled = match pattern {
                    Value::String(text) => RegexBuilder::new(text)
                        .size_limit(PATTERN_BYTES)
                        .build()
                        .map_err(|error| error.to_string()),
                    _ => Err("it is no text".to_owned()),
                };
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                match compiled {
                    Ok(pattern) if pattern.is_match("") => self.report(
                        Code::Invalid,
                        &custom.span,
                        format!("`redaction.custom.{name}` matches nothing at all"),
                        "an empty text fits it",
                        "write a pattern that needs at least one character",
                    ),
                    Ok(pattern) if name.chars().all(plain) => detectors.push(Detector::Custom {
                        name: name.clone(),
                        pattern,
                    }),
                    Ok(_) => self.report(
                        Code::Invalid,
                        &custom.span,
                        format!("`redaction.custom.{name}` stands in placeholders"),
                        "letters, digits, `-` and `_`",
                        "give it a plain name",
                    ),
                    Err(problem) => self.report(
                        Code::Invalid,
                        &custom.span,
                        format!(
                            "`redaction.custom.{name}` is no regular expression: {}",
                            problem.split_whitespace().collect::<Vec<_>>().join(" ")
                        ),
                        "in here",
                        "look-around and back references are not known; put the pattern in single quotes",
                    ),
                }
            }
        }
        RedactionConfig { detectors }
    }

    fn detector(&mut self, name: &At<String>) -> Option<Detector> {
        let known = RedactionConfig::default().detectors;
        let names = known.iter().map(Detector::name);
        let hint = "give some of: email, phone, card, key, iban";
        self.known_name(&name.value, &name.span, "detector", names, hint);
        known
            .iter()
            .find(|detector| detector.name() == name.value)
            .cloned()
    }

    pub(super) fn telemetry(&mut self, written: &Proxy) -> TelemetryConfig {
        let default = TelemetryConfig::default();
        let Some(section) = written.telemetry.as_ref().map(|at| &at.value) else {
            return default;
        };
        let otlp = section.otlp.as_ref().and_then(|otlp| {
            let (endpoint, span, headers, service, sample) = match &otlp.value {
                Short::Text(endpoint) => (endpoint, &otlp.span, None, None, None),
                Short::Section(section) => {
                    let endpoint = section.endpoint.as_ref()?;
                    (
                        &endpoint.value,
                        &endpoint.span,
                        section.headers_env.as_ref(),
                        section.service.as_ref(),
                        section.sample.as_ref(),
                    )
                }
            };
            let parsed = reqwest::Url::parse(endpoint)
                .ok()
                .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if parsed.is_none() {
                self.report(
                    Code::Invalid,
                    span,
                    "`telemetry.otlp` is no http or https address",
                    "no collector",
                    "give for instance http://127.0.0.1:4318",
                );
            }
            Some(OtlpConfig {
                endpoint: endpoint.trim_end_matches('/').to_owned(),
                headers: self.secret_headers(headers, "telemetry.otlp.headers_env"),
                service: service.map_or("distill-proxy".to_owned(), |at| at.value.clone()),
                sample: self.number(
                    sample,
                    "telemetry.otlp.sample",
                    1.0,
                    &SHARE,
                    "0.1 traces one request in ten",
                ),
            })
        });
        TelemetryConfig {
            prometheus: section
                .prometheus
                .as_ref()
                .map_or(default.prometheus, |at| at.value),
            otlp,
            log: section.log.as_ref().map_or(default.log, |at| at.value),
        }
    }

    pub(super) fn security(
        &mut self,
        written: &Proxy,
        listen: Option<SocketAddr>,
        administered: bool,
    ) -> SecurityConfig {
        let section = written.security.as_ref().map(|at| &at.value);
        let remote = section
            .and_then(|section| section.remote.as_ref())
            .is_some_and(|at| at.value);
        let asked = section.and_then(|section| section.require_keys.as_ref());
        let require_keys = asked.map_or(written.admin_key_env.is_some(), |at| at.value);
        let far = listen.is_some_and(|address| !address.ip().is_loopback());
        if let (true, Some(at)) = (far, &written.listen) {
            if !remote {
                self.report(
                    Code::Conflict,
                    &at.span,
                    format!("`listen: {}` can be reached by other machines", at.value),
                    "not loopback",
                    "say `security: {remote: true}` if that is meant; otherwise listen on 127.0.0.1",
                );
            }
            if written.admin_key_env.is_none() && !administered {
                self.report(
                    Code::Missing,
                    &at.span,
                    "a proxy that other machines reach needs an administrator's key",
                    "open to the network",
                    "add `admin_key_env: DISTILL_ADMIN_KEY`, and keys for callers by `distill keys create`",
                );
            }
            if let Some(asked) = asked.filter(|asked| !asked.value) {
                self.report(
                    Code::Conflict,
                    &asked.span,
                    "callers from other machines must show a key",
                    "open to the network",
                    "remove it, or listen on 127.0.0.1",
                );
            }
        }
        let default = SecurityConfig {
            remote,
            require_keys,
            ..SecurityConfig::default()
        };
        match section {
            Some(section) => self.bounds(section, default),
            None => default,
        }
    }

    fn bounds(&mut self, section: &SecuritySection, default: SecurityConfig) -> SecurityConfig {
        if let Some(hosts) = section.image_hosts.as_ref().or(section.hosts.as_ref()) {
            for host in &hosts.value.0 {
                if host.value.is_empty() || host.value.contains(['/', '*', ' ']) {
                    self.report(
                        Code::Invalid,
                        &host.span,
                        format!("`{}` is no host", host.value),
                        "a name without scheme, path or `*`",
                        "write for instance images.example.com",
                    );
                }
            }
        }
        SecurityConfig {
            max_body_bytes: size(section.max_body.as_ref()).unwrap_or(default.max_body_bytes),
            max_header_bytes: size(section.max_headers.as_ref())
                .unwrap_or(default.max_header_bytes),
            header_timeout: length(section.header_timeout.as_ref())
                .unwrap_or(default.header_timeout),
            body_timeout: length(section.body_timeout.as_ref()).unwrap_or(default.body_timeout),
            max_connections: self
                .whole(
                    section.max_connections.as_ref(),
                    "security.max_connections",
                    1,
                    1_000_000,
                )
                .map_or(default.max_connections, |bound| bound as u32),
            hosts: texts(section.hosts.as_ref()),
            image_hosts: texts(section.image_hosts.as_ref()),
            ..default
        }
    }

    pub(super) fn alerts(&mut self, written: &Proxy) -> AlertsConfig {
        let default = AlertsConfig::default();
        let Some(section) = written.alerts.as_ref().map(|at| &at.value) else {
            return default;
        };
        if let Some(url) = &section.public_url
            && !url.value.starts_with("http://")
            && !url.value.starts_with("https://")
        {
            self.report(
                Code::Invalid,
                &url.span,
                "`alerts.public_url` is no http or https address",
                "links in messages would lead nowhere",
                "give for instance https://llm.example.com",
            );
        }
        AlertsConfig {
            webhook: self.webhook(
                section.webhook_env.as_ref(),
                section.webhook.as_ref(),
                "alerts.webhook",
            ),
            sunset_days: self
                .whole(section.sunset_days.as_ref(), "alerts.sunset_days", 0, 3_650)
                .map_or(default.sunset_days, |days| days as u32),
            public_url: section
                .public_url
                .as_ref()
                .map(|url| url.value.trim_end_matches('/').to_owned()),
        }
    }

    pub(super) fn quality(&mut self, written: &Proxy) -> QualityConfig {
        let default = QualityConfig::default();
        let Some(section) = written.quality.as_ref().map(|at| &at.value) else {
            return default;
        };
        let budget = self.optional(
            section.budget_usd.as_ref(),
            "quality.budget_usd",
            &DOLLARS,
            "what one measurement of everything may cost, in US dollars",
        );
        QualityConfig {
            every: length(section.every.as_ref()),
            on_change: section.on_change.as_ref().is_some_and(|at| at.value),
            rows: self.whole(section.rows.as_ref(), "quality.rows", 1, 1_000_000),
            budget: budget.map_or(default.budget, Usd::from_dollars),
            confidence: self.number(
                section.confidence.as_ref(),
                "quality.confidence",
                default.confidence,
                &OPEN_SHARE,
                "0.95 is usual",
            ),
        }
    }
}
