//! `junit.xml` by a reader of what it uses of XML.

use std::collections::BTreeMap;

use super::samples;
use crate::{RunReport, junit, sample::full};

/// An element with its attributes, its text and its children.
#[derive(Debug, Default)]
pub(super) struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    text: String,
    children: Vec<Element>,
}

impl Element {
    fn number(&self, attribute: &str) -> usize {
        self.attributes[attribute].parse().unwrap()
    }

    fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

fn unescape(text: &str) -> String {
    assert!(!text.contains(['<', '>']), "{text}");
    for part in text.split('&').skip(1) {
        let name = part.split(';').next().unwrap();
        assert!(
            ["lt", "gt", "amp", "quot", "apos"].contains(&name),
            "&{name};"
        );
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// Reads one document; panics where it is not well formed.
pub(super) fn parse(text: &str) -> Element {
    for character in text.chars() {
        let allowed = matches!(character, '\t' | '\n' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        assert!(allowed, "{character:?} is not allowed in XML 1.0");
    }
    let text = text
        .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
        .unwrap();
    let mut open = vec![Element::default()];
    for piece in text.split('<').skip(1) {
        let (tag, rest) = piece.split_once('>').unwrap();
        if let Some(name) = tag.strip_prefix('/') {
            let done = open.pop().unwrap();
            assert_eq!(done.name, name);
            open.last_mut().unwrap().children.push(done);
        } else {
            let (tag, empty) = match tag.strip_suffix('/') {
                Some(tag) => (tag, true),
                None => (tag, false),
            };
            let (name, mut attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let mut element = Element {
                name: name.to_owned(),
                ..Element::default()
            };
            while let Some((key, value)) = attributes.split_once("=\"") {
                let (value, next) = value.split_once('"').unwrap();
                let old = element
                    .attributes
                    .insert(key.trim().to_owned(), unescape(value));
                assert_eq!(old, None, "{key} stands twice");
                attributes = next;
            }
            assert_eq!(attributes.trim(), "");
            if empty {
                open.last_mut().unwrap().children.push(element);
            } else {
                open.push(element);
            }
        }
        let text = unescape(rest);
        open.last_mut().unwrap().text += &text;
    }
    assert_eq!(open.len(), 1, "an element is not closed");
    assert_eq!(open[0].children.len(), 1, "one root");
    open[0].children.remove(0)
}

fn suite(report: &RunReport) -> Element {
    let mut root = parse(&junit(report));
    assert_eq!(root.name, "testsuites");
    root.children.remove(0)
}

#[test]
fn the_counts_are_those_of_the_cases() {
    for (name, report) in samples() {
        let suite = suite(&report);
        let cases: Vec<&Element> = suite.named("testcase").collect();
        let having = |child: &str| {
            cases
                .iter()
                .filter(|case| case.named(child).next().is_some())
                .count()
        };
        assert_eq!(suite.number("tests"), cases.len(), "{name}");
        assert_eq!(suite.number("failures"), having("failure"), "{name}");
        assert_eq!(suite.number("skipped"), having("skipped"), "{name}");
        assert_eq!(suite.number("errors"), 0);
        for case in &cases {
            assert!(!case.attributes["classname"].is_empty());
            assert_eq!(case.children.len(), 1);
        }
        let failed = cases.iter().any(|case| {
            case.attributes["name"] == "verdict"
                && having("failure") > 0
                && case.named("failure").next().is_some()
        });
        assert_eq!(
            failed,
            !report.recommendation.verdict.decision.is_met(),
            "{name}"
        );
    }
}

#[test]
fn a_failure_says_the_figures() {
    let mut report = full();
    report.name = "a <b> & \"c\" \u{1b}[31m \u{202e}d".to_owned();
    report.accept.max_usd_per_1000 = Some(0.01);
    let suite = suite(&report);
    assert_eq!(suite.attributes["name"], "a <b> & \"c\"  [31m [U+202E]d");
    let cost = suite
        .named("testcase")
        .find(|case| case.attributes["name"] == "cost")
        .unwrap();
    let text = &cost.named("failure").next().unwrap().text;
    assert!(
        text.contains("limit: at most $0.0100; measured: $0."),
        "{text}"
    );
    assert!(text.contains("SIM"), "{text}");
}
