//! `distill deploy`: releases a run's student after its gate is met as it will be served.

use std::{path::Path, process::ExitCode};

use distill_eval::Decision;
use distill_pipeline::record::RunId;
use distill_runner::{Clock as _, Home, SystemClock};
use distill_serve::{Despite, GateRecord, Release};
use distill_steps::gate::{Gate, is_met};
use distill_student::{bundle::Bundle, embedded};
use serde_json::json;

use super::{recorded::reading, rollback::registry, run::read_report};
use crate::{
    arguments::{DeployArguments, Format},
    environment,
    failure::{Failure, exit},
};

pub(crate) async fn execute(arguments: &DeployArguments) -> Result<ExitCode, Failure> {
    let home = environment::home()?;
    let reading = reading(&home, &arguments.run)?;
    let run = reading.header.run.clone();
    let student = match &arguments.student {
        Some(student) => student.clone(),
        None => recommended(&home, &reading.view)?,
    };
    let gate = Gate::of_run(&home, &reading.view, &student).map_err(Failure::from)?;
    let rows = gate.rows();
    let bundle = Bundle::open(&gate.bundle, &embedded::bases()).map_err(|error| {
        Failure::failed(format!("the bundle of `{student}` cannot be served"))
            .caused_by(error)
            .hint("run the pipeline again: what is damaged is put aside and made again")
    })?;
    eprintln!("asking {student} about {rows} test rows as it will be served");
    let (folder, bundle_hash) = (gate.bundle.clone(), gate.bundle_hash.clone());
    let served = bundle.into_student();
    let verdict = gate
        .judge(&served, &mut |_| {})
        .await
        .map_err(Failure::from)?;
    let record = record(arguments, is_met(&verdict), &verdict.reason)?;
    let release = Release {
        id: format!("{}-{}", run, &bundle_hash[..8]),
        route: arguments
            .route
            .clone()
            .unwrap_or_else(|| reading.header.pipeline.clone()),
        student,
        run: run.to_string(),
        bundle: bundle_hash,
        released_at: SystemClock.now().to_string(),
        gate: record,
    };
    let Some(release) = unique(release, &folder)? else {
        eprintln!("this release answers already");
        return Ok(ExitCode::SUCCESS);
    };
    if !release.gate.met && release.gate.despite.is_none() {
        eprintln!("not released: {}", release.gate.reason);
        eprintln!(
            "  help: `--despite-gate REASON` releases it all the same, and records who and why"
        );
        return Ok(ExitCode::from(exit::GATE));
    }
    registry()
        .release(release.clone(), &folder)
        .map_err(|error| {
            Failure::failed("the release could not be made; what was released before still answers")
                .caused_by(error)
        })?;
    show(arguments, &release, &run);
    Ok(ExitCode::SUCCESS)
}

fn recommended(home: &Home, view: &distill_pipeline::record::RunView) -> Result<String, Failure> {
    let report = read_report(home, view)?;
    let decision = report.recommendation.verdict.decision;
    if let (Some(choice), Decision::Cascade { .. } | Decision::CheaperApi) =
        (&report.recommendation.choice, decision)
    {
        let what = if decision == Decision::CheaperApi {
            "a hosted model of another name, which no release can serve"
        } else {
            "a student that asks the teacher on the rows it is not sure of, and a release serves a student that answers alone"
        };
        return Err(Failure::bad_input(format!(
            "the run recommends {choice} ({decision}): {what}"
        ))
        .hint("`--student NAME` releases a student alone, if it meets the gate alone"));
    }
    report.recommendation.choice.ok_or_else(|| {
        Failure::bad_input(format!(
            "the run recommends no student: {}",
            report.recommendation.reason
        ))
        .hint("`--student NAME --despite-gate REASON` releases one all the same")
    })
}

fn record(arguments: &DeployArguments, met: bool, reason: &str) -> Result<GateRecord, Failure> {
    let despite = match &arguments.despite_gate {
        Some(why) if !met => {
            if why.trim().is_empty() {
                return Err(Failure::bad_input("`--despite-gate` needs a reason"));
            }
            let who = environment::reader()("USER").unwrap_or_else(|| "unknown".to_owned());
            Some(Despite {
                who,
                why: why.clone(),
            })
        }
        _ => None,
    };
    Ok(GateRecord {
        met,
        reason: reason.to_owned(),
        despite,
    })
}

/// The release with an id of its own, or none where the same bundle answers already from a copy
/// that is whole.
fn unique(mut release: Release, bundle: &Path) -> Result<Option<Release>, Failure> {
    let unusable = |error| {
        Failure::bad_input(format!("route `{}` cannot be used", release.route)).caused_by(error)
    };
    let registry = registry();
    let route = registry.route(&release.route).map_err(unusable)?;
    if let Some(current) = route.current()
        && current.bundle == release.bundle
        && registry.is_intact(current, bundle).map_err(unusable)?
    {
        return Ok(None);
    }
    let again = route
        .releases
        .iter()
        .filter(|earlier| earlier.id.starts_with(&release.id))
        .count();
    if again > 0 {
        release.id = format!("{}-{}", release.id, again + 1);
    }
    Ok(Some(release))
}

fn show(arguments: &DeployArguments, release: &Release, run: &RunId) {
    if arguments.format == Format::Json {
        println!("{}", json!(release));
        return;
    }
    println!(
        "released {} of run {run} on route {}",
        release.student, release.route
    );
    println!("  gate      {}", release.gate.reason);
    if let Some(despite) = &release.gate.despite {
        println!("  DESPITE   its gate, by {}: {}", despite.who, despite.why);
    }
    println!("  serve     distill serve");
    println!("  undo      distill rollback {}", release.route);
}
