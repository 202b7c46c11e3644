//! Values as text: parsing within limits, writing, and the way to and from [`serde_json::Value`].

use std::cell::Cell;
use std::fmt;
use std::io;
use std::str;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::{Number, Value};

use super::{Array, Json, JsonError, JsonLimits, Key};
use crate::limits;

impl Json {
    /// Reads one JSON text (RFC 8259) within `limits`, which the text itself, blanks included,
    /// must not exceed in size either.
    ///
    /// Of members with the same key the last one stays. An integer beyond [`u64::MAX`] becomes the
    /// nearest float; a number that no float can hold (`1e400`) is refused.
    pub fn parse(text: impl AsRef<[u8]>, limits: &JsonLimits) -> Result<Self, JsonError> {
        let text = text.as_ref();
        if text.len() > limits.document_bytes_max {
            return Err(JsonError::TooLarge);
        }
        let refusal = Cell::new(None);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let reader = Reader { limits, depth: 0, refusal: &refusal };
        let parsed = reader
            .deserialize(&mut deserializer)
            .and_then(|json| deserializer.end().map(|()| json));
        let syntax = |error: serde_json::Error| JsonError::Syntax(error.to_string());
        parsed.map_err(|error| refusal.take().unwrap_or_else(|| syntax(error)))
    }
}

/// Reads one value that stands `depth` containers deep.
#[derive(Clone, Copy)]
struct Reader<'a> {
    limits: &'a JsonLimits,
    depth: usize,
    /// Where a limit's own error waits while the deserializer hands up one of its own.
    refusal: &'a Cell<Option<JsonError>>,
}

impl Reader<'_> {
    fn refuse<E: de::Error>(&self, error: JsonError) -> E {
        let message = E::custom(&error);
        self.refusal.set(Some(error));
        message
    }

    /// A reader for the members of the container that is read.
    fn beneath<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= self.limits.depth_max {
            return Err(self.refuse(JsonError::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Json, E> {
        Ok(Json::Int(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Json, E> {
        Ok(n.into())
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Json, E> {
        if n.is_finite() { Ok(n.into()) } else { Err(E::custom("number out of range")) }
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Json, A::Error> {
        let reader = self.beneath()?;
        let mut items = Vec::new();
        while let Some(element) = elements.next_element_seed(reader)? {
            items.push(element);
        }
        Ok(Array::from(items).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let reader = self.beneath()?;
        let mut items = Vec::new();
        while let Some(key) = members.next_key_seed(KeyReader(self))? {
            items.push((key, members.next_value_seed(reader)?));
        }
        Ok(Json::Object(items.into_iter().collect()))
    }
}

struct KeyReader<'a>(Reader<'a>);

impl<'de> DeserializeSeed<'de> for KeyReader<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyReader<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Key, E> {
        self.0.limits.check_key(key).map_err(|error| self.0.refuse(error))?;
        Ok(key.into())
    }
}

/// Refuses nesting beyond [`limits::JSON_DEPTH_MAX`] and numbers that are not finite, and nothing
/// else: [`Json::parse`] and [`Json::check`] know the other limits.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limits = JsonLimits {
            depth_max: limits::JSON_DEPTH_MAX,
            key_bytes_max: usize::MAX,
            document_bytes_max: usize::MAX,
            patch_ops_max: usize::MAX,
            forbid_prototype_keys: false,
        };
        let refusal = Cell::new(None);
        Reader { limits: &limits, depth: 0, refusal: &refusal }.deserialize(deserializer)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(n) => serializer.serialize_i64(*n),
            Self::Uint(n) => serializer.serialize_u64(*n),
            Self::Float(n) => serializer.serialize_f64(*n),
            Self::String(text) => serializer.serialize_str(text),
            Self::Array(array) => serializer.collect_seq(array),
            Self::Object(object) => {
                serializer.collect_map(object.iter().map(|(key, value)| (&**key, value)))
            }
        }
    }
}

/// Compact JSON text.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde_json::to_writer(Utf8(f), self).map_err(|_error| fmt::Error)
    }
}

/// Compact JSON text, as [`Display`](fmt::Display).
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Lets a writer of bytes write to a formatter; it is given whole characters only.
struct Utf8<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl io::Write for Utf8<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => number.into(),
            Value::String(text) => text.into(),
            Value::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Value::Object(members) => Self::Object(
                members.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
            ),
        }
    }
}

impl From<Number> for Json {
    fn from(number: Number) -> Self {
        match (number.as_i64(), number.as_u64()) {
            (Some(n), _) => Self::Int(n),
            (None, Some(n)) => Self::Uint(n),
            (None, None) => number.as_f64().map_or(Self::Null, Self::from),
        }
    }
}

impl From<&Json> for Value {
    fn from(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Int(n) => (*n).into(),
            Json::Uint(n) => (*n).into(),
            Json::Float(n) => (*n).into(),
            Json::String(text) => Self::String((**text).to_owned()),
            Json::Array(array) => Self::Array(array.iter().map(Self::from).collect()),
            Json::Object(object) => Self::Object(
                object.iter().map(|(key, value)| ((**key).to_owned(), value.into())).collect(),
            ),
        }
    }
}
