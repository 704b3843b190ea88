//! The HTTP clients: one for this machine, one for the world.

use std::{sync::Once, time::Duration};

use super::GatewayError;
use crate::Target;

/// Connections, shared by every request of a gateway.
#[derive(Debug)]
pub(super) struct Clients {
    loopback: reqwest::Client,
    /// Only where a target needs it: it loads the certificates of the system, of which there may be
    /// none.
    remote: Option<reqwest::Client>,
}

impl Clients {
    pub(super) fn new(chain: &[Target], connect: Duration) -> Result<Self, GatewayError> {
        install_crypto();
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(connect)
                .tcp_nodelay(true)
                // A redirect could carry a key to another host.
                .redirect(reqwest::redirect::Policy::none())
                // Retries are the policy's business.
                .retry(reqwest::retry::never())
                .user_agent(concat!("distill/", env!("CARGO_PKG_VERSION")))
        };
        let loopback = builder()
            .no_proxy()
            .tls_certs_only([])
            .build()
            .map_err(GatewayError::Http)?;
        let remote = if chain.iter().any(|target| !target.loopback()) {
            Some(builder().build().map_err(GatewayError::Http)?)
        } else {
            None
        };
        Ok(Self { loopback, remote })
    }

    pub(super) fn for_target(&self, target: &Target) -> &reqwest::Client {
        match &self.remote {
            Some(remote) if !target.loopback() => remote,
            _ => &self.loopback,
        }
    }
}

/// The program brings its cryptography itself instead of leaving the choice to what is linked.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Another part of the program may have installed one; any will do.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}
