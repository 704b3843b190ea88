//! Tasks: a caller names one and sends its variables; prompt, schema, parameters and route are the
//! task's.
//!
//! A question is rendered by [`distill_chat::Task`], which also trains, evaluates and serves students:
//! what a task asks a vendor is what its student will be asked, byte for byte.
//!
//! **Start reading** at [`Tasks::prepare`]; what a caller may write is read in [`TaskCall`].

mod call;
mod release;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use distill_chat::{Role, TaskError};
use distill_ledger::Caller;
use distill_wire::{Block, Dropped, ErrorKind, OutputFormat, Request, Turn, TurnRole};

use crate::config::{Config, TaskConfig, TaskVersion, is_allowed};

pub use call::TaskCall;
pub use release::{Release, ReleaseError, TaskReleases};

/// How the name of a task begins where a model is named.
pub const PREFIX: &str = "task/";

/// The tasks of a configuration, each with the version that answers.
#[derive(Debug, Clone)]
pub struct Tasks {
    tasks: BTreeMap<String, Active>,
}

#[derive(Debug, Clone)]
struct Active {
    config: Arc<TaskConfig>,
    version: String,
}

/// A task as the proxy lists it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TaskInfo {
    pub name: String,
    /// The version that answers.
    pub active: String,
    /// Every version with the beginning of its hash, oldest first.
    pub versions: Vec<(String, String)>,
    pub route: String,
    /// What the active version's templates read.
    pub variables: Vec<String>,
}

/// A call of a task as the proxy sends it on.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub request: Arc<Request>,
    pub task: String,
    /// The version as it is recorded: its name and the beginning of its hash, `2#1f6a02c4`. A
    /// version that was edited under its old name is another one in every figure.
    pub version: String,
    /// The route that answers: `task/NAME@VERSION`, whose members the task's rules were applied to.
    pub route: String,
    /// What the caller said and the task decides.
    pub dropped: Vec<Dropped>,
}

/// Why a task is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaskProblem {
    #[error("there is no task `{name}`{hint}")]
    Unknown { name: String, hint: String },
    #[error("task `{name}` has no version `{version}`; it has {known}")]
    UnknownVersion {
        name: String,
        version: String,
        known: String,
    },
    #[error("the body of a call of a task cannot be read: {problem}")]
    Body { problem: String },
    #[error("`{field}` {problem}")]
    Invalid {
        field: &'static str,
        problem: String,
    },
    #[error("task `{name}` lacks the variable `{variable}`; it reads {known}")]
    MissingVariable {
        name: String,
        variable: String,
        known: String,
    },
    #[error("task `{name}` has no variable `{variable}`; it reads {known}")]
    UnknownVariable {
        name: String,
        variable: String,
        known: String,
    },
    #[error("task `{name}` cannot be rendered: {problem}")]
    Render { name: String, problem: String },
    #[error("the variables of task `{name}` have {bytes} bytes; it takes {most}")]
    TooLarge { name: String, bytes: u64, most: u64 },
    #[error("`{user}` may not call the task `{name}`")]
    NotAllowed { name: String, user: String },
}

impl TaskProblem {
    /// Whose fault it is, in the words of every dialect.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown { .. } | Self::UnknownVersion { .. } => ErrorKind::NotFound,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::NotAllowed { .. } => ErrorKind::Permission,
            Self::Body { .. }
            | Self::Invalid { .. }
            | Self::MissingVariable { .. }
            | Self::UnknownVariable { .. }
            | Self::Render { .. } => ErrorKind::InvalidRequest,
        }
    }

    /// The field of the call that is meant.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Unknown { .. } | Self::UnknownVersion { .. } => Some("model"),
            Self::Invalid { field, .. } => Some(field),
            Self::MissingVariable { .. } | Self::UnknownVariable { .. } | Self::TooLarge { .. } => {
                Some("variables")
            }
            Self::Body { .. } | Self::Render { .. } | Self::NotAllowed { .. } => None,
        }
    }
}

impl Tasks {
    /// The tasks of a configuration. Each answers with the version that was released last; one that
    /// was never released, or whose released version the file no longer has, with the file's own.
    pub fn new(config: &Config, releases: &TaskReleases) -> Self {
        let tasks = config.tasks.iter().map(|task| {
            let released = releases
                .current(&task.name)
                .filter(|version| task.version(version).is_some());
            let active = Active {
                config: Arc::new(task.clone()),
                version: released.unwrap_or(&task.active).to_owned(),
            };
            (task.name.clone(), active)
        });
        Self {
            tasks: tasks.collect(),
        }
    }

    /// What there is, by name.
    pub fn list(&self) -> Vec<TaskInfo> {
        self.tasks
            .iter()
            .map(|(name, active)| TaskInfo {
                name: name.clone(),
                active: active.version.clone(),
                versions: active
                    .config
                    .versions
                    .iter()
                    .map(|version| (version.version.clone(), short(&version.digest).to_owned()))
                    .collect(),
                route: active.config.route.clone(),
                variables: active
                    .config
                    .version(&active.version)
                    .map(|version| version.task.referenced_columns())
                    .unwrap_or_default(),
            })
            .collect()
    }

