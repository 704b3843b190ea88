//! One HTML file that loads nothing: styles and figures are inside, there is no script.

use std::fmt::Write;

use crate::{
    RunReport,
    compose::{compose, explain},
    document::{
        Align, Block, Case, Column, Document, Line, MARK, MARK_MEANS, MOST_ROWS, Matrix, Section,
        Table, printable,
    },
    number,
};

/// Tables with more rows than this are folded, and scroll sideways on a phone; shorter ones become
/// cards there.
const LONG: usize = 20;
/// Tables with more columns than this are set smaller, to fit beside each other on a page.
const WIDE: usize = 8;
/// Cases that are open at once.
const OPEN_CASES: usize = 6;

/// The whole report.
pub fn html(report: &RunReport) -> String {
    let document = compose(report);
    let sections: Vec<String> = document.sections.iter().map(section).collect();
    let next = document
        .next
        .as_ref()
        .map(|(with, command)| {
            format!(
                "<p class=\"next\">Next{}: <code>{}</code></p>\n",
                escape(&lead(with)),
                escape(command)
            )
        })
        .unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{decision_text} · {title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n\
         <header>\n<p class=\"kicker\">{title}</p>\n\
         <h1 class=\"decision {class}\">{decision}</h1>\n\
         <p class=\"meaning\">{meaning}</p>\n{banner}<p class=\"reason\">{reason}</p>\n\
         <p class=\"scope\">{scope}</p>\n{next}{contents}</header>\n\
         <main>\n{sections}</main>\n</body>\n</html>\n",
        title = escape(&document.title),
        decision_text = escape(&document.decision.text),
        style = include_str!("report.css"),
        banner = banner(&document),
        class = decision_class(report),
        decision = inline(&document.decision),
        meaning = inline(&document.meaning),
        reason = inline(&document.reason),
        scope = inline(&document.scope),
        contents = contents(&document),
        sections = sections.concat(),
    )
}

/// `, with more rows` behind a word; nothing where there is nothing to say.
pub(crate) fn lead(with: &str) -> String {
    if with.is_empty() {
        String::new()
    } else {
        format!(", {with}")
    }
}

/// Colour only repeats what the word says.
fn decision_class(report: &RunReport) -> &'static str {
    use distill_eval::Decision;
    match &report.recommendation.verdict.decision {
        decision if decision.is_met() => "yes",
        Decision::KeepTeacher => "no",
        _ => "open",
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
    format!("<nav aria-label=\"Sections\">{}</nav>\n", links.join(" "))
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
        Block::Matrix(matrix) => square(matrix),
        Block::Cases(cases) => {
            let shown: Vec<String> = cases.iter().map(case).collect();
            let (first, rest) = shown.split_at(shown.len().min(OPEN_CASES));
            let rest = if rest.is_empty() {
                String::new()
            } else {
                fold(&format!("{} more", rest.len()), &rest.concat())
            };
            format!("{}{rest}", first.concat())
        }
        Block::Command(command) => format!("<pre><code>{}</code></pre>\n", escape(command)),
        Block::Figure { svg, caption } => format!(
            "<figure>{svg}<figcaption>{}</figcaption></figure>\n",
            escape(caption)
        ),
        Block::Fold { summary, blocks } => {
            let inner: Vec<String> = blocks.iter().map(self::block).collect();
            fold(summary, &inner.concat())
        }
        Block::Terms(terms) => {
            let terms: Vec<String> = terms
                .iter()
                .map(|(word, meaning)| {
                    format!(
                        "<div><dt>{}</dt><dd>{}</dd></div>",
                        escape(word),
                        coded(&escape(meaning))
                    )
                })
                .collect();
            format!("<dl class=\"terms\">{}</dl>\n", terms.concat())
        }
    }
}

fn fold(summary: &str, inner: &str) -> String {
    format!(
        "<details><summary>{}</summary>\n{inner}</details>\n",
        escape(summary)
    )
}

fn case(case: &Case) -> String {
    let note = case
        .note
        .as_ref()
        .map(|note| format!(" <small>{}</small>", escape(note)))
        .unwrap_or_default();
    let answers: Vec<String> = case
        .answers
        .iter()
        .map(|(who, what)| {
            format!(
                "<div><dt>{}</dt><dd>{}</dd></div>",
                escape(who),
                inline(what)
            )
        })
        .collect();
    format!(
        "<article class=\"case\"><h3>{}{note}</h3><blockquote>{}</blockquote><dl>{}</dl></article>\n",
        escape(&case.title),
        inline(&case.text),
        answers.concat()
    )
}

