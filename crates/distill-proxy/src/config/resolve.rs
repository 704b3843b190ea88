//! Checks what the types of the file cannot hold, and fills in the defaults.

use std::{collections::BTreeMap, ops::Range, path::PathBuf, sync::Arc};

use distill_gateway::{PriceTable, Secret};
use distill_pipeline::spec::document::{
    At, Bounds, Code, Finding, NOT_NEGATIVE, OPEN_SHARE, POSITIVE, SHARE, SourceText, nearest,
};
use sha2::{Digest as _, Sha256};

use super::{
    Keys, Sources,
    resolved::{CacheConfig, ClassConfig, Config, Day, RouteConfig, VendorConfig, WebhookConfig},
    values::{Length, Size, Switch, Texts},
    written::{CacheSection, MissingKeys, Proxy, WrittenRoute},
};

mod guard;
mod people;
mod route;
mod server;
mod task;
mod vendor;

/// What no command can do without.
const LEDGER_URL: &str = "`ledger.url_env`";

/// The vendor's name of released students.
const STUDENT: &str = "student";

const MORE_THAN_ONE: Bounds = Bounds {
    holds: |value| value > 1.0,
    words: "above 1",
};
/// Amounts of the ledger are exact up to some nine million dollars.
const DOLLARS: Bounds = Bounds {
    holds: |value| value > 0.0 && value <= 1e6,
    words: "above 0 and at most a million",
};

/// Collects findings of one file.
pub(super) struct Resolver<'a> {
    source: &'a SourceText,
    sources: &'a Sources<'a>,
    keys: Keys,
    findings: Vec<Finding>,
    notes: Vec<String>,
    prices: Arc<PriceTable>,
    /// The text of the file's own table: another table is another configuration.
    prices_text: String,
    missing_keys: MissingKeys,
    /// The variable without a value, by the name of the vendor that needs it.
    missing: BTreeMap<String, String>,
    /// Targets that were left out for want of a key.
    left_out: Vec<String>,
    /// Places that may hold a key or a password: messages do not show them.
    masked: Vec<Range<usize>>,
}

/// What routes and tasks are checked against.
struct Known {
    vendors: Vec<VendorConfig>,
    classes: BTreeMap<String, ClassConfig>,
    cache: Option<CacheConfig>,
    students: bool,
    passthrough: bool,
}

/// What came of it.
pub(super) struct Resolved {
    pub(super) config: Option<Config>,
    pub(super) findings: Vec<Finding>,
    /// Places of the text that must not be shown.
    pub(super) masked: Vec<Range<usize>>,
}

