//! Connections to vendors, kept open and shared by every route.

use std::{sync::Mutex, time::Duration};

/// The pools of connections. Clones share them.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<Vec<(Kind, reqwest::Client)>>);

/// What tells one pool from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    loopback: bool,
    connect: Duration,
}

/// How long an idle connection is kept. Most vendors close after a minute or more; a request on a
/// connection that the other side is just closing would be lost.
const IDLE: Duration = Duration::from_secs(45);

impl Clients {
    /// The pool for targets on this machine or beyond it, with this bound on connecting.
    pub(crate) fn get(
        &self,
        loopback: bool,
        connect: Duration,
    ) -> Result<reqwest::Client, reqwest::Error> {
        let kind = Kind { loopback, connect };
        let mut known = self.0.lock().expect("no holder of this lock panics");
        if let Some((_, client)) = known.iter().find(|(other, _)| *other == kind) {
            return Ok(client.clone());
        }
        distill_gateway::install_crypto();
        let builder = reqwest::Client::builder()
            .connect_timeout(connect)
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE)
            // A redirect could carry a key or a prompt to another host.
            .redirect(reqwest::redirect::Policy::none())
            // Retries are the policy's business.
            .retry(reqwest::retry::never())
            .user_agent(concat!("distill/", env!("CARGO_PKG_VERSION")));
        let client = if loopback {
            // Neither a proxy of the environment nor TLS has a place on this machine.
            builder.no_proxy().tls_certs_only([]).build()?
        } else {
            builder.build()?
        };
        known.push((kind, client.clone()));
        Ok(client)
    }
}
