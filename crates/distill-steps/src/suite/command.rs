//! A scorer of the user's: a command that reads rows as JSON lines and writes scores as JSON lines.
//!
//! In: `{"id", "input", "output", "expected", "fields"}`, one line a row that has an output. Out, in
//! any order: `{"id", "score"}` with a number (true and false count as 1 and 0), or
//! `{"id", "unscored": "why"}`. A row that no line comes back for is unscored, and says so.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use distill_chat::Fields;
use distill_eval::{SampleRecord, Score};
use distill_pipeline::spec::suite::{CommandSpec, CommandUnit};
use distill_runner::{StepContext, StepFailure};
use serde::Serialize;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStderr, ChildStdin, ChildStdout, Command},
};

use crate::plausible::can_be_averaged;

/// Bytes of one line that a command may write.
const MOST_LINE_BYTES: usize = 1 << 20;
/// Bytes of the command's own words that a failure repeats.
const MOST_WORDS_BYTES: usize = 2000;

/// One row as the command reads it.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    input: &'a str,
    output: &'a str,
    expected: Option<&'a str>,
    fields: &'a Fields,
}

/// Scores the records of one answerer. `fields` are the columns of each row, in the same order.
///
/// # Errors
/// A [`StepFailure`] that names the command: it does not start, ends with a failure, writes a line
/// that is no score, scores a row that it was not asked about, or takes too long.
pub(super) async fn score(
    command: &CommandSpec,
    folder: &Path,
    records: &[SampleRecord],
    fields: &[&Fields],
    context: &StepContext,
) -> Result<Vec<Score>, StepFailure> {
    let mut lines = Vec::new();
    let mut asked = HashSet::new();
    for (record, fields) in records.iter().zip(fields) {
        let Some(output) = &record.output else {
            continue;
        };
        asked.insert(record.id.as_str());
        let line = Line {
            id: &record.id,
            input: &record.input,
            output,
            expected: record.expected.as_deref(),
            fields,
        };
        serde_json::to_writer(&mut lines, &line)
            .map_err(|error| StepFailure::bug("a row does not serialise").caused_by(error))?;
        lines.push(b'\n');
    }
    let mut found = HashMap::new();
    if !asked.is_empty() {
        found = run(command, folder, lines, &asked, context).await?;
    }
    Ok(records
        .iter()
        .map(|record| match (&record.output, found.remove(&record.id)) {
            (None, _) => Score::unscored(
                record
                    .problem
                    .clone()
                    .unwrap_or_else(|| "there is no answer".to_owned()),
            ),
            (Some(_), Some(score)) => score,
            (Some(_), None) => {
                Score::unscored(format!("`{}` gave no score for this row", command.name))
            }
        })
        .collect())
}

async fn run(
    command: &CommandSpec,
    folder: &Path,
    lines: Vec<u8>,
    asked: &HashSet<&str>,
    context: &StepContext,
) -> Result<HashMap<String, Score>, StepFailure> {
    let here = Path::new(".");
    let mut child = Command::new(&command.run[0])
        .args(&command.run[1..])
        .current_dir(if folder.as_os_str().is_empty() {
            here
        } else {
            folder
        })
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Processes of its own belong to it, and end with it.
        .process_group(0)
        .spawn()
        .map_err(|error| {
            StepFailure::bad_input(format!("the scorer {} does not start", named(command)))
                .caused_by(error)
                .hint("it runs in the suite's folder; give a program on the path or a full path")
        })?;
    let mut group = Group(child.id());
    let stdin = child.stdin.take().expect("standard input is piped");
    let stdout = child.stdout.take().expect("standard output is piped");
    let stderr = child.stderr.take().expect("standard error is piped");
    let limit = Duration::from_secs_f64(command.timeout_seconds);
    let talk = async {
        // The first line that is no score ends the talk: what still comes cannot mend it.
        let ((), words, found) = tokio::try_join!(
            feed(stdin, lines),
            async { Ok(last_words(stderr).await) },
            listen(command, stdout, asked)
        )?;
        let status = child.wait().await;
        group.0 = None;
        finish(command, status, words, found)
    };
    // Whichever way this ends, dropping the group and the child kills them.
    tokio::select! {
        () = context.cancel().cancelled() => Err(StepFailure::interrupted()),
        done = tokio::time::timeout(limit, talk) => done.unwrap_or_else(|_| {
            Err(StepFailure::failed(format!(
                "the scorer {} was not done after {} seconds, and was ended",
                named(command),
                command.timeout_seconds
            ))
            .hint("it must write a line for each row and end when its input ends; `timeout_seconds` gives it more time"))
        }),
    }
}

