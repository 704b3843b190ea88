//! What would run and why: walks the graph in order and looks each key up.
//!
//! Pure: what is in the store is asked through [`Known`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::graph::{Action, Graph, Resources, Source, StepNode};
use crate::hash::{ContentHash, Ingredients, Key};
use crate::record::{ActionRecord, RunId};

/// What is known without running anything.
pub trait Known {
    type Error;

    /// Hashes a file or directory of the user.
    fn file(&mut self, path: &Path) -> Result<ContentHash, Self::Error>;

    /// Looks for a record of this key whose outputs are those of `step` and stand in the store
    /// unharmed.
    fn lookup<A>(&mut self, key: &Key, step: &StepNode<A>) -> Result<Lookup, Self::Error>;
}

/// What the store has for a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    Hit(Box<ActionRecord>),
    Miss(MissReason),
}

/// Why a key has no usable record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum MissReason {
    /// No step with this key has finished in this store.
    NeverMade,
    /// The record is there, an output is not.
    Missing { port: String, artifact: ContentHash },
    /// An output is there, but its content has changed.
    Corrupted { port: String, artifact: ContentHash },
    /// The record lists other outputs than the step now has.
    PortsChanged,
}

impl fmt::Display for MissReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverMade => f.write_str("never made before"),
            Self::Missing { port, artifact } => {
                write!(f, "its output `{port}` ({}) is gone", artifact.short())
            }
            Self::Corrupted { port, artifact } => {
                write!(f, "its output `{port}` ({}) is corrupted", artifact.short())
            }
            Self::PortsChanged => f.write_str("the step now has other outputs"),
        }
    }
}

/// All steps in order, each with what is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub steps: Vec<PlannedStep>,
}

impl Plan {
    pub fn step(&self, name: &str) -> Option<&PlannedStep> {
        self.steps.iter().find(|step| step.name == name)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub name: String,
    pub kind: String,
    pub version: u32,
    pub needs: Vec<String>,
    pub resources: Resources,
    pub state: PlanState,
}

/// Whether a step would run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PlanState {
    /// Its outputs are in the store.
    Hit {
        key: Key,
        made_by: RunId,
        /// How long making them took then.
        seconds: f64,
    },
    /// It would run.
    Miss { key: Key, because: MissReason },
    /// Its key depends on what these steps will make; if they make what they made before, it hits.
    Unknown { waits_for: Vec<String> },
}

/// The plan and, for each step that it could be done for, the key's ingredients.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub plan: Plan,
    pub ingredients: BTreeMap<String, PartialIngredients>,
}

/// Ingredients of a key some of whose inputs are not made yet.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialIngredients {
    /// `inputs` holds the known ones only.
    pub known: Ingredients,
    pub unknown_ports: BTreeSet<String>,
}

/// Walks the graph in order. A step gets a key when all its inputs are known, that is when they are
/// the user's files or outputs of steps that hit.
pub fn plan<A: Action, K: Known>(graph: &Graph<A>, known: &mut K) -> Result<Planned, K::Error> {
    let mut made: BTreeMap<&str, Box<ActionRecord>> = BTreeMap::new();
    let mut steps = Vec::new();
    let mut all_ingredients = BTreeMap::new();
    for step in graph.steps() {
        let mut inputs = BTreeMap::new();
        let mut unknown_ports = BTreeSet::new();
        let mut waits_for = BTreeSet::new();
        for input in &step.inputs {
            let content = match &input.from {
                Source::File { path } => Some(known.file(path)?),
                Source::Step { step, output } => made
                    .get(step.as_str())
                    .and_then(|record| record.outputs.get(output))
                    .map(|output| output.hash),
            };
            match (content, &input.from) {
                (Some(hash), _) => {
                    inputs.insert(input.port.clone(), hash);
                }
                (None, Source::Step { step, .. }) => {
                    unknown_ports.insert(input.port.clone());
                    waits_for.insert(step.clone());
                }
                (None, Source::File { .. }) => unreachable!("a file's hash is always known"),
            }
        }
        let ingredients = Ingredients::of(&step.action, inputs);
        let state = if waits_for.is_empty() {
            let key = ingredients.key();
            match known.lookup(&key, step)? {
                Lookup::Hit(record) => {
                    let made_by = record.run.clone();
                    let seconds = record.seconds;
                    made.insert(&step.name, record);
                    PlanState::Hit {
                        key,
                        made_by,
                        seconds,
                    }
                }
                Lookup::Miss(because) => PlanState::Miss { key, because },
            }
        } else {
            let waits_for = waits_for.into_iter().collect();
            PlanState::Unknown { waits_for }
        };
        steps.push(PlannedStep {
            name: step.name.clone(),
            kind: ingredients.kind.clone(),
            version: ingredients.version,
            needs: step.needs().into_iter().map(str::to_owned).collect(),
            resources: step.resources,
            state,
        });
        let partial = PartialIngredients {
            known: ingredients,
            unknown_ports,
        };
        all_ingredients.insert(step.name.clone(), partial);
    }
    Ok(Planned {
        plan: Plan { steps },
        ingredients: all_ingredients,
    })
}

