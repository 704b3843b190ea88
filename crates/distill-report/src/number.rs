//! How numbers are written: one place, so that every rendering says the same.

use distill_eval::{Interval, Unit};

/// What stands where a number would, when there is none.
pub(crate) const MISSING: &str = "not measured";

pub(crate) fn or_missing<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| MISSING.to_owned(), show)
}

/// Whether values lie in 0 to 1 and are shown as a percentage.
pub(crate) fn is_share(unit: Unit) -> bool {
    matches!(unit, Unit::Share | Unit::Score0To1)
}

/// A value of a metric.
pub(crate) fn value(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Share | Unit::Score0To1 => percent(value),
        Unit::Score0To100 => format!("{value:.1}"),
        Unit::Points => significant(value),
    }
}

pub(crate) fn value_interval(unit: Unit, interval: &Interval) -> String {
    if is_share(unit) {
        percent_interval(interval)
    } else {
        format!(
            "{} to {}",
            value(unit, interval.low),
            value(unit, interval.high)
        )
    }
}

/// A difference of two values of a metric, with its sign: percentage points, or the metric's own.
pub(crate) fn change(unit: Unit, difference: f64) -> String {
    match unit {
        Unit::Share | Unit::Score0To1 => points(difference),
        Unit::Score0To100 => points(difference / 100.0),
        Unit::Points => signed(&format!(
            "{}{}",
            sign(difference),
            significant(difference.abs())
        )),
    }
}

pub(crate) fn change_interval(unit: Unit, interval: &Interval) -> String {
    format!(
        "{} to {}",
        change(unit, interval.low),
        change(unit, interval.high)
    )
}

fn sign(number: f64) -> &'static str {
    if number < 0.0 { "-" } else { "+" }
}

/// With a true minus, and without a sign before nothing.
fn signed(text: &str) -> String {
    if text.chars().any(|digit| ('1'..='9').contains(&digit)) {
        text.replace('-', "−")
    } else {
        text.trim_start_matches(['+', '-']).to_owned()
    }
}

/// How many times as much the second is: `3.2× less`, `1.5× more`.
pub(crate) fn times(candidate: f64, baseline: f64) -> Option<String> {
    if candidate <= 0.0 || baseline <= 0.0 {
        return None;
    }
    let ratio = baseline / candidate;
    Some(if (0.995..1.005).contains(&ratio) {
        "the same".to_owned()
    } else if ratio > 1.0 {
        format!("{}× less", significant(ratio))
    } else {
        format!("{}× more", significant(1.0 / ratio))
    })
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A difference of shares in percentage points, with its sign.
pub(crate) fn points(share: f64) -> String {
    signed(&format!("{:+.1}", share * 100.0))
}

pub(crate) fn percent_interval(interval: &Interval) -> String {
    format!(
        "{:.1} to {:.1}%",
        interval.low * 100.0,
        interval.high * 100.0
    )
}

pub(crate) fn points_interval(interval: &Interval) -> String {
    format!("{} to {}", points(interval.low), points(interval.high))
}

/// With a comma at each thousand.
pub(crate) fn count(number: usize) -> String {
    grouped(&number.to_string())
}

/// `1 row`, `2 rows`.
pub(crate) fn several(number: usize, one: &str, more: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { more })
}

pub(crate) fn count64(number: u64) -> String {
    grouped(&number.to_string())
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds with about three digits that mean something.
pub(crate) fn milliseconds(value: f64) -> String {
    significant(value)
}

/// A rate or an amount with about three digits that mean something.
pub(crate) fn significant(value: f64) -> String {
    let value = without_sign_of_zero(value);
    let size = value.abs();
    if size >= 100.0 {
        grouped(&format!("{value:.0}"))
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 || size == 0.0 {
        format!("{value:.2}")
    } else {
        let digits = (2.0 - size.log10().floor()).clamp(2.0, 9.0) as usize;
        format!("{value:.digits$}")
    }
}

pub(crate) fn usd(value: f64) -> String {
    let value = without_sign_of_zero(value);
    let size = value.abs();
    if size >= 100.0 {
        format!("${}", grouped(&format!("{value:.0}")))
    } else if size >= 1.0 || size == 0.0 {
        format!("${value:.2}")
    } else {
        format!("${}", significant(value))
    }
}

/// A sum of nothing may be −0.0, which no reader expects.
fn without_sign_of_zero(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value }
}

pub(crate) fn seconds(value: f64) -> String {
    if value < 120.0 {
        format!("{} s", significant(value))
    } else {
        format!("{} min", significant(value / 60.0))
    }
}

pub(crate) fn bytes(value: u64) -> String {
    let value = value as f64;
    if value < 1e3 {
        format!("{value:.0} B")
    } else if value < 1e6 {
        format!("{} kB", significant(value / 1e3))
    } else {
        format!("{} MB", significant(value / 1e6))
    }
}

pub(crate) fn p_value(p: f64) -> String {
    if p < 0.001 {
        "<0.001".to_owned()
    } else {
        format!("{p:.3}")
    }
}

/// A metric's name as a reader meets it; a scorer's settings stay behind it as they are.
pub(crate) fn metric(name: &str) -> String {
    let (name, settings) = name.split_at(name.find('(').unwrap_or(name.len()));
    let words: Vec<&str> = match name {
        "json_exact_object" => vec!["exact object"],
        "rouge_l" => vec!["ROUGE-L"],
        "rouge_1" => vec!["ROUGE-1"],
        "rouge_2" => vec!["ROUGE-2"],
        "rouge_l_ascii" => vec!["ROUGE-L (ASCII)"],
        "rouge_1_ascii" => vec!["ROUGE-1 (ASCII)"],
        "rouge_2_ascii" => vec!["ROUGE-2 (ASCII)"],
        _ => name
            .split('_')
            .map(|word| match word {
                "f1" => "F1",
                "json" => "JSON",
                "bleu" => "BLEU",
                "chrf" => "chrF",
                word => word,
            })
            .collect(),
    };
    let gap = if settings.is_empty() { "" } else { " " };
    format!("{}{gap}{settings}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_about_three_digits() {
        let shown: Vec<String> = [
            0.0,
            0.000_123_4,
            0.012_34,
            0.5,
            3.456,
            34.56,
            345.6,
            12_345.6,
        ]
        .into_iter()
        .map(significant)
        .collect();
        assert_eq!(
            shown,
            [
                "0.00", "0.000123", "0.0123", "0.500", "3.46", "34.6", "346", "12,346"
            ]
        );
        assert_eq!(
            (usd(-0.0), significant(-0.0)),
            ("$0.00".into(), "0.00".into())
        );
        assert_eq!(usd(0.24), "$0.240");
        assert_eq!(usd(1234.5), "$1,234");
        assert_eq!(points(-0.0263), "−2.6");
        assert_eq!(points(0.0004), "0.0");
        assert_eq!(bytes(1_536_000), "1.54 MB");
        assert_eq!(or_missing(None, usd), "not measured");
        assert_eq!(metric("token_f1"), "token F1");
        assert_eq!(metric("json_parses"), "JSON parses");
        assert_eq!(
            metric("numeric(tolerance=0.01)"),
            "numeric (tolerance=0.01)"
        );
        assert_eq!(times(2.0, 8.0).unwrap(), "4.00× less");
        assert_eq!(times(0.0, 8.0), None);
        assert_eq!(change(Unit::Score0To100, -1.25), "−1.2");
        assert_eq!(several(1, "row", "rows"), "1 row");
        assert_eq!(p_value(0.0004), "<0.001");
    }
}
