//! Usage by person, team, task or model: one table a question.

use distill_ledger::UsageRow;

use super::{
    super::{
        chart::share_bar,
        html::{Html, markup},
        number::{Count, Maybe, Money, Share, Span},
        view::{Period, input, output},
    },
    Part, card, name, requests_link, simulated_mark, spend, tokens,
};

/// One table: its title, its dimensions and its rows.
#[derive(Debug)]
pub(in crate::ui) struct Table {
    pub(in crate::ui) id: &'static str,
    pub(in crate::ui) title: &'static str,
    /// What each dimension is called, and the filter of the list of requests that it is.
    pub(in crate::ui) dimensions: Vec<(&'static str, Option<&'static str>)>,
    pub(in crate::ui) rows: Vec<UsageRow>,
}

/// Rows of a table that are shown.
const MOST_ROWS: usize = 200;

pub(in crate::ui) fn parts(tables: &[Table], period: Period) -> Vec<Part> {
    tables
        .iter()
        .map(|table| Part {
            id: table.id,
            html: card(table.title, &draw(table, period)),
        })
        .collect()
}

fn draw(table: &Table, period: Period) -> Html {
    let mut html = Html::new();
    if table.rows.is_empty() {
        html.raw("<p class=\"empty\">Nothing was asked in this period (n = 0).</p>");
        return html;
    }
    html.raw("<div class=\"scroll\"><table><thead><tr>");
    for (place, (dimension, _)) in table.dimensions.iter().enumerate() {
        markup!(&mut html; "<th scope=\"col\" class=\"" (class_of(table, place)) "\">" (*dimension) "</th>");
    }
    for (column, title) in [
        (
            "spend",
            "What settled attempts cost, and at most what the others may",
        ),
        ("", ""),
        ("requests", "Requests of callers"),
        ("failed", "Requests that nobody answered"),
        (
            "failovers",
            "Requests that another model answered than the first asked",
        ),
        ("input", "Tokens, cached ones included"),
        ("output", "Tokens, reasoning included"),
        ("reasoning", "Share of reasoning in the output"),
        (
            "cache",
            "Answers out of this proxy's cache, and what they would have cost",
        ),
        ("p50", "Median latency"),
        ("p95", "Latency of the slowest twentieth"),
    ] {
        let class = if column.is_empty() {
            "bar-cell"
        } else {
            "number"
        };
        markup!(&mut html;
            "<th scope=\"col\" class=\"" (class) "\" title=\"" (title) "\">" (column) "</th>");
    }
    html.raw("</tr></thead><tbody>");
    let most = table
        .rows
        .iter()
        .map(|row| row.usd.unwrap_or_default().dollars())
        .fold(0.0, f64::max);
    for row in table.rows.iter().take(MOST_ROWS) {
        draw_row(&mut html, table, row, most, period);
    }
    html.raw("</tbody></table></div>");
    if table.rows.len() > MOST_ROWS {
        markup!(&mut html;
            "<p class=\"note\">The " (MOST_ROWS) " dearest of " (table.rows.len())
            "; <code>distill usage</code> lists all.</p>");
    }
    html
}

/// Who has more than two dimensions shows the others on wide screens only.
fn class_of(table: &Table, place: usize) -> &'static str {
    if place > 0 && table.dimensions.len() > 2 {
        "name-cell wide"
    } else {
        "name-cell"
    }
}

/// Hits, and what they saved where there were some.
fn cache(row: &UsageRow) -> Html {
    let mut html = Html::new();
    markup!(&mut html; (Count(row.cache_hits)));
    if row.cache_hits > 0 {
        markup!(&mut html; "<br><span class=\"soft\">saved " (Money(row.cache_saved)) "</span>");
    }
    html
}

fn draw_row(html: &mut Html, table: &Table, row: &UsageRow, most: f64, period: Period) {
    let dollars = row.usd.unwrap_or_default().dollars();
    html.raw("<tr>");
    for (place, (_, filter)) in table.dimensions.iter().enumerate() {
        let value = row.group.get(place).cloned().flatten();
        let shown = match (&value, filter) {
            (Some(value), Some(filter)) => requests_link(filter, value, period),
            (value, _) => name(value.as_deref()),
        };
        if place == 0 {
            markup!(html;
                "<th scope=\"row\" class=\"name-cell\">" [shown]
                [simulated_mark(row.simulated)] "</th>");
        } else {
            markup!(html; "<td class=\"" (class_of(table, place)) "\">" [shown] "</td>");
        }
    }
    markup!(html;
        "<td class=\"number\">" [spend(row.usd, row.usd_unsettled)]
        "</td><td class=\"bar-cell\">" [share_bar(dollars / most)]
        "</td><td class=\"number\">" (Count(row.requests))
        "</td><td class=\"number\">" (super::failures(row))
        "</td><td class=\"number\">" (Count(row.failovers))
        "</td><td class=\"number\">" [tokens(input(&row.tokens))]
        "</td><td class=\"number\">" [tokens(output(&row.tokens))]
        "</td><td class=\"number\">" (Maybe(row.reasoning_share.map(Share)))
        "</td><td class=\"number\">" [cache(row)]
        "</td><td class=\"number\">" (Maybe(row.latency_p50.map(Span)))
        "</td><td class=\"number\">" (Maybe(row.latency_p95.map(Span))) "</td></tr>");
}
