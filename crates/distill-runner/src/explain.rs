//! What would run, and why: readers of the store that change nothing in it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use distill_pipeline::graph::{Action, Graph, Source, StepNode};
use distill_pipeline::plan::{
    Difference, PartialIngredients, Plan, PlanState, Planned, differences,
};
use distill_pipeline::record::{ActionRecord, Because, RunId, Timestamp};

use crate::home::{Home, StoreError};

/// Says for every step whether it would run.
pub fn plan<A: Action>(home: &Home, graph: &Graph<A>) -> Result<Plan, StoreError> {
    Ok(planned(home, graph)?.plan)
}

fn planned<A: Action>(home: &Home, graph: &Graph<A>) -> Result<Planned, StoreError> {
    let mut known = home;
    distill_pipeline::plan::plan(graph, &mut known)
}

/// Why a step hits or misses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    pub step: String,
    pub state: PlanState,
    /// For a hit: when and why its outputs were made.
    pub made: Option<Made>,
    /// What the differences are counted from.
    pub compared_with: Option<Compared>,
    /// What is known to differ; for a step that waits, as far as it can be known.
    pub differences: Vec<Difference>,
    /// For a step that waits: the steps above it that would run, and why.
    pub causes: Vec<Explanation>,
}

/// The making of outputs that are in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    pub run: RunId,
    pub finished: Timestamp,
    pub seconds: f64,
    pub because: Because,
}

/// An earlier doing of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub run: RunId,
    pub pipeline: String,
    pub step: String,
    pub basis: Basis,
}

/// Why the comparison is with this record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The same step of the same pipeline, when it was last done.
    SameStep,
    /// No such step was done before: the latest of the same kind.
    SameKind,
}

/// What can go wrong with an explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    #[error("the pipeline has no step `{step}`")]
    NoStep { step: String, known: Vec<String> },
    #[error("could not look the step up")]
    Store(#[from] StoreError),
}

impl ExplainError {
    /// Says what to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoStep { known, .. } => Some(format!("its steps are: {}", known.join(", "))),
            Self::Store(error) => error.hint(),
        }
    }
}

/// Says why a step would run or not, from what differs between its key and the last one.
pub fn explain<A: Action>(
    home: &Home,
    graph: &Graph<A>,
    pipeline: &str,
    step: &str,
) -> Result<Explanation, ExplainError> {
    let Some(node) = graph.step(step) else {
        return Err(ExplainError::NoStep {
            step: step.to_owned(),
            known: graph.steps().map(|step| step.name.clone()).collect(),
        });
    };
    let planned = planned(home, graph)?;
    let explainer = Explainer {
        home,
        graph,
        pipeline,
        planned: &planned,
    };
    let mut explanation = explainer.one(node)?;
    if matches!(explanation.state, PlanState::Unknown { .. }) {
        for above in explainer.missing_above(step) {
            explanation.causes.push(explainer.one(above)?);
        }
    }
    Ok(explanation)
}

struct Explainer<'a, A> {
    home: &'a Home,
    graph: &'a Graph<A>,
    pipeline: &'a str,
    planned: &'a Planned,
}

