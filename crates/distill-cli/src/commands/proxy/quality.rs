//! `distill proxy eval`: how good each member of each route is, by the suites of the configuration.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use distill_eval::Direction;
use distill_gateway::{Usd, date_of_days};
use distill_ledger::{Clock, Records};
use distill_pipeline::{
    record::RunId,
    spec::{ModelSpec, suite::SuiteSpec},
};
use distill_proxy::{
    config::{Config, RouteConfig, VendorConfig},
    watch::{Against, Score, Standing, fact_name, judge},
};
use distill_runner::{Clock as _, StepContext, StepFailure, SystemClock};
use distill_steps::{
    prices,
    suite::{Answerer, Answers, Suite, Summary, parse_suite},
    teacher::{Environment, Teachers},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{config_path, load, open_records};
use crate::{
    arguments::Format,
    commands::{check, interruption},
    environment,
    failure::{Failure, in_words},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Each route that has `quality: {suite: FILE}` is measured: its members are asked the suite's rows.\nWhat is found goes into the ledger; a proxy that runs asks a member last that is below the floor or\nsignificantly under the best. Answers are asked anew each time: a model may have changed.\n\nExample:\n  distill proxy eval proxy.yaml --rows 100 --budget 0.50"
)]
pub(crate) struct EvalArguments {
    /// The configuration [default: proxy.yaml]
    config: Option<PathBuf>,
    /// Only this route; repeatable
    #[arg(long, value_name = "NAME")]
    route: Vec<String>,
    /// Rows of each suite, in place of `quality.rows`
    #[arg(long)]
    rows: Option<u64>,
    /// Most that all of it may cost in US dollars, in place of `quality.budget_usd`
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What is measured, and by how much.
#[derive(Debug, Clone)]
pub(super) struct Measurement {
    /// Empty: all.
    pub(super) routes: Vec<String>,
    pub(super) rows: Option<u64>,
    pub(super) budget: Usd,
}

impl Measurement {
    /// What the configuration asks for.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            routes: Vec::new(),
            rows: config.quality.rows,
            budget: config.quality.budget,
        }
    }
}

/// A target on a suite.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    pub(super) suite: PathBuf,
    pub(super) target: String,
    /// Or why there is none.
    pub(super) score: Result<Score, String>,
}

pub(super) async fn execute(arguments: &EvalArguments) -> Result<ExitCode, Failure> {
    let config = load(&config_path(arguments.config.as_deref()))?;
    let mut measurement = Measurement::of(&config);
    measurement.routes.clone_from(&arguments.route);
    measurement.rows = arguments.rows.or(measurement.rows);
    if let Some(budget) = arguments.budget {
        if !(budget > 0.0 && budget <= 1e6) {
            return Err(Failure::bad_input(format!(
                "`--budget` is {budget}, and must be above 0"
            )));
        }
        measurement.budget = Usd::from_dollars(budget);
    }
    for name in &measurement.routes {
        if config
            .route(name)
            .is_none_or(|route| route.quality.is_none())
        {
            return Err(
                Failure::bad_input(format!("there is no route `{name}` with a suite"))
                    .hint("give it `quality: {suite: FILE}` in `models`"),
            );
        }
    }
    let records = open_records(&config).await?;
    let cancel = interruption();
    let measured = measure(&config, &records, &measurement, &cancel).await?;
    if measured.is_empty() {
        return Err(
            Failure::bad_input("no route of this configuration has a suite")
                .hint("give one `quality: {suite: FILE}` in `models`"),
        );
    }
    show(&config, &measured, arguments.format);
    Ok(ExitCode::SUCCESS)
}

