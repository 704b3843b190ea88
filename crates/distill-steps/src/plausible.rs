//! What a number in somebody's file may be, before figures are made of it.
//!
//! A score of 1e308 makes an infinite mean and a difference that is no number, and a p value would
//! still be printed beside it: such files are refused with the place, and never averaged.

use distill_eval::{SampleRecord, Score};
use serde_json::Value;

/// The largest magnitude whose squares still add up to a number.
const MOST: f64 = 1e100;
/// Tokens of one answer; sums over any file stay whole numbers.
const MOST_TOKENS: u64 = 1_000_000_000_000;
/// Whole numbers beyond it are not exact as an `f64`.
const MOST_COUNT: u64 = 1 << 53;
/// A key whose value is drawn from all whole numbers, and is no count.
const SEED: &str = "seed";

/// Whether sums and squares of such numbers are numbers.
pub(crate) fn can_be_averaged(value: f64) -> bool {
    value.abs() <= MOST
}

/// What of a record no answer can have; `None` where all is in order.
pub(crate) fn wrong_in_record(record: &SampleRecord) -> Option<String> {
    let beyond = |what: &str, value: f64| format!("its {what} is {value:e}");
    for (name, score) in &record.scores {
        if let Score::Value(value) = score
            && !can_be_averaged(*value)
        {
            return Some(beyond(&format!("score `{name}`"), *value));
        }
    }
    for (name, judgement) in &record.judged {
        if let Score::Value(value) = judgement.score
            && !(0.0..=1.0).contains(&value)
        {
            return Some(beyond(&format!("score by the judge `{name}`"), value));
        }
    }
    let amounts = [
        ("latency_ms", record.latency_ms),
        ("usd", record.usd),
        (
            "input_tokens",
            record.input_tokens.map(|count| count as f64),
        ),
        (
            "output_tokens",
            record.output_tokens.map(|count| count as f64),
        ),
    ];
    for (name, value) in amounts {
        let most = if name.ends_with("tokens") {
            MOST_TOKENS as f64
        } else {
            MOST
        };
        if let Some(value) = value.filter(|value| !(0.0..=most).contains(value)) {
            return Some(beyond(&format!("`{name}`"), value));
        }
    }
    record
        .confidence
        .filter(|value| !can_be_averaged(*value))
        .map(|value| beyond("`confidence`", value))
}

/// The first number of a document that nothing can be counted with, with its place in it.
pub(crate) fn wrong_in_document(document: &Value) -> Option<String> {
    fn walk(value: &Value, place: &mut Vec<String>) -> Option<String> {
        match value {
            Value::Number(number) => {
                let is_whole = number.is_u64() || number.is_i64();
                let value = number.as_f64()?;
                let fits = if is_whole {
                    place.last().is_some_and(|key| key == SEED) || value.abs() <= MOST_COUNT as f64
                } else {
                    can_be_averaged(value)
                };
                (!fits).then(|| format!("`{}` is {value:e}", place.join(".")))
            }
            Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
                place.push(index.to_string());
                let found = walk(item, place);
                place.pop();
                found
            }),
            Value::Object(fields) => fields.iter().find_map(|(key, item)| {
                place.push(key.clone());
                let found = walk(item, place);
                place.pop();
                found
            }),
            _ => None,
        }
    }
    walk(document, &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_of_a_real_answer_is_in_order() {
        let record = SampleRecord {
            scores: [("mine".to_owned(), Score::Value(-1e9))].into(),
            latency_ms: Some(0.0),
            usd: Some(0.0),
            input_tokens: Some(1_000_000),
            confidence: Some(-745.0),
            ..SampleRecord::default()
        };
        assert_eq!(wrong_in_record(&record), None);
    }

    #[test]
    fn what_no_answer_can_have_is_named() {
        let record = SampleRecord::default;
        let cases = [
            (
                SampleRecord {
                    scores: [("mine".to_owned(), Score::Value(1e308))].into(),
                    ..record()
                },
                "its score `mine` is 1e308",
            ),
            (
                SampleRecord {
                    latency_ms: Some(-1.0),
                    ..record()
                },
                "its `latency_ms` is -1e0",
            ),
            (
                SampleRecord {
                    usd: Some(1e300),
                    ..record()
                },
                "its `usd` is 1e300",
            ),
            (
                SampleRecord {
                    output_tokens: Some(2_000_000_000_000),
                    ..record()
                },
                "its `output_tokens` is 2e12",
            ),
            (
                SampleRecord {
                    confidence: Some(-1e200),
                    ..record()
                },
                "its `confidence` is -1e200",
            ),
        ];
        for (record, told) in cases {
            assert_eq!(wrong_in_record(&record).as_deref(), Some(told));
        }
    }

    #[test]
    fn a_documents_absurd_number_is_named_with_its_place_and_a_seed_is_none() {
        let seeds = json!({"seed": u64::MAX, "inner": [{"share": 0.5, "rows": 12}]});
        assert_eq!(wrong_in_document(&seeds), None);
        for (value, told) in [
            (json!(1e200), "`inner.0.share` is 1e200"),
            (json!(u64::MAX), "`inner.0.share` is 1.8446744073709552e19"),
        ] {
            let document = json!({"inner": [{"share": value}]});
            assert_eq!(wrong_in_document(&document).as_deref(), Some(told));
        }
    }
}