/// Resolves a file as far as it could be read; `found` is what reading it found. Findings empty: the
/// configuration is there.
pub(super) fn resolve(
    written: &Proxy,
    source: &SourceText,
    text: &str,
    (sources, keys): (&Sources<'_>, Keys),
    found: Vec<Finding>,
) -> Resolved {
    let mut resolver = Resolver {
        source,
        sources,
        keys,
        findings: found,
        notes: Vec::new(),
        prices: sources
            .prices
            .clone()
            .unwrap_or_else(|| Arc::new(PriceTable::embedded().clone())),
        prices_text: String::new(),
        missing_keys: written
            .missing_keys
            .as_ref()
            .map_or(MissingKeys::Refuse, |at| at.value),
        missing: BTreeMap::new(),
        left_out: Vec::new(),
        masked: Vec::new(),
    };
    let config = resolver.config(written, text);
    Resolved {
        config,
        findings: resolver.findings,
        masked: resolver.masked,
    }
}

/// Hash of a text, in hexadecimal.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Resolver<'_> {
    /// Every section is looked at before any mistake ends the work: all findings at once.
    fn config(&mut self, written: &Proxy, text: &str) -> Option<Config> {
        if let Some(prices) = &written.prices {
            self.price_table(prices);
        }
        let listen = self.listen(written);
        let admin_key = self.admin_key(written);
        let ledger = self.ledger(written);
        let students = self.students(written);
        let simulate = self.simulate(written);
        let passthrough = written.passthrough.as_ref().is_some_and(|at| at.value);
        let cache = written.cache.as_ref().map(|at| self.cache(&at.value, None));
        let classes = route::classes(written);
        let known = Known {
            vendors: self.vendors(written, students.is_some()),
            classes,
            cache: cache.clone(),
            students: students.is_some(),
            passthrough,
        };
        let (mut routes, passthrough_route) = self.routes(written, &known);
        let tasks = self.tasks(written, &routes, &known);
        let people = self.people(written);
        let limits = self.limits(written);
        let spend = self.spend(written);
        let redaction = self.redaction(written);
        let telemetry = self.telemetry(written);
        let security = self.security(written, listen, admin_key.is_some());
        let alerts = self.alerts(written);
        let quality = self.quality(written);
        self.semantic_embeddings(written, &routes, &known);
        if routes.is_empty() && !passthrough && self.findings.is_empty() {
            self.report(
                Code::Missing,
                &(0..0),
                "nobody can be asked: `models` is empty and nothing is passed through",
                "belongs in here",
                "add `models: {fast: [openai/gpt-5-mini]}`, or `passthrough: true` for any `vendor/model`",
            );
        }
        let of_tasks = task::routes(&tasks, &routes, &passthrough_route, &known.classes);
        routes.extend(of_tasks);
        self.notes_on_sunsets(&routes, alerts.sunset_days);
        let vendors = reachable(known.vendors, &routes, passthrough);
        Some(Config {
            name: self.source_name(),
            digest: digest_of(format!("{text}{}", self.prices_text).as_bytes()),
            listen: listen?,
            admin_key,
            ledger: ledger?,
            vendors,
            routes,
            passthrough,
            passthrough_route,
            tasks,
            task_releases: self.sources.state.join("tasks.json"),
            classes: known.classes,
            limits,
            people,
            spend,
            cache,
            redaction,
            telemetry,
            security,
            students,
            alerts,
            quality,
            prices: self.prices.clone(),
            simulate,
            notes: std::mem::take(&mut self.notes),
        })
    }

    fn source_name(&self) -> String {
        self.source.name().to_owned()
    }

    fn price_table(&mut self, path: &At<String>) {
        let file = self.path(&path.value);
        let table = std::fs::read_to_string(&file)
            .map_err(|error| error.to_string())
            .and_then(|text| {
                let table = PriceTable::read(&text).map_err(|error| error.to_string())?;
                Ok((table, text))
            });
        match table {
            Ok((table, text)) => {
                self.prices = Arc::new(table.over(PriceTable::embedded()));
                self.prices_text = text;
            }
            Err(problem) => self.report(
                Code::Invalid,
                &path.span,
                format!("the price table `{}` cannot be used: {problem}", path.value),
                "not a price table",
                "its shape is that of `distill prices import`; leave the key out for the program's own prices",
            ),
        }
    }

    /// A path of the file, from the file's folder.
    fn path(&self, path: &str) -> PathBuf {
        self.sources.folder.join(path)
    }

    /// What an environment variable holds; a finding where it holds nothing.
    fn variable(&mut self, name: &At<String>, what: &str) -> Option<Secret> {
        let text = name.value.as_str();
        if !is_variable(text) {
            self.not_a_variable(name, what);
            return None;
        }
        let value = (self.sources.environment)(text).filter(|value| !value.trim().is_empty());
        if value.is_none() && (self.keys == Keys::Needed || what == LEDGER_URL) {
            self.report(
                Code::Missing,
                &name.span,
                format!("{what}: the environment variable {text} holds nothing"),
                "not set",
                format!("set {text}, or remove the key"),
            );
        }
        value.map(|value| Secret::new(value.trim().to_owned()))
    }

    fn not_a_variable(&mut self, name: &At<String>, what: &str) {
        self.masked.push(name.span.clone());
        self.report(
            Code::Invalid,
            &name.span,
            format!("{what} does not name an environment variable"),
            "letters, digits and `_`",
            "keys do not stand in this file: put it into a variable, and the variable's name here",
        );
    }

    fn day(&mut self, text: Option<&At<String>>, path: &str) -> Option<Day> {
        let text = text?;
        let day = Day::parse(&text.value);
        if day.is_none() {
            self.report(
                Code::Invalid,
                &text.span,
                format!("`{path}` is `{}`", text.value),
                "not a day",
                "write it as YYYY-MM-DD",
            );
        }
        day
    }

    fn webhook(
        &mut self,
        variable: Option<&At<String>>,
        open: Option<&At<String>>,
        path: &str,
    ) -> Option<WebhookConfig> {
        let (url, span) = match (variable, open) {
            (Some(variable), Some(_)) => {
                self.report(
                    Code::Conflict,
                    &variable.span,
                    format!("`{path}` and `{path}_env` name two addresses"),
                    "one of the two",
                    "remove one",
                );
                return None;
            }
            (Some(variable), None) => (
                self.variable(variable, &format!("`{path}_env`"))?,
                &variable.span,
            ),
            (None, Some(url)) => (Secret::new(url.value.clone()), &url.span),
            (None, None) => return None,
        };
        let parsed = reqwest::Url::parse(url.expose())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if parsed.is_none() {
            self.report(
                Code::Invalid,
                span,
                format!("`{path}` is no http or https address"),
                "nothing can be posted there",
                "give the whole address, beginning with https://",
            );
            return None;
        }
        Some(WebhookConfig {
            url,
            timeout: std::time::Duration::from_secs(5),
            attempts: 4,
        })
    }

    fn number(
        &mut self,
        value: Option<&At<f64>>,
        path: &str,
        default: f64,
        bounds: &Bounds,
        hint: &str,
    ) -> f64 {
        self.optional(value, path, bounds, hint).unwrap_or(default)
    }

    /// A number within its bounds; one outside them is reported and passed on.
    fn optional(
        &mut self,
        value: Option<&At<f64>>,
        path: &str,
        bounds: &Bounds,
        hint: &str,
    ) -> Option<f64> {
        let at = value?;
        self.findings
            .extend(bounds.finding(self.source, at, path, hint));
        Some(at.value)
    }

    fn whole(&mut self, value: Option<&At<u64>>, path: &str, low: u64, high: u64) -> Option<u64> {
        let at = value?;
        if !(low..=high).contains(&at.value) {
            let words = if at.value < low {
                format!("at least {low}")
            } else {
                format!("at most {high}")
            };
            self.report(
                Code::OutOfRange,
                &at.span,
                format!("`{path}` is {}, and must be {words}", at.value),
                format!("not {words}"),
                format!("give a number between {low} and {high}"),
            );
        }
        Some(at.value)
    }

    /// That a name is one of those known.
    fn known_name<'n>(
        &mut self,
        name: &str,
        span: &Range<usize>,
        what: &str,
        known: impl Iterator<Item = &'n str> + Clone,
        otherwise: &str,
    ) -> bool {
        if known.clone().any(|other| other == name) {
            return true;
        }
        let hint = nearest(name, known).map_or_else(
            || otherwise.to_owned(),
            |name| format!("did you mean `{name}`?"),
        );
        self.report(
            Code::UnknownName,
            span,
            format!("there is no {what} `{name}`"),
            "not a name of this file",
            hint,
        );
        false
    }

    fn report(
        &mut self,
        code: Code,
        span: &Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let finding = self
            .source
            .finding(code, span.clone(), message)
            .label(label)
            .hint(hint);
        self.findings.push(finding);
    }

    /// Sunsets that are near, for whoever looks at the configuration.
    fn notes_on_sunsets(&mut self, routes: &[RouteConfig], days: u32) {
        let today = self.sources.today;
        for route in routes {
            // A task's route has the members of another.
            let of_a_task = route.name.starts_with("task/");
            for member in route.members.iter().filter(|_| !of_a_task) {
                let Some(sunset) = member.sunset else {
                    continue;
                };
                let left = sunset.0 - today.0;
                let (name, target) = (&route.name, &member.target);
                if left < 0 {
                    self.notes.push(format!(
                        "`{target}` in `{name}` is past its sunset {sunset} and is not asked"
                    ));
                } else if left <= i64::from(days) {
                    self.notes.push(format!(
                        "`{target}` in `{name}` is asked until {sunset}, {left} more days"
                    ));
                }
            }
        }
    }
}

