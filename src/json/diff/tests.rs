//! Tests of the difference: that it is one, and that it names the elements that were meant.

use imara_diff::Interner;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json::arbitrary;
use crate::json::pointer::PointerError;
use crate::json::tree::JsonLimits;

/// The base with a difference applied, which needs no patch.
fn applied(difference: &Difference, base: &Json) -> Json {
    match (difference, base) {
        (Difference::Same, base) => base.clone(),
        (Difference::Replace(value), _) => value.clone(),
        (Difference::Object(entries), Json::Object(base)) => {
            let mut next = base.clone();
            for (key, entry) in entries {
                match entry {
                    Entry::Add(value) => {
                        assert_eq!(next.insert(Key::clone(key), value.clone()), None);
                    }
                    Entry::Remove => assert!(next.remove(key).is_some()),
                    Entry::Change(Difference::Same) => panic!("nothing changes at {key}"),
                    Entry::Change(inner) => {
                        let value = applied(inner, base.get(key).unwrap());
                        next.insert(Key::clone(key), value);
                    }
                }
            }
            next.into()
        }
        (Difference::Array(steps), Json::Array(base)) => {
            let (mut next, mut rest) = (Vec::new(), base.iter());
            for step in steps {
                match step {
                    Step::Keep(count) => next.extend(rest.by_ref().take(*count).cloned()),
                    Step::Change(Difference::Same) => panic!("nothing changes at {}", next.len()),
                    Step::Change(inner) => next.push(applied(inner, rest.next().unwrap())),
                    Step::Delete(count) => assert_eq!(rest.by_ref().take(*count).count(), *count),
                    Step::Insert(values) => next.extend(values.iter().cloned()),
                }
            }
            next.extend(rest.cloned());
            Array::from(next).into()
        }
        (difference, base) => panic!("{difference:?} is no difference of {base:?}"),
    }
}

fn lax() -> JsonLimits {
    JsonLimits { key_bytes_max: usize::MAX, ..JsonLimits::default() }
}

fn diff(base: Value, next: Value) -> Difference {
    let (base, next) = (Json::from(base), Json::from(next));
    let difference = difference(&base, &next, &Identity::default(), None);
    assert_eq!(applied(&difference, &base), next);
    assert_eq!(patch_of(&difference).apply(&base, &lax()).unwrap().json, next);
    difference
}

fn replace(value: Value) -> Difference {
    Difference::Replace(value.into())
}

fn insert(values: Value) -> Step {
    Step::Insert(Json::from(values).as_array().unwrap().iter().cloned().collect())
}

fn member(key: &str, change: Difference) -> Difference {
    Difference::Object(vec![(key.into(), Entry::Change(change))])
}

#[test]
fn a_front_insert_is_one_insert_whatever_the_patch_says() {
    let lists = [
        (json!(["a", "b", "c"]), json!("new")),
        (json!([{ "n": 1 }, { "n": 2 }, { "n": 3 }]), json!({ "n": 0 })),
        (json!([{ "id": 1, "n": 1 }, { "id": 2, "n": 2 }]), json!({ "id": 0, "n": 0 })),
    ];
    for (list, new) in lists {
        // As a client that compares by position writes it.
        let items = list.as_array().unwrap();
        let shifted = std::iter::once(&new).chain(items);
        let mut ops: Vec<_> = (0..items.len())
            .zip(shifted)
            .map(|(n, value)| json!({ "op": "replace", "path": format!("/{n}"), "value": value }))
            .collect();
        ops.push(json!({ "op": "add", "path": "/-", "value": items.last() }));
        let patch = JsonPatch::from_json(&json!(ops).into()).unwrap();

        let base = Json::from(list);
        let next = patch.apply(&base, &lax()).unwrap();
        assert_eq!(next.explicit, None);
        let found = difference(&base, &next.json, &Identity::default(), None);
        assert_eq!(found, Difference::Array(vec![insert(json!([new]))]));
    }
}

