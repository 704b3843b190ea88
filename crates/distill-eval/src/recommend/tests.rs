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
