use std::collections::BTreeSet;

use serde_json::Value;

use distill_eval::{LabelScores, Reference};

use crate::{
    FORMATS, LeakedRow, RunReport, Slice, html, json, markdown, number, read,
    sample::{bare, extraction, full, generation},
    summary, terminal,
};

mod hostile;
mod schema;
mod xml;

/// Every sample, by name.
fn samples() -> Vec<(&'static str, RunReport)> {
    vec![
        ("classify", full()),
        ("extract", extraction()),
        ("generate", generation(false)),
        ("generate-calibrated", generation(true)),
        ("bare", bare()),
        ("empty", RunReport::default()),
    ]
}

/// Not a test: `cargo test -p distill-report -- --ignored` writes the samples in every form into the
/// system's folder for temporary files, to be looked at in a browser.
#[test]
#[ignore = "writes files to look at"]
fn write_the_samples() {
    for (name, report) in samples() {
        let folder = std::env::temp_dir()
            .join("distill-report-samples")
            .join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for format in FORMATS {
            std::fs::write(folder.join(format.file), (format.render)(&report)).unwrap();
        }
    }
}

/// The text of a rendering as its reader sees it: markup and escapes undone, white space folded.
fn seen(text: &str) -> String {
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&#39;", "'")
        .replace("&#64;", "@")
        .replace("&#58;", ":")
        .replace("&quot;", "\"")
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
    for candidate in report["recommendation"]["candidates"].as_array().unwrap() {
        add(&candidate["p_noninferior"], number::p_value);
        add(&candidate["p_holm"], number::p_value);
    }
    add(&report["spend"]["settled_usd"], number::usd);
    figures
}

/// Those that only the whole report has, and the terminal in part.
fn further_figures(report: &Value) -> Vec<String> {
    let mut figures = Vec::new();
    let mut add = |value: &Value, show: fn(f64) -> String| {
        if let Some(value) = value.as_f64() {
            figures.push(show(value));
        }
    };
    let count: fn(f64) -> String = |n| number::count(n as usize);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for row in list(&report["differences"]) {
        add(&row["difference"], number::points);
        add(&row["interval"]["low"], number::points);
        add(&row["interval"]["high"], number::points);
        add(&row["mcnemar_p"], number::p_value);
    }
    for cascade in list(&report["cascade"]) {
        for point in list(&cascade["curve"]) {
            add(&point["deferred"], number::percent);
            add(&point["value"], number::percent);
            add(&point["random"], number::percent);
            add(&point["oracle"], number::percent);
            add(&point["usd_per_1000"], number::usd);
            add(&point["mean_ms"], number::milliseconds);
        }
        for bin in list(&cascade["reliability"]) {
            add(&bin["probability"], number::percent);
            add(&bin["right"], number::percent);
            add(&bin["n"], count);
        }
        for share in ["accuracy", "deferred_share", "observed_risk"] {
            add(&cascade[share], number::percent);
        }
        for share in ["probability", "bound", "risk"] {
            add(&cascade["threshold"][share], number::percent);
        }
        add(&cascade["threshold"]["answered"], count);
        add(&cascade["threshold"]["wrong"], count);
    }
    for curve in list(&report["learning_curves"]) {
        for point in list(&curve["points"]) {
            add(&point["train_rows"], count);
            add(&point["value"], number::percent);
        }
    }
    add(&report["noise_floor"]["agreement"], number::percent);
    add(&report["label_noise"]["estimated_share"], number::percent);
    for suspect in list(&report["label_noise"]["suspects"]) {
        add(&suspect["probability"], number::percent);
    }
    for score in list(&report["judge"]["scores"]) {
        add(&score["score"]["value"], number::percent);
        add(&score["corrected"]["value"], number::percent);
    }
    for pair in list(&report["judge"]["pairs"]) {
        for key in ["wins", "ties", "losses"] {
            add(&pair[key], count);
        }
        add(&pair["value"], number::percent);
    }
    add(&report["judge"]["kappa"]["value"], |kappa| {
        format!("{kappa:.2}")
    });
    add(&report["judge"]["disagreements"], count);
    for arm in list(&report["arms"]) {
        for row in list(&arm["confusion"]["counts"]).iter().take(1) {
            for cell in list(row) {
                add(&cell, |n| format!("{n}"));
            }
        }
        for field in list(&arm["fields"]) {
            add(&field["f1"], number::percent);
        }
    }
    for row in list(&report["regressions"]["rows"]) {
        add(&row["candidate_confidence"], number::percent);
    }
    figures.extend(speed_and_cost(report));
    figures
}

