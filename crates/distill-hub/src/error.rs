//! Why a model cannot be had, and what to do about it.

use std::{path::PathBuf, time::Duration};

use crate::NameError;

/// Why a model cannot be had from the hub.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("the settings of the hub cannot be used: {problem}")]
    Settings { problem: String },
    #[error("model `{name}` is not in the cache `{}`, and the hub may not be asked", cache.display())]
    Offline { name: String, cache: PathBuf },
    #[error("the hub at {endpoint} knows no model `{id}` that may be read{}", with_token(*has_token))]
    NotFound {
        id: String,
        endpoint: String,
        has_token: bool,
    },
    #[error("model `{id}` has no revision `{revision}`")]
    Revision { id: String, revision: String },
    #[error("model `{id}` is given only to those who accept its terms{}", with_token(*has_token))]
    Gated {
        id: String,
        /// Where the terms are accepted.
        page: String,
        has_token: bool,
    },
    #[error("the hub at {endpoint} refuses the token")]
    Token { endpoint: String },
    #[error("model `{id}` cannot be used: {problem}")]
    Unfit { id: String, problem: String },
    #[error("the hub answered {url} with {status}, {attempts} times")]
    Status {
        url: String,
        status: u16,
        attempts: u32,
        /// How long the server asks to wait.
        wait: Option<Duration>,
    },
    #[error("the hub cannot be reached: {url}: {problem}")]
    Connection { url: String, problem: String },
    #[error("the hub's answer to {url} cannot be used: {problem}")]
    Answer { url: String, problem: String },
    #[error("`{file}` of model `{id}` did not arrive as the hub has it: {problem}")]
    Corrupt {
        id: String,
        file: String,
        problem: String,
    },
    #[error("no room for `{file}`: it needs {bytes} bytes more in `{}`", folder.display())]
    DiskFull {
        file: String,
        bytes: u64,
        folder: PathBuf,
    },
    #[error("cannot {action} `{}`", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl HubError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Name(_) => "give the name as the model's page shows it, such as Qwen/Qwen3-0.6B".to_owned(),
            Self::Settings { .. } => "set HF_HOME to a folder, and HF_TOKEN to a token or leave it out".to_owned(),
            Self::Offline { .. } => "unset HF_HUB_OFFLINE once to fetch it, or point HF_HUB_CACHE at the folder that has it".to_owned(),
            Self::NotFound { has_token: false, .. } => "look at how the name is spelled; a private model needs a token in HF_TOKEN".to_owned(),
            Self::NotFound { has_token: true, .. } => "look at how the name is spelled, and whether the token's owner may read it".to_owned(),
            Self::Revision { .. } => "after `@` stands a branch, a tag or a commit of the model; leave it out for the newest".to_owned(),
            Self::Gated { page, has_token: false, .. } => format!("accept the terms at {page}, then set HF_TOKEN to a token of yours (its page is under Settings, Access Tokens) or run `hf auth login`"),
            Self::Gated { page, has_token: true, .. } => format!("accept the terms at {page} as the owner of the token; a token with limited rights must be allowed to read gated models"),
            Self::Token { .. } => "the token may be revoked or mistyped: set HF_TOKEN anew, or unset it for a public model".to_owned(),
            Self::Unfit { .. } => "`distill models` lists models that fit".to_owned(),
            Self::Status { status: 429, .. } => "wait some minutes, or set HF_TOKEN: who is known may ask more often".to_owned(),
            Self::Status { .. } | Self::Connection { .. } => "run the same command again: what has arrived is kept and the rest is fetched; HF_ENDPOINT names another hub".to_owned(),
            Self::Answer { .. } => "is HF_ENDPOINT the address of a hub?".to_owned(),
            Self::Corrupt { .. } => "run the same command again; if it stays so, something between here and the hub changes files".to_owned(),
            Self::DiskFull { .. } => "free some room or point HF_HOME at another disk; what has arrived is kept".to_owned(),
            Self::Io { .. } => "the cache must be a folder that can be written: point HF_HOME at one".to_owned(),
        })
    }

    /// Whether the same request may have another end later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Connection { .. })
    }
}

fn with_token(has_token: bool) -> &'static str {
    if has_token {
        ""
    } else {
        ", and no token was given"
    }
}
