//! What holds for every metric, whatever the rows are.

use distill_chat::TaskKind;
use proptest::prelude::*;

use super::{replies, scorer, settings, task};
use crate::{METRICS, Metric, Sample, Settings, aggregate, compare_corpus};

/// Rows as numbers: reply (past the end: nothing arrived), reference (past the end: none), group.
type Rows = Vec<(usize, usize, usize)>;

fn rows() -> impl Strategy<Value = Rows> {
    proptest::collection::vec((0_usize..8, 0_usize..8, 0_usize..6), 0..24)
}

fn samples(metric: &Metric, kind: TaskKind, rows: &Rows) -> Vec<Sample> {
    let (task, replies) = (task(kind), replies(metric, kind));
    rows.iter()
        .enumerate()
        .map(|(row, (reply, gold, group))| {
            let reply = replies.get(*reply).copied().ok_or("timed out");
            let gold = replies.get(*gold).copied();
            Sample::read(row.to_string(), &task, reply, gold)
                .with_group((*group < 3).then(|| group.to_string()))
        })
        .collect()
}

/// Each metric with each kind of task it has a meaning for.
fn every_metric() -> impl Iterator<Item = (&'static Metric, TaskKind)> {
    METRICS
        .iter()
        .flat_map(|metric| metric.kinds.iter().map(|kind| (*metric, *kind)))
}

fn few_draws() -> Settings {
    Settings {
        draws: 40,
        ..settings()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_rows_changes_nothing(rows in rows(), turn in 0_usize..24) {
        for (metric, kind) in every_metric() {
            let (scorer, task) = (scorer(metric), task(kind));
            let samples = samples(metric, kind, &rows);
            let mut turned = samples.clone();
            turned.reverse();
            let len = turned.len().max(1);
            turned.rotate_left(turn % len);
            let found = aggregate(&scorer, &samples, &task, &few_draws());
            let again = aggregate(&scorer, &turned, &task, &few_draws());
            prop_assert_eq!(found.value.map(f64::to_bits), again.value.map(f64::to_bits));
            prop_assert_eq!(&found, &again, "{}", metric.name);
            let comparison =
                compare_corpus(&scorer, &samples, &turned, &task, &few_draws()).unwrap();
            prop_assert_eq!(comparison.n, found.n);
            prop_assert_eq!(comparison.candidate, found.value);
            prop_assert_eq!(comparison.difference, found.value.map(|_| 0.0));
        }
    }

    #[test]
    fn rows_that_were_not_answered_count_as_unscored_and_never_as_zero(
        rows in rows(),
        missing in 1_usize..9,
    ) {
        for (metric, kind) in every_metric() {
            let (scorer, task) = (scorer(metric), task(kind));
            let mut samples = samples(metric, kind, &rows);
            let before = aggregate(&scorer, &samples, &task, &few_draws());
            let reference = replies(metric, kind)[0];
            samples.extend((0..missing).map(|row| {
                let id = format!("missing {row}");
                Sample::read(id, &task, Err("the line broke"), Some(reference))
            }));
            let after = aggregate(&scorer, &samples, &task, &few_draws());
            prop_assert_eq!(after.value.map(f64::to_bits), before.value.map(f64::to_bits));
            prop_assert_eq!(after.interval, before.interval, "{}", metric.name);
            prop_assert_eq!(after.n, before.n);
            prop_assert_eq!(after.unscored, before.unscored + missing);
            prop_assert_eq!(after.unscored_reasons["the line broke"], missing);
        }
    }

    #[test]
    fn every_row_is_counted_once_and_nothing_scored_has_no_value(rows in rows()) {
        for (metric, kind) in every_metric() {
            let (scorer, task) = (scorer(metric), task(kind));
            let samples = samples(metric, kind, &rows);
            let found = aggregate(&scorer, &samples, &task, &few_draws());
            prop_assert_eq!(found.n + found.unscored, samples.len());
            prop_assert_eq!(found.unscored, found.unscored_reasons.values().sum::<usize>());
            if found.n == 0 {
                prop_assert_eq!((found.value, found.interval), (None, None));
            }
            if let Some(scores) = scorer.score_all(&samples, &task) {
                let scored = scores.iter().filter(|row| row.score.value().is_some()).count();
                prop_assert_eq!(found.n, scored);
                prop_assert_eq!(found.value.is_none(), scored == 0);
            }
            if let (Some(value), Some(interval)) = (found.value, found.interval) {
                prop_assert!(value.is_finite() && interval.low <= interval.high, "{}", metric.name);
            }
        }
    }
}
