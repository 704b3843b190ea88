//! How fast a target answers, and whether it became much slower than it was.

use std::time::Duration;

use tokio::time::Instant;

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The first content of a stream.
    FirstToken,
    /// A whole answer.
    Whole,
}

/// When a target counts as much slower than it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpikeSettings {
    /// The recent average over the usual one.
    pub factor: f64,
    /// A recent average below this is no spike, whatever the usual one is.
    pub least: Duration,
    /// Answers before anything is usual.
    pub samples: u32,
    /// How long others are asked first; it doubles with each look that finds it slow still.
    pub pause: Duration,
    pub longest_pause: Duration,
}

impl Default for SpikeSettings {
    fn default() -> Self {
        Self {
            factor: 4.0,
            least: Duration::from_secs(2),
            samples: 20,
            pause: Duration::from_secs(10),
            longest_pause: Duration::from_mins(5),
        }
    }
}

/// Weight of a new answer in the recent average: about the last five.
const RECENT: f64 = 0.3;
/// Weight in the usual average: about the last hundred, so that a spike is seen before it is usual,
/// and what lasts becomes usual in the end.
const USUAL: f64 = 0.01;

#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    recent: f64,
    usual: f64,
    samples: u32,
}

/// Moving averages (exponential) by what was waited for, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Paces {
    first_token: Pace,
    whole: Pace,
}

/// A target that is slow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spike {
    until: Instant,
    pauses: u32,
}

impl Spike {
    /// Whether it still holds. The first to look after the pause is told no; the others wait for what
    /// that one finds, for a pause at most.
    pub(super) fn holds(&mut self, settings: &SpikeSettings, now: Instant) -> bool {
        if self.until > now {
            return true;
        }
        self.until = now + settings.pause;
        false
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl Paces {
    pub(super) fn of(&self, kind: Kind) -> Option<Duration> {
        let pace = match kind {
            Kind::FirstToken => self.first_token,
            Kind::Whole => self.whole,
        };
        (pace.samples > 0).then(|| Duration::from_secs_f64(pace.recent))
    }

    pub(super) fn note(
        &mut self,
        kind: Kind,
        took: Duration,
        settings: Option<SpikeSettings>,
        spike: &mut Option<Spike>,
        now: Instant,
    ) {
        let pace = match kind {
            Kind::FirstToken => &mut self.first_token,
            Kind::Whole => &mut self.whole,
        };
        let took = took.as_secs_f64();
        if pace.samples == 0 {
            (pace.recent, pace.usual) = (took, took);
        }
        pace.samples = pace.samples.saturating_add(1);
        pace.recent += RECENT * (took - pace.recent);
        // The first few are averaged alike.
        let weight = if pace.samples <= 20 {
            1.0 / f64::from(pace.samples)
        } else {
            USUAL
        };
        let usual = pace.usual;
        pace.usual += weight * (took - pace.usual);
        let Some(settings) = settings else {
            return;
        };
        let limit = (settings.factor * usual).max(settings.least.as_secs_f64());
        match spike {
            None if pace.samples > settings.samples && pace.recent > limit => {
                *spike = Some(Spike {
                    until: now + settings.pause,
                    pauses: 1,
                });
            }
            // The latest answer alone tells whether it recovered: the average remembers the spike.
            Some(_) if took <= limit => {
                *spike = None;
                pace.recent = took;
            }
            Some(known) => {
                let pause = settings.pause * 2_u32.saturating_pow(known.pauses.min(16));
                known.until = now + pause.min(settings.longest_pause);
                known.pauses += 1;
            }
            None => {}
        }
    }
}
