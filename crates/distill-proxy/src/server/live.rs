//! What a configuration comes to while it answers; replaced as a whole when it is read again.

use std::sync::Arc;

use crate::{
    config::{Config, Day, RouteConfig, VendorConfig},
    redact::Redactor,
    route::{RouteError, RouteTable, Surroundings},
    task::{PREFIX, ReleaseError, TaskReleases, Tasks},
    telemetry::TargetState,
    ui::TargetView,
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

/// A configuration with its routes and tasks.
pub struct Live {
    pub config: Config,
    pub routes: RouteTable,
    pub tasks: Tasks,
    pub(crate) redactor: Redactor,
}

/// Why a configuration cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Releases(#[from] ReleaseError),
}

impl Live {
    /// Makes the routes; what `previous` learnt of the targets is kept.
    ///
    /// # Errors
    /// [`LiveError`] names the target, or the file of releases.
    pub fn build(
        config: Config,
        world: &World,
        previous: Option<&Self>,
    ) -> Result<Self, LiveError> {
        let tasks = Tasks::new(&config, &TaskReleases::read(&config.task_releases)?);
        let routes = RouteTable::build(
            &config,
            &Surroundings {
                addresses: &*world.addresses,
                prices: &config.prices,
                today: (world.today)(),
            },
            previous.map(|live| &live.routes),
        )?;
        Ok(Self {
            redactor: Redactor::new(&config.redaction),
            config,
            routes,
            tasks,
        })
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

    /// How every target fares, for people.
    pub(crate) fn target_views(&self) -> Vec<TargetView> {
        let now = tokio::time::Instant::now();
        let mut views: Vec<_> = self
            .routes
            .targets()
            .map(|target| {
                let on = |route: &&RouteConfig| {
                    route
                        .members
                        .iter()
                        .any(|member| member.target == target.name())
                };
                TargetView {
                    target: target.name().to_owned(),
                    routes: self
                        .named()
                        .filter(on)
                        .map(|route| route.name.clone())
                        .collect(),
                    simulated: target.target().simulated(),
                    health: target.health().snapshot(now),
                    notes: self.notes_on(target.name()),
                }
            })
            .collect();
        views.sort_by(|one, other| one.target.cmp(&other.target));
        views
    }

    fn notes_on(&self, target: &str) -> Vec<String> {
        let demoted = self.routes.routes().filter_map(|route| {
            let demoted = |member: &crate::route::Member| {
                member.live().name() == target && member.is_demoted()
            };
            route
                .members()
                .iter()
                .any(demoted)
                .then(|| format!("asked last on `{}` for its quality", route.name()))
        });
        let sunset = self
            .named()
            .flat_map(|route| &route.members)
            .filter(|member| member.target == target)
            .find_map(|member| member.sunset)
            .map(|day| format!("its last day is {day}"));
        demoted.chain(sunset).collect()
    }

    /// The routes that callers name; each version of a task has one of its own beside these.
    pub(crate) fn named(&self) -> impl Iterator<Item = &RouteConfig> {
        self.config
            .routes
            .iter()
            .filter(|route| !route.name.starts_with(PREFIX))
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
