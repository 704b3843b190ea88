//! The configuration file (`proxy.yaml`): what was written, checked, and what it means.
//!
//! Text becomes a tree with places, the tree becomes sections as written ([`written`]), and these the
//! plain [`Config`] ([`resolve`]), in which every name is known, every number in its range, every key
//! read from its environment variable and every default filled in. All findings are reported at once.

use std::{ops::Range, path::Path, sync::Arc};

use distill_gateway::PriceTable;
use distill_pipeline::spec::document::{self, Document, Findings, SourceText};

mod allowed;
mod resolve;
mod resolved;
#[cfg(test)]
mod tests;
mod values;
mod written;

pub use allowed::is_allowed;
pub use resolved::{
    AlertsConfig, Answer, CacheConfig, CacheScope, ClassConfig, Conditions, Config, Day, Detector,
    EmbeddingConfig, HedgeConfig, LogFormat, MemberConfig, OtlpConfig, PersonConfig, Policy,
    PriceConfig, QualityConfig, RedactConfig, RedactionConfig, RouteConfig, RouteQuality,
    RouteTimeouts, SecurityConfig, SemanticConfig, SimulateConfig, SpendConfig, SpendRate,
    StoreConfig, StudentsConfig, TaskConfig, TaskParameters, TaskPolicy, TaskVersion,
    TelemetryConfig, TokenRule, UsdRule, VendorConfig, VendorModel, WebhookConfig,
};

const DOCUMENT: Document = Document::Other {
    words: "a proxy configuration",
    beginning: "begin with `models:`; `distill proxy reference` lists every key",
};

/// Whether what stands in the environment must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keys {
    Needed,
    NotNeeded,
}

/// What a configuration is read with beside its text.
pub struct Sources<'a> {
    /// Looks an environment variable up.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The folder of the file: paths in it begin here.
    pub folder: &'a Path,
    /// Where the ledger is kept when the file does not say.
    pub state: &'a Path,
    pub today: Day,
    /// The table of prices, where the file names none; `None`: the program's own.
    pub prices: Option<Arc<PriceTable>>,
}

impl Config {
    /// Reads and checks a configuration. `name` is how findings name the file.
    ///
    /// # Errors
    /// Everything that is wrong with the text, and every key that is not in the environment.
    pub fn load(name: &str, text: &str, sources: &Sources<'_>) -> Result<Self, Findings> {
        Self::read(name, text, sources, Keys::Needed)
    }

    /// The same for whoever only looks at it and asks nobody: a key or an address that is not in the
    /// environment is no mistake, but for the ledger's. Prices are not looked up.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn look_at(name: &str, text: &str, sources: &Sources<'_>) -> Result<Self, Findings> {
        Self::read(name, text, sources, Keys::NotNeeded)
    }

    fn read(name: &str, text: &str, sources: &Sources<'_>, keys: Keys) -> Result<Self, Findings> {
        let source = SourceText::of(DOCUMENT, name, text);
        let mut masked = Vec::new();
        let (written, mut findings) = document::read::<written::Proxy>(&source);
        let mut config = None;
        if let Some(written) = written {
            let resolved = resolve::resolve(&written, &source, text, (sources, keys), findings);
            config = resolved.config;
            findings = resolved.findings;
            masked = resolved.masked;
        }
        match config {
            Some(config) if findings.is_empty() => Ok(config),
            _ => {
                let shown = SourceText::of(DOCUMENT, name, &without(text, &masked));
                Err(Findings::new(shown, findings))
            }
        }
    }
}

/// The text with every byte of these places a star: places and columns stay what they are.
fn without(text: &str, masked: &[Range<usize>]) -> String {
    let hidden = |at: usize| masked.iter().any(|place| place.contains(&at));
    text.char_indices()
        .flat_map(|(at, character)| {
            let stars = if hidden(at) && character != '\n' {
                character.len_utf8()
            } else {
                0
            };
            std::iter::repeat_n('*', stars).chain((stars == 0).then_some(character))
        })
        .collect()
}

/// Every section and key of the file as Markdown.
pub fn reference() -> String {
    document::reference_of("The proxy's configuration", &written::Proxy::section())
}
