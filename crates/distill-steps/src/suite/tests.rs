//! The parts of a suite that need no run: paths, lines of commands, requirements, names.

use distill_chat::Fields;
use distill_eval::{Aggregate, Interval, IntervalMethod, Score};
use distill_pipeline::spec::suite::CommandUnit;
use serde_json::{Value, json};

use super::{
    Answerer, Requirement, answerer::check_answerers, command::read_line, file_name, model_named,
    path,
};

fn fields(value: Value) -> Fields {
    value.as_object().unwrap().clone()
}

#[test]
fn a_path_leads_into_objects_and_a_column_of_that_very_name_comes_first() {
    let row = fields(json!({
        "a": {"b": {"c": 1}, "b.c": 2, "none": null},
        "a.b": {"c": 3},
        "plain": "x",
    }));
    let at = |path: &str| path::value_at(&row, path).cloned();
    assert_eq!(at("plain"), Some(json!("x")));
    assert_eq!(at("a.b"), Some(json!({"c": 3})));
    assert_eq!(at("a.b.c"), Some(json!(2)));
    assert_eq!(at("a.none"), Some(Value::Null));
    for missing in ["a.x", "plain.x", "", ".", "a.", "a.none.x"] {
        assert_eq!(at(missing), None, "{missing}");
    }
    let mut left = row.clone();
    assert_eq!(path::take(&mut left, "a.none"), Some(Value::Null));
    assert_eq!(path::value_at(&left, "a.none"), None);
    assert_eq!(path::take(&mut left, "a.none"), None);
    assert_eq!(
        path::paths(&fields(json!({"a": {"b": 1, "c": {}}, "d": 2}))),
        ["a.b", "a.c", "d"]
    );
}

#[test]
fn a_line_of_a_command_is_a_score_a_reason_or_a_mistake() {
    let read = |text: &str| read_line(text, CommandUnit::Value);
    let value = |id: &str, value: f64| Ok((id.to_owned(), Score::Value(value)));
    assert_eq!(read(r#"{"id": "a", "score": -0.5}"#), value("a", -0.5));
    assert_eq!(read(r#"{"id": 7, "score": true}"#), value("7", 1.0));
    assert_eq!(
        read(r#"{"id": "a", "score": null, "unscored": "no"}"#),
        Ok(("a".to_owned(), Score::unscored("no")))
    );
    for wrong in [
        r#"{"id": "a", "score": "1"}"#,
        r#"{"id": "a", "score": 1e999}"#,
        r#"{"id": "a", "score": 1, "unscored": "both"}"#,
        r#"{"id": "a", "score": NaN}"#,
        r#"{"id": null, "score": 1}"#,
        r#"["a", 1]"#,
        "1",
    ] {
        read(wrong).expect_err(wrong);
    }
    assert_eq!(
        read_line(r#"{"id": "a", "score": 1}"#, CommandUnit::Share),
        value("a", 1.0)
    );
    assert!(read_line(r#"{"id": "a", "score": 2}"#, CommandUnit::Share).is_err());
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_requirement_finds_its_scorer_with_or_without_settings_and_answerer() {
    let answerers = names(&["small", "vendor/model:large"]);
    let scorers = names(&["accuracy", "numeric(tolerance=0.01)", "rouge_l"]);
    let check = |text: &str| {
        let requirement: Requirement = text.parse().unwrap();
        assert_eq!(
            requirement.to_string(),
            text.replace(' ', "").replace("0.80", "0.8")
        );
        requirement.check(&answerers, &scorers)
    };
    for known in [
        "accuracy>=0.80",
        "accuracy >= 0.8",
        "numeric<=0.1",
        "numeric(tolerance=0.01)>=0.5",
        "small:rouge_l>=0.5",
        "vendor/model:large:accuracy>=1",
    ] {
        check(known).unwrap_or_else(|error| panic!("{known}: {error}"));
    }
    for unknown in ["acuracy>=0.8", "tiny:accuracy>=0.8", "small:>=1"] {
        check(unknown).expect_err(unknown);
    }
    let twice = names(&["numeric(tolerance=0.01)", "numeric(tolerance=0.1)"]);
    let requirement: Requirement = "numeric>=0.5".parse().unwrap();
    requirement
        .check(&answerers, &twice)
        .expect_err("which of the two is meant is not said");
    for wrong in [
        "accuracy",
        "accuracy>0.8",
        ">=0.8",
        "accuracy>=",
        "accuracy>=NaN",
        "a>=1e999",
    ] {
        wrong.parse::<Requirement>().expect_err(wrong);
    }
}

#[test]
fn a_requirement_holds_the_end_of_the_interval_that_could_be_worse() {
    let figures = |value: Option<f64>| Aggregate {
        value,
        interval: value.map(|value| Interval {
            low: value - 0.125,
            high: value + 0.125,
            confidence: 0.95,
            method: IntervalMethod::Wilson,
        }),
        ..Aggregate::default()
    };
    let met = |text: &str, value: Option<f64>| {
        let requirement: Requirement = text.parse().unwrap();
        requirement.judge(&figures(value)).0
    };
    assert!(met("a>=0.75", Some(0.875)) && !met("a>=0.75", Some(0.87)));
    assert!(met("a<=0.25", Some(0.125)) && !met("a<=0.25", Some(0.13)));
    assert!(!met("a>=0", None) && !met("a<=1", None));
}

#[test]
fn answerers_are_told_apart_by_their_files() {
    assert_eq!(file_name("vendor/model:1 b"), "vendor-model-1-b");
    assert_eq!(file_name("../x"), "-x");
    assert_eq!(file_name(&"n".repeat(300)), "n".repeat(100));
    let bundle = |name: &str| Answerer::Bundle {
        name: name.to_owned(),
        folder: "f".into(),
    };
    check_answerers(&[bundle("a"), bundle("b")]).unwrap();
    check_answerers(&[]).expect_err("nobody answers");
    check_answerers(&[bundle("a/b"), bundle("A-b")]).expect_err("one file for two");
    check_answerers(&[bundle("..")]).expect_err("no name is left");
    for wrong in ["", "openai", "/m", "openai/", "nobody/m"] {
        model_named(wrong).expect_err(wrong);
    }
    assert_eq!(model_named("openai/a/b").unwrap().model, "a/b");
}
