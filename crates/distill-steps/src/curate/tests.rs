//! What is removed, what is kept, and what is only listed.

use distill_chat::TaskDefinition;
use serde_json::json;

use super::*;

mod public_sets;

fn task() -> Task {
    Task::new(TaskDefinition {
        kind: TaskKind::Classify,
        system: None,
        prompt: "{% if asked %}(asked: {{ asked }}) {% endif %}{{ text }}".into(),
        labels: vec!["a".into(), "b".into()],
        schema: None,
    })
    .unwrap()
}

fn row(id: &str, text: &str, asked: &str, gold: &str) -> Row {
    Row {
        id: id.into(),
        fields: json!({"text": text, "asked": asked})
            .as_object()
            .unwrap()
            .clone(),
        gold: Some(gold.into()),
    }
}

fn reasons(rows: &[Row], test: &[Row]) -> Vec<(String, Removal, Option<String>)> {
    let (examples, curation) = curate(&task(), rows, None, test).unwrap();
    assert_eq!(examples.len() + curation.removed_rows.len(), rows.len());
    curation
        .removed_rows
        .into_iter()
        .map(|row| (row.id, row.reason, row.repeats))
        .collect()
}

#[test]
fn equal_and_nearly_equal_test_texts_are_leaks_whatever_case_and_marks() {
    let test = [row(
        "t1",
        "When will the parcel that I ordered on Monday finally arrive here?",
        "",
        "a",
    )];
    let rows = [
        row(
            "1",
            "when will the parcel that i ordered on monday finally arrive here",
            "",
            "a",
        ),
        row(
            "2",
            "So when will the parcel that I ordered on Monday finally arrive here?",
            "",
            "a",
        ),
        row("3", "When will the parcel arrive?", "", "a"),
    ];
    assert_eq!(
        reasons(&rows, &test),
        [
            ("1".into(), Removal::Leaked, Some("t1".into())),
            ("2".into(), Removal::Leaked, Some("t1".into()))
        ]
    );
}

#[test]
fn a_short_text_leaks_only_when_equal_with_its_context() {
    let test = [row("t1", "13", "time", "a"), row("t2", "yes", "", "a")];
    let rows = [
        row("1", "13", "people", "a"),
        row("2", "13", "time", "a"),
        row("3", "yes please", "", "a"),
    ];
    assert_eq!(
        reasons(&rows, &test),
        [("2".into(), Removal::Leaked, Some("t1".into()))]
    );
}

#[test]
fn duplicates_and_conflicts_keep_the_first() {
    let rows = [
        row("1", "hello", "", "a"),
        row("2", "Hello!", "", "a"),
        row("3", "hello", "", "b"),
    ];
    assert_eq!(
        reasons(&rows, &[]),
        [
            ("2".into(), Removal::Duplicate, Some("1".into())),
            ("3".into(), Removal::Conflict, Some("1".into()))
        ]
    );
}

#[test]
fn a_row_without_a_usable_answer_is_counted_by_its_reason() {
    let rows = [
        row("1", "one", "", "a"),
        row("2", "two", "", "a"),
        row("3", "three", "", "a"),
        row("4", "", "", "a"),
    ];
    let answer = |id: &str, status, answer: Option<&str>| AnswerRow {
        id: id.into(),
        status,
        answer: answer.map(Into::into),
        reply: None,
        model: None,
        reason: None,
        token_logprobs: None,
    };
    let answers = [
        answer("1", AnswerStatus::Answered, Some("b")),
        answer("2", AnswerStatus::Truncated, None),
        answer("4", AnswerStatus::Answered, Some("a")),
    ];
    let (examples, curation) = curate(&task(), &rows, Some(&answers), &[]).unwrap();
    assert_eq!(
        examples
            .iter()
            .map(|example| example.answer.as_str())
            .collect::<Vec<_>>(),
        ["b"]
    );
    assert_eq!(
        curation.removed,
        BTreeMap::from([
            (Removal::Truncated, 1),
            (Removal::Unlabelled, 1),
            (Removal::Empty, 1)
        ])
    );
}

/// A task whose prompt puts many words around the text.
fn wordy() -> Task {
    Task::new(TaskDefinition {
        prompt: "Here is a message of a customer of our bank: {{ text }} Say which queue it belongs to, and nothing else.".into(),
        ..task().definition().clone()
    })
    .unwrap()
}

#[test]
fn the_prompts_own_words_make_no_two_texts_alike() {
    let test = [
        row("t1", "yes", "", "a"),
        row("t2", "close my account", "", "a"),
    ];
    let rows = [
        row("1", "no", "", "a"),
        row("2", "open my account", "", "a"),
        row("3", "Close my account!", "", "a"),
    ];
    let (examples, curation) = curate(&wordy(), &rows, None, &test).unwrap();
    let kept: Vec<&str> = examples.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(kept, ["1", "2"]);
    assert_eq!(
        curation.removed_rows[0].detail.as_deref(),
        Some("equal but for case and punctuation")
    );
}

