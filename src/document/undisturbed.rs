//! An edit of an older state, at places where nothing has happened since.
//!
//! What a change does to the newest state Automerge tells only where it receives the change, and
//! that costs as much as the objects are large. But where all that an edit touches stands as it
//! stood in its base, it does to the newest state what it does to the base. So it is written at the
//! old heads into the document itself, and laid over the JSON. What the trees do not show (an
//! element that was taken out and put back, a value that came second to another) is looked up
//! afterwards, place by place.

use automerge::{Automerge, Change, ChangeHash, ObjId, Prop, ROOT, ReadDoc as _, Value};

use super::State;
use super::projection::is_edited_within;
use crate::json::{Array, Difference, Entry, Json, Key, Step};
use crate::limits;

/// Whether the places of an edit stand now as they stood in its base.
pub(super) fn is_undisturbed(
    doc: &Automerge,
    base: &State,
    now: &Json,
    entries: &[(Key, Entry)],
) -> bool {
    Before { doc, heads: &base.heads }.object(&ROOT, &base.root, now, entries)
}

struct Before<'d> {
    doc: &'d Automerge,
    /// Those of the base.
    heads: &'d [ChangeHash],
}

impl Before<'_> {
    fn object(&self, id: &ObjId, base: &Json, now: &Json, entries: &[(Key, Entry)]) -> bool {
        let (Json::Object(base), Json::Object(now)) = (base, now) else { return false };
        entries.iter().all(|(key, entry)| match (entry, base.get(key), now.get(key)) {
            (Entry::Add(_), None, None) => true,
            (Entry::Remove, Some(base), Some(now)) => base.ptr_eq(now),
            (Entry::Change(change), Some(base), Some(now)) => {
                self.change(id, Prop::Map(key.to_string()), base, now, change)
            }
            _ => false,
        })
    }

    fn change(
        &self,
        parent: &ObjId,
        prop: Prop,
        base: &Json,
        now: &Json,
        change: &Difference,
    ) -> bool {
        let Ok(Some((value, id))) = self.doc.get(parent, prop) else { return false };
        match (change, base, now) {
            (Difference::Same, _, _) => true,
            (Difference::Replace(_), _, _) => base.ptr_eq(now) && !is_edited_within(&value),
            (Difference::Object(entries), _, _) => self.object(&id, base, now, entries),
            (Difference::Array(steps), Json::Array(base), Json::Array(now)) => {
                base.ptr_eq(now) && self.array(&id, base, steps)
            }
            (Difference::Array(_), _, _) => false,
        }
    }

    fn array(&self, id: &ObjId, elements: &Array, steps: &[Step]) -> bool {
        let mut index: usize = 0;
        steps.iter().all(|step| {
            let at = index;
            match step {
                Step::Keep(count) => index = at.saturating_add(*count),
                Step::Insert(_) => {}
                Step::Delete(count) => {
                    index = at.saturating_add(*count);
                    return *count <= limits::UNDISTURBED_DELETES_MAX
                        && (at..index).all(|at| self.is_same(id, at));
                }
                Step::Change(change) => {
                    index = at.saturating_add(1);
                    let same = elements.get(at);
                    return same.is_some_and(|element| {
                        self.change(id, Prop::Seq(at), element, element, change)
                    });
                }
            }
            true
        })
    }

    /// Whether an element is the one that stood there. A patch that copies an array elsewhere and
    /// back leaves the JSON as it was, and all elements others; that a wrong one goes would not
    /// show afterwards.
    fn is_same(&self, list: &ObjId, index: usize) -> bool {
        let now = self.doc.get(list, index);
        match (now, self.doc.get_at(list, index, self.heads)) {
            (Ok(Some((_, now))), Ok(Some((_, then)))) => now == then,
            _ => false,
        }
    }
}

/// The state now with an undisturbed edit laid over it, of which `next` is the result on its base.
pub(super) fn laid_over(now: &Json, next: &Json, entries: &[(Key, Entry)]) -> Json {
    let (Json::Object(now), Json::Object(next)) = (now, next) else { return now.clone() };
    let mut after = now.clone();
    for (key, entry) in entries {
        match (entry, now.get(key), next.get(key)) {
            (Entry::Change(Difference::Object(inner)), Some(now), Some(next)) => {
                after.insert(Key::clone(key), laid_over(now, next, inner));
            }
            (_, _, Some(next)) => drop(after.insert(Key::clone(key), next.clone())),
            (_, _, None) => drop(after.remove(key)),
        }
    }
    Json::Object(after)
}

/// Whether an edit came to stand in the newest state of the document where it is laid.
pub(super) fn has_landed(
    doc: &Automerge,
    change: &Change,
    next: &Json,
    entries: &[(Key, Entry)],
) -> bool {
    After { doc, change }.object(&ROOT, next, entries)
}

struct After<'d> {
    doc: &'d Automerge,
    change: &'d Change,
}

impl After<'_> {
    fn object(&self, id: &ObjId, next: &Json, entries: &[(Key, Entry)]) -> bool {
        let Json::Object(next) = next else { return false };
        entries.iter().all(|(key, entry)| {
            let place = Prop::Map(key.to_string());
            match (entry, next.get(key)) {
                (Entry::Add(_), Some(_)) => self.is_new(id, place),
                (Entry::Remove, None) => matches!(self.doc.get(id, place), Ok(None)),
                (Entry::Change(change), Some(next)) => self.change(id, place, next, change),
                _ => false,
            }
        })
    }

    fn change(&self, parent: &ObjId, place: Prop, next: &Json, change: &Difference) -> bool {
        if let Difference::Replace(_) = change {
            return self.is_new(parent, place);
        }
        let Ok(Some((Value::Object(_), id))) = self.doc.get(parent, place) else { return false };
        match (change, next) {
            (Difference::Object(entries), _) => self.object(&id, next, entries),
            (Difference::Array(steps), Json::Array(next)) => self.array(&id, next, steps),
            _ => false,
        }
    }

    fn array(&self, list: &ObjId, next: &Array, steps: &[Step]) -> bool {
        let mut index: usize = 0;
        // Whatever survives or comes back against the edit makes the list longer.
        let in_place = steps.iter().all(|step| {
            let at = index;
            match step {
                Step::Keep(count) => index = at.saturating_add(*count),
                Step::Delete(_) => {}
                Step::Change(change) => {
                    index = at.saturating_add(1);
                    let next = next.get(at);
                    return next.is_some_and(|next| self.change(list, Prop::Seq(at), next, change));
                }
                Step::Insert(values) => {
                    index = at.saturating_add(values.len());
                    return (at..index).all(|at| self.is_new(list, Prop::Seq(at)));
                }
            }
            true
        });
        in_place && self.doc.length(list) == next.len()
    }

    /// Whether what stands there was put there by the edit.
    fn is_new(&self, parent: &ObjId, place: Prop) -> bool {
        match self.doc.get(parent, place) {
            Ok(Some((_, ObjId::Id(counter, actor, _)))) => {
                actor == *self.change.actor_id() && counter >= self.change.start_op().get()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
