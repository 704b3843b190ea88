//! `distill export`: a student as PEFT and transformers open it.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use distill_runner::RunReading;
use distill_steps::{gate::students, models, suite::bundle_of_run};
use distill_student::{
    bundle::{
        Manifest, StudentManifest,
        export::{Export, ExportForm, Exported, export},
    },
    embedded,
    weights::Precision,
};

use super::{recorded::reading, rollback::registry, run::read_report};
use crate::{environment, failure::Failure};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill export latest --student nano --out nano-adapter\n  distill export latest --student Qwen/Qwen3-0.6B --merge --out merged\n  distill export support --out whole --format hf --precision bf16\n\nAn adapter is written for PEFT (adapter_config.json, adapter_model.safetensors); everything else, and an\nadapter with --merge, as a model for transformers. A linear student has no form that others open."
)]
pub(crate) struct ExportArguments {
    /// The run (its id, the start of it, or `latest`), a student's folder, or a route with a release
    #[arg(default_value = "latest")]
    run: String,
    /// The student of the run [default: the one the report recommends, or the only one there is]
    #[arg(long)]
    student: Option<String>,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Add an adapter into its base and write a whole model: the same as --format hf
    #[arg(long, conflicts_with = "format")]
    merge: bool,
    /// Form of the files [default: peft for an adapter, hf for all else]
    #[arg(long, value_enum)]
    format: Option<FileFormat>,
    /// Type of a whole model's numbers [default: as its base stores them]
    #[arg(long, value_enum)]
    precision: Option<FilePrecision>,
    /// Replace an earlier export in that folder
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FileFormat {
    /// PEFT's adapter directory
    Peft,
    /// A model's directory as transformers saves it
    Hf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FilePrecision {
    F32,
    Bf16,
}

/// A student's directory, and where it comes from.
struct Source {
    bundle: PathBuf,
    origin: Vec<(String, String)>,
}

pub(crate) fn execute(arguments: &ExportArguments) -> Result<ExitCode, Failure> {
    let source = find(arguments)?;
    let manifest = Manifest::read(&source.bundle).map_err(|error| {
        Failure::bad_input(format!(
            "`{}` is no student's folder",
            source.bundle.display()
        ))
        .caused_by(error)
    })?;
    let base = base(&manifest);
    let licence = base.and_then(|base| models::licence(base, &environment::reader()));
    let form = match (arguments.merge, arguments.format) {
        (true, _) | (_, Some(FileFormat::Hf)) => Some(ExportForm::Model),
        (_, Some(FileFormat::Peft)) => Some(ExportForm::Adapter),
        (false, None) => None,
    };
    let request = Export {
        bundle: &source.bundle,
        to: &arguments.out,
        form,
        precision: arguments.precision.map(|precision| match precision {
            FilePrecision::F32 => Precision::F32,
            FilePrecision::Bf16 => Precision::Bf16,
        }),
        replace: arguments.force,
        origin: &source.origin,
        licence: licence.as_deref(),
    };
    let exported = export(&request, &embedded::bases()).map_err(|error| {
        let failure =
            Failure::bad_input(format!("the student `{}` was not exported", manifest.name));
        let hint = error.hint();
        let failure = failure.caused_by(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    show(arguments, &manifest, base, &exported);
    Ok(ExitCode::SUCCESS)
}

fn base(manifest: &Manifest) -> Option<&str> {
    match &manifest.student {
        StudentManifest::Linear(_) => None,
        StudentManifest::Encoder(encoder) => Some(&encoder.base),
        StudentManifest::Decoder(decoder) => Some(&decoder.base),
    }
}

/// Finds the student that is meant: a folder, a run's, or a route's.
fn find(arguments: &ExportArguments) -> Result<Source, Failure> {
    let text = &arguments.run;
    let folder = PathBuf::from(text);
    if folder.join("manifest.json").is_file() {
        return Ok(Source {
            bundle: folder,
            origin: Vec::new(),
        });
    }
    let home = environment::home()?;
    let found = match reading(&home, text) {
        Ok(found) => found,
        Err(failure) => return released(text)?.ok_or_else(|| {
            failure.hint("`distill runs` lists the runs; a folder with a student's manifest.json and a route with a release are taken as well")
        }),
    };
    let student = match &arguments.student {
        Some(student) => student.clone(),
        None => only_student(&home, &found)?,
    };
    let bundle = bundle_of_run(&home, &found.view, &student)?;
    let origin = [
        ("run", found.header.run.to_string()),
        ("pipeline", found.header.pipeline.clone()),
        ("student of the run", student),
        ("made by", format!("distill {}", found.header.version)),
    ];
    Ok(Source {
        bundle,
        origin: origin.map(|(what, which)| (what.to_owned(), which)).into(),
    })
}

/// The student that answers on a route; none where there is no such route.
fn released(route: &str) -> Result<Option<Source>, Failure> {
    let registry = registry();
    let Ok(found) = registry.route(route) else {
        return Ok(None);
    };
    let Some(release) = found.current() else {
        return match found.releases.last() {
            None => Ok(None),
            Some(_) => Err(Failure::bad_input(format!(
                "nothing is released on route `{route}` now"
            ))
            .hint("name the run that made the student")),
        };
    };
    let origin = [
        ("release", &release.id),
        ("run", &release.run),
        ("student of the run", &release.student),
    ];
    Ok(Some(Source {
        bundle: registry.bundle(release),
        origin: origin
            .map(|(what, which)| (what.to_owned(), which.clone()))
            .into(),
    }))
}

/// The student that the run recommends where it is one of a transformer's, or the only such one.
fn only_student(home: &distill_runner::Home, found: &RunReading) -> Result<String, Failure> {
    let opens = |name: &String| {
        let folder = bundle_of_run(home, &found.view, name).ok();
        let manifest = folder.and_then(|folder| Manifest::read(&folder).ok());
        manifest.is_some_and(|manifest| base(&manifest).is_some())
    };
    let report = read_report(home, &found.view).ok();
    let recommended = report.and_then(|report| report.recommendation.choice);
    if let Some(choice) = recommended.filter(opens) {
        return Ok(choice);
    }
    let names: Vec<String> = students(&found.view).into_iter().filter(opens).collect();
    match &names[..] {
        [one] => Ok(one.clone()),
        [] => Err(Failure::bad_input(format!(
            "run `{}` has no student that other programs could open",
            found.header.run
        ))
        .hint("a linear student has no weights of a transformer: `distill deploy` serves it")),
        _ => Err(
            Failure::bad_input("the run has several students and recommends none of them")
                .hint(format!("name one with `--student`: {}", names.join(", "))),
        ),
    }
}

fn show(arguments: &ExportArguments, manifest: &Manifest, base: Option<&str>, exported: &Exported) {
    let form = match exported.form {
        ExportForm::Adapter => "adapter for PEFT",
        ExportForm::Model => "model for transformers",
    };
    println!("{}", arguments.out.display());
    eprintln!("  student   {}, {form}", manifest.name);
    if let Some(base) = base {
        eprintln!("  base      {base}");
    }
    let bytes: u64 = exported.files.iter().map(|(_, bytes)| bytes).sum();
    eprintln!(
        "  files     {}, {:.1} MB",
        exported.files.len(),
        bytes as f64 / 1e6
    );
    if let Some(rows) = exported.proved_rows {
        eprintln!("  proved    read back, it answers {rows} golden rows as the student does");
    }
    for note in &exported.notes {
        eprintln!("  note      {note}");
    }
    eprintln!("  open it   as its README.md says");
}
