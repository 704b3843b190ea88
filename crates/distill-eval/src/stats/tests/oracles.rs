//! Against `fixtures/statistics.json`, which `scripts/oracles/statistics.py` makes.

use super::*;
use crate::cascade::{Calibration, CalibrationPoint};

fn cases(part: &str) -> Vec<Value> {
    let all: Value =
        serde_json::from_str(include_str!("../../../fixtures/statistics.json")).unwrap();
    let cases = all[part].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn sizes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(size).collect()
}

#[test]
fn clopper_pearson_agrees_with_statsmodels_and_scipy() {
    for case in cases("clopper_pearson") {
        let (right, n, confidence) = (
            size(&case["right"]),
            size(&case["n"]),
            number(&case["confidence"]),
        );
        let found = clopper_pearson(right, n, confidence).unwrap();
        close(found.low, number(&case["low"]), &case);
        close(found.high, number(&case["high"]), &case);
        let upper = clopper_pearson_upper(right, n, confidence).unwrap();
        let lower = clopper_pearson_lower(right, n, confidence).unwrap();
        close(upper, number(&case["upper"]), &case);
        close(lower, number(&case["lower"]), &case);
    }
    assert_eq!(clopper_pearson(0, 0, 0.95), None);
    assert_eq!(clopper_pearson(3, 2, 0.95), None);
}

#[test]
fn the_most_successes_are_those_whose_bound_holds() {
    for (n, share, level) in [(59, 0.05, 0.05), (58, 0.05, 0.05), (400, 0.1, 0.01)] {
        let bound = |wrong| clopper_pearson_upper(wrong, n, 1.0 - level).unwrap();
        match most_successes(n, share, level) {
            None => assert!(bound(0) > share),
            Some(most) => assert!(bound(most) <= share && bound(most + 1) > share),
        }
    }
    // (1 − 0.05)^59 < 0.05 < (1 − 0.05)^58.
    assert_eq!(most_successes(59, 0.05, 0.05), Some(0));
    assert_eq!(most_successes(58, 0.05, 0.05), None);
}

/// Relative, since a tail may be of any size; scipy's own digits end near 1e-10 at a million.
#[test]
fn binomial_probabilities_agree_with_scipy() {
    for case in cases("binomial") {
        let (k, n, p) = (size(&case["k"]), size(&case["n"]), number(&case["p"]));
        for (found, wanted) in [
            (binomial::at_most(k, n, p), number(&case["at_most"])),
            (binomial::point(k, n, p), number(&case["point"])),
        ] {
            assert!((found - wanted).abs() <= 1e-9 * wanted, "{found} in {case}");
        }
    }
}

#[test]
fn mcnemar_holds_at_tens_of_thousands_of_pairs() {
    for case in cases("large_mcnemar") {
        let found = mcnemar_exact(size(&case["b"]), size(&case["c"]));
        close(found, number(&case["exact"]), &case);
    }
}

#[test]
fn kappa_agrees_with_statsmodels() {
    for case in cases("kappa") {
        let counts: Vec<Vec<usize>> = case["counts"]
            .as_array()
            .unwrap()
            .iter()
            .map(sizes)
            .collect();
        let found = cohen_kappa_of_counts(&counts, number(&case["confidence"])).unwrap();
        close(found.value.unwrap(), number(&case["kappa"]), &case);
        let interval = found.interval.unwrap();
        close(interval.low, number(&case["low"]), &case);
        close(interval.high, number(&case["high"]), &case);
        let pairs: Vec<(usize, usize)> = (0..counts.len())
            .flat_map(|first| (0..counts.len()).map(move |second| (first, second)))
            .flat_map(|(first, second)| vec![(first, second); counts[first][second]])
            .collect();
        assert_eq!(
            cohen_kappa(&pairs, number(&case["confidence"])),
            Some(found)
        );
    }
    assert_eq!(cohen_kappa::<&str>(&[], 0.95), None);
    let alike = cohen_kappa(&[("yes", "yes"), ("yes", "yes")], 0.95).unwrap();
    assert_eq!((alike.agreement, alike.value), (1.0, None));
}

#[test]
fn the_prediction_powered_mean_agrees_with_its_authors() {
    for case in cases("prediction_powered") {
        let labelled: Vec<(f64, f64)> = numbers(&case["human"])
            .into_iter()
            .zip(numbers(&case["judged"]))
            .collect();
        let tuning = case["fixed"].as_f64().map_or(Tuning::Power, Tuning::Fixed);
        let found = prediction_powered_mean(
            &labelled,
            &numbers(&case["rest"]),
            number(&case["confidence"]),
            tuning,
        )
        .unwrap();
        close(found.value, number(&case["value"]), &case);
        close(found.weight, number(&case["weight"]), &case);
        close(found.interval.low, number(&case["low"]), &case);
        close(found.interval.high, number(&case["high"]), &case);
    }
    assert_eq!(
        prediction_powered_mean(&[(1.0, 1.0)], &[1.0, 0.0], 0.95, Tuning::Power),
        None
    );
    // Agreement on a few rows is no proof of agreement on all.
    let rows: Vec<(f64, f64)> = (0..20)
        .map(|row| f64::from(u8::from(row % 4 != 0)))
        .map(|score| (score, score))
        .collect();
    let many: Vec<f64> = (0..4000)
        .map(|row| f64::from(u8::from(row % 4 != 0)))
        .collect();
    let found = prediction_powered_mean(&rows, &many, 0.95, Tuning::Fixed(1.0)).unwrap();
    assert!(found.interval.high - found.interval.low > 0.1, "{found:?}");
}

