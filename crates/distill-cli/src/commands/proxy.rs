//! `distill proxy`: one address for many models.

mod check;
mod demo;
mod handles;
mod quality;
mod task;
mod terminal;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use distill_gateway::simulate::{LatencySettings, SimulatedProvider, SimulatorSettings};
use distill_ledger::{Ledger, LedgerError, Records, Store};
use distill_pipeline::spec::Findings;
use distill_proxy::{
    config::{Config, Day, Sources, StoreConfig},
    server::{ConnectionLimits, Loader, Proxy, Setup, World},
    watch::{FileWatch, Measure},
};
use distill_serve::{Registry, ServeOptions, Server};
use distill_steps::{prices, teacher::Environment};
use distill_student::device::DeviceChoice;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::interruption;
use crate::{
    arguments::{ProxyArguments, ProxyCommand},
    environment,
    failure::{Failure, in_words},
};

pub(crate) use quality::EvalArguments;
pub(crate) use task::TaskArguments;

/// The file that is read when the command line names none.
const DEFAULT_CONFIG: &str = "proxy.yaml";

pub(crate) async fn execute(arguments: &ProxyArguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Some(ProxyCommand::Reference) => {
            print!("{}", distill_proxy::config::reference());
            Ok(ExitCode::SUCCESS)
        }
        Some(ProxyCommand::Eval(arguments)) => quality::execute(arguments).await,
        Some(ProxyCommand::Task(arguments)) => task::execute(arguments),
        Some(ProxyCommand::Check(arguments)) => check::execute(arguments),
        None if arguments.demo => demo::serve(arguments.listen).await,
        None => {
            let source = Source {
                path: config_path(arguments.config.as_deref()),
                listen: arguments.listen,
                environment: environment::reader(),
            };
            serve(source, |_, _| ()).await
        }
    }
}

/// Where a configuration comes from.
#[derive(Clone)]
struct Source {
    path: PathBuf,
    /// In place of what the file says.
    listen: Option<std::net::SocketAddr>,
    environment: Environment,
}

impl Source {
    fn load(&self, show: Show) -> Result<Config, Failure> {
        let mut config = read(&self.path, &self.environment, Config::load, show)?;
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        Ok(config)
    }
}

/// Serves until the process is told to stop. `begun` learns the address, and what cancels at the end.
async fn serve(
    source: Source,
    begun: impl FnOnce(SocketAddr, &CancellationToken),
) -> Result<ExitCode, Failure> {
    let path = source.path.clone();
    let config = source.load(super::check::render)?;
    if source.listen.is_some() {
        refuse_remote_without_consent(&config)?;
    }
    terminal::hide_what_panics_say();
    let stop = interruption();
    ends_with_sigterm(&stop);
    let beside = Beside::start(&config, &stop).await?;
    let ledger = open_ledger(&config).await?;
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        Failure::failed(format!("cannot listen on {}", config.listen))
            .caused_by(error)
            .hint("`--listen 127.0.0.1:0` takes a free port")
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::failed("the listener has no address").caused_by(error))?;
    let (sink, log) = terminal::log();
    for note in &config.notes {
        terminal::say(&format!("note: {note}"));
    }
    let proxy = Proxy::start(Setup {
        config,
        world: beside.world(),
        measure: Some(measure(&source, &ledger, &stop)),
        loader: Some(loader(source)),
        ledger,
        log: sink,
    })
    .map_err(|error| {
        Failure::bad_input(format!("the proxy cannot start from {}", path.display()))
            .caused_by(error)
            .hint("`distill proxy check` looks at every route")
    })?;
    terminal::answer(&format!("http://{address}"));
    welcome(&proxy, &path);
    begun(address, &stop);
    let reloading = tokio::spawn(reload_when_told(proxy.clone(), path));
    let drained = proxy
        .serve(listener, &connection_limits(&proxy), &stop)
        .await;
    reloading.abort();
    if drained.cut > 0 {
        terminal::say(&format!(
            "{} connections were cut: their answers took too long",
            drained.cut
        ));
    }
    proxy.close().await;
    drop(beside);
    // The last lines are written when nobody can add one; who still could is not waited for long.
    let written = tokio::task::spawn_blocking(move || log.join());
    let _ = tokio::time::timeout(Duration::from_secs(1), written).await;
    Ok(ExitCode::SUCCESS)
}

/// The bounds of the configuration, as far as the system has handles for them.
fn connection_limits(proxy: &Proxy) -> ConnectionLimits {
    let mut limits = proxy.connection_limits();
    if let Some(fit) = handles::connections()
        && fit < limits.connections
    {
        terminal::say(&format!(
            "note: {fit} clients at once instead of {}: the system allows no more open files \
             (`ulimit -n`)",
            limits.connections
        ));
        limits.connections = fit;
    }
    limits
}

