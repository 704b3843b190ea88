//! Checks of `tasks`: templates, schemas, versions, who may call them and who may answer.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use distill_chat::{ObjectSchema, Task, TaskDefinition, TaskError, TaskKind};
use distill_pipeline::spec::{
    document::{At, Code},
    written::JsonSchema,
};
use distill_wire::Reasoning;
use serde_json::json;

use super::{
    Known, Resolver, SHARE, digest_of, matches, route::class_allows, route::redact_config, size,
    texts, vendor_of,
};
use crate::config::{
    resolved::{
        ClassConfig, MemberConfig, RedactConfig, RouteConfig, TaskConfig, TaskParameters,
        TaskPolicy, TaskVersion,
    },
    values::Entry,
    written::{ParametersSection, Proxy, TaskSection},
};

const TEMPERATURE: super::Bounds = super::Bounds {
    holds: |value| (0.0..=2.0).contains(&value),
    words: "between 0 and 2",
};
const EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];

/// A version as written, wherever it stands.
struct Written<'a> {
    name: &'a str,
    path: String,
    span: &'a Range<usize>,
    kind: Option<&'a At<TaskKind>>,
    system: Option<&'a At<String>>,
    prompt: Option<&'a At<String>>,
    labels: Option<&'a At<Vec<At<String>>>>,
    schema: Option<&'a At<JsonSchema>>,
    parameters: Option<&'a At<ParametersSection>>,
    route: Option<&'a At<String>>,
}

