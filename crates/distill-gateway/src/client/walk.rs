//! The walk along the chain.

use distill_chat::ChatRequest;
use tokio::time::Instant;

use super::{
    Answered, AskError, AttemptFailure, Shared,
    attempt::{Ended, Question, attempt, body_for, wait},
    exchange::Broken,
    from_journal,
};
use crate::{
    Failure, Recorded, RequestHash, Target,
    failover::{Rule, Then},
    health::Kind,
    journal::NewAnswer,
    walker::{Bounds, Patience, Step, Walker},
};

/// What is known of one request on its way.
#[derive(Default)]
struct Progress {
    failures: Vec<AttemptFailure>,
    /// The last whole answer that broke the schema: better than none when nobody keeps it.
    invalid: Option<Box<NewAnswer>>,
}

/// Asks target after target until one answers or the policy says stop.
pub(super) async fn walk(
    shared: &Shared,
    request: &ChatRequest,
    sample: u32,
    canonical: String,
    hash: RequestHash,
) -> Result<Answered, AskError> {
    let question = Question {
        request,
        sample,
        canonical,
        hash,
        deadline: Instant::now() + shared.settings.timeouts.deadline,
    };
    let chain = &shared.settings.chain;
    let mut progress = Progress::default();
    let mut walker = Walker::new(
        (0..chain.len()).collect(),
        chain.len(),
        Bounds {
            max_attempts: shared.settings.max_attempts,
            deadline: question.deadline,
            patience: Patience::WaitsForRests,
            retries: true,
        },
    );
    let mut bodies = Vec::with_capacity(chain.len());
    for (index, target) in chain.iter().enumerate() {
        bodies.push(body_for(target, request).unwrap_or_else(|unsupported| {
            walker.skip(index);
            progress.note(target, Failure::RequestFault, unsupported.to_string());
            String::new()
        }));
    }
    let prompt_bytes = bodies.iter().map(String::len).max().unwrap_or_default();
    loop {
        if shared.cancel.is_cancelled() {
            return Err(AskError::Cancelled);
        }
        match walker.next(|index| &shared.health[index], prompt_bytes, Instant::now()) {
            Step::Exhausted { .. } => return finish(shared, question, progress).await,
            Step::Late => return late(shared, question, progress).await,
            Step::WaitUntil(at) => wait(shared, &question, tokio::time::sleep_until(at)).await?,
            Step::Ask {
                index,
                probe,
                number,
            } => {
                let probe = Probe::new(shared, index, probe);
                let body = bodies[index].clone();
                let ended = attempt(shared, &question, &chain[index], body, number).await?;
                probe.over();
                let health = &shared.health[index];
                match ended {
                    Ended::Answered(recorded) => {
                        let took = (Kind::Whole, recorded.latency);
                        health.succeeded(Some(took), Instant::now());
                        return Ok(fresh(*recorded, question.hash));
                    }
                    Ended::InJournal(recorded) => {
                        health.released();
                        return Ok(from_journal(*recorded, question.hash));
                    }
                    Ended::Invalid { answer, message } => {
                        health.succeeded(None, Instant::now());
                        walker.failed(index, Failure::InvalidOutput);
                        // Those first that a vendor can hold to a schema.
                        walker.prefer(|index| chain[index].holds_schema());
                        progress.note(&chain[index], Failure::InvalidOutput, message);
                        progress.invalid = Some(answer);
                    }
                    Ended::Failed(broken) => {
                        note_failure(
                            shared,
                            (&mut walker, &mut progress),
                            index,
                            prompt_bytes,
                            broken,
                        )?;
                    }
                }
            }
        }
    }
}

/// Applies the policy to a failed attempt.
fn note_failure(
    shared: &Shared,
    (walker, progress): (&mut Walker, &mut Progress),
    index: usize,
    prompt_bytes: usize,
    broken: Broken,
) -> Result<(), AskError> {
    let target = &shared.settings.chain[index];
    let rule: Rule = broken.failure.rule();
    shared.health[index].failed(&rule, broken.rest, prompt_bytes, Instant::now());
    if rule.alert {
        shared.alert(target, broken.failure, &broken.message);
    }
    if walker.failed(index, broken.failure) == Then::ReturnToCaller {
        return Err(AskError::Refused {
            target: target.name().to_owned(),
            status: broken.status.unwrap_or_default(),
            message: broken.message,
        });
    }
    progress.note(target, broken.failure, broken.message);
    Ok(())
}

impl Progress {
    fn note(&mut self, target: &Target, failure: Failure, message: String) {
        self.failures.push(AttemptFailure {
            target: target.name().to_owned(),
            failure,
            message,
        });
    }
}

/// The end of the chain.
async fn finish(
    shared: &Shared,
    question: Question<'_>,
    progress: Progress,
) -> Result<Answered, AskError> {
    match progress.invalid {
        Some(answer) => keep_invalid(shared, question, *answer).await,
        // A request that found every target out already names what put them out.
        None => Err(AskError::ChainExhausted {
            failures: if progress.failures.is_empty() {
                shared.known_failures()
            } else {
                progress.failures
            },
        }),
    }
}

/// The end of the time.
async fn late(
    shared: &Shared,
    question: Question<'_>,
    progress: Progress,
) -> Result<Answered, AskError> {
    match progress.invalid {
        Some(answer) => keep_invalid(shared, question, *answer).await,
        None => Err(AskError::Deadline {
            after: shared.settings.timeouts.deadline,
            failures: progress.failures,
        }),
    }
}

/// Nobody kept the schema: the last answer is kept as it is, so that it is not paid for again, and
/// the caller says what it thinks of it.
async fn keep_invalid(
    shared: &Shared,
    question: Question<'_>,
    answer: NewAnswer,
) -> Result<Answered, AskError> {
    let recorded = answer.recorded.clone();
    shared.journal.keep(answer).await?;
    Ok(fresh(recorded, question.hash))
}

fn fresh(recorded: Recorded, hash: RequestHash) -> Answered {
    Answered {
        from_journal: false,
        ..from_journal(recorded, hash)
    }
}

/// Hands a probe back when its attempt ends without an outcome.
struct Probe<'a> {
    shared: &'a Shared,
    index: usize,
    open: bool,
}

impl<'a> Probe<'a> {
    fn new(shared: &'a Shared, index: usize, probe: bool) -> Self {
        Self {
            shared,
            index,
            open: probe,
        }
    }

    fn over(mut self) {
        self.open = false;
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if self.open {
            self.shared.health[self.index].released();
        }
    }
}
