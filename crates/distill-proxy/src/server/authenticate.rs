//! Who is asking.

use std::{future::Future, net::IpAddr, sync::Arc};

use axum::http::{HeaderMap, Uri, header};
use distill_ledger::{Caller, KeyLimits, Role};
use distill_wire::ErrorKind;

use crate::{config::SecurityConfig, problem::Problem};

/// Headers in which the client libraries of the dialects send a key.
const KEY_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// The keys that a request shows, the likeliest first.
pub(crate) fn presented(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim());
    let others = KEY_HEADERS
        .iter()
        .filter_map(|name| headers.get(*name)?.to_str().ok())
        .map(str::trim);
    bearer
        .into_iter()
        .chain(others)
        .filter(|key| !key.is_empty())
}

/// Whoever sits at this machine, where no keys are asked for.
pub(crate) fn anonymous() -> Caller {
    Caller {
        key_id: "anonymous".to_owned(),
        user: "anonymous".to_owned(),
        team: None,
        discipline: None,
        level: None,
        role: Role::User,
        models: Vec::new(),
        limits: KeyLimits::default(),
    }
}

/// What a request shows of its sender.
pub(crate) struct Sender<'a> {
    pub(crate) address: IpAddr,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) uri: &'a Uri,
}

impl Sender<'_> {
    /// Whether the request was made on this machine, as far as it shows: one that another server
    /// passed on was not, wherever that server runs.
    pub(crate) fn is_local(&self) -> bool {
        self.address.is_loopback()
            && !["forwarded", "x-forwarded-for", "x-real-ip"]
                .iter()
                .any(|name| self.headers.contains_key(*name))
    }
}

/// Recognises the caller. `identify` looks a key up in the ledger, which compares hashes in constant
/// time.
///
/// # Errors
/// A [`Problem`] with status 401 where keys are asked for and none is known, 403 where a page of
/// another site asks in the name of whoever sits at this machine.
pub(crate) async fn recognise<F>(
    sender: &Sender<'_>,
    security: &SecurityConfig,
    anonymous: &Arc<Caller>,
    identify: impl Fn(String) -> F,
) -> Result<Arc<Caller>, Problem>
where
    F: Future<Output = Option<Arc<Caller>>>,
{
    let mut shown = false;
    for key in presented(sender.headers) {
        shown = true;
        if let Some(caller) = identify(key.to_owned()).await {
            return Ok(caller);
        }
    }
    // Client libraries insist on sending some key: where none is asked for, any will do.
    if !security.require_keys && sender.is_local() {
        refuse_foreign_pages(sender, security)?;
        return Ok(anonymous.clone());
    }
    Err(Problem::new(
        ErrorKind::Authentication,
        if shown {
            "this key is not known here, has expired or was revoked"
        } else {
            "no key was sent: use `Authorization: Bearer KEY` or `x-api-key: KEY`"
        },
    )
    .code("invalid_api_key"))
}

/// Whether the caller is the one who sees and changes everything.
///
/// # Errors
/// A [`Problem`] with status 403.
pub(crate) fn require_admin(caller: &Caller) -> Result<(), Problem> {
    if caller.role == Role::Admin {
        Ok(())
    } else {
        Err(Problem::new(
            ErrorKind::Permission,
            "this needs an admin key",
        ))
    }
}

/// Without keys, the only proof of who asks is that the connection comes from this machine, which a
/// browser's does whichever site told it to. So a page of another site is refused, also one whose
/// name was made to lead here.
///
/// # Errors
/// A [`Problem`] with status 403.
pub(crate) fn refuse_foreign_pages(
    sender: &Sender<'_>,
    security: &SecurityConfig,
) -> Result<(), Problem> {
    let text = |name| {
        sender
            .headers
            .get(name)
            .map(|value| value.to_str().unwrap_or("?"))
    };
    let refused = |what: &str| {
        Problem::new(
            ErrorKind::Permission,
            format!(
                "{what} is not this machine's; ask for keys (`security.require_keys`) or name it in \
                 `security.hosts`"
            ),
        )
    };
    let host = sender
        .uri
        .authority()
        .map(axum::http::uri::Authority::as_str)
        .or_else(|| text(header::HOST));
    if host.is_some_and(|host| !is_own(host, security)) {
        return Err(refused("the host that this request names"));
    }
    // Editors send origins of their own schemes, which no site can forge.
    let foreign = text(header::ORIGIN).is_some_and(|origin| match origin.split_once("://") {
        Some(("http" | "https", host)) => !is_own(host, security),
        Some(_) => false,
        None => true,
    });
    if foreign {
        return Err(refused("the origin of this request"));
    }
    Ok(())
}

/// Whether a host, with or without a port, is this machine or was named as its name.
fn is_own(host: &str, security: &SecurityConfig) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
        || security
            .hosts
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests;
