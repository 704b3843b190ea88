//! `JUnit` XML as CI systems read it (the shape that Surefire writes and Jenkins's plugin reads):
//! one test case for each condition of the gate and one for the verdict.

use std::fmt::Write;

use crate::{
    RunReport,
    compose::{Gate, Outcome, gates},
    document::{MARK, printable},
    number,
};

/// The gate of a run as test cases.
pub fn junit(report: &RunReport) -> String {
    let simulated = if report.touched_by_simulation() {
        format!(" [{MARK}: a simulated provider stood in for the teacher]")
    } else {
        String::new()
    };
    let class = escape(&format!(
        "distill.{}",
        report
            .main_arm()
            .map_or("no candidate", |arm| arm.name.as_str())
    ));
    let gates = gates(report);
    let mut cases: String = gates
        .iter()
        .map(|gate| case(&class, gate, &simulated))
        .collect();
    let verdict = &report.recommendation.verdict;
    let passed = verdict.decision.is_met();
    let text = format!("{}: {}{simulated}", verdict.decision, verdict.reason);
    let _ = if passed {
        writeln!(
            cases,
            "    <testcase classname=\"{class}\" name=\"verdict\" time=\"0\">\n      <system-out>{}</system-out>\n    </testcase>",
            escape(&text)
        )
    } else {
        writeln!(
            cases,
            "    <testcase classname=\"{class}\" name=\"verdict\" time=\"0\">\n      <failure type=\"verdict\" message=\"{}\">{}</failure>\n    </testcase>",
            escape(&verdict.decision.to_string()),
            escape(&text)
        )
    };
    let failures = gates
        .iter()
        .filter(|gate| matches!(gate.outcome, Outcome::Missed | Outcome::Unknown))
        .count()
        + usize::from(!passed);
    let skipped = gates
        .iter()
        .filter(|gate| gate.outcome == Outcome::NotAsked)
        .count();
    let tests = gates.len() + 1;
    let name = escape(&report.name);
    let properties: String = [
        ("run", report.lineage.run_id.clone()),
        ("pipeline", report.lineage.pipeline_hash.clone()),
        ("code_version", report.lineage.code_version.clone()),
        ("eval_rows", number::count(report.task.eval_rows)),
        ("rerun", report.lineage.rerun_command.clone()),
    ]
    .iter()
    .map(|(key, value)| {
        format!(
            "      <property name=\"{key}\" value=\"{}\"/>\n",
            escape(value)
        )
    })
    .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" time=\"0\">\n  \
         <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"0\">\n    \
         <properties>\n{properties}    </properties>\n{cases}  </testsuite>\n</testsuites>\n"
    )
}

fn case(class: &str, gate: &Gate, simulated: &str) -> String {
    let sentence = format!("{}{simulated}", gate.sentence());
    let body = match gate.outcome {
        Outcome::Met => format!("<system-out>{}</system-out>", escape(&sentence)),
        Outcome::Missed | Outcome::Unknown => format!(
            "<failure type=\"{}\" message=\"{}\">{}</failure>",
            gate.id,
            escape(&format!("{}: {}", gate.name, gate.outcome.label())),
            escape(&sentence)
        ),
        Outcome::NotAsked => format!("<skipped message=\"{}\"/>", escape(&sentence)),
    };
    format!(
        "    <testcase classname=\"{class}\" name=\"{}\" time=\"0\">\n      {body}\n    </testcase>\n",
        gate.id
    )
}

/// What XML 1.0 forbids is gone; what it reads as markup is spelt out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
