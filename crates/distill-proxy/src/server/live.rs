//! What a configuration comes to while it answers; replaced as a whole when it is read again.

use std::sync::Arc;

use crate::{
    config::{Config, Day, VendorConfig},
    route::{RouteError, RouteTable, Surroundings},
    telemetry::TargetState,
};

/// Addresses of vendors that have none in the configuration: simulated ones, released students.
pub type Addresses = Arc<dyn Fn(&VendorConfig) -> Option<String> + Send + Sync>;

/// What the configuration does not say and what stays while it changes.
#[derive(Clone)]
pub struct World {
    pub addresses: Addresses,
    /// The day whose prices hold.
    pub today: Arc<dyn Fn() -> Day + Send + Sync>,
}

/// A configuration with its routes.
pub struct Live {
    pub config: Config,
    pub routes: RouteTable,
}

impl Live {
    /// Makes the routes; what `previous` learnt of the targets is kept.
    ///
    /// # Errors
    /// [`RouteError`] names the target.
    pub fn build(
        config: Config,
        world: &World,
        previous: Option<&Self>,
    ) -> Result<Self, RouteError> {
        let routes = RouteTable::build(
            &config,
            &Surroundings {
                addresses: &*world.addresses,
                prices: &config.prices,
                today: (world.today)(),
            },
            previous.map(|live| &live.routes),
        )?;
        Ok(Self { config, routes })
    }

    /// How every target stands.
    pub fn targets(&self) -> Vec<TargetState> {
        let now = tokio::time::Instant::now();
        let mut states: Vec<_> = self
            .routes
            .targets()
            .map(|target| TargetState {
                target: target.name().to_owned(),
                state: target.health().snapshot(now).state.as_str(),
            })
            .collect();
        states.sort_by(|one, other| one.target.cmp(&other.target));
        states
    }

    /// What in `new` takes effect only when the process starts again.
    pub(crate) fn needs_restart(&self, new: &Config) -> Vec<&'static str> {
        let old = &self.config;
        let (was, is) = (&old.security, &new.security);
        [
            ("listen", old.listen != new.listen),
            ("ledger", old.ledger != new.ledger),
            ("telemetry.otlp", old.telemetry.otlp != new.telemetry.otlp),
            (
                "security",
                was.header_timeout != is.header_timeout
                    || was.max_header_bytes != is.max_header_bytes
                    || was.max_connections != is.max_connections,
            ),
            ("simulate", old.simulate != new.simulate),
            ("students", old.students != new.students),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}
