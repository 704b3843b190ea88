//! `distill eval label`: draws the test rows whose human answer would be worth most, and takes the
//! answers, in the terminal or from a table.

mod session;

use std::{
    collections::BTreeSet,
    fs,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use distill_chat::Task;
use distill_pipeline::record::{RunState, RunView};
use distill_runner::{Clock as _, Home, SystemClock};
use distill_steps::{
    human::{
        Labels, Sheet, Signals, Stratum, draw, read_labels, read_sheet, signals, write_labels,
        write_sheet,
    },
    rows::Row,
};

use crate::{commands::load::Job, environment, failure::Failure};
use session::{End, Question};

/// Where answers are kept when the pipeline names no file.
const USUAL_FILE: &str = "labels.csv";

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  distill eval label latest\n  distill eval label pipeline.yaml --count 100 --out sheet.csv\n  distill eval label pipeline.yaml --take sheet.csv"
)]
pub(crate) struct LabelArguments {
    /// The run (its id, the start of it, or `latest`), or the pipeline file
    pub(crate) target: String,
    /// How many rows to draw, those drawn earlier and still open among them
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    pub(crate) count: usize,
    /// Write the rows to a CSV file to be filled in, instead of asking here
    #[arg(long, value_name = "FILE", conflicts_with = "take")]
    pub(crate) out: Option<PathBuf>,
    /// Take the answers of a filled-in CSV file (columns `id`, `answer`)
    #[arg(long, value_name = "FILE")]
    pub(crate) take: Option<PathBuf>,
    /// Show what teacher and students said, which draws people towards it
    #[arg(long)]
    pub(crate) show_answers: bool,
    /// Seed of the draw
    #[arg(long, default_value_t = 17)]
    pub(crate) seed: u64,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("write a whole number, at least 1".to_owned()),
    }
}

/// What is labelled, and where the answers go.
struct Work {
    pipeline: PathBuf,
    task: Task,
    rows: Vec<Row>,
    signals: Signals,
    /// The run whose answers shape the draw; `None` before the first one.
    run: Option<String>,
    file: PathBuf,
    /// Whether the pipeline names the file already.
    named: bool,
}

pub(crate) fn execute(arguments: &LabelArguments) -> Result<ExitCode, Failure> {
    let asks_here = arguments.out.is_none() && arguments.take.is_none();
    if asks_here && !std::io::stdin().is_terminal() {
        return Err(Failure::bad_input("nobody can be asked: the input is no terminal")
            .hint("`--out sheet.csv` writes the rows to be filled in, and `--take sheet.csv` takes the answers"));
    }
    let work = Work::find(&arguments.target)?;
    let mut labels = work.labels()?;
    if let Some(sheet) = &arguments.take {
        return work.take(labels, sheet);
    }
    if labels.open().len() < arguments.count {
        labels = work.draw(&labels, arguments.count, arguments.seed);
    }
    write_labels(&work.file, &labels)?;
    work.say_draw(&labels);
    match &arguments.out {
        Some(path) => work.write_sheet(&labels, path, arguments.count),
        None => work.ask(labels, arguments),
    }
}

impl Work {
    fn find(target: &str) -> Result<Self, Failure> {
        let is_file = Path::new(target).is_file() || Path::new(target).extension().is_some();
        let home = environment::home()?;
        let (pipeline, view) = if is_file {
            let pipeline = PathBuf::from(target);
            let name = Job::load(&pipeline)?.name;
            (pipeline, latest_run(&home, &name)?)
        } else {
            let (pipeline, view) = run_of(&home, target)?;
            (pipeline, Some(view))
        };
        let job = Job::load(&pipeline)?;
        let spec = distill_steps::parse_spec(&pipeline.display().to_string(), &job.text)
            .map_err(|findings| Failure::findings(crate::commands::check::render(&findings)))?;
        let rows = job.compiled.test.read(&job.compiled.test_path)?;
        let task = Task::new(job.compiled.task)
            .map_err(|error| Failure::bad_input("the task cannot be used").caused_by(error))?;
        let signals = match &view {
            Some((_, view)) => signals(&home, view, &task)?,
            None => Signals::default(),
        };
        let folder = pipeline.parent().unwrap_or(Path::new(""));
        Ok(Self {
            file: folder.join(spec.evals.human.as_deref().unwrap_or(USUAL_FILE)),
            named: spec.evals.human.is_some(),
            run: view.map(|(run, _)| run),
            pipeline,
            task,
            rows,
            signals,
        })
    }

