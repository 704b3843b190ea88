//! A run that was cut off ends with the bytes of one that was not.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use super::tests::{bytes, lora, rows, settings, train, weights};
use super::*;
use distill_student::lora::{LoraConfig, LoraVariant, Targets};

/// Every kind of training whose state differs, with dropout where it can be.
fn every_method() -> Vec<Method> {
    let adapter = |variant, train_embeddings| {
        Method::Lora(LoraConfig {
            rank: 3,
            alpha: 6.0,
            variant,
            targets: Targets::AllLinear,
            train_embeddings,
            dropout: 0.1,
            ..LoraConfig::default()
        })
    };
    vec![
        lora(),
        adapter(LoraVariant::RsLora, true),
        adapter(LoraVariant::Dora, false),
        Method::Full,
    ]
}

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
    for method in every_method() {
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

/// Names the folder in which a child process is to train, and the step at which it is to die.
const KILLED: &str = "DISTILL_TEST_KILLED";

/// In the child: a run that is killed in the middle. Elsewhere it has nothing to do.
#[test]
fn killed_child() {
    let Ok(told) = std::env::var(KILLED) else {
        return;
    };
    let (method, told) = told.split_once(' ').unwrap();
    let (last, directory) = told.split_once(' ').unwrap();
    let (method, last): (usize, usize) = (method.parse().unwrap(), last.parse().unwrap());
    let weights = weights();
    let settings = lasting(every_method().swap_remove(method));
    let request = TrainRequest {
        weights: &weights,
        settings: &settings,
        train: &rows(24),
        validation: &rows(6),
        initial: None,
        checkpointing: Some(Checkpointing {
            directory: directory.into(),
            every_steps: 2,
        }),
        cancelled: &|| false,
    };
    let mut steps = 0;
    let _ = train_decoder(&request, &mut |event| {
        steps += usize::from(matches!(event, TrainEvent::Step { .. }));
        if steps == last {
            let process = std::process::id().to_string();
            let _ = Command::new("kill").args(["-KILL", &process]).status();
            // Not reached: the signal cannot be caught.
            std::process::abort();
        }
    });
}

#[test]
#[cfg(unix)]
fn killed_at_any_step_and_resumed_equals_straight() {
    use std::os::unix::process::ExitStatusExt;
    const SIGKILL: i32 = 9;
    for (index, method) in every_method().into_iter().enumerate() {
        let settings = lasting(method);
        let (straight, _) = train(&settings, &rows(24), &rows(6));
        for step in 1..=straight.summary.steps {
            let directory = tempfile::tempdir().unwrap();
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "decoder::resume_tests::killed_child", "--quiet"])
                .env(
                    KILLED,
                    format!("{index} {step} {}", directory.path().display()),
                )
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.signal(), Some(SIGKILL), "{status}");
            let (resumed, events) = run_for(directory.path(), &settings, usize::MAX);
            let TrainEvent::Started { resumed_at, .. } = &events[0] else {
                panic!("the first event is {:?}", events[0]);
            };
            // Checkpoints are made after every second step; the kill came before its own.
            let saved = (step - 1) / 2 * 2;
            assert_eq!(*resumed_at, (saved > 0).then_some(saved));
            let resumed = resumed.unwrap();
            assert!(bytes(&resumed) == bytes(&straight), "{index}, step {step}");
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
    for method in every_method() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| bytes(&train(&lasting(method.clone()), &rows(24), &rows(6)).0))
        };
        let one = run(1);
        assert!(run(2) == one && run(3) == one, "{method:?}");
    }
}
