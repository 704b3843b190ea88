//! What answers take from the wall: the processor's counters where they can be read.
//!
//! RAPL counts the microjoules of a processor package in a register that starts again from zero;
//! Linux shows it as `energy_uj` below `/sys/class/powercap`, to root alone on most machines. The
//! graphics card's own counter (NVML) is not read.

use std::path::{Path, PathBuf};

use distill_report::{EnergyFacts, EnergySource};
use serde::{Deserialize, Serialize};

/// Where Linux shows the counters.
pub(super) const POWERCAP: &str = "/sys/class/powercap";
const JOULES_PER_WATT_HOUR: f64 = 3600.0;

/// The packages of this machine.
pub(super) struct Rapl {
    packages: Vec<Package>,
}

struct Package {
    energy: PathBuf,
    /// The value after which the counter starts again, in microjoules.
    range: u64,
}

impl Rapl {
    /// Finds the packages below `root`.
    ///
    /// # Errors
    /// Why there is nothing to read, as a report says it.
    pub(super) fn open(root: &Path) -> Result<Self, String> {
        let none = || "this machine shows no RAPL counters".to_owned();
        let mut folders: Vec<PathBuf> = std::fs::read_dir(root)
            .map_err(|_| none())?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| is_package(path))
            .collect();
        folders.sort();
        if folders.is_empty() {
            return Err(none());
        }
        let packages = folders
            .iter()
            .map(|folder| {
                let energy = folder.join("energy_uj");
                number(&energy)
                    .and(number(&folder.join("max_energy_range_uj")))
                    .map(|range| Package { energy, range })
            })
            .collect::<Option<Vec<_>>>()
            .ok_or("the RAPL counters may be read by root alone")?;
        Ok(Self { packages })
    }

    /// Every package's counter, in microjoules.
    pub(super) fn read(&self) -> Option<Vec<u64>> {
        self.packages
            .iter()
            .map(|package| number(&package.energy))
            .collect()
    }

    /// Joules between two readings, over at most one restart of each counter.
    pub(super) fn joules(&self, before: &[u64], after: &[u64]) -> Option<f64> {
        if before.len() != self.packages.len() || after.len() != self.packages.len() {
            return None;
        }
        let micro: u64 = self
            .packages
            .iter()
            .zip(before.iter().zip(after))
            .map(|(package, (before, after))| {
                if after >= before {
                    after - before
                } else {
                    (package.range.saturating_sub(*before)) + after
                }
            })
            .sum();
        Some(micro as f64 / 1e6)
    }
}

/// Whether the folder stands for a whole package: `intel-rapl:0`, not its part `intel-rapl:0:1`.
fn is_package(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_prefix("intel-rapl:"))
        .is_some_and(|number| !number.contains(':'))
        && std::fs::read_to_string(folder.join("name"))
            .is_ok_and(|name| name.starts_with("package"))
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A setting at which the machine was busy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Busy {
    pub completed: usize,
    pub seconds: f64,
    /// Of all packages; absent where no counter was read.
    pub joules: Option<f64>,
}

/// What there is to take energy from.
pub(super) enum Reading<'a> {
    Counters(Busy),
    None { why: &'a str, busiest: Option<Busy> },
}

/// Energy per 1,000 answers: counted, else estimated from the stated watts, else absent with the
/// reason.
pub(super) fn facts(arm: &str, reading: &Reading<'_>, stated: Option<f64>) -> EnergyFacts {
    let (busy, why) = match reading {
        Reading::Counters(busy) => (
            Some(*busy),
            "the counters could not be read in the meantime",
        ),
        Reading::None { why, busiest } => (*busiest, *why),
    };
    let busy = busy.filter(|busy| busy.completed > 0 && busy.seconds > 0.0);
    let of = |source, joules: f64, busy: Busy, method| EnergyFacts {
        arm: arm.to_owned(),
        source,
        watt_hours_per_1000: Some(joules / busy.completed as f64 * 1000.0 / JOULES_PER_WATT_HOUR),
        watts: Some(joules / busy.seconds),
        method,
    };
    match (busy, busy.and_then(|busy| busy.joules), stated) {
        (Some(busy), Some(joules), _) => of(
            EnergySource::Rapl,
            joules,
            busy,
            "RAPL, all processor packages, while the machine answered without pause; all that ran on it is in it".to_owned(),
        ),
        (Some(busy), None, Some(watts)) => of(
            EnergySource::StatedWatts,
            watts * busy.seconds,
            busy,
            format!("estimated: `cost.watts` times the measured seconds, because {why}"),
        ),
        _ => EnergyFacts {
            arm: arm.to_owned(),
            source: EnergySource::NotMeasured,
            watt_hours_per_1000: None,
            watts: None,
            method: match busy {
                None => "nothing was answered".to_owned(),
                Some(_) => format!("{why}, and `cost.watts` is not stated"),
            },
        },
    }
}
