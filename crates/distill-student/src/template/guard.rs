//! What a template may use: time, memory, depth.
//!
//! The engine counts instructions, but one instruction can join two texts, so twenty lines that
//! double a text fill any memory. Here the source is rewritten before it is compiled: every value
//! that a template keeps passes through [`HOLD`], every turn of a loop, call of a macro and
//! condition through [`TICK`]. What one tag can make of kept values is bounded by its length.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use minijinja::value::{Object, ObjectRepr, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};

/// Passes a value on if it is small enough to be kept.
const HOLD: &str = "__hold";
/// Counts the bytes of a turn; true unless the rendering has run too long.
const TICK: &str = "__tick";
const BUDGET: &str = "__budget";

/// Bytes of the largest value that is kept or printed.
pub(super) const VALUE_BYTES: usize = 8 << 20;
/// Bytes that one rendering keeps and prints in all.
const TOTAL_BYTES: usize = 96 << 20;
/// Lists and maps within one another.
const DEPTH: usize = 64;
/// What a rendering may last. Ordinary ones take a thousandth of it.
const DEADLINE: Duration = Duration::from_secs(1);
/// Bytes of code in one tag, texts apart.
const TAG_BYTES: usize = 2048;
/// Texts that one tag joins.
const JOINS: usize = 48;

/// What one rendering has used.
#[derive(Debug)]
pub(super) struct Budget {
    started: Instant,
    bytes: AtomicUsize,
}

