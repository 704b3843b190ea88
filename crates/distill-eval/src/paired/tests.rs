use super::*;

fn rows(scores: &[(&str, Option<f64>)]) -> Vec<ScoredRow> {
    scores
        .iter()
        .map(|(id, score)| ScoredRow {
            id: (*id).to_owned(),
            score: score.map_or_else(|| Score::unscored("timed out"), Score::Value),
        })
        .collect()
}

#[test]
fn pairs_are_joined_by_id_and_unscored_ones_are_left_out() {
    let candidate = rows(&[
        ("a", Some(1.0)),
        ("b", Some(0.0)),
        ("c", Some(1.0)),
        ("d", None),
    ]);
    let baseline = rows(&[
        ("d", Some(1.0)),
        ("c", Some(0.0)),
        ("b", Some(0.0)),
        ("a", Some(1.0)),
    ]);
    let found = compare(&candidate, &baseline, 0.95).unwrap();
    let table = PairedTable {
        both: 1,
        only_candidate: 1,
        only_baseline: 0,
        neither: 1,
    };
    assert_eq!((found.table, found.n, found.left_out), (Some(table), 3, 1));
    assert_eq!(
        (found.candidate, found.baseline),
        (Some(2.0 / 3.0), Some(1.0 / 3.0))
    );
    let none = compare(&rows(&[("a", None)]), &rows(&[("a", Some(1.0))]), 0.95).unwrap();
    assert_eq!((none.n, none.difference, none.mcnemar_p), (0, None, None));
}

#[test]
fn different_rows_are_an_error_and_not_a_smaller_table() {
    let candidate = rows(&[("a", Some(1.0)), ("b", Some(0.0))]);
    assert_eq!(
        compare(&candidate, &rows(&[("a", Some(1.0))]), 0.95),
        Err(CompareError::Rows {
            only_candidate: 1,
            only_baseline: 0,
            example: "b".into()
        })
    );
    let twice = rows(&[("a", Some(1.0)), ("a", Some(0.0))]);
    assert_eq!(
        compare(&twice, &candidate, 0.95),
        Err(CompareError::Duplicate { id: "a".into() })
    );
    let half = rows(&[("a", Some(0.5)), ("b", Some(1.0))]);
    assert!(matches!(
        compare(&half, &candidate, 0.95),
        Err(CompareError::NotRightOrWrong { .. })
    ));
}

use proptest::prelude::*;

use crate::Settings;

fn few_draws() -> Settings {
    Settings {
        draws: 50,
        ..Settings::default()
    }
}

/// The scores of one row on both sides; none where it was not scored.
type Pair = (Option<u8>, Option<u8>);

proptest! {
    #[test]
    fn the_order_of_the_rows_changes_no_comparison(
        scores in proptest::collection::vec((proptest::option::of(0_u8..5), proptest::option::of(0_u8..5)), 0..40),
        grouped in any::<bool>(),
        turns in (0_usize..40, 0_usize..40),
    ) {
        let side = |of: fn(&Pair) -> Option<u8>, right_only: bool| -> Vec<ScoredRow> {
            scores
                .iter()
                .enumerate()
                .map(|(row, pair)| ScoredRow {
                    id: format!("{row:03}"),
                    score: of(pair).map_or_else(|| Score::unscored("no answer"), |value| {
                        let value = if right_only { value % 2 } else { value };
                        Score::Value(f64::from(value))
                    }),
                })
                .collect()
        };
        let groups: BTreeMap<String, String> = scores
            .iter()
            .enumerate()
            .filter(|_| grouped)
            .map(|(row, _)| (format!("{row:03}"), (row / 3).to_string()))
            .collect();
        let turned = |mut rows: Vec<ScoredRow>, turn: usize| {
            let length = rows.len().max(1);
            rows.rotate_left(turn % length);
            rows
        };
        let scored = scores.iter().filter(|(first, second)| first.is_some() && second.is_some()).count();
        for right_only in [true, false] {
            let (first, second) = (side(|pair| pair.0, right_only), side(|pair| pair.1, right_only));
            let (other, another) = (turned(first.clone(), turns.0), turned(second.clone(), turns.1));
            let compared = |first: &[ScoredRow], second: &[ScoredRow]| {
                compare_values(first, second, Scale::default(), &groups, &few_draws()).unwrap()
            };
            let found = compared(&first, &second);
            prop_assert_eq!(&found, &compared(&other, &another));
            prop_assert_eq!((found.n, found.left_out), (scored, scores.len() - scored));
            // Nothing scored is nothing measured, and no zero.
            prop_assert_eq!(found.difference.is_none(), scored == 0);
            prop_assert_eq!(found.interval.is_none(), scored == 0);
            if right_only {
                prop_assert_eq!(compare(&first, &second, 0.95), compare(&other, &another, 0.95));
            }
        }
    }
}

