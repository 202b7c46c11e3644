//! Patches as JSON: `[{"op": "add", "path": "/a", "value": 1}]`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::{JsonOp, JsonPatch, PatchError, PatchErrorKind};
use crate::json::pointer::Pointer;
use crate::json::tree::Json;
use crate::limits;

pub(super) fn patch_from_json(json: &Json) -> Result<JsonPatch, PatchError> {
    let refuse = |op, kind| PatchError { op, kind };
    let ops = json.as_array().ok_or_else(|| refuse(0, malformed("a patch is an array")))?;
    if ops.len() > limits::PATCH_OPS_CEILING {
        return Err(refuse(0, PatchErrorKind::TooManyOps));
    }
    let ops = ops.iter().enumerate();
    let ops = ops.map(|(index, op)| op_from_json(op).map_err(|kind| refuse(index, kind)));
    Ok(JsonPatch { ops: ops.collect::<Result<_, _>>()? })
}

fn op_from_json(json: &Json) -> Result<JsonOp, PatchErrorKind> {
    let members = json.as_object().ok_or_else(|| malformed("an operation is an object"))?;
    let member = |name| members.get(name).cloned();
    Parts { op: member("op"), path: member("path"), from: member("from"), value: member("value") }
        .into_op()
}

fn malformed(message: &'static str) -> PatchErrorKind {
    PatchErrorKind::Malformed(message.into())
}

/// The members of an operation that RFC 6902 knows, as they came.
#[derive(Default)]
struct Parts {
    op: Option<Json>,
    path: Option<Json>,
    from: Option<Json>,
    value: Option<Json>,
}

impl Parts {
    fn into_op(self) -> Result<JsonOp, PatchErrorKind> {
        let op = self.op.ok_or_else(|| malformed("\"op\" is missing"))?;
        let op = op.as_str().ok_or_else(|| malformed("\"op\" is not a string"))?;
        let value = self.value.ok_or_else(|| malformed("\"value\" is missing"));
        let path = pointer(self.path.as_ref(), "\"path\" is missing or not a string");
        let from = pointer(self.from.as_ref(), "\"from\" is missing or not a string");
        Ok(match op {
            "add" => JsonOp::Add { path: path?, value: value? },
            "remove" => JsonOp::Remove { path: path? },
            "replace" => JsonOp::Replace { path: path?, value: value? },
            "move" => JsonOp::Move { from: from?, path: path? },
            "copy" => JsonOp::Copy { from: from?, path: path? },
            "test" => JsonOp::Test { path: path?, value: value? },
            _ => return Err(malformed("\"op\" is not an operation of rfc 6902")),
        })
    }
}

fn pointer(json: Option<&Json>, otherwise: &'static str) -> Result<Pointer, PatchErrorKind> {
    let text = json.and_then(Json::as_str).ok_or_else(|| malformed(otherwise))?;
    Ok(Pointer::parse(text)?)
}

/// Refuses what [`JsonPatch::from_json`] refuses, and a member of an operation that occurs twice.
impl<'de> Deserialize<'de> for JsonPatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ops;

        impl<'de> Visitor<'de> for Ops {
            type Value = JsonPatch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a patch, which is an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<JsonPatch, A::Error> {
                let mut ops = Vec::new();
                while let Some(parts) = items.next_element::<Parts>()? {
                    let refuse = |kind| A::Error::custom(PatchError { op: ops.len(), kind });
                    if ops.len() == limits::PATCH_OPS_CEILING {
                        return Err(refuse(PatchErrorKind::TooManyOps));
                    }
                    let op = parts.into_op().map_err(refuse)?;
                    ops.push(op);
                }
                Ok(JsonPatch { ops })
            }
        }

        deserializer.deserialize_seq(Ops)
    }
}

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Parts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an operation, which is an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Parts, A::Error> {
                let mut parts = Parts::default();
                while let Some(name) = members.next_key::<String>()? {
                    let part = match name.as_str() {
                        "op" => &mut parts.op,
                        "path" => &mut parts.path,
                        "from" => &mut parts.from,
                        "value" => &mut parts.value,
                        _ => {
                            members.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if part.replace(members.next_value()?).is_some() {
                        return Err(A::Error::custom("a member of an operation occurs twice"));
                    }
                }
                Ok(parts)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

impl Serialize for JsonPatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.ops)
    }
}

impl Serialize for JsonOp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (op, from, path, value) = match self {
            Self::Add { path, value } => ("add", None, path, Some(value)),
            Self::Remove { path } => ("remove", None, path, None),
            Self::Replace { path, value } => ("replace", None, path, Some(value)),
            Self::Move { from, path } => ("move", Some(from), path, None),
            Self::Copy { from, path } => ("copy", Some(from), path, None),
            Self::Test { path, value } => ("test", None, path, Some(value)),
        };
        let mut members = serializer.serialize_map(None)?;
        members.serialize_entry("op", op)?;
        if let Some(from) = from {
            members.serialize_entry("from", from)?;
        }
        members.serialize_entry("path", path)?;
        if let Some(value) = value {
            members.serialize_entry("value", value)?;
        }
        members.end()
    }
}
