//! A process that is really killed, again and again, and the run that goes on after it.
//!
//! The child is this test binary, asked for one test and told by the environment where to work.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

const DIRECTORY: &str = "DISTILL_TEST_KILLED_IN";
const PATIENCE: &str = "DISTILL_TEST_PATIENCE";
const WORDS: usize = 12;

/// Pays for one word after the other on a bill, and keeps each in the work directory.
struct Payer {
    bill: PathBuf,
    /// After so many words, of both steps together, it pays for one more and hangs before it has
    /// kept it.
    patience: Arc<AtomicUsize>,
}

impl StepRunner<Toy> for Payer {
    fn run(
        &self,
        work: Work<Toy>,
        context: StepContext,
    ) -> BoxFuture<'_, Result<Outcome, StepFailure>> {
        let (bill, patience) = (self.bill.clone(), Arc::clone(&self.patience));
        Box::pin(async move {
            let pay = move |_| {
                // Half an output first: a kill from here on must not make it count.
                let out = work.output("text");
                fs::write(out, "half").unwrap();
                for word in 0..WORDS {
                    let kept = work.work_dir.join(word.to_string());
                    if kept.exists() {
                        continue;
                    }
                    append(&bill, word);
                    if patience.load(Ordering::SeqCst) == 0 {
                        loop {
                            std::thread::park();
                        }
                    }
                    patience.fetch_sub(1, Ordering::SeqCst);
                    crate::durable::replace(&kept, b"kept").unwrap();
                }
                fs::write(out, "whole").unwrap();
                Ok(Outcome::default())
            };
            context.blocking(pay).await
        })
    }
}

fn append(bill: &Path, word: usize) {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).append(true).open(bill).unwrap();
    file.write_all(format!("{word}\n").as_bytes()).unwrap();
}

fn request(directory: &Path, patience: usize) -> RunRequest<Toy> {
    let graph = graph([
        toy("pay", "pay", Value::Null),
        reads(toy("pay-more", "pay", json!("more")), "pay"),
    ]);
    let home = Home::open(directory.join("state")).unwrap();
    let bill = directory.join("bill");
    let patience = Arc::new(AtomicUsize::new(patience));
    RunRequest::new(
        home,
        graph,
        LocalExecutor::new(Payer { bill, patience }),
        About::default(),
    )
}

fn paid(directory: &Path) -> usize {
    let bill = fs::read_to_string(directory.join("bill")).unwrap_or_default();
    bill.lines().count()
}

fn child(directory: &Path, patience: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::killing::the_run_that_is_killed"])
        .env(DIRECTORY, directory)
        .env(PATIENCE, patience.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The child's part; without a directory it has nothing to do.
#[tokio::test]
async fn the_run_that_is_killed() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let patience = std::env::var(PATIENCE).unwrap().parse().unwrap();
        let report = run(request(Path::new(&directory), patience)).await.unwrap();
        assert_eq!(report.view.outcome, Some(RunOutcome::Done));
    }
}

#[tokio::test]
async fn after_many_kills_nothing_is_lost_and_nothing_done_twice() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut kills = 0;
    loop {
        let patience = 1 + kills % 3;
        let hangs_at = paid(directory) + patience + 1;
        let mut child = child(directory, patience);
        let ended = loop {
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            if paid(directory) == hangs_at {
                break false;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        if ended {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        assert!(kills <= 2 * WORDS, "it never ends");
    }
    let report = run(request(directory, 0)).await.unwrap();
    assert_eq!(report.view.outcome, Some(RunOutcome::Done));
    assert!(report.view.steps.iter().all(|step| step.cached));
    let output = &report.view.step("pay-more").unwrap().outputs["text"];
    let home = Home::open(directory.join("state")).unwrap();
    let text = fs::read_to_string(home.artifact(&output.hash)).unwrap();
    assert_eq!(text, "whole");
    // Each kill costs the one word that was paid for and not yet kept.
    assert_eq!(paid(directory), 2 * WORDS + kills);
    assert!(kills >= 10, "{kills} kills only");
}
