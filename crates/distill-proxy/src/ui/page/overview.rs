//! The first page: what is spent, by whom, how the vendors fare, and what wants an answer.

use distill_gateway::{HealthState, Usd};
use distill_ledger::{Answer, Question, RequestRecord, UsageRow};

use super::{
    super::{
        chart::{Chart, Series, plain, share_bar},
        html::{Html, UrlPart, markup},
        number::{Count, Maybe, Moment, Money, Share, Short, Span},
        view::{AlertView, Bucket, Period, TargetView, input, output},
    },
    Part, card, name, requests, requests_link, simulated_mark, spend, time, time_ms, token,
};

/// All that the page shows.
#[derive(Debug)]
pub(in crate::ui) struct Overview {
    pub(in crate::ui) period: Period,
    pub(in crate::ui) totals: UsageRow,
    pub(in crate::ui) buckets: Vec<Bucket>,
    /// By person and team, the dearest first.
    pub(in crate::ui) spenders: Vec<UsageRow>,
    /// By target.
    pub(in crate::ui) targets: Vec<UsageRow>,
    pub(in crate::ui) health: Vec<TargetView>,
    pub(in crate::ui) questions: Vec<Question>,
    pub(in crate::ui) alerts: Vec<AlertView>,
    pub(in crate::ui) latest: Vec<RequestRecord>,
}

/// Top spenders that are shown.
const MOST_SPENDERS: usize = 8;
/// Alerts that are shown.
const MOST_ALERTS: usize = 8;

pub(in crate::ui) fn parts(overview: &Overview, form_token: &str) -> Vec<Part> {
    let part = |id, html| Part { id, html };
    vec![
        part("questions", questions(&overview.questions, form_token)),
        part("totals", tiles(&overview.totals)),
        part("over-time", over_time(overview)),
        part("spenders", spenders(overview)),
        part("health", health(overview)),
        part("alerts", alerts(&overview.alerts)),
        part("latest", latest(overview)),
    ]
}

fn tile(html: &mut Html, label: &'static str, value: &Html, below: &Html) {
    markup!(html;
        "<div class=\"tile\"><dt>" (label) "</dt><dd>" [*value] "</dd><dd class=\"small\">" [*below]
        "</dd></div>");
}

fn words(text: impl std::fmt::Display) -> Html {
    let mut html = Html::new();
    html.text(text);
    html
}

fn tiles(totals: &UsageRow) -> Html {
    let mut html = Html::new();
    html.raw("<dl class=\"tiles\">");
    let below = if totals.usd_unsettled > Usd::ZERO {
        words(format_args!(
            "and at most {} not settled",
            Money(totals.usd_unsettled)
        ))
    } else {
        words("all settled")
    };
    // Nothing asked is nothing spent; attempts of unknown price alone are not.
    let settled = totals
        .usd
        .or_else(|| (totals.attempts == 0).then_some(Usd::ZERO));
    let mut spent = words(Maybe(settled.map(Money)));
    spent.add(&simulated_mark(totals.simulated));
    tile(&mut html, "Spend", &spent, &below);
    let failed = if totals.requests == 0 {
        words("n = 0")
    } else {
        words(format_args!("{} not answered", Count(totals.failures)))
    };
    tile(
        &mut html,
        "Requests",
        &words(Count(totals.requests)),
        &failed,
    );
    let short = |count: Option<u64>| Maybe(count.map(|count| Short(count as f64)));
    let cached = totals.tokens.cached_input;
    tile(
        &mut html,
        "Input tokens",
        &words(short(input(&totals.tokens))),
        &words(format_args!("{} from vendors' caches", short(cached))),
    );
    tile(
        &mut html,
        "Output tokens",
        &words(short(output(&totals.tokens))),
        &words(format_args!(
            "{} reasoning ({})",
            short(totals.tokens.reasoning),
            Maybe(totals.reasoning_share.map(Share))
        )),
    );
    tile(
        &mut html,
        "Saved by the cache",
        &words(Money(totals.cache_saved)),
        &words(format_args!("{} hits", Count(totals.cache_hits))),
    );
    tile(
        &mut html,
        "Failovers",
        &words(Count(totals.failovers)),
        &words(format_args!("{} attempts in all", Count(totals.attempts))),
    );
    tile(
        &mut html,
        "Latency p50",
        &words(Maybe(totals.latency_p50.map(Span))),
        &words(format_args!("p95 {}", Maybe(totals.latency_p95.map(Span)))),
    );
    html.raw("</dl>");
    html
}