/// Measures, puts the scores on record and returns them.
pub(super) async fn measure(
    config: &Config,
    records: &Records,
    measurement: &Measurement,
    cancel: &CancellationToken,
) -> Result<Vec<Measured>, Failure> {
    let suites = targets_by_suite(config, &measurement.routes);
    let share = Usd::from_pico(measurement.budget.pico() / suites.len().max(1) as i64);
    let mut all = Vec::new();
    for (path, targets) in suites {
        let measured = by_suite(config, &path, &targets, (measurement.rows, share), cancel).await?;
        for one in &measured {
            let Ok(score) = &one.score else { continue };
            let value = serde_json::to_value(score)
                .map_err(|error| Failure::bug("a score does not serialise").caused_by(error))?;
            records
                .note_fact(&one.target, &fact_name(&one.suite), &value)
                .await
                .map_err(|error| {
                    Failure::failed("the score cannot be put on record").caused_by(error)
                })?;
        }
        all.extend(measured);
    }
    Ok(all)
}

/// The targets of each suite, in the order of the file. A suite that two routes share is asked once.
fn targets_by_suite(config: &Config, routes: &[String]) -> BTreeMap<PathBuf, Vec<String>> {
    let mut suites: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let wanted = |route: &&RouteConfig| {
        !route.name.starts_with(distill_proxy::task::PREFIX)
            && (routes.is_empty() || routes.contains(&route.name))
    };
    for route in config.routes.iter().filter(wanted) {
        let Some(quality) = &route.quality else {
            continue;
        };
        let targets = suites.entry(quality.suite.clone()).or_default();
        for member in &route.members {
            if !targets.contains(&member.target) {
                targets.push(member.target.clone());
            }
        }
    }
    suites
}

async fn by_suite(
    config: &Config,
    path: &Path,
    targets: &[String],
    (rows, budget): (Option<u64>, Usd),
    cancel: &CancellationToken,
) -> Result<Vec<Measured>, Failure> {
    let mut spec = read_suite(path)?;
    spec.limit = rows.map(|rows| rows as usize).or(spec.limit);
    spec.budget_usd = Some(budget.dollars());
    spec.confidence = config.quality.confidence;
    let home = Folder::make()?;
    let data = environment::reader()("DISTILL_DATA_DIR").map(PathBuf::from);
    let suite = Suite::open(spec, path, &home.0, data)?;
    let mut keys = BTreeMap::new();
    let models: Vec<(String, Result<ModelSpec, String>)> = targets
        .iter()
        .map(|target| (target.clone(), model(config, target, &mut keys)))
        .collect();
    let asked: Vec<ModelSpec> = models
        .iter()
        .filter_map(|(_, model)| model.clone().ok())
        .collect();
    let teachers = Teachers::new(&home.0, with_keys(keys));
    let context = StepContext::new(
        RunId::new(SystemClock.now(), 0),
        "eval",
        cancel.clone(),
        Arc::new(|_| ()),
    );
    let mut answers: Vec<Answers> = Vec::new();
    let mut problems = BTreeMap::new();
    for (target, model) in &models {
        let answered = match model {
            Err(problem) => Err(problem.clone()),
            Ok(model) => {
                let answerer = Answerer::Model(model.clone());
                suite
                    .answer(&answerer, &asked, &teachers, &context)
                    .await
                    .map_err(|failure| in_words(&Failure::from(failure)))
            }
        };
        if cancel.is_cancelled() {
            return Err(StepFailure::interrupted().into());
        }
        match answered {
            Ok(mut answered) => {
                answered.answerer = Answerer::Model(named_as(target));
                answers.push(answered);
            }
            Err(problem) => {
                problems.insert(target.clone(), problem);
            }
        }
    }
    let summary = suite
        .summarise(&mut answers, env!("CARGO_PKG_VERSION"), &teachers, &context)
        .await?;
    let simulated = |target: &str| {
        answers
            .iter()
            .any(|one| one.simulated && one.answerer.name() == target)
    };
    Ok(targets
        .iter()
        .map(|target| Measured {
            suite: path.to_owned(),
            target: target.clone(),
            score: match problems.remove(target) {
                Some(problem) => Err(problem),
                None => score(&summary, target, simulated(target)),
            },
        })
        .collect())
}

