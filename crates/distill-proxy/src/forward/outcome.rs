//! What a caller is told in the end, and what the ledger is.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
};
use distill_gateway::{Failure, Step, Usd, without_secret};
use distill_ledger::{Refusal, RequestEnd};
use distill_wire::{Dropped, ErrorKind, RequestError};
use tokio::{sync::oneshot, time::Instant};

use super::{
    Answer, AnswerBody, Context, Done, booked::Broken, relay::Relay, walk::Progress,
    whole::WholeAnswer,
};
use crate::problem::Problem;

/// An error for the caller, and its name in the ledger.
#[derive(Debug)]
pub(super) struct Told {
    problem: Problem,
    outcome: &'static str,
}

impl Told {
    fn failed(problem: Problem) -> Self {
        Self {
            problem,
            outcome: "failed",
        }
    }

    fn refusal(problem: Problem) -> Self {
        Self {
            problem,
            outcome: "refused",
        }
    }

    pub(super) fn bad_request(error: RequestError) -> Self {
        Self::refusal(error.into())
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::refusal(refusal.into())
    }

    /// No member of the route takes such a request.
    pub(super) fn nobody_takes_it(context: &Context) -> Self {
        let asked = context.asked();
        let mut has = vec![format!("{} bytes", asked.prompt_bytes)];
        for (is, what) in [
            (asked.tools, "tools"),
            (asked.images, "images"),
            (asked.schema, "a schema"),
        ] {
            if is {
                has.push(what.to_owned());
            }
        }
        Self::refusal(
            Problem::new(
                ErrorKind::InvalidRequest,
                format!(
                    "no model of `{}` takes a request like this ({}): see the conditions of the route",
                    context.route.name(),
                    has.join(", ")
                ),
            )
            .code("no_member_takes_it"),
        )
    }

    /// The walk ended without an answer.
    pub(super) fn end_of_chain(context: &Context, step: Step, progress: &Progress) -> Self {
        let route = context.route.name();
        let failures = &progress.failures;
        let is = |failure: Failure| failures.iter().any(|(_, broken)| broken.failure == failure);
        let all = |wanted: &[Failure]| {
            !failures.is_empty()
                && failures
                    .iter()
                    .all(|(_, broken)| wanted.contains(&broken.failure))
        };
        let now = Instant::now();
        let (free_in, throttled, too_long) = match step {
            Step::Exhausted {
                free_at,
                throttled,
                too_long,
            } => (
                free_at.map(|at| at.saturating_duration_since(now)),
                throttled,
                too_long,
            ),
            _ => (None, false, false),
        };
        let told_rest = failures.iter().filter_map(|(_, broken)| broken.rest).min();
        if failures.is_empty() && !progress.unfit.is_empty() && free_in.is_none() {
            return Self::unfit(route, &progress.unfit);
        }
        if all(&[Failure::ContextTooLong]) || (failures.is_empty() && too_long && free_in.is_none())
        {
            return Self::too_long(route, failures.last().map(|(_, broken)| broken));
        }
        let names = names(progress);
        if throttled || is(Failure::RateLimited) {
            let wait = told_rest
                .into_iter()
                .chain(free_in)
                .min()
                .unwrap_or(Duration::from_secs(1));
            let mut problem = Problem::new(
                ErrorKind::RateLimit,
                format!("every model of `{route}` is throttled or failed{names}"),
            )
            .code("rate_limit_exceeded");
            problem.retry_after = Some(wait);
            return Self::failed(problem);
        }
        if step == Step::Late || all(&[Failure::Timeout, Failure::Stalled, Failure::RequestTimeout])
        {
            return Self::failed(
                Problem::new(
                    ErrorKind::Timeout,
                    format!("no model of `{route}` answered in time{names}"),
                )
                .code("no_answer_in_time"),
            );
        }
        let mut problem = Problem::new(
            ErrorKind::Overloaded,
            format!("no model of `{route}` can answer now{names}"),
        )
        .code("no_model_answered");
        problem.retry_after = free_in;
        Self::failed(problem)
    }

