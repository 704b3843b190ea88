//! A report made again from its folder.

use std::fs;

use distill_report::FORMATS;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    compare::{
        collect, compare,
        tests::{arms, evidence, settings},
    },
    rows::read_json,
};

fn facts() -> Facts {
    Facts {
        name: "animals".to_owned(),
        eval_source: "test.csv".to_owned(),
        labelled_by_teacher: true,
        data: DataFacts::default(),
        labels: LabelFacts::default(),
        spend: None,
        failed_attempts_usd: None,
        training: Vec::new(),
        lineage: ReportLineage {
            run_id: "20260131-090507-1a2b".to_owned(),
            ..ReportLineage::default()
        },
        additions: Additions::default(),
    }
}

/// A report's folder with awkward numbers in it: confidences and times with many digits.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let evidence = evidence(
        90,
        |index| (index % 7 != 0, -(index as f64) / 7.0),
        |index| index % 11 != 0,
    );
    let (study, samples) = collect(&settings(&arms()), &evidence).unwrap();
    let findings = compare(&study, &samples).unwrap();
    let document = StudyDocument::new(study, facts());
    let report = assemble(&document, findings);
    write(&report, &document, &samples, folder.path()).unwrap();
    folder
}

#[test]
fn every_form_is_made_again_byte_for_byte_from_the_records_alone() {
    let folder = folder();
    let mut before = Vec::new();
    for format in FORMATS {
        let path = folder.path().join(format.file);
        before.push(fs::read(&path).unwrap());
        fs::remove_file(path).unwrap();
    }
    let left: Vec<String> = {
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(left, ["samples", "study.json"]);
    let report = regenerate(folder.path()).unwrap();
    for (format, before) in FORMATS.iter().zip(before) {
        assert!(
            (format.render)(&report).into_bytes() == before,
            "{} differs",
            format.file
        );
    }
}

/// Changes the first line of a file of records.
fn edited(folder: &TempDir, from: &str, to: &str) {
    let path = folder.path().join("samples/nano.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let changed = text.replacen(from, to, 1);
    assert_ne!(text, changed);
    fs::write(&path, changed).unwrap();
}

#[test]
fn a_record_changed_by_hand_is_refused_whatever_was_changed() {
    for (from, to) in [
        (r#""accuracy":{"value":1.0}"#, r#""accuracy":{"value":0.0}"#),
        (r#""output":"cat""#, r#""output":"dog""#),
        (r#""latency_ms":2."#, r#""latency_ms":1."#),
        (r#""output_tokens":2"#, r#""output_tokens":3"#),
    ] {
        let folder = folder();
        edited(&folder, from, to);
        let refused = regenerate(folder.path()).unwrap_err();
        assert!(
            refused.message.contains("nano.jsonl` was changed"),
            "{}",
            refused.message
        );
        let elsewhere = TempDir::new().unwrap();
        assert!(export(folder.path(), elsewhere.path()).is_err());
    }
}

#[test]
fn figures_are_made_of_the_records_and_not_copied() {
    let folder = folder();
    let before = regenerate(folder.path()).unwrap();
    edited(
        &folder,
        r#""accuracy":{"value":1.0}"#,
        r#""accuracy":{"value":0.0}"#,
    );
    // Evidence of an earlier version has no seal.
    let path = folder.path().join("study.json");
    let mut study: serde_json::Value = read_json(&path).unwrap();
    study.as_object_mut().unwrap().remove("sealed").unwrap();
    write_json(&path, &study).unwrap();
    let after = regenerate(folder.path()).unwrap();
    assert_ne!(
        before.arms[0].scores[0].value,
        after.arms[0].scores[0].value
    );
}

#[test]
fn the_evidence_can_be_taken_elsewhere() {
    let (folder, elsewhere) = (folder(), TempDir::new().unwrap());
    export(folder.path(), &elsewhere.path().join("evidence")).unwrap();
    assert_eq!(
        regenerate(folder.path()).unwrap(),
        regenerate(&elsewhere.path().join("evidence")).unwrap()
    );
}

#[test]
fn what_is_missing_or_damaged_is_named() {
    let folder = folder();
    let nothing = regenerate(&folder.path().join("samples")).unwrap_err();
    assert!(
        nothing.message.contains("no report's folder"),
        "{}",
        nothing.message
    );

    let path = folder.path().join("samples/nano.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let cut = regenerate(folder.path()).unwrap_err();
    assert!(cut.message.contains("nano.jsonl"), "{}", cut.message);
    // Whole lines that are gone.
    let some: String = text
        .lines()
        .take(10)
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&path, some).unwrap();
    let fewer = regenerate(folder.path()).unwrap_err();
    assert!(
        fewer.message.contains("nano.jsonl` was changed"),
        "{}",
        fewer.message
    );
    fs::remove_file(&path).unwrap();
    let gone = regenerate(folder.path()).unwrap_err();
    assert!(gone.message.contains("nano.jsonl"), "{}", gone.message);
}

#[test]
fn another_schema_is_refused() {
    let folder = folder();
    let path = folder.path().join("study.json");
    let mut study: serde_json::Value = read_json(&path).unwrap();
    study["schema"] = json!(99);
    write_json(&path, &study).unwrap();
    let refused = regenerate(folder.path()).unwrap_err();
    assert!(refused.message.contains("99"), "{}", refused.message);
}

#[test]
fn numbers_that_no_report_has_are_refused_with_their_place() {
    let folder = folder();
    let path = folder.path().join("study.json");
    let whole: serde_json::Value = read_json(&path).unwrap();
    for value in [json!(2.0), json!(1e308), json!(u64::MAX)] {
        let mut study = whole.clone();
        study["comparison"]["settings"]["accept"]["confidence"] = value;
        write_json(&path, &study).unwrap();
        let refused = regenerate(folder.path()).unwrap_err();
        assert!(
            refused
                .message
                .contains("comparison.settings.accept.confidence"),
            "{}",
            refused.message
        );
        assert!(refused.hint.is_some());
    }
}

#[test]
fn additions_are_joined() {
    let mut all = Additions {
        notes: vec!["one".to_owned()],
        ..Additions::default()
    };
    let other: Additions =
        serde_json::from_value(json!({"notes": ["two"], "noise_floor": {"n": 3, "agreement": 1.0, "interval": null, "student_repeat": null, "simulated": true}}))
            .unwrap();
    all.join(other);
    all.join(Additions::default());
    assert_eq!(all.notes, ["one", "two"]);
    assert_eq!(all.noise_floor.unwrap().n, 3);
}
