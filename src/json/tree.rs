//! A JSON value that is shared and persistent.
//!
//! An array or object is a counted reference to its members. Cloning takes the reference, editing
//! copies the one node that changes (and, by the caller's own descent, those above it), and all
//! the rest stays shared between the old value and the new. Up to 32 members are one sorted
//! or plain vector; more are a balanced tree, so that an edit among 100,000 members copies a few
//! hundred bytes.
//!
//! Every container knows the length of its own text. It is kept up to date by each edit, so the
//! size of a whole document is known at any time at no cost, and two containers of different
//! length are known to differ.
//!
//! **Depth.** Comparing, measuring, writing and dropping a value recurse. Every way from bytes to a
//! [`Json`] refuses nesting beyond [`limits::JSON_DEPTH_MAX`], so the stack is safe with whatever
//! came from outside; code that nests values by hand keeps that bound itself.

mod array;
mod object;
mod text;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;

pub use array::{Array, ArrayIter};
pub use object::{Object, ObjectChange, ObjectIter};

use super::pointer::{Pointer, array_index};
use crate::limits;

/// The key of a member of an object.
pub type Key = Arc<str>;

/// Members up to which a container is one flat vector.
const FLAT_MEMBERS_MAX: usize = 32;

/// A JSON value (RFC 8259). Cloning it is O(1).
///
/// `==` is exact: `1` and `1.0` differ, because a value that is sent to a client or written to a
/// document must come back as it was. Floats are compared by their bits. Use
/// [`Json::same_value`] for what RFC 6902 calls equal.
#[derive(Clone, Default)]
pub enum Json {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number written without fraction or exponent that fits.
    Int(i64),
    /// A number written without fraction or exponent, above [`i64::MAX`]; `From<u64>` chooses.
    Uint(u64),
    /// Any other number. It is finite and not negative zero (`From<f64>` sees to that), and is
    /// written with a fraction or an exponent.
    Float(f64),
    /// A string.
    String(Arc<str>),
    /// An array.
    Array(Array),
    /// An object, in the order of its keys' bytes.
    Object(Object),
}

/// The members of a container, with the length of their text.
#[derive(Clone, Default)]
struct Measured<T> {
    items: T,
    /// The length in bytes of what is between the brackets, without the commas. It saturates: a
    /// value that shares its parts often enough may be longer, written out, than memory.
    bytes: usize,
}

impl<T> Measured<T> {
    fn grow(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn shrink(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The length of the container's text: brackets, members and the commas between them.
    fn encoded_len(&self, members: usize) -> usize {
        self.bytes.saturating_add(members.max(1) + 1)
    }
}

impl Json {
    /// The elements, if this is an array.
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }

    /// The members, if this is an object.
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// Whether this is an array or an object.
    pub fn is_container(&self) -> bool {
        matches!(self, Self::Array(_) | Self::Object(_))
    }

    /// The value at a place, if there is one.
    pub fn get(&self, pointer: &Pointer) -> Option<&Self> {
        self.at(pointer.segments())
    }

    pub(super) fn at(&self, path: &[Key]) -> Option<&Self> {
        path.iter().try_fold(self, |json, segment| match json {
            Self::Object(object) => object.get(segment),
            Self::Array(array) => array.get(array_index(segment)?),
            _ => None,
        })
    }

    /// Nesting: 0 for a scalar, 1 for `[]` and `[1]`, 2 for `[[]]`.
    pub fn depth(&self) -> usize {
        let inner = match self {
            Self::Array(array) => array.iter().map(Self::depth).max(),
            Self::Object(object) => object.iter().map(|(_, value)| value.depth()).max(),
            _ => return 0,
        };
        1 + inner.unwrap_or(0)
    }

    /// The length of the value's compact text in bytes: what [`Display`](std::fmt::Display) writes.
    ///
    /// O(1) for a container, O(length) for a string. Saturates instead of overflowing.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Null | Self::Bool(true) => 4,
            Self::Bool(false) => 5,
            Self::String(text) => text_len(text),
            Self::Int(n) => written_len(n),
            Self::Uint(n) => written_len(n),
            Self::Float(n) => written_len(n),
            Self::Array(array) => array.encoded_len(),
            Self::Object(object) => object.encoded_len(),
        }
    }

    /// Whether both are one value in memory: the same node, or equal scalars.
    ///
    /// Never true of what differs, and cheap; but two containers built apart are never "one".
    pub fn ptr_eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(a), Self::Array(b)) => a.ptr_eq(b),
            (Self::Object(a), Self::Object(b)) => a.ptr_eq(b),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Uint(a), Self::Uint(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            _ => false,
        }
    }

    /// Whether both are equal as RFC 6902, section 4.6 means it: numbers by their value, so that
    /// `1`, `1.0` and `1e0` are equal; all else as `==`.
    ///
    /// Numbers are compared exactly: 2^53 + 1 does not equal the float 2^53.
    pub fn same_value(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(a), Self::Array(b)) => {
                a.ptr_eq(b) || a.len() == b.len() && a.prefix_by(b, Self::same_value) == a.len()
            }
            (Self::Object(a), Self::Object(b)) => {
                let same = |change| match change {
                    ObjectChange::Changed(_, old, new) => old.same_value(new),
                    ObjectChange::Added(..) | ObjectChange::Removed(..) => false,
                };
                a.len() == b.len() && a.candidates(b).all(same)
            }
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(b).is_some_and(Ordering::is_eq),
            (Self::Float(a), b) => b.integer().is_some_and(|b| equals_integer(*a, b)),
            (a, Self::Float(b)) => a.integer().is_some_and(|a| equals_integer(*b, a)),
            (a, b) => match (a.integer(), b.integer()) {
                (Some(a), Some(b)) => a == b,
                _ => a.ptr_eq(b),
            },
        }
    }

    fn integer(&self) -> Option<i128> {
        match self {
            Self::Int(n) => Some((*n).into()),
            Self::Uint(n) => Some((*n).into()),
            _ => None,
        }
    }

    /// Whether the value keeps to `limits`: its depth, its size, and the keys of its objects.
    pub fn check(&self, limits: &JsonLimits) -> Result<(), JsonError> {
        if self.encoded_len() > limits.document_bytes_max {
            return Err(JsonError::TooLarge);
        }
        self.check_beneath(limits, 0)
    }

    /// Checks depth and keys of a value that stands `depth` containers deep.
    pub(super) fn check_beneath(&self, limits: &JsonLimits, depth: usize) -> Result<(), JsonError> {
        if self.is_container() && depth >= limits.depth_max {
            return Err(JsonError::TooDeep);
        }
        match self {
            Self::Array(array) => {
                array.iter().try_for_each(|value| value.check_beneath(limits, depth + 1))
            }
            Self::Object(object) => object.iter().try_for_each(|(key, value)| {
                limits.check_key(key)?;
                value.check_beneath(limits, depth + 1)
            }),
            _ => Ok(()),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "saturates far outside of i64 and u64")]