fn speed_and_cost(report: &Value) -> Vec<String> {
    let mut figures = Vec::new();
    let mut add = |value: &Value, show: fn(f64) -> String| {
        if let Some(value) = value.as_f64() {
            figures.push(show(value));
        }
    };
    let count: fn(f64) -> String = |n| number::count(n as usize);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for load in list(&report["load"]) {
        for key in [
            "median_e2el_ms",
            "p95_e2el_ms",
            "p99_e2el_ms",
            "p95_ttft_ms",
        ] {
            add(&load[key], number::milliseconds);
        }
        add(&load["request_throughput"], number::significant);
    }
    for row in list(&report["sensitivity"]) {
        add(&row["teacher_usd_per_1000"], number::usd);
    }
    for student in list(&report["cost"]["students"]) {
        add(&student["usd_per_1000"], number::usd);
        add(&student["one_off_usd"], number::usd);
        add(&student["usd_per_correct"], number::usd);
    }
    for price in list(&report["price_age"]) {
        add(&price["input_usd_per_million"], number::usd);
        add(&price["age_days"], count);
    }
    for energy in list(&report["energy"]) {
        add(&energy["watt_hours_per_1000"], number::significant);
    }
    figures
}

#[test]
fn every_form_says_the_same_figures() {
    let mut all = 0;
    for (name, report) in samples() {
        let data: Value = serde_json::from_str(&json(&report)).unwrap();
        let (headline, further) = (headline_figures(&data), further_figures(&data));
        all += headline.len() + further.len();
        for (form, text) in [
            ("terminal", terminal(&report)),
            ("markdown", markdown(&report)),
            ("html", html(&report)),
        ] {
            let text = seen(&text);
            for figure in &headline {
                assert!(
                    text.contains(figure.as_str()),
                    "{name}: {form} lacks {figure}"
                );
            }
            for figure in further.iter().filter(|_| form != "terminal") {
                assert!(
                    text.contains(figure.as_str()),
                    "{name}: {form} lacks {figure}"
                );
            }
        }
        // A terminal's table may break a sentence, never the verdict's name.
        for format in FORMATS.iter().filter(|format| format.name != "json") {
            let decision = report.recommendation.verdict.decision.to_string();
            assert!(
                seen(&(format.render)(&report)).contains(&decision),
                "{}",
                format.name
            );
        }
    }
    assert!(all > 400, "{all}");
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    for (name, report) in samples() {
        let again = read(&json(&report)).unwrap();
        for format in FORMATS {
            assert_eq!(
                (format.render)(&report),
                (format.render)(&again),
                "{name}: {}",
                format.name
            );
        }
    }
}

#[test]
fn nothing_measured_says_so() {
    for (name, report) in samples()
        .into_iter()
        .filter(|(name, _)| matches!(*name, "bare" | "empty"))
    {
        for format in FORMATS.iter().filter(|format| format.name != "json") {
            let text = (format.render)(&report);
            let text = seen(
                text.split_once("</style>")
                    .map_or(text.as_str(), |parts| parts.1),
            );
            if format.name != "junit" {
                assert!(text.contains("n = 0"), "{name}: {}", format.name);
            }
            for wrong in ["NaN", " inf", "null", "100.0%", " 0.0%", " of ;", "un ,"] {
                assert!(!text.contains(wrong), "{name}: {}: {wrong}", format.name);
            }
        }
    }
}

