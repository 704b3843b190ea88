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
    health::Pick,
    journal::NewAnswer,
};

/// What is known of one request on its way.
struct Progress {
    /// Failed attempts at each target that its rule lets be repeated.
    retries: Vec<u32>,
    /// Targets that are not asked again for this request.
    spent: Vec<bool>,
    failures: Vec<AttemptFailure>,
    /// The last whole answer that broke the schema: better than none when nobody keeps it.
    invalid: Option<Box<NewAnswer>>,
    attempts: u32,
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
    let mut progress = Progress {
        retries: vec![0; chain.len()],
        spent: vec![false; chain.len()],
        failures: Vec::new(),
        invalid: None,
        attempts: 0,
    };
    let mut bodies = Vec::with_capacity(chain.len());
    for (index, target) in chain.iter().enumerate() {
        bodies.push(body_for(target, request).unwrap_or_else(|unsupported| {
            progress.spent[index] = true;
            progress.note(target, Failure::RequestFault, unsupported.to_string());
            String::new()
        }));
    }
    let prompt_bytes = bodies.iter().map(String::len).max().unwrap_or_default();
    loop {
        if shared.cancel.is_cancelled() {
            return Err(AskError::Cancelled);
        }
        if progress.attempts >= shared.settings.max_attempts {
            return finish(shared, question, progress).await;
        }
        let candidates = candidates(chain, &progress);
        match shared
            .health
            .pick(&candidates, prompt_bytes, Instant::now())
        {
            Pick::Exhausted => return finish(shared, question, progress).await,
            Pick::WaitUntil(at) if at >= question.deadline => {
                return late(shared, question, progress).await;
            }
            Pick::WaitUntil(at) => wait(shared, &question, tokio::time::sleep_until(at)).await?,
            Pick::Target { index, probe } => {
                progress.attempts += 1;
                let probe = Probe::new(shared, index, probe);
                let ended = attempt(
                    shared,
                    &question,
                    &chain[index],
                    bodies[index].clone(),
                    progress.attempts,
                )
                .await?;
                probe.over();
                match ended {
                    Ended::Answered(recorded) => {
                        shared.health.succeeded(index);
                        return Ok(fresh(*recorded, question.hash));
                    }
                    Ended::InJournal(recorded) => {
                        shared.health.released(index);
                        return Ok(from_journal(*recorded, question.hash));
                    }
                    Ended::Invalid { answer, message } => {
                        shared.health.succeeded(index);
                        progress.spent[index] = true;
                        progress.note(&chain[index], Failure::InvalidOutput, message);
                        progress.invalid = Some(answer);
                    }
                    Ended::Failed(broken) => {
                        note_failure(shared, &mut progress, index, prompt_bytes, broken)?;
                    }
                }
                if Instant::now() >= question.deadline {
                    return late(shared, question, progress).await;
                }
            }
        }
    }
}

/// Places in the chain still to be asked: in order, but after a broken schema those first that a
/// vendor can hold to one.
fn candidates(chain: &[Target], progress: &Progress) -> Vec<usize> {
    let mut places: Vec<usize> = (0..chain.len())
        .filter(|&index| !progress.spent[index])
        .collect();
    if progress.invalid.is_some() {
        places.sort_by_key(|&index| !chain[index].holds_schema());
    }
    places
}

/// Applies the policy to a failed attempt.
fn note_failure(
    shared: &Shared,
    progress: &mut Progress,
    index: usize,
    prompt_bytes: usize,
    broken: Broken,
) -> Result<(), AskError> {
    let target = &shared.settings.chain[index];
    let rule: Rule = broken.failure.rule();
    shared
        .health
        .failed(index, &rule, broken.rest, prompt_bytes, Instant::now());
    if rule.alert {
        shared.alert(target, broken.failure, &broken.message);
    }
    if rule.then == Then::ReturnToCaller {
        return Err(AskError::Refused {
            target: target.name().to_owned(),
            status: broken.status.unwrap_or_default(),
            message: broken.message,
        });
    }
    // A throttled target is not spent: it rests, and is asked again when all the others failed.
    if broken.failure != Failure::RateLimited {
        progress.retries[index] += 1;
        progress.spent[index] = progress.retries[index] > rule.retries_here;
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
            self.shared.health.released(self.index);
        }
    }
}