    /// Makes the request that a call stands for.
    ///
    /// # Errors
    /// [`TaskProblem`]; nothing was asked.
    pub fn prepare(&self, call: &TaskCall, caller: &Caller) -> Result<Prepared, TaskProblem> {
        let (config, version) = self.find(call)?;
        if !is_allowed(&config.policy.allow, caller) {
            return Err(TaskProblem::NotAllowed {
                name: config.name.clone(),
                user: caller.user.clone(),
            });
        }
        if let Some(most) = config.policy.max_bytes
            && call.bytes > most
        {
            return Err(TaskProblem::TooLarge {
                name: config.name.clone(),
                bytes: call.bytes,
                most,
            });
        }
        let variables = variables(call, config, version)?;
        let messages = version
            .task
            .messages(&variables)
            .map_err(|error| TaskProblem::Render {
                name: config.name.clone(),
                problem: match error {
                    TaskError::Render { problem, .. } => problem,
                    other => other.to_string(),
                },
            })?;
        let route = config.live_route(&version.version);
        let mut request = Request {
            model: route.clone(),
            stream: call.stream,
            stream_usage: call.stream_usage,
            output: output(config, version),
            ..Request::default()
        };
        for message in messages {
            let block = Block::text(message.content);
            match message.role {
                Role::System => request.system.push(block),
                Role::User | Role::Assistant => request.turns.push(Turn {
                    role: TurnRole::User,
                    blocks: vec![block],
                    name: None,
                    extra: serde_json::Map::new(),
                }),
            }
        }
        let dropped = parameters(&mut request, version, call);
        Ok(Prepared {
            request: Arc::new(request),
            task: config.name.clone(),
            version: format!("{}#{}", version.version, short(&version.digest)),
            route,
            dropped,
        })
    }

    fn find(&self, call: &TaskCall) -> Result<(&TaskConfig, &TaskVersion), TaskProblem> {
        let Some(active) = self.tasks.get(&call.name) else {
            let known: Vec<&str> = self.tasks.keys().map(String::as_str).collect();
            return Err(TaskProblem::Unknown {
                name: call.name.clone(),
                hint: if known.is_empty() {
                    "; the configuration has none".to_owned()
                } else {
                    format!("; there are {}", known.join(", "))
                },
            });
        };
        let wanted = call.version.as_ref().unwrap_or(&active.version);
        let version = active
            .config
            .version(wanted)
            .ok_or_else(|| TaskProblem::UnknownVersion {
                name: call.name.clone(),
                version: wanted.clone(),
                known: active
                    .config
                    .versions
                    .iter()
                    .map(|version| version.version.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            })?;
        Ok((&active.config, version))
    }
}

/// The variables of a call, each of them known to the version and none missing. Text without any
/// variables is the variable of a version that reads just one.
fn variables(
    call: &TaskCall,
    config: &TaskConfig,
    version: &TaskVersion,
) -> Result<distill_chat::Fields, TaskProblem> {
    let known = version.task.referenced_columns();
    let list = || match known.as_slice() {
        [] => "none".to_owned(),
        known => known.join(", "),
    };
    let mut variables = call.variables.clone();
    if let Some(text) = &call.text {
        match (variables.is_empty(), known.as_slice()) {
            (true, [only]) => {
                variables.insert(only.clone(), text.clone().into());
            }
            _ => {
                return Err(TaskProblem::Invalid {
                    field: "messages",
                    problem: format!(
                        "cannot stand for the variables of task `{}`, which reads {}: send them in `variables`",
                        config.name,
                        list()
                    ),
                });
            }
        }
    }
    if let Some(variable) = known.iter().find(|name| !variables.contains_key(*name)) {
        return Err(TaskProblem::MissingVariable {
            name: config.name.clone(),
            variable: variable.clone(),
            known: list(),
        });
    }
    // A mistyped optional variable would otherwise be left out without a word.
    if let Some(variable) = variables.keys().find(|name| !known.contains(name)) {
        return Err(TaskProblem::UnknownVariable {
            name: config.name.clone(),
            variable: variable.clone(),
            known: list(),
        });
    }
    Ok(variables)
}

/// What the reply is held to.
fn output(config: &TaskConfig, version: &TaskVersion) -> Option<OutputFormat> {
    let schema = version.task.definition().schema.clone()?;
    // Vendors take letters, digits, `-` and `_` in the name of a schema, 64 at most.
    let name: String = config
        .name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .take(64)
        .collect();
    Some(OutputFormat::JsonSchema {
        name: Some(name),
        description: None,
        schema,
        strict: None,
    })
}

/// Sets the task's parameters, and says which of the caller's they replace.
fn parameters(request: &mut Request, version: &TaskVersion, call: &TaskCall) -> Vec<Dropped> {
    let set = &version.parameters;
    request.max_tokens = set.max_tokens.or(call.max_tokens);
    request.temperature = set.temperature;
    request.top_p = set.top_p;
    request.stop.clone_from(&set.stop);
    request.seed = set.seed;
    request.reasoning.clone_from(&set.reasoning);
    let mut dropped = call.dropped.clone();
    // Some client libraries cannot leave it out, so it says something only where it differs.
    if set
        .max_tokens
        .is_some_and(|most| call.max_tokens.is_some_and(|asked| asked != most))
    {
        dropped.push(Dropped {
            field: "max_tokens".to_owned(),
            reason: "the task decides it",
        });
    }
    dropped
}

/// The beginning of a hash: enough to tell the versions of one task apart.
fn short(digest: &str) -> &str {
    digest.get(..8).unwrap_or(digest)
}
