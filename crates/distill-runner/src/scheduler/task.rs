//! The way of one step: key, lookup, claim, work, publication.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use distill_pipeline::graph::{Action, Source, StepNode};
use distill_pipeline::hash::{ContentHash, Ingredients, Key};
use distill_pipeline::plan::{Known as _, Lookup, MissReason, PartialIngredients};
use distill_pipeline::record::{ActionRecord, Because, OutputRecord, RunId};

use super::said::Said;
use crate::action::LastKey;
use crate::artifact::Presence;
use crate::claim::{Asked, Claim};
use crate::clock::Clock;
use crate::durable::{self, Created};
use crate::executor::Executor;
use crate::explain::compare;
use crate::home::{Home, StoreError};
use crate::step::{StepContext, StepFailure, Work};

/// How often a run that waits for another looks whether that one is through.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What all tasks of a run share.
pub(super) struct Shop<A> {
    pub(super) home: Home,
    pub(super) executor: Arc<dyn Executor<A>>,
    pub(super) run: RunId,
    pub(super) pipeline: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) cancel: CancellationToken,
    pub(super) said: UnboundedSender<(usize, Said)>,
}

impl<A> Shop<A> {
    fn say(&self, place: usize, said: Said) {
        // The loop that listens may have given up on this step.
        let _ = self.said.send((place, said));
    }
}

/// What is known of a step before it runs.
pub(super) enum Prepared {
    Hit(Box<ActionRecord>),
    Ready(Box<Ready>),
}

/// A step that has to run, and that nobody else is running.
pub(super) struct Ready {
    pub(super) key: Key,
    pub(super) because: Because,
    ingredients: Ingredients,
    claim: Arc<Claim>,
}

/// Runs something that reads or writes files on a thread of its own.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StepFailure> + Send + 'static,
) -> Result<T, StepFailure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(StepFailure::interrupted()),
        },
    }
}

/// Finds out whether a step has to run, and claims it if so. `made` holds the content of the inputs
/// that come from other steps.
pub(super) async fn prepare<A: Action + Send + Sync + 'static>(
    shop: &Arc<Shop<A>>,
    place: usize,
    node: &Arc<StepNode<A>>,
    made: BTreeMap<String, ContentHash>,
) -> Result<Prepared, StepFailure> {
    let ingredients = {
        let (shop, node) = (Arc::clone(shop), Arc::clone(node));
        on_a_thread(move || ingredients(&shop.home, &node, made)).await?
    };
    let key = ingredients.key();
    if let Lookup::Hit(record) = lookup(shop, node, key).await? {
        return Ok(Prepared::Hit(record));
    }
    let claim = claim(shop, place, node, key).await?;
    // While we waited, the run that held the claim may have made it.
    let miss = match lookup(shop, node, key).await? {
        Lookup::Hit(record) => return Ok(Prepared::Hit(record)),
        Lookup::Miss(miss) => miss,
    };
    let (shop, node) = (Arc::clone(shop), Arc::clone(node));
    on_a_thread(move || {
        let because = because(&shop.home, &shop.pipeline, &node, &ingredients, miss)?;
        clear_away(&shop, place, &key)?;
        Ok(Prepared::Ready(Box::new(Ready {
            key,
            because,
            ingredients,
            claim: Arc::new(claim),
        })))
    })
    .await
}

fn ingredients<A: Action>(
    mut home: &Home,
    node: &StepNode<A>,
    made: BTreeMap<String, ContentHash>,
) -> Result<Ingredients, StepFailure> {
    let mut inputs = made;
    for input in &node.inputs {
        if let Source::File { path } = &input.from {
            let hash = home.file(path).map_err(|error| {
                let mut failure = StepFailure::from(error);
                failure.kind = distill_pipeline::record::FailureKind::BadInput;
                failure.at(path, None)
            })?;
            inputs.insert(input.port.clone(), hash);
        }
    }
    Ok(Ingredients::of(&node.action, inputs))
}

