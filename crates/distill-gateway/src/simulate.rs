//! A provider that is not one: it speaks the vendors' wire formats over real HTTP on this machine
//! and answers from a gold table, with a set share of errors, latencies, prices and faults.
//!
//! Everything about an answer is a function of the seed, the request and the number of times that
//! this request was seen. That number is kept in a small log, across restarts, which is also the
//! provider's own bill. The text of an answer depends on the seed and the message alone: asked
//! again, a model says the same, and models of equal accuracy say the same too.
//!
//! Start reading at [`SimulatedProvider`], then `server` (what a request meets) and `gold` (what is
//! answered).

mod asked;
mod bill;
mod confusion;
mod draw;
mod embedding;
mod extraction;
mod free_text;
mod gold;
mod improvise;
mod judge;
mod server;
mod settings;
mod wire;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use distill_wire::Dialect;
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use bill::{Bill, BillRow, OutcomeTotal};
pub use gold::GoldEntry;
pub use settings::{
    FaultShares, JUDGE_MODEL, JudgeSettings, LatencySettings, ModelSettings, SimulatorSettings,
};

use crate::{Price, PriceSource, Target, request_hash::hex};
use bill::Ledger;
use gold::GoldTable;
use server::Provider;

/// Tells the provider which repetition of a question this is; see [`SimulatorSettings::unsteady`].
pub(crate) const SAMPLE_HEADER: &str = "x-simulated-sample";

/// Why a simulated provider cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("listening on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("keeping the simulated provider's state in {path}")]
    State {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("settings of the simulated provider: {problem}")]
    Settings { problem: String },
    #[error("gold answers of the simulated provider: {problem}")]
    Gold { problem: String },
}

impl SimulateError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { address, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some(format!(
                    "something else listens on port {}: choose another port, or 0 for any free one",
                    address.port()
                ))
            }
            _ => None,
        }
    }
}

/// What shapes the answers of a provider: its seed, its gold table and how often each model errs.
/// Latencies, prices and faults that bring no answer are left out.
pub fn answer_identity(gold: &[GoldEntry], settings: &SimulatorSettings) -> String {
    let mut hash = Sha256::new();
    hash.update(gold::digest(gold));
    hash.update(settings.seed.to_le_bytes());
    hash.update(settings.error_noise.to_le_bytes());
    // What was added later counts only where it is set: else every answer known before is as good.
    if settings.judge != JudgeSettings::default() {
        hash.update(settings.judge.digest());
    }
    if settings.improvise {
        hash.update(b"improvise");
    }
    if settings.unsteady > 0.0 {
        hash.update(b"unsteady");
        hash.update(settings.unsteady.to_le_bytes());
    }
    let added = |model: &&ModelSettings| {
        model.name != JUDGE_MODEL || model.accuracy.is_some() || model.faults.is_some()
    };
    for model in settings.models.iter().filter(added) {
        hash.update((model.name.len() as u64).to_le_bytes());
        hash.update(&model.name);
        hash.update(settings.accuracy_of(model).to_le_bytes());
        hash.update(settings.faults_of(model).truncate.to_le_bytes());
    }
    hex(&hash.finalize()[..8])
}

/// A provider about to start.
#[derive(Debug)]
pub struct Builder {
    gold: Vec<GoldEntry>,
    settings: SimulatorSettings,
    state: Option<PathBuf>,
    address: SocketAddr,
}

impl Builder {
    /// Keeps what was asked and billed in this file, so that a restart goes on where it ended. Name
    /// it after [`answer_identity`]: another provider has another bill.
    #[must_use]
    pub fn state(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = Some(path.into());
        self
    }

    /// Where to listen; by default any free port of the loopback interface.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Reads the table, listens and serves in the background.
    pub async fn start(self) -> Result<SimulatedProvider, SimulateError> {
        if let Some(problem) = self.settings.problem() {
            return Err(SimulateError::Settings { problem });
        }
        let identity = answer_identity(&self.gold, &self.settings);
        let table = if self.settings.improvise && self.gold.is_empty() {
            GoldTable::empty()
        } else {
            GoldTable::new(&self.gold, self.settings.seed, self.settings.error_noise)
                .map_err(|problem| SimulateError::Gold { problem })?
        };
        let ledger =
            Ledger::open(self.state.as_deref(), self.settings.bill_rows).map_err(|source| {
                SimulateError::State {
                    path: self.state.unwrap_or_default(),
                    source,
                }
            })?;
        let failed = |source| SimulateError::Listen {
            address: self.address,
            source,
        };
        let listener = TcpListener::bind(self.address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let provider = Arc::new(Provider {
            table,
            settings: self.settings,
            ledger,
            stop: stop.clone(),
        });
        let serving = tokio::spawn(server::serve(listener, Arc::clone(&provider)));
        Ok(SimulatedProvider {
            address,
            identity,
            provider,
            stop,
            serving: Some(serving),
        })
    }
}

/// A running simulated provider. Dropping it stops it.
#[derive(Debug)]
pub struct SimulatedProvider {
    address: SocketAddr,
    identity: String,
    provider: Arc<Provider>,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl SimulatedProvider {
    pub fn builder(gold: Vec<GoldEntry>, settings: SimulatorSettings) -> Builder {
        Builder {
            gold,
            settings,
            state: None,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the SDK of `OpenAI` calls the base URL.
    pub fn openai_base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What Anthropic's SDK calls the base URL.
    pub fn anthropic_base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What Google's SDK calls the base URL.
    pub fn gemini_base_url(&self) -> String {
        format!("http://{}/v1beta", self.address)
    }

    /// What shapes its answers; see [`answer_identity`].
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Points a target of the vendors `simulated` and `simulated-anthropic` at this provider, with
    /// its price and the identity of its answers.
    #[must_use]
    pub fn attach(&self, target: Target) -> Target {
        let settings = &self.provider.settings;
        let url = match target.dialect() {
            Dialect::Messages => self.anthropic_base_url(),
            _ => self.openai_base_url(),
        };
        let target = target
            .with_base_url(url)
            .with_identity_suffix(&self.identity);
        let model = settings
            .models
            .iter()
            .find(|model| model.name == target.model());
        match model {
            Some(model) => target
                .with_price(price_of(model))
                .with_expected_latency(settings.latency_of(model).median),
            // Asked for it, the provider will say that there is no such model.
            None => target,
        }
    }

    /// What it was asked and what it charges, over all restarts.
    pub fn bill(&self) -> Bill {
        self.provider.ledger.bill()
    }

    /// Stops serving; connections that hang are cut.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(mut serving) = self.serving.take()
            && tokio::time::timeout(STOPPING, &mut serving).await.is_err()
        {
            serving.abort();
        }
    }
}

/// How long open connections may take to end.
const STOPPING: Duration = Duration::from_secs(1);

impl Drop for SimulatedProvider {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The bill that a provider with this state file would go on with.
pub fn bill_of_state(path: &Path) -> Result<Bill, SimulateError> {
    let failed = |source| SimulateError::State {
        path: path.to_owned(),
        source,
    };
    Ok(bill::read(path).map_err(failed)?.0)
}

fn price_of(model: &ModelSettings) -> Price {
    Price::per_million(
        model.input_usd_per_million,
        model.output_usd_per_million,
        None,
        PriceSource::Simulated,
    )
}

#[cfg(test)]
mod tests;