/// The questions that stand open, and those that stop somebody.
fn questions(questions: &[Question], form_token: &str) -> Html {
    let mut body = Html::new();
    for question in questions {
        markup!(&mut body;
            "<div class=\"question\"><p>" (&question.wording) "</p><p class=\"note\">Asked of "
            (question.user.as_deref().unwrap_or("everybody")) " at " [time_ms(question.raised_ms)]);
        if let (Some(answer), Some(at)) = (question.answer, question.answered_ms) {
            markup!(&mut body;
                "; answered with <b>" (answer.name()) "</b> by "
                (question.answered_by.as_deref().unwrap_or("nobody")) " at " [time_ms(at)] ".");
        } else {
            markup!(&mut body;
                "; without an answer by "
                (Moment(question.deadline_ms.div_euclid(1000)).clock()) " UTC: "
                (question.default.name()) ".");
        }
        if let Some(until) = question.stops_until_ms {
            markup!(&mut body; " Stopped until " [time_ms(until)] ".");
        }
        markup!(&mut body;
            "</p><form class=\"buttons\" method=\"post\" action=\"/ui/questions/"
            (UrlPart(&question.id)) "\">" [token(form_token)]
            "<button class=\"go\" name=\"answer\" value=\"go\" id=\"go-" (&question.id)
            "\">Go on</button>");
        if question.answer != Some(Answer::Stop) {
            markup!(&mut body;
                "<button class=\"stop\" name=\"answer\" value=\"stop\" id=\"stop-" (&question.id)
                "\">Stop</button>");
        }
        body.raw("</form></div>");
    }
    if questions.is_empty() {
        return Html::new();
    }
    card("Did you mean to spend this?", &body)
}

fn over_time(overview: &Overview) -> Html {
    let period = overview.period;
    let label = |bucket: &Bucket| match period {
        Period::Hour | Period::Day => Moment(bucket.from).clock(),
        Period::Week | Period::Month => Moment(bucket.from).date()[5..].to_owned(),
    };
    let labels: Vec<String> = overview.buckets.iter().map(label).collect();
    let of = |value: &dyn Fn(&UsageRow) -> f64| -> Vec<f64> {
        overview
            .buckets
            .iter()
            .map(|bucket| value(&bucket.usage))
            .collect()
    };
    let money = |value: f64| Money(Usd::from_dollars(value)).to_string();
    let axis_money = |value: f64| match value {
        large if large >= 1000.0 => format!("${}", Short(large)),
        value => money(value),
    };
    let spend = Chart {
        id: "spend",
        title: "Spend",
        unit: format!("US dollars {}, times in UTC", period.per()),
        labels: labels.clone(),
        series: vec![
            Series {
                name: "settled",
                values: of(&|usage| usage.usd.unwrap_or_default().dollars()),
                shown: &money,
            },
            Series {
                name: "not settled, at most",
                values: of(&|usage| usage.usd_unsettled.dollars()),
                shown: &money,
            },
        ],
        axis: &axis_money,
    };
    let count = |value: Option<u64>| value.unwrap_or_default() as f64;
    let whole = |value: f64| Count(value as u64).to_string();
    let tokens = Chart {
        id: "tokens",
        title: "Tokens",
        unit: format!("tokens {}", period.per()),
        labels,
        series: vec![
            Series {
                name: "input",
                values: of(&|usage| count(usage.tokens.input) + count(usage.tokens.cache_write)),
                shown: &whole,
            },
            Series {
                name: "cached input",
                values: of(&|usage| count(usage.tokens.cached_input)),
                shown: &whole,
            },
            Series {
                name: "output",
                values: of(&|usage| count(usage.tokens.output)),
                shown: &whole,
            },
            Series {
                name: "reasoning",
                values: of(&|usage| count(usage.tokens.reasoning)),
                shown: &whole,
            },
        ],
        axis: &plain,
    };
    let mut html = Html::new();
    markup!(&mut html;
        "<div class=\"two\"><div class=\"card\">" [spend.draw()] "</div><div class=\"card\">"
        [tokens.draw()] "</div></div>");
    html
}

fn spenders(overview: &Overview) -> Html {
    let mut body = Html::new();
    if overview.spenders.is_empty() {
        body.raw("<p class=\"empty\">Nobody asked anything in this period (n = 0).</p>");
        return card("Top spenders", &body);
    }
    let most = overview
        .spenders
        .iter()
        .map(|group| group.usd.unwrap_or_default().dollars())
        .fold(0.0, f64::max);
    body.raw("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">person</th><th scope=\"col\">team</th><th scope=\"col\" class=\"number\">spend</th><th scope=\"col\" class=\"bar-cell\"></th><th scope=\"col\" class=\"number\">requests</th><th scope=\"col\" class=\"number\">reasoning</th></tr></thead><tbody>");
    for group in overview.spenders.iter().take(MOST_SPENDERS) {
        let user = group.group.first().cloned().flatten().unwrap_or_default();
        let team = group.group.get(1).cloned().flatten();
        let dollars = group.usd.unwrap_or_default().dollars();
        markup!(&mut body;
            "<tr><th scope=\"row\" class=\"name-cell\">" [requests_link("user", &user, overview.period)]
            [simulated_mark(group.simulated)] "</th><td>" [name(team.as_deref())]
            "</td><td class=\"number\">" [spend(group.usd, group.usd_unsettled)]
            "</td><td class=\"bar-cell\">" [share_bar(dollars / most)]
            "</td><td class=\"number\">" (Count(group.requests)) "</td><td class=\"number\">"
            (Maybe(group.reasoning_share.map(Share))) "</td></tr>");
    }
    body.raw("</tbody></table></div>");
    if overview.spenders.len() > MOST_SPENDERS {
        markup!(&mut body;
            "<p class=\"note\"><a href=\"/ui/people?since=" (overview.period.name()) "\">All "
            (overview.spenders.len()) " people</a></p>");
    }
    card("Top spenders", &body)
}

