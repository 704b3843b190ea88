//! What this process has taken of the machine.

/// Processor time of all its threads, in seconds.
#[cfg(unix)]
pub(super) fn cpu_seconds() -> f64 {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Not measured on this system.
#[cfg(not(unix))]
pub(super) fn cpu_seconds() -> f64 {
    f64::NAN
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    pub(super) now: u64,
    /// The most that it ever was.
    pub(super) peak: u64,
}

/// None where the system does not tell.
pub(super) fn memory() -> Option<Memory> {
    // Of the program alone: the peak that `getrusage` tells begins at that of whoever started it.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kilobytes * 1024)
    };
    Some(Memory {
        now: bytes("VmRSS:")?,
        peak: bytes("VmHWM:")?,
    })
}
