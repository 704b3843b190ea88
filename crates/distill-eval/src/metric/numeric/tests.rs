use super::{numbers, reference_number};

#[track_caller]
fn found(text: &str, wanted: &[f64]) {
    assert_eq!(numbers(text).collect::<Vec<_>>(), wanted, "{text:?}");
}

#[test]
fn numbers_are_found_with_sign_thousands_fraction_and_exponent() {
    found("She makes $1,234.50 a day.", &[1234.5]);
    found(
        "from -3 to \u{2212}4, -$5 and 6e-3",
        &[-3.0, -4.0, -5.0, 0.006],
    );
    found("9-3=6", &[9.0, 3.0, 6.0]);
    found("(2)-1", &[2.0, 1.0]);
    found(".5 and 0.25.", &[0.5, 0.25]);
    found("1,000km", &[1000.0]);
    found("no number", &[]);
    found("", &[]);
}

#[test]
fn a_comma_joins_only_groups_of_three() {
    found("1,2,3", &[1.0, 2.0, 3.0]);
    found("1,2345", &[1.0, 2345.0]);
    found("12345,678", &[12345.0, 678.0]);
    found("1,234,567 and 89", &[1_234_567.0, 89.0]);
}

#[test]
fn an_exponent_belongs_to_a_number_only_when_it_is_one() {
    found("3eggs 4e 5e2x 6E2", &[3.0, 4.0, 5.0, 2.0, 600.0]);
    found("версия 3.5.2", &[3.5, 2.0]);
}

#[test]
fn the_reference_is_what_follows_the_mark() {
    assert_eq!(
        reference_number("2 + 3 = 5\n#### 1,005 apples, not 7"),
        Some(1005.0)
    );
    assert_eq!(reference_number("first 1, then 2"), Some(2.0));
    assert_eq!(reference_number("#### none"), None);
}
