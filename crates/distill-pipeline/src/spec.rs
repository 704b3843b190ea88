//! The spec: what the user wrote, and what it means.
//!
//! Text becomes a tree whose nodes know their places ([`tree`]), the tree becomes a [`Spec`] as
//! written ([`written`]), and that a [`ResolvedSpec`] in which every name is known, every number
//! in its range and every default filled in ([`resolve`]). Each stage adds to one list of
//! [`Findings`], so that the user sees all mistakes at once.
//!
//! Start reading at [`load`].

mod bounds;
pub mod document;
mod finding;
mod nearest;
mod read;
mod reference;
mod resolve;
mod resolved;
pub mod suite;
mod tree;
pub mod written;

#[cfg(test)]
mod tests;

pub use finding::{Code, Finding, Findings};
pub use read::{At, Key, Section};
pub use reference::{reference, reference_of_part};
pub use resolved::{
    AcceptSpec, AdapterKind, BasePrecision, Control, CostSpec, CurateSpec, DataSource, DataSpec,
    DecoderSpec, DeviceKind, DivergenceKind, EncoderSpec, EstimateKind, EvalsSpec, FaultsSpec,
    JudgeMode, JudgeSpec, Labels, LatencySpec, LearningRate, LinearSpec, MeasureSpec, ModelClass,
    ModelSpec, ObjectiveKind, ObjectiveSpec, ResolvedSpec, RestKind, ScheduleKind, ScorerSpec,
    SimulateSpec, StudentTarget, Students, TeacherSpec, TrainSpec, TuningSpec,
};
pub use tree::MAX_SPEC_BYTES;
pub use written::Spec;

use finding::SourceText;
use read::{Place, Read, Reader};

/// Names that a spec may use and that this crate does not know by itself.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary<'a> {
    /// Vendors of the gateway's table.
    pub vendors: &'a [&'a str],
    /// Metrics of the evaluation, for `evals.metric` and `evals.scorers`.
    pub metrics: &'a [MetricName<'a>],
    /// What is wrong with the settings of the scorer of that name, if anything.
    pub check_scorer: fn(&str, &serde_json::Map<String, serde_json::Value>) -> Result<(), String>,
}

/// A metric as far as a spec can get it wrong.
#[derive(Debug, Clone, Copy)]
pub struct MetricName<'a> {
    pub name: &'a str,
    /// The tasks it has a meaning for.
    pub kinds: &'a [distill_chat::TaskKind],
    /// A verdict can rest on it: two models can be compared by it.
    pub decides: bool,
}

/// Reads and checks a spec. `name` is how findings name the file.
///
/// # Errors
/// Everything that is wrong with the text.
pub fn load(name: &str, text: &str, vocabulary: &Vocabulary<'_>) -> Result<ResolvedSpec, Findings> {
    let source = SourceText::new(name, text);
    let (spec, mut findings) = read_spec(&source);
    let mut resolved = None;
    if let Some(spec) = spec {
        let (found, more) = resolve::resolve(&spec, &source, vocabulary);
        resolved = found;
        findings.extend(more);
    }
    match resolved {
        Some(resolved) if findings.is_empty() => Ok(resolved),
        _ => Err(Findings::new(source, findings)),
    }
}

/// Reads a spec as written: names and types of keys only. What could not be read is in the
/// findings and absent from the spec.
pub fn parse(name: &str, text: &str) -> (Option<Spec>, Findings) {
    let source = SourceText::new(name, text);
    let (spec, findings) = read_spec(&source);
    (spec, Findings::new(source, findings))
}

fn read_spec(source: &SourceText) -> (Option<Spec>, Vec<finding::Finding>) {
    read_document(source, Spec::read)
}

/// A text as the document that it should be, and what is wrong with it.
fn read_document<T>(
    source: &SourceText,
    read: impl FnOnce(&tree::Node, &Place, &mut Reader) -> Option<T>,
) -> (Option<T>, Vec<finding::Finding>) {
    let tree = match tree::read(source) {
        Ok(tree) => tree,
        Err(finding) => return (None, vec![finding]),
    };
    let mut reader = Reader {
        source: source.clone(),
        findings: Vec::new(),
    };
    let place = Place {
        path: String::new(),
        span: 0..0,
    };
    let written = read(&tree, &place, &mut reader);
    (written, reader.findings)
}

/// The columns that a task's templates read: what every data row must have.
pub fn referenced_columns(task: &distill_chat::Task) -> Vec<String> {
    task.referenced_columns()
}
