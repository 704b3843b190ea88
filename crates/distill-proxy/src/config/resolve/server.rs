//! Checks of what the server itself needs: address, administrator, ledger, students, simulation.

use std::{net::SocketAddr, ops::Range};

use distill_gateway::Secret;
use distill_pipeline::spec::document::Code;

use super::{LEDGER_URL, Resolver, SHARE, length};
use crate::config::{
    resolved::{SimulateConfig, StoreConfig, StudentsConfig},
    values::Short,
    written::Proxy,
};

impl Resolver<'_> {
    pub(super) fn listen(&mut self, written: &Proxy) -> Option<SocketAddr> {
        let Some(listen) = &written.listen else {
            return Some(SocketAddr::from(([127, 0, 0, 1], 4000)));
        };
        let text = listen.value.trim();
        // `:4000` and `4000` mean this machine.
        let address = text.parse().ok().or_else(|| {
            let port = text
                .strip_prefix("localhost:")
                .or_else(|| text.strip_prefix(':'))
                .unwrap_or(text);
            Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?)))
        });
        if address.is_none() {
            self.report(
                Code::Invalid,
                &listen.span,
                format!("`listen` cannot be `{}`", listen.value),
                "not an address with a port",
                "give an address with a port, for instance 127.0.0.1:4000",
            );
        }
        address
    }

    pub(super) fn admin_key(&mut self, written: &Proxy) -> Option<Secret> {
        let variable = written.admin_key_env.as_ref()?;
        let key = self.variable(variable, "`admin_key_env`")?;
        if key.expose().trim().len() < 16 {
            self.report(
                Code::Invalid,
                &variable.span,
                format!(
                    "the administrator's key in {} is shorter than 16 characters",
                    variable.value
                ),
                "too easy to guess",
                "make one, for instance with `openssl rand -hex 24`",
            );
        }
        Some(key)
    }

    pub(super) fn ledger(&mut self, written: &Proxy) -> Option<StoreConfig> {
        let Some(ledger) = &written.ledger else {
            return Some(StoreConfig::Sqlite(self.sources.state.join("proxy.db")));
        };
        let section = match &ledger.value {
            Short::Text(path) => return self.ledger_file(path, &ledger.span),
            Short::Section(section) => section,
        };
        match (&section.path, &section.url_env) {
            (Some(path), None) => self.ledger_file(&path.value, &path.span),
            (None, Some(variable)) => {
                let url = self.variable(variable, LEDGER_URL)?;
                let known = ["postgres://", "postgresql://"];
                if !known.iter().any(|start| url.expose().starts_with(start)) {
                    self.report(
                        Code::Invalid,
                        &variable.span,
                        format!("{} holds no PostgreSQL address", variable.value),
                        "not a database",
                        "the address begins with postgres://",
                    );
                }
                Some(StoreConfig::Postgres(url))
            }
            (both, _) => {
                let what = if both.is_some() {
                    "both a file and a database"
                } else {
                    "neither a file nor a database"
                };
                self.report(
                    Code::Conflict,
                    &ledger.span,
                    format!("`ledger` names {what}"),
                    "one of the two",
                    "write `ledger: proxy.db`, or `ledger: {url_env: DISTILL_LEDGER_URL}`",
                );
                None
            }
        }
    }

    fn ledger_file(&mut self, path: &str, span: &Range<usize>) -> Option<StoreConfig> {
        if path.contains("://") {
            self.masked.push(span.clone());
            self.report(
                Code::Invalid,
                span,
                "`ledger` holds an address, which may hold a password",
                "does not belong into a file",
                "put the address into an environment variable and name it: `ledger: {url_env: DISTILL_LEDGER_URL}`",
            );
            return None;
        }
        if path.trim().is_empty() {
            self.report(
                Code::Invalid,
                span,
                "`ledger` is empty",
                "names no file",
                "give a path, or leave the key out",
            );
            return None;
        }
        Some(StoreConfig::Sqlite(self.path(path)))
    }

    pub(super) fn students(&mut self, written: &Proxy) -> Option<StudentsConfig> {
        let releases = match &written.students.as_ref()?.value {
            Short::Text(path) => path.clone(),
            Short::Section(section) => section.releases.as_ref()?.value.clone(),
        };
        Some(StudentsConfig {
            releases: self.path(&releases),
        })
    }

    pub(super) fn simulate(&mut self, written: &Proxy) -> SimulateConfig {
        let default = SimulateConfig::default();
        let Some(section) = written.simulate.as_ref().map(|at| &at.value) else {
            return default;
        };
        SimulateConfig {
            seed: section.seed.as_ref().map_or(default.seed, |at| at.value),
            latency: length(section.latency.as_ref()),
            faults: self.number(
                section.faults.as_ref(),
                "simulate.faults",
                default.faults,
                &SHARE,
                "0.05 lets one request in twenty fail",
            ),
        }
    }
}
