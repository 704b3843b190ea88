use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    FORMATS, RunReport, html, json, markdown, number, read,
    sample::{HOSTILE, bare, full},
    terminal,
};

mod schema;

/// The text of a rendering as its reader sees it: markup and escapes undone, white space folded.
fn seen(text: &str) -> String {
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
        .replace('\\', "");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The figures that a reader looks for first, as JSON holds them and as a report writes them.
fn headline_figures(report: &Value) -> Vec<String> {
    let mut figures = Vec::new();
    let mut add = |value: &Value, show: fn(f64) -> String| {
        if let Some(value) = value.as_f64() {
            figures.push(show(value));
        }
    };
    for arm in report["arms"].as_array().unwrap() {
        let score = &arm["scores"][0];
        add(&score["value"], number::percent);
        add(&score["interval"]["low"], |low| {
            format!("{:.1} to", low * 100.0)
        });
        add(&score["interval"]["high"], number::percent);
        add(&score["n"], |n| number::count(n as usize));
        add(&arm["speed"]["per_answer_ms"]["p50"], number::milliseconds);
        add(&arm["speed"]["per_answer_ms"]["p95"], number::milliseconds);
        add(&arm["speed"]["answers_per_second"], number::significant);
        add(&arm["usd_per_1000"], number::usd);
    }
    for row in report["differences"].as_array().unwrap() {
        add(&row["difference"], number::points);
        add(&row["interval"]["low"], number::points);
        add(&row["interval"]["high"], number::points);
        add(&row["mcnemar_p"], number::p_value);
    }
    add(&report["spend"]["settled_usd"], number::usd);
    add(&report["labels"]["agreement"]["right"], |n| {
        number::count(n as usize)
    });
    figures
}

#[test]
fn every_form_says_the_same_headline_figures() {
    let report = full();
    let data: Value = serde_json::from_str(&json(&report)).unwrap();
    let figures = headline_figures(&data);
    assert!(figures.len() > 60, "{figures:?}");
    for format in FORMATS.iter().filter(|format| format.name != "json") {
        let text = seen(&(format.render)(&report));
        for figure in &figures {
            assert!(
                text.contains(figure.as_str()),
                "{} lacks {figure}",
                format.name
            );
        }
        // A terminal's table may break a sentence, never the verdict's name.
        assert!(text.contains(&report.recommendation.verdict.decision.to_string()));
    }
}

#[test]
fn every_format_says_what_it_is() {
    let names: BTreeSet<&str> = FORMATS.iter().map(|format| format.name).collect();
    let files: BTreeSet<&str> = FORMATS.iter().map(|format| format.file).collect();
    assert_eq!((names.len(), files.len()), (FORMATS.len(), FORMATS.len()));
    for format in FORMATS {
        assert!(!format.description.is_empty());
        assert!((format.render)(&bare()).ends_with('\n'), "{}", format.name);
    }
}

#[test]
fn a_missing_number_is_shown_missing_and_never_zero() {
    for text in [terminal(&bare()), markdown(&bare()), html(&bare())] {
        let text = seen(&text);
        assert!(text.contains("not measured"), "{text}");
        for wrong in ["NaN", "inf", "null", "0.0%", "$0"] {
            assert!(!text.contains(wrong), "{wrong} in {text}");
        }
    }
    assert!(
        seen(&markdown(&bare())).contains("| 0 | 0 | not measured"),
        "n = 0 is said"
    );
}

#[test]
fn numbers_that_a_simulation_touched_are_marked_and_others_are_not() {
    let report = full();
    let text = markdown(&report);
    assert!(text.contains("SIMULATED: a simulated provider stood in for the teacher."));
    let row = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
    let teacher = row("| teacher |");
    for marked in ["%) SIM", "31.0 SIM", "65.1 SIM", "$0.412 SIM"] {
        assert!(teacher.contains(marked), "{marked} in {teacher}");
    }
    assert!(!teacher.contains("not measured SIM"));
    assert!(!row("| linear (floor) |").contains("SIM"));
    assert!(row("| nano − teacher |").contains("SIM"));
    assert!(!row("| nano − nano untuned |").contains("SIM"));
    assert!(!seen(&markdown(&bare())).contains("SIM"));
}

#[test]
fn a_row_of_the_user_stays_text_in_every_form() {
    let report = full();
    let page = html(&report);
    assert!(!page.contains("<script") && !page.contains("<b>"));
    assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"));
    let text = markdown(&report);
    assert!(!text.contains("<script") && text.contains(r"\[a\](b) second line |"));
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
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains(wrong), "{wrong}");
    }
    assert_eq!(page.matches("<svg").count(), 2);
    assert_eq!(page.matches("<details>").count(), 1);
    assert!(page.contains("prefers-color-scheme: dark"));
}

/// Tags that are opened are closed, in order: a stray one would swallow the rest of the report.
#[test]
fn the_page_is_well_formed() {
    for report in [full(), bare()] {
        let page = html(&report);
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
}

#[test]
fn the_terminal_form_keeps_to_100_columns() {
    for report in [full(), bare()] {
        for line in terminal(&report).lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
    }
}

/// Whether two JSON values are one, but for the last digit of a number that was read and written.
fn same(first: &Value, second: &Value) -> bool {
    match (first, second) {
        (Value::Number(first), Value::Number(second)) => {
            let (first, second) = (first.as_f64().unwrap(), second.as_f64().unwrap());
            (first - second).abs() <= 1e-14 * first.abs()
        }
        (Value::Array(first), Value::Array(second)) => {
            first.len() == second.len()
                && first
                    .iter()
                    .zip(second)
                    .all(|(first, second)| same(first, second))
        }
        (Value::Object(first), Value::Object(second)) => {
            first.len() == second.len()
                && first
                    .iter()
                    .all(|(key, value)| second.get(key).is_some_and(|other| same(value, other)))
        }
        _ => first == second,
    }
}

#[test]
fn a_report_survives_a_round_trip_and_another_version_is_refused() {
    for report in [full(), bare()] {
        let again: RunReport = read(&json(&report)).unwrap();
        let value = |report| serde_json::from_str::<Value>(&json(report)).unwrap();
        assert!(same(&value(&again), &value(&report)));
        assert_eq!(markdown(&again), markdown(&report));
    }
    let text = json(&full()).replacen("\"schema\": 1", "\"schema\": 2", 1);
    let message = read(&text).unwrap_err().to_string();
    assert_eq!(message, "the report has schema 2, and this version reads 1");
}
