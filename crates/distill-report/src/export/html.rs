//! One HTML file that loads nothing: styles and figures are inside, there is no script.

use crate::{
    RunReport,
    compose::compose,
    document::{Align, Block, Document, Line, MARK, MARK_MEANS, Section, Table},
};

/// Tables with more rows than this are folded, and scroll sideways on a phone; shorter ones become
/// cards there. The worst regressions, the longest texts of a report, are at most this many.
const LONG: usize = 20;

/// The whole report.
pub fn html(report: &RunReport) -> String {
    let document = compose(report);
    let sections: Vec<String> = document.sections.iter().map(section).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n{banner}<p class=\"decision {class}\">{decision}</p>\n{contents}</header>\n\
         <main>\n{sections}</main>\n</body>\n</html>\n",
        title = escape(&document.title),
        style = include_str!("report.css"),
        banner = banner(&document),
        class = decision_class(report),
        decision = inline(&document.decision),
        contents = contents(&document),
        sections = sections.concat(),
    )
}

/// Colour only repeats what the word says.
fn decision_class(report: &RunReport) -> &'static str {
    use distill_eval::Decision;
    match report.recommendation.verdict.decision {
        Decision::Replace => "yes",
        Decision::KeepTeacher => "no",
        Decision::MoreData { .. } | Decision::Undecided { .. } => "open",
    }
}

fn banner(document: &Document) -> String {
    document
        .banner
        .as_ref()
        .map(|banner| {
            format!(
                "<p class=\"banner\" role=\"note\">{}<br><small>{}</small></p>\n",
                escape(banner),
                escape(MARK_MEANS)
            )
        })
        .unwrap_or_default()
}

fn contents(document: &Document) -> String {
    let links: Vec<String> = document
        .sections
        .iter()
        .map(|section| format!("<a href=\"#{}\">{}</a>", section.id, escape(&section.title)))
        .collect();
    format!("<nav>{}</nav>\n", links.join(" "))
}

fn section(section: &Section) -> String {
    let blocks: Vec<String> = section.blocks.iter().map(block).collect();
    format!(
        "<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n",
        section.id,
        escape(&section.title),
        blocks.concat()
    )
}

fn block(block: &Block) -> String {
    match block {
        Block::Text(line) => format!("<p>{}</p>\n", inline(line)),
        Block::Items(items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| format!("<li>{}</li>", inline(item)))
                .collect();
            format!("<ul>{}</ul>\n", items.concat())
        }
        Block::Table(table) => grid(table),
        Block::Command(command) => format!("<pre><code>{}</code></pre>\n", escape(command)),
        Block::Figure { svg, caption } => format!(
            "<figure>{svg}<figcaption>{}</figcaption></figure>\n",
            escape(caption)
        ),
    }
}

fn grid(table: &Table) -> String {
    let head: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            format!(
                "<th scope=\"col\"{}>{}</th>",
                number_class(column.align),
                escape(&column.title)
            )
        })
        .collect();
    let body: Vec<String> = table
        .rows
        .iter()
        .enumerate()
        .map(|(place, row)| body_row(table, row, table.emphasised == Some(place)))
        .collect();
    let kind = if table.rows.len() > LONG {
        "scrolls"
    } else {
        "cards"
    };
    let grid = format!(
        "<div class=\"scroll\" tabindex=\"0\"><table class=\"{kind}\"><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>",
        escape(&table.caption),
        head.concat(),
        body.concat()
    );
    if table.rows.len() > LONG {
        format!(
            "<details><summary>{} ({} rows)</summary>{grid}</details>\n",
            escape(&table.caption),
            table.rows.len()
        )
    } else {
        format!("{grid}\n")
    }
}

fn body_row(table: &Table, row: &[Line], emphasised: bool) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(&table.columns)
        .enumerate()
        .map(|(place, (cell, column))| {
            if place == 0 {
                format!("<th scope=\"row\">{}</th>", inline(cell))
            } else {
                format!(
                    "<td{} data-label=\"{}\"><span>{}</span></td>",
                    number_class(column.align),
                    escape(&column.title),
                    inline(cell)
                )
            }
        })
        .collect();
    format!(
        "<tr{}>{}</tr>\n",
        if emphasised { " class=\"main\"" } else { "" },
        cells.concat()
    )
}

fn number_class(align: Align) -> &'static str {
    match align {
        Align::Left => "",
        Align::Right => " class=\"number\"",
    }
}

fn inline(line: &Line) -> String {
    let text = escape(&line.text);
    if line.simulated {
        format!("{text} <abbr class=\"sim\" title=\"simulated\">{MARK}</abbr>")
    } else {
        text
    }
}

/// What a user's text holds must stay text, in content and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            control if control.is_control() => escaped.push(' '),
            _ => escaped.push(character),
        }
    }
    escaped
}