/// The vendors that something can lead to.
fn reachable(
    vendors: Vec<VendorConfig>,
    routes: &[RouteConfig],
    passthrough: bool,
) -> Vec<VendorConfig> {
    let used = |vendor: &VendorConfig| {
        routes
            .iter()
            .flat_map(|route| &route.members)
            .any(|member| vendor_of(&member.target) == vendor.name)
    };
    vendors
        .into_iter()
        .filter(|vendor| used(vendor) || passthrough)
        .collect()
}

/// The vendor of `vendor/model`.
fn vendor_of(target: &str) -> &str {
    target.split('/').next().unwrap_or_default()
}

/// Whether a pattern, which may end in `*`, names this.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

fn length(value: Option<&At<Length>>) -> Option<std::time::Duration> {
    value.map(|at| at.value.0)
}

fn size(value: Option<&At<Size>>) -> Option<u64> {
    value.map(|at| at.value.0)
}

fn texts(value: Option<&At<Texts>>) -> Vec<String> {
    value.map(|at| at.value.values()).unwrap_or_default()
}

/// What a route as written says of its cache in detail.
fn cache_section(route: &WrittenRoute) -> Option<&CacheSection> {
    let WrittenRoute::Detailed(section) = route else {
        return None;
    };
    match &section.cache.as_ref()?.value {
        Switch::Detailed(cache) => Some(cache),
        Switch::Plain(_) => None,
    }
}

/// Whether this can be the name of an environment variable. A key that was written in its place
/// mostly cannot, and must not be repeated in a message.
fn is_variable(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty()
        && text.len() <= 64
        && text.chars().all(plain)
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.starts_with("sk_")
}
