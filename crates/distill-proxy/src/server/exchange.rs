//! The way of a request for a model through the proxy: who may ask, what the ledger says, who
//! answers, how it ends.

mod ask;
mod cached;
mod redacted;

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Response},
};
use distill_ledger::{Caller, OpenRequest, RequestEnd, RequestStart};
use distill_wire::{
    Dialect, Dropped, ErrorKind, Request,
    envelope::{self, Envelope},
};

use super::{Shared, count_tokens, live::Live, models, permission, story::Story};
use crate::{
    forward::Endpoint,
    problem::Problem,
    route::Route,
    task::{PREFIX, TaskCall, TaskProblem},
};
use cached::Sought;

/// A request for a model whose caller is known and whose body has come.
pub(crate) struct Asking<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) live: Arc<Live>,
    pub(crate) id: String,
    pub(crate) caller: Arc<Caller>,
    pub(crate) headers: HeaderMap,
    pub(crate) asked: Asked,
    pub(crate) body: Bytes,
}

/// What the path asked for.
pub(crate) enum Asked {
    Model(Endpoint),
    /// A task of that name; the body holds its variables.
    Task(String),
}

impl Asked {
    pub(crate) fn endpoint(&self) -> Endpoint {
        match self {
            Self::Model(endpoint) => *endpoint,
            Self::Task(_) => Endpoint::Chat(Dialect::ChatCompletions),
        }
    }
}

/// What answers a request: a response, and how it ended where that is known already.
pub(crate) enum Answered {
    /// The story goes on until the last byte is out.
    Response(Response<Body>),
    Problem(Box<(Problem, Story)>),
}

/// Answers a request, or says why not.
pub(crate) async fn answer(asking: Asking<'_>, mut story: Story) -> Answered {
    let ready = match prepare(&asking, &mut story).await {
        Ok(Prepared::Ready(ready)) => *ready,
        Ok(Prepared::Estimate(response)) => {
            story.answered(response.status().as_u16());
            return Answered::Response(response);
        }
        Err(problem) => return Answered::Problem(Box::new((problem, story))),
    };
    let sent = match redacted::sent(&asking, &ready) {
        Ok(sent) => sent,
        Err(problem) => {
            ready.open.finish(RequestEnd {
                status: problem.status.as_u16(),
                outcome: "refused",
                ..RequestEnd::default()
            });
            return Answered::Problem(Box::new((problem, story)));
        }
    };
    Answered::Response(match cached::look(&asking, &ready).await {
        Sought::Hit(hit) => cached::response(&hit, &ready, sent.restorer.as_ref(), story),
        Sought::Ask(lead) => ask::ask(asking, ready, sent, lead, story).await,
    })
}

/// A request that was let in.
struct Ready {
    envelope: Envelope,
    route: Arc<Route>,
    open: Arc<OpenRequest>,
    task: Option<OfTask>,
}

/// What a task made of a request.
struct OfTask {
    request: Arc<Request>,
    /// The version with the beginning of its hash.
    version: String,
    dropped: Vec<Dropped>,
}

enum Prepared {
    Ready(Box<Ready>),
    /// Nobody is asked: tokens are estimated here.
    Estimate(Response<Body>),
}

/// The name of an endpoint's form in the ledger and the metrics.
fn form(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat(dialect) => dialect.as_str(),
        Endpoint::Embeddings => "openai.embeddings",
        Endpoint::CountTokens => "anthropic.count_tokens",
    }
}

async fn prepare(asking: &Asking<'_>, story: &mut Story) -> Result<Prepared, Problem> {
    let endpoint = asking.asked.endpoint();
    let (mut envelope, model) = match &asking.asked {
        Asked::Model(_) => {
            let envelope = envelope::scan(endpoint.dialect(), &asking.body)?;
            let model = envelope.model.clone().ok_or_else(|| {
                Problem::new(ErrorKind::InvalidRequest, "`model` is missing").param("model")
            })?;
            (envelope, model)
        }
        Asked::Task(name) => {
            let model = format!("{PREFIX}{name}");
            let envelope = Envelope {
                model: Some(model.clone()),
                ..Envelope::default()
            };
            (envelope, model)
        }
    };
    story.asks(form(endpoint), &model);
    let (route, task, name) = if TaskCall::is_task(&model) {
        let (route, task, name) = of_task(asking, &mut envelope)?;
        story.route(
            &route.config().name,
            Some(format!("{name}@{}", task.version)),
        );
        (route, Some(task), Some(name))
    } else {
        let route = models::find(&asking.live, &model)
            .ok_or_else(|| models::unknown(&asking.live, &asking.caller, &model))?;
        permission::require(&asking.caller, &model, &route.config().allow)?;
        story.route(route.name(), None);
        (route, None, None)
    };
    check_size(&asking.body, &route)?;
    if envelope.session.is_none() {
        envelope.session = session_of(&asking.headers);
    }
    if endpoint == Endpoint::CountTokens && !route.counts_tokens() {
        let estimate = count_tokens::estimate(&asking.body)?;
        return Ok(Prepared::Estimate(estimate));
    }
    let start = RequestStart {
        id: asking.id.clone(),
        caller: asking.caller.clone(),
        task: name.zip(task.as_ref().map(|task| task.version.clone())),
        route: route.name().to_owned(),
        model_asked: model,
        dialect: form(endpoint),
        streamed: envelope.stream,
        session: envelope.session.clone(),
        worst_tokens: worst_tokens(asking, &envelope),
    };
    let begun = asking.shared.ledger.begin(start).await;
    let open = begun.inspect_err(|refusal| asking.shared.engine.settings().heed(refusal))?;
    Ok(Prepared::Ready(Box::new(Ready {
        envelope,
        route,
        open: Arc::new(open),
        task,
    })))
}

