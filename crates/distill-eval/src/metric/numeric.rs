//! The last number of the reply is the reference number.

use super::{
    Context, Direction, GENERATE, Metric, Rule, Setting, SettingKind, Unit, text::right_by_any,
};
use crate::{Sample, Score};

#[cfg(test)]
mod tests;

pub(super) static METRIC: Metric = Metric {
    name: "numeric",
    unit: Unit::Share,
    direction: Direction::Higher,
    description: "share of replies whose last number is that of the reference (after `####` where it has that, else its last); commas between thousands do not count",
    kinds: GENERATE,
    settings: &[
        Setting {
            name: "tolerance",
            kind: SettingKind::Number,
            required: false,
            description: "the greatest difference that still counts as right; 0 by default",
        },
        Setting {
            name: "relative_tolerance",
            kind: SettingKind::Number,
            required: false,
            description: "the same as a share of the reference; the larger of the two counts",
        },
    ],
    rule: Rule::Share(score),
};

/// What the answer follows in the worked solutions of GSM8K: K. Cobbe et al., "Training verifiers to
/// solve math word problems", 2021, arXiv:2110.14168.
const FINAL_ANSWER: &str = "####";

fn score(sample: &Sample, context: &Context<'_>) -> Score {
    if let Ok((_, gold)) = sample.reply_and_gold() {
        let references = context.kind().references(gold);
        if references
            .iter()
            .all(|text| reference_number(text).is_none())
        {
            return Score::unscored("the reference holds no number");
        }
    }
    let option = |name| context.options.number(name).unwrap_or(0.0);
    let (absolute, relative) = (option("tolerance"), option("relative_tolerance"));
    right_by_any(sample, context, |reply, reference| {
        let (Some(said), Some(right)) = (numbers(reply).last(), reference_number(reference)) else {
            return false;
        };
        (said - right).abs() <= absolute.max(relative * right.abs())
    })
}

fn reference_number(text: &str) -> Option<f64> {
    match text.rsplit_once(FINAL_ANSWER) {
        Some((_, answer)) => numbers(answer).next(),
        None => numbers(text).last(),
    }
}

/// The numbers of a text, in order: `-1,234.5`, `.5`, `6e-3`. A minus counts as a sign unless it
/// follows a letter, a digit or a closing bracket; a currency sign may stand between.
fn numbers(text: &str) -> impl Iterator<Item = f64> {
    let mut rest = 0;
    std::iter::from_fn(move || {
        let (value, end) = next_number(text, rest)?;
        rest = end;
        Some(value)
    })
}

/// The first number at or after `from`, and where it ends.
fn next_number(text: &str, from: usize) -> Option<(f64, usize)> {
    let bytes = text.as_bytes();
    let digit = |place: usize| bytes.get(place).is_some_and(u8::is_ascii_digit);
    let start = (from..bytes.len()).find(|place| {
        digit(*place)
            || (bytes[*place] == b'.' && digit(place + 1) && !(*place > 0 && digit(place - 1)))
    })?;
    let run = |from: usize| {
        let digits = bytes.get(from..).unwrap_or_default();
        from + digits
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut end = run(start);
    let leading = end - start;
    // Only groups of exactly three digits belong to a number: `1,2,3` is a list.
    while (1..=3).contains(&leading) && bytes.get(end) == Some(&b',') && run(end + 1) == end + 4 {
        end += 4;
    }
    if bytes.get(end) == Some(&b'.') && digit(end + 1) {
        end = run(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = run(end + 1 + sign);
        let ends = !bytes.get(exponent).is_some_and(u8::is_ascii_alphanumeric);
        if exponent > end + 1 + sign && ends {
            end = exponent;
        }
    }
    let digits = text[start..end].replace(',', "");
    let value: f64 = digits.parse().ok()?;
    let value = if is_negative(&text[..start]) {
        -value
    } else {
        value
    };
    Some((value, end))
}

/// Whether what stands before a number is a minus sign of its own.
fn is_negative(before: &str) -> bool {
    let before = before.trim_end_matches(['$', '€', '£', '¥']);
    before
        .strip_suffix(['-', '\u{2212}'])
        .is_some_and(|before| {
            !before
                .chars()
                .next_back()
                .is_some_and(|last| last.is_alphanumeric() || matches!(last, ')' | ']' | '}'))
        })
}