impl Resolver<'_> {
    pub(super) fn tasks(
        &mut self,
        written: &Proxy,
        routes: &[RouteConfig],
        known: &Known,
    ) -> Vec<TaskConfig> {
        let entries = written.tasks.iter().flat_map(|at| &at.value.0);
        entries
            .filter_map(|entry| self.task(entry, routes, known))
            .collect()
    }

    fn task(
        &mut self,
        entry: &Entry<TaskSection>,
        routes: &[RouteConfig],
        known: &Known,
    ) -> Option<TaskConfig> {
        let (name, section) = (entry.name.as_str(), &entry.value);
        let path = format!("tasks.{name}");
        self.task_name(name, "a task", &entry.span);
        let policy = TaskPolicy {
            models: texts(section.models.as_ref()),
            vendors: texts(section.vendors.as_ref()),
            data_class: section.data_class.as_ref().map(|at| at.value.clone()),
            redact: section
                .redact
                .as_ref()
                .map(|at| redact_config(&at.value))
                .unwrap_or_default(),
            max_bytes: size(section.max_size.as_ref()),
            allow: texts(section.allow.as_ref()),
        };
        let mut versions = Vec::new();
        for version in self.versions(entry, &path) {
            self.task_name(version.name, "a version", version.span);
            if let Some(route) = version.route {
                self.task_route(route, routes, known);
                self.somebody_may_answer(route, &policy, routes, known);
            }
            versions.extend(self.version(&version));
        }
        if let Some(route) = &section.route {
            self.task_route(route, routes, known);
        }
        if let Some(allow) = &section.allow {
            self.allowed(&allow.value);
        }
        if let Some(class) = &section.data_class {
            let names = known.classes.keys().map(String::as_str);
            let hint = "define it in `data_classes`";
            self.known_name(&class.value, &class.span, "data class", names, hint);
        }
        let active = self.active(section, &versions)?;
        let route = section.route.as_ref()?;
        self.somebody_may_answer(route, &policy, routes, known);
        Some(TaskConfig {
            name: name.to_owned(),
            versions,
            active,
            route: route.value.clone(),
            policy,
        })
    }

    fn task_name(&mut self, name: &str, what: &str, span: &Range<usize>) {
        let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
            self.report(
                Code::Invalid,
                span,
                format!("{what} cannot be called `{name}`"),
                "callers write `task/NAME@VERSION`",
                "use letters, digits, `-`, `_` and `.`",
            );
        }
    }

    /// The versions of a task: those that are listed, or the one that the task itself spells out.
    fn versions<'e>(&mut self, entry: &'e Entry<TaskSection>, path: &str) -> Vec<Written<'e>> {
        let section = &entry.value;
        let own = Written {
            name: "1",
            path: path.to_owned(),
            span: &entry.span,
            kind: section.kind.as_ref(),
            system: section.system.as_ref(),
            prompt: section.prompt.as_ref(),
            labels: section.labels.as_ref(),
            schema: section.schema.as_ref(),
            parameters: section.parameters.as_ref(),
            route: None,
        };
        let Some(listed) = &section.versions else {
            if section.prompt.is_none() {
                self.report(
                    Code::Missing,
                    &entry.span,
                    format!("`{path}` has no prompt"),
                    "asks nothing",
                    "add `prompt: \"{{ text }}\"`, or `versions:` with one each",
                );
                return Vec::new();
            }
            return vec![own];
        };
        let doubled = [
            own.kind.map(|at| ("kind", &at.span)),
            own.system.map(|at| ("system", &at.span)),
            own.prompt.map(|at| ("prompt", &at.span)),
            own.labels.map(|at| ("labels", &at.span)),
            own.schema.map(|at| ("schema", &at.span)),
            own.parameters.map(|at| ("parameters", &at.span)),
        ];
        for (key, span) in doubled.into_iter().flatten() {
            self.report(
                Code::Conflict,
                span,
                format!("`{path}.{key}` stands beside `versions`"),
                "belongs to no version",
                "move it into the versions that it holds for",
            );
        }
        if listed.value.0.is_empty() {
            self.report(
                Code::Missing,
                &listed.span,
                format!("`{path}.versions` is empty"),
                "asks nothing",
                "add a version: `\"1\": {prompt: \"{{ text }}\"}`",
            );
        }
        listed
            .value
            .0
            .iter()
            .map(|version| Written {
                name: &version.name,
                path: format!("{path}.versions.{}", version.name),
                span: &version.span,
                kind: version.value.kind.as_ref(),
                system: version.value.system.as_ref(),
                prompt: version.value.prompt.as_ref(),
                labels: version.value.labels.as_ref(),
                schema: version.value.schema.as_ref(),
                parameters: version.value.parameters.as_ref(),
                route: version.value.route.as_ref(),
            })
            .collect()
    }

    fn version(&mut self, version: &Written<'_>) -> Option<TaskVersion> {
        let path = &version.path;
        let whole = self.template(version.system, &format!("{path}.system"))
            & self.template(version.prompt, &format!("{path}.prompt"));
        let kind = version.kind.map_or_else(
            || {
                if version.labels.is_some() {
                    TaskKind::Classify
                } else {
                    TaskKind::Generate
                }
            },
            |at| at.value,
        );
        self.fits_its_kind(version, kind);
        let parameters = version
            .parameters
            .map_or_else(TaskParameters::default, |at| {
                self.parameters(&at.value, &format!("{path}.parameters"))
            });
        let definition = TaskDefinition {
            kind,
            system: version.system.map(|at| at.value.clone()),
            prompt: version.prompt?.value.clone(),
            labels: version
                .labels
                .iter()
                .flat_map(|labels| &labels.value)
                .map(|label| label.value.clone())
                .collect(),
            schema: version.schema.map(|at| at.value.value.clone()),
        };
        let shape = json!({
            "definition": definition,
            "max_tokens": parameters.max_tokens,
            "temperature": parameters.temperature,
            "top_p": parameters.top_p,
            "stop": parameters.stop,
            "seed": parameters.seed,
            "reasoning": parameters.reasoning.as_ref().and_then(|reasoning| reasoning.effort.clone()),
        });
        match Task::new(definition) {
            Ok(task) => Some(TaskVersion {
                version: version.name.to_owned(),
                digest: digest_of(shape.to_string().as_bytes()),
                task: Arc::new(task),
                parameters,
                route: version.route.map(|at| at.value.clone()),
            }),
            Err(error) => {
                if whole && self.findings.is_empty() {
                    self.report(
                        Code::Invalid,
                        version.span,
                        format!("`{path}` cannot be used: {error}"),
                        "not a task",
                        "mend what it names",
                    );
                }
                None
            }
        }
    }

    fn fits_its_kind(&mut self, version: &Written<'_>, kind: TaskKind) {
        let path = &version.path;
        if let (Some(labels), TaskKind::Extract | TaskKind::Generate) = (version.labels, kind) {
            self.report(
                Code::Conflict,
                &labels.span,
                format!("`{path}.labels` belongs to `kind: classify`"),
                format!("not used by `{}`", kind.name()),
                "remove it, or write `kind: classify`",
            );
        }
        match (kind, version.schema) {
            (TaskKind::Classify, Some(schema)) => self.report(
                Code::Conflict,
                &schema.span,
                format!("`{path}.schema` does not go with a classification"),
                "not used by `classify`",
                "remove it, or remove `labels` and `kind`",
            ),
            (TaskKind::Extract, None) => self.report(
                Code::Missing,
                version.kind.map_or(version.span, |kind| &kind.span),
                format!("`{path}.schema` is missing"),
                "an extraction needs one",
                "add `schema: {type: object, properties: {FIELD: {type: string}}, additionalProperties: false}`",
            ),
            (TaskKind::Extract, Some(schema)) => {
                if let Err(error) = ObjectSchema::parse(&schema.value.value) {
                    self.report(
                        Code::Schema,
                        &schema.span,
                        format!("`{path}.schema` cannot be held: {error}"),
                        "not one flat object",
                        "leave `kind` out for any JSON schema; `extract` is what a student can be trained for",
                    );
                }
            }
            (TaskKind::Classify, None) if version.labels.is_none_or(|at| at.value.len() < 2) => {
                self.report(
                    Code::Missing,
                    version.labels.map_or(version.span, |labels| &labels.span),
                    format!("`{path}` classifies and has fewer than two labels"),
                    "nothing to choose from",
                    "list every label: `labels: [refund, delivery]`",
                );
            }
            _ => {}
        }
    }

    /// Compiles one template alone, so that each can have its finding.
    fn template(&mut self, template: Option<&At<String>>, path: &str) -> bool {
        let Some(template) = template else {
            return true;
        };
        let alone = TaskDefinition {
            kind: TaskKind::Generate,
            system: None,
            prompt: template.value.clone(),
            labels: Vec::new(),
            schema: None,
        };
        let Err(TaskError::Template { problem, .. }) = Task::new(alone) else {
            return true;
        };
        let problem = problem
            .replace("(in prompt:", "(line ")
            .replace("syntax error: ", "");
        self.report(
            Code::Template,
            &template.span,
            format!("template `{path}` does not compile: {problem}"),
            "not a template",
            "variables stand in double braces, `{{ text }}`; look for a brace or a quote that is not closed, and for mistyped filters",
        );
        false
    }

    fn parameters(&mut self, section: &ParametersSection, path: &str) -> TaskParameters {
        let reasoning = section.reasoning.as_ref().map(|effort| {
            let hint = "give one of: none, minimal, low, medium, high, xhigh";
            self.known_name(
                &effort.value,
                &effort.span,
                "reasoning effort",
                EFFORTS.into_iter(),
                hint,
            );
            Reasoning {
                effort: Some(effort.value.clone()),
                ..Reasoning::default()
            }
        });
        TaskParameters {
            max_tokens: self.whole(
                section.max_tokens.as_ref(),
                &format!("{path}.max_tokens"),
                1,
                1 << 24,
            ),
            temperature: self.optional(
                section.temperature.as_ref(),
                &format!("{path}.temperature"),
                &TEMPERATURE,
                "0 gives the steadiest answers",
            ),
            top_p: self.optional(
                section.top_p.as_ref(),
                &format!("{path}.top_p"),
                &SHARE,
                "leave it out for the model's own",
            ),
            stop: texts(section.stop.as_ref()),
            seed: self
                .whole(
                    section.seed.as_ref(),
                    &format!("{path}.seed"),
                    0,
                    i64::MAX as u64,
                )
                .map(|seed| seed as i64),
            reasoning,
        }
    }

    fn active(&mut self, section: &TaskSection, versions: &[TaskVersion]) -> Option<String> {
        let last = versions.last()?.version.clone();
        let Some(active) = &section.active else {
            return Some(last);
        };
        let names = versions.iter().map(|version| version.version.as_str());
        let hint = format!("the last is `{last}`");
        self.known_name(&active.value.0, &active.span, "version", names, &hint);
        Some(active.value.0.clone())
    }

    /// That a task's route is a name of `models`, or a target that is passed through.
    fn task_route(&mut self, route: &At<String>, routes: &[RouteConfig], known: &Known) {
        if routes.iter().any(|known| known.name == route.value) {
            return;
        }
        if route.value.contains('/') && known.passthrough {
            self.target(&route.value, &route.span, known);
            return;
        }
        let hint = if route.value.contains('/') {
            "add it to `models`, or say `passthrough: true`"
        } else {
            "give a name of `models`"
        };
        let names = routes.iter().map(|route| route.name.as_str());
        self.known_name(&route.value, &route.span, "route", names, hint);
    }

    /// That the task's rules leave somebody of its route to ask.
    fn somebody_may_answer(
        &mut self,
        at: &At<String>,
        policy: &TaskPolicy,
        routes: &[RouteConfig],
        known: &Known,
    ) {
        let Some(route) = routes.iter().find(|route| route.name == at.value) else {
            return;
        };
        let class = policy
            .data_class
            .as_ref()
            .and_then(|name| known.classes.get(name));
        let allowed = |target: &str| {
            policy.allows(target) && class.is_none_or(|class| class_allows(class, target))
        };
        if !route.members.is_empty() && !route.members.iter().any(|member| allowed(&member.target))
        {
            self.report(
                Code::Conflict,
                &at.span,
                format!("no member of `{}` may answer this task", at.value),
                "all are ruled out by `models`, `vendors` or `data_class`",
                "allow one of them, or give the task another route",
            );
        }
    }
}