#[test]
fn an_element_with_an_identity_is_found_wherever_its_fields_went() {
    let base = json!([{ "id": "a", "x": 1 }, { "id": "b", "x": 1 }, { "id": "c", "x": 1 }]);
    let next = json!([{ "id": "n" }, { "id": "b", "x": 2 }, { "id": "c", "x": 1 }]);
    assert_eq!(
        diff(base, next),
        Difference::Array(vec![
            Step::Delete(1),
            insert(json!([{ "id": "n" }])),
            Step::Change(member("x", replace(json!(2)))),
        ])
    );
}

#[test]
fn an_element_never_turns_into_one_with_another_identity() {
    let changed = diff(json!([{ "id": 1, "x": 1 }]), json!([{ "id": 2, "x": 1 }]));
    let steps = vec![Step::Delete(1), insert(json!([{ "id": 2, "x": 1 }]))];
    assert_eq!(changed, Difference::Array(steps));
    // Nor into one without, nor where an identity occurs twice.
    let changed = diff(json!([{ "id": 1 }, { "id": 2 }]), json!([{ "n": 1 }, { "id": 2 }]));
    assert_eq!(changed, Difference::Array(vec![Step::Delete(1), insert(json!([{ "n": 1 }]))]));
    let base = json!([{ "id": 1, "x": 1 }, { "id": 1, "x": 2 }, { "id": 2 }, { "id": 3 }]);
    let next = json!([{ "id": 4, "x": 1 }, { "id": 4, "x": 2 }, { "id": 2 }, { "id": 3, "x": 1 }]);
    assert_eq!(
        diff(base, next.clone()),
        Difference::Array(vec![
            Step::Delete(2),
            insert(json!([next[0], next[1]])),
            Step::Keep(1),
            Step::Change(Difference::Object(vec![("x".into(), Entry::Add(1.into()))])),
        ])
    );
}

#[test]
fn an_element_that_moved_goes_and_comes() {
    let changed = diff(
        json!([{ "id": 1 }, { "id": 2 }, { "id": 3 }]),
        json!([
            { "id": 2 }, { "id": 3 }, { "id": 1 }
        ]),
    );
    let steps = vec![Step::Delete(1), Step::Keep(2), insert(json!([{ "id": 1 }]))];
    assert_eq!(changed, Difference::Array(steps));
}

#[test]
fn elements_without_identity_are_compared_inside() {
    let changed = diff(
        json!([{ "t": "a", "done": false }, { "t": "b", "done": false }]),
        json!([{ "t": "a", "done": true }, { "t": "b", "done": false }]),
    );
    let done = member("done", replace(json!(true)));
    assert_eq!(changed, Difference::Array(vec![Step::Change(done.clone())]));
    // Also when another one came in before it by the same patch.
    let changed = diff(
        json!([{ "t": "a", "by": "x", "done": false }]),
        json!([{ "t": "new", "by": "y" }, { "t": "a", "by": "x", "done": true }]),
    );
    let steps = vec![insert(json!([{ "t": "new", "by": "y" }])), Step::Change(done)];
    assert_eq!(changed, Difference::Array(steps));
    let changed = diff(json!([1, 2, 3]), json!([1, 9, 3]));
    assert_eq!(changed, Difference::Array(vec![Step::Keep(1), Step::Change(replace(json!(9)))]));
    let changed = diff(json!([[1, 2], [3, 4]]), json!([[1, 2], [3, 5]]));
    let inner = Difference::Array(vec![Step::Keep(1), Step::Change(replace(json!(5)))]);
    assert_eq!(changed, Difference::Array(vec![Step::Keep(1), Step::Change(inner)]));
}

#[test]
fn a_list_that_shrinks_loses_what_is_gone() {
    assert_eq!(
        diff(json!([1, 2, 3]), json!([1, 2])),
        Difference::Array(vec![Step::Keep(2), Step::Delete(1)])
    );
    assert_eq!(
        diff(json!([1, 2, 3, 4]), json!([2, 4])),
        Difference::Array(vec![Step::Delete(1), Step::Keep(1), Step::Delete(1)])
    );
}

