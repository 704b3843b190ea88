//! Everything that can be wrong with a graph, found in one go.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

use super::{ArtifactKind, Source, StepNode};

/// One thing that is wrong with a graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum GraphFinding {
    #[error("two steps have the name `{step}`")]
    #[diagnostic(code(graph::duplicate_step), help("give one of them another name"))]
    DuplicateStep { step: String },

    #[error("step `{step}` has two ports with the name `{port}`")]
    #[diagnostic(code(graph::duplicate_port), help("give one of them another name"))]
    DuplicatePort { step: String, port: String },

    #[error("`{name}` cannot name a step or a port")]
    #[diagnostic(
        code(graph::bad_name),
        help("use letters, digits, `.`, `_`, `-` and `:`, and begin with a letter or digit")
    )]
    BadName { name: String },

    #[error("step `{step}` needs `{needs}`, but no step has that name")]
    #[diagnostic(code(graph::unknown_step), help("the steps are: {}", known.join(", ")))]
    UnknownStep {
        step: String,
        needs: String,
        known: Vec<String>,
    },

    #[error("step `{step}` needs `{output}` of step `{needs}`, which has no such output")]
    #[diagnostic(code(graph::unknown_output), help("its outputs are: {}", known.join(", ")))]
    UnknownOutput {
        step: String,
        needs: String,
        output: String,
        known: Vec<String>,
    },

    #[error(
        "step `{step}` takes {expected} at `{port}`, but `{output}` of step `{needs}` is {found}"
    )]
    #[diagnostic(
        code(graph::kind_mismatch),
        help("join `{port}` to an output of kind {expected}")
    )]
    KindMismatch {
        step: String,
        port: String,
        expected: ArtifactKind,
        needs: String,
        output: String,
        found: ArtifactKind,
    },

    #[error("steps need each other in a circle: {}", steps.join(" → "))]
    #[diagnostic(code(graph::cycle), help("take one of these needs away"))]
    Cycle {
        /// Each step is needed by the next; the first is repeated at the end.
        steps: Vec<String>,
    },
}

/// All that is wrong with a graph; at least one finding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the steps cannot be joined: {}", summary(.0))]
pub struct GraphFindings(pub Vec<GraphFinding>);

fn summary(findings: &[GraphFinding]) -> String {
    match findings {
        [one] => one.to_string(),
        many => format!("{} findings", many.len()),
    }
}

impl miette::Diagnostic for GraphFindings {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new("graph"))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        let findings = self.0.iter();
        Some(Box::new(
            findings.map(|finding| finding as &dyn miette::Diagnostic),
        ))
    }
}

pub(super) fn names_and_kinds<A>(nodes: &[StepNode<A>]) -> Vec<GraphFinding> {
    let mut findings = Vec::new();
    let mut by_name: BTreeMap<&str, &StepNode<A>> = BTreeMap::new();
    for node in nodes {
        check_name(&node.name, &mut findings);
        if by_name.insert(&node.name, node).is_some() {
            findings.push(GraphFinding::DuplicateStep {
                step: node.name.clone(),
            });
        }
        let inputs = node.inputs.iter().map(|input| input.port.as_str());
        check_ports(&node.name, inputs, &mut findings);
        let outputs = node.outputs.iter().map(|output| output.name.as_str());
        check_ports(&node.name, outputs, &mut findings);
    }
    for node in nodes {
        for input in &node.inputs {
            if let Source::Step { step, output } = &input.from {
                let wanted = Wanted {
                    step: &node.name,
                    port: &input.port,
                    kind: &input.kind,
                    needs: step,
                    output,
                };
                findings.extend(wanted.check(&by_name));
            }
        }
    }
    findings
}

/// Names become file names and JSON keys, so they are kept plain.
fn check_name(name: &str, findings: &mut Vec<GraphFinding>) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    let first = name.chars().next();
    if !first.is_some_and(|c| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
        findings.push(GraphFinding::BadName {
            name: name.to_owned(),
        });
    }
}

fn check_ports<'a>(
    step: &str,
    ports: impl Iterator<Item = &'a str>,
    findings: &mut Vec<GraphFinding>,
) {
    let mut seen = BTreeSet::new();
    for port in ports {
        check_name(port, findings);
        if !seen.insert(port) {
            findings.push(GraphFinding::DuplicatePort {
                step: step.to_owned(),
                port: port.to_owned(),
            });
        }
    }
}

/// One edge as the reading step asks for it.
struct Wanted<'a> {
    step: &'a str,
    port: &'a str,
    kind: &'a ArtifactKind,
    needs: &'a str,
    output: &'a str,
}

impl Wanted<'_> {
    fn check<A>(&self, by_name: &BTreeMap<&str, &StepNode<A>>) -> Option<GraphFinding> {
        let step = self.step.to_owned();
        let needs = self.needs.to_owned();
        let output = self.output.to_owned();
        let Some(maker) = by_name.get(self.needs) else {
            let known = by_name.keys().map(|&name| name.to_owned()).collect();
            return Some(GraphFinding::UnknownStep { step, needs, known });
        };
        let Some(made) = maker.outputs.iter().find(|made| made.name == self.output) else {
            let known = maker.outputs.iter().map(|made| made.name.clone()).collect();
            return Some(GraphFinding::UnknownOutput {
                step,
                needs,
                output,
                known,
            });
        };
        (made.kind != *self.kind).then(|| GraphFinding::KindMismatch {
            step,
            port: self.port.to_owned(),
            expected: self.kind.clone(),
            needs,
            output,
            found: made.kind.clone(),
        })
    }
}

pub(super) fn cycles<A>(steps: &DiGraph<StepNode<A>, ()>) -> Vec<GraphFinding> {
    let mut found: Vec<Vec<String>> = petgraph::algo::tarjan_scc(steps)
        .into_iter()
        .filter_map(|group| circle(steps, &group))
        .collect();
    found.sort();
    found
        .into_iter()
        .map(|steps| GraphFinding::Cycle { steps })
        .collect()
}

/// Walks backwards along needs inside a group of steps that all reach each other, always to the
/// need that comes first by name, until a step comes up again.
fn circle<A>(steps: &DiGraph<StepNode<A>, ()>, group: &[NodeIndex]) -> Option<Vec<String>> {
    let inside: BTreeSet<NodeIndex> = group.iter().copied().collect();
    let first_need = |place: NodeIndex| {
        steps
            .neighbors_directed(place, Direction::Incoming)
            .filter(|need| inside.contains(need))
            .min_by_key(|need| steps[*need].name.as_str())
    };
    let mut place = *group.iter().min_by_key(|place| &steps[**place].name)?;
    let mut walked = Vec::new();
    while !walked.contains(&place) {
        walked.push(place);
        place = first_need(place)?;
    }
    let start = walked.iter().position(|seen| *seen == place)?;
    let mut circle: Vec<String> = walked[start..]
        .iter()
        .rev()
        .map(|place| steps[*place].name.clone())
        .collect();
    circle.push(circle[0].clone());
    Some(circle)
}