    fn unfit(route: &str, unfit: &[(String, String, String)]) -> Self {
        let said: Vec<String> = unfit
            .iter()
            .map(|(target, field, reason)| format!("`{target}` cannot be sent `{field}`: {reason}"))
            .collect();
        let mut problem = Problem::new(
            ErrorKind::InvalidRequest,
            format!(
                "no model of `{route}` can be asked this: {}",
                said.join("; ")
            ),
        )
        .code("unsupported_by_target");
        if let Some((_, field, _)) = unfit.first() {
            problem = problem.param(field);
        }
        Self::refusal(problem)
    }

    fn too_long(route: &str, last: Option<&Broken>) -> Self {
        let said = last
            .filter(|broken| !broken.message.is_empty())
            .map(|broken| format!(": {}", broken.message))
            .unwrap_or_default();
        Self::refusal(
            Problem::new(
                ErrorKind::InvalidRequest,
                format!("the prompt is too long for every model of `{route}`{said}"),
            )
            .code("context_length_exceeded"),
        )
    }
}

/// Who failed how. What a vendor said to this account is not the caller's to read.
fn names(progress: &Progress) -> String {
    let failures: Vec<String> = progress
        .failures
        .iter()
        .map(|(target, broken)| format!("`{target}` {}", broken.failure.rule().name))
        .collect();
    if failures.is_empty() {
        ": every one is resting or out".to_owned()
    } else {
        format!(": {}", failures.join(", "))
    }
}

/// An answer that came as a whole.
pub(super) fn whole(context: &Context, answer: WholeAnswer, attempts: u32) -> Answer {
    let mut headers = headers(context, Some(&answer.target), answer.simulated, attempts);
    json(&mut headers);
    list_dropped(&mut headers, &answer.dropped);
    if let Some(usd) = answer.usd
        && let Ok(value) = HeaderValue::try_from(format!("{:.9}", usd.dollars()))
    {
        headers.insert(HeaderName::from_static("x-distill-cost-usd"), value);
    }
    end(context, 200, "answered", Some(&answer.target));
    let (sender, done) = oneshot::channel();
    // Nobody has to listen.
    drop(sender.send(Done {
        outcome: "answered",
        status: 200,
        model: answer.model,
        usage: answer.usage,
        usd: answer.usd,
        first_token: Some(answer.elapsed),
        attempts,
        simulated: answer.simulated,
        body: context.collect.then(|| answer.body.clone()),
        valid: answer.valid,
        target: Some(answer.target),
    }));
    Answer {
        status: StatusCode::OK,
        headers,
        body: AnswerBody::Whole(answer.body),
        done,
    }
}

/// A number of tokens that nobody counted, and that says so.
pub(super) fn estimated(context: &Context, attempts: u32) -> Answer {
    let request = match context.request() {
        Ok(request) => request,
        Err(error) => return told(context, attempts, &Told::bad_request(error)),
    };
    let tokens = super::estimated_tokens(&request);
    let body = Bytes::from(serde_json::json!({ "input_tokens": tokens }).to_string());
    let mut headers = headers(context, None, false, attempts);
    json(&mut headers);
    headers.insert(
        HeaderName::from_static("x-distill-estimate"),
        HeaderValue::from_static("4 bytes a token"),
    );
    end(context, 200, "answered", None);
    let (sender, done) = oneshot::channel();
    // Nobody has to listen.
    drop(sender.send(Done {
        outcome: "answered",
        status: 200,
        usd: Some(Usd::ZERO),
        attempts,
        body: context.collect.then(|| body.clone()),
        ..Done::default()
    }));
    Answer {
        status: StatusCode::OK,
        headers,
        body: AnswerBody::Whole(body),
        done,
    }
}

/// An answer of which the first content is there.
pub(super) fn stream(context: &Context, relay: Relay, attempts: u32) -> Answer {
    let mut headers = headers(context, Some(relay.target()), relay.simulated(), attempts);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    list_dropped(&mut headers, &relay.dropped);
    let (stream, done) = relay.start(attempts);
    Answer {
        status: StatusCode::OK,
        headers,
        body: AnswerBody::Stream(Box::pin(stream)),
        done,
    }
}

