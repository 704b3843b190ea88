use super::*;

/// Surest first: 200 rows of which every tenth from the 100th on is wrong.
fn rows() -> Vec<(f64, bool)> {
    (0..400)
        .map(|row| (1.0 - f64::from(row) / 400.0, row < 200 || row % 4 != 0))
        .collect()
}

#[test]
fn the_threshold_keeps_its_bound_within_the_risk() {
    let found = choose_threshold(&rows(), 0.05, 0.95).unwrap();
    assert!(found.bound <= 0.05 && found.risk <= found.bound);
    assert!((200..260).contains(&found.answered), "{found:?}");
    let above = rows().iter().filter(|(raw, _)| *raw >= found.raw).count();
    assert_eq!((found.n, found.answered), (400, above));
    assert_eq!(choose_threshold(&[], 0.05, 0.95), None);
    assert_eq!(choose_threshold(&rows()[..20], 0.05, 0.95), None);
}

#[test]
fn rows_of_equal_confidence_stand_together() {
    let tied: Vec<(f64, bool)> = rows()
        .into_iter()
        .map(|(raw, right)| ((raw * 4.0).ceil() / 4.0, right))
        .collect();
    let found = choose_threshold(&tied, 0.05, 0.95).unwrap();
    assert_eq!(found.answered % 100, 0, "{found:?}");
    assert!(found.tried <= 4);
}

#[test]
fn the_curve_starts_with_the_student_and_ends_with_the_teacher() {
    let rows: Vec<DeferralRow> = (0..100)
        .map(|row| DeferralRow {
            confidence: f64::from(row),
            student: f64::from(u8::from(row >= 40)),
            teacher: f64::from(u8::from(row % 10 != 0)),
            student_usd: Some(0.001),
            teacher_usd: (row % 2 == 0).then_some(0.01),
            ..DeferralRow::default()
        })
        .collect();
    let curve = deferral_curve(&rows, 10);
    assert_eq!(curve.len(), 11);
    let (first, last) = (curve[0], curve[10]);
    assert!((first.value - 0.6).abs() < 1e-12 && (last.value - 0.9).abs() < 1e-12);
    assert!((curve[4].value - 0.96).abs() < 1e-12 && (curve[4].random - 0.72).abs() < 1e-12);
    assert!((curve[4].oracle - 0.96).abs() < 1e-12);
    for point in &curve {
        assert!(point.oracle >= point.value - 1e-12 && point.oracle >= point.random - 1e-12);
        let usd = 1.0 + 10.0 * point.deferred;
        assert!((point.usd_per_1000.unwrap() - usd).abs() < 1e-9);
        assert_eq!(point.mean_ms, None);
    }
    assert!(deferral_curve(&[], 10).is_empty());
}
