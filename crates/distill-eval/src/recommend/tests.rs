use super::*;
use crate::{PairedTable, Reference};

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

fn candidate<'a>(name: &'a str, bytes: u64, comparison: &'a Comparison) -> Candidate<'a> {
    Candidate {
        input: DecisionInput {
            candidate: name,
            comparison: Some(comparison),
            margin: 0.03,
            confidence: 0.95,
            reference: Reference::Gold,
            ..DecisionInput::default()
        },
        bytes,
        role: if name == "linear" {
            CandidateRole::Floor
        } else {
            CandidateRole::Student
        },
        against_floor: None,
    }
}

#[test]
fn the_smallest_that_passes_is_taken() {
    let (good, better, bad) = (
        comparison(2600, 120, 130, 150),
        comparison(2650, 130, 80, 140),
        comparison(2300, 40, 420, 240),
    );
    let found = recommend(&[
        candidate("large", 9_000_000, &better),
        candidate("linear", 1_000, &bad),
        candidate("nano", 700_000, &good),
    ]);
    assert_eq!(found.choice.as_deref(), Some("nano"));
    assert_eq!(found.verdict.decision, Decision::Replace);
    assert_eq!(
        found.reason,
        "nano is the smallest of the 2 candidates (of 3) that may replace the teacher."
    );
    assert_eq!(found.candidates[1].verdict.decision, Decision::KeepTeacher);
}

#[test]
fn equal_sizes_go_by_cost_then_latency() {
    let good = comparison(2600, 120, 130, 150);
    let with = |name, usd, p95| {
        let mut candidate = candidate(name, 5, &good);
        candidate.input.usd_per_1000 = usd;
        candidate.input.p95_ms = p95;
        candidate
    };
    let choice = |candidates: &[Candidate<'_>]| recommend(candidates).choice.unwrap();
    assert_eq!(
        choice(&[with("unknown", None, None), with("cheap", Some(0.1), None)]),
        "cheap"
    );
    assert_eq!(
        choice(&[
            with("slow", Some(0.1), Some(9.0)),
            with("quick", Some(0.1), Some(3.0))
        ]),
        "quick"
    );
}

#[test]
fn none_is_an_answer_and_says_why() {
    let (bad, unsure) = (comparison(2300, 40, 420, 240), comparison(240, 20, 24, 16));
    let found = recommend(&[candidate("linear", 1, &bad), candidate("nano", 2, &unsure)]);
    assert_eq!(found.choice, None);
    assert_eq!(found.verdict.candidate.as_deref(), Some("nano"));
    assert!(matches!(found.verdict.decision, Decision::Undecided { .. }));
    assert!(
        found.reason.starts_with(
            "None may replace the teacher yet (linear: KEEP_TEACHER, nano: UNDECIDED("
        )
    );
    let nobody = recommend(&[]);
    assert_eq!(nobody.choice, None);
    assert!(nobody.verdict.reason.contains("No student"));
}

/// A pass by a hair is no pass when several were tried.
#[test]
fn company_corrects_the_claim() {
    // Find a table whose p lies between half the level and the level.
    let narrow = (80..200)
        .map(|only_baseline| comparison(2600, 120, only_baseline, 100))
        .find(|comparison| {
            let p = comparison.noninferiority_p(0.03).unwrap();
            p > 0.013 && p < 0.024
        })
        .unwrap();
    let bad = comparison(2300, 40, 420, 240);
    let alone = recommend(&[candidate("nano", 2, &narrow)]);
    assert_eq!(alone.choice.as_deref(), Some("nano"));
    let found = recommend(&[candidate("linear", 1, &bad), candidate("nano", 2, &narrow)]);
    assert_eq!(found.choice, None);
    let nano = &found.candidates[1];
    assert!(
        nano.verdict
            .reason
            .contains("Holm's correction for 2 candidates")
    );
    assert!(nano.p_holm.unwrap() > nano.p_noninferior.unwrap());
    assert!(
        matches!(nano.verdict.decision, Decision::Undecided { eval_rows: Some(rows) } if rows > narrow.n)
    );
}

#[test]
fn a_floor_that_is_as_good_is_named() {
    let good = comparison(2600, 120, 130, 150);
    let note = |against: &Comparison| {
        let larger = Candidate {
            against_floor: Some(against),
            ..candidate("nano", 2, &good)
        };
        recommend(&[candidate("linear", 1, &good), larger])
            .floor_note
            .unwrap()
    };
    assert!(
        note(&comparison(2600, 100, 100, 200)).starts_with("The floor linear is as good as nano")
    );
    assert!(
        note(&comparison(2500, 300, 100, 100)).starts_with("nano is better than the floor linear")
    );
    assert!(
        note(&comparison(2500, 100, 300, 100)).starts_with("The floor linear is better than nano")
    );
}

fn in_role<'a>(
    name: &'a str,
    role: CandidateRole,
    usd: Option<f64>,
    comparison: &'a Comparison,
) -> Candidate<'a> {
    let mut candidate = candidate(name, 7, comparison);
    candidate.role = role;
    candidate.input.usd_per_1000 = usd;
    candidate.input.teacher_usd_per_1000 = Some(1.0);
    candidate
}

