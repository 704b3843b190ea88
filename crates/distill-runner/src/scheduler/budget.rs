//! What the steps of a run may use at the same time.

use distill_pipeline::graph::Resources;

/// What the steps of a run may use at the same time. A step that asks for more than there is runs
/// when nothing else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub cpu: u32,
    /// `None`: not watched.
    pub memory_mb: Option<u64>,
}

impl Default for Budget {
    /// All cores of this machine.
    fn default() -> Self {
        let cores = std::thread::available_parallelism();
        let cpu = cores.map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
        Self {
            cpu,
            memory_mb: None,
        }
    }
}

/// What is free of a budget.
#[derive(Debug)]
pub(super) struct Slots {
    all: Budget,
    cpu: u32,
    memory_mb: u64,
}

impl Slots {
    pub(super) fn new(all: Budget) -> Self {
        Self {
            all,
            cpu: all.cpu,
            memory_mb: all.memory_mb.unwrap_or(u64::MAX),
        }
    }

    /// Takes what a step needs, all or nothing.
    pub(super) fn take(&mut self, needs: &Resources) -> bool {
        let (cpu, memory_mb) = self.share(needs);
        let fits = cpu <= self.cpu && memory_mb <= self.memory_mb;
        if fits {
            self.cpu -= cpu;
            self.memory_mb -= memory_mb;
        }
        fits
    }

    pub(super) fn give(&mut self, needs: &Resources) {
        let (cpu, memory_mb) = self.share(needs);
        self.cpu += cpu;
        self.memory_mb += memory_mb;
    }

    /// A step counts for no more than there is, so that it can run at all.
    fn share(&self, needs: &Resources) -> (u32, u64) {
        let memory_mb = match self.all.memory_mb {
            Some(all) => needs.memory_mb.min(all),
            None => 0,
        };
        (needs.cpu.min(self.all.cpu), memory_mb)
    }
}
