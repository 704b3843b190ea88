//! `measure`: how fast a student answers on the server that will serve it.
//!
//! The student is released on a server of its own, as `distill serve` would, and asked over loopback
//! HTTP: a caller's latency, with the server's queue and batching in it, the network left out. The
//! client shares the machine's cores with the server.

use std::{net::Ipv4Addr, path::Path};

use distill_chat::{Task, TaskDefinition};
use distill_pipeline::spec::{DeviceKind, MeasureSpec};
use distill_report::EnergyFacts;
use distill_runner::{StepContext, StepFailure, Work};
use distill_serve::{GateRecord, Registry, Release, ServeOptions, Server};
use distill_student::device::DeviceChoice;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{Action, rows::Row};

mod arrivals;
mod client;
mod energy;
mod exchange;
mod facts;
mod teacher;
#[cfg(test)]
mod tests;

use arrivals::poisson;
use client::Client;
use energy::{Rapl, Reading};
pub(crate) use exchange::Exchange;
pub(crate) use facts::{LoadRecord, capacity, single_answer};
pub(crate) use teacher::teacher_load;

/// Requests answered before the clock starts, at the setting's own concurrency.
const WARM_UP: usize = 8;
/// Seconds after which a setting sends no further request.
const SETTING_SECONDS: f64 = 60.0;
/// What the report's input ports of measured requests begin with; a student's step name follows.
pub(crate) const EXCHANGES_PORT: &str = "exchanges:";
/// Folder of a report with the requests of each measurement, one file a student.
const EXCHANGES_FOLDER: &str = "load";
/// The name that the student is asked by.
const ROUTE: &str = "measured";

/// One student under the load that the spec asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The arm's name; no part of the key.
    pub student: String,
    pub task: TaskDefinition,
    pub spec: MeasureSpec,
    /// Of the serving machine under load, as stated.
    pub watts: Option<f64>,
    /// Draws the arrivals of the open loop.
    pub seed: u64,
    /// Where a decoder is served.
    #[serde(default, skip_serializing_if = "DeviceKind::is_cpu")]
    pub device: DeviceKind,
}

/// How requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Setting {
    Closed { clients: usize },
    Open { per_second: f64 },
}

impl Measure {
    pub fn settings(&self) -> Value {
        let mut settings = json!({ "task": self.task, "measure": self.spec, "watts": self.watts });
        if !self.device.is_cpu() {
            settings["device"] = json!(self.device);
        }
        settings
    }

    pub fn seed(&self) -> Option<u64> {
        self.spec.arrivals_per_second.map(|_| self.seed)
    }

    fn plan(&self) -> Vec<Setting> {
        let closed = self.spec.concurrency.iter();
        closed
            .map(|&clients| Setting::Closed { clients })
            .chain(
                self.spec
                    .arrivals_per_second
                    .map(|per_second| Setting::Open { per_second }),
            )
            .collect()
    }

    /// Serves the student of `bundle`, sends it the rows at each setting, and takes the figures.
    ///
    /// # Errors
    /// A [`StepFailure`] when the student cannot be served, or an interruption.
    pub(crate) async fn run(
        &self,
        bundle: &Path,
        rows: &[Row],
        work: &Path,
        context: &StepContext,
    ) -> Result<(LoadRecord, Vec<Exchange>), StepFailure> {
        let bodies = self.bodies(rows)?;
        let stop = CancellationToken::new();
        let device = crate::train::device(self.device);
        let server = serve(bundle, &work.join("registry"), (device, stop.clone())).await?;
        let _ends_with_the_step = stop.drop_guard();
        let client = Client::new(server.address())?;
        let rapl = Rapl::open(Path::new(energy::POWERCAP));
        let (mut record, mut exchanges) = (LoadRecord::default(), Vec::new());
        let plan = self.plan();
        let total = (plan.len() * self.spec.requests) as u64;
        for (index, setting) in plan.iter().enumerate() {
            if context.is_cancelled() {
                return Err(StepFailure::interrupted());
            }
            let clients = match setting {
                Setting::Closed { clients } => *clients,
                Setting::Open { .. } => 1,
            };
            client
                .closed_loop(&bodies, WARM_UP.max(clients), clients, SETTING_SECONDS)
                .await;
            let before = rapl.as_ref().ok().and_then(Rapl::read);
            let sent = unless_interrupted(context, self.send(*setting, &client, &bodies)).await?;
            let joules = rapl.as_ref().ok().zip(before).and_then(|(rapl, before)| {
                let after = rapl.read()?;
                rapl.joules(&before, &after)
            });
            let load = facts::load(&self.student, *setting, WARM_UP.max(clients), &sent, self);
            record.note_energy(*setting, &load, joules);
            record.load.push(load);
            exchanges.extend(sent.into_iter().map(|exchange| Exchange {
                setting: index,
                id: rows[exchange.index % rows.len()].id.clone(),
                ..exchange
            }));
            context.progress(exchanges.len() as u64, Some(total), "requests");
        }
        record.energy = Some(self.energy(&record, rapl.as_ref().err().map(String::as_str)));
        Ok((record, exchanges))
    }

