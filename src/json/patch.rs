//! JSON Patch (RFC 6902): strict, all or nothing, and on a budget.
//!
//! Applying a patch costs what the patch changes: each operation copies the way from the root to
//! its target, and `copy` and `move` share what they place. Two things are bounded beyond that.
//! The value may at no moment be longer, as text, than the limit; twenty-four `copy` operations,
//! each of which doubles the value, would otherwise make 100 MB of a few bytes. And what `copy`
//! and `move` must look through (the length of a string, the depth of a value that goes deeper)
//! is bounded over the whole patch, or ten thousand copies of one large string would take minutes.

use std::borrow::Cow;

use super::pointer::{Pointer, PointerError, array_index};
use super::tree::{Json, JsonError, JsonLimits, Key};

mod encoding;

/// How often the text of a whole document may be looked through on behalf of one patch.
const SCANS_MAX: usize = 4;

/// A list of operations that are applied in order, and together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonPatch {
    /// The operations, first to last.
    pub ops: Vec<JsonOp>,
}

/// One operation (RFC 6902, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonOp {
    /// Sets a member, or inserts an element before the one at the index; `-` is the end.
    Add {
        /// The member, the element or the whole value.
        path: Pointer,
        /// What to put there.
        value: Json,
    },
    /// Takes out a member or an element. The whole value becomes `null`: a document always has a
    /// value, and the RFC leaves the case open.
    Remove {
        /// What to take out; it must exist.
        path: Pointer,
    },
    /// Puts a value in the place of another.
    Replace {
        /// What to replace; it must exist.
        path: Pointer,
        /// What to put there.
        value: Json,
    },
    /// Takes out a value and adds it elsewhere.
    Move {
        /// What to take out; it must exist, and must not contain `path`.
        from: Pointer,
        /// Where to add it, once it is taken out.
        path: Pointer,
    },
    /// Adds a value once more, elsewhere.
    Copy {
        /// What to copy; it must exist.
        from: Pointer,
        /// Where to add it.
        path: Pointer,
    },
    /// Fails the patch unless a value is as expected, by [`Json::same_value`].
    Test {
        /// What to look at; it must exist.
        path: Pointer,
        /// What is expected there.
        value: Json,
    },
}

impl JsonOp {
    /// The place that it is about: where it puts something, removes it or looks.
    pub fn path(&self) -> &Pointer {
        match self {
            Self::Add { path, .. }
            | Self::Remove { path }
            | Self::Replace { path, .. }
            | Self::Move { path, .. }
            | Self::Copy { path, .. }
            | Self::Test { path, .. } => path,
        }
    }
}

/// Why a patch was refused, and at which of its operations. What it was applied to is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("operation {op}: {kind}")]
pub struct PatchError {
    /// The index of the operation, from 0; also 0 for what is wrong with the patch as a whole.
    pub op: usize,
    /// What is wrong with it.
    pub kind: PatchErrorKind,
}

/// What is wrong with an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchErrorKind {
    /// It is not an operation: something is missing, or of the wrong kind.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// `path` or `from` is no JSON Pointer.
    #[error(transparent)]
    Pointer(#[from] PointerError),
    /// The patch has more operations than [`JsonLimits::patch_ops_max`], or more than
    /// [`PATCH_OPS_CEILING`](crate::limits::PATCH_OPS_CEILING), where it is read.
    #[error("the patch has too many operations")]
    TooManyOps,
    /// A `test` met another value than it expected.
    #[error("the value is not the one that is expected")]
    TestFailed,
    /// There is nothing at `path` or `from`, or nothing that could hold it.
    #[error("there is no such place")]
    NoSuchPath,
    /// An array is addressed by something that is none of its indices.
    #[error("not an index of the array")]
    BadIndex,
    /// The place is beneath a value that is neither array nor object.
    #[error("the place is inside a value that holds no others")]
    NotAContainer,
    /// A value cannot be moved into itself.
    #[error("a value cannot be moved into itself")]
    MoveIntoSelf,
    /// The outcome would exceed a limit: size, depth, or what a key may be.
    #[error(transparent)]
    Limit(#[from] JsonError),
}

/// What a patch made.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The new value; it shares with the old one whatever the patch did not touch.
    pub json: Json,
    /// Which element the patch meant, where it left no doubt.
    pub explicit: Option<Explicit>,
}

