//! `distill proxy --demo`: simulated vendors, people with keys, two weeks of history and a little
//! traffic, so that all of the proxy can be seen without a key. Nothing leaves the machine, nothing
//! costs anything, and everything is marked as simulated.
//!
//! Start reading at [`Demo::start`].

mod guide;
mod history;
mod people;
mod traffic;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use distill_gateway::{
    Secret,
    simulate::{
        FaultShares, LatencySettings, ModelSettings, SimulateError, SimulatedProvider,
        SimulatorSettings,
    },
};
use distill_ledger::{Ledger, LedgerError, Store};
use tokio_util::sync::CancellationToken;

pub use people::Person;

/// The environment variable that the demo's configuration names.
pub const ADMIN_KEY_VARIABLE: &str = "DISTILL_DEMO_ADMIN_KEY";

/// Why the demo does not start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("starting the simulated vendors")]
    Vendors(#[from] SimulateError),
    #[error("keeping the demo's ledger")]
    Ledger(#[from] LedgerError),
    #[error("drawing a key: the system gives no random numbers")]
    NoRandomness,
}

/// What a demo is made of. Dropping it stops its vendors.
#[derive(Debug)]
pub struct Demo {
    ledger: PathBuf,
    admin_key: Secret,
    keys: Vec<(&'static Person, Secret)>,
    quick: SimulatedProvider,
    flaky: SimulatedProvider,
    solid: SimulatedProvider,
    dear: SimulatedProvider,
}

impl Demo {
    /// Starts the vendors and fills a ledger in this folder, which should be a new one.
    ///
    /// # Errors
    /// [`DemoError`] says what could not be started.
    pub async fn start(folder: &Path) -> Result<Self, DemoError> {
        let ledger = folder.join("demo.db");
        history::write(&ledger).await?;
        let open = Ledger::open(Store::Sqlite(ledger.clone())).await?;
        let mut keys = Vec::new();
        for person in &people::PEOPLE {
            let (key, _) = open.create_key(person.new_key()).await?;
            keys.push((person, key));
        }
        drop(open);
        Ok(Self {
            ledger,
            admin_key: admin_key()?,
            keys,
            quick: vendor(&[("small", 0.15, 0.6), ("embed", 0.02, 0.0)], 60, |_| ()).await?,
            flaky: vendor(&[("medium", 0.8, 3.2)], 180, |settings| {
                settings.faults = FaultShares {
                    rate_limit: 0.06,
                    server_error: 0.08,
                    malformed: 0.02,
                    cut: 0.03,
                    early_error: 0.03,
                    late_error: 0.01,
                    ..FaultShares::default()
                };
                settings.retry_after = Duration::from_secs(4);
            })
            .await?,
            solid: vendor(&[("large", 3.0, 15.0)], 350, |_| ()).await?,
            dear: vendor(&[("deep", 15.0, 75.0)], 800, |settings| {
                settings.models[0].reasoning = 4.0;
            })
            .await?,
        })
    }

    /// The configuration, with the addresses of the vendors that were started.
    pub fn config(&self) -> String {
        // JSON's strings are YAML's: a path may hold anything.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut text = include_str!("demo/proxy.yaml").to_owned();
        for (place, value) in [
            ("\"@LEDGER@\"", self.ledger.display().to_string()),
            ("\"@QUICK@\"", self.quick.openai_base_url()),
            ("\"@FLAKY@\"", self.flaky.openai_base_url()),
            ("\"@SOLID@\"", self.solid.anthropic_base_url()),
            ("\"@DEAR@\"", self.dear.openai_base_url()),
        ] {
            text = text.replace(place, &quoted(&value));
        }
        text
    }

    /// The value of the one variable that the configuration names; `None` for any other.
    pub fn variable(&self, name: &str) -> Option<String> {
        (name == ADMIN_KEY_VARIABLE).then(|| self.admin_key.expose().to_owned())
    }

    /// The key that opens the pages.
    pub fn admin_key(&self) -> &Secret {
        &self.admin_key
    }

    /// Everybody who has a key.
    pub fn keys(&self) -> &[(&'static Person, Secret)] {
        &self.keys
    }

    /// Where the ledger is.
    pub fn ledger(&self) -> &Path {
        &self.ledger
    }

    /// What there is to see and to try, with lines that can be pasted into a shell.
    pub fn guide(&self, address: SocketAddr) -> String {
        guide::text(self, address)
    }

    /// Asks a few requests a second, as the demo's people, until it is told to stop.
    ///
    /// # Errors
    /// Where no HTTP client can be made.
    pub async fn traffic(
        &self,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> Result<(), reqwest::Error> {
        traffic::run(&self.keys, address, stop).await
    }
}

/// A key that nobody can guess: other people may have accounts on this machine.
fn admin_key() -> Result<Secret, DemoError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| DemoError::NoRandomness)?;
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Secret::new(format!("demo-admin-{digits}")))
}

/// A simulated vendor of these models: name, and dollars for a million tokens in and out.
async fn vendor(
    models: &[(&str, f64, f64)],
    median_ms: u64,
    edit: impl FnOnce(&mut SimulatorSettings),
) -> Result<SimulatedProvider, SimulateError> {
    let models = models
        .iter()
        .map(|(name, input, output)| ModelSettings {
            name: (*name).to_owned(),
            accuracy: None,
            latency: None,
            faults: None,
            reasoning: 0.0,
            input_usd_per_million: *input,
            output_usd_per_million: *output,
        })
        .collect();
    let mut settings = SimulatorSettings {
        improvise: true,
        bill_rows: 1000,
        latency: LatencySettings {
            median: Duration::from_millis(median_ms),
            p95: Duration::from_millis(median_ms * 3),
        },
        models,
        ..SimulatorSettings::default()
    };
    edit(&mut settings);
    SimulatedProvider::builder(Vec::new(), settings)
        .start()
        .await
}

#[cfg(test)]
mod tests;