/// One ingredient of a key that differs between two keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "differs", rename_all = "snake_case")]
pub enum Difference {
    Kind {
        old: String,
        new: String,
    },
    Version {
        old: u32,
        new: u32,
    },
    /// `path` is like `decoder.rank` or `labels[2]`; `None` means that it was not there.
    Setting {
        path: String,
        old: Option<Value>,
        new: Option<Value>,
    },
    /// `from` says in words where the input comes from now.
    Input {
        port: String,
        from: String,
        old: Option<ContentHash>,
        new: Option<ContentHash>,
    },
    Models {
        old: Vec<String>,
        new: Vec<String>,
    },
    Seed {
        old: Option<u64>,
        new: Option<u64>,
    },
}

/// Lists every ingredient that differs; inputs whose content is not known yet are left out.
///
/// `sources` says where each port of the new key reads from.
pub fn differences(
    old: &Ingredients,
    new: &PartialIngredients,
    sources: &BTreeMap<String, Source>,
) -> Vec<Difference> {
    let unknown = &new.unknown_ports;
    let new = &new.known;
    let mut found = Vec::new();
    if old.kind != new.kind {
        found.push(Difference::Kind {
            old: old.kind.clone(),
            new: new.kind.clone(),
        });
    }
    if old.version != new.version {
        found.push(Difference::Version {
            old: old.version,
            new: new.version,
        });
    }
    compare_settings("", Some(&old.settings), Some(&new.settings), &mut found);
    let ports: BTreeSet<&String> = old.inputs.keys().chain(new.inputs.keys()).collect();
    for port in ports {
        let (before, now) = (old.inputs.get(port), new.inputs.get(port));
        if before != now && !unknown.contains(port) {
            found.push(Difference::Input {
                port: port.clone(),
                from: sources
                    .get(port)
                    .map_or_else(String::new, Source::to_string),
                old: before.copied(),
                new: now.copied(),
            });
        }
    }
    if old.models != new.models {
        found.push(Difference::Models {
            old: old.models.clone(),
            new: new.models.clone(),
        });
    }
    if old.seed != new.seed {
        found.push(Difference::Seed {
            old: old.seed,
            new: new.seed,
        });
    }
    found
}

fn compare_settings(
    path: &str,
    old: Option<&Value>,
    new: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let below = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                compare_settings(&below, old.get(name), new.get(name), found);
            }
        }
        // Lists of one length differ place by place; otherwise the whole list is the news.
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (place, (old, new)) in old.iter().zip(new).enumerate() {
                compare_settings(&format!("{path}[{place}]"), Some(old), Some(new), found);
            }
        }
        _ => {
            // By hash and not by `==`, which tells -0 from 0 where the key does not.
            if old.map(ContentHash::of_json) != new.map(ContentHash::of_json) {
                found.push(Difference::Setting {
                    path: path.to_owned(),
                    old: old.cloned(),
                    new: new.cloned(),
                });
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind { old, new } => write!(f, "kind of step: {old} → {new}"),
            Self::Version { old, new } => write!(f, "version of the step: {old} → {new}"),
            Self::Setting { path, old, new } => {
                let (old, new) = excerpts(&shown(old.as_ref()), &shown(new.as_ref()));
                let path = if path.is_empty() { "settings" } else { path };
                write!(f, "setting `{path}`: {old} → {new}")
            }
            Self::Input {
                port,
                from,
                old,
                new,
            } => {
                let short =
                    |hash: &Option<ContentHash>| hash.map_or("none".to_owned(), |h| h.short());
                write!(f, "input `{port}`")?;
                if !from.is_empty() {
                    write!(f, " (from {from})")?;
                }
                write!(f, ": content {} → {}", short(old), short(new))
            }
            Self::Models { old, new } => {
                write!(f, "models: {} → {}", names(old), names(new))
            }
            Self::Seed { old, new } => {
                let shown =
                    |seed: &Option<u64>| seed.map_or("none".to_owned(), |seed| seed.to_string());
                write!(f, "seed: {} → {}", shown(old), shown(new))
            }
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("not set".to_owned(), Value::to_string)
}

fn names(models: &[String]) -> String {
    if models.is_empty() {
        "none".to_owned()
    } else {
        models.join(", ")
    }
}

/// Characters of a long value that are shown before and after the first difference.
const BEFORE: usize = 24;
const AFTER: usize = 40;

/// Cuts two long texts down to the place where they begin to differ.
fn excerpts(old: &str, new: &str) -> (String, String) {
    let same = old
        .chars()
        .zip(new.chars())
        .take_while(|(a, b)| a == b)
        .count();
    (excerpt(old, same), excerpt(new, same))
}

fn excerpt(text: &str, at: usize) -> String {
    let length = text.chars().count();
    if length <= BEFORE + AFTER {
        return text.to_owned();
    }
    let start = at.saturating_sub(BEFORE);
    let end = length.min(at + AFTER);
    let middle: String = text.chars().skip(start).take(end - start).collect();
    let open = if start > 0 { "…" } else { "" };
    let close = if end < length { "…" } else { "" };
    format!("{open}{middle}{close}")
}

#[cfg(test)]
mod tests;
