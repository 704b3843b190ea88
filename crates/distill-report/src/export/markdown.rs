//! Markdown as GitHub reads it.

use crate::{
    RunReport,
    compose::compose,
    document::{Align, Block, Line, MARK, MARK_MEANS, Table},
};

/// The whole report without figures.
pub fn markdown(report: &RunReport) -> String {
    let document = compose(report);
    let mut parts = vec![format!("# {}\n", escape(&document.title))];
    if let Some(banner) = &document.banner {
        parts.push(format!("> **{}**\n>\n> {MARK_MEANS}\n", escape(banner)));
    }
    parts.push(format!("**{}**\n", inline(&document.decision)));
    for section in &document.sections {
        let blocks: Vec<String> = section.blocks.iter().filter_map(block).collect();
        if !blocks.is_empty() {
            parts.push(format!("## {}\n", escape(&section.title)));
            parts.extend(blocks);
        }
    }
    parts.join("\n")
}

fn block(block: &Block) -> Option<String> {
    Some(match block {
        Block::Text(line) => format!("{}\n", inline(line)),
        Block::Items(items) => items
            .iter()
            .map(|item| format!("- {}\n", inline(item)))
            .collect::<Vec<_>>()
            .concat(),
        Block::Table(table) => grid(table),
        Block::Command(command) => {
            format!("```sh\n{}\n```\n", one_line(command).replace("```", ""))
        }
        Block::Figure { .. } => return None,
    })
}

fn grid(table: &Table) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("{}\n\n", escape(&table.caption));
    text += &row(table
        .columns
        .iter()
        .map(|column| escape(&column.title))
        .collect());
    text += &row(table
        .columns
        .iter()
        .map(|column| match column.align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        })
        .collect());
    for (place, cells) in table.rows.iter().enumerate() {
        let strong = table.emphasised == Some(place);
        text += &row(cells
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
            .collect());
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
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

/// What a user's text holds must stay text: no markup, no cell border, no HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in one_line(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => {
                escaped.push('\\');
                escaped.push(character);
            }
            _ => escaped.push(character),
        }
    }
    escaped
}
