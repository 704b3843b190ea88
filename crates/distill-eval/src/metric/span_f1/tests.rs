use super::{spans, tally};

fn counts(gold: &str, answer: &str) -> (u64, u64, u64) {
    let found = tally(&spans(gold).unwrap(), &spans(answer).unwrap_or_default());
    (found.gold, found.predicted, found.correct)
}

#[test]
fn a_span_is_right_with_its_label_and_both_ends() {
    let gold =
        r#"[{"start": 0, "end": 5, "label": "CITY"}, {"start": 9, "end": 12, "label": "DATE"}]"#;
    assert_eq!(counts(gold, gold), (2, 2, 2));
    let answer = r#"[{"start":0,"end":5,"label":"CITY","text":"Paris"},{"start":9,"end":11,"label":"DATE"}]"#;
    assert_eq!(counts(gold, answer), (2, 2, 1));
    let twice = r#"[{"start":0,"end":5,"label":"CITY"},{"start":0,"end":5,"label":"CITY"}]"#;
    assert_eq!(counts(gold, twice), (2, 1, 1));
    assert_eq!(counts(gold, "[]"), (2, 0, 0));
    assert_eq!(counts(gold, "Paris"), (2, 0, 0));
}

#[test]
fn a_text_that_occurs_twice_is_two_spans() {
    let gold = r#"[{"text":"Ann","label":"PER"},{"text":"Ann","label":"PER"}]"#;
    assert_eq!(
        counts(gold, r#"[{"text":" Ann ","label":"PER"}]"#),
        (2, 1, 1)
    );
    let three = r#"```json
[{"text":"Ann","label":"PER"},{"text":"Ann","label":"PER"},{"text":"Ann","label":"ORG"}]
```"#;
    assert_eq!(counts(gold, three), (2, 3, 2));
}

#[test]
fn what_is_not_a_list_of_spans_is_none() {
    for text in [
        "",
        "{}",
        "[1]",
        r#"[{"label":"PER"}]"#,
        r#"[{"text":"Ann"}]"#,
        r#"[{"start":1,"label":"PER"}]"#,
        r#"[{"start":-1,"end":2,"label":"PER"}]"#,
    ] {
        assert!(spans(text).is_none(), "{text}");
    }
}
