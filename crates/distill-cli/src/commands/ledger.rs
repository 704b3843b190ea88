//! Which ledger a command is about.

use std::path::{Path, PathBuf};

use clap::Args;
use distill_ledger::{LedgerError, Records, Store};
use distill_proxy::config::{Config, Day, PersonConfig, Sources, StoreConfig};
use distill_steps::prices;

use crate::{environment, failure::Failure};

/// Names a ledger where the command line does not.
const VARIABLE: &str = "DISTILL_LEDGER";

#[derive(Debug, Args)]
pub(crate) struct LedgerArguments {
    #[arg(
        long,
        value_name = "FILE|URL",
        help = "The ledger: a file, or a postgres:// address [default: $DISTILL_LEDGER, else what the configuration says]"
    )]
    ledger: Option<String>,
    /// The proxy's configuration [default: proxy.yaml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A ledger, and the people that the configuration beside it names.
pub(crate) struct Found {
    pub(crate) records: Records,
    pub(crate) people: Vec<PersonConfig>,
}

impl LedgerArguments {
    /// Opens the ledger. `make`: also where there is none yet.
    pub(crate) async fn open(&self, make: bool) -> Result<Found, Failure> {
        let (store, people) = self.find()?;
        if let Store::Sqlite(path) = &store
            && !make
            && !path.exists()
        {
            return Err(Failure::bad_input(format!(
                "there is no ledger at {}",
                path.display()
            ))
            .hint("`distill proxy` makes one; name another with `--ledger FILE` or `--config FILE`"));
        }
        let records = Records::open(&store).await.map_err(failure)?;
        Ok(Found { records, people })
    }

    /// How long a stop holds by the configuration; `None`: until it is lifted.
    pub(crate) fn stop_for(&self) -> Result<Option<std::time::Duration>, Failure> {
        let path = super::proxy::config_path(self.config.as_deref());
        if self.config.is_none() && !path.exists() {
            return Ok(None);
        }
        read(&path).map(|config| config.spend.stop_for)
    }

    fn find(&self) -> Result<(Store, Vec<PersonConfig>), Failure> {
        let named = self
            .ledger
            .clone()
            .or_else(|| environment::reader()(VARIABLE));
        let path = super::proxy::config_path(self.config.as_deref());
        let config = if self.config.is_some() || path.exists() {
            Some(read(&path))
        } else {
            None
        };
        match (named, config) {
            // People are a convenience: a file that is wrong does not matter to who names a ledger.
            (Some(named), config) => {
                let people = config.and_then(Result::ok).map(|config| config.people);
                Ok((Store::from_text(&named), people.unwrap_or_default()))
            }
            (None, Some(config)) => {
                let config = config?;
                let store = match config.ledger {
                    StoreConfig::Sqlite(path) => Store::Sqlite(path),
                    StoreConfig::Postgres(address) => Store::Postgres(address),
                };
                Ok((store, config.people))
            }
            (None, None) => {
                let path = environment::home_path().join("proxy.db");
                Ok((Store::Sqlite(path), Vec::new()))
            }
        }
    }
}

fn read(path: &Path) -> Result<Config, Failure> {
    let text = environment::read_text(path).map_err(|error| {
        Failure::bad_input(format!("cannot read {}", path.display())).caused_by(error)
    })?;
    let reader = environment::reader();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Config::look_at(
        &path.display().to_string(),
        &text,
        &Sources {
            environment: &|name| reader(name),
            folder,
            state: &environment::home_path(),
            today: Day(prices::today()),
            prices: None,
        },
    )
    .map_err(|findings| Failure::findings(super::check::render(&findings)))
}

/// What a failure of the ledger looks like.
pub(crate) fn failure(error: LedgerError) -> Failure {
    let hint = error.hint();
    let failure = match &error {
        LedgerError::Unknown { .. } | LedgerError::Address { .. } => {
            Failure::bad_input(error.to_string())
        }
        _ => Failure::failed("the ledger cannot be used").caused_by(error),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Milliseconds since 1970 of a date (`2026-01-31`, its beginning in UTC) or of so long before or
/// after now (`30d`, `12h`, `90m`, `2w`).
pub(crate) fn moment(text: &str, now_ms: i64, ahead: bool) -> Result<i64, Failure> {
    if let Some(days) = distill_gateway::days_of_date(text) {
        return Ok(days * 86_400_000);
    }
    let wrong = || {
        Failure::bad_input(format!("`{text}` is no time"))
            .hint("write a date like 2026-01-31, or a span like 30d, 12h, 90m, 2w")
    };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let count: i64 = text
        .strip_suffix(unit)
        .and_then(|count| count.parse().ok())
        .filter(|count| (0..100_000).contains(count))
        .ok_or_else(wrong)?;
    let milliseconds = count
        * match unit {
            'm' => 60_000,
            'h' => 3_600_000,
            'd' => 86_400_000,
            'w' => 7 * 86_400_000,
            _ => return Err(wrong()),
        };
    Ok(if ahead {
        now_ms + milliseconds
    } else {
        now_ms - milliseconds
    })
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn a_time_is_a_date_or_a_span() {
        let day = 86_400_000;
        assert_eq!(moment("1970-01-03", 0, false).unwrap(), 2 * day);
        assert_eq!(moment("30d", 40 * day, false).unwrap(), 10 * day);
        assert_eq!(moment("2w", 0, true).unwrap(), 14 * day);
        assert_eq!(moment("90m", 0, true).unwrap(), 5_400_000);
        for wrong in ["", "d", "30", "30x", "-1d", "2026-13-01", "ü"] {
            assert!(moment(wrong, 0, false).is_err(), "{wrong}");
        }
    }
}
