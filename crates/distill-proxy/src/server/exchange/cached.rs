//! Answers from the cache, and questions that only the first of many asks.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use distill_ledger::{Caller, RequestEnd, RequestStart};
use distill_wire::{Dialect, envelope};
use serde_json::{Value, json};

use super::{Asking, Ready, form};
use crate::{
    cache::{Embed, Followed, Hit, Lead, Looked, Question, embed_locally},
    config::{CacheConfig, EmbeddingConfig},
    forward::{self, AnswerBody, Endpoint, Forwarded},
    redact::Restorer,
    server::{Shared, live::Live, models, story::Story},
};

/// What came of looking.
pub(super) enum Sought {
    Hit(Box<Hit>),
    /// Somebody must be asked; the lead is told how that ends.
    Ask(Option<Lead>),
}

/// Looks an answer up, where the route keeps any; waits for another's answer to the same request.
pub(super) async fn look(asking: &Asking<'_>, ready: &Ready) -> Sought {
    let Some(config) = &ready.route.config().cache else {
        return Sought::Ask(None);
    };
    let route = &ready.route;
    // Redaction makes texts about different people the same, and what a vendor must not see must not
    // reach the one that embeds either: such routes compare exactly.
    let embed = if route.config().redact.before_sending {
        None
    } else {
        embedding(asking, config)
    };
    let leads_to = |target: &str| {
        route
            .members()
            .iter()
            .any(|member| member.live().name() == target)
    };
    let question = Question {
        config,
        caller: &asking.caller,
        route: route.name(),
        task: ready.task.as_ref().map(|task| task.version.as_str()),
        endpoint: asking.asked.endpoint(),
        headers: &asking.headers,
        body: &asking.body,
        envelope: &ready.envelope,
        leads_to: &leads_to,
        embed: embed.as_ref(),
    };
    match asking.shared.cache.look(&question).await {
        Looked::Off => Sought::Ask(None),
        Looked::Hit(hit) => Sought::Hit(Box::new(hit)),
        Looked::Lead(lead) => Sought::Ask(Some(lead)),
        Looked::Follow(follow) => match follow.wait().await {
            Followed::Hit(hit) => Sought::Hit(Box::new(hit)),
            Followed::Alone(lead) => Sought::Ask(Some(lead)),
        },
    }
}

/// Answers from the cache and ends the request in the ledger.
/// Placeholders of the kept answer are those of this request: only the very same is given it.
pub(super) fn response(
    hit: &Hit,
    ready: &Ready,
    restorer: Option<&Restorer>,
    story: Story,
) -> Response<Body> {
    let body = match restorer {
        Some(restorer) => hit.mended(&ready.envelope, &|kept| restorer.body(kept).into()),
        None => hit.body(&ready.envelope),
    };
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(hit.content_type(&ready.envelope)),
    );
    for (name, value) in hit.headers() {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    let used = hit.used();
    let target = &hit.stored.target;
    story.cached(&used, target, hit.stored.simulated);
    ready.open.finish(RequestEnd {
        status: StatusCode::OK.as_u16(),
        outcome: "answered",
        answered_by: Some(target.clone()),
        cache: Some(used),
    });
    response
}

/// What turns questions into vectors, where the route compares their meanings.
fn embedding(asking: &Asking<'_>, config: &CacheConfig) -> Option<Embed> {
    match &config.semantic.as_ref()?.embedding {
        EmbeddingConfig::Local => Some(embed_locally()),
        EmbeddingConfig::Route(model) => {
            let (shared, live) = (asking.shared.clone(), asking.live.clone());
            let (caller, model) = (asking.caller.clone(), model.clone());
            Some(Arc::new(move |text| {
                let (shared, live) = (shared.clone(), live.clone());
                let (caller, model) = (caller.clone(), model.clone());
                Box::pin(async move { embed(&shared, &live, caller, &model, &text).await })
            }))
        }
    }
}

/// Asks an embedding model through this proxy; the caller bears the cost. `None` where it cannot
/// answer: the question is then compared exactly only.
async fn embed(
    shared: &Arc<Shared>,
    live: &Live,
    caller: Arc<Caller>,
    model: &str,
    text: &str,
) -> Option<Vec<f32>> {
    let route = models::find(live, model)?;
    let body = json!({"model": model, "input": text, "encoding_format": "float"});
    let body = Bytes::from(body.to_string());
    let envelope = envelope::scan(Dialect::ChatCompletions, &body).ok()?;
    let id = shared.ids.next(crate::server::story::now_ms());
    let open = shared
        .ledger
        .begin(RequestStart {
            id: id.clone(),
            caller,
            task: None,
            route: route.name().to_owned(),
            model_asked: model.to_owned(),
            dialect: form(Endpoint::Embeddings),
            streamed: false,
            session: None,
            worst_tokens: body.len() as u64,
        })
        .await
        .ok()?;
    let answer = forward::forward(
        &shared.engine,
        Forwarded {
            request_id: id,
            endpoint: Endpoint::Embeddings,
            body,
            envelope,
            request: None,
            headers: HeaderMap::new(),
            route,
            only: None,
            open: Arc::new(open),
            collect: false,
        },
    )
    .await;
    let AnswerBody::Whole(bytes) = answer.body else {
        return None;
    };
    if answer.status != StatusCode::OK {
        return None;
    }
    let body: Value = serde_json::from_slice(&bytes).ok()?;
    body["data"][0]["embedding"]
        .as_array()?
        .iter()
        .map(|number| number.as_f64().map(|number| number as f32))
        .collect()
}