#[test]
fn the_cheapest_of_a_student_a_cascade_and_a_hosted_model_is_taken() {
    let good = comparison(2600, 120, 130, 150);
    let cascade = CandidateRole::Cascade { deferred: 0.27 };
    let choose = |student: f64, cascaded: f64, hosted: f64| {
        let found = recommend(&[
            in_role("nano", CandidateRole::Student, Some(student), &good),
            in_role("nano+teacher", cascade, Some(cascaded), &good),
            in_role("small-api", CandidateRole::CheaperApi, Some(hosted), &good),
        ]);
        (found.choice.unwrap(), found.verdict.decision.to_string())
    };
    assert_eq!(choose(0.1, 0.3, 0.2), ("nano".into(), "REPLACE".into()));
    assert_eq!(
        choose(0.5, 0.3, 0.4),
        ("nano+teacher".into(), "CASCADE(27%)".into())
    );
    assert_eq!(
        choose(0.5, 0.3, 0.2),
        ("small-api".into(), "CHEAPER_API".into())
    );
}

/// Every candidate counts in the family, whatever its role.
#[test]
fn roles_share_one_family() {
    let (good, bad) = (
        comparison(2600, 120, 130, 150),
        comparison(2300, 40, 420, 240),
    );
    let found = recommend(&[
        in_role("nano", CandidateRole::Student, Some(0.1), &good),
        in_role(
            "nano+teacher",
            CandidateRole::Cascade { deferred: 0.5 },
            Some(0.5),
            &bad,
        ),
        in_role("small-api", CandidateRole::CheaperApi, Some(0.5), &bad),
    ]);
    let nano = &found.candidates[0];
    let (alone, corrected) = (nano.p_noninferior.unwrap(), nano.p_holm.unwrap());
    assert!((corrected - 3.0 * alone).abs() < 1e-12);
}

#[test]
fn labels_that_prove_nothing_stand_outside_the_family_and_replace_nobody() {
    let good = comparison(2600, 120, 130, 150);
    for (reference, may) in [
        (Reference::Gold, true),
        (Reference::Human, true),
        // Not by scores that nobody corrected.
        (Reference::CalibratedJudge, false),
        (Reference::UncalibratedJudge, false),
        (Reference::TeacherLabels, false),
    ] {
        for role in [
            CandidateRole::Student,
            CandidateRole::Floor,
            CandidateRole::Cascade { deferred: 0.2 },
            CandidateRole::CheaperApi,
        ] {
            let mut candidate = in_role("nano", role, Some(0.1), &good);
            candidate.input.reference = reference;
            let found = recommend(&[candidate]);
            assert_eq!(
                found.verdict.decision.is_met(),
                may,
                "{reference:?} {role:?}"
            );
            assert_eq!(found.candidates[0].p_noninferior.is_some(), may);
        }
    }
}

#[test]
fn without_a_teacher_the_reason_says_what_was_measured_and_what_is_missing() {
    let measured = crate::Aggregate {
        metric: "accuracy".to_owned(),
        n: 3000,
        value: Some(0.912),
        interval: crate::stats::wilson(2736, 3000, 0.95),
        ..crate::Aggregate::default()
    };
    let good = comparison(2600, 120, 130, 150);
    let mut alone = candidate("nano", 7, &good);
    alone.input.comparison = None;
    alone.input.measured = Some(&measured);
    let found = recommend(&[alone]);
    assert_eq!(
        found.verdict.reason,
        "nano reaches 91.2% accuracy on 3,000 rows (95% interval 90.1% to 92.2%), but no teacher answered those rows, so there is nobody yet whom it could replace; name a teacher in the pipeline, and both are judged on the same rows."
    );
    assert!(
        found
            .reason
            .starts_with("None: without a teacher's answers")
    );
}

