//! Automerge -> JSON: what a document says of its change, carried over to the JSON tree.
//!
//! Automerge names, for every object that a change touched, what happened in it, parents before
//! children, with paths as they are when all is done. Applying that to the persistent tree costs
//! what the change costs; the JSON patch for clients is then the difference of the two trees.

use automerge::{
    Automerge, ObjId, ObjType, Patch as Delta, PatchAction, Prop, ReadDoc as _, Value,
};

use super::DocumentError;
use super::value::read_scalar;
use crate::json::{Array, Json, JsonLimits, Object};

/// The tree after the deltas, given the tree before them and the document after them; none where
/// they do not fit, and the document has to be read anew.
pub(super) fn apply(
    doc: &Automerge,
    before: &Json,
    deltas: &[Delta],
    limits: &JsonLimits,
) -> Result<Option<Json>, DocumentError> {
    let mut tree = before.clone();
    for delta in deltas {
        // What is let in here must be readable for ever after. What came in under larger limits
        // may still be written to.
        if creates(&delta.action) && delta.path.len() >= limits.depth_max {
            return Err(DocumentError::TooDeep);
        }
        if let PatchAction::PutMap { key, .. } = &delta.action {
            let stands = || match node_at(&tree, &delta.path) {
                Some(Json::Object(object)) => object.contains_key(key),
                _ => false,
            };
            limits.check_key(key).or_else(|error| if stands() { Ok(()) } else { Err(error) })?;
        }
        if apply_one(doc, &mut tree, delta).is_err() {
            // As with embedded blocks in rich text.
            return Ok(None);
        }
    }
    let agree = deltas.iter().all(|delta| agrees(doc, &tree, delta));
    Ok(agree.then_some(tree))
}

/// Whether a list has what a delta put into it where the delta said.
///
/// Deltas of a list name places from the front to the back, so each is the place in the end. That
/// has to be looked up: with elements that were set and deleted concurrently, Automerge 0.12.0 can
/// name the wrong one (see the tests).
fn agrees(doc: &Automerge, tree: &Json, delta: &Delta) -> bool {
    let list = &delta.obj;
    let holds = |index: usize, id: &ObjId| match doc.get(list, index) {
        Ok(Some((_, found))) => found == *id,
        _ => false,
    };
    match &delta.action {
        PatchAction::Insert { index, values } => values
            .iter()
            .enumerate()
            .all(|(offset, (_, id, _))| holds(index.saturating_add(offset), id)),
        PatchAction::PutSeq { index, value: (_, id), .. } => holds(*index, id),
        PatchAction::DeleteSeq { index, .. } => match node_at(tree, &delta.path) {
            Some(Json::Array(array)) => {
                let neighbours = [index.checked_sub(1), Some(*index)];
                let alike = |index: usize| looks_alike(doc.get(list, index), array.get(index));
                doc.length(list) == array.len() && neighbours.into_iter().flatten().all(alike)
            }
            _ => true,
        },
        _ => true,
    }
}

fn node_at<'t>(tree: &'t Json, path: &[(ObjId, Prop)]) -> Option<&'t Json> {
    path.iter().try_fold(tree, |node, (_, prop)| match (node, prop) {
        (Json::Object(object), Prop::Map(key)) => object.get(key),
        (Json::Array(array), Prop::Seq(index)) => array.get(*index),
        _ => None,
    })
}

fn looks_alike(
    found: Result<Option<(Value<'_>, ObjId)>, automerge::AutomergeError>,
    json: Option<&Json>,
) -> bool {
    match (found, json) {
        (Ok(None), None) => true,
        (Ok(Some((Value::Scalar(scalar), _))), Some(json)) => read_scalar(&scalar) == *json,
        (Ok(Some((Value::Object(kind), _))), Some(json)) => match kind {
            ObjType::Map | ObjType::Table => matches!(json, Json::Object(_)),
            ObjType::List => matches!(json, Json::Array(_)),
            ObjType::Text => matches!(json, Json::String(_)),
        },
        _ => false,
    }
}

/// Whether an action makes an array or object.
fn creates(action: &PatchAction) -> bool {
    let container = |value: &Value<'_>| match value {
        Value::Object(kind) => *kind != ObjType::Text,
        Value::Scalar(_) => false,
    };
    match action {
        PatchAction::PutMap { value: (value, _), .. }
        | PatchAction::PutSeq { value: (value, _), .. } => container(value),
        PatchAction::Insert { values, .. } => values.iter().any(|(value, _, _)| container(value)),
        _ => false,
    }
}

/// The delta does not fit the tree.
struct Misfit;

fn apply_one(doc: &Automerge, tree: &mut Json, delta: &Delta) -> Result<(), Misfit> {
    edit_at(tree, &delta.path, &mut |node| match node {
        Json::Object(object) => in_object(doc, &delta.obj, object, &delta.action),
        Json::Array(array) => in_array(doc, &delta.obj, array, &delta.action),
        Json::String(text) => {
            *text = in_text(doc, &delta.obj, text, &delta.action)?.into();
            Ok(())
        }
        _ => Err(Misfit),
    })
}

