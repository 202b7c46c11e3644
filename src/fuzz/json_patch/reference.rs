//! RFC 6902 to the letter, as plainly as can be: every operation on a copy of the whole value.
//!
//! Three things are ours: a removed root becomes `null`, which the RFC leaves open; the keys that
//! harm JavaScript clients; and the limits, each held against the whole value after every step.

use serde_json::{Number, Value};

use crate::json::JsonLimits;
use crate::limits;

/// The value after all operations, or nothing if any of them is refused.
pub(super) fn apply(base: &Value, patch: &Value, limits: &JsonLimits) -> Option<Value> {
    let ops = patch.as_array()?;
    if ops.len() > limits.patch_ops_max {
        return None;
    }
    ops.iter().try_fold(base.clone(), |now, op| step(&now, op, limits))
}

fn step(before: &Value, op: &Value, limits: &JsonLimits) -> Option<Value> {
    let path = pointer(op.get("path")?)?;
    let mut next = before.clone();
    match op.get("op")?.as_str()? {
        "add" => {
            let value = op.get("value")?;
            permitted(&path, limits)?;
            keys(value, limits)?;
            add(&mut next, &path, value.clone())?;
        }
        "remove" => drop(remove(&mut next, &path)?),
        "replace" => {
            let value = op.get("value")?;
            keys(value, limits)?;
            *find(&mut next, &path)? = value.clone();
        }
        "move" => {
            let from = pointer(op.get("from")?)?;
            permitted(&path, limits)?;
            find(&mut next, &from)?;
            if from != path {
                // A place within what is moved is gone with it.
                if path.starts_with(&from) {
                    return None;
                }
                let value = remove(&mut next, &from)?;
                add(&mut next, &path, value)?;
            }
        }
        "copy" => {
            permitted(&path, limits)?;
            let value = find(&mut next, &pointer(op.get("from")?)?)?.clone();
            add(&mut next, &path, value)?;
        }
        "test" => {
            let there = find(&mut next, &path)?;
            return same(there, op.get("value")?).then_some(next);
        }
        _ => return None,
    }
    let (was, is) = (before.to_string().len(), next.to_string().len());
    let fits = is <= limits.document_bytes_max || is <= was;
    (fits && depth(&next) <= limits.depth_max).then_some(next)
}

/// RFC 6901, section 3 and 4.
fn pointer(text: &Value) -> Option<Vec<String>> {
    let text = text.as_str()?;
    if text.is_empty() {
        return Some(Vec::new());
    }
    let segments = text.strip_prefix('/')?.split('/');
    let segments: Vec<String> = segments.map(unescape).collect::<Option<_>>()?;
    (segments.len() <= limits::POINTER_SEGMENTS_MAX).then_some(segments)
}

fn unescape(segment: &str) -> Option<String> {
    let mut pieces = segment.split('~');
    let mut plain = pieces.next()?.to_owned();
    for piece in pieces {
        if let Some(rest) = piece.strip_prefix('0') {
            plain.push('~');
            plain.push_str(rest);
        } else {
            plain.push('/');
            plain.push_str(piece.strip_prefix('1')?);
        }
    }
    Some(plain)
}

/// Digits without a leading zero.
fn index(segment: &str) -> Option<usize> {
    let canonical = segment == "0" || !segment.starts_with('0');
    let digits = segment.chars().all(|c| c.is_ascii_digit());
    if canonical && digits { segment.parse().ok() } else { None }
}

fn find<'v>(value: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, segment| match value {
        Value::Object(members) => members.get_mut(segment),
        Value::Array(items) => items.get_mut(index(segment)?),
        _ => None,
    })
}

fn add(value: &mut Value, path: &[String], new: Value) -> Option<()> {
    let Some((last, parent)) = path.split_last() else {
        *value = new;
        return Some(());
    };
    match find(value, parent)? {
        Value::Object(members) => {
            members.insert(last.clone(), new);
            Some(())
        }
        Value::Array(items) => {
            let at = if last == "-" { items.len() } else { index(last)? };
            (at <= items.len()).then(|| items.insert(at, new))
        }
        _ => None,
    }
}

fn remove(value: &mut Value, path: &[String]) -> Option<Value> {
    let Some((last, parent)) = path.split_last() else {
        return Some(value.take());
    };
    match find(value, parent)? {
        Value::Object(members) => members.remove(last),
        Value::Array(items) => {
            let at = index(last)?;
            (at < items.len()).then(|| items.remove(at))
        }
        _ => None,
    }
}

/// Section 4.6: numbers by their value, objects by their members, arrays in order.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.as_f64() == b.as_f64(),
        _ => false,
    }
}

/// The number, if it is whole and not beyond what 128 bits hold.
fn whole(number: &Number) -> Option<i128> {
    let integer = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e38);
    // The text of a whole float without an exponent is its integer.
    integer.or_else(|| format!("{:.0}", float()?).parse().ok())
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + inner.unwrap_or(0)
}

fn permitted(path: &[String], limits: &JsonLimits) -> Option<()> {
    path.iter().all(|key| limits.check_key(key).is_ok()).then_some(())
}

fn keys(value: &Value, limits: &JsonLimits) -> Option<()> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| keys(item, limits)),
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            limits.check_key(key).ok()?;
            keys(value, limits)
        }),
        _ => Some(()),
    }
}
