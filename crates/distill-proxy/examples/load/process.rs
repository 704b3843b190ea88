//! What a process and its children use, from `/proc`.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A child that is ended with its own children when it is dropped.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let file = fs::File::create(log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        Self { child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(&mut self, patience: Duration) -> bool {
        drop(
            Command::new("kill")
                .args(["-TERM", &self.id().to_string()])
                .status(),
        );
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for id in family(self.id()).into_iter().skip(1) {
            drop(
                Command::new("kill")
                    .args(["-KILL", &id.to_string()])
                    .status(),
            );
        }
        self.kill();
    }
}

/// A process and all below it.
fn family(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(fields) = stat(id) {
            parents.push((id, fields[1].parse::<u32>().unwrap_or(0)));
        }
    }
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(
            parents
                .iter()
                .filter(|row| row.1 == parent)
                .map(|row| row.0),
        );
        at += 1;
    }
    found
}

/// The fields of `/proc/ID/stat` from the state on.
fn stat(id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let after = text.rsplit_once(") ")?.1;
    Some(after.split(' ').map(str::to_owned).collect())
}

/// Processor time of a process and its children so far, in milliseconds.
pub(crate) fn cpu_milliseconds(root: u32) -> f64 {
    // Scheduler time is counted in nanoseconds where the kernel tells; ticks are 10 ms.
    family(root)
        .into_iter()
        .map(|id| {
            let tasks = fs::read_dir(format!("/proc/{id}/task"));
            let exact: Option<f64> = tasks.ok().map(|tasks| {
                tasks
                    .flatten()
                    .filter_map(|task| {
                        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
                        text.split(' ').next()?.parse::<f64>().ok()
                    })
                    .sum::<f64>()
                    / 1e6
            });
            let ticks = stat(id).map_or(0.0, |fields| {
                let ticks = |at: usize| fields[at].parse::<f64>().unwrap_or(0.0);
                10.0 * (ticks(11) + ticks(12))
            });
            // Threads that ended are in the ticks only.
            exact
                .filter(|exact| *exact > 0.0 && ticks - exact < 50.0)
                .unwrap_or(ticks)
        })
        .sum()
}

/// Resident memory of a process and its children, in megabytes.
pub(crate) fn resident_megabytes(root: u32) -> f64 {
    family(root)
        .into_iter()
        .filter_map(|id| {
            let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse::<f64>().ok()
        })
        .sum::<f64>()
        / 1024.0
}

/// Open file handles of a process.
pub(crate) fn handles(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count)
}

/// Threads of a process.
pub(crate) fn threads(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/task")).map_or(0, Iterator::count)
}
