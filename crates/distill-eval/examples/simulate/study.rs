//! Seeded draws, and what is required of the shares that they give.

use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use rayon::prelude::*;

/// How many draws, from which seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Study {
    pub(crate) draws: usize,
    pub(crate) seed: u64,
    /// How many Monte Carlo errors beyond its limit a share may lie.
    pub(crate) errors: f64,
}

impl Study {
    /// The mean over the draws of what `event` gives: a share when that is 0 or 1.
    ///
    /// Draw `i` of a cell has a generator of its own, so neither threads nor other cells change it.
    pub(crate) fn means<const N: usize>(
        &self,
        cell: &str,
        event: impl Fn(&mut ChaCha8Rng, u64) -> [f64; N] + Sync,
    ) -> [f64; N] {
        let seed = self.seed ^ fingerprint(cell);
        let drawn: Vec<[f64; N]> = (0..self.draws as u64)
            .into_par_iter()
            .map(|draw| {
                let mut generator = ChaCha8Rng::seed_from_u64(seed);
                generator.set_stream(draw);
                event(&mut generator, draw)
            })
            .collect();
        // Summed in the order of the draws, not of the threads.
        let mut sums = [0.0; N];
        for one in &drawn {
            for (sum, value) in sums.iter_mut().zip(one) {
                *sum += value;
            }
        }
        sums.map(|sum| sum / self.draws as f64)
    }

    /// The share of draws on which `event` holds.
    pub(crate) fn share(
        &self,
        cell: &str,
        event: impl Fn(&mut ChaCha8Rng, u64) -> bool + Sync,
    ) -> f64 {
        let [share] = self.means(cell, |generator, draw| {
            [f64::from(u8::from(event(generator, draw)))]
        });
        share
    }
}

/// FNV-1a.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// How many of `n` trials succeed.
pub(crate) fn binomial(generator: &mut ChaCha8Rng, n: usize, chance: f64) -> usize {
    (0..n).filter(|_| generator.random_bool(chance)).count()
}

/// What a share must keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    Within(f64, f64),
    AtLeast(f64),
    AtMost(f64),
    /// Shown for comparison; nothing is required of it.
    Shown,
}

impl Limit {
    /// Whether a share observed over so many draws keeps it, up to Monte Carlo errors.
    fn is_kept(self, observed: f64, draws: usize, errors: f64) -> bool {
        let slack = |limit: f64| errors * (limit * (1.0 - limit) / draws as f64).sqrt();
        match self {
            Self::Within(low, high) => {
                observed >= low - slack(low) && observed <= high + slack(high)
            }
            Self::AtLeast(low) => observed >= low - slack(low),
            Self::AtMost(high) => observed <= high + slack(high),
            Self::Shown => true,
        }
    }

    fn text(self) -> String {
        match self {
            Self::Within(low, high) => format!("{} to {}", percent(low), percent(high)),
            Self::AtLeast(low) => format!("at least {}", percent(low)),
            Self::AtMost(high) => format!("at most {}", percent(high)),
            Self::Shown => "none".to_owned(),
        }
    }
}

/// One line of the summary.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) cell: String,
    pub(crate) observed: f64,
    pub(crate) draws: usize,
    pub(crate) limit: Limit,
    pub(crate) note: String,
}

impl Line {
    pub(crate) fn is_kept(&self, errors: f64) -> bool {
        self.limit.is_kept(self.observed, self.draws, errors)
    }
}

/// A table of the summary.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) about: String,
    pub(crate) observed: &'static str,
    pub(crate) lines: Vec<Line>,
}

impl Table {
    pub(crate) fn new(
        title: &'static str,
        observed: &'static str,
        about: impl Into<String>,
    ) -> Self {
        Self {
            title,
            about: about.into(),
            observed,
            lines: Vec::new(),
        }
    }

    pub(crate) fn add(
        &mut self,
        study: &Study,
        cell: &str,
        observed: f64,
        limit: Limit,
        note: impl Into<String>,
    ) {
        self.lines.push(Line {
            cell: cell.to_owned(),
            observed,
            draws: study.draws,
            limit,
            note: note.into(),
        });
    }

    /// The mean of the lines so far, held to a limit.
    pub(crate) fn add_average(&mut self, limit: Limit) {
        let count = self.lines.len();
        let sum: f64 = self.lines.iter().map(|line| line.observed).sum();
        self.lines.push(Line {
            cell: format!("**average of the {count}**"),
            observed: sum / count as f64,
            draws: self.lines.iter().map(|line| line.draws).sum(),
            limit,
            note: String::new(),
        });
    }

    pub(crate) fn markdown(&self, errors: f64) -> String {
        let mut text = format!(
            "## {}\n\n{}\n\n| cell | {} | limit | kept | |\n|---|---|---|---|---|\n",
            self.title, self.about, self.observed
        );
        for line in &self.lines {
            let kept = match line.limit {
                Limit::Shown => "",
                _ if line.is_kept(errors) => "yes",
                _ => "**NO**",
            };
            let cells = [
                &line.cell,
                &percent(line.observed),
                &line.limit.text(),
                kept,
                &line.note,
            ]
            .join(" | ");
            text.extend(["| ", &cells, " |\n"]);
        }
        text
    }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}
