//! How many files and connections the system lets this process hold.

/// Handles for everything that is no client and no vendor: the ledger, its log, the configuration,
/// webhooks, the collector.
const OWN: u64 = 64;

/// Connections that clients may hold with so many handles: one that is asked something needs a
/// second handle towards a vendor. Without this a crowd of clients would leave none, and every vendor
/// would look as if it could not be reached.
fn connections_with(handles: u64) -> usize {
    usize::try_from(handles.saturating_sub(OWN) / 2)
        .unwrap_or(usize::MAX)
        .max(1)
}

/// Raises the limit of this process as far as it may by itself, and says how many connections fit;
/// `None`: there is no limit that is known of.
#[cfg(unix)]
pub(super) fn connections() -> Option<usize> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raises_to = |current: &Option<u64>| {
        let raised = Rlimit {
            current: *current,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).is_ok()
    };
    // Where no largest value is named, the system may still take none above its own.
    let wanted = [limit.maximum, limit.current.map(|now| now.max(10_240))];
    let reached = wanted.into_iter().find(raises_to).unwrap_or(limit.current);
    reached.map(connections_with)
}

#[cfg(not(unix))]
pub(super) fn connections() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::connections_with;

    #[test]
    fn each_client_leaves_a_handle_for_its_vendor() {
        assert_eq!(connections_with(1024), 480);
        assert_eq!(connections_with(20_064), 10_000);
        assert_eq!(connections_with(0), 1);
    }
}
