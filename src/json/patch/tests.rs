//! Tests of what the RFC's own suite (`tests/rfc6902`) leaves out: budgets, errors, sharing.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::json::arbitrary;
use crate::limits;

fn patch(ops: Value) -> JsonPatch {
    JsonPatch::from_json(&ops.into()).unwrap()
}

fn apply(base: Value, ops: Value) -> Result<Value, PatchError> {
    let applied = patch(ops).apply(&base.into(), &JsonLimits::default())?;
    Ok(Value::from(&applied.json))
}

fn refused(base: Value, ops: Value) -> (usize, PatchErrorKind) {
    let error = apply(base, ops).unwrap_err();
    (error.op, error.kind)
}

fn malformed(ops: &Value) -> (usize, String) {
    let by_text = serde_json::from_value::<JsonPatch>(ops.clone());
    assert!(by_text.is_err(), "{ops}");
    let error = JsonPatch::from_json(&ops.clone().into()).unwrap_err();
    (error.op, error.kind.to_string())
}

fn explicit(base: Value, ops: Value) -> Option<(String, usize, usize, usize)> {
    let applied = patch(ops).apply(&base.into(), &JsonLimits::default()).unwrap();
    let Explicit { array, index, removed, inserted } = applied.explicit?;
    Some((array.to_string(), index, removed, inserted))
}

#[test]
fn what_is_no_patch_says_what_is_missing() {
    assert_eq!(malformed(&json!({})), (0, "a patch is an array".into()));
    assert_eq!(malformed(&json!([["add", "/a", 1]])), (0, "an operation is an object".into()));
    assert_eq!(malformed(&json!([{ "path": "/a" }])).1, "\"op\" is missing");
    assert_eq!(malformed(&json!([{ "op": 1, "path": "/a" }])).1, "\"op\" is not a string");
    let ok = json!({ "op": "remove", "path": "/a" });
    assert_eq!(malformed(&json!([ok, { "op": "add", "path": "/a" }])).0, 1);
    assert_eq!(malformed(&json!([{ "op": "add", "path": "/a" }])).1, "\"value\" is missing");
    for op in [
        json!({ "op": "add", "value": 1 }),
        json!({ "op": "add", "path": null, "value": 1 }),
        json!({ "op": "copy", "path": "/a" }),
        json!({ "op": "spam", "path": "/a" }),
        json!({ "op": "remove", "path": "a" }),
        json!({ "op": "remove", "path": "/~2" }),
    ] {
        malformed(&json!([op]));
    }
    let twice = r#"[{"op":"remove","op":"remove","path":"/a"}]"#;
    assert!(serde_json::from_str::<JsonPatch>(twice).is_err());
    let null = patch(json!([{ "op": "add", "path": "/a", "value": null, "more": 1 }]));
    assert!(matches!(&*null.ops, [JsonOp::Add { value: Json::Null, .. }]));
}

#[test]
fn the_first_operation_that_fails_fails_all() {
    let base = json!({ "a": { "b": [1, 2] }, "s": "text" });
    let fails = |op: Value| {
        let ok = json!({ "op": "add", "path": "/new", "value": 1 });
        let (index, kind) = refused(base.clone(), json!([ok, op]));
        assert_eq!(index, 1);
        kind
    };
    let at = |op: &str, path: &str| json!({ "op": op, "path": path, "value": 1, "from": "/a/b" });
    assert_eq!(fails(at("remove", "/x")), PatchErrorKind::NoSuchPath);
    assert_eq!(fails(at("replace", "/a/x")), PatchErrorKind::NoSuchPath);
    assert_eq!(fails(at("replace", "/a/b/2")), PatchErrorKind::NoSuchPath);
    assert_eq!(fails(at("add", "/x/y")), PatchErrorKind::NoSuchPath);
    assert_eq!(fails(at("test", "/x")), PatchErrorKind::NoSuchPath);
    assert_eq!(fails(at("test", "/a/b/0/x")), PatchErrorKind::NotAContainer);
    assert_eq!(fails(at("add", "/s/0")), PatchErrorKind::NotAContainer);
    assert_eq!(fails(at("add", "/a/b/3")), PatchErrorKind::BadIndex);
    for path in ["/a/b/-", "/a/b/01", "/a/b/1e0", "/a/b/x", "/a/b/+1"] {
        assert_eq!(fails(at("remove", path)), PatchErrorKind::BadIndex, "{path}");
        assert_eq!(fails(at("replace", path)), PatchErrorKind::BadIndex, "{path}");
    }
    assert_eq!(fails(at("move", "/a/b/0")), PatchErrorKind::MoveIntoSelf);
    assert_eq!(fails(at("test", "/s")), PatchErrorKind::TestFailed);
    let missing = json!({ "op": "move", "from": "/x", "path": "/x/y" });
    assert_eq!(fails(missing), PatchErrorKind::NoSuchPath);
}