#[test]
fn the_configured_member_identifies() {
    let identity = |pattern| Identity::new([(pattern, "name")]).unwrap();
    let base = Json::from(json!({ "a": { "x": { "b": [{ "name": "n", "id": 1 }] } } }));
    let next = Json::from(json!({ "a": { "x": { "b": [{ "name": "n", "id": 2 }] } } }));
    let changed = |identity| {
        let difference = difference(&base, &next, &identity, None);
        patch_of(&difference).ops.iter().map(|op| json!(op)).collect::<Vec<_>>()
    };
    let inside = [json!({ "op": "replace", "path": "/a/x/b/0/id", "value": 2 })];
    assert_eq!(changed(identity("/a/*/b")), inside);
    assert_eq!(changed(identity("/a/x/b")), inside);
    for other in ["/a/*", "/a/b", "/a/x/b/*", ""] {
        assert_eq!(changed(identity(other)).len(), 2, "{other}");
    }
    let both = Identity::new([("/*/*/b", "id"), ("/a/*/b", "name")]).unwrap();
    assert_eq!(changed(both), inside);
    assert_eq!(Identity::new([("a", "id")]), Err(PointerError::NoSlash));
}

#[test]
fn an_explicit_operation_says_which_of_equal_elements() {
    let base = Json::from(json!({ "a": [{ "x": [1, 1, 1] }] }));
    let steps = |op: Value| {
        let patch = JsonPatch::from_json(&json!([op]).into()).unwrap();
        let next = patch.apply(&base, &lax()).unwrap();
        let explicit = next.explicit.as_ref();
        let difference = difference(&base, &next.json, &Identity::default(), explicit);
        assert_eq!(applied(&difference, &base), next.json);
        difference
    };
    let inside = |steps| {
        let x = member("x", Difference::Array(steps));
        member("a", Difference::Array(vec![Step::Change(x)]))
    };
    let remove = |n| json!({ "op": "remove", "path": format!("/a/0/x/{n}") });
    assert_eq!(steps(remove(0)), inside(vec![Step::Delete(1)]));
    assert_eq!(steps(remove(1)), inside(vec![Step::Keep(1), Step::Delete(1)]));
    assert_eq!(steps(remove(2)), inside(vec![Step::Keep(2), Step::Delete(1)]));
    let add = json!({ "op": "add", "path": "/a/0/x/1", "value": 1 });
    assert_eq!(steps(add), inside(vec![Step::Keep(1), insert(json!([1]))]));
}

#[test]
fn what_is_explicit_but_untrue_is_not_believed() {
    let (base, next) = (Json::from(json!([1, 2, 3])), Json::from(json!([1, 2])));
    for (index, removed, inserted) in [(0, 1, 0), (9, 1, 0), (2, 0, 1), (usize::MAX, 1, 0)] {
        let array = Pointer::root();
        let explicit = Explicit { array, index, removed, inserted };
        let difference = difference(&base, &next, &Identity::default(), Some(&explicit));
        assert_eq!(applied(&difference, &base), next);
    }
}

#[test]
fn a_patch_that_would_be_too_long_replaces_the_whole() {
    let list = |n: i64| Json::Array((0..20_000).map(|i| Json::Int(i * n)).collect());
    let patch = between(&list(1), &Array::new().into(), &Identity::default());
    assert_eq!(patch.ops.len(), 1);
    assert_eq!(patch.apply(&list(1), &lax()).unwrap().json, Array::new().into());
}

#[test]
fn a_reordered_list_keeps_most_of_its_elements() {
    // Every hundredth element to the front: what is kept is what a minimal difference keeps.
    let record = |n: i64| Json::from(json!({ "id": n, "x": [n, n] }));
    let base: Array = (0..2_000).map(record).collect();
    let moved = (0..2_000).filter(|n| n % 100 == 50);
    let rest = (0..2_000).filter(|n| n % 100 != 50);
    let next: Array = moved.chain(rest).map(record).collect();
    let patch = between(&base.clone().into(), &next.into(), &Identity::default());
    assert_eq!(patch.ops.len(), 40);
}

#[test]
fn as_many_elements_stay_as_can() {
    let list = |ids: &[i64]| Json::Array(ids.iter().map(|id| json!({ "id": id }).into()).collect());
    let next = list(&[3, 1, 4, 9, 2, 6, 5, 8, 7, 10]);
    let patch = between(&list(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]), &next, &Identity::default());
    // 1 2 5 7 10, 1 2 6 8 10 or the like stay: five of ten go and come.
    assert_eq!(patch.ops.len(), 10);
}