proptest::proptest! {
    #[test]
    fn the_order_of_the_candidates_changes_nothing(
        tables in proptest::collection::vec((0_usize..2000, 0_usize..150, 0_usize..150, 0_usize..300), 1..6),
        costs in proptest::collection::vec(proptest::option::of(0.0_f64..2.0), 6),
        turn in 0_usize..6,
    ) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let comparisons: Vec<Comparison> = tables
            .iter()
            .map(|(both, gained, lost, neither)| comparison(*both, *gained, *lost, *neither))
            .collect();
        let candidates: Vec<Candidate<'_>> = comparisons
            .iter()
            .enumerate()
            .map(|(index, comparison)| {
                let role = match index % 3 {
                    0 => CandidateRole::Student,
                    1 => CandidateRole::Cascade { deferred: 0.3 },
                    _ => CandidateRole::CheaperApi,
                };
                in_role(names[index], role, costs[index], comparison)
            })
            .collect();
        let mut turned = candidates.clone();
        turned.rotate_left(turn % candidates.len());
        let (first, mut second) = (recommend(&candidates), recommend(&turned));
        proptest::prop_assert_eq!(&first.choice, &second.choice);
        proptest::prop_assert_eq!(&first.verdict, &second.verdict);
        second.candidates.sort_by(|one, other| one.name.cmp(&other.name));
        proptest::prop_assert_eq!(first.candidates, second.candidates);
    }
}

#[test]
fn the_family_is_corrected_with_the_missing_answers_counted_against_a_candidate() {
    let (answered, worst) = (
        comparison(2600, 120, 130, 150),
        comparison(2600, 120, 160, 150),
    );
    let mut missing = candidate("nano", 5, &answered);
    missing.input.at_worst = Some(&worst);
    let found = recommend(&[missing]);
    assert_eq!(
        found.candidates[0].p_noninferior,
        worst.noninferiority_p(0.03)
    );
    assert!(found.candidates[0].p_noninferior > answered.noninferiority_p(0.03));
}

/// All tables of so many rows.
fn tables(n: usize) -> impl Iterator<Item = PairedTable> {
    (0..=n).flat_map(move |both| {
        (0..=n - both).flat_map(move |only_candidate| {
            (0..=n - both - only_candidate).map(move |only_baseline| PairedTable {
                both,
                only_candidate,
                only_baseline,
                neither: n - both - only_candidate - only_baseline,
            })
        })
    })
}

#[test]
fn on_every_small_table_verdict_interval_and_corrected_p_say_the_same() {
    for n in [0, 1, 2, 10] {
        for table in tables(n) {
            for (confidence, margin) in [(0.8, 0.1), (0.95, 0.0), (0.95, 0.03), (0.99, 0.5)] {
                let compared = Comparison::of(table, 0, confidence);
                let with = |name| {
                    let mut candidate = candidate(name, 1, &compared);
                    candidate.input.margin = margin;
                    candidate.input.confidence = confidence;
                    candidate
                };
                let alone = recommend(&[with("nano")]);
                let low = compared.interval.map(|interval| interval.low);
                let passes = low.is_some_and(|low| low > -margin);
                assert_eq!(
                    alone.verdict.decision == Decision::Replace,
                    passes,
                    "{table:?} {confidence} {margin} {alone:?}"
                );
                let p = alone.candidates[0].p_holm;
                let level = (1.0 - confidence) / 2.0;
                assert_eq!(p.is_some_and(|p| p < level), passes, "{table:?} {p:?}");
                // Beside two of its kind it can only lose.
                let three = recommend(&[with("nano"), with("other"), with("third")]);
                assert!(passes || three.choice.is_none());
                assert_eq!(p.is_none(), n == 0);
                if margin <= 0.03 && table.only_candidate <= table.only_baseline {
                    assert!(!passes, "so few rows show nothing: {table:?}");
                }
            }
        }
    }
}