    fn ids(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.id.clone()).collect()
    }

    /// The answers that there are.
    fn labels(&self) -> Result<Labels, Failure> {
        if !self.file.exists() {
            return Ok(Labels::default());
        }
        Ok(read_labels(&self.file, &self.task)?)
    }

    /// A draw over the test rows; what was answered before counts as certain.
    fn draw(&self, labels: &Labels, count: usize, seed: u64) -> Labels {
        let answers = labels.answers();
        let known: BTreeSet<String> = answers.keys().cloned().collect();
        let placed = draw(&self.ids(), &self.signals, &known, count, seed);
        Labels::of_draw(placed, &answers)
    }

    fn say_draw(&self, labels: &Labels) {
        let open = labels.open();
        let of = |stratum| {
            let is = |row: &&&distill_steps::human::LabelRow| row.stratum == Some(stratum);
            open.iter().filter(is).count()
        };
        match &self.run {
            Some(run) => eprintln!(
                "{} of {} test rows to answer: {} on which a student and the teacher differ in run {run}, {} in doubt, {} of the rest",
                open.len(),
                self.rows.len(),
                of(Stratum::Differ),
                of(Stratum::Doubt),
                of(Stratum::Rest),
            ),
            None => eprintln!(
                "{} of {} test rows to answer, drawn evenly: a run would show where students and teacher differ",
                open.len(),
                self.rows.len()
            ),
        }
    }

    fn write_sheet(&self, labels: &Labels, path: &Path, count: usize) -> Result<ExitCode, Failure> {
        let rows = labels
            .open()
            .into_iter()
            .take(count)
            .map(|row| Ok((row.id.clone(), self.input(&row.id)?)))
            .collect::<Result<Vec<_>, Failure>>()?;
        write_sheet(path, &rows)?;
        eprintln!(
            "wrote {} rows to {}; fill in `answer`, then: distill eval label {} --take {}",
            rows.len(),
            path.display(),
            self.pipeline.display(),
            path.display()
        );
        Ok(ExitCode::SUCCESS)
    }

    fn take(&self, mut labels: Labels, path: &Path) -> Result<ExitCode, Failure> {
        let ids: BTreeSet<&str> = self.rows.iter().map(|row| row.id.as_str()).collect();
        let sheet = read_sheet(path, &ids, &self.task)?;
        if labels.rows.is_empty() {
            // Nobody drew these rows here: they are taken for an even part of the test rows.
            labels = self.draw(&labels, 0, 0);
            for row in &mut labels.rows {
                row.stratum = None;
            }
            eprintln!(
                "these rows were not drawn by this program: they are taken for an even draw of the test rows"
            );
        }
        labels.take(&sheet);
        write_labels(&self.file, &labels)?;
        eprintln!("took {} answers", sheet.len());
        self.say_next(&labels);
        Ok(ExitCode::SUCCESS)
    }

    fn ask(&self, mut labels: Labels, arguments: &LabelArguments) -> Result<ExitCode, Failure> {
        let questions = labels
            .open()
            .into_iter()
            .take(arguments.count)
            .map(|row| {
                let said = arguments
                    .show_answers
                    .then(|| self.signals.answers.get(&row.id));
                Ok(Question {
                    id: row.id.clone(),
                    input: self.input(&row.id)?,
                    said: said.flatten().cloned().unwrap_or_default(),
                })
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let mut save = |id: &str, answer: &str| -> Result<(), Failure> {
            labels.take(&Sheet::from([(id.to_owned(), answer.to_owned())]));
            Ok(write_labels(&self.file, &labels)?)
        };
        let (input, output) = (std::io::stdin().lock(), std::io::stderr().lock());
        let end = session::run(&questions, &self.task, input, output, &mut save)?;
        if end == End::Quit {
            eprintln!("stopped: the same command goes on where you left");
        }
        self.say_next(&labels);
        Ok(ExitCode::SUCCESS)
    }

    fn say_next(&self, labels: &Labels) {
        let answered = labels.answers().len();
        eprintln!(
            "{answered} of {} test rows have a human answer, in {}",
            self.rows.len(),
            self.file.display()
        );
        if self.named {
            eprintln!("next: distill run {}", self.pipeline.display());
        } else {
            eprintln!(
                "next: add `human: {USUAL_FILE}` under `evals:` in {}, then distill run {}",
                self.pipeline.display(),
                self.pipeline.display()
            );
        }
    }

    /// The row as the models were asked about it.
    fn input(&self, id: &str) -> Result<String, Failure> {
        let row = self.rows.iter().find(|row| row.id == id);
        let messages = row
            .map(|row| self.task.messages(&row.fields))
            .transpose()
            .map_err(|error| {
                Failure::bad_input(format!("row `{id}` cannot be rendered")).caused_by(error)
            })?;
        Ok(messages
            .and_then(|mut messages| messages.pop())
            .map(|message| message.content)
            .unwrap_or_default())
    }
}

/// The run's pipeline file and what became of its steps.
fn run_of(home: &Home, text: &str) -> Result<(PathBuf, (String, RunView)), Failure> {
    let run = distill_runner::find_run(home, text).map_err(|error| {
        Failure::bad_input(format!("there is no run `{text}`"))
            .caused_by(error)
            .hint("name a run that `distill runs` lists, or a pipeline file")
    })?;
    let reading = distill_runner::read_run(home, &run, SystemClock.now())
        .map_err(|error| Failure::failed(format!("run `{run}` cannot be read")).caused_by(error))?;
    let path = reading.header.spec_path.map(PathBuf::from);
    let path = match path {
        Some(path) if fs::metadata(&path).is_ok() => path,
        path => {
            let name = path.map_or_else(String::new, |path| format!(", `{}`,", path.display()));
            return Err(Failure::bad_input(format!(
                "the pipeline file of run `{run}`{name} is not to be found from here"
            ))
            .hint("go to the folder that the run was started in, or name the pipeline file instead of the run"));
        }
    };
    Ok((path, (run.to_string(), reading.view)))
}

/// The newest finished run of a pipeline.
fn latest_run(home: &Home, pipeline: &str) -> Result<Option<(String, RunView)>, Failure> {
    let runs = distill_runner::list_runs(home, SystemClock.now())
        .map_err(|error| Failure::failed("the runs cannot be read").caused_by(error))?;
    let done = runs.into_iter().find(|listing| {
        listing
            .found
            .as_ref()
            .is_ok_and(|found| found.pipeline == pipeline && found.state == RunState::Done)
    });
    let Some(listing) = done else {
        return Ok(None);
    };
    let reading =
        distill_runner::read_run(home, &listing.run, SystemClock.now()).map_err(|error| {
            Failure::failed(format!("run `{}` cannot be read", listing.run)).caused_by(error)
        })?;
    Ok(Some((listing.run.to_string(), reading.view)))
}