/// The request's own fault, as its target says it: word for word for a caller of the same dialect.
pub(super) fn fault(
    context: &Context,
    target: &str,
    passes: bool,
    broken: Broken,
    attempts: u32,
) -> Answer {
    let status = broken
        .status
        .filter(|status| (400..500).contains(status))
        .unwrap_or(400);
    let kind = match status {
        413 => ErrorKind::TooLarge,
        _ => ErrorKind::InvalidRequest,
    };
    let mut problem = Problem::new(kind, broken.message);
    if let Ok(status) = StatusCode::from_u16(status) {
        problem = problem.status(status);
    }
    let told = Told::refusal(problem);
    let raw = broken
        .raw
        .filter(|raw| passes && serde_json::from_slice::<serde::de::IgnoredAny>(raw).is_ok());
    let Some(raw) = raw else {
        return tell(context, Some(target), attempts, &told, None);
    };
    let key = context
        .route
        .members
        .iter()
        .find(|member| member.live.name() == target)
        .and_then(|member| member.live.target.key());
    let raw = without_secret(&String::from_utf8_lossy(&raw), key);
    tell(context, Some(target), attempts, &told, Some(raw.into()))
}

/// An error of the proxy's own.
pub(super) fn told(context: &Context, attempts: u32, told: &Told) -> Answer {
    tell(context, None, attempts, told, None)
}

fn tell(
    context: &Context,
    target: Option<&str>,
    attempts: u32,
    told: &Told,
    body: Option<Bytes>,
) -> Answer {
    let problem = &told.problem;
    let mut headers = headers(context, target, false, attempts);
    json(&mut headers);
    if let Some(wait) = problem.retry_after {
        // Never too short: a client that comes too early is refused again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, seconds.max(1).into());
    }
    let status = problem.status.as_u16();
    end(context, status, told.outcome, None);
    let body = body.unwrap_or_else(|| {
        context
            .endpoint
            .dialect()
            .write_error(&problem.reply)
            .into()
    });
    let (sender, done) = oneshot::channel();
    drop(sender.send(Done {
        outcome: told.outcome,
        status,
        attempts,
        body: context.collect.then(|| body.clone()),
        ..Done::default()
    }));
    Answer {
        status: problem.status,
        headers,
        body: AnswerBody::Whole(body),
        done,
    }
}

fn end(context: &Context, status: u16, outcome: &'static str, target: Option<&str>) {
    context.open.finish(RequestEnd {
        status,
        outcome,
        answered_by: target.map(str::to_owned),
        cache: None,
    });
}

fn headers(context: &Context, target: Option<&str>, simulated: bool, attempts: u32) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut say = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    say("x-distill-request-id", &context.id);
    if let Some(target) = target {
        say("x-distill-target", target);
    }
    if simulated {
        say("x-distill-simulated", "true");
    }
    headers.insert(
        HeaderName::from_static("x-distill-attempts"),
        attempts.into(),
    );
    headers
}

fn json(headers: &mut HeaderMap) {
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
}

/// Names what the target was not told, with the reasons.
fn list_dropped(headers: &mut HeaderMap, dropped: &[Dropped]) {
    /// Servers in between refuse headers that are much longer.
    const LIMIT: usize = 2048;
    if dropped.is_empty() {
        return;
    }
    let mut text = String::new();
    for (index, drop) in dropped.iter().enumerate() {
        let part = format!("{} ({})", drop.field, drop.reason);
        if text.len() + part.len() > LIMIT {
            let more = format!("; and {} more", dropped.len() - index);
            text.push_str(&more);
            break;
        }
        if index > 0 {
            text.push_str("; ");
        }
        text.extend(part.chars().map(|character| {
            if character == ' ' || character.is_ascii_graphic() {
                character
            } else {
                '?'
            }
        }));
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(HeaderName::from_static("x-distill-dropped"), value);
    }
}