impl<A: Action> Explainer<'_, A> {
    fn one(&self, node: &StepNode<A>) -> Result<Explanation, StoreError> {
        let planned = self.planned.plan.step(&node.name);
        let state = planned.expect("the plan has every step").state.clone();
        let ingredients = &self.planned.ingredients[&node.name];
        let mut explanation = Explanation {
            step: node.name.clone(),
            state,
            made: None,
            compared_with: None,
            differences: Vec::new(),
            causes: Vec::new(),
        };
        if let PlanState::Hit { key, .. } = &explanation.state {
            let record = self.home.read_action(key)?;
            explanation.made = record.map(|record| Made {
                run: record.run,
                finished: record.finished,
                seconds: record.seconds,
                because: record.because,
            });
        } else if let Some((record, basis)) = self.earlier(node)? {
            explanation.differences = compare(&record, ingredients, node);
            explanation.compared_with = Some(Compared {
                run: record.run,
                pipeline: record.pipeline,
                step: record.step,
                basis,
            });
        }
        Ok(explanation)
    }

    fn earlier(&self, node: &StepNode<A>) -> Result<Option<(ActionRecord, Basis)>, StoreError> {
        if let Some(record) = self.home.last_record(self.pipeline, &node.name)? {
            return Ok(Some((record, Basis::SameStep)));
        }
        let alike = self.home.actions_of_kind(node.action.kind())?;
        let latest = alike.into_iter().max_by_key(|record| record.finished);
        Ok(latest.map(|record| (record, Basis::SameKind)))
    }

    /// Gives the steps above `step` that are known to run, in the order of the plan.
    fn missing_above(&self, step: &str) -> Vec<&StepNode<A>> {
        let mut above: Vec<&str> = self.graph.needs(step);
        let mut next = 0;
        while next < above.len() {
            for need in self.graph.needs(above[next]) {
                if !above.contains(&need) {
                    above.push(need);
                }
            }
            next += 1;
        }
        let misses = |name: &str| {
            let planned = self.planned.plan.step(name);
            planned.is_some_and(|step| matches!(step.state, PlanState::Miss { .. }))
        };
        self.graph
            .steps()
            .filter(|node| above.contains(&node.name.as_str()) && misses(&node.name))
            .collect()
    }
}

impl Home {
    /// Gives the record that a step of a pipeline had last.
    pub(crate) fn last_record(
        &self,
        pipeline: &str,
        step: &str,
    ) -> Result<Option<ActionRecord>, StoreError> {
        match self.read_last_key(pipeline, step) {
            Some(last) => self.read_action(&last.key),
            None => Ok(None),
        }
    }
}

/// Lists what differs between an earlier doing and the step as it is now.
pub(crate) fn compare<A>(
    record: &ActionRecord,
    now: &PartialIngredients,
    node: &StepNode<A>,
) -> Vec<Difference> {
    let inputs = node.inputs.iter();
    let sources: BTreeMap<String, Source> = inputs
        .map(|input| (input.port.clone(), input.from.clone()))
        .collect();
    differences(&record.ingredients, now, &sources)
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = &self.step;
        match &self.state {
            PlanState::Hit { key, .. } => {
                write!(f, "step `{step}` hits (key {})", key.short())?;
                if let Some(made) = &self.made {
                    write!(
                        f,
                        ": made by run {} at {} in {:.1} s\nit ran then because: {}",
                        made.run, made.finished, made.seconds, made.because.miss
                    )?;
                    if let Some(run) = &made.because.compared_with {
                        write!(f, "; compared with run {run}:")?;
                    }
                    list(f, &made.because.differences)?;
                }
                return Ok(());
            }
            PlanState::Miss { key, because } => {
                write!(
                    f,
                    "step `{step}` would run (key {}): {because}",
                    key.short()
                )?;
            }
            PlanState::Unknown { waits_for } => {
                write!(
                    f,
                    "step `{step}` has no key until {} ran; if its inputs come out as before, it \
                     hits",
                    waits_for.join(", ")
                )?;
            }
        }
        match &self.compared_with {
            None => write!(f, "\nnothing of its kind was done here before")?,
            Some(compared) => {
                let Compared {
                    run,
                    pipeline,
                    step,
                    basis,
                } = compared;
                match basis {
                    Basis::SameStep => write!(f, "\ncompared with run {run}:")?,
                    Basis::SameKind => write!(
                        f,
                        "\ncompared with step `{step}` of pipeline `{pipeline}` in run {run}, the \
                         latest of its kind:"
                    )?,
                }
                if self.differences.is_empty() {
                    write!(f, "\n  nothing differs so far")?;
                }
            }
        }
        list(f, &self.differences)?;
        for cause in &self.causes {
            write!(f, "\n{cause}")?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, differences: &[Difference]) -> fmt::Result {
    for difference in differences {
        write!(f, "\n  {difference}")?;
    }
    Ok(())
}
