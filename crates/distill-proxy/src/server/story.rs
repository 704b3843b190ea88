//! What became of one request, told once: to the log and the metrics.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use distill_gateway::Usd;
use distill_ledger::{CacheUse, Caller};

use super::Shared;
use crate::{
    forward::Done,
    problem::Problem,
    telemetry::{AccessLine, InFlight, RequestMeasure},
};

/// A request from its head to the end of its answer. One that is dropped untold was cancelled by its
/// caller, or met a fault of the program.
pub(crate) struct Story {
    shared: Arc<Shared>,
    line: AccessLine,
    dialect: &'static str,
    started: Instant,
    saved: Option<Usd>,
    told: bool,
    _in_flight: InFlight,
}

/// nginx's number for a client that closed its request.
const CLOSED_BY_CLIENT: u16 = 499;

impl Story {
    pub(crate) fn new(shared: &Arc<Shared>, id: &str, method: &str, path: &str) -> Self {
        Self {
            line: AccessLine {
                request_id: id.to_owned(),
                method: method.to_owned(),
                path: path.to_owned(),
                ..AccessLine::default()
            },
            dialect: "",
            started: Instant::now(),
            saved: None,
            told: false,
            _in_flight: shared.metrics.in_flight(),
            shared: shared.clone(),
        }
    }

    pub(crate) fn caller(&mut self, caller: &Caller) {
        self.line.user = Some(caller.user.clone());
        self.line.team.clone_from(&caller.team);
    }

    pub(crate) fn asks(&mut self, dialect: &'static str, model: &str) {
        self.dialect = dialect;
        // As long as a name may be in a log.
        self.line.model = Some(model.chars().take(200).collect());
    }

    pub(crate) fn route(&mut self, route: &str, task: Option<String>) {
        self.line.route = Some(route.to_owned());
        self.line.task = task;
    }

    /// The request was turned away, or an endpoint of the proxy itself answered.
    pub(crate) fn answered(mut self, status: u16) {
        self.line.status = status;
        self.line.outcome = if status < 400 { "answered" } else { "refused" };
        self.tell();
    }

    pub(crate) fn refused(mut self, problem: &Problem) {
        let reason = problem.reply.code.as_deref().unwrap_or("other");
        self.shared.metrics.refused(reason);
        self.line.status = problem.status.as_u16();
        self.line.outcome = "refused";
        self.line.code.clone_from(&problem.reply.code);
        self.tell();
    }

    pub(crate) fn cached(mut self, used: &CacheUse, target: &str, simulated: bool) {
        self.line.status = 200;
        self.line.outcome = "answered";
        self.line.target = Some(target.to_owned());
        self.line.simulated = simulated;
        self.line.cache = Some(used.kind.to_owned());
        self.saved = Some(used.saved);
        self.tell();
    }

    /// A target answered, or none did; `None`: the caller hung up.
    pub(crate) fn done(mut self, done: Option<&Done>) {
        // An untold story is told as cancelled when it is dropped.
        let Some(done) = done else { return };
        self.line.status = done.status;
        self.line.outcome = done.outcome;
        self.line.target.clone_from(&done.target);
        self.line.attempts = Some(done.attempts);
        self.line.usd = done.usd;
        self.line.first_token = done.first_token;
        self.line.simulated = done.simulated;
        self.tell();
    }

    fn tell(&mut self) {
        self.told = true;
        self.line.latency = self.started.elapsed();
        let line = &self.line;
        // The proxy's own endpoints are in the log; counted are requests for models.
        if !self.dialect.is_empty() {
            self.shared.metrics.request(&RequestMeasure {
                route: line.route.as_deref().unwrap_or(""),
                dialect: self.dialect,
                status: line.status,
                outcome: line.outcome,
                latency: line.latency,
                first_token: line.first_token,
                cache: line.cache.as_deref(),
                saved: self.saved,
            });
        }
        let format = self.shared.live().config.telemetry.log;
        if let Some(text) = line.render(format, now_ms()) {
            self.shared.log(text);
        }
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if !self.told {
            let (status, outcome) = if std::thread::panicking() {
                (500, "fault")
            } else {
                (CLOSED_BY_CLIENT, "cancelled")
            };
            self.line.status = status;
            self.line.outcome = outcome;
            self.tell();
        }
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}