#[test]
fn agreement_with_the_teacher_is_never_called_accuracy() {
    let mut report = full();
    report.task.reference = Reference::TeacherLabels;
    for format in FORMATS
        .iter()
        .filter(|format| matches!(format.name, "markdown" | "summary"))
    {
        let text = seen(&(format.render)(&report)).to_lowercase();
        assert!(
            text.contains("agreement with the teacher (accuracy)"),
            "{}",
            format.name
        );
        let bare = text
            .replace("agreement with the teacher (accuracy)", "")
            .replace("agreement with the teacher, not accuracy", "");
        // What is left is the name of the metric's own explanation and of the figures.
        let left: Vec<&str> = bare
            .match_indices("accuracy")
            .map(|(at, _)| &bare[at.saturating_sub(30)..(at + 30).min(bare.len())])
            .collect();
        for place in left {
            assert!(
                place.contains("accuracy: ") || place.contains("accuracy, cost and latency"),
                "{}: …{place}…",
                format.name
            );
        }
    }
}

#[test]
fn the_next_command_follows_from_the_verdict() {
    let text = markdown(&generation(false));
    assert!(
        text.contains("Next, for labels by people: `distill eval label 20260102-030405-abcd`"),
        "{text}"
    );
    let mut report = full();
    assert!(markdown(&report).contains("Next: `distill init your.csv`"));
    report.lineage.next_command = None;
    let text = terminal(&report);
    assert!(
        text.contains("Next, with about 2,") && text.contains(" eval rows: distill run"),
        "{text}"
    );
    assert!(!markdown(&bare()).contains("Next"));
}

#[test]
fn an_uncalibrated_judge_is_called_so_beside_each_figure() {
    let text = markdown(&generation(false));
    let section = text
        .split("## Judge")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    for line in section
        .lines()
        .filter(|line| line.starts_with("| smol") || line.starts_with("| teacher"))
    {
        for cell in line.split('|').filter(|cell| cell.contains('%')) {
            assert!(cell.contains("uncalibrated judge"), "{cell}");
        }
    }
    let calibrated = markdown(&generation(true));
    assert!(!calibrated.contains("uncalibrated judge"));
    assert!(calibrated.contains("Cohen's kappa is 0."));
}

#[test]
fn the_summary_keeps_to_60_lines() {
    let mut report = full();
    for copy in 0..40 {
        let mut arm = report.arms[5].clone();
        arm.name = format!("nano {copy}");
        report.arms.push(arm);
        let mut candidate = report.recommendation.candidates[1].clone();
        candidate.name = format!("nano {copy}");
        report.recommendation.candidates.push(candidate);
    }
    for (name, report) in samples().into_iter().chain([("many", report)]) {
        let text = summary(&report);
        assert!(
            text.lines().count() <= 60,
            "{name}: {}",
            text.lines().count()
        );
        assert!(text.contains("report.html"), "{name}");
    }
}

#[test]
fn a_report_of_a_hundred_labels_and_many_slices_stays_readable() {
    let mut report = full();
    for arm in &mut report.arms {
        arm.confusion = None;
        arm.labels = (0..100)
            .map(|place| LabelScores {
                label: format!("label_{place}_{}", "x".repeat(40)),
                ..arm.labels[0].clone()
            })
            .collect();
        arm.slices = (0..400)
            .map(|place| Slice {
                name: format!("column = value {place}"),
                ..arm.slices[0].clone()
            })
            .collect();
    }
    let row = report.data.leaked[0].clone();
    report.data.leaked = vec![
        LeakedRow {
            text: "long ".repeat(100_000),
            ..row
        };
        1000
    ];
    let (page, text) = (html(&report), markdown(&report));
    assert!(page.len() < 3_000_000, "{}", page.len());
    assert!(text.len() < 3_000_000, "{}", text.len());
    assert!(page.contains("600 more rows are in report.json"));
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
    let row = |start: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with(start));
        lines
            .find(|line| line.matches('|').count() > 7)
            .unwrap()
            .replace('\\', "")
    };
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
