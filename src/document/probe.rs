//! What tests and fuzz targets do to a document beyond what the server does, and the law that they
//! hold it against.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a check that fails panics, as tests do"
)]

use automerge::marks::{ExpandMark, Mark};
use automerge::transaction::{Transactable as _, Transaction};
use automerge::{ObjId, ObjType, Prop, ROOT, ScalarValue, Value};

use super::*;
use crate::ids::StoreName;

pub(crate) use super::guard::probe::{chunk_contents, damage, everything, message, seal};

/// A note like any other.
pub(crate) const NOTE: Note<'_> = Note { time: Millis(5_000), message: None };

/// A document that starts with this, signed by `actor`.
pub(crate) fn document(policy: &Arc<Policy>, initial: &Json, actor: &[u8]) -> Document {
    let store: StoreName = "store".parse().unwrap();
    let genesis = genesis(&store, initial, policy).unwrap();
    let changes: Vec<&[u8]> = genesis.iter().map(Vec::as_slice).collect();
    let mut document = Document::load(Arc::clone(policy), None, &changes).unwrap();
    document.sign_as(actor);
    document
}

/// Loads what was saved, or logged.
pub(crate) fn load(
    policy: &Arc<Policy>,
    checkpoint: Option<&[u8]>,
    changes: &[Vec<u8>],
) -> Result<Document, DocumentError> {
    let changes: Vec<&[u8]> = changes.iter().map(Vec::as_slice).collect();
    Document::load(Arc::clone(policy), checkpoint, &changes)
}

/// What one document has and another lacks, in causal order.
pub(crate) fn news(from: &Document, to: &Document) -> Vec<Change> {
    from.doc.get_changes(&to.heads())
}

/// What a document has beyond these heads, encoded, in causal order.
pub(crate) fn since(document: &Document, heads: &[ChangeHash]) -> Vec<Vec<u8>> {
    document.changes_since(heads).iter().map(|change| change.to_vec()).collect()
}

/// The tree beside the document is what the document says, and clients can follow.
pub(crate) fn check(document: &Document, before: &Json) {
    assert_eq!(document.root, projection::read(&document.doc).unwrap());
    let after = document.json();
    let patch = between(before, &after, &document.policy.identity);
    let applied =
        patch.apply(before, &JsonLimits { forbid_prototype_keys: false, ..JsonLimits::default() });
    assert_eq!(applied.unwrap().json, after);
}

/// All objects of a document, the root first.
fn objects(tx: &Transaction<'_>) -> Vec<(ObjId, ObjType)> {
    let mut found = vec![(ROOT, ObjType::Map)];
    let mut next = 0;
    while let Some((id, kind)) = found.get(next).cloned() {
        next += 1;
        let children: Vec<(ObjId, ObjType)> = match kind {
            ObjType::Map | ObjType::Table => tx
                .map_range(&id, ..)
                .filter_map(|item| match item.value.clone().into_value() {
                    Value::Object(kind) => Some((item.id(), kind)),
                    Value::Scalar(_) => None,
                })
                .collect(),
            ObjType::List => tx
                .list_range(&id, ..)
                .filter_map(|item| match item.value.clone().into_value() {
                    Value::Object(kind) => Some((item.id(), kind)),
                    Value::Scalar(_) => None,
                })
                .collect(),
            ObjType::Text => Vec::new(),
        };
        found.extend(children);
    }
    found
}

fn scalar(kind: u8) -> ScalarValue {
    match kind % 7 {
        0 => ScalarValue::counter(i64::from(kind)),
        1 => ScalarValue::Timestamp(i64::from(kind)),
        2 => ScalarValue::Bytes(vec![kind, 255]),
        3 => ScalarValue::Uint(u64::MAX - u64::from(kind)),
        4 => ScalarValue::F64(f64::NAN),
        5 => ScalarValue::Str("ключ".into()),
        _ => ScalarValue::Null,
    }
}

/// An edit by Automerge's own means, made by `actor` on a copy and received. `place` chooses one of
/// so many.
pub(crate) fn raw_edit(
    document: &mut Document,
    actor: &[u8],
    place: &dyn Fn(usize) -> usize,
    kind: u8,
) -> Received {
    let before = document.doc.get_heads();
    let mut copy = document.doc.clone();
    copy.set_actor(ActorId::from(actor));
    let mut tx = copy.transaction();
    let objects = objects(&tx);
    let (id, object) = &objects[place(objects.len())];
    match object {
        ObjType::Text => edit_text(&mut tx, id, place, kind),
        ObjType::List | ObjType::Map | ObjType::Table => {
            edit_container(&mut tx, id, *object, place, kind);
        }
    }
    tx.commit();
    document.receive(copy.get_changes(&before)).unwrap()
}

