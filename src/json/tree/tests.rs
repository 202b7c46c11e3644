//! Tests of the tree: that it is what a `Vec` and a `BTreeMap` are, and shares what it should.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json::arbitrary;

fn parse(text: &str) -> Result<Json, JsonError> {
    Json::parse(text, &JsonLimits::default())
}

fn numbers(range: std::ops::Range<i64>) -> Array {
    range.map(Json::Int).collect()
}

fn members(count: usize) -> Object {
    (0..count).map(|n| (Key::from(format!("k{n:06}")), Json::from(0))).collect()
}

#[test]
fn a_value_is_three_words() {
    assert!(size_of::<Json>() <= 24);
}

#[test]
fn numbers_keep_their_kind() {
    for (text, expected) in [
        ("1", Json::Int(1)),
        ("-9223372036854775808", Json::Int(i64::MIN)),
        ("9223372036854775807", Json::Int(i64::MAX)),
        ("9223372036854775808", Json::Uint(1 << 63)),
        ("18446744073709551616", Json::Float(18_446_744_073_709_551_616.0)),
        ("1.0", Json::Float(1.0)),
        ("1e2", Json::Float(100.0)),
    ] {
        assert_eq!(parse(text).unwrap(), expected, "{text}");
    }
    assert_eq!(parse("1.0").unwrap().to_string(), "1.0");
    assert!(matches!(parse("1e400"), Err(JsonError::Syntax(_))));
    assert_eq!(Json::from(f64::NAN), Json::Null);
    assert_eq!((parse("-0").unwrap(), Json::from(-0.0)), (Json::Float(0.0), Json::Float(0.0)));
}

#[test]
fn the_same_value_is_numeric_and_exact() {
    let same = |a: Json, b: Json| a.same_value(&b) && b.same_value(&a);
    assert!(same(1.into(), 1.0.into()) && Json::from(1) != Json::from(1.0));
    assert!(same(0.0.into(), Json::Float(-0.0)) && same(0.into(), Json::Float(-0.0)));
    assert!(same((1_i64 << 53).into(), 9_007_199_254_740_992.0.into()));
    assert!(!same(((1_i64 << 53) + 1).into(), 9_007_199_254_740_992.0.into()));
    assert!(!same(i64::MAX.into(), 9_223_372_036_854_775_808.0.into()));
    assert!(same((1_u64 << 63).into(), 9_223_372_036_854_775_808.0.into()));
    assert!(!same(u64::MAX.into(), 1e300.into()));
    assert!(!same(1.into(), true.into()) && !same(0.into(), Json::Null));
    let nested = |n: Value| Json::from(json!({ "a": [n] }));
    assert!(same(nested(json!(1)), nested(json!(1.0))));
    assert!(!same(nested(json!(1)), json!({ "a": [1, 1] }).into()));
}

