use serde_json::json;

use crate::{Sample, Score, Scorer, metric::tests::generate};

fn chosen(reply: &str, gold: &str, choices: &[&str], letters: Option<&str>) -> Score {
    let task = generate();
    let settings = letters.map(|letters| json!({"letters": letters}));
    let settings = settings
        .as_ref()
        .and_then(|value| value.as_object().cloned());
    let sample = Sample::read("1", &task, Ok(reply), Some(gold))
        .with_choices(choices.iter().map(|text| (*text).to_owned()).collect());
    Scorer::parse("multiple_choice", &settings.unwrap_or_default())
        .unwrap()
        .score(&sample, &task)
        .unwrap()
}

const CITIES: [&str; 4] = ["Oslo", "New York", "York", "Bergen"];

#[test]
fn a_letter_is_read_out_of_a_reply() {
    for reply in [
        "B",
        "b",
        "(B)",
        " **B**. ",
        "B) because it is",
        "(B) New York",
        "B. New York",
        "B: New York",
        "Answer: B",
        "The answer is (B).",
        "First A, but no: the correct answer is option **B**, not C.",
        "Answer: A is tempting. Final answer: B",
        "the answer is $\\boxed{B}$",
        "I weigh them and take (B).",
    ] {
        assert_eq!(chosen(reply, "B", &[], None), Score::Value(1.0), "{reply}");
    }
}

#[test]
fn what_chooses_nothing_or_two_is_wrong() {
    for reply in [
        "A bird in the hand",
        "The answer is a matter of taste.",
        "either (A) or (B)",
        "I do not know",
        "K",
        "",
    ] {
        assert_eq!(chosen(reply, "A", &[], None), Score::Value(0.0), "{reply}");
    }
    assert_eq!(
        chosen("the answer is a)", "A", &[], None),
        Score::Value(1.0)
    );
}

#[test]
fn an_option_can_be_named_by_its_text() {
    for (reply, right) in [
        ("new york", true),
        ("It is Bergen.", false),
        ("York", false),
        ("Yorkshire", false),
        ("Oslo or Bergen", false),
    ] {
        let score = Score::right(right);
        assert_eq!(chosen(reply, "B", &CITIES, None), score, "{reply}");
        assert_eq!(chosen(reply, "New York", &CITIES, None), score, "{reply}");
    }
    assert_eq!(
        chosen("It is Bergen.", "D", &CITIES, None),
        Score::Value(1.0)
    );
    // Four options have no fifth letter.
    assert_eq!(chosen("E", "A", &CITIES, None), Score::Value(0.0));
}

#[test]
fn letters_can_be_others_and_a_reference_must_be_one() {
    assert_eq!(
        chosen("Answer: x", "X", &[], Some("xyz")),
        Score::Value(1.0)
    );
    assert!(matches!(
        chosen("A", "A", &[], Some("xyz")),
        Score::Unscored { .. }
    ));
    assert!(matches!(
        chosen("A", "Rome", &CITIES, None),
        Score::Unscored { .. }
    ));
}
