//! The bridge between JSON and Automerge, and its law:
//!
//! `apply(outbound(a, b), json(a)) == json(b)` for all states `a` and `b` of a document, and after
//! `inbound(a, next)` at the newest heads `json` is `next`.
//!
//! Inwards, JSON patches are not translated operation by operation: clients send positional
//! differences, and taken literally those rewrite elements that others are editing. The result is
//! compared with the base by identity, and that difference is written.

mod inbound;
mod outbound;
mod read;
mod value;

use automerge::transaction::Transaction;
use automerge::{Automerge, ChangeHash, ObjType, Patch as Delta, ROOT, Value};

use super::{DocumentError, Policy};
use crate::json::diff::{Difference, Entry, difference};
use crate::json::{Explicit, Json, JsonLimits, Key, Object};

/// The key of the root map under which a store's JSON is kept when it is not an object.
pub const RESERVED_ROOT: &str = "statehouse:root";

/// The root map of a document.
pub(super) fn read(doc: &Automerge) -> Result<Json, DocumentError> {
    read::Reader { doc, heads: None }.object(&ROOT, ObjType::Map, 0)
}

/// The root map of a document at some heads.
pub(super) fn read_at(doc: &Automerge, heads: &[ChangeHash]) -> Result<Json, DocumentError> {
    read::Reader { doc, heads: Some(heads) }.object(&ROOT, ObjType::Map, 0)
}

/// The root map after deltas; what they add keeps to the limits on depth and keys. None where they
/// cannot be followed: the document has to be [read], and held against the limits.
pub(super) fn apply(
    doc: &Automerge,
    before: &Json,
    deltas: &[Delta],
    limits: &JsonLimits,
) -> Result<Option<Json>, DocumentError> {
    outbound::apply(doc, before, deltas, limits)
}

/// Writes the difference of two root maps.
pub(super) fn write(
    tx: &mut Transaction<'_>,
    policy: &Policy,
    entries: &[(Key, Entry)],
) -> Result<(), DocumentError> {
    inbound::write(tx, policy, entries)
}

/// Whether a value of its kind is edited, where JSON has another in its place: a counter counts on,
/// a text is spliced.
pub(super) fn is_edited_within(value: &Value<'_>) -> bool {
    value::counter(value).is_some() || matches!(value, Value::Object(ObjType::Text))
}

/// The JSON that a root map stands for.
pub(super) fn strip_reserved(root: &Json) -> Json {
    match root {
        Json::Object(object) => object.get(RESERVED_ROOT).unwrap_or(root).clone(),
        _ => root.clone(),
    }
}

/// The root map that stands for `next` where `base` stood before. Members that a client put beside
/// the reserved key stay where they are, unseen.
pub(super) fn wrap_reserved(base: &Json, next: &Json) -> Result<Json, DocumentError> {
    match next {
        Json::Object(object) if object.contains_key(RESERVED_ROOT) => {
            Err(DocumentError::ReservedKey)
        }
        Json::Object(_) => Ok(next.clone()),
        _ => {
            let mut root = match base {
                Json::Object(root) if root.contains_key(RESERVED_ROOT) => root.clone(),
                _ => Object::new(),
            };
            root.insert(RESERVED_ROOT.into(), next.clone());
            Ok(Json::Object(root))
        }
    }
}

/// How two root maps differ.
pub(super) fn entries(
    base: &Json,
    next: &Json,
    explicit: Option<&Explicit>,
    policy: &Policy,
) -> Vec<(Key, Entry)> {
    let identity = &policy.identity;
    let inner = |root: &Json| root.as_object().and_then(|root| root.get(RESERVED_ROOT)).cloned();
    if let (Some(base), Some(next)) = (inner(base), inner(next)) {
        return match difference(&base, &next, identity, explicit) {
            Difference::Same => Vec::new(),
            change => vec![(RESERVED_ROOT.into(), Entry::Change(change))],
        };
    }
    match difference(base, next, identity, explicit) {
        Difference::Object(entries) => entries,
        // Both are objects, and those differ by their members.
        Difference::Same | Difference::Replace(_) | Difference::Array(_) => Vec::new(),
    }
}