#[test]
fn a_long_context_makes_no_two_answers_alike() {
    let asked = "first name, last name, date, time and number of people of the booking";
    let test = [row("t1", "my name is John of course", asked, "a")];
    let rows = [
        row("1", "my name is Jim of course", asked, "a"),
        row("2", "my name is John of course", "date", "a"),
        row("3", "yes my name is John of course", asked, "a"),
    ];
    assert_eq!(
        reasons(&rows, &test),
        [("3".into(), Removal::Leaked, Some("t1".into()))]
    );
}

#[test]
fn signs_that_carry_meaning_keep_texts_apart() {
    let test = [
        row("t1", "C#", "", "a"),
        row("t2", "-5", "", "a"),
        row("t3", "50%", "", "a"),
        row("t4", "?", "", "a"),
        row("t5", "👍", "", "a"),
    ];
    let rows = [
        row("1", "C", "", "a"),
        row("2", "5", "", "a"),
        row("3", "50", "", "a"),
        row("4", "!", "", "a"),
        row("5", "👎", "", "a"),
        row("6", "c#", "", "a"),
    ];
    assert_eq!(
        reasons(&rows, &test),
        [("6".into(), Removal::Leaked, Some("t1".into()))]
    );
}

#[test]
fn a_text_without_spaces_between_words_has_words_all_the_same() {
    let test = [row("t1", "我想知道我的新银行卡什么时候能寄到", "", "a")];
    let rows = [
        row("1", "请问我想知道我的新银行卡什么时候能寄到", "", "a"),
        row("2", "我想取消我的银行卡", "", "a"),
    ];
    assert_eq!(
        reasons(&rows, &test),
        [("1".into(), Removal::Leaked, Some("t1".into()))]
    );
}

#[test]
fn of_equal_rows_the_majority_decides_and_a_tie_teaches_nothing() {
    let rows = [
        row("1", "hello", "", "b"),
        row("2", "Hello!", "", "a"),
        row("3", "hello", "", "a"),
        row("4", "good bye", "", "a"),
        row("5", "Good bye", "", "b"),
    ];
    let (examples, curation) = curate(&task(), &rows, None, &[]).unwrap();
    let kept: Vec<(&str, &str)> = examples
        .iter()
        .map(|row| (row.id.as_str(), row.answer.as_str()))
        .collect();
    assert_eq!(kept, [("2", "a")]);
    let removed: Vec<(&str, Removal, Option<&str>)> = curation
        .removed_rows
        .iter()
        .map(|row| (row.id.as_str(), row.reason, row.repeats.as_deref()))
        .collect();
    assert_eq!(
        removed,
        [
            ("1", Removal::Conflict, Some("2")),
            ("3", Removal::Duplicate, Some("2")),
            ("4", Removal::Conflict, Some("5")),
            ("5", Removal::Conflict, Some("4")),
        ]
    );
    assert_eq!(
        curation.removed_rows[0].detail.as_deref(),
        Some("rows by answer: `a` 2, `b` 1")
    );
}

#[test]
fn a_shared_text_is_listed_with_what_was_done_about_it() {
    let test = [
        row("t1", "13", "time", "a"),
        row("t2", "Yes.", "", "a"),
        row("t3", "alone", "", "a"),
        row("t4", "six", "people", "a"),
    ];
    let rows = [
        row("1", "13", "people", "a"),
        row("2", "13", "time", "a"),
        row("3", "yes", "", "a"),
        row("4", "YES.", "", "b"),
        row("5", "SIX", "time", "a"),
    ];
    let (_, curation) = curate(&task(), &rows, None, &test).unwrap();
    let listed = |entry: &SharedText| {
        (
            entry.eval_id.clone(),
            entry.how.clone(),
            entry.removed.ids.clone(),
            entry.kept.ids.clone(),
        )
    };
    let ids = |ids: &[&str]| -> Vec<String> { ids.iter().map(|id| (*id).to_owned()).collect() };
    assert_eq!(
        curation.shared_texts.iter().map(listed).collect::<Vec<_>>(),
        [
            ("t1".into(), "equal".into(), ids(&["2"]), ids(&["1"])),
            (
                "t2".into(),
                "equal but for case and white space".into(),
                ids(&["3", "4"]),
                ids(&[])
            ),
            (
                "t4".into(),
                "equal but for case and white space".into(),
                ids(&[]),
                ids(&["5"])
            ),
        ]
    );
    assert!(curation.shared_texts[2].why.starts_with("kept:"));
}

