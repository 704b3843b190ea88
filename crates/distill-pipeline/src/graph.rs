//! The graph of steps: names resolved, artifact kinds checked, order fixed.
//!
//! Generic over the action, so that nothing here knows which kinds of step exist.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hash::{ContentHash, StableHasher};

mod check;

pub use check::{GraphFinding, GraphFindings};

/// What a kind of step says of itself; everything here enters the step's key.
pub trait Action {
    /// Names the kind of step, for instance `label`.
    fn kind(&self) -> &'static str;

    /// Counts up when the same settings and inputs would now give another output.
    fn version(&self) -> u32;

    /// Gives the resolved settings: everything the output depends on that is no input, and nothing
    /// else.
    fn settings(&self) -> Value;

    /// Gives the identity of every model that the step calls, in the order it would ask them.
    fn models(&self) -> Vec<String> {
        Vec::new()
    }

    /// Gives the seed, or `None` when the step draws nothing at random.
    fn seed(&self) -> Option<u64> {
        None
    }
}

/// The type of an artifact, for instance `rows`: an input takes only its own kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArtifactKind(Cow<'static, str>);

impl ArtifactKind {
    pub const fn new(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an input comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An output of another step.
    Step { step: String, output: String },
    /// A file or directory of the user. Its content is in the key, its path is not.
    File { path: PathBuf },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { step, output } => write!(f, "`{output}` of step `{step}`"),
            Self::File { path } => write!(f, "{}", path.display()),
        }
    }
}

/// One input of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    pub port: String,
    /// What the step can read here.
    pub kind: ArtifactKind,
    pub from: Source,
}

/// One output of a step: a file or a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputPort {
    pub name: String,
    pub kind: ArtifactKind,
}

/// What a step needs while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Cores that it keeps busy; 0 for a step that only waits on the network.
    pub cpu: u32,
    pub memory_mb: u64,
    pub network: bool,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            cpu: 1,
            memory_mb: 0,
            network: false,
        }
    }
}

/// One step: an action with its place in the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepNode<A> {
    pub name: String,
    pub action: A,
    pub inputs: Vec<Input>,
    pub outputs: Vec<OutputPort>,
    pub resources: Resources,
}

impl<A> StepNode<A> {
    pub fn new(name: impl Into<String>, action: A) -> Self {
        Self {
            name: name.into(),
            action,
            inputs: Vec::new(),
            outputs: Vec::new(),
            resources: Resources::default(),
        }
    }

    /// Adds an input that another step makes.
    #[must_use]
    pub fn input(
        mut self,
        port: impl Into<String>,
        kind: ArtifactKind,
        step: impl Into<String>,
        output: impl Into<String>,
    ) -> Self {
        self.inputs.push(Input {
            port: port.into(),
            kind,
            from: Source::Step {
                step: step.into(),
                output: output.into(),
            },
        });
        self
    }

    /// Adds an input that the user brings.
    #[must_use]
    pub fn file(
        mut self,
        port: impl Into<String>,
        kind: ArtifactKind,
        path: impl Into<PathBuf>,
    ) -> Self {
        self.inputs.push(Input {
            port: port.into(),
            kind,
            from: Source::File { path: path.into() },
        });
        self
    }

    #[must_use]
    pub fn output(mut self, name: impl Into<String>, kind: ArtifactKind) -> Self {
        self.outputs.push(OutputPort {
            name: name.into(),
            kind,
        });
        self
    }

    #[must_use]
    pub fn resources(mut self, resources: Resources) -> Self {
        self.resources = resources;
        self
    }

    /// Gives the names of the steps that this one reads from, each once, sorted.
    pub fn needs(&self) -> BTreeSet<&str> {
        self.inputs
            .iter()
            .filter_map(|input| match &input.from {
                Source::Step { step, .. } => Some(step.as_str()),
                Source::File { .. } => None,
            })
            .collect()
    }
}

/// Steps whose names, kinds and order have been checked.
#[derive(Debug, Clone)]
pub struct Graph<A> {
    steps: DiGraph<StepNode<A>, ()>,
    order: Vec<NodeIndex>,
    places: BTreeMap<String, NodeIndex>,
}

