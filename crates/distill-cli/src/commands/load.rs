//! Reads a pipeline file and compiles it: the first two stages of every command that takes one.

use std::{fs, path::Path};

use distill_steps::Compiled;

use crate::{environment, failure::Failure};

/// A pipeline that can be planned and run.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) compiled: Compiled,
}

impl Job {
    /// Reads, checks and compiles a pipeline file.
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::bad_input(format!("the pipeline `{}` cannot be read", path.display()))
                .caused_by(error)
                .hint("`distill init your.csv` makes one; pipelines/quickstart.yaml is an example")
        })?;
        let spec = distill_steps::parse_spec(&path.display().to_string(), &text)
            .map_err(|findings| Failure::findings(super::check::render(&findings)))?;
        let compiled = distill_steps::compile(
            &spec,
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
