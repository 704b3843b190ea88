//! Base models by their hub name: where they lie, which a pipeline wants, how they are fetched, and
//! the list of models that fit.

use std::{path::Path, sync::Arc};

use distill_hub::{Cache, Hub, HubError, HubSettings, ModelName, Progress, Registry, Snapshot};
use distill_pipeline::spec::{ResolvedSpec, StudentTarget, Students};
use distill_runner::StepFailure;
use distill_student::{base::find_folders_with, regular_file};

use crate::{
    base::{BaseReference, hub_name},
    teacher::Environment,
};

mod listing;

pub use listing::{BATCH_TOKENS, Listing, ModelFacts, SERVED_TOKENS, Unread, list};

/// Where fetched models lie; `None` where the environment names no folder.
pub fn cache(environment: &Environment) -> Option<Cache> {
    settings(environment).ok().map(|settings| settings.cache)
}

fn settings(environment: &Environment) -> Result<HubSettings, HubError> {
    HubSettings::new(&**environment)
}

/// Lets students find the base models that they name by their hub name. Once for the process.
pub fn install(environment: &Environment) {
    let Some(cache) = cache(environment) else {
        return;
    };
    find_folders_with(Box::new(move |name| {
        let name: ModelName = name.parse().ok()?;
        cache.find(&name).map(|snapshot| snapshot.folder)
    }));
}

/// Under which licence a base model is, as the list of models, or its own card, says. `base` is the
/// name that a student's bundle has for it. None where nobody says.
pub fn licence(base: &str, environment: &Environment) -> Option<String> {
    if base.starts_with("embedded:") {
        // Made by this project, from text that it writes itself.
        return Some("Apache-2.0".to_owned());
    }
    let folder = Path::new(base);
    if folder.is_dir() {
        return licence_of_card(folder);
    }
    let name: ModelName = base.parse().ok()?;
    let listed = Registry::embedded().ok();
    let row = listed.as_ref().and_then(|list| list.find(name.id()));
    row.map(|row| row.licence.clone()).or_else(|| {
        let snapshot = cache(environment)?.find(&name)?;
        licence_of_card(&snapshot.folder)
    })
}

/// The line `license:` before the text of a `README.md`.
fn licence_of_card(folder: &Path) -> Option<String> {
    let card =
        regular_file::read_text(&folder.join("README.md"), regular_file::LONGEST_TEXT).ok()?;
    let front = card.strip_prefix("---")?.split("\n---").next()?;
    let line = front
        .lines()
        .find_map(|line| line.strip_prefix("license:"))?;
    let licence = line.trim().trim_matches(['"', '\'']);
    (!licence.is_empty()).then(|| licence.to_owned())
}

/// The models of the hub that a pipeline names and that are not on this machine. `path` is the
/// pipeline file's.
pub fn wanted(spec: &ResolvedSpec, path: &Path, environment: &Environment) -> Vec<ModelName> {
    let students = match &spec.students {
        Students::Named(targets) => targets.as_slice(),
        Students::Auto => &[],
    };
    let objective = spec.train.objective.as_ref();
    let teacher = objective.and_then(|objective| objective.teacher());
    let folder = path.parent().unwrap_or(Path::new(""));
    let cache = cache(environment);
    let mut wanted = Vec::new();
    for target in students.iter().chain(teacher) {
        let StudentTarget::Directory(text) = target else {
            continue;
        };
        let reference = BaseReference::of_target(target, folder, cache.as_ref());
        let missing = reference.is_ok_and(|reference| reference.missing().is_some());
        if missing
            && let Some(name) = hub_name(text, folder)
            && !wanted.contains(&name)
        {
            wanted.push(name);
        }
    }
    wanted
}

/// Fetches a model, or takes it from the cache where its commit is there.
///
/// # Errors
/// A [`StepFailure`] that says what to do.
pub async fn fetch(
    name: &ModelName,
    environment: &Environment,
    progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Snapshot, StepFailure> {
    let fetched = async {
        let hub = Hub::new(settings(environment)?)?;
        hub.fetch(name, progress).await
    };
    fetched.await.map_err(|error| failure(name, error))
}

fn failure(name: &ModelName, error: HubError) -> StepFailure {
    let message = format!("the model `{name}` cannot be fetched");
    let failure = match &error {
        HubError::Name(_)
        | HubError::NotFound { .. }
        | HubError::Revision { .. }
        | HubError::Gated { .. }
        | HubError::Token { .. }
        | HubError::Settings { .. }
        | HubError::Offline { .. }
        | HubError::Unfit { .. } => StepFailure::bad_input(message),
        _ => StepFailure::failed(message),
    };
    let hint = error.hint();
    let failure = failure.caused_by(Arc::new(error));
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