/// Copies the path down to a node and edits it there; all else stays shared.
fn edit_at(
    node: &mut Json,
    path: &[(ObjId, Prop)],
    edit: &mut dyn FnMut(&mut Json) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let Some(((_, prop), rest)) = path.split_first() else {
        return edit(node);
    };
    match (node, prop) {
        (Json::Object(object), Prop::Map(key)) => {
            let mut child = object.get(key).ok_or(Misfit)?.clone();
            edit_at(&mut child, rest, edit)?;
            object.insert(key.as_str().into(), child);
            Ok(())
        }
        (Json::Array(array), Prop::Seq(index)) => {
            let mut child = array.get(*index).ok_or(Misfit)?.clone();
            edit_at(&mut child, rest, edit)?;
            array.set(*index, child).map_or(Err(Misfit), |_| Ok(()))
        }
        _ => Err(Misfit),
    }
}

/// A new object is empty at first: what is in it follows as deltas of its own.
fn fresh(value: &Value<'_>) -> Json {
    match value {
        Value::Scalar(scalar) => read_scalar(scalar),
        Value::Object(ObjType::Map | ObjType::Table) => Json::Object(Object::new()),
        Value::Object(ObjType::List) => Json::Array(Array::new()),
        Value::Object(ObjType::Text) => Json::String("".into()),
    }
}

fn in_object(
    doc: &Automerge,
    id: &ObjId,
    object: &mut Object,
    action: &PatchAction,
) -> Result<(), Misfit> {
    match action {
        PatchAction::PutMap { key, value: (value, _), .. } => {
            let value = counted(doc, id, key.as_str()).unwrap_or_else(|| fresh(value));
            object.insert(key.as_str().into(), value);
            Ok(())
        }
        PatchAction::DeleteMap { key } => object.remove(key).map_or(Err(Misfit), |_| Ok(())),
        PatchAction::Increment { prop: Prop::Map(key), .. } => {
            let sum = counted(doc, id, key.as_str()).ok_or(Misfit)?;
            object.insert(key.as_str().into(), sum);
            Ok(())
        }
        PatchAction::Conflict { .. } => Ok(()),
        _ => Err(Misfit),
    }
}

fn in_array(
    doc: &Automerge,
    id: &ObjId,
    array: &mut Array,
    action: &PatchAction,
) -> Result<(), Misfit> {
    match action {
        PatchAction::PutSeq { index, value: (value, _), .. } => {
            let value = counted(doc, id, *index).unwrap_or_else(|| fresh(value));
            array.set(*index, value).map_or(Err(Misfit), |_| Ok(()))
        }
        PatchAction::Insert { index, values } => {
            for (offset, (value, _, _)) in values.iter().enumerate() {
                let at = index.checked_add(offset).filter(|at| *at <= array.len()).ok_or(Misfit)?;
                array.insert(at, counted(doc, id, at).unwrap_or_else(|| fresh(value)));
            }
            Ok(())
        }
        PatchAction::DeleteSeq { index, length } => {
            for _ in 0..*length {
                array.remove(*index).ok_or(Misfit)?;
            }
            Ok(())
        }
        PatchAction::Increment { prop: Prop::Seq(index), .. } => {
            let sum = counted(doc, id, *index).ok_or(Misfit)?;
            array.set(*index, sum).map_or(Err(Misfit), |_| Ok(()))
        }
        PatchAction::Conflict { .. } => Ok(()),
        _ => Err(Misfit),
    }
}

/// What a counter stands at when all is done. Its delta does not say: of one that comes to light
/// because another was deleted, Automerge 0.12.0 names the value that it started with.
fn counted<P: Into<Prop>>(doc: &Automerge, id: &ObjId, place: P) -> Option<Json> {
    #[cfg(planted)]
    if crate::planted::is("stale-projection") {
        return None;
    }
    match doc.get(id, place) {
        Ok(Some((Value::Scalar(scalar), _))) if scalar.is_counter() => Some(read_scalar(&scalar)),
        _ => None,
    }
}

fn in_text(
    doc: &Automerge,
    id: &ObjId,
    text: &str,
    action: &PatchAction,
) -> Result<String, Misfit> {
    match action {
        PatchAction::SpliceText { index, value, .. } => {
            splice(text, *index, 0, &value.make_string())
        }
        PatchAction::DeleteSeq { index, length } => splice(text, *index, *length, ""),
        PatchAction::Mark { .. } => Ok(text.to_owned()),
        // Blocks and other elements inside a text: only the document knows how they read.
        _ => doc.text(id).or(Err(Misfit)),
    }
}

/// Indices of a text count Unicode code points, as the document was told to.
fn splice(text: &str, index: usize, delete: usize, insert: &str) -> Result<String, Misfit> {
    // `Chars` skips many at a time, which `CharIndices` does not.
    let byte_at = |text: &str, count: usize| {
        let mut rest = text.chars();
        match count.checked_sub(1).map(|last| rest.nth(last)) {
            Some(None) => Err(Misfit),
            Some(Some(_)) | None => Ok(text.len().saturating_sub(rest.as_str().len())),
        }
    };
    let (head, rest) = text.split_at_checked(byte_at(text, index)?).ok_or(Misfit)?;
    let tail = rest.get(byte_at(rest, delete)?..).ok_or(Misfit)?;
    Ok([head, insert, tail].concat())
}
