use super::*;
use crate::PairedTable;

fn comparison(
    both: usize,
    only_candidate: usize,
    only_baseline: usize,
    neither: usize,
) -> Comparison {
    let table = PairedTable {
        both,
        only_candidate,
        only_baseline,
        neither,
    };
    Comparison::of(table, 0, 0.95)
}

fn input(comparison: &Comparison) -> DecisionInput<'_> {
    DecisionInput {
        candidate: "nano",
        comparison: Some(comparison),
        margin: 0.03,
        confidence: 0.95,
        reference: Reference::Gold,
        ..DecisionInput::default()
    }
}

#[test]
fn an_interval_above_the_margin_replaces() {
    let comparison = comparison(2600, 120, 130, 150);
    let verdict = decide(&input(&comparison));
    assert_eq!(verdict.decision, Decision::Replace);
    assert_eq!(
        verdict.reason,
        "nano is right on 90.7% of 3,000 rows and the teacher on 91.0%, a difference of −0.3 points (95% interval −1.4 to 0.7), inside the margin of 3.0 points."
    );
}

#[test]
fn an_interval_below_the_margin_keeps_the_teacher() {
    let comparison = comparison(2300, 40, 420, 240);
    assert_eq!(decide(&input(&comparison)).decision, Decision::KeepTeacher);
}

#[test]
fn an_interval_across_the_margin_says_how_many_rows_it_would_take() {
    let small = comparison(240, 20, 24, 16);
    let verdict = decide(&input(&small));
    let Decision::Undecided {
        eval_rows: Some(rows),
    } = verdict.decision
    else {
        panic!("{verdict:?}");
    };
    assert!(
        rows > 300 && verdict.reason.contains(&count(rows)),
        "{verdict:?}"
    );
    // With that many rows of the same kind it is settled.
    let times = rows.div_ceil(300) + 1;
    let large = comparison(240 * times, 20 * times, 24 * times, 16 * times);
    assert_eq!(decide(&input(&large)).decision, Decision::Replace);
}

/// On the margin itself the observed difference would ask for no end of rows; what it leaves open
/// does not.
#[test]
fn on_the_margin_the_number_of_rows_is_large_and_finite() {
    let comparison = comparison(80, 2, 5, 13);
    let verdict = decide(&input(&comparison));
    let Decision::Undecided {
        eval_rows: Some(rows),
    } = verdict.decision
    else {
        panic!("{verdict:?}");
    };
    assert!((4000..8000).contains(&rows), "{rows}");
}

#[test]
fn a_limit_that_is_broken_or_unmeasured_stops_a_replacement() {
    let comparison = comparison(2600, 120, 130, 150);
    let limited = |p95_ms| DecisionInput {
        limits: Limits {
            max_p95_ms: Some(200.0),
            max_usd_per_1000: None,
        },
        p95_ms,
        ..input(&comparison)
    };
    let over = decide(&limited(Some(250.0)));
    assert_eq!(over.decision, Decision::KeepTeacher);
    assert!(
        over.reason
            .ends_with("its p95 latency of 250 ms is over the limit of 200 ms.")
    );
    assert_eq!(
        decide(&limited(None)).decision,
        Decision::Undecided { eval_rows: None }
    );
    assert_eq!(decide(&limited(Some(150.0))).decision, Decision::Replace);
}

#[test]
fn agreement_with_the_teacher_replaces_nobody() {
    let comparison = comparison(2990, 0, 10, 0);
    let verdict = decide(&DecisionInput {
        reference: Reference::TeacherLabels,
        ..input(&comparison)
    });
    assert!(matches!(
        verdict.decision,
        Decision::Undecided { eval_rows: Some(_) }
    ));
    assert!(
        verdict.reason.contains("agreement with the teacher only"),
        "{}",
        verdict.reason
    );
    assert!(verdict.reason.contains("99.7% of 3,000 rows"));
}

#[test]
fn nothing_measured_decides_nothing() {
    let nothing = comparison(0, 0, 0, 0);
    let verdict = decide(&input(&nothing));
    assert!(matches!(verdict.decision, Decision::Undecided { .. }));
    assert!(verdict.reason.contains("n = 0"));
    let alone = DecisionInput {
        comparison: None,
        ..input(&nothing)
    };
    assert_eq!(
        decide(&alone).decision,
        Decision::Undecided { eval_rows: None }
    );
}

