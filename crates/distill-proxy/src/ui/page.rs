//! The frame around every page, and the pieces that several of them use.

pub(super) mod groups;
pub(super) mod keys;
pub(super) mod login;
pub(super) mod overview;
pub(super) mod requests;

use distill_gateway::Usd;
use distill_ledger::UsageRow;

use super::{
    html::{Html, UrlPart, markup},
    number::{ABSENT, Count, Maybe, Moment, Money},
    view::Period,
};

/// A part of a page that is drawn anew when something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Names it in the page and on the live stream.
    pub(super) id: &'static str,
    pub(super) html: Html,
}

/// The pages of the navigation: address and name.
const PAGES: [(&str, &str); 7] = [
    ("/ui", "Overview"),
    ("/ui/people", "People"),
    ("/ui/teams", "Teams"),
    ("/ui/tasks", "Tasks"),
    ("/ui/models", "Models"),
    ("/ui/requests", "Requests"),
    ("/ui/keys", "Keys"),
];

/// What the frame must know.
#[derive(Debug, Clone)]
pub(super) struct Frame<'a> {
    pub(super) nonce: &'a str,
    pub(super) title: &'static str,
    /// The address of the page, without its query.
    pub(super) path: &'a str,
    /// The query of the live stream; `None`: the page stands still.
    pub(super) live: Option<String>,
    /// `None`: the page has no period.
    pub(super) period: Option<Period>,
    pub(super) form_token: &'a str,
}

/// A whole page.
pub(super) fn whole(frame: &Frame<'_>, parts: &[Part]) -> Html {
    let mut html = Html::new();
    head(&mut html, frame.nonce, frame.title);
    if let Some(query) = &frame.live {
        markup!(&mut html; "<body data-live=\"/ui/live?" (query) "\">");
    } else {
        html.raw("<body>");
    }
    html.raw("<a class=\"skip\" href=\"#content\">To the content</a><header><div class=\"inner\"><a class=\"name\" href=\"/ui\">distill proxy</a><nav aria-label=\"Pages\">");
    for (path, name) in PAGES {
        let here = frame.path == path
            || (path != "/ui"
                && frame.path.starts_with(path)
                && frame.path[path.len()..].starts_with('/'));
        let current = if here { " aria-current=\"page\"" } else { "" };
        markup!(&mut html; "<a href=\"" (path));
        if let Some(period) = frame.period.filter(|_| path != "/ui/keys") {
            markup!(&mut html; "?since=" (period.name()));
        }
        html.raw("\"").raw(current);
        markup!(&mut html; ">" (name) "</a>");
    }
    html.raw("</nav>");
    if frame.live.is_some() {
        html.raw("<span id=\"live\" class=\"live\" role=\"status\">not live</span>");
    }
    markup!(&mut html;
        "<form method=\"post\" action=\"/ui/logout\">" [token(frame.form_token)]
        "<button class=\"plain\">Log out</button></form></div></header><main id=\"content\"><div class=\"head\"><h1>"
        (frame.title) "</h1>");
    if let Some(period) = frame.period {
        html.add(&periods(frame.path, period));
    }
    html.raw("</div>");
    for part in parts {
        markup!(&mut html; "<section id=\"" (part.id) "\">" [part.html] "</section>");
    }
    html.raw("</main></body></html>");
    html
}

/// Everything before `<body>`.
fn head(html: &mut Html, nonce: &str, title: &str) {
    markup!(html;
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>"
        (title) " - distill proxy</title><link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/ui/style.css\" nonce=\""
        (nonce) "\"><script defer src=\"/ui/script.js\" nonce=\"" (nonce) "\"></script></head>");
}

fn periods(path: &str, chosen: Period) -> Html {
    let mut html = Html::new();
    html.raw("<nav class=\"periods\" aria-label=\"Period\">");
    for period in Period::ALL {
        let current = if period == chosen {
            " aria-current=\"true\""
        } else {
            ""
        };
        markup!(&mut html; "<a href=\"" (path) "?since=" (period.name()) "\"");
        html.raw(current);
        markup!(&mut html; ">" (period.name()) "</a>");
    }
    html.raw("</nav>");
    html
}

