//! An Automerge document read and written the plain way, without any of the code that is tested.

use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, AutomergeError, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, Value};

use crate::json::{Array, Json, Key, Object};

/// What a document says as JSON.
pub(super) fn read(document: &impl ReadDoc) -> Json {
    read_object(document, &ROOT, ObjType::Map)
}

fn read_object(document: &impl ReadDoc, id: &ObjId, kind: ObjType) -> Json {
    match kind {
        ObjType::Map | ObjType::Table => {
            let members = document.map_range(id, ..).map(|item| {
                let key = Key::from(&*item.key);
                let found = document.get(id, &*item.key).ok().flatten();
                (key, found.map_or(Json::Null, |(value, id)| read_value(document, &value, &id)))
            });
            Json::Object(members.collect::<Object>())
        }
        ObjType::List => {
            let elements = (0..document.length(id)).map(|index| {
                let found = document.get(id, index).ok().flatten();
                found.map_or(Json::Null, |(value, id)| read_value(document, &value, &id))
            });
            Json::Array(Array::from(elements.collect::<Vec<_>>()))
        }
        ObjType::Text => Json::from(document.text(id).unwrap_or_default()),
    }
}

fn read_value(document: &impl ReadDoc, value: &Value<'_>, id: &ObjId) -> Json {
    match value {
        Value::Object(kind) => read_object(document, id, *kind),
        Value::Scalar(scalar) => match scalar.as_ref() {
            ScalarValue::Str(text) => Json::from(text.as_str()),
            ScalarValue::Int(n) => Json::from(*n),
            ScalarValue::Uint(n) => Json::from(*n),
            ScalarValue::F64(n) => Json::from(*n),
            ScalarValue::Counter(counter) => Json::from(i64::from(counter)),
            ScalarValue::Boolean(b) => Json::from(*b),
            ScalarValue::Null
            | ScalarValue::Bytes(_)
            | ScalarValue::Timestamp(_)
            | ScalarValue::Unknown { .. } => Json::Null,
        },
    }
}

/// Writes what turns the members of the document's root into those of `next`.
pub(super) fn write(document: &mut AutoCommit, next: &Json) -> Result<(), AutomergeError> {
    match next {
        Json::Object(next) => write_map(document, &ROOT, next),
        // A root is a map, whatever somebody wants.
        _ => Ok(()),
    }
}

fn write_map(document: &mut AutoCommit, id: &ObjId, next: &Object) -> Result<(), AutomergeError> {
    let keys: Vec<String> = document.keys(id).collect();
    for key in keys.iter().filter(|key| !next.contains_key(key)) {
        document.delete(id, key.as_str())?;
    }
    for (key, value) in next {
        let found = document.get(id, &**key)?.map(|(found, id)| (found.into_owned(), id));
        if let Some((found, inner)) = found {
            if write_into(document, &found, &inner, value)? {
                continue;
            }
            document.delete(id, &**key)?;
        }
        match kind_of(value) {
            Some(kind) => {
                let inner = document.put_object(id, &**key, kind)?;
                fill(document, &inner, value)?;
            }
            None => document.put(id, &**key, scalar(value))?,
        }
    }
    Ok(())
}

/// Makes a value that is there another, from the inside; `false` if that cannot be done.
fn write_into(
    document: &mut AutoCommit,
    found: &Value<'_>,
    id: &ObjId,
    next: &Json,
) -> Result<bool, AutomergeError> {
    match (found, next) {
        (Value::Object(ObjType::Map), Json::Object(next)) => write_map(document, id, next)?,
        (Value::Object(ObjType::List), Json::Array(next)) => write_list(document, id, next)?,
        (Value::Object(ObjType::Text), Json::String(next)) => document.update_text(id, &**next)?,
        _ => return Ok(read_value(document, found, id) == *next),
    }
    Ok(true)
}

/// Everything between the elements that stay at both ends is written anew.
fn write_list(document: &mut AutoCommit, id: &ObjId, next: &Array) -> Result<(), AutomergeError> {
    let Json::Array(now) = read_object(document, id, ObjType::List) else { return Ok(()) };
    let (now, next): (Vec<&Json>, Vec<&Json>) = (now.iter().collect(), next.iter().collect());
    let front = now.iter().zip(&next).take_while(|(a, b)| a == b).count();
    let (now_rest, next_rest) = (now.get(front..), next.get(front..));
    let (Some(now), Some(next)) = (now_rest, next_rest) else { return Ok(()) };
    let back = now.iter().rev().zip(next.iter().rev()).take_while(|(a, b)| a == b).count();
    for _ in back..now.len() {
        document.delete(id, front)?;
    }
    for (n, value) in next.iter().take(next.len().saturating_sub(back)).enumerate() {
        insert(document, id, front.saturating_add(n), value)?;
    }
    Ok(())
}

fn fill(document: &mut AutoCommit, id: &ObjId, value: &Json) -> Result<(), AutomergeError> {
    match value {
        Json::Object(members) => write_map(document, id, members),
        Json::Array(elements) => {
            elements.iter().enumerate().try_for_each(|(n, value)| insert(document, id, n, value))
        }
        _ => Ok(()),
    }
}

fn insert(
    document: &mut AutoCommit,
    id: &ObjId,
    index: usize,
    value: &Json,
) -> Result<(), AutomergeError> {
    match kind_of(value) {
        Some(kind) => {
            let inner = document.insert_object(id, index, kind)?;
            fill(document, &inner, value)
        }
        None => document.insert(id, index, scalar(value)),
    }
}

fn kind_of(value: &Json) -> Option<ObjType> {
    match value {
        Json::Object(_) => Some(ObjType::Map),
        Json::Array(_) => Some(ObjType::List),
        _ => None,
    }
}

fn scalar(value: &Json) -> ScalarValue {
    match value {
        Json::Bool(b) => ScalarValue::Boolean(*b),
        Json::Int(n) => ScalarValue::Int(*n),
        Json::Uint(n) => ScalarValue::Uint(*n),
        Json::Float(n) => ScalarValue::F64(*n),
        Json::String(text) => ScalarValue::Str((&**text).into()),
        Json::Null | Json::Array(_) | Json::Object(_) => ScalarValue::Null,
    }
}

/// Edits that JSON has no word for: counters, and texts that grow inside.
pub(super) fn write_beyond_json(
    document: &mut AutoCommit,
    n: u64,
    place: u64,
) -> Result<(), AutomergeError> {
    if n.is_multiple_of(2) {
        if document.get(ROOT, "count")?.is_none_or(|(value, _)| !is_counter(&value)) {
            return document.put(ROOT, "count", ScalarValue::counter(0));
        }
        // Now and then somebody starts to count anew.
        if place.is_multiple_of(4) {
            return document.delete(ROOT, "count");
        }
        return document.increment(ROOT, "count", 1);
    }
    let id = match document.get(ROOT, "prose")? {
        Some((Value::Object(ObjType::Text), id)) => id,
        _ => document.put_object(ROOT, "prose", ObjType::Text)?,
    };
    let len = document.length(&id);
    let at = usize::try_from(place).unwrap_or(0) % len.saturating_add(1);
    let removed = isize::from(place.is_multiple_of(3) && at < len);
    document.splice_text(&id, at, removed, if n.is_multiple_of(3) { "ab" } else { "é🦀" })
}

fn is_counter(value: &Value<'_>) -> bool {
    matches!(value, Value::Scalar(scalar) if matches!(scalar.as_ref(), ScalarValue::Counter(_)))
}