/// The one element that a patch added to or took from an array, named by the patch itself.
///
/// Between `[1, 1, 1]` and `[1, 1]` no comparison can tell which element is gone. A patch whose
/// only operation, `test` aside, is `remove /0` says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explicit {
    /// The array.
    pub array: Pointer,
    /// The index at which the element was, or now is.
    pub index: usize,
    /// How many elements were taken out there.
    pub removed: usize,
    /// How many elements were put there.
    pub inserted: usize,
}

impl JsonPatch {
    /// Reads a patch from its JSON; unknown members of an operation are ignored. More operations
    /// than [`PATCH_OPS_CEILING`](crate::limits::PATCH_OPS_CEILING) are refused; the other limits
    /// are [`apply`](Self::apply)'s to know.
    ///
    /// The values within are as deep as the JSON allows, which counts from the patch's own array:
    /// reading a patch straight from its text ([`serde::Deserialize`]) gives each value the whole
    /// depth.
    pub fn from_json(json: &Json) -> Result<Self, PatchError> {
        encoding::patch_from_json(json)
    }

    /// Applies all operations to `base`, or none.
    ///
    /// Fails with the first operation that RFC 6902 does not allow, or after which the value
    /// would exceed `limits` (a value that exceeds them already may shrink).
    pub fn apply(&self, base: &Json, limits: &JsonLimits) -> Result<Applied, PatchError> {
        if self.ops.len() > limits.patch_ops_max {
            return Err(PatchError { op: 0, kind: PatchErrorKind::TooManyOps });
        }
        let scans_left = limits.document_bytes_max.saturating_mul(SCANS_MAX);
        let mut applying = Applying { json: base.clone(), limits, scans_left };
        for (index, op) in self.ops.iter().enumerate() {
            applying.step(op).map_err(|kind| PatchError { op: index, kind })?;
        }
        Ok(Applied { json: applying.json, explicit: self.explicit(base) })
    }

    fn explicit(&self, base: &Json) -> Option<Explicit> {
        let mut ops = self.ops.iter().filter(|op| !matches!(op, JsonOp::Test { .. }));
        let (path, removed, inserted) = match (ops.next()?, ops.next()) {
            (JsonOp::Add { path, .. } | JsonOp::Copy { path, .. }, None) => (path, 0, 1),
            (JsonOp::Remove { path }, None) => (path, 1, 0),
            _ => return None,
        };
        let array = path.parent()?;
        let elements = base.get(&array)?.as_array()?;
        let index = match path.last()? {
            "-" => elements.len(),
            segment => array_index(segment)?,
        };
        Some(Explicit { array, index, removed, inserted })
    }
}

/// A patch on its way.
struct Applying<'a> {
    json: Json,
    limits: &'a JsonLimits,
    /// Bytes of text that may still be looked through; see the module.
    scans_left: usize,
}