/// The field by which a form proves that it is ours.
fn token(form_token: &str) -> Html {
    let mut html = Html::new();
    markup!(&mut html; "<input type=\"hidden\" name=\"token\" value=\"" (form_token) "\">");
    html
}

/// A card with a heading.
fn card(title: &'static str, body: &Html) -> Html {
    let mut html = Html::new();
    markup!(&mut html; "<div class=\"card\"><h2>" (title) "</h2>" [*body] "</div>");
    html
}

/// Says that what stands beside it was made up by this program.
fn simulated_mark(simulated: bool) -> Html {
    let mut html = Html::new();
    if simulated {
        html.raw(" <span class=\"badge mark\" title=\"Answered by a simulated vendor: no real model, no real money\">simulated</span>");
    }
    html
}

/// A name, or what stands for the lack of one.
fn name(value: Option<&str>) -> Html {
    let mut html = Html::new();
    if let Some(value) = value {
        html.text(value);
    } else {
        html.raw("<span class=\"soft\">none</span>");
    }
    html
}

fn time(at: i64) -> Html {
    let mut html = Html::new();
    markup!(&mut html; "<time datetime=\"" (Moment(at).machine()) "\">" (Moment(at)) "</time>");
    html
}

/// What was spent, and what may still come to it.
fn spend(settled: Option<Usd>, unsettled: Usd) -> Html {
    let mut html = Html::new();
    if settled.is_none() && unsettled > Usd::ZERO {
        markup!(&mut html; "≤ " (Money(unsettled)));
        return html;
    }
    markup!(&mut html; (Maybe(settled.map(Money))));
    if unsettled > Usd::ZERO {
        markup!(&mut html;
            " <span class=\"soft\" title=\"Attempts whose cost is not known: at most this much more\">+ ≤ "
            (Money(unsettled)) "</span>");
    }
    html
}

/// A count of tokens, or a dash where none was reported.
fn tokens(count: Option<u64>) -> Html {
    let mut html = Html::new();
    markup!(&mut html; (Maybe(count.map(Count))));
    html
}

/// How a request or an attempt ended.
fn outcome_badge(outcome: Option<&str>) -> Html {
    let mut html = Html::new();
    let class = match outcome {
        None => "badge",
        Some("answered" | "cached") => "badge good",
        Some("cancelled" | "refused") => "badge warn",
        Some(_) => "badge bad",
    };
    let words = outcome.map_or_else(
        || "under way".to_owned(),
        |outcome| outcome.replace('_', " "),
    );
    markup!(&mut html; "<span class=\"" (class) "\">" (words) "</span>");
    html
}

/// A link to the requests of one person, model, ...
fn requests_link(field: &'static str, value: &str, period: Period) -> Html {
    let mut html = Html::new();
    markup!(&mut html;
        "<a href=\"/ui/requests?since=" (period.name()) "&amp;" (field) "=" (UrlPart(value)) "\">"
        (value) "</a>");
    html
}

/// Requests that nobody answered; a dash where there were none at all.
fn failures(usage: &UsageRow) -> String {
    if usage.requests == 0 {
        return ABSENT.to_owned();
    }
    Count(usage.failures).to_string()
}

/// Milliseconds since 1970 as a moment of this year: the day and the time.
fn short_time_ms(at_ms: i64) -> Html {
    let at = Moment(at_ms.div_euclid(1000));
    let shown = at.to_string();
    let (_, without_year) = shown.split_once('-').unwrap_or(("", &shown));
    let mut html = Html::new();
    markup!(&mut html;
        "<time datetime=\"" (at.machine()) "\" title=\"" (at) " UTC\">" (without_year) "</time>");
    html
}

/// Milliseconds since 1970 as a moment.
fn time_ms(at_ms: i64) -> Html {
    time(at_ms.div_euclid(1000))
}