#[test]
fn the_whole_value_is_a_place_too() {
    let base = json!({ "a": [1] });
    let done = |op: Value| apply(base.clone(), json!([op])).unwrap();
    assert_eq!(done(json!({ "op": "replace", "path": "", "value": 1 })), json!(1));
    assert_eq!(done(json!({ "op": "remove", "path": "" })), Value::Null);
    assert_eq!(done(json!({ "op": "move", "from": "/a", "path": "" })), json!([1]));
    assert_eq!(done(json!({ "op": "move", "from": "", "path": "" })), base);
    let inside = json!({ "a": [1, { "a": [1] }] });
    assert_eq!(done(json!({ "op": "copy", "from": "", "path": "/a/-" })), inside);
}

#[test]
fn a_patch_cannot_outgrow_the_limit_at_any_moment() {
    let double = |path: &str| json!({ "op": "copy", "from": "", "path": path });
    let doubled: Vec<_> = (0..40).map(|n| double(&format!("/k{n}"))).collect();
    let too_large = PatchErrorKind::Limit(JsonError::TooLarge);
    let (op, kind) = refused(json!({ "seed": "0123456789" }), json!(doubled));
    assert!((15..24).contains(&op) && kind == too_large);
    // Not even if the last operation takes it all away.
    let mut ops = doubled;
    ops.push(json!({ "op": "replace", "path": "", "value": 0 }));
    assert_eq!(refused(json!({ "seed": "0123456789" }), json!(ops)).1, too_large);
}

#[test]
fn what_is_too_large_may_shrink() {
    let limits = JsonLimits { document_bytes_max: 10, ..JsonLimits::default() };
    let base = Json::from(json!({ "a": "0123456789", "b": 1 }));
    let applied = |ops| patch(ops).apply(&base, &limits);
    assert!(applied(json!([{ "op": "remove", "path": "/b" }])).is_ok());
    assert!(applied(json!([{ "op": "replace", "path": "/b", "value": 2 }])).is_ok());
    assert!(applied(json!([{ "op": "replace", "path": "/b", "value": 22 }])).is_err());
}

#[test]
fn ten_thousand_copies_of_a_large_string_are_refused() {
    let base = Json::from(json!({ "a": "x".repeat(1 << 20), "b": 0 }));
    let copies = vec![json!({ "op": "copy", "from": "/a", "path": "/b" }); 10_000];
    let error = patch(json!(copies)).apply(&base, &JsonLimits::default()).unwrap_err();
    assert_eq!((error.op, error.kind), (63, PatchErrorKind::Limit(JsonError::TooLarge)));
}

#[test]
fn a_patch_has_a_limit_of_operations() {
    let test = json!({ "op": "test", "path": "", "value": 0 });
    let full = vec![test; limits::PATCH_OPS_MAX];
    assert_eq!(apply(json!(0), json!(full)), Ok(json!(0)));
    let mut patch = patch(json!(full));
    patch.ops.push(JsonOp::Remove { path: Pointer::root() });
    let error = patch.apply(&Json::Null, &JsonLimits::default()).unwrap_err();
    assert_eq!(error.kind, PatchErrorKind::TooManyOps);
    let more = JsonLimits { patch_ops_max: patch.ops.len(), ..JsonLimits::default() };
    assert!(patch.apply(&0_i64.into(), &more).is_ok());

    patch.ops.resize(limits::PATCH_OPS_CEILING, JsonOp::Remove { path: Pointer::root() });
    let text = serde_json::to_string(&patch).unwrap();
    assert_eq!(serde_json::from_str::<JsonPatch>(&text).unwrap(), patch);
    patch.ops.push(JsonOp::Remove { path: Pointer::root() });
    let text = serde_json::to_string(&patch).unwrap();
    assert!(serde_json::from_str::<JsonPatch>(&text).is_err());
    assert_eq!(malformed(&serde_json::from_str(&text).unwrap()).0, 0);
}

#[test]
fn no_operation_makes_a_value_too_deep() {
    let nested = |depth| (0..depth).fold(json!(0), |inner, _| json!([inner]));
    let too_deep = PatchErrorKind::Limit(JsonError::TooDeep);
    let add = |depth| json!([{ "op": "add", "path": "/a/0", "value": nested(depth) }]);
    let limits = JsonLimits { depth_max: 10, ..JsonLimits::default() };
    let applied = |base: &Value, ops: Value| {
        let applied = patch(ops).apply(&base.clone().into(), &limits);
        applied.map(|applied| applied.json.depth()).map_err(|error| error.kind)
    };
    let base = json!({ "a": [], "b": nested(8), "c": { "d": {} } });
    assert_eq!(applied(&base, add(8)), Ok(10));
    assert_eq!(applied(&base, add(9)), Err(too_deep.clone()));
    for op in ["copy", "move"] {
        let to = |path: &str| json!([{ "op": op, "from": "/b", "path": path }]);
        assert_eq!(applied(&base, to("/c/x")), Ok(10));
        assert_eq!(applied(&base, to("/c/d/x")), Err(too_deep.clone()));
    }
}

