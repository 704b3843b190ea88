//! How often an interval holds the true value.

use distill_eval::{
    Interval, Statistic,
    stats::{
        Mean, Percentile, Tuning,
        bootstrap::{self, Clusters},
        clopper_pearson, clopper_pearson_upper, cohen_kappa_of_counts, mcnemar_exact,
        prediction_powered_mean, tango, wilson,
    },
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::{
    model::{Confusion, paired_table},
    study::{Limit, Study, Table, binomial},
};

/// Two-sided, of every interval here.
pub(crate) const CONFIDENCE: f64 = 0.95;
/// Of the bootstrap: half of what the reports draw.
pub(crate) const BOOTSTRAP_DRAWS: usize = 1000;
const APPROXIMATE: Limit = Limit::Within(0.94, 0.96);

fn holds(interval: Option<Interval>, truth: f64) -> bool {
    interval.is_some_and(|interval| interval.low <= truth && truth <= interval.high)
}

pub(crate) fn wilson_table(study: &Study) -> Table {
    let mut table = Table::new(
        "Wilson's interval of a share",
        "coverage",
        "Nominal 95%. Rows are right with the same chance.",
    );
    for n in [300, 1000, 3000] {
        for share in [0.5, 0.7, 0.85, 0.95] {
            let cell = format!("n {n}, share {share}");
            let observed = study.share(&format!("wilson {cell}"), |generator, _| {
                holds(wilson(binomial(generator, n, share), n, CONFIDENCE), share)
            });
            table.add(study, &cell, observed, Limit::Shown, "");
        }
    }
    table.add_average(APPROXIMATE);
    table
}

pub(crate) fn tango_table(study: &Study) -> Table {
    let mut table = Table::new(
        "Tango's interval of a paired difference of shares",
        "coverage",
        "Nominal 95%. Discordance is the share of rows on which exactly one side is right.",
    );
    for n in [300, 1000, 3000] {
        for (discordance, difference) in [
            (0.05, 0.0),
            (0.05, -0.03),
            (0.15, 0.0),
            (0.15, -0.05),
            (0.3, 0.1),
        ] {
            let cell = format!("n {n}, discordance {discordance}, difference {difference}");
            let observed = study.share(&format!("tango {cell}"), |generator, _| {
                holds(
                    tango(
                        &paired_table(generator, n, discordance, difference),
                        CONFIDENCE,
                    ),
                    difference,
                )
            });
            table.add(study, &cell, observed, Limit::Shown, "");
        }
    }
    table.add_average(APPROXIMATE);
    table
}

/// A score from 0 to 1: right at once, or partly, the less often the better.
fn skewed_score(generator: &mut ChaCha8Rng, full: f64) -> f64 {
    if generator.random_bool(full) {
        1.0
    } else {
        generator.random::<f64>().powi(2)
    }
}

/// The mean of [`skewed_score`].
fn skewed_mean(full: f64) -> f64 {
    full + (1.0 - full) / 3.0
}

pub(crate) fn mean_table(study: &Study) -> Table {
    let mut table = Table::new(
        "BCa bootstrap of a mean, and of a paired difference of means",
        "coverage",
        format!(
            "Nominal 95%, {BOOTSTRAP_DRAWS} bootstrap draws each. A score is 1 with the chance given and else the square of a uniform number, so that scores are skewed."
        ),
    );
    for n in [300, 1000] {
        for full in [0.3, 0.8] {
            let cell = format!("mean, n {n}, full score {full}");
            let observed = study.share(&format!("bca {cell}"), |generator, draw| {
                let mean = Mean((0..n).map(|_| skewed_score(generator, full)).collect());
                holds(
                    bootstrap::interval(&mean, CONFIDENCE, BOOTSTRAP_DRAWS, draw),
                    skewed_mean(full),
                )
            });
            table.add(study, &cell, observed, Limit::Shown, "");
        }
    }
    for (first, second, alike) in [(0.7, 0.75, 0.6), (0.9, 0.9, 0.9)] {
        let n = 300;
        let cell = format!(
            "difference, n {n}, full score {first} against {second}, same score on {alike}"
        );
        let truth = (1.0 - alike) * (skewed_mean(first) - skewed_mean(second));
        let observed = study.share(&format!("bca {cell}"), |generator, draw| {
            let mut sides = (Vec::new(), Vec::new());
            for _ in 0..n {
                let score = skewed_score(generator, second);
                if generator.random_bool(alike) {
                    sides.0.push(score);
                } else {
                    sides.0.push(skewed_score(generator, first));
                }
                sides.1.push(score);
            }
            holds(
                bootstrap::paired_interval(
                    &Mean(sides.0),
                    &Mean(sides.1),
                    CONFIDENCE,
                    BOOTSTRAP_DRAWS,
                    draw,
                ),
                truth,
            )
        });
        table.add(study, &cell, observed, Limit::Shown, "");
    }
    table.add_average(APPROXIMATE);
    table
}

pub(crate) fn clustered_table(study: &Study) -> Table {
    let mut table = Table::new(
        "BCa bootstrap over clusters",
        "coverage",
        "Nominal 95%. Five rows a group share a third of their variance; the mean of a paired difference. The last line draws the same rows one by one, as if they were not grouped.",
    );
    let rows = 5;
    let difference = |generator: &mut ChaCha8Rng, groups: usize| -> Vec<f64> {
        (0..groups)
            .flat_map(|_| {
                let shared: f64 = generator.random::<f64>() - 0.5;
                (0..rows)
                    .map(|_| {
                        let own = 2.0_f64.sqrt() * (generator.random::<f64>() - 0.5);
                        shared + own + 0.1
                    })
                    .collect::<Vec<f64>>()
            })
            .collect()
    };
    for groups in [100, 300] {
        let cell = format!("{groups} groups of {rows}");
        let clusters = grouped(groups, rows);
        let observed = study.share(&format!("clustered {cell}"), |generator, draw| {
            let mean = Mean(difference(generator, groups));
            holds(
                bootstrap::clustered_interval(&mean, &clusters, CONFIDENCE, BOOTSTRAP_DRAWS, draw),
                0.1,
            )
        });
        table.add(study, &cell, observed, Limit::Shown, "");
    }
    table.add_average(APPROXIMATE);
    let observed = study.share("clustered, ignored", |generator, draw| {
        let mean = Mean(difference(generator, 100));
        holds(
            bootstrap::interval(&mean, CONFIDENCE, BOOTSTRAP_DRAWS, draw),
            0.1,
        )
    });
    let cell = "100 groups of 5, groups ignored";
    table.add(study, cell, observed, Limit::Shown, "what grouping mends");
    table
}

fn grouped(groups: usize, rows: usize) -> Clusters {
    let names: Vec<String> = (0..groups * rows)
        .map(|row| (row / rows).to_string())
        .collect();
    Clusters::of(names.iter().map(|name| Some(name.as_str())))
}

pub(crate) fn macro_f1_table(study: &Study) -> Table {
    let mut table = Table::new(
        "BCa bootstrap of macro F1",
        "coverage",
        "Nominal 95%. Labels of unequal frequency, right with the chance given, else any other label.",
    );
    for (n, labels, right) in [
        (300, &[0.4, 0.3, 0.2, 0.1][..], 0.8),
        (1000, &[0.4, 0.3, 0.2, 0.1], 0.8),
        (1000, &[0.2, 0.2, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05], 0.7),
        (300, &[0.5, 0.5], 0.9),
    ] {
        let confusion = Confusion::new(labels, right);
        let truth = confusion.macro_f1();
        let cell = format!("n {n}, {} labels, right {right}", labels.len());
        let observed = study.share(&format!("macro f1 {cell}"), |generator, draw| {
            let drawn = confusion.draw(generator, n);
            holds(
                bootstrap::interval(&drawn, CONFIDENCE, BOOTSTRAP_DRAWS, draw),
                truth,
            )
        });
        table.add(
            study,
            &cell,
            observed,
            Limit::Shown,
            format!("true value {truth:.4}"),
        );
    }
    let labels = [0.4, 0.3, 0.2, 0.1];
    for (n, alike) in [(300, 0.0), (300, 0.9), (1000, 0.9)] {
        let (first, second) = (Confusion::new(&labels, 0.8), Confusion::new(&labels, 0.75));
        // Answers that are now and then another's are right as often as the mixture.
        let mixed = Confusion::new(&labels, alike * 0.8 + (1.0 - alike) * 0.75);
        let truth = first.macro_f1() - mixed.macro_f1();
        let cell = format!("paired difference, n {n}, 4 labels, same answer on {alike}");
        let observed = study.share(&format!("macro f1 {cell}"), |generator, draw| {
            let one = first.draw(generator, n);
            let other = second.draw_beside(generator, &one, alike);
            holds(
                bootstrap::paired_interval(&one, &other, CONFIDENCE, BOOTSTRAP_DRAWS, draw),
                truth,
            )
        });
        let note = format!("true value {truth:.4}");
        table.add(study, &cell, observed, Limit::Shown, note);
    }
    table.add_average(APPROXIMATE);
    table
}

pub(crate) fn percentile_table(study: &Study) -> Table {
    let mut table = Table::new(
        "BCa bootstrap of a difference of latency percentiles",
        "coverage",
        "Nominal 95%. Latencies are exponential with means of 100 and 80 ms on the same rows.",
    );
    for (n, share) in [(300, 0.5), (300, 0.95), (1000, 0.95)] {
        let cell = format!("n {n}, p{:.0}", share * 100.0);
        let truth = -20.0 * (1.0_f64 - share).ln();
        let observed = study.share(&format!("percentile {cell}"), |generator, draw| {
            let mut side = |mean: f64| {
                let values = (0..n)
                    .map(|_| -mean * (1.0 - generator.random::<f64>()).ln())
                    .collect();
                Percentile::new(values, share)
            };
            let (Some(first), Some(second)) = (side(100.0), side(80.0)) else {
                return false;
            };
            let (first, second): (&dyn Statistic, &dyn Statistic) = (&first, &second);
            holds(
                bootstrap::paired_interval(first, second, CONFIDENCE, BOOTSTRAP_DRAWS, draw),
                truth,
            )
        });
        table.add(study, &cell, observed, Limit::Shown, "");
    }
    table.add_average(APPROXIMATE);
    table
}

pub(crate) fn kappa_table(study: &Study) -> Table {
    let mut table = Table::new(
        "Cohen's kappa, asymptotic interval",
        "coverage",
        "Nominal 95%. Both raters see the same rows; the first is the truth with these frequencies, the second agrees with the chance given.",
    );
    for (n, labels, right) in [
        (300, &[0.5, 0.5][..], 0.85),
        (300, &[0.7, 0.3], 0.8),
        (300, &[0.4, 0.3, 0.3], 0.75),
        (1000, &[0.6, 0.4], 0.9),
    ] {
        let confusion = Confusion::new(labels, right);
        let truth = confusion.kappa();
        let cell = format!(
            "n {n}, {} categories {labels:?}, agrees {right}",
            labels.len()
        );
        let observed = study.share(&format!("kappa {cell}"), |generator, _| {
            let counts = confusion.draw(generator, n).counts();
            holds(
                cohen_kappa_of_counts(&counts, CONFIDENCE).and_then(|kappa| kappa.interval),
                truth,
            )
        });
        table.add(
            study,
            &cell,
            observed,
            Limit::Shown,
            format!("true value {truth:.4}"),
        );
    }
    table.add_average(APPROXIMATE);
    table
}

pub(crate) fn prediction_powered_table(study: &Study) -> Table {
    let mut table = Table::new(
        "Prediction-powered mean (judge corrected with human verdicts)",
        "coverage",
        "Nominal 95%. Rows are right with chance 0.8; the judge says so with the chances given for right and for wrong rows. The note is the mean width against that of the human verdicts alone.",
    );
    for (few, many, right, wrong) in [
        (50, 1000, 0.97, 0.05),
        (100, 1000, 0.95, 0.1),
        (300, 1000, 0.9, 0.3),
        (300, 3000, 0.97, 0.05),
        (300, 600, 0.6, 0.5),
    ] {
        let share = 0.8;
        let cell = format!("{few} by people and {many} more, judge {right} and {wrong}");
        let [observed, width, alone] = study.means(&format!("ppi {cell}"), |generator, _| {
            let mut row = || {
                let truth = generator.random_bool(share);
                let judged = generator.random_bool(if truth { right } else { wrong });
                (f64::from(u8::from(truth)), f64::from(u8::from(judged)))
            };
            let labelled: Vec<(f64, f64)> = (0..few).map(|_| row()).collect();
            let rest: Vec<f64> = (0..many).map(|_| row().1).collect();
            let [tuned, alone] = [Tuning::Power, Tuning::Fixed(0.0)].map(|tuning| {
                prediction_powered_mean(&labelled, &rest, CONFIDENCE, tuning)
                    .map(|found| found.interval)
            });
            let width =
                |interval: Option<Interval>| interval.map_or(0.0, |found| found.high - found.low);
            [
                f64::from(u8::from(holds(tuned, share))),
                width(tuned),
                width(alone),
            ]
        });
        let note = format!("{:.0}% of the width", width / alone * 100.0);
        table.add(study, &cell, observed, Limit::Shown, note);
    }
    table.add_average(APPROXIMATE);
    table
}

pub(crate) fn exact_table(study: &Study) -> Table {
    let exact = Limit::AtLeast(0.95);
    let mut table = Table::new(
        "Exact methods, at any number of rows",
        "held",
        "Clopper-Pearson: the interval, or the one-sided bound, holds the true share. McNemar: equal models are not told apart at p < 0.05.",
    );
    for (n, share) in [(20, 0.5), (59, 0.02), (100, 0.9), (400, 0.05), (1000, 0.8)] {
        let cell = format!("Clopper-Pearson, n {n}, share {share}");
        let observed = study.share(&cell, |generator, _| {
            let right = binomial(generator, n, share);
            holds(clopper_pearson(right, n, CONFIDENCE), share)
        });
        table.add(study, &cell, observed, exact, "");
        let cell = format!("upper bound, n {n}, share {share}");
        let observed = study.share(&cell, |generator, _| {
            let right = binomial(generator, n, share);
            clopper_pearson_upper(right, n, CONFIDENCE).is_some_and(|bound| bound >= share)
        });
        table.add(study, &cell, observed, exact, "");
    }
    for (n, discordance) in [(50, 0.2), (300, 0.1), (1000, 0.15), (3000, 0.05)] {
        let cell = format!("McNemar, n {n}, discordance {discordance}");
        let observed = study.share(&cell, |generator, _| {
            let table = paired_table(generator, n, discordance, 0.0);
            mcnemar_exact(table.only_candidate, table.only_baseline) >= 0.05
        });
        table.add(study, &cell, observed, exact, "");
    }
    table
}
