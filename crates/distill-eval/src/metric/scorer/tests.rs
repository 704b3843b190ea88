use distill_chat::Fields;
use serde_json::{Value, json};

use crate::{METRICS, Sample, Score, Scorer, ScorerError, metric, metric::tests::generate};

fn parse(name: &str, settings: Value) -> Result<Scorer, ScorerError> {
    Scorer::parse(name, settings.as_object().unwrap())
}

fn score(scorer: &Scorer, reply: &str, gold: &str) -> Score {
    let task = generate();
    let sample = Sample::read("1", &task, Ok(reply), Some(gold));
    scorer.score(&sample, &task).unwrap()
}

#[test]
fn what_a_scorer_does_not_take_is_named() {
    for (name, settings, message) in [
        (
            "accuracy",
            json!({"tolerance": 1}),
            "scorer `accuracy` has no setting `tolerance`; it takes no settings",
        ),
        (
            "numeric",
            json!({"tolerence": 1}),
            "scorer `numeric` has no setting `tolerence`; it takes tolerance, relative_tolerance",
        ),
        (
            "numeric",
            json!({"tolerance": "1"}),
            "setting `tolerance` of scorer `numeric` must be a number, 0 or more: `\"1\"` is given",
        ),
        (
            "numeric",
            json!({"tolerance": -1}),
            "setting `tolerance` of scorer `numeric` must be a number, 0 or more: `-1` is given",
        ),
        (
            "chrf",
            json!({"word_order": 0.5}),
            "setting `word_order` of scorer `chrf` must be a whole number from 0 to 100: `0.5` is given",
        ),
        (
            "regex",
            json!({"full": true}),
            "scorer `regex` needs the setting `pattern`: ",
        ),
        (
            "regex",
            json!({"pattern": "a("}),
            "setting `pattern` of scorer `regex` must be a regular expression: ",
        ),
        (
            "json_matches_schema",
            json!({"schema": {"type": "array"}}),
            "setting `schema` of scorer `json_matches_schema` must be the JSON schema of a flat object: ",
        ),
    ] {
        let error = parse(name, settings).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let error = parse("acuracy", json!({})).unwrap_err().to_string();
    assert!(
        error.contains("accuracy") && error.contains("`acuracy`"),
        "{error}"
    );
}

#[test]
fn every_setting_is_described() {
    for metric in METRICS {
        for setting in metric.settings {
            assert!(!setting.description.is_empty() && !setting.description.contains('\n'));
            assert!(!setting.kind.expected().is_empty());
        }
    }
}

#[test]
fn a_scorer_is_named_after_its_settings() {
    let scorer = parse(
        "numeric",
        json!({"tolerance": 0.01, "relative_tolerance": 0.1}),
    );
    assert_eq!(
        scorer.unwrap().name(),
        "numeric(relative_tolerance=0.1, tolerance=0.01)"
    );
    assert_eq!(parse("numeric", json!({})).unwrap().name(), "numeric");
}

#[test]
fn a_metric_without_what_it_needs_scores_nothing_and_says_so() {
    for (name, setting) in [("regex", "pattern"), ("json_matches_schema", "schema")] {
        let score = score(&Scorer::plain(metric(name).unwrap()), "{}", "{}");
        let Score::Unscored { reason } = score else {
            panic!("{name} scores {score:?}");
        };
        assert!(reason.contains(setting), "{reason}");
    }
}

#[test]
fn numbers_are_right_within_the_tolerance() {
    for (settings, reply, right) in [
        (json!({}), "so 1,000.0 it is", true),
        (json!({}), "so 1001 it is", false),
        (json!({"tolerance": 1}), "so 1001 it is", true),
        (json!({"tolerance": 0.5}), "so 1001 it is", false),
        (json!({"relative_tolerance": 0.001}), "999", true),
        (json!({"relative_tolerance": 0.0001}), "999", false),
        (
            json!({"relative_tolerance": 0.0001, "tolerance": 2}),
            "999",
            true,
        ),
        (
            json!({"relative_tolerance": 0.001, "tolerance": 1}),
            "1002",
            false,
        ),
        (json!({}), "I do not know", false),
    ] {
        let scorer = parse("numeric", settings.clone()).unwrap();
        assert_eq!(
            score(&scorer, reply, "1 + 999\n#### 1000"),
            Score::right(right),
            "{reply} {settings}"
        );
    }
    let scorer = parse("numeric", json!({})).unwrap();
    assert!(matches!(
        score(&scorer, "7", "seven"),
        Score::Unscored { .. }
    ));
    assert_eq!(score(&scorer, "7", r#"["six", "7"]"#), Score::right(true));
}

#[test]
fn a_pattern_is_found_or_fits_the_whole() {
    for (settings, reply, right) in [
        (json!({"pattern": "ca+t"}), "the caat sat", true),
        (json!({"pattern": "ca+t"}), "the CAT sat", false),
        (json!({"pattern": "(?i)ca+t"}), "the CAT sat", true),
        (json!({"pattern": "ca+t", "full": true}), " cat\n", true),
        (json!({"pattern": "ca+t", "full": true}), "the cat", false),
        (json!({"pattern": "a|ab", "full": true}), "ab", true),
        (json!({"pattern": r"\d{3}-ÄÖ"}), "123-ÄÖ", true),
    ] {
        let scorer = parse("regex", settings.clone()).unwrap();
        assert_eq!(
            score(&scorer, reply, "any"),
            Score::right(right),
            "{reply} {settings}"
        );
    }
}

#[test]
fn any_of_several_references_is_right() {
    let several = r#"["The cat.", "a feline"]"#;
    for name in ["exact_match", "normalised_match", "token_f1", "rouge_l"] {
        let scorer = Scorer::plain(metric(name).unwrap());
        assert_eq!(
            score(&scorer, "a feline", several),
            Score::Value(1.0),
            "{name}"
        );
        assert_eq!(score(&scorer, "dog", several), Score::Value(0.0), "{name}");
    }
}

#[test]
fn option_texts_come_from_the_named_column() {
    let row = |value: Value| -> Fields { Fields::from_iter([("options".to_owned(), value)]) };
    let scorer = parse("multiple_choice", json!({"choices": "options"})).unwrap();
    assert_eq!(scorer.choices(&row(json!(["x", "y"]))), ["x", "y"]);
    assert_eq!(scorer.choices(&row(json!(r#"["x", "y"]"#))), ["x", "y"]);
    assert!(scorer.choices(&row(json!("x, y"))).is_empty());
    assert!(
        parse("multiple_choice", json!({}))
            .unwrap()
            .choices(&row(json!(["x"])))
            .is_empty()
    );
    assert!(matches!(score(&scorer, "A", "A"), Score::Unscored { .. }));
}
