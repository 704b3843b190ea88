//! Marks around content, by which its place in a rendering is found.

use std::ops::Range;

/// Noncharacters: no interchanged text contains them, and [`cleaned`] makes sure of it.
const OPEN: char = '\u{FDD0}';
const CLOSE: char = '\u{FDD1}';

/// Text of a conversation and the byte ranges of it that people or models wrote: ascending,
/// disjoint, not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rendering {
    pub(super) text: String,
    pub(super) content: Vec<Range<usize>>,
}

/// Content without the two marks.
pub(super) fn cleaned(content: &str) -> String {
    content.replace([OPEN, CLOSE], "\u{FFFD}")
}

/// Content between marks. White space at its ends stays outside, where a template may trim it;
/// content of nothing but white space gets no marks, because a template may ask if it is empty.
pub(super) fn marked(content: &str) -> String {
    let core = content.trim();
    if core.is_empty() {
        return content.to_owned();
    }
    let start = content.len() - content.trim_start().len();
    let end = start + core.len();
    format!(
        "{}{OPEN}{core}{CLOSE}{}",
        &content[..start],
        &content[end..]
    )
}

/// Takes the marks out of a rendering. `None` when they do not come in pairs.
pub(super) fn read(marked: &str) -> Option<Rendering> {
    let mut text = String::with_capacity(marked.len());
    let mut content = Vec::new();
    let mut open = None;
    for character in marked.chars() {
        match (character, open) {
            (OPEN, None) => open = Some(text.len()),
            (CLOSE, Some(start)) => {
                content.push(start..text.len());
                open = None;
            }
            (OPEN | CLOSE, _) => return None,
            _ => text.push(character),
        }
    }
    open.is_none().then_some(Rendering { text, content })
}
