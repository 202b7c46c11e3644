//! JSON -> Automerge: a difference of two JSON trees, written as operations of one transaction.

use automerge::transaction::{Transactable as _, Transaction};
use automerge::{ObjId, ObjType, Prop, ROOT, ReadDoc as _, TextEncoding, Value, hydrate};

use super::value::{counter, write_scalar};
use super::{DocumentError, RESERVED_ROOT};
use crate::document::policy::{Policy, Segment};
use crate::json::diff::{Difference, Entry, Step};
use crate::json::{Json, Key};

/// Writes a difference of two root objects.
pub(super) fn write(
    tx: &mut Transaction<'_>,
    policy: &Policy,
    entries: &[(Key, Entry)],
) -> Result<(), DocumentError> {
    Writer { tx, policy, path: Vec::new() }.object(&ROOT, entries)
}

struct Writer<'t, 'd, 'p> {
    tx: &'t mut Transaction<'d>,
    policy: &'p Policy,
    /// Where the writer stands, as the store's JSON has it.
    path: Vec<Segment>,
}

impl Writer<'_, '_, '_> {
    fn object(&mut self, id: &ObjId, entries: &[(Key, Entry)]) -> Result<(), DocumentError> {
        for (key, entry) in entries {
            let hidden = self.path.is_empty() && **key == *RESERVED_ROOT;
            if !hidden {
                self.path.push(Segment::Key(Key::clone(key)));
            }
            match entry {
                Entry::Add(value) => self.put(id, &Prop::Map(key.to_string()), value)?,
                Entry::Remove => self.tx.delete(id, &**key)?,
                Entry::Change(change) => self.change(id, &Prop::Map(key.to_string()), change)?,
            }
            if !hidden {
                self.path.pop();
            }
        }
        Ok(())
    }

    fn array(&mut self, id: &ObjId, steps: &[Step]) -> Result<(), DocumentError> {
        let mut index: usize = 0;
        for step in steps {
            match step {
                Step::Keep(count) => index = index.saturating_add(*count),
                Step::Delete(count) => {
                    for _ in 0..*count {
                        self.tx.delete(id, index)?;
                    }
                }
                Step::Change(change) => {
                    self.path.push(Segment::Index(index));
                    self.change(id, &Prop::Seq(index), change)?;
                    self.path.pop();
                    index = index.saturating_add(1);
                }
                Step::Insert(values) => {
                    for value in values {
                        self.path.push(Segment::Index(index));
                        self.insert(id, index, value)?;
                        self.path.pop();
                        index = index.saturating_add(1);
                    }
                }
            }
        }
        Ok(())
    }

    fn change(
        &mut self,
        parent: &ObjId,
        prop: &Prop,
        change: &Difference,
    ) -> Result<(), DocumentError> {
        match change {
            Difference::Same => Ok(()),
            Difference::Replace(value) => self.replace(parent, prop, value),
            Difference::Object(entries) => {
                let id = self.child(parent, prop)?;
                self.object(&id, entries)
            }
            Difference::Array(steps) => {
                let id = self.child(parent, prop)?;
                self.array(&id, steps)
            }
        }
    }

    fn child(&self, parent: &ObjId, prop: &Prop) -> Result<ObjId, DocumentError> {
        match self.tx.get(parent, prop.clone())? {
            Some((Value::Object(_), id)) => Ok(id),
            _ => Err(DocumentError::Diverged),
        }
    }

    /// Puts a value where another stands: what stands there decides how.
    fn replace(&mut self, parent: &ObjId, prop: &Prop, value: &Json) -> Result<(), DocumentError> {
        let Some((current, id)) = self.tx.get(parent, prop.clone())? else {
            return Err(DocumentError::Diverged);
        };
        match (value, &current) {
            (Json::String(text), Value::Object(ObjType::Text)) => {
                if self.policy.declares_text(&self.path) {
                    return Ok(self.tx.update_text(&id, &**text)?);
                }
                self.put_text(parent, prop, text)
            }
            (Json::Int(n), _) => match counter(&current).and_then(|c| n.checked_sub(c)) {
                Some(by) => Ok(self.tx.increment(parent, prop.clone(), by)?),
                None => self.put(parent, prop, value),
            },
            _ => self.put(parent, prop, value),
        }
    }

    fn put(&mut self, parent: &ObjId, prop: &Prop, value: &Json) -> Result<(), DocumentError> {
        match value {
            Json::String(text) if self.policy.is_text(&self.path) => {
                self.put_text(parent, prop, text)
            }
            _ => match write_scalar(value) {
                Some(scalar) => Ok(self.tx.put(parent, prop.clone(), scalar)?),
                None => self.create(parent, prop, value, false),
            },
        }
    }

    fn put_text(&mut self, parent: &ObjId, prop: &Prop, text: &str) -> Result<(), DocumentError> {
        let id = self.tx.put_object(parent, prop.clone(), ObjType::Text)?;
        Ok(self.tx.splice_text(&id, 0, 0, text)?)
    }

    fn insert(&mut self, list: &ObjId, index: usize, value: &Json) -> Result<(), DocumentError> {
        match value {
            Json::String(text) if self.policy.is_text(&self.path) => {
                let id = self.tx.insert_object(list, index, ObjType::Text)?;
                Ok(self.tx.splice_text(&id, 0, 0, text)?)
            }
            _ => match write_scalar(value) {
                Some(scalar) => Ok(self.tx.insert(list, index, scalar)?),
                None => self.create(list, &Prop::Seq(index), value, true),
            },
        }
    }

    fn create(
        &mut self,
        parent: &ObjId,
        prop: &Prop,
        value: &Json,
        insert: bool,
    ) -> Result<(), DocumentError> {
        let value = self.hydrated(value);
        self.tx.batch_create_object(parent, prop.clone(), &value, insert)?;
        Ok(())
    }

    /// The value as Automerge takes whole subtrees. It writes members in the order of their keys,
    /// so the same JSON is always the same operations.
    fn hydrated(&mut self, value: &Json) -> hydrate::Value {
        match value {
            Json::Array(array) => {
                let mut list = Vec::with_capacity(array.len());
                for (index, element) in array.iter().enumerate() {
                    self.path.push(Segment::Index(index));
                    list.push(self.hydrated(element));
                    self.path.pop();
                }
                hydrate::Value::List(list.into())
            }
            Json::Object(object) => {
                #[expect(clippy::disallowed_types, reason = "what hydrate::Map is made from")]
                let mut map = std::collections::HashMap::with_capacity(object.len());
                for (key, member) in object {
                    self.path.push(Segment::Key(Key::clone(key)));
                    map.insert(key.to_string(), self.hydrated(member));
                    self.path.pop();
                }
                hydrate::Value::Map(map.into())
            }
            Json::String(text) if self.policy.is_text(&self.path) => {
                hydrate::Value::text(TextEncoding::platform_default(), text)
            }
            scalar => match write_scalar(scalar) {
                Some(scalar) => hydrate::Value::Scalar(scalar),
                None => hydrate::Value::map(),
            },
        }
    }
}
