//! What an adapter is: rank, strength, variant, and the modules that it goes on.

use regex::Regex;

use crate::decoder::DecoderError;

/// How the two factors of an update change a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LoraVariant {
    /// Scale alpha / rank (Hu et al. 2021, arXiv:2106.09685).
    Lora,
    /// Scale alpha / √rank (Kalajdzievski 2023, arXiv:2312.03732).
    RsLora,
    /// Direction by the factors, length of each row trained apart (Liu et al. 2024,
    /// arXiv:2402.09353); scale alpha / rank.
    Dora,
    /// As `Dora`, with the scale of `RsLora`.
    RsDora,
}

impl LoraVariant {
    /// Whether the length of each row is trained apart.
    pub fn has_magnitudes(self) -> bool {
        matches!(self, Self::Dora | Self::RsDora)
    }

    pub fn is_rank_stabilised(self) -> bool {
        matches!(self, Self::RsLora | Self::RsDora)
    }
}

/// Which projections an adapter goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Targets {
    /// Every projection of every layer; neither embeddings nor head.
    AllLinear,
    /// What PEFT takes where `target_modules` is left out: `q_proj` and `v_proj`.
    Usual,
    /// Modules whose name is one of these or ends in `.` and one of these.
    Names(Vec<String>),
    /// Modules whose whole name matches a regular expression.
    Pattern(String),
}

impl Targets {
    /// As a message names them.
    pub(super) fn words(&self) -> String {
        match self {
            Self::AllLinear => "`all-linear`".to_owned(),
            Self::Usual => "`q_proj`, `v_proj`".to_owned(),
            Self::Names(names) => {
                let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
                quoted.join(", ")
            }
            Self::Pattern(pattern) => format!("the pattern `{pattern}`"),
        }
    }
}

/// What is trained of an adapted model, and how strongly.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    pub rank: usize,
    pub alpha: f64,
    pub variant: LoraVariant,
    pub targets: Targets,
    /// Other ranks for modules that end in a match of a regular expression; the first that matches
    /// counts.
    pub rank_pattern: Vec<(String, usize)>,
    /// Other alphas, by the same rule.
    pub alpha_pattern: Vec<(String, f64)>,
    /// A copy of the embeddings is trained and saved whole. Where the head is tied to them, it
    /// stays as it was, as in PEFT.
    pub train_embeddings: bool,
    /// A copy of the head is trained and saved whole.
    pub train_head: bool,
    /// Modules of an encoder's head that are trained and saved whole: `classifier`, and those that
    /// its checkpoint did not have. Empty for a decoder; otherwise PEFT's task is `SEQ_CLS`.
    pub classifier: Vec<String>,
    /// Share of a projection's inputs that the update does not see in a training step.
    pub dropout: f64,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 32.0,
            variant: LoraVariant::Lora,
            targets: Targets::AllLinear,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            train_embeddings: false,
            train_head: false,
            classifier: Vec::new(),
            dropout: 0.0,
        }
    }
}

/// Rank and scale of one module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Strength {
    pub(crate) rank: usize,
    pub(crate) scale: f64,
}

/// The rules of a configuration, compiled.
pub(crate) struct Rules<'a> {
    config: &'a LoraConfig,
    target: Option<Regex>,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

/// No matrix of a model is wider; a configuration may claim any number.
const LARGEST_RANK: usize = 1 << 20;

impl LoraConfig {
    /// Refuses what cannot be trained.
    ///
    /// # Errors
    /// [`DecoderError::Adapter`] that names the value.
    pub fn check(&self) -> Result<(), DecoderError> {
        let refused = |reason: String| Err(DecoderError::Adapter { reason });
        let ranks = self.rank_pattern.iter().map(|(_, rank)| *rank);
        let mut ranks = ranks.chain([self.rank]);
        if let Some(rank) = ranks.find(|rank| !(1..=LARGEST_RANK).contains(rank)) {
            return refused(format!("its rank is {rank}, not in 1..={LARGEST_RANK}"));
        }
        let alphas = self.alpha_pattern.iter().map(|(_, alpha)| *alpha);
        for alpha in alphas.chain([self.alpha]) {
            if !alpha.is_finite() {
                return refused(format!("its alpha is {alpha}"));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refused(format!("its dropout is {}, not in 0..1", self.dropout));
        }
        self.rules().map(|_| ())
    }

    pub(crate) fn rules(&self) -> Result<Rules<'_>, DecoderError> {
        let target = match &self.targets {
            Targets::Pattern(pattern) => Some(compile(&format!("^(?:{pattern})$"))?),
            _ => None,
        };
        Ok(Rules {
            config: self,
            target,
            ranks: compile_all(&self.rank_pattern)?,
            alphas: compile_all(&self.alpha_pattern)?,
        })
    }
}

impl Rules<'_> {
    /// Whether a projection, by its name in the model, gets an update.
    pub(crate) fn targets(&self, module: &str) -> bool {
        let ends_in = |name: &str| ends_in(module, name);
        let mut saved = self.config.classifier.iter();
        if saved.any(|saved| in_module(module, saved)) {
            return false;
        }
        match &self.config.targets {
            Targets::AllLinear => true,
            Targets::Usual => ends_in("q_proj") || ends_in("v_proj"),
            Targets::Names(names) => names.iter().any(|name| ends_in(name)),
            Targets::Pattern(_) => self.target.as_ref().is_some_and(|r| r.is_match(module)),
        }
    }

    pub(crate) fn strength(&self, module: &str) -> Strength {
        let rank = first_match(&self.ranks, module).unwrap_or(self.config.rank);
        let alpha = first_match(&self.alphas, module).unwrap_or(self.config.alpha);
        let divisor = if self.config.variant.is_rank_stabilised() {
            (rank as f64).sqrt()
        } else {
            rank as f64
        };
        Strength {
            rank,
            scale: alpha / divisor,
        }
    }
}

/// Whether a module has this name, or ends in it after a dot.
pub(super) fn ends_in(module: &str, name: &str) -> bool {
    module
        .strip_suffix(name)
        .is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// Whether a module or tensor is one of this name, or lies within one.
pub(crate) fn in_module(path: &str, name: &str) -> bool {
    let mut starts = path.match_indices(name).map(|(at, _)| at);
    let whole = |at: usize| {
        let (before, after) = (&path[..at], &path[at + name.len()..]);
        (before.is_empty() || before.ends_with('.')) && (after.is_empty() || after.starts_with('.'))
    };
    starts.any(whole)
}

fn first_match<V: Copy>(patterns: &[(Regex, V)], module: &str) -> Option<V> {
    let found = patterns.iter().find(|(regex, _)| regex.is_match(module));
    found.map(|(_, value)| *value)
}

fn compile_all<V: Copy>(patterns: &[(String, V)]) -> Result<Vec<(Regex, V)>, DecoderError> {
    patterns
        .iter()
        .map(|(pattern, value)| Ok((compile(&format!(r"^(?:.*\.)?(?:{pattern})$"))?, *value)))
        .collect()
}

fn compile(pattern: &str) -> Result<Regex, DecoderError> {
    Regex::new(pattern).map_err(|error| DecoderError::Adapter {
        reason: format!("`{pattern}` is no regular expression that is read here: {error}"),
    })
}