fn square(matrix: &Matrix) -> String {
    let mut rows = String::new();
    for (place, (label, counts)) in matrix.rows.iter().zip(&matrix.counts).enumerate() {
        let all: usize = counts.iter().sum();
        let cells: Vec<String> = counts
            .iter()
            .enumerate()
            .map(|(column, count)| {
                let kind = match (*count, column == place) {
                    (_, true) => "right",
                    (0, false) => "zero",
                    (_, false) => "wrong",
                };
                // Shade by the share of the row, so that rare labels show, too.
                let heat = if all == 0 {
                    0.0
                } else {
                    *count as f64 / all as f64
                };
                format!("<td class=\"{kind}\" style=\"--heat:{heat:.2}\">{count}</td>")
            })
            .collect();
        let _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{} {}</th>{}</tr>",
            place + 1,
            inline(&Line::quoted(label)),
            cells.concat()
        );
    }
    let heads: Vec<String> = matrix
        .columns()
        .iter()
        .enumerate()
        .map(|(place, title)| {
            let name = matrix.rows.get(place).unwrap_or(title);
            format!(
                "<th scope=\"col\" title=\"{}\">{}</th>",
                escape(name),
                escape(title)
            )
        })
        .collect();
    let mark = if matrix.simulated {
        sim_mark()
    } else {
        String::new()
    };
    format!(
        "<p class=\"caption\">{caption}{mark}</p><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table class=\"matrix\"><thead><tr><th scope=\"col\">row is, column was answered</th>{}</tr></thead><tbody>{rows}</tbody></table></div>\n",
        heads.concat(),
        caption = escape(&matrix.caption),
    )
}

fn head(column: &Column) -> String {
    let title = escape(&column.title);
    match explain(&column.title) {
        Some(meaning) => format!(
            "<th scope=\"col\"{}><abbr title=\"{}\">{title}</abbr></th>",
            number_class(column.align),
            escape(meaning)
        ),
        None => format!(
            "<th scope=\"col\"{}>{title}</th>",
            number_class(column.align)
        ),
    }
}

fn grid(table: &Table) -> String {
    let head: Vec<String> = table.columns.iter().map(head).collect();
    let mut body: Vec<String> = table
        .rows
        .iter()
        .take(MOST_ROWS)
        .enumerate()
        .map(|(place, row)| body_row(table, row, table.emphasised == Some(place)))
        .collect();
    let rest = table.rows.len().saturating_sub(MOST_ROWS);
    if rest > 0 {
        body.push(format!(
            "<tr><th scope=\"row\" colspan=\"{}\">{} more rows are in report.json</th></tr>\n",
            table.columns.len(),
            number::count(rest)
        ));
    }
    let kind = if table.rows.len() > LONG {
        "scrolls"
    } else {
        "cards"
    };
    let wide = if table.columns.len() > WIDE {
        " wide"
    } else {
        ""
    };
    let caption = escape(&table.caption);
    let grid = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table class=\"{kind}{wide}\"><caption>{caption}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>\n",
        head.concat(),
        body.concat()
    );
    if table.rows.len() > LONG {
        fold(
            &format!(
                "{} ({} rows)",
                table.caption,
                number::count(table.rows.len())
            ),
            &grid,
        )
    } else {
        grid
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
                    "<td{} data-label=\"{}\"><span{}>{}</span></td>",
                    number_class(column.align),
                    escape(&column.title),
                    // A number and its interval stay on one line; what a comma adds may break.
                    if cell.quoted || cell.text.contains(", ") {
                        ""
                    } else {
                        " class=\"whole\""
                    },
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

fn sim_mark() -> String {
    format!(" <abbr class=\"sim\" title=\"simulated\">{MARK}</abbr>")
}

fn inline(line: &Line) -> String {
    let text = if line.quoted {
        // Of any script: it must not turn the direction of what stands beside it.
        format!("<bdi>{}</bdi>", escape_lines(&line.text))
    } else {
        coded(&escape(&line.text))
    };
    if line.simulated {
        format!("{text}{}", sim_mark())
    } else {
        text
    }
}

/// What stands between a pair of backticks is code; an odd one is left as it is.
fn coded(escaped: &str) -> String {
    let parts: Vec<&str> = escaped.split('`').collect();
    if parts.len() < 3 || parts.len().is_multiple_of(2) {
        return escaped.to_owned();
    }
    parts
        .iter()
        .enumerate()
        .map(|(place, part)| {
            if place % 2 == 1 {
                format!("<code>{part}</code>")
            } else {
                (*part).to_owned()
            }
        })
        .collect()
}

/// What a user's text holds must stay text, in content and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The same with its line breaks kept.
fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}
