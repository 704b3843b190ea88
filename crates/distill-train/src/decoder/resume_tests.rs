//! A run that was cut off ends with the bytes of one that was not.

use std::cell::Cell;
use std::path::Path;

use super::tests::{bytes, lora, rows, settings, train, weights};
use super::*;

/// Trains with checkpoints in a folder; a cancellation comes after `steps` more steps.
fn run_for(
    directory: &Path,
    settings: &TrainSettings,
    steps: usize,
) -> (Result<TrainOutcome, TrainError>, Vec<TrainEvent>) {
    let weights = weights();
    let done = Cell::new(0);
    let mut events = Vec::new();
    let request = TrainRequest {
        weights: &weights,
        settings,
        train: &rows(24),
        validation: &rows(6),
        initial: None,
        checkpointing: Some(Checkpointing {
            directory: directory.to_owned(),
            every_steps: 2,
        }),
        cancelled: &|| done.get() >= steps,
    };
    let outcome = train_decoder(&request, &mut |event| {
        if matches!(event, TrainEvent::Step { .. }) {
            done.set(done.get() + 1);
        }
        events.push(event);
    });
    (outcome, events)
}

fn lasting(method: Method) -> TrainSettings {
    TrainSettings {
        validate_every: Some(3),
        patience: Some(20),
        ..settings(method)
    }
}

#[test]
fn cut_off_anywhere_and_resumed_equals_straight() {
    for method in [lora(), Method::Full] {
        let settings = lasting(method.clone());
        let (straight, _) = train(&settings, &rows(24), &rows(6));
        for steps in [1, 2, 3, 5] {
            let directory = tempfile::tempdir().unwrap();
            let mut runs = 0;
            let resumed = loop {
                runs += 1;
                match run_for(directory.path(), &settings, steps).0 {
                    Ok(outcome) => break outcome,
                    Err(TrainError::Cancelled { step }) => assert_eq!(step, runs * steps),
                    Err(error) => panic!("{error}"),
                }
            };
            assert!(runs > 1);
            assert!(bytes(&resumed) == bytes(&straight), "{method:?}, {steps}");
            assert_eq!(resumed.summary, straight.summary);
        }
    }
}

#[test]
fn a_crash_between_checkpoints_loses_only_steps_since_the_last() {
    let settings = lasting(lora());
    let (straight, _) = train(&settings, &rows(24), &rows(6));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.safetensors");
    let _ = run_for(directory.path(), &settings, 4);
    let saved = std::fs::read(&path).unwrap();
    let _ = run_for(directory.path(), &settings, 3);
    // What a kill leaves: an older checkpoint, and a new one half written beside it.
    std::fs::write(&path, &saved).unwrap();
    std::fs::write(path.with_extension("partial"), &saved[..100]).unwrap();
    let (resumed, events) = run_for(directory.path(), &settings, usize::MAX);
    assert!(matches!(
        events[0],
        TrainEvent::Started {
            resumed_at: Some(4),
            ..
        }
    ));
    let resumed = resumed.unwrap();
    assert!(bytes(&resumed) == bytes(&straight));
    assert_eq!(resumed.summary, straight.summary);
}

#[test]
fn a_finished_run_resumes_to_its_result_without_a_step() {
    let settings = lasting(lora());
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = run_for(directory.path(), &settings, usize::MAX);
    let steps = first.as_ref().unwrap().summary.steps;
    let (second, events) = run_for(directory.path(), &settings, usize::MAX);
    let ran = events
        .iter()
        .filter(|event| matches!(event, TrainEvent::Step { .. }))
        .count();
    assert_eq!(ran, steps % 2, "checkpoints are made every second step");
    assert!(bytes(&second.unwrap()) == bytes(&first.unwrap()));
}

#[test]
fn a_checkpoint_of_another_run_or_a_broken_one_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.safetensors");
    let _ = run_for(directory.path(), &lasting(lora()), 4);
    let saved = std::fs::read(&path).unwrap();
    let other = TrainSettings {
        seed: 18,
        ..lasting(lora())
    };
    let (result, _) = run_for(directory.path(), &other, 4);
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains("other weights, data or settings"),
        "{message}"
    );
    assert!(std::fs::read(&path).unwrap() == saved);

    std::fs::write(&path, &saved[..saved.len() / 2]).unwrap();
    let (result, _) = run_for(directory.path(), &lasting(lora()), 4);
    assert!(matches!(result, Err(TrainError::Checkpoint { .. })));
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| bytes(&train(&lasting(Method::Full), &rows(24), &rows(6)).0))
    };
    let one = run(1);
    assert!(run(2) == one && run(3) == one);
}
