//! Who answers which name: routes as they run.
//!
//! **Start reading** at [`RouteTable::build`]; which member is asked first is decided in `order`,
//! what happens after a failure by `distill_gateway::Walker`.

mod check;
mod clients;
mod order;
mod target;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use distill_gateway::{BreakerSettings, Connection, Price, PriceTable, SpikeSettings, Target};
use tokio::sync::Semaphore;

use crate::config::{Conditions, Config, Day, MemberConfig, RouteConfig, VendorConfig};
pub use check::{FailurePlan, MemberPlan, RoutePlan, plan, plans};
use clients::Clients;
use order::Memory;
use target::Health;
pub use target::LiveTarget;

/// Why a route cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("`{target}`: there is no vendor `{vendor}` in the configuration")]
    Vendor { target: String, vendor: String },
    #[error("`{target}` is not `vendor/model`")]
    Name { target: String },
    #[error("`{target}`: its vendor has no address yet; it was not started")]
    NoAddress { target: String },
    #[error("`{target}`: its address cannot be read")]
    Address { target: String },
    #[error("`{target}`: its key or one of its headers holds characters that no header can carry")]
    Key { target: String },
    #[error(
        "`{target}`: its price is not known, so no budget can hold it; say `price: {{input: ..., \
         output: ...}}` (US dollars a million tokens) under its vendor in `vendors`"
    )]
    Price { target: String },
    #[error("preparing connections: {problem}")]
    Http { problem: String },
}

/// What the configuration does not say itself.
pub struct Surroundings<'a> {
    /// Addresses of vendors that have none in the configuration (simulated, students), by the name
    /// of their connection.
    pub addresses: &'a dyn Fn(&VendorConfig) -> Option<String>,
    pub prices: &'a PriceTable,
    /// The day whose prices hold.
    pub today: Day,
}

/// Every route, and the targets behind them.
#[derive(Debug)]
pub struct RouteTable {
    routes: BTreeMap<String, Arc<Route>>,
    /// Names of routes that stand for all that begins so.
    beginnings: Vec<String>,
    live: Registry,
    /// Where names of the form `vendor/model` may be asked without a route: how.
    passthrough: Option<Passthrough>,
}

/// The running targets by name; each keeps what was learnt of it when a configuration is replaced.
#[derive(Debug, Default)]
struct Registry {
    targets: HashMap<String, Arc<LiveTarget>>,
    places: HashMap<String, (u32, Arc<Semaphore>)>,
    clients: Arc<Clients>,
}

#[derive(Debug)]
struct Passthrough {
    config: RouteConfig,
    /// Made ahead: a request has no configuration to look vendors up in.
    vendors: Vec<(VendorConfig, Option<String>, Option<Arc<Semaphore>>)>,
    prices: PriceTable,
    today: Day,
    clients: Arc<Clients>,
    made: Mutex<HashMap<String, Arc<Route>>>,
}

/// Routes of passed-through names that are kept; more are made again when they are asked.
const PASSED_THROUGH: usize = 1000;

/// A route as it runs.
#[derive(Debug)]
pub struct Route {
    pub(crate) config: RouteConfig,
    pub(crate) members: Vec<Member>,
    memory: Mutex<Memory>,
}

/// A target on a route.
#[derive(Debug)]
pub struct Member {
    pub(crate) live: Arc<LiveTarget>,
    pub(crate) client: reqwest::Client,
    weight: f64,
    when: Conditions,
    sunset: Option<Day>,
    /// Fields that are set in every body.
    pub(crate) options: serde_json::Map<String, serde_json::Value>,
    demoted: AtomicBool,
}

/// What the choice of a member rests on.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, not a state"
)]
pub struct Asked<'a> {
    pub prompt_bytes: usize,
    pub max_tokens: Option<u64>,
    pub tools: bool,
    pub images: bool,
    pub schema: bool,
    pub stream: bool,
    /// Embeddings are wanted and no conversation.
    pub embeds: bool,
    pub session: Option<&'a str>,
    /// The targets that may answer; `None`: all.
    pub only: Option<&'a [String]>,
}

impl Member {
    /// Whether it takes such a request.
    fn takes(&self, asked: &Asked<'_>) -> bool {
        let bytes = asked.prompt_bytes as u64;
        let fits = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        self.when
            .min_prompt_bytes
            .is_none_or(|least| bytes >= least)
            && self.when.max_prompt_bytes.is_none_or(|most| bytes <= most)
            && fits(self.when.tools, asked.tools)
            && fits(self.when.images, asked.images)
            && fits(self.when.schema, asked.schema)
            && asked
                .only
                .is_none_or(|only| only.iter().any(|name| name == self.live.name()))
    }

    pub fn live(&self) -> &LiveTarget {
        &self.live
    }

    /// Whether its quality puts it last.
    pub fn is_demoted(&self) -> bool {
        self.demoted.load(Ordering::Relaxed)
    }
}

