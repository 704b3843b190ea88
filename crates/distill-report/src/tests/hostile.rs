//! What a user's files hold stays text in every form.

use serde_json::Value;

use super::{samples, xml};
use crate::{
    FORMATS, RunReport, html, json, junit, markdown, read,
    sample::{HOSTILE, full},
    terminal,
};

#[test]
fn a_row_of_the_user_stays_text_in_every_form() {
    let report = full();
    let page = html(&report);
    assert!(!page.contains("<script") && !page.contains("<b>"));
    assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"));
    let text = markdown(&report);
    assert!(!text.contains("<script") && text.contains(r"\[a\](b) second line \[U+202E\]txet"));
    for text in [&page, &text, &terminal(&report)] {
        assert!(!text.contains('\u{1b}'));
    }
    assert!(
        json(&report).contains(r#"<script>alert(\"1\")"#),
        "data stay data"
    );
    assert_eq!(read(&json(&report)).unwrap().data.leaked[0].text, HOSTILE);
}

#[test]
fn the_page_loads_nothing() {
    let page = html(&full());
    for wrong in [
        "http://", "https://", "src=", "@import", "url(", "<link", "<script",
    ] {
        let page = page
            .replace("http://www.w3.org/2000/svg", "")
            .replace("@all https://example.com", "");
        assert!(!page.contains(wrong), "{wrong}");
    }
    assert_eq!(page.matches("<svg").count(), 7);
    assert!(page.contains("prefers-color-scheme: dark"));
}

/// Tags that are opened are closed, in order: a stray one would swallow the rest of the report.
fn assert_well_formed(page: &str) {
    let page = page.split_once("</style>").unwrap().1;
    let mut open = vec!["html", "head"];
    for tag in page.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = tag.trim_matches('/').split([' ', '\n']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') && name != "br" {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn the_page_is_well_formed() {
    for (_, report) in samples() {
        assert_well_formed(&html(&report));
    }
}

/// Every name, label and sentence of a report, not only its rows, may come from a user's file.
#[test]
fn hostile_names_stay_text_too() {
    for (name, report) in samples() {
        let text = json(&report);
        let mut data: Value = serde_json::from_str(&text).unwrap();
        poison(&mut data);
        let report: RunReport = serde_json::from_value(data).unwrap();
        for format in FORMATS.iter().filter(|format| format.name != "json") {
            let text = (format.render)(&report);
            for wrong in ['\u{1b}', '\u{202e}', '\u{2066}', '\u{0}'] {
                assert!(
                    !text.contains(wrong),
                    "{name}: {} holds {wrong:?}",
                    format.name
                );
            }
            if format.name != "terminal" {
                let text = without_code(&text);
                assert!(!text.contains("<script"), "{name}: {}", format.name);
            }
        }
        assert_well_formed(&html(&report));
        xml::parse(&junit(&report));
    }
}

/// Markdown without its commands, in which nothing is markup.
fn without_code(text: &str) -> String {
    let mut fenced = false;
    text.lines()
        .filter(|line| {
            fenced ^= line.starts_with("```");
            !fenced && !line.starts_with("Next") && !line.contains(", or `distill report ")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Puts hostile text into every string that no enum of the shape holds.
fn poison(value: &mut Value) {
    const CLOSED: [&str; 8] = [
        "metric",
        "kind",
        "role",
        "reference",
        "method",
        "unit",
        "direction",
        "source",
    ];
    match value {
        Value::String(text) => *text = format!("{HOSTILE}\u{0}</title></svg>]]>-->{text}"),
        Value::Array(items) => items.iter_mut().for_each(poison),
        Value::Object(fields) => {
            for (key, value) in fields {
                if !CLOSED.contains(&key.as_str()) && key != "arrival" {
                    poison(value);
                }
            }
        }
        _ => {}
    }
}
