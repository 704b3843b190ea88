//! Nested parts, and the figures of what was learned from them.

use super::*;
use crate::compare::tests::{rows, said, settings, student};

fn examples(count: usize) -> Vec<Example> {
    (0..count)
        .map(|index| Example {
            id: index.to_string(),
            fields: Map::new(),
            answer: ["a", "b"][index % 2].to_owned(),
            token_logprobs: None,
        })
        .collect()
}

#[test]
fn a_smaller_part_is_within_a_larger_one() {
    let all = examples(200);
    let ids =
        |share| -> Vec<String> { part(&all, share, 3).into_iter().map(|row| row.id).collect() };
    let (quarter, half) = (ids(0.25), ids(0.5));
    assert_eq!((quarter.len(), half.len()), (50, 100));
    assert!(quarter.iter().all(|id| half.contains(id)));
    assert_eq!(ids(0.25), quarter);
    let other: Vec<String> = part(&all, 0.25, 4).into_iter().map(|row| row.id).collect();
    assert_ne!(other, quarter);
}

#[test]
fn too_few_rows_or_one_answer_alone_cannot_be_learned() {
    assert!(can_be_learned(&examples(10)));
    assert!(!can_be_learned(&examples(9)));
    let same: Vec<Example> = examples(40).into_iter().step_by(2).collect();
    assert!(!can_be_learned(&same));
}

#[test]
fn every_size_has_its_figure_and_one_that_was_not_trained_has_none() {
    let figures = CurveFigures {
        compare: settings(&[]),
        student: "nano".into(),
        simulated: true,
    };
    assert_eq!(student(), Arm::Student("nano".into()));
    let evidence = Evidence {
        rows: rows(200),
        ..Evidence::default()
    };
    let right = |share: usize| said(200, |index| (index % 100 < share, -0.1)).0;
    let run = |share, train_rows, predictions| CurveRun {
        share,
        train_rows,
        predictions,
    };
    let facts = figures
        .facts(
            evidence,
            vec![
                run(0.01, 4, Vec::new()),
                run(0.25, 100, right(60)),
                run(0.5, 200, right(75)),
            ],
            (400, right(82)),
        )
        .unwrap();
    let points: Vec<(usize, Option<f64>, usize)> = facts
        .points
        .iter()
        .map(|point| (point.train_rows, point.value, point.n))
        .collect();
    assert_eq!(
        points,
        [
            (4, None, 0),
            (100, Some(0.60), 200),
            (200, Some(0.75), 200),
            (400, Some(0.82), 200)
        ]
    );
    assert!(facts.simulated);
    assert_eq!(facts.metric, "accuracy");
    let interval = facts.points[1].interval.unwrap();
    assert!(interval.low < 0.60 && interval.high > 0.60);
    assert_eq!(facts.points[0].interval, None);
}

#[test]
fn the_key_leaves_margins_and_prices_out() {
    let figures = |settings: Compare| CurveFigures {
        compare: settings,
        student: "nano".into(),
        simulated: false,
    };
    let one = settings(&[]);
    let mut other = one.clone();
    other.accept.margin = 0.2;
    other.cost.usd_per_hour = 9.0;
    assert_eq!(figures(one.clone()).settings(), figures(other).settings());
    let mut metric = one.clone();
    metric.metric = Some("exact_match".into());
    assert_ne!(figures(one).settings(), figures(metric).settings());
}