impl Route {
    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn config(&self) -> &RouteConfig {
        &self.config
    }

    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Whether some member counts tokens itself.
    pub fn counts_tokens(&self) -> bool {
        self.members
            .iter()
            .any(|member| member.live.count_tokens.is_some())
    }

    /// Puts a member last, or back where it was. Says whether there is such a member.
    pub fn demote(&self, target: &str, demoted: bool) -> bool {
        let mut found = false;
        for member in self
            .members
            .iter()
            .filter(|member| member.live.name() == target)
        {
            member.demoted.store(demoted, Ordering::Relaxed);
            found = true;
        }
        found
    }
}

impl RouteTable {
    /// Makes the routes of a configuration. What `previous` learnt of a target that stays the same
    /// (address and key) is kept, and so are its open connections.
    ///
    /// # Errors
    /// [`RouteError`] names the target.
    pub fn build(
        config: &Config,
        surroundings: &Surroundings<'_>,
        previous: Option<&Self>,
    ) -> Result<Self, RouteError> {
        let mut live = Registry {
            clients: previous.map_or_else(Arc::default, |table| Arc::clone(&table.live.clients)),
            ..Registry::default()
        };
        let mut routes = BTreeMap::new();
        for route in &config.routes {
            let made = live.route(config, route, surroundings, previous)?;
            routes.insert(route.name.clone(), Arc::new(made));
        }
        let passthrough = config.passthrough.then(|| Passthrough {
            config: config.passthrough_route.clone(),
            vendors: config
                .vendors
                .iter()
                .map(|vendor| {
                    (
                        vendor.clone(),
                        address_of(vendor, surroundings),
                        live.places(vendor, previous),
                    )
                })
                .collect(),
            prices: surroundings.prices.clone(),
            today: surroundings.today,
            clients: Arc::clone(&live.clients),
            made: Mutex::default(),
        });
        Ok(Self {
            beginnings: routes
                .keys()
                .filter(|name| name.ends_with('*'))
                .cloned()
                .collect(),
            routes,
            live,
            passthrough,
        })
    }

    /// The route that a caller names; where the configuration passes names through, also
    /// `vendor/model`.
    pub fn find(&self, name: &str) -> Option<Arc<Route>> {
        if let Some(route) = self.routes.get(name).or_else(|| self.by_beginning(name)) {
            return Some(Arc::clone(route));
        }
        let through = self.passthrough.as_ref()?;
        let mut made = through.made.lock().expect("no holder of this lock panics");
        if let Some(route) = made.get(name) {
            return Some(Arc::clone(route));
        }
        let route = Arc::new(through.route(name, self.live.targets.get(name)).ok()?);
        if made.len() >= PASSED_THROUGH {
            made.clear();
        }
        made.insert(name.to_owned(), Arc::clone(&route));
        Some(route)
    }

    /// The route with the longest `NAME*` that a name begins with.
    fn by_beginning(&self, name: &str) -> Option<&Arc<Route>> {
        self.beginnings
            .iter()
            .filter_map(|known| {
                let start = known.strip_suffix('*')?;
                name.starts_with(start).then_some(known)
            })
            .max_by_key(|known| known.len())
            .and_then(|known| self.routes.get(known))
    }

    /// The routes, by name.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    /// Every target that a route names.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<LiveTarget>> {
        self.live.targets.values()
    }
}

impl Registry {
    fn route(
        &mut self,
        config: &Config,
        route: &RouteConfig,
        surroundings: &Surroundings<'_>,
        previous: Option<&RouteTable>,
    ) -> Result<Route, RouteError> {
        let old = previous.and_then(|table| table.routes.get(&route.name));
        let mut members = Vec::with_capacity(route.members.len());
        for member in &route.members {
            let live = self.target(config, &member.target, surroundings, previous)?;
            let made = new_member(live, member, &self.clients, route.timeouts.connect)?;
            if let Some(old) = old
                && old
                    .members
                    .iter()
                    .any(|old| old.live.name() == made.live.name() && old.is_demoted())
            {
                made.demoted.store(true, Ordering::Relaxed);
            }
            members.push(made);
        }
        // What was learnt of sessions and shares holds as long as the places mean the same targets.
        let kept = old.filter(|old| {
            let names = old.members.iter().map(|member| member.live.name());
            names.eq(members.iter().map(|member: &Member| member.live.name()))
        });
        Ok(Route {
            memory: kept.map_or_else(|| Memory::new(members.len()), |old| old.remembered()),
            config: route.clone(),
            members,
        })
    }