impl<A> Graph<A> {
    /// Checks the steps and joins them; gives all findings at once.
    pub fn build(nodes: Vec<StepNode<A>>) -> Result<Self, GraphFindings> {
        let mut findings = check::names_and_kinds(&nodes);
        let mut steps = DiGraph::new();
        let mut places = BTreeMap::new();
        for node in nodes {
            let name = node.name.clone();
            let place = steps.add_node(node);
            places.entry(name).or_insert(place);
        }
        let edges: BTreeSet<(NodeIndex, NodeIndex)> = steps
            .node_indices()
            .flat_map(|place| {
                let needs = steps[place].needs().into_iter();
                let known = needs.filter_map(|name| places.get(name).copied());
                known.map(move |from| (from, place)).collect::<Vec<_>>()
            })
            .collect();
        for (from, to) in edges {
            steps.add_edge(from, to, ());
        }
        findings.extend(check::cycles(&steps));
        if !findings.is_empty() {
            return Err(GraphFindings(findings));
        }
        let order = order(&steps);
        Ok(Self {
            steps,
            order,
            places,
        })
    }

    /// Gives the steps so that each comes after what it needs: by depth, then by name. The order in
    /// which they were given does not matter.
    pub fn steps(&self) -> impl Iterator<Item = &StepNode<A>> {
        self.order.iter().map(|place| &self.steps[*place])
    }

    pub fn step(&self, name: &str) -> Option<&StepNode<A>> {
        self.places.get(name).map(|place| &self.steps[*place])
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Gives the steps that `name` reads from, sorted.
    pub fn needs(&self, name: &str) -> Vec<&str> {
        self.neighbours(name, Direction::Incoming)
    }

    /// Gives the steps that read from `name`, sorted.
    pub fn dependents(&self, name: &str) -> Vec<&str> {
        self.neighbours(name, Direction::Outgoing)
    }

    fn neighbours(&self, name: &str, direction: Direction) -> Vec<&str> {
        let Some(place) = self.places.get(name) else {
            return Vec::new();
        };
        let mut names: Vec<&str> = self
            .steps
            .neighbors_directed(*place, direction)
            .map(|place| self.steps[place].name.as_str())
            .collect();
        names.sort_unstable();
        names
    }
}

impl<A: Action> Graph<A> {
    /// Identifies the plan as a whole: steps, settings and edges, without what the inputs hold.
    pub fn fingerprint(&self) -> ContentHash {
        let mut hasher = StableHasher::new("graph 1");
        hasher.map(self.places.len());
        for (name, place) in &self.places {
            let step = &self.steps[*place];
            hasher.text(name);
            hasher.text(step.action.kind());
            hasher.integer(step.action.version().into());
            hasher.json(&step.action.settings());
            let models = step.action.models();
            hasher.list(models.len());
            for model in models {
                hasher.text(&model);
            }
            match step.action.seed() {
                Some(seed) => hasher.integer(seed.into()),
                None => hasher.null(),
            }
            let inputs: BTreeMap<&str, &Source> = step
                .inputs
                .iter()
                .map(|input| (input.port.as_str(), &input.from))
                .collect();
            hasher.map(inputs.len());
            for (port, source) in inputs {
                hasher.text(port);
                match source {
                    Source::Step { step, output } => {
                        hasher.text(step);
                        hasher.text(output);
                    }
                    // A user's file is named by its content, which is not known here.
                    Source::File { .. } => hasher.null(),
                }
            }
        }
        hasher.finish()
    }
}

/// Sorts by depth (the longest way from a step without needs), then by name.
fn order<A>(steps: &DiGraph<StepNode<A>, ()>) -> Vec<NodeIndex> {
    let sorted = petgraph::algo::toposort(steps, None).expect("cycles were found before");
    let mut depths: BTreeMap<NodeIndex, usize> = BTreeMap::new();
    for place in &sorted {
        let depth = steps
            .neighbors_directed(*place, Direction::Incoming)
            .map(|need| depths[&need] + 1)
            .max()
            .unwrap_or(0);
        depths.insert(*place, depth);
    }
    let mut order = sorted;
    order.sort_by(|a, b| {
        (depths[a], steps[*a].name.as_str()).cmp(&(depths[b], steps[*b].name.as_str()))
    });
    order
}

#[cfg(test)]
mod tests;