/// The route of every version of every task: the one that it names, without the members that the
/// task's rules exclude.
pub(super) fn routes(
    tasks: &[TaskConfig],
    routes: &[RouteConfig],
    passthrough: &RouteConfig,
    classes: &BTreeMap<String, ClassConfig>,
) -> Vec<RouteConfig> {
    let mut all = Vec::new();
    for task in tasks {
        let policy = &task.policy;
        let class = policy
            .data_class
            .as_ref()
            .and_then(|name| classes.get(name));
        for version in &task.versions {
            let name = version.route.as_ref().unwrap_or(&task.route);
            let mut route = match routes.iter().find(|route| route.name == *name) {
                Some(route) => route.clone(),
                None => RouteConfig {
                    members: vec![MemberConfig::target(name)],
                    ..passthrough.clone()
                },
            };
            route.name = task.live_route(&version.version);
            route.members.retain(|member| {
                policy.allows(&member.target)
                    && class.is_none_or(|class| class_allows(class, &member.target))
            });
            route.data_class = policy.data_class.clone().or(route.data_class);
            // Who may call a task need not be allowed to ask its models in other words.
            route.allow.clone_from(&policy.allow);
            route.redact = RedactConfig {
                before_sending: route.redact.before_sending || policy.redact.before_sending,
                before_storing: route.redact.before_storing || policy.redact.before_storing,
                reversible: route.redact.reversible || policy.redact.reversible,
            };
            all.push(route);
        }
    }
    all
}

impl TaskPolicy {
    /// Whether this target may answer, as far as the task itself says.
    pub fn allows(&self, target: &str) -> bool {
        let vendor = vendor_of(target);
        (self.models.is_empty() || self.models.iter().any(|model| matches(model, target)))
            && (self.vendors.is_empty() || self.vendors.iter().any(|name| name == vendor))
    }
}