/// Makes the request of a task's variables; its name comes last.
fn of_task(
    asking: &Asking<'_>,
    envelope: &mut Envelope,
) -> Result<(Arc<Route>, OfTask, String), Problem> {
    let endpoint = asking.asked.endpoint();
    if !matches!(endpoint, Endpoint::Chat(_)) {
        return Err(Problem::new(
            ErrorKind::InvalidRequest,
            "a task answers conversations only: ask it at /v1/chat/completions, /v1/responses, \
             /v1/messages or /v1/tasks/NAME",
        )
        .param("model"));
    }
    let call = match &asking.asked {
        Asked::Task(name) => TaskCall::read_named(name, &asking.body),
        Asked::Model(_) => TaskCall::read(&asking.body),
    }?;
    permission::require(&asking.caller, &format!("{PREFIX}{}", call.name), &[])?;
    let prepared = asking.live.tasks.prepare(&call, &asking.caller)?;
    let route = asking.live.routes.find(&prepared.route).ok_or_else(|| {
        Problem::new(
            ErrorKind::Server,
            format!("the task `{}` has no route", call.name),
        )
    })?;
    envelope.stream = prepared.request.stream;
    envelope.stream_usage = prepared.request.stream_usage;
    envelope.max_tokens = prepared.request.max_tokens;
    envelope.temperature = prepared.request.temperature;
    envelope.has_schema = prepared.request.output.is_some();
    let task = OfTask {
        request: prepared.request,
        version: prepared.version,
        dropped: prepared.dropped,
    };
    Ok((route, task, prepared.task))
}

impl From<TaskProblem> for Problem {
    fn from(error: TaskProblem) -> Self {
        let problem = Self::new(error.kind(), error.to_string());
        match error.param() {
            Some(param) => problem.param(param),
            None => problem,
        }
    }
}

fn check_size(body: &Bytes, route: &Route) -> Result<(), Problem> {
    match route.config().max_prompt_bytes {
        Some(limit) if body.len() as u64 > limit => Err(Problem::new(
            ErrorKind::TooLarge,
            format!("`{}` takes requests of {limit} bytes at most", route.name()),
        )),
        _ => Ok(()),
    }
}

/// Headers by which harnesses name a session.
const SESSION_HEADERS: [&str; 4] = [
    "x-distill-session",
    "session_id",
    "x-session-id",
    "x-claude-code-session-id",
];

fn session_of(headers: &HeaderMap) -> Option<String> {
    SESSION_HEADERS
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
        .filter(|session| !session.is_empty() && session.len() <= 256)
        .map(str::to_owned)
}

/// Bytes of a token, assumed on the safe side of usual text.
const BYTES_PER_TOKEN: u64 = 3;

/// Tokens of a usual image.
const TOKENS_PER_IMAGE: u64 = 1_600;

/// The tokens that the rate limit is charged until the answer tells.
fn worst_tokens(asking: &Asking<'_>, envelope: &Envelope) -> u64 {
    // The length of an image says nothing of its tokens.
    let images = envelope.attached_bytes * usize::from(envelope.files == 0);
    let text = asking.body.len().saturating_sub(images) as u64;
    let images = envelope.images.saturating_mul(TOKENS_PER_IMAGE);
    let input = text.div_ceil(BYTES_PER_TOKEN).saturating_add(images);
    let output = match asking.asked.endpoint() {
        Endpoint::Chat(_) => envelope
            .max_tokens
            .unwrap_or(asking.shared.engine.settings().assumed_output_tokens)
            .saturating_mul(envelope.n.unwrap_or(1)),
        Endpoint::Embeddings | Endpoint::CountTokens => 0,
    };
    input.saturating_add(output)
}
