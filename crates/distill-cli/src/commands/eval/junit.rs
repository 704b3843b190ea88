//! Requirements as `JUnit` XML: one test case each, for CI systems.

use std::fmt::Write as _;

use distill_steps::suite::Summary;

pub(super) fn junit(summary: &Summary) -> String {
    let failures = summary.requirements.iter().filter(|one| !one.met).count();
    let name = escape(&summary.suite);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    write!(
        text,
        "<testsuites tests=\"{count}\" failures=\"{failures}\">\n  <testsuite name=\"{name}\" tests=\"{count}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\">\n",
        count = summary.requirements.len()
    )
    .expect("a String takes every write");
    for result in &summary.requirements {
        let (class, case) = (escape(&result.answerer), escape(&result.requirement));
        let reason = escape(&result.reason);
        let body = if result.met {
            format!("<system-out>{reason}</system-out>")
        } else {
            format!("<failure type=\"requirement\" message=\"not met\">{reason}</failure>")
        };
        writeln!(
            text,
            "    <testcase classname=\"{name}.{class}\" name=\"{case}\" time=\"0\">{body}</testcase>"
        )
        .expect("a String takes every write");
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no way to write these.
            control if control.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}