fn state_badge(view: &TargetView) -> Html {
    let mut html = Html::new();
    let (class, words) = match view.health.state {
        HealthState::Closed => ("badge good", "ready"),
        HealthState::Slow => ("badge warn", "slow"),
        HealthState::Resting => ("badge warn", "resting"),
        HealthState::Open => ("badge bad", "breaker open"),
        HealthState::HalfOpen => ("badge warn", "probing"),
        HealthState::Out => ("badge bad", "out"),
    };
    markup!(&mut html; "<span class=\"" (class) "\">" (words) "</span>");
    if let Some(remaining) = view.health.remaining {
        markup!(&mut html; " <span class=\"soft\">for " (Span(remaining)) "</span>");
    }
    html
}

/// Attempts that brought no answer. A request is counted with the target that answered it, and one
/// that the cache answered took no attempt.
fn unanswered(usage: &UsageRow) -> u64 {
    let answered = usage.requests.saturating_sub(usage.cache_hits);
    usage.attempts.saturating_sub(answered)
}

fn health(overview: &Overview) -> Html {
    let mut body = Html::new();
    if overview.health.is_empty() {
        body.raw("<p class=\"empty\">No vendor was asked yet.</p>");
        return card("Vendors", &body);
    }
    body.raw("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">model</th><th scope=\"col\">state</th><th scope=\"col\">answers for</th><th scope=\"col\" class=\"number\">attempts</th><th scope=\"col\" class=\"number\" title=\"Attempts that brought no answer: failed, cancelled, under way\">no answer</th><th scope=\"col\" class=\"number\">p50</th><th scope=\"col\" class=\"number\">p95</th><th scope=\"col\" class=\"number\">spend</th></tr></thead><tbody>");
    for view in &overview.health {
        let usage = overview
            .targets
            .iter()
            .find(|group| group.group.first().cloned().flatten().as_deref() == Some(&view.target))
            .cloned()
            .unwrap_or_default();
        markup!(&mut body;
            "<tr><th scope=\"row\" class=\"name-cell\">" (&view.target) [simulated_mark(view.simulated)]
            "</th><td>" [state_badge(view)]);
        if let Some((failure, ago)) = &view.health.last_failure {
            markup!(&mut body;
                " <span class=\"soft\">last: " (failure.rule().name.replace('_', " ")) ", " (Span(*ago)) " ago</span>");
        }
        for note in &view.notes {
            markup!(&mut body; " <span class=\"badge warn\">" (note) "</span>");
        }
        markup!(&mut body;
            "</td><td class=\"name-cell\">" (view.routes.join(", ")) "</td><td class=\"number\">"
            (Count(usage.attempts)) "</td><td class=\"number\">" (Count(unanswered(&usage)))
            "</td><td class=\"number\">" (Maybe(usage.latency_p50.map(Span)))
            "</td><td class=\"number\">" (Maybe(usage.latency_p95.map(Span)))
            "</td><td class=\"number\">" [spend(usage.usd, usage.usd_unsettled)] "</td></tr>");
    }
    body.raw("</tbody></table></div>");
    card("Vendors", &body)
}

fn alerts(alerts: &[AlertView]) -> Html {
    let mut body = Html::new();
    if alerts.is_empty() {
        body.raw("<p class=\"empty\">No alerts.</p>");
        return card("Alerts", &body);
    }
    body.raw("<div class=\"scroll\"><table><tbody>");
    for alert in alerts.iter().take(MOST_ALERTS) {
        markup!(&mut body;
            "<tr><td class=\"soft\">" [time(alert.at)] "</td><td class=\"name-cell\">" (&alert.wording)
            "</td></tr>");
    }
    body.raw("</tbody></table></div>");
    if alerts.len() > MOST_ALERTS {
        markup!(&mut body; "<p class=\"note\">" (alerts.len() - MOST_ALERTS) " older ones are in the log.</p>");
    }
    card("Alerts", &body)
}

fn latest(overview: &Overview) -> Html {
    let mut body = requests::table(&overview.latest);
    markup!(&mut body;
        "<p class=\"note\"><a href=\"/ui/requests?since=" (overview.period.name()) "\">All requests</a></p>");
    card("Latest requests", &body)
}
