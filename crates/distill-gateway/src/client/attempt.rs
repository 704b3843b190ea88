//! One attempt: its intent, the exchange, its settlement.

use std::time::{Duration, SystemTime};

use distill_chat::{ChatRequest, ObjectSchema, Usage};
use distill_wire::Unsupported;
use tokio::time::Instant;

use super::{
    AskError, Shared,
    exchange::{Broken, Received, exchange},
    max_tokens,
};
use crate::{
    Failure, Recorded, RequestHash, Target, Usd,
    dialect::{self, Wire},
    failover::Cost,
    journal::{AttemptId, Intent, NewAnswer, Reservation, Settlement},
    price::believable,
    secret,
};

/// What every attempt of a request shares.
pub(super) struct Question<'a> {
    pub(super) request: &'a ChatRequest,
    /// The how-manieth answer to the same question this is to be, from 0.
    pub(super) sample: u32,
    pub(super) canonical: String,
    pub(super) hash: RequestHash,
    pub(super) deadline: Instant,
}

/// How an attempt ended.
pub(super) enum Ended {
    Answered(Box<Recorded>),
    /// The journal had the answer by the time money was reserved.
    InJournal(Box<Recorded>),
    /// Paid for, whole, and not the JSON that was asked for.
    Invalid {
        answer: Box<NewAnswer>,
        message: String,
    },
    Failed(Broken),
}

/// The body for a target.
///
/// # Errors
/// [`Unsupported`] where the target cannot be asked this.
pub(crate) fn body_for(target: &Target, request: &ChatRequest) -> Result<String, Unsupported> {
    let wire = Wire {
        model: target.model(),
        quirks: target.vendor().quirks,
        fixed_temperature: target.fixed_temperature(),
        max_tokens: max_tokens(request),
    };
    dialect::body(target.dialect(), request, wire)
}

/// Tokens that a chat template may add beyond the bytes of the body.
const TEMPLATE_TOKENS: u64 = 32;
/// Tokens of the instructions that some vendors add to hold a reply to a schema.
const SCHEMA_TOKENS: u64 = 512;

/// The most that sending this body can cost: no tokenizer makes more tokens than there are bytes.
pub(crate) fn worst_case(target: &Target, body_bytes: usize, request: &ChatRequest) -> Usd {
    let added = match request.response_schema {
        Some(_) => TEMPLATE_TOKENS + SCHEMA_TOKENS,
        None => TEMPLATE_TOKENS,
    };
    target
        .price()
        .worst_case(body_bytes as u64 + added, u64::from(max_tokens(request)))
}

/// Gives the attempt up when it is dropped before it was settled.
struct Guard<'a> {
    shared: &'a Shared,
    attempt: Option<AttemptId>,
}

impl Guard<'_> {
    async fn settle(
        mut self,
        settlement: Settlement,
        answer: Option<NewAnswer>,
    ) -> Result<(), AskError> {
        // From here on the journal has it; being dropped while it writes changes nothing.
        self.attempt = None;
        Ok(self.shared.journal.settle(settlement, answer).await?)
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.shared
                .journal
                .abandon(attempt, "given_up", unix_milliseconds());
        }
        self.shared.settled.notify_waiters();
    }
}

/// Makes attempt `number` of a question at a target.
pub(super) async fn attempt(
    shared: &Shared,
    question: &Question<'_>,
    target: &Target,
    body: String,
    number: u32,
) -> Result<Ended, AskError> {
    let reserved = worst_case(target, body.len(), question.request);
    let attempt = match reserve(shared, question, target, reserved, number).await? {
        Reserved::Granted(attempt) => attempt,
        Reserved::Answered(recorded) => return Ok(Ended::InJournal(recorded)),
    };
    let guard = Guard {
        shared,
        attempt: Some(attempt.clone()),
    };
    let left = question
        .deadline
        .saturating_duration_since(Instant::now())
        .min(shared.settings.timeouts.attempt);
    let exchanged = tokio::select! {
        biased;
        result = exchange(shared, target, body, (&attempt.0, question.sample), left) => result,
        () = given_up(shared) => return Err(AskError::Cancelled),
    };
    match exchanged {
        Ok(received) => {
            let settled = received_reply(shared, question, target, number, attempt, received);
            let (settlement, answer, ended) = settled;
            guard.settle(settlement, answer).await?;
            Ok(ended)
        }
        Err(broken) => {
            let rule = broken.failure.rule();
            let settlement = Settlement {
                attempt,
                outcome: rule.name,
                usd: (rule.cost == Cost::Nothing).then_some(Usd::ZERO),
                status: broken.status,
                model: None,
                usage: Usage::default(),
                response_id: None,
                latency: Some(broken.latency),
                ended_ms: unix_milliseconds(),
            };
            guard.settle(settlement, None).await?;
            Ok(Ended::Failed(broken))
        }
    }
}

