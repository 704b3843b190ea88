//! `curate: {command: [...]}`: a step of the user's own, in any language, with files in and out.
//!
//! The command is started with `DISTILL_INPUT` (JSON lines of `{id, fields, answer}`) and
//! `DISTILL_OUTPUT` (the file to write in the same form). Its own words go to the run's notes.

use std::{path::Path, process::Stdio};

use distill_pipeline::record::Level;
use distill_runner::{StepContext, StepFailure};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::rows::{Example, read_lines};

/// Lines of the command's own output that are kept as notes.
const MOST_NOTES: usize = 50;

/// A command of the user's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    clippy::unsafe_derive_deserialize,
    reason = "the lint reads select! of `run` as unsafe; the type holds plain data"
)]
pub struct External {
    /// Program and arguments; the program is looked up on the path.
    pub command: Vec<String>,
    /// The folder it runs in: the pipeline file's.
    pub folder: std::path::PathBuf,
}

impl External {
    /// Runs the command over the examples in `input` and checks what it wrote to `output`.
    ///
    /// # Errors
    /// A [`StepFailure`] when it does not start, ends with a failure, or writes something else.
    pub async fn run(
        &self,
        input: &Path,
        output: &Path,
        context: &StepContext,
    ) -> Result<Vec<Example>, StepFailure> {
        let program = self.command.join(" ");
        let mut child = Command::new(&self.command[0])
            .args(&self.command[1..])
            .current_dir(if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder })
            .env("DISTILL_INPUT", absolute(input)?)
            .env("DISTILL_OUTPUT", absolute(output)?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                StepFailure::bad_input(format!("the command `{program}` of `curate` does not start"))
                    .caused_by(error)
                    .hint("it runs in the pipeline file's folder; give a program on the path or a full path")
            })?;
        let mut lines =
            BufReader::new(child.stderr.take().expect("standard error is piped")).lines();
        let mut notes = 0;
        let status = loop {
            tokio::select! {
                () = context.cancel().cancelled() => return Err(StepFailure::interrupted()),
                line = lines.next_line() => match line {
                    Ok(Some(line)) if notes < MOST_NOTES => {
                        notes += 1;
                        context.note(Level::Info, line);
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break child.wait().await,
                },
            }
        };
        let status = status.map_err(|error| {
            StepFailure::failed(format!("the command `{program}` was lost")).caused_by(error)
        })?;
        if !status.success() {
            return Err(StepFailure::failed(format!(
                "the command `{program}` of `curate` ended with {status}"
            ))
            .hint("what it wrote to standard error is in the run's notes"));
        }
        if !output.exists() {
            return Err(StepFailure::bad_input(format!(
                "the command `{program}` of `curate` wrote no file"
            ))
            .hint(
                "it must write JSON lines of {id, fields, answer} to the path in DISTILL_OUTPUT",
            ));
        }
        read_lines(output)
    }
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, StepFailure> {
    std::path::absolute(path)
        .map_err(|error| StepFailure::failed("the current folder is gone").caused_by(error))
}