fn curve(values: &[(usize, f64)]) -> LearningCurve {
    LearningCurve {
        points: values
            .iter()
            .map(|(train_rows, value)| CurvePoint {
                train_rows: *train_rows,
                value: *value,
                interval: None,
            })
            .collect(),
    }
}

#[test]
fn more_data_needs_a_curve_that_still_rises_far_enough() {
    let behind = comparison(2300, 40, 420, 240);
    let with = |curve: &LearningCurve| {
        decide(&DecisionInput {
            learning_curve: Some(curve),
            ..input(&behind)
        })
        .decision
    };
    // 12.7 points behind, 3 allowed: 9.7 to gain at 4 a doubling is 2.4 doublings of 4,000 rows.
    let rising = curve(&[(1000, 0.74), (2000, 0.78), (4000, 0.82)]);
    let Decision::MoreData { train_rows } = with(&rising) else {
        panic!("{:?}", with(&rising));
    };
    assert!((21_000..22_000).contains(&train_rows), "{train_rows}");
    for unsupported in [
        curve(&[(1000, 0.78), (2000, 0.82), (4000, 0.815)]),
        curve(&[(1000, 0.77), (2000, 0.775), (4000, 0.78)]),
        curve(&[(2000, 0.78), (4000, 0.82)]),
    ] {
        assert_eq!(with(&unsupported), Decision::KeepTeacher, "{unsupported:?}");
    }
}

#[test]
fn numbers_read_as_a_person_writes_them() {
    assert_eq!(count(1_234_567), "1,234,567");
    assert_eq!(count(999), "999");
    assert_eq!(signed(-0.0001), "0.0");
    assert_eq!(signed(-0.031), "−3.1");
}

#[test]
fn what_is_taken_for_being_cheaper_must_be() {
    let comparison = comparison(2600, 120, 130, 150);
    let decided = |role, own, teacher| {
        decide_as(
            &DecisionInput {
                usd_per_1000: own,
                teacher_usd_per_1000: teacher,
                ..input(&comparison)
            },
            role,
        )
    };
    let api = CandidateRole::CheaperApi;
    let cascade = CandidateRole::Cascade { deferred: 0.4 };
    assert_eq!(
        decided(api, Some(0.5), Some(1.0)).decision,
        Decision::CheaperApi
    );
    assert_eq!(
        decided(api, Some(1.5), Some(1.0)).decision,
        Decision::KeepTeacher
    );
    let unknown = decided(api, None, Some(1.0));
    assert_eq!(unknown.decision, Decision::Undecided { eval_rows: None });
    assert!(unknown.reason.contains("not known"), "{}", unknown.reason);
    assert_eq!(
        decided(cascade, Some(0.5), Some(1.0)).decision,
        Decision::Cascade { deferred: 0.4 }
    );
    assert_eq!(
        decided(cascade, Some(1.5), Some(1.0)).decision,
        Decision::KeepTeacher
    );
    let all = CandidateRole::Cascade { deferred: 1.0 };
    assert_eq!(decided(all, None, None).decision, Decision::KeepTeacher);
    // A student within the user's limits may replace, but a loss is said.
    let dear = decided(CandidateRole::Student, Some(2.0), Some(1.0));
    assert_eq!(dear.decision, Decision::Replace);
    assert!(dear.reason.contains("saves nothing"), "{}", dear.reason);
}

fn scored(values: impl Iterator<Item = f64>) -> Vec<crate::ScoredRow> {
    values
        .enumerate()
        .map(|(row, value)| crate::ScoredRow {
            id: format!("{row:05}"),
            score: crate::Score::Value(value),
        })
        .collect()
}

/// A teacher and a candidate that loses `loss` of 100 on average.
fn compared(rows: u32, loss: f64, scale: crate::Scale) -> Comparison {
    let teacher = |row: u32| f64::from(row * 37 % 41) + 40.0;
    crate::compare_values(
        &scored((0..rows).map(|row| teacher(row) - loss + f64::from(row * 13 % 7) - 3.0)),
        &scored((0..rows).map(teacher)),
        scale,
        &std::collections::BTreeMap::new(),
        &crate::Settings::default(),
    )
    .unwrap()
}

