use std::time::Duration;

use distill_chat::{ChatRequest, Message};
use tokio_util::sync::CancellationToken;

use super::{Gateway, GatewaySettings, Timeouts};
use crate::{BreakerSettings, Journal, Target, TargetOptions};

mod failover;
mod money;
mod request;
mod scripted;

const SCOPE: &str = "scope";

fn target(name: &str, url: &str) -> Target {
    let options = TargetOptions {
        api_key_env: Some("KEY".into()),
        ..TargetOptions::default()
    };
    Target::resolve("openai", name, &options, &|_| Some("sk-planted".into()))
        .unwrap()
        .with_base_url(url)
}

fn ask(text: &str) -> ChatRequest {
    ChatRequest {
        max_tokens: Some(16),
        ..ChatRequest::new("teacher", vec![Message::user(text)])
    }
}

/// Times short enough for a test and long enough for a busy machine.
fn settings(chain: Vec<Target>) -> GatewaySettings {
    GatewaySettings {
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            idle: Duration::from_millis(400),
            attempt: Duration::from_millis(1500),
            deadline: Duration::from_secs(30),
            finish_in_flight: Duration::from_millis(200),
        },
        breaker: BreakerSettings {
            errors: 1000,
            ..BreakerSettings::default()
        },
        ..GatewaySettings::new(chain, SCOPE)
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    journal: Journal,
    cancel: CancellationToken,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            journal: Journal::open(&folder.path().join("journal.sqlite")).unwrap(),
            folder,
            cancel: CancellationToken::new(),
        }
    }

    fn gateway(&self, settings: GatewaySettings) -> Gateway {
        Gateway::new(self.journal.clone(), settings, self.cancel.clone()).unwrap()
    }
}