impl Applying<'_> {
    fn step(&mut self, op: &JsonOp) -> Result<(), PatchErrorKind> {
        let before = self.json.encoded_len();
        match op {
            JsonOp::Add { path, value } => {
                self.check_place(path)?;
                value.check_beneath(self.limits, path.len())?;
                add(&mut self.json, path.segments(), value.clone())?;
            }
            JsonOp::Remove { path } => {
                remove(&mut self.json, path.segments())?;
            }
            JsonOp::Replace { path, value } => {
                value.check_beneath(self.limits, path.len())?;
                replace(&mut self.json, path.segments(), value.clone())?;
            }
            JsonOp::Move { from, path } => self.shift(from, path)?,
            JsonOp::Copy { from, path } => {
                self.check_place(path)?;
                let value = find(&self.json, from.segments())?.clone();
                self.check_transfer(&value, from, path)?;
                add(&mut self.json, path.segments(), value)?;
            }
            JsonOp::Test { path, value } => {
                let found = find(&self.json, path.segments())?;
                if !found.same_value(value) {
                    return Err(PatchErrorKind::TestFailed);
                }
                return Ok(());
            }
        }
        let after = self.json.encoded_len();
        if after > self.limits.document_bytes_max && after > before {
            return Err(JsonError::TooLarge.into());
        }
        Ok(())
    }

    fn shift(&mut self, from: &Pointer, path: &Pointer) -> Result<(), PatchErrorKind> {
        self.check_place(path)?;
        let value = find(&self.json, from.segments())?.clone();
        if from == path {
            return Ok(());
        }
        if path.starts_with(from) {
            return Err(PatchErrorKind::MoveIntoSelf);
        }
        self.check_transfer(&value, from, path)?;
        remove(&mut self.json, from.segments())?;
        add(&mut self.json, path.segments(), value)
    }

    /// Checks the keys on the way to a place that is about to be written.
    fn check_place(&self, path: &Pointer) -> Result<(), PatchErrorKind> {
        path.segments().iter().try_for_each(|key| self.limits.check_key(key))?;
        Ok(())
    }

    /// Checks a value of the document that is placed a second time or elsewhere. Its keys have
    /// been checked where it came in; only its depth can be new.
    fn check_transfer(
        &mut self,
        value: &Json,
        from: &Pointer,
        path: &Pointer,
    ) -> Result<(), PatchErrorKind> {
        let bytes = value.encoded_len();
        // Each level takes two bytes of text, so what is short is known not to be deep.
        let deeper = path.len() > from.len();
        let walk = deeper && path.len().saturating_add(bytes / 2) > self.limits.depth_max;
        if walk || !value.is_container() {
            self.scans_left = self.scans_left.checked_sub(bytes).ok_or(JsonError::TooLarge)?;
        }
        if walk && path.len().saturating_add(value.depth()) > self.limits.depth_max {
            return Err(JsonError::TooDeep.into());
        }
        Ok(())
    }
}

/// The value at a place that an operation says exists.
fn find<'a>(json: &'a Json, path: &[Key]) -> Result<&'a Json, PatchErrorKind> {
    path.iter().try_fold(json, |json, segment| match json {
        Json::Object(object) => object.get(segment).ok_or(PatchErrorKind::NoSuchPath),
        Json::Array(array) => array.get(index(segment)?).ok_or(PatchErrorKind::NoSuchPath),
        _ => Err(PatchErrorKind::NotAContainer),
    })
}

fn index(segment: &str) -> Result<usize, PatchErrorKind> {
    array_index(segment).ok_or(PatchErrorKind::BadIndex)
}

/// Hands the value at `path` to `change`, copying what is shared on the way.
fn edit<R>(
    json: &mut Json,
    path: &[Key],
    change: impl FnOnce(&mut Json) -> Result<R, PatchErrorKind>,
) -> Result<R, PatchErrorKind> {
    let Some((segment, rest)) = path.split_first() else {
        return change(json);
    };
    let edited = match json {
        Json::Object(object) => object.update(segment, |member| edit(member, rest, change)),
        Json::Array(array) => array.update(index(segment)?, |element| edit(element, rest, change)),
        _ => return Err(PatchErrorKind::NotAContainer),
    };
    edited.unwrap_or(Err(PatchErrorKind::NoSuchPath))
}

fn replace(json: &mut Json, path: &[Key], value: Json) -> Result<(), PatchErrorKind> {
    edit(json, path, |target| {
        *target = value;
        Ok(())
    })
}

fn add(json: &mut Json, path: &[Key], value: Json) -> Result<(), PatchErrorKind> {
    let Some((last, parent)) = path.split_last() else {
        *json = value;
        return Ok(());
    };
    edit(json, parent, |parent| match parent {
        Json::Object(object) => {
            object.insert(Key::clone(last), value);
            Ok(())
        }
        Json::Array(array) => {
            let index = if &**last == "-" { array.len() } else { index(last)? };
            if array.insert(index, value) { Ok(()) } else { Err(PatchErrorKind::BadIndex) }
        }
        _ => Err(PatchErrorKind::NotAContainer),
    })
}

fn remove(json: &mut Json, path: &[Key]) -> Result<(), PatchErrorKind> {
    let Some((last, parent)) = path.split_last() else {
        *json = Json::Null;
        return Ok(());
    };
    let removed = edit(json, parent, |parent| match parent {
        Json::Object(object) => Ok(object.remove(last)),
        Json::Array(array) => Ok(array.remove(index(last)?)),
        _ => Err(PatchErrorKind::NotAContainer),
    })?;
    removed.map(drop).ok_or(PatchErrorKind::NoSuchPath)
}

#[cfg(test)]
mod tests;
