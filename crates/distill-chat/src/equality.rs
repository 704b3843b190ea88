//! When two JSON values say the same.

use serde_json::{Number, Value};

/// Whether two values are equal as JSON Schema has it: numbers by value (1 is 1.0, but not "1"),
/// lists in order, objects in any order.
pub fn same_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => same_number(one, other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| same_json(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, one)| other.get(name).is_some_and(|other| same_json(one, other)))
        }
        _ => one == other,
    }
}

/// Whole numbers are compared as such: as doubles, neighbours above 2^53 would meet.
fn same_number(one: &Number, other: &Number) -> bool {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.as_f64() == other.as_f64(),
        _ => false,
    }
}

/// The whole number that a JSON number is; `1.0` is one.
pub(crate) fn whole(number: &Number) -> Option<i128> {
    if let Some(value) = number.as_i64() {
        return Some(i128::from(value));
    }
    if let Some(value) = number.as_u64() {
        return Some(i128::from(value));
    }
    let value = number.as_f64()?;
    // Every whole double below 2^126 is an i128; above, doubles are compared as doubles.
    (value.fract() == 0.0 && value.abs() < 2_f64.powi(126)).then_some(value as i128)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::same_json;

    #[test]
    fn numbers_are_equal_by_value_and_nothing_else_is_converted() {
        let same = |one: &str, other: &str| {
            let read = |text| serde_json::from_str::<Value>(text).unwrap();
            same_json(&read(one), &read(other))
        };
        assert!(same("1", "1.0") && same("1e2", "100") && same("-0.0", "0"));
        assert!(same("1e300", "1e300") && same("0.5", "5e-1"));
        assert!(!same("1", "\"1\"") && !same("1", "true") && !same("0", "false"));
        assert!(!same("9007199254740993", "9007199254740992"));
        assert!(!same("null", "0") && !same("1.5", "1"));
    }

    #[test]
    fn lists_have_an_order_and_objects_have_none() {
        assert!(same_json(
            &json!({"a": 1, "b": [1, {"c": 2.0}]}),
            &json!({"b": [1.0, {"c": 2}], "a": 1})
        ));
        assert!(!same_json(&json!([1, 2]), &json!([2, 1])));
        assert!(!same_json(&json!({"a": 1}), &json!({"a": 1, "b": null})));
    }
}