/// What a reply settles and brings.
fn received_reply(
    shared: &Shared,
    question: &Question<'_>,
    target: &Target,
    number: u32,
    attempt: AttemptId,
    received: Received,
) -> (Settlement, Option<NewAnswer>, Ended) {
    let Received {
        mut reply,
        raw,
        latency,
    } = received;
    // An answer that repeats the key must not bring it into the journal and the records.
    let raw = secret::without(&raw, target.key());
    reply.completion.text = secret::without(&reply.completion.text, target.key());
    reply.completion.usage = believable(reply.completion.usage);
    let usd = target.price().cost(&reply.completion.usage);
    let invalid = invalid_output(question.request, &reply.completion);
    let settlement = Settlement {
        attempt,
        outcome: match invalid {
            None => "answered",
            Some(_) => Failure::InvalidOutput.rule().name,
        },
        usd,
        status: Some(200),
        model: Some(reply.completion.model.clone()),
        usage: reply.completion.usage,
        response_id: reply.response_id,
        latency: Some(latency),
        ended_ms: unix_milliseconds(),
    };
    let answer = NewAnswer {
        hash: question.hash.clone(),
        scope: shared.settings.scope.clone(),
        canonical: question.canonical.clone(),
        first_target: shared.settings.chain[0].name().to_owned(),
        raw,
        price: target.price().clone(),
        recorded: Recorded {
            completion: reply.completion,
            target: target.name().to_owned(),
            usd,
            simulated: target.simulated(),
            latency,
            attempts: number,
        },
        answered_ms: settlement.ended_ms,
    };
    match invalid {
        None => {
            let recorded = Box::new(answer.recorded.clone());
            (settlement, Some(answer), Ended::Answered(recorded))
        }
        Some(message) => {
            let ended = Ended::Invalid {
                answer: Box::new(answer),
                message,
            };
            (settlement, None, ended)
        }
    }
}

/// Why a whole reply is not the JSON that the request asks for. A reply that was cut or withheld is
/// not judged: another model will not mend the limit or the question.
fn invalid_output(request: &ChatRequest, completion: &distill_chat::Completion) -> Option<String> {
    let schema = request.response_schema.as_ref()?;
    if completion.finish != distill_chat::FinishReason::Stop {
        return None;
    }
    let Ok(value) = serde_json::from_str::<serde_json::Value>(completion.text.trim()) else {
        return Some("the reply is not JSON".to_owned());
    };
    // A schema beyond what this project can check was held by the vendor or by nobody.
    let schema = ObjectSchema::parse(schema).ok()?;
    schema
        .check(&value)
        .err()
        .map(|violation| format!("the reply breaks the schema: {violation}"))
}

enum Reserved {
    Granted(AttemptId),
    Answered(Box<Recorded>),
}

/// How often a request that another process is asking is looked for in the journal.
const ELSEWHERE_POLL: Duration = Duration::from_millis(50);
/// How often money is asked for again while attempts are open elsewhere.
const SETTLED_POLL: Duration = Duration::from_millis(250);

/// Reserves the worst case. While attempts in flight hold money back, waits for them to settle; only
/// when none is left is the budget exhausted.
async fn reserve(
    shared: &Shared,
    question: &Question<'_>,
    target: &Target,
    reserved: Usd,
    number: u32,
) -> Result<Reserved, AskError> {
    loop {
        let settled = shared.settled.notified();
        tokio::pin!(settled);
        settled.as_mut().enable();
        let reservation = shared
            .journal
            .reserve(Intent {
                request_hash: question.hash.clone(),
                scope: shared.settings.scope.clone(),
                target: target.name().to_owned(),
                simulated: target.simulated(),
                number,
                reserved,
                cap: shared.settings.budget,
                started_ms: unix_milliseconds(),
            })
            .await?;
        match reservation {
            Reservation::Granted(attempt) => return Ok(Reserved::Granted(attempt)),
            Reservation::Answered(recorded) => return Ok(Reserved::Answered(recorded)),
            Reservation::AskedElsewhere => {
                wait(shared, question, tokio::time::sleep(ELSEWHERE_POLL)).await?;
            }
            Reservation::Exhausted { open: true, .. } => {
                // An attempt of another process does not ring here.
                let settled = async {
                    tokio::select! {
                        () = settled => {}
                        () = tokio::time::sleep(SETTLED_POLL) => {}
                    }
                };
                wait(shared, question, settled).await?;
            }
            Reservation::Exhausted { committed, .. } => {
                return Err(AskError::BudgetExhausted {
                    scope: shared.settings.scope.clone(),
                    cap: shared.settings.budget.unwrap_or_default(),
                    committed,
                    needed: reserved,
                });
            }
        }
    }
}

/// Waits for something, but not beyond the deadline or a cancellation.
pub(super) async fn wait(
    shared: &Shared,
    question: &Question<'_>,
    something: impl Future<Output = ()>,
) -> Result<(), AskError> {
    tokio::select! {
        biased;
        () = shared.cancel.cancelled() => Err(AskError::Cancelled),
        () = something => Ok(()),
        () = tokio::time::sleep_until(question.deadline) => Err(AskError::Deadline {
            after: shared.settings.timeouts.deadline,
            failures: Vec::new(),
        }),
    }
}

/// Ends some time after cancellation: until then an attempt in flight may still bring what it costs.
async fn given_up(shared: &Shared) {
    shared.cancel.cancelled().await;
    tokio::time::sleep(shared.settings.timeouts.finish_in_flight).await;
}

pub(super) fn unix_milliseconds() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| {
            i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
        })
}