/// A command's process group, which holds whatever the command started: killed when dropped. Empty
/// once the command was waited for, since its number may then belong to somebody else.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let Some(leader) = self.0 else { return };
        // The command itself is killed with its handle; without a shell its children outlive it.
        let _ = std::process::Command::new("sh")
            .args(["-c", "kill -s KILL -- \"-$0\"", &leader.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

fn finish(
    command: &CommandSpec,
    status: std::io::Result<ExitStatus>,
    words: String,
    found: HashMap<String, Score>,
) -> Result<HashMap<String, Score>, StepFailure> {
    let status = status.map_err(|error| {
        StepFailure::failed(format!("the scorer {} was lost", named(command))).caused_by(error)
    })?;
    if status.success() {
        return Ok(found);
    }
    let failure = StepFailure::failed(format!("the scorer {} ended with {status}", named(command)));
    Err(if words.is_empty() {
        failure.hint("it wrote nothing to standard error")
    } else {
        failure.hint(format!("it said: {words}"))
    })
}

/// A command that ends early, or reads nothing, is no failure by itself.
async fn feed(mut stdin: ChildStdin, lines: Vec<u8>) -> Result<(), StepFailure> {
    let _ = stdin.write_all(&lines).await;
    let _ = stdin.shutdown().await;
    Ok(())
}

/// The end of what the command said to standard error.
async fn last_words(mut stderr: ChildStderr) -> String {
    let mut words = Vec::new();
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut part).await {
        words.extend_from_slice(&part[..count]);
        if words.len() > 2 * MOST_WORDS_BYTES {
            words.drain(..words.len() - MOST_WORDS_BYTES);
        }
    }
    let text = String::from_utf8_lossy(&words);
    text.trim().to_owned()
}

async fn listen(
    command: &CommandSpec,
    stdout: ChildStdout,
    asked: &HashSet<&str>,
) -> Result<HashMap<String, Score>, StepFailure> {
    let mut found = HashMap::new();
    let mut reader = BufReader::new(stdout);
    let mut number = 0_usize;
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut reader).take(MOST_LINE_BYTES as u64 + 1);
        let read = bounded
            .read_until(b'\n', &mut line)
            .await
            .map_err(|error| {
                StepFailure::failed(format!("the scorer {} was lost", named(command)))
                    .caused_by(error)
            })?;
        if read == 0 {
            return Ok(found);
        }
        number += 1;
        let wrong = |problem: String| {
            StepFailure::failed(format!(
                "line {number} of the scorer {}: {problem}",
                named(command)
            ))
            .hint("each line must be `{\"id\": ID, \"score\": NUMBER}` or `{\"id\": ID, \"unscored\": \"why\"}`; what is meant for a person belongs on standard error")
        };
        if read > MOST_LINE_BYTES {
            return Err(wrong(format!("it is longer than {MOST_LINE_BYTES} bytes")));
        }
        let text = std::str::from_utf8(&line)
            .map_err(|_| wrong("it is not UTF-8".to_owned()))?
            .trim();
        if text.is_empty() {
            continue;
        }
        let (id, score) = read_line(text, command.unit).map_err(wrong)?;
        if !asked.contains(id.as_str()) {
            return Err(wrong(format!("no row `{id}` was asked about")));
        }
        if found.insert(id.clone(), score).is_some() {
            return Err(wrong(format!("row `{id}` was scored before")));
        }
    }
}

/// `{"id", "score"}` or `{"id", "unscored"}`.
pub(super) fn read_line(text: &str, unit: CommandUnit) -> Result<(String, Score), String> {
    let shown: String = text.chars().take(80).collect();
    let value: Value = serde_json::from_str(text).map_err(|_| format!("`{shown}` is not JSON"))?;
    let id = match &value["id"] {
        Value::String(id) => id.clone(),
        Value::Number(id) => id.to_string(),
        _ => return Err(format!("`{shown}` has no `id`")),
    };
    let score = match (&value["score"], &value["unscored"]) {
        (Value::Null, Value::String(reason)) => return Ok((id, Score::unscored(reason.as_str()))),
        (Value::Bool(right), Value::Null) => f64::from(u8::from(*right)),
        (Value::Number(number), Value::Null) => number
            .as_f64()
            .filter(|value| can_be_averaged(*value))
            .ok_or_else(|| {
                format!("row `{id}` has the score {number}, beyond what can be averaged")
            })?,
        _ => {
            return Err(format!(
                "`{shown}` has neither a `score` nor a reason in `unscored`"
            ));
        }
    };
    if unit == CommandUnit::Share && ![0.0, 1.0].contains(&score) {
        return Err(format!(
            "row `{id}` has the score {score}, and `unit: share` takes 0 and 1 only"
        ));
    }
    Ok((id, Score::Value(score)))
}

fn named(command: &CommandSpec) -> String {
    format!("`{}` (`{}`)", command.name, command.run.join(" "))
}