#[test]
fn percentiles_are_compared_on_the_rows_that_both_sides_measured() {
    let side = |slower: f64, rows: std::ops::Range<u32>| -> BTreeMap<String, f64> {
        rows.map(|row| (format!("{row:03}"), f64::from(row % 50) + slower))
            .collect()
    };
    let (first, second) = (side(10.0, 0..200), side(0.0, 20..220));
    let found = compare_percentiles(&first, &second, 0.95, &BTreeMap::new(), &few_draws()).unwrap();
    assert_eq!((found.n, found.left_out), (180, 40));
    assert_eq!(found.metric, "p95");
    assert!((found.difference.unwrap() - 10.0).abs() < 1e-9);
    let interval = found.interval.unwrap();
    assert!(interval.low <= 10.0 && interval.high >= 10.0);
    assert!(compare_percentiles(&first, &second, 95.0, &BTreeMap::new(), &few_draws()).is_err());
    let none = compare_percentiles(
        &first,
        &BTreeMap::new(),
        0.95,
        &BTreeMap::new(),
        &few_draws(),
    )
    .unwrap();
    assert_eq!((none.n, none.difference, none.interval), (0, None, None));
}

/// One way in for every rule: a table, the mean of scores, a value of the whole set.
#[test]
fn any_scorer_compares_two_sides() {
    use distill_chat::{Task, TaskDefinition, TaskKind};
    let task = Task::new(TaskDefinition {
        kind: TaskKind::Classify,
        system: None,
        prompt: "{{ text }}".into(),
        labels: vec!["a".to_owned(), "b".to_owned()],
        schema: None,
    })
    .unwrap();
    let side = |wrong_each: usize, groups: bool| -> Vec<Sample> {
        (0..120)
            .map(|row| {
                let gold = if row % 3 == 0 { "b" } else { "a" };
                let other = if gold == "a" { "b" } else { "a" };
                let reply = if row % wrong_each == 0 { other } else { gold };
                Sample::read(format!("{row:03}"), &task, Ok(reply), Some(gold))
                    .with_group(groups.then(|| (row / 4).to_string()))
            })
            .collect()
    };
    let compared = |name: &str, groups: bool| {
        let scorer = Scorer::parse(name, &serde_json::Map::new()).unwrap();
        compare_samples(
            &scorer,
            &side(5, groups),
            &side(10, groups),
            &task,
            &few_draws(),
        )
        .unwrap()
    };
    let table = compared("accuracy", false);
    assert_eq!(table.table.map(|table| table.only_baseline), Some(12));
    let clustered = compared("accuracy", true);
    assert_eq!((clustered.table, clustered.groups), (None, Some(30)));
    let apart = clustered.difference.unwrap() - table.difference.unwrap();
    assert!(apart.abs() < 1e-12);
    let corpus = compared("macro_f1", false);
    assert_eq!((corpus.table, corpus.n, corpus.groups), (None, 120, None));
    let interval = corpus.interval.unwrap();
    let difference = corpus.difference.unwrap();
    assert!(interval.low < difference && difference < interval.high);
    assert!(corpus.noninferiority_p(0.05).unwrap() > corpus.noninferiority_p(0.3).unwrap());
}

