//! What the process learns from outside: the one place that reads environment variables.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use distill_runner::Home;
use distill_steps::{prices::PRICES_VARIABLE, teacher::Environment};
use distill_student::regular_file;

use crate::failure::Failure;

/// A reader of environment variables, for libraries that read none themselves.
pub(crate) fn reader() -> Environment {
    Arc::new(|name| env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The same, with the price table that the command line names.
pub(crate) fn with_prices(path: Option<&Path>) -> Environment {
    let reader = reader();
    let Some(path) = path.map(|path| path.display().to_string()) else {
        return reader;
    };
    Arc::new(move |name| {
        if name == PRICES_VARIABLE {
            Some(path.clone())
        } else {
            reader(name)
        }
    })
}

/// Reads a text file that the user named. What has no end, such as a pipe, is refused at once.
pub(crate) fn read_text(path: &Path) -> std::io::Result<String> {
    regular_file::read_text(path, regular_file::LONGEST_TEXT)
}

/// Where state lives: `DISTILL_HOME`, or `.distill` in the current folder.
pub(crate) fn home_path() -> PathBuf {
    env::var_os("DISTILL_HOME").map_or_else(|| PathBuf::from(".distill"), PathBuf::from)
}

/// The system's folder for temporary files.
pub(crate) fn temporary() -> PathBuf {
    env::temp_dir()
}

/// Opens the state folder, making it where it is missing.
pub(crate) fn home() -> Result<Home, Failure> {
    let path = home_path();
    Home::open(&path).map_err(|error| {
        Failure::failed(format!(
            "the state folder `{}` cannot be used",
            path.display()
        ))
        .caused_by(error)
        .hint("point DISTILL_HOME at a folder that can be written")
    })
}

/// Whether a person watches standard error.
pub(crate) fn is_terminal() -> bool {
    use std::io::IsTerminal as _;
    std::io::stderr().is_terminal() && env::var_os("NO_PROGRESS").is_none()
}

/// Who is logged in, for the record of who did something.
pub(crate) fn person() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .iter()
        .find_map(|name| env::var(name).ok().filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "terminal".to_owned())
}
