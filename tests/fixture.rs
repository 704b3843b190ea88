//! A small job in a folder of its own, and the binary that does it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use assert_cmd::assert::{Assert, OutputAssertExt as _};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up: far above what a busy machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_mins(4);

/// A job that is done in a few seconds: four queues, a linear student and the embedded decoder.
pub(crate) const PIPELINE: &str = r#"name: queues
task:
  kind: classify
  system: "Name the queue: {{ labels | join(', ') }}."
  prompt: "{{ text }}"
data:
  train: train.csv
  gold: label
  labels: teacher
teacher:
  models: [simulated/frontier, simulated/backup]
  budget_usd: 1.00
  concurrency: 8
  max_tokens: 16
  simulate:
    accuracy: 0.95
    latency_ms: {median: 1, p95: 2}
    seed: 7
evals:
  test: test.csv
  gold: label
  controls: []
student:
  target: [linear, nano]
train:
  decoder: {rank: 4, alpha: 8, epochs: 30, max_steps: 2, batch_tokens: 256, patience: 1000}
accept:
  margin: 0.03
seed: 17
"#;

const QUEUES: [(&str, [&str; 3]); 4] = [
    (
        "account",
        ["password forgotten", "login broken", "profile locked"],
    ),
    (
        "billing",
        ["invoice wrong", "charged twice", "card declined"],
    ),
    (
        "delivery",
        ["parcel late", "courier lost", "tracking stuck"],
    ),
    (
        "refund",
        ["money back", "refund missing", "return accepted"],
    ),
];
const COLOURS: [&str; 10] = [
    "amber", "walnut", "cobalt", "cedar", "maple", "copper", "indigo", "saffron", "birch", "olive",
];
const THINGS: [&str; 11] = [
    "kettle", "lantern", "teapot", "basket", "ladder", "mirror", "pillow", "saddle", "hammer",
    "candle", "blanket",
];

/// Rows of a made-up queue; no two rows ask the same.
pub(crate) fn csv(first: usize, rows: usize) -> String {
    let mut text = "id,text,label\n".to_owned();
    for row in first..first + rows {
        let (label, openings) = QUEUES[row % 4];
        let opening = openings[(row / 4) % 3];
        let (colour, thing) = (COLOURS[row % 10], THINGS[(row / 10) % 11]);
        writeln!(text, "{row},{opening} {colour} {thing} {row},{label}").unwrap();
    }
    text
}

/// A temporary folder with the job's data and a state folder of its own.
pub(crate) struct Job {
    folder: TempDir,
}

impl Job {
    /// The usual data, and `pipeline.yaml` with this text.
    pub(crate) fn new(pipeline: &str) -> Self {
        Self::with_rows(pipeline, 80, 32)
    }

    pub(crate) fn with_rows(pipeline: &str, train: usize, test: usize) -> Self {
        let job = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        job.write("train.csv", &csv(0, train));
        job.write("test.csv", &csv(train, test));
        job.write("pipeline.yaml", pipeline);
        job
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path().join("home")
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The binary under test, in this folder, with nothing of the caller's environment that could
    /// change what it does.
    pub(crate) fn distill<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distill"));
        self.prepare(&mut command);
        command.args(arguments);
        command
    }

    /// Gives a command this folder and this state.
    pub(crate) fn prepare(&self, command: &mut Command) {
        command
            .current_dir(self.path())
            .env("DISTILL_HOME", self.home())
            .env("NO_COLOR", "1")
            .env_remove("DISTILL_DATA_DIR")
            .env("HF_HOME", self.path().join("huggingface"))
            .stdin(Stdio::null());
        for name in [
            "HF_ENDPOINT",
            "HF_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HUGGINGFACE_HUB_CACHE",
            "HUGGING_FACE_HUB_TOKEN",
            "TRANSFORMERS_OFFLINE",
        ] {
            command.env_remove(name);
        }
    }

    pub(crate) fn check(&self, arguments: &[&str]) -> Assert {
        self.distill(arguments.iter().copied()).assert()
    }

    /// Runs the pipeline to its end and gives what it said.
    pub(crate) fn run(&self) -> Events {
        self.start(&["run", "pipeline.yaml", "--format", "json"])
            .finish(0)
    }