/// A judge that favours the candidate moves the corrected difference by nothing but chance.
#[test]
fn people_correct_a_judge_that_favours_a_side() {
    let row = |row: usize, value: f64| ScoredRow {
        id: format!("{row:04}"),
        score: Score::Value(value),
    };
    let people = |right: fn(usize) -> bool, rows: usize| -> BTreeMap<String, f64> {
        (0..rows)
            .map(|row| (format!("{row:04}"), f64::from(u8::from(right(row)))))
            .collect()
    };
    let candidate: fn(usize) -> bool = |row| row % 5 != 0;
    let baseline: fn(usize) -> bool = |row| row % 10 != 0;
    // The judge takes half of the candidate's wrong answers for right.
    let lenient: Vec<ScoredRow> = (0..1000)
        .map(|index| {
            row(
                index,
                f64::from(u8::from(candidate(index) || index % 2 == 0)),
            )
        })
        .collect();
    let fair: Vec<ScoredRow> = (0..1000)
        .map(|index| row(index, f64::from(u8::from(baseline(index)))))
        .collect();
    let compared = |rows: usize| {
        let (first, second) = (people(candidate, rows), people(baseline, rows));
        compare_judged(
            JudgedSide {
                judge: &lenient,
                human: &first,
            },
            JudgedSide {
                judge: &fair,
                human: &second,
            },
            Scale::default(),
            &few_draws(),
        )
        .unwrap()
    };
    let found = compared(300);
    assert_eq!((found.n, found.left_out), (1000, 0));
    // In truth 80% against 90%; by the judge alone 90% against 90%.
    assert!((found.difference.unwrap() + 0.1).abs() < 0.01, "{found:?}");
    assert!((found.candidate.unwrap() - found.baseline.unwrap() + 0.1).abs() < 0.01);
    let interval = found.interval.unwrap();
    assert!(interval.low < -0.1 && interval.high > -0.1 && interval.high < 0.0);
    assert!(found.noninferiority_p(0.02).unwrap() > 0.9);
    assert!(found.noninferiority_p(0.2).unwrap() < 0.025);
    // Only so corrected may a judge replace anybody.
    assert!(found.is_corrected());
    let decided = |comparison: &Comparison, margin| {
        crate::decide(&crate::DecisionInput {
            candidate: "nano",
            comparison: Some(comparison),
            margin,
            confidence: 0.95,
            reference: crate::Reference::CalibratedJudge,
            ..crate::DecisionInput::default()
        })
        .decision
    };
    assert_eq!(decided(&found, 0.2), crate::Decision::Replace);
    assert_eq!(decided(&found, 0.02), crate::Decision::KeepTeacher);
    let raw = compare(&lenient, &fair, 0.95).unwrap();
    assert!(!decided(&raw, 0.2).is_met());
    // Where people judged all rows, theirs is the difference.
    let all = compared(1000);
    assert!((all.difference.unwrap() + 0.1).abs() < 1e-12);
    let whole = all.interval.unwrap();
    assert!(whole.high - whole.low < interval.high - interval.low);
    // One row that people judged corrects nothing.
    let none = compared(1);
    assert_eq!(
        (none.n, none.interval, none.noninferiority_p(0.2)),
        (1000, None, None)
    );
}

#[test]
fn a_score_that_is_not_a_number_is_left_out() {
    let side = |first: f64| -> Vec<ScoredRow> {
        (0..30)
            .map(|index| ScoredRow {
                id: format!("r{index:02}"),
                score: Score::Value(if index == 0 {
                    first
                } else {
                    f64::from(index % 3) / 2.0
                }),
            })
            .collect()
    };
    let found = compare_values(
        &side(f64::NAN),
        &side(1.0),
        Scale::default(),
        &BTreeMap::new(),
        &Settings::default(),
    )
    .unwrap();
    assert_eq!((found.n, found.left_out), (29, 1));
    assert_eq!(found.difference, Some(0.0));
    assert!(found.interval.unwrap().low.is_finite());
}
