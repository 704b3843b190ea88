use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

/// JSON of every shape, a few levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no such number", |x| x.is_finite())
            .prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,3}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// Turns every map of a value around.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(reversed).collect(),
        Value::Object(entries) => {
            let turned = entries.iter().rev();
            let turned = turned.map(|(name, value)| (name.clone(), reversed(value)));
            Value::Object(turned.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// Says whether two values are one by the written rule: all numbers by kind and value.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i128(), b.as_i128()) {
            (None, None) => a.as_f64() == b.as_f64(),
            (a, b) => a == b,
        },
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn some_ingredients() -> Ingredients {
    Ingredients {
        kind: "train".to_owned(),
        version: 1,
        settings: json!({"rank": 8, "words": ["a", "b"]}),
        inputs: BTreeMap::from([
            ("left".to_owned(), ContentHash::of_bytes(b"l")),
            ("right".to_owned(), ContentHash::of_bytes(b"r")),
        ]),
        models: vec!["vendor/model".to_owned()],
        seed: Some(17),
    }
}

proptest! {
    #[test]
    fn the_order_of_maps_never_matters(value in any_json()) {
        prop_assert_eq!(ContentHash::of_json(&value), ContentHash::of_json(&reversed(&value)));
    }

    #[test]
    fn values_share_a_hash_exactly_when_they_are_the_same(a in any_json(), b in any_json()) {
        let equal = ContentHash::of_json(&a) == ContentHash::of_json(&b);
        prop_assert_eq!(equal, same(&a, &b));
    }

    #[test]
    fn a_value_with_one_more_word_has_another_hash(value in any_json(), word in ".{0,4}") {
        let longer = json!([value, word]);
        prop_assert_ne!(ContentHash::of_json(&value), ContentHash::of_json(&longer));
    }

    #[test]
    fn text_cannot_be_moved_across_a_border(text in ".{2,12}", a in 0usize..13, b in 0usize..13) {
        let cut = |at: usize| {
            let (left, right): (Vec<_>, Vec<_>) =
                text.chars().enumerate().partition(|(place, _)| *place < at);
            let join = |part: Vec<(usize, char)>| part.into_iter().map(|(_, c)| c).collect::<String>();
            (join(left), join(right))
        };
        let hash = |(left, right): &(String, String)| {
            let mut hasher = StableHasher::new("test");
            hasher.text(left);
            hasher.text(right);
            hasher.finish()
        };
        let (first, second) = (cut(a), cut(b));
        prop_assert_eq!(hash(&first) == hash(&second), first == second);
    }

    #[test]
    fn hashes_survive_the_way_through_text(bytes in any::<[u8; 32]>()) {
        let hash = ContentHash::from_digest(bytes);
        prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        let json = serde_json::to_string(&Key(hash)).unwrap();
        prop_assert_eq!(serde_json::from_str::<Key>(&json).unwrap(), Key(hash));
    }

    #[test]
    fn no_other_text_is_a_hash(text in "[0-9a-fg]{60,68}") {
        let fits = text.len() == 64 && !text.contains('g');
        prop_assert_eq!(text.parse::<ContentHash>().is_ok(), fits);
    }
}

#[test]
fn a_file_hash_is_the_one_that_other_tools_show() {
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(ContentHash::of_bytes(b"abc").to_string(), abc);
    assert_eq!(ContentHash::of_bytes(b"abc").short(), abc[..12]);
}

/// The rule is written down, so a change of it is a change of every key: bump the domains.
#[test]
fn the_rule_gives_the_same_bytes_as_ever() {
    let mut by_hand = Sha256::new();
    let mut put = |bytes: &[u8]| by_hand.update(bytes);
    let text = |put: &mut dyn FnMut(&[u8]), text: &str| {
        put(&[5]);
        put(&(text.len() as u64).to_le_bytes());
        put(text.as_bytes());
    };
    text(&mut put, "json");
    put(&[8]);
    put(&2u64.to_le_bytes());
    text(&mut put, "a");
    put(&[7]);
    put(&4u64.to_le_bytes());
    put(&[3]);
    put(&(-2i128).to_le_bytes());
    put(&[4]);
    put(&0.5f64.to_le_bytes());
    put(&[0]);
    put(&[2]);
    text(&mut put, "b");
    text(&mut put, "é");
    let expected = ContentHash::from_digest(by_hand.finalize().into());
    let value = json!({"b": "é", "a": [-2, 0.5, null, true]});
    assert_eq!(ContentHash::of_json(&value), expected);
}

#[test]
fn zeros_are_one_and_nan_is_refused() {
    let hash = |value: f64| {
        let mut hasher = StableHasher::new("test");
        hasher.float(value).map(|()| hasher.finish())
    };
    assert_eq!(hash(0.0), hash(-0.0));
    assert_ne!(hash(0.0), hash(f64::MIN_POSITIVE));
    assert_ne!(hash(f64::INFINITY), hash(f64::NEG_INFINITY));
    assert_eq!(hash(f64::NAN), Err(NotANumber));
    assert_ne!(
        ContentHash::of_json(&json!(1)),
        ContentHash::of_json(&json!(1.0))
    );
}

#[test]
fn kinds_of_value_do_not_meet() {
    let values = [
        json!(null),
        json!(false),
        json!(0),
        json!(0.0),
        json!(""),
        json!([]),
        json!({}),
        json!("0"),
        json!([0]),
        json!([[]]),
        json!({"": null}),
    ];
    for (place, a) in values.iter().enumerate() {
        for b in &values[..place] {
            assert_ne!(
                ContentHash::of_json(a),
                ContentHash::of_json(b),
                "{a} and {b}"
            );
        }
    }
}

type Change = fn(&mut Ingredients);

#[test]
fn every_ingredient_changes_the_key() {
    let base = some_ingredients();
    let changes: [(&str, Change); 10] = [
        ("kind", |i| i.kind = "label".to_owned()),
        ("version", |i| i.version = 2),
        ("setting", |i| i.settings["rank"] = json!(16)),
        ("order of a list", |i| {
            i.settings["words"] = json!(["b", "a"]);
        }),
        ("input content", |i| {
            i.inputs
                .insert("left".to_owned(), ContentHash::of_bytes(b"x"));
        }),
        ("inputs swapped", |i| {
            let left = i.inputs["left"];
            let right = i.inputs.insert("right".to_owned(), left).unwrap();
            i.inputs.insert("left".to_owned(), right);
        }),
        ("input gone", |i| {
            i.inputs.remove("left");
        }),
        ("model", |i| i.models.push("vendor/backup".to_owned())),
        ("seed", |i| i.seed = Some(18)),
        ("no seed", |i| i.seed = None),
    ];
    let mut keys = vec![base.key()];
    for (what, change) in changes {
        let mut changed = base.clone();
        change(&mut changed);
        assert!(!keys.contains(&changed.key()), "{what} changes nothing");
        keys.push(changed.key());
    }
}

#[test]
fn the_order_of_settings_changes_no_key() {
    let mut turned = some_ingredients();
    turned.settings = json!({"words": ["a", "b"], "rank": 8});
    assert_eq!(turned.key(), some_ingredients().key());
}