#[test]
fn isotonic_regression_agrees_with_scikit_learn() {
    for case in cases("isotonic") {
        let observations: Vec<Weighted> = numbers(&case["x"])
            .into_iter()
            .zip(numbers(&case["y"]))
            .zip(numbers(&case["weights"]))
            .map(|((place, value), weight)| Weighted {
                place,
                value,
                weight,
            })
            .collect();
        let mut calibration = Calibration {
            points: isotonic(&observations)
                .into_iter()
                .map(|(raw, probability)| CalibrationPoint { raw, probability })
                .collect(),
        };
        if observations.iter().all(|one| one.weight <= 1.0) {
            let rows: Vec<(f64, bool)> = observations
                .iter()
                .map(|one| (one.place, one.value > 0.5))
                .collect();
            let fitted = Calibration::fit(&rows).unwrap();
            assert_eq!(fitted, calibration);
            calibration = fitted;
        }
        for (asked, wanted) in numbers(&case["asked"])
            .into_iter()
            .zip(numbers(&case["predicted"]))
            .chain(
                numbers(&case["x"])
                    .into_iter()
                    .zip(numbers(&case["fitted"])),
            )
        {
            close(calibration.probability(asked), wanted, &case);
        }
    }
    assert!(isotonic(&[]).is_empty());
    assert_eq!(Calibration::fit(&[(f64::NAN, true)]), None);
    assert_eq!(Calibration::default().probability(0.4).to_bits(), 0);
}

#[test]
fn the_clustered_paired_bootstrap_agrees_with_scipy() {
    for case in cases("clustered") {
        let names: Vec<String> = sizes(&case["clusters"])
            .iter()
            .map(|cluster| format!("{cluster:04}"))
            .collect();
        let clusters = bootstrap::Clusters::of(names.iter().map(|name| Some(name.as_str())));
        let sides: [Box<dyn Statistic>; 2] = ["first", "second"].map(|side| {
            let values = numbers(&case[side]);
            if case["statistic"] == "p95" {
                Box::new(Percentile::new(values, 0.95).unwrap()) as Box<dyn Statistic>
            } else {
                Box::new(Mean(values))
            }
        });
        let counts: Vec<Vec<u32>> = case["counts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|draw| sizes(draw).into_iter().map(|count| count as u32).collect())
            .collect();
        let drawn = bootstrap::Distribution::of_counts(
            &clusters,
            &|weights| Some(sides[0].value(weights)? - sides[1].value(weights)?),
            &counts,
        )
        .unwrap();
        let mut wanted = numbers(&case["drawn"]);
        wanted.sort_by(f64::total_cmp);
        for (found, wanted) in drawn.drawn.iter().zip(wanted) {
            close(*found, wanted, &Value::Null);
        }
        let found = drawn.interval(number(&case["confidence"]));
        assert_eq!(found.method, IntervalMethod::BootstrapBca);
        close(found.low, number(&case["low"]), &Value::Null);
        close(found.high, number(&case["high"]), &Value::Null);
        // The one-sided p is the interval read the other way round.
        for confidence in [0.5, 0.8, 0.9, 0.95] {
            let interval = drawn.interval(confidence);
            let tail = (1.0 - confidence) / 2.0;
            assert!((drawn.p_at_most(interval.low) - tail).abs() < 1e-9);
            assert!((drawn.p_at_least(interval.high) - tail).abs() < 1e-9);
        }
    }
}

#[test]
fn power_agrees_with_a_full_enumeration() {
    for case in cases("power") {
        let plan = PowerPlan {
            margin: number(&case["margin"]),
            confidence: number(&case["confidence"]),
            power: 0.8,
            discordance: number(&case["discordance"]),
            difference: number(&case["difference"]),
        };
        close(
            power(&plan, size(&case["n"])).unwrap(),
            number(&case["power"]),
            &case,
        );
    }
}

#[test]
fn the_chance_to_settle_agrees_with_its_integral() {
    for case in cases("settle") {
        let found = chance_to_settle(
            number(&case["distance"]),
            number(&case["reach"]),
            number(&case["confidence"]),
            number(&case["times"]),
        );
        close(found, number(&case["chance"]), &case);
    }
}

#[test]
fn a_line_agrees_with_statsmodels() {
    for case in cases("line") {
        let points: Vec<(f64, f64)> = numbers(&case["sizes"])
            .into_iter()
            .map(f64::log2)
            .zip(numbers(&case["values"]))
            .collect();
        let errors = case["errors"].as_array().map(|_| numbers(&case["errors"]));
        let line = Line::fit(&points, errors.as_deref());
        close(line.slope, number(&case["slope"]), &case);
        close(line.error, number(&case["error"]), &case);
        let quantile = errors.map_or_else(|| number(&case["t95"]), |_| normal_quantile(0.95));
        close(line.reach(0.95), quantile * line.error, &case);
    }
}

#[test]
fn a_model_that_repeats_itself_is_counted() {
    let found = agreement(
        [
            (Some("a"), Some("a")),
            (Some("a"), Some("b")),
            (None, Some("b")),
            (Some("c"), Some("c")),
        ],
        0.95,
    )
    .unwrap();
    assert_eq!((found.n, found.agreed), (3, 2));
    assert_eq!(Some(found.interval), wilson(2, 3, 0.95));
    assert_eq!(agreement([(None, Some("a"))], 0.95), None);
}