#[test]
fn a_score_decides_as_right_and_wrong_does() {
    let scale = crate::Scale {
        full: 100.0,
        is_bounded: true,
        lower_is_better: false,
    };
    let good = compared(400, 1.0, scale);
    assert_eq!(good.table, None);
    let verdict = decide(&input(&good));
    assert_eq!(verdict.decision, Decision::Replace);
    assert!(
        verdict.reason.starts_with(
            "nano scores 58.9 of 100 on 400 rows and the teacher 60.0, a difference of −1.0 points"
        ),
        "{}",
        verdict.reason
    );
    let bad = compared(400, 5.0, scale);
    assert_eq!(decide(&input(&bad)).decision, Decision::KeepTeacher);
    let near = compared(400, 3.0, scale);
    assert!(matches!(
        decide(&input(&near)).decision,
        Decision::Undecided { eval_rows: Some(rows) } if rows > 400
    ));
    // Where less is better, the same loss is a gain.
    let lower = compared(
        400,
        5.0,
        crate::Scale {
            lower_is_better: true,
            ..scale
        },
    );
    assert_eq!(decide(&input(&lower)).decision, Decision::Replace);
    assert!(lower.noninferiority_p(0.03).unwrap() < bad.noninferiority_p(0.03).unwrap());
}

/// A bootstrap of rows that are all alike is a point; few rows must not decide by that.
#[test]
fn a_handful_of_equal_scores_decides_nothing() {
    let same = |rows: u32| {
        let values = || scored((0..rows).map(|_| 0.5));
        crate::compare_values(
            &values(),
            &values(),
            crate::Scale::default(),
            &std::collections::BTreeMap::new(),
            &crate::Settings::default(),
        )
        .unwrap()
    };
    let few = same(20);
    assert!(matches!(
        decide(&input(&few)).decision,
        Decision::Undecided { eval_rows: Some(_) }
    ));
    // (1 − 0.03)^200 = 0.0023 < 0.025.
    let many = same(200);
    assert_eq!(decide(&input(&many)).decision, Decision::Replace);
    assert!((many.noninferiority_p(0.03).unwrap() - 0.97_f64.powi(200)).abs() < 1e-12);
    assert_eq!(same(0).interval, None);
    assert!(decide(&input(&same(0))).reason.contains("n = 0"));
}

/// A comparison read back from a file holds no draws; it may not pass for one that was tested.
#[test]
fn a_bootstrap_read_from_a_file_decides_nothing_new() {
    let kept = compared(400, 1.0, crate::Scale::default());
    let text = serde_json::to_string(&kept).unwrap();
    let read: Comparison = serde_json::from_str(&text).unwrap();
    assert_eq!(read.interval, kept.interval);
    assert_eq!(read.noninferiority_p(0.03), None);
    let verdict = decide(&input(&read));
    assert_eq!(verdict.decision, Decision::Undecided { eval_rows: None });
    assert!(verdict.reason.contains("compare the scores again"));
}

#[test]
fn a_curve_with_wide_intervals_supports_no_number() {
    let with = |rows: usize| LearningCurve {
        points: [(1000, 0.74), (2000, 0.78), (4000, 0.82)]
            .map(|(train_rows, value)| CurvePoint {
                train_rows,
                value,
                interval: crate::stats::wilson((value * rows as f64) as usize, rows, 0.95),
            })
            .to_vec(),
    };
    let projected = with(3000).rows_to_gain(0.05).unwrap();
    assert!(projected.at_best < projected.train_rows && projected.train_rows < projected.at_worst);
    assert_eq!(with(100).rows_to_gain(0.05), None);
}

#[test]
fn answers_that_never_arrived_cannot_bring_a_pass() {
    let answered = comparison(2600, 120, 130, 150);
    // 200 rows more, on which the candidate said nothing.
    let worst = comparison(2600, 120, 330, 150);
    let verdict = decide(&DecisionInput {
        at_worst: Some(&worst),
        ..input(&answered)
    });
    assert_eq!(verdict.decision, Decision::Undecided { eval_rows: None });
    assert!(
        verdict.reason.contains("inside the margin of 3.0 points; but 200 rows more have no answer from nano or from the teacher"),
        "{}",
        verdict.reason
    );
    // Three rows do not matter: the reason is the one of the rows that both answered.
    let few = comparison(2600, 120, 133, 150);
    let with_few = decide(&DecisionInput {
        at_worst: Some(&few),
        ..input(&answered)
    });
    assert_eq!(with_few, decide(&input(&answered)));
    assert_eq!(with_few.decision, Decision::Replace);
}