#[test]
fn a_few_edits_are_found_in_a_long_list_that_repeats_itself() {
    // Too long to search as a whole, and no element occurs only once.
    let mut seed = 1_u64;
    let mut number = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Json::from((seed >> 40) % 9)
    };
    let base: Array = (0..20_000).map(|_| number()).collect();
    let mut next: Vec<Json> = base.iter().cloned().collect();
    next.remove(19_000);
    next.insert(9_000, "new".into());
    next.insert(3, "new".into());
    let patch = between(&base.clone().into(), &Array::from(next).into(), &Identity::default());
    assert_eq!(patch.ops.len(), 3);
}

proptest! {
    #[test]
    fn long_lists_that_repeat_themselves_are_no_exception(
        a in prop::collection::vec(0_u32..3, 0..200),
        b in prop::collection::vec(0_u32..3, 0..200),
    ) {
        // The ways that no list of a test's size would take: without steps left to search.
        let mut interner = Interner::new(a.len() + b.len());
        let a: Vec<_> = a.into_iter().map(|sign| interner.intern(sign)).collect();
        let b: Vec<_> = b.into_iter().map(|sign| interner.intern(sign)).collect();
        for mut steps in [0, 100, 10_000, 100_000] {
            let pairs = align::common_subsequence(&a, &b, &mut steps);
            prop_assert!(pairs.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
            prop_assert!(pairs.iter().all(|(old, new)| a[*old] == b[*new]));
        }
    }

    #[test]
    fn a_patch_leads_from_one_value_to_the_other((a, b) in arbitrary::pair()) {
        let difference = difference(&a, &b, &Identity::default(), None);
        prop_assert_eq!(&applied(&difference, &a), &b);
        prop_assert_eq!(difference == Difference::Same, a == b);
        let patch = between(&a, &b, &Identity::default());
        let only = |op: &JsonOp| {
            matches!(op, JsonOp::Add { .. } | JsonOp::Remove { .. } | JsonOp::Replace { .. })
        };
        prop_assert!(patch.ops.iter().all(only));
        prop_assert_eq!(patch.apply(&a, &lax()).unwrap().json, b);
    }

    #[test]
    fn nothing_differs_from_itself(a in arbitrary::json()) {
        let apart = Json::from(Value::from(&a));
        for same in [&a, &apart] {
            let difference = difference(&a, same, &Identity::default(), None);
            prop_assert_eq!(difference, Difference::Same);
        }
    }

    #[test]
    fn long_lists_are_no_exception(
        a in prop::collection::vec(0_i64..40, 0..150),
        b in prop::collection::vec(0_i64..40, 0..150),
        keyed: bool,
    ) {
        let element = |n: &i64| {
            if keyed { Json::from(json!({ "id": n })) } else { Json::Int(*n) }
        };
        let list = |numbers: &[i64]| Json::Array(numbers.iter().map(element).collect());
        let (a, b) = (list(&a), list(&b));
        let patch = between(&a, &b, &Identity::default());
        prop_assert_eq!(patch.apply(&a, &lax()).unwrap().json, b);
    }

    #[test]
    fn a_lone_operation_is_honoured(
        list in prop::collection::vec(0_i64..3, 1..60),
        place: prop::sample::Index,
        inserted in prop::option::of(0_i64..3),
    ) {
        let base = Json::Array(list.iter().copied().map(Json::Int).collect());
        let (index, op, step) = if let Some(n) = inserted {
            let index = place.index(list.len() + 1);
            let path = Pointer::root().child(index.to_string());
            (index, JsonOp::Add { path, value: n.into() }, Step::Insert(vec![n.into()]))
        } else {
            let index = place.index(list.len());
            let path = Pointer::root().child(index.to_string());
            (index, JsonOp::Remove { path }, Step::Delete(1))
        };
        let next = JsonPatch { ops: vec![op] }.apply(&base, &lax()).unwrap();
        let explicit = next.explicit.as_ref();
        let found = difference(&base, &next.json, &Identity::default(), explicit);
        let kept = (index > 0).then_some(Step::Keep(index));
        prop_assert_eq!(found, Difference::Array(kept.into_iter().chain([step]).collect()));
    }
}