fn read_suite(path: &Path) -> Result<SuiteSpec, Failure> {
    let text = environment::read_text(path).map_err(|error| {
        Failure::bad_input(format!("the suite `{}` cannot be read", path.display()))
            .caused_by(error)
    })?;
    let mut spec = parse_suite(&path.display().to_string(), &text)
        .map_err(|findings| Failure::findings(check::render(&findings)))?;
    // Who is compared here are the members of the route.
    spec.answers.clear();
    spec.models.clear();
    Ok(spec)
}

/// Rows without a score beyond this share are an outage, and no judgement of quality.
const MOST_UNSCORED: f64 = 0.2;

/// What the suite's main scorer says of a target.
fn score(summary: &Summary, target: &str, simulated: bool) -> Result<Score, String> {
    let scorer = summary
        .scorers
        .first()
        .ok_or_else(|| "the suite has no scorer".to_owned())?;
    if scorer.direction == Direction::Lower {
        return Err(format!(
            "`{}` is better when it is lower; put a scorer first that is better when it is higher",
            scorer.name
        ));
    }
    let value_of = |name: &str| {
        let place = summary.answerers.iter().position(|one| one.name == name)?;
        let value = scorer.values.get(place)?;
        let all = (value.n + value.unscored) as f64;
        (value.unscored as f64 <= MOST_UNSCORED * all)
            .then_some(value.value?)
            .map(|mean| (mean, value.n, value.unscored))
    };
    let (mean, rows, unscored) = value_of(target).ok_or_else(|| {
        "more than a fifth of the rows have no score, so nothing is said of its quality".to_owned()
    })?;
    let best = summary
        .answerers
        .iter()
        .filter_map(|one| Some((one.name.clone(), value_of(&one.name)?.0)))
        .max_by(|left, right| left.1.total_cmp(&right.1));
    let against_best = best
        .filter(|(name, _)| name != target)
        .and_then(|(best, _)| against(scorer, target, &best));
    Ok(Score {
        score: mean,
        scorer: scorer.name.clone(),
        rows: rows as u64,
        unscored: unscored as u64,
        simulated,
        against_best,
    })
}

/// The paired difference of a target and the best, whichever way round it was computed.
fn against(
    scorer: &distill_steps::suite::ScorerFigures,
    target: &str,
    best: &str,
) -> Option<Against> {
    scorer.comparisons.iter().find_map(|pair| {
        let sign = match (pair.candidate.as_str(), pair.baseline.as_str()) {
            (candidate, baseline) if candidate == target && baseline == best => 1.0,
            (candidate, baseline) if candidate == best && baseline == target => -1.0,
            _ => return None,
        };
        let interval = pair.interval.as_ref()?;
        let ends = [sign * interval.low, sign * interval.high];
        Some(Against {
            best: best.to_owned(),
            difference: sign * pair.difference?,
            low: ends[0].min(ends[1]),
            high: ends[0].max(ends[1]),
        })
    })
}

/// A target as the gateway's client asks it, or why it cannot be asked from here.
fn model(
    config: &Config,
    target: &str,
    keys: &mut BTreeMap<String, String>,
) -> Result<ModelSpec, String> {
    let (name, model) = target
        .split_once('/')
        .ok_or_else(|| format!("`{target}` is no target"))?;
    let vendor = config
        .vendor(name)
        .ok_or_else(|| format!("there is no vendor `{name}`"))?;
    if vendor.base_url.is_none() && !vendor.row.simulated {
        return Err("a released student is measured by the report of its run".to_owned());
    }
    if !vendor.headers.is_empty() {
        return Err("its vendor needs headers, which an eval does not send".to_owned());
    }
    let moved = vendor.base_url.as_deref() != vendor.row.base_url;
    let variable = vendor.key.as_ref().map(|key| {
        let variable = format!("DISTILL_PROXY_VENDOR_{}", keys.len());
        keys.insert(variable.clone(), key.expose().to_owned());
        variable
    });
    let (input, output) = price(config, vendor, model).unzip();
    Ok(ModelSpec {
        vendor: vendor.row.name.to_owned(),
        model: model.to_owned(),
        base_url: vendor.base_url.clone().filter(|_| moved),
        api_key_env: variable,
        input_usd_per_million: input,
        output_usd_per_million: output,
    })
}

