use proptest::prelude::*;
use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::Value;

use super::*;
use crate::PairedTable;

mod oracles;

/// What public implementations say; `scripts/oracles/intervals.py` makes the file.
fn expected(part: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../../fixtures/intervals.json")).unwrap();
    all[part].as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn size(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[track_caller]
fn close(found: f64, wanted: f64, case: &Value) {
    assert!(
        (found - wanted).abs() <= 1e-9,
        "{found} and {wanted} in {case}"
    );
}

fn table(counts: [usize; 4]) -> PairedTable {
    let [both, only_candidate, only_baseline, neither] = counts;
    PairedTable {
        both,
        only_candidate,
        only_baseline,
        neither,
    }
}

#[test]
fn wilson_agrees_with_statsmodels() {
    for case in expected("wilson") {
        let found = wilson(
            size(&case["right"]),
            size(&case["n"]),
            number(&case["confidence"]),
        )
        .unwrap();
        close(found.low, number(&case["low"]), &case);
        close(found.high, number(&case["high"]), &case);
    }
}

/// R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
#[test]
fn wilson_gives_the_published_examples() {
    for (right, n, low, high) in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ] {
        let found = wilson(right, n, 0.95).unwrap();
        assert!((found.low - low).abs() < 5e-5 && (found.high - high).abs() < 5e-5);
    }
    assert_eq!(wilson(0, 0, 0.95), None);
}

#[test]
fn mcnemar_agrees_with_statsmodels() {
    for case in expected("mcnemar") {
        let (b, c) = (size(&case["b"]), size(&case["c"]));
        close(mcnemar_exact(b, c), number(&case["exact"]), &case);
        close(mcnemar_mid_p(b, c), number(&case["mid_p"]), &case);
    }
}

#[test]
fn tango_agrees_with_a_search_for_the_restricted_estimate() {
    for case in expected("tango") {
        let counts = numbers(&case["table"]);
        let table = table([0, 1, 2, 3].map(|cell| counts[cell] as usize));
        let found = tango(&table, number(&case["confidence"])).unwrap();
        close(found.low, number(&case["low"]), &case);
        close(found.high, number(&case["high"]), &case);
        close(
            noninferiority_p(&table, 0.05).unwrap(),
            number(&case["p_at_margin_0.05"]),
            &case,
        );
    }
}

/// M. W. Fagerland, S. Lydersen, P. Laake, Statistics in Medicine 33 (2014), 2850-2875, tables II
/// and V: airway hyper-responsiveness before and after stem cell transplantation.
#[test]
fn tango_gives_the_published_example() {
    let found = tango(&table([1, 1, 7, 12]), 0.95).unwrap();
    assert!((found.low - -0.517).abs() < 5e-4 && (found.high - -0.026).abs() < 5e-4);
}

#[test]
fn tango_holds_at_the_edges() {
    assert_eq!(tango(&table([0; 4]), 0.95), None);
    // Without a discordant pair the ends are z² / (n + z²), by hand from the score equation.
    let z = critical(0.95);
    let found = tango(&table([30, 0, 0, 10]), 0.95).unwrap();
    let end = z * z / (40.0 + z * z);
    assert!((found.high - end).abs() < 1e-12 && (found.low + end).abs() < 1e-12);
    // With the candidate alone right on all of them the lower end is (n − z²) / (n + z²).
    let all = tango(&table([0, 25, 0, 0]), 0.95).unwrap();
    let end = (25.0 - z * z) / (25.0 + z * z);
    assert!((all.high - 1.0).abs() < 1e-12 && (all.low - end).abs() < 1e-12);
}

#[test]
fn holm_agrees_with_statsmodels() {
    for case in expected("holm") {
        let found = holm(&numbers(&case["p"]));
        let wanted = numbers(&case["adjusted"]);
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.into_iter().zip(wanted) {
            close(found, wanted, &case);
        }
    }
    assert!(holm(&[]).is_empty());
}

#[test]
fn quantiles_agree_with_numpy() {
    for case in expected("quantiles") {
        let found = quantiles(&numbers(&case["values"])).unwrap();
        close(found.p50, number(&case["p50"]), &case);
        close(found.p95, number(&case["p95"]), &case);
        close(found.p99, number(&case["p99"]), &case);
        close(found.mean, number(&case["mean"]), &case);
    }
    assert_eq!(quantiles(&[]), None);
    assert_eq!(quantiles(&[1.0, f64::NAN]), None);
    assert_eq!(quantile(&[1.0, 2.0], 1.5), None);
}

#[test]
fn the_bootstrap_correction_agrees_with_scipy() {
    for case in expected("bca") {
        let found = bootstrap::bca(
            number(&case["estimate"]),
            &numbers(&case["drawn"]),
            &numbers(&case["left_out"]),
            number(&case["confidence"]),
        );
        assert_eq!(found.method, IntervalMethod::BootstrapBca);
        close(found.low, number(&case["low"]), &case);
        close(found.high, number(&case["high"]), &case);
    }
}

/// A share of right answers, as a statistic.
struct Share(Vec<bool>);

impl Statistic for Share {
    fn samples(&self) -> usize {
        self.0.len()
    }

    fn value(&self, weights: &[u32]) -> Option<f64> {
        let sum = |only_right: bool| -> f64 {
            self.0
                .iter()
                .zip(weights)
                .filter(|(right, _)| !only_right || **right)
                .map(|(_, weight)| f64::from(*weight))
                .sum()
        };
        (sum(false) > 0.0).then(|| sum(true) / sum(false))
    }
}

#[test]
fn the_bootstrap_depends_on_its_seed_alone_and_comes_near_wilson() {
    let share = Share((0..400).map(|row| row % 5 != 0).collect());
    let found = bootstrap::interval(&share, 0.95, 4000, 1).unwrap();
    assert_eq!(bootstrap::interval(&share, 0.95, 4000, 1), Some(found));
    assert_ne!(bootstrap::interval(&share, 0.95, 4000, 2), Some(found));
    let wilson = wilson(320, 400, 0.95).unwrap();
    assert!((found.low - wilson.low).abs() < 0.006 && (found.high - wilson.high).abs() < 0.006);
}

#[test]
fn paired_draws_take_the_same_rows_on_both_sides() {
    let first = Share((0..200).map(|row| row % 4 != 0).collect());
    let found = bootstrap::paired_interval(&first, &first, 0.95, 500, 1).unwrap();
    assert_eq!((found.low, found.high), (0.0, 0.0));
    // Nothing varies, so there is nothing to correct: the method says so.
    assert_eq!(found.method, IntervalMethod::BootstrapPercentile);
    assert_eq!(bootstrap::interval(&Share(vec![]), 0.95, 500, 1), None);
}

/// (z₀.₉₇₅ + z₀.₈)² · 0.15 / 0.03² = 1308.1 with the variance at no difference; the restricted
/// variance at the margin asks for a little more.
#[test]
fn required_rows_follow_the_textbook_formula() {
    let rows = required_n(&PowerPlan::noninferiority(0.03, 0.95, 0.15)).unwrap();
    assert!((1308..1400).contains(&rows), "{rows}");
    let half = required_n(&PowerPlan::noninferiority(0.015, 0.95, 0.15)).unwrap();
    assert!((half as f64 / rows as f64 - 4.0).abs() < 0.1);
    let on_the_margin = PowerPlan {
        difference: -0.03,
        ..PowerPlan::noninferiority(0.03, 0.95, 0.15)
    };
    assert_eq!(required_n(&on_the_margin), None);
}

/// The share of drawn tables on which the interval lies above −margin.
fn shown(plan: &PowerPlan, truth: f64, rows: usize, draws: usize) -> f64 {
    let mut generator = ChaCha8Rng::seed_from_u64(23);
    let only_candidate = f64::midpoint(plan.discordance, truth);
    let mut passed = 0;
    for _ in 0..draws {
        let mut table = PairedTable::default();
        for _ in 0..rows {
            let draw: f64 = generator.random();
            if draw < only_candidate {
                table.only_candidate += 1;
            } else if draw < plan.discordance {
                table.only_baseline += 1;
            } else {
                table.both += 1;
            }
        }
        let level = (1.0 - plan.confidence) / 2.0;
        passed += usize::from(noninferiority_p(&table, plan.margin).unwrap() < level);
    }
    passed as f64 / draws as f64
}

#[test]
fn the_printed_number_of_rows_gives_the_promised_power_and_error() {
    let plan = PowerPlan::noninferiority(0.06, 0.95, 0.2);
    let rows = required_n(&plan).unwrap();
    let power = shown(&plan, 0.0, rows, 3000);
    assert!(
        (power - plan.power).abs() < 0.03,
        "{power} with {rows} rows"
    );
    let false_claims = shown(&plan, -plan.margin, rows, 3000);
    assert!(false_claims < 0.025 + 0.0075, "{false_claims}");
}

proptest! {
    #[test]
    fn tango_is_an_interval_around_the_difference(a in 0_usize..400, b in 0_usize..60, c in 0_usize..60, d in 0_usize..400, margin in 0.001_f64..0.3) {
        prop_assume!(a + b + c + d > 0);
        let table = table([a, b, c, d]);
        let found = tango(&table, 0.95).unwrap();
        let difference = table.difference().unwrap();
        prop_assert!(-1.0 <= found.low && found.low <= difference + 1e-12);
        prop_assert!(difference <= found.high + 1e-12 && found.high <= 1.0);
        let swapped = tango(&PairedTable { only_candidate: c, only_baseline: b, ..table }, 0.95).unwrap();
        prop_assert!((swapped.low + found.high).abs() < 1e-9 && (swapped.high + found.low).abs() < 1e-9);
        // The test and the interval are one: they decide alike, but for rounding at the bound.
        if (found.low + margin).abs() > 1e-9 {
            prop_assert_eq!(noninferiority_p(&table, margin).unwrap() < 0.025, found.low > -margin);
        }
    }
}
