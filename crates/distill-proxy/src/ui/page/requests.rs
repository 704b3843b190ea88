//! The latest requests, and one request with its attempts.

use distill_ledger::{AttemptRecord, RequestRecord, StoredBody};

use super::{
    super::{
        html::{Html, UrlPart, markup},
        number::{ABSENT, Count, Maybe, Money, Span},
        view::Period,
    },
    Part, card, name, outcome_badge, short_time_ms, simulated_mark, spend, time_ms, tokens,
};

/// What the list is narrowed to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::ui) struct Filter {
    pub(in crate::ui) user: Option<String>,
    pub(in crate::ui) team: Option<String>,
    pub(in crate::ui) task: Option<String>,
    pub(in crate::ui) route: Option<String>,
    pub(in crate::ui) outcome: Option<String>,
}

impl Filter {
    /// Name, label and value of each field.
    pub(in crate::ui) fn fields(&self) -> [(&'static str, &'static str, &Option<String>); 5] {
        [
            ("user", "Person", &self.user),
            ("team", "Team", &self.team),
            ("task", "Task", &self.task),
            ("route", "Route", &self.route),
            ("outcome", "Outcome", &self.outcome),
        ]
    }
}

/// The form above the list; it is not live, so that nothing changes under a person who types.
pub(in crate::ui) fn filters(filter: &Filter, period: Period) -> Part {
    let mut html = Html::new();
    markup!(&mut html;
        "<form class=\"filters\" method=\"get\" action=\"/ui/requests\"><input type=\"hidden\" name=\"since\" value=\""
        (period.name()) "\">");
    for (field, label, value) in filter.fields() {
        markup!(&mut html;
            "<label>" (label) "<input name=\"" (field) "\" value=\""
            (value.as_deref().unwrap_or_default()) "\" autocomplete=\"off\"></label>");
    }
    html.raw("<button>Filter</button></form>");
    Part {
        id: "filters",
        html,
    }
}

pub(in crate::ui) fn list(requests: &[RequestRecord], limit: usize) -> Part {
    let mut body = table(requests);
    if requests.len() >= limit {
        markup!(&mut body;
            "<p class=\"note\">The latest " (limit) "; narrow the list to see others.</p>");
    }
    Part {
        id: "list",
        html: card("Latest first", &body),
    }
}

/// Requests as rows.
pub(super) fn table(requests: &[RequestRecord]) -> Html {
    let mut html = Html::new();
    if requests.is_empty() {
        html.raw("<p class=\"empty\">No requests (n = 0).</p>");
        return html;
    }
    html.raw("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">time (UTC)</th><th scope=\"col\">person</th><th scope=\"col\">asked for</th><th scope=\"col\">answered by</th><th scope=\"col\">outcome</th><th scope=\"col\" class=\"number\">cost</th><th scope=\"col\" class=\"number\">latency</th></tr></thead><tbody>");
    for request in requests {
        markup!(&mut html;
            "<tr id=\"r-" (&request.facts.id) "\"><td><a href=\"/ui/requests/"
            (UrlPart(&request.facts.id)) "\">" [short_time_ms(request.facts.started_ms)] "</a></td><td class=\"name-cell\">"
            (&request.facts.user) "</td><td class=\"name-cell\">" (asked_for(request))
            "</td><td class=\"name-cell\">" [answerer(request)] "</td><td>"
            [outcome_badge(request.outcome.as_deref())]);
        if let Some(attempts) = request.attempts.filter(|attempts| *attempts > 1) {
            markup!(&mut html; " <span class=\"soft\">" (attempts) " attempts</span>");
        }
        markup!(&mut html;
            "</td><td class=\"number\">" [cost(request)]
            "</td><td class=\"number\">" (Maybe(request.latency.map(Span))) "</td></tr>");
    }
    html.raw("</tbody></table></div>");
    html
}

/// The task with its version, or the model.
fn asked_for(request: &RequestRecord) -> String {
    let facts = &request.facts;
    match (&facts.task, &facts.task_version) {
        (Some(task), Some(version)) => format!("{task}@{version}"),
        (Some(task), None) => task.clone(),
        (None, _) => facts.model_asked.clone(),
    }
}

fn answerer(request: &RequestRecord) -> Html {
    let mut html = Html::new();
    match (&request.cache, &request.answered_by) {
        (Some(kind), _) => {
            markup!(&mut html; "<span class=\"badge\">cache, " (kind) "</span>");
        }
        (None, Some(target)) => markup!(&mut html; (target)),
        (None, None) => markup!(&mut html; (ABSENT)),
    }
    html.add(&simulated_mark(request.simulated));
    html
}

fn cost(request: &RequestRecord) -> Html {
    spend(request.usd, request.unsettled)
}