/// The configuration's path, as the command line or custom has it.
pub(crate) fn config_path(named: Option<&Path>) -> PathBuf {
    named.map_or_else(|| PathBuf::from(DEFAULT_CONFIG), Path::to_owned)
}

/// Reads and checks a configuration with this process's environment.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    let environment = environment::reader();
    read(path, &environment, Config::load, super::check::render)
}

/// How findings are laid out.
type Show = fn(&Findings) -> String;

/// Findings for a log and an answer over HTTP: a line each, with its place and what to do.
fn in_lines(findings: &Findings) -> String {
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| {
            let place = format!("{}:{}:{}", findings.file(), finding.line, finding.column);
            match &finding.hint {
                Some(hint) => format!("{place}: {finding} ({hint})"),
                None => format!("{place}: {finding}"),
            }
        })
        .collect();
    lines.join("\n")
}

fn read(
    path: &Path,
    environment: &Environment,
    how: fn(&str, &str, &Sources<'_>) -> Result<Config, Findings>,
    show: Show,
) -> Result<Config, Failure> {
    let text = environment::read_text(path).map_err(|error| {
        Failure::bad_input(format!("cannot read {}", path.display()))
            .caused_by(error)
            .hint("name a file: `distill proxy FILE`; `distill proxy --demo` needs none, `distill proxy reference` lists every key")
    })?;
    let prices = prices::table(environment)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let state = environment::home_path();
    how(
        &path.display().to_string(),
        &text,
        &Sources {
            environment: &|name| environment(name),
            folder,
            state: &state,
            today: Day(prices::today()),
            prices,
        },
    )
    .map_err(|findings| Failure::findings(show(&findings)))
}

/// Reads a configuration for a command that asks nobody: its keys need not be set here.
fn look_at(path: &Path) -> Result<Config, Failure> {
    let environment = environment::reader();
    read(path, &environment, Config::look_at, super::check::render)
}

/// Opens the tables of the ledger that a configuration names, beside a proxy that may run.
async fn open_records(config: &Config) -> Result<Records, Failure> {
    let store = store(config)?;
    Records::open(&store).await.map_err(ledger_failure)
}

/// Measures the quality of targets inside the running proxy.
fn measure(source: &Source, ledger: &Ledger, stop: &CancellationToken) -> Measure {
    let (source, records, stop) = (source.clone(), ledger.records().clone(), stop.clone());
    Arc::new(move |_why| {
        let (source, records, stop) = (source.clone(), records.clone(), stop.clone());
        Box::pin(async move {
            let config = source
                .load(in_lines)
                .map_err(|failure| in_words(&failure))?;
            let measurement = quality::Measurement::of(&config);
            let measured = quality::measure(&config, &records, &measurement, &stop)
                .await
                .map_err(|failure| in_words(&failure))?;
            let problems: Vec<String> = measured
                .into_iter()
                .filter_map(|one| Some(format!("`{}`: {}", one.target, one.score.err()?)))
                .collect();
            if problems.is_empty() {
                Ok(())
            } else {
                Err(problems.join("; "))
            }
        })
    })
}

/// Opens the ledger that a configuration names.
pub(crate) async fn open_ledger(config: &Config) -> Result<Ledger, Failure> {
    let store = store(config)?;
    Ledger::open(store).await.map_err(|error| {
        let hint = error.hint();
        let failure = ledger_failure(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// Where the ledger of a configuration is; its folder is made.
fn store(config: &Config) -> Result<Store, Failure> {
    Ok(match &config.ledger {
        StoreConfig::Sqlite(path) => {
            if let Some(folder) = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
            {
                fs::create_dir_all(folder).map_err(|error| {
                    Failure::failed(format!("cannot make {}", folder.display())).caused_by(error)
                })?;
            }
            Store::Sqlite(path.clone())
        }
        StoreConfig::Postgres(address) => Store::Postgres(address.clone()),
    })
}

fn ledger_failure(error: LedgerError) -> Failure {
    Failure::failed("the ledger cannot be opened").caused_by(error)
}

/// A listener that other machines reach is asked for in the file, never by a slip on the command line.
fn refuse_remote_without_consent(config: &Config) -> Result<(), Failure> {
    if config.listen.ip().is_loopback() || config.security.remote {
        Ok(())
    } else {
        Err(Failure::bad_input(format!(
            "{} can be reached from other machines",
            config.listen
        ))
        .hint("set `security: {remote: true}` in the configuration if that is meant"))
    }
}

/// Reads the same file again, with the listener that the command line may have named.
fn loader(source: Source) -> Loader {
    Arc::new(move || source.load(in_lines).map_err(|failure| in_words(&failure)))
}

/// What answers inside this process: simulated vendors, released students.
struct Beside {
    simulated: Option<SimulatedProvider>,
    students: Option<Server>,
}

impl Beside {
    async fn start(config: &Config, stop: &CancellationToken) -> Result<Self, Failure> {
        let simulated = if config
            .vendors
            .iter()
            .any(|vendor| vendor.row.simulated && vendor.base_url.is_none())
        {
            Some(simulated(config).await?)
        } else {
            None
        };
        let students = match &config.students {
            Some(students) => Some(
                distill_serve::serve(
                    Registry::new(&students.releases),
                    ServeOptions {
                        address: ([127, 0, 0, 1], 0).into(),
                        device: DeviceChoice::Cpu,
                        stop: stop.clone(),
                    },
                )
                .await
                .map_err(|error| {
                    Failure::failed("the released students cannot be served")
                        .caused_by(error)
                        .hint("`distill deploy RUN` makes a release; leave `students` out until there is one")
                })?,
            ),
            None => None,
        };
        Ok(Self {
            simulated,
            students,
        })
    }

    fn world(&self) -> World {
        let simulated = self
            .simulated
            .as_ref()
            .map(|simulated| (simulated.openai_base_url(), simulated.anthropic_base_url()));
        let students = self
            .students
            .as_ref()
            .map(|students| format!("http://{}/v1", students.address()));
        World {
            addresses: Arc::new(move |vendor| {
                if vendor.row.simulated {
                    let (openai, anthropic) = simulated.as_ref()?;
                    return Some(if vendor.row.dialect == distill_wire::Dialect::Messages {
                        anthropic.clone()
                    } else {
                        openai.clone()
                    });
                }
                students.clone()
            }),
            today: Arc::new(|| Day(prices::today())),
        }
    }
}

/// The vendor that stands in where there is no key.
async fn simulated(config: &Config) -> Result<SimulatedProvider, Failure> {
    let median = config.simulate.latency.unwrap_or(Duration::ZERO);
    let mut settings = SimulatorSettings {
        seed: config.simulate.seed,
        improvise: true,
        // The totals count every row; a proxy may run for months.
        bill_rows: 1000,
        latency: LatencySettings {
            median,
            p95: median * 2,
        },
        ..SimulatorSettings::default()
    };
    settings.faults.server_error = config.simulate.faults;
    SimulatedProvider::builder(Vec::new(), settings)
        .start()
        .await
        .map_err(|error| Failure::failed("the simulated vendors cannot start").caused_by(error))
}

fn welcome(proxy: &Proxy, path: &Path) {
    let live = proxy.live();
    let config = &live.config;
    terminal::say(&format!("  configuration {}", path.display()));
    for route in &config.routes {
        let members: Vec<_> = route
            .members
            .iter()
            .map(|member| member.target.as_str())
            .collect();
        terminal::say(&format!("  model {} → {}", route.name, members.join(", ")));
    }
    if live
        .config
        .vendors
        .iter()
        .any(|vendor| vendor.row.simulated)
    {
        terminal::say("  SIMULATED vendors answer some of these");
    }
    if !config.security.require_keys {
        terminal::say("  no keys are asked for: everybody on this machine is `anonymous`");
    }
    terminal::say("  stop with Ctrl-C; answers in flight are finished first");
}

/// Ends the process as Ctrl-C does, where a service manager says so.
fn ends_with_sigterm(stop: &CancellationToken) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let stop = stop.clone();
        if let Ok(mut signals) = signal(SignalKind::terminate()) {
            tokio::spawn(async move {
                signals.recv().await;
                stop.cancel();
            });
        }
    }
    #[cfg(not(unix))]
    let _ = stop;
}

/// How often the file is looked at.
const LOOK_AT_FILE: Duration = Duration::from_secs(1);

/// Reads the configuration again when its file or a release of a task changes, or SIGHUP comes.
async fn reload_when_told(proxy: Proxy, path: PathBuf) {
    let releases = proxy.live().config.task_releases.clone();
    let mut files = FileWatch::new([path.as_path(), releases.as_path()]);
    #[cfg(unix)]
    let mut hangups = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
    let mut looks = tokio::time::interval(LOOK_AT_FILE);
    loop {
        #[cfg(unix)]
        let told = async {
            match &mut hangups {
                Some(hangups) => {
                    hangups.recv().await;
                }
                None => std::future::pending().await,
            }
        };
        #[cfg(not(unix))]
        let told = std::future::pending::<()>();
        let asked = tokio::select! {
            () = told => true,
            _ = looks.tick() => false,
        };
        if files.changed() || asked {
            // What was found is in the log.
            let _ = proxy.reload().await;
        }
    }
}
