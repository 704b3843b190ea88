//! Progress of a run on standard error: bars for a person, plain lines elsewhere.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use distill_pipeline::record::{Event, Level, What};
use distill_runner::Observer;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where events go while a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Bars,
    Lines,
    /// Events as JSON lines on standard output.
    Json,
}

/// An observer that shows events.
pub(crate) fn observer(view: View) -> Observer {
    match view {
        View::Json => Arc::new(|event: &Event| {
            println!(
                "{}",
                serde_json::to_string(event).expect("an event serialises")
            );
        }),
        View::Lines => Arc::new(|event: &Event| {
            if let Some(line) = line(event) {
                eprintln!("{line}");
            }
        }),
        View::Bars => {
            let bars = Mutex::new(Bars::default());
            Arc::new(move |event: &Event| {
                bars.lock()
                    .expect("no holder of this lock panics")
                    .show(event);
            })
        }
    }
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    running: HashMap<String, ProgressBar>,
}

impl Bars {
    fn show(&mut self, event: &Event) {
        match &event.what {
            What::StepStarted { step, .. } => {
                let bar = self.all.add(ProgressBar::new_spinner());
                bar.set_style(spinner());
                bar.set_prefix(step.clone());
                bar.enable_steady_tick(Duration::from_millis(120));
                self.running.insert(step.clone(), bar);
            }
            What::StepProgress {
                step,
                done,
                total,
                unit,
                message,
            } => {
                if let Some(bar) = self.running.get(step) {
                    if let Some(total) = total {
                        bar.set_length(*total);
                        bar.set_style(counter());
                    }
                    bar.set_position(*done);
                    bar.set_message(message.clone().unwrap_or_else(|| unit.clone()));
                }
            }
            What::StepFinished { step, .. }
            | What::StepFailed { step, .. }
            | What::StepInterrupted { step, .. } => {
                if let Some(bar) = self.running.remove(step) {
                    bar.finish_and_clear();
                }
                self.print(event);
            }
            _ => self.print(event),
        }
    }

    fn print(&self, event: &Event) {
        if let Some(line) = line(event) {
            // A lost terminal must not end the run.
            let _ = self.all.println(line);
        }
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("  {spinner} {prefix:24} {elapsed:>4} {msg}")
        .expect("the template is valid")
}

fn counter() -> ProgressStyle {
    ProgressStyle::with_template("  {spinner} {prefix:24} {elapsed:>4} {bar:24} {pos}/{len} {msg}")
        .expect("the template is valid")
}

/// One line for an event that a person wants to see, if it is one.
fn line(event: &Event) -> Option<String> {
    Some(match &event.what {
        What::RunStarted { run, pipeline } => format!("run {run} of {pipeline}"),
        What::StepWaiting { step, message, .. } => format!("  {step:24} waits: {message}"),
        What::StepStarted { step, .. } => format!("  {step:24} started"),
        What::StepNote {
            step,
            level: Level::Info,
            text,
        } => format!("  {step:24} {text}"),
        What::StepNote {
            step,
            level: Level::Warning,
            text,
        } => format!("  {step:24} warning: {text}"),
        What::ArtifactCorrupted {
            step,
            port,
            moved_to,
            ..
        } => {
            format!(
                "  {step:24} its `{port}` was damaged on disk, is kept at {moved_to}, and is made again",
                moved_to = moved_to.display()
            )
        }
        What::StepFinished {
            step,
            cached: true,
            made_by,
            ..
        } => format!("  {step:24} cached (made by {made_by})"),
        What::StepFinished { step, seconds, .. } => format!("  {step:24} done in {seconds:.1} s"),
        What::StepFailed { step, failure } => format!("  {step:24} failed: {}", failure.message),
        What::StepSkipped { step, reason } => format!("  {step:24} skipped: {reason}"),
        What::StepInterrupted { step, message } => format!("  {step:24} interrupted: {message}"),
        _ => return None,
    })
}