/// One request.
pub(in crate::ui) fn one(
    request: &RequestRecord,
    attempts: &[AttemptRecord],
    bodies: Option<&StoredBody>,
) -> Vec<Part> {
    let mut parts = vec![Part {
        id: "request",
        html: card("Request", &facts(request)),
    }];
    parts.push(Part {
        id: "attempts",
        html: card("Attempts", &attempt_table(attempts)),
    });
    if let Some(stored) = bodies {
        let mut body = Html::new();
        let reply = stored.reply.as_deref().unwrap_or(ABSENT);
        for (title, text) in [("Prompt", stored.request.as_str()), ("Reply", reply)] {
            markup!(&mut body; "<h3>" (title) "</h3><pre>" (text) "</pre>");
        }
        parts.push(Part {
            id: "bodies",
            html: card("Stored because its route says so", &body),
        });
    }
    parts
}

fn facts(request: &RequestRecord) -> Html {
    let mut html = Html::new();
    let mut fact = |label: &'static str, value: &Html| {
        markup!(&mut html; "<dt>" (label) "</dt><dd>" [*value] "</dd>");
    };
    let text = |value: &dyn std::fmt::Display| {
        let mut html = Html::new();
        html.text(value);
        html
    };
    fact("id", &text(&request.facts.id));
    fact("time (UTC)", &time_ms(request.facts.started_ms));
    fact("person", &text(&request.facts.user));
    fact("team", &name(request.facts.team.as_deref()));
    fact("discipline", &name(request.facts.discipline.as_deref()));
    fact("level", &name(request.facts.level.as_deref()));
    fact("key", &text(&request.facts.key));
    fact("asked for", &text(&request.facts.model_asked));
    let task = request.facts.task.as_ref().map(|_| asked_for(request));
    fact("task", &name(task.as_deref()));
    fact("route", &text(&request.facts.route));
    let form = if request.facts.streamed {
        ", streamed"
    } else {
        ""
    };
    fact(
        "dialect",
        &text(&format_args!("{}{form}", request.facts.dialect)),
    );
    fact("answered by", &answerer(request));
    fact("model, as it named itself", &name(request.model.as_deref()));
    let mut outcome = outcome_badge(request.outcome.as_deref());
    if let Some(status) = request.status {
        markup!(&mut outcome; " <span class=\"soft\">HTTP " (status) "</span>");
    }
    fact("outcome", &outcome);
    fact("cost", &cost(request));
    if let Some(kind) = &request.cache {
        let saved = Maybe(request.cache_saved.map(Money));
        fact("cache", &text(&format_args!("{kind} hit, saved {saved}")));
    }
    fact("latency", &text(&Maybe(request.latency.map(Span))));
    fact("first token", &text(&Maybe(request.first_token.map(Span))));
    let mut whole = Html::new();
    markup!(&mut whole; "<dl class=\"facts\">" [html] "</dl>");
    whole
}

fn attempt_table(attempts: &[AttemptRecord]) -> Html {
    let mut html = Html::new();
    if attempts.is_empty() {
        html.raw("<p class=\"empty\">No vendor was asked (n = 0).</p>");
        return html;
    }
    html.raw("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">#</th><th scope=\"col\">asked</th><th scope=\"col\">outcome</th><th scope=\"col\">model</th><th scope=\"col\" class=\"number\">input</th><th scope=\"col\" class=\"number\">cached</th><th scope=\"col\" class=\"number\">output</th><th scope=\"col\" class=\"number\">reasoning</th><th scope=\"col\" class=\"number\">cost</th><th scope=\"col\" class=\"number\">first token</th><th scope=\"col\" class=\"number\">latency</th><th scope=\"col\">the vendor's name of it</th></tr></thead><tbody>");
    for attempt in attempts {
        markup!(&mut html;
            "<tr><td>" (attempt.number) "</td><th scope=\"row\" class=\"name-cell\">" (&attempt.target)
            [simulated_mark(attempt.simulated)] "</th><td>" [outcome_badge(attempt.outcome.as_deref())]);
        if let Some(status) = attempt.status {
            markup!(&mut html; " <span class=\"soft\">HTTP " (status) "</span>");
        }
        markup!(&mut html;
            "</td><td class=\"name-cell\">" [name(attempt.model.as_deref())]
            "</td><td class=\"number\">" [tokens(attempt.usage.input_tokens)]
            "</td><td class=\"number\">" [tokens(attempt.usage.cached_input_tokens)]
            "</td><td class=\"number\">" [tokens(attempt.usage.output_tokens)]
            "</td><td class=\"number\">" (Maybe(attempt.usage.reasoning_tokens.map(Count)))
            "</td><td class=\"number\">");
        if let Some(usd) = attempt.usd {
            markup!(&mut html; (Money(usd)));
        } else {
            markup!(&mut html; "≤ " (Money(attempt.reserved)));
        }
        markup!(&mut html;
            "</td><td class=\"number\">" (Maybe(attempt.first_token.map(Span)))
            "</td><td class=\"number\">" (Maybe(attempt.latency.map(Span)))
            "</td><td class=\"name-cell\">" [name(attempt.response_id.as_deref())] "</td></tr>");
    }
    html.raw("</tbody></table></div>");
    html
}
