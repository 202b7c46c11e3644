//! Reading a message whose member `type` says what the others are, in one pass.
//!
//! Serde's own way is to buffer every member until the tag is found. Practically every client
//! writes the tag first, so here the members after it are read straight into what they become, and
//! only a message that hides its tag is read twice.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

/// One of several messages, told apart by its `type`.
pub(super) trait Tagged<'de>: Sized {
    /// Reads the members of a message of this kind; `type` may be among them.
    fn read<D: Deserializer<'de>>(kind: &str, members: D) -> Result<Self, D::Error>;
}

/// Reads one message and nothing after it.
pub(super) fn parse<'de, T: Tagged<'de>>(text: &'de str) -> Result<T, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = TagFirst(PhantomData).deserialize(&mut deserializer)?;
    deserializer.end()?;
    match read {
        Read::Message(message) => Ok(message),
        Read::Kind(kind) => T::read(&kind, &mut serde_json::Deserializer::from_str(text)),
    }
}

/// What one pass brings.
enum Read<T> {
    Message(T),
    /// The tag was not the first member: now that it is known, the message can be read.
    Kind(String),
}

struct TagFirst<T>(PhantomData<T>);

impl<'de, T: Tagged<'de>> DeserializeSeed<'de> for TagFirst<T> {
    type Value = Read<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Read<T>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Tagged<'de>> Visitor<'de> for TagFirst<T> {
    type Value = Read<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Read<T>, A::Error> {
        let mut is_first = true;
        while let Some(IsTag(is_tag)) = members.next_key()? {
            if !is_tag {
                is_first = false;
                members.next_value::<IgnoredAny>()?;
                continue;
            }
            let kind: String = members.next_value()?;
            if is_first {
                return T::read(&kind, MapAccessDeserializer::new(members)).map(Read::Message);
            }
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Read::Kind(kind));
        }
        Err(A::Error::missing_field("type"))
    }
}

/// Whether a key is `type`.
struct IsTag(bool);

impl<'de> serde::Deserialize<'de> for IsTag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = IsTag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, key: &str) -> Result<IsTag, E> {
                Ok(IsTag(key == "type"))
            }
        }
        deserializer.deserialize_str(Key)
    }
}
