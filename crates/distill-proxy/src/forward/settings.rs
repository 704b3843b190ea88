//! What the engine is told once.

use std::{fmt, sync::Arc};

use distill_gateway::Alert;

/// Output tokens that are reserved for a request that names no bound, and that are sent as its bound
/// where a dialect demands one. The largest answer of most models is not much longer, and a request
/// that is passed on is not given a bound that its caller did not write: what it costs beyond this is
/// booked when it is settled.
pub const ASSUMED_OUTPUT_TOKENS: u64 = 16_384;

/// Who is told when a target needs somebody to look at it.
pub type OnAlert = Arc<dyn Fn(Alert) + Send + Sync>;

/// Settings of an engine.
#[derive(Clone)]
pub struct EngineSettings {
    pub assumed_output_tokens: u64,
    /// Called for every such failure; whoever listens tells each thing once.
    pub on_alert: Option<OnAlert>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            assumed_output_tokens: ASSUMED_OUTPUT_TOKENS,
            on_alert: None,
        }
    }
}

impl fmt::Debug for EngineSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EngineSettings")
            .field("assumed_output_tokens", &self.assumed_output_tokens)
            .finish_non_exhaustive()
    }
}
