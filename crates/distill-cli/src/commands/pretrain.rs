//! `distill pretrain`: makes a base model from its recipe.

use std::{fs, path::Path, process::ExitCode};

use distill_train::pretrain::{PretrainError, PretrainEvent, PretrainRequest, Recipe, pretrain};
use tokio_util::sync::CancellationToken;

use super::interruption;
use crate::{
    arguments::PretrainArguments,
    environment,
    failure::{Failure, exit},
};

/// Steps between checkpoints.
const CHECKPOINT_STEPS: usize = 50;

pub(crate) async fn execute(arguments: &PretrainArguments) -> Result<ExitCode, Failure> {
    let mut recipe = recipe(&arguments.recipe)?;
    if let Some(steps) = arguments.max_steps {
        recipe = recipe.shortened(steps.max(1));
    }
    fs::create_dir_all(&arguments.out).map_err(|error| {
        Failure::failed(format!("`{}` cannot be made", arguments.out.display())).caused_by(error)
    })?;
    let (cancel, folder) = (interruption(), arguments.out.clone());
    let joined = tokio::task::spawn_blocking(move || make(&recipe, &folder, &cancel)).await;
    match joined.map_err(|error| Failure::bug("pretraining panicked").caused_by(error))? {
        Ok(summary) => {
            println!(
                "{}",
                serde_json::to_string_pretty(&summary).expect("a summary serialises")
            );
            eprintln!(
                "the model is in `{}`: name that folder as `student.target`",
                arguments.out.display()
            );
            Ok(ExitCode::SUCCESS)
        }
        Err(PretrainError::Cancelled { step }) => {
            eprintln!(
                "interrupted at step {step}: the same command goes on from the last checkpoint"
            );
            Ok(ExitCode::from(exit::INTERRUPTED))
        }
        Err(error) => Err(Failure::failed("no base model came of it").caused_by(error)),
    }
}

fn recipe(name: &str) -> Result<Recipe, Failure> {
    if let Some(recipe) = Recipe::named(name) {
        return Ok(recipe);
    }
    let text = environment::read_text(Path::new(name)).map_err(|error| {
        Failure::bad_input(format!(
            "`{name}` is neither an embedded recipe nor a file that can be read"
        ))
        .caused_by(error)
        .hint("`nano` is embedded")
    })?;
    Recipe::from_json(&text).map_err(|error| {
        Failure::bad_input(format!("recipe `{name}` cannot be used")).caused_by(error)
    })
}

fn make(
    recipe: &Recipe,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<distill_train::pretrain::PretrainSummary, PretrainError> {
    let request = PretrainRequest {
        recipe,
        directory: folder,
        checkpoint_every: CHECKPOINT_STEPS,
        cancelled: &|| cancel.is_cancelled(),
    };
    pretrain(&request, &mut |event| match event {
        PretrainEvent::Vocabulary { tokens, seconds } => {
            eprintln!("vocabulary of {tokens} tokens learnt in {seconds:.1} s");
        }
        PretrainEvent::Started {
            parameters,
            steps,
            resumed_at,
        } => {
            let from =
                resumed_at.map_or_else(String::new, |step| format!(", goes on from step {step}"));
            eprintln!("{parameters} parameters, {steps} steps{from}");
        }
        PretrainEvent::Step {
            step,
            steps,
            reply_loss,
            text_loss,
            tokens,
            seconds,
            ..
        } if step % 10 == 0 || step == steps => {
            eprintln!(
                "step {step}/{steps}  reply loss {reply_loss:.3}  text loss {text_loss:.3}  {:.0} tokens/s",
                tokens as f64 / seconds.max(1e-9)
            );
        }
        PretrainEvent::Step { .. } | PretrainEvent::Checkpointed { .. } => {}
    })
}