#[test]
fn repeats_within_the_test_rows_are_listed_with_their_answers() {
    let test = [
        row(
            "t1",
            "where is the parcel that I ordered last week",
            "",
            "a",
        ),
        row("t2", "ok", "", "a"),
        row("t3", "OK", "", "b"),
        row("t4", "ok", "time", "a"),
        row(
            "t5",
            "so where is the parcel that I ordered last week",
            "",
            "a",
        ),
    ];
    let (_, curation) = curate(&task(), &[], None, &test).unwrap();
    let listed: Vec<(&str, &str, bool)> = curation
        .eval_duplicates
        .iter()
        .map(|row| (row.id.as_str(), row.of.as_str(), row.answers.is_some()))
        .collect();
    assert_eq!(listed, [("t3", "t2", true), ("t5", "t1", false)]);
    assert!(
        curation.eval_duplicates[1]
            .how
            .starts_with("near duplicate: 0.8")
    );
}

#[test]
fn near_duplicates_within_the_training_rows_stay_and_their_conflicts_are_listed() {
    let rows = [
        row("1", "where is the parcel that I ordered last week", "", "a"),
        row(
            "2",
            "so where is the parcel that I ordered last week",
            "",
            "a",
        ),
        row(
            "3",
            "where is the parcel that I ordered last week please",
            "",
            "b",
        ),
    ];
    let (examples, curation) = curate(&task(), &rows, None, &[]).unwrap();
    assert_eq!(examples.len(), 3);
    assert_eq!(curation.near_duplicates_kept, 1);
    let conflict = &curation.near_conflicts[0];
    assert_eq!((conflict.id.as_str(), conflict.of.as_str()), ("3", "1"));
    assert_eq!(conflict.answers, Some(("b".into(), "a".into())));
}

#[test]
fn an_example_that_repeats_one_set_apart_is_taken_out() {
    let example = |id: &str, text: &str| Example {
        id: id.into(),
        fields: json!({"text": text, "asked": ""})
            .as_object()
            .unwrap()
            .clone(),
        answer: "a".into(),
        token_logprobs: None,
    };
    let apart = [example("c", "where is the parcel that I ordered last week")];
    let rest = vec![
        example("1", "so where is the parcel that I ordered last week"),
        example("2", "where is my card"),
    ];
    let left = without_repeats_of(&task(), rest, &apart).unwrap();
    let ids: Vec<&str> = left.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["2"]);
}

#[test]
fn words_taken_from_equal_texts_are_one_answer() {
    let task = Task::new(TaskDefinition {
        kind: TaskKind::Extract,
        schema: Some(json!({"type": "object", "properties": {"date": {"type": "string"}}})),
        labels: Vec::new(),
        ..task().definition().clone()
    })
    .unwrap();
    let rows = [
        row("1", "In 6 days, please", "", r#"{"date":"In 6 days"}"#),
        row("2", "in 6 days please", "", r#"{"date":"in 6 days"}"#),
        row("3", "in 6 days please!", "", "{}"),
    ];
    let (examples, curation) = curate(&task, &rows, None, &[]).unwrap();
    assert_eq!(examples[0].id, "1");
    assert_eq!(
        curation.removed,
        BTreeMap::from([(Removal::Duplicate, 1), (Removal::Conflict, 1)])
    );
}

/// A hundred thousand made-up rows; how long it takes is printed, for a person to judge.
#[test]
#[ignore = "a measurement: takes some seconds, and time is no test"]
#[expect(
    clippy::print_stdout,
    reason = "what was measured is for a person to read"
)]
fn a_hundred_thousand_rows() {
    let openings = [
        "hello there",
        "hi, I would like to know",
        "could you please tell me",
        "good morning",
    ];
    let middles = [
        "where is the parcel that I ordered",
        "how do I change the address of my account",
        "what does it cost to send money to",
        "why was my card declined when I paid for",
    ];
    let text = |index: usize| {
        let (a, b) = (index * 7919 % 1009, index * 104_729 % 99_991);
        format!(
            "{} {} item {a} number {b} of {}, thank you very much",
            openings[index % 4],
            middles[index / 4 % 4],
            index % 5000,
        )
    };
    // Every tenth row says an earlier one again, and three words more.
    let rows: Vec<Row> = (0..100_000usize)
        .map(|index| {
            let text = if index % 10 == 9 {
                format!("{} and have a nice day", text(index / 2))
            } else {
                text(index)
            };
            row(&index.to_string(), &text, "", "a")
        })
        .collect();
    let (train, test) = rows.split_at(90_000);
    let started = std::time::Instant::now();
    let (_, curation) = curate(&task(), train, None, test).unwrap();
    println!(
        "{} rows: {:.1} s; removed {:?}, near duplicates kept {}",
        rows.len(),
        started.elapsed().as_secs_f64(),
        curation.removed,
        curation.near_duplicates_kept
    );
}