impl Object for Budget {
    fn repr(self: &std::sync::Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

fn refused(problem: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.to_owned())
}

pub(super) fn too_large() -> Error {
    refused(&format!(
        "the template makes a value of more than {VALUE_BYTES} bytes"
    ))
}

/// Counts bytes that the rendering of `state` keeps or prints.
pub(super) fn spend(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    let budget = state.get_or_set_temp_object(BUDGET, || Budget {
        started: Instant::now(),
        bytes: AtomicUsize::new(0),
    });
    if budget.started.elapsed() > DEADLINE {
        return Err(refused("the template runs too long"));
    }
    let before = budget.bytes.fetch_add(bytes, Ordering::Relaxed);
    if before.saturating_add(bytes) > TOTAL_BYTES {
        return Err(refused(&format!(
            "the template makes more than {TOTAL_BYTES} bytes of text"
        )));
    }
    Ok(())
}

pub(super) fn install(environment: &mut Environment<'_>) {
    environment.add_function(HOLD, |state: &State<'_, '_>, value: Value| {
        let mut size = 0;
        measure(&value, 0, &mut size)?;
        spend(state, size)?;
        Ok::<_, Error>(value)
    });
    environment.add_function(TICK, |state: &State<'_, '_>, bytes: usize| {
        spend(state, bytes).map(|()| true)
    });
}

/// Adds up the bytes of a value and of all that it holds.
fn measure(value: &Value, depth: usize, size: &mut usize) -> Result<(), Error> {
    *size += match value.as_str() {
        Some(text) => text.len(),
        None => size_of::<Value>(),
    };
    if *size > VALUE_BYTES {
        return Err(too_large());
    }
    if depth > DEPTH {
        return Err(refused("the template nests lists too deeply"));
    }
    let kind = value.kind();
    if matches!(kind, ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        for item in value.try_iter()? {
            if kind == ValueKind::Map {
                measure(&value.get_item(&item)?, depth + 1, size)?;
            }
            measure(&item, depth + 1, size)?;
        }
    }
    Ok(())
}

/// A part of a template's source.
enum Part<'a> {
    /// Text that is copied, comments among it.
    Text(&'a str),
    /// `{{ … }}`, whole.
    Print(&'a str),
    Tag(Tag<'a>),
}

/// `{%- name rest -%}`.
struct Tag<'a> {
    /// `-`, `+` or nothing.
    before: &'a str,
    name: &'a str,
    rest: &'a str,
    after: &'a str,
}

/// Rewrites a source so that the rendering is bounded. `{% generation %}` marks the assistant's
/// words for other trainers; here it groups and no more.
pub(super) fn guarded(source: &str) -> Result<String, String> {
    if source.contains(HOLD) || source.contains(TICK) {
        return Err(format!("it uses the reserved names `{HOLD}` and `{TICK}`"));
    }
    let parts = parts(source)?;
    let text = |part: &Part<'_>| match part {
        Part::Text(text) => text.len(),
        _ => 0,
    };
    let copied: usize = parts.iter().map(text).sum();
    let mut out = String::with_capacity(source.len() * 5 / 4);
    // The names that blocks of `set` give their text to.
    let mut open = Vec::new();
    for part in &parts {
        match part {
            Part::Text(text) | Part::Print(text) => out.push_str(text),
            Part::Tag(tag) => out.push_str(&rewritten(tag, copied, &mut open)?),
        }
    }
    Ok(out)
}

fn rewritten<'a>(tag: &Tag<'a>, copied: usize, open: &mut Vec<&'a str>) -> Result<String, String> {
    let Tag {
        before,
        name,
        rest,
        after,
    } = tag;
    let hold = |name: &str| format!("{{% set {name} = {HOLD}({name}) %}}");
    let tick = format!("{{% if not {TICK}({copied}) %}}{{% endif %}}");
    let followed = |by: &str| -> String {
        let by = by.strip_suffix("%}").unwrap_or(by);
        format!("{{%{before} {name} {rest} %}}{by}{after}%}}")
    };
    let same = |name: &str| format!("{{%{before} {name} {rest} {after}%}}");
    Ok(match *name {
        "set" => {
            if let Some((target, value)) = assignment(rest) {
                format!("{{%{before} set {target} = {HOLD}(({value})) {after}%}}")
            } else {
                open.push(rest.split('|').next().unwrap_or_default().trim());
                same(name)
            }
        }
        "endset" => followed(&hold(open.pop().ok_or("`endset` ends nothing")?)),
        "for" => followed(&tick),
        "if" | "elif" => {
            format!("{{%{before} {name} {TICK}(0) and ({rest}) {after}%}}")
        }
        "macro" | "call" | "with" => {
            let holds: String = parameters(name, rest).map(hold).collect();
            followed(&format!("{tick}{holds}"))
        }
        "generation" => same("if true"),
        "endgeneration" => same("endif"),
        "else" | "endif" | "endfor" | "endmacro" | "endcall" | "endwith" | "break" | "continue"
        | "filter" | "endfilter" | "raw" | "endraw" => same(name),
        other => {
            return Err(format!(
                "it uses `{{% {other} %}}`, for which chat templates have no use"
            ));
        }
    })
}

/// Splits `target = value`; `None` where a block follows instead.
fn assignment(rest: &str) -> Option<(&str, &str)> {
    let at = top_level(rest, |bytes, at| {
        bytes[at] == b'='
            && bytes.get(at + 1) != Some(&b'=')
            && (at == 0 || !b"=!<>".contains(&bytes[at - 1]))
    })
    .next()?;
    Some((rest[..at].trim(), rest[at + 1..].trim()))
}

/// The names that a macro, a call or a `with` gives to values.
fn parameters<'a>(name: &str, rest: &'a str) -> impl Iterator<Item = &'a str> {
    let list = if name == "with" {
        rest
    } else {
        // The first parenthesis opens the parameters; a call without them has none of its own.
        let inside = rest
            .split_once('(')
            .filter(|(front, _)| name == "macro" || front.trim().is_empty());
        inside.map_or("", |(_, inside)| {
            let close = closing(inside).unwrap_or(inside.len());
            &inside[..close]
        })
    };
    let mut start = 0;
    let commas: Vec<usize> = top_level(list, |bytes, at| bytes[at] == b',').collect();
    commas
        .into_iter()
        .chain([list.len()])
        .filter_map(move |end| {
            let part = &list[start..end];
            start = end + 1;
            let name = part.split('=').next().unwrap_or_default().trim();
            (!name.is_empty()).then_some(name)
        })
}

