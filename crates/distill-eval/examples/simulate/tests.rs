use crate::{TABLES, study::Study};

/// Few draws from a fixed seed: the same numbers on every run, held to limits as wide as so few
/// draws make them. It catches a method that is broken, not one that is a little off.
#[test]
fn a_short_simulation_keeps_every_limit() {
    let study = Study {
        draws: 60,
        seed: 17,
        errors: 3.0,
    };
    for (title, make) in TABLES {
        // So many bootstraps take too long for a test; the full command has them.
        if title.starts_with("bca") && *title != "bca mean" {
            continue;
        }
        for line in make(&study).lines {
            assert!(
                line.is_kept(study.errors),
                "{title}: {} is {}",
                line.cell,
                line.observed
            );
        }
    }
}

#[test]
fn a_limit_that_is_missed_is_seen() {
    use crate::study::Limit;
    let study = Study {
        draws: 10_000,
        seed: 1,
        errors: 2.0,
    };
    let mut table = crate::study::Table::new("title", "held", "");
    table.add(&study, "low", 0.94, Limit::AtLeast(0.95), "");
    table.add(&study, "near", 0.947, Limit::AtLeast(0.95), "");
    table.add(&study, "high", 0.06, Limit::AtMost(0.05), "");
    table.add(&study, "off", 0.97, Limit::Within(0.94, 0.96), "");
    let kept: Vec<bool> = table.lines.iter().map(|line| line.is_kept(2.0)).collect();
    assert_eq!(kept, [false, true, false, false]);
    assert!(
        table
            .markdown(2.0)
            .contains("| low | 94.00% | at least 95.00% | **NO** |  |")
    );
}
