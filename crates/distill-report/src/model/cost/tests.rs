use super::*;

fn inputs(answers_per_second: f64) -> CostInputs {
    CostInputs {
        teacher_usd_per_1000: Some(0.5),
        teacher_simulated: true,
        teacher_accuracy: Some(0.8),
        teacher_tokens_per_answer: Some(250.0),
        usd_per_hour: Some(0.1),
        requests_per_day: Some(10_000.0),
        candidates: vec![
            CandidateCost {
                name: "nano".into(),
                answers_per_second: Some(answers_per_second),
                training_seconds: Some(36.0),
                accuracy: Some(0.75),
                tokens_per_answer: Some(100.0),
                ..CandidateCost::default()
            },
            CandidateCost {
                name: "linear".into(),
                training_seconds: Some(3.6),
                ..CandidateCost::default()
            },
        ],
        labels_usd: Some(1.0),
        failed_attempts_usd: Some(0.25),
        judge_usd: Some(0.3),
        cheaper_usd: Some(0.2),
        controls_training_seconds: Some(72.0),
    }
}

#[track_caller]
fn close(found: Option<f64>, wanted: f64) {
    assert!(
        (found.unwrap() - wanted).abs() < 1e-9,
        "{found:?} and {wanted}"
    );
}

#[test]
fn a_machine_costs_the_same_busy_or_not() {
    let cost = CostModel::compute(&inputs(50.0));
    let student = &cost.students[0];
    assert_eq!(student.machines, Some(1));
    // $0.10 × 24 for 10,000 requests.
    close(student.usd_per_1000, 0.24);
    close(student.utilisation, 10_000.0 / 4_320_000.0);
    close(student.usd_per_1000_saturated, 0.1 / 3600.0 / 50.0 * 1000.0);
    // $0.00024 an answer, of which three in four are right, and 100 tokens each.
    close(student.usd_per_correct, 0.000_32);
    close(student.usd_per_million_tokens, 2.4);
    close(cost.teacher_usd_per_correct, 0.000_625);
    close(cost.teacher_usd_per_million_tokens, 2.0);
}

#[test]
fn the_one_off_cost_counts_labels_judge_and_every_student_but_no_control() {
    let student = CostModel::compute(&inputs(50.0)).students.remove(0);
    close(student.one_off.training_usd, 0.001);
    close(student.one_off.search_usd, 0.0001);
    close(student.one_off.controls_usd, 0.002);
    close(student.one_off.failed_attempts_usd, 0.25);
    // Labels 1, judge 0.5, both trainings; the failed attempts are part of the labels.
    close(student.one_off_usd, 1.5011);
    close(student.break_even_requests, 1.5011 / 0.00026);
    close(student.break_even_days, 1.5011 / 0.00026 / 10_000.0);
}

#[test]
fn a_slow_student_takes_more_machines_and_may_never_pay() {
    let cost = CostModel::compute(&inputs(0.05));
    let student = &cost.students[0];
    // 4,320 answers a day each.
    assert_eq!(student.machines, Some(3));
    close(student.usd_per_1000, 0.72);
    assert_eq!(
        (student.break_even_requests, student.break_even_days),
        (None, None)
    );
}

#[test]
fn what_was_not_measured_is_missing_and_not_zero() {
    let mut inputs = inputs(50.0);
    inputs.candidates.truncate(1);
    inputs.candidates[0] = CandidateCost {
        name: "nano".into(),
        ..CandidateCost::default()
    };
    inputs.labels_usd = None;
    let student = CostModel::compute(&inputs).students.remove(0);
    assert_eq!(
        student,
        StudentCost {
            candidate: "nano".into(),
            one_off: OneOff {
                failed_attempts_usd: Some(0.25),
                judge_usd: Some(0.3),
                cheaper_usd: Some(0.2),
                // No other student was trained.
                search_usd: Some(0.0),
                controls_usd: Some(0.002),
                ..OneOff::default()
            },
            ..StudentCost::default()
        }
    );
}

#[test]
fn a_hole_in_the_one_off_cost_is_not_counted_as_nothing() {
    for clear in [
        (|inputs: &mut CostInputs| inputs.judge_usd = None) as fn(&mut CostInputs),
        |inputs| inputs.labels_usd = None,
        |inputs| inputs.candidates[1].training_seconds = None,
    ] {
        let mut inputs = inputs(50.0);
        clear(&mut inputs);
        let student = &CostModel::compute(&inputs).students[0];
        assert_eq!(
            (student.one_off_usd, student.break_even_requests),
            (None, None)
        );
    }
}

#[test]
fn a_cheaper_teacher_flips_the_verdict_on_cost_where_it_says_so() {
    let lines = CostModel::compute(&inputs(50.0)).sensitivity();
    let nano: Vec<_> = lines
        .iter()
        .filter(|line| line.candidate == "nano")
        .collect();
    let factors: Vec<f64> = nano.iter().map(|line| line.teacher_cheaper_by).collect();
    assert_eq!(factors, [1.0, 2.0, 5.0]);
    // The student costs $0.24 per 1,000; the teacher $0.50, $0.25 and $0.10.
    assert_eq!(
        nano.iter()
            .map(|line| (line.student_is_cheaper, line.flips))
            .collect::<Vec<_>>(),
        [
            (Some(true), Some(false)),
            (Some(true), Some(false)),
            (Some(false), Some(true))
        ]
    );
    // $2.40 a day over $0.0005, $0.00025 and $0.0001 a request.
    close(nano[0].cheaper_above_requests_per_day, 4_800.0);
    close(nano[1].cheaper_above_requests_per_day, 9_600.0);
    close(nano[2].cheaper_above_requests_per_day, 24_000.0);
    close(nano[1].break_even_requests, 1.5011 / 0.00001);
    assert_eq!(nano[2].break_even_requests, None);
    assert!(nano.iter().all(|line| line.simulated));
}

#[test]
fn a_student_dearer_than_the_teacher_even_without_pause_is_never_cheaper() {
    // $0.10 / 3600 / 0.05 × 1000 = $0.556 per 1,000 without pause; the teacher takes $0.50.
    let lines = CostModel::compute(&inputs(0.05)).sensitivity();
    assert_eq!(lines[0].never_cheaper, Some(true));
    assert_eq!(lines[0].cheaper_above_requests_per_day, None);
    // The student whose speed is not known: nothing is said.
    let linear = lines.iter().find(|line| line.candidate == "linear");
    assert_eq!(linear.unwrap().never_cheaper, None);
    assert_eq!(linear.unwrap().student_is_cheaper, None);
}

#[test]
fn without_a_teacher_there_is_nothing_to_be_sensitive_to() {
    let cost = CostModel::compute(&CostInputs {
        teacher_usd_per_1000: None,
        ..inputs(50.0)
    });
    assert_eq!(cost.sensitivity(), []);
}

#[test]
fn a_later_account_gives_what_it_would_have_given_at_once() {
    let first = CostModel::compute(&CostInputs {
        labels_usd: Some(0.4),
        judge_usd: Some(0.0),
        cheaper_usd: Some(0.0),
        failed_attempts_usd: None,
        ..inputs(50.0)
    });
    let whole = first.with_one_off(Some(1.0), Some(0.25), Some(0.3), Some(0.2));
    assert_eq!(whole, CostModel::compute(&inputs(50.0)));
    let open = whole.with_one_off(Some(1.0), None, None, Some(0.0));
    assert_eq!(open.students[0].one_off_usd, None);
    assert_eq!(open.students[0].break_even_days, None);
}