    fn target(
        &mut self,
        config: &Config,
        name: &str,
        surroundings: &Surroundings<'_>,
        previous: Option<&RouteTable>,
    ) -> Result<Arc<LiveTarget>, RouteError> {
        if let Some(known) = self.targets.get(name) {
            return Ok(Arc::clone(known));
        }
        let (vendor_name, model) = split(name)?;
        let vendor = config
            .vendor(vendor_name)
            .ok_or_else(|| RouteError::Vendor {
                target: name.to_owned(),
                vendor: vendor_name.to_owned(),
            })?;
        let target = new_target(
            name,
            vendor,
            model,
            address_of(vendor, surroundings),
            surroundings.prices,
            surroundings.today,
        )?;
        let health = previous
            .and_then(|table| table.live.targets.get(name))
            .filter(|old| {
                old.target.base_url() == target.base_url() && old.target.key() == target.key()
            })
            .map_or_else(new_health, |old| old.health.clone());
        let places = self.places(vendor, previous);
        let live = Arc::new(LiveTarget::new(target, vendor, health, places)?);
        self.targets.insert(name.to_owned(), Arc::clone(&live));
        Ok(live)
    }

    /// The places of a vendor, shared by its models; those in use survive a reload that leaves the
    /// bound as it was.
    fn places(
        &mut self,
        vendor: &VendorConfig,
        previous: Option<&RouteTable>,
    ) -> Option<Arc<Semaphore>> {
        let bound = vendor.max_in_flight?;
        if let Some((_, places)) = self.places.get(&vendor.name) {
            return Some(Arc::clone(places));
        }
        let places = previous
            .and_then(|table| table.live.places.get(&vendor.name))
            .filter(|(old, _)| *old == bound)
            .map_or_else(
                || Arc::new(Semaphore::new(bound.max(1) as usize)),
                |(_, places)| Arc::clone(places),
            );
        self.places
            .insert(vendor.name.clone(), (bound, Arc::clone(&places)));
        Some(places)
    }
}

impl Passthrough {
    fn route(&self, name: &str, known: Option<&Arc<LiveTarget>>) -> Result<Route, RouteError> {
        let live = if let Some(known) = known {
            Arc::clone(known)
        } else {
            let (vendor_name, model) = split(name)?;
            let (vendor, address, places) = self
                .vendors
                .iter()
                .find(|(vendor, _, _)| vendor.name == vendor_name)
                .ok_or_else(|| RouteError::Vendor {
                    target: name.to_owned(),
                    vendor: vendor_name.to_owned(),
                })?;
            let target = new_target(
                name,
                vendor,
                model,
                address.clone(),
                &self.prices,
                self.today,
            )?;
            Arc::new(LiveTarget::new(
                target,
                vendor,
                new_health(),
                places.clone(),
            )?)
        };
        let member = MemberConfig::target(name);
        let connect = self.config.timeouts.connect;
        Ok(Route {
            members: vec![new_member(live, &member, &self.clients, connect)?],
            config: RouteConfig {
                name: name.to_owned(),
                members: vec![member],
                ..self.config.clone()
            },
            memory: Memory::new(1),
        })
    }
}

fn new_member(
    live: Arc<LiveTarget>,
    config: &MemberConfig,
    clients: &Clients,
    connect: Duration,
) -> Result<Member, RouteError> {
    let client = clients
        .get(live.target.loopback(), connect)
        .map_err(|error| RouteError::Http {
            problem: error.to_string(),
        })?;
    Ok(Member {
        live,
        client,
        weight: config.weight,
        when: config.when.clone(),
        sunset: config.sunset,
        options: config.options.clone(),
        demoted: AtomicBool::new(false),
    })
}

fn new_target(
    name: &str,
    vendor: &VendorConfig,
    model: &str,
    address: Option<String>,
    prices: &PriceTable,
    today: Day,
) -> Result<Target, RouteError> {
    let price = vendor
        .model(model)
        .and_then(|model| model.price.as_ref())
        .or(vendor.price.as_ref())
        .map(|price| price.0.clone())
        .or_else(|| Price::of(vendor.row, model, prices, Some(&today.to_string())))
        .ok_or_else(|| RouteError::Price {
            target: name.to_owned(),
        })?;
    Ok(Target::from(Connection {
        name: name.to_owned(),
        vendor: vendor.row,
        model: model.to_owned(),
        base_url: address.ok_or_else(|| RouteError::NoAddress {
            target: name.to_owned(),
        })?,
        key: vendor.key.clone(),
        price,
    }))
}

/// How long a target that was taken out (its key refused, its model gone) is left alone before one
/// request looks again.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

fn new_health() -> Health {
    Health::new(BreakerSettings {
        look_again: Some(LOOK_AGAIN),
        spike: Some(SpikeSettings::default()),
        ..BreakerSettings::default()
    })
}

fn address_of(vendor: &VendorConfig, surroundings: &Surroundings<'_>) -> Option<String> {
    vendor
        .base_url
        .clone()
        .or_else(|| (surroundings.addresses)(vendor))
}

fn split(name: &str) -> Result<(&str, &str), RouteError> {
    name.split_once('/')
        .filter(|(vendor, model)| !vendor.is_empty() && !model.is_empty())
        .ok_or_else(|| RouteError::Name {
            target: name.to_owned(),
        })
}
