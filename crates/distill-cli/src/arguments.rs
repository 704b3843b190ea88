//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use distill_student::device::DeviceChoice;

use crate::commands::{
    bench::BenchArguments,
    data::DataArguments,
    eval::EvalArguments,
    export::ExportArguments,
    init::InitArguments,
    keys::KeysArguments,
    models::ModelsArguments,
    prices::PricesArguments,
    proxy::{EvalArguments as ProxyEvalArguments, TaskArguments as ProxyTaskArguments},
    reference::ReferenceArguments,
    spend::SpendArguments,
    usage::UsageArguments,
};

/// Turns a narrow job of a frontier model into a small model you run, and proves whether it is worth it.
#[derive(Debug, Parser)]
#[command(
    name = "distill",
    version,
    max_term_width = 100,
    after_help = "Start with:\n  distill run pipelines/quickstart.yaml\n  distill init your.csv"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Scaffold a pipeline from a CSV or JSON-lines file
    Init(InitArguments),
    /// Look for mistakes in a pipeline and its data; spends nothing
    #[command(after_help = "Example:\n  distill check pipelines/quickstart.yaml")]
    Check(PipelineArguments),
    /// Show the steps, what is cached, and the estimated spend; spends nothing
    #[command(after_help = "Example:\n  distill plan pipelines/quickstart.yaml")]
    Plan(PipelineArguments),
    /// Show every section and key of a pipeline, with its default
    Reference(ReferenceArguments),
    /// Label, train, evaluate, and report with a verdict
    Run(RunArguments),
    /// List the runs of this folder
    Runs(RunsArguments),
    /// Show the report of a run
    Report(ReportArguments),
    /// Score answers on a suite of rows, compare them, list the scorers
    Eval(EvalArguments),
    /// Say why a step would run or be taken from the cache
    Explain(ExplainArguments),
    /// List, show and fetch data sets
    Data(DataArguments),
    /// List, show and fetch base models for students
    Models(ModelsArguments),
    /// Show what models cost and how old that is; import a price table
    Prices(PricesArguments),
    /// Start the simulated provider by hand
    Simulate(SimulateArguments),
    /// Make the embedded base model again from its recipe
    Pretrain(PretrainArguments),
    /// Measure training and generation speed on this machine
    Bench(BenchArguments),
    /// Release a run's student, after its gate is met as it will be served
    Deploy(DeployArguments),
    /// Write a student as PEFT and transformers open it
    Export(ExportArguments),
    /// Take the latest release back
    Rollback(RollbackArguments),
    /// Serve released students over HTTP
    Serve(ServeArguments),
    /// Start the LLM proxy: one address for many models, with failover, budgets and a ledger
    Proxy(ProxyArguments),
    /// Make, list and revoke keys for the proxy
    Keys(KeysArguments),
    /// List and answer questions about spend through the proxy
    Spend(SpendArguments),
    /// Show who used what through the proxy, and what it cost
    Usage(UsageArguments),
}

/// How a command writes its result to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct PipelineArguments {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    #[arg(
        long,
        value_name = "FILE",
        help = "A price table whose rows go before the program's own [default: $DISTILL_PRICES]"
    )]
    pub(crate) prices: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill run pipelines/quickstart.yaml\n  distill run pipelines/quickstart.yaml --format json > events.jsonl\n  distill run pipelines/quickstart.yaml --gate --junit junit.xml --summary summary.md\n\nExit codes: 0 done, 1 a step failed, 2 bad command line, pipeline or data,\n3 done but the gate of `accept` is not met (with --gate), 130 interrupted (run again to resume).\nA CI job says --gate itself: no variable of its environment changes an exit code."
)]
pub(crate) struct RunArguments {
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    /// Text: progress for a person and the report; json: one event a line, the report's last
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    #[arg(
        long,
        help = "End with exit code 3 unless the verdict is REPLACE, CASCADE or CHEAPER_API"
    )]
    pub(crate) gate: bool,
    #[command(flatten)]
    pub(crate) files: CiFiles,
    /// Processor cores that steps may use at once [default: all]
    #[arg(long)]
    pub(crate) cores: Option<u32>,
    #[arg(
        long,
        value_name = "FILE",
        help = "A price table whose rows go before the program's own [default: $DISTILL_PRICES]"
    )]
    pub(crate) prices: Option<PathBuf>,
}

