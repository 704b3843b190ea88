//! Numbers as a person writes them.

use crate::Comparison;

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// A difference of shares in percentage points, signed when it is negative.
pub(crate) fn points(share: f64) -> String {
    format!("{} points", signed(share))
}

pub(crate) fn signed(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    match text.strip_prefix('-') {
        Some(zero) if zero.chars().all(|digit| matches!(digit, '0' | '.')) => zero.to_owned(),
        Some(number) => format!("−{number}"),
        None => text,
    }
}

pub(super) fn latency(milliseconds: f64) -> String {
    if milliseconds < 10.0 {
        format!("{milliseconds:.2} ms")
    } else {
        format!("{milliseconds:.0} ms")
    }
}

pub(super) fn dollars(usd: f64) -> String {
    format!("${usd:.4}")
}

/// A side's score in the comparison's terms: a share as a percentage, another score of its full.
pub(super) fn score(comparison: &Comparison, value: Option<f64>) -> String {
    let Some(value) = value else {
        return "not measured".to_owned();
    };
    if comparison.table.is_some() {
        percent(value)
    } else {
        format!("{:.1}", value / comparison.scale.full * 100.0)
    }
}

/// With a comma at each thousand.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