/// Looks the key up; a hit also becomes the step's last key.
async fn lookup<A: Action + Send + Sync + 'static>(
    shop: &Arc<Shop<A>>,
    node: &Arc<StepNode<A>>,
    key: Key,
) -> Result<Lookup, StepFailure> {
    let (shop, node) = (Arc::clone(shop), Arc::clone(node));
    on_a_thread(move || {
        let found = (&shop.home).lookup(&key, &node)?;
        if matches!(found, Lookup::Hit(_)) {
            note_last_key(&shop, &node.name, key)?;
        }
        Ok(found)
    })
    .await
}

fn note_last_key<A>(shop: &Shop<A>, step: &str, key: Key) -> Result<(), StoreError> {
    let last = LastKey {
        key,
        run: shop.run.clone(),
        at: shop.clock.now(),
    };
    shop.home.write_last_key(&shop.pipeline, step, &last)
}

/// Waits until nobody else is making what the key stands for.
async fn claim<A>(
    shop: &Shop<A>,
    place: usize,
    node: &StepNode<A>,
    key: Key,
) -> Result<Claim, StepFailure> {
    let mut told: Option<Option<RunId>> = None;
    loop {
        let by = match Claim::ask(&shop.home, &key, &shop.run)? {
            Asked::Granted(claim) => return Ok(claim),
            Asked::Held { by } => by,
        };
        if told.as_ref() != Some(&by) {
            let maker = match &by {
                Some(run) if *run == shop.run => "another step of this run".to_owned(),
                Some(run) => format!("run {run}"),
                None => "another run".to_owned(),
            };
            let message = format!("step `{}` is being made by {maker}, waiting", node.name);
            let made_by = by.clone();
            shop.say(place, Said::Waiting { message, made_by });
            told = Some(by);
        }
        tokio::select! {
            () = shop.cancel.cancelled() => return Err(StepFailure::interrupted()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Says why the step runs, from what differs between its key and its last one.
fn because<A>(
    home: &Home,
    pipeline: &str,
    node: &StepNode<A>,
    ingredients: &Ingredients,
    miss: MissReason,
) -> Result<Because, StoreError> {
    let last = home.last_record(pipeline, &node.name)?;
    let now = PartialIngredients {
        known: ingredients.clone(),
        unknown_ports: BTreeSet::new(),
    };
    Ok(Because {
        miss,
        differences: last
            .as_ref()
            .map_or_else(Vec::new, |last| compare(last, &now, node)),
        compared_with: last.map(|last| last.run),
    })
}

/// Moves a record that cannot be used any more into quarantine, and with it what is corrupted.
fn clear_away<A>(shop: &Shop<A>, place: usize, key: &Key) -> Result<(), StoreError> {
    let outputs = shop.home.read_action(key)?.map(|record| record.outputs);
    for (port, output) in outputs.into_iter().flatten() {
        let artifact = output.hash;
        if shop.home.verify(&artifact)? == Presence::Corrupted {
            let moved_to = shop.home.quarantine_artifact(&artifact, &shop.run)?;
            let said = Said::Corrupted {
                port,
                artifact,
                moved_to,
            };
            shop.say(place, said);
        }
    }
    shop.home.retire_action(key, &shop.run)?;
    Ok(())
}

/// Has the step done and publishes what it made.
pub(super) async fn execute<A: Action + Clone + Send + Sync + 'static>(
    shop: &Arc<Shop<A>>,
    place: usize,
    node: &Arc<StepNode<A>>,
    ready: Ready,
) -> Result<Box<ActionRecord>, StepFailure> {
    let started = Instant::now();
    let work = {
        let (shop, node, key) = (Arc::clone(shop), Arc::clone(node), ready.key);
        let inputs = ready.ingredients.inputs.clone();
        on_a_thread(move || Ok(work(&shop, &node, key, &inputs)?)).await?
    };
    let outputs = work.outputs.clone();
    let talker = Arc::clone(shop);
    let context = StepContext::new(
        shop.run.clone(),
        node.name.as_str(),
        shop.cancel.clone(),
        Arc::new(move |event| talker.say(place, Said::Step(event))),
    )
    .holding(Arc::clone(&ready.claim));
    let outcome = shop.executor.execute(work, context).await?;
    let seconds = started.elapsed().as_secs_f64();
    let (shop, node) = (Arc::clone(shop), Arc::clone(node));
    on_a_thread(move || {
        check_sources(&shop.home, &node, &ready.ingredients)?;
        let record = ActionRecord {
            key: ready.key,
            outputs: adopt(&shop, &node, &outputs)?,
            run: shop.run.clone(),
            pipeline: shop.pipeline.clone(),
            step: node.name.clone(),
            finished: shop.clock.now(),
            seconds,
            facts: outcome.facts,
            because: ready.because,
            ingredients: ready.ingredients,
        };
        let record = publish(&shop, place, &node, record)?;
        note_last_key(&shop, &node.name, ready.key)?;
        durable::remove(&shop.home.work(&ready.key))?;
        // The claim may only end now that a record stands where others will look.
        drop(ready.claim);
        Ok(Box::new(record))
    })
    .await
}

/// Sets the work directory up: what an unfinished attempt left among the outputs goes, its
/// checkpoints stay.
fn work<A: Action + Clone>(
    shop: &Shop<A>,
    node: &StepNode<A>,
    key: Key,
    contents: &BTreeMap<String, ContentHash>,
) -> Result<Work<A>, StoreError> {
    let directory = shop.home.work(&key);
    let scratch = directory.join("scratch");
    let out = directory.join("out");
    durable::remove(&out)?;
    for path in [&scratch, &out] {
        fs::create_dir_all(path).map_err(StoreError::io("create", path))?;
    }
    let inputs = node.inputs.iter().map(|input| {
        let path = match &input.from {
            Source::File { path } => path.clone(),
            Source::Step { .. } => shop.home.artifact(&contents[&input.port]),
        };
        (input.port.clone(), path)
    });
    let outputs = node.outputs.iter().map(|port| {
        let path = out.join(&port.name);
        (port.name.clone(), path)
    });
    Ok(Work {
        run: shop.run.clone(),
        step: node.name.clone(),
        key,
        action: node.action.clone(),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        work_dir: scratch,
        seed: node.action.seed(),
    })
}

/// Makes sure that the user's files are still those that the key speaks of.
fn check_sources<A>(
    mut home: &Home,
    node: &StepNode<A>,
    ingredients: &Ingredients,
) -> Result<(), StepFailure> {
    for input in &node.inputs {
        if let Source::File { path } = &input.from
            && home.file(path)? != ingredients.inputs[&input.port]
        {
            let message = format!(
                "{} changed while step `{}` read it",
                path.display(),
                node.name
            );
            return Err(StepFailure::bad_input(message)
                .at(path, None)
                .hint("run the same command again once the file is complete")
                .retryable());
        }
    }
    Ok(())
}

fn adopt<A>(
    shop: &Shop<A>,
    node: &StepNode<A>,
    paths: &BTreeMap<String, PathBuf>,
) -> Result<BTreeMap<String, OutputRecord>, StepFailure> {
    let mut outputs = BTreeMap::new();
    for port in &node.outputs {
        let path: &Path = &paths[&port.name];
        if fs::symlink_metadata(path).is_err() {
            let message = format!(
                "step `{}` ended without writing its output `{}`",
                node.name, port.name
            );
            return Err(StepFailure::failed(message).at(path, None));
        }
        let output = shop.home.adopt(path, &port.kind, &shop.run)?;
        outputs.insert(port.name.clone(), output);
    }
    Ok(outputs)
}

/// Publishes the record, or gives the one that was published before, which then stands.
fn publish<A>(
    shop: &Shop<A>,
    place: usize,
    node: &StepNode<A>,
    ours: ActionRecord,
) -> Result<ActionRecord, StepFailure> {
    loop {
        if shop.home.publish_action(&ours)? == Created::Now {
            return Ok(ours);
        }
        match (&shop.home).lookup(&ours.key, node)? {
            Lookup::Hit(first) => {
                let same = first.outputs == ours.outputs;
                if !same {
                    let (key, made_by) = (first.key, first.run.clone());
                    shop.say(place, Said::Kept { key, made_by });
                }
                return Ok(*first);
            }
            // The record before ours names what is not there; it must not keep ours out.
            Lookup::Miss(_) => {
                shop.home.retire_action(&ours.key, &shop.run)?;
            }
        }
    }
}
