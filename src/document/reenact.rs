//! A change from elsewhere, made here once more.
//!
//! Automerge takes in a change by walking through every object that it touches: 24 ms for a letter
//! in a text of 100,000 (0.12.0). It makes an edit by going to its place: 6 us, however large the
//! object is. So a change that its author made on the newest state is made again, operation by
//! operation, in his name. A change is named by the hash of all that is in it: where the names are
//! the same the changes are, and where they are not the document is put back.

use std::collections::BTreeMap;

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::transaction::{CommitOptions, Transactable as _, Transaction};
use automerge::{
    ActorId, Automerge, Change, Cursor, ObjId, Patch as Delta, PatchLog, Prop, ROOT, ReadDoc as _,
};

use crate::limits;

/// What came of it.
pub(super) enum Reenacted {
    /// The change is in the document, and did this to it.
    Done(Vec<Delta>),
    /// The document is as it was: the change has to be received.
    Left,
    /// Another change is in the document now, which has to be taken back.
    Otherwise,
}

/// Whether a change was made on the newest state of the document, and may be made again.
pub(super) fn is_next(doc: &Automerge, change: &Change) -> bool {
    let (heads, deps) = (doc.get_heads(), change.deps());
    // Who writes on what he has received names his own last change too.
    let is_own_last = |dep| {
        let last = doc.get_change_meta_by_hash(dep);
        last.is_some_and(|last| {
            *last.actor == *change.actor_id() && last.seq.checked_add(1) == Some(change.seq())
        })
    };
    let max_op = |head| doc.get_change_meta_by_hash(head).map_or(0, |head| head.max_op);
    let last_op = heads.iter().map(max_op).max().unwrap_or(0);
    change.len() <= limits::REENACTED_OPS_MAX
        && change.extra_bytes().is_empty()
        && last_op.checked_add(1) == Some(change.start_op().get())
        && heads.iter().all(|head| deps.contains(head))
        && deps.iter().all(|dep| heads.contains(dep) || is_own_last(dep))
}

/// Makes the change again.
pub(super) fn reenact(doc: &mut Automerge, change: &Change) -> Reenacted {
    let writer = doc.get_actor().clone();
    doc.set_actor(change.actor_id().clone());
    let reenacted = as_its_author(doc, change);
    doc.set_actor(writer);
    reenacted
}

fn as_its_author(doc: &mut Automerge, change: &Change) -> Reenacted {
    let Ok(mut tx) = doc.transaction_log_patches(PatchLog::active()) else {
        return Reenacted::Left;
    };
    let operations = change.decode().operations;
    let mut author = Author { tx: &mut tx, reached: BTreeMap::new() };
    let all = (1..)
        .zip(&operations)
        .all(|(done, op)| author.act(op).is_some() && author.tx.pending_ops() == done);
    if operations.is_empty() || !all {
        tx.rollback();
        return Reenacted::Left;
    }
    let mut options = CommitOptions::default().with_time(change.timestamp());
    if let Some(message) = change.message() {
        options.set_message(message);
    }
    let (hash, mut log) = tx.commit_with(options);
    if hash == Some(change.hash()) {
        Reenacted::Done(doc.make_patches(&mut log))
    } else {
        Reenacted::Otherwise
    }
}

/// Who makes the operations of a change again.
struct Author<'t, 'd> {
    tx: &'t mut Transaction<'d>,
    /// How far it has come in each list and text. What is told of a transaction names places as
    /// they were in between, and what is told of a change as they are in the end: where all goes
    /// from the front to the back, they are the same.
    reached: BTreeMap<(u64, ActorId), usize>,
}

impl Author<'_, '_> {
    /// Makes one operation again; none if there is no such call, or not for what stands there.
    fn act(&mut self, op: &Op) -> Option<()> {
        let object = match &op.obj {
            ObjectId::Root => ROOT,
            // The number is where Automerge looks for the actor first.
            ObjectId::Id(OpId(counter, actor)) => ObjId::Id(*counter, actor.clone(), 0),
        };
        let place = self.place(&object, op)?;
        if let (Prop::Seq(index), ObjectId::Id(OpId(counter, actor))) = (&place, &op.obj) {
            let reached = self.reached.entry((*counter, actor.clone())).or_default();
            let beyond = if op.action == OpType::Delete { *index } else { index.checked_add(1)? };
            if *index < std::mem::replace(reached, beyond) {
                return None;
            }
        }
        let tx = &mut *self.tx;
        match (&op.action, op.insert, place) {
            (OpType::Put(value), true, Prop::Seq(index)) => {
                tx.insert(&object, index, value.clone())
            }
            (OpType::Put(value), false, place) => tx.put(&object, place, value.clone()),
            (OpType::Make(kind), true, Prop::Seq(index)) => {
                tx.insert_object(&object, index, *kind).map(|_id| ())
            }
            (OpType::Make(kind), false, place) => {
                tx.put_object(&object, place, *kind).map(|_id| ())
            }
            (OpType::Delete, false, place) => tx.delete(&object, place),
            (OpType::Increment(by), false, place) => tx.increment(&object, place, *by),
            _ => return None,
        }
        .ok()
    }

    /// Where an operation takes place, as it is now.
    fn place(&self, object: &ObjId, op: &Op) -> Option<Prop> {
        match (&op.key, op.insert) {
            (Key::Map(key), false) => Some(Prop::Map(key.to_string())),
            (Key::Seq(ElementId::Head), true) => Some(Prop::Seq(0)),
            (Key::Seq(ElementId::Id(id)), false) => self.index_of(object, id).map(Prop::Seq),
            (Key::Seq(ElementId::Id(id)), true) => {
                let index = self.index_of(object, id)?;
                let (value, _id) = self.tx.get(object, index).ok()??;
                // In a text an element is as wide as it has characters.
                let is_wide = value.as_str().is_some_and(|text| text.chars().nth(1).is_some());
                if is_wide { None } else { index.checked_add(1).map(Prop::Seq) }
            }
            (Key::Map(_), true) | (Key::Seq(ElementId::Head), false) => None,
        }
    }

    /// Where an element stands. Of one that is gone it is where its neighbour stands, but an author
    /// on the newest state does not name such a one, and what comes of it has another hash.
    fn index_of(&self, list: &ObjId, OpId(counter, actor): &OpId) -> Option<usize> {
        let cursor = Cursor::try_from(format!("{counter}@{actor}").as_str()).ok()?;
        self.tx.get_cursor_position(list, &cursor, None).ok()
    }
}

#[cfg(test)]
mod tests;
