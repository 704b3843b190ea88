use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{GoldEntry, GoldTable};

/// Four intents; two of them (`arrival` and `delivery`) share most of their words.
fn intents() -> Vec<GoldEntry> {
    let patterns = [
        ("arrival", "when will my new card arrive at home"),
        ("delivery", "how long is the delivery of my new card"),
        ("rate", "what exchange rate applies to euros abroad"),
        ("pin", "i forgot the pin code and got blocked"),
    ];
    (0..400)
        .map(|number| {
            let (answer, pattern) = patterns[number % 4];
            let words: Vec<&str> = pattern.split(' ').collect();
            let skip = number / 4 % words.len();
            let kept: Vec<&str> = words
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != skip)
                .map(|(_, word)| *word)
                .collect();
            GoldEntry {
                prompt: format!("{} {number}", kept.join(" ")),
                answer: answer.to_owned(),
            }
        })
        .collect()
}

fn errors(table: &GoldTable, entries: &[GoldEntry], accuracy: f64) -> Vec<(usize, String)> {
    entries
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| {
            let answer = table.answer(&entry.prompt, accuracy).unwrap();
            (answer != entry.answer).then(|| (index, answer.to_owned()))
        })
        .collect()
}

#[test]
fn the_share_of_errors_is_the_set_one_to_a_row() {
    let entries = intents();
    let table = GoldTable::new(&entries, 7, 1.0).unwrap();
    for (accuracy, expected) in [(1.0, 0), (0.91, 36), (0.5, 200), (0.0, 400)] {
        assert_eq!(
            errors(&table, &entries, accuracy).len(),
            expected,
            "{accuracy}"
        );
    }
}

#[test]
fn a_weaker_model_errs_wherever_a_stronger_one_does() {
    let entries = intents();
    let table = GoldTable::new(&entries, 7, 1.0).unwrap();
    let strong = errors(&table, &entries, 0.95);
    let weak = errors(&table, &entries, 0.8);
    assert!(strong.iter().all(|error| weak.contains(error)));
}

#[test]
fn mistakes_fall_on_classes_that_look_alike() {
    let entries = intents();
    let table = GoldTable::new(&entries, 7, 0.0).unwrap();
    let mut confused: HashMap<(String, String), usize> = HashMap::new();
    for (index, wrong) in errors(&table, &entries, 0.9) {
        *confused
            .entry((entries[index].answer.clone(), wrong))
            .or_default() += 1;
    }
    let alike: usize = confused
        .iter()
        .filter(|((own, wrong), _)| {
            [own.as_str(), wrong.as_str()]
                .iter()
                .all(|class| ["arrival", "delivery"].contains(class))
        })
        .map(|(_, count)| count)
        .sum();
    let all: usize = confused.values().sum();
    assert_eq!(all, 40);
    // By chance alone it would be one in six.
    assert!(alike * 10 >= all * 6, "{confused:?}");
}

#[test]
fn the_table_is_a_function_of_its_seed_and_rows() {
    let entries = intents();
    let all = |seed: u64, entries: &[GoldEntry]| {
        let table = GoldTable::new(entries, seed, 1.0).unwrap();
        intents()
            .iter()
            .map(|entry| table.answer(&entry.prompt, 0.7).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(all(7, &entries), all(7, &entries));
    assert_ne!(all(7, &entries), all(8, &entries));
    let mut shuffled = entries.clone();
    shuffled.reverse();
    assert_eq!(
        all(7, &entries),
        all(7, &shuffled),
        "the order of rows says nothing"
    );
}

#[test]
fn equal_messages_are_one_row_and_unknown_ones_are_none() {
    let entry = |prompt: &str, answer: &str| GoldEntry {
        prompt: prompt.into(),
        answer: answer.into(),
    };
    let table = GoldTable::new(
        &[entry("a", "x"), entry("a ", "y"), entry("b", "y")],
        1,
        1.0,
    )
    .unwrap();
    assert_eq!(table.len(), 2);
    assert_eq!(table.answer("a\n", 1.0), Some("x"));
    assert_eq!(table.answer("c", 1.0), None);
    assert!(GoldTable::new(&[], 1, 1.0).is_err());
    let single = GoldTable::new(&[entry("a", "x")], 1, 1.0).unwrap();
    assert_eq!(single.answer("a", 0.0), Some("unknown"));
}

#[test]
fn wrong_extractions_are_objects_that_differ_from_gold_in_every_way() {
    let objects = [
        r#"{"people":"four","time":"7 pm"}"#,
        r#"{"date":"next friday"}"#,
        "{}",
        r#"{"first_name":"Anna","last_name":"Vega","people":"2"}"#,
    ];
    let texts = [
        "a table for four at 7 pm please",
        "we come next friday in the evening",
        "thank you so much for your help",
        "book it for Anna Vega and 2 people",
    ];
    let entries: Vec<GoldEntry> = (0..200)
        .map(|number| GoldEntry {
            prompt: format!("{} {number}", texts[number % 4]),
            answer: objects[number % 4].to_owned(),
        })
        .collect();
    let table = GoldTable::new(&entries, 7, 1.0).unwrap();
    let mut kinds: HashMap<&str, usize> = HashMap::new();
    for entry in &entries {
        let gold: Map<String, Value> = serde_json::from_str(&entry.answer).unwrap();
        let answer = table.answer(&entry.prompt, 0.0).unwrap();
        let wrong: Map<String, Value> = serde_json::from_str(answer).unwrap();
        assert_ne!(wrong, gold, "{}", entry.prompt);
        assert!(wrong.values().all(Value::is_string));
        let kind = match wrong.len().cmp(&gold.len()) {
            std::cmp::Ordering::Less => "missed",
            std::cmp::Ordering::Greater => "too many",
            std::cmp::Ordering::Equal => {
                let values = |object: &Map<String, Value>| {
                    let mut values: Vec<String> = object.values().map(Value::to_string).collect();
                    values.sort();
                    values
                };
                if values(&wrong) == values(&gold) {
                    "swapped"
                } else {
                    "shifted"
                }
            }
        };
        *kinds.entry(kind).or_default() += 1;
    }
    for kind in ["missed", "too many", "swapped", "shifted"] {
        assert!(
            kinds.get(kind).is_some_and(|count| *count >= 10),
            "{kinds:?}"
        );
    }
}

/// As many different answers as rows: what is written is free text.
fn answers_of_their_own(rows: usize) -> Vec<GoldEntry> {
    (0..rows)
        .map(|number| GoldEntry {
            prompt: format!("question {number}"),
            answer: format!("the answer is {number}"),
        })
        .collect()
}

#[test]
fn free_text_is_mistaken_for_the_answer_of_another_row() {
    for rows in [40, 1200] {
        let entries = answers_of_their_own(rows);
        let table = GoldTable::new(&entries, 7, 1.0).unwrap();
        let wrong = errors(&table, &entries, 0.75);
        assert_eq!(wrong.len(), rows / 4);
        for (_, answer) in wrong {
            assert!(
                entries.iter().any(|entry| entry.answer == answer),
                "{answer}"
            );
        }
    }
}
