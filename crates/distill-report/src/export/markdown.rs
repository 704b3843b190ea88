//! Markdown as GitHub reads it.

use std::fmt::Write;

use crate::{
    RunReport, compose,
    document::{
        Align, Block, Case, Document, Line, MARK, MARK_MEANS, MOST_ROWS, Matrix, Table, printable,
    },
    export::html::lead,
    number,
};

/// Tables with more rows than this are folded.
const LONG: usize = 20;

/// The whole report without figures.
pub fn markdown(report: &RunReport) -> String {
    let document = compose::compose(report);
    let mut parts = head(&document, "# ");
    for section in &document.sections {
        let blocks: Vec<String> = section.blocks.iter().filter_map(block).collect();
        if !blocks.is_empty() {
            parts.push(format!("## {}\n", escape(&section.title)));
            parts.extend(blocks);
        }
    }
    parts.join("\n")
}

/// What a pull request's readers need: at most 60 lines.
pub fn summary(report: &RunReport) -> String {
    let document = compose::summary(report);
    let mut parts = head(&document, "### ");
    for section in &document.sections {
        let blocks: Vec<String> = section.blocks.iter().filter_map(block).collect();
        parts.extend(blocks);
    }
    let run = &report.lineage.run_id;
    parts.push(format!(
        "Figures, regressions with their texts, data and lineage: `report.html` beside this file{}.\n",
        if run.is_empty() {
            String::new()
        } else {
            format!(", or `distill report {}`", one_line(run).replace('`', ""))
        }
    ));
    parts.join("\n")
}

fn head(document: &Document, level: &str) -> Vec<String> {
    let mut parts = vec![format!("{level}{}\n", escape(&document.title))];
    if let Some(banner) = &document.banner {
        parts.push(format!("> **{}**\n>\n> {MARK_MEANS}\n", escape(banner)));
    }
    parts.push(format!(
        "**{}** {}\n",
        inline(&document.decision),
        inline(&document.meaning)
    ));
    parts.push(format!("{}\n", inline(&document.reason)));
    parts.push(format!("{}\n", inline(&document.scope)));
    if let Some((with, command)) = &document.next {
        parts.push(format!(
            "Next{}: `{}`\n",
            escape(&lead(with)),
            one_line(command).replace('`', "")
        ));
    }
    parts
}

fn block(block: &Block) -> Option<String> {
    Some(match block {
        Block::Text(line) => format!("{}\n", inline(line)),
        Block::Items(items) => items
            .iter()
            .map(|item| format!("- {}\n", inline(item)))
            .collect::<Vec<_>>()
            .concat(),
        Block::Table(table) if table.rows.len() > LONG => folded(
            &format!("{} ({} rows)", table.caption, table.rows.len()),
            &grid(table),
        ),
        Block::Table(table) => format!("{}\n\n{}", escape(&table.caption), grid(table)),
        Block::Matrix(matrix) => folded(&matrix.caption, &square(matrix)),
        Block::Cases(cases) => cases.iter().map(case).collect::<Vec<_>>().join("\n"),
        Block::Command(command) => {
            format!("```sh\n{}\n```\n", one_line(command).replace("```", ""))
        }
        Block::Figure { .. } => return None,
        Block::Fold { summary, blocks } => {
            let inner: Vec<String> = blocks.iter().filter_map(self::block).collect();
            folded(summary, &inner.join("\n"))
        }
        Block::Terms(terms) => terms
            .iter()
            .map(|(word, meaning)| format!("- **{}**: {}\n", escape(word), escape(meaning)))
            .collect::<Vec<_>>()
            .concat(),
    })
}

fn folded(summary: &str, inner: &str) -> String {
    format!(
        "<details><summary>{}</summary>\n\n{inner}\n</details>\n",
        escape_html(&one_line(summary))
    )
}

fn case(case: &Case) -> String {
    let note = case
        .note
        .as_ref()
        .map(|note| format!(" ({})", escape(note)))
        .unwrap_or_default();
    let heads: Vec<String> = case.answers.iter().map(|(who, _)| escape(who)).collect();
    let said: Vec<String> = case.answers.iter().map(|(_, what)| inline(what)).collect();
    format!(
        "**{}**{note}\n\n> {}\n\n{}{}{}",
        escape(&case.title),
        inline(&case.text),
        row(&heads),
        row(&vec!["---".to_owned(); heads.len()]),
        row(&said)
    )
}

fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn square(matrix: &Matrix) -> String {
    let columns = matrix.columns();
    let mut heads = vec![String::new()];
    heads.extend(columns.iter().map(|title| escape(title)));
    let mut rules = vec!["---".to_owned()];
    rules.extend(columns.iter().map(|_| "---:".to_owned()));
    let mut text = row(&heads) + &row(&rules);
    for (place, (label, counts)) in matrix.rows.iter().zip(&matrix.counts).enumerate() {
        let mut cells = vec![inline(&Line {
            text: format!("{} {label}", place + 1),
            simulated: matrix.simulated,
            quoted: true,
        })];
        cells.extend(counts.iter().enumerate().map(|(column, count)| {
            if column == place {
                format!("**{count}**")
            } else {
                count.to_string()
            }
        }));
        text += &row(&cells);
    }
    text
}

fn grid(table: &Table) -> String {
    let heads: Vec<String> = table
        .columns
        .iter()
        .map(|column| escape(&column.title))
        .collect();
    let rules: Vec<String> = table
        .columns
        .iter()
        .map(|column| match column.align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        })
        .collect();
    let mut text = row(&heads) + &row(&rules);
    for (place, cells) in table.rows.iter().take(MOST_ROWS).enumerate() {
        let strong = table.emphasised == Some(place);
        let cells: Vec<String> = cells
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let cell = inline(cell);
                if strong && column == 0 {
                    format!("**{cell}**")
                } else {
                    cell
                }
            })
            .collect();
        text += &row(&cells);
    }
    let rest = table.rows.len().saturating_sub(MOST_ROWS);
    if rest > 0 {
        let _ = writeln!(
            text,
            "\n{} more rows are in report.json.",
            number::count(rest)
        );
    }
    text
}

fn inline(line: &Line) -> String {
    let text = escape(&line.text);
    if line.simulated {
        format!("{text} {MARK}")
    } else {
        text
    }
}

fn one_line(text: &str) -> String {
    printable(text)
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// What a user's text holds must stay text: no markup, no cell border, no HTML, no mention.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let shown = one_line(text);
    for (place, character) in shown.char_indices() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            // Mentions of people and teams, and addresses, become links by themselves.
            '@' => escaped.push_str("&#64;"),
            ':' if shown[place..].starts_with("://") => escaped.push_str("&#58;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '$' => {
                escaped.push('\\');
                escaped.push(character);
            }
            _ => escaped.push(character),
        }
    }
    escaped
}