    async fn send(&self, setting: Setting, client: &Client, bodies: &[String]) -> Vec<Exchange> {
        match setting {
            Setting::Closed { clients } => {
                client
                    .closed_loop(bodies, self.spec.requests, clients, SETTING_SECONDS)
                    .await
            }
            Setting::Open { per_second } => {
                let mut times = poisson(self.spec.requests, per_second, self.seed);
                times.retain(|time| *time <= SETTING_SECONDS);
                client.open_loop(bodies, &times).await
            }
        }
    }

    /// Requests as a caller of the server would write them, one a row.
    fn bodies(&self, rows: &[Row]) -> Result<Vec<String>, StepFailure> {
        let task = Task::new(self.task.clone())
            .map_err(|error| StepFailure::bad_input("the task cannot be used").caused_by(error))?;
        if rows.is_empty() {
            return Err(StepFailure::bad_input(
                "there are no test rows to measure the speed with",
            ));
        }
        rows.iter()
            .map(|row| {
                let messages = task.messages(&row.fields).map_err(|error| {
                    StepFailure::bad_input(format!("row `{}` cannot be rendered", row.id))
                        .caused_by(error)
                })?;
                let body = json!({
                    "model": ROUTE,
                    "messages": messages,
                    "stream": true,
                    "stream_options": {"include_usage": true},
                });
                Ok(body.to_string())
            })
            .collect()
    }

    fn energy(&self, record: &LoadRecord, unreadable: Option<&str>) -> EnergyFacts {
        let reading = match (unreadable, record.busiest) {
            (None, Some(busiest)) => Reading::Counters(busiest),
            (Some(why), busiest) => Reading::None { why, busiest },
            (None, None) => Reading::None {
                why: "the counters could not be read while the student answered",
                busiest: None,
            },
        };
        energy::facts(&self.student, &reading, self.watts)
    }
}

async fn unless_interrupted<T>(
    context: &StepContext,
    work: impl Future<Output = T>,
) -> Result<T, StepFailure> {
    tokio::select! {
        done = work => Ok(done),
        () = context.cancel().cancelled() => Err(StepFailure::interrupted()),
    }
}

/// A server with the student alone on it, as `distill serve` starts one.
async fn serve(
    bundle: &Path,
    folder: &Path,
    (device, stop): (DeviceChoice, CancellationToken),
) -> Result<Server, StepFailure> {
    // What an attempt that was killed left behind.
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|error| {
            StepFailure::failed(format!("cannot remove `{}`", folder.display())).caused_by(error)
        })?;
    }
    let registry = Registry::new(folder);
    let release = Release {
        id: ROUTE.to_owned(),
        route: ROUTE.to_owned(),
        student: ROUTE.to_owned(),
        run: String::new(),
        bundle: ROUTE.to_owned(),
        released_at: String::new(),
        gate: GateRecord {
            met: false,
            reason: "served on loopback to be measured".to_owned(),
            despite: None,
        },
    };
    registry.release(release, bundle).map_err(|error| {
        StepFailure::failed("the student cannot be put on a server to be measured")
            .caused_by(error)
            .hint("free some space or point DISTILL_HOME at another disk, then run the same command: what was finished is kept")
    })?;
    let options = ServeOptions {
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        device,
        stop,
    };
    distill_serve::serve(registry, options)
        .await
        .map_err(|error| {
            StepFailure::failed("the student cannot be served to be measured").caused_by(error)
        })
}

/// Keeps the requests of every measurement beside the report that was taken from them.
///
/// # Errors
/// A [`StepFailure`] that names the file.
pub(crate) fn keep_exchanges(work: &Work<Action>) -> Result<(), StepFailure> {
    let folder = work.output("report").join(EXCHANGES_FOLDER);
    for (port, path) in &work.inputs {
        let Some(name) = port.strip_prefix(EXCHANGES_PORT) else {
            continue;
        };
        let target = folder.join(format!("{name}.jsonl"));
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::copy(path, &target))
            .map_err(|error| crate::rows::cannot_write(&target, error))?;
    }
    Ok(())
}
