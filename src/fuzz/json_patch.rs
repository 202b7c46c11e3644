//! Patches on the persistent tree against [`reference`], a plain RFC 6902 on plain values; and the
//! patch between two values, which must lead from the one to the other.

mod reference;

use serde_json::{Value, json};

use super::script::Script;
use crate::json::{Json, JsonError, JsonLimits, JsonPatch, PatchErrorKind, between};

/// Operations in one patch.
const OPS_MAX: usize = 24;

/// Limits that a small value can meet.
const NARROW: JsonLimits = JsonLimits {
    depth_max: 4,
    key_bytes_max: 3,
    document_bytes_max: 150,
    patch_ops_max: 8,
    forbid_prototype_keys: true,
};

/// A value, a patch made for it as it changes, and another value.
pub fn json_patch(bytes: &[u8]) {
    let mut script = Script::new(bytes);
    let wide = JsonLimits { forbid_prototype_keys: false, ..JsonLimits::default() };
    let limits = match script.below(4) {
        0 => NARROW,
        1 => JsonLimits::default(),
        _ => wide.clone(),
    };
    let base = script.json();
    lead(&base, &mut script, &wide);
    if base.check(&limits).is_ok() {
        compare(&base, &mut script, &limits);
    }
}

/// The patch between two values leads from the one to the other, for everybody.
fn lead(base: &Json, script: &mut Script<'_>, limits: &JsonLimits) {
    let identity = script.identity();
    let mut next = if script.below(4) == 0 { script.json() } else { base.clone() };
    for _ in 0..script.below(4) {
        script.edit(&mut next);
    }
    let patch = between(base, &next, &identity);
    assert_eq!(patch.ops.is_empty(), *base == next);
    let applied = patch.apply(base, limits).unwrap();
    assert_eq!(applied.json, next, "{patch:?}");
    let text = serde_json::to_value(&patch).unwrap();
    let plain = reference::apply(&Value::from(base), &text, limits);
    assert_eq!(plain, Some(Value::from(&next)), "{patch:?}");
}

/// Both refuse a patch, or both come to the same.
fn compare(base: &Json, script: &mut Script<'_>, limits: &JsonLimits) {
    let (before, plain) = (base.to_string(), Value::from(base));
    let patch = make(&plain, script, limits);
    let expected = reference::apply(&plain, &patch, limits);
    let found = JsonPatch::from_json(&Json::from(patch.clone()));
    let found = found.and_then(|patch| patch.apply(base, limits));
    assert_eq!(base.to_string(), before, "a patch does not touch what it is applied to");
    match (found, expected) {
        (Ok(found), Some(expected)) => {
            assert_eq!(Value::from(&found.json), expected, "{before} {patch}");
            assert_eq!(found.json, Json::from(expected), "{before} {patch}");
            assert_eq!(found.json.encoded_len(), found.json.to_string().len());
        }
        (Err(_), None) => {}
        // What copies look through is on a budget that the RFC knows nothing of.
        (Err(error), Some(_))
            if error.kind == PatchErrorKind::Limit(JsonError::TooLarge)
                && limits.document_bytes_max == NARROW.document_bytes_max => {}
        (found, expected) => panic!("{before} {patch}: {found:?}, expected {expected:?}"),
    }
}

/// A patch of which most operations can be applied one after the other.
fn make(base: &Value, script: &mut Script<'_>, limits: &JsonLimits) -> Value {
    let (mut now, mut ops) = (base.clone(), Vec::new());
    while !script.is_over() && ops.len() < OPS_MAX {
        let op = operation(&now, script);
        ops.push(op);
        let step = Value::Array(ops.iter().rev().take(1).cloned().collect());
        if let Some(next) = reference::apply(&now, &step, limits) {
            now = next;
        } else if script.below(4) != 0 {
            // Most patches are good to their end.
            ops.pop();
        }
    }
    Value::Array(ops)
}

fn operation(now: &Value, script: &mut Script<'_>) -> Value {
    let path = place(now, script);
    match script.below(16) {
        0..4 => json!({"op": "add", "path": path, "value": Value::from(&script.json())}),
        4 | 5 => json!({"op": "remove", "path": path}),
        6 | 7 => json!({"op": "replace", "path": path, "value": Value::from(&script.json())}),
        8 | 9 => json!({"op": "move", "from": place(now, script), "path": path}),
        10 | 11 => json!({"op": "copy", "from": place(now, script), "path": path}),
        12 | 13 => {
            let there = now.pointer(&path).cloned().unwrap_or_default();
            json!({"op": "test", "path": path, "value": respelt(there)})
        }
        14 => json!({"op": "test", "path": path, "value": Value::from(&script.json())}),
        _ => {
            let name = ["add", "remove", "spam", "move", "test", "Copy"][script.below(6)];
            let mut op = json!({"op": name, "path": path, "more": true});
            if script.below(2) == 1 {
                op["value"] = Value::from(&script.json());
            }
            op
        }
    }
}

/// The same value, with whole numbers written as floats where that is exact.
fn respelt(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(respelt).collect(),
        Value::Number(number) => match number.as_i64().map(i32::try_from) {
            Some(Ok(whole)) => f64::from(whole).into(),
            _ => Value::Number(number),
        },
        other => other,
    }
}

/// A pointer to something, or to where something could be, or to nothing.
fn place(now: &Value, script: &mut Script<'_>) -> String {
    const ODD: [&str; 10] = ["-", "01", "~", "~2", "new", "__proto__", "+1", "1e0", "", "a~1b"];
    let (mut at, mut path) = (Some(now), String::new());
    for _ in 0..script.below(5) {
        let choice = script.byte();
        let segment = match at {
            _ if choice >= 232 => ODD[usize::from(choice) % ODD.len()].to_owned(),
            Some(Value::Array(items)) => (usize::from(choice) % (items.len() + 2)).to_string(),
            Some(Value::Object(members)) if !members.is_empty() && choice < 200 => {
                let key = members.keys().nth(usize::from(choice) % members.len());
                key.unwrap().replace('~', "~0").replace('/', "~1")
            }
            _ => script.key().replace('~', "~0").replace('/', "~1"),
        };
        path = format!("{path}/{segment}");
        at = now.pointer(&path);
    }
    path
}
