//! A document, or a part of it, as JSON.

use automerge::iter::{ListRangeItem, MapRangeItem};
use automerge::{Automerge, ChangeHash, ObjId, ObjType, ReadDoc as _, Value};

use super::DocumentError;
use super::value::read_scalar;
use crate::json::{Array, Json, Object};
use crate::limits;

/// The state of a document at some heads, or now.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) doc: &'a Automerge,
    pub(super) heads: Option<&'a [ChangeHash]>,
}

impl Reader<'_> {
    /// A value as [`automerge::ReadDoc`] hands it out; `depth` counts the containers around it.
    pub(super) fn value(
        self,
        value: &Value<'_>,
        id: &ObjId,
        depth: usize,
    ) -> Result<Json, DocumentError> {
        match value {
            Value::Scalar(scalar) => Ok(read_scalar(scalar)),
            Value::Object(kind) => self.object(id, *kind, depth),
        }
    }

    /// One object with all that is in it.
    pub(super) fn object(
        self,
        id: &ObjId,
        kind: ObjType,
        depth: usize,
    ) -> Result<Json, DocumentError> {
        if kind == ObjType::Text {
            return self.text(id);
        }
        // A root that is no object has the root map around it: one more than JSON may nest.
        if depth > limits::JSON_DEPTH_MAX {
            return Err(DocumentError::TooDeep);
        }
        match kind {
            ObjType::Map | ObjType::Table => self.map(id, depth),
            ObjType::List | ObjType::Text => self.list(id, depth),
        }
    }

    fn map(self, id: &ObjId, depth: usize) -> Result<Json, DocumentError> {
        let items = match self.heads {
            Some(heads) => self.doc.map_range_at(id, .., heads),
            None => self.doc.map_range(id, ..),
        };
        let member = |item: MapRangeItem<'_>| {
            let value =
                self.value(&item.value.clone().into_value(), &item.id(), depth.saturating_add(1))?;
            Ok((item.key.into(), value))
        };
        let object: Result<Object, DocumentError> = items.map(member).collect();
        Ok(Json::Object(object?))
    }

    fn list(self, id: &ObjId, depth: usize) -> Result<Json, DocumentError> {
        let items = match self.heads {
            Some(heads) => self.doc.list_range_at(id, .., heads),
            None => self.doc.list_range(id, ..),
        };
        let element = |item: ListRangeItem<'_>| {
            self.value(&item.value.clone().into_value(), &item.id(), depth.saturating_add(1))
        };
        let array: Result<Array, DocumentError> = items.map(element).collect();
        Ok(Json::Array(array?))
    }

    fn text(self, id: &ObjId) -> Result<Json, DocumentError> {
        let text = match self.heads {
            Some(heads) => self.doc.text_at(id, heads),
            None => self.doc.text(id),
        };
        Ok(Json::String(text?.into()))
    }
}