    /// Starts a command whose standard output is JSON lines.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::new(&mut self.distill(arguments.iter().copied()))
    }

    /// Starts a server and gives it with the address that it prints first.
    pub(crate) fn serve(&self, arguments: &[&str]) -> (Running, String) {
        let mut server = self.start(arguments);
        let url = server.next_line().expect("a server prints its address");
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        (server, url)
    }
}

/// A process whose standard output is read line by line. Killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<thread::JoinHandle<String>>,
    pub(crate) events: Events,
}

impl Running {
    pub(crate) fn new(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            // A torn last line is no reason to lose the rest.
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Self {
            child,
            lines,
            errors: Some(errors),
            events: Events::default(),
        }
    }

    fn next_line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing was said for {PATIENCE:?}"),
        }
    }

    /// The next event, or none when the output has ended.
    pub(crate) fn next_event(&mut self) -> Option<Value> {
        let line = self.next_line()?;
        self.events.push(&line);
        self.events.0.last().cloned()
    }

    /// The events said so far, without waiting.
    pub(crate) fn catch_up(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.events.push(&line);
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Ends the process as a power cut would, and reads what it still said.
    pub(crate) fn kill(mut self) -> Events {
        // One that has just ended by itself cannot be killed, which the caller sees in its events.
        let _ = self.child.kill();
        self.child.wait().unwrap();
        while self.next_event().is_some() {}
        std::mem::take(&mut self.events)
    }

    /// What Ctrl-C sends.
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -INT {pid}")])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for the end, and holds the exit code.
    pub(crate) fn finish(mut self, code: i32) -> Events {
        while self.next_event().is_some() {}
        let status = self.child.wait().unwrap();
        let errors = self.errors.take().unwrap().join().unwrap();
        assert_eq!(status.code(), Some(code), "{errors}");
        std::mem::take(&mut self.events)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a run said, one JSON document a line, the report last.
#[derive(Debug, Default, Clone)]
pub(crate) struct Events(pub(crate) Vec<Value>);

impl Events {
    fn push(&mut self, line: &str) {
        // A killed process may leave half a line.
        if let Ok(event) = serde_json::from_str(line) {
            self.0.push(event);
        }
    }

    pub(crate) fn of_type(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |event| event["type"] == name)
    }

    /// Steps with an event of this type, in order.
    pub(crate) fn steps(&self, name: &str) -> Vec<&str> {
        self.of_type(name)
            .filter_map(|event| event["step"].as_str())
            .collect()
    }

    /// Steps that did work.
    pub(crate) fn started(&self) -> Vec<&str> {
        self.steps("step_started")
    }

    pub(crate) fn is_inside(&self, step: &str) -> bool {
        self.started().contains(&step) && !self.steps("step_finished").contains(&step)
    }

    pub(crate) fn report(&self) -> &Value {
        let report = self.of_type("report").last();
        &report.expect("a finished run ends with its report")["report"]
    }

    /// Content hashes of everything that was made or found, by `step.port`.
    pub(crate) fn artifacts(&self) -> BTreeMap<String, String> {
        let mut artifacts = BTreeMap::new();
        for event in self.of_type("step_finished") {
            for (port, output) in event["outputs"].as_object().unwrap() {
                let name = format!("{}.{port}", event["step"].as_str().unwrap());
                artifacts.insert(name, output["hash"].as_str().unwrap().to_owned());
            }
        }
        artifacts
    }
}

/// Where an artifact lies.
pub(crate) fn artifact(home: &Path, hash: &str) -> PathBuf {
    home.join("artifacts").join(&hash[..2]).join(hash)
}

/// Asks a server of this machine; gives the status and the body.
pub(crate) fn http(url: &str, method: &str, body: &str) -> (u16, Value) {
    let rest = url.strip_prefix("http://").unwrap();
    let (address, path) = rest.split_at(rest.find('/').unwrap());
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.to_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        whole.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
    }
    whole
}

/// Waits until something holds.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited too long: {what}");
        thread::sleep(Duration::from_millis(3));
    }
}
