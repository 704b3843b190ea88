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
