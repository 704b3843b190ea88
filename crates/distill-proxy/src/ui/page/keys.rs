//! Virtual keys: who has one, a new one, and taking one back.

use distill_ledger::{KeyInfo, KeyLimits, Role};

use super::{
    super::{
        html::{Html, UrlPart, markup},
        number::{Count, Money},
    },
    Part, card, name, time_ms, token,
};

pub(in crate::ui) fn parts(keys: &[KeyInfo], form_token: &str) -> Vec<Part> {
    vec![
        Part {
            id: "keys",
            html: card("Keys", &table(keys, form_token)),
        },
        Part {
            id: "create",
            html: card("A new key", &form(form_token)),
        },
    ]
}

fn table(keys: &[KeyInfo], form_token: &str) -> Html {
    let mut html = Html::new();
    if keys.is_empty() {
        html.raw("<p class=\"empty\">No keys yet (n = 0).</p>");
        return html;
    }
    html.raw("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">person</th><th scope=\"col\">team</th><th scope=\"col\">discipline</th><th scope=\"col\">level</th><th scope=\"col\">key</th><th scope=\"col\">may ask</th><th scope=\"col\">its own limits</th><th scope=\"col\">made</th><th scope=\"col\">state</th></tr></thead><tbody>");
    for key in keys {
        let models = if key.models.is_empty() {
            "everything".to_owned()
        } else {
            key.models.join(", ")
        };
        markup!(&mut html;
            "<tr><th scope=\"row\" class=\"name-cell\">" (&key.user));
        if key.role == Role::Admin {
            html.raw(" <span class=\"badge mark\">admin</span>");
        }
        markup!(&mut html;
            "</th><td>" [name(key.team.as_deref())] "</td><td>" [name(key.discipline.as_deref())]
            "</td><td>" [name(key.level.as_deref())] "</td><td><code>" (&key.shown)
            "</code></td><td class=\"name-cell\">" (models) "</td><td>"
            [name(limits(&key.limits).as_deref())]
            "</td><td>" [time_ms(key.created_ms)] "</td><td>");
        match (key.revoked_ms, key.expires_ms) {
            (Some(at), _) => {
                markup!(&mut html; "<span class=\"badge bad\">revoked</span> <span class=\"soft\">" [time_ms(at)] "</span>");
            }
            (None, expires) => {
                if let Some(at) = expires {
                    markup!(&mut html; "<span class=\"soft\">until " [time_ms(at)] "</span> ");
                }
                markup!(&mut html;
                    "<form method=\"post\" action=\"/ui/keys/" (UrlPart(&key.id)) "/revoke\">"
                    [token(form_token)] "<button class=\"stop\" id=\"revoke-" (&key.id)
                    "\">Revoke</button></form>");
            }
        }
        html.raw("</td></tr>");
    }
    html.raw("</tbody></table></div>");
    html
}

/// A key's own limits in words.
fn limits(limits: &KeyLimits) -> Option<String> {
    let counts = [
        (limits.requests_per_minute, "requests a minute"),
        (limits.tokens_per_minute, "tokens a minute"),
    ];
    let sums = [
        (limits.usd_per_day, "a day"),
        (limits.usd_per_month, "a month"),
        (limits.usd_total, "in all"),
    ];
    let counts = counts
        .into_iter()
        .filter_map(|(limit, of)| Some(format!("{} {of}", Count(limit?))));
    let sums = sums
        .into_iter()
        .filter_map(|(limit, of)| Some(format!("{} {of}", Money(limit?))));
    let words: Vec<String> = counts.chain(sums).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn form(form_token: &str) -> Html {
    let mut html = Html::new();
    markup!(&mut html;
        "<form class=\"filters\" method=\"post\" action=\"/ui/keys\">" [token(form_token)]);
    for (field, label, required) in [
        ("user", "Person", true),
        ("team", "Team", false),
        ("discipline", "Discipline", false),
        ("level", "Level", false),
        (
            "models",
            "May ask (names, commas between; empty: everything)",
            false,
        ),
        ("usd_per_month", "US dollars a month at most", false),
    ] {
        markup!(&mut html; "<label>" (label) "<input name=\"" (field) "\" autocomplete=\"off\"");
        if required {
            html.raw(" required");
        }
        html.raw("></label>");
    }
    html.raw("<button>Make the key</button></form>");
    html
}

/// The page that shows a new key, once.
pub(in crate::ui) fn made(key: &str, user: &str) -> Vec<Part> {
    let mut body = Html::new();
    markup!(&mut body;
        "<p>The key of " (user) ". It is shown this once: only its hash is kept.</p><code class=\"secret\" id=\"new-key\">"
        (key) "</code><p class=\"note\"><a href=\"/ui/keys\">Back to the keys</a></p>");
    vec![Part {
        id: "made",
        html: card("A new key", &body),
    }]
}
