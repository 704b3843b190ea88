use std::collections::BTreeMap;

use crate::{
    Aggregate, Direction, IntervalMethod, Score, ScoredRow, Settings, Unit, aggregate_scores,
    stats::wilson,
};

fn rows(scores: &[Option<f64>]) -> Vec<ScoredRow> {
    scores
        .iter()
        .enumerate()
        .map(|(row, score)| ScoredRow {
            id: format!("{row:03}"),
            score: score.map_or_else(|| Score::unscored("the judge was silent"), Score::Value),
        })
        .collect()
}

fn of(unit: Unit, rows: &[ScoredRow], groups: &BTreeMap<String, String>) -> Aggregate {
    let settings = Settings {
        draws: 200,
        ..Settings::default()
    };
    aggregate_scores("judge", unit, Direction::Higher, rows, groups, &settings)
}

#[test]
fn shares_get_wilson_and_means_a_bootstrap() {
    let scores: Vec<Option<f64>> = (0..40)
        .map(|row| Some(f64::from(u8::from(row % 4 == 0))))
        .collect();
    let rows = rows(&scores);
    let none = BTreeMap::new();
    let share = of(Unit::Share, &rows, &none);
    assert_eq!((share.n, share.value), (40, Some(0.25)));
    assert_eq!(share.interval, wilson(10, 40, 0.95));
    let mean = of(Unit::Score0To1, &rows, &none);
    assert_eq!(mean.value, Some(0.25));
    assert_eq!(
        mean.interval.unwrap().method,
        IntervalMethod::BootstrapBca,
        "a mean that happens to be of zeros and ones is no share"
    );
}

#[test]
fn rows_of_one_group_widen_the_interval() {
    // Ten groups of eight rows, all right or all wrong together.
    let scores: Vec<Option<f64>> = (0..80)
        .map(|row| Some(f64::from(u8::from(row / 8 % 2 == 0))))
        .collect();
    let rows = rows(&scores);
    let groups: BTreeMap<String, String> = rows
        .iter()
        .enumerate()
        .map(|(place, row)| (row.id.clone(), (place / 8).to_string()))
        .collect();
    let alone = of(Unit::Share, &rows, &BTreeMap::new());
    let together = of(Unit::Share, &rows, &groups);
    assert_eq!((alone.value, together.value), (Some(0.5), Some(0.5)));
    let width = |aggregate: &Aggregate| {
        let interval = aggregate.interval.unwrap();
        interval.high - interval.low
    };
    assert!(width(&together) > 2.0 * width(&alone));
}

#[test]
fn what_is_unscored_or_no_number_is_left_out_and_said() {
    let found = of(
        Unit::Points,
        &rows(&[Some(3.0), None, Some(f64::NAN), Some(5.0), None]),
        &BTreeMap::new(),
    );
    assert_eq!((found.n, found.unscored, found.value), (2, 3, Some(4.0)));
    assert_eq!(found.unscored_reasons["the judge was silent"], 2);
    let nothing = of(Unit::Share, &rows(&[None]), &BTreeMap::new());
    assert_eq!(
        (nothing.n, nothing.unscored, nothing.value, nothing.interval),
        (0, 1, None, None)
    );
}

#[test]
fn no_interval_reaches_beyond_what_is_possible_nor_is_a_point() {
    // Few rows that matter, near the end of the scale: a steadied bootstrap would reach past it.
    let near: Vec<Option<f64>> = (0..12)
        .map(|row| Some(if row < 2 { 0.4 } else { 1.0 }))
        .collect();
    let found = of(Unit::Score0To1, &rows(&near), &BTreeMap::new());
    let interval = found.interval.unwrap();
    assert!(interval.low > 0.4 && interval.high <= 1.0, "{interval:?}");
    // All alike: six full scores leave much open, by the exact bound of a share.
    let alike = of(
        Unit::Score0To100,
        &rows(&[Some(100.0); 6]),
        &BTreeMap::new(),
    );
    let interval = alike.interval.unwrap();
    assert!((interval.low - 100.0 * 0.025_f64.powf(1.0 / 6.0)).abs() < 1e-9);
    assert_eq!(
        (interval.high, interval.method),
        (100.0, crate::IntervalMethod::ClopperPearson)
    );
    // On a scale of the scorer's own nothing can be said.
    let own = of(Unit::Points, &rows(&[Some(3.0); 6]), &BTreeMap::new());
    assert_eq!(own.interval, None);
}
