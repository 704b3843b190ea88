//! Reads a pipeline file and compiles it: the first two stages of every command that takes one.

use std::path::Path;

use distill_pipeline::spec::ResolvedSpec;
use distill_steps::Compiled;
use tokio_util::sync::CancellationToken;

use crate::{environment, failure::Failure};

/// A pipeline that can be planned and run.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) compiled: Compiled,
}

impl Job {
    /// Reads, checks and compiles a pipeline file. Downloads nothing.
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let (text, spec) = read(path)?;
        Self::compile(path, text, &spec)
    }

    /// The same, after the models of the hub that it names were fetched: one that cannot be had must
    /// not come to light after labels were paid for. `None` when the user stopped it.
    pub(super) async fn load_with_models(
        path: &Path,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, Failure> {
        let (text, spec) = read(path)?;
        for name in distill_steps::models::wanted(&spec, path, &environment::reader()) {
            if super::models::fetch_shown(&name, stop).await?.is_none() {
                return Ok(None);
            }
        }
        Self::compile(path, text, &spec).map(Some)
    }

    fn compile(path: &Path, text: String, spec: &ResolvedSpec) -> Result<Self, Failure> {
        let compiled = distill_steps::compile(
            spec,
            path,
            &environment::home_path(),
            &environment::reader(),
        )
        .map_err(Failure::from)?;
        Ok(Self {
            name: spec.name.clone(),
            text,
            compiled,
        })
    }
}

fn read(path: &Path) -> Result<(String, ResolvedSpec), Failure> {
    let text = environment::read_text(path).map_err(|error| {
        Failure::bad_input(format!("the pipeline `{}` cannot be read", path.display()))
            .caused_by(error)
            .hint("`distill init your.csv` makes one; pipelines/quickstart.yaml is an example")
    })?;
    let spec = distill_steps::parse_spec(&path.display().to_string(), &text)
        .map_err(|findings| Failure::findings(super::check::render(&findings)))?;
    Ok((text, spec))
}
