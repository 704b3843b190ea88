//! What the engine is told once.

use std::{fmt, sync::Arc};

use distill_gateway::Alert;
use distill_ledger::Refusal;

/// Output tokens that are reserved for a request that names no bound, and that are sent as its bound
/// where a dialect demands one. The largest answer of most models is not much longer, and a request
/// that is passed on is not given a bound that its caller did not write: what it costs beyond this is
/// booked when it is settled.
pub const ASSUMED_OUTPUT_TOKENS: u64 = 16_384;

/// Who is told when a target needs somebody to look at it.
pub type OnAlert = Arc<dyn Fn(Alert) + Send + Sync>;

/// Who is told why the ledger takes nothing.
pub type OnLedgerFault = Arc<dyn Fn(&str) + Send + Sync>;

/// Settings of an engine.
#[derive(Clone)]
pub struct EngineSettings {
    pub assumed_output_tokens: u64,
    /// Called for every such failure; whoever listens tells each thing once.
    pub on_alert: Option<OnAlert>,
    /// Called for every request that a fault of the ledger refuses: its caller does not learn the
    /// reason, so that somebody else has to.
    pub on_ledger_fault: Option<OnLedgerFault>,
}

impl EngineSettings {
    /// Tells of a refusal that is the ledger's own fault.
    pub(crate) fn heed(&self, refusal: &Refusal) {
        if let (Refusal::Unavailable { problem }, Some(tell)) = (refusal, &self.on_ledger_fault) {
            tell(problem);
        }
    }
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            assumed_output_tokens: ASSUMED_OUTPUT_TOKENS,
            on_alert: None,
            on_ledger_fault: None,
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use distill_ledger::Refusal;

    use super::EngineSettings;

    #[test]
    fn only_a_fault_of_the_ledger_is_told() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        let settings = EngineSettings {
            on_ledger_fault: Some(Arc::new(move |problem| {
                heard.lock().unwrap().push(problem.to_owned());
            })),
            ..EngineSettings::default()
        };
        settings.heed(&Refusal::RateLimited {
            what: "the limit of 1 request".to_owned(),
            retry_after: std::time::Duration::from_secs(1),
        });
        settings.heed(&Refusal::Unavailable {
            problem: "no space left".to_owned(),
        });
        assert_eq!(*told.lock().unwrap(), ["no space left"]);
    }
}