/// What the configuration says a million tokens cost; `None`: what the client knows itself.
fn price(config: &Config, vendor: &VendorConfig, model: &str) -> Option<(f64, f64)> {
    let own = vendor
        .model(model)
        .and_then(|known| known.price.as_ref())
        .or(vendor.price.as_ref())
        .map(|price| price.0.clone());
    let today = date_of_days(prices::today());
    let table = || {
        let row = config.prices.find(vendor.row.name, model, Some(&today))?;
        (!vendor.row.local && !vendor.row.simulated).then(|| row.price())
    };
    let price = own.or_else(table)?;
    let million = |usd: Usd| (usd * 1_000_000).dollars();
    Some((million(price.base.input), million(price.base.output)))
}

/// A model that results call as the configuration does.
fn named_as(target: &str) -> ModelSpec {
    let (vendor, model) = target.split_once('/').unwrap_or((target, ""));
    ModelSpec {
        vendor: vendor.to_owned(),
        model: model.to_owned(),
        base_url: None,
        api_key_env: None,
        input_usd_per_million: None,
        output_usd_per_million: None,
    }
}

/// The process's environment with the keys of the configuration under names of their own.
fn with_keys(keys: BTreeMap<String, String>) -> Environment {
    let reader = environment::reader();
    Arc::new(move |name| keys.get(name).cloned().or_else(|| reader(name)))
}

/// A folder of this measurement alone: answers of an earlier one would hide that a model changed.
struct Folder(PathBuf);

impl Folder {
    fn make() -> Result<Self, Failure> {
        let name = format!("{}-{}", Clock::System.now_ms(), std::process::id());
        let path = environment::home_path().join("quality").join(name);
        fs::create_dir_all(&path).map_err(|error| {
            Failure::failed(format!("cannot make {}", path.display())).caused_by(error)
        })?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind takes a little room and is never read again.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn show(config: &Config, measured: &[Measured], format: Format) {
    let standing = |one: &Measured| -> Vec<(String, Option<String>)> {
        let Ok(score) = &one.score else {
            return Vec::new();
        };
        config
            .routes
            .iter()
            .filter(|route| !route.name.starts_with(distill_proxy::task::PREFIX))
            .filter(|route| {
                route
                    .members
                    .iter()
                    .any(|member| member.target == one.target)
            })
            .filter_map(|route| Some((route, route.quality.as_ref()?)))
            .filter(|(_, quality)| quality.suite == one.suite)
            .map(|(route, quality)| match judge(score, quality) {
                Standing::Good => (route.name.clone(), None),
                Standing::Demoted(why) => (route.name.clone(), Some(why)),
            })
            .collect()
    };
    if format == Format::Json {
        let list: Vec<_> = measured
            .iter()
            .map(|one| {
                json!({
                    "suite": one.suite.display().to_string(),
                    "target": one.target,
                    "score": one.score.as_ref().ok(),
                    "problem": one.score.as_ref().err(),
                    "routes": standing(one).into_iter().map(|(route, demoted)| json!({
                        "route": route, "demoted": demoted,
                    })).collect::<Vec<_>>(),
                })
            })
            .collect();
        println!("{:#}", json!(list));
        return;
    }
    let width = measured
        .iter()
        .map(|one| one.target.len())
        .max()
        .unwrap_or(0);
    let mut suite = None;
    for one in measured {
        if suite != Some(&one.suite) {
            println!("{}", one.suite.display());
            suite = Some(&one.suite);
        }
        match &one.score {
            Err(problem) => println!("  {:width$}  not measured: {problem}", one.target),
            Ok(score) => println!(
                "  {:width$}  {} {:.3} on {} rows{}",
                one.target,
                score.scorer,
                score.score,
                score.rows,
                if score.simulated { "  SIMULATED" } else { "" }
            ),
        }
        for (route, demoted) in standing(one) {
            if let Some(why) = demoted {
                println!("  {:width$}  asked last in `{route}`: it {why}", "");
            }
        }
    }
}