fn edit_text(tx: &mut Transaction<'_>, id: &ObjId, place: &dyn Fn(usize) -> usize, kind: u8) {
    let length = tx.length(id);
    let index = place(length + 1);
    match kind % 8 {
        0..3 => tx.splice_text(id, index, 0, "xß🙂y").unwrap(),
        6 if index < length => {
            let expand = [ExpandMark::Both, ExpandMark::None][usize::from(kind / 128)];
            let mark = Mark::new("bold".to_owned(), true, index, length);
            tx.mark(id, mark, expand).unwrap();
        }
        7 if index < length => tx.unmark(id, "bold", 0, length, ExpandMark::After).unwrap(),
        _ if index < length => tx.splice_text(id, index, 1, "").unwrap(),
        _ => {}
    }
}

fn edit_container(
    tx: &mut Transaction<'_>,
    id: &ObjId,
    object: ObjType,
    place: &dyn Fn(usize) -> usize,
    kind: u8,
) {
    let length = tx.length(id);
    let index = place(length + 1);
    let prop = match object {
        ObjType::Map | ObjType::Table => Prop::from(["a", "b", "c", ""][usize::from(kind % 4)]),
        ObjType::List | ObjType::Text => Prop::from(index),
    };
    match (object, kind % 6) {
        (ObjType::List, 0) => tx.insert(id, index, scalar(kind)).unwrap(),
        (ObjType::List, 1) => {
            let text = tx.insert_object(id, index, ObjType::Text).unwrap();
            tx.splice_text(&text, 0, 0, "text").unwrap();
        }
        (ObjType::List, _) if index >= length => {}
        (_, 2) => tx.put(id, prop, scalar(kind)).unwrap(),
        (_, 3) => {
            let list = tx.put_object(id, prop, ObjType::List).unwrap();
            tx.insert(&list, 0, scalar(kind)).unwrap();
            tx.insert_object(&list, 0, ObjType::Map).unwrap();
        }
        (_, 4) => match tx.get(id, prop.clone()).unwrap() {
            Some((Value::Scalar(value), _)) if value.is_counter() => {
                tx.increment(id, prop, -3).unwrap();
            }
            Some(_) => tx.delete(id, prop).unwrap(),
            None => {}
        },
        (_, _) => {
            let text = tx.put_object(id, prop, ObjType::Text).unwrap();
            tx.splice_text(&text, 0, 0, "🙂").unwrap();
        }
    }
}

/// How far a sync message came that may be damaged.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// Its changes were past the guard.
    pub opened: bool,
    /// Why some of them were refused where they were applied or read back.
    pub refused: Option<DocumentError>,
    /// Some of them were taken in.
    pub received: bool,
    /// How the document that took them in is not there again after it was saved.
    pub lost: Option<String>,
}

/// Lets a document with these changes take in a message, as a session does, and looks whether it is
/// there again after it was saved, as a whole or change by change.
pub(crate) fn take_in(before: &[Vec<u8>], message: &[u8]) -> Fate {
    let mut fate = Fate::default();
    let Ok(incoming) = Incoming::open(message) else { return fate };
    fate.opened = incoming.refused().is_none();
    if !fate.opened {
        return fate;
    }
    let policy = Arc::new(Policy::default());
    let mut document = load(&policy, None, before).unwrap();
    document.sign_as(&[99; 16]);
    let untouched = document.state();
    let mut session = SyncSession::new();
    let received = session.receive(&mut document, incoming, |_| true).unwrap();
    fate.refused = received.refused;
    fate.received = !received.changes.is_empty();
    check(&document, &untouched.json());
    if !fate.received {
        assert_eq!(document.state(), untouched);
        return fate;
    }
    let log: Vec<Vec<u8>> = before.iter().cloned().chain(received.changes).collect();
    let answer = session.answer(&mut document);
    drop(answer.map(|answer| answer.encode()));
    fate.lost = lost(&document, &policy, &log);
    // What was let in does not keep others from writing.
    let base = document.state();
    let mut next = base.json();
    if let Json::Object(object) = &mut next {
        object.insert("after".into(), Json::from(1));
    }
    let written = document.write(&base, &next, None, NOTE).unwrap();
    check(&document, &base.json());
    let log: Vec<Vec<u8>> = log.into_iter().chain(written.change.map(|(_, bytes)| bytes)).collect();
    fate.lost = fate.lost.or_else(|| lost(&document, &policy, &log));
    fate
}

/// How a document differs from what was saved or logged of it.
fn lost(document: &Document, policy: &Arc<Policy>, log: &[Vec<u8>]) -> Option<String> {
    let now = document.state();
    let ways =
        [("saved", load(policy, Some(&document.save()), &[])), ("logged", load(policy, None, log))];
    ways.into_iter().find_map(|(way, again)| match again {
        Ok(again) if again.state() == now => None,
        Ok(_) => Some(format!("{way}: differs")),
        Err(error) => Some(format!("{way}: {error}")),
    })
}
