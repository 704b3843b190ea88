//! A run that was cut off ends with the bytes of one that was not.

use std::path::Path;
use std::process::Command;

use super::tests::{plain, recorded};
use super::*;
use crate::Method;
use distill_student::encoder::DropoutRates;
use distill_student::lora::{LoraConfig, LoraVariant};

/// Every kind of training whose state differs, with dropout everywhere that it can be.
fn every_method() -> Vec<Method> {
    let adapter = |variant, dropout| {
        Method::Lora(LoraConfig {
            rank: 3,
            alpha: 6.0,
            variant,
            dropout,
            ..LoraConfig::default()
        })
    };
    vec![
        Method::Full,
        adapter(LoraVariant::Lora, 0.0),
        adapter(LoraVariant::Dora, 0.1),
    ]
}

fn bytes(outcome: &EncoderOutcome) -> Vec<u8> {
    match &outcome.trained {
        TrainedEncoder::Lora(adapter) => adapter.to_safetensors().unwrap(),
        TrainedEncoder::Full(weights) => weights.to_safetensors().unwrap(),
    }
}

/// The tiny BERT with dropout everywhere, its rows, and settings of eight steps.
fn run(
    method: &Method,
    directory: Option<&Path>,
    on_event: &mut dyn FnMut(&TrainEvent),
) -> Result<EncoderOutcome, TrainError> {
    let recorded = recorded("bert");
    let (mut config, tensors) = (
        recorded.weights.config().clone(),
        recorded.weights.tensors().clone(),
    );
    config.dropout = DropoutRates {
        embeddings: 0.1,
        attention: 0.2,
        attended: 0.1,
        inner: 0.1,
        fed_forward: 0.1,
        classifier: 0.1,
    };
    let weights = EncoderWeights::from_tensors(config, tensors).unwrap();
    let settings = EncoderSettings {
        method: method.clone(),
        epochs: 4,
        batch_rows: 2,
        accumulation: 2,
        learning_rate: 5e-3,
        clip: 0.5,
        validate_every: Some(3),
        patience: Some(20),
        overfit_rows: 2,
        overfit_steps: 10,
        ..plain(&recorded.training)
    };
    let request = EncoderRequest {
        weights: &weights,
        settings: &settings,
        train: &recorded.examples,
        validation: &recorded.examples[..2],
        initial: None,
        checkpointing: directory.map(|directory| Checkpointing {
            directory: directory.to_owned(),
            every_steps: 2,
        }),
        cancelled: &|| false,
    };
    train_encoder(&request, &mut |event| on_event(&event))
}

/// Names the folder in which a child process is to train, and the step at which it is to die.
const KILLED: &str = "DISTILL_TEST_KILLED_ENCODER";

/// In the child: a run that is killed in the middle. Elsewhere it has nothing to do.
#[test]
fn killed_child() {
    let Ok(told) = std::env::var(KILLED) else {
        return;
    };
    let (method, told) = told.split_once(' ').unwrap();
    let (last, directory) = told.split_once(' ').unwrap();
    let (method, last): (usize, usize) = (method.parse().unwrap(), last.parse().unwrap());
    let mut steps = 0;
    let _ = run(
        &every_method()[method],
        Some(Path::new(directory)),
        &mut |event| {
            steps += usize::from(matches!(event, TrainEvent::Step { .. }));
            if steps == last {
                let process = std::process::id().to_string();
                let _ = Command::new("kill").args(["-KILL", &process]).status();
                // Not reached: the signal cannot be caught.
                std::process::abort();
            }
        },
    );
}

#[test]
#[cfg(unix)]
fn killed_at_any_step_and_resumed_equals_straight() {
    use std::os::unix::process::ExitStatusExt;
    const SIGKILL: i32 = 9;
    for (index, method) in every_method().into_iter().enumerate() {
        let straight = run(&method, None, &mut |_| {}).unwrap();
        assert_eq!(straight.summary.steps, 8);
        for step in 1..=straight.summary.steps {
            let directory = tempfile::tempdir().unwrap();
            let told = format!("{index} {step} {}", directory.path().display());
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "encoder::resume_tests::killed_child", "--quiet"])
                .env(KILLED, told)
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            assert_eq!(status.signal(), Some(SIGKILL), "{status}");
            let mut resumed_from = None;
            let resumed = run(&method, Some(directory.path()), &mut |event| {
                if let TrainEvent::Started { resumed_at, .. } = event {
                    resumed_from = *resumed_at;
                }
            });
            // Checkpoints are made after every second step; the kill came before its own.
            let saved = (step - 1) / 2 * 2;
            assert_eq!(resumed_from, (saved > 0).then_some(saved));
            let resumed = resumed.unwrap();
            assert!(bytes(&resumed) == bytes(&straight), "{index}, step {step}");
            assert_eq!(resumed.summary, straight.summary);
        }
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let methods = every_method();
    run(&methods[1], Some(directory.path()), &mut |_| {}).unwrap();
    let error = run(&methods[2], Some(directory.path()), &mut |_| {}).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("other weights, data or settings"), "{error}");
}

#[test]
fn a_checkpoint_that_cannot_be_read_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.safetensors");
    let method = &every_method()[1];
    run(method, Some(directory.path()), &mut |_| {}).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let refused = || {
        let error = run(method, Some(directory.path()), &mut |_| {}).unwrap_err();
        let told = error.to_string();
        assert!(told.contains("move it away to start afresh"), "{told}");
        told
    };
    for cut in [0, 4, 100, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        refused();
    }
    #[cfg(unix)]
    {
        // A pipe without a writer would be waited for without end.
        std::fs::remove_file(&path).unwrap();
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        assert!(refused().contains("named pipe"));
    }
}