/// Where the parenthesis closes that stands open at the start.
fn closing(code: &str) -> Option<usize> {
    let mut depth = 0_usize;
    Code::new(code).find_map(|(at, byte)| match byte {
        b'(' | b'[' | b'{' => {
            depth += 1;
            None
        }
        b')' | b']' | b'}' if depth > 0 => {
            depth -= 1;
            None
        }
        b')' => Some(at),
        _ => None,
    })
}

/// The places outside brackets and texts that a test picks.
fn top_level<'a>(
    code: &'a str,
    picks: impl Fn(&[u8], usize) -> bool + 'a,
) -> impl Iterator<Item = usize> + 'a {
    let mut depth = 0_usize;
    Code::new(code).filter_map(move |(at, byte)| {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        (depth == 0 && picks(code.as_bytes(), at)).then_some(at)
    })
}

/// The bytes of code that lie outside texts, with their places.
struct Code<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Code<'a> {
    fn new(code: &'a str) -> Self {
        Self {
            bytes: code.as_bytes(),
            at: 0,
        }
    }
}

impl Iterator for Code<'_> {
    type Item = (usize, u8);

    fn next(&mut self) -> Option<(usize, u8)> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            let here = self.at;
            self.at += 1;
            if byte != b'\'' && byte != b'"' {
                return Some((here, byte));
            }
            while let Some(inside) = self.bytes.get(self.at) {
                self.at += if *inside == b'\\' { 2 } else { 1 };
                if *inside == byte {
                    break;
                }
            }
        }
    }
}

fn parts(source: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(offset) = source[at..].find('{') {
        let start = at + offset;
        let end = match source.as_bytes().get(start + 1) {
            Some(b'#') => {
                let end = source[start..].find("#}").map(|end| start + end + 2);
                let end = end.ok_or("a comment does not end")?;
                parts.push(Part::Text(&source[at..end]));
                end
            }
            Some(b'{') => {
                parts.push(Part::Text(&source[at..start]));
                let end = code_end(source, start, "}}")?;
                check_code(&source[start + 2..end - 2])?;
                parts.push(Part::Print(&source[start..end]));
                end
            }
            Some(b'%') => {
                parts.push(Part::Text(&source[at..start]));
                let end = code_end(source, start, "%}")?;
                let tag = tag(&source[start + 2..end - 2]);
                check_code(tag.rest)?;
                let raw = tag.name == "raw";
                parts.push(Part::Tag(tag));
                if raw {
                    raw_end(source, end, &mut parts)?
                } else {
                    end
                }
            }
            _ => {
                parts.push(Part::Text(&source[at..=start]));
                start + 1
            }
        };
        at = end;
    }
    parts.push(Part::Text(&source[at..]));
    Ok(parts)
}

/// Takes text up to `{% endraw %}` as it is; returns where that tag begins.
fn raw_end<'a>(source: &'a str, start: usize, parts: &mut Vec<Part<'a>>) -> Result<usize, String> {
    let mut at = start;
    while let Some(offset) = source[at..].find("{%") {
        let opened = at + offset;
        let inside = source[opened + 2..]
            .trim_start_matches(['-', '+'])
            .trim_start();
        if inside.starts_with("endraw") {
            parts.push(Part::Text(&source[start..opened]));
            return Ok(opened);
        }
        at = opened + 2;
    }
    Err("`raw` does not end".to_owned())
}

fn tag(inside: &str) -> Tag<'_> {
    let marker = |text: &str| text.starts_with(['-', '+']);
    let (before, inside) = inside.split_at(usize::from(marker(inside)));
    let ends = inside.ends_with(['-', '+']);
    let (inside, after) = inside.split_at(inside.len() - usize::from(ends));
    let inside = inside.trim();
    let letters = inside
        .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .unwrap_or(inside.len());
    let (name, rest) = inside.split_at(letters);
    Tag {
        before,
        name,
        rest: rest.trim(),
        after,
    }
}