#[test]
fn forbidden_and_long_keys_are_refused_where_they_come_in() {
    let refused = |op: Value| refused(json!({ "a": [1] }), json!([op])).1;
    let forbidden = |key: &str| PatchErrorKind::Limit(JsonError::ForbiddenKey(key.into()));
    assert_eq!(
        refused(json!({ "op": "add", "path": "/__proto__", "value": 1 })),
        forbidden("__proto__")
    );
    assert_eq!(
        refused(json!({ "op": "add", "path": "/constructor/prototype/x", "value": 1 })),
        forbidden("constructor")
    );
    assert_eq!(
        refused(json!({ "op": "add", "path": "/b", "value": [{ "prototype": 1 }] })),
        forbidden("prototype")
    );
    assert_eq!(
        refused(json!({ "op": "copy", "from": "/a", "path": "/__proto__" })),
        forbidden("__proto__")
    );
    let long = format!("/{}", "k".repeat(1025));
    assert_eq!(
        refused(json!({ "op": "move", "from": "/a", "path": long })),
        PatchErrorKind::Limit(JsonError::KeyTooLong)
    );
}

#[test]
fn a_lone_operation_on_an_array_is_explicit() {
    let base = json!({ "x": [1, 1, 1] });
    let said = |ops: Value| explicit(base.clone(), ops);
    let x = |index, removed, inserted| Some(("/x".to_owned(), index, removed, inserted));
    let test = json!({ "op": "test", "path": "/x/0", "value": 1 });
    assert_eq!(said(json!([{ "op": "remove", "path": "/x/0" }])), x(0, 1, 0));
    assert_eq!(said(json!([test, { "op": "remove", "path": "/x/2" }])), x(2, 1, 0));
    assert_eq!(said(json!([{ "op": "add", "path": "/x/-", "value": 1 }])), x(3, 0, 1));
    assert_eq!(said(json!([{ "op": "add", "path": "/x/1", "value": 1 }])), x(1, 0, 1));
    assert_eq!(said(json!([{ "op": "copy", "from": "/x/0", "path": "/x/1" }])), x(1, 0, 1));
    assert_eq!(said(json!([{ "op": "replace", "path": "/x/0", "value": 1 }])), None);
    assert_eq!(said(json!([{ "op": "add", "path": "/y", "value": 1 }])), None);
    assert_eq!(said(json!([{ "op": "remove", "path": "/x" }])), None);
    assert_eq!(said(json!([test])), None);
    let twice = json!([{ "op": "remove", "path": "/x/0" }, { "op": "remove", "path": "/x/0" }]);
    assert_eq!(said(twice), None);
}

#[test]
fn what_a_patch_does_not_touch_is_shared() {
    let base = Json::from(json!({ "a": { "x": [1] }, "b": [{ "n": 1 }, { "n": 2 }] }));
    let edit = patch(json!([{ "op": "replace", "path": "/b/1/n", "value": 3 }]));
    let next = edit.apply(&base, &JsonLimits::default()).unwrap().json;
    let shared = |path: &str| {
        let path = path.parse().unwrap();
        base.get(&path).unwrap().ptr_eq(next.get(&path).unwrap())
    };
    assert!(shared("/a") && shared("/b/0"));
    assert!(!shared("") && !shared("/b") && !shared("/b/1"));
}

fn operation() -> impl Strategy<Value = JsonOp> {
    let path = || prop::collection::vec(arbitrary::key(), 0..4).prop_map(Pointer::from_iter);
    prop_oneof![
        (path(), arbitrary::json()).prop_map(|(path, value)| JsonOp::Add { path, value }),
        path().prop_map(|path| JsonOp::Remove { path }),
        (path(), arbitrary::json()).prop_map(|(path, value)| JsonOp::Replace { path, value }),
        (path(), path()).prop_map(|(from, path)| JsonOp::Move { from, path }),
        (path(), path()).prop_map(|(from, path)| JsonOp::Copy { from, path }),
        (path(), arbitrary::json()).prop_map(|(path, value)| JsonOp::Test { path, value }),
    ]
}

proptest! {
    #[test]
    fn a_patch_is_written_and_read_back(ops in prop::collection::vec(operation(), 0..6)) {
        let patch = JsonPatch { ops };
        let text = serde_json::to_string(&patch).unwrap();
        prop_assert_eq!(&serde_json::from_str::<JsonPatch>(&text).unwrap(), &patch);
        let json = serde_json::from_str::<Json>(&text).unwrap();
        prop_assert_eq!(&JsonPatch::from_json(&json).unwrap(), &patch);
    }

    #[test]
    fn no_patch_breaks_a_limit_or_its_base(
        base in arbitrary::json(),
        ops in prop::collection::vec(operation(), 0..6),
    ) {
        let before = base.to_string();
        let limits = JsonLimits {
            depth_max: base.depth().max(3),
            document_bytes_max: base.encoded_len().max(200),
            key_bytes_max: usize::MAX,
            forbid_prototype_keys: true,
            ..JsonLimits::default()
        };
        if let Ok(applied) = (JsonPatch { ops }).apply(&base, &limits) {
            prop_assert_eq!(applied.json.check(&limits), Ok(()));
            prop_assert_eq!(applied.json.encoded_len(), applied.json.to_string().len());
        }
        prop_assert_eq!(base.to_string(), before);
    }
}