/// Files for a CI system, beside what is shown.
#[derive(Debug, Args)]
pub(crate) struct CiFiles {
    #[arg(
        long,
        value_name = "FILE",
        help = "Write the gate as JUnit XML, a test case for each condition"
    )]
    pub(crate) junit: Option<PathBuf>,
    /// Write a summary in Markdown, fit for a pull request
    #[arg(long, value_name = "FILE")]
    pub(crate) summary: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  distill runs")]
pub(crate) struct RunsArguments {
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    #[value(alias = "terminal")]
    Text,
    Markdown,
    Json,
    Html,
    Junit,
    Summary,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill report\n  distill report latest --format html > report.html\n  distill report latest --samples evidence\n  distill report --from evidence --format markdown"
)]
pub(crate) struct ReportArguments {
    /// The run: its id, the start of it, or `latest`
    #[arg(default_value = "latest")]
    pub(crate) run: String,
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: ReportFormat,
    /// Copy the evidence to this folder: `study.json` and every arm's answers, a JSON line a row
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    pub(crate) samples: Option<PathBuf>,
    /// Make the report again from this folder's evidence alone, every figure computed anew
    #[arg(long, value_name = "DIR", conflicts_with = "run")]
    pub(crate) from: Option<PathBuf>,
    /// With --from: write every form to this folder
    #[arg(long, value_name = "DIR", requires = "from")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) files: CiFiles,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  distill explain train:nano pipelines/quickstart.yaml")]
pub(crate) struct ExplainArguments {
    /// The step, as `distill plan` names it
    pub(crate) step: String,
    /// The pipeline file
    pub(crate) pipeline: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  distill simulate pipelines/quickstart.yaml --port 8090 --state simulated.log"
)]
pub(crate) struct SimulateArguments {
    /// The pipeline whose data and `teacher.simulate` settings the provider answers from
    pub(crate) pipeline: PathBuf,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8090)]
    pub(crate) port: u16,
    /// Where the provider keeps what it was asked and what it billed
    #[arg(long)]
    pub(crate) state: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  distill pretrain --out nano")]
pub(crate) struct PretrainArguments {
    /// The recipe: the name of an embedded one, or a JSON file
    #[arg(long, default_value = "nano")]
    pub(crate) recipe: String,
    /// Folder for the model; a checkpoint in it is resumed
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Stop after this many steps, for a trial
    #[arg(long)]
    pub(crate) max_steps: Option<usize>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill deploy latest\n  distill deploy 20260131-090507-1a2b --student nano --route support"
)]
pub(crate) struct DeployArguments {
    /// The run: its id, the start of it, or `latest`
    #[arg(default_value = "latest")]
    pub(crate) run: String,
    /// The student to release [default: the one the report recommends]
    #[arg(long)]
    pub(crate) student: Option<String>,
    /// The model name that callers use [default: the pipeline's name]
    #[arg(long)]
    pub(crate) route: Option<String>,
    /// Release although the gate is not met; needs a reason, which is recorded
    #[arg(long, value_name = "REASON")]
    pub(crate) despite_gate: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  distill rollback support")]
pub(crate) struct RollbackArguments {
    /// The route to roll back [default: the one there is]
    pub(crate) route: Option<String>,
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  distill serve --port 8080\n  curl -s localhost:8080/v1/models")]
pub(crate) struct ServeArguments {
    /// Address to listen on; loopback unless told otherwise
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: std::net::IpAddr,
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Where decoders run: `cpu`, `cuda`, `cuda:N`, `metal` or `auto`
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    pub(crate) device: DeviceChoice,
}

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  distill proxy --demo\n  distill proxy proxy.yaml\n  distill proxy reference"
)]
pub(crate) struct ProxyArguments {
    #[command(subcommand)]
    pub(crate) command: Option<ProxyCommand>,
    /// The configuration [default: proxy.yaml]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen, in place of what the configuration says
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Start with simulated vendors, people, history and traffic: needs no configuration and no key
    #[arg(long, conflicts_with = "config")]
    pub(crate) demo: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyCheckArguments {
    /// The configuration [default: proxy.yaml]
    pub(crate) config: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProxyCommand {
    /// Show every section and key of the configuration
    Reference,
    /// Show each route's chain, what each failure leads to, and the worst-case time; asks nobody
    #[command(after_help = "Example:\n  distill proxy check proxy.yaml")]
    Check(ProxyCheckArguments),
    /// Measure how good the members of routes are, by the suites of the configuration
    Eval(ProxyEvalArguments),
    /// List, release and take back versions of tasks
    Task(ProxyTaskArguments),
}