/// Where the code that opens at `start` closes, past its closing mark.
fn code_end(source: &str, start: usize, close: &str) -> Result<usize, String> {
    let code = &source[start + 2..];
    let mut depth = 0_usize;
    for (at, byte) in Code::new(code) {
        if depth == 0 && code.as_bytes()[at..].starts_with(close.as_bytes()) {
            return Ok(start + 2 + at + close.len());
        }
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Err(format!("a tag does not end with `{close}`"))
}

/// Refuses code that makes much of little.
fn check_code(code: &str) -> Result<(), String> {
    let (mut bytes, mut joins) = (0, 0);
    for (_, byte) in Code::new(code) {
        bytes += 1;
        match byte {
            b'+' | b'~' => joins += 1,
            b'*' => return Err("it multiplies, which chat templates have no use for".to_owned()),
            _ => {}
        }
    }
    if bytes > TAG_BYTES {
        return Err(format!(
            "a tag has {bytes} bytes of code, more than {TAG_BYTES}"
        ));
    }
    if joins > JOINS {
        return Err(format!("a tag joins {joins} parts, more than {JOINS}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_template_keeps_is_held() {
        for (source, expected) in [
            ("a {{ 'b }}' }} {c", "a {{ 'b }}' }} {c"),
            (
                "{%- set x = a + '%}' -%}",
                "{%- set x = __hold((a + '%}')) -%}",
            ),
            (
                "{% set ns.x = a == b, c %}",
                "{% set ns.x = __hold((a == b, c)) %}",
            ),
            (
                "{% set x %}ab{% endset -%}",
                "{% set x %}ab{% endset  %}{% set x = __hold(x) -%}",
            ),
            (
                "{%- for x in y if x -%}\n{# {% if #}",
                "{%- for x in y if x %}{% if not __tick(12) %}{% endif -%}\n{# {% if #}",
            ),
            (
                "{% macro f(a, b=[1, 2]) %}{% endmacro %}",
                "{% macro f(a, b=[1, 2]) %}{% if not __tick(0) %}{% endif %}\
                 {% set a = __hold(a) %}{% set b = __hold(b) %}{% endmacro  %}",
            ),
            (
                "{%- if a or b %}x{% elif c %}{% endif %}",
                "{%- if __tick(0) and (a or b) %}x{% elif __tick(0) and (c) %}{% endif  %}",
            ),
            (
                "{% generation %}{%- endgeneration -%}",
                "{% if true  %}{%- endif  -%}",
            ),
            (
                "{% raw %}{{ '{% set x = y %}{% endraw %}{{ z }}",
                "{% raw  %}{{ '{% set x = y %}{% endraw  %}{{ z }}",
            ),
        ] {
            let got = guarded(source).unwrap();
            let squeezed = |text: &str| text.replace(' ', "");
            assert_eq!(squeezed(&got), squeezed(expected), "{source}");
        }
    }

    #[test]
    fn what_no_chat_template_needs_is_refused_by_name() {
        let refusal = |source: &str| guarded(source).unwrap_err();
        assert!(refusal("{% include 'x' %}").contains("include"));
        assert!(refusal("{{ 'x' * 3 }}").contains("multiplies"));
        assert!(refusal("{% set __tick = 1 %}").contains("reserved"));
        assert!(refusal(&format!("{{{{ a{} }}}}", " ~ a".repeat(99))).contains("99 parts"));
        assert!(refusal(&format!("{{% if {} %}}", "a".repeat(3000))).contains("3000 bytes"));
        assert!(refusal("{% if 'x %}").contains("does not end"));
        assert!(guarded("{{ '*' ~ \"*\" }}").is_ok());
    }
}
