//! Failures as the user meets them: one rendering, one table of exit codes.

use std::{error::Error, process::ExitCode};

use distill_pipeline::record::{FailureKind, FailureRecord};
use distill_runner::StepFailure;
use distill_steps::CompileError;

/// Exit codes by kind of outcome.
pub(crate) mod exit {
    /// A step or a command failed.
    pub(crate) const FAILED: u8 = 1;
    /// The command line, the spec or the data is wrong.
    pub(crate) const BAD_INPUT: u8 = 2;
    /// The run is done and its gate is not met.
    pub(crate) const GATE: u8 = 3;
    /// A fault of this program.
    pub(crate) const BUG: u8 = 101;
    /// Nobody read the output to its end.
    pub(crate) const NO_READER: u8 = 141;
    /// Stopped by the user; the state can be resumed.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// Why a command ended without its result.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    /// A message that is already laid out, such as a list of findings.
    laid_out: bool,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            laid_out: false,
        }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(exit::FAILED, message)
    }

    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Self::new(exit::BAD_INPUT, message)
    }

    pub(crate) fn bug(message: impl Into<String>) -> Self {
        Self::new(exit::BUG, message)
    }

    /// Findings that were laid out by their own renderer.
    pub(crate) fn findings(text: impl Into<String>) -> Self {
        Self {
            laid_out: true,
            ..Self::bad_input(text)
        }
    }

    pub(crate) fn caused_by(mut self, error: impl Error) -> Self {
        self.causes.push(error.to_string());
        let mut source = error.source();
        while let Some(error) = source {
            self.causes.push(error.to_string());
            source = error.source();
        }
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<FailureRecord> for Failure {
    fn from(record: FailureRecord) -> Self {
        let code = match record.kind {
            FailureKind::Failed | FailureKind::Budget => exit::FAILED,
            FailureKind::BadInput => exit::BAD_INPUT,
            FailureKind::Interrupted => exit::INTERRUPTED,
            FailureKind::Bug => exit::BUG,
        };
        Self {
            causes: record.causes,
            hint: record.hint,
            ..Self::new(code, record.message)
        }
    }
}

impl From<StepFailure> for Failure {
    fn from(failure: StepFailure) -> Self {
        failure.record().into()
    }
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Data(failure) => failure.into(),
            CompileError::Graph(findings) => {
                Self::bug("the steps of this pipeline do not fit together").caused_by(findings)
            }
        }
    }
}

/// A failure as it is shown.
pub(crate) fn in_words(failure: &Failure) -> String {
    use std::fmt::Write as _;
    let mut text = if failure.laid_out {
        failure.message.clone()
    } else {
        let causes: String = failure
            .causes
            .iter()
            .map(|cause| format!("  because: {cause}\n"))
            .collect();
        format!("error: {}\n{causes}", failure.message)
    };
    if let Some(hint) = &failure.hint {
        let _ = writeln!(text, "  help: {hint}");
    }
    text
}

/// Prints a failure to standard error and gives its exit code.
pub(crate) fn show(failure: &Failure) -> ExitCode {
    eprint!("{}", in_words(failure));
    ExitCode::from(failure.code)
}