#[test]
fn of_two_members_with_one_key_the_last_stays() {
    assert_eq!(parse(r#"{"b":1,"a":2,"b":3,"b":4}"#).unwrap().to_string(), r#"{"a":2,"b":4}"#);
}

#[test]
fn what_exceeds_a_limit_is_refused() {
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(parse(&nested(64)).unwrap().depth(), 64);
    assert_eq!(parse(&nested(65)), Err(JsonError::TooDeep));
    assert_eq!(parse(&nested(100_000)), Err(JsonError::TooDeep));
    assert!(serde_json::from_str::<Json>(&nested(64)).is_ok());
    assert!(serde_json::from_str::<Json>(&nested(65)).is_err());

    let keyed = |key: &str| format!("[{{\"{key}\":0}}]");
    assert!(parse(&keyed(&"k".repeat(1024))).is_ok());
    assert_eq!(parse(&keyed(&"k".repeat(1025))), Err(JsonError::KeyTooLong));
    for key in ["__proto__", "constructor", "prototype", "\\u005f_proto__"] {
        assert!(matches!(parse(&keyed(key)), Err(JsonError::ForbiddenKey(_))), "{key}");
    }
    let lax = JsonLimits { forbid_prototype_keys: false, ..JsonLimits::default() };
    let json = Json::parse(keyed("prototype"), &lax).unwrap();
    assert_eq!(json.check(&lax), Ok(()));
    assert_eq!(
        json.check(&JsonLimits::default()),
        Err(JsonError::ForbiddenKey("prototype".into()))
    );

    let small = JsonLimits { document_bytes_max: 4, ..JsonLimits::default() };
    assert!(Json::parse("1234", &small).is_ok());
    assert_eq!(Json::parse("12345", &small), Err(JsonError::TooLarge));
    assert_eq!(json.check(&JsonLimits { depth_max: 1, ..lax }), Err(JsonError::TooDeep));
}

#[test]
fn what_is_no_json_is_refused() {
    for text in ["", "[1,]", "{a:1}", "1 2", "NaN", "'a'", "\"\\ud800\"", "[1", "01"] {
        assert!(matches!(parse(text), Err(JsonError::Syntax(_))), "{text}");
    }
    assert!(Json::parse([b'"', 0xff, b'"'], &JsonLimits::default()).is_err());
}

#[test]
fn a_size_saturates() {
    let mut json = Json::from("x");
    for _ in 0..70 {
        json = Array::from(vec![json.clone(), json]).into();
    }
    assert_eq!(json.encoded_len(), usize::MAX);
}

#[test]
fn an_edit_shares_all_but_the_way_to_it() {
    let base = numbers(0..100_000);
    let compared = |next: &Array| {
        let mut asked = 0;
        let mut ask = |a: &Json, b: &Json| {
            asked += 1;
            a == b
        };
        let prefix = base.prefix_by(next, &mut ask);
        let suffix = base.suffix_by(next, &mut ask);
        (prefix, suffix, asked)
    };
    let mut next = base.clone();
    next.set(70_000, Json::Null);
    assert!(matches!(compared(&next), (70_000, 29_999, ..200)));
    next = base.clone();
    assert!(next.insert(0, Json::Null));
    assert!(matches!(compared(&next), (0, 100_000, ..200)));
    next = base.clone();
    assert!(next.insert(50_000, Json::Null));
    // In the middle two trees are joined, which rebuilds the chunks along the seam.
    assert!(matches!(compared(&next), (50_000, 50_000, ..5_000)));
    next = base.clone();
    next.remove(99_998);
    assert!(matches!(compared(&next), (99_998, 1, ..5_000)));

    let base = members(100_000);
    let mut next = base.clone();
    next.insert("k050000".into(), Json::Null);
    next.remove("k000001");
    next.insert("new".into(), Json::Null);
    let changes: Vec<_> = base.changes(&next).collect();
    let (key, new) = (|text: &str| Key::from(text), &Json::Null);
    assert_eq!(
        changes,
        [
            ObjectChange::Removed(&key("k000001"), &0.into()),
            ObjectChange::Changed(&key("k050000"), &0.into(), new),
            ObjectChange::Added(&key("new"), new),
        ]
    );
}

#[test]
fn a_long_array_survives_many_edits() {
    let mut array = numbers(0..10_000);
    let mut model: Vec<_> = array.iter().cloned().collect();
    let (old, old_model) = (array.clone(), model.clone());
    let mut place = 7;
    for n in 0..5_000 {
        place = (place * 31 + 17) % (model.len() + 1);
        assert!(array.insert(place, Json::Int(n)));
        model.insert(place, Json::Int(n));
        if n % 3 == 0 {
            let place = place / 2;
            assert_eq!(array.remove(place), Some(model.remove(place)));
        }
        if n % 50 == 0 {
            let inserted = vec![Json::Null; place % 200];
            assert!(array.splice(place / 3, 70, inserted.clone()));
            model.splice(place / 3..place / 3 + 70, inserted);
        }
    }
    assert!(array.iter().eq(&model) && array == model.into());
    assert!(old.iter().eq(&old_model));
}

/// An edit of an array: what, where, and with how much.
#[derive(Debug, Clone)]
enum Edit {
    Set(prop::sample::Index, Json),
    Insert(prop::sample::Index, Json),
    Remove(prop::sample::Index),
    Splice(prop::sample::Index, prop::sample::Index, usize),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = any::<prop::sample::Index>;
    let edit = prop_oneof![
        (place(), arbitrary::scalar()).prop_map(|(at, value)| Edit::Set(at, value)),
        (place(), arbitrary::scalar()).prop_map(|(at, value)| Edit::Insert(at, value)),
        place().prop_map(Edit::Remove),
        (place(), place(), 0_usize..50).prop_map(|(at, to, count)| Edit::Splice(at, to, count)),
    ];
    prop::collection::vec(edit, 0..40)
}

proptest! {
    #[test]
    fn an_array_is_a_vec(start in 0_i64..200, edits in edits()) {
        let mut array = numbers(0..start);
        let mut model: Vec<Json> = (0..start).map(Json::Int).collect();
        for edit in edits {
            let (before, old_model) = (array.clone(), model.clone());
            match edit {
                Edit::Set(at, value) if !model.is_empty() => {
                    let at = at.index(model.len());
                    let old = std::mem::replace(&mut model[at], value.clone());
                    prop_assert_eq!(array.set(at, value), Some(old));
                }
                Edit::Insert(at, value) => {
                    let at = at.index(model.len() + 1);
                    model.insert(at, value.clone());
                    prop_assert!(array.insert(at, value));
                }
                Edit::Remove(at) if !model.is_empty() => {
                    let at = at.index(model.len());
                    prop_assert_eq!(array.remove(at), Some(model.remove(at)));
                }
                Edit::Splice(at, to, count) => {
                    let at = at.index(model.len() + 1);
                    let removed = to.index(model.len() - at + 1);
                    let inserted = vec![Json::from("new"); count];
                    model.splice(at..at + removed, inserted.clone());
                    prop_assert!(array.splice(at, removed, inserted));
                }
                Edit::Set(..) | Edit::Remove(_) => {
                    prop_assert_eq!((array.set(0, Json::Null), array.remove(0)), (None, None));
                }
            }
            prop_assert!(array.iter().eq(&model));
            prop_assert!(array.iter().rev().eq(model.iter().rev()));
            prop_assert_eq!(array.len(), model.len());
            prop_assert!(!array.insert(model.len() + 1, Json::Null));
            prop_assert_eq!(array.get(model.len() / 2), model.get(model.len() / 2));
            prop_assert_eq!(&array, &Array::from(model.clone()));
            prop_assert_eq!(array.encoded_len(), Json::from(array.clone()).to_string().len());
            // The older version is untouched, and compares with the newer as its model does.
            prop_assert!(before.iter().eq(&old_model));
            let equal = |(a, b): &(&Json, &Json)| a == b;
            let prefix = old_model.iter().zip(&model).take_while(equal).count();
            let suffix = old_model.iter().rev().zip(model.iter().rev()).take_while(equal).count();
            prop_assert_eq!(before.shared_prefix(&array), prefix);
            prop_assert_eq!(before.shared_suffix(&array), suffix);
        }
    }

    #[test]
    fn an_object_is_a_btreemap(
        start in 0_usize..100,
        edits in prop::collection::vec(
            (0_usize..120, prop::option::of(arbitrary::scalar())),
            0..60,
        ),
    ) {
        let mut object = members(start);
        let mut model: BTreeMap<Key, Json> =
            object.iter().map(|(key, value)| (Key::clone(key), value.clone())).collect();
        for (key, value) in edits {
            let (before, old_model) = (object.clone(), model.clone());
            let key = Key::from(format!("k{key:06}"));
            if let Some(value) = value {
                let old = model.insert(Key::clone(&key), value.clone());
                prop_assert_eq!(object.insert(Key::clone(&key), value), old);
            } else {
                prop_assert_eq!(object.remove(&key), model.remove(&key));
            }
            prop_assert!(object.iter().eq(&model));
            prop_assert!(object.iter().rev().eq(model.iter().rev()));
            prop_assert_eq!(object.get(&key), model.get(&key));
            prop_assert_eq!(&object, &model.clone().into_iter().collect::<Object>());
            prop_assert_eq!(object.encoded_len(), Json::from(object.clone()).to_string().len());
            prop_assert!(before.iter().eq(&old_model));
            let changed: Vec<_> = before.changes(&object).collect();
            let expected = match (old_model.get_key_value(&key), model.get_key_value(&key)) {
                (Some((key, old)), Some((_, new))) if old != new => {
                    Some(ObjectChange::Changed(key, old, new))
                }
                (Some((key, old)), None) => Some(ObjectChange::Removed(key, old)),
                (None, Some((key, new))) => Some(ObjectChange::Added(key, new)),
                _ => None,
            };
            prop_assert_eq!(changed, Vec::from_iter(expected));
        }
    }

    #[test]
    fn all_changes_between_two_objects_are_told(
        a in 0_usize..80,
        b in 0_usize..80,
        step in 1_usize..4,
    ) {
        let shifted = |count: usize, step: usize| -> Object {
            let key = |n: usize| Key::from(format!("k{:06}", n * step));
            (0..count).map(|n| (key(n), Json::from(i64::try_from(n).unwrap()))).collect()
        };
        let (old, new) = (shifted(a, 1), shifted(b, step));
        let mut next = old.clone();
        for change in old.changes(&new) {
            match change {
                ObjectChange::Removed(key, _) => drop(next.remove(key)),
                ObjectChange::Added(key, value) | ObjectChange::Changed(key, _, value) => {
                    drop(next.insert(Key::clone(key), value.clone()));
                }
            }
        }
        prop_assert_eq!(next, new);
    }

    #[test]
    fn what_is_written_is_read_back(json in arbitrary::json()) {
        let text = json.to_string();
        prop_assert_eq!(json.encoded_len(), text.len());
        prop_assert_eq!(&text, &serde_json::to_string(&json).unwrap());
        let lax = JsonLimits { key_bytes_max: 1 << 20, ..JsonLimits::default() };
        prop_assert_eq!(&Json::parse(&text, &lax).unwrap(), &json);
        prop_assert_eq!(&serde_json::from_str::<Json>(&text).unwrap(), &json);
        prop_assert_eq!(json.check(&lax), Ok(()));
        prop_assert!(json.depth() <= 6);
    }

    #[test]
    fn serde_json_agrees(json in arbitrary::json()) {
        let value = Value::from(&json);
        prop_assert_eq!(&Json::from(value.clone()), &json);
        prop_assert_eq!(serde_json::from_str::<Value>(&json.to_string()).unwrap(), value);
    }

    #[test]
    fn equality_is_that_of_the_texts((a, b) in arbitrary::pair()) {
        prop_assert_eq!(a == b, a.to_string() == b.to_string());
        prop_assert_eq!(a.same_value(&b), b.same_value(&a));
        prop_assert!(a.same_value(&a) && (a != b || a.same_value(&b)));
        let rebuilt = Json::from(Value::from(&a));
        prop_assert!(rebuilt == a && rebuilt.same_value(&a));
    }
}