fn equals_integer(float: f64, integer: i128) -> bool {
    float.fract() == 0.0 && float as i128 == integer
}

/// The length of a string's text: two quotes, and what is escaped (RFC 8259, section 7).
fn text_len(text: &str) -> usize {
    let escape = |byte: &u8| match byte {
        b'"' | b'\\' | b'\x08' | b'\t' | b'\n' | b'\x0c' | b'\r' => 1,
        0..0x20 => 5,
        _ => 0_u8,
    };
    // Sums of so few fit a byte, so that many bytes are looked at together.
    let escapes = text.as_bytes().chunks(32).map(|bytes| bytes.iter().map(escape).sum::<u8>());
    text.len() + 2 + escapes.map(usize::from).sum::<usize>()
}

/// The length of a number's text.
fn written_len(number: &impl serde::Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(0);
    match serde_json::to_writer(&mut count, number) {
        Ok(()) => count.0,
        // Counting cannot fail; and if it did, too large is what hurts least.
        Err(_) => usize::MAX,
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => a == b,
            (a, b) => a.ptr_eq(b),
        }
    }
}

impl Eq for Json {}

impl Hash for Json {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Null => {}
            Self::Bool(value) => value.hash(state),
            Self::Int(n) => n.hash(state),
            Self::Uint(n) => n.hash(state),
            Self::Float(n) => n.to_bits().hash(state),
            Self::String(text) => text.hash(state),
            Self::Array(array) => array.hash(state),
            Self::Object(object) => object.hash(state),
        }
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Json {
    fn from(n: i32) -> Self {
        Self::Int(n.into())
    }
}

impl From<i64> for Json {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<u64> for Json {
    fn from(n: u64) -> Self {
        i64::try_from(n).map_or(Self::Uint(n), Self::Int)
    }
}

/// Infinities and NaN are no JSON; they become `null`, as in JavaScript. Negative zero becomes
/// zero, which it equals: Automerge does not write the one over the other.
impl From<f64> for Json {
    fn from(n: f64) -> Self {
        if n.is_finite() { Self::Float(n + 0.0) } else { Self::Null }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<Array> for Json {
    fn from(array: Array) -> Self {
        Self::Array(array)
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

/// What a JSON value from outside may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonLimits {
    /// Nesting; see [`Json::depth`].
    pub depth_max: usize,
    /// The length of one key in bytes, unescaped.
    pub key_bytes_max: usize,
    /// The length of the whole value as compact text, in bytes.
    pub document_bytes_max: usize,
    /// Operations in one patch.
    pub patch_ops_max: usize,
    /// Whether the keys `__proto__`, `constructor` and `prototype` are refused. They mean nothing
    /// here, but a JavaScript client that applies a patch with such a key by assignment changes
    /// the prototype of all its objects (CVE-2021-4279).
    pub forbid_prototype_keys: bool,
}

impl Default for JsonLimits {
    fn default() -> Self {
        Self {
            depth_max: limits::JSON_DEPTH_MAX,
            key_bytes_max: limits::KEY_BYTES_MAX,
            document_bytes_max: limits::DOCUMENT_BYTES_MAX,
            patch_ops_max: limits::PATCH_OPS_MAX,
            forbid_prototype_keys: true,
        }
    }
}

impl JsonLimits {
    /// Whether an object may have a member with this key.
    pub fn check_key(&self, key: &str) -> Result<(), JsonError> {
        if key.len() > self.key_bytes_max {
            return Err(JsonError::KeyTooLong);
        }
        let forbidden = matches!(key, "__proto__" | "constructor" | "prototype");
        if forbidden && self.forbid_prototype_keys {
            return Err(JsonError::ForbiddenKey(key.to_owned()));
        }
        Ok(())
    }
}

/// Why a JSON value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text is not JSON (RFC 8259), or holds a number that is out of range; says where.
    #[error("not valid json: {0}")]
    Syntax(String),
    /// Arrays and objects are nested beyond [`JsonLimits::depth_max`].
    #[error("nested too deep")]
    TooDeep,
    /// A key is longer than [`JsonLimits::key_bytes_max`].
    #[error("a key is too long")]
    KeyTooLong,
    /// A key that is refused by [`JsonLimits::forbid_prototype_keys`].
    #[error("the key \"{0}\" is not allowed")]
    ForbiddenKey(String),
    /// The value is larger than [`JsonLimits::document_bytes_max`].
    #[error("too large")]
    TooLarge,
}

#[cfg(test)]
mod tests;
