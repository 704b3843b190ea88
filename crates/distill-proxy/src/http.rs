//! HTTP clients for what is no vendor: collectors of traces, webhooks.

use std::{sync::Once, time::Duration};

/// Where a client's requests go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This machine: no certificates are loaded, which takes a moment and needs some to be there.
    Loopback,
    World,
}

impl Reach {
    /// Where an address leads.
    pub(crate) fn of(url: &str) -> Self {
        let loopback = reqwest::Url::parse(url).is_ok_and(|url| match url.host_str() {
            Some(host) => {
                let host = host.trim_start_matches('[').trim_end_matches(']');
                host == "localhost"
                    || host
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
            None => false,
        });
        if loopback && url.starts_with("http:") {
            Self::Loopback
        } else {
            Self::World
        }
    }
}

/// A client that follows no redirect (one could carry a key to another host) and asks once.
///
/// # Errors
/// Where the system's certificates cannot be read.
pub(crate) fn client(reach: Reach) -> Result<reqwest::Client, reqwest::Error> {
    static CRYPTO: Once = Once::new();
    CRYPTO.call_once(|| {
        // Another part of the program may have installed one; any will do.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
    let builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("distill/", env!("CARGO_PKG_VERSION")));
    match reach {
        Reach::Loopback => builder.no_proxy().tls_certs_only([]).build(),
        Reach::World => builder.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::Reach;

    #[test]
    fn only_a_plain_address_of_this_machine_is_loopback() {
        for url in [
            "http://127.0.0.1:4318",
            "http://localhost/x",
            "http://[::1]:1",
        ] {
            assert_eq!(Reach::of(url), Reach::Loopback, "{url}");
        }
        for url in [
            "https://127.0.0.1",
            "http://example.org",
            "http://127.0.0.1.example.org",
            "x",
        ] {
            assert_eq!(Reach::of(url), Reach::World, "{url}");
        }
    }
}
