//! Plain text for a terminal: readable without colour, at most [`WIDTH`] columns.

use crate::{
    RunReport,
    compose::compose,
    document::{Align, Block, Document, Line, MARK, MARK_MEANS, Table, printable},
    export::html::lead,
    number::MISSING,
};

const WIDTH: usize = 100;
const GAP: &str = "  ";
/// Stands before the row that the verdict is about.
const MAIN_ROW: &str = "> ";

/// The headline sections.
pub fn terminal(report: &RunReport) -> String {
    let document = compose(report);
    let mut lines = vec![printable(&document.title), String::new()];
    if let Some(banner) = &document.banner {
        lines.extend(wrap(banner, WIDTH));
        lines.push(String::new());
    }
    lines.push(format!("VERDICT  {}", plain(&document.decision)));
    for line in [&document.meaning, &document.reason, &document.scope] {
        lines.extend(wrap(&plain(line), WIDTH));
    }
    if let Some((with, command)) = &document.next {
        lines.push(format!(
            "Next{}: {}",
            printable(&lead(with)),
            printable(command)
        ));
    }
    for section in document.sections.iter().filter(|section| section.headline) {
        lines.push(String::new());
        if section.id != "verdict" {
            lines.push(printable(&section.title).to_uppercase());
        }
        for block in &section.blocks {
            write_block(block, &mut lines);
        }
    }
    lines.push(String::new());
    if document.banner.is_some() {
        lines.push(MARK_MEANS.to_owned());
    }
    lines.push(elsewhere(&document));
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

fn elsewhere(document: &Document) -> String {
    let rest: Vec<String> = document
        .sections
        .iter()
        .filter(|section| !section.headline)
        .map(|section| section.title.to_lowercase())
        .collect();
    wrap(
        &format!("In report.html and report.md: {}.", rest.join(", ")),
        WIDTH,
    )
    .join("\n")
}

fn write_block(block: &Block, lines: &mut Vec<String>) {
    match block {
        Block::Text(line) => lines.extend(wrap(&plain(line), WIDTH)),
        Block::Items(items) => {
            for item in items {
                let wrapped = wrap(&plain(item), WIDTH - 2);
                lines.extend(wrapped.into_iter().enumerate().map(|(place, line)| {
                    format!("{}{line}", if place == 0 { "- " } else { "  " })
                }));
            }
        }
        Block::Table(table) => {
            lines.extend(wrap(&table.caption, WIDTH));
            lines.extend(grid(table));
        }
        Block::Command(command) => lines.push(format!("    {}", printable(command))),
        Block::Matrix(_)
        | Block::Cases(_)
        | Block::Figure { .. }
        | Block::Fold { .. }
        | Block::Terms(_) => {}
    }
}

fn plain(line: &Line) -> String {
    let text = printable(&line.text);
    if line.simulated {
        format!("{text} {MARK}")
    } else {
        text
    }
}

fn grid(table: &Table) -> Vec<String> {
    let mut rows: Vec<Vec<String>> = vec![
        table
            .columns
            .iter()
            .map(|column| printable(&column.title))
            .collect(),
    ];
    rows.extend(table.rows.iter().map(|row| row.iter().map(plain).collect()));
    // The row that the verdict is about is marked with a sign, not with colour.
    for (place, row) in rows.iter_mut().enumerate() {
        let mark = match table.emphasised {
            Some(emphasised) if place == emphasised + 1 => MAIN_ROW,
            Some(_) => "  ",
            None => "",
        };
        row[0] = format!("{mark}{}", row[0]);
    }
    let widths = widths(&rows);
    let mut lines = Vec::new();
    for (place, row) in rows.iter().enumerate() {
        let cells: Vec<Vec<String>> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| wrap(cell, *width))
            .collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        for level in 0..height {
            let line: Vec<String> = cells
                .iter()
                .zip(&widths)
                .zip(&table.columns)
                .map(|((cell, width), column)| {
                    pad(
                        cell.get(level).map_or("", String::as_str),
                        *width,
                        column.align,
                    )
                })
                .collect();
            lines.push(line.join(GAP).trim_end().to_owned());
        }
        if place == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            lines.push(rule.join(GAP));
        }
    }
    lines
}

/// Column widths that fit: the widest columns give way first, down to their longest word.
fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows[0].len();
    let widest = |measure: fn(&str) -> usize| -> Vec<usize> {
        (0..columns)
            .map(|column| {
                rows.iter()
                    .map(|row| measure(&row[column]))
                    .max()
                    .unwrap_or(0)
            })
            .collect()
    };
    // A missing number breaks at its space before any other cell has to.
    let mut widths = widest(|cell| if cell == MISSING { 0 } else { length(cell) });
    let least: Vec<usize> = widest(|cell| cell.split(' ').map(length).max().unwrap_or(0).min(24));
    for (width, least) in widths.iter_mut().zip(&least) {
        *width = (*width).max(*least);
    }
    let room = WIDTH - GAP.len() * (columns - 1);
    while widths.iter().sum::<usize>() > room {
        let Some(column) = (0..columns)
            .filter(|column| widths[*column] > least[*column])
            .max_by_key(|column| widths[*column])
        else {
            break;
        };
        widths[column] -= 1;
    }
    widths
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn pad(text: &str, width: usize, align: Align) -> String {
    let space = " ".repeat(width.saturating_sub(length(text)));
    match align {
        Align::Left => format!("{text}{space}"),
        Align::Right => format!("{space}{text}"),
    }
}

/// Breaks at spaces; a word longer than the width is cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let text = &printable(text);
    let spaces = |text: &str| -> String {
        text.chars()
            .take_while(|character| *character == ' ')
            .collect()
    };
    let mut lines = vec![spaces(text)];
    let indent = spaces(text.strip_prefix('>').unwrap_or(text));
    let indent = if text.starts_with(MAIN_ROW) {
        format!(" {indent}")
    } else {
        indent
    };
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("there is always a line");
            let blank = line.trim().is_empty();
            let taken = length(line) + usize::from(!blank);
            if taken + word.len() <= width {
                if !blank {
                    line.push(' ');
                }
                line.extend(&word);
                break;
            }
            if blank {
                let rest = word.split_off(width.saturating_sub(length(line)).clamp(1, word.len()));
                line.extend(&word);
                word = rest;
            }
            if word.is_empty() {
                break;
            }
            lines.push(indent.clone());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_breaks_at_spaces_and_long_words_are_cut() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("  ab", 10), ["  ab"]);
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a [31mb c");
    }
}
